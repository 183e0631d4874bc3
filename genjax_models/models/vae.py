"""Variational autoencoders (Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014)."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.distributions import Bernoulli, Normal
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.layers import MLP, Activation

Likelihood = Literal["bernoulli", "gaussian"]


class Decoder(nn.Module):
    """p(x | z): the parameters of the visible units as a function of the latents."""

    visible: int
    hidden: tuple[int, ...]
    activation: Activation
    likelihood: Likelihood
    scale: float | None

    def setup(self):
        self.network = MLP(self.hidden, self.visible, self.activation)
        if self.likelihood == "gaussian" and self.scale is None:
            self.log_scale = self.param("log_scale", nn.initializers.zeros_init(), (self.visible,))

    def __call__(self, z):
        out = self.network(z)
        if self.likelihood == "bernoulli":
            return Bernoulli(out)
        return Normal(out, self.log_scale if self.scale is None else jnp.log(self.scale))


class Encoder(nn.Module):
    """q(z | x): a diagonal Gaussian, its two parameters from one network."""

    latent: int
    hidden: tuple[int, ...]
    activation: Activation

    def setup(self):
        self.network = MLP(self.hidden, 2 * self.latent, self.activation)

    def __call__(self, x):
        loc, log_scale = jnp.split(self.network(x), 2, axis=-1)
        return Normal(loc, log_scale)


class VAEModule(nn.Module):
    """z ~ N(0, I), x ~ p(x | z); q(z | x) = N(loc(x), diag(scale(x)^2)). One latent group, an array [Z]."""

    reparameterized: ClassVar[bool] = True
    support: ClassVar[str] = "real"

    visible: int
    latent: int
    encoder_hidden: tuple[int, ...]
    decoder_hidden: tuple[int, ...]
    activation: Activation
    likelihood: Likelihood
    scale: float | None

    def setup(self):
        self.generative = Decoder(self.visible, self.decoder_hidden, self.activation, self.likelihood, self.scale)
        self.recognition = Encoder(self.latent, self.encoder_hidden, self.activation)

    def sample_joint(self, key, c=()):
        above, below = jax.random.split(key)
        z = jax.random.normal(above, (self.latent,))
        return z, self.generative(z).sample(below)

    def propose(self, key, x, c=()):
        z, log_q = self.recognition(x).sample_and_log_prob(key)
        return z, (log_q,)

    def log_joint(self, z, x, c=()):
        prior = Normal(jnp.zeros_like(z), jnp.zeros(())).log_prob_of_noise(z)
        return Joint(self.generative(z).log_prob(x), (prior,))

    def log_posterior(self, z, x, c=()):
        return (self.recognition(x).log_prob(z),)

    def decode(self, z, c=()):
        return self.generative(z).mean()

    def kl(self, x, c=()):
        return (self.recognition(x).kl_to_standard(),)

    def kl_by_dimension(self, x, c=()):
        loc, log_scale = self.recognition(x)
        return (Normal(loc[..., None], log_scale[..., None]).kl_to_standard(),)

    def posterior_moments(self, x, c=()):
        loc, log_scale = self.recognition(x)
        return loc, jnp.exp(log_scale)


@config
class VAE(ModelConfig):
    """Variational autoencoder: Gaussian latents, networks for p(x | z) and for a diagonal Gaussian q(z | x)."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014"

    latent: int = field(default=50, ge=1, help="latent units Z")
    encoder_hidden: tuple[int, ...] = field(default=(200, 200), ge=1, help="hidden layers of q(z | x), from x on")
    decoder_hidden: tuple[int, ...] = field(default=(200, 200), ge=1, help="hidden layers of p(x | z), from z on")
    activation: Activation = field(default="tanh", help="after every hidden layer")
    likelihood: Likelihood = field(default="bernoulli", help="bernoulli for x in [0, 1], gaussian for real x")
    scale: float | None = field(
        default=None, gt=0, help="the gaussian likelihood's standard deviation; None learns one a visible unit"
    )

    def check(self) -> list[str]:
        if self.likelihood == "bernoulli" and self.scale is not None:
            return [f"scale: got {self.scale!r} with the bernoulli likelihood, which has none; leave it None."]
        return []

    @property
    def data_support(self) -> str:
        """The values that p(x | z) is defined on."""
        return "unit" if self.likelihood == "bernoulli" else "real"

    @property
    def density(self) -> bool:
        """Whether p(x | z) is a density of a scale without limit."""
        return self.likelihood == "gaussian" and self.scale is None

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units."""
        module = VAEModule(
            visible=visible,
            latent=self.latent,
            encoder_hidden=self.encoder_hidden,
            decoder_hidden=self.decoder_hidden,
            activation=self.activation,
            likelihood=self.likelihood,
            scale=self.scale,
        )
        return as_model(LatentVariableModel, module)


def vae(visible: int, **fields) -> LatentVariableModel:
    """A variational autoencoder of x in [0, 1]^visible or R^visible.

    Args:
        visible: units D of an example.
        **fields: those of `VAE`: `latent`, `encoder_hidden`, `decoder_hidden`, `activation`, `likelihood`, `scale`.

    Returns:
        A `LatentVariableModel` with z of shape [latent], reparameterized, with the KL in closed form.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = vae(64, latent=8)
        >>> params = model.init(jax.random.key(0), jnp.zeros(64), ())
        >>> model.decode(params, jnp.zeros(8), ()).shape
        (64,)

    Reference:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2014; Goodfellow et al. 2016, section 20.10.3.
    """
    return build_from_fields(VAE, visible, fields)
