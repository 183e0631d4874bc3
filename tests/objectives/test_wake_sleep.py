"""Wake-sleep and reweighted wake-sleep are what they claim, by enumeration of every draw in float64."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import (
    enumerate_loss,
    exact_bound,
    integrate_loss,
    linear_gaussian,
    net,
    net_log_joint,
    net_log_posterior,
    net_log_weights,
    normal_nodes,
    particle_sets,
    quick_jit,
    worst,
)

from genjax_models.core import Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import particles as estimators
from genjax_models.objectives import reweighted_wake_sleep, wake_sleep
from genjax_models.objectives.common import loss_of, only

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.wake_sleep")
pytestmark = pytest.mark.usefixtures("x64")

# (layers, D, K, examples of the batch)
SIZES = {
    "one layer": ((3,), 2, 1, 1),
    "two layers": ((2, 2), 2, 1, 1),
    "batch of two": ((2,), 1, 1, 2),
    "one layer, K=2": ((3,), 2, 2, 1),
    "one layer, K=3": ((2,), 2, 3, 1),
    "two layers, K=2": ((2, 2), 1, 2, 1),
    "batch of two, K=2": ((1,), 1, 2, 2),
}


def toy_and_batch(layers, visible, batch):
    toy = net(layers, visible)
    return toy, jnp.asarray(toy.x[1 : 1 + batch] if batch > 1 else toy.x[-2:-1])


def normalized(log_w):
    return jnp.exp(log_w - jax.nn.logsumexp(log_w, axis=-1, keepdims=True))


def exact_loss_and_gradient(toy, x, particles, wake, sleep):
    """The expected loss, and its gradient: of -bound for p; of the phases' cross-entropies for q. One example x."""
    generative, recognition = toy.params["generative"], toy.params["recognition"]
    sets = particle_sets(len(toy.z[0]), particles)
    log_p, log_q = net_log_weights(toy, toy.params, x)
    chance, weights = jnp.exp(jnp.sum(log_q[sets], axis=1)), normalized((log_p - log_q)[sets])
    z, dreamt = toy.joint
    dream_chance = jnp.exp(net_log_joint(generative, z, dreamt))

    def minus_bound(generative):
        params = {"generative": generative, "recognition": recognition}
        return -exact_bound(toy, params, x, particles)

    def cross_entropies(recognition):
        taught = chance @ jnp.sum(weights * net_log_posterior(recognition, toy.z, x)[sets], axis=1)
        return -wake * taught - sleep * (dream_chance @ net_log_posterior(recognition, z, dreamt))

    value, of_p = jax.value_and_grad(minus_bound)(generative)
    return value, {"generative": of_p, "recognition": jax.grad(cross_entropies)(recognition)}


def expected_error(build, toy, x, particles, wake, sleep):
    """How far the expected loss and gradients (value, p, q) are from the exact ones."""
    value, gradient = enumerate_loss(build, toy, x).expected()
    exact = quick_jit(jax.vmap(lambda x: exact_loss_and_gradient(toy, x, particles, wake, sleep)))(x)
    exact_value, exact_gradient = jax.tree.map(lambda v: jnp.mean(v, axis=0), exact)
    errors = {group: worst(gradient[group], exact_gradient[group]) for group in gradient}
    return {"value": abs(float(value - exact_value)), **errors}


def pointwise_error(build, toy, x, wake, sleep, reweighted):
    """How far the loss and gradient of any single outcome are from their definition on its particles and dreams."""
    found = enumerate_loss(build, toy, x)
    z = tuple(jnp.asarray(layer)[found.particles] for layer in toy.z)  # [M, P, units]
    dream = jax.tree.map(lambda v: jnp.asarray(v)[found.dreams], toy.joint)  # [M, Q, units]
    batch, frozen = len(x), toy.params
    # Particles of one example stand together once sorted by example; equal examples may not be told apart.
    order = np.lexsort(found.examples.T)
    z, examples = jax.tree.map(lambda v: v[:, order], z), found.examples[order]

    def define(params, z, dream):
        def by_example(v):
            return v.reshape(batch, -1)

        log_w = by_example(net_log_joint(frozen["generative"], z, examples))
        log_w = log_w - by_example(net_log_posterior(frozen["recognition"], z, examples))
        bound = jax.nn.logsumexp(log_w, axis=1) - np.log(log_w.shape[1]) if reweighted else jnp.mean(log_w, axis=1)
        a = normalized(log_w) if reweighted else jnp.full_like(log_w, 1 / log_w.shape[1])
        surrogate = jnp.sum(a * by_example(net_log_joint(params["generative"], z, examples)), axis=1)
        surrogate += wake * jnp.sum(a * by_example(net_log_posterior(params["recognition"], z, examples)), axis=1)
        asleep = jnp.sum(net_log_posterior(params["recognition"], *dream)) / batch
        return -jnp.mean(bound), -jnp.mean(surrogate) - sleep * asleep

    def both(z, dream):
        return define(frozen, z, dream)[0], jax.grad(lambda p: define(p, z, dream)[1])(frozen)

    value, gradient = quick_jit(jax.vmap(both))(z, dream)
    return max(worst(found.loss, value), worst(found.gradient, gradient))


