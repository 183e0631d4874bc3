"""Finished runs side by side: their figures, and how far they differ on the same test examples."""

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax_models.errors import ConfigError, RunError, UserError, nearest, require_picture
from genjax_models.evaluation import paired_difference
from genjax_models.labels import label
from genjax_models.measuring import SAMPLER_METRIC, Log, mean_and_error, number
from genjax_models.overlay import flatten
from genjax_models.run_folder import EXAMPLES, ByExample, Run, distinct_names, open_run, read_by_example, read_result
from genjax_models.sweep_report import lower_is_better, with_error
from genjax_models.tables import types

NLL, FILTER, P_STAR = "nll", "nll_particle_filter", "nll_p_star_unnormalized"
BY_SAMPLES = (NLL, FILTER, P_STAR)  # of log-probabilities, which K samples bound in expectation
WORDS = {
    NLL: "test NLL",
    FILTER: "test NLL by particle filters",
    P_STAR: "test NLL of p*, unnormalized",
}
SAMPLER = "a sampler, which has no log p(x)"
NOTHING: dict[str, Any] = {
    "difference": None,
    "difference_standard_error": None,
    "difference_standard_error_over_seeds": None,
    "differences_by_seed": [],
}
HOW = {"bound": "as the objective has it", "squared_error": "exact"}  # what no number of samples tells


class Finished(NamedTuple):
    """A run with what is known of its test examples."""

    run: Run
    name: str
    result: dict[str, Any]
    kept: tuple[ByExample, ...]  # by number of samples; none of a sampler

    @property
    def sampler(self) -> bool:
        return self.run.config.model.capability == "ImplicitModel"


class Measured(NamedTuple):
    """One metric of a run by example."""

    samples: int | None  # K; None where there is none to speak of
    values: np.ndarray  # [N]
    found: ByExample


def open_finished(folders: Sequence[Path]) -> list[Finished]:
    """The finished runs in folders, each named by its folder, or by the path where two folders have one name.

    Raises:
        RunError: no run, one that is not finished, one whose values by example were not kept, or a damaged file.
    """
    runs = [open_run(Path(folder)) for folder in folders]
    found = []
    for run, name in zip(runs, distinct_names(runs), strict=True):
        result = read_result(run.folder)
        kept = tuple(read_by_example(path) for path in sorted(run.folder.glob(f"{EXAMPLES}_*.npz")))
        found.append(Finished(run, name, result, kept))
    if lacking := [one for one in found if not one.kept and not one.sampler]:
        commands = "\n".join(f"  genjax-models evaluate {one.run.folder}" for one in lacking)
        raise RunError(f"no values by test example are kept of these runs, which this adds:\n{commands}")
    return found


def _require_same_data(runs: Sequence[Finished]) -> None:
    first = runs[0]
    for other in runs[1:]:
        if other.run.data != first.run.data:
            told = [
                f"{one.run.folder} ({label(one.run.config.data)}: {one.run.data.sizes} examples of "
                f"{one.run.data.visible} units, checksum {one.run.data.checksum})"
                for one in (first, other)
            ]
            raise RunError(f"{told[0]} and {told[1]} are of different data: their examples cannot be paired.")


def _default_metric(runs: Sequence[Finished]) -> str:
    """NLL, or that of p* where all runs are configured for it."""
    wanted = {P_STAR if one.run.config.evaluation.distribution == "p_star" else NLL: one for one in runs}
    if len(wanted) > 1:
        raise RunError(
            f"{wanted[P_STAR].run.folder} is measured by p*(x), and {wanted[NLL].run.folder} by p(x): other "
            f"quantities, which cannot be paired; give --metric {NLL} for p(x) of all."
        )
    return next(iter(wanted), NLL)


def _measured(one: Finished, metric: str) -> dict[int | None, Measured]:
    """A metric of a run by number of samples."""
    found = {}
    for kept in one.kept:
        samples = kept.figures["test_nll_samples"]
        # An exact log p(x) is what particle filters estimate.
        name = NLL if metric == FILTER and samples is None else metric
        if name in kept.values:
            samples = samples if metric in BY_SAMPLES else None
            found[samples] = Measured(samples, kept.values[name], kept)
    return found


