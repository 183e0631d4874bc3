"""The commands `diagnose` and `spectra`: what they write, what they refuse; and the pictures of latents."""

import dataclasses
import hashlib
import html
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from genjax_models import checkpoints
from genjax_models import diagnostic_plots as plots
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Digits, PlantedDigits
from genjax_models.diagnosis import (
    FIGURES,
    PICTURES,
    compare_spectra,
    diagnose_run,
    draw_reconstructions,
    summary,
)
from genjax_models.diagnostic_plots import Latent
from genjax_models.errors import ConfigError, ModelError, RunError, UserError
from genjax_models.experiment import train_run
from genjax_models.models import MADE, VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO, MaximumLikelihood, WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.preparation import prepare
from genjax_models.report import report_runs
from genjax_models.run_folder import DataSpec, create_or_match

SOURCE = PlantedDigits(square=3)
CONFIG = Config(
    VAE(3, MLP((8,), "tanh"), MLP((8,), "tanh"), Gaussian(0.5)),
    ELBO(),
    Adam(),
    SOURCE,
    Training(20, batch_size=50, evaluate_every=20, chunk=20),
    Evaluation(2, test_examples=20, validation_examples=20),
)


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    train_run(CONFIG, folder, log=quiet)
    return folder


@pytest.fixture(scope="module")
def diagnosed(run) -> Path:
    """The folder that `diagnose` makes of it, by the command line."""
    out = run.parent / "diagnostics"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(run.parent / "xla"))
        assert main(["diagnose", str(run), "--out", str(out), "--num", "12"]) == 0
    return out


def test_diagnose_writes_figures_that_agree(diagnosed, run):
    found = json.loads((diagnosed / FIGURES).read_text())
    assert sorted(p.name for p in diagnosed.iterdir()) == sorted((FIGURES, *PICTURES))
    for name in PICTURES:
        picture = imread(diagnosed / name)
        assert min(picture.shape[:2]) > 150
        assert picture[..., :3].std() > 0.02
    assert found["left_out"] == {}
    assert found["run_sha256"] == hashlib.sha256((run / "config.json").read_bytes()).hexdigest()
    assert (found["step"], found["examples"], found["latents"]) == (20, 12, 3)
    rows = found["by_latent"]
    assert [row["kl"] for row in rows] == sorted((row["kl"] for row in rows), reverse=True)
    assert sorted(row["unit"] for row in rows) == [0, 1, 2]
    assert sum(row["active"] for row in rows) == found["active_units"]
    assert all(row["active"] == (row["variance_of_mean"] > 0.01) for row in rows)
    assert sum(row["kl"] for row in rows) == pytest.approx(found["kl_by_group"][0], rel=1e-4)
    assert found["rate"] == pytest.approx(found["kl_by_group"][0], rel=1e-4)
    assert found["bound"] == pytest.approx(-found["rate"] - found["distortion"], rel=1e-4)
    gaps = found["refinement"]
    assert gaps["bound_before"] + gaps["amortization_gap"] == pytest.approx(gaps["bound_after"], rel=1e-4)
    assert gaps["bound_after"] + gaps["approximation_gap"] == pytest.approx(gaps["log_prob"], rel=1e-4)
    assert gaps["amortization_gap"] > 0
    assert set(found["spectra"]["ratio"]) == {"draws of x", "means E[x|z]", "reconstructions E[x|z]"}
    assert len(found["spectra"]["frequency"]) == 5
    # Noise of scale 1/2 has power 1/4 everywhere, which draws have and means lack.
    power = found["spectra"]["power_of_data"][-1]
    ratios = {kind: values[-1] for kind, values in found["spectra"]["ratio"].items()}
    assert power * (ratios["draws of x"] - ratios["means E[x|z]"]) == pytest.approx(0.25, rel=0.2)
    assert abs(found["planted"]["response_to_planted"]) < 1


def test_a_run_says_what_its_reconstructions_make_of_planted_squares(run, diagnosed):
    """In its result as well, of all test images that a square changes."""
    result = json.loads((run / "result.json").read_text())
    found = json.loads((diagnosed / FIGURES).read_text())["planted"]["response_to_planted"]
    assert result["test_response_to_planted"] == pytest.approx(found, abs=0.1)
    assert result["test_response_to_planted_standard_error"] > 0


