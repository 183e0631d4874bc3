"""Pictures: grids of examples, training curves, and gradient estimators."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    # The object interface: no backend is chosen for a caller who plots too, and no window opens.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, sharex=True, sharey=True)


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


def _place_labels(axes: Any, points: Sequence[tuple[float, float]], labels: Sequence[Any]) -> None:
    """Move text beside its point, as near as it goes without covering another point or text, within the axes."""
    renderer = axes.figure.canvas.get_renderer()
    dots = axes.transData.transform(points)
    frame = axes.get_window_extent(renderer)
    unit = axes.figure.dpi / 72  # pixels a point of type
    taken: list[Any] = []

    def cost(box: Any, own: int) -> float:
        over = sum(box.overlaps(other) for other in taken)
        over += sum(box.padded(3 * unit).contains(*dot) for i, dot in enumerate(dots) if i != own)
        outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
        return over + 2 * outside

    for i in sorted(range(len(dots)), key=lambda i: -dots[i][1]):
        best: tuple[float, Any, tuple[float, float], str] | None = None
        for radius in (6, 14, 24, 36, 50):
            for angle in (0, 180, 45, -45, 135, -135, 90, -90):
                across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
                align = "left" if across > 0.1 else "right" if across < -0.1 else "center"
                labels[i].set(position=(radius * across, radius * up), horizontalalignment=align)
                box = labels[i].get_window_extent(renderer)
                found = cost(box, i) + radius / 1000, box, (radius * across, radius * up), align
                if best is None or found[0] < best[0]:
                    best = found
            if best is not None and best[0] < 1:
                break
        assert best is not None
        _, box, position, align = best
        labels[i].set(position=position, horizontalalignment=align)
        taken.append(box)
        if math.hypot(*position) > 10:
            line = {"arrowstyle": "-", "color": labels[i].get_color(), "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", points[i], position, textcoords="offset points", arrowprops=line)


def save_estimators(
    path: Path, rows: Sequence[Mapping[str, Any]], title: str, group: str = "recognition", columns: int = 4
) -> None:
    """Write a PNG of the variance of a group's gradient against the time it takes, both on logarithmic axes.

    A panel for each stage of training and a colour for each estimator, which is named beside its point. Estimators
    whose gradient has no variance in that group are not drawn.

    Args:
        path: the picture.
        rows: as `estimator_comparison.measure` returns them, with "step", "objective", "seconds" and "variance".
        title: above the panels.
        group: the parameter group.
        columns: stages drawn at most, spread over those there are.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(dict.fromkeys(row["objective"] for row in rows))
    palette = [*colormaps["tab10"](range(10)), *colormaps["Dark2"](range(8)), *colormaps["tab20b"](range(20))]
    colours = {name: palette[i % len(palette)] for i, name in enumerate(names)}
    steps = sorted({row["step"] for row in rows})
    if len(steps) > columns:
        steps = [steps[round(i)] for i in np.linspace(0, len(steps) - 1, columns)]
    figure, axes = _figure(1.2 + 4.2 * len(steps), 4.8, len(steps))
    panels = []
    for step, panel in zip(steps, np.atleast_1d(axes), strict=True):
        shown = [r for r in rows if r["step"] == step and (r["variance"].get(group) or 0) > 0]
        points = [(1000 * row["seconds"], row["variance"][group]) for row in shown]
        labels = []
        for row, point in zip(shown, points, strict=True):
            colour = colours[row["objective"]]
            panel.plot(*point, "o", color=colour, markersize=6)
            label = panel.annotate(
                row["objective"], point, (6, 0), textcoords="offset points", color=colour, fontsize=8.5, va="center"
            )
            label.set_in_layout(False)
            labels.append(label)
        panel.set(xscale="log", yscale="log", xlabel="milliseconds a gradient")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_title(f"step {step}", fontsize=10)
        panel.margins(0.22, 0.12)
        panel.grid(alpha=0.3)
        panels.append((panel, points, labels))
    np.atleast_1d(axes)[0].set_ylabel(f"variance of the {group} gradient")
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.canvas.draw()  # lays the axes out, so that places can be found
    for panel, points, labels in panels:
        if points:
            _place_labels(panel, points, labels)
    figure.savefig(path, dpi=120, format="png")
