"""The bidirectional Helmholtz machine's objective is what it claims, by enumeration of every draw in float64."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drills import rarely
from toys import (
    enumerate_loss,
    net,
    net_log_posterior,
    net_log_weights,
    particle_sets,
    quick_jit,
    single_unit_posterior,
    worst,
)

from genjax_models.core import Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import Bidirectional, bidirectional
from genjax_models.objectives import particles as estimators

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.bidirectional")
pytestmark = pytest.mark.usefixtures("x64")

# (layers, D, K, examples of the batch)
SIZES = {
    "one layer, K=1": ((3,), 2, 1, 1),
    "one layer, K=3": ((2,), 2, 3, 1),
    "two layers, K=2": ((2, 1), 2, 2, 1),
    "three layers, K=2": ((1, 1, 1), 2, 2, 1),
    "batch of two, K=2": ((1,), 1, 2, 2),
    "small, K=2": ((2,), 1, 2, 1),
}


def toy_and_batch(layers, visible, batch):
    toy = net(layers, visible)
    return toy, jnp.asarray(toy.x[1 : 1 + batch] if batch > 1 else toy.x[-2:-1])


def log_p_star_tilde(toy, params, x):
    """log p~*(x) = 2 log sum_z sqrt(p(x, z) q(z | x))."""
    log_p, log_q = net_log_weights(toy, params, x)
    return 2 * jax.nn.logsumexp((log_p + log_q) / 2)


def exact_bound(toy, params, x, particles):
    """E 2 log (1/K) sum_k sqrt(p(x, z_k) / q(z_k | x)), the law of the particles included."""
    log_p, log_q = net_log_weights(toy, params, x)
    sets = particle_sets(len(log_p), particles)
    roots = jnp.exp((log_p - log_q)[sets] / 2)
    return jnp.exp(jnp.sum(log_q[sets], axis=1)) @ (2 * jnp.log(jnp.mean(roots, axis=1)))


def exact_loss_and_gradient(toy, x, particles):
    """The expected loss with its gradient for p, and what is expected of q's update. One example x."""
    generative, recognition = toy.params["generative"], toy.params["recognition"]
    log_p, log_q = net_log_weights(toy, toy.params, x)
    sets = particle_sets(len(log_p), particles)
    roots = jnp.exp((log_p - log_q)[sets] / 2)
    weights = jnp.exp(jnp.sum(log_q[sets], axis=1))[:, None] * roots / jnp.sum(roots, axis=1, keepdims=True)

    def minus_bound(generative):
        return -exact_bound(toy, {"generative": generative, "recognition": recognition}, x, particles)

    def minus_taught(recognition):
        return -jnp.sum(weights * net_log_posterior(recognition, toy.z, x)[sets])

    value, of_p = jax.value_and_grad(minus_bound)(generative)
    return value, {"generative": of_p, "recognition": jax.grad(minus_taught)(recognition)}


@functools.cache
def exact_of(size):
    """`exact_loss_and_gradient` of a size in the mean over its batch."""
    layers, visible, particles, batch = SIZES[size]
    toy, x = toy_and_batch(layers, visible, batch)
    exact = quick_jit(jax.vmap(lambda x: exact_loss_and_gradient(toy, x, particles)))(x)
    return jax.tree.map(lambda v: jnp.mean(v, axis=0), exact)


def expected_error(build, size):
    """How far the expected loss and gradients (value, p, q) are from the exact ones."""
    layers, visible, _, batch = SIZES[size]
    value, gradient = enumerate_loss(build, *toy_and_batch(layers, visible, batch)).expected()
    exact_value, exact_gradient = exact_of(size)
    errors = {group: worst(gradient[group], exact_gradient[group]) for group in gradient}
    return {"value": abs(float(value - exact_value)), **errors}