def _choose(runs: Sequence[Finished], metric: str) -> dict[int, Measured]:
    """By place in `runs`, the metric with the most samples that all have; where there is no such number, each its own.

    Raises:
        ConfigError: a metric that no run has.
    """
    found = {i: by_samples for i, one in enumerate(runs) if (by_samples := _measured(one, metric))}
    if not found and not all(one.sampler for one in runs):
        known = sorted({name for one in runs for kept in one.kept for name in kept.values})
        raise ConfigError(f"metric: got {metric!r}, which was measured of no run.{nearest(metric, known)}")
    numbers = [{k for k in by_samples if k is not None} for by_samples in found.values()]
    common = set.intersection(*some) if (some := [n for n in numbers if n]) else set()
    return {i: by_samples[_most(common & by_samples.keys() or by_samples.keys())] for i, by_samples in found.items()}


def _most(samples: Any) -> int | None:
    return max(samples, key=lambda k: -1 if k is None else k)


def _require_alike(runs: Sequence[Finished], chosen: dict[int, Measured], metric: str) -> None:
    """Raise RunError for other examples, or for another kind of log-probability."""
    if not chosen:
        return
    (i, first), *others = chosen.items()
    for j, other in others:
        a, b = runs[i].run.folder, runs[j].run.folder
        if not np.array_equal(first.found.rows, other.found.rows):
            counts = len(first.found.rows), len(other.found.rows)
            raise RunError(
                f"{a} was tested on {counts[0]} examples and {b} on {counts[1]}, which are not the same ones: they "
                "cannot be paired. Train with the same evaluation.test_examples."
            )
        kinds = [one.found.figures["test_nll_kind"] for one in (first, other)]
        if kinds[0] != kinds[1] and (metric in BY_SAMPLES or metric == "bound"):
            raise RunError(
                f"the figures of {a} are of kind {kinds[0]}, those of {b} of kind {kinds[1]}: other quantities, which "
                "cannot be paired."
            )


def _groups(runs: Sequence[Finished], group: bool, notes: list[str]) -> list[list[int]]:
    """Places in `runs` of those that differ in their seed alone."""
    groups: dict[Any, list[int]] = {}
    for i, one in enumerate(runs):
        fields = flatten(one.run.config).items()
        # By their text, since 1, 1.0 and True are equal, and a list cannot be a key.
        key = tuple((path, repr(value)) for path, value in fields if path != "seed") if group else i
        groups.setdefault(key, []).append(i)
    found = []
    for places in groups.values():
        seeds = [runs[i].run.config.seed for i in places]
        if len(set(seeds)) == len(seeds):
            found.append(places)
        else:
            found += [[i] for i in places]
            names = ", ".join(runs[i].name for i in places)
            notes.append(f"Of one configuration, some with one seed, and so listed alone: {names}.")
    return sorted(found)


def _row(runs: Sequence[Finished], places: Sequence[int], chosen: dict[int, Measured], metric: str) -> dict[str, Any]:
    """What is said of runs that differ in their seed alone, but for the difference."""
    names = {cls: name for name, cls in types().items()}
    of = [runs[i] for i in places]
    run, more = of[0].run, len(of) > 1
    measured = [chosen[i] for i in places if i in chosen]
    value = error = None
    if len(measured) == len(of):
        # An error over examples says nothing of other seeds, and one over seeds nothing of other examples.
        over = [np.mean(one.values, dtype=np.float64) for one in measured] if more else measured[0].values
        value, error = mean_and_error(over)
    samples = sorted({one.samples for one in measured}, key=lambda k: -1 if k is None else k)
    steps = {one.found.figures["evaluated_step"] for one in measured}
    texts = [f"{k} samples" if k else HOW.get(metric, "exact") for k in samples]
    distances = [one.result.get(f"test_{SAMPLER_METRIC}") for one in of]
    return {
        "name": of[0].name + (f": mean over {len(of)} seeds" if more else ""),
        "runs": [str(one.run.folder) for one in of],
        "model": names.get(type(run.config.model), type(run.config.model).__name__),
        "objective": names.get(type(run.config.objective), type(run.config.objective).__name__),
        "value": value,
        "standard_error": error,
        "standard_error_over": "seeds" if more else "examples",
        SAMPLER_METRIC: None if None in distances else number(np.mean(np.asarray(distances, np.float64))),
        "measured": ", ".join(texts),
        "samples": samples,
        "data": label(run.config.data),
        "binarization": getattr(run.config.data, "binarization", None),
        "dequantization": getattr(run.config.data, "dequantization", None),
        "split": "test",
        "examples": len(measured[0].values) if measured else of[0].result["test_examples"],
        "seeds": [int(one.run.config.seed) for one in of],
        "steps": sorted(steps or {one.result["evaluated_step"] for one in of}),
    }


