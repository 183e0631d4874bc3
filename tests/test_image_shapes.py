"""What is refused before anything of a configuration runs."""

import re

import numpy as np
import pytest

from genjax_models import preparation
from genjax_models.config import Config, Training
from genjax_models.data import Arrays
from genjax_models.errors import ConfigError
from genjax_models.models import DRAW, GAN, VAE, PixelCNN, RealNVP
from genjax_models.models.networks import MLP, Convolutional
from genjax_models.objectives import ELBO, Adversarial, MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.preparation import prepare

LIKELIHOOD, SHAPE, TURNED = MaximumLikelihood(), (4, 8), (8, 4)
FEW = Training(batch_size=4)
DRAWN = DRAW(image_shape=TURNED, read=2, write=2)
IMPLICIT = GAN(generator=Convolutional(SHAPE), critic=Convolutional(TURNED))
NETWORKS = VAE(encoder=Convolutional(SHAPE), decoder=Convolutional(TURNED))


def bits(place, *shape):
    np.save(place / "x.npy", np.random.RandomState(0).randint(0, 2, (40, *shape)).astype(np.uint8))
    return Arrays(str(place / "x.npy"))


@pytest.mark.parametrize(
    ("model", "objective", "path"),
    [
        (PixelCNN(image_shape=TURNED), LIKELIHOOD, "model.image_shape"),
        (RealNVP(image_shape=TURNED, hidden=(4, 4)), LIKELIHOOD, "model.image_shape"),
        (DRAWN, ELBO(), "model.image_shape"),
        (NETWORKS, ELBO(), "model.decoder.image_shape"),
        (IMPLICIT, Adversarial(), "model.critic.image_shape"),
        (VAE(encoder=Convolutional(TURNED), decoder=MLP((8,))), ELBO(), "model.encoder.image_shape"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_another_image_shape_than_the_datas_is_refused(tmp_path, monkeypatch, model, objective, path):
    """One of as many values, in whichever part of a model, before shapes are traced."""
    monkeypatch.delattr(preparation, "check_training_data")
    got = model.image_shape if path == "model.image_shape" else TURNED
    message = f"{path}: got {got}, but Arrays has images of shape {SHAPE}; give that shape."
    with pytest.raises(ConfigError, match=re.escape(message)):
        prepare(Config(model, objective, Adam(), bits(tmp_path, *SHAPE), FEW), None)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (PixelCNN(image_shape=(4, 8, 1)), (4, 8)),
        (PixelCNN(image_shape=(4, 8)), (4, 8, 1)),
        (PixelCNN(image_shape=TURNED), (32,)),  # the data do not say
        (RealNVP(), (4, 8)),
    ],
)
def test_image_shapes_that_fit(tmp_path, model, shape):
    """A channel alone may be left out; a model of vectors takes images of any shape."""
    _, _, spec = prepare(Config(model, LIKELIHOOD, Adam(), bits(tmp_path, *shape), FEW), None)
    assert spec.visible == 32
