"""The evidence lower bound without the score of q: a gradient whose noise vanishes as q comes to p(z | x)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import require_count
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    in_chunks,
    log_joint,
    log_posterior,
    loss_of,
    owns_nothing,
    particle_keys,
    propose_by,
    require_reparameterized,
)


@dataclasses.dataclass(frozen=True)
class StickingTheLandingLoss(Chunked):
    """`Objective.loss` of `sticking_the_landing`."""

    model: LatentVariableModel
    num_particles: int

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)

        def terms(keys):
            z, _ = propose_by(self.model, params, keys, batch)
            log_q = total(log_posterior(self.model, jax.lax.stop_gradient(params), z, batch))  # along z alone
            return log_joint(self.model, params, z, batch), log_q

        log_p, log_q = in_chunks(terms, particle_keys(key, batch, self.num_particles), self.chunk)
        bound = jnp.mean(total(log_p) - log_q)
        metrics = {"bound": bound, "likelihood": jnp.mean(log_p.likelihood)}
        return loss_of(bound, bound), (state, metrics)


def sticking_the_landing(model: LatentVariableModel, num_particles: int = 1) -> Objective:
    """The evidence lower bound, with q's gradient along its samples alone.

    d/dphi of log p(x, z) - log q(z | x) at z = g(noise, phi) is a path through z and the score of q, whose expectation
    is zero. Without the score the gradient is as unbiased, and zero for every sample once q(z | x) = p(z | x); far
    from there it may be the noisier one.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: samples of q an example, averaged.

    Returns:
        An `Objective` with metrics "bound" and "likelihood", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles.

    Example:
        >>> objective = sticking_the_landing(vae(64, latent=8))

    Reference:
        Roeder, Wu and Duvenaud, "Sticking the landing: simple, lower-variance gradient estimators for variational
        inference", 2017, algorithm 2.
    """
    require_reparameterized("sticking_the_landing", model)
    require_count("sticking_the_landing: num_particles", num_particles)
    return Objective(owns_nothing, StickingTheLandingLoss(model, num_particles))


@config
class StickingTheLanding(ParticleConfig):
    """Evidence lower bound by reparameterized samples, q's gradient along the samples alone."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Roeder, Wu and Duvenaud 2017"

    num_particles: int = field(default=1, ge=1, help="samples of q an example, averaged")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return sticking_the_landing(model, self.num_particles)
