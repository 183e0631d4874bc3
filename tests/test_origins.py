"""Runs that begin with another's parameters, or go on with its state."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import Log, contents, last_state, outcome, read_json, read_lines

from genjax_models import checkpoints, origins
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.errors import ConfigError, RunError, UserError
from genjax_models.experiment import Interrupted, chosen_parameters, train_run
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, IWAE
from genjax_models.optimizers import SGD, Adam, Cosine
from genjax_models.overlay import overlay
from genjax_models.report import report_runs
from genjax_models.run_folder import open_run
from genjax_models.train import make_train

CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((8,), "tanh"), decoder=MLP((8,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Arrays(path="bits.npy"),
    training=Training(num_steps=20, batch_size=8, evaluate_every=10, chunk=5, average=0.9),
    evaluation=Evaluation(num_samples=50),
    seed=3,
)
LONGER = overlay(CONFIG, {"training.num_steps": 40})
# Another objective, another optimizer and other data, of the same model.
TIGHTER = dataclasses.replace(
    CONFIG, objective=IWAE(num_particles=3), optimizer=SGD(1e-2), data=Arrays(path="other.npy"), seed=4
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("bits.npy", "other.npy")):
        np.save(folder / name, (np.random.RandomState(seed).uniform(size=(60, 2, 3)) < 0.4).astype(np.uint8))
    return str(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory, data_dir) -> Path:
    """A run of 20 steps."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    train_run(CONFIG, folder, data_dir, log=Log())
    return folder


def train(config, folder, data_dir, **rest) -> str:
    log = Log()
    train_run(config, folder, data_dir, log=log, **rest)
    return str(log)


def test_a_run_that_is_extended_is_one_long_run(source, tmp_path, data_dir):
    """Bit for bit, but for where it says that it came from; the shorter one stays as it is, and may go."""
    before = contents(source)
    train(LONGER, tmp_path / "whole", data_dir)
    said = train(LONGER, tmp_path / "longer", data_dir, extend=source)
    assert f"goes on from step 20 of {source}" in said
    assert contents(source) == before
    state, rows, result, *rest = outcome(tmp_path / "longer")
    assert result.pop("origin") == {"kind": "state", "folder": str(source), "step": 20}
    assert (state, rows, result, *rest) == outcome(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))
    report_runs([tmp_path / "longer"], tmp_path / "page.html", diagnose=False, data_dir=data_dir, log=Log())
    assert f"it began with the state of step 20 of {source}" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_best_checkpoint_of_before_can_be_chosen(source, tmp_path, data_dir):
    """Steps at a rate that spoils everything: the evaluated parameters are those of the shorter run."""
    spoiled = overlay(LONGER, {"optimizer.learning_rate": 1.0})
    train(spoiled, tmp_path / "spoiled", data_dir, extend=source)
    result, found = read_json(tmp_path / "spoiled" / "result.json"), read_json(source / "result.json")
    assert result["evaluated_step"] == found["evaluated_step"] <= 20
    assert result["test_bound"] == found["test_bound"]


@pytest.mark.parametrize("kind", ["start_from", "extend"])
def test_what_was_begun_so_resumes_without_the_other_run(source, tmp_path, data_dir, kind, monkeypatch):
    """Killed before its first checkpoint, and with the other run gone, it ends as one that was left alone."""
    config = LONGER if kind == "extend" else TIGHTER
    other = Path(shutil.copytree(source, tmp_path / "other"))
    train(config, tmp_path / "alone", data_dir, **{kind: other})

    class Crash(BaseException):
        pass

    def die(*args, **rest):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", die)
        with pytest.raises(Crash):
            train_run(config, tmp_path / "killed", data_dir, log=Log(), **{kind: other})
    with pytest.raises(RunError, match=f"began with the (state|parameters) of {other}, not"):
        train_run(config, tmp_path / "killed", data_dir, log=Log(), **{kind: source})
    shutil.rmtree(other)
    train(config, tmp_path / "killed", data_dir, **{kind: other})
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "alone")


def test_the_other_runs_parameters_are_those_to_begin_with(source, tmp_path, data_dir):
    """Those that it is evaluated with; the run is the pure function's from there on."""
    assert "begins with the parameters of step" in train(TIGHTER, tmp_path / "run", data_dir, start_from=str(source))
    _, params, chosen = chosen_parameters(open_run(source), Log())
    x, program = TIGHTER.data.load(data_dir).train, make_train(TIGHTER)
    state = program.init(TIGHTER, jax.random.key(4), x, params)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    for start in range(0, 20, 5):
        state, _ = program.advance(TIGHTER, state, x, start, 5)
    plain = state._replace(key=jax.random.key_data(state.key))
    assert last_state(tmp_path / "run") == jax.tree.map(lambda v: np.asarray(v).tobytes(), plain)
    origin = read_json(tmp_path / "run" / "result.json")["origin"]
    assert origin == {"kind": "parameters", "folder": str(source), "step": chosen.step}
    assert [row["step"] for row in read_lines(tmp_path / "run" / "metrics.jsonl")] == [10, 20]


