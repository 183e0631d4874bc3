"""The mean-field bound is the paper's, holds, rises with every sweep, and gives p its gradient; all in float64."""

import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import rarely
from jax.nn import sigmoid
from toys import Net, net, net_log_joint, quick_jit, worst

from genjax_models.core import Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import darn, sigmoid_belief_network, vae
from genjax_models.objectives import mean_field
from genjax_models.objectives.mean_field import mean_field_bound, mean_field_bound_at

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.mean_field")
pytestmark = pytest.mark.usefixtures("x64")
SIZES = {"one layer": ((3,), 2), "two layers": ((2, 3), 3), "three layers": ((2, 1, 2), 2)}


def written_out(generative, x, means, xi):
    """The bound unit by unit as the paper writes it, every expectation a sum over the states of a unit's parents."""
    below = [generative["below"][f"layers_{i}"] for i in range(len(means))]
    layers = (x, *means)
    bound = 0.0
    for j, b in enumerate(generative["top_logits"]):
        bound += means[-1][j] * b - jnp.log(1 + jnp.exp(b))
    for weights, units, parents, xis in zip(below, layers, means, xi, strict=False):
        for i in range(len(units)):
            mean, exponentials = 0.0, 0.0
            for state in itertools.product([0, 1], repeat=len(parents)):
                chance, z = 1.0, weights["bias"][i]
                for j, s in enumerate(state):
                    chance *= parents[j] if s else 1 - parents[j]
                    z += weights["kernel"][j, i] * s
                mean += chance * z
                exponentials += chance * (jnp.exp(-xis[i] * z) + jnp.exp((1 - xis[i]) * z))
            bound += units[i] * mean - xis[i] * mean - jnp.log(exponentials)
    for layer in means:
        for mu in layer:
            bound -= mu * jnp.log(mu) + (1 - mu) * jnp.log(1 - mu)
    return bound


def somewhere(layers, visible, seed=0, spread=1.0):
    """Means and xi drawn at random, xi beyond [0, 1] too."""
    draw = np.random.RandomState(seed)
    means = tuple(jnp.asarray(draw.uniform(0.02, 0.98, size=n)) for n in layers)
    return means, tuple(jnp.asarray(0.5 + spread * draw.uniform(-1, 1, size=n)) for n in (visible, *layers[:-1]))


def affine(toy: Net, params=None):
    return toy.model.affine_layers(toy.params if params is None else params)


def strong(toy: Net, seed: int, scale: float = 3.0) -> Net:
    """The net with weights and biases from N(0, scale^2), where mean field is not easy."""
    draw = np.random.RandomState(seed)
    return toy._replace(params=jax.tree.map(lambda v: jnp.asarray(scale * draw.normal(size=v.shape)), toy.params))


def formula_errors(size) -> tuple[float, float]:
    """How far the bound and its gradient for p are from what is written out, at random means and xi."""
    layers, visible = SIZES[size]
    toy = net(layers, visible)
    x, (means, xi) = toy.x[1], somewhere(layers, visible)

    def difference(generative):
        ours = mean_field_bound_at(affine(toy, {"generative": generative}), x, means, xi)
        return ours - written_out(generative, x, means, xi)

    value, gradient = quick_jit(jax.value_and_grad(difference))(toy.params["generative"])
    return abs(float(value)), float(max(np.max(np.abs(v)) for v in jax.tree.leaves(gradient)))


@pytest.mark.parametrize("size", rarely(SIZES, "three layers"))
def test_bound_is_the_papers(size):
    """At any means and xi its value, and its gradient for p, are those of the sums over all states of the parents."""
    assert max(formula_errors(size)) < 1e-11


