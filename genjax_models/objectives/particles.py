"""Particle estimators as pure functions of log-probabilities.

Given log p(x, z_k) and log q(z_k | x) of K particles z_k ~ q, each returns a bound on log p(x) and the coefficients a_k
and b_k of its gradient estimate

    sum_k  a_k grad log p(x, z_k) + b_k grad log q(z_k | x).

With reparameterized z_k the gradients run along the moving particle, otherwise the particles are held fixed. Nothing
here knows a model: exactness is shown by enumerating every set of particles.
"""

from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from genjax_models.errors import ConfigError

Mean = Literal["geometric", "arithmetic"]


class Estimate(NamedTuple):
    """A bound and the coefficients of its gradient estimate."""

    bound: jax.Array  # [], nats
    generative: jax.Array  # a, [K]
    recognition: jax.Array  # b, [K]


def log_mean_exp(values: jax.Array) -> jax.Array:
    """log of the mean of exp(values), [K] -> []."""
    return jax.nn.logsumexp(values) - jnp.log(values.shape[0])


def _log_weights(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    chex.assert_rank([log_p, log_q], 1)
    chex.assert_equal_shape([log_p, log_q])
    return log_p - log_q


def evidence_lower_bound(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """The mean of log p(x, z_k) - log q(z_k | x) (Goodfellow et al. 2016, equation 20.76).

    The gradient is unbiased for reparameterized particles; with particles held fixed it is that of p alone which is.
    """
    log_w = _log_weights(log_p, log_q)
    mean = jnp.full_like(log_w, 1 / log_w.shape[0])
    return Estimate(jnp.mean(log_w), mean, -mean)


def importance_weighted_bound(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """log of the mean weight p(x, z_k) / q(z_k | x), with its gradient (Burda et al. 2015, equations 8 and 14)."""
    log_w = _log_weights(log_p, log_q)
    normalized = jax.nn.softmax(log_w)
    return Estimate(log_mean_exp(log_w), normalized, -normalized)


def renyi_bound(log_p: jax.Array, log_q: jax.Array, alpha: jax.Array | float) -> Estimate:
    """1 / (1 - alpha) log of the mean of w_k^(1 - alpha), w_k = p(x, z_k) / q(z_k | x), with its gradient.

    At alpha = 1 its limit, the mean of log w_k; at 0 the importance weighted bound (Li and Turner 2016, equation 14).
    """
    log_w = _log_weights(log_p, log_q)
    power = 1 - jnp.asarray(alpha, log_w.dtype)
    mean, largest = jnp.mean(log_w), jnp.max(log_w)
    # A weight of zero leaves no mean to measure from, and none above zero no largest.
    origin = jnp.where(jnp.isfinite(mean), mean, jnp.where(jnp.isfinite(largest), largest, 0))
    distance = power * (log_w - origin)
    # Where the power is small, log of the mean of exp(distance) would lose what is left after division by it.
    near = jnp.max(jnp.abs(distance)) < 0.5
    series = jnp.log1p(jnp.mean(jnp.expm1(jnp.where(near, distance, 0))))
    divisor = jnp.where(power == 0, 1, power)
    excess = jnp.where(near, series, log_mean_exp(distance)) / divisor
    normalized = jax.nn.softmax(jnp.where(power == 0, 0, distance))
    return Estimate(jnp.where(power == 0, mean, origin + excess), normalized, -normalized)


def combined_bound(log_p: jax.Array, log_q: jax.Array, beta: jax.Array | float) -> Estimate:
    """beta times the evidence lower bound plus (1 - beta) times the importance weighted one, on the same particles.

    Reference:
        Rainforth et al. 2018, equation 13 (CIWAE).
    """
    whole = zip(evidence_lower_bound(log_p, log_q), importance_weighted_bound(log_p, log_q), strict=True)
    return Estimate(*(beta * a + (1 - beta) * b for a, b in whole))


def jackknife_bound(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """K L_K - (K - 1) mean_k L_{-k}, L_{-k} the importance weighted bound of all particles but k; K at least 2.

    Its bias falls as 1 / K^2 where that of L_K falls as 1 / K; it is no bound (Nowozin 2018, order 1).
    """
    log_w = _log_weights(log_p, log_q)
    weights = jackknife_weights(log_w)
    others = log_w.shape[0] - 1
    # Relative to the highest, the differences of bounds keep their digits however low the bounds are.
    relative = log_w - jnp.max(log_w)
    fewer = _logsumexp_of_others(relative) - jnp.log(others)
    bound = log_mean_exp(log_w) + others * jnp.mean(log_mean_exp(relative) - fewer)
    return Estimate(bound, weights, -weights)


def jackknife_weights(log_w: jax.Array, power: int = 1) -> jax.Array:
    """K w_k^n - (1 - 1/K) sum_{j != k} w_{k, -j}^n, n the power, [K] -> [K]; K at least 2.

    w_k is particle k's normalized weight, and w_{k, -j} that without particle j: with n = 1 the gradient of
    `jackknife_bound` by log w, with n = 2 its doubly reparameterized one (Tucker et al. 2019).
    """
    _require_others("jackknife_weights", log_w)
    number = log_w.shape[0]
    # As w_{k, -j} = w_k / (1 - w_j): w_k^n by K less about K - 1 terms of 1 / (1 - w_j)^n, of which the ones are taken
    # off in closed form, and that of the highest j apart. Otherwise float32 keeps no digit of what is left.
    relative = log_w - jnp.max(log_w)
    w = jax.nn.softmax(relative)
    highest = jnp.arange(number) == jnp.argmax(relative)
    excess = jnp.where(highest, 0.0, jnp.expm1(-power * jnp.log1p(-jnp.where(highest, 0.0, w))))
    without_highest = jax.nn.logsumexp(jnp.where(highest, -jnp.inf, relative))
    of_highest = jnp.where(highest, 0.0, jnp.exp(power * (relative - without_highest)))
    shrink = 1 - 1 / number
    ones = jnp.where(highest, 2 - 1 / number, 3 - 2 / number)
    return w**power * (ones - shrink * (jnp.sum(excess) - excess)) - shrink * of_highest


def partially_importance_weighted_bound(log_p: jax.Array, log_q: jax.Array, groups: int) -> Estimate:
    """The importance weighted bound of all K particles for p; for q the mean of those of M groups of K / M.

    With one group both are `importance_weighted_bound`, with K groups q follows the evidence lower bound (Rainforth et
    al. 2018, PIWAE).
    """
    whole = importance_weighted_bound(log_p, log_q)
    parts = [v.reshape(groups, -1) for v in (log_p, log_q)]
    of_groups = jax.vmap(importance_weighted_bound)(*parts)
    return whole._replace(recognition=of_groups.recognition.ravel() / groups)


def wake(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """The evidence lower bound, with the wake phase's gradient: p learns from q's particles, q does not.

    Unbiased for p (Hinton, Dayan, Frey and Neal 1995).
    """
    estimate = evidence_lower_bound(log_p, log_q)
    return estimate._replace(recognition=jnp.zeros_like(log_q))


def reweighted_wake(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """The importance weighted bound, with the wake phase's gradients of reweighted wake-sleep.

    p follows the gradient of the bound, without bias; q moves towards the normalized weights' approximation of
    p(z | x), which is biased at finite K and exact in the limit (Bornschein and Bengio 2015, equations 9, 12).
    """
    estimate = importance_weighted_bound(log_p, log_q)
    return estimate._replace(recognition=estimate.generative)


def square_root_bound(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """2 log of the mean square root of the weights, with the bidirectional Helmholtz machine's gradients.

    Both groups follow the normalized square roots (Bornschein, Shabanian, Fischer and Bengio 2016, algorithm 1): p
    without bias, q towards E_{p*(z | x)} grad log q(z | x), biased at finite K and exact in the limit.
    """
    half = _log_weights(log_p, log_q) / 2
    normalized = jax.nn.softmax(half)
    return Estimate(2 * log_mean_exp(half), normalized, normalized)


def centred_square_root_bound(log_p: jax.Array, log_q: jax.Array) -> Estimate:
    """`square_root_bound`, less 1/K in q's weights: no other expectation, as grad log q is zero in the mean."""
    estimate = square_root_bound(log_p, log_q)
    return estimate._replace(recognition=estimate.recognition - 1 / log_q.shape[0])


def _sum_of_others(values: jax.Array) -> jax.Array:
    """sum_{j != k} values_j for every k, [K] -> [K].

    Subtracting the lowest value from the sum would lose the digits of the others, so theirs are summed without it;
    minus infinity is in every sum but its own.
    """
    infinite = values == -jnp.inf
    finite = jnp.where(infinite, 0.0, values)
    lowest = jnp.arange(values.shape[0]) == jnp.argmin(finite)
    sums = jnp.where(lowest, jnp.sum(jnp.where(lowest, 0.0, finite)), jnp.sum(finite) - finite)
    return jnp.where(jnp.sum(infinite) > infinite, -jnp.inf, sums)


def _logsumexp_of_others(values: jax.Array) -> jax.Array:
    """log sum_{j != k} exp(values_j) for every k, [K] -> [K], in O(K).

    The highest term stays in every sum but its own, so subtracting another from the whole at most doubles the
    round-off; the sum without the highest is taken by itself, or its digits would be lost.
    """
    top = jnp.max(values)
    highest = jnp.arange(values.shape[0]) == jnp.argmax(values)
    terms = jnp.exp(values - top)
    without_highest = jax.nn.logsumexp(jnp.where(highest, -jnp.inf, values))
    return jnp.where(highest, without_highest, top + jnp.log(jnp.sum(terms) - jnp.where(highest, 0.0, terms)))


def _require_others(estimator: str, log_w: jax.Array) -> None:
    if log_w.shape[0] < 2:
        raise ConfigError(f"{estimator} leaves one particle out, so it needs at least 2; got {log_w.shape[0]}.")


def leave_one_out_mean(log_w: jax.Array) -> jax.Array:
    """The mean of the other particles' values, [K] -> [K]; K at least 2 (Mnih and Rezende 2016)."""
    _require_others("leave_one_out_mean", log_w)
    return _sum_of_others(log_w) / (log_w.shape[0] - 1)


def leave_one_out_bounds(log_w: jax.Array, mean: Mean = "geometric") -> jax.Array:
    """log of the mean weight with weight k replaced by the mean of the others, [K] -> [K]; K at least 2.

    The other weights' mean is geometric or arithmetic (Mnih and Rezende 2016, section 2.6).
    """
    _require_others("leave_one_out_bounds", log_w)
    others = _logsumexp_of_others(log_w)
    replaced = leave_one_out_mean(log_w) if mean == "geometric" else others - jnp.log(log_w.shape[0] - 1)
    return jnp.logaddexp(others, replaced) - jnp.log(log_w.shape[0])


def importance_weighted_score(log_p: jax.Array, log_q: jax.Array, mean: Mean = "geometric") -> Estimate:
    """The importance weighted bound L, with its gradient by scores: unbiased for particles held fixed.

    b_k = (L - L_{-k}) - w_k, where w_k is the normalized weight and L_{-k} the bound that does without particle k
    (Mnih and Rezende 2016, algorithm 1).
    """
    # Weights of one scale for all: the differences of bounds keep their digits however low the bound is.
    log_w = _log_weights(log_p, log_q)
    relative = log_w - jnp.max(log_w)
    normalized = jax.nn.softmax(relative)
    signal = log_mean_exp(relative) - leave_one_out_bounds(relative, mean)
    return Estimate(log_mean_exp(log_w), normalized, signal - normalized)


def evidence_score(log_p: jax.Array, log_q: jax.Array, baseline: jax.Array | float = 0.0) -> Estimate:
    """The evidence lower bound, with its gradient by scores: unbiased for particles held fixed.

    b_k = (log p(x, z_k) - log q(z_k | x) - baseline_k) / K, unbiased where no baseline_k depends on its own z_k
    (Mnih and Gregor 2014, section 2.3.1).
    """
    estimate = evidence_lower_bound(log_p, log_q)
    return estimate._replace(recognition=(log_p - log_q - baseline) / log_q.shape[0])


def thermodynamic_bound(log_p: jax.Array, log_q: jax.Array, betas: jax.Array) -> Estimate:
    """The left Riemann sum of E_beta f over betas [P + 1] from 0 to 1, where f = log p(x, z) - log q(z | x).

    E_beta, over p^beta q^(1 - beta), is estimated from the K particles of q by normalized weights w^beta; so is the
    gradient of E_beta f, which is E_beta grad f + Cov_beta(beta grad log p + (1 - beta) grad log q, f). Biased at
    finite K (Masrani, Le and Wood 2019).
    """
    f = _log_weights(log_p, log_q)
    left = betas[:-1, None]
    weights = jax.nn.softmax(left * f, axis=1)  # [P, K]
    means = jnp.sum(weights * f, axis=1)
    steps = jnp.diff(betas)
    weighted, deviation = steps[:, None] * weights, f - means[:, None]
    return Estimate(
        jnp.sum(steps * means),
        jnp.sum(weighted * (1 + left * deviation), axis=0),
        jnp.sum(weighted * ((1 - left) * deviation - 1), axis=0),
    )
