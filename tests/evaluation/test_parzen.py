"""Parzen windows against a double loop over scipy's densities."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax_models.errors import ConfigError, DataError
from genjax_models.evaluation import choose_sigma, parzen_log_likelihood


def by_hand(samples, x, sigma):
    at = [[scipy.stats.norm.logpdf(row, s, sigma).sum() for s in samples] for row in x]
    return scipy.special.logsumexp(at, axis=1) - np.log(len(samples))


@pytest.fixture(scope="module")
def rows():
    draw = np.random.RandomState(0).normal
    return draw(size=(9, 3)), draw(size=(7, 3))


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2])
def test_against_a_double_loop(x64, rows, sigma):
    expected = by_hand(*rows, sigma)
    for block in (1, 3, 100):
        assert np.max(np.abs(parzen_log_likelihood(*rows, sigma, block=block) / expected - 1)) < 1e-12


def test_integrates_to_one(x64):
    samples = np.array([[-1.0], [0.5], [0.6]])
    grid = np.arange(-8, 8, 0.01)[:, None]
    assert abs(np.exp(parzen_log_likelihood(samples, grid, 0.4)).sum() * 0.01 - 1) < 1e-10


def test_float32_is_near():
    """784 pixels, where squared distances are differences of numbers a hundred times as large."""
    draw = np.random.RandomState(1).uniform
    samples, x = draw(size=(40, 784)), draw(size=(5, 784))
    assert np.max(np.abs(parzen_log_likelihood(samples, x, 0.2) - by_hand(samples, x, 0.2))) < 0.05


def test_chosen_sigma_is_the_best_of_the_grid(x64, rows):
    grid = (0.05, 0.4, 0.9, 1.7)
    best = max(grid, key=lambda sigma: by_hand(*rows, sigma).mean())
    assert choose_sigma(*rows, grid) == best
    assert choose_sigma(*rows, grid[:1]) == 0.05


def test_a_copy_of_the_examples_scores_above_their_own_distribution(x64):
    """What Theis et al. warn of: to repeat the examples is better than to be right."""
    draw = np.random.RandomState(2).normal
    x, other = draw(size=(50, 10)), draw(size=(50, 10))
    assert parzen_log_likelihood(x, x, 0.2).mean() > parzen_log_likelihood(other, x, 0.2).mean() + 50


def test_bad_input_is_named(rows):
    with pytest.raises(ConfigError, match=r"sigma: got 0\.0, expected a number, more than 0"):
        parzen_log_likelihood(*rows, 0.0)
    with pytest.raises(ConfigError, match=r"grid\.1: got -1"):
        choose_sigma(*rows, (1.0, -1.0))
    with pytest.raises(ConfigError, match="number of sigmas in grid: got 0"):
        choose_sigma(*rows, ())
    with pytest.raises(DataError, match=r"x: got shape \(7, 2\), expected \[N, 3\]"):
        parzen_log_likelihood(rows[0], rows[1][:, :2], 1.0)
