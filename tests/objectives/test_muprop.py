"""MuProp is unbiased through any number of factorial layers, by enumeration of its samples in float64."""

import functools
import importlib
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from enumeration import Enumerated, enumerated, exact_bound
from toys import quick_jit, worst
from uniforms import batch_of_uniforms, losses_and_gradients, mean_over

from genjax_models.core import Trainable, total
from genjax_models.errors import ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import muprop
from genjax_models.objectives.binary import log_weight

MODULE = importlib.import_module("genjax_models.objectives.muprop")
pytestmark = pytest.mark.usefixtures("x64")

NETS = {
    "one layer": sigmoid_belief_network(2, layers=(3,)),
    "two layers": sigmoid_belief_network(2, layers=(2, 2)),
    "three layers": sigmoid_belief_network(2, layers=(1, 2, 1)),
    "tanh layers between, p auto-regressive": sigmoid_belief_network(
        2, layers=(2, 1), generative="autoregressive", deterministic=(2, 2)
    ),
    "two units": sigmoid_belief_network(2, layers=(2,)),
    "unit on unit": sigmoid_belief_network(2, layers=(1, 1)),
}


class Case(NamedTuple):
    """A net, examples, uniforms for every state of their latents, and what the objective is to give in the mean."""

    toy: Enumerated
    x: jax.Array  # [B, D]
    u: Any  # leaves [M, B, ...]
    chance: np.ndarray  # [M]
    exact: tuple[jax.Array, Any]  # minus the evidence lower bound, and its gradient


@functools.cache
def case(net: str, examples: int = 1) -> Case:
    toy = enumerated(NETS[net], 2, scale=1.0)
    x = jnp.eye(2)[:examples]

    def loss(params):
        return -jnp.mean(jnp.stack([exact_bound(toy, params, row) for row in x]))

    return Case(toy, x, *batch_of_uniforms(toy, x), quick_jit(jax.value_and_grad(loss))(toy.params))


def outcomes(case: Case):
    """Loss and gradient of every outcome."""
    toy, x, u, *_ = case
    losses, gradients = losses_and_gradients(MODULE, muprop(toy.model), Trainable(toy.params), x, u)
    return losses, gradients.model


def errors(case: Case) -> dict[str, float]:
    """How far the expected loss and gradient are from the exact ones, by group of parameters."""
    value, gradient = mean_over(case.chance, outcomes(case))
    found = {group: worst(gradient[group], case.exact[1][group]) for group in gradient}
    return {"value": abs(float(value - case.exact[0])), **found}


@pytest.mark.parametrize(
    "net",
    [drill(name) if name == "three layers" else name for name in NETS if name not in ("two units", "unit on unit")],
)
def test_gradients_are_exact(net):
    found = errors(case(net))
    assert max(found.values()) < 1e-10, found


def test_gradients_are_exact_in_a_batch():
    found = errors(case("unit on unit", examples=2))
    assert max(found.values()) < 1e-10, found


def total_variance(chance, gradient, exact) -> float:
    squares = jax.tree.map(
        lambda g, e: chance @ jnp.sum(jnp.square(g - e).reshape(len(g), -1), axis=1), gradient, exact
    )
    return float(total(squares))


@pytest.mark.parametrize("net", ["two units", "unit on unit"])
def test_variance_is_below_that_of_plain_scores(net):
    """The control variate is of use: f grad log q, the same without it, has several times the variance."""
    toy, (x,), u, chance, (_, exact) = case(net)
    _, gradient = outcomes(case(net))

    def plain(u):
        z, _ = toy.model.sample_from_uniforms(toy.params, u, x, ())
        f = total(toy.model.log_joint(toy.params, z, x, ())) - total(toy.model.log_posterior(toy.params, z, x, ()))
        return jax.grad(lambda p: -f * total(toy.model.log_posterior(p, z, x, ())))(toy.params)

    scores = quick_jit(jax.vmap(plain))(jax.tree.map(lambda v: v[:, 0], u))["recognition"]
    assert worst(mean_over(chance, scores), exact["recognition"]) < 1e-10
    ours, theirs = (total_variance(chance, g, exact["recognition"]) for g in (gradient["recognition"], scores))
    assert ours < theirs / 3, (ours, theirs)


def test_nothing_varies_where_the_bound_is_linear():
    """Where p ignores a single unit, f is linear in it: the expansion is f itself, and q's gradient always the same."""
    toy = enumerated(sigmoid_belief_network(2, layers=(1,)), 2)
    params = {**toy.params, "generative": jax.tree.map(jnp.zeros_like, toy.params["generative"])}
    toy, x = toy._replace(params=params), jnp.asarray([[1.0, 0.0]])
    u, chance = batch_of_uniforms(toy, x)
    _, gradient = losses_and_gradients(MODULE, muprop(toy.model), Trainable(params), x, u)
    exact = jax.grad(lambda p: -exact_bound(toy, p, x[0]))(params)["recognition"]
    assert total_variance(chance, gradient.model["recognition"], exact) < 1e-20


# Mutants: each is a plausible mistake, and the checks above must see it.


def replacing(change):
    original = MODULE.replace_from

    def replace(model, params, z, i, y, unit, x, c):
        return change(original, model, params, z, i, y, unit, x, c)

    return mock.patch.object(MODULE, "replace_from", replace)


