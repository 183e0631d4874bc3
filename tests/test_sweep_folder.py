"""Sweeps on disk: a member is its run alone, and a sweep cut short anywhere ends as if it had been left alone."""

import csv
import dataclasses
import fcntl
import functools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from drills import drill
from runs import Log, contents, last_state, outcome, read_json, read_lines

from genjax_models import checkpoints, experiment, measuring, plots, sweep_folder, sweep_training
from genjax_models.axes import axis, chain, product, zipped
from genjax_models.commands.files import load_file
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.errors import ConfigError, RunError
from genjax_models.experiment import Interrupted, NonFinite, chosen_parameters, train_run
from genjax_models.models import VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.run_folder import open_run
from genjax_models.stack import Stack
from genjax_models.sweep import SuccessiveHalving, Sweep, sweep_mesh
from genjax_models.sweep_folder import sweep_run

CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((4,), "tanh"), decoder=MLP((4,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Arrays(path="bits.npy"),
    training=Training(num_steps=40, batch_size=8, evaluate_every=10, chunk=5),
    evaluation=Evaluation(num_samples=50),
    seed=3,
)
SWEEP = Sweep(axis("optimizer.learning_rate", (1e-3, 1e-2)), seeds=2, block=1)
POINTS = [{"optimizer.learning_rate": rate, "seed": seed} for rate in (1e-3, 1e-2) for seed in (3, 4)]
HUGE = 1e30  # a learning rate that spoils the parameters in the first step
BITS = (np.random.RandomState(0).uniform(size=(60, 2, 3)) < 0.4).astype(np.uint8)


@pytest.fixture
def plain(monkeypatch):
    """No curves are drawn, which take longer than all the rest."""
    for name in ("save_curves", "save_sweep"):
        monkeypatch.setattr(plots, name, lambda path, *rest: path.write_bytes(b"drawn"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "bits.npy", BITS)
    return str(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir) -> Path:
    """A sweep left alone to its end; tests read it, or work on a copy."""
    folder = tmp_path_factory.mktemp("sweeps") / "finished"
    sweep_run(CONFIG, SWEEP, folder, data_dir, log=Log())
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture(scope="module")
def solo(tmp_path_factory, data_dir):
    """The folder of a run alone, by what its configuration has instead of CONFIG's."""
    place = tmp_path_factory.mktemp("solo")

    @functools.cache
    def trained(items) -> Path:
        folder = place / f"{len(list(place.iterdir()))}"
        train_run(overlay(CONFIG, dict(items)), folder, data_dir, log=Log())
        return folder

    return lambda overrides: trained(tuple(overrides.items()))


def read_csv(path: Path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def members(folder: Path) -> list[Path]:
    """The members' folders, in the order of the points."""
    return sorted((folder / "members").iterdir())


def rows_of(folder: Path) -> list[dict]:
    """metrics.jsonl without the seconds."""
    rows = read_lines(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def table(folder: Path) -> list[dict]:
    """members.csv without seconds; notes name the place of a checkpoint, which is another in every test."""
    rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in read_csv(folder / "members.csv")]
    return [{**row, "note": row["note"].replace(str(folder), "FOLDER")} for row in rows]


def whole(folder: Path) -> tuple:
    """All of a sweep that must not depend on whether it was cut short."""
    assert not list(folder.rglob("*building*"))
    ends = [
        outcome(m)
        if (m / "result.json").exists()
        else (checkpoints.paths(m / "checkpoints") and last_state(m), rows_of(m))
        for m in members(folder)
    ]
    return ends, table(folder), read_json(folder / "progress.json")["rungs"]


class Crash(BaseException):
    """The process dies here."""


def crash_at(patch, where, name: str, call: int) -> None:
    """Die at the call of that number."""
    original, calls = getattr(where, name), []

    def die(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise Crash
        return original(*args, **kwargs)

    patch.setattr(where, name, die)


def signal_at(patch, call: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal when the chunk of that number is done."""
    advance, calls = Stack.advance, []

    def advanced(self, states, length):
        found = advance(self, states, length)
        calls.append(length)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return found

    patch.setattr(Stack, "advance", advanced)


def interrupt(
    config: Config, sweep: Sweep, folder: Path, data_dir: str, call: int, number=signal.SIGTERM, **rest
) -> str:
    """Run a sweep that gets a signal after that many chunks: what it says."""
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, call, number)
        with pytest.raises(Interrupted) as raised:
            sweep_run(config, sweep, folder, data_dir, log=Log(), **rest)
    return str(raised.value)


# What a sweep leaves.


@pytest.mark.bits
def test_members_are_runs_alone_bit_for_bit(finished, solo):
    """Arrays, metrics, figures and samples; and a member's folder has the files of a run alone, and no others."""
    assert len(members(finished)) == len(POINTS)
    for folder, overrides in zip(members(finished), POINTS, strict=True):
        alone = solo(overrides)
        assert outcome(folder) == outcome(alone)
        assert (folder / "config.json").read_bytes() == (alone / "config.json").read_bytes()
        there, here = (
            {str(p.relative_to(f)) for p in f.rglob("*") if "checkpoints/0" not in str(p) or p.name == "manifest.json"}
            for f in (alone, folder)
        )
        assert here == there


def test_a_sweep_leaves_what_it_promises(finished):
    names = {p.name for p in finished.iterdir()}
    files = {"sweep.json", "progress.json", "members.csv", "summary.csv", "summary.md", "sweep.png", ".lock"}
    assert names == files | {"members"}
    assert not list(finished.rglob("*building*"))
    assert members(finished)[2].name == "2_learning_rate=0.01_seed=3"


def test_tables_have_the_results(finished):
    """members.csv has the figures of result.json, summary.csv their mean over seeds and its error."""
    rows = read_csv(finished / "members.csv")
    results = [read_json(folder / "result.json") for folder in members(finished)]
    for i, (row, result) in enumerate(zip(rows, results, strict=True)):
        assert (row["index"], row["status"], row["step"], row["note"]) == (str(i), "finished", "40", "")
        assert {k: type(v)(row[k]) for k, v in POINTS[i].items()} == POINTS[i]
        assert finished / row["folder"] == members(finished)[i]
        for name in ("test_bound", "test_nll", "test_nll_standard_error", "total_seconds"):
            assert float(row[name]) == result[name]
        assert float(row["validation_bound"]) == rows_of(members(finished)[i])[-1]["validation_bound"]
    nll = np.reshape([result["test_nll"] for result in results], (2, 2))
    for row, values in zip(read_csv(finished / "summary.csv"), nll, strict=True):
        assert float(row["test_nll_mean"]) == pytest.approx(values.mean())
        assert float(row["test_nll_standard_error_over_seeds"]) == pytest.approx(values.std(ddof=1) / math.sqrt(2))
        assert (row["finished"], row["members"]) == ("2", "2")
    text = (finished / "summary.md").read_text(encoding="utf-8")
    best, other = (text.index(f"| {rate} |") for rate in np.array((1e-3, 1e-2))[nll.mean(axis=1).argsort()])
    assert best < other
    assert (finished / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_rows_are_returned_in_the_order_of_the_points(copy, data_dir):
    rows = sweep_run(CONFIG, SWEEP, copy, data_dir, log=Log())
    assert [row.overrides for row in rows] == POINTS
    assert [row.metrics["test_nll"] for row in rows] == [
        read_json(folder / "result.json")["test_nll"] for folder in members(copy)
    ]


def test_p_star_of_a_member_is_that_of_a_run_alone(tmp_path, data_dir, plain, monkeypatch):
    """The figures of p* and its constant, of a belief net, are those of the run in the member's folder."""
    monkeypatch.setattr(experiment, "sample_images", lambda run, params, num, **given: np.zeros((num, 6)))
    settings = dataclasses.replace(
        CONFIG,
        model=SigmoidBeliefNetwork((3,)),
        objective=WakeSleep(),
        training=Training(num_steps=2, batch_size=8, evaluate_every=2, chunk=2),
        evaluation=Evaluation(num_samples=20, distribution="p_star", num_z_samples=100),
    )
    rows = sweep_run(settings, Sweep(seeds=2, block=1), tmp_path / "sweep", data_dir, log=Log())
    x = settings.data.load(data_dir).test
    for row, folder in zip(rows, members(tmp_path / "sweep"), strict=True):
        _, params, _ = chosen_parameters(open_run(folder), Log())
        alone = measuring.test_p_star(open_run(folder), params, x, 20).figures
        result = read_json(folder / "result.json")
        assert "test_nll_p_star" in alone
        assert alone == {name: result[name] for name in alone}
        assert row.metrics["test_nll_p_star"] == alone["test_nll_p_star"]
    assert rows[0].metrics["test_nll_p_star"] != rows[1].metrics["test_nll_p_star"]


# Again in the same folder.


def test_a_finished_sweep_is_left_as_it_is(copy, data_dir, monkeypatch):
    """Nothing is trained or written, by the sweep or by a run on a member's folder."""
    before, log = contents(copy), Log()
    monkeypatch.setattr(Stack, "__init__", lambda *args: pytest.fail("trained again"))
    rows = sweep_run(CONFIG, SWEEP, copy, data_dir, log=log)
    assert "is finished" in str(log)
    assert {row.status for row in rows} == {"finished"}
    train_run(overlay(CONFIG, POINTS[1]), members(copy)[1], data_dir, log=Log())
    assert contents(copy) == before


def test_tables_that_were_removed_are_written_again(finished, copy, data_dir, plain):
    for name in ("members.csv", "summary.md", "sweep.png"):
        (copy / name).unlink()
    sweep_run(CONFIG, SWEEP, copy, data_dir, log=Log())
    assert (copy / "sweep.png").exists()
    for name in ("members.csv", "summary.csv", "summary.md"):
        assert (copy / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("damage", ["removed", "damaged"])
def test_a_member_without_its_result_is_evaluated_again(finished, copy, data_dir, plain, damage):
    """One that is damaged is named; the others stay."""
    path, log = members(copy)[1] / "result.json", Log()
    path.unlink() if damage == "removed" else path.write_text("{")
    before = contents(members(copy)[0])
    sweep_run(CONFIG, SWEEP, copy, data_dir, log=log)
    assert (f"{path} is damaged" in str(log)) == (damage == "damaged")
    assert whole(copy) == whole(finished)
    assert contents(members(copy)[0]) == before


def test_the_same_points_in_other_words_are_the_same_sweep(copy, data_dir):
    """However the axes are written: the points are what counts."""
    before = contents(copy)
    pairs = chain(
        *(zipped(axis("optimizer.learning_rate", (rate,) * 2), axis("seed", (3, 4))) for rate in (1e-3, 1e-2))
    )
    rows = sweep_run(CONFIG, Sweep(pairs, block=1), copy, data_dir, log=Log())
    assert [row.status for row in rows] == ["finished"] * 4
    assert contents(copy) == before


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"axes": axis("optimizer.learning_rate", (1e-3, 2e-2))}, "points differ"),
        ({"seeds": 3}, r"points differ \(4 points then, 6 now\)"),
        ({"block": 2}, "block differ"),
        ({"halving": SuccessiveHalving(10)}, "halving differ"),
        ({}, "config differ"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_another_sweep_is_refused(copy, data_dir, change, word):
    before = contents(copy)
    config = CONFIG if change else overlay(CONFIG, {"training.num_steps": 50})
    with pytest.raises(RunError, match=rf"holds another sweep: {word}.*Give another --run-dir"):
        sweep_run(config, dataclasses.replace(SWEEP, **change), copy, data_dir, log=Log())
    assert contents(copy) == before


def test_a_sweep_over_tuples_and_configurations_knows_itself(tmp_path, data_dir):
    """What JSON makes of them is the same sweep."""
    sweep = Sweep(product(axis("model.encoder.hidden", ((4,), (4, 4))), axis("optimizer", (Adam(), Adam(0.1)))))
    points = sweep.expand(CONFIG, lambda config: None).points
    for _ in range(2):
        sweep_folder.create_or_match_sweep(tmp_path / "sweep", CONFIG, sweep, points)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": 3}', "\x00"])
def test_a_damaged_description_is_refused(copy, data_dir, text):
    (copy / "sweep.json").write_text(text)
    before = contents(copy)
    with pytest.raises(RunError, match=r"sweep\.json is damaged.*--run-dir"):
        sweep_run(CONFIG, SWEEP, copy, data_dir, log=Log())
    assert contents(copy) == before


@pytest.mark.parametrize("kind", ["run", "thesis", "file"])
def test_a_folder_that_holds_something_else_is_refused(solo, tmp_path, data_dir, kind):
    folder = tmp_path / "taken"
    if kind == "run":
        shutil.copytree(solo(POINTS[0]), folder)
    elif kind == "thesis":
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    else:
        folder.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(RunError, match=f"holds {'a run' if kind == 'run' else 'something else'}.*--run-dir"):
        sweep_run(CONFIG, SWEEP, folder, data_dir, log=Log())
    assert contents(tmp_path) == before


def test_a_sweep_on_changed_data_is_refused(copy, tmp_path):
    before = contents(copy)
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "bits.npy", 1 - BITS)
    with pytest.raises(RunError, match="other data"):
        sweep_run(CONFIG, SWEEP, copy, str(tmp_path / "data"), log=Log())
    assert contents(copy) == before


@pytest.mark.parametrize("which", ["sweep", "member"])
def test_a_folder_in_use_by_another_process_is_refused(copy, data_dir, which):
    """Also where one member alone is trained elsewhere; the members that are done may be in use."""
    member, other = members(copy)[1:3]
    (member / "result.json").unlink()
    held = copy if which == "sweep" else member
    before = contents(copy)
    with (held / ".lock").open("a") as file, (other / ".lock").open("a") as another:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.flock(another, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="being trained by another process") as raised:
            sweep_run(CONFIG, SWEEP, copy, data_dir, log=Log())
    assert str(held) in str(raised.value)
    assert contents(copy) == before


def test_all_that_is_wrong_is_said_before_there_is_a_folder(tmp_path, data_dir):
    """Fields and values; or, where these are right, data that are not there and models that do not fit."""
    fields = product(axis("optimizer.rate", (1, 2)), axis("training.batch_size", (8, 0)))
    models = axis("model", (CONFIG.model, SigmoidBeliefNetwork((3,))))
    points = product(axis("data.path", ("bits.npy", "absent.npy")), axis("training.batch_size", (8, 49)), models)
    for sweep, words in (
        (Sweep(fields, seeds=0), ("optimizer.rate", "training.batch_size: got 0", "seeds: got 0")),
        (Sweep(points), ("absent.npy", "training.batch_size: got 49", "sigmoid_belief_network")),
    ):
        with pytest.raises(ConfigError) as raised:
            sweep_run(CONFIG, sweep, tmp_path / "sweep", data_dir, log=Log())
        assert [word for word in words if word not in str(raised.value)] == []
    for halving in (SuccessiveHalving(7), SuccessiveHalving(40), SuccessiveHalving(10, 1), SuccessiveHalving(10, 2, 0)):
        with pytest.raises(ConfigError, match=r"halving\."):
            sweep_run(CONFIG, dataclasses.replace(SWEEP, halving=halving), tmp_path / "sweep", data_dir, log=Log())
    assert not (tmp_path / "sweep").exists()


# Cut short.


@pytest.mark.parametrize(
    ("where", "name", "call", "block"),
    [
        drill(sweep_folder, "write_whole", 1, 1),  # sweep.json: there is an empty folder
        drill(sweep_folder, "create_or_match", 3, 1),  # two members have a folder
        drill(checkpoints, "save", 2, 1),  # one member has a first checkpoint
        drill(sweep_training, "write_whole", 1, 1),  # all have one, but progress.json does not say so
        drill(sweep_training, "write_whole", 1, None),  # choices.json
        (experiment.Record, "evaluated", 7, 1),  # two members have a line in metrics.jsonl that the others lack
        drill(checkpoints, "save", 7, 1),  # two have a checkpoint that the others lack
        drill(checkpoints, "prune", 12, 1),
        drill(sweep_training, "write_whole", 3, 1),  # all have a third checkpoint, progress.json knows of two
        (sweep_training, "write_result", 3, 1),  # two are finished
        drill(sweep_training, "write_whole", 6, 1),  # all are finished, but progress.json does not say so
        drill(sweep_folder, "write_reports", 1, 1),
        drill(plots, "save_sweep", 1, 1),
        drill(sweep_folder, "write_whole", 3, 1),  # some tables are there
    ],
    ids=lambda v: getattr(v, "__name__", str(v)).removeprefix("genjax_models."),
)
def test_a_crash_anywhere_and_the_sweep_resumes_to_the_same_end(
    finished, tmp_path, data_dir, plain, where, name, call, block
):
    sweep = dataclasses.replace(SWEEP, block=block)  # measured, it is 1 as well: eight devices for four points
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, where, name, call)
        with pytest.raises(Crash):
            sweep_run(CONFIG, sweep, tmp_path / "sweep", data_dir, log=Log())
    sweep_run(CONFIG, sweep, tmp_path / "sweep", data_dir, log=Log())
    assert whole(tmp_path / "sweep") == whole(finished)


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, 15), drill(signal.SIGTERM, 20), drill(signal.SIGTERM, 15), drill(signal.SIGINT, 20)],
)
def test_a_signal_saves_and_the_sweep_resumes_to_the_same_end(finished, tmp_path, data_dir, plain, number, step):
    """Between two evaluations and at one; every member is saved where it stands, and is a run that can go on."""
    before = signal.getsignal(number)
    said = interrupt(CONFIG, SWEEP, tmp_path / "sweep", data_dir, step // 5, number)
    assert said.startswith(f"{number.name}: saved in {tmp_path / 'sweep'}, 4 members under way; the same command")
    assert signal.getsignal(number) is before
    for folder in members(tmp_path / "sweep"):
        assert int(checkpoints.paths(folder / "checkpoints")[-1].name) == step
        assert not (folder / "result.json").exists()
    log = Log()
    sweep_run(CONFIG, SWEEP, tmp_path / "sweep", data_dir, log=log)
    assert "resuming; 4 of 4 members have begun" in str(log)
    assert whole(tmp_path / "sweep") == whole(finished)


@pytest.mark.slow
def test_a_sweep_goes_on_with_several_devices_to_each_batch(finished, tmp_path, data_dir, plain):
    """Begun with a point on each device, it goes on in columns of four, and again: the same to round-off."""
    folder, log, mesh = tmp_path / "sweep", Log(), sweep_mesh(data=4)
    interrupt(CONFIG, SWEEP, folder, data_dir, 3)
    interrupt(CONFIG, SWEEP, folder, data_dir, 2, mesh=mesh)
    assert [m["step"] for m in read_json(folder / "progress.json")["members"]] == [25] * 4
    sweep_run(CONFIG, SWEEP, folder, data_dir, log=log, mesh=mesh)
    assert "4 of 4 members have begun" in str(log)
    assert "devices: 8, 4 to each batch" in str(log)
    for member, alone in zip(members(folder), members(finished), strict=True):
        found, expected = (read_json(path / "result.json") for path in (member, alone))
        assert (found["devices"], expected["devices"]) == (4, 1)
        for name in ("test_nll", "test_bound", "validation_bound"):
            assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_a_signal_at_the_last_step_lets_the_sweep_finish(finished, tmp_path, data_dir, plain, monkeypatch):
    signal_at(monkeypatch, 8)
    sweep_run(CONFIG, SWEEP, tmp_path / "sweep", data_dir, log=Log())
    assert whole(tmp_path / "sweep") == whole(finished)


@pytest.mark.bits
def test_a_signal_at_the_last_step_of_a_group_leaves_the_next_for_later(tmp_path, data_dir, plain, solo):
    """Points that are evaluated otherwise are another group."""
    sweep = Sweep(axis("evaluation.num_samples", (50, 60)), block=1)
    assert "0 members under way" in interrupt(CONFIG, sweep, tmp_path / "sweep", data_dir, 8)
    first, second = members(tmp_path / "sweep")
    assert (first / "result.json").exists()
    assert not (second / "metrics.jsonl").exists()
    before = contents(first)
    sweep_run(CONFIG, sweep, tmp_path / "sweep", data_dir, log=Log())
    assert contents(first) == before
    assert outcome(first) == outcome(solo({}))
    assert outcome(second) == outcome(solo({"evaluation.num_samples": 60}))


# Killed.

FILE = """
from genjax_models.axes import axis
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.sweep import Sweep

CONFIG = Config(
    VAE(2, MLP((4,), "tanh"), MLP((4,), "tanh")), ELBO(), Adam(1e-2), Arrays("bits.npy"),
    Training(40, batch_size=8, evaluate_every=10, chunk=5),
    Evaluation(50), seed=3,
)
SWEEP = Sweep(axis("optimizer.learning_rate", (1e-3, 1e-2)), seeds=2, block=1)
"""


def killed(place: Path, text: str, data_dir: str, ready, kill: int) -> tuple[int, str]:
    """Sweep in another process, and send it a signal as soon as it is ready for it: (exit code, stderr)."""
    (place / "file.py").write_text(text)
    command = [sys.executable, "-m", "genjax_models", "sweep", str(place / "file.py")]
    with subprocess.Popen(
        [*command, "--run-dir", str(place / "sweep"), "--data-dir", data_dir],
        env={**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "JAX_NUM_CPU_DEVICES": "2"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not ready():
            time.sleep(0.002)
        process.send_signal(kill)
        _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.slow
def test_a_sweep_that_is_killed_resumes_to_the_same_end(finished, tmp_path, data_dir, plain):
    """By `kill -9`, on other devices than it resumes on; bit for bit the same end."""
    folder, log = tmp_path / "sweep", Log()
    code, errors = killed(tmp_path, FILE, data_dir, (folder / "progress.json").exists, signal.SIGKILL)
    assert code == -signal.SIGKILL, errors
    assert "Traceback" not in errors
    assert not list(folder.rglob("result.json"))
    found = load_file(str(tmp_path / "file.py"))
    assert (found["CONFIG"], found["SWEEP"]) == (CONFIG, SWEEP)
    sweep_run(CONFIG, SWEEP, folder, data_dir, log=log)
    assert "resuming; 4 of 4 members have begun" in str(log)
    assert whole(folder) == whole(finished)


@pytest.mark.slow
def test_a_sweep_that_is_killed_many_times_resumes_to_the_same_end(tmp_path, data_dir):
    """By both signals, at every kind of moment: a folder, a first checkpoint, later ones, a first result."""
    text, folder = FILE.replace("Training(40", "Training(400"), tmp_path / "sweep"

    def step() -> int:
        return max((int(p.name) for p in folder.glob("members/*/checkpoints/0*")), default=0)

    moments = [
        (lambda: (folder / "sweep.json").exists(), signal.SIGKILL),
        (lambda: step() > 0, signal.SIGKILL),
        (lambda: step() >= 60, signal.SIGTERM),
        (lambda: step() >= 120, signal.SIGKILL),
        (lambda: step() >= 200, signal.SIGKILL),
        (lambda: step() >= 280, signal.SIGTERM),
        (lambda: list(folder.glob("members/*/result.json")), signal.SIGKILL),
    ]
    for ready, kill in moments:
        code, errors = killed(tmp_path, text, data_dir, ready, kill)
        assert code == (75 if kill == signal.SIGTERM else -signal.SIGKILL), errors
    settings = overlay(CONFIG, {"training.num_steps": 400})
    for name in ("sweep", "alone"):
        sweep_run(settings, SWEEP, tmp_path / name, data_dir, log=Log())
    assert whole(folder) == whole(tmp_path / "alone")


# Damage.


def flip(path: Path) -> None:
    """Change one bit in the middle of a checkpoint's arrays."""
    (file,) = (path / "state" / "d").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damaged", [drill([20]), [10, 20]])
def test_behind_damaged_checkpoints_a_member_falls_back_and_says_so(finished, tmp_path, data_dir, plain, damaged):
    """It goes on from the one before, or anew, while the others go on from where they stand."""
    folder, log = tmp_path / "sweep", Log()
    interrupt(CONFIG, SWEEP, folder, data_dir, 4)
    member = members(folder)[1]
    for step in damaged:
        flip(member / "checkpoints" / f"{step:09d}")
    sweep_run(CONFIG, SWEEP, folder, data_dir, log=log)
    for step in damaged:
        assert any(f"{member.name}/checkpoints/{step:09d}" in line and "Falling back" in line for line in log)
    assert (f"{member}: no checkpoint to resume from; training from the start." in log) == (len(damaged) == 2)
    assert whole(folder) == whole(finished)


@pytest.mark.parametrize("text", [drill("[]"), '{"members": [1, 2, 3, 4], "rungs": {}}'])
def test_behind_a_damaged_progress_the_members_own_checkpoints_serve(finished, tmp_path, data_dir, plain, text):
    """All go on from step 15, where the signal came."""
    folder, log, lengths = tmp_path / "sweep", Log(), []
    interrupt(CONFIG, SWEEP, folder, data_dir, 3)
    (folder / "progress.json").write_text(text)
    advance = Stack.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stack, "advance", lambda self, s, n: lengths.append(n) or advance(self, s, n))
        sweep_run(CONFIG, SWEEP, folder, data_dir, log=log)
    assert "progress.json is damaged" in str(log)
    assert sum(lengths) == 25
    assert whole(folder) == whole(finished)


def test_without_progress_and_results_a_sweep_is_put_together_again(finished, copy, data_dir, plain):
    """What is finished is known by its result, what is not by its newest checkpoint."""
    (copy / "progress.json").unlink()
    (members(copy)[2] / "result.json").unlink()
    kept = members(copy)[0]
    before = contents(kept)
    sweep_run(CONFIG, SWEEP, copy, data_dir, log=Log())
    assert contents(kept) == before
    assert whole(copy) == whole(finished)


# What was chosen.


def test_what_was_chosen_is_not_measured_again(finished, tmp_path, data_dir, plain, monkeypatch):
    """choices.json says how a group runs and by what; a resumed sweep follows it."""
    folder, sweep = tmp_path / "sweep", dataclasses.replace(SWEEP, block=None)
    interrupt(CONFIG, sweep, folder, data_dir, 2)
    choice = read_json(folder / "choices.json")["0"]
    assert (choice["block"], choice["devices"], choice["members"]) == (1, 8, [0, 1, 2, 3])
    assert list(choice["seconds"]) == list(choice["bytes"]) == ["1"]
    blocks, choice["block"] = [], 3
    (folder / "choices.json").write_text(json.dumps({"0": choice}))
    monkeypatch.setattr(Stack, "choose", lambda *args: pytest.fail("measured again"))
    set_block = Stack.set_block
    monkeypatch.setattr(Stack, "set_block", lambda self, block: blocks.append(block) or set_block(self, block))
    sweep_run(CONFIG, sweep, folder, data_dir, log=Log())
    assert blocks[0] == 3
    assert read_json(folder / "choices.json") == {"0": choice}
    assert whole(folder) == whole(finished)  # a block is never more than the points that a device has


@pytest.mark.parametrize("text", ["{", "[]", '{"0": 1}', '{"0": {"block": 0}}'])
def test_a_damaged_choice_is_measured_again(tmp_path, text):
    path, log = tmp_path / "choices.json", Log()
    path.write_text(text)
    assert sweep_training._noted_choices(path, log) == {}
    assert "choices.json is damaged" in str(log)


# Members on their own.


@pytest.mark.bits
def test_members_that_went_on_alone_are_respected(finished, tmp_path, data_dir, plain, monkeypatch):
    """One was finished alone and one trained further: neither is trained again, and all end as they would have."""
    folder = tmp_path / "sweep"
    interrupt(CONFIG, SWEEP, folder, data_dir, 2)
    ended, further = members(folder)[1:3]
    train_run(overlay(CONFIG, POINTS[1]), ended, data_dir, log=Log())
    show = experiment.Progress.show

    def shown(self, at, *rest):
        show(self, at, *rest)
        if at == 35:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.Progress, "show", shown)
        with pytest.raises(Interrupted):
            train_run(overlay(CONFIG, POINTS[2]), further, data_dir, log=Log())
    before, steps, arrange = contents(ended), [], Stack.arrange
    monkeypatch.setattr(
        Stack, "arrange", lambda self, p, s: steps.append(dict(zip(p, s, strict=True))) or arrange(self, p, s)
    )
    sweep_run(CONFIG, SWEEP, folder, data_dir, log=Log())
    assert steps[0] == {0: 10, 2: 35, 3: 10}
    assert contents(ended) == before
    assert whole(folder) == whole(finished)


# Steps that are not finite.

RATES = (1e-2, HUGE, 1e-3)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory, data_dir) -> Path:
    """A sweep with a member that stops, left alone."""
    folder = tmp_path_factory.mktemp("spoilt") / "sweep"
    sweep = Sweep(axis("optimizer.learning_rate", RATES), block=1)
    sweep_run(CONFIG, sweep, folder, data_dir, log=Log())
    return folder


@pytest.mark.bits
def test_a_member_that_is_not_finite_is_reported_and_harms_no_other(spoilt, solo, tmp_path, data_dir):
    """With the message of a run alone; the others are what they are without it."""
    with pytest.raises(NonFinite) as raised:
        train_run(overlay(CONFIG, {"optimizer.learning_rate": HUGE}), tmp_path / "run", data_dir, log=Log())
    row = read_csv(spoilt / "members.csv")[1]
    assert (row["status"], row["step"], row["note"], row["test_nll"]) == ("non-finite", "1", str(raised.value), "")
    assert not (members(spoilt)[1] / "result.json").exists()
    for i in (0, 2):
        assert outcome(members(spoilt)[i]) == outcome(solo({"optimizer.learning_rate": RATES[i]}))
    text = (spoilt / "summary.md").read_text(encoding="utf-8")
    assert "non-finite: step 1: the loss or its gradient is not finite" in text
    assert "members 1\n" in text


def test_a_member_that_is_not_finite_is_not_started_again(spoilt, tmp_path, data_dir, plain, monkeypatch):
    """By a sweep that resumes, or that is done."""
    sweep, folder = Sweep(axis("optimizer.learning_rate", RATES), block=1), tmp_path / "sweep"
    interrupt(CONFIG, sweep, folder, data_dir, 3)
    arranged, arrange = set(), Stack.arrange
    monkeypatch.setattr(Stack, "arrange", lambda self, p, s: arranged.update(p) or arrange(self, p, s))
    sweep_run(CONFIG, sweep, folder, data_dir, log=Log())
    assert arranged == {0, 2}
    assert table(folder) == table(spoilt)
    before = contents(folder)
    monkeypatch.setattr(Stack, "__init__", lambda *args: pytest.fail("trained again"))
    sweep_run(CONFIG, sweep, folder, data_dir, log=Log())
    assert contents(folder) == before


def test_a_member_that_stops_late_names_its_last_checkpoint(tmp_path, data_dir, plain, monkeypatch):
    """Also when that checkpoint is written slowly, beside the next chunk."""
    folder, save = tmp_path / "sweep", checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda *args: time.sleep(0.1) or save(*args))
    peek = Stack.peek

    def stopped(self, states):  # as if step 13 of the first point were not finite
        steps, halted = peek(self, states)
        late = (np.arange(len(steps)) == 0) & (len(steps) == 2) & (steps > 13)
        return np.where(late, 13, steps), halted | late

    monkeypatch.setattr(Stack, "peek", stopped)
    sweep = Sweep(seeds=2, block=1)
    rows = sweep_run(CONFIG, sweep, folder, data_dir, log=Log())
    survivor = members(folder)[0] / "checkpoints" / f"{10:09d}"
    assert [row.status for row in rows] == ["non-finite", "finished"]
    assert rows[0].step == 13
    assert rows[0].note.startswith("step 13: ")
    assert f"the checkpoint {survivor} survives" in rows[0].note
    checkpoints.verify(survivor)