@pytest.mark.parametrize("size", rarely(SIZES, "three layers, K=2", "one layer, K=3", "small, K=2"))
def test_gradients_are_exact_in_expectation(size):
    """p follows the expected bound's gradient, q its enumerated definition, centred or not; the value is the bound."""
    for centred in (True, False):
        build = functools.partial(bidirectional, num_particles=SIZES[size][2], centred=centred)
        errors = expected_error(build, size)
        assert max(errors.values()) < 1e-10, (centred, errors)


@pytest.mark.parametrize("centred", [True, False])
def test_each_outcome_follows_the_algorithm(centred):
    """Every set of particles gives 2 sum_k w~_k grad log sqrt(p q), as the paper writes, less the centring."""
    toy, x = toy_and_batch((2,), 2, 1)
    found = enumerate_loss(functools.partial(bidirectional, num_particles=2, centred=centred), toy, x)
    z = tuple(jnp.asarray(layer)[found.particles] for layer in toy.z)

    def one(z):
        def scores(params):
            return net_log_weights(toy._replace(z=z), params, x[0])

        log_p, log_q = scores(toy.params)
        w = jnp.sqrt(jnp.exp(log_p - log_q))
        w_q = w / jnp.sum(w) - (0.5 if centred else 0.0)
        loss = -2 * jnp.log(jnp.mean(w))
        return loss, jax.grad(lambda p: -(w / jnp.sum(w)) @ scores(p)[0] - w_q @ scores(p)[1])(toy.params)

    loss, gradient = quick_jit(jax.vmap(one))(z)
    assert max(worst(found.loss, loss), worst(found.gradient, gradient)) < 1e-10


@pytest.mark.slow
def test_bias_of_q_shrinks_with_particles():
    """q's expected update comes ever closer to grad log p~*(x), and so does p's, whose objective is the bound."""
    toy, batch = toy_and_batch((2,), 2, 1)
    limit = jax.grad(lambda p: log_p_star_tilde(toy, p, batch[0]))(toy.params)

    def bias(particles):
        build = functools.partial(bidirectional, num_particles=particles)
        _, gradient = enumerate_loss(build, toy, batch).expected()
        return {group: float(optax.tree.norm(optax.tree.add(gradient[group], limit[group]))) for group in gradient}

    biases = [bias(particles) for particles in (1, 2, 4)]
    # A single particle has weight one: nothing is learned, and q's bias is the whole limit.
    assert biases[0]["recognition"] == pytest.approx(float(optax.tree.norm(limit["recognition"])), abs=1e-12)
    for group in ("generative", "recognition"):
        assert all(after[group] < 0.75 * before[group] for before, after in itertools.pairwise(biases)), biases
    assert biases[-1]["recognition"] > 1e-4


def test_bounds_are_ordered():
    """E bound_1 < E bound_2 < E bound_4 < log p~*(x) < log p(x), and sum_x p~*(x) = Z^2 < 1, so log p~* < log p*."""
    toy = net((2,), 2)

    def of(x):
        log_p, _ = net_log_weights(toy, toy.params, x)
        bounds = [exact_bound(toy, toy.params, x, particles) for particles in (1, 2, 4)]
        return jnp.stack([*bounds, log_p_star_tilde(toy, toy.params, x), jax.nn.logsumexp(log_p)])

    values = quick_jit(jax.vmap(of))(jnp.asarray(toy.x))
    assert np.all(np.diff(values, axis=1) > 1e-4)
    assert np.sum(np.exp(values[:, 3])) < 1 - 1e-3


def total_variance(found):
    """The sum of the variances of q's gradient, over all outcomes."""
    gradient = found.gradient["recognition"]
    mean = found.expected()[1]["recognition"]
    return float(found.chance @ sum(jax.tree.leaves(jax.tree.map(_squares, gradient, mean))))


def _squares(gradient, mean):
    return jnp.sum((gradient - mean) ** 2, axis=tuple(range(1, gradient.ndim)))


