"""Papers' tables, filled in: the cells that are missing are run, and all are shown beside the papers' figures.

In the folder OUT/TABLE/BUDGET a configuration's seeds lie in ROW/COLUMN/seeds_A-B, a sweep folder over seeds with a run
folder for each; a study's in ROW/COLUMN/seed_N. table.md and table.json are written anew after every cell.
"""

import contextlib
import dataclasses
import datetime
import math
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

import genjax_models
from genjax_models.config import Config, DataConfig
from genjax_models.errors import MissingData, RunError, UserError, require_count
from genjax_models.experiment import Interrupted, versions
from genjax_models.measuring import Log
from genjax_models.overlay import differences, parse_json
from genjax_models.papers import ERROR, Budget, Cell, Figure, Measure, Study, Table, check_table
from genjax_models.papers_report import Outcome, Result, as_document, kept_from, markdown, number_text
from genjax_models.run_folder import CONFIG, RESULT, as_json, locked, open_run, write_whole
from genjax_models.sweep import Sweep
from genjax_models.sweep_folder import SWEEP, sweep_run
from genjax_models.sweep_training import MEMBERS

MADE, FAILED = "made.json", "failed.txt"
MARKDOWN, JSON = "table.md", "table.json"


def reproduce(
    table: Table,
    budget: Budget = "smoke",
    out_dir: Path | str = "runs/papers",
    data_dir: str | None = None,
    *,
    seeds: int | None = None,
    cells: str | None = None,
    render_only: bool = False,
    keep: str | None = None,
    log: Log = print,
    live: bool = False,
    started: float | None = None,
) -> list[Outcome]:
    """Run the cells of a paper's table that are missing, and write the table beside the paper's figures.

    Args:
        table: the table.
        budget: "smoke", "short" or "full".
        out_dir: holds a folder for every table, and in that one for every budget.
        data_dir: where data files lie; None for the environment's or the default folder.
        seeds: of every cell, from 0 up; None for what the table has.
        cells: run only the cells whose names, `row/column`, this pattern matches; the others are shown as they stand.
        render_only: run nothing.
        keep: the text of an earlier page of the table and budget, whose rows stand in table.md for cells that have no
            result here; table.json has none of them.
        log: hears what happens, line by line.
        live: redraw a sweep's table on standard error while it trains.
        started: `time.perf_counter()` of when the user began to wait.

    Returns:
        All cells as they stand, in the table's order. A cell is "skipped" where its data files are nowhere, and
        "failed", with the reason, where it could not be run to its end; the others are run all the same.

    Raises:
        UserError: a table, pattern, number of seeds or page to keep that cannot be used, or a folder that cannot be
            written.
        Interrupted: SIGINT or SIGTERM came; what was under way is saved.

    Example:
        >>> reproduce(TABLE, "short", cells="nade/*", data_dir="data")
    """
    check_table(table)
    seeds = getattr(table.seeds, budget) if seeds is None else seeds
    require_count("seeds", seeds)
    run = _Reproduction(table, budget, Path(out_dir) / table.name / budget, data_dir, log, live, started)
    chosen = table.matching(cells)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{run.folder} cannot be written ({error.strerror}); give another --out-dir.") from None
    if keep is not None:
        run.keep(keep)
    for cell in () if render_only else chosen:
        run.fill_in(cell, seeds)
    return run.render()


