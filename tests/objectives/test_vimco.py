"""VIMCO follows the gradient of the K-particle bound, by enumeration of every set of particles in float64."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import enumerated
from outcomes import errors_of, exact_loss, outcomes, tied_net
from toys import (
    gaussian_bound,
    integrate_loss,
    linear_gaussian,
    near_posterior,
    quick_jit,
    record_draws,
    worst,
)

from genjax_models.core import Batch, Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.objectives import particles as estimators
from genjax_models.objectives import vimco
from genjax_models.objectives.common import ScoreLoss
from genjax_models.objectives.particles import importance_weighted_score, leave_one_out_bounds

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.vimco")
COMMON = importlib.import_module("genjax_models.objectives.common")
MEANS = ("geometric", "arithmetic")

# (fields of the net, D, K, examples)
SIZES = {
    "one layer, K=3": ({"layers": (2,)}, 2, 3, 1),
    "small": ({"layers": (2,)}, 1, 2, 1),
    "batch of two": ({"layers": (1,)}, 2, 2, 2),
    "two layers, K=2": ({"layers": (2, 1)}, 2, 2, 1),
    "three layers, K=2": ({"layers": (1, 1, 1)}, 2, 2, 1),
    "auto-regressive": ({"layers": (2, 1), "generative": "autoregressive", "recognition": "autoregressive"}, 2, 2, 1),
}


@functools.cache
def setting(size):
    """The toy, the examples, K, and the exact loss and gradient."""
    fields, visible, particles, batch = SIZES[size]
    x = np.array([[1.0, 0.0], [1.0, 1.0]])[:batch, :visible]
    toy = enumerated(sigmoid_belief_network(visible, **fields), visible)
    return toy, x, particles, exact_loss(toy, x, particles)


def errors(size, mean="geometric"):
    toy, x, particles, exact = setting(size)
    return errors_of(outcomes(lambda model: vimco(model, particles, mean), toy, x), exact)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("size", "mean"), [(size, MEANS[i % 2]) for i, size in enumerate(SIZES)] + [("one layer, K=3", "geometric")]
)
def test_gradients_are_exact_in_expectation(size, mean):
    """p and q follow the gradient of E log (1/K) sum_k w_k, and the loss is minus that."""
    found = errors(size, mean)
    assert max(found.values()) < 1e-10, found


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mean", MEANS)
def test_estimate_is_its_definition(mean):
    """Every coefficient, at random log-weights of K = 2 and 4 particles, as the paper writes it."""
    for particles in (2, 4):
        log_p, log_q = np.random.RandomState(particles).normal(scale=3.0, size=(2, particles))
        w = np.exp(log_p - log_q)
        found = quick_jit(functools.partial(importance_weighted_score, mean=mean))(log_p, log_q)
        assert abs(found.bound - np.log(w.mean())) < 1e-12
        for k in range(particles):
            others = np.delete(w, k)
            stand_in = np.exp(np.log(others).mean()) if mean == "geometric" else others.mean()
            without = np.log((others.sum() + stand_in) / particles)
            share = w[k] / w.sum()
            assert abs(found.generative[k] - share) < 1e-12
            assert abs(found.recognition[k] - (np.log(w.mean()) - without - share)) < 1e-12


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("particles", [2, 3, 10, 100])
def test_float32_keeps_its_digits(mean, particles):
    """Log-weights far apart, far from zero, or with one that dominates: as float64 says, to float32's round-off."""
    draw = np.random.RandomState(particles)
    rows = [
        draw.normal(size=particles),
        draw.normal(scale=40.0, size=particles),
        draw.normal(scale=1000.0, size=particles) - 4000.0,
        np.where(np.arange(particles) == 1, 0.0, -60.0 + draw.normal(size=particles)),
        np.where(np.arange(particles) == 0, -1e6, draw.normal(size=particles)),
        np.full(particles, -543.0),
    ]
    rows = np.float32(rows)
    zeros = np.zeros(particles, np.float32)
    found = quick_jit(jax.vmap(lambda row: importance_weighted_score(row, zeros, mean).recognition))(rows)
    for log_w, b in zip(np.float64(rows), found, strict=True):
        bound = np.logaddexp.reduce(log_w)
        for k in range(particles):
            others = np.delete(log_w, k)
            total = np.logaddexp.reduce(others)
            stand_in = others.mean() if mean == "geometric" else total - np.log(particles - 1)
            exact = bound - np.logaddexp(total, stand_in) - np.exp(log_w[k] - bound)
            assert abs(b[k] - exact) < 3e-6 * (1 + abs(exact)), (k, b[k], exact)


