"""log p(x) of latent variable models: by importance weighting, and exactly where the latents can be enumerated."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from genjax_models.core import Batch, Key, LatentVariableModel, Params, as_batch, total
from genjax_models.distributions import LOG_2PI
from genjax_models.errors import DataError, ModelError, require_count
from genjax_models.evaluation.blocks import compiled, devices_for, in_blocks
from genjax_models.evaluation.pareto import pareto_k, tail_length, trusted_k
from genjax_models.evaluation.weights import RunningSums, log_mean, sums_and_largest

MOST_UNITS = 24  # whose states are enumerated
LEAST_EFFECTIVE = 10  # samples, with fewer of which an estimate is doubtful; a fifth of K where that is less


class DoubtfulEstimate(UserWarning):
    """An estimate of log p(x) that its own weights speak against."""


class LogMarginal(NamedTuple):
    """An estimate of log p(x) for each of N examples."""

    log_prob: jax.Array  # [N], nats
    standard_error: jax.Array  # [N], of log_prob, from the spread of the weights
    effective_samples: jax.Array  # [N], (sum w)^2 / sum w^2, at most K
    pareto_k: jax.Array  # [N], k-hat of the largest weights; NaN where they have no tail to fit
    doubtful: jax.Array  # [N], whether the weights speak against the estimate and its standard error


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


def summarize(sums: RunningSums, k: jax.Array, num_samples: int) -> LogMarginal:
    """The estimate by K weights, from their sums and k-hat; leaves [N]."""
    mean = log_mean(sums, num_samples)
    few = mean.effective_samples < min(LEAST_EFFECTIVE, num_samples / 5)
    return LogMarginal(*mean, pareto_k=k, doubtful=few | (k > trusted_k(num_samples)))


def _estimate(model, log_weight, num_samples, chunk, block, devices, params, key, batch) -> LogMarginal:
    # Weights of latents with few states take few values, and have no tail.
    few = model.support != "real" and binary_states(model, params, batch)[0] <= MOST_UNITS
    tail = 0 if few else tail_length(num_samples)

    def example(key, row):
        log_w = functools.partial(log_weight, model, params, row)
        sums, largest = sums_and_largest(log_w, key, num_samples, chunk, tail + 1)
        return sums, pareto_k(largest)

    sums, k = in_blocks(example, key, batch, block, devices)
    return summarize(sums, k, num_samples)


_run_estimate = compiled(_estimate, static=6)


def log_mean_weight(model, log_weight, num_samples, chunk, block, params, key, batch, devices=None) -> LogMarginal:
    """log (1/K) sum_k exp(log_weight(model, params, example, key_k)), leaves [N], over all devices."""
    devices = devices or devices_for(params, key, batch)
    return _run_estimate(model, log_weight, num_samples, chunk, block, devices, params, key, batch)


def estimate_log_marginal(model, params, key, batch, num_samples, *, chunk=100, block=50, devices=None) -> LogMarginal:
    """`log_marginal` of a floating batch, without checks and warnings."""
    return log_mean_weight(model, _importance_weight, num_samples, chunk, block, params, key, batch, devices)


def with_warning(name: str, estimate: LogMarginal, advice: str) -> LogMarginal:
    """The estimate, after a warning where its weights speak against it; within a trace it has no values to look at."""
    if isinstance(estimate.doubtful, jax.core.Tracer):
        return estimate
    if number := int(np.sum(estimate.doubtful)):
        warnings.warn(
            f"{name}: the weights speak against the estimates of {number} of {len(estimate.doubtful)} examples (a "
            "k-hat that is too large, or few effective samples; `doubtful` marks them): they are likely too low, and "
            f"their standard errors too small. {advice}",
            DoubtfulEstimate,
            stacklevel=3,
        )
    return estimate


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

    In expectation it is a lower bound on log p(x), rising to it with K. Its standard error is that of the weights seen,
    and where those have a heavy tail both the estimate and its error are too low: k-hat, the shape of a Pareto
    distribution fitted to the 3 sqrt(K) largest, above min(1 - 1 / log10 K, 0.7) says so, and so do fewer than 10
    effective samples (up to 24 binary latents have no tail to fit). Nothing that q never draws can be seen in either;
    `bidirectional_monte_carlo` tests that. Memory does not grow with N, and with K by those largest weights alone;
    values depend on `chunk`, `block` and the number of devices, all of which are used, by round-off alone.

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

    Warns:
        DoubtfulEstimate: examples whose weights speak against their estimates, which `doubtful` marks.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Example:
        >>> nll = -log_marginal(model, params, jax.random.key(0), x_test, num_samples=5000).log_prob.mean()

    Reference:
        Rezende, Mohamed and Wierstra 2014, appendix E; Burda, Grosse and Salakhutdinov 2015, section 5; Vehtari,
        Simpson, Gelman, Yao and Gabry, "Pareto Smoothed Importance Sampling", 2024, equation 13.
    """
    if not isinstance(model, LatentVariableModel):
        raise ModelError(f"log_marginal needs a LatentVariableModel, got a {type(model).__name__}.")
    require_sizes("log_marginal", num_samples=num_samples, chunk=chunk, block=block)
    batch = check_examples(as_batch(x))
    found = estimate_log_marginal(model, params, key, batch, num_samples, chunk=chunk, block=block)
    return with_warning("log_marginal", found, "Raise num_samples, or use annealed_importance_sampling.")


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

    def example(_, row):
        def log_p(z):
            return log_joint(model, params, latents(z), row.x, row.context)

        slope, curvature = jax.grad(log_p)(start), jax.hessian(log_p)(start)
        root = jnp.linalg.cholesky(-curvature)
        mode = jax.scipy.linalg.cho_solve((root, True), slope)
        left, there = jax.grad(log_p)(mode), jax.hessian(log_p)(mode)
        tolerance = 1e3 * jnp.finfo(start.dtype).eps
        flat = jnp.max(jnp.abs(left)) <= tolerance * (1 + jnp.max(jnp.abs(slope)))
        same = jnp.max(jnp.abs(there - curvature)) <= tolerance * jnp.max(jnp.abs(curvature))
        log_volume = 0.5 * len(start) * LOG_2PI - jnp.sum(jnp.log(jnp.diag(root)))
        return log_p(mode) + log_volume, flat & same

    return in_blocks(example, jax.random.key(0), batch, block)


_run_gaussian = compiled(_gaussian_log_marginal, static=2)


def exact_log_marginal(model: LatentVariableModel, params: Params, x: Any, *, block: int = 20) -> jax.Array:
    """log p(x), of binary latents by enumerating their states, of a linear Gaussian model in closed form.

    log sum_z p(x, z) doubles its work with every unit: 20 of them are a million states an example. Where log p(x, z) is
    quadratic in real latents z, log p(x) = log p(x, m) + (Z / 2) log 2 pi - log |H| / 2 with m the mode and -H the
    second derivatives; that it is so is verified, from two points.

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
