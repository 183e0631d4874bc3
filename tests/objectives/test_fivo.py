"""Particle filters: unbiased, by enumeration of all draws and ancestors; and what they are with one particle or none
resampled."""

import functools
import itertools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, LatentVariableModel, Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import log_marginal, particle_filter_log_marginal
from genjax_models.models import recurrent_likelihood, vae, variational_rnn
from genjax_models.objectives import elbo, fivo, iwae
from genjax_models.objectives.fivo import filter_particles, multinomial, systematic

K, T = 3, 3
START = np.array([0.3, 0.7])
MOVE = np.array([[0.8, 0.2], [0.35, 0.65]])  # p(z_t | z_{t-1})
EMIT = np.array([0.05, 0.95])  # p(x_t = 1 | z_t)
GUESS = 0.5  # q(z_t = 1): poor, so that weights are uneven


class Prescribed(NamedTuple):
    """A hidden Markov model of two states as a model with steps, whose draws z_t^k are given as parameters [K, T]."""

    keys: Any  # key data of particle k at step t, [K, T, 2]

    def filter_step(self, params, key, state, x):
        z = jnp.sum(jnp.where(jnp.all(self.keys == jax.random.key_data(key), axis=-1), params, 0))
        p = jnp.where(state < 0, jnp.asarray(START)[z], jnp.asarray(MOVE)[state, z])
        e = jnp.asarray(EMIT)[z]
        return z, jnp.log(p) + jnp.log(jnp.where(x[0] == 1, e, 1 - e)) - jnp.log(GUESS)

    def model(self):
        blank = dict.fromkeys(LatentVariableModel._fields)
        return LatentVariableModel(
            **blank | {"frame": 1, "filter_start": lambda params: jnp.full((), -1), "filter_step": self.filter_step}
        )


def prescribed(key):
    keys = [[jax.random.key_data(jax.random.fold_in(k, t)) for t in range(T)] for k in jax.random.split(key, K)]
    return Prescribed(jnp.array(keys)).model()


def exact(x):
    """p(x), summed over all paths."""
    chance = 0.0
    for z in itertools.product(range(2), repeat=len(x)):
        p = START[z[0]] * np.prod([MOVE[a, b] for a, b in itertools.pairwise(z)])
        chance += p * np.prod([EMIT[b] if v else 1 - EMIT[b] for v, b in zip(x, z, strict=True)])
    return chance


def expectation(criterion, x, c=(), wrong=lambda log_w: log_w):
    """E p_hat(x): the filter is run on all draws of z and all ancestors, each with its probability."""
    key = jax.random.key(0)
    model = prescribed(key)
    draws = np.array(list(itertools.product(range(2), repeat=K * T))).reshape(-1, K, T)
    # Who is taken after the last step plays no part.
    ancestors = np.array(list(itertools.product(range(K), repeat=K * (T - 1)))).reshape(-1, T - 1, K)
    resampling_keys = jnp.stack(
        [jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), t)) for t in range(T - 1)]
    )

    def run(z, chosen):
        def resample(k, log_w):
            at = jnp.all(resampling_keys == jax.random.key_data(k), axis=-1)
            return jnp.sum(jnp.where(at[:, None], chosen, 0), axis=0)

        found = filter_particles(model, z, key, x, c, K, resample, criterion)
        picked = jnp.take_along_axis(jnp.exp(wrong(found.log_weights[:-1])), chosen, axis=1)
        # What is not resampled has ancestors of no effect, and these count evenly.
        chance = jnp.prod(jnp.where(found.resampled[:-1, None], picked, 1 / K))
        return jnp.exp(found.log_estimate) * chance * GUESS ** (K * T), found.resampled

    values, resampled = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(draws, ancestors)
    return float(values.sum()), np.asarray(resampled)


@pytest.mark.parametrize("criterion", ["ess", "always", "never"])
def test_the_estimate_is_unbiased(x64, criterion):
    x = jnp.array([1.0, 0.0, 1.0])
    value, resampled = expectation(criterion, x)
    assert abs(value - exact(x)) < 1e-10
    assert {"ess": 0 < resampled.mean() < 1, "always": resampled.all(), "never": not resampled.any()}[criterion]
    # A step that is not there is none.
    value, resampled = expectation(criterion, x, jnp.array([1.0, 1.0, 0.0]))
    assert abs(value - exact(x[:2])) < 1e-10
    assert not resampled[..., 2].any()


