"""The distribution p* of a bidirectional Helmholtz machine: its probabilities, its samples, its completions.

For a model's p(x, z) and q(z | x) it is their geometric mean, with q(x) chosen to be the marginal of that mean:

    p*(x, z) = sqrt(p(x, z) q(z | x) p*(x)) / Z,    p*(x) = p~*(x) / Z^2,    p~*(x) = (sum_z sqrt(p(x, z) q(z | x)))^2.

p*(x) stands on both sides, which no sampler can use; but as p~*(x) is a square, p* is the marginal of

    p*(x, z, z') = sqrt(p(x, z) q(z | x)) sqrt(p(x, z') q(z' | x)) / Z^2,

where z and z' are independent given x, each from p*(z | x). All below works on such pairs (z, z'), with every factor
known: they are drawn as (x, z) ~ p, z' ~ q(. | x), whose importance weights have the mean Z^2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Context, Key, Latents, LatentVariableModel, Params, Scalar, X, as_batch, total
from genjax_models.errors import ConfigError, DataError, ModelError, require_count
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks
from genjax_models.evaluation.exact_marginal import MOST_UNITS, log_sum_over_latents, require_few_binary_latents
from genjax_models.evaluation.transitions import heat_bath
from genjax_models.evaluation.weights import LogMean, log_mean, sum_weights


class LogZSquared(NamedTuple):
    """An estimate of log Z^2, which is at most 0."""

    value: jax.Array  # [], nats; 2 log Z
    standard_error: jax.Array  # [], of value, from the spread of the weights
    effective_samples: jax.Array  # [], (sum w)^2 / sum w^2


class LogPStar(NamedTuple):
    """An estimate of log p*(x) for each of N examples."""

    unnormalized: jax.Array  # [N], log p~*(x), nats: compare models by this one
    log_prob: jax.Array  # [N], log p*(x) = log p~*(x) - 2 log Z; too high where log Z was estimated too low
    standard_error: jax.Array  # [N], of unnormalized
    log_prob_standard_error: jax.Array  # [N], of log_prob; the part of log Z is the same error in all examples
    effective_samples: jax.Array  # [N], of the square roots of the weights, at most K


class ExactPStar(NamedTuple):
    """log p*(x) for each of N examples, enumerated."""

    unnormalized: jax.Array  # [N], log p~*(x), nats
    log_prob: jax.Array  # [N], log p*(x)
    log_z_squared: jax.Array  # [], 2 log Z


class Pair(NamedTuple):
    """x with two latents, each from p*(z | x) where x is from p*."""

    x: X  # [D]
    z: Latents  # leaves [2, ...]


class PStarSamples(NamedTuple):
    """N draws from p*(x, z)."""

    x: jax.Array  # [N, D], in {0, 1}
    probabilities: jax.Array  # [N, D], with which each unit of x was drawn last, given all others and both latents
    z: Latents  # leaves [N, ...]


def log_root(model: LatentVariableModel, params: Params, z: Latents, x: X, c: Context) -> Scalar:
    """log sqrt(p(x, z) q(z | x))."""
    return (total(model.log_joint(params, z, x, c)) + total(model.log_posterior(params, z, x, c))) / 2


def _guess(model, params, key, x, c) -> tuple[Latents, Scalar]:
    """z ~ q(. | x), and log sqrt(p(x, z) / q(z | x))."""
    z, log_q = model.propose(params, key, x, c)
    return z, (total(model.log_joint(params, z, x, c)) - total(log_q)) / 2


def _dream(model, params, key, c) -> tuple[Pair, Scalar]:
    """(x, z) ~ p, z' ~ q(. | x), and the log of their weight sqrt(q(z | x) p(x, z') / (p(x, z) q(z' | x)))."""
    down, up = jax.random.split(key)
    z, x = model.sample_joint(params, down, c)
    other, log_w = _guess(model, params, up, x, c)
    log_w = log_w + (total(model.log_posterior(params, z, x, c)) - total(model.log_joint(params, z, x, c))) / 2
    return Pair(x, jax.tree.map(lambda a, b: jnp.stack([a, b]), z, other)), log_w


# Probabilities.


def _log_z_squared(model, num_samples, chunk, params, key, context) -> LogMean:
    sums = sum_weights(lambda key: _dream(model, params, key, context)[1], key, num_samples, chunk)
    return log_mean(sums, num_samples)


_run_log_z_squared = compiled(_log_z_squared, static=3)


def log_z_squared(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    num_samples: int = 100_000,
    *,
    context: Context = (),
    chunk: int = 500,
) -> LogZSquared:
    """log of the mean of sqrt(p(x, z') q(z | x) / (p(x, z) q(z' | x))), with (x, z) ~ p and z' ~ q(. | x).

    The mean estimates Z^2 = sum_x p~*(x) without bias, so its log is a lower bound on 2 log Z in expectation, and too
    low more often than not; from above 2 log Z is bounded by 0, the value where q(z | x) is p(z | x). A single estimate
    may lie above 0 by chance. Memory does not grow with `num_samples`; values depend on `chunk` by round-off alone.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: sample k draws from `fold_in(key, k)`.
        num_samples: how many.
        context: the context that Z belongs to.
        chunk: samples computed at a time.

    Returns:
        A `LogZSquared`, nats: 2 log Z, of which log Z is half.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: a size below one.

    Example:
        >>> log_z = log_z_squared(model, params, jax.random.key(0)).value / 2

    Reference:
        Bornschein, Shabanian, Fischer and Bengio, "Bidirectional Helmholtz machines", 2016, equation 7.
    """
    _require("log_z_squared", model, num_samples=num_samples, chunk=chunk)
    return LogZSquared(*_run_log_z_squared(model, num_samples, chunk, params, key, context))


def _log_p_tilde(model, num_samples, chunk, block, params, key, batch) -> LogMean:
    def example(key, row):
        return sum_weights(lambda k: _guess(model, params, k, row.x, row.context)[1], key, num_samples, chunk)

    return log_mean(in_blocks(example, key, batch, block), num_samples)


_run_log_p_tilde = compiled(_log_p_tilde, static=4)


def log_p_star(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    normalizer: LogZSquared,
    num_samples: int = 1000,
    *,
    chunk: int = 100,
    block: int = 50,
) -> LogPStar:
    """log p~*(x), estimated by 2 log (1/K) sum_k sqrt(p(x, z_k) / q(z_k | x)), and log p*(x) = log p~*(x) - 2 log Z.

    In expectation the first is too low, a lower bound that rises to log p~*(x) with K, which itself bounds log p*(x)
    and log p(x) from below. The second subtracts an estimate that is too low as well, so it may be too high: a poor
    estimate of Z flatters log p*(x). Tables therefore compare log p~*(x). Memory grows with neither K nor N.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws sample k from `fold_in(fold_in(key, i), k)`, as in `log_marginal`.
        x: examples [N, D], or a `Batch` with contexts, all that of `normalizer`.
        normalizer: from `log_z_squared`.
        num_samples: K.
        chunk: samples computed at a time.
        block: examples computed at a time.

    Returns:
        A `LogPStar`, leaves [N], nats.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Example:
        >>> normalizer = log_z_squared(model, params, jax.random.key(0))
        >>> nll = -log_p_star(model, params, jax.random.key(1), x_test, normalizer).unnormalized.mean()

    Reference:
        Bornschein, Shabanian, Fischer and Bengio, "Bidirectional Helmholtz machines", 2016, equations 1 and 4.
    """
    _require("log_p_star", model, num_samples=num_samples, chunk=chunk, block=block)
    root = _run_log_p_tilde(model, num_samples, chunk, block, params, key, check_examples(as_batch(x)))
    error = 2 * root.standard_error
    return LogPStar(
        unnormalized=2 * root.value,
        log_prob=2 * root.value - normalizer.value,
        standard_error=error,
        log_prob_standard_error=jnp.hypot(error, normalizer.standard_error),
        effective_samples=root.effective_samples,
    )


def exact_log_p_star(model: LatentVariableModel, params: Params, x: Any, *, block: int = 20) -> ExactPStar:
    """log p~*(x), log p*(x) and 2 log Z by enumerating every state of binary x and z.

    Args:
        model: a `LatentVariableModel` of binary units, at most 24 in x and z together; without a context.
        params: its parameters.
        x: examples [N, D].
        block: examples computed at a time.

    Returns:
        An `ExactPStar`, leaves [N], and [] for 2 log Z; nats.

    Raises:
        ModelError: latents that are not binary, or too many units.
        DataError: examples that are not [N, D].
    """
    require_count("exact_log_p_star: block", block)
    batch = check_examples(as_batch(x))
    visible = batch.x.shape[1]
    number = require_few_binary_latents("exact_log_p_star", model, params, batch, "log_p_star") + visible
    if number > MOST_UNITS:
        raise ModelError(
            f"exact_log_p_star enumerates all states of x and the latents, and {model.name} has {number} units; at "
            f"most {MOST_UNITS} are feasible. Use log_p_star."
        )
    states = (jnp.arange(2**visible)[:, None] >> jnp.arange(visible)) & 1
    every = as_batch(states.astype(batch.x.dtype))
    log_z = jax.nn.logsumexp(2 * log_sum_over_latents(model, log_root, block, params, every))
    unnormalized = 2 * log_sum_over_latents(model, log_root, block, params, batch)
    return ExactPStar(unnormalized, unnormalized - log_z, log_z)


# Samples.


def _resample(model, params, key, num_proposals, c) -> Pair:
    """One of many dreams, chosen by their weights."""

    def one(key):
        draw, choose = jax.random.split(key)
        pair, log_w = _dream(model, params, draw, c)
        # The largest log-weight plus Gumbel noise is a draw by the weights: no list of them is kept.
        return pair, log_w + jax.random.gumbel(choose, dtype=log_w.dtype)

    def better(i, best):
        pair, score = one(jax.random.fold_in(key, i))
        wins = score > best[1]
        return jax.tree.map(lambda new, old: jnp.where(wins, new, old), (pair, score), best)

    return jax.lax.fori_loop(1, num_proposals, better, one(jax.random.fold_in(key, 0)))[0]


def refresh_candidates(model, params, key, x, z, c, number) -> tuple[Latents, jax.Array]:
    """z and `number` draws of q(. | x), with log sqrt(p(x, z) / q(z | x)): leaves [1 + number, ...]."""
    new, log_w = jax.vmap(lambda k: _guess(model, params, k, x, c))(jax.random.split(key, number))
    kept = (total(model.log_joint(params, z, x, c)) - total(model.log_posterior(params, z, x, c))) / 2
    candidates = jax.tree.map(lambda old, new: jnp.concatenate([old[None], new]), z, new)
    return candidates, jnp.concatenate([kept[None], log_w])


def _update_latents(model, params, key, x, z, c, num_candidates) -> Latents:
    """z, moved in two ways that leave p*(z | x) as it is."""
    guess, choose, *keys = jax.random.split(key, 2 + len(jax.tree.leaves(z)))
    # To choose between the old z and draws that do not depend on it, by their weights, keeps p*(z | x) at any number.
    candidates, log_w = refresh_candidates(model, params, guess, x, z, c, num_candidates)
    chosen = jax.random.categorical(choose, log_w)
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda v: v[chosen], candidates))
    # Then every unit by itself, group after group, for where q is far from p*(z | x).
    for i, k in enumerate(keys):

        def log_density(units, i=i):
            parts = [*leaves[:i], units.reshape(leaves[i].shape), *leaves[i + 1 :]]
            return log_root(model, params, jax.tree.unflatten(structure, parts), x, c)

        flat = leaves[i].ravel()
        leaves[i] = heat_bath(log_density, flat, k, jnp.ones(flat.shape, bool))[0].reshape(leaves[i].shape)
    return jax.tree.unflatten(structure, leaves)


