"""ARM and DisARM are unbiased, by enumeration of the joint law of mirrored samples in float64.

Unit by unit, a pair (z, z') confines u to an interval. Over these cells DisARM is constant and ARM is linear in every
u, so that the midpoints of the cells give the exact expectation of both.
"""

import functools
import importlib
import itertools
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uniforms
from drills import drill
from enumeration import Enumerated, enumerated, exact_bound
from jax.flatten_util import ravel_pytree
from toys import quick_jit, random_params, worst
from uniforms import mean_over

from genjax_models.core import Batch, LatentVariableModel, Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import arm, disarm, iwae
from genjax_models.objectives.binary import draw_uniforms_by
from genjax_models.objectives.common import particle_keys

MODULE = importlib.import_module("genjax_models.objectives.antithetic")
losses_and_gradients = functools.partial(uniforms.losses_and_gradients, drawn_by="draw_uniforms_by")
pytestmark = pytest.mark.usefixtures("x64")


def with_shared_scale(model: LatentVariableModel) -> LatentVariableModel:
    """The model with all its parameters scaled by a number of the group "shared", which belongs to p and q."""

    def scaled(function):
        def call(params, *args):
            scale = 1 + params["shared"]
            return function({g: jax.tree.map(lambda v: scale * v, params[g]) for g in model_groups}, *args)

        return call

    def init(key, x, c):
        return {**model.init(key, x, c), "shared": jnp.zeros(())}

    model_groups = ("generative", "recognition")
    names = ("sample_joint", "propose", "log_joint", "log_posterior", "posterior_logits", "sample_from_uniforms")
    return model._replace(init=init, **{name: scaled(getattr(model, name)) for name in names})


NETS = {
    "one layer": sigmoid_belief_network(2, layers=(3,)),
    "two layers": sigmoid_belief_network(2, layers=(2, 2)),
    "three layers": sigmoid_belief_network(2, layers=(1, 2, 1)),
    "auto-regressive": sigmoid_belief_network(2, layers=(2, 1), recognition="autoregressive"),
    "shared parameters": with_shared_scale(sigmoid_belief_network(2, layers=(2, 1))),
    "two units": sigmoid_belief_network(2, layers=(2,)),
    "unit on unit": sigmoid_belief_network(2, layers=(1, 1)),
    "two auto-regressive units": sigmoid_belief_network(2, layers=(2,), recognition="nade"),
}


def pair_cells(toy: Enumerated, x):
    """Every pair (z, z') that can occur: its intervals of u (low, high), leaves [M, ...], and its chance [M]."""
    first, second = np.array(list(itertools.product(range(toy.number), repeat=2))).T
    logits = jax.vmap(lambda z: toy.model.posterior_logits(toy.params, z, x, ()))(toy.z)

    def interval(z, logits):
        p = jax.nn.sigmoid(logits)
        z, mirrored, p, q = z[first] > 0.5, z[second] > 0.5, p[first], 1 - p[second]
        low = jnp.maximum(jnp.where(z, 0.0, p), jnp.where(mirrored, q, 0.0))
        high = jnp.minimum(jnp.where(z, p, 1.0), jnp.where(mirrored, 1.0, q))
        return np.stack([low, jnp.maximum(high, low)])

    intervals = [interval(*v) for v in zip(jax.tree.leaves(toy.z), jax.tree.leaves(logits), strict=True)]
    lengths = [(high - low).reshape(len(first), -1) for low, high in intervals]
    chance = np.prod(np.concatenate(lengths, axis=1), axis=1)
    kept = chance > 0
    low, high = ([v[i][kept] for v in intervals] for i in (0, 1))
    structure = jax.tree.structure(toy.z)
    return jax.tree.unflatten(structure, low), jax.tree.unflatten(structure, high), chance[kept]


