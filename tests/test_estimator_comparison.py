"""Estimators compared on a run: the command, its table and picture, and what it refuses."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from toys import worst

from genjax_models import checkpoints
from genjax_models.cli import main
from genjax_models.errors import ConfigError, ModelError
from genjax_models.estimator_comparison import Stage, fit_own, fitting_objectives, measure, stages_of
from genjax_models.evaluation import gradient_statistics
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.objectives import OBJECTIVES, VIMCO, nvil, straight_through, wake_sleep
from genjax_models.plots import save_estimators
from genjax_models.run_folder import open_run

TINY = """from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import VIMCO
from genjax_models.optimizers import Adam

CONFIG = Config(SigmoidBeliefNetwork((3, 2)), VIMCO(num_particles=3), Adam(), Arrays("bits.npy"),
                Training(20, batch_size=8, evaluate_every=10, chunk=10), Evaluation(10))
"""
BITS = (np.random.RandomState(0).uniform(size=(60, 6)) < 0.4).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with data, a run, its table as JSON and its picture, which the command made."""
    folder = tmp_path_factory.mktemp("trained")
    np.save(folder / "bits.npy", BITS)
    (folder / "tiny.py").write_text(TINY)
    where = ["--data-dir", str(folder)]
    names = ("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")
    before = {name: getattr(jax.config, name) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        run = str(folder / "run")
        assert main(["train", str(folder / "tiny.py"), "--run-dir", run, "--quiet", *where]) == 0
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def cli(trained, tmp_path, monkeypatch, capsys):
    """Runs `estimators` on a copy of the run, in an empty working folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(trained / "xla"))
    monkeypatch.setenv("GENJAX_MODELS_DATA", str(tmp_path))
    shutil.copytree(trained / "run", "run")
    shutil.copy(trained / "bits.npy", "bits.npy")

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["estimators", *words])
        except SystemExit as exit:
            code = exit.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def test_the_command_measures_and_draws(cli):
    """A row for each stage and estimator, as JSON and as a table; the picture is another for other figures."""
    words = ("run", "--objectives", "vimco,straight_through", "--num-draws", "6", "--batch", "5")
    code, out, err = cli(*words, "--json", "--out", "a.png")
    found = json.loads(out)
    assert code == 0
    assert (found["batch_size"], found["num_draws"]) == (5, 6)
    rows = found["estimators"]
    expected = [(step, name) for step in (0, 10, 20) for name in ("vimco", "straight_through")]
    assert [(row["step"], row["objective"]) for row in rows] == expected
    for row in rows:
        assert row["seconds"] > 0
        assert set(row["variance"]) == set(row["signal_to_noise"]) == {"generative", "recognition"}
        assert row["variance"]["recognition"] > 0
    assert "a.png" in err
    assert imread("a.png").ndim == 3

    code, table, _ = cli(*words)
    assert code == 0
    assert Path("estimators.png").exists()
    lines = table.splitlines()
    assert len(lines) == 7
    for line, row in zip(lines[1:], rows, strict=True):
        step, name, variance, ratio, milliseconds = line.split()
        # The same keys give the same draws; the time is another.
        assert (int(step), name) == (row["step"], row["objective"])
        assert float(variance) == pytest.approx(row["variance"]["recognition"], rel=1e-3)
        assert float(ratio) == pytest.approx(row["signal_to_noise"]["recognition"], rel=1e-2)
        assert float(milliseconds) > 0


def test_the_command_refuses(cli):
    """What is wrong is said in a line, with exit code 2, and no picture is made or replaced."""
    Path("mine.png").write_text("mine")
    refused = {
        ("run", "--out", "mine.png"): "mine.png exists",
        ("nowhere",): "no run here",
        ("run", "--objectives", "vimko"): "Did you mean 'vimco'?",
        ("run", "--objectives", "weighted_sum"): "got 'weighted_sum'",
        ("run", "--objectives", ""): "got ''",
        ("run", "--objectives", "elbo"): "elbo follows gradients through the samples",
        ("run", "--num-draws", "1"): "at least 2",
        ("run", "--batch", "49"): "the training data has 48 examples",
        ("run", "--batch", "0"): "at least 1",
    }
    for words, message in refused.items():
        code, out, err = cli(*words)
        assert (code, out) == (2, ""), words
        assert message in err, words
    np.save("bits.npy", 1 - BITS)
    code, _, err = cli("run")
    assert code == 2
    assert "other data" in err
    assert Path("mine.png").read_text() == "mine"
    assert not Path("estimators.png").exists()


def test_stages_are_the_start_and_what_checkpoints_survive(trained, tmp_path):
    """The parameters that training starts from, then those of whole checkpoints; a damaged one is left out, by name."""
    shutil.copytree(trained / "run", tmp_path / "run")
    run, said = open_run(tmp_path / "run"), []
    x = jnp.asarray(BITS[:48])
    stages = stages_of(run, x, said.append)
    assert [stage.step for stage in stages] == [0, 10, 20]
    assert said == []
    assert worst(stages[0].params, stages[1].params) > 1e-4
    first, _ = checkpoints.paths(run.checkpoints)
    (first / checkpoints.MANIFEST).write_text("{}")
    assert [stage.step for stage in stages_of(run, x, said.append)] == [0, 20]
    assert len(said) == 1
    assert "Left out" in said[0]


def test_objectives_are_those_that_fit():
    """All that build on the model but sums; a class of its own configuration is taken with that."""
    model = sigmoid_belief_network(4, layers=(2,))
    own = VIMCO(num_particles=7)
    found = fitting_objectives(model, own=own)
    assert found["vimco"] == own
    assert {"wake_sleep", "nvil", "concrete", "straight_through"} <= set(found)
    assert not {"elbo", "iwae", "weighted_sum"} & set(found)
    assert set(fitting_objectives(vae(4, latent=2))) >= {"elbo", "iwae", "wake_sleep"}
    assert list(fitting_objectives(model, ["vimco", "nvil", "vimco"])) == ["vimco", "nvil"]
    assert fitting_objectives(model, ["vimco"])["vimco"] == OBJECTIVES["vimco"]()
    with pytest.raises(ConfigError, match="got none"):
        fitting_objectives(model, [])
    with pytest.raises(ModelError, match="elbo"):
        fitting_objectives(model, ["elbo"])


def test_baselines_are_fitted_with_the_model_held_still():
    """NVIL's baseline and moments move, and take variance away; objectives without any are left alone."""
    model = sigmoid_belief_network(6, layers=(3,))
    params = model.init(jax.random.key(0), jnp.zeros(6), ())
    x, key = jnp.asarray(BITS, jnp.float32), jax.random.key(1)
    objective = nvil(model, normalize=False)
    start, fitted = fit_own(objective, params, key, x, 0, 20), fit_own(objective, params, key, x, 400, 20)
    assert (int(start[1][0].batches), int(fitted[1][0].batches)) == (0, 400)
    before, after = (
        gradient_statistics(objective, params, key, x[:20], 100, own_and_state=own).groups["recognition"].variance
        for own in (start, fitted)
    )
    assert after < 0.7 * before
    assert fit_own(wake_sleep(model), params, key, x) == ((), ())


def test_rows_are_what_gradient_statistics_finds():
    model = sigmoid_belief_network(6, layers=(2,))
    stages = [Stage(step, model.init(jax.random.key(step), jnp.zeros(6), ())) for step in (3, 1)]
    x, key = jnp.asarray(BITS, jnp.float32), jax.random.key(1)
    objective = straight_through(model)
    rows = measure({"a": objective}, stages, x, x[:4], key, num_draws=5)
    assert [row["step"] for row in rows] == [1, 3]
    for row, stage in zip(rows, reversed(stages), strict=True):
        drawing = jax.random.split(jax.random.fold_in(key, stage.step))[1]
        found = gradient_statistics(objective, stage.params, drawing, x[:4], 5).groups
        assert row["variance"] == {group: float(s.variance) for group, s in found.items()}


def rows_of(*figures):
    return [
        {"step": step, "objective": name, "seconds": s, "variance": {"recognition": v}} for step, name, s, v in figures
    ]


FIGURES = rows_of((0, "one", 1e-3, 2.0), (0, "other", 2e-3, 0.1), (5, "one", 1e-3, 1.0), (5, "other", 1e-3, 1.0))


@pytest.mark.parametrize(
    ("rows", "panels"),
    [
        (FIGURES, 2),
        (FIGURES[:1], 1),
        (rows_of((0, "none", 1e-3, 0.0), (0, "not finite", 1e-3, None)), 1),
        (rows_of(*((step, "one", 1e-3, 1.0) for step in range(9))), 4),
    ],
    ids=["coinciding", "single", "nothing to draw", "many stages"],
)
def test_save_estimators_is_a_picture(tmp_path, rows, panels):
    """A panel a stage, four at most, also where points coincide or there are none."""
    save_estimators(tmp_path / "x.png", rows, "$name_")
    picture = imread(tmp_path / "x.png")
    assert picture.shape[:2] == (576, round((1.2 + 4.2 * panels) * 120))


def test_save_estimators_shows_the_figures(tmp_path):
    """Equal figures give equal pictures, and one that differs does not."""
    other = [*FIGURES[:-1], {**FIGURES[-1], "variance": {"recognition": 3.0}}]
    for name, rows in {"a": FIGURES, "b": FIGURES, "c": other}.items():
        save_estimators(tmp_path / name, rows, "name")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
