"""Sweeps on disk: a run folder of run folders, each of which is what a run alone leaves.

sweep.json holds the points, choices.json how each group runs, progress.json where all members stand: the last moment at
which every running member had a checkpoint, from which a sweep resumes. At the end there are members.csv, summary.csv,
summary.md and sweep.png.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from genjax_models import sweep_report
from genjax_models.config import Config, DataConfig
from genjax_models.data import Dataset
from genjax_models.errors import RunError, naming
from genjax_models.experiment import GO_ON, StopSignals
from genjax_models.labels import point_label
from genjax_models.measuring import Log
from genjax_models.overlay import parse_json, to_json
from genjax_models.points import Point, overrides_to_json
from genjax_models.preparation import log_kind_of_data
from genjax_models.run_folder import (
    CONFIG,
    RESULT,
    DataSpec,
    as_json,
    building_path,
    create_or_match,
    locked,
    write_whole,
)
from genjax_models.stack import shares_of
from genjax_models.sweep import Sweep, check_shares, group, points_mesh, prepare_point, require_mesh
from genjax_models.sweep_training import DONE, MEMBERS, PROGRESS, Member, SweepRun, figures, run_group
from genjax_models.tables import types

FORMAT = 1
SWEEP = "sweep.json"
COMPARED_BY = ("test_response_to_planted", "test_nll", "test_mmd_squared")  # the first that members have


def sweep_run(
    config: Config,
    sweep: Sweep,
    folder: Path,
    data_dir: str | None = None,
    *,
    mesh: Mesh | None = None,
    log: Log = print,
    live: bool = False,
    started: float | None = None,
) -> list[sweep_report.Member]:
    """Train, evaluate and draw every point of a sweep in a folder, from where it stands.

    Args:
        config: the configuration that the axes vary.
        sweep: what is swept, and how.
        folder: the sweep's folder; made if it does not exist, resumed if it holds this sweep.
        data_dir: where data files lie; None for the environment's or the default folder.
        mesh: the devices, of `sweep_mesh` or `points_mesh`; None for all, with a point on each. A sweep may go on with
            other devices, and with another number of them for each batch, than it was begun with.
        log: hears what happens, line by line.
        live: redraw a table of the best on standard error instead of logging a line an evaluation.
        started: `time.perf_counter()` of when the user began to wait.

    Returns:
        A row for every member, in the order of the points.

    Raises:
        UserError: all that is wrong with devices, axes, points, data or folder, before anything runs.
        Interrupted: SIGINT or SIGTERM came; the sweep is saved.
        OSError: something cannot be written; what was saved before stands.
    """
    started = time.perf_counter() if started is None else started
    folder, mesh = Path(folder), points_mesh() if mesh is None else mesh
    require_mesh(mesh)
    prepared: dict[Any, tuple[Dataset, DataSpec]] = {}
    read: dict[DataConfig, Dataset] = {}

    def check(point: Config) -> None:
        _, data, spec = prepare_point(point, data_dir, read)
        prepared.setdefault((point.data, point.evaluation), (data, spec))
        check_shares(point, mesh)

    grid = sweep.expand(config, check)
    for point in grid.points:
        if (point.config.data, point.config.evaluation) not in prepared:
            check(point.config)
    create_or_match_sweep(folder, config, sweep, grid.points)
    members = []
    for point in grid.points:
        key = point.config.data, point.config.evaluation
        name = f"{point.index:0{len(str(len(grid.points) - 1))}d}_{point_label(point.overrides)}"
        own_run, _ = create_or_match(folder / MEMBERS / name, point.config, prepared[key][1])
        members.append(Member(point.index, point, own_run, "waiting"))
    run = SweepRun(folder, sweep, members, mesh, log, live, started)
    log_kind_of_data(config, next(iter(prepared.values()))[0], log)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        _resume(run)
        unfinished = [m for m in members if m.status not in DONE]
        _allow_open_files(len(unfinished))
        for member in unfinished:
            stack.enter_context(locked(member.run.folder))
        signals = stack.enter_context(StopSignals())
        groups = group([m.run.config for m in members])
        left = sum(any(members[j].status not in DONE for j in indices) for indices in groups)
        if left:
            shares = shares_of(mesh)
            run.log(
                f"{len(members)} members, {left} program{'s' * (left > 1)} to compile, devices: {mesh.size}"
                + (f", {shares} to each batch" if shares > 1 else "")
            )
        stack.enter_context(naming(folder, lambda: f"The checkpoints of all members stand. {GO_ON}"))
        for i, indices in enumerate(groups):
            own = [members[j] for j in indices]
            data, _ = prepared[own[0].run.config.data, own[0].run.config.evaluation]
            run_group(run, i, own, data, signals)
        write_reports(run)
    return [m.row() for m in members]


def _allow_open_files(number: int) -> None:
    """Raise the process's limit where it can be raised: every member that is under way holds a lock."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = number + 256
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def create_or_match_sweep(folder: Path, config: Config, sweep: Sweep, points: Sequence[Point]) -> None:
    """Write sweep.json, or see that the one there is of the same sweep.

    Raises:
        RunError: the folder holds something else or another sweep, or cannot be written.
    """
    text = as_json(
        {
            "format": FORMAT,
            "config": to_json(config, types()),
            **sweep.to_json(),
            "points": [overrides_to_json(p.overrides, types()) for p in points],
        }
    )
    path = folder / SWEEP
    if path.exists():
        try:
            there, document = dict(parse_json(path.read_text(encoding="utf-8"))), json.loads(text)
            number = len(there["points"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}); give another --run-dir.") from None
        # The axes tell a reader where the points came from; the same points may be written in many ways.
        names = {**document, **there}.keys() - {"axes", "seeds"}
        if changed := sorted(name for name in names if document.get(name) != there.get(name)):
            raise RunError(
                f"{folder} holds another sweep: {', '.join(changed)} differ ({number} points then, {len(points)} now). "
                "Give another --run-dir."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(p.suffix != ".building" for p in folder.iterdir())):
        what = "a run" if (folder / CONFIG).exists() else "something else"
        raise RunError(f"{folder} holds {what}, not this sweep; give an empty or new one with --run-dir.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); give another --run-dir.") from None


