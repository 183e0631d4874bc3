"""Faults of the machine under a run: disks that fill up or turn read-only, kills at random, clocks, spoilt memory.

What a run leaves after any of them, and after the same command has gone on, is what it leaves when it is left alone.
"""

import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import Log, outcome

from genjax_models import checkpoints
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.errors import RunError
from genjax_models.experiment import NonFinite, train_run
from genjax_models.measuring import abstract_state
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.run_folder import open_run

CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((8,), "tanh"), decoder=MLP((8,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Arrays(path="bits.npy"),
    training=Training(num_steps=40, batch_size=8, evaluate_every=10, chunk=5),
    evaluation=Evaluation(num_samples=50),
    seed=3,
)
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
    VAE(2, MLP((8,), "tanh"), MLP((8,), "tanh")), ELBO(), Adam(1e-2), Arrays("bits.npy"),
    Training(STEPS, batch_size=8, evaluate_every=10, chunk=5), Evaluation(50), seed=3,
)
SWEEP = Sweep(axis("optimizer.learning_rate", (1e-3, 1e-2)), seeds=2, block=1)
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "bits.npy", (np.random.RandomState(0).uniform(size=(60, 2, 3)) < 0.4).astype(np.uint8))
    return str(folder)


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory, data_dir) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "left_alone"
    train_run(CONFIG, folder, data_dir, log=Log())
    return folder


def failed(folder: Path, data_dir: str) -> Exception | None:
    """What a run ends with; None where it comes through."""
    try:
        train_run(CONFIG, folder, data_dir, log=Log())
    except (OSError, RunError) as error:
        return error
    return None


# Disks.


def test_a_disk_that_refuses_every_file_in_turn(left_alone, tmp_path, data_dir, monkeypatch):
    """The first try fails at the first file it writes, the next at the next, and so on until one comes through.

    Each error is the system's own, names a file of the run, and says where the run goes on.
    """
    original, folder, refused, named = Path.open, tmp_path / "run", set(), []

    def open_or_refuse(path: Path, mode: str = "r", *args, **kwargs):
        writes = folder in path.parents and not mode.startswith("r") and path.name != ".lock"
        if writes and path not in refused:
            refused.add(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does, which names no file
        return original(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_or_refuse)
    while (error := failed(folder, data_dir)) is not None:
        if not (folder / "config.json").exists():  # nothing stands yet, so that another folder would serve
            assert str(error) == f"{folder} cannot be written (No space left on device); give another --run-dir."
            continue
        assert error.errno == errno.ENOSPC
        survivors = checkpoints.paths(folder / "checkpoints")
        stands = f"The checkpoint {survivors[-1]} survives." if survivors else "No checkpoint was written yet."
        assert error.strerror == f"No space left on device. {stands} Once that is mended, the same command goes on."
        named.append(Path(error.filename).relative_to(folder).as_posix())
    assert named == [
        "metrics.jsonl",
        "checkpoints/building-000000010",
        "metrics.jsonl",  # whose lines after the last checkpoint are taken away when the run goes on
        *(f"checkpoints/building-0000000{step}" for step in (20, 30, 40)),
        "test_examples_50.npz",
        "result.json",
    ]
    assert not list(folder.rglob("*building*"))
    assert outcome(folder) == outcome(left_alone)


def test_a_checkpoint_that_the_disk_has_no_room_for_is_not_begun(tmp_path, data_dir, monkeypatch, capsys):
    """The command says so in one line, without a trace, and leaves by code 2."""
    (tmp_path / "file.py").write_text(FILE.replace("STEPS", "40"))
    disk = shutil.disk_usage("/")._replace(total=10**9, free=5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    words = ["train", str(tmp_path / "file.py"), "--run-dir", str(tmp_path / "run"), "--data-dir", data_dir, "--quiet"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'run' / 'checkpoints'}")
    assert "No space left on device for the" in line
    assert "5000 free. No checkpoint was written yet." in line


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own, of which the size and the mode can be changed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_size(left_alone, small_disk, data_dir):
    """From none to all that a run takes, 4 KiB at a time; with room again the same command ends the same."""
    refused = 0
    for kilobytes in range(4, 400, 4):
        remount(small_disk, f"size={kilobytes}k")
        folder = small_disk / f"run{kilobytes}"
        error = failed(folder, data_dir)
        assert error is None or "No space left on device" in str(error)
        refused += error is not None
        remount(small_disk, "size=100m")
        train_run(CONFIG, folder, data_dir, log=Log())
        assert outcome(folder) == outcome(left_alone)
        shutil.rmtree(folder)
    assert 50 < refused < 99


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 10, 20, 35])
def test_a_disk_that_turns_read_only(left_alone, small_disk, data_dir, step):
    folder = small_disk / "run"

    def turn(moment) -> None:
        if moment.step == step:
            # Lazily: the lock of the run is open for writing, which would forbid it.
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            remount(folder, "bind,ro")

    with pytest.raises(OSError, match=r"Read-only file system.*the same command goes on"):
        train_run(CONFIG, folder, data_dir, log=Log(), callbacks=[turn])
    subprocess.run(["umount", folder], check=True)
    train_run(CONFIG, folder, data_dir, log=Log())
    assert outcome(folder) == outcome(left_alone)


