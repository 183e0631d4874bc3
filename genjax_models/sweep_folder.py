"""Sweeps on disk: a run folder of run folders, each of which is what a run alone leaves.

sweep.json holds the points, choices.json how each group runs, progress.json where all members stand: the last moment at
which every running member had a checkpoint, from which a sweep resumes. At the end there are members.csv, summary.csv,
summary.md and sweep.png.
"""

import contextlib
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from genjax_models import checkpoints, sweep_report
from genjax_models.config import Config
from genjax_models.core import TrainState
from genjax_models.data import Dataset
from genjax_models.errors import RunError
from genjax_models.experiment import (
    Clock,
    Interrupted,
    Record,
    StopSignals,
    log_kind_of_data,
    prepare,
    write_result,
)
from genjax_models.labels import point_label
from genjax_models.measuring import Log, abstract_state, chosen_parameters, test_figures, test_p_star
from genjax_models.overlay import to_json
from genjax_models.points import Point, overrides_to_json
from genjax_models.run_folder import CONFIG, RESULT, DataSpec, Run, as_json, create_or_match, locked, write_whole
from genjax_models.stack import Choice, Stack
from genjax_models.sweep import Sweep, group, points_mesh
from genjax_models.tables import types

FORMAT = 1
SWEEP, CHOICES, PROGRESS, MEMBERS = "sweep.json", "choices.json", "progress.json", "members"
DONE = ("finished", "non-finite", "halted")


@dataclasses.dataclass
class Member:
    """A point of the sweep with its run."""

    index: int
    point: Point
    run: Run
    status: str  # as in `sweep_report`
    step: int = 0
    note: str = ""
    record: Record = dataclasses.field(init=False)  # once it runs
    state: TrainState | None = None  # after its last step, until it is evaluated
    metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)

    def row(self) -> sweep_report.Member:
        folder = f"{MEMBERS}/{self.run.folder.name}"
        return sweep_report.Member(
            self.index, folder, self.point.overrides, self.status, self.step, self.metrics, self.note
        )


class SweepRun:
    """A sweep folder with its members."""

    def __init__(self, folder: Path, sweep: Sweep, members: Sequence[Member], log: Log, live: bool, started: float):
        self.folder, self.sweep, self.members, self.log = folder, sweep, list(members), log
        self.live, self.shown = live, 0
        self.clock = Clock(started)
        best_by = members[0].run.config.evaluation.best_by
        self.metric = f"validation_{best_by}"
        self.rungs: dict[str, dict[str, float | None]] = {}  # step: {member: metric}, of successive halving

    def progress(self) -> str:
        """Where every member stands now, for progress.json once all running ones have a checkpoint there."""
        rows = [{"status": m.status, "step": m.step, "note": m.note, "metrics": m.metrics} for m in self.members]
        return as_json({"members": rows, "rungs": self.rungs})

    def show(self) -> None:
        """The live table in a terminal, or one line elsewhere."""
        rows = [m.row() for m in self.members]
        if not self.live:
            self.log(sweep_report.live_table(rows, self.metric, rows=1, width=120).replace("\n", "\n  "))
            return
        table = sweep_report.live_table(rows, self.metric, rows=8, width=100)
        back = f"\033[{self.shown}A\033[J" if self.shown else ""
        sys.stderr.write(back + table + "\n")
        sys.stderr.flush()
        self.shown = table.count("\n") + 1


