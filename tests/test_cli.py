"""The command line: its commands, its exit codes, and a message instead of a traceback for whatever is wrong."""

import csv
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.image import imread
from runs import Terminal

from genjax_models import experiment
from genjax_models.axes import Axis, product
from genjax_models.cli import main, parser, split_overrides
from genjax_models.commands.files import load_file, load_sweep
from genjax_models.data import Shards
from genjax_models.errors import ConfigError, DataNotice
from genjax_models.models import MODELS
from genjax_models.objectives import OBJECTIVES
from genjax_models.sweep import Sweep

HEADER = """from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST, Arrays, Digits
from genjax_models.models import VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, WakeSleep
from genjax_models.optimizers import SGD, Adam

"""
TINY = HEADER + (
    "CONFIG = Config(VAE(2, MLP((8,), 'tanh'), MLP((8,), 'tanh')), ELBO(), Adam(), Arrays('bits.npy'), "
    "Training(20, batch_size=8, evaluate_every=10, chunk=10), Evaluation(100))\n"
)
BITS = (np.random.RandomState(0).uniform(size=(60, 2, 3)) < 0.4).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _compilation_settings():
    """What the commands set for JAX is put back."""
    names = ("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder with tiny.py, and a data folder with bits.npy; no cache of the user's is touched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    monkeypatch.setenv("GENJAX_MODELS_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "bits.npy", BITS)
    (tmp_path / "tiny.py").write_text(TINY)
    return tmp_path


@pytest.fixture
def cli(place, capsys):
    """Runs a command in this process: (exit code, stdout, stderr), of which the last never has a traceback."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run folder that `train` made, for tests to copy."""
    folder = tmp_path_factory.mktemp("trained")
    np.save(folder / "bits.npy", BITS)
    (folder / "tiny.py").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        words = ["train", str(folder / "tiny.py"), "--run-dir", str(folder / "run"), "--data-dir", str(folder)]
        assert main(words) == 0
    return folder / "run"


@pytest.fixture
def run(trained, place) -> str:
    """A finished run in the working folder."""
    shutil.copytree(trained, place / "run")
    return "run"


# Help.


def test_help_names_the_commands_and_exit_codes(cli):
    code, out, err = cli("--help")
    assert (code, err) == (0, "")
    for word in ("train", "evaluate", "sample", "list", "exit codes", "75"):
        assert word in out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["--run-dir", "--data-dir", "--quiet", "resumes", "--optimizer.learning-rate 3e-4", "exit codes"]),
        ("sweep", ["CONFIG", "--axis", "log:LOW:HIGH:NUM", "--seeds", "--block", "--run-dir", "resumes", "exit codes"]),
        ("evaluate", ["RUN_DIR", "--num-samples", "--data-dir", "--json"]),
        ("sample", ["RUN_DIR", "--num", "--seed", "--out", "--overwrite"]),
        ("estimators", ["RUN_DIR", "--objectives", "--num-draws", "--batch", "--out", "--overwrite", "--json"]),
        ("list", ["--json"]),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_command_names_its_words(cli, command, words, flag):
    code, out, err = cli(command, flag)
    assert (code, err) == (0, "")
    for word in words:
        assert word in out


def test_help_of_a_configuration_lists_its_fields(cli):
    """Every field by its path, with its value and what it takes; help trains nothing."""
    code, out, _ = cli("train", "tiny.py", "--help")
    assert code == 0
    for flag in ("--model.latent 2", "--optimizer.learning-rate 0.001", "--training.batch-size 8", "--seed 0"):
        assert flag in out
    assert "--model.encoder.hidden 8 " in out  # as the shell takes it
    assert "one of 'tanh'" in out
    assert "latent units" in out
    assert not Path("runs").exists()


@pytest.mark.parametrize("words", [[], ["nothing"], ["evaluate"], ["sample"], ["train", "tiny.py", "stray"]])
def test_usage_errors(cli, words):
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert "usage:" in err


def test_train_without_a_configuration_prints_its_help(cli):
    code, out, _ = cli("train")
    assert code == 2
    assert "--run-dir" in out


# Train.


