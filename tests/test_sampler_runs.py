"""Runs of samplers, which have no log p(x): they train, choose checkpoints by their distance, and are tested by it."""

import dataclasses

import jax
import numpy as np
import pytest
from runs import Log, read_json

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Bars, Gaussians
from genjax_models.errors import ConfigError
from genjax_models.evaluation import mmd_squared
from genjax_models.experiment import evaluate_run, sample_run, train_run
from genjax_models.measuring import mode_figures, sample_images, with_neighbours
from genjax_models.models import GAN, MomentMatchingGenerator
from genjax_models.models.networks import MLP
from genjax_models.objectives import Adversarial, MomentMatching
from genjax_models.optimizers import Adam
from genjax_models.run_folder import open_run, read_metrics
from genjax_models.sweep import run_sweep

BARS = Bars(size=3, num_train=400, num_validation=60, num_test=80)
MATCHING = Config(
    model=MomentMatchingGenerator(latent=4, hidden=(16, 16)),
    objective=MomentMatching(bandwidths=(1.0, 4.0)),
    optimizer=Adam(learning_rate=1e-2),
    data=BARS,
    training=Training(num_steps=120, batch_size=50, evaluate_every=40, chunk=40),
    evaluation=Evaluation(num_samples=200),
)
GAME = dataclasses.replace(
    MATCHING,
    model=GAN(latent=4, generator=MLP(hidden=(16,)), critic=MLP(hidden=(16,), activation="leaky_relu")),
    objective=Adversarial(critic_updates=2),
)


@pytest.mark.parametrize("config", [MATCHING, GAME], ids=["moment_matching", "adversarial"])
def test_a_run_from_start_to_samples(tmp_path, config):
    folder, log = tmp_path / "run", Log()
    result = train_run(config, folder, None, log=log)
    rows = read_metrics(folder / "metrics.jsonl", 120)
    assert [row["step"] for row in rows] == [40, 80, 120]
    shown = f"train_{config.objective.metric}"
    assert all(np.isfinite(row[shown]) for row in rows)
    # The checkpoint of the smallest distance is the one that is tested.
    distances = [row["validation_mmd_squared"] for row in rows]
    assert result["validation_mmd_squared"] == pytest.approx(min(distances), abs=1e-7)
    assert result["evaluated_step"] == rows[int(np.argmin(distances))]["step"]
    assert "test_nll" not in result
    assert 0 < result["test_two_sample_p_value"] <= 1
    assert read_json(folder / "result.json")["test_parzen_samples"] == 200
    for name in ("samples.png", "neighbours.png", "curves.png"):
        assert (folder / name).is_file()
    assert not list(folder.glob("test_examples*"))
    again = evaluate_run(folder, None, None, log)
    for name in ("test_mmd_squared", "test_parzen_log_likelihood", "test_parzen_sigma"):
        assert again[name] == pytest.approx(result[name], rel=1e-5)
    assert sample_run(folder, 6, tmp_path / "six.png", 0, False, log).is_file()
    assert not any("cross-entropies" in line for line in log)


def test_neighbours_of_training_rows_are_themselves():
    data = BARS.load()
    rows = data.train[:5].astype(np.float32)
    pairs = with_neighbours(rows, data).reshape(5, 2, -1)
    np.testing.assert_array_equal(pairs[:, 0], rows)
    np.testing.assert_array_equal(pairs[:, 1], rows)


def test_moment_matching_comes_near(tmp_path):
    """The distance on the test split, found again from the definition, falls by training."""
    folder = tmp_path / "run"
    result = train_run(MATCHING, folder, None, log=Log())
    x = BARS.load().test.astype(np.float32)
    run = open_run(folder)
    fresh = MATCHING.model.build(9)
    params = fresh.init(jax.random.key(3), x[0], ())
    untrained = mmd_squared(x, sample_images(run, params, 80), (1.0, 4.0))
    assert result["test_mmd_squared"] < untrained / 4


def test_sweep_of_samplers():
    result = run_sweep(MATCHING, {"optimizer.learning_rate": (1e-2, 1e-5)}, block=1)
    assert result.validation["mmd_squared"][0] < result.validation["mmd_squared"][1]
    assert np.isnan(result.nll).all()


def test_best_by_what_is_not_measured(tmp_path):
    config = dataclasses.replace(MATCHING, evaluation=Evaluation(best_by="bound"))
    with pytest.raises(ConfigError, match="best_by: got 'bound', which is not measured; expected one of mmd_squared"):
        train_run(config, tmp_path / "run", None, log=Log())


def test_modes_of_a_known_mixture_are_counted(tmp_path):
    source = Gaussians(modes=4, extent=1.0, std=0.1, num_train=50, num_validation=20, num_test=20)
    # Two of the four means, three samples at one, and one sample that is 0.4 from the other.
    samples = np.array([[1, 0], [1, 0], [1, 0], [-1.4, 0]], np.float32)
    figures = mode_figures(source, samples)
    assert (figures["test_modes"], figures["test_modes_covered"]) == (4, 1)
    assert figures["test_high_quality_samples"] == 0.75
    exact = 0.75 * np.log(0.75 * 4) + 0.25 * np.log(0.25 * 4)
    assert figures["test_modes_divergence"] == pytest.approx(exact, rel=1e-6)
    assert mode_figures(BARS, samples) == {}
    model = MomentMatchingGenerator(latent=2, hidden=(4,), data="real")
    short = dataclasses.replace(MATCHING, model=model, data=source, training=Training(num_steps=2, batch_size=10))
    result = train_run(short, tmp_path / "run", None, log=Log())
    assert result["test_modes"] == 4
    assert 0 <= result["test_modes_covered"] <= 4
