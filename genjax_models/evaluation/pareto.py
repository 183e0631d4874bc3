"""The shape of the tail of importance weights, which says whether their mean can be trusted."""

import math

import jax
import jax.numpy as jnp

LEAST_TAIL = 5  # weights, below which no shape is fitted


def tail_length(num_samples: int) -> int:
    """The number M = min(K / 5, 3 sqrt(K)), rounded up, of largest weights of K that make the tail; 0 for too few.

    Reference:
        Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto Smoothed Importance Sampling", 2024, section 3.
    """
    length = math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))
    return length if length >= LEAST_TAIL else 0


def generalized_pareto_shape(excesses: jax.Array) -> jax.Array:
    """The shape k of a generalized Pareto distribution that has these excesses over its threshold.

    A density proportional to (1 + k y / sigma)^(-1 / k - 1), whose moments of order 1 / k and above are infinite. It is
    the estimate of Zhang and Stephens, which averages over a grid of 1 / scale by profile likelihood, drawn a little to
    1 / 2 as ten more observations would.

    Args:
        excesses: [M], positive, in ascending order.

    Returns:
        k, a scalar; NaN where the lower quartile is 0, as of weights that take few values.

    Reference:
        Zhang and Stephens, "A New and Efficient Estimation Method for the Generalized Pareto Distribution", 2009;
        Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto Smoothed Importance Sampling", 2024, appendix G.
    """
    number = excesses.shape[0]
    points = 30 + int(math.sqrt(number))
    quartile = excesses[int(number / 4 + 0.5) - 1]
    grid = 1 - jnp.sqrt(points / (jnp.arange(1, points + 1, dtype=excesses.dtype) - 0.5))
    # theta = -k / sigma, below 1 / max(excesses).
    theta = grid / (3 * quartile) + 1 / excesses[-1]

    def shape(theta):
        return jnp.mean(jnp.log1p(-theta * excesses))

    k = jax.vmap(shape)(theta)
    weights = jax.nn.softmax(number * (jnp.log(-theta / k) - k - 1))
    return (number * shape(weights @ theta) + 10 * 0.5) / (number + 10)


def pareto_k(largest: jax.Array) -> jax.Array:
    """k-hat of the M largest of log-weights, given with the next one, which is the threshold.

    Args:
        largest: [M + 1] log-weights, in descending order.

    Returns:
        k-hat; NaN where M is below 5, where all are -inf, or where the weights take so few values that they have no
        tail.
    """
    if largest.shape[0] <= LEAST_TAIL:
        return jnp.full((), jnp.nan, largest.dtype)
    weights = jnp.exp(largest - largest[0])
    return generalized_pareto_shape(weights[-2::-1] - weights[-1])


def trusted_k(num_samples: int) -> float:
    """The k-hat up to which the mean of K weights, and its standard error, can be trusted: min(1 - 1 / log10 K, 0.7).

    Reference:
        Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto Smoothed Importance Sampling", 2024, section 3.2.4.
    """
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 10 else 0.0