def test_train_says_where_the_run_is(cli, place):
    """Standard output has the folder alone, by default runs/ and the file's name; progress is on standard error."""
    code, out, err = cli("train", "tiny.py")
    assert (code, out) == (0, f"{Path('runs/tiny')}\n")
    result = json.loads(Path("runs/tiny/result.json").read_text())
    assert "step 10/20" in err
    assert "step 20/20" in err
    assert f"test NLL {result['test_nll']:.2f} +- {result['test_nll_standard_error']:.2f} nats per example" in err
    assert not (place / "cache").exists()


def test_list_knows_that_a_sum_fits_where_a_part_does(cli):
    code, out, _ = cli("list", "--json")
    fits = {row["name"]: row["objectives"] for row in json.loads(out)["models"]}
    assert code == 0
    assert "weighted_sum" in fits["vae"]
    assert "weighted_sum" in fits["sigmoid_belief_network"]


def test_hyphens_do_not_hide_a_path_given_twice(cli):
    code, _, err = cli("train", "tiny.py", "--optimizer.learning-rate", "1", "--optimizer.learning_rate", "2")
    assert code == 2
    assert "optimizer.learning_rate: given twice" in err


def test_one_test_example_has_no_standard_error(cli, place):
    """Of ten rows one is for testing: a mean without an error, and no traceback."""
    np.save(place / "data" / "bits.npy", BITS[:10])
    code, _, err = cli("train", "tiny.py", "--training.batch-size", "4")
    result = json.loads(Path("runs/tiny/result.json").read_text())
    assert (code, result["test_examples"], result["test_nll_standard_error"]) == (0, 1, None)
    assert f"test NLL {result['test_nll']:.2f} nats per example" in err


def test_overrides_reach_the_run(cli):
    """Anywhere on the line, with a space or an equals sign, with hyphens or underscores."""
    words = ["--seed", "5", "train", "--optimizer.learning-rate", "0.5"]
    code, _, err = cli(*words[2:], *words[:2], "tiny.py", "--optimizer.b1=0", "--run-dir", "here", "--quiet")
    assert (code, err) == (0, "")
    config = json.loads(Path("here/config.json").read_text())["config"]
    assert (config["seed"], config["optimizer"]["learning_rate"], config["optimizer"]["b1"]) == (5, 0.5, 0)


def test_train_again_says_finished(cli, run):
    before = {p: p.read_bytes() for p in Path(run).rglob("*") if p.is_file()}
    code, out, err = cli("train", "tiny.py", "--run-dir", run)
    assert (code, out) == (0, f"{run}\n")
    assert "is finished" in err
    assert {p: p.read_bytes() for p in Path(run).rglob("*") if p.is_file()} == before


def test_train_with_another_configuration_is_refused(cli, run):
    code, out, err = cli("train", "tiny.py", "--run-dir", run, "--training.num-steps", "30")
    assert (code, out) == (2, "")
    assert "error: run holds a run with another configuration:\n  training.num_steps: 20, now 30\n" in err


