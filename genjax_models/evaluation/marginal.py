"""log p(x) of latent variable models: by importance weighting, and exactly where the latents can be enumerated."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.core import Batch, Key, LatentVariableModel, Params, as_batch, is_hashable, total
from genjax_models.errors import DataError, ModelError, require_count
from genjax_models.evaluation.blocks import in_blocks


class LogMarginal(NamedTuple):
    """An estimate of log p(x) for each of N examples."""

    log_prob: jax.Array  # [N], nats
    standard_error: jax.Array  # [N], of log_prob, from the spread of the weights
    effective_samples: jax.Array  # [N], (sum w)^2 / sum w^2, at most K


class _Running(NamedTuple):
    """Sums of weights relative to the largest so far."""

    largest: jax.Array
    weights: jax.Array
    squares: jax.Array

    def add(self, log_w: jax.Array) -> "_Running":
        largest = jnp.maximum(self.largest, jnp.max(log_w))
        # With every weight zero so far the difference of infinities is no number: scale by one instead.
        shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
        scale, relative = jnp.exp(self.largest - shift), jnp.exp(log_w - shift)
        weights = self.weights * scale + jnp.sum(relative)
        return _Running(largest, weights, self.squares * scale**2 + jnp.sum(relative**2))

    @staticmethod
    def empty() -> "_Running":
        zero = jnp.zeros(())
        return _Running(zero - jnp.inf, zero, zero)


def _check_examples(batch: Batch) -> Batch:
    if getattr(batch.x, "ndim", 0) != 2 or batch.x.shape[0] == 0:
        raise DataError(f"x: got shape {getattr(batch.x, 'shape', None)}, expected [N, D] with at least one example.")
    return batch._replace(x=jnp.asarray(batch.x, jnp.result_type(float)))


def _estimate(model, num_samples, chunk, block, params, key, batch) -> LogMarginal:
    def one_sample(key, x, c):
        z, log_q = model.propose(params, key, x, c)
        return total(model.log_joint(params, z, x, c)) - total(log_q)

    def example(key, row):
        def add_chunk(running, indices):
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
            log_w = jax.vmap(lambda k: one_sample(k, row.x, row.context))(keys)
            return running.add(jnp.where(indices < num_samples, log_w, -jnp.inf)), None

        indices = jnp.arange(-(-num_samples // chunk) * chunk).reshape(-1, chunk)
        return jax.lax.scan(add_chunk, _Running.empty(), indices)[0]

    largest, weights, squares = in_blocks(example, key, batch, block)
    relative_variance = squares / weights**2 - 1 / num_samples
    return LogMarginal(
        log_prob=largest + jnp.log(weights) - math.log(num_samples),
        standard_error=jnp.sqrt(jnp.maximum(relative_variance, 0)),
        effective_samples=weights**2 / squares,
    )


_compiled_estimate = jax.jit(_estimate, static_argnums=(0, 1, 2, 3))


def log_marginal(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    num_samples: int = 1000,
    *,
    chunk: int = 100,
    block: int = 50,
) -> LogMarginal:
    """The importance weighted estimate log (1/K) sum_k p(x, z_k) / q(z_k | x) of log p(x), for every example.

    In expectation it is a lower bound on log p(x), rising to it with K. Its standard error is that of the weights seen:
    where q misses the posterior altogether, both the estimate and its error are too low, and few effective samples warn
    of it. Memory grows with neither K nor N; values depend on `chunk` and `block` by round-off alone.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws sample k from `fold_in(fold_in(key, i), k)`.
        x: examples [N, D], or a `Batch` with contexts.
        num_samples: K.
        chunk: samples computed at a time.
        block: examples computed at a time.

    Returns:
        A `LogMarginal`, leaves [N], nats.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Example:
        >>> nll = -log_marginal(model, params, jax.random.key(0), x_test, num_samples=5000).log_prob.mean()

    Reference:
        Rezende, Mohamed and Wierstra 2014, appendix E; Burda, Grosse and Salakhutdinov 2015, section 5.
    """
    if not isinstance(model, LatentVariableModel):
        raise ModelError(f"log_marginal needs a LatentVariableModel, got a {type(model).__name__}.")
    for name, size in {"num_samples": num_samples, "chunk": chunk, "block": block}.items():
        require_count(f"log_marginal: {name}", size)
    batch = _check_examples(as_batch(x))
    # A model with traced hyperparameters stands in somebody's trace already.
    function = _compiled_estimate if is_hashable(model) else _estimate
    return function(model, num_samples, min(chunk, num_samples), block, params, key, batch)


def _enumerate(model, block, params, batch) -> jax.Array:
    shapes, _ = jax.eval_shape(model.sample_joint, params, jax.random.key(0), _first(batch.context))
    leaves, structure = jax.tree.flatten(shapes)
    sizes = [math.prod(leaf.shape) for leaf in leaves]
    number = sum(sizes)
    if number > 24:
        raise ModelError(
            f"exact_log_marginal enumerates all states of the latents, and {model.name} has {number} of them; at most "
            "24 are feasible. Use log_marginal."
        )

    def latents(state):
        bits = (state >> jnp.arange(number)) & 1
        parts, start = [], 0
        for leaf, size in zip(leaves, sizes, strict=True):
            parts.append(bits[start : start + size].reshape(leaf.shape).astype(leaf.dtype))
            start += size
        return jax.tree.unflatten(structure, parts)

    states = jnp.arange(2**number).reshape(-1, min(2**number, 2**10))

    def example(_, row):
        def add(running, chunk):
            log_p = jax.vmap(lambda s: total(model.log_joint(params, latents(s), row.x, row.context)))(chunk)
            return running.add(log_p), None

        return jax.lax.scan(add, _Running.empty(), states)[0]

    largest, weights, _ = in_blocks(example, jax.random.key(0), batch, block)
    return largest + jnp.log(weights)


_compiled_enumerate = jax.jit(_enumerate, static_argnums=(0, 1))


def _first(context: Any) -> Any:
    return jax.tree.map(lambda v: v[0], context)


def exact_log_marginal(model: LatentVariableModel, params: Params, x: Any, *, block: int = 20) -> jax.Array:
    """log p(x) = log sum_z p(x, z) by enumerating every state of binary latents.

    The work doubles with every unit: 20 of them are a million states an example.

    Args:
        model: a `LatentVariableModel` with binary latents, at most 24 units in all.
        params: its parameters.
        x: examples [N, D], or a `Batch` with contexts.
        block: examples computed at a time.

    Returns:
        log p(x), [N], nats.

    Raises:
        ModelError: latents that are not binary, or too many of them.
        DataError: examples that are not [N, D].
    """
    if not isinstance(model, LatentVariableModel) or model.support != "binary":
        name = getattr(model, "name", repr(model))
        raise ModelError(f"exact_log_marginal enumerates binary latents, which {name} does not have. Use log_marginal.")
    require_count("exact_log_marginal: block", block)
    batch = _check_examples(as_batch(x))
    function = _compiled_enumerate if is_hashable(model) else _enumerate
    return function(model, block, params, batch)
