"""A page about runs: curves, samples, latents, figures, configurations and how they differ, in one HTML file.

report_runs([Path("runs/vae_digits"), Path("runs/iwae_digits")], Path("report.html"))

What a page shows is gathered here; `report_page.page` writes it.
"""

import contextlib
import datetime
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genjax_models import checkpoints, comparison_plots, plots
from genjax_models.comparison import axis_label, below, cells, compare_runs, head, heading, words
from genjax_models.core import LatentVariableModel
from genjax_models.data import evaluation_subset
from genjax_models.data.dataset import as_intensities
from genjax_models.diagnosis import FIGURES, diagnose_run, draw_reconstructions, summary
from genjax_models.errors import RunError, UserError, require_count
from genjax_models.experiment import load_run_data, versions
from genjax_models.labels import label
from genjax_models.measuring import Log, best_by, chosen_parameters, number, sample_images, worth
from genjax_models.overlay import flatten, parse_json
from genjax_models.references import bibtex, cited
from genjax_models.report_page import Comparison, Curve, Page, Picture, Reported, Swept, page
from genjax_models.run_folder import (
    CONFIG,
    EVALUATIONS,
    METRICS,
    RESULT,
    Run,
    distinct_names,
    open_run,
    read_metrics,
    read_result,
    write_whole,
)
from genjax_models.sweep_folder import SWEEP
from genjax_models.sweep_report import with_error
from genjax_models.sweep_training import MEMBERS
from genjax_models.tables import types

MOST_POINTS = 600  # of a curve; longer ones are thinned
ERROR = "_standard_error"
DRAWN = {  # files of a run folder, with what they show
    "samples.png": "samples",
    "neighbours.png": "samples, each followed by the training example nearest to it",
    "views.png": "of test examples: x, E[x | c], and the blend of the two nearest codes' examples",
    "canvases.png": "the canvas after each step",
    "canvases.gif": "samples as they are drawn, step by step",
}
DIAGNOSED = {  # files of `diagnose`, with what they show
    "reconstructions.png": "test examples x, and E[x | z] at a draw z ~ q(z | x)",
    "latents.png": "the KL of every latent, and which are active",
    "aggregate_posterior.png": "codes of test examples beside the prior",
    "rate_distortion.png": "rate and distortion of test examples",
    "refinement.png": "what refining q for each example gains",
    "spectra.png": "the power of samples and reconstructions beside that of data, by frequency",
    "interpolations.png": "ways between the codes of two test examples",
    "traversals.png": "one latent moved at a time",
}
TIMES = ("seconds_to_first_step", "total_seconds", "device", "devices", "processes", "versions")
SHOWN = (  # the figures that stand beside the runs' names
    "test_nll",
    "test_bound",
    "test_bits_per_dim",
    "test_nll_in_logit_space",
    "test_nll_particle_filter",
    "test_nll_p_star_unnormalized",
    "test_squared_error",
    "test_mmd_squared",
    "test_two_sample_p_value",
    "test_parzen_log_likelihood",
    "test_modes_covered",
)


class _Given(NamedTuple):
    """A run that is reported."""

    run: Run
    name: str
    of_sweep: bool


def _folders(folders: Sequence[Path]) -> tuple[list[_Given], list[Path]]:
    """The runs in folders, those of sweeps' members too, and the sweeps.

    Raises:
        UserError: no folder, or one without a run or members.
    """
    found: dict[Path, tuple[Run, bool]] = {}
    sweeps = []
    for folder in map(Path, folders):
        if (folder / SWEEP).is_file():
            members = sorted(path.parent for path in (folder / MEMBERS).glob(f"*/{CONFIG}"))
            if not members:
                raise RunError(f"{folder}: a sweep without members; `genjax-models sweep` makes them.")
            sweeps.append(folder)
        else:
            members = [folder]
        for member in members:
            found.setdefault(member.resolve(), (open_run(member), members != [folder]))
    if not found:
        raise UserError("report: got no run folders, expected one or more.")
    names = distinct_names([run for run, _ in found.values()])
    given = [_Given(run, name, of_sweep) for (run, of_sweep), name in zip(found.values(), names, strict=True)]
    return given, sweeps


def result_figures(result: Mapping[str, Any]) -> dict[str, str]:
    """What a result says, in words: its figures with their standard errors, and how they were measured.

    Example:
        >>> result_figures({"test_nll": 90.381, "test_nll_standard_error": 0.254, "test_nll_samples": 1000})
        {'test NLL': '90.38 ± 0.25', 'test nll samples': '1,000'}
    """
    return {
        words(name[5:]) if name.startswith("test_") else name.replace("_", " "): figure(result, name)
        for name in result
        if name not in TIMES and not name.endswith(ERROR)
    }


