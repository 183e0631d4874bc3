"""The command `anneal`: figures beside the exact ones of a linear Gaussian model, and refusals."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models.annealing_report import check_likelihood
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.errors import ModelError
from genjax_models.evaluation import exact_log_marginal
from genjax_models.experiment import train_run
from genjax_models.measuring import chosen_parameters
from genjax_models.models import FVSBN, VAE
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.run_folder import open_run
from genjax_models.sweep_report import with_error

QUICK = Training(2, batch_size=8, evaluate_every=2, chunk=2)


def train(folder, values, model, objective):
    np.save(folder / "values.npy", values)
    config = Config(model, objective, Adam(), Arrays(str(folder / "values.npy")), QUICK, Evaluation(2))
    train_run(config, folder / "run", log=lambda line: None)
    return folder / "run"


def test_figures_beside_the_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    values = np.random.RandomState(0).normal(size=(60, 3)).astype(np.float32)
    model = VAE(latent=2, encoder=MLP(()), decoder=MLP(()), likelihood=Gaussian(1.0))
    folder = train(tmp_path, values, model, ELBO())
    command = ["anneal", str(folder), "--num", "4", "--chains", "24", "--temperatures", "8", "--leapfrog-steps", "3"]
    assert main([*command, "--samples", "2000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    run = open_run(folder)
    _, params, _ = chosen_parameters(run, print)
    test = run.config.data.load().test
    truth = np.asarray(exact_log_marginal(run.config.model.build(3), params, jnp.asarray(test)))
    assert found["test_examples"] == 4
    # All test examples fall within their range, and those that were drawn lie close to both estimates.
    assert truth.min() - 0.5 < found["importance_weighted"] < truth.max() + 0.5
    assert abs(found["annealed"] - found["importance_weighted"]) < 0.5
    np.testing.assert_allclose(found["difference"], found["annealed"] - found["importance_weighted"], atol=1e-5)
    np.testing.assert_allclose(found["simulated_gap"], found["simulated_upper"] - found["simulated_lower"], atol=1e-5)
    assert abs(found["simulated_gap"]) < 0.5
    assert main([*command, "--samples", "50"]) == 0
    table = capsys.readouterr().out
    assert "4 test examples" in table
    assert with_error(found["annealed"], found["annealed_standard_error"], "+-") in table


def test_what_has_no_latents_is_refused(tmp_path):
    bits = (np.random.RandomState(0).uniform(size=(60, 4)) < 0.4).astype(np.uint8)
    folder = train(tmp_path, bits, FVSBN(), MaximumLikelihood())
    with pytest.raises(ModelError, match=r"anneal: FVSBN has no latents to anneal.*result.json is exact"):
        check_likelihood(folder, log=lambda line: None)
