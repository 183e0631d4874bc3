"""Power by frequency, of images whose spectrum is known."""

import numpy as np
import pytest

from genjax_models.errors import DataError
from genjax_models.evaluation import power_spectrum, spectral_ratio


def waves(height, width, down, across, phase=0.3):
    rows, columns = np.mgrid[:height, :width]
    return np.cos(2 * np.pi * (down * rows / height + across * columns / width) + phase).reshape(1, -1)


@pytest.mark.parametrize(
    ("shape", "down", "across", "ring"),
    [
        ((8, 8), 2, 0, 2),
        ((8, 8), 0, 3, 3),
        ((8, 8), 2, 2, 3),
        ((9, 9), 1, 4, 4),
        ((6, 12), 0, 4, 2),
        ((12, 6), 6, 0, 3),
    ],
)
def test_a_wave_lies_in_its_ring(shape, down, across, ring):
    """And has all its power there: |a|^2 H W / 4 at each of two frequencies, of all that the ring has."""
    found = power_spectrum(waves(*shape, down, across), shape)
    size = min(shape)
    np.testing.assert_allclose(found.frequency, np.arange(size // 2 + 1) / size)
    assert found.power[ring] > 1e-3
    assert np.delete(found.power, ring).max() < 1e-20 * found.power[ring] * 1e6
    v, u = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    members = int((np.rint(np.hypot(u, v) * size) == ring).sum())
    height, width = shape
    alone = 2 * down % height == 0 and 2 * across % width == 0  # its own mirror image
    power = height * width * (np.cos(0.3) ** 2 if alone else 0.5)
    np.testing.assert_allclose(found.power[ring] * members, power, rtol=1e-9)


def test_white_noise_is_flat_at_its_variance():
    x = 3 * np.random.RandomState(0).normal(size=(4000, 7 * 10 * 2))
    found = power_spectrum(x, (7, 10, 2))
    assert len(found.frequency) == 4
    assert np.abs((found.power - 9) / found.standard_error).max() < 4
    np.testing.assert_allclose(found.power, 9, rtol=0.06)


def test_power_adds_up():
    """Parseval: with all rings, the mean square; a constant is all in the first."""
    x = np.full((3, 16), 0.5)
    found = power_spectrum(x, (4, 4))
    np.testing.assert_allclose(found.power, [16 * 0.25, 0, 0], atol=1e-15)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-15)


def test_blur_lowers_high_frequencies_by_the_filter():
    """Images smoothed by (1/2, 1/2) along the rows: the ratio of a wave's power is cos^2 of half its phase step."""
    data = sum(waves(8, 8, 0, k, phase) for k, phase in ((1, 0.1), (2, 0.2), (3, 0.4)))
    blurred = (data.reshape(8, 8) + np.roll(data.reshape(8, 8), 1, axis=1)).reshape(1, -1) / 2
    found = spectral_ratio(blurred, data, (8, 8))
    np.testing.assert_allclose(found.ratio[1:4], np.cos(np.pi * np.arange(1, 4) / 8) ** 2, rtol=1e-9)


def test_error_of_a_ratio_is_that_of_repeated_draws():
    random = np.random.RandomState(1)
    ratios, errors = [], []
    for _ in range(200):
        found = spectral_ratio(random.normal(size=(50, 16)), 2 * random.normal(size=(80, 16)), (4, 4))
        ratios.append(found.ratio)
        errors.append(found.standard_error)
    np.testing.assert_allclose(np.mean(ratios, axis=0), 0.25, rtol=0.1)
    np.testing.assert_allclose(np.std(ratios, axis=0), np.mean(errors, axis=0), rtol=0.25)


def test_one_image_has_no_error():
    found = power_spectrum(waves(4, 4, 1, 0), (4, 4))
    assert np.isnan(found.standard_error).all()


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.zeros((2, 12)), (3, 5)),
        (np.zeros(12), (3, 4)),
        (np.zeros((0, 12)), (3, 4)),
        (np.zeros((2, 12)), (12,)),
        (np.zeros((2, 12)), None),
        (np.full((2, 12), np.nan), (3, 4)),
    ],
)
def test_what_are_no_images_is_refused(x, shape):
    with pytest.raises(DataError, match="images: got"):
        power_spectrum(x, shape)
