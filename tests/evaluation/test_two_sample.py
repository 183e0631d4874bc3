"""Maximum mean discrepancy against loops, closed forms and enumeration; its permutation test is exact."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from toys import quick_jit

from genjax_models.errors import ConfigError, DataError
from genjax_models.evaluation import median_bandwidth, mmd_squared, two_sample_test
from genjax_models.evaluation.two_sample import permutation_p_value, split_statistics
from genjax_models.objectives.moment_matching import squared_distances

BANDWIDTHS = (0.5, 3.0)


def kernel(a, b):
    return sum(np.exp(-np.sum((a - b) ** 2) / (2 * sigma)) for sigma in BANDWIDTHS)


def by_hand(x, y, unbiased):
    def within(v):
        pairs = [(i, j) for i in range(len(v)) for j in range(len(v)) if i != j or not unbiased]
        return np.mean([kernel(v[i], v[j]) for i, j in pairs])

    return within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.fixture(scope="module")
def samples():
    draw = np.random.RandomState(0).normal
    return draw(size=(7, 3)), 0.3 + draw(size=(5, 3))


@pytest.mark.parametrize("unbiased", [True, False])
def test_against_a_double_loop(x64, samples, unbiased):
    for block in (1, 3, 100):
        found = mmd_squared(*samples, BANDWIDTHS, unbiased=unbiased, block=block)
        assert abs(found - by_hand(*samples, unbiased)) < 1e-12


def test_closed_form_between_gaussians(x64):
    """E k(x, y) = sum_sigma sqrt(sigma / v) exp(-m^2 / (2 v)), v = sigma + s^2 + t^2, m the means' distance.

    The samples are evenly spaced quantiles, of which the mean of a smooth function is nearly its expectation.
    """
    quantiles = (np.arange(4000) + 0.5) / 4000

    def expected(m, s, t):
        variances = [(sigma, sigma + s**2 + t**2) for sigma in BANDWIDTHS]
        return sum(np.sqrt(sigma / v) * np.exp(-(m**2) / (2 * v)) for sigma, v in variances)

    x, y = (scipy.stats.norm.ppf(quantiles, mean, std)[:, None] for mean, std in ((0.0, 1.0), (0.7, 0.5)))
    closed = expected(0, 1, 1) - 2 * expected(0.7, 1, 0.5) + expected(0, 0.5, 0.5)
    assert abs(mmd_squared(x, y, BANDWIDTHS, unbiased=False) - closed) < 1e-4 * closed


def test_expectation_over_all_samples(x64):
    """Over all samples from two discrete distributions one estimate is right on average, the other is too large."""
    points = np.array([[0.0], [1.0], [2.5]])
    p, q = np.array([0.5, 0.2, 0.3]), np.array([0.1, 0.6, 0.3])
    k = np.array([[kernel(a, b) for b in points] for a in points])
    truth = (p - q) @ k @ (p - q)
    sets = np.array(list(itertools.product(range(3), repeat=5)))
    chance = np.prod(p[sets[:, :3]], axis=1) * np.prod(q[sets[:, 3:]], axis=1)

    def expectation(unbiased):
        def one(rows):
            return mmd_squared(rows[:3], rows[3:], BANDWIDTHS, unbiased=unbiased)

        return chance @ quick_jit(jax.vmap(one))(jnp.asarray(points)[sets])

    assert abs(expectation(True) - truth) < 1e-12
    assert expectation(False) > truth + 0.1


def test_biased_estimate_is_never_below_zero(x64, samples):
    assert abs(mmd_squared(samples[0], samples[0][::-1], BANDWIDTHS, unbiased=False)) < 1e-12
    assert mmd_squared(samples[0], samples[0], BANDWIDTHS) < -0.1


def test_median_bandwidth(x64, samples):
    x = samples[0]
    pairs = [np.sum((a - b) ** 2) for a, b in itertools.combinations(x, 2)]
    assert abs(median_bandwidth(x) - np.median(pairs)) < 1e-12
    # Of seven rows, four evenly spaced.
    some = [np.sum((a - b) ** 2) for a, b in itertools.combinations(x[[0, 1, 3, 5]], 2)]
    assert abs(median_bandwidth(x, most=4) - np.median(some)) < 1e-12


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_distances_of_rows_far_from_zero(offset):
    """In single precision as well: what is left of them when the rows are rounded is kept."""
    x, y = np.random.RandomState(0).normal(offset, size=(2, 40, 8)).astype(np.float32)
    expected = np.sum((x[:, None].astype(float) - y[None]) ** 2, axis=-1)
    np.testing.assert_allclose(squared_distances(x, y), expected, rtol=1e-5, atol=1e-5)


def test_samples_of_unlike_sizes_change_places():
    """MMD^2 by the test is that of `mmd_squared`, whichever is the larger, also by single precision."""
    x = np.random.RandomState(3).normal(size=(3000, 2)).astype(np.float32)
    y = x[:2] + 0.5
    sizes = (1.0, 2.0)
    found = [two_sample_test(jax.random.key(0), *pair, sizes, num_permutations=20) for pair in ((x, y), (y, x))]
    with jax.enable_x64(True):
        expected = mmd_squared(x.astype(float), y.astype(float), sizes)
    np.testing.assert_allclose([t.mmd_squared for t in found], expected, rtol=1e-4)
    assert found[0] == found[1]


def all_splits(number, size):
    sets = itertools.combinations(range(number), size)
    return np.array([np.isin(np.arange(number), rows) for rows in sets], float)


@pytest.fixture(scope="module")
def statistics():
    """MMD^2 of all 35 ways to split seven rows into three and four."""
    with jax.enable_x64(True):
        pooled = np.random.RandomState(3).normal(size=(7, 2))
        k = np.array([[kernel(a, b) for b in pooled] for a in pooled])
        splits = all_splits(7, 3)
        found = np.asarray(split_statistics(jnp.asarray(k - np.diag(np.diag(k))), jnp.asarray(splits)))
        expected = [by_hand(pooled[s == 1], pooled[s == 0], True) for s in splits]
    assert np.max(np.abs(found - expected)) < 1e-12
    return found


@pytest.mark.parametrize("permutations", [1, 2])
def test_the_test_is_exact(x64, statistics, permutations):
    """Over all observed and permuted splits, P(p <= a) <= a at every attainable a."""
    indices = np.array(list(itertools.product(range(len(statistics)), repeat=permutations + 1)))
    table = jnp.asarray(statistics)[indices]
    p = np.asarray(jax.vmap(lambda row: permutation_p_value(row[0], row[1:], 1e-12))(table))
    levels = np.arange(1, permutations + 2) / (permutations + 1)
    assert set(np.round(p, 12)) <= set(np.round(levels, 12))
    for a in levels:
        assert np.mean(p <= a + 1e-12) <= a + 1e-12
    # Ties count against the hypothesis' rejection: without them the levels would not be kept.
    careless = np.asarray(jax.vmap(lambda row: permutation_p_value(row[0], row[1:], -1e-12))(table))
    assert np.mean(careless <= levels[0] + 1e-12) > levels[0]


def test_p_values_of_equal_distributions_are_uniform():
    """Over 2,000 pairs of samples of seven and five; p takes 20 values, each as often, by chi-square."""
    draw = np.random.RandomState(5).normal

    def one(key, x, y):
        return two_sample_test(key, x, y, (1.0,), num_permutations=19).p_value

    keys = jax.random.split(jax.random.key(0), 2000)
    p = quick_jit(jax.vmap(one))(keys, draw(size=(2000, 7, 2)), draw(size=(2000, 5, 2)))
    counts = np.bincount(np.round(20 * np.asarray(p)).astype(int) - 1, minlength=20)
    assert counts.sum() == 2000
    # One test in 42 draws the observed split again, which makes p larger, by too little to be seen here.
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_different_distributions_are_told_apart(x64, samples):
    x = np.random.RandomState(1).normal(size=(60, 2))
    key = jax.random.key(0)
    found = two_sample_test(key, x[:30], x[30:] + 3, num_permutations=99)
    assert found.p_value == 1 / 100
    assert two_sample_test(key, x[:30], x[30:], num_permutations=99).p_value > 0.05
    found = two_sample_test(key, *samples, BANDWIDTHS, num_permutations=9, block=2)
    assert abs(found.mmd_squared - mmd_squared(*samples, BANDWIDTHS)) < 1e-12
    assert found == two_sample_test(key, *samples, BANDWIDTHS, num_permutations=9, block=4)


def test_default_bandwidth_does_not_depend_on_the_split(x64, samples):
    """It is the pooled median, so that every split is compared with the same kernel."""
    x, y = samples
    key = jax.random.key(0)
    sigma = float(median_bandwidth(np.concatenate([x, y])))
    expected = two_sample_test(key, x, y, (sigma,), num_permutations=9)
    found = two_sample_test(key, x, y, num_permutations=9)
    assert abs(found.mmd_squared - expected.mmd_squared) < 1e-12


def test_bad_input_is_named(samples):
    x, y = samples
    with pytest.raises(DataError, match=r"y: got shape \(5, 2\), expected \[N, 3\], as x has it"):
        mmd_squared(x, y[:, :2])
    with pytest.raises(DataError, match=r"x: got shape \(1, 3\), expected \[N, D\], with at least 2 rows"):
        mmd_squared(x[:1], y)
    assert mmd_squared(x[:1], y, unbiased=False) > 0
    with pytest.raises(DataError, match="half of all pairs of rows are equal"):
        median_bandwidth(np.zeros((4, 2)))
    with pytest.raises(ConfigError, match=r"bandwidths: got \(\)"):
        mmd_squared(x, y, ())
    with pytest.raises(ConfigError, match=r"bandwidths\.1: got 0"):
        two_sample_test(jax.random.key(0), x, y, (1.0, 0.0))
    with pytest.raises(ConfigError, match="num_permutations: got 0"):
        two_sample_test(jax.random.key(0), x, y, num_permutations=0)
    with pytest.raises(ConfigError, match="unbiased: got 1"):
        mmd_squared(x, y, unbiased=1)