def law_of_pairs(toy: Enumerated, x, pairs: int):
    """The uniforms of all sets of N pairs for all examples, at midpoints: leaves [M, B, N, ...], chance [M]."""
    cells = [pair_cells(toy, row) for row in x for _ in range(pairs)]
    sets = np.array(list(itertools.product(*(range(len(chance)) for *_, chance in cells)))).T
    chance = np.prod([chance[i] for i, (*_, chance) in zip(sets, cells, strict=True)], axis=0)

    def gather(*middles):
        rows = np.stack([middle[i] for i, middle in zip(sets, middles, strict=True)], axis=1)
        return rows.reshape(len(rows), len(x), pairs, *rows.shape[2:])

    middles = [jax.tree.map(lambda low, high: (low + high) / 2, low, high) for low, high, _ in cells]
    return jax.tree.map(gather, *middles), chance


class Case(NamedTuple):
    """A net, examples, all uniforms that make a difference, and what the objective is to give in the mean."""

    toy: Enumerated
    x: jax.Array  # [B, D]
    u: Any  # leaves [M, B, N, ...]
    chance: np.ndarray  # [M]
    exact: tuple[jax.Array, Any]  # minus the bound of N particles, and its gradient


@functools.cache
def case(net: str, pairs: int = 1, examples: int = 1) -> Case:
    toy = enumerated(NETS[net], 2, scale=1.0)
    x = jnp.eye(2)[:examples]
    u, chance = law_of_pairs(toy, x, pairs)
    assert chance.sum() == pytest.approx(1, abs=1e-12)

    def loss(params):
        return -jnp.mean(jnp.stack([exact_bound(toy, params, row, pairs) for row in x]))

    return Case(toy, x, u, chance, quick_jit(jax.value_and_grad(loss))(toy.params))


def errors(build, case: Case) -> dict[str, float]:
    """How far the expected loss and gradient are from the exact ones, by group of parameters."""
    toy, x, u, chance, (exact_value, exact_gradient) = case
    value, (gradient, _) = mean_over(
        chance, losses_and_gradients(MODULE, build(toy.model), Trainable(toy.params), x, u)
    )
    found = {group: worst(gradient[group], exact_gradient[group]) for group in gradient}
    return {"value": abs(float(value - exact_value)), **found}


@pytest.mark.parametrize(
    ("build", "net"),
    [
        *((disarm, net) for net in ("two layers", "shared parameters")),
        *(drill(disarm, net) for net in ("one layer", "three layers", "auto-regressive")),
        *((arm, net) for net in ("one layer", "two layers", "auto-regressive")),
        drill(arm, "three layers"),
    ],
)
def test_gradients_of_the_evidence_lower_bound_are_exact(build, net):
    """For every group of parameters, through any number of layers, factorial or not."""
    found = errors(build, case(net))
    assert max(found.values()) < 1e-10, found


@pytest.mark.parametrize(
    ("net", "pairs"),
    [
        drill("two units", 2),
        drill("two units", 3),
        ("unit on unit", 2),
        drill("unit on unit", 3),
        ("two auto-regressive units", 2),
    ],
)
def test_gradients_of_the_bound_of_many_particles_are_exact(net, pairs):
    """N pairs follow the bound of N independent particles, not of 2N."""
    found = errors(functools.partial(disarm, num_pairs=pairs), case(net, pairs))
    assert max(found.values()) < 1e-10, found


def test_the_other_examples_are_a_baseline_without_bias():
    """In a batch each example subtracts the others' bound, and the expected gradient is still the mean of theirs."""
    found = errors(disarm, case("unit on unit", examples=2))
    assert max(found.values()) < 1e-10, found


def spread(values, chance):
    """The total variance of values [M, ...], summed over all entries of all leaves."""
    mean = mean_over(chance, values)
    return sum(
        float(np.sum(np.tensordot(chance, (np.asarray(v) - np.asarray(m)) ** 2, 1)))
        for v, m in zip(jax.tree.leaves(values), jax.tree.leaves(mean), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("net", ["two units", "unit on unit"])
def test_disarm_has_less_variance_than_arm(net):
    """Integrating the uniforms out can only help; ARM's gradient is linear in each u, so two Gauss nodes are exact."""
    toy, x, *_, (_, truth) = case(net)
    low, high, chance = pair_cells(toy, x[0])
    units = sum(v[0].size for v in jax.tree.leaves(low))
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=units))) / np.sqrt(3)
    cuts = np.cumsum([v[0].size for v in jax.tree.leaves(low)])[:-1]
    nodes = jax.tree.unflatten(jax.tree.structure(low), np.split(signs, cuts, axis=1))
    u = jax.tree.map(
        lambda a, b, s: ((a + b) / 2)[:, None] + ((b - a) / 2)[:, None] * s[None], low, high, nodes
    )  # [M, 2^units, ...]
    u = jax.tree.map(lambda v: v.reshape(-1, 1, 1, *v.shape[2:]), u)
    chance = np.repeat(chance, len(signs)) / len(signs)
    found = {}
    for build in (arm, disarm):
        _, gradient = losses_and_gradients(MODULE, build(toy.model), Trainable(toy.params), x, u)
        found[build] = spread(gradient.model["recognition"], chance)
        # These nodes are a law of u of their own, and as good for the expectation.
        assert worst(mean_over(chance, gradient.model), truth) < 1e-10
    assert found[disarm] < 0.95 * found[arm], found