def figure(result: Mapping[str, Any], name: str) -> str:
    """One of a result's figures with its standard error, as text."""
    value = result[name]
    if name + ERROR in result:
        return with_error(value, result[name + ERROR])
    if value is None:
        return "exact" if name == "test_nll_samples" else "-"
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _status(run: Run, rows: Sequence[Mapping[str, Any]], finished: bool) -> str:
    if finished:
        return "finished"
    found = checkpoints.paths(run.checkpoints)
    step = max([row["step"] for row in rows[-1:]] + [int(path.name) for path in found[-1:]], default=None)
    total = run.config.training.num_steps
    return "not begun" if step is None else f"not finished: step {step:,} of {total:,}"


def _times(run: Run, rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None) -> dict[str, str]:
    """How long a run took, and by what."""
    found = {}
    if result is not None:
        told = {name: result[name] for name in TIMES if result.get(name) is not None}
        by_package = told.pop("versions", {})
        found = {name.replace("_", " "): f"{v:,.1f}" if isinstance(v, float) else str(v) for name, v in told.items()}
    if len(rows) > 1 and (seconds := rows[-1]["seconds"] - rows[0]["seconds"]) > 0:
        rate = (rows[-1]["step"] - rows[0]["step"]) / seconds
        found["steps a second, evaluations included"] = f"{rate:,.1f}"
    elif result is None and rows:
        found["total seconds"] = f"{rows[-1]['seconds']:,.1f}"
    return found | ({name: str(v) for name, v in by_package.items()} if result is not None else {})


def _evaluations(folder: Path) -> list[dict[str, str]]:
    """The figures of every `evaluate` afterwards, as text."""
    found = []
    with contextlib.suppress(OSError):
        for line in (folder / EVALUATIONS).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # the last line may be cut short by a crash
                found.append(result_figures(dict(parse_json(line))))
    return found