def test_parameters_are_laid_out_over_devices(source, tmp_path, data_dir):
    """Four devices, which share parameters out too, begin with the same, and end with the same to round-off."""
    ends = []
    for name, rest in (("one", {}), ("four", {"devices": 4, "shard_parameters": True})):
        train(TIGHTER, tmp_path / name, data_dir, start_from=source, **rest)
        ends.append(chosen_parameters(open_run(tmp_path / name), Log())[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *ends)


def test_parameters_of_another_model_are_refused():
    """By the pure function too, with the first one that differs."""
    program, x = make_train(CONFIG), jnp.zeros((20, 6))
    params = program.init(CONFIG, jax.random.key(0), x).params
    wrong = jax.tree.map(lambda v: v[..., :1], params)
    with pytest.raises(
        ConfigError, match=r"params: the model of this configuration has other parameters: .*, expected"
    ):
        program.init(CONFIG, jax.random.key(0), x, wrong)
    with pytest.raises(ConfigError, match="is absent, expected"):
        program.init(CONFIG, jax.random.key(0), x, {})


REFUSED = {
    "both": (LONGER, ("start_from", "extend"), UserError, "got both"),
    "no more steps": (CONFIG, ("extend",), ConfigError, "num_steps: got 20, expected more than the 20 steps"),
    "another batch": (overlay(LONGER, {"training.batch_size": 4}), ("extend",), ConfigError, "batch_size: 8, now 4"),
    "another seed": (overlay(LONGER, {"seed": 4}), ("extend",), ConfigError, "seed: 3, now 4"),
    "another optimizer": (
        dataclasses.replace(LONGER, optimizer=SGD(1e-2)),
        ("extend",),
        ConfigError,
        "optimizer: 'Adam', now 'SGD'",
    ),
    "another state": (
        overlay(LONGER, {"optimizer.clip_norm": 1.0}),
        ("extend",),
        ConfigError,
        "optimizer's state would be another one",
    ),
    "another model": (
        overlay(CONFIG, {"model.latent": 3}),
        ("start_from",),
        ConfigError,
        r"has other parameters: generative.* is float32\[2, 8\], expected float32\[3, 8\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_begin_so_is_refused_and_leaves_nothing(source, tmp_path, data_dir, case):
    config, kinds, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        train_run(config, tmp_path / "new", data_dir, log=Log(), **dict.fromkeys(kinds, source))
    assert not list(tmp_path.iterdir())


def test_a_schedule_may_be_given_anew(source, tmp_path, data_dir):
    """Of the same structure of state: the rate of the steps that follow is the new one's."""
    scheduled = dataclasses.replace(LONGER, optimizer=Adam(Cosine(start=1e-2, steps=20)))
    train(overlay(scheduled, {"training.num_steps": 20}), tmp_path / "short", data_dir)
    longer = overlay(scheduled, {"optimizer.learning_rate.steps": 40})
    train(longer, tmp_path / "longer", data_dir, extend=tmp_path / "short")
    program, x = make_train(longer), Arrays("bits.npy").load(data_dir).train
    newest = checkpoints.paths(open_run(tmp_path / "short").checkpoints)[-1]
    state = checkpoints.restore(newest, program.shapes(longer, x))
    for start in range(20, 40, 5):
        state, _ = program.advance(longer, state, x, start, 5)
    plain = state._replace(key=jax.random.key_data(state.key))
    assert last_state(tmp_path / "longer") == jax.tree.map(lambda v: np.asarray(v).tobytes(), plain)


def test_a_folder_with_a_run_is_not_begun_anew(source, tmp_path, data_dir):
    folder = Path(shutil.copytree(source, tmp_path / "copy"))
    before = contents(folder)
    with pytest.raises(RunError, match="began with new parameters, not with the parameters of"):
        train_run(CONFIG, folder, data_dir, log=Log(), start_from=source)
    with pytest.raises(RunError, match=r"num_steps: 20, now 40\nGive another --run-dir, with --extend to go on"):
        train_run(LONGER, folder, data_dir, log=Log())
    assert contents(folder) == before


def test_a_crash_while_it_is_laid_out_leaves_no_run(source, tmp_path, data_dir, monkeypatch):
    """Nor anything else, in a folder that was there and empty."""
    (tmp_path / "new").mkdir()

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(origins, "_copied", full)
        with pytest.raises(RunError, match="new cannot be written"):
            train_run(LONGER, tmp_path / "new", data_dir, log=Log(), extend=source)
    assert [p.name for p in tmp_path.rglob("*")] == ["new"]
    train(LONGER, tmp_path / "new", data_dir, extend=source)
    assert read_json(tmp_path / "new" / "result.json")["steps"] == 40


def test_without_what_it_goes_on_with_a_run_does_not_begin_at_zero(source, tmp_path, data_dir, monkeypatch):
    def stop(*args, **rest):
        raise Interrupted("here")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", stop)
        with pytest.raises(Interrupted):
            train_run(LONGER, tmp_path / "run", data_dir, log=Log(), extend=source)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunError, match="extend anew"):
        train_run(LONGER, tmp_path / "run", data_dir, log=Log())


def test_the_command_goes_on(source, tmp_path, data_dir, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    steps = "--training.num-steps", "30", "--data-dir", data_dir
    assert main(["train", str(source), "--extend", *steps, "--run-dir", "longer"]) == 0
    assert read_json(Path("longer/result.json"))["steps"] == 30
    started = "--start-from", "longer", "--run-dir", "other", "--seed", "9", "--data-dir", data_dir
    assert main(["train", str(source), *started]) == 0
    assert read_json(Path("other/result.json"))["origin"]["folder"] == str(tmp_path / "longer")
    for words in (["--extend", *steps], ["--extend", "--run-dir", "a"]):
        config = str(source) if len(words) > 3 else "file.py"
        Path("file.py").write_text("from test_origins import CONFIG\n", encoding="utf-8")
        assert main(["train", config, *words]) == 2
        assert "--extend: expected the folder of the run" in capsys.readouterr().err
