"""One group of a sweep on disk: members of one program, which train together in slots and are evaluated and drawn."""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from genjax_models import checkpoints, sweep_report
from genjax_models.core import TrainState
from genjax_models.data import Dataset, examples
from genjax_models.errors import ConfigError, RunError, require_count
from genjax_models.experiment import Clock, Interrupted, Record, StopSignals, write_result
from genjax_models.measuring import (
    Log,
    abstract_state,
    best_by,
    chosen_parameters,
    evaluated_parameters,
    test_figures,
    test_sampler,
    worth,
)
from genjax_models.overlay import parse_json
from genjax_models.points import Point
from genjax_models.progress import Pace, duration, terminal_size
from genjax_models.run_folder import METRICS, Run, as_json, read_metrics, write_whole
from genjax_models.stack import Stack, on_host
from genjax_models.sweep import Sweep

CHOICES, PROGRESS, MEMBERS = "choices.json", "progress.json", "members"
REDRAWN = 1.0  # seconds between drawings of the table that no evaluation asks for
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

    def noted(self) -> list[dict]:
        """The lines of metrics.jsonl up to its step."""
        return read_metrics(self.run.folder / METRICS, self.step)

    def validated(self) -> dict[str, float | None]:
        """The validation metrics that were noted last."""
        rows = self.noted()
        return {name: v for name, v in rows[-1].items() if name.startswith("validation_")} if rows else {}

    def row(self) -> sweep_report.Member:
        folder = f"{MEMBERS}/{self.run.folder.name}"
        return sweep_report.Member(
            self.index, folder, self.point.overrides, self.status, self.step, self.metrics, self.note
        )


class SweepRun:
    """A sweep folder with its members."""

    def __init__(
        self,
        folder: Path,
        sweep: Sweep,
        members: Sequence[Member],
        mesh: Mesh,
        log: Log,
        live: bool,
        started: float,
    ):
        self.folder, self.sweep, self.members, self.mesh, self._log = folder, sweep, list(members), mesh, log
        self.live, self.shown, self.drawn = live, 0, 0.0
        self.pace = Pace()
        self.clock = Clock(started)
        self.metric = f"validation_{best_by(members[0].run.config)}"
        self.rungs: dict[str, dict[str, float | None]] = {}  # group/step: {member: metric}, of successive halving
        self.damaged = False  # progress.json, so that where members stand is told by their checkpoints alone

    def log(self, line: str) -> None:
        """Say something; the next table stands below it."""
        self.shown = 0
        self._log(line)

    def progress(self) -> str:
        """Where every member stands now, for progress.json once all running ones have a checkpoint there."""
        rows = [{"status": m.status, "step": m.step, "note": m.note, "metrics": m.metrics} for m in self.members]
        return as_json({"members": rows, "rungs": self.rungs})

    def interrupted(self, signal: str) -> Interrupted:
        """What to raise when a signal came and everything is saved."""
        left = sum(m.status == "running" for m in self.members)
        return Interrupted(f"{signal}: saved in {self.folder}, {left} members under way; the same command resumes.")

    def left(self) -> str | None:
        """How long all steps that are left would take at the pace so far; halving may leave some out."""
        unfinished = [m for m in self.members if m.status not in DONE]
        steps = sum(m.run.config.training.num_steps - m.step for m in unfinished)
        rate = self.pace.rate(sum(m.step for m in self.members))
        return None if rate is None or not steps else duration(steps / rate)

    def show(self) -> None:
        """The live table in a terminal, or the best member elsewhere."""
        rows, left, self.drawn = [m.row() for m in self.members], self.left(), time.perf_counter()
        if not self.live:
            self.log(sweep_report.live_table(rows, self.metric, 1, 120, left).replace("\n", "\n  "))
            return
        columns, lines = terminal_size()
        # Lines that wrap, or that have left the terminal at its top, cannot be written over.
        table = sweep_report.live_table(rows, self.metric, max(1, min(8, lines - 4)), min(100, columns - 1), left)
        back = f"\033[{self.shown}A\033[J" if self.shown else ""
        sys.stderr.write(back + table + "\n")
        sys.stderr.flush()
        self.shown = table.count("\n") + 1


def run_group(run: SweepRun, number: int, members: list[Member], data: Dataset, signals: StopSignals) -> None:
    """Train and evaluate the members of a group, from where they stand."""
    if all(m.status in DONE for m in members):
        return
    if signals.came:
        raise run.interrupted(signals.came)
    stack = Stack([m.run.config for m in members], examples(data, "train"), run.mesh)
    with ThreadPoolExecutor(1) as writer:  # one thread: concurrent saves of orbax disturb each other
        _Training(run, number, members, data, stack, signals, writer).run_all()
    signals.at_once = True  # all steps are saved: there is nothing to finish first
    _finish_group(run, members, data, stack)
    signals.at_once = False


