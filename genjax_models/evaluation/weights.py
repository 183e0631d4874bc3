"""The mean of importance weights in log space, in chunks, so that memory does not grow with their number."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.core import Key, Scalar


class RunningSums(NamedTuple):
    """Sums of weights relative to the largest so far."""

    largest: jax.Array
    weights: jax.Array
    squares: jax.Array

    def add(self, log_w: jax.Array) -> "RunningSums":
        largest = jnp.maximum(self.largest, jnp.max(log_w))
        # With every weight zero so far the difference of infinities is no number: scale by one instead.
        shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
        scale, relative = jnp.exp(self.largest - shift), jnp.exp(log_w - shift)
        weights = self.weights * scale + jnp.sum(relative)
        return RunningSums(largest, weights, self.squares * scale**2 + jnp.sum(relative**2))

    def log_sum(self) -> jax.Array:
        return self.largest + jnp.log(self.weights)

    @staticmethod
    def empty() -> "RunningSums":
        zero = jnp.zeros(())
        return RunningSums(zero - jnp.inf, zero, zero)


class LogMean(NamedTuple):
    """log of the mean of K weights."""

    value: jax.Array  # nats
    standard_error: jax.Array  # of value, from the spread of the weights; NaN of one
    effective_samples: jax.Array  # (sum w)^2 / sum w^2, at most K


def sum_weights(log_weight: Callable[[Key], Scalar], key: Key, num_samples: int, chunk: int) -> RunningSums:
    """The sums of exp(log_weight(fold_in(key, k))) over k < K, `chunk` of them at a time."""
    return sums_and_largest(log_weight, key, num_samples, chunk, 0)[0]


def sums_and_largest(
    log_weight: Callable[[Key], Scalar], key: Key, num_samples: int, chunk: int, number: int
) -> tuple[RunningSums, jax.Array]:
    """`sum_weights`, and the `number` largest log-weights in descending order."""
    chunk = min(chunk, num_samples)

    def add_chunk(i, carry):
        running, largest = carry
        indices = i * chunk + jnp.arange(chunk)
        keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(indices)
        log_w = jnp.where(indices < num_samples, jax.vmap(log_weight)(keys), -jnp.inf)
        if number:
            largest, _ = jax.lax.top_k(jnp.concatenate([largest, log_w.astype(largest.dtype)]), number)
        return running.add(log_w), largest

    start = RunningSums.empty(), jnp.full(number, -jnp.inf)
    return jax.lax.fori_loop(0, -(-num_samples // chunk), add_chunk, start)


def log_mean(sums: RunningSums, num_samples: int) -> LogMean:
    """The mean of the weights that were summed, with its error; of any shape."""
    # That of the mean, with the divisor K - 1: of one weight nothing is known.
    degrees = num_samples / (num_samples - 1) if num_samples > 1 else math.nan
    relative_variance = (sums.squares / sums.weights**2 - 1 / num_samples) * degrees
    return LogMean(
        value=sums.log_sum() - math.log(num_samples),
        standard_error=jnp.sqrt(jnp.maximum(relative_variance, 0)),
        effective_samples=sums.weights**2 / sums.squares,
    )
