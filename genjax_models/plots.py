"""Pictures: grids of examples, training curves, gradient estimators, and sweeps."""

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax_models.sweep_report import (
    Member,
    Setting,
    lower_is_better,
    mean_text,
    metric_of,
    ranked,
    short,
    short_names,
    summarize,
    swept,
)


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1, share: bool = True) -> tuple[Any, Any]:
    """A figure so many inches wide and high, and its panels, which share their axes or do not."""
    # The object interface: no backend is chosen for a caller who plots too, and no window opens.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, sharex=share, sharey=share)


def channel_panels(x: np.ndarray, image_shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...], int]:
    """What is drawn of images [N, D], its shape, and how many panels of an image follow each other.

    Images of a number of channels that makes no colours, which is any but 1 and 3, are a grey panel for each channel.
    """
    height, width, *channels = image_shape
    if channels in ([], [1]):
        return x, (height, width), 1
    if channels == [3]:
        return x, (height, width, 3), 1
    by_channel = x.reshape(len(x), height * width, channels[0]).swapaxes(1, 2)
    return by_channel.reshape(-1, height * width), (height, width), channels[0]


def image_grid(x: np.ndarray, image_shape: tuple[int, ...] | None, columns: int | None = None) -> np.ndarray:
    """Examples side by side with a thin frame: [N, D] -> [rows, columns] or [rows, columns, 3], in [0, 1].

    Args:
        x: N examples; values are clipped to [0, 1].
        image_shape: (height, width) or (height, width, channels); None draws each example as one row of pixels. Of
            other than 1 or 3 channels each is a grey panel, and those of an image lie side by side.
        columns: images in a row; None for as many panels in a row as there are rows, or a few more.
    """
    x = np.clip(np.asarray(x, np.float32), 0, 1)
    if image_shape is None:
        return x
    x, shape, panels = channel_panels(x, image_shape)
    images, (height, width) = x.reshape(-1, *shape), shape[:2]
    columns = panels * (columns or math.ceil(math.sqrt(len(x)) / panels))
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


def save_points(path: Path, groups: Mapping[str, np.ndarray], title: str) -> None:
    """Write a PNG of points of the plane, one colour for each named group [N, 2]."""
    figure, axes = new_figure(5.2, 5)
    for name, points in groups.items():
        axes.plot(points[:, 0], points[:, 1], ".", markersize=3, alpha=0.6, label=name)
    axes.set_aspect("equal", "datalim")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=120, format="png")


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write a PNG of the metric that rows have as train_METRIC, and its validation, against the step."""
    figure, axes = new_figure(6.4, 4)
    steps = [row["step"] for row in rows]
    metric = next((name for row in rows for name in row if name.startswith("train_")), "train_bound")[6:]
    for label in ("train", "validation"):
        values = [np.nan if row.get(f"{label}_{metric}") is None else row[f"{label}_{metric}"] for row in rows]
        if label == "train" or np.isfinite(values).any():
            axes.plot(steps, values, marker="." if len(rows) < 50 else "", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("bound (nats per example)" if metric == "bound" else metric)
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
    figure, axes = new_figure(1.2 + 4.2 * len(steps), 4.8, len(steps))
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


_BASE = "base"  # stands for a field's value in the points of a chain that do not vary it


class _Scale(NamedTuple):
    """The values of a swept field and where they stand on an axis: numbers at themselves, others one after another."""

    path: str
    name: str
    values: list[Any]
    numeric: bool
    log: bool

    def at(self, overrides: Mapping[str, Any]) -> float:
        value = overrides.get(self.path, _BASE)
        return float(value) if self.numeric else [repr(v) for v in self.values].index(repr(value))

    def places(self) -> list[float]:
        return [self.at({self.path: v}) for v in self.values]

    def texts(self) -> list[str]:
        return [short(v).replace("$", r"\$") for v in self.values]  # no formulas

    def share(self, place: float) -> float:
        """A place as a share of the way from the first value to the last."""
        move = math.log if self.log else float
        low, high = (move(self.at({self.path: v})) for v in (self.values[0], self.values[-1]))
        return (move(place) - low) / (high - low)

    def uneven(self) -> float:
        """How far the values' mean is from the middle of the axis."""
        return round(abs(float(np.mean([self.share(p) for p in self.places()])) - 0.5), 6)

    def ticks(self, room: Callable[[str], float]) -> tuple[list[float], list[str]]:
        """All values where their texts fit beside each other, or are no numbers; otherwise round numbers.

        Args:
            room: the share of the axis that a text takes.
        """
        from matplotlib.ticker import LogLocator, MaxNLocator

        places, texts = self.places(), self.texts()
        ends = [(self.share(p) - room(t) / 2, self.share(p) + room(t) / 2) for p, t in zip(places, texts, strict=True)]
        if self.numeric and any(right > left for (_, right), (left, _) in itertools.pairwise(ends)):
            low, high = places[0], places[-1]
            decades = LogLocator(subs=(1,) if high > 1000 * low else (1, 2, 5), numticks=9)
            locator = decades if self.log else MaxNLocator(5)
            places = [p for p in locator.tick_values(low, high) if low <= p <= high]
            texts = [f"{p:g}" for p in places]
        return places, texts