def test_mean_given_pair_is_that_of_the_interval():
    """Against the midpoint of the interval that each pair leaves to u, for all pairs and many p and p'."""
    logits, mirrored = np.random.RandomState(0).normal(size=(2, 200), scale=2.0)
    p, q = (1 / (1 + np.exp(-v)) for v in (logits, mirrored))
    grid = (np.arange(4000) + 0.5) / 4000
    z, zm = grid[:, None] < p, 1 - grid[:, None] < q
    mean = MODULE.mean_given_pair(1.0 * z, 1.0 * zm, logits, mirrored)
    for a, b in itertools.product([False, True], repeat=2):
        held = (z == a) & (zm == b)
        seen = held.sum(0) > 100
        expected = (held * (1 - 2 * grid[:, None])).sum(0)[seen] / held.sum(0)[seen]
        assert worst((held * np.asarray(mean)).sum(0)[seen] / held.sum(0)[seen], expected) < 1e-3
        assert seen.sum() > 20


# Mutants: each is a plausible mistake, and the checks above must see it.


class Branches(NamedTuple):
    """Both samples of every outcome, side 0 as drawn and side 1 mirrored, all in numpy: [M, 2, ...]."""

    u: np.ndarray  # [M, 1, Z]
    z: np.ndarray  # [M, 2, Z]
    logits: np.ndarray  # [M, 2, Z]
    scores: np.ndarray  # [M, 2, Z, P], grad phi_i of q's parameters
    signal: np.ndarray  # [M, 2], f


@functools.cache
def branches(net: str) -> Branches:
    toy, (x,), u, *_ = case(net)
    u = jax.tree.map(lambda v: v[:, 0, 0], u)

    def one(u):
        q, unravel = ravel_pytree(toy.params["recognition"])

        def run(q):
            z, logits = toy.model.sample_from_uniforms({**toy.params, "recognition": unravel(q)}, u, x, ())
            f = total(toy.model.log_joint(toy.params, z, x, ())) - total(toy.model.log_posterior(toy.params, z, x, ()))
            return ravel_pytree(logits)[0], (ravel_pytree(z)[0], ravel_pytree(logits)[0], f)

        scores, (z, logits, f) = jax.jacrev(run, has_aux=True)(q)
        return z, logits, scores, f

    both = jax.tree.map(lambda v: np.stack([v, 1 - v], axis=1), u)
    found = quick_jit(jax.vmap(jax.vmap(one)))(both)
    flat = np.concatenate([v.reshape(len(v), 1, -1) for v in jax.tree.leaves(u)], axis=2)
    return Branches(flat, *map(np.asarray, found))


def estimate(b: Branches, slope) -> np.ndarray:
    """1/2 [f(z) sum_i s_i grad phi_i - f(z') sum_i s_i grad phi'_i] of every outcome, [M, P]."""
    signal = b.signal * np.array([0.5, -0.5])
    return np.einsum("ms,mi,msip->mp", signal, np.asarray(slope(b)), b.scores)


def one_branch(b: Branches, slope) -> np.ndarray:
    """1/2 (f(z) - f(z')) sum_i s_i grad phi_i: what holds in one layer, where phi = phi'."""
    return np.einsum("m,mi,mip->mp", (b.signal[:, 0] - b.signal[:, 1]) / 2, np.asarray(slope(b)), b.scores[:, 0])


