"""What a sweep found: means over seeds, tables of its members, and the best of them."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from genjax_models.labels import label, short_names

STATUSES = ("waiting", "running", "finished", "non-finite", "halted")
STOPPED = ("non-finite", "halted")
SEED = "seed"
ERROR = "_standard_error"  # ends the name of a member's own error over test examples


class Member(NamedTuple):
    """One run of a sweep."""

    index: int  # type: ignore[assignment]  # tuples have a method of that name
    folder: str  # relative to the sweep's folder
    overrides: Mapping[str, Any]  # dotted path -> value, in the order of the axes
    status: str  # one of STATUSES; "halted" was stopped early by successive halving
    step: int
    metrics: Mapping[str, float | None]
    note: str = ""  # why it stopped


class Mean(NamedTuple):
    """A mean over seeds with its standard error; None where there is nothing to take it of."""

    value: float | None
    standard_error: float | None
    number: int  # of seeds


class Setting(NamedTuple):
    """Members that differ in their seed alone."""

    overrides: dict[str, Any]  # without the seed
    members: tuple[Member, ...]
    metrics: dict[str, Mean]

    def number(self, *statuses: str) -> int:
        return sum(member.status in statuses for member in self.members)


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a cost, as "test_nll" and "total_seconds" are; a bound is not.

    Example:
        >>> lower_is_better("test_nll"), lower_is_better("validation_bound")
        (True, False)
    """
    return not {"nll", "loss", "error", "seconds", "mmd", "bits"}.isdisjoint(metric.split("_"))


def swept(rows: Iterable[Member | Setting]) -> list[str]:
    """The dotted paths that are swept, in the order of the axes."""
    return list(dict.fromkeys(path for row in rows for path in row.overrides))


def metric_of(member: Member, metric: str) -> float | None:
    """A member's metric, None where it is missing or not finite."""
    value = member.metrics.get(metric)
    return None if value is None or not math.isfinite(value) else float(value)


def _mean(values: Sequence[float]) -> Mean:
    n = len(values)
    if n == 0:
        return Mean(None, None, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Mean(mean, None, 1)
    return Mean(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n), n)


def _metrics(members: Sequence[Member]) -> list[str]:
    return list(dict.fromkeys(name for member in members for name in member.metrics))


def summarize(members: Sequence[Member], metrics: Sequence[str] | None = None) -> list[Setting]:
    """The mean of every metric over seeds, m = sum_i v_i / n, and its error, sqrt(sum_i (v_i - m)^2 / (n - 1) / n).

    Only finished members enter: one that was stopped, or is still running, stands at another step.

    Args:
        members: those of a sweep.
        metrics: their names; None for all but a member's own errors over test examples, whose mean is no error of a
            mean over seeds.

    Returns:
        One setting for all members whose overrides are equal but for the seed, in the order of the members.
    """
    if metrics is None:
        metrics = [name for name in _metrics(members) if not name.endswith(ERROR)]
    groups: dict[Any, list[Member]] = {}
    for member in members:
        # By their text, since 1, 1.0 and True are equal, and a list cannot be a key.
        key = frozenset((path, repr(value)) for path, value in member.overrides.items() if path != SEED)
        groups.setdefault(key, []).append(member)
    settings = []
    for group in groups.values():
        finished = [member for member in group if member.status == "finished"]
        values = {name: [metric_of(member, name) for member in finished] for name in metrics}
        settings.append(
            Setting(
                {path: value for path, value in group[0].overrides.items() if path != SEED},
                tuple(group),
                {name: _mean([v for v in found if v is not None]) for name, found in values.items()},
            )
        )
    return settings


def ranked(settings: Iterable[Setting], metric: str) -> list[Setting]:
    """Settings with the best mean first; those without one last."""
    sign = 1 if lower_is_better(metric) else -1

    def order(setting: Setting) -> tuple[bool, float]:
        value = setting.metrics[metric].value
        return value is None, 0 if value is None else sign * value

    return sorted(settings, key=order)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _cells(overrides: Mapping[str, Any], paths: Sequence[str]) -> list[Any]:
    # Numbers in full; an axis of a chain that a point has no part in leaves its place empty.
    values = [overrides.get(path, "") for path in paths]
    return [value if isinstance(value, int | float | str) else label(value) for value in values]


def members_csv(members: Sequence[Member]) -> str:
    """One line a member: its swept fields by dotted path, status, step, metrics, index, folder, note."""
    paths, metrics = swept(members), _metrics(members)
    header = [*paths, "status", "step", *metrics, "index", "folder", "note"]
    rows = (
        [*_cells(m.overrides, paths), m.status, m.step, *map(m.metrics.get, metrics), m.index, m.folder, m.note]
        for m in members
    )
    return _csv(header, rows)


def summary_csv(settings: Sequence[Setting]) -> str:
    """One line a setting: its swept fields, its members by status, and of every metric the mean over seeds,
    "..._mean", the standard error of that, "..._standard_error_over_seeds", and the number of seeds, "..._seeds"."""
    paths = swept(settings)
    metrics = list(dict.fromkeys(name for setting in settings for name in setting.metrics))
    ends = ("mean", f"{ERROR[1:]}_over_seeds", "seeds")
    header = [*paths, "members", *STATUSES, *(f"{name}_{end}" for name in metrics for end in ends)]
    rows = (
        [
            *_cells(setting.overrides, paths),
            len(setting.members),
            *(setting.number(status) for status in STATUSES),
            *(value for name in metrics for value in setting.metrics[name]),
        ]
        for setting in settings
    )
    return _csv(header, rows)