def sweep_run(
    config: Config,
    sweep: Sweep,
    folder: Path,
    data_dir: str | None = None,
    *,
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
        log: hears what happens, line by line.
        live: redraw a table of the best on standard error instead of logging a line an evaluation.
        started: `time.perf_counter()` of when the user began to wait.

    Returns:
        A row for every member, in the order of the points.

    Raises:
        UserError: all that is wrong with axes, points, data or folder, before anything runs.
        Interrupted: SIGINT or SIGTERM came; the sweep is saved.
    """
    started = time.perf_counter() if started is None else started
    folder = Path(folder)
    prepared: dict[Any, tuple[Dataset, DataSpec]] = {}

    def check(point: Config) -> None:
        _, data, spec = prepare(point, data_dir)
        prepared.setdefault((point.data, point.evaluation), (data, spec))

    grid = sweep.expand(config, check)
    create_or_match_sweep(folder, config, sweep, grid.points)
    members = []
    for point in grid.points:
        key = point.config.data, point.config.evaluation
        if key not in prepared:
            check(point.config)
        name = f"{point.index:0{len(str(len(grid.points) - 1))}d}_{point_label(point.overrides)}"
        own_run, _ = create_or_match(folder / MEMBERS / name, point.config, prepared[key][1])
        members.append(Member(point.index, point, own_run, "waiting"))
    run = SweepRun(folder, sweep, members, log, live, started)
    log_kind_of_data(config, next(iter(prepared.values()))[0], log)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        _resume(run)
        for member in members:
            if member.status not in DONE:
                stack.enter_context(locked(member.run.folder))
        signals = stack.enter_context(StopSignals())
        for i, indices in enumerate(group([m.run.config for m in members])):
            own = [members[j] for j in indices]
            data, _ = prepared[own[0].run.config.data, own[0].run.config.evaluation]
            _run_group(run, i, own, data, signals)
        write_reports(run)
    return [m.row() for m in members]


def create_or_match_sweep(folder: Path, config: Config, sweep: Sweep, points: Sequence[Point]) -> None:
    """Write sweep.json, or see that the one there is of the same sweep.

    Raises:
        RunError: the folder holds something else or another sweep, or cannot be written.
    """
    document = {
        "format": FORMAT,
        "config": to_json(config, types()),
        **sweep.to_json(),
        "points": [overrides_to_json(p.overrides, types()) for p in points],
    }
    path = folder / SWEEP
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{path} is damaged ({error}); give another --run-dir.") from None
        if changed := [name for name in {**document, **there} if document.get(name) != there.get(name)]:
            raise RunError(
                f"{folder} holds another sweep: {', '.join(changed)} differ ({len(there.get('points', ()))} points "
                f"then, {len(points)} now). Give another --run-dir."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(p.suffix != ".building" for p in folder.iterdir())):
        what = "a run" if (folder / CONFIG).exists() else "something else"
        raise RunError(f"{folder} holds {what}, not this sweep; give an empty or new one with --run-dir.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, as_json(document))
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); give another --run-dir.") from None


def _resume(run: SweepRun) -> None:
    """Statuses as progress.json and the members' results have them."""
    path = run.folder / PROGRESS
    if path.exists():
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            for member, row in zip(run.members, noted["members"], strict=True):
                member.status, member.step, member.note = row["status"], row["step"], row["note"]
                member.metrics = row["metrics"]
            run.rungs = noted["rungs"]
        except (ValueError, KeyError, TypeError) as error:
            run.log(f"{path} is damaged ({error}); going on from the members' own checkpoints.")
    for member in run.members:
        if (member.run.folder / RESULT).exists():
            member.status, member.step = "finished", member.run.config.training.num_steps
            with contextlib.suppress(ValueError):
                member.metrics |= figures(json.loads((member.run.folder / RESULT).read_text(encoding="utf-8")))
    there = sum(m.status != "waiting" for m in run.members)
    if there:
        run.log(f"{run.folder}: resuming; {there} of {len(run.members)} members have begun.")


def figures(result: dict) -> dict[str, float | None]:
    """The figures of a result that a sweep compares."""
    compared = ("test_bound", "test_nll", "test_nll_p_star_unnormalized", "test_nll_p_star")
    names = [n for name in compared for n in (name, f"{name}_standard_error")]
    return {name: result[name] for name in (*names, "total_seconds") if name in result}


# One group


def _run_group(run: SweepRun, number: int, members: list[Member], data: Dataset, signals: StopSignals) -> None:
    """Train and evaluate the members of a group, from where they stand."""
    if all(m.status in DONE for m in members):
        return
    stack = Stack([m.run.config for m in members], data.train, points_mesh())
    with ThreadPoolExecutor(1) as writer:  # one thread: concurrent saves of orbax disturb each other
        _Training(run, number, members, data, stack, signals, writer).run_all()
    signals.at_once = True  # all steps are saved: there is nothing to finish first
    _finish_group(run, members, data, stack)
    signals.at_once = False


class _Training:
    """The members of a group on their way: waiting, running in slots, done."""

    def __init__(self, run, number, members, data, stack, signals, writer):
        self.run: SweepRun = run
        self.number: int = number
        self.members: list[Member] = members
        self.stack: Stack = stack
        self.signals: StopSignals = signals
        self.writer: ThreadPoolExecutor = writer
        self.validation = stack.share(data.validation)
        self.total = stack.training.num_steps
        self.position = {m.index: i for i, m in enumerate(members)}
        self.running: list[Member] = []
        self.states: Any = None  # of those that run, on the devices
        self.saving: Future | None = None

    def run_all(self) -> None:
        begun = [(m, self._restored(m)) for m in self.members if m.status == "running"]
        waiting = [m for m in self.members if m.status == "waiting"]
        halving = self.run.sweep.halving
        slots = (halving and halving.slots) or len(self.members)
        for member, state in begun:
            if member.step == self.total:
                member.state = state
        entering = [(m, s) for m, s in begun if m.step < self.total]
        while entering or waiting or self.running:
            free = max(0, slots - len(self.running) - len(entering))
            entering += [(m, None) for m in waiting[:free]]
            del waiting[:free]
            if entering:
                self._enter(entering)
                entering = []
            self._chunk()
        self._wait()

    def _restored(self, member: Member) -> TrainState | None:
        """The state that a member goes on from: that of progress.json, else its newest; None for the start."""
        found = None
        with contextlib.suppress(RunError):
            found = checkpoints.verify(member.run.checkpoints / f"{member.step:09d}")
        newest = checkpoints.newest_whole(member.run.checkpoints, self.run.log)
        # Trained on alone since then, or the one that was noted is damaged.
        if newest and (found is None or newest.step > found.step + self.stack.training.evaluate_every):
            found = newest
        if found is None:
            member.step = 0
            return None
        self.run.clock.before = max(self.run.clock.before, found.seconds)
        member.step = found.step
        member.record = Record(member.run, found.step, found.pending, self.run.clock)
        return checkpoints.restore(found.path, abstract_state(member.run))

    def _enter(self, entering: list[tuple[Member, TrainState | None]]) -> None:
        """Give free slots to members, which begin where they have no state."""
        states = self._host_states()
        new = [m for m, state in entering if state is None]
        if new:
            self.stack.arrange([self.position[m.index] for m in new], [0] * len(new))
            states |= dict(zip([m.index for m in new], self.stack.take(self.stack.init()), strict=True))
        for member, state in entering:
            member.status = "running"
            if state is None:
                member.record = Record(member.run, 0, (0.0, 0), self.run.clock)
            else:
                states[member.index] = state
        self.running += [m for m, _ in entering]
        self._arrange(states)
        self._choose()

    def _host_states(self) -> dict[int, TrainState]:
        """The states of the running members by their index."""
        if not self.running:
            return {}
        return dict(zip([m.index for m in self.running], self.stack.take(self.states), strict=True))

    def _arrange(self, states: dict[int, TrainState]) -> None:
        """Put the running members on the devices."""
        if self.running:
            self.stack.arrange([self.position[m.index] for m in self.running], [m.step for m in self.running])
            self.states = self.stack.put([states[m.index] for m in self.running])

    def _choose(self) -> None:
        """The size of block, as given, noted by an earlier start, or measured now and noted."""
        path, block = self.run.folder / CHOICES, self.run.sweep.block
        noted = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if block is None and str(self.number) in noted:
            block = noted[str(self.number)]["block"]
        if block is None:
            self.states, choice = self.stack.choose(self.states)
            noted[str(self.number)] = _choice_json(choice, self.stack, [m.index for m in self.members])
            write_whole(path, as_json(noted))
        elif self.stack.block != block:
            states = self._host_states()
            self.stack.set_block(block)
            self._arrange(states)

    def _chunk(self) -> None:
        """One chunk of all running members; evaluation, checkpoints and halving where it ends."""
        before = [m.step for m in self.running]
        length = self.stack.stop()
        self.states, found = self.stack.advance(self.states, length)
        self.run.clock.stepped()
        steps, halted = self.stack.peek(self.states)
        bounds = np.asarray(found["bound"], np.float64)
        for i, member in enumerate(self.running):
            if member.status == "running":
                member.record.took(bounds[i, : steps[i] - before[i]])
                member.step = member.record.step
                if halted[i]:
                    member.status, member.note = "non-finite", member.record.nonfinite()
        due = [i for i, m in enumerate(self.running) if m.status == "running" and m.record.due]
        if due or self.signals.came or all(m.status != "running" for m in self.running):
            self._evaluate(due)

    def _evaluate(self, due: list[int]) -> None:
        states = self.stack.take(self.states)
        measured = self.stack.measure(self.states, self.validation) if due else {}
        tasks = []
        for i, member in enumerate(self.running):
            if member.status == "running":
                metric = None
                if i in due:
                    metric = member.record.evaluated({name: v[i] for name, v in measured.items()})
                    member.metrics |= {f"validation_{name}": v for name, v in member.record.validation.items()}
                tasks.append(member.record.saving(states[i], metric))
        self._halve([self.running[i] for i in due])
        self._save(tasks)
        if self.signals.came:
            self._wait()
            left = [m for m in self.running if m.status == "running" and m.step < self.total]
            if left or any(m.status == "waiting" for m in self.members):
                raise Interrupted(
                    f"{self.signals.came}: saved in {self.run.folder}, {len(left)} members under way; the same command "
                    "resumes."
                )
        for member, state in zip(self.running, states, strict=True):
            if member.step == self.total:
                member.state = state
        stay = [
            (m, s) for m, s in zip(self.running, states, strict=True) if m.status == "running" and m.step < self.total
        ]
        if len(stay) < len(self.running):
            self.running = [m for m, _ in stay]
            self._arrange({m.index: s for m, s in stay})
        self.run.show()

    def _save(self, tasks: list[Callable[[], None]]) -> None:
        """Write checkpoints beside the next chunk, and progress.json when all of them are whole."""
        self._wait()
        progress = self.run.progress()

        def write() -> None:
            for task in tasks:
                task()
            write_whole(self.run.folder / PROGRESS, progress)

        self.saving = self.writer.submit(write)

    def _wait(self) -> None:
        if self.saving is not None:
            self.saving.result()
            self.saving = None

    def _halve(self, due: list[Member]) -> None:
        """Stop the members that are not among the best at a rung that they have reached."""
        halving = self.run.sweep.halving
        if halving is None:
            return
        for step in dict.fromkeys(m.step for m in due):
            if step not in halving.rungs(self.total):
                continue
            reached = self.run.rungs.setdefault(f"{self.number}/{step}", {})
            arrived = [m for m in due if m.step == step]
            reached |= {str(m.index): m.metrics[self.run.metric] for m in arrived}
            order = sorted(reached, key=lambda name: (-_value(reached[name]), int(name)))
            keep = set(order[: math.ceil(len(order) / halving.reduction)])
            for member in arrived:
                if str(member.index) not in keep:
                    rank = order.index(str(member.index)) + 1
                    member.status = "halted"
                    member.note = f"step {step}: {self.run.metric} is number {rank} of {len(order)} that came so far"


def _value(metric: float | None) -> float:
    return -math.inf if metric is None else metric


def _choice_json(choice: Choice, stack: Stack, members: list[int]) -> dict:
    return {**choice._asdict(), "devices": stack.mesh.size, "members": members}


def _finish_group(run: SweepRun, members: list[Member], data: Dataset, stack: Stack) -> None:
    """Evaluate and draw the members of a group that are trained."""
    done = [(m, m.state) for m in members if m.status == "running" and m.state is not None]
    if not done:
        return
    run.log(f"evaluating {len(done)} members on the test split")
    chosen = [chosen_parameters(m.run, run.log) for m, _ in done]
    stack.set_block(1)
    position = {m.index: i for i, m in enumerate(members)}
    stack.arrange([position[m.index] for m, _ in done], [m.step for m, _ in done])
    states, x = stack.put([state for state, _, _ in chosen]), stack.share(data.test)
    num_samples = done[0][0].run.config.evaluation.num_samples
    bounds = stack.measure(states, x, stream=1)["bound"]
    estimate = stack.log_marginal(states, x, num_samples)
    for i, ((member, last), (_, params, checkpoint)) in enumerate(zip(done, chosen, strict=True)):
        p_star = test_p_star(member.run, params, data.test, num_samples)
        tested = test_figures(bounds[i], estimate.log_prob[i], estimate.standard_error[i], num_samples, p_star)
        rows = member.record.metrics.rows
        result = write_result(member.run, checkpoint, params, tested, last, rows, run.clock)
        member.status, member.state = "finished", None
        member.metrics |= figures(result)
    write_whole(run.folder / PROGRESS, run.progress())
    run.show()


def write_reports(run: SweepRun) -> None:
    """members.csv, summary.csv, summary.md and sweep.png of how the members stand."""
    from genjax_models import plots

    rows = [m.row() for m in run.members]
    settings = sweep_report.summarize(rows)
    metric = "test_nll" if any("test_nll" in row.metrics for row in rows) else run.metric
    write_whole(run.folder / "members.csv", sweep_report.members_csv(rows))
    write_whole(run.folder / "summary.csv", sweep_report.summary_csv(settings))
    others = [name for name in ("test_bound", run.metric) if any(name in row.metrics for row in rows)]
    write_whole(run.folder / "summary.md", sweep_report.summary_markdown(settings, metric, others))
    plots.save_sweep(run.folder / "sweep.png", rows, metric, run.folder.name)
