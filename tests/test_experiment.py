"""Runs on disk: what stands in the folder, and that a run cut short anywhere ends as if it had been left alone."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from matplotlib.image import imread
from runs import Log, by_example, contents, last_state, outcome, read_json, read_lines
from toys import worst

from genjax_models import checkpoints, experiment, run_folder
from genjax_models.commands.files import load_config
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays, evaluation_subset
from genjax_models.errors import ConfigError, DataError, RunError
from genjax_models.evaluation import log_marginal
from genjax_models.experiment import (
    Interrupted,
    NonFinite,
    chosen_parameters,
    evaluate_run,
    inpaint_run,
    load_run,
    sample_run,
    train_run,
)
from genjax_models.measuring import abstract_state, sample_images
from genjax_models.models import MADE, VAE
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian, MixtureOfGaussians
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.overlay import from_json, overlay
from genjax_models.run_folder import open_run
from genjax_models.tables import types
from genjax_models.train import make_train

# The data lie under one name in every test, so that all runs share their programs.
CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((8,), "tanh"), decoder=MLP((8,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Arrays(path="bits.npy"),
    training=Training(num_steps=40, batch_size=8, evaluate_every=10, chunk=5),
    evaluation=Evaluation(num_samples=200),
    seed=3,
)
BITS = (np.random.RandomState(0).uniform(size=(60, 2, 3)) < 0.4).astype(np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "bits.npy", BITS)
    return str(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir) -> Path:
    """A run left alone to its end; tests read it, or work on a copy."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train_run(CONFIG, folder, data_dir, log=Log())
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


# What a run leaves.