def conditional(b: Branches) -> np.ndarray:
    return MODULE.mean_given_pair(b.z[:, 0], b.z[:, 1], b.logits[:, 0], b.logits[:, 1])


def of_uniforms(b: Branches) -> np.ndarray:
    return 1 - 2 * b.u[:, 0]


def bias(net: str, values: np.ndarray) -> float:
    """How far the mean of values [M, P] is from the gradient of the evidence lower bound for q."""
    found = case(net)
    return worst(-found.chance @ values, ravel_pytree(found.exact[1]["recognition"])[0])


@pytest.mark.parametrize(("build", "slope"), [(arm, of_uniforms), (disarm, conditional)])
@pytest.mark.parametrize("net", ["unit on unit", drill("two auto-regressive units")])
def test_each_outcome_follows_the_definition(net, build, slope):
    """Not only in expectation; the mistakes below start from the same definition."""
    toy, x, u, *_ = case(net)
    _, gradient = losses_and_gradients(MODULE, build(toy.model), Trainable(toy.params), x, u)
    found = jax.vmap(lambda g: ravel_pytree(g)[0])(gradient.model["recognition"])
    assert worst(-found, estimate(branches(net), slope)) < 1e-12


def swapped(b: Branches, *fields: str) -> Branches:
    return b._replace(**{name: getattr(b, name)[:, ::-1] for name in fields})