def gibbs_sweep(model, params, key, pair: Pair, hidden, c, num_candidates) -> tuple[Pair, jax.Array]:
    """A sweep over both latents, then over the units of x that are `hidden` [D]: the pair, and x's probabilities."""
    above, below = jax.random.split(key)
    z = jax.vmap(lambda k, z: _update_latents(model, params, k, pair.x, z, c, num_candidates))(
        jax.random.split(above), pair.z
    )

    def log_density(x):
        return jnp.sum(jax.vmap(lambda z: log_root(model, params, z, x, c))(z))

    x, probabilities = heat_bath(log_density, pair.x, below, hidden)
    return Pair(x, z), probabilities


def _sweeps(model, params, key, pair, hidden, c, num_sweeps, num_candidates) -> tuple[Pair, jax.Array]:
    def sweep(i, carry):
        return gibbs_sweep(model, params, jax.random.fold_in(key, i), carry[0], hidden, c, num_candidates)

    return jax.lax.fori_loop(0, num_sweeps, sweep, (pair, pair.x))


def _samples(pair: Pair, probabilities: jax.Array) -> PStarSamples:
    return PStarSamples(pair.x, probabilities, jax.tree.map(lambda v: v[:, 0], pair.z))


def _sample(model, num, num_candidates, block, params, key, num_proposals, num_sweeps, context) -> PStarSamples:
    def one(key, _):
        first, rest = jax.random.split(key)
        pair = _resample(model, params, first, num_proposals, context)
        hidden = jnp.ones(pair.x.shape, bool)
        return _sweeps(model, params, rest, pair, hidden, context, num_sweeps, num_candidates)

    return _samples(*in_blocks(one, key, jnp.arange(num), block))