@pytest.mark.parametrize("size", [s for s in SIZES if SIZES[s][2] == 1])
def test_wake_sleep_gradients_are_exact_in_expectation(size):
    """p follows the ELBO's gradient and q that of E_p log q(z | x), to round-off, and the loss is minus the ELBO."""
    layers, visible, particles, batch = SIZES[size]
    toy, x = toy_and_batch(layers, visible, batch)
    errors = expected_error(wake_sleep, toy, x, particles, wake=0.0, sleep=1.0)
    assert max(errors.values()) < 1e-10, errors


@pytest.mark.parametrize(
    ("size", "wake", "sleep"),
    [(size, 0.5, 0.5) for size in SIZES if SIZES[size][2] > 1]
    + [(size, *weights) for size in ("one layer, K=3", "two layers, K=2") for weights in ((1.0, None), (None, 0.7))],
)
def test_reweighted_wake_sleep_gradients_are_exact_in_expectation(size, wake, sleep):
    """p follows the gradient of the K-particle bound; q that of its weighted particles and of dreams."""
    layers, visible, particles, batch = SIZES[size]
    toy, x = toy_and_batch(layers, visible, batch)
    build = functools.partial(reweighted_wake_sleep, num_particles=particles, wake=wake, sleep=sleep)
    errors = expected_error(build, toy, x, particles, wake or 0.0, sleep or 0.0)
    assert max(errors.values()) < 1e-10, errors


def test_each_outcome_follows_the_definition():
    """Not only in expectation: every set of particles and every dream gives the gradient that the papers write."""
    toy, x = toy_and_batch((2,), 1, 2)
    assert pointwise_error(wake_sleep, toy, x, wake=0.0, sleep=1.0, reweighted=False) < 1e-10
    toy, x = toy_and_batch((2, 1), 1, 1)
    build = functools.partial(reweighted_wake_sleep, num_particles=3, wake=0.4, sleep=0.7)
    assert pointwise_error(build, toy, x, wake=0.4, sleep=0.7, reweighted=True) < 1e-10


# Mutants: each is a plausible mistake, and the checks above must see it.


def wrong_sign(monkeypatch):
    stop = jax.lax.stop_gradient
    monkeypatch.setattr(MODULE, "loss_of", lambda bound, surrogate: -stop(bound) + (surrogate - stop(surrogate)))


def surrogate_as_value(monkeypatch):
    monkeypatch.setattr(MODULE, "loss_of", lambda bound, surrogate: -surrogate)


def value_rescaled(monkeypatch):
    monkeypatch.setattr(MODULE, "loss_of", lambda bound, surrogate: loss_of(2 * bound, surrogate))


def estimate_with(monkeypatch, change):
    original = estimators.reweighted_wake
    monkeypatch.setattr(MODULE, "reweighted_wake", lambda p, q: original(p, q)._replace(**change(p, q)))


def unnormalized_weights(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"generative": jnp.exp(p - q), "recognition": jnp.exp(p - q) / p.shape[0]})


def uniform_weights_for_p(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"generative": jnp.full_like(p, 1 / p.shape[0])})


def uniform_weights_for_q(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"recognition": jnp.full_like(p, 1 / p.shape[0])})


def no_wake_update_of_q(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"recognition": jnp.zeros_like(p)})


def importance_weighted_sign_for_q(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"recognition": -jax.nn.softmax(p - q)})


