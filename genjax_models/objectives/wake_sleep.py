"""Objectives whose samples are held fixed: wake-sleep and reweighted wake-sleep.

In the wake phase p learns from what q proposes for the data; in the sleep phase q learns to recognize what p dreams.
Every term below reaches one parameter group alone, so that one gradient yields all phases exactly.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, ScheduleConfig, config, field
from genjax_models.core import Key, LatentVariableModel, Objective, Params, Scalar, as_batch, total
from genjax_models.errors import ConfigError, require_count
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    RefuseShared,
    fixed_particles,
    loss_of,
    only,
    require_groups_apart,
    require_latent_variable_model,
)
from genjax_models.objectives.particles import Estimate, reweighted_wake, wake
from genjax_models.objectives.parts import example_keys, split
from genjax_models.optimizers import Schedule, build_value, plain_number, value_at


def recognize_dreams(model: LatentVariableModel, params: Params, key: Key, c) -> Scalar:
    """log q(z | x) of a dream (z, x) ~ p, with gradients to `recognition` alone."""
    z, x = jax.lax.stop_gradient(model.sample_joint(params, key, c))
    return total(model.log_posterior(only("recognition", params), z, x, c))


@dataclasses.dataclass(frozen=True)
class WakeSleepLoss(Chunked):
    """`Objective.loss` of `wake_sleep` and `reweighted_wake_sleep`, which differ in the wake phase's estimate."""

    model: LatentVariableModel
    num_particles: int
    estimate: Callable[[jax.Array, jax.Array], Estimate]
    wake: float | Schedule | None  # weight of the wake phase's update of q
    sleep: float | Schedule | None  # weight of the sleep phase's

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        awake, asleep = split(key)
        groups = only("generative", params), only("recognition", params)
        log_p, log_q = fixed_particles(self.model, *groups, awake, batch, self.num_particles, self.chunk)
        a = jax.vmap(self.estimate)(*jax.lax.stop_gradient((log_p, log_q)))
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p, axis=1))
        if self.wake is not None:
            surrogate = surrogate + value_at(self.wake, step) * jnp.mean(jnp.sum(a.recognition * log_q, axis=1))
        metrics = {"bound": bound}
        if self.sleep is not None:
            keys = example_keys(asleep, batch.x.shape[0])
            dream = jax.vmap(lambda key, c: recognize_dreams(self.model, params, key, c))(keys, batch.context)
            metrics["sleep"] = jnp.mean(dream)
            surrogate = surrogate + value_at(self.sleep, step) * metrics["sleep"]
        return loss_of(bound, surrogate), (state, metrics)


def wake_sleep(model: LatentVariableModel) -> Objective:
    """Wake-sleep: p follows log p(x, z) at z ~ q(. | x), q follows log q(z | x) at dreams (z, x) ~ p.

    The gradient of p is that of the evidence lower bound, without bias. That of q is of the other divergence,
    KL(p(z | x) || q(z | x)) averaged over dreams instead of data: the two phases do not descend one function.

    Args:
        model: a `LatentVariableModel` without shared parameters; one sample of q and one dream an example.

    Returns:
        An `Objective` whose value is minus the evidence lower bound; metrics "bound" and "sleep" (log q of the dreams),
        nats per example.

    Raises:
        ModelError: the model has no recognition distribution; or, from `init`, it has shared parameters.

    Example:
        >>> objective = wake_sleep(sigmoid_belief_network(64, layers=(32, 16)))

    Reference:
        Hinton, Dayan, Frey and Neal, "The wake-sleep algorithm for unsupervised neural networks", 1995.
    """
    require_latent_variable_model("wake_sleep", model)
    require_groups_apart("wake_sleep", model)
    return Objective(RefuseShared("wake_sleep"), WakeSleepLoss(model, 1, wake, wake=None, sleep=1.0))


def reweighted_wake_sleep(
    model: LatentVariableModel,
    num_particles: int = 5,
    wake: float | Schedule | None = 0.5,
    sleep: float | Schedule | None = 0.5,
) -> Objective:
    """Reweighted wake-sleep: K particles of q, weighted by p(x, z_k) / q(z_k | x), teach p and q.

    The gradient of p is that of the K-particle bound, without bias. The wake update of q moves it towards p(z | x) on
    the data, with a bias that vanishes as K grows; the sleep update does so on dreams, without bias.

    Args:
        model: a `LatentVariableModel` without shared parameters.
        num_particles: K.
        wake: weight of q's wake update: a number, a function of the step, or None to leave it out.
        sleep: weight of q's sleep update, likewise.

    Returns:
        An `Objective` whose value is minus the importance weighted bound; metrics "bound" and, with sleep, "sleep",
        nats per example.

    Raises:
        ModelError: the model has no recognition distribution; or, from `init`, it has shared parameters.
        ConfigError: an impossible number of particles, or neither update of q.

    Example:
        >>> objective = reweighted_wake_sleep(sigmoid_belief_network(64, layers=(32, 16)), num_particles=10)

    Reference:
        Bornschein and Bengio, "Reweighted wake-sleep", 2015, algorithm 1.
    """
    require_latent_variable_model("reweighted_wake_sleep", model)
    require_groups_apart("reweighted_wake_sleep", model)
    require_count("reweighted_wake_sleep: num_particles", num_particles)
    if wake is None and sleep is None:
        raise ConfigError("reweighted_wake_sleep: wake and sleep are both None, so q would never be trained; give one.")
    loss = WakeSleepLoss(model, num_particles, reweighted_wake, plain_number(wake), plain_number(sleep))
    return Objective(RefuseShared("reweighted_wake_sleep"), loss)


@config
class WakeSleep(ObjectiveConfig):
    """Wake-sleep: p learns from q's samples of the data, q from p's dreams."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Hinton, Dayan, Frey and Neal 1995"

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return wake_sleep(model)


@config
class ReweightedWakeSleep(ParticleConfig):
    """Reweighted wake-sleep: K weighted particles teach p and q, dreams teach q."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Bornschein and Bengio 2015"

    num_particles: int = field(default=5, ge=1, help="particles K an example")
    wake: float | ScheduleConfig | None = field(default=0.5, gt=0, help="weight of q's wake update; None leaves it out")
    sleep: float | ScheduleConfig | None = field(
        default=0.5, gt=0, help="weight of q's sleep update; None leaves it out"
    )

    def check(self) -> list[str]:
        if self.wake is None and self.sleep is None:
            return ["wake and sleep are both None, so q would never be trained; give one."]
        return []

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return reweighted_wake_sleep(model, self.num_particles, build_value(self.wake), build_value(self.sleep))