_run_sample = compiled(_sample, static=4)


def sample_p_star(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    num: int,
    *,
    num_proposals: int = 100,
    num_sweeps: int = 20,
    num_candidates: int = 10,
    context: Context = (),
    block: int = 100,
) -> PStarSamples:
    """Draws of p*(x, z): dreams of p resampled by their weights, then moved by Gibbs sweeps that leave p* as it is.

    A sweep draws z anew from p*(z | x), choosing between it and candidates of q(. | x) by sqrt(p(x, z) / q(z | x)),
    and then every unit of z and of x in turn from its conditional under sqrt(p q). Both stages are exact in a limit:
    of many proposals, of many sweeps.

    Args:
        model: a `LatentVariableModel` with binary x and z.
        params: its parameters.
        key: draw i takes its randomness from `fold_in(key, i)`.
        num: N, how many, independent of each other.
        num_proposals: dreams that one is chosen from; 1 starts from a dream of p.
        num_sweeps: Gibbs sweeps after that; 0 for resampled dreams alone.
        num_candidates: draws of q in a sweep.
        context: what the model is given.
        block: draws made at a time.

    Returns:
        `PStarSamples`, leaves [N, ...].

    Raises:
        ModelError: latents that are not binary.
        ConfigError: an impossible size.

    Example:
        >>> x = sample_p_star(model, params, jax.random.key(0), 100).x

    Reference:
        Bornschein, Shabanian, Fischer and Bengio, "Bidirectional Helmholtz machines", 2016, section 3: there layer by
        layer, from candidates of p and of q; the latents' choice that keeps the old one is that of Andrieu, Doucet and
        Holenstein, "Particle Markov chain Monte Carlo methods", 2010.
    """
    _require_binary("sample_p_star", model)
    sizes = {"num": num, "num_proposals": num_proposals, "num_candidates": num_candidates, "block": block}
    _require("sample_p_star", model, **sizes)
    _require_sweeps("sample_p_star", num_sweeps, 0)
    return _run_sample(model, num, num_candidates, block, params, key, num_proposals, num_sweeps, context)