class _Reproduction:
    """A table under way."""

    def __init__(
        self,
        table: Table,
        budget: Budget,
        folder: Path,
        data_dir: str | None,
        log: Log,
        live: bool,
        started: float | None,
    ):
        self.table, self.budget, self.folder = table, budget, folder
        self.data_dir, self.log, self.live = data_dir, log, live
        self.started = started
        self.absent: dict[DataConfig, str] = {}  # what is said of data that were looked for; "" where they are there
        self.skipped: dict[str, str] = {}  # by run name
        self.failed: dict[Path, str] = {}  # why, by the file that keeps it
        self.page: str | None = None  # an earlier one, whose rows are kept

    # Running.

    def fill_in(self, cell: Cell, seeds: int) -> None:
        """Run what a cell is missing, and write the table with it."""
        folder = self.folder / cell.run_name
        if cell.run_name in self.skipped or folder / FAILED in self.failed:  # with the cell that shares its runs
            return
        with self._kept(cell, folder / FAILED):
            left = self._missing(cell.at(self.budget), folder, seeds)
            if left:
                self._run(cell, folder, left)
            if callable(cell.figure):
                # Runs are shared, and none the worse where one of their cells cannot be measured.
                with self._kept(cell, folder / _failure_file(cell.figure)):
                    for found in _runs(folder):
                        _measured(cell.figure, found, self.data_dir)
            if left:
                self._say(cell)
        self.render()

    @contextlib.contextmanager
    def _kept(self, cell: Cell, path: Path) -> Iterator[None]:
        """What goes wrong within is kept as the cell's: whatever it is, the other cells are none the worse."""
        try:
            yield
        except MissingData as error:
            self.skipped[cell.run_name] = str(error).splitlines()[0]
            self.log(f"{cell.row}, {cell.column}: skipped. {error}")
        except Interrupted:
            raise
        except Exception as error:
            if not isinstance(error, UserError):
                self.log(traceback.format_exc().rstrip())
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.failed[path] = reason
            self.log(f"{cell.row}, {cell.column}: failed. {reason}")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, reason + "\n")
        else:
            path.unlink(missing_ok=True)

    def _run(self, cell: Cell, folder: Path, left: list[int]) -> None:
        """Run the seeds that are left."""
        task = cell.at(self.budget)
        if isinstance(task, Config) and (why := self._why_absent(task.data)):
            raise MissingData(why)
        listed = ", ".join(map(str, left))
        self.log(f"{cell.row}, {cell.column}: seed{'s' * (len(left) > 1)} {listed}")
        if isinstance(task, Config):
            self._train(task, folder, left)
        else:
            for seed in left:
                self._study(task, folder / f"seed_{seed}", seed)

    def _missing(self, task: Any, folder: Path, seeds: int) -> list[int]:
        """The seeds that have no result yet; RunError where there are runs of something else."""
        finished = {_seed(found) for found in _runs(folder) if _require_same(task, found)}
        return [seed for seed in range(seeds) if seed not in finished]

    def _why_absent(self, source: DataConfig) -> str:
        """What is said of data files that are nowhere; other troubles with them come up where they are used."""
        if source not in self.absent:
            try:
                source.load(self.data_dir)
                self.absent[source] = ""
            except MissingData as error:
                self.absent[source] = str(error)
            except UserError:
                self.absent[source] = ""
        return self.absent[source]

    def _train(self, config: Config, folder: Path, left: list[int]) -> None:
        """Train the seeds that are left: those of sweeps that were begun, and the others in a sweep of their own."""
        begun = [_span(path) for path in sorted(folder.glob("seeds_*-*")) if (path / SWEEP).exists()]
        wanted = [span for span in begun if any(seed in span for seed in left)]
        new = [seed for seed in left if not any(seed in span for span in begun)]
        spans = [*wanted, *_together(new)]
        stopped = []
        for span in spans:
            own = folder / f"seeds_{span[0]}-{span[-1]}"
            sweep = Sweep(seeds=len(span), block=_block(own, len(span)))
            rows = sweep_run(
                dataclasses.replace(config, seed=span[0]),
                sweep,
                own,
                self.data_dir,
                log=self.log,
                live=self.live,
                started=time.perf_counter() if self.started is None else self.started,
            )
            self.started = None
            stopped += [f"seed {span[i]}: {row.note}" for i, row in enumerate(rows) if row.status != "finished"]
            if not (own / MADE).exists():
                write_whole(own / MADE, as_json(_provenance()))
        if stopped:
            raise RunError(" ".join(stopped))

    def _study(self, study: Study, folder: Path, seed: int) -> None:
        """Compute a study, and keep what it gives."""
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            began = time.perf_counter()
            found = dict(study(seed, self.data_dir))
            seconds = round(time.perf_counter() - began, 3)
            result = {**found, "seed": seed, "study": repr(study), "total_seconds": seconds, "versions": versions()}
            write_whole(folder / MADE, as_json(_provenance()))
            write_whole(folder / RESULT, as_json(result))

    def _say(self, cell: Cell) -> None:
        """A line about a cell that was run."""
        outcome, digits = self.outcome(cell), self.table.digits_of(cell)
        if (found := outcome.comparison) is not None:
            ours = number_text(found.mean, found.examples_error, digits)
            paper = "" if cell.paper is None else f" (paper {cell.paper.value:.{digits}f})"
            self.log(f"{cell.row}, {cell.column}: {ours}{paper}")

    # Rendering.

    def keep(self, page: str) -> None:
        """Keep a page's rows of cells that have no result, and say which cannot be."""
        _, lost = kept_from(page, self.table, self.budget, [self.outcome(cell) for cell in self.table.cells])
        self.page = page
        for name in lost:
            self.log(f"{name}: not kept; the page is of another figure of the paper or other updates than the cell now")

    def outcome(self, cell: Cell) -> Outcome:
        """A cell as its folder has it."""
        folder, name = self.folder / cell.run_name, cell.run_name
        results: list[Result] = []
        reason = ""
        for file in (FAILED, *([_failure_file(cell.figure)] if callable(cell.figure) else [])):
            path = folder / file
            reason = reason or self.failed.get(path, "")
            if not reason and path.exists():
                reason = path.read_text(encoding="utf-8").strip()
        try:
            for found in _runs(folder):
                _require_same(cell.at(self.budget), found)
                figure = _figure(cell.figure, found)
                if figure is not None:
                    results.append(Result(_seed(found), figure, str(found.relative_to(self.folder)), *_made(found)))
        except RunError as error:
            reason, results = reason or str(error), []
        results.sort(key=lambda result: result.seed)
        if reason:
            return Outcome(cell, "failed", tuple(results), reason)
        if results:
            return Outcome(cell, "finished", tuple(results))
        if name in self.skipped:
            return Outcome(cell, "skipped", (), self.skipped[name])
        return Outcome(cell, "missing")

    def render(self) -> list[Outcome]:
        """Write the table as its cells stand."""
        outcomes = [self.outcome(cell) for cell in self.table.cells]
        rendered = {"date": _now(), "version": genjax_models.__version__, "commit": _commit()}
        kept = {} if self.page is None else kept_from(self.page, self.table, self.budget, outcomes)[0]
        write_whole(self.folder / MARKDOWN, markdown(self.table, self.budget, outcomes, rendered, kept))
        write_whole(self.folder / JSON, as_json(as_document(self.table, self.budget, outcomes, rendered)))
        return outcomes