def test_gradient_is_right_where_a_weight_is_zero():
    """log(1 - mu + mu e^a) has no kink at a = 0, where a net may start: its derivative there is mu."""
    logit = jnp.array([-3.0, 0.0, 2.0, 40.0])
    assert worst(jax.vmap(jax.grad(MODULE._log_factor, 1))(logit, jnp.zeros(4)), sigmoid(logit)) < 1e-15
    toy = net((2,), 2)
    toy = toy._replace(params=jax.tree.map(jnp.zeros_like, toy.params))
    means, xi = somewhere((2,), 2)

    def difference(g):
        ours = mean_field_bound_at(affine(toy, {"generative": g}), toy.x[1], means, xi)
        return ours - written_out(g, toy.x[1], means, xi)

    slopes = quick_jit(jax.grad(difference))(toy.params["generative"])
    assert max(np.max(np.abs(v)) for v in jax.tree.leaves(slopes)) < 1e-14


def without_xi_on_one_side(monkeypatch):
    cumulant = MODULE._cumulant
    monkeypatch.setattr(MODULE, "_cumulant", lambda w, b, m, t: cumulant(w, b, m, jnp.where(t < 0, -t, t)))


def without_biases(monkeypatch):
    cumulant = MODULE._cumulant
    monkeypatch.setattr(MODULE, "_cumulant", lambda w, b, m, t: cumulant(w, 0 * b, m, t))


def expectation_inside_the_exponential(monkeypatch):
    monkeypatch.setattr(MODULE, "_log_factor", lambda logit, a: sigmoid(logit) * a)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [without_xi_on_one_side, without_biases, expectation_inside_the_exponential])
def test_mutants_fail_the_formula(monkeypatch, mutant):
    mutant(monkeypatch)
    assert min(formula_errors("two layers")) > 1e-2


@pytest.mark.parametrize("size", rarely(SIZES, "three layers"))
def test_bound_holds(size):
    """It lies below log p(x) at random means and xi, on gentle nets and on strong ones; and, fitted, closer to it."""
    layers, visible = SIZES[size]
    toy = net(layers, visible)

    def gaps(generative, x, means, xi):
        affine_layers = affine(toy, {**toy.params, "generative": generative})
        log_p = jax.nn.logsumexp(net_log_joint(generative, toy.z, x))
        fitted = mean_field_bound(affine_layers, x, 30)
        return log_p - mean_field_bound_at(affine_layers, x, means, xi), log_p - fitted.bound

    cases = [
        (strong(toy, seed, scale).params["generative"], toy.x[seed % len(toy.x)], *somewhere(layers, visible, seed))
        for seed in range(40)
        for scale in (0.3, 1.0, 3.0)
    ]
    anywhere, fitted = quick_jit(jax.vmap(gaps))(*jax.tree.map(lambda *v: jnp.stack(v), *cases))
    assert float(jnp.min(anywhere)) > 0
    assert float(jnp.min(fitted)) > -1e-12
    assert float(jnp.mean(fitted)) < 0.5 * float(jnp.mean(anywhere))


def trajectories(number: int, sweeps: int, layers: tuple[int, ...], visible: int = 5):
    """On strong nets, from one half: the bounds after every sweep [number, sweeps], and the last slopes."""
    toy = net(layers, visible)
    nets = [affine(strong(toy, seed)) for seed in range(number)]
    x = jnp.asarray(toy.x[np.random.RandomState(0).randint(len(toy.x), size=number)])

    def run(affine_layers, x):
        def one(state, _):
            state = MODULE.sweep(affine_layers, x, state)
            return state, MODULE._bound(affine_layers, x, *state)

        start = tuple(map(jnp.zeros, layers)), tuple(jnp.full(n, 0.5) for n in (visible, *layers[:-1]))
        first = MODULE._bound(affine_layers, x, *start)
        state, bounds = jax.lax.scan(one, start, length=sweeps)
        slopes = jax.grad(lambda s: MODULE._bound(affine_layers, x, *s))(state)
        return jnp.append(first, bounds), jnp.max(jnp.abs(jnp.concatenate(jax.tree.leaves(slopes))))

    return quick_jit(jax.vmap(run))(jax.tree.map(lambda *v: jnp.stack(v), *nets), x)