def test_pictures_of_real_numbers_are_scaled_alike(tmp_path, monkeypatch):
    """All of a run, at its end and afterwards: black and white are the least and greatest value of training."""
    x = np.random.RandomState(1).uniform(-50, 70, (60, 2, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    model = MADE(hidden=(4,), units=MixtureOfGaussians(2))
    training = Training(2, batch_size=8, evaluate_every=2, chunk=2)
    data, drawn = Arrays(str(tmp_path / "x.npy")), {}
    low, high = float(data.load().train.min()), float(data.load().train.max())
    assert 70 > high > low > -50

    def keep(path, x, *rest):
        drawn[path.name] = np.asarray(x)

    monkeypatch.setattr("genjax_models.plots.save_images", keep)
    config, folder = Config(model, MaximumLikelihood(), Adam(), data, training), tmp_path / "run"
    train_run(config, folder, None, log=Log())
    run = open_run(folder)
    assert run.data.limits == (low, high)
    _, params, _ = chosen_parameters(run, Log())
    for seed, name in ((0, "samples.png"), (5, "more.png")):
        if name == "more.png":
            sample_run(folder, 100, tmp_path / name, seed, False, Log())
        scaled = (sample_images(run, params, 100, seed) - low) / (high - low)
        np.testing.assert_allclose(drawn[name], scaled, rtol=1e-5, atol=1e-6)
    inpaint_run(folder, "bottom", 3, tmp_path / "half.png", 0, False, None, Log())
    truth, seen, *_ = drawn["half.png"].reshape(3, 8, 6).swapaxes(0, 1)
    test = evaluation_subset(data.load().test, 3)
    np.testing.assert_allclose(truth, (test - low) / (high - low), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen[:, 3:], 0.5)
    # Runs that did not note the range are the same runs, and are drawn as they are.
    noted = read_json(folder / "config.json")
    del noted["data"]["limits"]
    (folder / "config.json").write_text(json.dumps(noted))
    assert open_run(folder).data == run.data
    sample_run(folder, 100, tmp_path / "plain.png", 5, False, Log())
    np.testing.assert_array_equal(drawn["plain.png"], sample_images(run, params, 100, 5))


def test_a_run_leaves_what_it_promises(finished):
    names = {p.name for p in finished.iterdir() if not p.name.startswith(".")}
    files = {"config.json", "metrics.jsonl", "samples.png", "curves.png", "result.json", "test_examples_200.npz"}
    assert names == files | {"checkpoints"}
    assert not list(finished.rglob("*building*"))


def test_config_json_rebuilds_the_run(finished):
    """The configuration equals the one that was run; of the data their width, shape and sizes are noted."""
    noted = read_json(finished / "config.json")
    assert from_json(noted["config"], types()) == CONFIG
    assert open_run(finished).config == CONFIG
    assert (noted["data"]["visible"], noted["data"]["image_shape"], noted["data"]["sizes"]) == (6, [2, 3], [48, 6, 6])


def test_metrics_have_a_line_for_every_evaluation(finished, data_dir):
    """The train bound is the mean over the steps since the line before, as the pure function gives them."""
    rows = read_lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    named = {"step", "seconds", "train_bound", "validation_bound", "validation_likelihood", "validation_kl"}
    assert [set(row) for row in rows] == [named] * 4
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    x = jnp.asarray(CONFIG.data.load(data_dir).train)
    _, metrics = make_train(CONFIG)(CONFIG, jax.random.key(CONFIG.seed), x)
    means = np.asarray(metrics["bound"], np.float64).reshape(4, 10).mean(axis=1)
    np.testing.assert_allclose([row["train_bound"] for row in rows], means, rtol=1e-6)


def test_the_run_is_the_pure_function(finished, data_dir):
    """The last checkpoint holds, bit for bit, the state of one call of `make_train`."""
    x = jnp.asarray(CONFIG.data.load(data_dir).train)
    state, _ = make_train(CONFIG)(CONFIG, jax.random.key(CONFIG.seed), x)
    plain = state._replace(key=jax.random.key_data(state.key))
    assert last_state(finished) == jax.tree.map(lambda v: np.asarray(v).tobytes(), plain)


def test_result(finished, data_dir):
    """The figures with their errors, what they were measured on, and with what."""
    result, rows = read_json(finished / "result.json"), read_lines(finished / "metrics.jsonl")
    assert result["test_nll_samples"] == 200
    assert (result["test_examples"], result["steps"], result["nonfinite_steps"]) == (6, 40, 0)
    assert result["parameters"] == (6 * 8 + 8) + (8 * 4 + 4) + (2 * 8 + 8) + (8 * 6 + 6)
    assert result["units"] == "nats per example"
    assert 0 < result["seconds_to_first_step"] <= result["total_seconds"]
    assert result["versions"]["jax"] == jax.__version__
    assert result["versions"]["numpy"] == np.__version__
    assert result["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert jax.devices()[0].platform in result["device"]
    best = max(rows, key=lambda row: row["validation_bound"])
    assert (result["evaluated_step"], result["validation_bound"]) == (best["step"], best["validation_bound"])
    run = open_run(finished)
    _, params, _ = chosen_parameters(run, Log())
    x = jnp.asarray(CONFIG.data.load(data_dir).test)
    other = jax.jit(lambda k: log_marginal(CONFIG.model.build(6), params, k, x, 2000))(jax.random.key(99))
    error = result["test_nll_mean_estimator_error"] + float(jnp.mean(other.standard_error))
    assert abs(result["test_nll"] + float(jnp.mean(other.log_prob))) < 4 * error
    spread = float(jnp.std(other.log_prob, ddof=1)) / np.sqrt(6)
    assert abs(result["test_nll_standard_error"] - spread) < 4 * error
    assert result["test_bound_standard_error"] > 0
    assert -result["test_bound"] > result["test_nll"] - 4 * (result["test_bound_standard_error"] + error)


def test_the_model_and_the_parameters_of_a_run(finished):
    """Those of the best checkpoint, as an evaluation takes them."""
    model, params = load_run(finished)
    assert model == CONFIG.model.build(6)
    run = open_run(finished)
    best = max(read_lines(finished / "metrics.jsonl"), key=lambda row: row["validation_bound"])
    state = checkpoints.restore(run.checkpoints / f"{best['step']:09d}", abstract_state(run))
    jax.tree.map(np.testing.assert_array_equal, params, state.params)
    assert jax.tree.structure(params) == jax.tree.structure(state.params)


def test_pictures(finished):
    """100 samples of 2 x 3 pixels in ten rows of ten, and the curves."""
    height, width = imread(finished / "samples.png").shape[:2]
    enlarge = height // (10 * 3 + 1)
    assert (height, width) == (enlarge * (10 * 3 + 1), enlarge * (10 * 4 + 1))
    assert imread(finished / "curves.png").size > 0


def test_best_and_latest_parameters(tmp_path, data_dir):
    """With a rate that spoils the model, "best" goes back and "latest" does not; both checkpoints are kept."""
    found = {}
    for choice in ("best", "latest"):
        settings = overlay(CONFIG, {"optimizer.learning_rate": 3.0, "evaluation.parameters": choice})
        found[choice] = train_run(settings, tmp_path / choice, data_dir, log=Log())
    rows = read_lines(tmp_path / "best" / "metrics.jsonl")
    best = max(rows, key=lambda row: row["validation_bound"])["step"]
    assert best < 30
    assert (found["best"]["evaluated_step"], found["latest"]["evaluated_step"]) == (best, 40)
    kept = [int(p.name) for p in checkpoints.paths(tmp_path / "best" / "checkpoints")]
    assert kept == [best, 30, 40]
    assert found["best"]["test_bound"] != found["latest"]["test_bound"]


def test_best_is_by_the_metric_that_is_named(tmp_path, data_dir):
    """The KL grows from step to step while the bound rises, so that its highest value stands at another step."""
    settings = overlay(CONFIG, {"evaluation.best_by": "kl", "optimizer.learning_rate": 3e-2})
    result = train_run(settings, tmp_path / "run", data_dir, log=Log())
    rows = {row["step"]: row for row in read_lines(tmp_path / "run" / "metrics.jsonl")}
    best = max(rows, key=lambda step: rows[step]["validation_kl"])
    assert (result["evaluated_step"], result["validation_kl"]) == (best, rows[best]["validation_kl"])
    for row in rows.values():
        assert row["validation_bound"] == pytest.approx(row["validation_likelihood"] - row["validation_kl"], rel=1e-5)


def test_best_by_an_unknown_metric_is_refused(tmp_path, data_dir):
    settings = overlay(CONFIG, {"evaluation.best_by": "bond"})
    with pytest.raises(ConfigError, match=r"evaluation.best_by: got 'bond'.*Did you mean 'bound'"):
        train_run(settings, tmp_path / "run", data_dir, log=Log())
    assert not (tmp_path / "run").exists()


def test_the_average_is_what_is_evaluated(tmp_path, data_dir):
    settings = overlay(CONFIG, {"training.average": 0.5, "training.num_steps": 10})
    train_run(settings, tmp_path / "run", data_dir, log=Log())
    state, params, _ = chosen_parameters(open_run(tmp_path / "run"), Log())
    assert worst(params, state.average) == 0
    assert worst(params, state.params) > 1e-4


def test_evaluation_subsets(tmp_path, data_dir):
    """Figures are measured on as many examples as asked for; the run is still bound to all the data."""
    settings = overlay(CONFIG, {"evaluation.test_examples": 3, "evaluation.validation_examples": 2})
    assert train_run(settings, tmp_path / "run", data_dir, log=Log())["test_examples"] == 3
    assert open_run(tmp_path / "run").data.sizes == (48, 6, 6)


# Again in the same folder.


def test_a_finished_run_is_left_as_it_is(copy, data_dir):
    before, log = contents(copy), Log()
    result = train_run(CONFIG, copy, data_dir, log=log)
    assert "is finished" in str(log)
    assert contents(copy) == before
    assert result == read_json(copy / "result.json")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"optimizer.learning_rate": 0.5}, "optimizer.learning_rate: 0.01, now 0.5"),
        ({"training.num_steps": 50}, "training.num_steps: 40, now 50"),
        ({"seed": 4}, "seed: 3, now 4"),
        ({"model.encoder.hidden": ()}, "model.encoder.hidden: (8,), now ()"),
    ],
)
def test_another_configuration_is_refused(copy, data_dir, change, line):
    """The field that differs is named, and no other."""
    before = contents(copy)
    with pytest.raises(RunError) as raised:
        train_run(overlay(CONFIG, change), copy, data_dir, log=Log())
    assert [text.strip() for text in str(raised.value).splitlines()[1:-1]] == [line]
    assert "Give another --run-dir" in str(raised.value)
    assert contents(copy) == before


