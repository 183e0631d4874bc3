"""REINFORCE: the evidence lower bound's gradient by scores, less a baseline."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch
from genjax_models.errors import ConfigError, require_count
from genjax_models.objectives.baselines import (
    Constant,
    LeaveOneOut,
    Moments,
    Network,
    Neural,
    RunningMean,
    as_baseline,
)
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    fixed_particles,
    loss_of,
    require_latent_variable_model,
)
from genjax_models.objectives.particles import evidence_score, leave_one_out_mean


@dataclasses.dataclass(frozen=True)
class ReinforceInit:
    """`Objective.init` of `reinforce`: what its baseline owns."""

    baseline: Any

    def __call__(self, key, params, batch):
        own = ()
        if isinstance(self.baseline, (Neural, Network)):
            own = self.baseline.init(key, as_batch(batch).x[0])
        return own, Moments.none() if isinstance(self.baseline, RunningMean) else ()


@dataclasses.dataclass(frozen=True)
class ReinforceLoss(Chunked):
    """`Objective.loss` of `reinforce`."""

    model: LatentVariableModel
    num_particles: int
    baseline: Any

    def values(self, own, state, x, log_w):
        """The baselines of the particles, shaped so as to broadcast to log_w [B, K]."""
        match self.baseline:
            case Constant(value):
                return value
            case RunningMean():
                return state.mean
            case LeaveOneOut():
                return jax.vmap(leave_one_out_mean)(log_w)
            case Neural() | Network():
                return jax.vmap(lambda x: self.baseline.apply(own, x))(x)[:, None]
        return 0.0

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        log_p, log_q = fixed_particles(self.model, params, params, key, batch, self.num_particles, self.chunk)
        fixed = jax.lax.stop_gradient((log_p, log_q))
        log_w = fixed[0] - fixed[1]
        baseline = jnp.broadcast_to(self.values(trainable.own, state, batch.x, log_w), log_w.shape)
        a = jax.vmap(evidence_score)(*fixed, jax.lax.stop_gradient(baseline))
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p + a.recognition * log_q, axis=1))
        # A network follows its squared error; other baselines have nothing that would move.
        surrogate -= 0.5 * jnp.mean(jnp.square(log_w - baseline))
        if isinstance(self.baseline, RunningMean):
            state = state.after(log_w, self.baseline.decay)
        return loss_of(bound, surrogate), (state, {"bound": bound})


def reinforce(
    model: LatentVariableModel,
    num_particles: int = 1,
    baseline: Constant | RunningMean | LeaveOneOut | Neural | Network | str | None = "running_mean",
) -> Objective:
    """REINFORCE: the gradient of the evidence lower bound for p and q, with no gradient through samples.

    With log w_k = log p(x, z_k) - log q(z_k | x) and a baseline b_k that does not depend on z_k, the gradient is

        (1/K) sum_k  grad log p(x, z_k) + (log w_k - b_k) grad log q(z_k | x).

    Both groups, and parameters that they share, follow the bound's gradient without bias, whatever the baseline; that
    decides the variance. Running means and networks are read as they were before the step.

    Args:
        model: any `LatentVariableModel`; reparameterized ones are held at their samples.
        num_particles: K, averaged.
        baseline: of `genjax_models.objectives.baselines`, or its name there. None; `Constant(value)`;
            `RunningMean(decay)`, over batches; `LeaveOneOut()`, the mean of the example's other particles, for K at
            least 2; `Neural(hidden)`, a network of x trained in the same loss on its squared error; or your own,
            `Network(init, apply)`.

    Returns:
        An `Objective` whose value is minus the evidence lower bound; metric "bound", nats per example. A network's
        parameters are its own parameters, a running mean its state.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: an impossible number of particles, or something else as baseline.

    Example:
        >>> objective = reinforce(sigmoid_belief_network(64, layers=(32, 16)), 5, LeaveOneOut())

    Reference:
        Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992;
        Mnih and Gregor 2014, section 2.2; Goodfellow et al. 2016, section 20.9.1.
    """
    require_latent_variable_model("reinforce", model)
    require_count("reinforce: num_particles", num_particles)
    allowed = (Constant, RunningMean, LeaveOneOut, Neural, Network)
    baseline = as_baseline("reinforce: baseline", baseline, *allowed)
    if isinstance(baseline, LeaveOneOut) and num_particles < 2:
        raise ConfigError(
            f"reinforce: num_particles: got {num_particles}, expected at least 2, for the baseline LeaveOneOut is made "
            "of the other particles; with one use RunningMean or Neural."
        )
    return Objective(ReinforceInit(baseline), ReinforceLoss(model, num_particles, baseline))


@config
class Reinforce(ParticleConfig):
    """REINFORCE: the evidence lower bound by scores, less a baseline."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Williams 1992"

    num_particles: int = field(default=1, ge=1, help="samples of q an example, averaged")
    baseline: Constant | RunningMean | LeaveOneOut | Neural | None = field(
        default=RunningMean(), help="what is taken off the signal; None for nothing"
    )

    def check(self) -> list[str]:
        if isinstance(self.baseline, LeaveOneOut) and self.num_particles < 2:
            return [f"num_particles: got {self.num_particles}, expected at least 2 for the baseline LeaveOneOut."]
        return []

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return reinforce(model, self.num_particles, self.baseline)
