"""Coverage of known modes, and nearest training examples."""

import numpy as np
import pytest

from genjax_models.data import Gaussians
from genjax_models.errors import ConfigError, DataError
from genjax_models.evaluation import mode_coverage, nearest


def test_nearest_is_that_of_all_pairs(x64):
    draw = np.random.RandomState(0).normal
    train, samples = draw(size=(23, 4)), draw(size=(11, 4))
    distances = np.linalg.norm(samples[:, None] - train, axis=2)
    for block in (1, 4, 100):
        found = nearest(train, samples, block=block)
        assert np.array_equal(found.row, distances.argmin(axis=1))
        assert np.max(np.abs(found.distance - distances.min(axis=1))) < 1e-12


def test_a_repeated_example_is_at_distance_zero():
    """In float32 too, far from the origin, where a difference of squares would not say so."""
    train = 1000 + np.random.RandomState(1).normal(size=(50, 30)).astype(np.float32)
    found = nearest(train, train[[7, 3]])
    assert np.array_equal(found.row, [7, 3])
    assert np.array_equal(found.distance, [0, 0])


def test_coverage_by_hand(x64):
    """Of three modes two are hit; four of five samples are near one; nearest are 3, 1 and 1 of them."""
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    samples = np.array([[0.1, 0.0], [0.0, -0.2], [0.3, 0.0], [10.0, 0.29], [0.0, 9.0]])
    found = mode_coverage(samples, centres, radius=0.3)
    assert found.modes == 2
    assert abs(found.high_quality - 4 / 5) < 1e-12
    share = np.array([3, 1, 1]) / 5
    assert abs(found.divergence - np.sum(share * np.log(3 * share))) < 1e-12


def test_one_mode_has_the_largest_divergence(x64):
    centres = Gaussians("grid", modes=25).centres()
    found = mode_coverage(np.tile(centres[3], (9, 1)), centres, radius=1e-3)
    assert found.modes == 1
    assert found.high_quality == 1
    assert abs(found.divergence - np.log(25)) < 1e-12
    assert mode_coverage(centres, centres, radius=1e-3)._asdict() == {"modes": 25, "high_quality": 1, "divergence": 0}


def test_the_mixture_itself_is_covered():
    source = Gaussians()
    found = mode_coverage(source.load().train, source.centres(), radius=3 * source.std)
    assert found.modes == 8
    expected = 1 - np.exp(-4.5)
    assert abs(found.high_quality - expected) < 5 * np.sqrt(expected * (1 - expected) / 10_000)
    # Twice the number of samples times this is nearly chi-square with 7 degrees of freedom.
    assert 0 < 2 * 10_000 * found.divergence < 30


def test_bad_input_is_named():
    x = np.zeros((3, 2))
    with pytest.raises(DataError, match=r"samples: got shape \(3, 3\), expected \[N, 2\], as train has it"):
        nearest(x, np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"train: got shape \(0, 2\)"):
        nearest(x[:0], x)
    with pytest.raises(ConfigError, match="nearest: block: got 0"):
        nearest(x, x, block=0)
    with pytest.raises(ConfigError, match="mode_coverage: radius: got 0"):
        mode_coverage(x, x, radius=0.0)
    with pytest.raises(DataError, match=r"centres: got shape \(2,\)"):
        mode_coverage(x, np.zeros(2), radius=1.0)