def _over_seeds(values: Sequence[np.ndarray]) -> float | None:
    """The squared standard error of a mean over seeds, from the means of each; None of one seed."""
    _, error = mean_and_error([np.mean(v, dtype=np.float64) for v in values])
    return None if error is None else error**2


def _difference(own: Sequence[Measured], base: Sequence[Measured]) -> dict[str, Any]:
    """How a row differs from the baseline; values of several seeds are averaged first, example by example."""
    one, other = ([np.asarray(m.values, np.float64) for m in some] for some in (own, base))
    with np.errstate(invalid="ignore", over="ignore"):  # a model that has diverged
        middle, reference = np.mean(one, axis=0), np.mean(other, axis=0)
        mean, error = map(number, paired_difference(middle, reference))
        each = [number(paired_difference(values, reference).mean) for values in one]
    if mean is None:
        return {**NOTHING, "no_difference": "a value is not finite"}
    squares = [_over_seeds(some) for some in (one, other)]
    over_seeds = None if None in squares else math.sqrt(math.fsum(s for s in squares if s is not None))
    return {
        "difference": mean,
        "difference_standard_error": error,
        "difference_standard_error_over_seeds": over_seeds,
        "differences_by_seed": each,
        "no_difference": None,
    }


def _notes(runs: Sequence[Finished], chosen: dict[int, Measured], metric: str) -> list[str]:
    """What a reader should know of how figures came about."""
    notes = []
    sampled = {i: one.samples for i, one in chosen.items() if one.samples is not None}
    if len(set(sampled.values())) > 1:
        most = max(sampled.values())
        p_star = " --distribution p_star" if metric == P_STAR else ""
        fewer = [i for i, samples in sampled.items() if samples < most]
        told = ", ".join(f"{runs[i].name} ({sampled[i]} samples, others {most})" for i in fewer)
        again = f"`genjax-models evaluate {runs[fewer[0]].run.folder} --num-samples {most}{p_star}`"
        notes.append(
            f"With fewer samples the bound on log p(x) is looser and the NLL too high by more: {told}; {again} makes "
            "them alike."
        )
    if metric in (NLL, FILTER) and 0 < len(sampled) < len(chosen):
        exact = ", ".join(runs[i].name for i in chosen if i not in sampled)
        notes.append(f"An NLL by samples is above the true one in expectation; exact is that of {exact}.")
    if runs[0].run.data.context is not None:
        without = [runs[i].name for i in chosen if not runs[i].run.config.model.takes_context]
        if 0 < len(without) < len(chosen):
            notes.append(
                f"The data have contexts, masks or codes, which the models of {', '.join(without)} do not take: theirs "
                "is log p(x), of what masks leave out too, beside log p(x | context) of the others."
            )
    if metric == "bound" and len({_bound_of(runs[i].run.config) for i in chosen}) > 1:
        notes.append("The bounds are those of different objectives: a looser bound is no worse model.")
    if metric == P_STAR:
        notes.append("Left out is log Z of p*, which differs by run; with it log p*(x) would be higher.")
    return notes


def _bound_of(config: Any) -> tuple:
    """What tells one bound from another: the objective, and all its fields but how it is computed."""
    fields = ((path.split("."), path, value) for path, value in flatten(config).items())
    return tuple((path, repr(value)) for p, path, value in fields if p[0] == "objective" and p[-1] != "particle_chunk")


