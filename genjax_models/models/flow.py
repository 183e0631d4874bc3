"""Invertible generators, x = g(z) with z ~ N(0, I) of the same size (Goodfellow et al. 2016, equations 20.71 to 20.73).

    log p(x) = log N(g^-1(x); 0, I) + log |det d g^-1(x) / dx|

`inverse` is x -> z with the log-determinant of its Jacobian, `forward` is z -> x, as in the contract; so they are for
elementwise maps, with a log-slope a unit, and for the networks that are made of these.
"""

import math
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LikelihoodModel
from genjax_models.distributions import Normal, standard_normal
from genjax_models.models.adapter import as_model

# exp(8) = 3,000: wide enough for any one layer, and ten layers of it stay inside float32.
LOG_SCALE_BOUND = 8.0
LOGIT_HELP = (
    "alpha: x in [0, 1] becomes logit(alpha + (1 - 2 alpha) x) before anything is learned, its Jacobian counted; None "
    "takes real x as it is"
)


def bounded(raw: jax.Array) -> jax.Array:
    """A log-scale from a network's output: it itself near zero, and never beyond +-`LOG_SCALE_BOUND`."""
    return LOG_SCALE_BOUND * jnp.tanh(raw / LOG_SCALE_BOUND)


class Affine(NamedTuple):
    """x_i = loc_i + exp(log_scale_i) z_i."""

    loc: jax.Array
    log_scale: jax.Array  # broadcasts against loc

    def inverse(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(z, log dz_i/dx_i), each as x."""
        return (x - self.loc) * jnp.exp(-self.log_scale), jnp.broadcast_to(-self.log_scale, x.shape)

    def forward(self, z: jax.Array) -> jax.Array:
        """x."""
        return self.loc + jnp.exp(self.log_scale) * z


class Logit(NamedTuple):
    """y_i = logit(alpha + (1 - 2 alpha) x_i), for x in [0, 1] (Dinh, Sohl-Dickstein and Bengio 2017, section 4.1)."""

    alpha: float

    def inverse(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(y, log dy_i/dx_i), each as x; the latter -inf outside the range of `forward`, where p(x) is 0."""
        # 1 - s from 1 - x: taken from s itself, it would have no digit left near x = 1.
        s, rest = (self.alpha + (1 - 2 * self.alpha) * v for v in (x, 1 - x))
        inside = (s > 0) & (rest > 0)
        log_s, log_rest = (jnp.log(jnp.where(inside, v, 0.5)) for v in (s, rest))
        return log_s - log_rest, jnp.where(inside, math.log1p(-2 * self.alpha) - log_s - log_rest, -jnp.inf)

    def forward(self, y: jax.Array) -> jax.Array:
        """x, which exceeds [0, 1] by alpha / (1 - 2 alpha) at most."""
        return (jax.nn.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)


class FlowModule(nn.Module):
    """p(x) of x = g(z), z ~ N(0, I), with g or its inverse a network."""

    generative: nn.Module  # inverse(x) -> (z, log |det dz/dx|), forward(z) -> x
    visible: int
    logit: float | None = None  # alpha of the fixed map before the network

    @property
    def lacks(self) -> tuple[str, ...]:
        return ("preprocess_log_det",) if self.logit is None else ()

    def _preprocess(self, x):
        x = jnp.asarray(x, jnp.result_type(x, jnp.float32))
        if self.logit is None:
            return x, jnp.zeros((), x.dtype)
        y, log_slopes = Logit(self.logit).inverse(x)
        return y, jnp.sum(log_slopes)

    def inverse(self, x, c=()):
        y, fixed = self._preprocess(x)
        z, learned = self.generative.inverse(y)
        return z, fixed + learned

    def forward(self, z, c=()):
        y = self.generative.forward(z)
        return y if self.logit is None else Logit(self.logit).forward(y)

    def preprocess_log_det(self, x, c=()):
        return self._preprocess(x)[1]

    def log_prob(self, x, c=()):
        z, log_det = self.inverse(x)
        return Normal(jnp.zeros_like(z), jnp.zeros(())).log_prob_of_noise(z) + log_det

    def sample(self, key, c=()):
        return self.forward(standard_normal(key, (self.visible,)))


@config
class FlowConfig(ModelConfig):
    """Base of the flows' configurations that may begin with a logit."""

    capability: ClassVar[str] = "LikelihoodModel"

    logit: float | None = field(default=None, static=True, gt=0, lt=0.5, help=LOGIT_HELP)

    @property
    def data_support(self) -> str:
        return "real" if self.logit is None else "unit"

    @property
    def density(self) -> bool:
        return True


def as_flow(config: ModelConfig, network: nn.Module, visible: int, logit: float | None = None) -> LikelihoodModel:
    """The model whose generator a network is, named as its configuration."""
    module = FlowModule(network, visible, logit)
    return as_model(LikelihoodModel, module)._replace(name=type(config).__name__)
