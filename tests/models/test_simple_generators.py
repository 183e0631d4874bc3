"""The affine generator against its closed form, and inverse transforms against known distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from toys import quick_jit, worst

from genjax_models.config import Config, Training
from genjax_models.core import Trainable
from genjax_models.data import Arrays
from genjax_models.errors import ConfigError, DataError
from genjax_models.experiment import train_run
from genjax_models.models import (
    AffineGenerator,
    affine_generator,
    fit_affine,
    inverse_transform_generator,
    inverse_transform_of_density,
)
from genjax_models.objectives import MaximumLikelihood, maximum_likelihood
from genjax_models.optimizers import Adam

RANDOM = np.random.RandomState(0)
MIXED = RANDOM.normal(size=(400, 3)) @ RANDOM.normal(size=(3, 3)) + np.array([1.0, -2.0, 0.5])


def mean_log_prob(model, x):
    objective = maximum_likelihood(model)
    return lambda p: objective.loss(Trainable(p), (), jax.random.key(0), x, 0)[0]


def test_closed_form_is_the_maximum(x64):
    """numpy's mean and covariance; the likelihood is scipy's, its gradient vanishes, and training finds it."""
    model, params = affine_generator(3), fit_affine(MIXED)
    loss = mean_log_prob(model, jnp.asarray(MIXED))
    mean, covariance = MIXED.mean(axis=0), np.cov(MIXED.T, bias=True)
    expected = scipy.stats.multivariate_normal.logpdf(MIXED, mean, covariance).mean()
    value, gradient = quick_jit(jax.value_and_grad(loss))(params)
    assert abs(value + expected) < 1e-12
    assert worst(gradient, jax.tree.map(jnp.zeros_like, params)) < 1e-12
    factor = jax.vmap(lambda z: model.forward(params, z, ()))(jnp.eye(3)) - mean
    assert worst(factor, np.linalg.cholesky(covariance).T) < 1e-12
    assert worst(model.forward(params, jnp.zeros(3), ()), mean) < 1e-12

    def update(carry, _):
        p, state = carry
        updates, state = optimizer.update(jax.grad(loss)(p), state)
        return (optax.apply_updates(p, updates), state), None

    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 600))
    start = jax.tree.map(jnp.zeros_like, params)
    (found, _), _ = jax.jit(lambda p: jax.lax.scan(update, (p, optimizer.init(p)), None, length=600))(start)
    assert worst(found, params) < 1e-4


def test_closed_form_keeps_digits(x64):
    """Columns of very unequal size and far from zero."""
    x = MIXED * np.array([1e-6, 1.0, 1e6]) + np.array([1e3, 0.0, 1e9])
    params = fit_affine(x)["generative"]
    deviation = np.sqrt(np.diag(np.cov(x.T, bias=True)))
    factor = np.asarray(params["lower"]) + np.diag(np.exp(params["log_diagonal"]))
    correlation = (factor @ factor.T) / np.outer(deviation, deviation)
    assert worst(correlation, np.corrcoef(MIXED.T)) < 1e-6


def test_as_few_examples_as_can_be():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    params = fit_affine(x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    assert worst(params["generative"]["loc"], np.array([1 / 3, 1 / 3])) < 1e-6


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (MIXED[:3], "got 3 examples of 3 units, .* expected at least 4"),
        (MIXED[0], r"got x of shape \(3,\)"),
        (np.array([["a"]]), "expected numbers"),
        (np.where(np.arange(3) == 1, np.nan, MIXED), "400 of 1200 values are not finite"),
        (np.where(np.arange(3) == 1, 0.1, MIXED), "column 1 of x is constant"),
        (MIXED[:, [0, 1, 0]], "singular: column 2 of x is an affine function"),
        (np.stack([*MIXED.T, MIXED @ np.array([1.0, -3.0, 2.0]) + 7], axis=1), "singular: column 3 of x"),
    ],
)
def test_fit_affine_refuses(x, message):
    with pytest.raises(DataError, match=message):
        fit_affine(x)


def test_affine_run_reaches_the_closed_form(tmp_path):
    """From a configuration on real columns: the reported test likelihood is that of the closed form."""
    np.savez(tmp_path / "x.npz", train=MIXED[:300], validation=MIXED[300:350], test=MIXED[350:])
    config = Config(
        model=AffineGenerator(),
        objective=MaximumLikelihood(),
        optimizer=Adam(learning_rate=2e-2),
        data=Arrays(path=str(tmp_path / "x.npz")),
        training=Training(num_steps=600, batch_size=100, evaluate_every=300, chunk=300, average=0.99),
    )
    result = train_run(config, tmp_path / "run", None, log=lambda line: None)
    params = fit_affine(MIXED[:300])
    expected = quick_jit(mean_log_prob(affine_generator(3), jnp.asarray(MIXED[350:], jnp.float32)))(params)
    assert result["test_nll"] == pytest.approx(float(expected), abs=0.05)


# Inverse transforms, learned.


@pytest.mark.slow
def test_learned_marginals_follow_skewed_data(x64):
    """Columns as unlike a normal as an exponential, a mixture: KL to what drew them is small."""
    random = np.random.RandomState(1)
    number = 2000
    mixture = np.where(random.uniform(size=number) < 0.3, -1.5, 0.8) + 0.3 * random.normal(size=number)
    logistic = random.logistic(scale=0.5, size=number)
    x = jnp.asarray(np.stack([mixture, logistic], axis=1))
    model = inverse_transform_generator(2, bins=12)
    params = jax.tree.map(lambda v: v.astype(jnp.float64), model.init(jax.random.key(0), x[0], ()))
    loss, optimizer = mean_log_prob(model, x), optax.adam(optax.cosine_decay_schedule(0.1, 200))

    def update(carry, _):
        p, state = carry
        updates, state = optimizer.update(jax.grad(loss)(p), state)
        return (optax.apply_updates(p, updates), state), None

    (params, _), _ = jax.jit(lambda p: jax.lax.scan(update, (p, optimizer.init(p)), None, length=200))(params)
    parts = [0.3 * scipy.stats.norm.pdf(mixture, -1.5, 0.3), 0.7 * scipy.stats.norm.pdf(mixture, 0.8, 0.3)]
    truth = np.log(sum(parts)).mean() + scipy.stats.logistic.logpdf(logistic, scale=0.5).mean()
    assert abs(float(loss(params)) + truth) < 0.03
    drawn = jax.vmap(lambda k: model.sample(params, k, ()))(jax.random.split(jax.random.key(2), 2000))
    for i in range(2):
        assert scipy.stats.ks_2samp(drawn[:, i], x[:, i]).pvalue > 1e-3
    # Units are independent of each other.
    jacobian = jax.jacobian(lambda v: model.inverse(params, v, ())[0])(x[0])
    assert worst(jacobian - jnp.diag(jnp.diag(jacobian)), jnp.zeros((2, 2))) == 0


# Inverse transforms, of a given density.

KNOWN = {
    "beta": (lambda x: 2 * jnp.log(x) + 3 * jnp.log1p(-x) + 50.0, 0.0, 1.0, scipy.stats.beta(3, 4)),
    "exponential": (lambda x: -1000.0 - x, 0, 40, scipy.stats.expon()),
    "uniform": (lambda x: jnp.where(x < 2.0, 0.0, -jnp.inf), 0.0, 4.0, scipy.stats.uniform(0, 2)),
}


@pytest.mark.parametrize("name", list(KNOWN))
def test_a_given_density(x64, name):
    """cdf, quantiles and log-density are scipy's, whatever the factor; draws follow it."""
    log_density, low, high, truth = KNOWN[name]
    found = inverse_transform_of_density(log_density, low, high, 201)
    inner = np.linspace(0.001, 0.999, 101)
    u = np.concatenate([inner, [0.0, 1.0, -0.1, 1.1, np.nan]])
    x = np.concatenate([truth.ppf(inner), [low - 1.0, low, high, high + 1.0, np.nan]])

    def all_of(x, u):
        return found.cdf(x), found.log_prob(x), found.inverse(u), jax.vmap(jax.grad(found.inverse))(u)

    cdf, log_prob, quantiles, slopes = map(np.asarray, quick_jit(all_of)(x, u))
    assert worst(cdf[:101], inner) < 1e-9
    assert worst(log_prob[:101], truth.logpdf(x[:101])) < 1e-9
    assert worst(quantiles[:101], x[:101]) < 1e-8
    assert worst(slopes[:101] * truth.pdf(x[:101]), np.ones(101)) < 1e-6
    assert list(cdf[101:105]) == [0, 0, 1, 1]
    assert np.isnan(cdf[105])
    assert log_prob[101] == log_prob[104] == -np.inf
    assert low <= quantiles[101] <= quantiles[102] <= high
    assert np.all(np.isnan(quantiles[103:]))
    assert abs(found.log_normalizer - (log_density(x[50]) - truth.logpdf(x[50]))) < 1e-9
    drawn = found.sample(jax.random.key(0), (20, 50))
    assert drawn.shape == (20, 50)
    assert scipy.stats.kstest(np.ravel(drawn), truth.cdf).pvalue > 1e-3