def _curves(given: Sequence[_Given], metrics: Sequence[Sequence[Mapping[str, Any]]]) -> list[Curve]:
    """Every metric of every run, the objectives' own first."""
    own = [f"train_{one.run.config.objective.metric}" for one in given]
    names = [*own, *(f"validation_{best_by(one.run.config)}" for one in given)]
    names += [name for rows in metrics for row in rows for name in row if name not in ("step", "seconds")]
    found = []
    for name in dict.fromkeys(names):
        for i, rows in enumerate(metrics):
            points = [(row["step"], row["seconds"], _number(row[name])) for row in rows if name in row]
            if any(value is not None for *_, value in points):
                every = -(-len(points) // MOST_POINTS)
                split, _, metric = name.partition("_")
                kept = points[::-1][::every][::-1]  # the last is one of them
                found.append(Curve(metric, split, i, kept))
    return found


def _number(value: float | None) -> float | None:
    return None if value is None else number(value)


def _lines(diagnosis: dict) -> list[str]:
    return summary(diagnosis).replace("+-", "±").splitlines()


def _pictures(folder: Path, named: Mapping[str, str], plain: Sequence[str] = ()) -> tuple[Picture, ...]:
    """Those of some pictures that are in a folder; `plain` ones are plots, which a dark page may invert."""
    return tuple(
        Picture(name, caption, (folder / name).read_bytes(), name in plain)
        for name, caption in named.items()
        if (folder / name).is_file()
    )


PLOTS = "latents.png", "aggregate_posterior.png", "rate_distortion.png", "refinement.png", "spectra.png"


def _diagnosed(run: Run, step: int | None) -> tuple[dict, Path] | None:
    """What an earlier `diagnose` found of these parameters, in the run folder or in the one that it writes by
    default."""
    for folder in (run.folder / "diagnostics", Path("diagnostics")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or one of something else
            found = dict(parse_json((folder / FIGURES).read_text(encoding="utf-8")))
            own = folder.parent == run.folder or Path(found["run"]).resolve() == run.folder.resolve()
            # Another run may have stood in the folder then.
            if own and found["run_sha256"] == run.sha256 and found["step"] == step:
                summary(found)
                return found, folder
    return None


def _best(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The best of the validation metric that chooses checkpoints, by its name."""
    metric = best_by(run.config)
    found = [w for row in rows if (w := worth(metric, row.get(f"validation_{metric}"))) is not None]
    return {f"best validation {metric.replace('_', ' ')}": f"{worth(metric, max(found)):.5g}"} if found else {}


def _told(result: Mapping[str, Any]) -> dict[str, str]:
    """The few figures of a result that stand beside the run's name."""
    found = {words(name[5:]): figure(result, name) for name in SHOWN if result.get(name) is not None}
    if (kind := result.get("test_nll_kind")) is not None:
        samples = result["test_nll_samples"]
        found["measured"] = (f"{samples:,} samples" if samples else "exact") + f", {kind}" * (kind != "probability")
    return found


def _size(result: Mapping[str, Any]) -> dict[str, str]:
    names = [name for name in ("parameters", "total_seconds") if result.get(name) is not None]
    return {name.replace("_", " "): figure(result, name) for name in names}


def _text(value: Any) -> str:
    """A field's value; strings are as they are."""
    return ", ".join(map(_text, value)) or "none" if isinstance(value, tuple) else label(value)


class _Gathering:
    """What is at hand of runs, and what has to be drawn for the page in a folder of its own."""

    def __init__(self, place: Path, num: int, diagnose: bool, data_dir: str | None, log: Log):
        self.place, self.num, self.diagnose, self.data_dir, self.log = place, num, diagnose, data_dir, log

    def one(self, given: _Given, index: int) -> tuple[Reported, list[dict]]:
        run, names = given.run, {cls: name for name, cls in types().items()}
        config, folder = run.config, run.folder
        result = read_result(folder) if (folder / RESULT).is_file() else None
        rows = read_metrics(folder / METRICS, config.training.num_steps)
        notes: list[str] = []
        if (origin := run.origin) is not None:
            notes.append(f"it began with the {origin.kind} of step {origin.step} of {origin.folder}.")
        lines, latents = self._latents(given, result, self.place / f"{index}-latents", notes)
        reported = Reported(
            name=given.name,
            folder=str(folder),
            status=_status(run, rows, result is not None),
            finished=result is not None,
            about={
                **_told(result or {}),
                **_best(run, rows),
                "model": names.get(type(config.model), type(config.model).__name__),
                "objective": names.get(type(config.objective), type(config.objective).__name__),
                "data": label(config.data),
                **_size(result or {}),
            },
            config={path: _text(value) for path, value in flatten(config).items()},
            figures=result_figures(result or {}),
            times=_times(run, rows, result),
            evaluations=_evaluations(folder),
            samples=self._samples(run, self.place / f"{index}-samples.png", notes),
            diagnosis=lines,
            latents=latents,
            notes=notes,
        )
        return reported, rows

    def _samples(self, run: Run, drawn: Path, notes: list[str]) -> tuple[Picture, ...]:
        """What the run folder has, or a drawing of the newest parameters; of the plane always a drawing, of points."""
        plane = run.data.visible == 2 and run.data.image_shape is None
        found = _pictures(run.folder, {} if plane else DRAWN)
        if any(picture.name == "samples.png" for picture in found):
            return found
        if not checkpoints.paths(run.checkpoints):
            notes.append("no samples: no checkpoint was written yet.")
            return found
        try:
            _, params, _ = chosen_parameters(run, self.log)
            data = load_run_data(run, self.data_dir) if plane or run.data.context is not None else None
            contexts = None if data is None else data.test_context
            samples = sample_images(run, params, 1000 if plane else 100, contexts=contexts)
        except UserError as error:
            notes.append(f"no samples: {error}")
            return found
        if data is not None and plane:
            groups = {"test examples": evaluation_subset(data.test, 1000), "samples": samples}
            plots.save_points(drawn, groups, run.folder.name)
            return (Picture("samples.png", "samples, and as many test examples", drawn.read_bytes(), True),)
        plots.save_images(drawn, as_intensities(samples, run.data.limits), run.data.image_shape)
        return (Picture("samples.png", DRAWN["samples.png"], drawn.read_bytes(), False), *found)

    def _latents(
        self, given: _Given, result: Mapping[str, Any] | None, out: Path, notes: list[str]
    ) -> tuple[list[str], tuple[Picture, ...]]:
        """Lines and pictures about latents, of those that have any."""
        run = given.run
        model = run.config.model.build(run.data.visible)
        if not isinstance(model, LatentVariableModel):
            return [], ()
        step = None if result is None else result.get("evaluated_step")
        if step is not None and (there := _diagnosed(run, step)) is not None:
            found, folder = there
            return _lines(found), _pictures(folder, DIAGNOSED, PLOTS)
        if not self.diagnose or given.of_sweep:
            return [], ()
        if not checkpoints.paths(run.checkpoints):
            notes.append("no diagnosis of latents: no checkpoint was written yet.")
            return [], ()
        try:
            if model.support == "real" and model.reparameterized:
                self.log(f"{given.name}: measuring latents")
                found = diagnose_run(run.folder, out, num_examples=self.num, data_dir=self.data_dir, log=self.log)
                return _lines(found), _pictures(out, DIAGNOSED, PLOTS)
            if model.decode is not None and run.data.image_shape is not None:
                self.log(f"{given.name}: reconstructions")
                draw_reconstructions(run.folder, out, data_dir=self.data_dir, log=self.log)
                return [], _pictures(out, DIAGNOSED, PLOTS)
        except UserError as error:
            notes.append(f"no diagnosis of latents: {error}")
        return [], ()


def _comparisons(given: Sequence[_Given], place: Path, log: Log) -> list[Comparison | str]:
    """Finished runs beside the first that is on the same data, or why they cannot be compared."""
    by_data: dict[Any, list[Path]] = {}
    for one in given:
        if (one.run.folder / RESULT).is_file():
            by_data.setdefault(one.run.data, []).append(one.run.folder)
    found: list[Comparison | str] = []
    for i, folders in enumerate(folders for folders in by_data.values() if len(folders) > 1):
        try:
            compared = compare_runs(folders, log=log)
        except UserError as error:
            found.append(str(error))
            continue
        rows, title, picture = compared["rows"], heading(compared), None
        if any(row["difference"] is not None for row in rows):
            out = place / f"{i}-differences.png"
            comparison_plots.save_differences(out, rows, compared["metric"], title, axis_label(compared))
            caption = "differences from the first, paired by test example"
            picture = Picture("differences.png", caption, out.read_bytes(), plain=True)
        texts = [cells(row, "±") for row in rows]
        found.append(Comparison(title, head(compared), texts, below(compared, "±"), picture))
    return found


def _sweep(folder: Path) -> Swept:
    """What a sweep's folder says of all its members."""
    with contextlib.suppress(OSError):
        lines = (folder / "summary.md").read_text(encoding="utf-8").splitlines()
        pictures = _pictures(folder, {"sweep.png": "what was swept"}, ("sweep.png",))
        return Swept(folder.resolve().name, lines, pictures)
    return Swept(folder.resolve().name, ["not finished: there is no summary yet."], ())


def gather(
    folders: Sequence[Path],
    *,
    num_examples: int = 500,
    diagnose: bool = True,
    data_dir: str | None = None,
    log: Log = print,
) -> Page:
    """What a page about runs shows; the arguments and errors are those of `report_runs`."""
    require_count("num_examples", num_examples, 2)
    given, sweeps = _folders(folders)
    with tempfile.TemporaryDirectory() as folder:
        gathering = _Gathering(Path(folder), num_examples, diagnose, data_dir, log)
        found = [gathering.one(one, i) for i, one in enumerate(given)]
        comparisons = _comparisons(given, Path(folder), log)
    made = versions()
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    names = [one.name for one in given]
    return Page(
        title=", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        made=f"Written {now} by genjax_models {made['genjax_models']}.",
        runs=[reported for reported, _ in found],
        curves=_curves(given, [rows for _, rows in found]),
        comparisons=comparisons,
        sweeps=[_sweep(folder) for folder in sweeps],
        bibtex=bibtex(cited(tuple(one.run.config for one in given))),
    )


def report_runs(
    folders: Sequence[Path],
    out: Path = Path("report.html"),
    *,
    num_examples: int = 500,
    diagnose: bool = True,
    overwrite: bool = False,
    data_dir: str | None = None,
    log: Log = print,
) -> Path:
    """Write a page about runs: one HTML file, which needs no other file and no network.

    It has the curves of all runs over each other, samples, reconstructions and what latents are used for, figures with
    their standard errors, paired differences, configurations with what differs between them, and times. A run that is
    not finished is shown as far as it is.

    Args:
        folders: run folders, and folders of sweeps, which stand for their members.
        out: the page.
        num_examples: test examples of a diagnosis that has not been made yet, at least 2.
        diagnose: whether to measure what latents are used for, and to draw reconstructions, where `diagnose` has left
            nothing in the run folder's `diagnostics` or in `diagnostics` here; of members of sweeps it never is.
        overwrite: replace the page if it exists.
        data_dir: where data files lie; None for the environment's or the default folder. Without data there is no
            diagnosis, and the page says why.
        log: hears what happens, line by line.

    Returns:
        `out`.

    Raises:
        UserError: no run in a folder, a damaged result, or a page that exists or cannot be written.

    Example:
        >>> report_runs([Path("runs/vae_digits"), Path("runs/iwae_digits")], Path("report.html"))
    """
    if (out := Path(out)).exists() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite to replace it.")
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(
            f"{out} cannot be written ({'a folder' if out.is_dir() else 'no such folder'}); give another --out."
        )
    found = gather(folders, num_examples=num_examples, diagnose=diagnose, data_dir=data_dir, log=log)
    try:
        write_whole(out, page(found).encode("utf-8", "replace"))  # a folder's name may be no text
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    log(f"{len(found.runs)} run{'s' * (len(found.runs) > 1)} in {out}")
    return out