def weights_of_p_without_q(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"generative": jax.nn.softmax(p), "recognition": jax.nn.softmax(p)})


def sum_instead_of_mean_of_weights(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"bound": jax.nn.logsumexp(p - q)})


def handwritten(
    model, particles, wake, sleep, *, detached=True, draws_fixed=True, dreams_fixed=True, dreams_teach_p=False
):
    """Reweighted wake-sleep written out, with switches for mistakes."""
    stop = jax.lax.stop_gradient

    def score(params, z, x):
        return total(model.log_joint(params, z, x, ())), total(model.log_posterior(params, z, x, ()))

    def loss(trainable, state, key, batch, step):
        params = trainable.model

        def example(keys, x):
            z, _ = jax.vmap(lambda k: model.propose(params, k, x, ()))(keys[:-1])
            log_p, log_q = jax.vmap(lambda z: score(params, stop(z) if draws_fixed else z, x))(z)
            a = jax.nn.softmax(stop(log_p - log_q) if detached else log_p - log_q)
            dream = model.sample_joint(params, keys[-1], ())
            dream_p, dream_q = score(params, *(stop(dream) if dreams_fixed else dream))
            bound = jax.nn.logsumexp(log_p - log_q) - np.log(particles)
            return bound, a @ log_p + wake * (a @ log_q) + sleep * dream_q + (dream_p if dreams_teach_p else 0.0)

        keys = jax.random.split(key, (len(batch), particles + 1))
        return loss_of(*map(jnp.mean, jax.vmap(example)(keys, batch))), (state, {})

    return wake_sleep(model)._replace(loss=loss)


def weights_not_detached(monkeypatch):
    """The surrogate's coefficients move with the parameters."""
    return lambda model: handwritten(model, 2, 0.4, 0.7, detached=False)


def groups_exchanged(monkeypatch):
    other = {"generative": "recognition", "recognition": "generative"}
    monkeypatch.setattr(MODULE, "only", lambda group, params: only(other[group], params))


def sleep_without_gradient(monkeypatch):
    monkeypatch.setattr(MODULE, "only", lambda group, params: jax.lax.stop_gradient(params))


def dreams_of_something_else(monkeypatch):
    """Sleep recognizes the dreamt latents in x = 1 instead of in what they generated."""

    def build(model):
        def sample_joint(params, key, c):
            z, x = model.sample_joint(params, key, c)
            return z, jnp.ones_like(x)

        return mutated_build(model._replace(sample_joint=sample_joint))

    return build


def batch_summed(monkeypatch):
    """The batch (as of two examples) is summed."""

    def build(model):
        objective = mutated_build(model)

        def loss(*args):
            value, aux = objective.loss(*args)
            return 2 * value, aux

        return objective._replace(loss=loss)

    return build


def phases_share_a_weight(monkeypatch):
    monkeypatch.setattr(MODULE, "value_at", lambda value, step: 0.5)


# What each mistake must be seen in.
EXPECTED_MUTANTS = {
    surrogate_as_value: ("value",),
    value_rescaled: ("value",),
    sum_instead_of_mean_of_weights: ("value",),
    batch_summed: ("value", "generative", "recognition"),
    wrong_sign: ("generative", "recognition"),
    unnormalized_weights: ("generative", "recognition"),
    weights_of_p_without_q: ("generative", "recognition"),
    weights_not_detached: ("generative", "recognition"),
    groups_exchanged: ("generative", "recognition"),
    uniform_weights_for_p: ("generative",),
    uniform_weights_for_q: ("recognition",),
    no_wake_update_of_q: ("recognition",),
    importance_weighted_sign_for_q: ("recognition",),
    sleep_without_gradient: ("recognition",),
    dreams_of_something_else: ("recognition",),
    phases_share_a_weight: ("recognition",),
}


def mutated_build(model):
    return reweighted_wake_sleep(model, 2, wake=0.4, sleep=0.7)


