"""A picture of how runs differ: a forest of paired differences."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax_models.plots import new_figure
from genjax_models.sweep_report import lower_is_better, with_error

INTERVAL = 1.96  # standard errors, the central 95% of a Gaussian
BETTER, WORSE, OPEN = "C0", "C3", "0.45"


def differences_figure(rows: Sequence[Mapping[str, Any]], metric: str, title: str, label: str) -> Any:
    """The figure that `save_differences` writes."""
    from matplotlib.lines import Line2D

    names = ["\n".join(textwrap.wrap(row["name"], 34, max_lines=2, placeholder="...")) for row in rows]
    wide: float = max(len(line) for name in names for line in name.split("\n"))
    kinds = [f"{row['model']}, {row['objective']}" for row in rows]
    wide = max(wide, *(len(kind) * 0.8 for kind in kinds))
    figure, panel = new_figure(6.4 + 0.08 * wide, 1.5 + 0.52 * len(rows))
    sign = 1 if lower_is_better(metric) else -1
    seen: dict[str, str] = {}
    mostly_below = sum(row["difference"] or 0 for row in rows) < 0
    for place, row in enumerate(rows):
        mean, error = row["difference"], row["difference_standard_error"]
        if mean is None:
            baseline = row["no_difference"] == "baseline"
            if baseline:
                panel.plot(0, place, "D", color="0.2", markersize=6, zorder=4)
            side = -1 if mostly_below else 1
            note = {"color": "0.35", "fontsize": 8.5, "va": "center", "style": "italic"}
            note["ha"] = "right" if mostly_below else "left"
            panel.annotate(row["no_difference"], (0, place), (10 * side, 0), textcoords="offset points", **note)
            continue
        reach = INTERVAL * (error or 0)
        colour = OPEN if error is None or abs(mean) <= reach else BETTER if sign * mean < 0 else WORSE
        seen[colour] = {OPEN: "not told apart", BETTER: "better", WORSE: "worse"}[colour]
        if len(row["differences_by_seed"]) > 1:
            spots = [value for value in row["differences_by_seed"] if value is not None]
            panel.plot(spots, [place + 0.22] * len(spots), "o", color=colour, alpha=0.45, markersize=4)
            seen["seed"] = "one seed"
        panel.errorbar(
            mean, place, xerr=reach or None, fmt="o", color=colour, markersize=7, linewidth=2, capsize=4, zorder=3
        )
        text = with_error(mean, error, sign=True).replace("-", "\N{MINUS SIGN}")
        label_look = {"ha": "center", "fontsize": 8.5, "color": colour, "zorder": 2}
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}  # over the line at zero
        panel.annotate(text, (mean, place), (0, 8), textcoords="offset points", bbox=box, **label_look)
    panel.axvline(0, color="0.2", linewidth=1, zorder=1)
    panel.set_yticks(range(len(rows)), names, fontsize=9.5, parse_math=False)
    for place, kind in enumerate(kinds):
        below = -8 - 6 * names[place].count("\n")
        panel.annotate(
            kind, (0, place), (-3.5, below), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
            va="top", fontsize=7, color="0.45", parse_math=False
        )  # fmt: skip
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.margins(x=0.12)
    panel.set_xlabel(f"{label}\nbars: ± {INTERVAL} standard errors over test examples", fontsize=9, parse_math=False)
    panel.grid(alpha=0.3, axis="x")
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)
    handles = []
    for colour, text in seen.items():
        shown = ("0.6", 4) if colour == "seed" else (colour, 7)
        handles.append(Line2D([], [], color=shown[0], marker="o", linestyle="", markersize=shown[1], label=text))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def save_differences(path: Path, rows: Sequence[Mapping[str, Any]], metric: str, title: str, label: str) -> None:
    """Write a PNG of every row's difference from the baseline, with bars of 1.96 standard errors over examples.

    Bars that leave out zero are blue where the row is better and red where it is worse, others grey. Faint points are
    single seeds. A row without a difference has the reason instead.

    Args:
        path: the picture.
        rows: as `comparison.compare_runs` returns them.
        metric: what differs, which tells the better side.
        title: above the picture.
        label: of the axis.
    """
    differences_figure(rows, metric, title, label).savefig(path, dpi=120, format="png")
