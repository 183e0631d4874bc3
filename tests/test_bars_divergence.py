"""The exact divergence of wake-sleep on bars, which the paper reports."""

import jax
import numpy as np
import pytest
import toys
from benchmarks.bars_divergence import divergence, divergence_of_run

from genjax_models.commands.files import load_config
from genjax_models.data import Bars
from genjax_models.errors import DataError
from genjax_models.evaluation import divergence_in_bits
from genjax_models.experiment import train_run

CONFIG = "configs/wake_sleep_bars.py"


def test_divergence_by_enumeration_of_all_images(x64):
    """The same as over all 2^4 images, those that cannot occur included, of a net written out a second time."""
    bars, net = Bars(size=2), toys.net((2, 1), 4)
    log_model = jax.vmap(lambda x: toys.net_log_marginal(net, net.params, x))(net.x)
    assert abs(np.exp(log_model).sum() - 1) < 1e-12
    true = np.zeros(16)
    for x, p in zip(*bars.distribution(), strict=True):
        true[(net.x == x).all(axis=1)] += p
    terms = true * (np.log2(np.where(true > 0, true, 1)) - np.asarray(log_model) / np.log(2))
    assert abs(divergence(bars, net.model, net.params) - terms.sum()) < 1e-10


def test_what_is_no_distribution_is_refused():
    net = toys.net((2, 1), 4)
    for probability in (np.full(2, 0.5), np.full(16, 1 / 15), np.eye(16)[0]):
        with pytest.raises(DataError, match="divergence_in_bits"):
            divergence_in_bits(net.x, probability, net.model, net.params)


@pytest.mark.slow
def test_wake_sleep_learns_bars(tmp_path, pytestconfig):
    """As low as the paper's 0.10 bits, or lower."""
    train_run(load_config(str(pytestconfig.rootpath / CONFIG)), tmp_path / "run")
    assert divergence_of_run(tmp_path / "run") < 0.10