def test_a_sweep_of_which_nothing_is_finite_says_so(tmp_path, data_dir):
    sweep = Sweep(axis("optimizer.learning_rate", (HUGE, 2 * HUGE)), block=1)
    rows = sweep_run(CONFIG, sweep, tmp_path / "sweep", data_dir, log=Log())
    assert [row.status for row in rows] == ["non-finite"] * 2
    assert "members 0-1" in (tmp_path / "sweep" / "summary.md").read_text(encoding="utf-8")
    assert (tmp_path / "sweep" / "sweep.png").exists()


# Successive halving.

HALVED_RATES = (1e-3, 3e-2, HUGE, 1e-2, 3e-1, 1e-4, 1e-1)
HALVING = Sweep(
    axis("optimizer.learning_rate", HALVED_RATES), halving=SuccessiveHalving(10, reduction=2, slots=2), block=1
)


@pytest.fixture(scope="module")
def halved(tmp_path_factory, data_dir) -> tuple[Path, list[int]]:
    """A sweep by successive halving left alone, and how many points ran in every chunk."""
    folder, running = tmp_path_factory.mktemp("halved") / "sweep", []
    advance = Stack.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stack, "advance", lambda self, *args: running.append(len(self.points)) or advance(self, *args))
        patch.setattr(plots, "save_curves", lambda path, *rest: path.write_bytes(b"drawn"))
        sweep_run(CONFIG, HALVING, folder, data_dir, log=Log())
    return folder, running


