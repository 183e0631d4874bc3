"""The thermodynamic objective is its definition for every set of particles, and its bias shrinks as they grow."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from enumeration import enumerated, exact_bound, log_evidence, log_terms, sets_of
from outcomes import outcomes, tied_net
from toys import quick_jit, worst

from genjax_models.core import Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import thermodynamic
from genjax_models.objectives.particles import thermodynamic_bound
from genjax_models.objectives.thermodynamic import log_spaced

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.thermodynamic")

# (fields of the net, K, P, beta_1)
CASES = {
    "one layer": ({"layers": (2,)}, 3, 2, 0.3),
    "two layers": ({"layers": (2, 1)}, 2, 4, 0.1),
    "three layers": ({"layers": (1, 1, 1)}, 2, 3, 0.2),
    "auto-regressive": ({"layers": (2, 1), "generative": "autoregressive", "recognition": "autoregressive"}, 2, 3, 0.1),
}


def betas_of(partitions, beta_1):
    """0 and `partitions` betas from beta_1 to 1, each the same multiple of the one before it."""
    ratio = beta_1 ** (-1 / (partitions - 1))
    return [0.0, *(beta_1 * ratio**i for i in range(partitions))]


def riemann_sum(log_p, log_q, log_r, betas):
    """sum_i (beta_{i+1} - beta_i) E_beta_i[log p - log q], with E_beta by weights p^beta q^(1 - beta) / r, r fixed."""
    value = 0.0
    for beta, after in itertools.pairwise(betas):
        weights = jax.nn.softmax(beta * log_p + (1 - beta) * log_q - log_r)
        value += (after - beta) * (weights @ (log_p - log_q))
    return value


@functools.cache
def setting(case):
    """The toy, x, and the loss and gradient that define the estimator, of every set of particles."""
    fields, particles, partitions, beta_1 = CASES[case]
    toy, x = enumerated(sigmoid_belief_network(2, **fields), 2), np.array([[1.0, 0.0]])
    betas = betas_of(partitions, beta_1)
    _, log_r = log_terms(toy, toy.params, x[0])

    def loss(params, states):
        log_p, log_q = log_terms(toy, params, x[0])
        return -riemann_sum(log_p[states], log_q[states], log_r[states], betas)

    sets = sets_of(toy.number, particles)
    return toy, x, quick_jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(toy.params, sets)


def errors(case):
    """How far any outcome's loss and gradient are from their definition."""
    _, particles, partitions, beta_1 = CASES[case]
    toy, x, (value, gradient) = setting(case)
    run = outcomes(lambda model: thermodynamic(model, particles, partitions, beta_1), toy, x)
    assert abs(float(jnp.sum(run.chance)) - 1) < 1e-12
    # Particles come in the order of the recorded keys; the definition does not depend on it.
    order = {tuple(sorted(s)): i for i, s in enumerate(sets_of(toy.number, particles))}
    rows = np.array([order[tuple(sorted(s))] for s in run.particles])
    found = {"value": worst(run.loss, value[rows])}
    return found | {g: worst(v, jax.tree.map(lambda e: e[rows], gradient[g])) for g, v in run.gradient.model.items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
def test_each_outcome_follows_the_definition(case):
    """For every set of particles: the self-normalized Riemann sum, whose proposal q alone is held fixed."""
    found = errors(case)
    assert max(found.values()) < 1e-10, found


@pytest.mark.usefixtures("x64")
def test_partition_is_log_spaced():
    """From 0 over beta_1 to 1, in equal ratios."""
    for partitions, beta_1 in ((2, 0.3), (5, 0.01)):
        assert worst(log_spaced(beta_1, partitions), np.array(betas_of(partitions, beta_1))) < 1e-12


@pytest.mark.usefixtures("x64")
def test_bias_shrinks_with_particles():
    """Expected value and gradient come ever closer to those of the exact Riemann sum, which lies below log p(x)."""
    toy, x = enumerated(sigmoid_belief_network(2, layers=(1,)), 2), jnp.array([1.0, 0.0])
    betas = jnp.array(betas_of(3, 0.2))

    def exact(params):
        log_p, log_q = log_terms(toy, params, x)
        return riemann_sum(log_p, log_q, jnp.zeros(2), list(betas))

    limit, slope = quick_jit(jax.value_and_grad(exact))(toy.params)
    assert float(exact_bound(toy, toy.params, x)) < float(limit) < float(log_evidence(toy, toy.params, x))
    log_p, log_q = log_terms(toy, toy.params, x)
    of_p, of_q = jax.jacobian(lambda params: log_terms(toy, params, x))(toy.params)
    biases = []
    for particles in (2, 4, 8):
        sets = sets_of(toy.number, particles)
        chance = jnp.exp(jnp.sum(log_q[sets], axis=1))
        estimate = quick_jit(jax.vmap(lambda p, q: thermodynamic_bound(p, q, betas)))(log_p[sets], log_q[sets])

        def weigh(coefficients, sets=sets, chance=chance):
            return jnp.zeros(toy.number).at[sets].add(chance[:, None] * coefficients)

        a, b = weigh(estimate.generative), weigh(estimate.recognition)
        expected = jax.tree.map(lambda p, q, a=a, b=b: jnp.tensordot(a, p, 1) + jnp.tensordot(b, q, 1), of_p, of_q)
        bias = jax.tree.map(jnp.subtract, expected, slope)
        value = abs(float(chance @ estimate.bound - limit))
        biases.append((value, *(float(optax.tree.norm(bias[group])) for group in bias)))
    assert min(biases[0]) > 1e-4, biases
    assert all(np.all(np.array(b) < 0.75 * np.array(a)) for a, b in itertools.pairwise(biases)), biases


# Mutants: each is a plausible mistake, and the check of every outcome must see it.


def estimate_with(monkeypatch, change):
    def mutated(p, q, betas):
        estimate = thermodynamic_bound(p, q, betas)
        return estimate._replace(**change(estimate, p, q, betas))

    monkeypatch.setattr(MODULE, "thermodynamic_bound", mutated)


def wrong_sign(monkeypatch):
    estimate_with(monkeypatch, lambda a, p, q, betas: {"recognition": -a.recognition})


def right_ends(monkeypatch):
    def mutated(p, q, betas):
        return thermodynamic_bound(p, q, jnp.concatenate([betas[1:], jnp.ones(1)]))

    monkeypatch.setattr(MODULE, "thermodynamic_bound", mutated)


def linear_partition(monkeypatch):
    monkeypatch.setattr(MODULE, "log_spaced", lambda beta_1, partitions: jnp.linspace(0.0, 1.0, partitions + 1))


def no_covariance(monkeypatch):
    """The weights are taken for constants."""

    def change(a, p, q, betas):
        weights = jax.nn.softmax(betas[:-1, None] * (p - q), axis=1)
        mean = jnp.diff(betas) @ weights
        return {"generative": mean, "recognition": -mean}

    estimate_with(monkeypatch, change)


def pathwise_gradient(monkeypatch):
    """The gradient of the weights, as if the particles' density did not move with q."""

    def change(a, p, q, betas):
        slope = jax.grad(lambda p, q: thermodynamic_bound(p, q, betas).bound, argnums=(0, 1))(p, q)
        return {"generative": slope[0], "recognition": slope[1]}

    estimate_with(monkeypatch, change)


MUTANTS = {
    wrong_sign: ("recognition",),
    right_ends: ("value", "generative", "recognition"),
    linear_partition: ("value", "generative", "recognition"),
    no_covariance: ("generative", "recognition"),
    pathwise_gradient: ("recognition",),
}


@pytest.mark.slow  # it tests the tests
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail(monkeypatch, mutant):
    """Every mistake moves some outcome, in each part that it concerns, by far more than round-off."""
    mutant(monkeypatch)
    found = errors("one layer")
    assert all(found[where] > 1e-3 for where in MUTANTS[mutant]), found


@pytest.mark.usefixtures("x64")
def test_shared_parameters_follow_the_definition_through_p_and_q():
    toy, x = tied_net(2, 1), np.array([[1.0, 0.0]])
    run = outcomes(lambda model: thermodynamic(model, 2, 3, 0.2), toy, x)
    _, log_r = log_terms(toy, toy.params, x[0])

    def loss(params, states):
        log_p, log_q = log_terms(toy, params, x[0])
        return -riemann_sum(log_p[states], log_q[states], log_r[states], betas_of(3, 0.2))

    exact = quick_jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(toy.params, run.particles)
    assert set(run.gradient.model) == {"generative", "recognition", "shared"}
    assert worst((run.loss, run.gradient.model), exact) < 1e-10


def test_gaussian_particles_are_held_fixed():
    """On a reparameterized model no gradient runs along the samples: p's is that of its scores at them."""
    model, key = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh")), jax.random.key(1)
    x = jnp.array([[1.0, 0.0, 1.0]])
    params = model.init(jax.random.key(0), x[0], ())
    held = model._replace(
        propose=lambda *args: jax.lax.stop_gradient(model.propose(*args)),
    )
    runs = [
        quick_jit(jax.value_and_grad(lambda p, m=m: thermodynamic(m, 4).loss(Trainable(p), (), key, x, 0)[0]))(params)
        for m in (model, held)
    ]
    assert worst(*runs) < 1e-6
    assert float(optax.tree.norm(runs[0][1]["recognition"])) > 1e-3


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built, naming the value and the fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    for options, message in (
        ({"num_particles": 1}, "num_particles: got 1, expected at least 2"),
        ({"num_particles": 2.0}, "num_particles"),
        ({"num_partitions": 1}, "num_partitions: got 1, expected at least 2"),
        ({"num_partitions": None}, "num_partitions"),
        ({"beta_1": 0.0}, "beta_1: got 0.0"),
        ({"beta_1": 1.0}, "beta_1"),
        ({"beta_1": np.nan}, "beta_1"),
        ({"beta_1": None}, "beta_1: got None, expected a number"),
        ({"beta_1": np.cos}, "beta_1"),
    ):
        with pytest.raises(ConfigError, match=message):
            thermodynamic(model, **options)
    with pytest.raises(ModelError, match="thermodynamic needs a LatentVariableModel"):
        thermodynamic({})
    assert thermodynamic(model) == thermodynamic(sigmoid_belief_network(3, layers=(2,)))
