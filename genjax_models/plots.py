"""Pictures: grids of examples, and training curves."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # The object interface: no backend is chosen for a caller who plots too, and no window opens.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def image_grid(x: np.ndarray, image_shape: tuple[int, ...] | None, columns: int | None = None) -> np.ndarray:
    """Examples side by side with a thin frame: [N, D] -> [rows, columns] or [rows, columns, 3], in [0, 1].

    Args:
        x: N examples; values are clipped to [0, 1].
        image_shape: (height, width) or (height, width, channels); None draws each example as one row of pixels.
        columns: images in a row; None for as many as there are rows.
    """
    x = np.clip(np.asarray(x, np.float32), 0, 1)
    if image_shape is None:
        return x
    height, width, *channels = image_shape
    images = x.reshape(len(x), height, width, *channels)
    if channels == [1]:
        images = images[..., 0]
    columns = columns or math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    grid = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *images.shape[3:]), 0.5, np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        grid[top : top + height, left : left + width] = image
    return grid


def save_images(path: Path, x: np.ndarray, image_shape: tuple[int, ...] | None, columns: int | None = None) -> None:
    """Write a PNG of examples, black for 0 and white for 1, every pixel enlarged to be seen."""
    from matplotlib.image import imsave

    grid = image_grid(x, image_shape, columns)
    enlarge = max(1, 700 // max(grid.shape[:2]))
    grid = grid.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    imsave(path, grid, cmap="gray", vmin=0, vmax=1, format="png")


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write a PNG of the train and validation bound, in nats per example, against the step."""
    figure, axes = _figure(6.4, 4)
    steps = [row["step"] for row in rows]
    for name, label in (("train_bound", "train"), ("validation_bound", "validation")):
        values = [np.nan if row.get(name) is None else row[name] for row in rows]
        axes.plot(steps, values, marker="." if len(rows) < 50 else "", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("bound (nats per example)")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, format="png")
