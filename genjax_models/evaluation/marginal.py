"""log p(x) of latent variable models by importance weighting, and whether the weights speak against it."""

import functools
import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Key, LatentVariableModel, Params, as_batch, total
from genjax_models.errors import ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, devices_for, in_blocks, require_sizes
from genjax_models.evaluation.exact_marginal import MOST_UNITS, binary_states
from genjax_models.evaluation.pareto import pareto_k, tail_length, trusted_k
from genjax_models.evaluation.weights import RunningSums, log_mean, sum_weights, sums_and_largest

LEAST_EFFECTIVE = 10  # samples, with fewer of which an estimate is doubtful
LEAST_LOOKED_AFTER = 25  # samples, below which an estimate is a bound and nothing else
MOST_ELSEWHERE = 200  # draws of the prior that look for what q misses
ELSEWHERE = 2**32 - 1  # what their keys are folded with


class DoubtfulEstimate(UserWarning):
    """An estimate of log p(x) that its own weights speak against."""


class LogMarginal(NamedTuple):
    """An estimate of log p(x) for each of N examples."""

    log_prob: jax.Array  # [N], nats
    standard_error: jax.Array  # [N], of log_prob, from the spread of the weights; NaN of one sample
    effective_samples: jax.Array  # [N], (sum w)^2 / sum w^2, at most K
    pareto_k: jax.Array  # [N], k-hat of the largest weights; NaN where they have no tail to fit
    doubtful: jax.Array  # [N], whether the weights speak against the estimate and its standard error


def importance_weight(model, params, row, key) -> jax.Array:
    """log p(x, z) - log q(z | x) of z ~ q(z | x)."""
    if model.propose_joint is not None:
        _, log_q, log_p = model.propose_joint(params, key, row.x, row.context)
        return total(log_p) - total(log_q)
    z, log_q = model.propose(params, key, row.x, row.context)
    return total(model.log_joint(params, z, row.x, row.context)) - total(log_q)


def _second_moment(model, params, row, key) -> jax.Array:
    """log p(x | z) w(z) of z ~ p(z), whose mean is that of w^2 over z ~ q(z | x): also of the z that q misses."""
    z, _ = model.sample_joint(params, key, row.context)
    joint = model.log_joint(params, z, row.x, row.context)
    log_w = total(joint) - total(model.log_posterior(params, z, row.x, row.context))
    return jnp.where(jnp.isnan(log_w), -jnp.inf, joint.likelihood + log_w)


def require_prior(name: str, model: LatentVariableModel, instead: str) -> None:
    """Raise ModelError unless p draws z before x, so that log p(x, z) is log p(z) + log p(x | z) term by term."""
    if model.prior_given_x:
        raise ModelError(
            f"{name}: p draws some latents of {model.name} given parts of x that come before them, so that they cannot "
            f"be drawn first; {instead}"
        )


def _has_second_moment(model) -> bool:
    """Whether the prior can be drawn first, and q(z | x) be had of any z without going through its units."""
    return not model.prior_given_x and (model.support != "real" or model.posterior_moments is not None)


def summarize(sums: RunningSums, k: jax.Array, num_samples: int, log_second: Any = -jnp.inf) -> LogMarginal:
    """The estimate by K weights, from their sums and k-hat; leaves [N].

    `log_second` is the mean of w^2 as other draws have it, from which the effective number of samples is
    K (E w)^2 / E w^2.
    """
    mean = log_mean(sums, num_samples)
    least = LEAST_EFFECTIVE if num_samples >= LEAST_LOOKED_AFTER else 0
    seen_elsewhere = jnp.exp(math.log(num_samples) + 2 * mean.value - log_second)
    # So written that what is no number counts.
    few = ~((mean.effective_samples >= least) & (seen_elsewhere >= least))
    return LogMarginal(*mean, pareto_k=k, doubtful=few | (k > trusted_k(num_samples)) | ~jnp.isfinite(mean.value))


