"""Generative adversarial networks (Goodfellow et al. 2014)."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import ImplicitModel
from genjax_models.distributions import standard_normal
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.networks import MLP, Network

Prior = Literal["uniform", "normal"]
Data = Literal["unit", "real"]
PRIOR_HELP = "of z: uniform on [-1, 1], or standard normal, each unit by itself"
DATA_HELP = "unit for x in [0, 1], by a sigmoid of the network's output; real for that output itself"


def draw_latent(key: jax.Array, size: int, prior: Prior) -> jax.Array:
    """z [size]."""
    if prior == "normal":
        return standard_normal(key, (size,))
    return jax.random.uniform(key, (size,), jnp.result_type(float), -1, 1)


def emit(data: Data, out: jax.Array) -> jax.Array:
    """x [D] from a network's output."""
    return jax.nn.sigmoid(out) if data == "unit" else out


class Critic(nn.Module):
    """x -> a number: the logit of D(x), or the value of a Wasserstein critic."""

    network: nn.Module

    def __call__(self, x, c=()):
        return self.network(x)[0]


class GANModule(nn.Module):
    """x = G(z) with z from the prior, and a critic."""

    generative: nn.Module
    critic: nn.Module
    latent: int
    prior: Prior
    data: Data

    def sample(self, key, c=()):
        return emit(self.data, self.generative(draw_latent(key, self.latent, self.prior)))


@config
class GAN(ModelConfig):
    """Generative adversarial network: a generator of x, and a critic that tells samples from data."""

    capability: ClassVar[str] = "ImplicitModel"
    citation: ClassVar[str] = "Goodfellow et al. 2014; Radford, Metz and Chintala 2016"

    latent: int = field(default=64, ge=1, help="units Z of z")
    prior: Prior = field(default="uniform", help=PRIOR_HELP)
    generator: Network = field(default=MLP(), help="the network from z to x")
    critic: Network = field(default=MLP(activation="leaky_relu"), help="the network that judges x")
    data: Data = field(default="unit", help=DATA_HELP)

    def check(self) -> list[str]:
        if self.critic.normalization in ("group", "layer") and self.critic.layers < 2:
            kind = self.critic.normalization
            return [
                f"critic.normalization: got {kind!r}, which spares the layer that sees x, the only one; leave it None."
            ]
        sizes = {network.visible for network in (self.generator, self.critic)} - {None}
        if len(sizes) > 1:
            return [f"generator and critic have an image_shape of different sizes, {sizes}; give the same."]
        return []

    @property
    def data_support(self) -> str:
        return self.data

    @property
    def least_visible(self) -> int:
        return self.generator.visible or self.critic.visible or 1

    def build(self, visible: int) -> ImplicitModel:
        """The model of x with `visible` units; ConfigError for images of another size."""
        critic = Critic(self.critic.encoder(1, visible))
        module = GANModule(self.generator.decoder(visible), critic, self.latent, self.prior, self.data)
        return as_model(ImplicitModel, module)


def gan(visible: int, **fields) -> ImplicitModel:
    """A generator x = G(z), z uniform or normal, with a critic; trained by `adversarial`.

    Args:
        visible: units D of an example.
        **fields: those of `GAN`: `latent`, `prior`, `generator` and `critic` (`models.networks.MLP` or
            `Convolutional`, with group, layer or spectral normalization), `data`. Group and layer normalization take
            an example's own units, and leave out the layer of the critic that sees x.

    Returns:
        An `ImplicitModel` with `critic`; its parameter groups are "generative" and "critic".

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or an image shape of another size.

    Example:
        >>> critic = Convolutional(channels=(32, 64), activation="leaky_relu")
        >>> model = gan(784, latent=100, generator=Convolutional(), critic=critic)
        >>> params = model.init(jax.random.key(0), jnp.zeros(784), ())
        >>> model.critic(params, model.sample(params, jax.random.key(1), ()), ()).shape
        ()

    Reference:
        Goodfellow et al., "Generative adversarial nets", 2014; Radford, Metz and Chintala 2016; Goodfellow et al. 2016,
        section 20.10.4.
    """
    return build_from_fields(GAN, visible, fields)