def replay(bounds: dict, slots: int, total: int = 40, every: int = 10) -> tuple[dict, dict]:
    """The rule by hand: where every point stops, and who came to every rung, from bounds {point: {step: bound}}."""
    waiting, running, ended = list(bounds), {}, {}
    rungs: dict = {10: {}, 20: {}}
    while waiting or running:
        while waiting and len(running) < slots:
            running[waiting.pop(0)] = 0
        arrived = {}
        for point in list(running):
            running[point] += every
            step = running[point]
            if step not in bounds[point]:  # it had no evaluation: not finite
                ended[point] = ("non-finite", None)
                del running[point]
            elif step == total:
                ended[point] = ("finished", total)
                del running[point]
            elif step in rungs:
                arrived.setdefault(step, []).append(point)
                rungs[step][point] = bounds[point][step]
        for step, points in arrived.items():
            order = sorted(rungs[step], key=rungs[step].get, reverse=True)
            for point in points:
                if order.index(point) >= math.ceil(len(order) / 2):
                    ended[point] = ("halted", step)
                    del running[point]
    return ended, rungs


def bounds_of(folder: Path) -> dict:
    found = {}
    for i, member in enumerate(members(folder)):
        found[i] = {row["step"]: row["validation_bound"] for row in rows_of(member)}
    return found


