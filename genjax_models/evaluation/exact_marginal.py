"""log p(x) of latent variable models exactly: by enumeration of binary latents, and of linear Gaussian models."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from genjax_models.core import Batch, LatentVariableModel, Params, as_batch, total
from genjax_models.distributions import LOG_2PI
from genjax_models.errors import ModelError, require_count
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks
from genjax_models.evaluation.weights import RunningSums

MOST_UNITS = 24  # whose states are enumerated


def log_joint(model: LatentVariableModel, params: Params, z: Any, x: jax.Array, c: Any) -> jax.Array:
    """log p(x, z)."""
    return total(model.log_joint(params, z, x, c))


def _log_sum(model, log_term, block, params, batch) -> jax.Array:
    number, latents = binary_states(model, params, batch)
    states = jnp.arange(2**number).reshape(-1, min(2**number, 2**10))

    def example(_, row):
        def add(running, chunk):
            return running.add(jax.vmap(lambda s: log_term(model, params, latents(s), row.x, row.context))(chunk)), None

        return jax.lax.scan(add, RunningSums.empty(), states)[0]

    return in_blocks(example, jax.random.key(0), batch, block).log_sum()


# log sum_z exp(log_term(model, params, z, x, c)) over all states of binary latents, [N].
log_sum_over_latents = compiled(_log_sum, static=3)


def binary_states(model: LatentVariableModel, params: Params, batch: Batch) -> tuple[int, Callable[[Any], Any]]:
    """The number of binary units in an example's latents, and the latents of state 0, 1, ..., 2^number - 1."""
    context = jax.tree.map(lambda v: v[0], batch.context)
    shapes = jax.eval_shape(model.sample_joint, params, jax.random.key(0), context)[0]
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def latents(state):
        bits = jnp.split((state >> jnp.arange(ends[-1])) & 1, ends[:-1])
        parts = [b.reshape(leaf.shape).astype(leaf.dtype) for b, leaf in zip(bits, leaves, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return int(ends[-1]), latents


def require_few_binary_latents(name: str, model: Any, params: Params, batch: Batch, instead: str) -> int:
    """The number of latent units; ModelError unless they are binary and few enough to be enumerated."""
    if not isinstance(model, LatentVariableModel) or model.support != "binary":
        got = getattr(model, "name", repr(model))
        raise ModelError(f"{name} enumerates binary latents, which {got} does not have. Use {instead}.")
    number, _ = binary_states(model, params, batch)
    if number > MOST_UNITS:
        raise ModelError(
            f"{name} enumerates all states of the latents, and {model.name} has {number} of them; at most "
            f"{MOST_UNITS} are feasible. Use {instead}."
        )
    return number


def _gaussian_log_marginal(model, block, params, batch) -> tuple[jax.Array, jax.Array]:
    """log p(x) and whether log p(x, z) is quadratic in z, [N]: then p(z | x) is Gaussian, with its mode as its mean."""
    context = jax.tree.map(lambda v: v[0], batch.context)
    shapes = jax.eval_shape(model.sample_joint, params, jax.random.key(0), context)[0]
    start, latents = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))

    noise = jax.random.normal(jax.random.key(0), (8, len(start)), start.dtype)

    def example(_, row):
        def log_p(z):
            return log_joint(model, params, latents(z), row.x, row.context)

        slope, curvature = jax.grad(log_p)(start), jax.hessian(log_p)(start)
        root = jnp.linalg.cholesky(-curvature)
        mode = jax.scipy.linalg.cho_solve((root, True), slope)
        log_volume = 0.5 * len(start) * LOG_2PI - jnp.sum(jnp.log(jnp.diag(root)))
        # Piecewise linear networks look quadratic near a point: slopes are compared as far out as p(z | x) and p(z) go.
        spread = jax.scipy.linalg.solve_triangular(root.T, noise.T, lower=False).T
        points = jnp.concatenate([mode[None], mode + spread, mode - spread, 2 * noise, -2 * noise])
        expected = (mode - points) @ -curvature
        off = jnp.max(jnp.abs(jax.vmap(jax.grad(log_p))(points) - expected))
        tolerance = 1e3 * jnp.finfo(start.dtype).eps
        scale = 1 + jnp.max(jnp.abs(slope)) + jnp.max(jnp.abs(expected))
        return log_p(mode) + log_volume, off <= tolerance * scale

    return in_blocks(example, jax.random.key(0), batch, block)


_run_gaussian = compiled(_gaussian_log_marginal, static=2)


def exact_log_marginal(model: LatentVariableModel, params: Params, x: Any, *, block: int = 20) -> jax.Array:
    """log p(x), of binary latents by enumerating their states, of a linear Gaussian model in closed form.

    log sum_z p(x, z) doubles its work with every unit: 20 of them are a million states an example. Where log p(x, z) is
    quadratic in real latents z, log p(x) = log p(x, m) + (Z / 2) log 2 pi - log |H| / 2 with m the mode and -H the
    second derivatives; that it is so is checked by the slopes at 33 points about m and about the prior.

    Args:
        model: a `LatentVariableModel` with binary latents, at most 24 units in all, or a linear Gaussian one: a `vae`
            whose decoder has no hidden layers, with Gaussian units.
        params: its parameters.
        x: examples [N, D], or a `Batch` with contexts.
        block: examples computed at a time.

    Returns:
        log p(x), [N], nats.

    Raises:
        ModelError: binary latents that are too many, real ones in which log p(x, z) is not quadratic, or others.
        DataError: examples that are not [N, D].
    """
    require_count("exact_log_marginal: block", block)
    batch = check_examples(as_batch(x))
    if isinstance(model, LatentVariableModel) and model.support == "real":
        value, quadratic = _run_gaussian(model, block, params, batch)
        if isinstance(quadratic, jax.core.Tracer):
            return jnp.where(quadratic, value, jnp.nan)
        if not quadratic.all():
            raise ModelError(
                f"exact_log_marginal: log p(x, z) of {model.name} is not quadratic in its real latents z, so that log "
                "p(x) has no closed form. Use quadrature_log_marginal for few latents, or bidirectional_monte_carlo."
            )
        return value
    require_few_binary_latents("exact_log_marginal", model, params, batch, "log_marginal")
    return log_sum_over_latents(model, log_joint, block, params, batch)
