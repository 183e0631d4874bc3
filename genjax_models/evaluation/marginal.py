"""log p(x) of latent variable models: by importance weighting, and exactly where the latents can be enumerated."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Batch, Key, LatentVariableModel, Params, as_batch, total
from genjax_models.errors import DataError, ModelError, require_count
from genjax_models.evaluation.blocks import compiled, in_blocks
from genjax_models.evaluation.weights import RunningSums, log_mean, sum_weights

MOST_UNITS = 24  # whose states are enumerated


class LogMarginal(NamedTuple):
    """An estimate of log p(x) for each of N examples."""

    log_prob: jax.Array  # [N], nats
    standard_error: jax.Array  # [N], of log_prob, from the spread of the weights
    effective_samples: jax.Array  # [N], (sum w)^2 / sum w^2, at most K


def check_examples(batch: Batch) -> Batch:
    """The batch with floating x; DataError unless that is [N, D]."""
    if getattr(batch.x, "ndim", 0) != 2 or batch.x.shape[0] == 0:
        raise DataError(f"x: got shape {getattr(batch.x, 'shape', None)}, expected [N, D] with at least one example.")
    return batch._replace(x=jnp.asarray(batch.x, jnp.result_type(float)))


def _importance_weight(model, params, row, key) -> jax.Array:
    """log p(x, z) - log q(z | x) of z ~ q(z | x)."""
    if model.propose_joint is not None:
        _, log_q, log_p = model.propose_joint(params, key, row.x, row.context)
        return total(log_p) - total(log_q)
    z, log_q = model.propose(params, key, row.x, row.context)
    return total(model.log_joint(params, z, row.x, row.context)) - total(log_q)


def _estimate(model, log_weight, num_samples, chunk, block, params, key, batch) -> LogMarginal:
    def example(key, row):
        return sum_weights(functools.partial(log_weight, model, params, row), key, num_samples, chunk)

    return LogMarginal(*log_mean(in_blocks(example, key, batch, block), num_samples))


# log (1/K) sum_k exp(log_weight(model, params, example, key_k)), leaves [N].
log_mean_weight = compiled(_estimate, static=5)


def require_sizes(name: str, **sizes: int) -> None:
    """Raise ConfigError, by name, for a size below one."""
    for size, value in sizes.items():
        require_count(f"{name}: {size}", value)


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
    require_sizes("log_marginal", num_samples=num_samples, chunk=chunk, block=block)
    batch = check_examples(as_batch(x))
    return log_mean_weight(model, _importance_weight, num_samples, chunk, block, params, key, batch)


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
    require_count("exact_log_marginal: block", block)
    batch = check_examples(as_batch(x))
    require_few_binary_latents("exact_log_marginal", model, params, batch, "log_marginal")
    return log_sum_over_latents(model, log_joint, block, params, batch)
