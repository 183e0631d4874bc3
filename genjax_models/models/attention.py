"""Windows on an image by banks of Gaussian filters (Gregor et al. 2015, section 3.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

NUMBERS = 5  # that a window is made of: its centre's x and y, then the logs of variance, stride and intensity


class Window(NamedTuple):
    """N x N Gaussian filters over an image of H rows and W columns, and the intensity of what they see."""

    rows: jax.Array  # F_Y, [N, H], each filter's weights sum to one
    columns: jax.Array  # F_X, [N, W]
    log_intensity: jax.Array  # log gamma, []


def centres(numbers: jax.Array, size: int, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """mu_Y [N] and mu_X [N], where pixels are numbered from 1 (equations 19, 20 and 22 to 24)."""
    x, y, _, log_stride, _ = numbers
    # One filter has no neighbour to be a stride away from.
    stride = (max(height, width) - 1) / max(size - 1, 1) * jnp.exp(log_stride)
    steps = stride * (jnp.arange(1, size + 1) - size / 2 - 0.5)
    return (height + 1) / 2 * (y + 1) + steps, (width + 1) / 2 * (x + 1) + steps


def _filters(mean: jax.Array, log_variance: jax.Array, pixels: int) -> jax.Array:
    # A softmax is exp(-(a - mu)^2 / 2 sigma^2) / Z that holds where all of it is 0 in floating point: outside.
    distance = jnp.arange(1, pixels + 1) - mean[:, None]
    return jax.nn.softmax(-0.5 * jnp.exp(-log_variance) * jnp.square(distance), axis=-1)


def window(numbers: jax.Array, size: int, height: int, width: int) -> Window:
    """The window that a network's five numbers stand for (equations 19 to 26).

    Args:
        numbers: (g~_X, g~_Y, log sigma^2, log delta~, log gamma), [5]; at g~ = 0 it is in the middle of the image, at
            -1 and 1 just outside of it, and delta~ = 1 spreads its filters over the longer edge.
        size: N, filters along either edge.
        height, width: of the image, in pixels.
    """
    mean_y, mean_x = centres(numbers, size, height, width)
    return Window(_filters(mean_y, numbers[2], height), _filters(mean_x, numbers[2], width), numbers[4])


def read(view: Window, image: jax.Array) -> jax.Array:
    """gamma F_Y x F_X' of every channel, [H, W, C] -> [N, N, C] (equation 27)."""
    return jnp.exp(view.log_intensity) * jnp.einsum("ih,hwc,jw->ijc", view.rows, image, view.columns)


def write(view: Window, patches: jax.Array) -> jax.Array:
    """F_Y' w F_X / gamma of every patch and channel, [..., N, N, C] -> [..., H, W, C] (equation 29)."""
    # The patch is smaller than the image.
    patches = jnp.exp(-view.log_intensity) * patches
    return jnp.einsum("ih,...ijc,jw->...hwc", view.rows, patches, view.columns)


def outline(numbers: jax.Array, size: int, height: int, width: int) -> jax.Array:
    """(top, left, bottom, right) of the window in pixels from the image's corner, [4]: half a stride around its
    filters' centres, a standard deviation where there is one filter."""
    means = centres(numbers, size, height, width)
    margin = (means[0][-1] - means[0][0]) / (2 * (size - 1)) if size > 1 else jnp.exp(0.5 * numbers[2])
    # Pixel a, numbered from 1, reaches from a - 1 to a.
    corners = [(m[0] - 0.5 - margin, m[-1] - 0.5 + margin) for m in means]
    return jnp.stack([corners[0][0], corners[1][0], corners[0][1], corners[1][1]])