MISTAKES = {
    "u instead of 1 - 2u": lambda b: estimate(b, lambda b: b.u[:, 0]),
    "wrong sign of 1 - 2u": lambda b: estimate(b, lambda b: -of_uniforms(b)),
    "the score z - p": lambda b: estimate(b, lambda b: b.z[:, 0] - jax.nn.sigmoid(b.logits[:, 0])),
    "branches added": lambda b: estimate(b._replace(signal=b.signal * np.array([1, -1])), conditional),
    "branches exchanged": lambda b: estimate(b, lambda b: conditional(swapped(b, "z", "logits"))),
    "signals exchanged": lambda b: estimate(swapped(b, "signal"), conditional),
    "logits exchanged": lambda b: estimate(b, lambda b: conditional(swapped(b, "logits"))),
    "scores of one branch": lambda b: one_branch(b, conditional),
    "scores of one branch, ARM": lambda b: one_branch(b, of_uniforms),
    "nothing for equal pairs": lambda b: estimate(
        b, lambda b: np.where(b.z[:, 0] == b.z[:, 1], 0.0, np.asarray(conditional(b)))
    ),
    "the formula of one layer": lambda b: estimate(
        b, lambda b: (b.z[:, 0] - b.z[:, 1]) * jax.nn.sigmoid(jnp.abs(b.logits[:, 0]))
    ),
}
# Right in one layer, where phi = phi'.
ONE_LAYER = {
    "logits exchanged",
    "scores of one branch",
    "scores of one branch, ARM",
    "nothing for equal pairs",
    "the formula of one layer",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen_through_two_layers(mistake):
    """Those that hold in one layer, and look right there, too."""
    assert bias("unit on unit", MISTAKES[mistake](branches("unit on unit"))) > 1e-3
    one_layer = bias("two units", MISTAKES[mistake](branches("two units")))
    assert one_layer < 1e-10 if mistake in ONE_LAYER else one_layer > 1e-3


def estimate_with(change):
    original = MODULE.pair_estimate

    def estimate(log_w, baseline=0.0):
        return original(log_w, baseline)._replace(**change(log_w))

    return mock.patch.object(MODULE, "pair_estimate", estimate)


COEFFICIENTS = {
    "no direct term": (lambda w: {"direct": jnp.zeros_like(w)}, "recognition"),
    "wrong sign of the direct term": (lambda w: {"direct": jax.nn.softmax(w, axis=1) / 2}, "recognition"),
    "the signal of another pair": (
        lambda w: {"signal": jnp.array([[0.5], [-0.5]]) * jnp.roll(w, 1, axis=1)},
        "recognition",
    ),
    "the signal of the evidence lower bound": (lambda w: {"signal": jnp.array([[0.5], [-0.5]]) * w}, "recognition"),
    "weights of both branches together": (
        lambda w: {"generative": jax.nn.softmax(w.ravel()).reshape(w.shape)},
        "generative",
    ),
    "uniform weights": (lambda w: {"generative": jnp.full_like(w, 0.25)}, "generative"),
    "the bound of all 2N": (lambda w: {"bound": jax.nn.logsumexp(w) - jnp.log(4.0)}, "value"),
}


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize("mistake", COEFFICIENTS)
def test_wrong_coefficients_are_seen_with_two_pairs(mistake):
    change, where = COEFFICIENTS[mistake]
    with estimate_with(change):
        found = errors(functools.partial(disarm, num_pairs=2), case("unit on unit", 2))
    assert found.pop(where) > 1e-3
    assert max(found.values()) < 1e-10


def test_a_baseline_of_its_own_pair_is_seen():
    """The bound of all examples, its own among them, is no baseline: the pair's signal depends on it."""
    original = MODULE.pair_estimate
    with mock.patch.object(MODULE, "pair_estimate", lambda w, baseline: original(w, jnp.mean(w))):
        assert errors(disarm, case("unit on unit"))["recognition"] > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniforms_mirror_exactly(dtype):
    """u and 1 - u lie in the same open grid, so that both branches follow the same law in any precision."""
    model = sigmoid_belief_network(2, layers=(300, 200))
    params = jax.tree.map(lambda v: v.astype(dtype), random_params(model, 2, 0))
    batch = Batch(jnp.zeros((4, 2), dtype))
    u = draw_uniforms_by(model, params, particle_keys(jax.random.key(1), batch, 5), batch)
    assert jax.tree.map(jnp.shape, u) == ((4, 5, 300), (4, 5, 200))
    flat = np.concatenate([np.asarray(v).ravel() for v in u])
    assert flat.dtype == dtype
    grid = 2.0 ** (23 if dtype is np.float32 else 52)
    for v in (flat, 1 - flat):
        assert np.all((v > 0) & (v < 1))
        assert np.all(np.mod(v.astype(np.longdouble) * grid, 1) == 0.5)
    assert len(np.unique(flat)) > 0.99 * len(flat)
    assert abs(np.mean(flat) - 0.5) < 5 / np.sqrt(12 * len(flat))


@pytest.mark.slow
def test_single_precision_is_finite_where_units_are_saturated():
    """Logits of 200 in both directions leave no NaN in the loss or its gradient."""
    model = sigmoid_belief_network(3, layers=(2, 2))
    params = jax.tree.map(lambda v: 200 * jnp.sign(v).astype(np.float32), random_params(model, 3, 0))
    x = jnp.ones((2, 3), np.float32)
    for objective in (disarm(model), disarm(model, 3)):
        value, gradient = quick_jit(
            jax.value_and_grad(lambda p, o=objective: o.loss(Trainable(p), (), jax.random.key(2), x, 0)[0])
        )(params)
        assert value.dtype == np.float32
        assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves((value, gradient)))


def test_loss_is_minus_the_bound_of_its_own_draws():
    model = sigmoid_belief_network(3, layers=(2, 2))
    params = random_params(model, 3, 0)
    for objective in (arm(model), disarm(model, 2)):
        assert objective.init(jax.random.key(0), params, jnp.ones((2, 3))) == ((), ())
        losses = []
        for seed in (0, 0, 1):
            loss, (state, metrics) = quick_jit(objective.loss)(
                Trainable(params), (), jax.random.key(seed), jnp.ones((2, 3)), 0
            )
            assert set(metrics) == {"bound"}
            assert (state, float(metrics["bound"])) == ((), -float(loss))
            losses.append(float(loss))
        assert losses[0] == losses[1] != losses[2]


def test_what_does_not_fit_is_refused():
    gaussian = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    for build, name in ((arm, "arm"), (disarm, "disarm")):
        with pytest.raises(ModelError, match=f"{name} .*{gaussian.name}.*sample_from_uniforms"):
            build(gaussian)
        with pytest.raises(ModelError, match=f"{name} needs a LatentVariableModel"):
            build(iwae(gaussian))
    for number in (0, 1.5, True):
        with pytest.raises(ConfigError, match="num_pairs"):
            disarm(sigmoid_belief_network(3, layers=(2,)), number)