def compare_runs(
    folders: Sequence[Path],
    *,
    baseline: Path | None = None,
    metric: str | None = None,
    group: bool = True,
    out: Path | None = None,
    overwrite: bool = False,
    log: Log = print,
) -> dict[str, Any]:
    """Compare finished runs on the same test examples: their figures, and paired differences from one of them.

    Runs of one configuration that differ in their seed alone make one row, of the mean over seeds. The difference of
    two rows is that of `evaluation.paired_difference`, of means over seeds by example.

    Args:
        folders: run folders, two or more with the baseline; every one is finished.
        baseline: the run that others are compared with, in its row; None for the first that has the metric.
        metric: of the figures that are kept by example, such as "nll", "bound", "nll_p_star_unnormalized"; None for the
            NLL, of p* where all runs are configured for p*. With several numbers of importance samples it is that of
            the most that all runs have.
        group: whether runs that differ in their seed alone make one row.
        out: a picture of the differences; None for none.
        overwrite: replace the picture if it exists.
        log: hears what happens, line by line.

    Returns:
        {"metric", "units", "baseline", "rows", "notes"}; a row has "name", "runs", "model", "objective", "value" with
        its "standard_error" (over examples, or over seeds where there are several), how it was measured, "steps", and
        "difference" with "difference_standard_error" (over examples) and "difference_standard_error_over_seeds" (None
        unless both rows have several), or "no_difference", why there is none.

    Raises:
        UserError: runs that are not finished or have no values by example, of different data, examples or quantities;
            a baseline without the metric; a picture that exists, has nothing to show or cannot be written.

    Example:
        >>> found = compare_runs([Path("runs/vae_digits"), Path("runs/iwae_digits")])
        >>> found["rows"][1]["difference"], found["rows"][1]["difference_standard_error"]
    """
    if out is not None:
        require_picture(out := Path(out), overwrite)
    unique = {folder.resolve(): folder for folder in map(Path, folders)}
    if baseline is not None and Path(baseline).resolve() not in unique:
        unique = {Path(baseline).resolve(): Path(baseline)} | unique
    if len(unique) < 2:
        raise UserError(f"compare: got {len(unique)} run folders, expected two or more.")
    runs = open_finished(list(unique.values()))
    _require_same_data(runs)
    metric = _default_metric([one for one in runs if not one.sampler]) if metric is None else metric
    chosen = _choose(runs, metric)
    _require_alike(runs, chosen, metric)

    notes: list[str] = []
    groups = _groups(runs, group, notes)
    rows = [_row(runs, places, chosen, metric) for places in groups]
    values = [[chosen[i] for i in places] if all(i in chosen for i in places) else None for places in groups]
    base = _baseline(runs, groups, values, None if baseline is None else Path(baseline), metric)
    for i, (row, own) in enumerate(zip(rows, values, strict=True)):
        if i == base:
            row |= {**NOTHING, "no_difference": "baseline"}
        elif base is None or own is None:
            sampler = runs[groups[i][0]].sampler
            row |= {**NOTHING, "no_difference": SAMPLER if sampler else f"no {metric} was measured of it"}
        else:
            row |= _difference(own, values[base] or [])
    found = {
        "metric": metric,
        "units": "nats per example" if {"nll", "bound"} & set(metric.split("_")) else None,
        "baseline": None if base is None else rows[base]["name"],
        "rows": rows,
        "notes": notes + _notes(runs, chosen, metric),
    }
    if out is not None:
        _draw(out, found)
        log(f"picture in {out}")
    return found


def _baseline(
    runs: Sequence[Finished], groups: Sequence[Sequence[int]], values: Sequence[Any], given: Path | None, metric: str
) -> int | None:
    """The place of the row that others are compared with; None where no row has the metric."""
    if given is None:
        return next((i for i, found in enumerate(values) if found is not None), None)
    own = next(i for i, one in enumerate(runs) if one.run.folder.resolve() == given.resolve())
    row = next(i for i, places in enumerate(groups) if own in places)
    if values[row] is None:
        reason = f"is {SAMPLER}" if runs[own].sampler else f"has no {metric}"
        raise RunError(f"{given} {reason}: nothing can be paired with it; give another --baseline.")
    return row


