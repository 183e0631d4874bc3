"""log p(x) of sequences by particle filters."""

from typing import Any

import jax.numpy as jnp

from genjax_models.core import Key, LatentVariableModel, Params, as_batch
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes
from genjax_models.evaluation.marginal import LogMarginal, summarize, with_warning
from genjax_models.evaluation.weights import sum_weights
from genjax_models.objectives.fivo import RESAMPLERS, Criterion, Resampling, filter_particles, require_filter


def _estimate(
    model, num_particles, num_filters, resampling, criterion, chunk, block, params, key, batch
) -> LogMarginal:
    resample = RESAMPLERS[resampling]

    def example(key, row):
        def run(key):
            found = filter_particles(model, params, key, row.x, row.context, num_particles, resample, criterion)
            return found.log_estimate

        return sum_weights(run, key, num_filters, chunk)

    sums = in_blocks(example, key, batch, block)
    return summarize(sums, jnp.full_like(sums.largest, jnp.nan), num_filters)


_run_estimate = compiled(_estimate, static=7)


def particle_filter_log_marginal(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    num_particles: int = 100,
    num_filters: int = 10,
    *,
    resampling: Resampling = "systematic",
    criterion: Criterion = "ess",
    chunk: int = 10,
    block: int = 20,
) -> LogMarginal:
    """log of the mean of several particle filters' unbiased estimates of p(x), for every example.

    In expectation a lower bound on log p(x), as `log_marginal` is, and for long sequences a tighter one at the same
    number of particles in all, K M. Its standard error is that of the M filters' estimates.

    Args:
        model: a `LatentVariableModel` with steps, such as `variational_rnn`.
        params: its parameters.
        key: filter m of example i draws from `fold_in(fold_in(key, i), m)`.
        x: examples [N, D], or a `Batch` with masks.
        num_particles: K particles a filter.
        num_filters: M.
        resampling: "multinomial" or "systematic".
        criterion: "ess" resamples after a step whose effective sample size is below K / 2; "always"; "never".
        chunk: filters computed at a time.
        block: examples computed at a time.

    Returns:
        A `LogMarginal`, leaves [N], nats; `effective_samples` is of the M filters, and looked at from 25 of them on.

    Warns:
        DoubtfulEstimate: examples whose filters disagree too much, which `doubtful` marks.

    Raises:
        ModelError: a model without steps.
        ConfigError: a size below one, or an unknown name.
        DataError: examples that are not [N, D].

    Example:
        >>> nll = -particle_filter_log_marginal(model, params, jax.random.key(0), Batch(x, mask)).log_prob

    Reference:
        Maddison et al., "Filtering variational objectives", 2017, algorithm 1 and proposition 1; Del Moral 2004,
        theorem 7.4.2, for unbiasedness.
    """
    name = "particle_filter_log_marginal"
    require_filter(name, model, resampling, criterion)
    require_sizes(name, num_particles=num_particles, num_filters=num_filters, chunk=chunk, block=block)
    batch = check_examples(as_batch(x))
    sizes = num_particles, num_filters, resampling, criterion, chunk, block
    return with_warning(name, _run_estimate(model, *sizes, params, key, batch), "Raise num_particles.")