def test_sweeps_rise_to_where_nothing_is_left_to_gain():
    """No sweep decreases the bound, also through three layers, and at the end all partial derivatives vanish."""
    bounds, slopes = trajectories(20, 400, (4, 3, 2))
    assert float(jnp.min(jnp.diff(bounds))) > -1e-11
    assert float(jnp.mean(bounds[:, -1] - bounds[:, 0])) > 1
    assert float(jnp.max(slopes)) < 1e-5


def forgets_the_tangent(monkeypatch):
    monkeypatch.setattr(MODULE, "_slope", lambda logit, a: jnp.zeros_like(a))


def wrong_sign_of_xi(monkeypatch):
    fit_means = MODULE._fit_means
    monkeypatch.setattr(MODULE, "_fit_means", lambda w, b, m, xi, below, z: fit_means(w, b, m, 1 - xi, below, z))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [forgets_the_tangent, wrong_sign_of_xi])
def test_mutants_descend(monkeypatch, mutant):
    mutant(monkeypatch)
    bounds, slopes = trajectories(10, 20, (4, 3))
    assert float(jnp.min(jnp.diff(bounds))) < -1e-2
    assert float(jnp.max(slopes)) > 1e-2


def loss_and_gradient(objective, params, x):
    def loss(params):
        return objective.loss(Trainable(params), (), jax.random.key(0), x, 0)

    (value, (_, metrics)), gradient = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, metrics, gradient


def test_objective_follows_the_bound_at_its_means():
    """p's gradient is that of the bound at fixed means and xi, also far from their optimum; q's is zero."""
    toy = net((2, 3), 3)
    x = jnp.asarray(toy.x[[1, 6]])

    def minus_bound(generative, fitted):
        affine_layers = affine(toy, {"generative": generative})
        at = jax.vmap(lambda x, means, xi: mean_field_bound_at(affine_layers, x, means, xi))
        return -jnp.mean(at(x, fitted.means, fitted.xi))

    @quick_jit
    def exact(generative):
        fitted = jax.vmap(lambda x: mean_field_bound(affine(toy), x, 1))(x)
        return jax.value_and_grad(minus_bound)(generative, fitted)

    value, metrics, gradient = loss_and_gradient(mean_field(toy.model, 1), toy.params, x)
    expected, of_p = exact(toy.params["generative"])
    assert set(metrics) == {"bound"}
    assert float(metrics["bound"]) == -float(value)
    assert abs(float(value - expected)) < 1e-12
    assert worst(gradient["generative"], of_p) < 1e-12
    assert all(not np.any(v) for v in jax.tree.leaves(gradient["recognition"]))


def test_at_the_inner_optimum_that_is_the_whole_gradient():
    """Where the sweeps have converged, the optimized bound's own derivative, through them, agrees; before, it does not.

    Forwards, which passes through loops of any length, along one direction of ones.
    """
    toy = net((2, 3), 3, seed=2)
    x, generative = jnp.asarray(toy.x[2]), toy.params["generative"]
    ones = jax.tree.map(jnp.ones_like, generative)

    @quick_jit
    def difference(sweeps):
        def fitted(generative):
            affine_layers = affine(toy, {"generative": generative})
            state = tuple(map(jnp.zeros, (2, 3))), (jnp.full(3, 0.5), jnp.full(2, 0.5))
            return jax.lax.fori_loop(0, sweeps, lambda _, s: MODULE.sweep(affine_layers, x, s), state)

        def whole(generative):
            return MODULE._bound(affine(toy, {"generative": generative}), x, *fitted(generative))

        def at(generative):
            return MODULE._bound(affine(toy, {"generative": generative}), x, *fitted(toy.params["generative"]))

        return jax.jvp(lambda g: whole(g) - at(g), (generative,), (ones,))[1]

    assert abs(float(difference(1))) > 1e-4
    assert abs(float(difference(100))) < 1e-8