def test_diagnose_overwrites_nothing_unless_told(diagnosed, run, capsys, tmp_path):
    before = {p.name: p.read_bytes() for p in diagnosed.iterdir()}
    words = ["diagnose", str(run), "--out", str(diagnosed)]
    assert main(words) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in diagnosed.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    assert main([*words[:2], "--out", str(tmp_path / "file"), "--overwrite"]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def bare(folder: Path, **changes) -> Path:
    """A run folder that nothing was trained in."""
    config = Config(**{"model": CONFIG.model, "objective": ELBO(), "optimizer": Adam(), "data": SOURCE, **changes})
    create_or_match(folder, config, DataSpec(64, (8, 8), (10, 10, 10), 0))
    return folder


def test_what_cannot_be_diagnosed_is_said_before_anything_is_written(tmp_path):
    nets = {
        "sbn": (
            {"model": SigmoidBeliefNetwork((5,)), "objective": WakeSleep()},
            "those of SigmoidBeliefNetwork are binary",
        ),
        "made": ({"model": MADE((5,)), "objective": MaximumLikelihood()}, "a LikelihoodModel, does not have"),
    }
    for name, (changes, words) in nets.items():
        with pytest.raises(ModelError, match=words):
            diagnose_run(bare(tmp_path / name, **changes), tmp_path / "out", log=quiet)
    with pytest.raises(RunError, match="train it first"):
        diagnose_run(bare(tmp_path / "vae"), tmp_path / "out", log=quiet)
    with pytest.raises(RunError, match="no run here"):
        diagnose_run(tmp_path, tmp_path / "out", log=quiet)
    with pytest.raises(UserError, match="num_examples: got 1"):
        diagnose_run(tmp_path / "vae", tmp_path / "out", num_examples=1, log=quiet)
    assert not (tmp_path / "out").exists()


def test_spectra_compares_runs(run, tmp_path, capsys):
    out = tmp_path / "spectra.png"
    words = ["spectra", str(run), str(run), "--out", str(out), "--num", "20"]
    assert main(words) == 0
    captured = capsys.readouterr()
    for word in ("draws of x", "means E[x|z]", "reconstructions E[x|z]", "0.500"):
        assert word in captured.out
    assert imread(out)[..., :3].std() > 0.02
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err


def test_spectra_refuses_what_it_cannot_compare(run, tmp_path):
    flat, wide = bare(tmp_path / "flat"), bare(tmp_path / "wide")
    for folder, shape in ((flat, None), (wide, [4, 16])):
        document = json.loads((folder / "config.json").read_text())
        document["data"]["image_shape"] = shape
        (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match="no images"):
        compare_spectra([run, flat], tmp_path / "x.png", log=quiet)
    with pytest.raises(RunError, match="different shapes"):
        compare_spectra([run, wide], tmp_path / "x.png", log=quiet)
    with pytest.raises(UserError, match="no run folders"):
        compare_spectra([], tmp_path / "x.png", log=quiet)
    with pytest.raises(ConfigError, match="num: got 0"):
        compare_spectra([run], tmp_path / "x.png", num=0, log=quiet)


def test_a_page_measures_what_was_not_yet(run, diagnosed, tmp_path):
    """`report` of a run that was not diagnosed: the same figures and pictures, and nothing new in the run folder."""
    before = sorted(run.rglob("*"))
    report_runs([run], tmp_path / "page.html", num_examples=12, log=quiet)
    text = html.unescape((tmp_path / "page.html").read_text())
    for line in summary(json.loads((diagnosed / FIGURES).read_text())).splitlines():
        assert line.replace("+-", "±") in text
    assert text.count("data:image/png;base64,") == 1 + len(PICTURES)
    assert sorted(run.rglob("*")) == before


def test_reconstructions_of_binary_latents(tmp_path):
    """A belief net's are drawn too; a network without latents has none."""
    net = dataclasses.replace(CONFIG, model=SigmoidBeliefNetwork((3,)), objective=WakeSleep(), data=Digits())
    train, data, spec = prepare(net, None)
    run, _ = create_or_match(tmp_path / "net", net, spec)
    checkpoints.save(run.checkpoints, train.init(net, jax.random.key(0), data.train), 0.0, None, (0.0, 0))
    picture = draw_reconstructions(run.folder, tmp_path / "out", log=quiet)
    assert imread(picture)[..., :3].std() > 0.02
    made = dataclasses.replace(net, model=MADE(), objective=MaximumLikelihood())
    other, _ = create_or_match(tmp_path / "made", made, spec)
    with pytest.raises(ModelError, match="reconstructions needs a model with latents"):
        draw_reconstructions(other.folder, tmp_path / "none", log=quiet)
    assert not (tmp_path / "none").exists()


# Pictures.


def latents(number, kl=True, groups=1):
    return [
        Latent(i % groups, i // groups, 1 / (i + 1) if kl else None, 10.0 ** -(i % 5), i % 5 < 2, 0.1, 1.0, 0.0, 1.0)
        for i in range(number)
    ]


@pytest.mark.parametrize(("number", "kl", "groups"), [(1, True, 1), (40, True, 2), (300, True, 1), (30, False, 3)])
def test_pictures_of_few_and_many_latents(tmp_path, number, kl, groups):
    given = latents(number, kl, groups)
    plots.save_latents(tmp_path / "a.png", given, [1.0] * groups, 0.01, "$ title")
    z = np.random.RandomState(0).normal(size=(2, 50, min(2, number)))
    plots.save_aggregate_posterior(tmp_path / "b.png", *z, ["0", "1"][:number], given, "$ title")
    for name in ("a.png", "b.png"):
        picture = imread(tmp_path / name)
        assert picture.shape[1] <= 14 * 120
        assert picture[..., :3].std() > 0.02


def test_pictures_without_spread(tmp_path):
    """One example, and gaps that are all the same."""
    plots.save_refinement(tmp_path / "a.png", {"a": (-1.0, 0.0)}, {"gap": np.zeros(1)}, "t")
    plots.save_rate_distortion(tmp_path / "b.png", np.ones(1), np.ones(1), "t")
    assert imread(tmp_path / "a.png").size
    assert imread(tmp_path / "b.png").size


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (40, 30)])
def test_rows_of_images_show_them_all(tmp_path, shape):
    x = np.random.RandomState(0).uniform(size=(6, math.prod(shape)))
    plots.save_rows(tmp_path / "a.png", x, shape, 3, ["first $", "second"], "t")
    plots.save_rows(
        tmp_path / "b.png", np.where(np.arange(6)[:, None] == 5, 0, x), shape, 3, ["first $", "second"], "t"
    )
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