# What lies in a cell's folder.


def _runs(folder: Path) -> list[Path]:
    """The folders of a cell's finished seeds."""
    places = [*folder.glob(f"seeds_*-*/{MEMBERS}/*"), *folder.glob("seed_*")]
    return sorted(path for path in places if (path / RESULT).exists())


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(parse_json(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it, and the same command makes it again.") from None


def _result(run: Path) -> dict[str, Any]:
    return _read(run / RESULT)


def _seed(run: Path) -> int:
    return int(open_run(run).config.seed if (run / CONFIG).exists() else _result(run)["seed"])


def _require_same(task: Any, run: Path) -> bool:
    """True; RunError where a finished run is of another configuration or study than the cell now has."""
    fix = "Give another --out-dir, or remove it."
    if isinstance(task, Config) and (run / CONFIG).exists():
        there = open_run(run).config
        if found := differences(there, dataclasses.replace(task, seed=there.seed)):
            raise RunError(f"{run} holds a run with another configuration: {'; '.join(found)}. {fix}")
    elif isinstance(task, Config) or _result(run).get("study") != repr(task):
        raise RunError(f"{run} holds a run of something else than this cell: {task!r}. {fix}")
    return True


def _span(sweep: Path) -> range:
    """The seeds of a sweep's folder."""
    first, last = sweep.name.removeprefix("seeds_").split("-")
    return range(int(first), int(last) + 1)


def _together(seeds: Iterable[int]) -> Iterator[range]:
    """Numbers in rising order as ranges."""
    span = None
    for seed in seeds:
        if span is not None and seed == span.stop:
            span = range(span.start, seed + 1)
        else:
            if span is not None:
                yield span
            span = range(seed, seed + 1)
    if span is not None:
        yield span


def _block(sweep: Path, seeds: int) -> int | None:
    """Points that run at once on a device: as the sweep was begun, else measured where several seeds share a device."""
    if (sweep / SWEEP).exists():
        try:
            return parse_json((sweep / SWEEP).read_text(encoding="utf-8"))["block"]
        except (ValueError, KeyError, TypeError):
            return None  # `sweep_run` says that it is damaged
    return None if seeds > jax.device_count() else 1


def _measure_file(measure: Measure) -> str:
    return f"figure_{getattr(measure, '__name__', type(measure).__name__)}.json"


def _failure_file(measure: Measure) -> str:
    return f"failed_{_measure_file(measure).removesuffix('.json')}.txt"


def _measured(measure: Measure, run: Path, data_dir: str | None) -> None:
    """Measure a run once, and keep the figure in its folder."""
    path = run / _measure_file(measure)
    if not path.exists():
        write_whole(path, as_json(measure(run, data_dir)._asdict()))


def _figure(figure: str | Measure, run: Path) -> Figure | None:
    """A run's figure, NaN where it is not finite; None where it was not measured."""
    if callable(figure):
        path = run / _measure_file(figure)
        return Figure(**_read(path)) if path.exists() else None
    result, name = _result(run), figure.removeprefix("-")
    if name not in result:
        raise RunError(f"{run / RESULT} has no {name}; it has {', '.join(result)}.")
    value, error = result[name], result.get(name + ERROR)
    if value is None:
        return Figure(math.nan)
    return Figure(-value if figure.startswith("-") else value, error)


def _made(run: Path) -> tuple[float | None, Mapping[str, Any]]:
    """The seconds that a run took, and when and by what it was made."""
    result = _result(run)
    place = next((p for p in (run / MADE, run.parent.parent / MADE) if p.exists()), None)
    made = {} if place is None else _read(place)
    return result.get("total_seconds"), {**made, "versions": result.get("versions", {})}


# When and by what.


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _provenance() -> dict[str, Any]:
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = "" if device.platform == "cpu" else f", {device.device_kind}"
    return {"date": _now(), "machine": f"{cores} {platform.machine()} cores{kind}", "commit": _commit()}


def _commit() -> str | None:
    """The git commit of this library, "-changed" where files are other than in it; None outside of its repository."""
    package = Path(genjax_models.__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an environment may lie in a repository of something else
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=10", "HEAD") + ("-changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