# Kills.


def held(lock: Path) -> bool:
    """Whether a process trains in the folder of a lock."""
    if not lock.exists():
        return False
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("command", "kills"), [("train", 18), ("sweep", 12)])
def test_kills_at_random_moments(tmp_path, data_dir, command, kills):
    """`kill -9` at any moment from the first lock on: in a step, in a checkpoint, in an evaluation, in a picture."""
    file, draw = tmp_path / "file.py", random.Random(command)
    file.write_text(FILE.replace("STEPS", "20000" if command == "train" else "4000"))
    words = [sys.executable, "-m", "genjax_models", command, str(file), "--data-dir", data_dir, "--quiet"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    reached = []
    for _ in range(kills):
        with subprocess.Popen([*words, "--run-dir", str(tmp_path / "cut")], env=environment, stderr=-1) as process:
            while process.poll() is None and not held(tmp_path / "cut" / ".lock"):
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 6))
            process.kill()
            errors = process.communicate()[1].decode()
        assert "Traceback" not in errors
        reached.append(max((int(p.name) for p in tmp_path.glob("cut/**/checkpoints/0*")), default=0))
    assert len(set(reached)) > 3  # they came at different steps
    for name in ("cut", "alone"):
        subprocess.run([*words, "--run-dir", str(tmp_path / name)], env=environment, check=True)
    alone = sorted(p.parent.relative_to(tmp_path / "alone") for p in tmp_path.glob("alone/**/config.json"))
    assert len(alone) == (1 if command == "train" else 4)
    for name in alone:
        assert outcome(tmp_path / "cut" / name) == outcome(tmp_path / "alone" / name)
    assert not list((tmp_path / "cut").rglob("*building*"))


@pytest.mark.slow
def test_two_processes_on_one_folder(left_alone, tmp_path, data_dir):
    """One trains; the other says so, or finds the run finished."""
    (tmp_path / "file.py").write_text(FILE.replace("STEPS", "40"))
    words = [sys.executable, "-m", "genjax_models", "train", str(tmp_path / "file.py"), "--data-dir", data_dir]
    words += ["--run-dir", str(tmp_path / "run")]
    both = [subprocess.Popen(words, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    found = sorted((process.communicate()[1], process.returncode) for process in both)
    codes = sorted(code for _, code in found)
    assert codes in ([0, 2], [0, 0])
    said = "\n".join(text for text, _ in found)
    assert "Traceback" not in said
    assert ("being trained by another process" in said) == (codes == [0, 2])
    assert ("is finished; its result stands" in said) == (codes == [0, 0])
    assert outcome(tmp_path / "run") == outcome(left_alone)


# Clocks.


def test_a_clock_that_goes_backwards(left_alone, tmp_path, data_dir, monkeypatch):
    """Each look at the clock finds it an hour earlier, and the newest checkpoint has the oldest files."""
    clock = iter(range(2 * 10**9, 0, -3600))
    seen, folder = Log(), tmp_path / "run"

    def stop(moment) -> None:
        seen(str(moment.step))
        if moment.step == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(clock)))
        with pytest.raises(Exception, match="saved at step"):
            train_run(CONFIG, folder, data_dir, log=Log(), callbacks=[stop])
        stood = checkpoints.paths(folder / "checkpoints")
        for age, path in enumerate(reversed(stood)):
            for file in [path, *path.rglob("*")]:
                os.utime(file, (10**9 * age, 10**9 * age))
        log = Log()
        train_run(CONFIG, folder, data_dir, log=log)
    assert f"resuming from step {int(stood[-1].name)} of 40" in str(log)
    assert outcome(folder) == outcome(left_alone)


# Memory.


def test_one_parameter_that_is_not_a_number(left_alone, tmp_path, data_dir):
    """In the newest checkpoint, as a fault of memory leaves it: whole by its hashes. No step would be finite, so that
    to skip those which are not is no way on either."""
    folder, settings = tmp_path / "run", overlay(CONFIG, {"training.nonfinite": "skip"})

    def interrupt(moment) -> None:
        if moment.step == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Exception, match="saved at step"):
        train_run(settings, folder, data_dir, log=Log(), callbacks=[interrupt])
    run = open_run(folder)
    newest = checkpoints.newest_whole(run.checkpoints, Log())
    state = checkpoints.restore(newest.path, abstract_state(run))
    leaves, treedef = jax.tree.flatten(state.params)
    leaves[0] = leaves[0].at[(0,) * leaves[0].ndim].set(jnp.nan)
    spoilt = state._replace(params=jax.tree.unflatten(treedef, leaves))
    checkpoints.save(run.checkpoints, spoilt, newest.seconds, newest.metric, newest.pending)
    with pytest.raises(NonFinite, match=f"{newest.path.name}: a parameter is not finite.*Remove that folder"):
        train_run(settings, folder, data_dir, log=Log())
    shutil.rmtree(newest.path)
    log = Log()
    train_run(settings, folder, data_dir, log=log)
    assert "resuming from step 20 of 40" in str(log)
    assert outcome(folder) == outcome(left_alone)
