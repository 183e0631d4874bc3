"""Generative moment matching networks (Li, Swersky and Zemel 2015)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import ImplicitModel
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.gan import DATA_HELP, PRIOR_HELP, Data, Prior, draw_latent, emit
from genjax_models.models.layers import Activation
from genjax_models.models.networks import Perceptron


class Autoencoder(nn.Module):
    """x to a code in [0, 1]^Z by sigmoid layers, and back by their mirror image."""

    visible: int
    sizes: tuple[int, ...]  # from x on; the last is the code's

    def setup(self):
        *hidden, code = self.sizes
        self.encoder = Perceptron(tuple(hidden), code, "sigmoid")
        self.decoder = Perceptron(tuple(reversed(hidden)), self.visible, "sigmoid")

    def encode(self, x):
        return jax.nn.sigmoid(self.encoder(x))

    def __call__(self, code):
        """What x is emitted from, [D]."""
        return self.decoder(code)


class MomentMatchingGeneratorModule(nn.Module):
    """x = G(z), or the decoded x of a code G(z)."""

    generative: nn.Module
    autoencoder: Any  # an Autoencoder, or None
    latent: int
    prior: Prior
    data: Data

    @property
    def lacks(self) -> tuple[str, ...]:
        coded = ("encode", "decode", "sample_code", "reconstruction_error")
        return coded if self.autoencoder is None else ()

    def _generate(self, key):
        return self.generative(draw_latent(key, self.latent, self.prior))

    def sample_code(self, key, c=()):
        return jax.nn.sigmoid(self._generate(key))

    def encode(self, x, c=()):
        return self.autoencoder.encode(x)

    def decode(self, code, c=()):
        return emit(self.data, self.autoencoder(code))

    def sample(self, key, c=()):
        if self.autoencoder is None:
            return emit(self.data, self._generate(key))
        return self.decode(self.sample_code(key, c), c)

    def reconstruction_error(self, x, c=()):
        out = self.autoencoder(self.encode(x, c))
        if self.data == "unit":
            return jnp.sum(jax.nn.softplus(out) - x * out)
        return 0.5 * jnp.sum((x - out) ** 2)


@config
class MomentMatchingGenerator(ModelConfig):
    """Generative moment matching network, on x or on the codes of an autoencoder."""

    capability: ClassVar[str] = "ImplicitModel"
    citation: ClassVar[str] = "Li, Swersky and Zemel 2015"

    latent: int = field(default=10, ge=1, help="units of z")
    prior: Prior = field(default="uniform", help=PRIOR_HELP)
    hidden: tuple[int, ...] = field(default=(64, 256, 256, 1024), ge=1, help="hidden layers, from z on")
    activation: Activation = field(default="relu", help="after every hidden layer of the generator")
    autoencoder: tuple[int, ...] | None = field(
        default=None, ge=1, nonempty=True, help="the encoder's layers from x on, down to the code; None for no codes"
    )
    data: Data = field(default="unit", help=DATA_HELP)

    @property
    def data_support(self) -> str:
        return self.data

    def build(self, visible: int) -> ImplicitModel:
        """The model of x with `visible` units."""
        codes = self.autoencoder
        generator = Perceptron(self.hidden, visible if codes is None else codes[-1], self.activation)
        autoencoder = None if codes is None else Autoencoder(visible, codes)
        module = MomentMatchingGeneratorModule(generator, autoencoder, self.latent, self.prior, self.data)
        return as_model(ImplicitModel, module)


def moment_matching_generator(visible: int, **fields) -> ImplicitModel:
    """A generator x = G(z), z uniform on [-1, 1]^Z, to be trained by `moment_matching`.

    With an autoencoder G emits codes in [0, 1], and x is what the decoder makes of one. The autoencoder's layers are
    sigmoids, without the dropout that the paper trains it with; it is trained beside the generator instead of before.

    Args:
        visible: units D of an example.
        **fields: those of `MomentMatchingGenerator`: `latent`, `prior`, `hidden`, `activation`, `autoencoder`, `data`.

    Returns:
        An `ImplicitModel`, its parameters in the group "generative"; with an autoencoder, its parameters in the group
        "autoencoder", also `encode`, `decode`, `sample_code`, and `reconstruction_error`, a cross-entropy in nats for
        x in [0, 1] and half the squared distance for real x.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = moment_matching_generator(784, autoencoder=(1024, 32))

    Reference:
        Li, Swersky and Zemel, "Generative moment matching networks", 2015, sections 3 and 5; Goodfellow et al. 2016,
        section 20.10.5.
    """
    return build_from_fields(MomentMatchingGenerator, visible, fields)
