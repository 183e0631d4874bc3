"""Gradient estimators measured: bias, variance and cost; and the exact gradient where latents can be enumerated.

Gradients here are those of the loss, minus the bound, as `jax.grad` of an `Objective.loss` gives them.
"""

import itertools
import math
import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Key, LatentVariableModel, Objective, Params, Trainable, as_batch, total
from genjax_models.errors import ConfigError, ModelError, require_count
from genjax_models.evaluation.blocks import check_examples, compiled
from genjax_models.evaluation.exact_marginal import binary_states

MOST_SETS = 2**20  # sets of particles that are enumerated
TIMED_CALLS = 10


class GroupStatistics(NamedTuple):
    """The gradient estimate of one parameter group, over draws on one batch."""

    mean: Any  # the mean gradient, as the group's parameters
    standard_error: Any  # of the mean, likewise
    variance: jax.Array  # [], of one draw, summed over parameters
    signal_to_noise: jax.Array  # [], |expected gradient| / sqrt(variance); 0 where there is no gradient
    bias: Any | None  # mean - exact, as the group's parameters; None where no exact gradient is given
    bias_norm: jax.Array | None  # [], |bias|
    error_norm: jax.Array  # [], |standard_error|, what an unbiased estimate's bias would come to by chance


class GradientStatistics(NamedTuple):
    """The gradient estimate of an objective, on one batch."""

    groups: dict[str, GroupStatistics]  # by the model's parameter groups
    seconds: float  # of one draw for the whole batch, with all that a training step computes but the update
    num_draws: int


class _Moments(NamedTuple):
    """Running mean and sum of squared deviations of draws (Chan, Golub and LeVeque 1979)."""

    number: jax.Array
    mean: Any
    squares: Any

    def add(self, draws: Any, used: jax.Array) -> "_Moments":
        """Further draws, leaves [M, ...], of which those marked in used [M] count."""

        def weighted(v):
            return jnp.where(used.reshape(-1, *[1] * (v.ndim - 1)), v, 0)

        more = jnp.sum(used)
        number = self.number + more
        mean = jax.tree.map(lambda v: jnp.sum(weighted(v), axis=0) / jnp.maximum(more, 1), draws)
        shift = jax.tree.map(jnp.subtract, mean, self.mean)
        within = jax.tree.map(lambda v, m: jnp.sum(weighted(v - m) ** 2, axis=0), draws, mean)
        return _Moments(
            number,
            jax.tree.map(lambda m, d: m + d * more / number, self.mean, shift),
            jax.tree.map(lambda s, w, d: s + w + d**2 * self.number * more / number, self.squares, within, shift),
        )


class _Sums(NamedTuple):
    """What draws come to."""

    moments: _Moments
    rest: jax.Array  # of all else that a training step computes: unread, it would be left out of what is timed


def _accumulate(objective, sums, indices, num_draws, trainable, state, key, batch, step) -> _Sums:
    """The sums with the draws of indices [blocks, block] added, so far as there are as many."""

    def draw(index):
        k = jax.random.fold_in(key, index)
        (value, (after, _)), gradient = jax.value_and_grad(objective.loss, has_aux=True)(
            trainable, state, k, batch, step
        )
        floats = [v for v in jax.tree.leaves((value, after, gradient.own)) if jnp.issubdtype(v.dtype, jnp.floating)]
        return gradient.model, sum(jnp.sum(v) for v in floats)

    def add(sums, block):
        draws, rest = jax.vmap(draw)(block)
        return _Sums(sums.moments.add(draws, block < num_draws), sums.rest + jnp.sum(rest)), None

    return jax.lax.scan(add, sums, indices)[0]


_run_accumulate = compiled(_accumulate, static=1)