def test_wrong_ancestors_are_biased(x64):
    """The enumeration notices ancestors that are drawn by other weights."""
    x = jnp.array([1.0, 0.0, 1.0])
    even = expectation("always", x, wrong=lambda log_w: jnp.full_like(log_w, -np.log(K)))[0]
    assert abs(even - exact(x)) > 1e-3


@pytest.mark.parametrize("resample", [multinomial, systematic])
def test_ancestors_follow_the_weights(x64, resample):
    """E of the number of descendants is K w; of the systematic ones it is never off by 1."""
    w = np.array([0.05, 0.4, 0.25, 0.3])
    keys = jax.random.split(jax.random.key(1), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda k: resample(k, jnp.log(w))))(keys))
    counts = np.stack([(drawn == k).sum(axis=1) for k in range(4)], axis=1)
    error = counts.std(axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs(counts.mean(axis=0) - 4 * w) < 4 * error + 1e-12)
    assert (np.abs(counts - 4 * w).max() < 1) == (resample is systematic)
    assert np.all(resample(keys[0], jnp.log(jnp.array([0.0, 0.0, 1.0]))) == 2)


@pytest.mark.parametrize("number", [3, 10, 1000])
def test_no_particle_without_a_weight_is_an_ancestor(monkeypatch, number):
    """In single precision the last place, by the highest uniform number, lies on the end of all weights or beyond."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, dtype: jnp.asarray(np.nextafter(np.float32(1), 0), dtype))
    alive = number // 2 + 1
    log_w = jnp.log(jnp.where(jnp.arange(number) < alive, 1 / alive, 0).astype(jnp.float32))
    assert systematic(jax.random.key(0), log_w).max() == alive - 1


def test_no_particle_left():
    """A step that no particle can make has p_hat = 0, and nothing that is no number before or after."""
    model = prescribed(jax.random.key(0))._replace(
        filter_step=lambda params, key, state, x: (state, jnp.where(x[0] > 0, -jnp.inf, 0.0))
    )
    found = filter_particles(model, (), jax.random.key(0), jnp.array([0.0, 1.0, 0.0]), (), K, systematic, "ess")
    assert found.log_estimate == -jnp.inf
    assert not np.any(np.isnan(found.log_weights))


@pytest.fixture
def small(x64):
    model = variational_rnn(4 * 2, frame=2, latent=2, hidden=3, features=3, activation="tanh")
    x = np.random.RandomState(0).randint(0, 2, (2, 8)).astype(float)
    mask = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    return model, random_params(model, 8, seed=0, scale=1.0), Batch(jnp.asarray(x), jnp.asarray(mask))


def test_one_particle_or_no_resampling(small):
    """K = 1 is the evidence lower bound at the same draws, and without resampling it is iwae; so are the gradients."""
    model, params, batch = small
    pairs = [(fivo(model, 1), elbo(model)), (fivo(model, 3, criterion="never"), iwae(model, 3))]
    others = [fivo(model, 1, "systematic", "always"), fivo(model, 3, criterion="always")]

    def value(objective, params):
        loss, (_, metrics) = objective.loss(Trainable(params), (), jax.random.key(4), batch, 0)
        return loss, metrics.get("resampled")

    @quick_jit
    def run(params):
        gradients = [
            [jax.value_and_grad(functools.partial(value, o), has_aux=True)(params) for o in pair] for pair in pairs
        ]
        return gradients, [value(o, params) for o in others]

    gradients, (single, always) = run(params)
    for ((loss, resampled), gradient), ((bound, _), expected) in gradients:
        assert worst((loss, gradient), (bound, expected)) < 1e-10
        assert resampled == 0.0
    elbo_value, iwae_value = (pair[1][0][0] for pair in gradients)
    assert abs(single[0] - elbo_value) < 1e-10
    assert single[1] == always[1] == 1.0
    assert abs(always[0] - iwae_value) > 1e-4


def test_gradient_leaves_out_the_ancestors(small):
    """The gradient is that of log p_hat with the ancestors held, written out as a loop."""
    model, params, batch = small
    key, number = jax.random.key(5), 2
    batch = Batch(batch.x[:1, :6])
    x = batch.x[0].reshape(3, 2)
    own = jax.random.split(key, 1)[0]

    def loop(params):
        states = [model.filter_start(params)] * number
        log_w, log_p = jnp.full(number, -jnp.log(number)), 0.0
        for t in range(3):
            keys = [jax.random.fold_in(k, t) for k in jax.random.split(own, number)]
            moved = [model.filter_step(params, k, s, x[t]) for k, s in zip(keys, states, strict=True)]
            joint = log_w + jnp.stack([log_a for _, log_a in moved])
            log_p += jax.nn.logsumexp(joint)
            log_w = jax.lax.stop_gradient(joint - jax.nn.logsumexp(joint))
            chosen = multinomial(jax.random.fold_in(jax.random.fold_in(own, 2**32 - 1), t), log_w)
            stacked = jax.tree.map(lambda *v: jnp.stack(v), *(s for s, _ in moved))
            states = [jax.tree.map(operator.itemgetter(i), stacked) for i in chosen]
            log_w = jnp.full(number, -jnp.log(number))
        return -log_p

    objective = fivo(model, number, criterion="always")
    found = quick_jit(jax.value_and_grad(lambda p: objective.loss(Trainable(p), (), key, batch, 0)[0]))(params)
    assert worst(found, quick_jit(jax.value_and_grad(loop))(params)) < 1e-10


@pytest.mark.filterwarnings("ignore::genjax_models.evaluation.DoubtfulEstimate")
def test_estimates_of_several_filters(small):
    """With one particle a filter is an importance sample; with many, filters agree with importance sampling."""
    model, _, batch = small
    params, key = random_params(model, 8, seed=0, scale=0.4), jax.random.key(0)
    singles = particle_filter_log_marginal(model, params, key, batch, 1, 5, chunk=2, block=1)
    # A filter splits its key once more, for its particles.

    def by_hand(i, m):
        k = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, i), m), 1)[0]
        _, log_q, log_p = model.propose_joint(params, k, batch.x[i], batch.context[i])
        return total(log_p) - total(log_q)

    log_w = quick_jit(jax.vmap(jax.vmap(by_hand, (None, 0)), (0, None)))(jnp.arange(2), jnp.arange(5))
    assert worst(singles.log_prob, jax.nn.logsumexp(log_w, axis=1) - np.log(5)) < 1e-10
    sampled = log_marginal(model, params, key, batch, 20_000, chunk=2000)
    for resampling in ("multinomial", "systematic"):
        found = particle_filter_log_marginal(model, params, key, batch, 50, 40, resampling=resampling, chunk=40)
        error = np.hypot(found.standard_error, sampled.standard_error)
        assert np.all(np.abs(found.log_prob - sampled.log_prob) < 4 * error)
        assert np.all(found.standard_error < 0.2)


def test_bad_input_is_named(small):
    model, params, batch = small
    with pytest.raises(ModelError, match=r"fivo filters particles step by step, and VAE has no steps"):
        fivo(vae(4, latent=2))
    with pytest.raises(ModelError, match="fivo needs a LatentVariableModel, got 'RecurrentLikelihood'"):
        fivo(recurrent_likelihood(4))
    with pytest.raises(ConfigError, match="fivo: resampling got 'residual', expected one of 'multinomial', 'sys"):
        fivo(model, resampling="residual")
    with pytest.raises(ConfigError, match="fivo: criterion got 'often'"):
        fivo(model, criterion="often")
    with pytest.raises(ConfigError, match="fivo: num_particles: got 0"):
        fivo(model, 0)
    with pytest.raises(ConfigError, match="particle_filter_log_marginal: num_filters: got 0"):
        particle_filter_log_marginal(model, params, jax.random.key(0), batch, 2, 0)
    with pytest.raises(ModelError, match="particle_filter_log_marginal needs a Latent"):
        particle_filter_log_marginal(recurrent_likelihood(4), params, jax.random.key(0), batch)