@pytest.mark.parametrize("change", ["value", "rows"])
def test_changed_data_are_refused(copy, tmp_path, change):
    """One pixel or one row less is enough, for training and for evaluating."""
    before, data = contents(copy), BITS.copy()
    data[0, 0, 0] ^= 1
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "bits.npy", data if change == "value" else BITS[:-1])
    with pytest.raises(RunError, match="other data"):
        train_run(CONFIG, copy, str(tmp_path / "data"), log=Log())
    with pytest.raises(RunError, match="other data"):
        evaluate_run(copy, str(tmp_path / "data"), None, Log())
    assert contents(copy) == before


def test_a_run_in_use_by_another_process_is_refused(copy, data_dir):
    (copy / "result.json").unlink()
    before = contents(copy)
    with (copy / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="being trained by another process"):
            train_run(CONFIG, copy, data_dir, log=Log())
    assert {k: v for k, v in contents(copy).items() if k != ".lock"} == {
        k: v for k, v in before.items() if k != ".lock"
    }


def test_a_batch_larger_than_the_data_leaves_no_folder(tmp_path, data_dir):
    """The mistake can be mended on the same folder."""
    with pytest.raises(DataError, match=r"training\.batch_size: got 49"):
        train_run(overlay(CONFIG, {"training.batch_size": 49}), tmp_path / "run", data_dir, log=Log())
    assert not (tmp_path / "run").exists()


