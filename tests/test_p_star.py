"""The distribution p* from the shell: its figures in results, its samples, and test images completed by it."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from runs import by_example

from genjax_models.cli import main
from genjax_models.commands.files import load_config
from genjax_models.data import Arrays, evaluation_subset
from genjax_models.errors import ConfigError, UserError
from genjax_models.evaluation import exact_log_p_star
from genjax_models.experiment import chosen_parameters, evaluate_run, hidden_pixels, load_data, sample_images
from genjax_models.run_folder import create_or_match, open_run

CONFIG = """from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.models import VAE, SigmoidBeliefNetwork
from genjax_models.objectives import ELBO, Bidirectional
from genjax_models.optimizers import Adam

CONFIG = Config(
    SigmoidBeliefNetwork((3, 2)), Bidirectional(5), Adam(1e-2), Arrays("bits.npy"),
    Training(200, batch_size=8, evaluate_every=200), Evaluation(500, distribution="p_star", num_z_samples=5000),
)
"""
ORDINARY = CONFIG.replace("SigmoidBeliefNetwork((3, 2)), Bidirectional(5)", "VAE(2), ELBO()").replace(
    ', distribution="p_star"', ""
)
# A pattern and its inverse: what is hidden can be told.
BITS = (np.random.RandomState(0).uniform(size=(60, 1, 1)) < 0.5) ^ np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The working folder: data, the trained `run` of a belief net, and runs that are refused before any training."""
    folder = tmp_path_factory.mktemp("p_star")
    np.save(folder / "bits.npy", BITS.astype(np.uint8))
    np.save(folder / "rows.npy", BITS.reshape(60, 8).astype(np.uint8))
    np.save(folder / "grey.npy", np.where(BITS, 0.9, 0.1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        patch.setenv("GENJAX_MODELS_DATA", str(folder))
        patch.chdir(folder)
        Path("net.py").write_text(CONFIG)
        Path("vae.py").write_text(ORDINARY)
        assert main(["train", "net.py", "--run-dir", "run", "--quiet"]) == 0
        net, vae = load_config("net.py"), load_config("vae.py")
        for name, config in [
            ("vae", vae),
            *((data, dataclasses.replace(net, data=Arrays(f"{data}.npy"))) for data in ("rows", "grey")),
        ]:
            create_or_match(Path(name), config, load_data(config, None)[1])
        yield folder


@pytest.fixture
def cli(place, capsys):
    """Runs a command: (exit code, stdout, stderr)."""
    capsys.readouterr()

    def run(*words):
        try:
            code = main(words)
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def test_results_have_the_figures_of_p_star(place):
    """They are the enumerated ones within their errors, and test_nll stays that of p."""
    result = json.loads(Path("run/result.json").read_text())
    run = open_run(Path("run"))
    params = chosen_parameters(run, print)[1]
    x = load_data(run.config, None)[0].test
    exact = exact_log_p_star(run.config.model.build(8), params, jnp.asarray(x, jnp.float32))
    error = result["test_nll_p_star_mean_estimator_error"]
    assert abs(result["test_nll_p_star_unnormalized"] + np.mean(exact.unnormalized)) < 4 * error < 0.2
    assert abs(result["log_z"] - exact.log_z_squared / 2) < 4 * result["log_z_standard_error"] < 0.2
    difference = result["test_nll_p_star"] - result["test_nll_p_star_unnormalized"]
    assert difference == pytest.approx(2 * result["log_z"], abs=1e-4)
    assert result["log_z_samples"] == 5000
    errors = (result["test_nll_p_star_unnormalized_standard_error"], 2 * result["log_z_standard_error"])
    assert result["test_nll_p_star_standard_error"] == pytest.approx(np.hypot(*errors), rel=1e-4)
    assert result["test_nll"] < result["test_nll_p_star_unnormalized"]
    kept = by_example(Path("run"))["test_examples_500_p_star.npz"]
    assert set(kept[1]) == {"nll", "bound", "nll_p_star_unnormalized"}


def test_evaluate_and_its_summary(cli):
    """As configured, or under the distribution that is asked for; the summary has a line for p*."""
    result = json.loads(Path("run/result.json").read_text())
    code, out, _ = cli("evaluate", "run")
    assert code == 0
    first, second = out.splitlines()
    assert f"test NLL {result['test_nll']:.2f}" in first
    assert f"p* {result['test_nll_p_star_unnormalized']:.2f} +- " in second
    assert f"{result['test_nll_p_star']:.2f} +- " in second
    assert f"log Z {result['log_z']:.2f} +- " in second
    code, out, _ = cli("evaluate", "run", "--distribution", "p", "--json")
    assert code == 0
    assert json.loads(out)["test_nll"] == result["test_nll"]
    assert "log_z" not in json.loads(out)
    assert evaluate_run(Path("run"), None, None, print)["log_z"] == result["log_z"]


def test_samples_are_from_p_star_where_that_is_asked_for(cli):
    """Their frequencies of a unit are those of p*(x), enumerated; p's samples are another picture."""
    run = open_run(Path("run"))
    params = chosen_parameters(run, print)[1]
    states = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(np.float32)
    exact = exact_log_p_star(run.config.model.build(8), params, jnp.asarray(states))
    # As many at a time as in samples.png, whose program is there.
    drawn = np.concatenate([sample_images(run, params, 100, seed) for seed in range(5)])
    error = np.std(drawn, axis=0) / np.sqrt(500)
    assert np.all(np.abs(np.mean(drawn, axis=0) - np.exp(exact.log_prob) @ states) < 4 * error + 0.01)
    for name in ("p", "p_star"):
        assert cli("sample", "run", "--distribution", name, "--out", f"{name}.png", "--overwrite")[0] == 0
    assert cli("sample", "run", "--out", "same.png")[0] == 0
    pictures = [Path(f"{name}.png").read_bytes() for name in ("p", "p_star", "same")]
    assert pictures[0] != pictures[1] == pictures[2]


def tiles(path, columns, rows):
    """The images of a picture with two rows and four columns of pixels, [rows, columns, 2, 4], one value a pixel."""
    picture = imread(path)[..., 0]
    enlarge = picture.shape[0] // (3 * rows + 1)
    assert picture.shape == ((3 * rows + 1) * enlarge, (5 * columns + 1) * enlarge)
    grid = picture[::enlarge, ::enlarge]
    inner = grid[1:].reshape(rows, 3, -1)[:, :2, 1:]
    return inner.reshape(rows, 2, columns, 5)[..., :4].transpose(0, 2, 1, 3)


def test_inpaint(cli):
    """A row has the truth, what is seen, and completions that keep what is seen and mostly find what was hidden."""
    code, out, err = cli("inpaint", "run", "--hide", "right", "--num", "4", "--out", "x.png")
    assert (code, out) == (0, "x.png\n")
    assert "4 test images" in err
    found = tiles("x.png", 8, 4)
    truth = evaluation_subset(load_data(open_run(Path("run")).config, None)[0].test, 4).reshape(4, 2, 4)
    np.testing.assert_array_equal(found[:, 0], truth)
    np.testing.assert_allclose(found[:, 1, :, 2:], 0.5, atol=0.01)
    np.testing.assert_array_equal(found[:, 1:, :, :2], np.repeat(truth[:, None, :, :2], 7, axis=1))
    hidden = np.abs(found[:, 2:, :, 2:] - truth[:, None, :, 2:])
    assert np.mean(hidden) < 0.3
    assert cli("inpaint", "run", "--out", "x.png")[0] == 2
    assert (
        cli("inpaint", "run", "--hide", "right", "--num", "4", "--out", "x.png", "--overwrite", "--seed", "2")[0] == 0
    )
    assert not np.array_equal(tiles("x.png", 8, 4), found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vae"], "VAE cannot complete examples: inpaint takes a network's conditionals, or p*"),
        (["rows"], "image_shape"),
        (["grey"], "neither 0 nor 1"),
        (["run", "--hide", "middle"], "--hide: got 'middle'"),
        (["run", "--hide", "1.5"], "--hide: got '1.5'"),
        (["run", "--num", "0"], "at least 1"),
        (["run", "--seed", "-1"], "seed: got -1"),
        (["run", "--num", "4", "--out", "absent/x.png"], "absent/x.png cannot be written"),
        (["run", "--out", "x.jpg"], "x.jpg: pictures are written as PNG"),
        (["absent"], "no run here"),
    ],
)
def test_inpaint_refuses(cli, words, message):
    code, out, err = cli("inpaint", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("inpainted.png").exists()


def test_models_without_p_star_are_refused(cli):
    """Before anything is trained, and by name."""
    code, _, err = cli("train", "vae.py", "--run-dir", "none", "--evaluation.distribution", "p_star")
    assert code == 2
    assert "evaluation.distribution" in err
    assert "VAE" in err
    assert not Path("none").exists()
    for command in (["evaluate"], ["sample", "--out", "vae.png"]):
        code, _, err = cli(command[0], "vae", "--distribution", "p_star", *command[1:])
        assert code == 2
        assert "VAE" in err
    with pytest.raises(ConfigError, match="'q'"):
        evaluate_run(Path("run"), None, None, print, "q")


def test_hidden_pixels():
    """The half that is named, less the middle row of an odd height; a fraction of each image, in all its channels."""
    shape = (3, 2)
    top = hidden_pixels("top", shape, 2, 0).reshape(2, 3, 2)
    bottom = hidden_pixels("bottom", shape, 2, 0).reshape(2, 3, 2)
    np.testing.assert_array_equal(top, [[[True] * 2, [False] * 2, [False] * 2]] * 2)
    np.testing.assert_array_equal(bottom, top[:, ::-1])
    left = hidden_pixels("left", (1, 4), 1, 0)
    np.testing.assert_array_equal(left, [[True, True, False, False]])
    np.testing.assert_array_equal(hidden_pixels("right", (1, 4), 1, 0), ~left)
    some = hidden_pixels("0.3", (10, 10, 3), 5, 0).reshape(5, 100, 3)
    np.testing.assert_array_equal(some[..., 0].sum(axis=1), 30)
    assert np.all(some == some[..., :1])
    assert not np.array_equal(some[0], some[1])
    assert not np.array_equal(some, hidden_pixels("0.3", (10, 10, 3), 5, 1).reshape(5, 100, 3))
    for wrong in ("0", "1", "nan", "", "all"):
        with pytest.raises(UserError, match="--hide"):
            hidden_pixels(wrong, shape, 1, 0)