def _scales(settings: Sequence[Setting]) -> list[_Scale]:
    """Of the fields, but the seed, that have several values."""
    scales = []
    for path, name in short_names(swept(settings)).items():
        values = list({repr(v): v for v in (s.overrides.get(path, _BASE) for s in settings)}.values())
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
        values = sorted(set(values)) if numeric else values
        if len(values) > 1:
            plain = _Scale(path, name, values, numeric, log=False)
            log = plain._replace(log=numeric and values[0] > 0 and values[-1] > 30 * values[0])
            scales.append(min(log, plain, key=_Scale.uneven))
    return scales


def _in_sight(values: Sequence[float], lower: bool) -> tuple[float, float]:
    """The range of the values without those so bad that they would leave nothing to be seen of the others."""
    best, sign = (min(values), 1) if lower else (max(values), -1)
    far = np.abs(np.asarray(values) - best)
    reach = 50 * float(np.median(far))
    worst = best + sign * float(far[far <= reach].max() if reach and len(far) > 3 else far.max())
    return min(best, worst), max(best, worst)


def _draw_members(
    panel: Any, setting: Setting, metric: str, place: float, sight: tuple[float, float], colour: Any
) -> None:
    """A setting's members as faint points, hollow where they have not finished, at the edge where they lie beyond."""
    for member in setting.members:
        if (value := metric_of(member, metric)) is not None:
            edge = min(max(value, sight[0]), sight[1])
            marker = "o" if value == edge else "^" if value > edge else "v"
            finished = member.status == "finished"
            text = "beyond the axis" if value != edge else "one member" if finished else "not finished"
            face = colour if finished else "none"
            look = {"color": colour, "markerfacecolor": face, "alpha": 0.4, "markersize": 5, "zorder": 1}
            panel.plot(place, edge, marker, label=text, **look)


def _seeds(members: Sequence[Member], metric: str, sight: tuple[float, float]) -> Any:
    """The metric of every seed, with its mean and the error of that."""
    from matplotlib.ticker import MaxNLocator

    figure, panel = new_figure(6.4, 4)
    for setting in summarize(members, [metric]):
        for i, member in enumerate(setting.members):
            one = setting._replace(members=(member,))
            _draw_members(panel, one, metric, member.overrides.get("seed", i), sight, "C0")
        mean, error, _ = setting.metrics[metric]
        if mean is not None:
            panel.axhline(mean, color="C1", label="mean")
            if error is not None:
                panel.axhspan(mean - error, mean + error, color="C1", alpha=0.2, label="± standard error")
    seeds = [member.overrides.get("seed", i) for i, member in enumerate(members)]
    if len(seeds) > 12:
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    else:
        panel.set_xticks(seeds)
    panel.set_xlabel("seed")
    return figure


def _draw_ticks(panel: Any, scale: _Scale, width: float) -> None:
    """The horizontal axis of a panel that is so many inches wide."""
    if scale.log:
        panel.set_xscale("log")
    places, texts = scale.ticks(lambda text: (0.08 * len(text) + 0.1) / width)
    panel.set_xticks(places, texts)
    panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    if not scale.numeric and sum(0.08 * len(text) + 0.15 for text in texts) > width:
        for text in panel.get_xticklabels():
            text.set(rotation=25, horizontalalignment="right", rotation_mode="anchor")
    panel.set_xlabel(scale.name)