def test_halving_by_hand(halved):
    """Statuses, steps, notes and rungs are those of the rule; and no more points run at once than there are slots."""
    folder, running = halved
    ended, rungs = replay(bounds_of(folder), slots=2)
    rows = read_csv(folder / "members.csv")
    found = {
        i: (row["status"], None if row["status"] == "non-finite" else int(row["step"])) for i, row in enumerate(rows)
    }
    assert found == ended
    assert {status for status, _ in ended.values()} == {"finished", "halted", "non-finite"}
    noted = read_json(folder / "progress.json")["rungs"]
    assert noted == {f"0/{step}": {str(i): v for i, v in there.items()} for step, there in rungs.items()}
    for i, row in enumerate(rows):
        if row["status"] == "halted":
            assert row["note"].startswith(f"step {row['step']}: validation_bound is number ")
            assert list(bounds_of(folder)[i])[-1] == int(row["step"])
    assert max(running) == 2


@pytest.mark.parametrize("call", [drill(1), drill(3), drill(4), 7, drill(10)])
def test_halving_that_is_interrupted_keeps_the_same_points(halved, tmp_path, data_dir, plain, call):
    """Between two evaluations and at one, with points that began at other times."""
    interrupt(CONFIG, HALVING, tmp_path / "sweep", data_dir, call)
    sweep_run(CONFIG, HALVING, tmp_path / "sweep", data_dir, log=Log())
    assert whole(tmp_path / "sweep") == whole(halved[0])


