"""What is said of data before a run begins."""

import numpy as np
import pytest

from genjax_models.config import Config, Training, config
from genjax_models.data import Arrays, Dataset
from genjax_models.errors import DataError
from genjax_models.models import GAN, MADE, NADE, NICE, VAE, RecurrentLikelihood, VariationalRNN
from genjax_models.models.units import Categorical, Gaussian
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.preparation import load_data, log_kind_of_data

RANDOM = np.random.RandomState(0)
REALS = RANDOM.normal(size=(30, 4)).astype(np.float32)
LEVELS = (RANDOM.randint(0, 5, (30, 4)) / 4).astype(np.float32)


@config
class Given(Arrays):
    """Three equal parts of an array that tests put here."""

    path: str = "given"
    x = None
    support = "real"
    levels = None
    mask = None

    @property
    def dynamic(self):
        return False

    def check(self):
        return []

    def load(self, data_dir=None):
        parts, masks = np.split(self.x, 3), (None,) * 3 if self.mask is None else np.split(self.mask, 3)
        return Dataset(*parts, self.support, None, self.levels, None, *masks)


def source(x, support, levels=None, mask=None):
    found = Given()
    for name, value in (("x", x), ("support", support), ("levels", levels), ("mask", mask)):
        object.__setattr__(found, name, value)
    return found


def told(model, data):
    configuration, lines = Config(model, ELBO(), Adam(), data, Training(batch_size=5)), []
    log_kind_of_data(configuration, data.load(), lines.append)
    return " ".join(lines)


@pytest.mark.parametrize("model", [VAE(likelihood=Gaussian()), NICE(), GAN()])
def test_contexts_that_a_model_does_not_take_are_told(model):
    mask = np.ones((30, 2), np.float32)
    assert f"which {type(model).__name__} does not take" in told(model, source(REALS, "real", mask=mask))
    assert told(model, source(REALS, "real")) == ""


@pytest.mark.parametrize(
    "model", [VariationalRNN(frame=2, likelihood=Gaussian()), VAE(conditional=True, likelihood=Gaussian())]
)
def test_contexts_that_a_model_takes_are_not(model):
    assert told(model, source(REALS, "real", mask=np.ones((30, 2), np.float32))) == ""


def test_densities_of_whole_numbers_are_told():
    whole = np.round(3 * REALS)
    assert "whole numbers, on which a density has no limit" in told(NICE(), source(whole, "real"))
    assert "whole numbers" in told(VAE(likelihood=Gaussian()), source((REALS > 0).astype(np.float32), "binary"))
    assert told(RecurrentLikelihood(frame=2), source((REALS > 0).astype(np.float32), "binary")) == ""


@pytest.mark.parametrize("model", [NADE(units=Categorical(3)), MADE(units=Categorical(3))])
def test_levels_that_the_data_do_not_have_are_refused(model):
    """Else values were rounded, and what they were rounded to given a probability."""

    def load(x, levels):
        given = source(x, "unit", levels)
        return load_data(Config(model, MaximumLikelihood(), Adam(), given, Training(batch_size=5)), None)

    with pytest.raises(DataError, match=r"Given, train split: \d+ of 40 values are none of the 3 grey levels k / 2"):
        load(LEVELS, 3)
    load(np.round(2 * LEVELS) / 2, 3)
