"""The command `quality`: samples and data by the same classifier, and what is refused."""

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from genjax_models import checkpoints, quality
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation
from genjax_models.data import Bars, Digits, binarize, evaluation_subset
from genjax_models.errors import ConfigError, DataError, RunError, UserError
from genjax_models.evaluation import sample_quality, train_classifier
from genjax_models.measuring import chosen_parameters
from genjax_models.models import VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.preparation import prepare
from genjax_models.quality import DRAWS, MEANS, measure_quality
from genjax_models.run_folder import DataSpec, create_or_match, open_run

VAE_CONFIG = Config(
    VAE(3, MLP((8,), "tanh"), MLP((8,), "tanh")),
    ELBO(),
    Adam(),
    Digits("none"),
    evaluation=Evaluation(2, test_examples=20, validation_examples=20),
)
SBN_CONFIG = Config(SigmoidBeliefNetwork((3,)), WakeSleep(), Adam(), Digits("dynamic"))
# Trained for a moment: what is tested is not what it reaches.
QUICK = {"network": MLP((8,)), "width": 4, "num_steps": 20}


def quiet(line: str) -> None:
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    def train(key, x, labels, held_out, network):
        return train_classifier(key, x, labels, held_out, **QUICK)

    monkeypatch.setattr(quality, "train_classifier", train)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder of two runs with their initial parameters."""
    folder = tmp_path_factory.mktemp("runs")
    for name, config in (("vae", VAE_CONFIG), ("sbn", SBN_CONFIG)):
        train, data, spec = prepare(config, None)
        run, _ = create_or_match(folder / name, config, spec)
        checkpoints.save(run.checkpoints, train.init(config, jax.random.key(0), data.train), 0.0, None, (0.0, 0))
    return folder


def test_samples_and_data_are_measured_by_one_classifier(runs, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(runs / "xla"))
    words = ["quality", str(runs / "vae"), "--num", "50", "--classifier-seed", "3"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["runs"]["vae"]) == ["step", DRAWS, MEANS]
    assert found["runs"]["vae"]["step"] == 0
    assert found["runs"]["vae"][DRAWS] != found["runs"]["vae"][MEANS]
    assert found["test_examples"] == 50  # of all 500, not of the 20 that the run itself is evaluated on

    data, labels = Digits("none").load(), Digits("none").labels()
    trained = train_classifier(jax.random.key(3), data.train, labels.train, (data.test, labels.test), **QUICK)
    assert found["classifier"]["test_accuracy"] == trained.accuracy
    real = trained.features(evaluation_subset(data.test, 50))
    assert found["test_variance"] == pytest.approx(np.trace(np.cov(real.T)), rel=1e-6)
    for name, x in (("training data", data.train), ("validation data", data.validation)):
        expected = sample_quality(real, trained.features(evaluation_subset(x, 50)))
        assert found["data"][name] == pytest.approx({"examples": 50, **expected._asdict()}, rel=1e-6)

    assert main(words) == 0
    table = " ".join(capsys.readouterr().out.split())
    for word in ("vae, draws of x", "vae, means E[x|z]", "training data", "not the Inception features"):
        assert word in table
    assert f"{found['data']['training data']['recall']:.3f}" in table


def test_expectations_are_left_out_where_data_are_binary(runs):
    run = open_run(runs / "vae")
    params, data = chosen_parameters(run, quiet)[1], Digits("none").load()
    assert list(quality._samples(run, params, 50, data._replace(support="binary"))) == [DRAWS]


def test_p_star_and_more_samples_than_training_examples(runs, monkeypatch):
    """Draws of p* that are the training examples themselves have the figures of those, which are drawn as binary."""
    grey = Digits("dynamic").load().train
    binary = binarize(jax.random.fold_in(jax.random.key(0), 1), grey)

    def draw(model, params, key, num):
        assert model.support == "binary"
        return SimpleNamespace(x=evaluation_subset(binary, num))

    monkeypatch.setattr(quality, "sample_p_star", draw)
    lines: list[str] = []
    found = measure_quality([runs / "sbn"], num=2000, distribution="p_star", log=lines.append)
    assert any("1097 samples, as many as there are training examples" in line for line in lines)
    assert set(found["runs"]["sbn"]) == {"step", "draws of x of p*"}
    assert found["runs"]["sbn"]["draws of x of p*"] == found["data"]["training data"]
    assert found["data"]["training data"]["examples"] == 1097
    assert found["test_examples"] == 500


def bare(folder: Path, data) -> Path:
    """A run folder that nothing was trained in."""
    create_or_match(folder, Config(VAE_CONFIG.model, ELBO(), Adam(), data), DataSpec(9, (3, 3), (10, 10, 10), 0))
    return folder


def test_what_cannot_be_compared_is_said_before_a_classifier_is_trained(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "train_classifier", None)
    measure = functools.partial(measure_quality, log=quiet)
    with pytest.raises(DataError, match="Bars has no labels"):
        measure([bare(tmp_path / "bars", Bars())])
    with pytest.raises(RunError, match=r"is on other data than .*digits-binarization=dynamic and digits-binarization"):
        measure([runs / "vae", runs / "sbn"])
    with pytest.raises(RunError, match="train it first"):
        measure([bare(tmp_path / "digits", Digits())])
    with pytest.raises(ConfigError, match="p\\* is the geometric mean"):
        measure([runs / "vae"], distribution="p_star")
    with pytest.raises(UserError, match="no run folders"):
        measure([])
    with pytest.raises(UserError, match="num: got 5, with 1097 training and 500 test examples; expected at least 6"):
        measure([runs / "vae"], num=5)
    with pytest.raises(UserError, match="classifier_seed: got -1"):
        measure([runs / "vae"], classifier_seed=-1)


def test_samples_that_are_not_finite_are_told(runs, monkeypatch):
    monkeypatch.setattr(quality, "_samples", lambda run, params, num, data: {DRAWS: np.full((num, 64), np.nan)})
    with pytest.raises(RunError, match="20 of 20 draws of x are not finite; the model has diverged"):
        measure_quality([runs / "vae"], num=20, log=quiet)
