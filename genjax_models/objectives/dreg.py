"""The doubly reparameterized gradient of the importance weighted bound."""

import dataclasses
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import ConfigError, require_count
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    RefuseShared,
    in_chunks,
    log_joint,
    log_posterior,
    loss_of,
    owns_nothing,
    particle_keys,
    propose_by,
    require_groups_apart,
    require_reparameterized,
)
from genjax_models.objectives.particles import importance_weighted_bound, jackknife_bound, jackknife_weights

Update = Literal["importance_weighted", "reweighted_wake", "jackknife"]
# What the updates that need several particles say of one.
ALONE = {
    "reweighted_wake": "the update of reweighted wake-sleep is zero for one particle: expected at least 2.",
    "jackknife": "the jackknife leaves one particle out: expected at least 2.",
}


@dataclasses.dataclass(frozen=True)
class DReGLoss(Chunked):
    """`Objective.loss` of `dreg`."""

    model: LatentVariableModel
    num_particles: int
    update: Update = "importance_weighted"

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        still = jax.lax.stop_gradient(params)

        def terms(keys):
            z, _ = propose_by(self.model, params, keys, batch)
            log_q = total(log_posterior(self.model, still, z, batch))
            log_p = total(log_joint(self.model, still, z, batch))  # along z alone
            own = total(log_joint(self.model, params, jax.lax.stop_gradient(z), batch))  # by its parameters alone
            return log_p, log_q, own

        log_p, log_q, own = in_chunks(terms, particle_keys(key, batch, self.num_particles), self.chunk)
        estimate = jackknife_bound if self.update == "jackknife" else importance_weighted_bound
        held = jax.lax.stop_gradient((log_p, log_q))
        a = jax.vmap(estimate)(*held)
        w = a.generative
        bound = jnp.mean(a.bound)
        if self.update == "jackknife":
            of_q = jax.vmap(lambda p, q: jackknife_weights(p - q, 2))(*held)
        else:
            of_q = w**2 if self.update == "importance_weighted" else w - w**2
        surrogate = jnp.mean(jnp.sum(w * own + of_q * (log_p - log_q), axis=1))
        return loss_of(bound, surrogate), (state, {"bound": bound})


def dreg(model: LatentVariableModel, num_particles: int = 50, update: Update = "importance_weighted") -> Objective:
    """The importance weighted bound of `iwae`, with the doubly reparameterized gradient.

    q follows sum_k w~_k^2 (d log w_k / d z_k) (d z_k / d phi), w~_k the normalized weights: unbiased for the bound, as
    `iwae`'s gradient is, without the term by grad log q whose noise grows against the signal as K does. With K = 1 it
    is "sticking the landing". p follows the same gradient as under `iwae`. With the update of reweighted wake-sleep q
    follows sum_k (w~_k - w~_k^2) (d log w_k / d z_k) (d z_k / d phi) instead, which has the expectation of
    `reweighted_wake_sleep`'s wake phase, sum_k w~_k grad log q(z_k | x), with less noise. With the update of the
    jackknife p and q follow `jackknife`'s estimate of log p(x), q by the same means.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K; at least 2 for the updates of reweighted wake-sleep and of the jackknife.
        update: "importance_weighted", "reweighted_wake" or "jackknife", what q follows.

    Returns:
        An `Objective` with metric "bound", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles, or an unknown update.

    Example:
        >>> objective = dreg(vae(64, latent=8), num_particles=5)

    Reference:
        Tucker, Lawson, Gu and Maddison, "Doubly reparameterized gradient estimators for Monte Carlo objectives", 2019;
        K = 1: Roeder, Wu and Duvenaud, "Sticking the landing", 2017.
    """
    require_reparameterized("dreg", model)
    require_count("dreg: num_particles", num_particles)
    if update not in get_args(Update):
        raise ConfigError(f"dreg: update got {update!r}, expected one of {', '.join(map(repr, get_args(Update)))}.")
    if num_particles < 2 and update in ALONE:
        raise ConfigError(f"dreg: num_particles got {num_particles}; {ALONE[update]}")
    if update == "reweighted_wake":
        # Its two gradients are not those of one bound.
        require_groups_apart("dreg", model)
        return Objective(RefuseShared("dreg"), DReGLoss(model, num_particles, update))
    return Objective(owns_nothing, DReGLoss(model, num_particles, update))


@config
class DReG(ParticleConfig):
    """Importance weighted bound of K particles, with q's gradient doubly reparameterized: less noise at large K."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Tucker, Lawson, Gu and Maddison 2019"

    num_particles: int = field(default=50, ge=1, help="particles K an example")
    update: Update = field(
        default="importance_weighted",
        help="what q follows: the bound, the wake phase of reweighted wake-sleep, or (as p does) the jackknife",
    )

    def check(self) -> list[str]:
        alone = ALONE.get(self.update) if self.num_particles < 2 else None
        return [f"num_particles: got {self.num_particles}; {alone}"] if alone else []

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return dreg(model, self.num_particles, self.update)