@pytest.mark.slow
def test_centring_takes_variance_away():
    """q's update is less noisy for it, and at q(z | x) = p(z | x) without any noise."""
    toy, x = toy_and_batch((1,), 2, 1)
    solved = {**toy.params, "recognition": single_unit_posterior(toy.params["generative"])}
    for params, ratio in ((toy.params, 0.5), (solved, 1e-20)):
        plain, centred = (
            total_variance(
                enumerate_loss(
                    functools.partial(bidirectional, num_particles=3, centred=c), toy._replace(params=params), x
                )
            )
            for c in (False, True)
        )
        assert centred < ratio * plain, (centred, plain)


# Mutants: each is a plausible mistake, and the check of the expectation must see it.


def estimate_with(monkeypatch, change):
    original = estimators.centred_square_root_bound
    monkeypatch.setattr(MODULE, "centred_square_root_bound", lambda p, q: original(p, q)._replace(**change(p, q)))


def _root_weights(p, q):
    return jax.nn.softmax((p - q) / 2)


MUTANTS = {
    "weights without the root": (lambda p, q: {"generative": jax.nn.softmax(p - q)}, "generative"),
    "q's weights without the root": (lambda p, q: {"recognition": jax.nn.softmax(p - q)}, "recognition"),
    "gradient of log sqrt(p q)": (lambda p, q: {"generative": _root_weights(p, q) / 2}, "generative"),
    "gradient of the path for q": (lambda p, q: {"recognition": -_root_weights(p, q)}, "recognition"),
    "q left out": (lambda p, q: {"recognition": jnp.zeros_like(q)}, "recognition"),
    "unnormalized weights": (lambda p, q: {"generative": jnp.exp((p - q) / 2)}, "generative"),
    "bound of p": (lambda p, q: {"bound": jax.nn.logsumexp(p - q) - jnp.log(2.0)}, "value"),
    "log of the root": (lambda p, q: {"bound": jax.nn.logsumexp((p - q) / 2) - jnp.log(2.0)}, "value"),
    "sum instead of mean": (lambda p, q: {"bound": 2 * jax.nn.logsumexp((p - q) / 2)}, "value"),
}


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail_the_expected_gradient(monkeypatch, mutant):
    """Every mistake moves the expectation of the part that it concerns by far more than round-off."""
    change, where = MUTANTS[mutant]
    estimate_with(monkeypatch, change)
    errors = expected_error(functools.partial(bidirectional, num_particles=2), "small, K=2")
    assert errors[where] > 1e-3, errors


def test_metric_is_the_bound():
    """Metric bound is minus the loss exactly, and the configuration builds the same objective."""
    toy, x = toy_and_batch((2, 2), 3, 2)
    objective = bidirectional(toy.model, 3)
    assert objective == Bidirectional(num_particles=3).build(toy.model) != bidirectional(toy.model, 3, centred=False)
    loss, (state, metrics) = quick_jit(objective.loss)(Trainable(toy.params), (), jax.random.key(3), x, 0)
    assert set(metrics) == {"bound"}
    assert state == ()
    assert float(metrics["bound"]) == -float(loss)


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built (or, where parameters tell, when initialized), naming the fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    x = jnp.zeros((1, 3))
    params = model.init(jax.random.key(0), x[0], ())
    objective = bidirectional(model)
    assert objective.init(jax.random.key(0), params, x) == ((), ())
    with pytest.raises(ModelError, match=r"bidirectional.*shared.*elbo or iwae"):
        objective.init(jax.random.key(0), {**params, "shared": params["generative"]}, x)
    for number in (0, -1, 2.0, True, None, "3"):
        with pytest.raises(ConfigError, match="bidirectional: num_particles"):
            bidirectional(model, number)
    with pytest.raises(ConfigError, match="bidirectional: centred: got 'no', expected True or False"):
        bidirectional(model, centred="no")
    with pytest.raises(ModelError, match="bidirectional needs a LatentVariableModel"):
        bidirectional(params)
    bidirectional(vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh")))
