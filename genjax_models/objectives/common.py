"""What all objectives share: particles of a batch, the loss from a bound and a surrogate, and refusals."""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, config, field
from genjax_models.core import (
    Batch,
    Joint,
    Key,
    Latents,
    LatentVariableModel,
    Objective,
    Params,
    Scalar,
    as_batch,
    total,
)
from genjax_models.errors import ConfigError, ModelError, require_count
from genjax_models.objectives.particles import Estimate
from genjax_models.objectives.parts import ByRow, example_keys
from genjax_models.optimizers import value_at


def owns_nothing(key: Key, params: Params, batch: Any) -> tuple[tuple, tuple]:
    """`Objective.init` of an objective without parameters or state of its own."""
    return (), ()


def _shared(objective: str, model: str) -> ModelError:
    return ModelError(
        f'{objective} trains the groups "generative" and "recognition" each by a gradient of its own; {model} also has '
        '"shared" parameters, which belong to both. Use elbo or iwae.'
    )


def require_groups_apart(objective: str, model: LatentVariableModel) -> None:
    """Raise ModelError, naming both, if parameters belong to p and to q."""
    if model.shared_parameters:
        raise _shared(objective, model.name)


@dataclasses.dataclass(frozen=True)
class RefuseShared:
    """`Objective.init` of an objective that owns nothing and teaches each group something of its own."""

    objective: str

    def __call__(self, key: Key, params: Params, batch: Any) -> tuple[tuple, tuple]:
        # A model that was not made by `as_model` may not have said so before.
        if "shared" in params:
            raise _shared(self.objective, "this model")
        return (), ()


def require_latent_variable_model(objective: str, model: Any) -> None:
    """Raise ModelError, naming both, unless the model has p(x, z) and q(z | x)."""
    if not isinstance(model, LatentVariableModel):
        raise ModelError(
            f"{objective} needs a LatentVariableModel, got {getattr(model, 'name', '') or model!r}, "
            f"of type {type(model).__name__}."
        )


def require_reparameterized(objective: str, model: Any) -> None:
    """Raise ModelError, naming both, unless gradients flow through the model's samples."""
    require_latent_variable_model(objective, model)
    if not model.reparameterized:
        raise ModelError(
            f"{objective} follows gradients through the samples of q, and those of {model.name} ({model.support} "
            "latents) carry none. Use wake_sleep or reweighted_wake_sleep."
        )


def only(group: str, params: Params) -> Params:
    """The parameters with gradients flowing to one group alone."""
    return {name: part if name == group else jax.lax.stop_gradient(part) for name, part in params.items()}


@dataclasses.dataclass(frozen=True)
class Chunked(ByRow):
    """Base of losses whose particles may be computed some at a time."""

    chunk: int | None = dataclasses.field(default=None, kw_only=True)  # None for all at once


def chunk_particles(objective: Objective, particle_chunk: int | None) -> Objective:
    """The objective with its particles computed `particle_chunk` at a time, and again for the gradient.

    Value and gradient are those of all particles at once, to round-off, in memory that grows with K by a few numbers a
    particle, at the price of one more pass forward.

    Args:
        objective: of many particles, such as `iwae`, `dreg`, `vimco` or `reweighted_wake_sleep`.
        particle_chunk: particles of an example that are computed at once, pairs of them for `disarm`; None for all.

    Raises:
        ConfigError: a number below one, or an objective whose particles are not computed apart: those of `fivo` depend
            on one another at every step, and others have one sample an example, or none.

    Example:
        >>> objective = chunk_particles(iwae(vae(64, latent=8), num_particles=5000), 100)
    """
    if particle_chunk is None:
        return objective
    require_count("particle_chunk", particle_chunk)
    if not isinstance(objective.loss, Chunked):
        name = type(objective.loss).__name__
        reason = getattr(objective.loss, "no_chunks", f"{name} has no particles that are computed apart")
        raise ConfigError(f"particle_chunk: got {particle_chunk}, but {reason}; leave it None.")
    return objective._replace(loss=dataclasses.replace(objective.loss, chunk=particle_chunk))