def hard_layers_above(original, model, params, z, i, y, unit, x, c):
    """The samples above stay: they depend on the layer that the control variate does without."""
    groups, structure = jax.tree.flatten(z)
    return jax.tree.unflatten(structure, [*groups[:i], y, *groups[i + 1 :]])


def expanded_at_the_sample(original, model, params, z, i, y, unit, x, c):
    return original(model, params, z, i, y + jax.lax.stop_gradient(jax.tree.leaves(z)[i] - y), unit, x, c)


@pytest.mark.parametrize("change", [hard_layers_above, expanded_at_the_sample])
def test_mistaken_control_variates_are_seen(change):
    with replacing(change):
        found = errors(case("unit on unit"))
    assert found.pop("recognition") > 1e-3
    assert max(found.values()) < 1e-10


def test_any_function_serves_as_control_variate():
    """It need not be the bound: half of it leaves the expectation as it is."""
    with mock.patch.object(MODULE, "log_weight", lambda *args: log_weight(*args) / 2):
        found = errors(case("unit on unit"))
    assert max(found.values()) < 1e-10


def handwritten(case: Case, *, compensated=True, expanded=True, slope_sign=1.0, given_hard=True):
    """q's gradient for every outcome, written out a second time with `log_prob`s, and with switches for mistakes."""
    toy, (x,), u, *_ = case
    model, params = toy.model, toy.params

    def f(z):
        return total(model.log_joint(params, z, x, ())) - total(model.log_posterior(params, z, x, ()))

    def upward(p, z, i, y):
        for j in range(i, len(z)):
            z = (*z[:j], y if j == i else jax.nn.sigmoid(model.posterior_logits(p, z, x, ())[j]), *z[j + 1 :])
        return z

    def gradient(u):
        z, _ = model.sample_from_uniforms(params, u, x, ())
        result = jax.tree.map(jnp.zeros_like, params)
        for i in range(len(z)):
            below = (
                z if given_hard else upward(params, z, 0, jax.nn.sigmoid(model.posterior_logits(params, z, x, ())[0]))
            )

            def mean(p, below=below, i=i):
                return jax.nn.sigmoid(model.posterior_logits(p, below, x, ())[i])

            at = mean(params)
            value, slope = jax.value_and_grad(lambda y, below=below, i=i: f(upward(params, below, i, y)))(at)
            signal = f(z) - value - (slope_sign * slope @ (z[i] - at) if expanded else 0.0)
            score = jax.grad(lambda p, i=i: model.log_posterior(p, z, x, ())[i])(params)
            closed = jax.grad(lambda p, mean=mean, slope=slope: slope @ mean(p))(params)
            result = jax.tree.map(lambda r, s, c, w=signal: r - w * s - compensated * c, result, score, closed)
        return result

    return quick_jit(jax.vmap(gradient))(jax.tree.map(lambda v: v[:, 0], u))["recognition"]


def test_each_outcome_follows_the_definition():
    for net in ("two units", "unit on unit"):
        assert worst(outcomes(case(net))[1]["recognition"], handwritten(case(net))) < 1e-12


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize(
    ("mistake", "one_layer"),
    [
        ({"compensated": False}, True),
        ({"expanded": False}, True),
        ({"slope_sign": -1.0}, True),
        ({"given_hard": False}, False),
    ],
    ids=str,
)
def test_mistakes_are_seen(mistake, one_layer):
    """Mean fields all the way from x, instead of given the hard samples below, are wrong through two layers only."""
    for net, seen in (("unit on unit", True), ("two units", one_layer)):
        found = case(net)
        error = worst(mean_over(found.chance, handwritten(found, **mistake)), found.exact[1]["recognition"])
        assert error > 1e-3 if seen else error < 1e-10


def test_loss_is_minus_the_bound_of_its_own_hard_sample():
    toy, x, *_ = case("two layers", examples=2)
    objective = muprop(toy.model)
    assert objective.init(jax.random.key(0), toy.params, x) == ((), ())
    loss, (state, metrics) = quick_jit(objective.loss)(Trainable(toy.params), (), jax.random.key(3), x, 0)
    assert (state, set(metrics), float(metrics["bound"])) == ((), {"bound"}, -float(loss))
    u = MODULE.draw_uniforms(toy.model, toy.params, jax.random.key(3), MODULE.Batch(x))
    z, _ = jax.vmap(lambda u, x: toy.model.sample_from_uniforms(toy.params, u, x, ()))(u, x)
    assert set(np.unique(np.concatenate([np.ravel(v) for v in z]))) <= {0.0, 1.0}
    f = jax.vmap(lambda z, x: log_weight(toy.model, toy.params, z, x, ()))(z, x)
    assert float(loss) == pytest.approx(-float(jnp.mean(f)), abs=1e-12)


def test_what_does_not_fit_is_refused():
    gaussian = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    with pytest.raises(ModelError, match=f"muprop .*{gaussian.name}.*sample_from_uniforms"):
        muprop(gaussian)
    chained = sigmoid_belief_network(3, layers=(2, 2), recognition=("factorial", "nade"))
    with pytest.raises(ModelError, match=f"muprop .*{chained.name}"):
        muprop(chained)
