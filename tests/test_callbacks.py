"""Callbacks see a run as it goes, cannot lose it, and show it elsewhere."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from genjax_models.checkpoints import newest_whole
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Digits
from genjax_models.errors import ConfigError, UserError
from genjax_models.experiment import train_run
from genjax_models.measuring import chosen_parameters
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.run_folder import open_run
from genjax_models.trackers import TensorBoard, WandB, to_tensorboard

CONFIG = Config(
    SigmoidBeliefNetwork((3,)),
    WakeSleep(),
    Adam(2e-3),
    Digits(),
    training=Training(num_steps=9, batch_size=20, evaluate_every=6, chunk=2),
    evaluation=Evaluation(2, test_examples=20, validation_examples=20),
)
STOPS = [2, 4, 6, 8, 9]


def quiet(line: str) -> None:
    pass


class Watched:
    """A run, and what its callbacks saw."""

    def __init__(self, folder: Path):
        self.folder, self.moments, self.params, self.said = folder, [], [], []

        def see(moment):
            self.moments.append(moment)
            self.params.append(moment.parameters())

        def fail(moment):
            if moment.step == 4:
                raise ValueError("no disk is large enough")

        callbacks = [fail, see, TensorBoard()]
        self.result = train_run(CONFIG, folder, log=self.said.append, callbacks=callbacks)


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Watched:
    return Watched(tmp_path_factory.mktemp("runs") / "sbn")


def events(folder: Path):
    """What the event files of a folder have."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    for file in sorted(folder.glob("events.out.tfevents.*")):
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            assert int.from_bytes(content[8:12], "little") == masked_crc32c(content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Their summaries, by name."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_moments_are_those_of_the_run(watched):
    assert [moment.step for moment in watched.moments] == [*STOPS, 9]
    rows = {row["step"]: row for row in map(json.loads, (watched.folder / "metrics.jsonl").read_text().splitlines())}
    for moment in watched.moments[:-1]:
        evaluated = {name: value for name, value in moment.metrics.items() if name.startswith("validation_")}
        assert evaluated == {k: v for k, v in rows.get(moment.step, {}).items() if k.startswith("validation_")}
        assert "train_bound" in moment.metrics
    first = np.mean([moment.metrics["train_bound"] for moment in watched.moments[:3]])  # of two steps each
    np.testing.assert_allclose(first, rows[6]["train_bound"], rtol=1e-6)
    assert watched.moments[-1].result == watched.result
    assert all(moment.result is None for moment in watched.moments[:-1])


def test_parameters_are_copies_of_that_moment(watched):
    run = open_run(watched.folder)
    assert newest_whole(run.checkpoints, quiet).step == 9
    _, chosen, checkpoint = chosen_parameters(run, quiet)
    kept = dict(zip([*STOPS, "end"], watched.params, strict=True))
    there, other = (kept[checkpoint.step], kept[2])
    jax.tree.map(np.testing.assert_array_equal, there, chosen)
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, other, chosen)))


def test_a_callback_that_raises_is_left_out_and_the_run_goes_on(watched):
    said = [line for line in watched.said if "callback" in line]
    assert len(said) == 1
    assert "fail at step 4: ValueError: no disk is large enough (test_callbacks.py, line" in said[0]
    assert watched.result["steps"] == 9


def test_the_run_is_as_without_callbacks(watched, tmp_path):
    train_run(CONFIG, tmp_path / "plain", log=quiet)
    rows = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "plain" / "metrics.jsonl", watched.folder / "metrics.jsonl")
    ]
    assert rows[0] == rows[1]


