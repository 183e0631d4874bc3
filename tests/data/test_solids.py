"""Rendered solids: what their outlines and shades must be by geometry."""

import math

import numpy as np
import pytest

from genjax_models.data import Solids
from genjax_models.data.solids import AMBIENT, EXTENT, SHAPES, View, encode, render
from genjax_models.errors import DataError

BOX, CYLINDER, CONE, TORUS = range(4)


def image(shape, azimuth=0.0, elevation=0.0, light=0.0, size=64):
    return render(View(shape, azimuth, elevation, light), size)[0].reshape(size, size)


@pytest.mark.parametrize(
    ("shape", "azimuth", "elevation", "area"),
    [
        (BOX, 0, 0, 1.1 * 0.8),
        (BOX, 90, 0, 1.7 * 0.8),
        (BOX, 0, 90, 1.1 * 1.7),
        (CYLINDER, 17, 0, 1.0 * 1.6),
        (CYLINDER, 17, 90, math.pi * 0.5**2),
        (CONE, 5, 0, 1.5 * 1.6 / 2),
        (CONE, 5, 90, math.pi * 0.75**2),
        (TORUS, 90, 0, math.pi * (1.05**2 - 0.45**2)),
        (TORUS, 0, 0, 1.5 * 0.6 + math.pi * 0.3**2),
    ],
)
def test_outlines_have_the_area_of_the_projection(shape, azimuth, elevation, area):
    """Within half a pixel along an edge of at most 9 units."""
    size = 64
    pixel = 2 * EXTENT / size
    assert abs((image(shape, azimuth, elevation) > 0).sum() * pixel**2 - area) < 9 * pixel / 2


def test_shades_are_lambertian():
    """A face towards the camera has the cosine of the light's elevation, 35 degrees; in the shade, ambient light."""
    centre = (32, 32)
    assert image(BOX)[centre] == pytest.approx(AMBIENT + (1 - AMBIENT) * math.cos(math.radians(35)), abs=1e-5)
    assert image(BOX, light=60)[centre] == pytest.approx(
        AMBIENT + (1 - AMBIENT) * math.cos(math.radians(35)) * 0.5, abs=1e-5
    )
    assert image(BOX, light=180)[centre] == pytest.approx(AMBIENT, abs=1e-6)
    assert image(TORUS, azimuth=90)[centre] == 0  # the hole


def test_what_is_round_looks_alike_from_all_sides():
    """Light goes with the camera."""
    for shape in (CYLINDER, CONE):
        assert np.abs(image(shape, 0, 20, 30) - image(shape, 123, 20, 30)).mean() < 2e-3  # a few pixels at edges differ
    assert np.abs(image(BOX, 0, 20, 30) - image(BOX, 123, 20, 30)).mean() > 2e-2
    assert np.abs(image(BOX, 40, 10, 0) - image(BOX, -40, 10, 0)[:, ::-1]).mean() < 2e-3


def test_codes():
    found = encode(View(np.array([TORUS, BOX]), np.array([90, -60]), np.array([45, -90]), 180))
    half = math.sqrt(3) / 2
    expected = [[0, 0, 0, 1, 0, 1, 0.5, -1, 0], [1, 0, 0, 0, 0.5, -half, -1, -1, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(4, 0, 0, 0), "shape: got 4, expected an index from 0 to 3"),
        (View(0.5, 0, 0, 0), "shape: got 0.5"),
        (View(0, 0, 91, 0), "elevation: got 91, expected degrees from -90 to 90"),
        (View(0, 0, math.nan, 0), "elevation: got nan"),
        (View(0, math.inf, 0, 0), "1 angles are not finite"),
    ],
)
def test_codes_out_of_range(view, message):
    for function in (encode, render):
        with pytest.raises(DataError, match=message):
            function(view)


def test_source():
    """Contexts are the codes of the images; more rows begin with the same ones."""
    few, more = (Solids(size=8, num_train=n, num_validation=2, num_test=3).load() for n in (4, 6))
    assert [len(x) for x in (few.train, few.validation, few.test)] == [4, 2, 3]
    assert few.image_shape == (8, 8)
    np.testing.assert_array_equal(few.train, more.train[:4])
    np.testing.assert_array_equal(few.train_context, more.train_context[:4])
    view = Solids().views(6, 0)
    np.testing.assert_array_equal(more.train, render(view, 8))
    np.testing.assert_array_equal(more.train_context, encode(view))
    assert set(Solids().views(200, 1).shape) == set(range(len(SHAPES)))
    assert not np.array_equal(few.validation_context, few.test_context[:2])
