"""Progress: one line in place in a terminal, plain lines elsewhere, and nothing where it is not wanted."""

import dataclasses
import inspect
import os
import sys

import pytest
from runs import Log, Terminal

from genjax_models import cli, progress
from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import MADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.points import Point
from genjax_models.progress import Pace, Progress, duration, terminal_size
from genjax_models.run_folder import DataSpec, Run
from genjax_models.sweep import Sweep, points_mesh
from genjax_models.sweep_training import Member, SweepRun

CONFIG = Config(MADE(), MaximumLikelihood(), Adam(), Digits())


def open_terminal(monkeypatch) -> Terminal:
    """Standard error, from within a test: pytest sets its own before one."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def clock(monkeypatch):
    """`perf_counter` as a test sets it."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_is_written_over_in_a_terminal(monkeypatch, clock):
    """From before the first step to the last; what else is said takes its place for a while."""
    terminal = open_terminal(monkeypatch)
    line = Progress(lambda text: terminal.write(text + "\n"), 200, live=True)
    line.begin(0)
    assert terminal.screen() == ["step   0/200  compiling"]
    line.show(100, -50.0, None, False)
    clock[0] = 5.0
    line.show(150, -40.0, -41.0, True)
    assert terminal.screen() == ["step 150/200  train -40.00  validation -41.00      10 steps/s  5 s left"]
    line.say("a callback failed")
    assert terminal.screen() == ["a callback failed", ""]
    line.show(200, None, -39.0, True)
    line.end()
    line.end()
    terminal.write("error")
    shown = "step 200/200  validation -39.00      20 steps/s  0 s left"
    assert terminal.screen() == ["a callback failed", shown, "error"]


def test_a_line_never_wraps(monkeypatch):
    terminal = open_terminal(monkeypatch)
    assert terminal_size() == (80, 24)  # of a stream that is no file
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda file: os.terminal_size((20, 7)))
    assert terminal_size() == (20, 7)
    Progress(terminal.write, 100, live=True).show(50, -1e9, -1e9, True)
    assert terminal.screen() == ["step  50/100  train"]


def test_plain_lines_elsewhere(clock, capsys):
    """One at every evaluation, and one a minute where evaluations are rare."""
    log = Log()
    line = Progress(log, 100, live=False)
    line.begin(0)
    for step, seconds, evaluated in [(10, 1, False), (20, 2, True), (30, 30, False), (40, 62, False), (50, 63, False)]:
        clock[0] = float(seconds)
        line.show(step, -2.0, None, evaluated)
    line.end()
    assert [text.split()[1] for text in log] == ["20/100", "40/100"]
    assert capsys.readouterr() == ("", "")


def test_pace_begins_with_the_first_steps(clock):
    """Which compiled."""
    pace = Pace()
    clock[0] = 100.0
    assert pace.rate(50) is None
    clock[0] = 102.0
    assert pace.rate(50) is None
    assert pace.rate(70) == 10


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (3599.7, "1:00:00")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_table_of_a_sweep(monkeypatch, clock, tmp_path):
    """In a terminal it is written over, and fits; elsewhere the best member alone is logged. Both say what is left."""
    config = dataclasses.replace(CONFIG, training=Training(100, batch_size=20))
    run = Run(tmp_path, config, DataSpec(64, None, (40, 10, 10), 7))
    members = [Member(i, Point(i, {"seed": i}, config), run, "running") for i in range(12)]
    monkeypatch.setattr(os, "get_terminal_size", lambda file: os.terminal_size((40, 10)))
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    log = Log()
    shown, logged = (SweepRun(tmp_path, Sweep(), members, points_mesh(), log, live, 0.0) for live in (True, False))
    for step, seconds in [(10, 5.0), (30, 25.0)]:
        clock[0] = seconds
        for member in members:
            member.step, member.metrics = step, {"validation_bound": -float(member.index)}
        shown.show()
        logged.show()
    screen = terminal.screen()
    assert len(screen) == 1 + 1 + 6 + 1  # counts, names, and as many members as there is room for
    assert max(map(len, screen)) == 39
    assert [line.split()[0] for line in screen[2:8]] == ["0", "1", "2", "3", "4", "5"]
    assert "left" not in log[0]
    assert log[1].splitlines()[0] == "12 members: 12 running, 0 finished, 0 waiting, 0 stopped, 1:10 left"
    assert len(log[1].splitlines()) == 3


def commands() -> dict:
    (found,) = (a for a in cli.parser()._actions if hasattr(a, "choices") and a.choices)
    return found.choices


def test_every_command_with_progress_can_be_quiet():
    """And those that cannot have no progress."""
    runs = {name: command.get_default("run") for name, command in commands().items()}
    speaks = {name for name, run in runs.items() if "log_of(arguments)" in inspect.getsource(run)}
    quiet = {n for n, command in commands().items() if "--quiet" in command.format_help()}
    assert speaks == quiet
    assert {"train", "sweep", "evaluate", "reproduce", "report"} <= quiet
    assert {"list", "cite"}.isdisjoint(quiet)
