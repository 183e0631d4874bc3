import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import Gaussians
from genjax_models.errors import ConfigError


def test_means_of_a_ring_lie_evenly_on_its_circle():
    centres = Gaussians("ring", modes=8, extent=2.0).centres()
    assert centres.shape == (8, 2)
    assert np.allclose(np.linalg.norm(centres, axis=1), 2, atol=1e-12)
    assert np.allclose(centres[0], [2, 0], atol=1e-12)
    steps = np.linalg.norm(np.roll(centres, -1, axis=0) - centres, axis=1)
    assert np.allclose(steps, 4 * np.sin(np.pi / 8), atol=1e-12)


def test_means_of_a_grid_are_all_pairs():
    centres = Gaussians("grid", modes=25, extent=4.0).centres()
    assert {tuple(c) for c in centres} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


@pytest.mark.parametrize("source", [Gaussians(std=0.3, extent=5.0), Gaussians("grid", 9, 6.0, 0.2)])
def test_draws_have_that_distribution(source):
    """Modes are equally likely; about its mean each is round with its standard deviation; by five standard errors."""
    centres = source.centres()
    for x in source.load()[:3]:
        distances = np.linalg.norm(x[:, None] - centres, axis=2)
        which, number = distances.argmin(axis=1), len(x) / source.modes
        assert np.all(np.abs(np.bincount(which, minlength=source.modes) - number) < 5 * np.sqrt(number))
        z = (x - centres[which]) / source.std
        assert np.all(np.abs(z.mean(axis=0)) < 5 / np.sqrt(len(x)))
        assert np.all(np.abs(np.cov(z.T) - np.eye(2)) < 5 * np.sqrt(2 / len(x)))


def test_splits():
    data = Gaussians(num_train=50, num_validation=40, num_test=30).load()
    assert [x.shape for x in data[:3]] == [(50, 2), (40, 2), (30, 2)]
    assert data.train.dtype == np.float32
    assert data.support == "real"
    assert data.image_shape is None
    more = Gaussians(num_train=60, num_validation=40, num_test=7).load()
    assert np.array_equal(more.train[:50], data.train)
    assert np.array_equal(more.validation, data.validation)
    assert not np.array_equal(data.train[:40], data.validation)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Gaussians(modes=0), "modes: got 0, expected an integer, at least 1"),
        (Gaussians("grid"), "modes: got 8 for a grid, expected a square number"),
        (Gaussians("grid", modes=1), "modes: got 1 for a grid"),
        (Gaussians("line"), "layout: got 'line', expected one of 'ring', 'grid'"),
        (Gaussians(std=0.0), "std: got 0.0, expected a number, more than 0"),
        (Gaussians(extent=-1.0), "extent: got -1.0"),
        (Gaussians(num_test=0), "num_test: got 0"),
    ],
)
def test_impossible_values(config, message):
    for act in (validate, Gaussians.load, Gaussians.centres):
        with pytest.raises(ConfigError, match=message):
            act(config)
