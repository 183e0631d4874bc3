"""What estimators for binary latents share: refusals, uniforms, log q by logits, real numbers for upper layers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax_models.core import Batch, Context, Key, Latents, LatentVariableModel, Params, Scalar, X, total
from genjax_models.distributions import bernoulli_log_prob
from genjax_models.errors import ModelError
from genjax_models.objectives.common import require_latent_variable_model
from genjax_models.objectives.parts import draw_rows, split


def require_uniforms(objective: str, model: Any) -> None:
    """Raise ModelError, naming both, unless the model makes binary latents of uniforms."""
    require_latent_variable_model(objective, model)
    if model.sample_from_uniforms is None:
        raise ModelError(
            f"{objective} draws binary latents from uniforms, and {model.name} ({model.support} latents) has no "
            "sample_from_uniforms. Use elbo or iwae for reparameterized latents, else wake_sleep or "
            "reweighted_wake_sleep."
        )


def require_factorial_posterior(objective: str, model: Any) -> None:
    """Raise ModelError, naming both, unless q draws groups of binary units that are independent within the group."""
    require_latent_variable_model(objective, model)
    if model.reparameterized or model.support != "binary":
        raise ModelError(
            f"{objective} is for binary latents; those of {model.name} are {model.support} and their samples carry "
            "gradients already. Use elbo or iwae."
        )
    if model.posterior_logits is None or not model.factorial_posterior:
        raise ModelError(
            f"{objective} draws all units of a layer of q at once from their logits, and {model.name} has no layers of "
            "independent units: each depends on the hard units before it. Use reweighted_wake_sleep, or a model with "
            "factorial layers."
        )


def latent_shapes(model: LatentVariableModel, params: Params, batch: Batch) -> Latents:
    """The shapes and types of one example's latents."""
    row = jax.tree.map(lambda v: v[0], batch)
    return jax.eval_shape(model.propose, params, jax.random.key(0), row.x, row.context)[0]


def _uniform(key: Key, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """The midpoints of a grid in (0, 1): 1 - u is exact and has the same law in any precision, log-odds are finite."""
    return jax.random.uniform(key, shape, dtype) + jnp.finfo(dtype).eps / 2


def draw_uniforms(model: LatentVariableModel, params: Params, key: Key, batch: Batch) -> Latents:
    """Independent uniforms for every unit of every example's latents, leaves [B, ...]."""
    leaves, structure = jax.tree.flatten(latent_shapes(model, params, batch))

    def draw(key, leaf):
        return draw_rows(lambda k, n: _uniform(k, (n, *leaf.shape), leaf.dtype), key, batch.x.shape[0])

    return jax.tree.unflatten(structure, list(map(draw, split(key, len(leaves)), leaves)))


def draw_uniforms_by(model: LatentVariableModel, params: Params, keys: jax.Array, batch: Batch) -> Latents:
    """The uniforms of a particle for each of the keys [B, K], leaves [B, K, ...]."""
    leaves, structure = jax.tree.flatten(latent_shapes(model, params, batch))

    def particle(key):
        draws = zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        return jax.tree.unflatten(structure, [_uniform(k, leaf.shape, leaf.dtype) for k, leaf in draws])

    return jax.vmap(jax.vmap(particle))(keys)


def sum_units(values: Latents, axes: int) -> Scalar:
    """The sum over all units of all latents, leaves [*axes, ...] -> [*axes]; `axes` counts the leading axes."""
    return total(jax.tree.map(lambda v: jnp.sum(v, axis=tuple(range(axes, v.ndim))), values))


def score_bernoulli(logits: Latents, z: Latents, axes: int) -> Scalar:
    """log q(z | x) from the logit of every unit given those before it, leaves [*axes, ...] -> [*axes]."""

    def of_group(logits, z):
        shape = z.shape[:axes]
        return bernoulli_log_prob(logits.reshape(*shape, -1), z.reshape(*shape, -1))

    return total(jax.tree.map(of_group, logits, z))


def log_weight(model: LatentVariableModel, params: Params, z: Latents, x: X, c: Context) -> Scalar:
    """f(z) = log p(x, z) - log q(z | x) of one example; between 0 and 1 each unit's terms are linear in it."""
    return total(model.log_joint(params, z, x, c)) - total(model.log_posterior(params, z, x, c))


def replace_from(
    model: LatentVariableModel,
    params: Params,
    z: Latents,
    i: int,
    y: jax.Array,
    unit: Callable[[int, jax.Array], jax.Array],
    x: X,
    c: Context,
) -> Latents:
    """z with group i set to y, and every group j above it to unit(j, its logits given the groups below as replaced).

    Groups are counted as q draws them, from x upwards.
    """
    assert model.posterior_logits is not None
    groups, structure = jax.tree.flatten(z)
    groups[i] = y
    for j in range(i + 1, len(groups)):
        # Of all groups' logits only those of group j are used; the compiler leaves the others out.
        logits = model.posterior_logits(params, jax.tree.unflatten(structure, groups), x, c)
        groups[j] = unit(j, jax.tree.leaves(logits)[j])
    return jax.tree.unflatten(structure, groups)