def test_tensorboard_has_scalars_pictures_and_hyperparameters(watched):
    found = scalars(watched.folder / "tensorboard")
    expected = [(m.step, np.float32(m.metrics["train_bound"])) for m in watched.moments[:-1]]
    assert found["train_bound"] == expected
    assert [step for step, _ in found["validation_bound"]] == [6, 9]
    assert found["test_nll"] == [(9, np.float32(watched.result["test_nll"]))]
    assert "samples" in found
    files = b"".join(p.read_bytes() for p in (watched.folder / "tensorboard").glob("events*"))
    assert b"optimizer.learning_rate" in files
    assert b"_hparams_/session_start_info" in files


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint(watched, tmp_path):
    """TensorBoard forgets what earlier files have from the step on at which a file says that it starts."""
    tracker = TensorBoard(tmp_path)
    tracker(watched.moments[2])
    tracker(watched.moments[-1])  # closes the file
    started = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert started == [STOPS[2]]


def test_finished_runs_become_event_files(watched, tmp_path, capsys):
    out = tmp_path / "board"
    assert main(["tensorboard", str(watched.folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "sbn")]
    found = scalars(out / "sbn")
    assert [step for step, _ in found["train_bound"]] == [6, 9]
    assert found["test_nll"] == [(9, np.float32(watched.result["test_nll"]))]
    assert main(["tensorboard", str(watched.folder), "--out", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_members_of_a_sweep_become_event_files(watched, tmp_path):
    members = tmp_path / "sweep" / "members"
    members.mkdir(parents=True)
    for name in ("0", "1"):
        (members / name).symlink_to(watched.folder, target_is_directory=True)
    written = to_tensorboard([tmp_path / "sweep"], tmp_path / "board")
    assert len(written) == 2
    assert all(scalars(place)["test_nll"] for place in written)


def test_the_command_takes_callbacks_from_the_file(tmp_path, capsys):
    file = tmp_path / "mine.py"
    note = f"""from test_callbacks import CONFIG
def note(moment):
    with open({str(tmp_path / "steps")!r}, "a") as file:
        file.write(f"{{moment.step}} ")
CALLBACKS = [note]
"""
    file.write_text(note)
    run = ["train", str(file), "--run-dir", str(tmp_path / "run"), "--quiet", "--track", "tensorboard"]
    assert main(run) == 0
    assert (tmp_path / "steps").read_text().split() == [*map(str, STOPS), "9"]
    assert scalars(tmp_path / "run" / "tensorboard")["test_nll"]
    file.write_text(file.read_text() + "CALLBACKS = note\n")
    assert main(run) == 2
    assert "expected a list of functions" in capsys.readouterr().err


class FakeWandB(SimpleNamespace):
    """The part of wandb's interface that is used."""

    def __init__(self):
        self.logged, self.summary, self.finished, self.given = [], {}, 0, None
        super().__init__(Image=lambda path: ("image", path))

    def init(self, **given):
        self.given = given
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


def test_weights_and_biases(watched, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake := FakeWandB())
    tracker = WandB(mode="offline")
    for moment in watched.moments:
        tracker(moment)
    assert fake.given["config"]["optimizer.learning_rate"] == 2e-3
    assert fake.given["config"]["model"] == "SigmoidBeliefNetwork"
    assert (fake.given["project"], fake.given["mode"], fake.given["name"]) == ("genjax_models", "offline", "sbn")
    assert [step for step, _ in fake.logged] == [*STOPS, 9, 9]
    assert fake.logged[-1][1] == {"samples": ("image", str(watched.folder / "samples.png"))}
    assert fake.summary["test_nll"] == watched.result["test_nll"]
    assert fake.finished == 1
    WandB()(watched.moments[0])
    again = fake.given["id"]
    WandB()(watched.moments[1])
    assert fake.given["id"] == again  # a resumed run goes on there


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    for make, package in ((TensorBoard, "tensorboard"), (WandB, "wandb")):
        with pytest.raises(UserError, match=rf"genjax_models\[{package}\]"):
            make()
    with pytest.raises(ConfigError, match="callbacks: got 'see'"):
        train_run(CONFIG, tmp_path / "run", log=quiet, callbacks="see")
    assert not (tmp_path / "run").exists()
