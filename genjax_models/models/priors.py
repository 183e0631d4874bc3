"""What p(z) of real latents is.

    standard_normal        N(0, I)
    gaussian_mixture       a mixture of diagonal Gaussians
    vamp_prior             a mixture of q(z | u) over learned pseudo-inputs u           Tomczak and Welling 2018
    realnvp, maf           a flow, as in the table of models

Each is a linen module with `sample(key, c)` and `log_prob(z, c)`, as that of any `LikelihoodModel` of z.
"""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import LikelihoodModel
from genjax_models.distributions import Normal, standard_normal
from genjax_models.models.autoregressive_flows import MAF
from genjax_models.models.coupling import RealNVP
from genjax_models.models.initializers import glorot_uniform


class StandardNormalPrior(nn.Module):
    """N(0, I)."""

    latent: int

    def sample(self, key, c=()):
        return standard_normal(key, (self.latent,))

    def log_prob(self, z, c=()):
        return Normal(jnp.zeros_like(z), jnp.zeros(())).log_prob_of_noise(z)


def _spread(key, shape, dtype=float):
    """Uniform on (-1, 1), from the model's one random draw."""
    return glorot_uniform(key, shape, dtype) / math.sqrt(6 / (shape[-2] + shape[-1]))


class GaussianMixturePrior(nn.Module):
    """sum_k pi_k N(z; m_k, diag(s_k^2))."""

    latent: int
    components: int

    def setup(self):
        zeros, shape = nn.initializers.zeros_init(), (self.components, self.latent)
        self.logits = self.param("logits", zeros, (self.components,))
        self.loc = self.param("loc", _spread, shape)
        self.log_scale = self.param("log_scale", zeros, shape)

    def sample(self, key, c=()):
        which, where = jax.random.split(key)
        k = jax.random.categorical(which, self.logits)
        return Normal(self.loc[k], self.log_scale[k]).sample(where)

    def log_prob(self, z, c=()):
        log_density = Normal(self.loc, self.log_scale).log_prob(z)
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + log_density)


class PseudoInputs(nn.Module):
    """The mean of q(z | u_k, c) over learned inputs u_k, q that of the model itself, which is given with every call."""

    visible: int
    components: int
    unit: bool  # whether x is in [0, 1]

    def setup(self):
        self.inputs = self.param("inputs", _spread, (self.components, self.visible))

    @property
    def _values(self):
        return jax.nn.sigmoid(4 * self.inputs) if self.unit else self.inputs

    def sample(self, key, c, recognition):
        which, where = jax.random.split(key)
        k = jax.random.randint(which, (), 0, self.components)
        return recognition(self._values[k], c).sample_and_log_prob(where)[0]

    def log_prob(self, z, c, recognition):
        def one(module, u):
            return module(u, c).log_prob(z)

        every = nn.vmap(one, variable_axes={"params": None}, split_rngs={"params": False})
        return jax.nn.logsumexp(every(recognition, self._values)) - math.log(self.components)


@config
class StandardNormal:
    """N(0, I)."""

    citation: ClassVar[str] = "Kingma and Welling 2014"

    def module(self, latent: int, visible: int, unit: bool) -> nn.Module:
        """The law of `latent` latents."""
        return StandardNormalPrior(latent)


@config
class GaussianMixture:
    """A mixture of diagonal Gaussians, all of it learned."""

    citation: ClassVar[str] = "Dilokthanakul et al. 2016"

    components: int = field(default=10, ge=1, help="Gaussians")

    def module(self, latent: int, visible: int, unit: bool) -> nn.Module:
        """The law of `latent` latents."""
        return GaussianMixturePrior(latent, self.components)


@config
class VampPrior:
    """The mean of the posteriors of learned pseudo-inputs: p(z) = (1/K) sum_k q(z | u_k).

    Parameters of q are those of p(z) too, so they are in the group "shared".
    """

    citation: ClassVar[str] = "Tomczak and Welling 2018"

    components: int = field(default=100, ge=1, help="pseudo-inputs K")

    def module(self, latent: int, visible: int, unit: bool) -> nn.Module:
        """The law of `latent` latents."""
        return PseudoInputs(visible, self.components, unit)


Prior = StandardNormal | GaussianMixture | VampPrior | RealNVP | MAF
PRIORS: dict[str, type] = {
    "standard_normal": StandardNormal,
    "gaussian_mixture": GaussianMixture,
    "vamp_prior": VampPrior,
}


def prior_module(prior: Prior, latent: int, visible: int, unit: bool) -> nn.Module:
    """The law of `latent` latents, where x has `visible` units, in [0, 1] if `unit`."""
    if isinstance(prior, RealNVP | MAF):
        model: LikelihoodModel = prior.build(latent)
        log_prob: Any = model.log_prob
        return log_prob.module
    return prior.module(latent, visible, unit)