def _draw(out: Path, found: dict) -> None:
    from genjax_models import comparison_plots

    if all(row["difference"] is None for row in found["rows"]):
        raise UserError(f"{out}: there is no difference to draw, " + "; ".join(_reasons(found)) + ".")
    try:
        comparison_plots.save_differences(out, found["rows"], found["metric"], heading(found), axis_label(found))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None


def _reasons(found: dict) -> list[str]:
    return [f"{row['name']}: {row['no_difference']}" for row in found["rows"] if row["no_difference"]]


# Texts.


def words(metric: str) -> str:
    """A metric as it is called in tables and pictures."""
    return WORDS.get(metric, f"test {metric.replace('_', ' ')}")


def heading(found: dict) -> str:
    """What all rows are about."""
    rows = found["rows"]
    data = []
    for row in rows:
        known = f", binarization {row['binarization']}" if row["binarization"] else ""
        data.append(row["data"] + ("" if "binarization" in row["data"] else known))
    number = max(row["examples"] for row in rows)
    return f"{words(found['metric'])} of {number} examples of the test split of {' and '.join(dict.fromkeys(data))}"


def axis_label(found: dict) -> str:
    """What a difference is."""
    units = f" ({found['units']})" if found["units"] else ""
    better = "below 0 is better" if lower_is_better(found["metric"]) else "above 0 is better"
    return f"{words(found['metric'])} less that of {found['baseline']}{units}; {better}"


def cells(row: dict, plus_minus: str) -> list[str]:
    """What a table has of a row, a text for each of `head`."""
    if row[SAMPLER_METRIC] is not None:
        value = f"MMD^2 {row[SAMPLER_METRIC]:.5f}"
    elif not row["measured"]:
        value = "-"
    else:
        value = with_error(row["value"], row["standard_error"], plus_minus)
    if row["difference"] is None:
        difference = row["no_difference"]
    else:
        difference = with_error(row["difference"], row["difference_standard_error"], plus_minus, sign=True)
        if (over := row["difference_standard_error_over_seeds"]) is not None:
            difference += f" ({plus_minus} {over:.2g} over seeds)"
    steps = [row["steps"][0], row["steps"][-1]] if len(row["steps"]) > 2 else row["steps"]
    step = ("-" if len(row["steps"]) > 2 else ", ").join(map(str, steps))
    seeds = ", ".join(map(str, row["seeds"]))
    return [row["name"], row["model"], row["objective"], value, row["measured"] or "-", step, seeds, difference]


def head(found: dict) -> list[str]:
    """What stands above the columns."""
    return ["run", "model", "objective", words(found["metric"]), "measured", "step", "seed", "difference"]


def below(found: dict, plus_minus: str) -> list[str]:
    """What a reader of the table should know, a text for each."""
    several = any(len(row["seeds"]) > 1 for row in found["rows"])
    over = f"{plus_minus} standard error over test examples" + ("; for means over seeds, over seeds" if several else "")
    lines = [over + "."]
    if found["baseline"] is not None:
        lines.append(f"Difference, paired by example: {axis_label(found)}.")
    return lines + found["notes"]


def terminal(found: dict) -> str:
    """What `compare_runs` returns, as lines of ASCII text."""
    table = [head(found), *(cells(row, "+-") for row in found["rows"])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.ljust(n) for c, n in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([heading(found), "", *lines, "", *below(found, "+-")])


def markdown(found: dict) -> str:
    """What `compare_runs` returns, as a table in Markdown."""

    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    rows = [line(cells(row, "±")) for row in found["rows"]]
    top = [line(head(found)), line(["---"] * 3 + ["---:"] + ["---"] * 2 + ["---"] * 2)]
    return "\n".join([f"{heading(found)}.", "", *top, *rows, "", *(f"- {text}" for text in below(found, "±"))])


def comma_separated(found: dict) -> str:
    """What `compare_runs` returns, as CSV: a line for each row with its numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for name in found["rows"][0] if name != "differences_by_seed"]
    writer.writerow(["metric", "baseline", *names])
    for row in found["rows"]:
        given = [" ".join(map(str, row[name])) if isinstance(row[name], list) else row[name] for name in names]
        writer.writerow([found["metric"], found["baseline"], *given])
    return text.getvalue().rstrip("\n")


FORMATS = {"terminal": terminal, "markdown": markdown, "csv": comma_separated}
