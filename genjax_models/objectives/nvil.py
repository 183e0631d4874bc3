"""NVIL: the evidence lower bound's gradient by scores, with learned baselines and signals normalized layer by layer."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.config import as_number, config, field
from genjax_models.core import Joint, LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import ModelError, require_bool, require_count
from genjax_models.objectives.baselines import Moments, Network, Neural, as_baseline
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    held_by,
    in_chunks,
    log_joint,
    loss_of,
    particle_keys,
    require_latent_variable_model,
)


class Signal(NamedTuple):
    """What teaches one factor of q."""

    reward: jax.Array  # [B, K], nats: the part of the log-weight that the factor's draw may change
    log_q: jax.Array  # [B, K], the factor's log-probability
    given: jax.Array  # what it was drawn given: x [B, D], or the layer before [B, K, ...]


def global_signal(log_p: Joint, log_q: tuple, z: Any, x: jax.Array) -> tuple[Signal, ...]:
    """All of q as one factor, drawn given x, whose reward is the log-weight."""
    return (Signal(total(log_p) - total(log_q), total(log_q), x),)


def local_signals(log_p: Joint, log_q: tuple, z: Any, x: jax.Array) -> tuple[Signal, ...]:
    """A signal for each layer l = 1..L of a layered model, with h_0 = x (Mnih and Gregor 2014, section 2.3.3).

    reward_l = log p(h_{l-1} | h_l) + ... + log p(h_L) - log q(h_l | h_{l-1}) - ... - log q(h_L | h_{L-1}):
    given the layers before, h_l changes nothing else.
    """
    signals: list[Signal] = []
    reward = log_p.prior[-1]
    given = (x, *jax.tree.leaves(z)[:-1])
    below = (log_p.likelihood, *log_p.prior[:-1])
    for p, q, h in reversed(list(zip(below, log_q, given, strict=True))):
        reward = reward + p - q
        signals.insert(0, Signal(reward, q, h))
    return tuple(signals)


def _shared(model: LatentVariableModel) -> ModelError:
    return ModelError(
        f'nvil: {model.name} has "shared" parameters. Normalization rescales the gradient of q but not that of p, so '
        "these would follow no bound's gradient; use normalize=False, reinforce or vimco."
    )


@dataclasses.dataclass(frozen=True)
class NVILInit:
    """`Objective.init` of `nvil`: a baseline network and running moments for each signal."""

    model: LatentVariableModel
    local: bool
    normalize: bool
    baseline: Any

    def __call__(self, key, params, batch):
        # A model that was not made by `as_model` may not have said so before.
        if self.normalize and "shared" in params:
            raise _shared(self.model)
        x, c = jax.tree.map(lambda v: v[0], tuple(as_batch(batch)))
        given = [x]
        if self.local:
            z, _ = jax.eval_shape(self.model.propose, params, key, x, c)
            given += [jnp.zeros(h.shape, h.dtype) for h in jax.tree.leaves(z)[:-1]]
        keys = jax.random.split(key, len(given))
        own = () if self.baseline is None else tuple(map(self.baseline.init, keys, given))
        return own, (Moments.none(),) * len(given)


@dataclasses.dataclass(frozen=True)
class NVILLoss(Chunked):
    """`Objective.loss` of `nvil`."""

    model: LatentVariableModel
    num_particles: int
    local: bool
    centre: bool
    normalize: bool
    baseline: Any
    decay: Any

    def predict(self, own, i, given):
        """C(h) of signal i: [B, 1] of x, once for all particles, or [B, K] of a layer; zero without a network."""
        if self.baseline is None:
            return 0.0
        given = given if i > 0 else given[:, None]
        return jax.vmap(jax.vmap(lambda h: self.baseline.apply(own[i], h)))(given)

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)

        def terms(keys):
            z, log_q = held_by(self.model, params, keys, batch)
            log_p = log_joint(self.model, params, z, batch)
            signals = (local_signals if self.local else global_signal)(log_p, log_q, z, batch.x)
            # C of x is the same for all particles, and is computed once below.
            above = [self.predict(trainable.own, i, s.given) for i, s in enumerate(signals) if i > 0]
            predicted = [jnp.broadcast_to(c, keys.shape) for c in above]
            return total(log_p), total(log_q), [(s.reward, s.log_q) for s in signals], predicted

        keys = particle_keys(key, batch, self.num_particles)
        log_p, log_q, signals, above = in_chunks(terms, keys, self.chunk)
        predictions = (self.predict(trainable.own, 0, batch.x), *above)
        surrogate, moments = jnp.mean(log_p), []
        for (reward, factor), predicted, before in zip(signals, predictions, state, strict=True):
            residual = jax.lax.stop_gradient(reward - predicted)
            centred = residual - before.mean if self.centre else residual
            scaled = centred / jnp.maximum(1, jnp.sqrt(before.variance)) if self.normalize else centred
            # C follows its squared error, scaled as the signal is (algorithm 1).
            surrogate += jnp.mean(scaled * (factor + predicted))
            moments.append(before.after(residual, self.decay))
        bound = jnp.mean(jax.lax.stop_gradient(log_p - log_q))
        return loss_of(bound, surrogate), (tuple(moments), {"bound": bound})


def nvil(
    model: LatentVariableModel,
    num_particles: int = 1,
    local: bool = True,
    centre: bool = True,
    normalize: bool = True,
    baseline: Neural | Network | str | None = "neural",
    decay: float = 0.8,
) -> Objective:
    """Neural variational inference and learning: score-function gradients of the evidence lower bound, tamed.

    p follows the bound's own gradient. The factor q(h_l | h_{l-1}) of q follows

        ((reward_l - C_l(h_{l-1}) - c_l) / max(1, sigma_l)) grad log q(h_l | h_{l-1}),

    where reward_l leaves out the terms of log p(x, h) - log q(h | x) that h_l.. do not touch, C_l is a network trained
    on the squared error of what it takes off, and c_l and sigma_l^2 are the running means of the mean and the variance
    of reward_l - C_l within a batch, as they were before the step. Its expectation is the exact gradient divided by
    max(1, sigma_l).

    Args:
        model: a `LatentVariableModel`; for local signals, one that is `layered`. Reparameterized ones are held at
            their samples.
        num_particles: K, averaged.
        local: a signal, baseline and moments for each layer; otherwise the log-weight for all of them, with C(x).
        centre: whether c is taken off.
        normalize: whether the signal is divided by max(1, sigma).
        baseline: C: `Neural(hidden)` of `genjax_models.objectives.baselines`, your own `Network(init, apply)`, or None.
        decay: of the running moments; they count from the first batch on without bias towards their start.

    Returns:
        An `Objective` whose value is minus the evidence lower bound; metric "bound", nats per example. The networks are
        its own parameters, the moments its state.

    Raises:
        ModelError: the model has no recognition distribution, or is not layered and signals are local; or, from `init`,
            it has shared parameters and signals are normalized.
        ConfigError: an impossible number of particles or decay, or something else as baseline.

    Example:
        >>> objective = nvil(sigmoid_belief_network(64, layers=(32, 16)))

    Reference:
        Mnih and Gregor, "Neural variational inference and learning in belief networks", 2014, algorithm 1.
    """
    require_latent_variable_model("nvil", model)
    if normalize and model.shared_parameters:
        raise _shared(model)
    require_count("nvil: num_particles", num_particles)
    for name, value in (("local", local), ("centre", centre), ("normalize", normalize)):
        require_bool(f"nvil: {name}", value)
    if local and not model.layered:
        raise ModelError(
            f"nvil: local signals need a layered model, in which a layer touches its neighbours alone, and "
            f"{model.name} is not known to be one; use local=False, reinforce or vimco."
        )
    decay = as_number("nvil: decay", decay, ge=0, lt=1)
    baseline = as_baseline("nvil: baseline", baseline, Neural, Network)
    loss = NVILLoss(model, num_particles, local, centre, normalize, baseline, decay)
    return Objective(NVILInit(model, local, normalize, baseline), loss)


@config
class NVIL(ParticleConfig):
    """NVIL: the evidence lower bound by scores, with networks as baselines and normalized signals, layer by layer."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Mnih and Gregor 2014"

    num_particles: int = field(default=1, ge=1, help="samples of q an example, averaged")
    local: bool = field(default=True, help="a signal for each layer, without the terms that it does not touch")
    centre: bool = field(default=True, help="take the signal's running mean off")
    normalize: bool = field(default=True, help="divide the signal by its running standard deviation, where above 1")
    baseline: Neural | None = field(default=Neural(), help="network of each layer's input, taken off the signal")
    decay: float = field(default=0.8, ge=0, lt=1, help="decay of the running mean and variance")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return nvil(model, self.num_particles, self.local, self.centre, self.normalize, self.baseline, self.decay)
