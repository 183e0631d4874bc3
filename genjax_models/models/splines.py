"""Monotone rational-quadratic splines, elementwise invertible maps (Gregory and Delbourgo 1982; Durkan et al. 2019)."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

MOST_BINS = 256
LEAST_SHARE = 1e-3  # of a bin in the whole width or height
LEAST_SLOPE = 1e-3


class _Bin(NamedTuple):
    """The bin that a value lies in: its left knot, width, height, and the slopes at its two knots."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    height: jax.Array
    left: jax.Array
    right: jax.Array

    @property
    def bend(self):
        """d_{k+1} + d_k - 2 s_k."""
        return self.left + self.right - 2 * self.height / self.width


class Spline(NamedTuple):
    """z_i as an increasing function of x_i: rational-quadratic between its knots, linear beyond the outer ones."""

    x: jax.Array  # knots, increasing, [..., K + 1]
    z: jax.Array  # their values, increasing, [..., K + 1]
    slopes: jax.Array  # dz/dx at the knots, d_k > 0, [..., K + 1]

    def _bin(self, value: jax.Array, knots: jax.Array) -> _Bin:
        # A mask and a sum, not a gather, whose gradient would be a scatter.
        k = jnp.sum(value[..., None] >= knots[..., 1:-1], axis=-1)
        here = k[..., None] == jnp.arange(knots.shape[-1] - 1)

        def pick(v):
            return jnp.sum(jnp.where(here, v, 0), axis=-1)

        x, z, d = self
        parts = x[..., :-1], z[..., :-1], jnp.diff(x), jnp.diff(z), d[..., :-1], d[..., 1:]
        return _Bin(*map(pick, parts))

    def _beyond(self, value: jax.Array, knots: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(whether a value is beyond the knots, the value pulled back to them, the slope at the end it is beyond)."""
        low, high = knots[..., 0], knots[..., -1]
        slope = jnp.where(value < low, self.slopes[..., 0], self.slopes[..., -1])
        return (value < low) | (value > high), jnp.clip(value, low, high), slope

    # Layers of one shape share a trace.
    @jax.jit
    def inverse(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(z, log dz_i/dx_i) of x [...] (Durkan et al. 2019, equations 4 and 5)."""
        beyond, inner, end = self._beyond(x, self.x)
        b = self._bin(inner, self.x)
        s, t = b.height / b.width, (inner - b.x) / b.width
        both = t * (1 - t)
        below = s + b.bend * both
        z = b.y + b.height * (s * t**2 + b.left * both) / below
        slope = s**2 * (b.right * t**2 + 2 * s * both + b.left * (1 - t) ** 2) / below**2
        return z + end * (x - inner), jnp.log(jnp.where(beyond, end, slope))

    @jax.jit
    def forward(self, z: jax.Array) -> jax.Array:
        """x of z [...]: the root of a quadratic equation (Durkan et al. 2019, equations 6 to 8)."""
        _, inner, end = self._beyond(z, self.z)
        b = self._bin(inner, self.z)
        s, rise = b.height / b.width, inner - b.y
        quadratic = b.height * (s - b.left) + rise * b.bend
        linear = b.height * b.left - rise * b.bend
        constant = -s * rise
        root = jnp.sqrt(jnp.maximum(linear**2 - 4 * quadratic * constant, 0))
        # This form of the root is exact where the quadratic term vanishes, too.
        return b.x - b.width * 2 * constant / (linear + root) + (z - inner) / end


def _knots(raw: jax.Array, bound: float) -> jax.Array:
    """K + 1 increasing knots from -bound to bound, evenly spaced for equal raw [..., K]."""
    shares = LEAST_SHARE + (1 - LEAST_SHARE * raw.shape[-1]) * jax.nn.softmax(raw)
    inner = bound * (2 * jnp.cumsum(shares, axis=-1)[..., :-1] - 1)
    end = jnp.full_like(raw[..., :1], bound)
    return jnp.concatenate([-end, inner, end], axis=-1)


@functools.partial(jax.jit, static_argnames="bound")
def spline(widths: jax.Array, heights: jax.Array, slopes: jax.Array, bound: float) -> Spline:
    """A spline from free numbers, the identity where all of them are zero.

    Args:
        widths, heights: of the K bins between -bound and bound, [..., K].
        slopes: at all knots, [..., K + 1]; or at the inner ones, [..., K - 1], and then the tails are the identity.
        bound: where the tails begin.
    """
    slopes = LEAST_SLOPE + jax.nn.softplus(slopes + math.log(math.expm1(1 - LEAST_SLOPE)))
    if slopes.shape[-1] < widths.shape[-1]:
        end = jnp.ones_like(widths[..., :1])
        slopes = jnp.concatenate([end, slopes, end], axis=-1)
    return Spline(_knots(widths, bound), _knots(heights, bound), slopes)