def _resume(run: SweepRun) -> None:
    """Statuses as progress.json and the members' results have them."""
    path = run.folder / PROGRESS
    if path.exists():
        try:
            noted = parse_json(path.read_text(encoding="utf-8"))
            rungs = dict(noted["rungs"])
            rows = [(r["status"], r["step"], r["note"], r["metrics"]) for r in noted["members"]]
            pairs = list(zip(run.members, rows, strict=True))
        except (ValueError, KeyError, TypeError) as error:
            run.log(f"{path} is damaged ({error}); going on from the members' own checkpoints.")
            run.damaged = True
        else:
            run.rungs = rungs
            for member, row in pairs:
                member.status, member.step, member.note, member.metrics = row
    for member in run.members:
        _read_result(run, member)
    if all(m.status in DONE for m in run.members):
        run.log(f"{run.folder} is finished; its summary stands in {run.folder / 'summary.md'}.")
    elif there := sum(m.status != "waiting" for m in run.members):
        run.log(f"{run.folder}: resuming; {there} of {len(run.members)} members have begun.")


def _read_result(run: SweepRun, member: Member) -> None:
    """A member is finished where it has a result, also by training alone, and is not where it has none."""
    path = member.run.folder / RESULT
    if member.status == "finished":
        member.status = "running"
    if not path.exists():
        return
    try:
        result = figures(dict(parse_json(path.read_text(encoding="utf-8"))))
    except (ValueError, TypeError) as error:
        run.log(f"{path} is damaged ({error}); evaluating that member again.")
        member.status = "running"
        return
    member.status, member.step, member.note = "finished", member.run.config.training.num_steps, ""
    member.metrics |= member.validated() | result


def write_reports(run: SweepRun) -> None:
    """members.csv, summary.csv, summary.md and sweep.png of how the members stand."""
    from genjax_models import plots

    rows = [m.row() for m in run.members]
    tested = (n for n in COMPARED_BY if any(n in row.metrics for row in rows))
    metric = next(tested, run.metric)
    others = [name for name in ("test_bound", run.metric) if name != metric and any(name in r.metrics for r in rows)]
    # Where nothing came to an evaluation no member has the metric.
    settings = sweep_report.summarize(rows, None if any(metric in row.metrics for row in rows) else [metric])
    texts = {
        "members.csv": sweep_report.members_csv(rows),
        "summary.csv": sweep_report.summary_csv(settings),
        "summary.md": sweep_report.summary_markdown(settings, metric, others),
    }
    picture = run.folder / "sweep.png"
    stands = {name: (run.folder / name).exists() and (run.folder / name).read_bytes() for name in texts}
    changed = [name for name, text in texts.items() if stands[name] != text.encode()]
    if changed or not picture.exists():  # drawn first: the texts tell a crash from a sweep that is done
        plots.save_sweep(building_path(picture), rows, metric, run.folder.name)
        building_path(picture).replace(picture)
    for name in changed:
        write_whole(run.folder / name, texts[name])
