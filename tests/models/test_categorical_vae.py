"""Categorical latents: exact by enumeration, and the Gumbel-softmax bound against its direct transcription."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_frequencies
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import log_marginal
from genjax_models.models import categorical_vae, sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import elbo, gumbel_softmax, reinforce
from genjax_models.objectives.common import particle_keys

MODEL = categorical_vae(3, latent=2, classes=3, encoder=MLP((4,), "tanh"), decoder=MLP((4,), "tanh"))
STATES = np.eye(3)[np.array(list(itertools.product(range(3), repeat=2)))]  # [9, 2, 3]
X = jnp.array([1.0, 0.0, 1.0])


@pytest.fixture
def params(x64):
    return random_params(MODEL, 3, seed=0, scale=0.8)


def log_posteriors(params, x=X):
    return jax.vmap(lambda z: total(MODEL.log_posterior(params, z, x, ())))(STATES)


def log_joints(params, x=X):
    return jax.vmap(lambda z: total(MODEL.log_joint(params, z, x, ())))(STATES)


def test_probabilities_and_samples(params):
    every_x = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    joint = np.exp(quick_jit(jax.vmap(lambda x: log_joints(params, x)))(every_x))
    assert abs(joint.sum() - 1) < 1e-12
    q = np.exp(log_posteriors(params))
    assert abs(q.sum() - 1) < 1e-12
    keys = jax.random.split(jax.random.key(0), 10_000)

    def code(z):
        return np.argmax(np.asarray(z), axis=-1) @ [3, 1]

    z, terms = quick_jit(jax.vmap(lambda k: MODEL.propose(params, k, X, ())))(keys)
    assert worst(terms[0], np.log(q)[code(z)]) < 1e-12
    assert_frequencies(np.arange(9), q, code(z))
    z, x = quick_jit(jax.vmap(lambda k: MODEL.sample_joint(params, k, ())))(keys)
    assert_frequencies(np.arange(72), joint.T.ravel(), code(z) * 8 + np.asarray(x).astype(int) @ [4, 2, 1], fewest=30)


def test_kl_by_enumeration(params):
    log_q = log_posteriors(params)
    assert abs(total(MODEL.kl(params, X, ())) - jnp.exp(log_q) @ (log_q + 2 * np.log(3))) < 1e-12
    assert abs(MODEL.kl_by_dimension(params, X, ())[0].sum() - total(MODEL.kl(params, X, ()))) < 1e-12


def test_log_marginal_is_that_of_the_sum(params):
    exact = jax.nn.logsumexp(log_joints(params))
    found = log_marginal(MODEL, params, jax.random.key(1), X[None], 20_000)
    assert abs(found.log_prob[0] - exact) < 4 * found.standard_error[0]


@pytest.mark.parametrize("straight_through", [False, True])
def test_gumbel_softmax_follows_its_definition(params, straight_through):
    """The gradient of E log p(x | y) - KL(q || p), y = softmax((logits + g) / t), at the noise that it draws."""
    objective = gumbel_softmax(MODEL, num_particles=3, temperature=0.7, straight_through=straight_through)
    key, batch = jax.random.key(5), jnp.stack([X, 1 - X])

    def found(params):
        return objective.loss(Trainable(params), (), key, batch, 0)

    gradient, (_, metrics) = quick_jit(jax.grad(found, has_aux=True))(params)
    keys = particle_keys(jax.random.split(key)[0], Batch(batch), 3)
    noise = jax.vmap(jax.vmap(lambda k: jax.random.gumbel(jax.random.split(k, 1)[0], (2, 3))))(keys)

    def expected(params):
        bounds = []
        for x, g in zip(batch, noise, strict=True):
            logits = MODEL.class_logits(params, x, ())
            for v in g:
                y = jax.nn.softmax((logits + v) / 0.7, axis=-1)
                hard = jax.nn.one_hot(jnp.argmax(logits + v, axis=-1), 3)
                y = jax.lax.stop_gradient(hard - y) + y if straight_through else y
                bounds.append(MODEL.log_joint(params, y, x, ()).likelihood - total(MODEL.kl(params, x, ())))
        return -jnp.mean(jnp.stack(bounds))

    assert worst(gradient, quick_jit(jax.grad(expected))(params)) < 1e-12
    assert abs(metrics["relaxed_bound"] + expected(params)) < 1e-12


def test_the_value_is_the_bound_of_the_model_itself(params):
    """Its expectation, over many particles, is the enumerated evidence lower bound; the relaxed one is another."""
    q = np.exp(log_posteriors(params))
    exact = q @ (log_joints(params) - np.log(q))
    _, (_, metrics) = gumbel_softmax(MODEL, 20_000, temperature=2.0).loss(
        Trainable(params), (), jax.random.key(0), X[None], 0
    )
    likelihood = log_joints(params) + 2 * np.log(3)
    error = np.sqrt((q @ likelihood**2 - (q @ likelihood) ** 2) / 20_000)
    assert abs(metrics["bound"] - exact) < 4 * error
    assert abs(metrics["relaxed_bound"] - exact) > 8 * error


def test_score_estimators_serve_one_hot_latents(params):
    """REINFORCE's expected gradient, over all states, is that of the bound."""

    def bound(params):
        log_q = log_posteriors(params)
        return jnp.sum(jnp.exp(log_q) * (log_joints(params) - log_q))

    objective, keys = reinforce(MODEL, num_particles=1), jax.random.split(jax.random.key(2), 4000)
    state = objective.init(keys[0], params, X[None])

    def one(key):
        return jax.grad(lambda p: objective.loss(Trainable(p, state[0]), state[1], key, X[None], 0)[0])(params)

    gradients = quick_jit(jax.vmap(one))(keys)
    for found, exact in zip(*map(jax.tree.leaves, (gradients, jax.grad(bound)(params))), strict=True):
        error = np.std(found, axis=0) / np.sqrt(len(keys))
        assert np.all(np.abs(np.mean(found, axis=0) + exact) < 5 * error + 1e-9)


def test_refusals():
    with pytest.raises(ModelError, match=r"gumbel_softmax relaxes one-hot latents .* SigmoidBeliefNetwork"):
        gumbel_softmax(sigmoid_belief_network(3, layers=(2,)))
    with pytest.raises(ModelError, match="CategoricalVAE"):
        elbo(MODEL)
    with pytest.raises(ConfigError, match="temperature"):
        gumbel_softmax(MODEL, temperature=0.0)
    with pytest.raises(ConfigError, match="num_particles"):
        gumbel_softmax(MODEL, num_particles=0)
    assert vae(3).class_logits is None