def _lines(
    settings: Sequence[Setting],
    scales: Sequence[_Scale],
    metric: str,
    best: Setting | None,
    sight: tuple[float, float],
) -> Any:
    """The metric over a field, with a line for each value of a second, and a panel for each of a third."""
    from matplotlib import colormaps

    none = _Scale("", "", [_BASE], False, False)
    x, rows, across = [*scales, none, none][:3]
    names = [f"{rows.name} = {text}" for text in rows.texts()]
    repeated = any(len(setting.members) > 1 for setting in settings)
    names = names if rows is not none else ["mean ± standard error" if repeated else "finished"]
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(names))) if rows.numeric else colormaps["tab10"](range(10))
    style = "o-" if x.numeric or len(names) > 1 else "o"
    width = 4.6 if across is none else 3.4
    figure, panels = new_figure(1.4 + width * len(across.values) + 0.08 * max(map(len, names)), 4.4, len(across.values))
    for panel, third, title in zip(np.atleast_1d(panels), across.places(), across.texts(), strict=True):
        for i, (second, name) in enumerate(zip(rows.places(), names, strict=True)):
            own = [s for s in settings if (rows.at(s.overrides), across.at(s.overrides)) == (second, third)]
            shift = 0 if x.numeric else 0.5 * ((i + 0.5) / len(names) - 0.5)
            means = []
            for setting in sorted(own, key=lambda setting: x.at(setting.overrides)):
                place = x.at(setting.overrides) + shift
                mean = setting.metrics[metric]
                if repeated or mean.value is None or not sight[0] <= mean.value <= sight[1]:
                    _draw_members(panel, setting, metric, place, sight, colours[i])
                if mean.value is not None and sight[0] <= mean.value <= sight[1]:
                    means.append((place, mean.value, np.nan if mean.standard_error is None else mean.standard_error))
                if setting is best:
                    look = {"color": "gold", "markeredgecolor": "black", "markersize": 14, "zorder": 5, "linestyle": ""}
                    panel.plot(place, mean.value, marker="*", label="best", **look)
            at, height, error = zip(*means, strict=True) if means else ((), (), ())
            panel.errorbar(at, height, error, fmt=style, markersize=5, capsize=3, color=colours[i], label=name)
        _draw_ticks(panel, x, width - 0.3)
        panel.set_title(f"{across.name} = {title}" if across is not none else "", fontsize=10)
    return figure