def test_a_damaged_configuration_is_refused(copy, data_dir):
    text = (copy / "config.json").read_text()
    for broken in (text[:-10], text.replace('"format": 1', '"format": 99'), "[]", "", text.replace('"vae"', '"vea"')):
        (copy / "config.json").write_text(broken)
        with pytest.raises(RunError, match=r"config\.json"):
            train_run(CONFIG, copy, data_dir, log=Log())


# Cut short.


def interrupt_at(monkeypatch, step: int, number: int) -> None:
    """Send this process a signal when progress is shown at a step."""
    show = experiment.Progress.show

    def shown(self, at, *rest):
        show(self, at, *rest)
        if at == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(experiment.Progress, "show", shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [5, 15, 20])
def test_a_signal_saves_and_the_run_resumes_to_the_same_end(finished, tmp_path, data_dir, monkeypatch, number, step):
    """Before the first evaluation, between two and at one: what is saved is where it stood."""
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, number)
        with pytest.raises(Interrupted, match=f"{number.name}: saved at step {step} of 40.*the same command resumes"):
            train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    assert signal.getsignal(number) is before
    assert int(checkpoints.paths(tmp_path / "run" / "checkpoints")[-1].name) == step
    assert not (tmp_path / "run" / "result.json").exists()
    log = Log()
    train_run(CONFIG, tmp_path / "run", data_dir, log=log)
    assert f"resuming from step {step} of 40" in str(log)
    assert outcome(tmp_path / "run") == outcome(finished)


def test_a_signal_at_the_last_step_lets_the_run_finish(finished, tmp_path, data_dir, monkeypatch):
    interrupt_at(monkeypatch, 40, signal.SIGINT)
    train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    assert outcome(tmp_path / "run") == outcome(finished)


