"""The doubly reparameterized gradient of the importance weighted bound."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import require_count
from genjax_models.objectives.common import (
    log_joint,
    log_posterior,
    loss_of,
    owns_nothing,
    propose,
    require_reparameterized,
)
from genjax_models.objectives.particles import importance_weighted_bound


@dataclasses.dataclass(frozen=True)
class DReGLoss:
    """`Objective.loss` of `dreg`."""

    model: LatentVariableModel
    num_particles: int

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        still = jax.lax.stop_gradient(params)
        z, _ = propose(self.model, params, key, batch, self.num_particles)
        log_q = total(log_posterior(self.model, still, z, batch))
        log_p = total(log_joint(self.model, still, z, batch))  # along z alone
        own = total(log_joint(self.model, params, jax.lax.stop_gradient(z), batch))  # by its parameters alone
        a = jax.vmap(importance_weighted_bound)(*jax.lax.stop_gradient((log_p, log_q)))
        w = a.generative
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(w * own + w**2 * (log_p - log_q), axis=1))
        return loss_of(bound, surrogate), (state, {"bound": bound})


def dreg(model: LatentVariableModel, num_particles: int = 50) -> Objective:
    """The importance weighted bound of `iwae`, with the doubly reparameterized gradient.

    q follows sum_k w~_k^2 (d log w_k / d z_k) (d z_k / d phi), w~_k the normalized weights: unbiased for the bound, as
    `iwae`'s gradient is, without the term by grad log q whose noise grows against the signal as K does. With K = 1 it
    is "sticking the landing". p follows the same gradient as under `iwae`.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K.

    Returns:
        An `Objective` with metric "bound", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles.

    Example:
        >>> objective = dreg(vae(64, latent=8), num_particles=5)

    Reference:
        Tucker, Lawson, Gu and Maddison, "Doubly reparameterized gradient estimators for Monte Carlo objectives", 2019;
        K = 1: Roeder, Wu and Duvenaud, "Sticking the landing", 2017.
    """
    require_reparameterized("dreg", model)
    require_count("dreg: num_particles", num_particles)
    return Objective(owns_nothing, DReGLoss(model, num_particles))


@config
class DReG(ObjectiveConfig):
    """Importance weighted bound of K particles, with q's gradient doubly reparameterized: less noise at large K."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Tucker, Lawson, Gu and Maddison 2019"

    num_particles: int = field(default=50, ge=1, help="particles K an example")

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return dreg(model, self.num_particles)