class _Training:
    """The members of a group on their way: waiting, running in slots, done."""

    def __init__(
        self,
        run: SweepRun,
        number: int,
        members: list[Member],
        data: Dataset,
        stack: Stack,
        signals: StopSignals,
        writer: ThreadPoolExecutor,
    ):
        self.run, self.number, self.members = run, number, members
        self.stack, self.signals, self.writer = stack, signals, writer
        self.validation = stack.share(examples(data, "validation"))
        self.total = stack.training.num_steps
        self.position = {m.index: i for i, m in enumerate(members)}
        self.metric = f"validation_{best_by(members[0].run.config)}"
        self.running: list[Member] = []
        self.states: Any = None  # of those that run, on the devices
        self.saving: Future | None = None

    def run_all(self) -> None:
        halving, every = self.run.sweep.halving, self.stack.training.evaluate_every
        slots = min(self.stack.room(), (halving and halving.slots) or len(self.members))
        for member in self.members:
            if member.status in DONE:
                self._note_rungs(member)
        entering = self._taken_up([m for m in self.members if m.status == "running"])
        waiting = [m for m in self.members if m.status == "waiting"]
        while entering or waiting or self.running:
            there = self.running + [m for m, _ in entering]
            # Slots become free at evaluations: members that a signal stopped between two come there first.
            if all(m.step % every == 0 for m in there):
                free = max(0, slots - len(there))
                entering += self._taken_up(waiting[:free])
                del waiting[:free]
            if entering:
                self._enter(entering)
                entering = []
            if self.running:
                self._chunk()
        self._wait()
        write_whole(self.run.folder / PROGRESS, self.run.progress())

    def _taken_up(self, members: list[Member]) -> list[tuple[Member, TrainState | None]]:
        """Members with the states that they go on from, None for the start; of those that have begun, without the ones
        that have taken all steps, or stand at a rung at which they are stopped."""
        found = [(m, self._restored(m)) for m in members]
        begun = [m for m, state in found if state is not None]
        for member in begun:
            member.status = "running"
            self._note_rungs(member)
        self._halve(begun)
        for member, state in found:
            if member.step == self.total:
                member.state = state
        return [(m, state) for m, state in found if m.status != "halted" and m.step < self.total]

    def _restored(self, member: Member) -> TrainState | None:
        """The state that a member goes on from: that of progress.json, else its newest; None for the start."""
        found, noted = None, member.step
        if noted and not self.run.damaged:
            with contextlib.suppress(RunError):
                found = checkpoints.verify(member.run.checkpoints / f"{noted:09d}")
        newest = checkpoints.newest_whole(member.run.checkpoints, self.run.log)
        # Trained on alone since then. One evaluation further is what a crash leaves, of some members alone.
        alone = newest and newest.step > noted + self.stack.training.evaluate_every
        if alone or (found is None and (noted or self.run.damaged)):
            found = newest
        if found is None:
            if member.status == "running":
                self.run.log(f"{member.run.folder}: no checkpoint to resume from; training from the start.")
            member.step, member.metrics = 0, {}
            return None
        self.run.clock.before = max(self.run.clock.before, found.seconds)
        member.step = found.step
        member.record = Record(member.run, found.step, found.pending, self.run.clock)
        member.metrics |= member.validated()
        return on_host(checkpoints.restore(found.path, abstract_state(member.run)))

    def _note_rungs(self, member: Member) -> None:
        """Enter a member at the rungs that it has passed: alone, or before the list of them was lost."""
        halving = self.run.sweep.halving
        if halving is None:
            return
        for row in member.noted():
            if row["step"] in halving.rungs(self.total) and row["step"] < member.step:
                reached = self.run.rungs.setdefault(f"{self.number}/{row['step']}", {})
                reached.setdefault(str(member.index), row.get(self.metric))

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
        path, group, block = self.run.folder / CHOICES, str(self.number), self.run.sweep.block
        if block is None:
            noted = _noted_choices(path, self.run.log)
            block = noted[group]["block"] if group in noted else None
        if block is None:
            self.states, choice = self.stack.choose(self.states)
            members = [m.index for m in self.members]
            noted[group] = {**choice._asdict(), "devices": self.stack.mesh.size, "members": members}
            write_whole(path, as_json(noted))
        else:
            if self.stack.block != block:
                states = self._host_states()
                self.stack.set_block(block)
                self._arrange(states)
            self.stack.require_memory(self.states)

    def _chunk(self) -> None:
        """One chunk of all running members; evaluation, checkpoints and halving where it ends."""
        before = [m.step for m in self.running]
        length = self.stack.stop()
        self.states, found = self.stack.advance(self.states, length)
        self.run.clock.stepped()
        steps, halted = self.stack.peek(self.states)
        bounds = np.asarray(found[self.members[0].run.config.objective.metric], np.float64)
        if halted.any():
            self._wait()  # what is said of a member that stopped names its last checkpoint
        for i, member in enumerate(self.running):
            if member.status == "running":
                member.record.took(bounds[i, : steps[i] - before[i]])
                member.step = member.record.step
                if halted[i]:
                    member.status, member.note = "non-finite", member.record.nonfinite()
        due = [i for i, m in enumerate(self.running) if m.status == "running" and m.record.due]
        if due or self.signals.came or all(m.status != "running" for m in self.running):
            self._evaluate(due)
        elif self.run.live and time.perf_counter() - self.run.drawn > REDRAWN:
            self.run.show()

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
        stay = {
            m.index: state
            for m, state in zip(self.running, states, strict=True)
            if m.status == "running" and m.step < self.total
        }
        if self.signals.came:
            self._wait()
            if stay or any(m.status == "waiting" for m in self.members):
                raise self.run.interrupted(self.signals.came)
        for member, state in zip(self.running, states, strict=True):
            if member.step == self.total:
                member.state = state
        if len(stay) < len(self.running):
            self.running = [m for m in self.running if m.index in stay]
            self._arrange(stay)
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
            # One that fell back behind a damaged checkpoint has been judged here before.
            arrived = [m for m in due if m.step == step and str(m.index) not in reached]
            reached |= {str(m.index): m.metrics.get(self.metric) for m in arrived}
            worths = {name: worth(self.metric, metric) for name, metric in reached.items()}
            cost = {name: math.inf if value is None else -value for name, value in worths.items()}
            order = sorted(cost, key=lambda name: (cost[name], int(name)))
            keep = set(order[: math.ceil(len(order) / halving.reduction)])
            for member in arrived:
                if str(member.index) not in keep:
                    rank = order.index(str(member.index)) + 1
                    member.status = "halted"
                    member.note = f"step {step}: {self.metric} is number {rank} of {len(order)} that came so far"