def _accumulate_all(objective, num_draws, block, trainable, *rest) -> tuple[_Moments, float]:
    """The moments of all draws, and the median of the seconds that a draw took."""
    calls = min(TIMED_CALLS, -(-num_draws // block))
    blocks = -(-num_draws // (block * calls))  # of a call
    indices = np.arange(calls * blocks * block).reshape(calls, blocks, block)
    zeros = jax.tree.map(jnp.zeros_like, trainable.model)
    sums = _Sums(_Moments(jnp.zeros((), int), zeros, zeros), jnp.zeros(()))
    jax.block_until_ready(_run_accumulate(objective, sums, indices[0], num_draws, trainable, *rest))  # compiled by this
    times = []
    for of_call in indices:
        started = time.perf_counter()
        sums = jax.block_until_ready(_run_accumulate(objective, sums, of_call, num_draws, trainable, *rest))
        times.append(time.perf_counter() - started)
    return sums.moments, statistics.median(times) / (blocks * block)


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _without_noise(norm: jax.Array, error: jax.Array) -> jax.Array:
    """The norm of what a noisy estimate estimates: its square exceeds that by the error's in expectation."""
    return jnp.sqrt(jnp.maximum(norm**2 - error**2, 0))


@jax.jit
def _statistics_of(mean: Any, squares: Any, exact: Any | None, num_draws: Any) -> GroupStatistics:
    variances = jax.tree.map(lambda s: s / (num_draws - 1), squares)
    standard_error = jax.tree.map(lambda v: jnp.sqrt(v / num_draws), variances)
    variance = jnp.asarray(sum(jnp.sum(v) for v in jax.tree.leaves(variances)))
    error = _norm(standard_error)
    signal = _without_noise(_norm(mean), error)
    bias = None if exact is None else jax.tree.map(jnp.subtract, mean, exact)
    return GroupStatistics(
        mean,
        standard_error,
        variance,
        jnp.where(signal > 0, signal / jnp.sqrt(variance), 0),
        bias,
        None if bias is None else _without_noise(_norm(bias), error),
        error,
    )


def gradient_statistics(
    objective: Objective,
    params: Params,
    key: Key,
    batch: Any,
    num_draws: int = 1000,
    *,
    exact: Params | None = None,
    own_and_state: tuple[Any, Any] | None = None,
    step: Any = 0,
    block: int = 1,
) -> GradientStatistics:
    """Mean, bias, variance, signal-to-noise ratio and cost of an objective's gradient estimate on one batch.

    With g_i the gradient of the loss in draw i: the mean of g_i; its bias, mean - exact; the variance
    sum_j Var[g_ij] over a group's parameters j; and |E g| / sqrt(variance). The batch, the parameters and the
    objective's state stand still, so that all spread is the estimator's own. Squared norms of mean and bias are taken
    without the share that the draws' noise adds to them. Memory does not grow with the number of draws.

    Args:
        objective: an `Objective`.
        params: the model's parameters by group.
        key: draw i takes the key `fold_in(key, i)`.
        batch: examples [B, D], or a `Batch` with contexts.
        num_draws: gradients drawn, at least 2.
        exact: the gradient to compare with, of the loss, by group; groups may be left out. `exact_gradient` has it for
            the bounds of binary latents.
        own_and_state: the objective's own parameters and its state; None for those of `objective.init`, where
            baselines have learned nothing yet.
        step: the step that schedules are read at.
        block: draws computed at a time: more are faster on accelerators, and `seconds` is then a draw's share.

    Returns:
        `GradientStatistics`, with a `GroupStatistics` for every group; its seconds are the median over compiled calls.

    Raises:
        ConfigError: an impossible number, or an exact gradient of another structure.

    Example:
        >>> exact = exact_gradient(model, params, x)
        >>> found = gradient_statistics(reinforce(model), params, jax.random.key(0), x, 10_000, exact=exact)
        >>> found.groups["recognition"].variance, found.groups["recognition"].bias_norm, found.seconds

    Reference:
        signal-to-noise ratios of gradient estimates: Rainforth et al., "Tighter variational bounds are not necessarily
        better", 2018.
    """
    if not isinstance(objective, Objective):
        raise ConfigError(f"gradient_statistics: got {objective!r}, expected an Objective.")
    require_count("gradient_statistics: num_draws", num_draws)
    require_count("gradient_statistics: block", block)
    if num_draws < 2:
        raise ConfigError(f"gradient_statistics: num_draws got {num_draws}, expected at least 2, for a variance.")
    exact = {} if exact is None else exact
    for group, gradient in exact.items():
        if jax.tree.map(jnp.shape, gradient) != jax.tree.map(jnp.shape, params.get(group)):
            raise ConfigError(
                f"gradient_statistics: exact[{group!r}] has another structure than the parameters, whose groups are "
                f"{', '.join(params)}."
            )
    batch = check_examples(as_batch(batch))
    if own_and_state is None:
        own_and_state = objective.init(jax.random.fold_in(key, 2**32 - 1), params, batch)
    trainable, state = Trainable(params, own_and_state[0]), own_and_state[1]
    block = min(block, num_draws)
    moments, seconds = _accumulate_all(objective, num_draws, block, trainable, state, key, batch, step)
    groups = {
        group: _statistics_of(moments.mean[group], moments.squares[group], exact.get(group), num_draws)
        for group in params
    }
    return GradientStatistics(groups, seconds, num_draws)


def _sets_of_particles(states: int, particles: int) -> tuple[np.ndarray, np.ndarray]:
    """All sets of K particles as indices [M, K], whatever their order, and the log of how many orders each has [M]."""
    sets = np.array(list(itertools.combinations_with_replacement(range(states), particles)), np.int32)
    run, log_repeats = np.ones(len(sets)), np.zeros(len(sets))
    for before, after in itertools.pairwise(sets.T):
        run = np.where(before == after, run + 1, 1)
        log_repeats += np.log(run)  # equal particles stand together: r of them give r! in all
    return sets, math.lgamma(particles + 1) - log_repeats


def _bound_gradient(model, chunk, params, batch, sets, log_orders) -> Params:
    units, latents = binary_states(model, params, batch)

    def bound(params, row):
        def terms(state):
            z = latents(state)
            log_q = total(model.log_posterior(params, z, row.x, row.context))
            return total(model.log_joint(params, z, row.x, row.context)), log_q

        # Recomputed in the backward pass, chunk by chunk: memory does not grow with the number of states.
        chunks = jnp.arange(2**units).reshape(-1, chunk)
        log_p, log_q = (v.ravel() for v in jax.lax.map(jax.checkpoint(jax.vmap(terms)), chunks))
        chance = jnp.exp(log_orders + jnp.sum(log_q[sets], axis=1))
        return chance @ (jax.nn.logsumexp((log_p - log_q)[sets], axis=1) - math.log(sets.shape[1]))

    def add(gradient, row):
        return jax.tree.map(lambda g, h: g - h / len(batch.x), gradient, jax.grad(bound)(params, row)), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), batch)[0]


_run_bound_gradient = compiled(_bound_gradient, static=2)


def exact_gradient(model: LatentVariableModel, params: Params, batch: Any, num_particles: int = 1) -> Params:
    """The gradient of -E log (1/K) sum_k p(x, z_k) / q(z_k | x), averaged over a batch, by enumeration.

    All sets of K particles of q are summed over; K = 1 is the evidence lower bound. Its sign is that of an
    `Objective.loss`. In float32 it carries that precision; for more, run it under `jax.enable_x64`.

    Args:
        model: a `LatentVariableModel` with few binary latents.
        params: its parameters.
        batch: examples [B, D], or a `Batch` with contexts.
        num_particles: K.

    Returns:
        The gradient, as `params`.

    Raises:
        ModelError: latents that are not binary, or too many sets of particles.
        ConfigError: an impossible number of particles.
        DataError: examples that are not [B, D].

    Example:
        >>> gradient = exact_gradient(model, params, x, num_particles=2)
    """
    require_count("exact_gradient: num_particles", num_particles)
    if not isinstance(model, LatentVariableModel) or model.support != "binary":
        raise ModelError(
            f"exact_gradient enumerates binary latents, which {getattr(model, 'name', repr(model))} does not have. "
            "Average many draws of an unbiased objective's gradient instead: gradient_statistics(...).groups[...].mean."
        )
    batch = check_examples(as_batch(batch))
    units, _ = binary_states(model, params, batch)
    if math.comb(2**units + num_particles - 1, num_particles) > MOST_SETS:
        raise ModelError(
            f"exact_gradient enumerates all sets of num_particles={num_particles} among the 2^{units} states of the "
            f"{units} latent units of {model.name}; {MOST_SETS} sets at most are feasible. Use fewer particles or a "
            "smaller net."
        )
    sets, log_orders = _sets_of_particles(2**units, num_particles)
    return _run_bound_gradient(model, min(2**units, 2**10), params, batch, sets, jnp.asarray(log_orders, batch.x.dtype))