@pytest.mark.slow
def test_what_mutants_start_from_passes():
    """The mutants below differ from this by their mistake alone."""
    toy, x = toy_and_batch((2,), 2, 1)
    for build in (mutated_build, lambda model: handwritten(model, 2, 0.4, 0.7)):
        assert max(expected_error(build, toy, x, 2, 0.4, 0.7).values()) < 1e-10


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize("mutant", EXPECTED_MUTANTS)
def test_mutants_fail_the_expected_gradient(monkeypatch, mutant):
    """Every mistake moves the expectation of each part that it concerns by far more than round-off."""
    toy, x = toy_and_batch((2,), 2, 1)
    build = mutant(monkeypatch) or mutated_build
    errors = expected_error(build, toy, x, 2, 0.4, 0.7)
    assert all(errors[where] > 1e-3 for where in EXPECTED_MUTANTS[mutant]), errors


def wake_teaches_q_unweighted(model):
    """Wake-sleep whose wake phase adds grad log q at q's own samples: its expectation is zero, its variance is not."""
    return handwritten(model, 1, wake=1.0, sleep=1.0)


def dreams_teach_p(model):
    """Sleep that adds grad log p at p's own dreams, likewise without expectation."""
    return handwritten(model, 1, wake=0.0, sleep=1.0, dreams_teach_p=True)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [wake_teaches_q_unweighted, dreams_teach_p])
def test_mutants_without_expectation_fail_pointwise(mutant):
    """Updates that vanish in expectation pass the first check, and must fail the second."""
    toy, x = toy_and_batch((2,), 2, 1)
    assert max(expected_error(mutant, toy, x, 1, 0.0, 1.0).values()) < 1e-10
    assert pointwise_error(mutant, toy, x, wake=0.0, sleep=1.0, reweighted=False) > 1e-3


@pytest.mark.parametrize("latent", [1, 2])
def test_bias_of_the_wake_update_shrinks_with_particles(latent):
    """q's expected wake update at K = 1, 2, 4 comes ever closer to E_{p(z|x)} grad log q(z | x)."""
    toy, batch = toy_and_batch((latent,), 2, 1)
    x = batch[0]
    log_p, _ = net_log_weights(toy, toy.params, x)
    limit = jax.grad(lambda r: normalized(log_p) @ net_log_posterior(r, toy.z, x))(toy.params["recognition"])

    def bias(particles):
        build = functools.partial(reweighted_wake_sleep, num_particles=particles, wake=1.0, sleep=None)
        _, gradient = enumerate_loss(build, toy, batch).expected()
        difference = jax.tree.map(lambda g, e: -g - e, gradient["recognition"], limit)
        return float(optax.tree.norm(difference))

    # A single particle has weight one: nothing is learned, and the bias is the whole limit.
    biases = [bias(particles) for particles in (1, 2, 4)]
    assert biases[0] == pytest.approx(float(optax.tree.norm(limit)), abs=1e-12)
    assert all(after < 0.75 * before for before, after in itertools.pairwise(biases)), biases


# Gaussian latents: draws that could carry gradients are held fixed.


def gaussian_errors(build, toy, x, particles, wake, sleep, nodes=14):
    """As `expected_error`, by quadrature, for a linear-Gaussian model with one latent and one visible unit."""
    value, gradient = integrate_loss(build, toy, x, nodes, dream_nodes=nodes)
    grid, weights = normal_nodes(nodes, particles)
    dreams, dream_weights = normal_nodes(nodes, 2)
    model, params = toy.model, toy.params

    def at(function, z, x):
        return jax.vmap(lambda z, x: total(function(z, x, ())))(z, x)

    def phases(params, frozen):
        """(minus) the objective whose derivative with respect to `params` alone is each phase's update."""
        layer = frozen["recognition"]["network"]["layers_0"]
        mean, log_scale = x[0] @ layer["kernel"] + layer["bias"]
        z = (mean + jnp.exp(log_scale) * grid).reshape(-1, 1)
        xs = jnp.broadcast_to(x[0], (len(z), 1))

        def score(p):
            log_p = at(functools.partial(model.log_joint, p), z, xs).reshape(grid.shape)
            return log_p, at(functools.partial(model.log_posterior, p), z, xs).reshape(grid.shape)

        (log_p, log_q), fixed = score(params), score(frozen)
        log_w = fixed[0] - fixed[1]
        a = normalized(log_w)
        below = frozen["generative"]["network"]["layers_0"]
        above, dreamt = dreams[:, :1], dreams[:, :1] @ below["kernel"] + below["bias"] + toy.scale * dreams[:, 1:]
        asleep = dream_weights @ at(functools.partial(model.log_posterior, params), above, dreamt)
        bound = weights @ (jax.nn.logsumexp(log_w, axis=1) - np.log(particles))
        taught = weights @ jnp.sum(a * (log_p + wake * log_q), axis=1)
        return -taught - sleep * asleep, -bound

    exact, exact_value = quick_jit(jax.grad(phases, has_aux=True))(params, params)
    errors = {group: worst(gradient[group], exact[group]) for group in gradient}
    return {"value": abs(float(value - exact_value)), **errors}


