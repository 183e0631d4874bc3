"""Annealing: weights that are unbiased, and bounds on both sides of the truth, against closed forms and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from toys import gaussian_log_marginal, linear_gaussian, net, net_log_marginal, quick_jit, with_posterior

from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import (
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    log_marginal,
    sigmoid_schedule,
)
from genjax_models.evaluation.transitions import gibbs, hamiltonian
from genjax_models.models import fvsbn, variational_rnn

KEY = jax.random.key(3)
TRIALS = 400


def gaussian():
    return linear_gaussian(4, 2, scale=1.0)


def belief_net():
    return net((3, 2), 3)


def sharp_net():
    """With weights that make p(z | x) far from p(z)."""
    toy = belief_net()
    return toy._replace(params={**toy.params, "generative": jax.tree.map(lambda v: 2 * v, toy.params["generative"])})


def truth_of(toy, x):
    exact = net_log_marginal if hasattr(toy, "z") else gaussian_log_marginal
    return quick_jit(jax.vmap(lambda x: exact(toy, toy.params, x)))(x)


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize(
    ("make", "start", "schedule"), [(gaussian, "prior", 4), drill(sharp_net, "prior", 2), (belief_net, "posterior", 2)]
)
def test_the_truth_lies_between(x64, make, start, schedule):
    """Over trials of one chain each: both means on their sides, and a run too high no more often than it may be."""
    toy = make()
    found = bidirectional_monte_carlo(toy.model, toy.params, KEY, TRIALS, 1, schedule, start=start, leapfrog_steps=3)
    truth = truth_of(toy, found.x)
    below, above = np.asarray(found.lower.log_prob - truth), np.asarray(found.upper.log_prob - truth)
    assert np.mean(below) < 3 * standard_error(below)
    assert np.mean(above) > -3 * standard_error(above)
    assert np.mean(above - below) > 3 * standard_error(above - below)  # unconverged, or the test would see nothing
    # E w = p(x), and backwards E 1 / w = 1 / p(x), whatever the number of temperatures.
    for ratios in np.exp(below), np.exp(-above):
        assert abs(np.mean(ratios) - 1) < 4 * standard_error(ratios)
        assert standard_error(ratios) < 0.2
    # Markov's inequality: P(log w > log p(x) + b) <= e^-b.
    for nats in (0.5, 1.0, 2.0):
        chance = np.exp(-nats)
        assert np.mean(below > nats) <= chance + 3 * np.sqrt(chance * (1 - chance) / TRIALS)
    np.testing.assert_array_equal(found.gap, found.upper.log_prob - found.lower.log_prob)
    if toy.model.support == "binary":  # and x are drawn from p
        chance = np.exp(truth_of(toy, jnp.asarray(toy.x)))
        share = np.array([np.mean((found.x == x).all(axis=1)) for x in toy.x])
        assert (np.abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / TRIALS)).all()


@pytest.mark.slow
def test_more_temperatures_come_closer(x64):
    """Where q was never trained: importance weighting is far off, and says so; annealing gets there."""
    toy = linear_gaussian(4, 2, scale=0.1)
    x = toy.model.sample_joint(toy.params, KEY, ())[1][None] + jnp.zeros((2, 1))
    truth = truth_of(toy, x)
    with pytest.warns(UserWarning, match="of 2 of 2 examples"):
        weighted = log_marginal(toy.model, toy.params, KEY, x, 500)
    found = annealed_importance_sampling(toy.model, toy.params, KEY, x, 32, 100, leapfrog_steps=5)
    assert (np.abs(found.log_prob - truth) < 4 * found.standard_error + 0.05).all()
    assert (found.standard_error < 0.3).all()
    assert (found.standard_error < weighted.standard_error).all()
    # Step sizes are fitted, for every example and temperature.
    assert (np.abs(found.acceptance - 0.65) < 0.12).all()


def test_one_temperature_is_importance_weighting(x64):
    """Without transitions the weights are p(x, z) / r(z), and at q = p(z | x) they are p(x), each of them."""
    toy = with_posterior(linear_gaussian(3, 1))
    x = jnp.array([[0.3, -1.0, 0.5], [2.0, 0.1, -0.4]])
    found = annealed_importance_sampling(toy.model, toy.params, KEY, x, 5, [0.0, 1.0], start="posterior")
    np.testing.assert_allclose(found.log_prob, truth_of(toy, x), rtol=1e-12)
    np.testing.assert_allclose(found.effective_samples, 5, rtol=1e-9)
    # And annealing from there stays there, with any transitions.
    again = annealed_importance_sampling(toy.model, toy.params, KEY, x, 2, 3, start="posterior", leapfrog_steps=2)
    np.testing.assert_allclose(again.log_prob, truth_of(toy, x), rtol=1e-12)


def test_values_depend_on_no_arrangement(x64):
    toy = belief_net()
    x = jnp.asarray(toy.x)

    def run(x, **sizes):
        return annealed_importance_sampling(toy.model, toy.params, KEY, x, 6, 2, **sizes).log_prob

    whole = run(x)
    # A block for each of 8 devices.
    np.testing.assert_allclose(run(x, chunk=4, block=1), whole, rtol=1e-12)


def test_transitions_leave_densities_as_they_are(x64):
    """Gibbs sweeps over binary and one-hot units, by enumeration; Hamiltonian ones by a Gaussian's moments."""
    logits = jax.random.normal(KEY, (2, 2, 3))
    states = [(a, b, jax.nn.one_hot(c, 3)) for a in (0.0, 1.0) for b in (0.0, 1.0) for c in range(3)]

    def log_density(z):
        a, b = z[0].astype(int)
        return jnp.log(jax.nn.softmax(logits.ravel()).reshape(2, 2, 3)[a, b] @ z[1][0])

    def sweep(key, z):
        z = gibbs(lambda binary: log_density((binary[0], z[1])), key, (z[0],), "binary")[0], z[1]
        return z[0], gibbs(lambda one: log_density((z[0], one[0])), key, (z[1],), "one_hot")[0]

    number = 4000
    z = jnp.array([[a, b] for a, b, _ in states]), jnp.stack([c[None] for *_, c in states])
    chance = np.exp(jax.vmap(log_density)(z))
    start = np.random.RandomState(0).choice(len(states), size=number, p=chance / chance.sum())
    keys = jax.random.split(KEY, number)
    moved = quick_jit(jax.vmap(sweep))(keys, jax.tree.map(lambda v: v[start], z))
    found = np.exp(jax.vmap(log_density)(moved))
    share = np.array([np.mean(np.isclose(found, c)) for c in chance])
    assert (np.abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / number)).all()
    assert not np.isclose(found, chance[start]).all()

    scale = jnp.array([0.5, 2.0])

    def move(key):
        before, after = jax.random.split(key)
        z = scale * jax.random.normal(before, (2,))
        return *hamiltonian(lambda z: -0.5 * jnp.sum((z / scale) ** 2), after, z, jnp.asarray(0.6), 4), z

    z, acceptance, before = quick_jit(jax.vmap(move))(keys)
    assert 0.5 < np.mean(acceptance) < 0.99
    assert np.mean(z != before) > 0.5
    np.testing.assert_allclose(np.std(z, axis=0), scale, rtol=4 / np.sqrt(2 * number))