def with_error(mean: float | None, error: float | None, plus_minus: str = "±", sign: bool = False) -> str:
    """A mean ± its standard error, to two digits of the error; without one, to six of its own.

    Args:
        mean: None for what is not finite.
        error: None where it is not known.
        plus_minus: "+-" for ASCII.
        sign: whether a mean above zero has a plus.

    Example:
        >>> with_error(0.54812, 0.07891, sign=True)
        '+0.548 ± 0.079'
    """
    form = "+" if sign else ""
    if mean is None:
        return "not finite"
    if not error:
        return f"{mean:{form}.6g}" if error is None else f"{mean:{form}.6g} {plus_minus} 0"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 6:
        return f"{mean:{form}.6g} {plus_minus} {error:.2g}"
    return f"{mean:{form}.{digits}f} {plus_minus} {error:.{digits}f}"


def mean_text(mean: Mean) -> str:
    """A mean ± its standard error (over so many seeds), to two digits of the error; "-" where there is none.

    Example:
        >>> mean_text(Mean(86.7453, 0.1234, 4))
        '86.75 ± 0.12 (4)'
    """
    return "-" if mean.value is None else f"{with_error(mean.value, mean.standard_error)} ({mean.number})"


def short(value: Any) -> str:
    """A swept value in few letters, a number to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else label(value)


def _numbers(indices: Sequence[int]) -> str:
    """Whole numbers in few words: "1, 4-6"."""
    runs: list[list[int]] = []
    for i in sorted(indices):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def summary_markdown(settings: Sequence[Setting], metric: str, others: Sequence[str] = ()) -> str:
    """A table of the settings, best first, and below it the members that stopped and why.

    Args:
        settings: from `summarize`.
        metric: what they are sorted by.
        others: metrics shown beside it.
    """
    paths, metrics = swept(settings), (metric, *others)
    names = short_names(paths)
    better = "lower" if lower_is_better(metric) else "higher"
    lines = [
        f"Settings by {metric}, the {better} the better: mean ± standard error over seeds (number of seeds).",
        "",
        _row([*names.values(), *metrics, "finished"]),
        _row(["---"] * len(paths) + ["---:"] * (len(metrics) + 1)),
    ]
    for setting in ranked(settings, metric):
        values = [short(setting.overrides[path]) if path in setting.overrides else "" for path in paths]
        means = [mean_text(setting.metrics[name]) for name in metrics]
        lines.append(_row([*values, *means, f"{setting.number('finished')}/{len(setting.members)}"]))
    reasons: dict[tuple[str, str], list[int]] = {}
    left = []
    for member in (member for setting in settings for member in setting.members):
        if member.status in STOPPED:
            reasons.setdefault((member.status, " ".join(member.note.split())), []).append(member.index)
        elif member.status != "finished":
            left.append(member.index)
    below = [
        f"- {status}{note and ': ' + note}; members {_numbers(found)}" for (status, note), found in reasons.items()
    ]
    if left:
        below.append(f"- not finished yet; members {_numbers(left)}")
    return "\n".join([*lines, *([""] if below else []), *below]) + "\n"


def live_table(members: Sequence[Member], metric: str, rows: int = 5, width: int = 80, left: str | None = None) -> str:
    """The best members so far, in ASCII lines of at most `width`, whose number stays the same while a sweep runs.

    Args:
        members: those of a sweep.
        metric: what they are sorted by; members that were stopped, or have no such metric yet, are only counted.
        rows: members shown.
        width: characters in a line.
        left: how long the sweep will take; None where it is not known.
    """
    sign = 1 if lower_is_better(metric) else -1
    found = [(v, m) for m in members if m.status not in STOPPED and (v := metric_of(m, metric)) is not None]
    best = sorted(found, key=lambda pair: sign * pair[0])[:rows]
    paths = swept(members)
    table = [["member", metric, "step", *short_names(paths).values()]]
    for value, m in best:
        fields = [short(m.overrides[path]) if path in m.overrides else "" for path in paths]
        table.append([str(m.index), f"{value:.6g}", str(m.step), *fields])
    counts = {status: sum(m.status == status for m in members) for status in STATUSES}
    stopped = ", ".join(f"{counts[status]} {status}" for status in STOPPED if counts[status])
    lines = [
        f"{len(members)} members: {counts['running']} running, {counts['finished']} finished, {counts['waiting']} "
        f"waiting, {sum(counts[status] for status in STOPPED)} stopped"
        + (stopped and f" ({stopped})")
        + ("" if left is None else f", {left} left"),
        *_columns(table, width),
    ]
    lines += [""] * (min(rows, len(members)) - len(best))
    return "\n".join(line.encode("ascii", "replace").decode()[:width] for line in lines)


def _columns(table: Sequence[Sequence[str]], width: int) -> list[str]:
    # The widest of the swept fields are cut until a line fits; what stands before them never is.
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    while sum(sizes) + 2 * (len(sizes) - 1) > width and max(sizes[3:], default=0) > 6:
        sizes[3 + sizes[3:].index(max(sizes[3:]))] -= 1
    cut = [[c if len(c) <= n else c[: n - 1] + "~" for c, n in zip(row, sizes, strict=True)] for row in table]
    return ["  ".join(c.rjust(n) for c, n in zip(row, sizes, strict=True)) for row in cut]