@pytest.mark.parametrize("particles", [1, 2])
def test_gaussian_draws_are_held_fixed(particles):
    """On reparameterized models too each phase reaches its own group alone."""
    toy = linear_gaussian(1, 1)
    x = np.array([[0.7]])
    wake, sleep = (0.0, 1.0) if particles == 1 else (0.4, 0.7)

    def build(model):
        return wake_sleep(model) if particles == 1 else reweighted_wake_sleep(model, particles, wake, sleep)

    errors = gaussian_errors(build, toy, x, particles, wake, sleep)
    assert max(errors.values()) < 1e-10, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "where"), [({"draws_fixed": False}, "recognition"), ({"dreams_fixed": False}, "generative"), ({}, None)]
)
def test_mutants_with_moving_draws_fail(mistake, where):
    """Gradients through the samples reach the wrong group."""
    build = functools.partial(handwritten, particles=1, wake=0.0, sleep=1.0, **mistake)
    errors = gaussian_errors(build, linear_gaussian(1, 1), np.array([[0.7]]), 1, 0.0, 1.0)
    assert errors[where] > 1e-3 if mistake else max(errors.values()) < 1e-10, errors


def test_weights_may_follow_the_step():
    """Schedules of wake and sleep are read at the step, and 0 weighs as None does."""
    toy, x = toy_and_batch((2,), 1, 1)
    schedule = functools.partial(optax.linear_schedule, transition_steps=10)
    build = functools.partial(reweighted_wake_sleep, num_particles=2, wake=schedule(0.0, 1.0), sleep=schedule(0.8, 0.2))
    _, gradient = enumerate_loss(build, toy, x, step=5).expected()
    _, exact = quick_jit(lambda: exact_loss_and_gradient(toy, x[0], 2, 0.5, 0.5))()
    assert worst(gradient, exact) < 1e-10
    _, start = enumerate_loss(build, toy, x, step=0).expected()
    without = functools.partial(reweighted_wake_sleep, num_particles=2, wake=None, sleep=0.8)
    assert worst(start, enumerate_loss(without, toy, x).expected()[1]) < 1e-12


def test_metrics_are_the_bound_and_the_dreams():
    """Metric bound is minus the loss exactly; sleep is reported where there is a sleep phase, and only there."""
    toy, x = toy_and_batch((2, 2), 3, 2)
    for objective, names in [
        (wake_sleep(toy.model), {"bound", "sleep"}),
        (reweighted_wake_sleep(toy.model, 3), {"bound", "sleep"}),
        (reweighted_wake_sleep(toy.model, 3, sleep=None), {"bound"}),
    ]:
        loss, (state, metrics) = quick_jit(objective.loss)(Trainable(toy.params), (), jax.random.key(3), x, 0)
        assert set(metrics) == names
        assert state == ()
        assert float(metrics["bound"]) == -float(loss)


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built (or, where parameters tell, when initialized), naming the fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    x = jnp.zeros((1, 3))
    params = model.init(jax.random.key(0), x[0], ())
    for objective in (wake_sleep(model), reweighted_wake_sleep(model)):
        assert objective.init(jax.random.key(0), params, x) == ((), ())
        with pytest.raises(ModelError, match=r"shared.*elbo or iwae"):
            objective.init(jax.random.key(0), {**params, "shared": params["generative"]}, x)
    for number in (0, -1, 2.0, True, None, "3"):
        with pytest.raises(ConfigError, match="num_particles"):
            reweighted_wake_sleep(model, number)
    with pytest.raises(ConfigError, match="wake and sleep"):
        reweighted_wake_sleep(model, wake=None, sleep=None)
    for build, name in ((wake_sleep, "wake_sleep"), (reweighted_wake_sleep, "reweighted_wake_sleep")):
        with pytest.raises(ModelError, match=f"{name} needs a LatentVariableModel"):
            build(params)
        build(vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh")))