def test_many_signals_one_after_another(finished, tmp_path, data_dir, monkeypatch):
    """Interrupted at every chunk, the run still ends the same."""
    for step in range(5, 40, 5):
        with monkeypatch.context() as patch:
            interrupt_at(patch, step, signal.SIGTERM)
            with pytest.raises(Interrupted):
                train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    assert outcome(tmp_path / "run") == outcome(finished)


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize(
    ("where", "name", "call", "resumed"),
    [
        (checkpoints, "save", 3, 20),  # the line in metrics.jsonl is there, the checkpoint is not
        (Path, "rename", 3, 20),  # all files of the checkpoint are there, under the wrong name
        (checkpoints, "prune", 3, 30),
        (experiment, "test", 1, 40),  # all steps are done
        (experiment, "write_whole", 1, 40),  # all but the result
        (checkpoints, "save", 1, 0),
        (run_folder, "write_whole", 1, None),  # the folder is there, and nothing in it
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_a_crash_anywhere_and_the_run_resumes_to_the_same_end(
    finished, tmp_path, data_dir, monkeypatch, where, name, call, resumed
):
    original, calls = getattr(where, name), []

    def die(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise Crash
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, die)
        with pytest.raises(Crash):
            train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    log = Log()
    train_run(CONFIG, tmp_path / "run", data_dir, log=log)
    if resumed is not None:
        assert (f"resuming from step {resumed} of 40" if resumed else "training from the start") in str(log)
    assert outcome(tmp_path / "run") == outcome(finished)
    assert not list((tmp_path / "run").rglob("*building*"))


@pytest.mark.parametrize(("damaged", "resumed"), [([40], 30), ([30, 40], 0)])
def test_behind_damaged_checkpoints_the_run_falls_back_and_says_so(finished, copy, data_dir, damaged, resumed):
    """Without its result, and with a byte of the newest flipped, it ends the same from the one before, or anew."""
    (copy / "result.json").unlink()
    for path in checkpoints.paths(copy / "checkpoints"):
        if int(path.name) in damaged:
            (file,) = (path / "state" / "d").iterdir()
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        elif int(path.name) != 30:
            shutil.rmtree(path)
    log = Log()
    train_run(CONFIG, copy, data_dir, log=log)
    for step in damaged:
        assert any(f"{step:09d}" in line and "Falling back" in line for line in log)
    assert (f"resuming from step {resumed} of 40" if resumed else "training from the start") in str(log)
    assert outcome(copy) == outcome(finished)


@pytest.mark.parametrize("cut", ["half a line", "no last newline"])
def test_metrics_cut_short_are_mended(finished, tmp_path, data_dir, monkeypatch, cut):
    """Every line of metrics.jsonl is whole at the end."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, 20, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    path = tmp_path / "run" / "metrics.jsonl"
    text = path.read_text()
    path.write_text(text + '{"step": 30, "seco' if cut == "half a line" else text[:-1])
    train_run(CONFIG, tmp_path / "run", data_dir, log=Log())
    assert outcome(tmp_path / "run") == outcome(finished)


LONG = """
from genjax_models.config import Config, Training
from genjax_models.data import Arrays, evaluation_subset
from genjax_models.measuring import abstract_state, sample_images
from genjax_models.models import MADE, VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam

CONFIG = Config(
    VAE(2, MLP((8,), "tanh"), MLP((8,), "tanh")), ELBO(), Adam(), Arrays("bits.npy"),
    Training(400, batch_size=8, evaluate_every=10, chunk=5)
)
"""


@pytest.fixture(scope="module")
def long_file(tmp_path_factory) -> Path:
    """A configuration with enough steps to be killed in."""
    path = tmp_path_factory.mktemp("long") / "long.py"
    path.write_text(LONG)
    return path


@pytest.fixture(scope="module")
def left_alone(long_file, data_dir) -> Path:
    """Its run, left alone."""
    train_run(load_config(str(long_file)), long_file.with_name("run"), data_dir, log=Log())
    return long_file.with_name("run")


def killed(folder: Path, long_file: Path, data_dir: str, kill: int) -> tuple[int, str]:
    """Train in another process, and send it a signal as soon as a checkpoint is there: (exit code, stderr)."""
    command = [sys.executable, "-m", "genjax_models", "train", str(long_file)]
    with subprocess.Popen(
        [*command, "--run-dir", str(folder), "--data-dir", data_dir],
        env={**os.environ, "XDG_CACHE_HOME": str(long_file.with_name("cache"))},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not list(folder.glob("checkpoints/0*")):
            time.sleep(0.002)
        process.send_signal(kill)
        _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize("kill", [signal.SIGKILL, drill(signal.SIGTERM)])
def test_a_process_that_is_killed_resumes_to_the_same_end(left_alone, long_file, tmp_path, data_dir, kill):
    """By `kill -9` at once; by SIGTERM with a message and exit code 75. Bit for bit the same end."""
    code, errors = killed(tmp_path / "run", long_file, data_dir, kill)
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "result.json").exists()
    if kill == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 75
        assert f"interrupted by {kill.name}: saved at step" in errors
    log = Log()
    train_run(load_config(str(long_file)), tmp_path / "run", data_dir, log=log)
    assert "resuming from step" in str(log)
    assert outcome(tmp_path / "run") == outcome(left_alone)


# Steps that are not finite.

REAL = overlay(CONFIG, {"model.likelihood": Gaussian(1.0), "data.path": "real.npz"})


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory) -> str:
    """Real data; the square of one value in one training example overflows."""
    folder = tmp_path_factory.mktemp("poisoned")
    x = np.random.RandomState(1).normal(size=(60, 6)).astype(np.float32)
    x[7, 3] = 1e30
    np.savez(folder / "real.npz", train=x[:48], valid=x[48:54], test=x[54:])
    return str(folder)


def test_stop_names_the_step_the_last_bound_and_what_survives(tmp_path, poisoned):
    """The pure function tells at which step; in another try the run stops there again."""
    x = jnp.asarray(REAL.data.load(poisoned).train)
    state, metrics = make_train(REAL)(REAL, jax.random.key(REAL.seed), x)
    failed, bounds = int(state.step), np.asarray(metrics["bound"])
    assert 0 < failed < 6
    for _ in range(2):
        with pytest.raises(NonFinite) as raised:
            train_run(overlay(REAL, {}), tmp_path / "run", poisoned, log=Log())
        message = str(raised.value)
        assert message.startswith(f"step {failed}: the loss or its gradient is not finite")
        assert f"the last finite bound was {bounds[failed - 1]:.4f} nats" in message
        assert "no checkpoint was written yet" in message
        assert "--training.nonfinite skip" in message
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_first_step_that_is_not_finite_is_no_matter_of_the_rate(tmp_path):
    x = np.full((60, 6), 1e30, np.float32) * np.random.RandomState(1).normal(size=(60, 6))
    np.savez(tmp_path / "real.npz", train=x[:48], valid=x[48:54], test=x[54:])
    with pytest.raises(
        NonFinite, match=r"step 0: .*As no update was made yet, look at the range of the data, by"
    ) as raised:
        train_run(overlay(REAL, {}), tmp_path / "run", str(tmp_path), log=Log())
    assert "learning rate" not in str(raised.value)


def test_stop_names_the_surviving_checkpoint(tmp_path, data_dir):
    """A learning rate beyond all measure spoils the parameters after the first evaluation."""
    settings = overlay(CONFIG, {"optimizer.learning_rate": 1e30, "training.evaluate_every": 1})
    with pytest.raises(NonFinite) as raised:
        train_run(settings, tmp_path / "run", data_dir, log=Log())
    survivor = checkpoints.paths(tmp_path / "run" / "checkpoints")[-1]
    assert f"the checkpoint {survivor} survives" in str(raised.value)
    assert str(raised.value).startswith(f"step {int(survivor.name)}: ")
    checkpoints.verify(survivor)


def test_skip_counts_the_steps_it_left_out(tmp_path, poisoned):
    """48 examples make 6 batches of 8, one of them with the poisoned example, in each of 6 epochs."""
    settings = overlay(REAL, {"training.nonfinite": "skip", "training.num_steps": 36})
    result = train_run(settings, tmp_path / "run", poisoned, log=Log())
    assert (result["steps"], result["nonfinite_steps"]) == (36, 6)
    assert result["test_nll"] is not None
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 36]
    assert None not in [row["train_bound"] for row in rows]


# Evaluate and sample.


def test_evaluating_again_gives_the_same_figures_and_keeps_them(copy, data_dir):
    """With the same K exactly those of result.json; every evaluation adds its line, one with another K its values by
    example, and nothing else changes."""
    before, result = contents(copy), read_json(copy / "result.json")
    same = evaluate_run(copy, data_dir, None, Log())
    assert same == {name: result[name] for name in same}
    more = evaluate_run(copy, data_dir, 2000, Log())
    assert more["test_nll_samples"] == 2000
    assert more["test_nll"] != same["test_nll"]
    error = more["test_nll_mean_estimator_error"] + same["test_nll_mean_estimator_error"]
    assert abs(more["test_nll"] - same["test_nll"]) < 4 * error
    assert more["test_nll_mean_estimator_error"] < same["test_nll_mean_estimator_error"]
    assert read_lines(copy / "evaluations.jsonl") == [same, more]
    after = contents(copy)
    assert set(after) - set(before) == {"evaluations.jsonl", "test_examples_2000.npz"}
    assert {k: after[k] for k in before} == before
    assert by_example(copy)["test_examples_2000.npz"][2] == more


def test_evaluating_where_nothing_can_be_written_still_returns_the_figures(copy, data_dir):
    (copy / "evaluations.jsonl").mkdir()
    log = Log()
    assert evaluate_run(copy, data_dir, None, log)["test_nll"] == read_json(copy / "result.json")["test_nll"]
    assert "cannot be written" in str(log)


def test_samples_depend_on_the_seed_alone(finished, tmp_path):
    for name, seed in {"a.png": 1, "b.png": 1, "c.png": 2}.items():
        assert sample_run(finished, 7, tmp_path / name, seed, False, Log()) == tmp_path / name
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_a_run_without_a_whole_checkpoint_can_be_neither_evaluated_nor_sampled(copy, data_dir, tmp_path):
    for path in checkpoints.paths(copy / "checkpoints"):
        (path / "manifest.json").unlink()
    with pytest.raises(RunError, match="no whole checkpoint"):
        evaluate_run(copy, data_dir, None, Log())
    with pytest.raises(RunError, match="no whole checkpoint"):
        sample_run(copy, 1, tmp_path / "x.png", 1, False, Log())
