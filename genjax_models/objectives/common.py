"""What all objectives share: particles of a batch, the loss from a bound and a surrogate, and refusals."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax_models.core import (
    Batch,
    Joint,
    Key,
    Latents,
    LatentVariableModel,
    Params,
    Scalar,
    as_batch,
    total,
)
from genjax_models.errors import ModelError
from genjax_models.objectives.particles import Estimate
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


def propose(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """z ~ q(. | x) with its log_posterior by groups, leaves [B, K, ...]: K particles of every example."""

    def example(key, x, c):
        return jax.vmap(lambda k: model.propose(params, k, x, c))(jax.random.split(key, num_particles))

    return jax.vmap(example)(jax.random.split(key, batch.x.shape[0]), batch.x, batch.context)


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

    def example(key, x, c):
        return jax.vmap(lambda k: one(k, x, c), out_axes=(0, None))(jax.random.split(key, num_particles))

    return jax.vmap(example)(jax.random.split(key, batch.x.shape[0]), batch.x, batch.context)


def log_joint(model: LatentVariableModel, params: Params, z: Latents, batch: Batch) -> Joint:
    """log p(x, z) by terms, leaves [B, K], of particles z with leaves [B, K, ...]."""
    return _as_one_axis(lambda z, row: model.log_joint(params, z, row.x, row.context), z, batch)


def _propose_joint(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """log p(x, z_k) and log q(z_k | x) by terms, leaves [B, K], of the particles of `propose`."""
    assert model.propose_joint is not None
    function = functools.partial(model.propose_joint, params)
    keys = jax.vmap(lambda k: jax.random.split(k, num_particles))(jax.random.split(key, batch.x.shape[0]))
    _, log_q, log_p = _as_one_axis(lambda k, row: function(k, row.x, row.context), keys, batch)
    return log_p, log_q


def log_posterior(model: LatentVariableModel, params: Params, z: Latents, batch: Batch):
    """log q(z | x) by groups, leaves [B, K], of particles z with leaves [B, K, ...]."""
    score = functools.partial(model.log_posterior, params)
    return jax.vmap(lambda z, x, c: jax.vmap(lambda z: score(z, x, c))(z))(z, batch.x, batch.context)


def moving_particles(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """log p(x, z_k) and log q(z_k | x) by terms, leaves [B, K], of z_k ~ q(. | x) that carry gradients."""
    if model.propose_joint is not None:
        return _propose_joint(model, params, key, batch, num_particles)
    z, log_q = propose(model, params, key, batch, num_particles)
    return log_joint(model, params, z, batch), log_q


def held_particles(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """z ~ q(. | x) held fixed, leaves [B, K, ...], and its log_posterior by groups, leaves [B, K]."""
    z, log_q = propose(model, params, key, batch, num_particles)
    if model.reparameterized:
        # The terms of `propose` follow the moving z; with z held fixed they are scored again.
        z = jax.lax.stop_gradient(z)
        log_q = log_posterior(model, params, z, batch)
    return z, log_q


def fixed_particles(model: LatentVariableModel, params: Params, key: Key, batch: Batch, num_particles: int):
    """log p(x, z_k) and log q(z_k | x), each [B, K] and for its own group alone, of particles held fixed."""
    z, log_q = held_particles(model, only("recognition", params), key, batch, num_particles)
    return total(log_joint(model, only("generative", params), z, batch)), total(log_q)


@dataclasses.dataclass(frozen=True)
class PathLoss:
    """`Objective.loss` of a particle estimate along moving z, with gradients to every parameter group."""

    model: LatentVariableModel
    num_particles: int
    estimate: Callable[..., Estimate]
    options: tuple = ()  # of the estimate, after log_p and log_q: numbers, or schedules

    def __call__(self, trainable, state, key, batch, step):
        batch, options = as_batch(batch), [value_at(option, step) for option in self.options]
        terms = moving_particles(self.model, trainable.model, key, batch, self.num_particles)
        log_p, log_q = map(total, terms)
        a = jax.vmap(lambda p, q: self.estimate(p, q, *options))(*jax.lax.stop_gradient((log_p, log_q)))
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p + a.recognition * log_q, axis=1))
        return loss_of(bound, surrogate), (state, {"bound": bound})


@dataclasses.dataclass(frozen=True)
class ScoreLoss:
    """`Objective.loss` of a particle estimate whose z are held fixed, with gradients to every parameter group."""

    model: LatentVariableModel
    num_particles: int
    estimate: Callable[..., Estimate]
    options: tuple = ()  # of the estimate, after log_p and log_q

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        z, terms = held_particles(self.model, params, key, batch, self.num_particles)
        log_p, log_q = total(log_joint(self.model, params, z, batch)), total(terms)
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
