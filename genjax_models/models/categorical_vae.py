"""Variational autoencoders with categorical latents (Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017)."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.networks import Network
from genjax_models.models.units import LIKELIHOOD_HELP, Bernoulli, Emission, Likelihood, LikelihoodConfig
from genjax_models.models.vae import TANH, check_images


class Decoder(nn.Module):
    """p(x | z)."""

    network: nn.Module
    emission: Emission

    def __call__(self, z):
        return self.emission(self.network(z.ravel()))


class CategoricalVAEModule(nn.Module):
    """Latents of C classes each, uniform under p, independent under q(z | x). One group, one-hot rows [Z, C]."""

    reparameterized: ClassVar[bool] = False
    support: ClassVar[str] = "one_hot"

    generative: Decoder
    recognition: nn.Module
    latent: int
    classes: int

    def class_logits(self, x, c=()):
        return self.recognition(x).reshape(self.latent, self.classes)

    def _one_hot(self, index):
        return jax.nn.one_hot(index, self.classes, dtype=jnp.result_type(float))

    def sample_joint(self, key, c=()):
        above, below = jax.random.split(key)
        z = self._one_hot(jax.random.randint(above, (self.latent,), 0, self.classes))
        return z, self.generative.emission.units.sample(below, self.generative(z))

    def propose(self, key, x, c=()):
        logits = self.class_logits(x)
        z = self._one_hot(jax.random.categorical(key, logits))
        return z, (jnp.sum(z * jax.nn.log_softmax(logits)),)

    def log_joint(self, z, x, c=()):
        prior = -math.log(self.classes) * jnp.sum(z)
        return Joint(self.generative.emission.units.log_prob(self.generative(z), x), (prior,))

    def log_posterior(self, z, x, c=()):
        return (jnp.sum(z * jax.nn.log_softmax(self.class_logits(x))),)

    def decode(self, z, c=()):
        return self.generative.emission.units.mean(self.generative(z))

    def kl(self, x, c=()):
        return (jnp.sum(self.kl_by_dimension(x)[0]),)

    def kl_by_dimension(self, x, c=()):
        log_q = jax.nn.log_softmax(self.class_logits(x))
        return (jnp.sum(jnp.exp(log_q) * log_q, axis=-1) + math.log(self.classes),)


@config
class CategoricalVAE(LikelihoodConfig):
    """Variational autoencoder with categorical latents, uniform under p and independent under q(z | x)."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017"

    latent: int = field(default=20, ge=1, help="latents Z")
    classes: int = field(default=10, ge=2, help="classes C of each")
    encoder: Network = field(default=TANH, help="the network from x to the logits of the classes")
    decoder: Network = field(default=TANH, help="the network from z to what p(x | z) is made of")
    likelihood: Likelihood = field(default=Bernoulli(), help=LIKELIHOOD_HELP)

    def check(self) -> list[str]:
        return check_images(self.encoder, self.decoder)

    @property
    def least_visible(self) -> int:
        return self.encoder.visible or self.decoder.visible or 1

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units; ConfigError for images of another size."""
        decoder = Decoder(
            self.decoder.decoder(visible, self.likelihood.outputs or 1), Emission(self.likelihood, visible)
        )
        encoder = self.encoder.encoder(self.latent * self.classes, visible)
        return as_model(LatentVariableModel, CategoricalVAEModule(decoder, encoder, self.latent, self.classes))


def categorical_vae(visible: int, **fields) -> LatentVariableModel:
    """A variational autoencoder with categorical latents, trained by `gumbel_softmax` or by the score estimators.

    Args:
        visible: units D of an example.
        **fields: those of `CategoricalVAE`: `latent` Z, `classes` C; `encoder` and `decoder`, of `models.networks`;
            `likelihood`, of `models.units`.

    Returns:
        A `LatentVariableModel` with z of shape [Z, C], each row one-hot, and the KL in closed form.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = categorical_vae(64, latent=10, classes=4)

    Reference:
        Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", 2017.
    """
    return build_from_fields(CategoricalVAE, visible, fields)