def _estimate(model, log_weight, log_square, num_samples, chunk, block, devices, params, key, batch) -> LogMarginal:
    # Weights of latents with few states take few values, and have no tail.
    few = model.support != "real" and binary_states(model, params, batch)[0] <= MOST_UNITS
    tail = 0 if few or num_samples < LEAST_LOOKED_AFTER else tail_length(num_samples)

    def example(key, row):
        log_w = functools.partial(log_weight, model, params, row)
        sums, largest = sums_and_largest(log_w, key, num_samples, chunk, tail + 1 if tail else 0)
        if log_square is None:
            return sums, pareto_k(largest), jnp.full_like(sums.largest, -jnp.inf)
        log_w2 = functools.partial(log_square, model, params, row)
        squares = sum_weights(log_w2, jax.random.fold_in(key, ELSEWHERE), draws, chunk)
        return sums, pareto_k(largest), log_mean(squares, draws).value

    draws = min(math.ceil(num_samples / 5), MOST_ELSEWHERE)
    sums, k, log_second = in_blocks(example, key, batch, block, devices)
    return summarize(sums, k, num_samples, log_second)


_run_estimate = compiled(_estimate, static=7)


def log_mean_weight(
    model, log_weight, log_square, num_samples, chunk, block, params, key, batch, devices=None
) -> LogMarginal:
    """log (1/K) sum_k exp(log_weight(model, params, example, key_k)), leaves [N], over all devices.

    `log_square`, of the same form, gives log-numbers whose mean is that of the squared weights, by other draws.
    """
    devices = devices or devices_for(params, key, batch)
    return _run_estimate(model, log_weight, log_square, num_samples, chunk, block, devices, params, key, batch)


def estimate_log_marginal(model, params, key, batch, num_samples, *, chunk=100, block=50, devices=None) -> LogMarginal:
    """`log_marginal` of a floating batch, without checks and warnings."""
    few = num_samples < LEAST_LOOKED_AFTER
    square = None if few or not _has_second_moment(model) else _second_moment
    return log_mean_weight(model, importance_weight, square, num_samples, chunk, block, params, key, batch, devices)


def with_warning(name: str, estimate: LogMarginal, advice: str) -> LogMarginal:
    """The estimate, after a warning where its weights speak against it; within a trace it has no values to look at."""
    if isinstance(estimate.doubtful, jax.core.Tracer):
        return estimate
    if number := int(np.sum(estimate.doubtful)):
        warnings.warn(
            f"{name}: the weights speak against the estimates of {number} of {len(estimate.doubtful)} examples (a "
            "k-hat that is too large, few effective samples, or large weights where q rarely draws; `doubtful` marks "
            f"them): they are likely too low, and their standard errors too small. {advice}",
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
    and where those have a heavy tail both the estimate and its error are too low. Three things say so:

    - k-hat, the shape of a Pareto distribution fitted to the 3 sqrt(K) largest, above min(1 - 1 / log10 K, 0.7) (of
      more than 24 binary latents, and of real ones);
    - fewer than 10 effective samples, (sum w)^2 / sum w^2;
    - fewer than 10 of them by K (E w)^2 / E w^2 with E_q w^2 = E_p(z)[p(x | z) w(z)] from K / 5 draws of the prior, at
      most 200: where they find z that q misses, no draw of q can tell. (Of models whose prior can be drawn first, with
      binary or one-hot latents or q's moments in closed form.)

    With fewer than 25 samples it is a bound, and nothing of this is looked at.

    What none of them finds is not seen; `bidirectional_monte_carlo` tests that. Memory does not grow with N, and with K
    by the largest weights alone; values depend on `chunk`, `block` and the number of devices, which are used where each
    has a block, by round-off alone.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws sample k from `fold_in(fold_in(key, i), k)`; of keys [N], from `fold_in(key[i], k)`.
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
