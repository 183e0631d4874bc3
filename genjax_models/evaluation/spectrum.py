"""Blur, by frequency: the power spectrum of images, and its ratio to that of data."""

from typing import Any, NamedTuple

import numpy as np

from genjax_models.errors import DataError


class Spectrum(NamedTuple):
    """Power by spatial frequency, the mean over images, channels and directions."""

    frequency: np.ndarray  # [F], cycles a pixel, from 0 to about 1/2
    power: np.ndarray  # [F]; white noise of variance v has v everywhere
    standard_error: np.ndarray  # [F], of the mean over images


class SpectralRatio(NamedTuple):
    """Power over the data's power; 1 where both have the same, below 1 where the images are blurred."""

    frequency: np.ndarray  # [F]
    ratio: np.ndarray  # [F]
    standard_error: np.ndarray  # [F]


def _rings(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The ring of every frequency of the transform, [H, W], and the rings' frequencies, [F]."""
    size = min(height, width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    return np.rint(radius * size).astype(int), np.arange(size // 2 + 1) / size


def power_spectrum(images: Any, image_shape: tuple[int, ...]) -> Spectrum:
    """The radially averaged power spectrum of images.

        P(f) = mean over |(u, v)| near f of |sum_{a, b} x_ab exp(-2 pi i (u a + v b))|^2 / (H W)

    in rings 1 / min(H, W) wide about f = 0, 1 / min(H, W), ..., up to 1/2; frequencies beyond, in the corners of the
    transform, are left out. P(0) of a constant image of value b is H W b^2.

    Args:
        images: [N, D], rows of flattened images: samples of any model, reconstructions, data.
        image_shape: (height, width) or (height, width, channels), with product D.

    Returns:
        A `Spectrum`.

    Raises:
        DataError: images that are not [N, D] or not finite, or a shape that is not theirs.

    Example:
        >>> power_spectrum(x_test, (28, 28)).power
    """
    x = np.asarray(images, np.float64)
    if len(image_shape or ()) not in (2, 3) or x.ndim != 2 or not len(x) or x.shape[1] != np.prod(image_shape):
        raise DataError(
            f"images: got shape {x.shape} with image_shape {image_shape}, expected [N, D] with at least one image, and "
            "a height, a width and perhaps channels whose product is D."
        )
    if not np.isfinite(x).all():
        raise DataError("images: got values that are not finite, which have no spectrum.")
    height, width = image_shape[:2]
    rings, frequency = _rings(height, width)
    counts = np.bincount(rings.ravel(), minlength=len(frequency))[: len(frequency)]
    rows = []
    for image in x.reshape(len(x), height, width, -1):
        power = (np.abs(np.fft.fft2(image, axes=(0, 1))) ** 2).mean(axis=-1) / (height * width)
        rows.append(np.bincount(rings.ravel(), power.ravel())[: len(frequency)] / counts)
    table = np.stack(rows)
    error = table.std(axis=0, ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.full(len(frequency), np.nan)
    return Spectrum(frequency, table.mean(axis=0), error)


def spectral_ratio(samples: Any, data: Any, image_shape: tuple[int, ...]) -> SpectralRatio:
    """The ratio of the power of samples to that of data, by frequency.

    Whether samples are draws of x or means E[x | z] matters: means lack the noise of the likelihood, which has the same
    power at all frequencies where units are independent.

    Args:
        samples: [N, D].
        data: [M, D].
        image_shape: (height, width) or (height, width, channels), with product D.

    Returns:
        A `SpectralRatio`; its standard error is that of a ratio of independent means, to first order. The ratio is not
        a number where neither has power, and infinite where the data alone has none.

    Raises:
        DataError: as for `power_spectrum`.

    Example:
        >>> spectral_ratio(samples, x_test, (28, 28)).ratio[-1]  # of the finest detail
    """
    above, below = power_spectrum(samples, image_shape), power_spectrum(data, image_shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = above.power / below.power
        error = ratio * np.hypot(above.standard_error / above.power, below.standard_error / below.power)
    return SpectralRatio(above.frequency, ratio, error)
