"""Particle estimators as pure functions of log-probabilities.

Given log p(x, z_k) and log q(z_k | x) of K particles z_k ~ q, each returns a bound on log p(x) and the coefficients a_k
and b_k of its gradient estimate

    sum_k  a_k grad log p(x, z_k) + b_k grad log q(z_k | x).

With reparameterized z_k the gradients run along the moving particle, otherwise the particles are held fixed. Nothing
here knows a model: exactness is shown by enumerating every set of particles.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


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