@pytest.mark.parametrize(
    ("where", "name", "call"),
    [
        drill(checkpoints, "save", 1),
        (checkpoints, "save", 6),
        drill(sweep_training, "write_whole", 4),
        drill(sweep_training, "write_result", 1),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)).removeprefix("genjax_models."),
)
def test_halving_that_crashes_keeps_the_same_points(halved, tmp_path, data_dir, plain, where, name, call):
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, where, name, call)
        with pytest.raises(Crash):
            sweep_run(CONFIG, HALVING, tmp_path / "sweep", data_dir, log=Log())
    sweep_run(CONFIG, HALVING, tmp_path / "sweep", data_dir, log=Log())
    assert whole(tmp_path / "sweep") == whole(halved[0])


def test_halving_of_all_points_together(tmp_path, data_dir, plain):
    """With a slot for every point it is successive halving: 4, 2 and 1 of them, also when progress.json is lost."""
    sweep = Sweep(axis("optimizer.learning_rate", (1e-3, 3e-2, 1e-4, 1e-2)), halving=SuccessiveHalving(10, 2), block=1)
    rows = sweep_run(CONFIG, sweep, tmp_path / "sweep", data_dir, log=Log())
    ended, _ = replay(bounds_of(tmp_path / "sweep"), slots=4)
    assert {row.index: (row.status, row.step) for row in rows} == ended
    assert sorted(step for _, step in ended.values()) == [10, 10, 20, 40]
    interrupt(CONFIG, sweep, tmp_path / "again", data_dir, 5)
    (tmp_path / "again" / "progress.json").write_text("lost")
    sweep_run(CONFIG, sweep, tmp_path / "again", data_dir, log=Log())
    assert whole(tmp_path / "again") == whole(tmp_path / "sweep")


