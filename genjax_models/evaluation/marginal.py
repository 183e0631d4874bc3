"""log p(x) of latent variable models by importance weighting, and whether the weights speak against it."""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax_models.core import Key, LatentVariableModel, Params, as_batch, total
from genjax_models.errors import ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, devices_for, in_blocks, require_sizes
from genjax_models.evaluation.exact_marginal import MOST_UNITS, binary_states
from genjax_models.evaluation.pareto import pareto_k, tail_length, trusted_k
from genjax_models.evaluation.weights import RunningSums, log_mean, sums_and_largest

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