def test_impossible_particles_leave_the_others_finite():
    """A weight of zero is no particle's ruin but where it is all that stands in for another."""
    log_w = jnp.array([0.3, -jnp.inf, -1.0])
    for mean in MEANS:
        found = quick_jit(functools.partial(importance_weighted_score, mean=mean))(log_w, jnp.zeros(3))
        assert all(np.isfinite(v).all() for v in found)
        assert found.generative[1] == 0.0


@pytest.mark.usefixtures("x64")
def test_bound_without_a_particle_does_not_depend_on_it():
    """The derivative of L_{-k} with respect to log w_k is zero, to the last bit of a difference."""
    log_w = np.random.RandomState(0).normal(scale=5.0, size=4)
    for mean in MEANS:
        bounds = quick_jit(functools.partial(leave_one_out_bounds, mean=mean))
        for k in range(4):
            moved = [bounds(log_w + change * (np.arange(4) == k))[k] for change in (0.0, -30.0, 0.7, 30.0)]
            assert np.ptp(moved) < 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gradient_is_that_of_tensorflow_probability():
    """`csiszar_vimco`, on the same draws, gives the same gradient of p and of q."""
    from tensorflow_probability.substrates import jax as tfp

    model, seed, particles = sigmoid_belief_network(3, layers=(2,)), jax.random.key(4), 4
    toy, x = enumerated(model, 3), jnp.array([1.0, 0.0, 1.0])

    def q(params):
        layer = params["recognition"]["layers_0"]
        logits = x @ layer["kernel"] + layer["bias"]
        return tfp.distributions.Independent(tfp.distributions.Bernoulli(logits=logits, dtype=x.dtype), 1)

    drawn = []

    def theirs(params):
        def log_p(z):
            drawn.append(jax.lax.stop_gradient(z))
            at = jax.vmap(jax.vmap(lambda z: total(model.log_joint(params, (z,), x, ()))))
            return at(z)

        return tfp.vi.csiszar_vimco(lambda log_u: -log_u, log_p, q(params), num_draws=particles, seed=seed)

    theirs(toy.params)
    z = drawn[0][:, 0]  # [K, units], of one set of draws

    def ours(params):
        return objective.loss(Trainable(params), (), jax.random.key(0), x[None], 0)[0]

    def propose(params, key, x, c):
        k = jnp.argmax(jnp.all(jax.random.key_data(keys) == jax.random.key_data(key), axis=-1))
        return (z[k],), model.log_posterior(params, (z[k],), x, c)

    draws = record_draws(lambda model: vimco(model, particles), model, toy.params, jax.random.key(0), x[None])
    keys = jax.random.wrap_key_data(draws.particles)
    objective = vimco(model._replace(propose=propose), particles)
    value, gradient = quick_jit(jax.value_and_grad(ours))(toy.params)
    exact_value, exact = jax.value_and_grad(theirs)(toy.params)
    assert abs(value - exact_value) < 1e-12
    assert worst(gradient, exact) < 1e-12
    assert len({tuple(row) for row in np.asarray(z)}) > 1


# Mutants: each is a plausible mistake, and the check above must see it.


def estimate_with(monkeypatch, change):
    def mutated(p, q, mean):
        estimate = importance_weighted_score(p, q, mean)
        return estimate._replace(**change(estimate, p - q))

    monkeypatch.setattr(MODULE, "importance_weighted_score", mutated)


def wrong_sign(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"recognition": -a.recognition})


def no_weight_taken_off(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"recognition": a.recognition + a.generative})


def uniform_weights_for_p(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"generative": jnp.full_like(w, 1 / len(w))})


def baseline_of_its_own_particle(monkeypatch):
    """The mean that stands in for particle k counts particle k too."""

    def change(a, w):
        others = jnp.log(jnp.sum(jnp.exp(w)) - jnp.exp(w))
        without = jnp.logaddexp(others, jnp.mean(w)) - jnp.log(len(w))
        return {"recognition": a.bound - without - a.generative}

    estimate_with(monkeypatch, change)


def log_weights_as_signal(monkeypatch):
    """The signal of the evidence lower bound, with its leave-one-out baseline."""
    estimate_with(monkeypatch, lambda a, w: {"recognition": w - jnp.mean(w) - a.generative})


def bound_summed_over_weights(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"bound": jax.nn.logsumexp(w)})