def _parallel(settings: Sequence[Setting], scales: Sequence[_Scale], metric: str, sight: tuple[float, float]) -> Any:
    """A line for each setting across an upright axis for each field, to its mean at the colour bar on the right."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    edge = 0.04  # the share of an axis that is left free at its ends
    room = (sight[1] - sight[0] or 1) * edge / (1 - 2 * edge)
    norm = Normalize(sight[0] - room, sight[1] + room, clip=True)
    colours = ScalarMappable(norm, colormaps["viridis" if lower_is_better(metric) else "viridis_r"])  # the best is dark
    ticks = [scale.ticks(lambda _: 0.06) for scale in scales]
    longest = max(len(text) for _, texts in ticks for text in texts)
    figure, panel = new_figure(2.4 + max(1.5, 0.5 + 0.065 * longest) * len(scales), 4.6)

    def level(scale: _Scale, place: float) -> float:
        return edge + (1 - 2 * edge) * scale.share(place)

    order = ranked(settings, metric)[::-1]
    for setting in order:
        mean = setting.metrics[metric].value
        heights = [level(scale, scale.at(setting.overrides)) for scale in scales]
        if mean is not None:
            # Lines through the same values are drawn apart, in the order of the metric.
            end = float(norm(mean))
            apart = [(len(s.values) < len(settings)) * min(0.06, 0.4 / len(s.values)) for s in scales]
            heights = [height + (end - 0.5) * width for height, width in zip(heights, apart, strict=True)]
            if setting is order[-1]:
                panel.plot([*heights, end], color="white", linewidth=6)
            panel.plot([*heights, end], color=colours.cmap(end), linewidth=3.5 if setting is order[-1] else 1)
        elif any(metric_of(member, metric) is not None for member in setting.members):
            panel.plot(heights, color="0.8", linewidth=0.8, linestyle="--")
    for i, (scale, (places, texts)) in enumerate(zip(scales, ticks, strict=True)):
        panel.axvline(i, color="0.3", linewidth=1)
        for place, text in zip(places, texts, strict=True):
            where = {"textcoords": "offset points", "ha": "right", "va": "center"}
            box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8}
            panel.annotate(text, (i, level(scale, place)), (-4, 0), fontsize=8, bbox=box, zorder=5, **where)
    names = ["\n".join(textwrap.wrap(scale.name.replace("_", " "), 14)).replace(" ", "_") for scale in scales]
    panel.set(xlim=(-0.6, len(scales)), ylim=(0, 1), yticks=[])
    panel.set_xticks(range(len(scales)), names)
    panel.spines[:].set_visible(False)
    figure.colorbar(colours, cax=panel.inset_axes([1, 0, 0.16 / len(scales), 1]), label=_measured(metric))
    return figure


def _measured(metric: str) -> str:
    nats = not {"bound", "nll"}.isdisjoint(metric.split("_"))
    return metric.replace("_", " ") + " (nats per example)" * nats


def sweep_figure(members: Sequence[Member], metric: str, title: str) -> Any:
    """The figure that `save_sweep` writes."""
    settings = summarize(members, [metric])
    values = [v for member in members if (v := metric_of(member, metric)) is not None]
    means = [v for setting in settings if (v := setting.metrics[metric].value) is not None]
    best = ranked(settings, metric)[0] if means else None
    # The longest numeric field lies along the axis; of the others the shorter has the panels.
    scales = _scales(settings)
    ordered = sorted(scales, key=lambda s: (not s.numeric, -len(s.values)))
    ordered[1:] = sorted(ordered[1:], key=lambda s: -len(s.values))
    # The points of a grid repeat their values; those of a draw, or of fields that go together, do not.
    grid = 2 * len(settings) > math.prod(len(s.values) for s in scales)
    few = len(scales) < 4 and all(len(s.values) <= most for s, most in zip(ordered[1:], (10, 5), strict=False))
    parallel = len(scales) > 1 and not (grid and few)
    shown = means if parallel and means else values
    sight = _in_sight(shown, lower_is_better(metric)) if shown else (0.0, 1.0)
    if best is not None and (value := best.metrics[metric].value) is not None:  # which some seeds may have carried off
        sight = min(sight[0], value), max(sight[1], value)
    beyond = sum(not sight[0] <= v <= sight[1] for v in shown)
    if parallel:
        figure = _parallel(settings, scales, metric, sight)
    else:
        figure = _lines(settings, ordered, metric, best, sight) if scales else _seeds(members, metric, sight)
        figure.axes[0].set_ylabel(_measured(metric))
        if beyond:
            room = 0.06 * (sight[1] - sight[0])
            figure.axes[0].set_ylim(sight[0] - room, sight[1] + room)
        for panel in figure.axes:
            panel.grid(alpha=0.3)
    handles = {t: h for panel in figure.axes for h, t in zip(*panel.get_legend_handles_labels(), strict=True)}
    lesser = ["best", "one member", "not finished", "beyond the axis"]
    handles = {t: handles[t] for t in sorted(handles, key=lambda t: lesser.index(t) if t in lesser else -1)}
    if len(handles) > 1:
        legend = figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=9)
        for handle, text in zip(legend.legend_handles, handles, strict=True):
            if text in lesser[1:]:
                handle.set_color("0.5")
    heading = [title]
    if best is not None:
        at = ", ".join(f"{s.name} {short(best.overrides.get(s.path, _BASE))}" for s in scales)
        heading.append(f"{at and f'best at {at}: '}{mean_text(best.metrics[metric])}")
    if left := len(members) - len(values):
        heading.append(f"{left} of {len(members)} members have no {metric} and are left out")
    if parallel and any(line.get_linestyle() == "--" for line in figure.axes[0].lines):
        heading.append("dashed: not finished")
    if beyond:
        heading.append(f"{beyond} beyond the {'colours' if parallel else 'axis'}")
    letters = int(13 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in heading if line), fontsize=10, parse_math=False)
    return figure


def save_sweep(path: Path, members: Sequence[Member], metric: str, title: str) -> None:
    """Write a PNG of a sweep: a metric over what was swept, mean and standard error over seeds, the best marked.

    Over one field, or two or three on a grid, the metric stands over the longest numeric field, with a line for each
    value of the second and a panel for each of the third. Draws, and more fields, are parallel coordinates: an upright
    axis for each field, a line for each setting in the colour of its mean. Seeds alone are points with their mean.

    Args:
        path: the picture.
        members: those of a sweep; the ones that have no such metric are left out, and counted in the title.
        metric: what the picture shows.
        title: above it.
    """
    sweep_figure(members, metric, title).savefig(path, dpi=120, format="png")