def _inpaint(model, num_candidates, block, params, key, batch, hidden, num_sweeps) -> PStarSamples:
    def one(key, row):
        batch, hidden = row
        start, guess, rest = jax.random.split(key, 3)
        coins = jax.random.bernoulli(start, shape=batch.x.shape)
        x = jnp.where(hidden, coins.astype(batch.x.dtype), batch.x)
        z = jax.vmap(lambda k: model.propose(params, k, x, batch.context)[0])(jax.random.split(guess))
        return _sweeps(model, params, rest, Pair(x, z), hidden, batch.context, num_sweeps, num_candidates)

    return _samples(*in_blocks(one, key, (batch, hidden), block))


_run_inpaint = compiled(_inpaint, static=3)


def inpaint(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    hidden: Any,
    *,
    num_sweeps: int = 100,
    num_candidates: int = 10,
    block: int = 100,
) -> PStarSamples:
    """Completions of examples: x_hidden ~ p*(x_hidden | x_seen), by the Gibbs sweeps of `sample_p_star`.

    The hidden units start as fair coins, and they and the latents move while those that are seen stay.

    Args:
        model: a `LatentVariableModel` with binary x and z.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`; repeat an example to complete it more than once.
        x: examples [N, D] in {0, 1}, or a `Batch` with contexts; hidden units may hold any number.
        hidden: booleans [D], or [N, D] for a mask an example: True where x is not seen.
        num_sweeps: Gibbs sweeps.
        num_candidates: draws of q in a sweep.
        block: examples computed at a time.

    Returns:
        `PStarSamples`, leaves [N, ...]: x as given where it is seen, and so its probabilities.

    Raises:
        ModelError: latents that are not binary.
        ConfigError: an impossible size.
        DataError: examples that are not [N, D], seen units that are neither 0 nor 1, or a mask of another shape.

    Example:
        >>> hidden = jnp.arange(64) >= 32
        >>> completed = inpaint(model, params, jax.random.key(0), x_test, hidden).x

    Reference:
        Bornschein, Shabanian, Fischer and Bengio, "Bidirectional Helmholtz machines", 2016, section 3.
    """
    _require_binary("inpaint", model)
    _require("inpaint", model, num_candidates=num_candidates, block=block)
    _require_sweeps("inpaint", num_sweeps, 1)
    batch = check_examples(as_batch(x))
    mask = check_hidden(batch.x, hidden)
    if not any(isinstance(v, jax.core.Tracer) for v in (batch.x, mask)):
        require_binary_where_seen(batch.x, mask)
    return _run_inpaint(model, num_candidates, block, params, key, batch, mask, num_sweeps)