class Attached(ScoreLoss):
    """The coefficients move with the parameters."""

    def __call__(self, trainable, state, key, batch, step):
        keys = COMMON.particle_keys(key, Batch(batch), self.num_particles)
        z, terms = COMMON.held_by(self.model, trainable.model, keys, Batch(batch))
        log_p, log_q = total(COMMON.log_joint(self.model, trainable.model, z, Batch(batch))), total(terms)
        a = jax.vmap(lambda p, q: self.estimate(p, q, *self.options))(log_p, log_q)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p + a.recognition * log_q, axis=1))
        return COMMON.loss_of(jnp.mean(a.bound), surrogate), (state, {})


def weights_not_detached(monkeypatch):
    monkeypatch.setattr(MODULE, "ScoreLoss", Attached)


def gradient_of_the_bound_at_the_particles(monkeypatch):
    """The bound is differentiated as if its particles came from somewhere else."""
    estimate_with(monkeypatch, lambda a, w: {"recognition": -a.generative})


MUTANTS = {
    bound_summed_over_weights: ("value",),
    uniform_weights_for_p: ("generative",),
    wrong_sign: ("recognition",),
    no_weight_taken_off: ("recognition",),
    gradient_of_the_bound_at_the_particles: ("recognition",),
    baseline_of_its_own_particle: ("recognition",),
    log_weights_as_signal: ("recognition",),
    weights_not_detached: ("generative", "recognition"),
}


@pytest.mark.slow  # it tests the tests
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail(monkeypatch, mutant):
    """Every mistake moves the expectation of each part that it concerns by far more than round-off."""
    mutant(monkeypatch)
    found = errors("small")
    assert all(found[where] > 1e-3 for where in MUTANTS[mutant]), found


@pytest.mark.usefixtures("x64")
def test_variance_is_lower_than_without_leaving_one_out():
    """The same gradient with the whole bound as every particle's signal has a far larger variance for q."""
    toy, x, particles, _ = setting("one layer, K=3")

    def plain(p, q):
        estimate = estimators.importance_weighted_bound(p, q)
        return estimate._replace(recognition=estimate.bound - estimate.generative)

    def without(model):
        return vimco(model, particles)._replace(loss=ScoreLoss(model, particles, plain))

    runs = [outcomes(build, toy, x) for build in (without, *(lambda m, b=b: vimco(m, particles, b) for b in MEANS))]
    means = [run.mean(run.gradient.model) for run in runs]
    assert max(worst(means[0], mean) for mean in means[1:]) < 1e-12
    variances = [run.variance("recognition") for run in runs]
    assert max(variances[1:]) < 0.5 * variances[0], variances


@pytest.mark.usefixtures("x64")
def test_shared_parameters_follow_the_bound_through_p_and_q():
    toy, x = tied_net(2, 2), np.array([[1.0, 0.0]])
    found = errors_of(outcomes(lambda model: vimco(model, 2), toy, x), exact_loss(toy, x, 2))
    assert set(found) == {"value", "generative", "recognition", "shared"}
    assert max(found.values()) < 1e-10, found


@pytest.mark.usefixtures("x64")
def test_gaussian_particles_are_held_fixed():
    """On a reparameterized model too the gradient is the bound's, by quadrature over two particles' noises."""
    toy, x, nodes = near_posterior(linear_gaussian(1, 1)), jnp.array([[0.7]]), 24
    value, gradient = integrate_loss(lambda model: vimco(model, 2), toy, x, nodes)
    bound = quick_jit(jax.value_and_grad(lambda p: -gaussian_bound(toy, p, x[0], 2, nodes)))
    exact_value, exact = bound(toy.params)
    assert abs(value - exact_value) < 1e-10
    assert worst(gradient, exact) < 1e-8


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built, naming the value and the fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    for number in (0, -1, 2.0, True, None, "3"):
        with pytest.raises(ConfigError, match="num_particles"):
            vimco(model, number)
    with pytest.raises(ConfigError, match=r"got 1, expected at least 2.*reinforce"):
        vimco(model, 1)
    with pytest.raises(ConfigError, match=r"mean: got 'harmonic', expected one of 'geometric', 'arithmetic'"):
        vimco(model, 2, "harmonic")
    with pytest.raises(ConfigError, match="at least 2"):
        importance_weighted_score(jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(ModelError, match="vimco needs a LatentVariableModel"):
        vimco({})
    assert vimco(model) == vimco(sigmoid_belief_network(3, layers=(2,)))
    vimco(vae(3, latent=1))