@config
class ChunkedConfig(ObjectiveConfig):
    """Base of configurations of objectives whose particles may be computed some at a time."""

    particle_chunk: int | None = field(
        default=None,
        ge=1,
        kw_only=True,
        help="particles, or mirrored pairs, that are computed at a time, and again for the gradient, in memory that K "
        "hardly adds to; None for all",
    )

    @abc.abstractmethod
    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return chunk_particles(self.build_whole(model), self.particle_chunk)


@config
class ParticleConfig(ChunkedConfig):
    """Base of configurations of objectives of K particles an example."""

    num_particles: int


def particle_keys(key: Key, batch: Batch, num_particles: int) -> jax.Array:
    """A key for every particle of every example, [B, K]."""
    return jax.vmap(lambda k: jax.random.split(k, num_particles))(example_keys(key, batch.x.shape[0]))


def in_chunks(function: Callable[[jax.Array], Any], keys: jax.Array, chunk: int | None) -> Any:
    """`function(keys)` of keys [B, K], leaves [B, K, ...], `chunk` particles at a time, and again for the gradient."""
    size, number = keys.shape
    if chunk is None or chunk >= number:
        return function(keys)
    chunks = -(-number // chunk)
    # The last one is filled up with the last particle, which is dropped.
    filled = keys[:, jnp.minimum(jnp.arange(chunks * chunk), number - 1)].reshape(size, chunks, chunk)
    found = jax.lax.map(jax.checkpoint(function, prevent_cse=False), jnp.swapaxes(filled, 0, 1))
    return jax.tree.map(lambda v: jnp.swapaxes(v, 0, 1).reshape(size, chunks * chunk, *v.shape[3:])[:, :number], found)


def propose_by(model: LatentVariableModel, params: Params, keys: jax.Array, batch: Batch):
    """z ~ q(. | x) with its log_posterior by groups, leaves [B, K, ...]: a particle for each of the keys [B, K]."""

    def example(keys, x, c):
        return jax.vmap(lambda k: model.propose(params, k, x, c))(keys)

    return jax.vmap(example)(keys, batch.x, batch.context)


def propose(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """z ~ q(. | x) with its log_posterior by groups, leaves [B, K, ...]: K particles of every example."""
    return propose_by(model, params, particle_keys(key, batch, num_particles), batch)


def _as_one_axis(function: Callable, given: Any, batch: Batch):
    """function(given, example) of particles `given`, leaves [B, K, ...] in and out.

    Batch and particles are one axis within: of two, the products for the weights' gradients would transpose their
    operands, as large as all particles' visible units.
    """
    size, num_particles = jax.tree.leaves(given)[0].shape[:2]

    def flat(v):
        return v.reshape(size * num_particles, *v.shape[2:])

    rows = jax.tree.map(lambda v: flat(jnp.broadcast_to(v[:, None], (size, num_particles, *v.shape[1:]))), batch)
    found = jax.vmap(function)(jax.tree.map(flat, given), rows)
    return jax.tree.map(lambda v: v.reshape(size, num_particles, *v.shape[1:]), found)


def propose_with_kl(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """The z of `propose` and the KL's terms, leaves [B, ...]: of two passes of q, both would be differentiated."""
    assert model.propose_with_kl is not None
    one = functools.partial(model.propose_with_kl, params)

    def example(keys, x, c):
        return jax.vmap(lambda k: one(k, x, c), out_axes=(0, None))(keys)

    return jax.vmap(example)(particle_keys(key, batch, num_particles), batch.x, batch.context)


def log_joint(model: LatentVariableModel, params: Params, z: Latents, batch: Batch) -> Joint:
    """log p(x, z) by terms, leaves [B, K], of particles z with leaves [B, K, ...]."""
    return _as_one_axis(lambda z, row: model.log_joint(params, z, row.x, row.context), z, batch)


def _propose_joint(model: LatentVariableModel, params: Params, keys: jax.Array, batch: Batch):
    """log p(x, z_k) and log q(z_k | x) by terms, leaves [B, K], of the particles of `propose_by`."""
    assert model.propose_joint is not None
    function = functools.partial(model.propose_joint, params)
    _, log_q, log_p = _as_one_axis(lambda k, row: function(k, row.x, row.context), keys, batch)
    return log_p, log_q


def log_posterior(model: LatentVariableModel, params: Params, z: Latents, batch: Batch):
    """log q(z | x) by groups, leaves [B, K], of particles z with leaves [B, K, ...]."""
    score = functools.partial(model.log_posterior, params)
    return jax.vmap(lambda z, x, c: jax.vmap(lambda z: score(z, x, c))(z))(z, batch.x, batch.context)


def moving_particles(
    model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int, chunk: int | None = None
):
    """log p(x, z_k) and log q(z_k | x) by terms, leaves [B, K], of z_k ~ q(. | x) that carry gradients."""

    def terms(keys):
        if model.propose_joint is not None:
            return _propose_joint(model, params, keys, batch)
        z, log_q = propose_by(model, params, keys, batch)
        return log_joint(model, params, z, batch), log_q

    return in_chunks(terms, particle_keys(key, batch, num_particles), chunk)


def held_by(model: LatentVariableModel, params: Params, keys: jax.Array, batch: Batch):
    """The z of `propose_by` held fixed, leaves [B, K, ...], and its log_posterior by groups, leaves [B, K]."""
    z, log_q = propose_by(model, params, keys, batch)
    if model.reparameterized:
        # The terms of `propose` follow the moving z; with z held fixed they are scored again.
        z = jax.lax.stop_gradient(z)
        log_q = log_posterior(model, params, z, batch)
    return z, log_q


def fixed_particles(
    model: LatentVariableModel, of_p: Params, of_q: Params, key: Key, batch: Batch, num: int, chunk: int | None = None
):
    """log p(x, z_k) and log q(z_k | x), each [B, K] and by parameters of its own, of particles held fixed."""

    def terms(keys):
        z, log_q = held_by(model, of_q, keys, batch)
        return total(log_joint(model, of_p, z, batch)), total(log_q)

    return in_chunks(terms, particle_keys(key, batch, num), chunk)


@dataclasses.dataclass(frozen=True)
class PathLoss(Chunked):
    """`Objective.loss` of a particle estimate along moving z, with gradients to every parameter group."""

    model: LatentVariableModel
    num_particles: int
    estimate: Callable[..., Estimate]
    options: tuple = ()  # of the estimate, after log_p and log_q: numbers, or schedules

    def __call__(self, trainable, state, key, batch, step):
        batch, options = as_batch(batch), [value_at(option, step) for option in self.options]
        terms = moving_particles(self.model, trainable.model, key, batch, self.num_particles, self.chunk)
        log_p, log_q = map(total, terms)
        a = jax.vmap(lambda p, q: self.estimate(p, q, *options))(*jax.lax.stop_gradient((log_p, log_q)))
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p + a.recognition * log_q, axis=1))
        return loss_of(bound, surrogate), (state, {"bound": bound})


@dataclasses.dataclass(frozen=True)
class ScoreLoss(Chunked):
    """`Objective.loss` of a particle estimate whose z are held fixed, with gradients to every parameter group."""

    model: LatentVariableModel
    num_particles: int
    estimate: Callable[..., Estimate]
    options: tuple = ()  # of the estimate, after log_p and log_q

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        log_p, log_q = fixed_particles(self.model, params, params, key, batch, self.num_particles, self.chunk)
        a = jax.vmap(lambda p, q: self.estimate(p, q, *self.options))(*jax.lax.stop_gradient((log_p, log_q)))
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p + a.recognition * log_q, axis=1))
        return loss_of(bound, surrogate), (state, {"bound": bound})


def loss_of(bound: Scalar, surrogate: Scalar) -> Scalar:
    """Minus the bound as the value, minus the surrogate's gradient as the gradient.

    The parentheses matter: the difference of equal numbers is exactly zero, in float32 too.
    """
    stop = jax.lax.stop_gradient
    return -stop(bound) - (surrogate - stop(surrogate))