def test_means_may_be_held():
    """Then xi alone are fitted: the bound is as good as any xi make it."""
    toy = net((2, 3), 3)
    means, xi = somewhere((2, 3), 3)

    @quick_jit
    def run():
        found = mean_field_bound(affine(toy), toy.x[3], 8, means)

        def at(xi):
            return mean_field_bound_at(affine(toy), toy.x[3], means, xi)

        return found, at(xi), jax.grad(at)(found.xi)

    found, elsewhere, slope = run()
    assert worst(found.means, means) < 1e-12
    assert worst(slope, jax.tree.map(jnp.zeros_like, xi)) < 1e-6
    assert all(bool(jnp.all((v > 0) & (v < 1))) for v in found.xi)
    assert float(found.bound) > float(elsewhere)


@pytest.mark.slow
def test_sauls_experiment():
    """2-4-6 nets, all parameters uniform on [-1, 1], x = 0: the mean of bound / log p(x) - 1 is about 1.6 %.

    With all means at one half and fitted xi it is near 15 %, and near 16 % with xi at one half too.
    """
    toy = net((4, 2), 6)
    x, number = jnp.zeros(6), 10_000
    half = tuple(jnp.full(n, 0.5) for n in (4, 2))
    draw = np.random.RandomState(0)
    nets = jax.tree.map(lambda v: draw.uniform(-1, 1, size=(number, *v.shape)), toy.params["generative"])

    def errors(generative):
        affine_layers = affine(toy, {"generative": generative})
        log_p = jax.nn.logsumexp(net_log_joint(generative, toy.z, x))
        fitted = mean_field_bound(affine_layers, x, 5).bound
        uniform = mean_field_bound(affine_layers, x, 2, half).bound
        crude = mean_field_bound_at(affine_layers, x, half, (jnp.full(6, 0.5), half[0]))
        return jnp.stack([fitted, uniform, crude]) / log_p - 1

    found = quick_jit(jax.vmap(errors))(nets)
    fitted, uniform, crude = np.mean(found, axis=0)
    assert float(jnp.min(found)) > 0
    assert 0.0150 < fitted < 0.0165, fitted
    assert 0.145 < uniform < 0.153, uniform
    assert 0.153 < crude < 0.165, crude


def test_large_weights_stay_finite():
    """In float32 with weights of hundreds neither the bound nor its gradient overflows."""
    toy = strong(net((3, 2), 4), 0, 200.0)
    with jax.enable_x64(False):
        params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), toy.params)
        x = jnp.asarray(toy.x, jnp.float32)
        value, _, gradient = loss_and_gradient(mean_field(toy.model, 5), params, x)
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(gradient))


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built, naming model, objective and what to use."""
    for model in (
        vae(3, latent=1),
        darn(3),
        sigmoid_belief_network(3, layers=(2,), generative="autoregressive"),
        sigmoid_belief_network(3, layers=(2, 2), deterministic=(2,)),
    ):
        with pytest.raises(ModelError, match=f"mean_field.*{model.name}.*reweighted_wake_sleep"):
            mean_field(model)
    with pytest.raises(ModelError, match="mean_field needs a LatentVariableModel"):
        mean_field("net")
    for number in (0, -1, 1.5, None):
        with pytest.raises(ConfigError, match="num_sweeps"):
            mean_field(sigmoid_belief_network(3, layers=(2,)), number)
    layers = jnp.zeros(2), ((jnp.zeros((2, 1)), jnp.zeros(1)), (jnp.zeros((1, 3)), jnp.zeros(3)))
    x, means, xi = jnp.zeros(3), (jnp.full(1, 0.5), jnp.full(2, 0.5)), (jnp.full(3, 0.5), jnp.full(1, 0.5))
    mean_field_bound_at(layers, x, means, xi)
    for arguments in ((x[:2], means, xi), (x, means[:1], xi), (x, means[::-1], xi), (x, means, xi[::-1])):
        with pytest.raises(AssertionError, match="shape"):
            mean_field_bound_at(layers, *arguments)
    for wrong in (means[:1], means[::-1]):
        with pytest.raises(AssertionError, match="shape"):
            mean_field_bound(layers, x, 1, wrong)