# Refusals.


def _require(name: str, model: Any, **sizes: int) -> None:
    if not isinstance(model, LatentVariableModel):
        raise ModelError(f"{name} needs a LatentVariableModel, got a {type(model).__name__}.")
    for size, value in sizes.items():
        require_count(f"{name}: {size}", value)


def _require_binary(name: str, model: Any) -> None:
    if getattr(model, "support", None) != "binary":
        got = getattr(model, "name", repr(model))
        raise ModelError(f"{name} sweeps over binary units, and {got} is no latent variable model with binary latents.")


def check_hidden(x: jax.Array, hidden: Any) -> jax.Array:
    """The mask of examples x [N, D], as booleans [N, D]; DataError for another shape or type."""
    mask = jnp.asarray(hidden)
    if mask.dtype != bool or mask.shape not in (x.shape, x.shape[1:]):
        raise DataError(
            f"hidden: got {mask.dtype} of shape {mask.shape}, expected booleans of shape {x.shape[1:]} or {x.shape}, "
            "True where x is not seen."
        )
    return jnp.broadcast_to(mask, x.shape)


def require_binary_where_seen(x: Any, hidden: Any) -> None:
    """Raise DataError unless x is 0 or 1 wherever it is not hidden."""
    seen = np.asarray(x)[~np.asarray(hidden)]
    wrong = seen[(seen != 0) & (seen != 1)]
    if len(wrong):
        raise DataError(f"x: {len(wrong)} seen values are neither 0 nor 1, such as {wrong[0]:g}; binarize them.")


def _require_sweeps(name: str, number: Any, least: int) -> None:
    if not hasattr(number, "__index__") or isinstance(number, bool) or number < least:
        raise ConfigError(f"{name}: num_sweeps: got {number!r}, expected an integer, at least {least}.")
