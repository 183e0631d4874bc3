"""Figures in the units of the papers: bits per dimension, nats in a flow's logit space, nats by time step."""

import math

import numpy as np
import pytest
from runs import Log, by_example

from genjax_models.config import Config, Training
from genjax_models.data import Arrays, Digits
from genjax_models.errors import DataError
from genjax_models.experiment import train_run
from genjax_models.measuring import per_step
from genjax_models.models import MADE, MAF, VAE, VariationalRNN
from genjax_models.models.networks import MLP
from genjax_models.models.units import Categorical, Gaussian
from genjax_models.objectives import ELBO, FIVO, MaximumLikelihood
from genjax_models.optimizers import Adam

LOGIT = 0.05


def run(folder, model, data, objective=None):
    config = Config(
        model=model,
        objective=objective or MaximumLikelihood(),
        optimizer=Adam(learning_rate=1e-3),
        data=data,
        training=Training(num_steps=4, batch_size=50, evaluate_every=4, chunk=4),
    )
    log = Log()
    return train_run(config, folder, None, log=log), log


def test_flow_of_dequantized_digits(tmp_path):
    """Both conversions, from the dequantized test split itself."""
    data = Digits(binarization="none", dequantization="dynamic")
    result, log = run(tmp_path / "run", MAF(layers=1, hidden=(8,), logit=LOGIT), data)
    x = data.load().test.astype(np.float64)
    inner = LOGIT + (1 - 2 * LOGIT) * x
    slopes = np.log((1 - 2 * LOGIT) / (inner * (1 - inner))).sum(axis=1).mean()
    assert result["test_nll_in_logit_space"] == pytest.approx(result["test_nll"] + slopes, abs=1e-3)
    bits = result["test_nll"] / 64 / math.log(2) + math.log2(17)
    assert result["test_bits_per_dim"] == pytest.approx(bits, abs=1e-9)
    # A uniform density on [0, 1) has log2(17) bits; a flow that has hardly begun is not far from it.
    assert abs(bits - math.log2(17)) < 2
    assert not any("intensities" in line for line in log)


def test_levels_as_they_are(tmp_path):
    """A model of the levels' probabilities: bits are nats in other units; untrained near log2(17)."""
    model = MADE(hidden=(8,), units=Categorical(levels=17))
    result, log = run(tmp_path / "run", model, Digits(binarization="none"))
    assert result["test_bits_per_dim"] == pytest.approx(result["test_nll"] / 64 / math.log(2), abs=1e-9)
    assert 3 < result["test_bits_per_dim"] < 5
    assert "test_nll_in_logit_space" not in result
    assert not any("intensities" in line for line in log)


def test_sequences_are_measured_by_time_step(tmp_path):
    """Both estimates of log p(x), importance weighted and by filters, by sequence and by step."""
    bits = np.random.RandomState(0).uniform(size=(100, 3, 4)) < 0.3
    np.save(tmp_path / "bits.npy", bits.reshape(100, 12).astype(np.uint8))
    model = VariationalRNN(frame=4, latent=2, hidden=4, features=4)
    result, _ = run(tmp_path / "run", model, Arrays(str(tmp_path / "bits.npy")), FIVO(num_particles=2))
    for name in ("test_nll", "test_nll_particle_filter"):
        for figure in ("", "_standard_error"):
            by_step = result[f"{name}_per_step{figure}"]
            assert by_step == pytest.approx(result[f"{name}{figure}"] / 3, rel=1e-9)
    assert result["test_nll_particle_filter"] == pytest.approx(result["test_nll"], abs=0.1)
    assert set(by_example(tmp_path / "run")["test_examples_1000.npz"][1]) == {"nll", "bound", "nll_particle_filter"}


def test_figures_by_step_weigh_sequences_by_their_length():
    """The ratio of totals, and its error by the delta method, near that of many redrawn sets of sequences."""
    random = np.random.RandomState(0)
    steps = random.randint(1, 30, size=200)
    nll = 2.0 * steps + random.normal(size=200) * np.sqrt(steps)
    found = per_step("nll", nll, steps)
    assert found["nll_per_step"] == pytest.approx(nll.sum() / steps.sum(), rel=1e-12)
    rows = random.randint(200, size=(4000, 200))
    redrawn = nll[rows].sum(axis=1) / steps[rows].sum(axis=1)
    assert found["nll_per_step_standard_error"] == pytest.approx(redrawn.std(), rel=0.1)


def test_bernoulli_figures_have_no_bits(tmp_path):
    result, log = run(tmp_path / "run", MADE(hidden=(8,)), Digits(binarization="none"))
    assert "test_bits_per_dim" not in result
    assert any("cross-entropies" in line for line in log)


def test_density_of_levels_is_warned_of(tmp_path):
    model = VAE(latent=2, encoder=MLP((8,), "tanh"), decoder=MLP((8,), "tanh"), likelihood=Gaussian())
    _, log = run(tmp_path / "run", model, Digits(binarization="none"), ELBO())
    assert any("a density has no limit there" in line for line in log)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Digits(binarization="none"), "units with 16 levels, but Digits has 17"),
        (Digits(), "units with 16 levels, but Digits has none that are known"),
        (Digits(binarization="none", dequantization="fixed"), "units with 16 levels, but Digits has none"),
    ],
)
def test_levels_must_be_those_of_the_data(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        run(tmp_path / "run", MADE(hidden=(8,), units=Categorical(levels=16)), data)
    assert not (tmp_path / "run").exists()