def test_train_on_changed_data_is_refused(cli, run, place):
    np.save(place / "data" / "bits.npy", 1 - BITS)
    code, _, err = cli("train", "tiny.py", "--run-dir", run)
    assert code == 2
    assert "other data" in err


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("a file", "exists and is no run folder"),
        ("a file/run", "cannot be written"),
        ("/dev/null/run", "cannot be written"),
        ("full", "exists and is no run folder"),
        ("x" * 300, "File name too long"),
    ],
    ids=["file", "below a file", "below a device", "foreign", "long name"],
)
def test_folders_that_cannot_be_used_are_refused(cli, folder, message):
    """What stands there is left as it is."""
    Path("a file").write_text("mine")
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("mine")
    code, out, err = cli("train", "tiny.py", "--run-dir", folder)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert Path("a file").read_text() == Path("full/thesis.tex").read_text() == "mine"
    assert [p.name for p in Path("full").iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken(cli):
    Path("empty").mkdir()
    assert cli("train", "tiny.py", "--run-dir", "empty", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.latnet", "3"], "model.latnet: VAE has no field 'latnet'. Did you mean 'latent'?"),
        (["--latent", "3"], "latent: Config has no field 'latent'"),
        (["--run-dri", "x"], "run_dri: Config has no field"),
        (["--model.latent"], "--model.latent: a value is missing"),
        (["--model.latent", "many"], "model.latent: got 'many', expected an integer"),
        (["--model.latent="], "model.latent: got '', expected an integer"),
        (["--model.latent", "0"], "model.latent: got 0, expected an integer, at least 1"),
        (["--optimizer.learning-rate", "-1"], "optimizer.learning_rate: got -1.0"),
        (["--model", "vae"], "model: got 'vae'"),
        (["--seed", "1", "--seed", "2"], "--seed: given twice"),
        (["--training.batch-size", "49"], "training.batch_size: got 49, but the training data has 48 examples"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_overrides(cli, words, message):
    """Refused with the path, and without a folder."""
    code, out, err = cli("train", "tiny.py", *words)
    assert (code, out) == (2, "")
    assert f"error: {message}" in err
    assert not Path("runs").exists()


def test_split_overrides():
    """The command's own words stay, with their values; the rest are overrides."""
    words = ["train", "--a.b", "1", "x.py", "--quiet", "--c.d=2=3", "--run-dir=y", "--e", "-1"]
    kept, overrides = split_overrides(words, {"--quiet", "--run-dir"})
    assert kept == ["train", "x.py", "--quiet", "--run-dir=y"]
    assert overrides == {"a.b": "1", "c.d": "2=3", "e": "-1"}
    with pytest.raises(ConfigError, match="a value is missing"):
        split_overrides(["--a"], set())


# Configuration files.


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("a = 1\nx y\n", ["bad.py, line 2", "x y"]),
        ("a = 1\n\nCONFIG = 1 / 0\n", ["bad.py, line 3", "ZeroDivisionError"]),
        ("import nowhere_to_be_found\n", ["bad.py, line 1", "nowhere_to_be_found"]),
        (HEADER + "CONFIG = Config(VAE(latnet=3))\n", ["bad.py, line 8", "latnet"]),
        ("config = 3\n", ["bad.py: expected CONFIG = ", "found None"]),
        ("CONFIG = 3\n", ["bad.py: expected CONFIG = ", "found 3"]),
        ("", ["bad.py: expected CONFIG = "]),
        ("\0", ["bad.py", "null byte"]),
        (TINY.replace("VAE(2,", "VAE(0,"), ["model.latent: got 0"]),
        (TINY.replace("(8,)", "[8]", 1), ["model.encoder.hidden: got [8]", "Write a tuple"]),
        (TINY.replace("Adam()", "SGD(nesterov=True)"), ["optimizer: nesterov"]),
        (
            TINY.replace("VAE(2, MLP((8,), 'tanh'), MLP((8,), 'tanh'))", "SigmoidBeliefNetwork((3,))"),
            ["elbo", "wake_sleep"],
        ),
    ],
    ids=[
        "syntax",
        "exception",
        "import",
        "field",
        "none",
        "other",
        "empty",
        "binary",
        "value",
        "list",
        "rule",
        "misfit",
    ],
)
def test_bad_configuration_files(cli, text, messages):
    """One message with the file and line or the field, exit code 2, and no folder."""
    Path("bad.py").write_text(text)
    code, out, err = cli("train", "bad.py")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    for message in messages:
        assert message in err
    assert "None, line None" not in err
    assert not Path("runs").exists()


def test_a_file_of_data_is_not_run_as_one_of_settings(cli, place):
    Path("table.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    for words in (("train", "table.csv"), ("sweep", "table.csv"), ("shard", "table.csv", "out")):
        code, out, err = cli(*words)
        assert (code, out) == (2, "")
        assert "table.csv: expected a Python file, whose name ends in .py" in err


OWN = HEADER + (
    "from genjax_models.config import config\n"
    "from genjax_models.models import MODELS\n"
    "@config\nclass Mine(VAE):\n    pass\n"
    "MODELS['mine'] = Mine\n"
)


def test_classes_of_ones_own_are_there_with_the_file_that_has_them(cli, place):
    """Whichever command it is, and wherever the option stands; without it the message says how."""
    before = dict(MODELS)
    try:
        Path("own.py").write_text(OWN + TINY.removeprefix(HEADER).replace("VAE(2", "Mine(2"), encoding="utf-8")
        assert cli("train", "own.py", "--run-dir", "own")[0] == 0
        MODELS.pop("mine")
        code, out, err = cli("evaluate", "own")
        assert (code, out) == (2, "")
        assert "'mine', which no table names" in err
        assert "--with FILE.py" in err
        for words in (("--with", "own.py", "evaluate", "own"), ("evaluate", "own", "--with=own.py")):
            MODELS.pop("mine", None)
            code, out, err = cli(*words)
            assert code == 0, err
            assert "test NLL" in out
        assert cli("evaluate", "own", "--with", "nowhere.py")[2].startswith("error: --with nowhere.py: no such file")
        assert cli("evaluate", "own", "--with")[2] == "error: --with: a value is missing; write --with FILE.\n"
    finally:
        MODELS.clear()
        MODELS.update(before)


def test_options_are_written_out(cli, run):
    """A part of one, which elsewhere is another's whole, is none: nothing is measured by it, or overwritten."""
    for words in (("evaluate", run, "--num", "3"), ("sample", run, "--over")):
        code, out, err = cli(*words)
        assert (code, out) == (2, "")
        assert "unrecognized arguments: --" in err


def test_missing_configuration_file_names_those_that_are_there(cli):
    Path("configs").mkdir()
    Path("configs/some.py").write_text(TINY)
    code, _, err = cli("train", "configs/sum.py")
    assert code == 2
    assert "error: configs/sum.py: no such file. Here are: configs/some.py." in err
    assert cli("train", "configs")[0] == 2


# Data.


def idx_without_images() -> bytes:
    return struct.pack(">4I", 0x0803, 0, 28, 28)


def test_missing_data_names_every_place_looked_in(cli, place):
    Path("mnist.py").write_text(TINY.replace("Arrays('bits.npy')", "MNIST()"))
    for words, folder in (([], place / "data"), (["--data-dir", "elsewhere"], place / "elsewhere")):
        code, out, err = cli("train", "mnist.py", *words)
        assert (code, out) == (2, "")
        for part in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte", str(folder), str(folder / "mnist")):
            assert part in err
        assert "GENJAX_MODELS_DATA" in err
    code, _, err = cli("train", "tiny.py", "--data.path", "absent.npy")
    assert code == 2
    assert "absent.npy" in err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("array", "words", "messages"),
    [
        (np.where(np.arange(360).reshape(60, 6) == 9, np.nan, 0.5), [], ["x.npy", "1 of 360 values are NaN", "(1, 3)"]),
        (np.full((60, 6), np.inf), [], ["x.npy", "infinite"]),
        (BITS * 3.0, [], ["Arrays holds values from 0 to 3", "VAE is of values in [0, 1]", "Gaussian"]),
        (BITS - 0.5, ["--data.binarization", "dynamic"], ["outside [0, 1]", "minimum -0.5"]),
        (np.zeros(60), [], ["x.npy", "got shape (60,)", "[N, D]"]),
        (np.zeros((60, 0)), [], ["is empty"]),
        (np.zeros((2, 6)), [], ["x.npy", "2 rows cannot be split"]),
        (np.array([["a"] * 6] * 60), [], ["x.npy", "dtype"]),
        (BITS, ["--data.image-shape", "3,3"], ["image_shape", "(3, 3)"]),
    ],
    ids=["nan", "inf", "range", "binarize", "rank", "empty", "few", "text", "shape"],
)
def test_wrong_data(cli, array, words, messages):
    """Explained with the file, the value and what is expected; no folder is left."""
    np.save("x.npy", array)
    code, out, err = cli("train", "tiny.py", "--data.path", "x.npy", *words)
    assert (code, out) == (2, "")
    for message in messages:
        assert message in err
    assert not Path("runs").exists()


def test_a_file_that_is_no_array(cli):
    Path("x.npy").write_text("not an array")
    code, _, err = cli("train", "tiny.py", "--data.path", "x.npy")
    assert code == 2
    assert "x.npy" in err


def test_shards_of_a_source_or_of_a_configuration(cli):
    """Written once, and never over another; a source that needs settings is told to come in a file."""
    assert cli("shard", "tiny.py", "here/bits") == (0, "here/bits\n", "")
    assert cli("shard", "digits", "here/digits")[:2] == (0, "here/digits\n")
    assert [Shards(f"here/{name}").load().train.shape for name in ("bits", "digits")] == [(48, 6), (1097, 64)]
    for words, message in (
        (("digits", "here/bits"), "here/bits exists; nothing is written over it"),
        (("arrays", "here/x"), "arrays: needs path; give a Python file that sets CONFIG with it"),
        (("nothing.py", "here/x"), "nothing.py: no such file"),
    ):
        code, out, err = cli("shard", *words)
        assert (code, out) == (2, "")
        assert message in err
    assert sorted(p.name for p in Path("here").iterdir()) == ["bits", "digits"]


@pytest.mark.filterwarnings("always")
def test_notices_of_data_are_lines_and_other_warnings_keep_their_place(cli, monkeypatch):
    def say(arguments):
        warnings.warn("ids.csv: two are equal.", DataNotice, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("genjax_models.commands.authoring._list", say)
    with pytest.warns(UserWarning, match="something else") as others:
        code, out, err = cli("list")
    assert (code, out, err) == (0, "", "notice: ids.csv: two are equal.\n")
    assert [str(one.message) for one in others] == ["something else"]


# Exit codes of runs that stop.


def test_a_step_that_is_not_finite_exits_with_3(cli):
    code, out, err = cli("train", "tiny.py", "--optimizer.learning-rate", "1e30")
    assert (code, out) == (3, "")
    assert "stopped: step 1: the loss or its gradient is not finite; the last finite bound was -" in err
    assert "no checkpoint was written yet" in err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_exits_with_75_and_the_same_command_resumes(cli, trained, monkeypatch, name):
    import signal

    show = experiment.Progress.show

    def shown(self, at, *rest):
        show(self, at, *rest)
        if at == 10:
            os.kill(os.getpid(), getattr(signal, name))

    with monkeypatch.context() as patch:
        patch.setattr(experiment.Progress, "show", shown)
        code, out, err = cli("train", "tiny.py")
    assert (code, out) == (75, "")
    assert f"interrupted by {name}: saved at step 10 of 20 in {Path('runs/tiny')}; the same command resumes." in err
    code, _, err = cli("train", "tiny.py")
    assert code == 0
    assert "resuming from step 10 of 20" in err
    ends = [json.loads((folder / "result.json").read_text()) for folder in (Path("runs/tiny"), trained)]
    first, second = ({k: v for k, v in end.items() if "seconds" not in k} for end in ends)
    assert first == second


def test_a_second_signal_interrupts_at_once(cli, monkeypatch):
    import signal

    def shown(self, at, *rest):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(experiment.Progress, "show", shown)
    code, _, err = cli("train", "tiny.py")
    assert code == 75
    assert "interrupted" in err


# Evaluate.


def test_evaluate(cli, run):
    """The figures of result.json with the same K, others near them with another; JSON if asked; all are kept."""
    result = json.loads(Path(run, "result.json").read_text())
    code, out, _ = cli("evaluate", run)
    assert code == 0
    assert f"test NLL {result['test_nll']:.2f} +- {result['test_nll_standard_error']:.2f}" in out
    code, out, _ = cli("evaluate", run, "--num-samples", "1000", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["test_nll_samples"] == 1000
    error = found["test_nll_mean_estimator_error"] + result["test_nll_mean_estimator_error"]
    assert 0 < abs(found["test_nll"] - result["test_nll"]) < 4 * error
    kept = [json.loads(line) for line in Path(run, "evaluations.jsonl").read_text().splitlines()]
    assert [row["test_nll"] for row in kept] == [result["test_nll"], found["test_nll"]]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_numbers_of_samples_must_be_positive(cli, run, number):
    for words in (["evaluate", run, "--num-samples"], ["sample", run, "--num"]):
        code, _, err = cli(*words, number)
        assert code == 2
        assert "at least 1" in err


@pytest.mark.parametrize("command", ["evaluate", "sample"])
@pytest.mark.parametrize("folder", ["absent", "data", "tiny.py", "/dev/null/run", "x" * 300])
def test_commands_on_what_is_no_run(cli, command, folder):
    code, out, err = cli(command, folder)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert not Path("samples.png").exists()


def test_evaluate_without_its_data(cli, run, place):
    (place / "data" / "bits.npy").unlink()
    code, _, err = cli("evaluate", run)
    assert code == 2
    assert "bits.npy" in err


def test_a_damaged_newest_checkpoint_is_named(cli, run):
    """The one before serves."""
    newest = sorted(Path(run, "checkpoints").iterdir())[-1]
    (newest / "manifest.json").unlink()
    code, _, err = cli("sample", run)
    assert code == 0
    assert str(newest) in err
    assert "samples of step 10" in err


# Sample.


def test_sample(cli, run):
    """A grid of as many pictures as asked for; an existing file stays unless --overwrite."""
    code, out, err = cli("sample", run, "--num", "7", "--out", "x.png")
    assert (code, out) == (0, "x.png\n")
    assert "7 samples" in err
    columns, rows = math.ceil(math.sqrt(7)), 3
    grid = (rows * 3 + 1, columns * 4 + 1)
    height, width = imread("x.png").shape[:2]
    enlarge = height // grid[0]
    assert enlarge >= 1
    assert (height, width) == (enlarge * grid[0], enlarge * grid[1])
    before = Path("x.png").read_bytes()
    code, out, err = cli("sample", run, "--num", "7", "--out", "x.png", "--seed", "2")
    assert (code, out) == (2, "")
    assert "x.png exists" in err
    assert "--overwrite" in err
    assert Path("x.png").read_bytes() == before
    code, _, _ = cli("sample", run, "--num", "7", "--out", "x.png", "--seed", "2", "--overwrite")
    assert code == 0
    assert Path("x.png").read_bytes() != before


@pytest.mark.parametrize("out", ["absent/x.png", "tiny.py/x.png", "folder.png"])
def test_pictures_that_cannot_be_written(cli, run, out):
    Path("folder.png").mkdir(exist_ok=True)
    code, _, err = cli("sample", run, "--out", out, "--overwrite")
    assert code == 2
    assert f"error: {out} cannot be written" in err


@pytest.mark.parametrize("out", ["x.jpg", "x"])
def test_pictures_are_png(cli, run, out):
    """Of every command that draws one; another suffix would be the name of another format."""
    commands = ["sample", run], ["estimators", run], ["spectra", run], ["compare", run, run], ["inspect-data", "digits"]
    for command in commands:
        code, _, err = cli(*command, "--out", out)
        assert code == 2
        assert f"error: {out}: pictures are written as PNG; give an --out that ends in .png." in err
        assert not Path(out).exists()


def test_a_seed_that_is_too_large(cli, run):
    code, _, err = cli("sample", run, "--seed", str(2**40))
    assert code == 2
    assert str(2**40) in err


# List.


def test_list_as_json_tells_what_fits(cli):
    """Every model and objective; those that follow gradients through samples do not fit binary latents."""
    code, out, err = cli("list", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    models = {row["name"]: row for row in found["models"]}
    objectives = {row["name"]: row for row in found["objectives"]}
    assert (set(models), set(objectives)) == (set(MODELS), set(OBJECTIVES))
    assert {"elbo", "iwae", "wake_sleep", "reweighted_wake_sleep"} <= set(models["vae"]["objectives"])
    assert {"wake_sleep", "reweighted_wake_sleep"} <= set(models["sigmoid_belief_network"]["objectives"])
    assert not {"elbo", "iwae"} & set(models["sigmoid_belief_network"]["objectives"])
    for row in (*models.values(), *objectives.values()):
        assert row["capability"]
        assert row["description"].endswith(".")
    assert "Neal 1992" in models["sigmoid_belief_network"]["citation"]


def test_list_in_words_has_the_same(cli):
    code, out, _ = cli("list")
    assert code == 0
    for name in (*MODELS, *OBJECTIVES):
        assert name in out
    assert "Kingma and Welling 2014" in out


# Sweep.

SWEEP = TINY + (
    "from genjax_models.axes import axis\n"
    "from genjax_models.sweep import Sweep\n"
    "SWEEP = Sweep(axis('optimizer.learning_rate', (1e-3, 1e-2)), block=1)\n"
)


def rows_of(folder: str) -> list[dict]:
    with Path(folder, "members.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def devices(monkeypatch):
    """There are devices already: the command must not ask for others."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", str(jax.device_count()))


def test_sweep_over_axes_from_the_shell(cli, devices):
    """With overrides, seeds and a block; the tables, then the folder; and members are runs."""
    words = ["--axis", "optimizer.learning-rate=log:1e-3:1e-2:2", "--seeds", "2", "--block", "1"]
    code, out, err = cli("sweep", "tiny.py", *words, "--training.num-steps", "10", "--run-dir", "here")
    assert (code, out) == (0, "here\n")
    assert "Settings by test_nll" in err
    points = [(float(row["optimizer.learning_rate"]), row["seed"], row["status"]) for row in rows_of("here")]
    assert points == [(rate, seed, "finished") for rate in (1e-3, 1e-2) for seed in "01"]
    config = json.loads(Path("here/members/3_learning_rate=0.01_seed=1/config.json").read_text())["config"]
    assert (config["training"]["num_steps"], config["seed"]) == (10, 1)
    member = Path("here", rows_of("here")[1]["folder"])
    code, out, err = cli("train", str(member))
    assert (code, out) == (0, f"{member}\n")
    assert "is finished" in err
    (member / "result.json").unlink()
    assert cli("train", str(member), "--quiet") == (0, f"{member}\n", "")
    code, out, _ = cli("evaluate", str(member), "--json")
    assert (code, json.loads(out)["test_nll"]) == (0, float(rows_of("here")[1]["test_nll"]))


def test_sweep_of_a_file(cli, devices):
    """As SWEEP has it; again it changes nothing; and other axes from the shell are another sweep."""
    Path("swept.py").write_text(SWEEP)
    shorter = ["--training.num-steps", "10", "--quiet"]
    code, out, err = cli("sweep", "swept.py", *shorter)
    assert (code, err) == (0, "")
    folder = out.strip()
    assert [row["optimizer.learning_rate"] for row in rows_of(folder)] == ["0.001", "0.01"]
    assert json.loads(Path(folder, "sweep.json").read_text())["block"] == 1
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(folder).rglob("*") if p.is_file()}
    assert cli("sweep", "swept.py", *shorter) == (0, out, "")
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(folder).rglob("*") if p.is_file()} == before
    code, _, err = cli("sweep", "swept.py", *shorter, "--axis", "optimizer.b1=0.5,0.6")
    assert code == 2
    assert f"{folder} holds another sweep: points differ" in err


@pytest.mark.parametrize(("words", "shape"), [([], {"points": 8}), (["--data-devices", "4"], {"points": 2, "data": 4})])
def test_devices_of_a_sweep(cli, devices, monkeypatch, words, shape):
    meshes = []

    def sweep_run(config, sweep, folder, data_dir, *, mesh, **rest):
        meshes.append(mesh)
        folder.mkdir()
        (folder / "summary.md").write_text("")

    monkeypatch.setattr("genjax_models.sweep_folder.sweep_run", sweep_run)
    assert cli("sweep", "tiny.py", "--seeds", "2", "--run-dir", "here", *words)[0] == 0
    assert [dict(mesh.shape) for mesh in meshes] == [shape]


def test_the_shell_stands_in_place_of_the_file(place):
    """Axes, seeds and block, each alone; SWEEP may also be axes, or absent."""
    (place / "swept.py").write_text(SWEEP)
    (place / "axes.py").write_text(SWEEP.replace("Sweep(axis", "(axis").replace(", block=1)", ")"))

    def read(name, *words):
        return load_sweep(load_file(name), parser().parse_args(["sweep", name, *words]))

    rates, decays = Axis("optimizer.learning_rate", (1e-3, 1e-2)), Axis("optimizer.b1", ("0.5", "0.6"))
    assert read("swept.py") == Sweep(rates, block=1)
    assert read("swept.py", "--seeds", "3") == Sweep(rates, seeds=3, block=1)
    assert read("swept.py", "--block", "4") == Sweep(rates, block=4)
    assert read("swept.py", "--axis", "optimizer.b1=0.5,0.6") == Sweep(product(decays), block=1)
    assert read("axes.py", "--seeds", "2") == Sweep(rates, seeds=2)
    assert read("tiny.py", "--seeds", "2") == Sweep(seeds=2)


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ([], ["nothing is swept"]),
        (["--axis", "model.latnet=2,3", "--axis", "seed=a,1"], ["Did you mean 'latent'", "seed: got 'a'"]),
        (["--axis", "model.latent", "--axis", "seed=log:1:2"], ["axis: got 'model.latent'", "seed: got 'log:1:2'"]),
        (["--axis", "training.batch_size=8,49"], ["training.batch_size: got 49, but the training data has 48"]),
        (["--axis", "data.path=bits.npy,absent.npy"], ["absent.npy"]),
        (["--seeds", "2", "--axis", "seed=1,2"], ["seed"]),
        (["--seeds", "0"], ["at least 1"]),
        (["--block", "0", "--seeds", "2"], ["at least 1"]),
        (["--data-devices", "3", "--seeds", "2"], ["data: got 3, expected a divisor of the 8 devices"]),
        (["--data-devices", "8", "--axis", "training.batch_size=8,12"], ["got 12, which 8 devices cannot share"]),
        (["--seeds", "2", "--model.latnet", "3"], ["Did you mean 'latent'"]),
    ],
    ids=lambda v: " ".join(v),
)
def test_wrong_sweeps(cli, devices, words, messages):
    """All that is wrong at once, with exit code 2, and no folder."""
    code, out, err = cli("sweep", "tiny.py", *words)
    assert (code, out) == (2, "")
    assert [message for message in messages if message not in err] == []
    assert not Path("runs").exists()


def test_wrong_sweeps_of_a_file(cli, devices):
    Path("bad.py").write_text(TINY + "SWEEP = 3\n")
    code, _, err = cli("sweep", "bad.py")
    assert code == 2
    assert "error: bad.py: expected SWEEP = " in err
    code, _, err = cli("sweep", "absent.py", "--seeds", "2")
    assert code == 2
    assert "absent.py: no such file" in err


# Progress.


def test_progress_in_a_terminal(place, monkeypatch):
    """Training is one line that is written over; dumb terminals have plain lines."""

    def begin(words: str, start: str) -> list[str]:
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        assert main(words.split()) == 0
        return [line.split("  ")[0] for line in terminal.screen() if line.startswith(start)]

    assert begin("train tiny.py", "step") == ["step 20/20"]
    assert begin("train tiny.py", "step") == []
    monkeypatch.setenv("TERM", "dumb")
    assert begin("train tiny.py --run-dir again", "step") == ["step 10/20", "step 20/20"]


@pytest.mark.parametrize(("command", "start"), [("evaluate", "test bound -"), ("sample", "samples.png\n")])
def test_quiet_commands_print_what_was_found_alone(cli, run, command, start):
    code, out, err = cli(command, run, "--quiet")
    assert (code, err) == (0, "")
    assert out.startswith(start)


# As a process.


def as_process(place: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-m", "genjax_models", *words], capture_output=True, text=True, cwd=place, env=environment
    )


def test_quiet_process_prints_the_folder_and_keeps_its_programs(place):
    """Compiled programs are kept in the user's cache folder, as XDG_CACHE_HOME has it."""
    done = as_process(place, "train", "tiny.py", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{Path('runs/tiny')}\n", "")
    assert any((place / "cache" / "genjax_models" / "xla").iterdir())


def test_an_output_that_is_no_longer_read_is_no_error():
    """As of `genjax-models list | head`: no message, and the code of a process that SIGPIPE ended."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, "-m", "genjax_models", "list"], stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")


def test_process_exits_with_2_and_a_message(place):
    done = as_process(place, "train", "absent.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: absent.py: no such file.\n"