def test_a_mixture_with_a_gap_between(x64):
    """Two modes far apart: quantiles on both sides of where the density all but vanishes."""

    def log_density(x):
        terms = [-0.5 * ((x - m) / s) ** 2 - jnp.log(s) for m, s in ((-20.0, 0.1), (20.0, 1.0))]
        return jax.nn.logsumexp(jnp.stack(terms) + jnp.log(jnp.array([0.25, 0.75])))

    found = inverse_transform_of_density(log_density, -30.0, 30.0, 1000)
    assert worst(found.inverse(np.array([0.125, 0.625])), np.array([-20, 20])) < 1e-8
    assert abs(found.cdf(0.0) - 0.25) < 1e-9


def test_single_precision_is_enough_to_draw():
    truth = scipy.stats.norm(3.0, 0.5)
    found = inverse_transform_of_density(lambda x: -0.5 * ((x - 3) / 0.5) ** 2, -2.0, 8.0)
    u = np.linspace(0.01, 0.99, 99)
    assert found.inverse(u).dtype == np.dtype("float32")
    assert worst(found.inverse(u), truth.ppf(u)) < 1e-4
    assert worst(found.log_prob(truth.ppf(u)), truth.logpdf(truth.ppf(u))) < 1e-4


def normal(x):
    return -0.5 * x**2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((normal, 1.0, 1.0), "low and high: got 1.0 and 1.0, expected low < high"),
        ((normal, 2.0, -1.0), "expected low < high"),
        ((normal, -np.inf, 1.0), "low: got -inf, expected a finite number"),
        ((normal, 0.0, "1"), "high: got '1'"),
        ((normal, 0.0, 1.0, 1), "points: got 1, expected at least 2"),
        ((normal, 0.0, 1.0, 2.5), "points: got 2.5"),
        ((normal, 1e8, 1e8 + 16, 1000), "closer than float32 resolves"),
        ((lambda x: jnp.log(x), -1.0, 1.0), "log_density: got nan at x = -"),
        ((lambda x: jnp.where(x > 0.5, jnp.inf, 0.0), 0.0, 1.0), "log_density: got inf at x = 0.5"),
        ((lambda x: jnp.where(x > 2, 0.0, -jnp.inf), 0.0, 1.0), r"the density is zero all over \[0, 1\]"),
        ((lambda x: jnp.stack([x, x]), 0.0, 1.0), r"got an array of shape \(2,\) for a scalar x"),
    ],
)
def test_a_density_that_is_none_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        inverse_transform_of_density(*arguments)
