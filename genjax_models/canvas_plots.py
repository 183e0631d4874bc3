"""Pictures of images as they are drawn, step by step: a strip of canvases for each, and all of them moving."""

import math
from pathlib import Path

import numpy as np

from genjax_models.plots import channel_panels, image_grid, save_images

SHOWN = 12  # canvases of a strip, evenly among all steps, the last one included
RED = np.array([1.0, 0.2, 0.2], np.float32)


def _framed(
    images: np.ndarray, windows: np.ndarray | None, image_shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[int, ...], int]:
    """Images [N, D] as RGB with the edge of each window [N, 4] in red, their shape, and the panels of an image."""
    images, (height, width, *_), panels = channel_panels(images, image_shape)
    windows = None if windows is None else np.repeat(windows, panels, axis=0)
    rgb = np.clip(images, 0, 1).reshape(len(images), height, width, -1)
    rgb = np.broadcast_to(rgb, (*rgb.shape[:3], 3)) if rgb.shape[-1] == 1 else rgb
    rgb = np.array(rgb, np.float32)
    if windows is not None:
        rows, columns = np.arange(height)[:, None], np.arange(width)
        for image, (top, left, bottom, right) in zip(rgb, np.round(np.asarray(windows, np.float64)), strict=True):
            inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
            within = (rows > top) & (rows < bottom - 1) & (columns > left) & (columns < right - 1)
            image[inside & ~within] = RED
    return rgb.reshape(len(rgb), -1), (height, width, 3), panels


def save_strips(
    path: Path, canvases: np.ndarray, image_shape: tuple[int, ...], windows: np.ndarray | None = None
) -> None:
    """Write a PNG with a row for each image: its canvas after some of the steps, the last one included.

    Args:
        path: the file.
        canvases: [N, T, D], in [0, 1].
        image_shape: (height, width) or (height, width, channels).
        windows: where each step draws, [N, T, 4]: top, left, bottom, right in pixels; its edge is red. None for none.
    """
    steps = canvases.shape[1]
    shown = np.unique(np.linspace(0, steps - 1, min(SHOWN, steps)).round().astype(int))
    flat = canvases[:, shown].reshape(-1, canvases.shape[2])
    boxes = None if windows is None else windows[:, shown].reshape(-1, 4)
    framed, shape, panels = _framed(flat, boxes, image_shape)
    save_images(path, framed, shape, columns=len(shown) * panels)


def save_animation(
    path: Path,
    canvases: np.ndarray,
    image_shape: tuple[int, ...],
    windows: np.ndarray | None = None,
    seconds: float = 4.0,
) -> None:
    """Write a GIF of all images side by side as they are drawn, over and over, holding the last canvas.

    Args:
        path, canvases, image_shape, windows: as for `save_strips`.
        seconds: of a round, less the second that the last canvas stands.
    """
    from PIL import Image

    steps, frames = canvases.shape[1], []
    for t in range(steps):
        framed, shape, panels = _framed(canvases[:, t], None if windows is None else windows[:, t], image_shape)
        grid = image_grid(framed, shape, panels * math.ceil(math.sqrt(len(framed)) / panels))
        enlarge = max(1, 400 // max(grid.shape[:2]))
        pixels = (255 * grid.repeat(enlarge, axis=0).repeat(enlarge, axis=1)).astype(np.uint8)
        frames.append(Image.fromarray(pixels))
    each = max(20, round(1000 * seconds / steps))
    last = [each] * (steps - 1) + [each + 1000]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=last, loop=0)