def _noted_choices(path: Path, log: Log) -> dict:
    """What choices.json holds, of which every group has a size of block."""
    try:
        noted = parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}
        for choice in noted.values():
            require_count("block", choice["block"])
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        log(f"{path} is damaged ({error}); measuring again.")
        return {}
    return noted


def _finish_group(run: SweepRun, members: list[Member], data: Dataset, stack: Stack) -> None:
    """Evaluate and draw the members of a group that are trained."""
    done = [(m, m.state) for m in members if m.status == "running" and m.state is not None]
    if not done:
        return
    run.log(f"evaluating {len(done)} members on the test split")
    x, room = stack.share(examples(data, "test")), stack.room()
    stack.set_block(1)
    position = {m.index: i for i, m in enumerate(members)}
    for first in range(0, len(done), room):
        _finish(run, done[first : first + room], position, data, x, stack)
    write_whole(run.folder / PROGRESS, run.progress())
    run.show()


def _finish(
    run: SweepRun,
    done: list[tuple[Member, TrainState]],
    position: dict[int, int],
    data: Dataset,
    x: jax.Array,
    stack: Stack,
) -> None:
    """Evaluate and draw as many members as there is room for; `x` is the test split on the devices."""
    chosen = []
    for member, _ in done:
        state, _, checkpoint = chosen_parameters(member.run, run.log)
        chosen.append((on_host(state), checkpoint))
    stack.arrange([position[m.index] for m, _ in done], [m.step for m, _ in done])
    states = stack.put([state for state, _ in chosen])
    num_samples = done[0][0].run.config.evaluation.num_samples
    sampler = done[0][0].run.config.model.capability == "ImplicitModel"
    bounds = None if sampler else stack.measure(states, x, stream=1)["bound"]
    estimate = None if sampler else stack.log_marginal(states, x, num_samples)
    for i, ((member, last), (state, checkpoint)) in enumerate(zip(done, chosen, strict=True)):
        params = evaluated_parameters(state)
        if bounds is None:
            tested = test_sampler(member.run, state, params, data, num_samples)
        else:
            own = jax.tree.map(lambda v, i=i: v[i], estimate)
            tested = test_figures(member.run, params, data, bounds[i], own, num_samples)
        rows = member.record.metrics.rows
        result = write_result(member.run, checkpoint, params, tested, last, rows, run.clock, data, stack.shares)
        member.status, member.state = "finished", None
        member.metrics |= figures(result)


def figures(result: dict) -> dict[str, float | None]:
    """The figures of a result that a sweep compares."""
    compared = (
        "test_bound",
        "test_nll",
        "test_nll_p_star_unnormalized",
        "test_nll_p_star",
        "test_squared_error",
        "test_bits_per_dim",
        "test_nll_in_logit_space",
        "test_response_to_planted",
        "test_mmd_squared",
        "test_parzen_log_likelihood",
    )
    names = [n for name in compared for n in (name, f"{name}_standard_error")]
    return {name: result[name] for name in (*names, "total_seconds") if name in result}