@pytest.mark.bits
def test_a_member_that_was_stopped_can_go_on_alone(halved, solo, tmp_path, data_dir, plain):
    """To the end that a run alone has; the sweep then counts it as finished, and nothing else changes."""
    folder = Path(shutil.copytree(halved[0], tmp_path / "copy"))
    before = table(folder)
    index = next(i for i, row in enumerate(before) if row["status"] == "halted")
    overrides, log = {"optimizer.learning_rate": HALVED_RATES[index]}, Log()
    train_run(overlay(CONFIG, overrides), members(folder)[index], data_dir, log=log)
    assert "resuming from step" in str(log)
    assert outcome(members(folder)[index]) == outcome(solo(overrides))
    rows = sweep_run(CONFIG, HALVING, folder, data_dir, log=Log())
    assert (rows[index].status, rows[index].step, rows[index].note) == ("finished", 40, "")
    after = table(folder)
    assert [row for i, row in enumerate(after) if i != index] == [row for i, row in enumerate(before) if i != index]
    assert float(after[index]["validation_bound"]) == bounds_of(folder)[index][40]


def test_a_member_that_passed_a_rung_alone_counts_there(tmp_path, data_dir, plain):
    """Those that come to the rung later are compared with it."""
    sweep = Sweep(axis("optimizer.learning_rate", (3e-2, 1e-3)), halving=SuccessiveHalving(20, 2, slots=1), block=1)
    folder = tmp_path / "sweep"
    interrupt(CONFIG, sweep, folder, data_dir, 1)
    train_run(overlay(CONFIG, {"optimizer.learning_rate": 3e-2}), members(folder)[0], data_dir, log=Log())
    rows = sweep_run(CONFIG, sweep, folder, data_dir, log=Log())
    bounds = bounds_of(folder)
    assert bounds[0][20] > bounds[1][20]
    assert [(row.status, row.step) for row in rows] == [("finished", 40), ("halted", 20)]
    assert read_json(folder / "progress.json")["rungs"] == {"0/20": {"0": bounds[0][20], "1": bounds[1][20]}}