def test_schedule():
    """The logistic's values, written out for delta = 4 and T = 2 and 4."""
    np.testing.assert_allclose(sigmoid_schedule(2), [0, 0.5, 1], atol=1e-12)
    s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    np.testing.assert_allclose(sigmoid_schedule(4)[1], (s(-2) - s(-4)) / (s(4) - s(-4)))


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda m, x: annealed_importance_sampling(fvsbn(3), {}, KEY, x), ModelError, "anneals latents, and FVSBN has"),
        (
            lambda m, x: annealed_importance_sampling(variational_rnn(4), {}, KEY, jnp.zeros((1, 4))),
            ModelError,
            'given parts of x that come before them.*start="posterior"',
        ),
        (lambda m, x: annealed_importance_sampling(m, {}, KEY, x, 0), ConfigError, "num_chains: got 0"),
        (lambda m, x: annealed_importance_sampling(m, {}, KEY, x, 1, 0), ConfigError, "schedule: got 0"),
        (lambda m, x: annealed_importance_sampling(m, {}, KEY, x, 1, [0, 0.5]), ConfigError, "that rise from 0 to 1"),
        (lambda m, x: annealed_importance_sampling(m, {}, KEY, x, 1, [0, 0.6, 0.6, 1]), ConfigError, "from 0 to 1"),
        (lambda m, x: annealed_importance_sampling(m, {}, KEY, x, start="q"), ConfigError, "start got 'q'"),
        (
            lambda m, x: bidirectional_monte_carlo(m, {}, KEY, 3, contexts=jnp.zeros((2, 1))),
            ConfigError,
            "got contexts of shapes .*expected 3 rows",
        ),
    ],
)
def test_refusals(run, error, message):
    with pytest.raises(error, match=message):
        run(belief_net().model, np.zeros((1, 3)))
