"""The Gumbel-softmax relaxation of categorical latents."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ScheduleConfig, as_number, config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import ModelError, require_count
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    in_chunks,
    log_joint,
    loss_of,
    owns_nothing,
    particle_keys,
    propose_by,
    require_latent_variable_model,
)
from genjax_models.objectives.parts import split
from genjax_models.optimizers import Schedule, build_value, reaching_zero, value_at


@dataclasses.dataclass(frozen=True)
class GumbelSoftmaxLoss(Chunked):
    """`Objective.loss` of `gumbel_softmax`."""

    model: LatentVariableModel
    num_particles: int
    temperature: float | Schedule
    straight_through: bool

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        assert self.model.class_logits is not None
        assert self.model.kl is not None
        temperature, held = value_at(self.temperature, step), jax.lax.stop_gradient(params)
        soft, hard = (particle_keys(k, batch, self.num_particles) for k in split(key))
        logits = jax.vmap(functools.partial(self.model.class_logits, params))(batch.x, batch.context)
        leaves, structure = jax.tree.flatten(logits)

        def relax(key, v):
            y = jax.nn.softmax((v + jax.random.gumbel(key, v.shape, v.dtype)) / temperature, axis=-1)
            if not self.straight_through:
                return y
            z = jax.nn.one_hot(jnp.argmax(y, axis=-1), y.shape[-1], dtype=y.dtype)
            return z + (y - jax.lax.stop_gradient(y))

        def particle(key, leaves):
            keys = jax.random.split(key, len(leaves))
            return jax.tree.unflatten(structure, [relax(k, v) for k, v in zip(keys, leaves, strict=True)])

        def relaxed_likelihood(keys):
            z = jax.vmap(jax.vmap(particle, in_axes=(0, None)))(keys, leaves)
            return log_joint(self.model, params, z, batch).likelihood

        def hard_likelihood(keys):
            return log_joint(self.model, held, propose_by(self.model, held, keys, batch)[0], batch).likelihood

        relaxed = jnp.mean(in_chunks(relaxed_likelihood, soft, self.chunk))
        kl = jnp.mean(total(jax.vmap(functools.partial(self.model.kl, params))(batch.x, batch.context)))
        # What is reported is of the model itself.
        likelihood = jnp.mean(in_chunks(hard_likelihood, hard, self.chunk))
        metrics = {"bound": likelihood - kl, "relaxed_bound": relaxed - kl, "likelihood": likelihood, "kl": kl}
        return loss_of(metrics["bound"], metrics["relaxed_bound"]), (state, metrics)


def gumbel_softmax(
    model: LatentVariableModel,
    num_particles: int = 1,
    temperature: float | Schedule = 1.0,
    straight_through: bool = False,
) -> Objective:
    """The evidence lower bound with p(x | z) at relaxed latents, y = softmax((logits + Gumbel noise) / temperature).

    The KL, between categorical distributions, is exact. The gradient is biased for the bound, the more so the higher
    the temperature, and the noisier the lower it is. The value is minus the bound of the model itself, at one-hot
    latents; what is followed is metric "relaxed_bound".

    Args:
        model: a `LatentVariableModel` with independent one-hot latents under q, such as `categorical_vae`.
        num_particles: samples an example, averaged.
        temperature: a number, or a function of the step to anneal it.
        straight_through: decode the one-hot vector at the largest of y, and let gradients pass to y as if it were y.

    Returns:
        An `Objective` with metrics "bound", "relaxed_bound", "likelihood" and "kl", nats per example.

    Raises:
        ModelError: latents that are not one-hot.
        ConfigError: an impossible number of particles, or a temperature that is not positive.

    Example:
        >>> objective = gumbel_softmax(categorical_vae(64), temperature=0.5)

    Reference:
        Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", 2017, equations 2 and section 2.2.
    """
    require_latent_variable_model("gumbel_softmax", model)
    if model.class_logits is None or model.kl is None:
        raise ModelError(
            f"gumbel_softmax relaxes one-hot latents that are independent under q, which {model.name} "
            f"({model.support} latents) does not have. Use categorical_vae; for binary latents concrete."
        )
    require_count("gumbel_softmax: num_particles", num_particles)
    if not callable(temperature):
        temperature = as_number("gumbel_softmax: temperature", temperature, gt=0)
    return Objective(owns_nothing, GumbelSoftmaxLoss(model, num_particles, temperature, bool(straight_through)))


@config
class GumbelSoftmax(ParticleConfig):
    """Evidence lower bound along relaxed categorical samples; reported for the categorical ones. Biased."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Jang, Gu and Poole 2017"

    num_particles: int = field(default=1, ge=1, help="samples an example, averaged")
    temperature: float | ScheduleConfig = field(default=1.0, gt=0, help="of the relaxation, a number or a schedule")
    straight_through: bool = field(default=False, help="decode one-hot samples, with the gradient of relaxed ones")

    def check(self) -> list[str]:
        return reaching_zero(self, "temperature")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return gumbel_softmax(model, self.num_particles, build_value(self.temperature), self.straight_through)
