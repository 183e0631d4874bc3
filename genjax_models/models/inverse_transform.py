"""Inverse transform sampling: x = F^-1(u), of a given density, or of one learned from data column by column."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, as_number, config, field
from genjax_models.core import Key, LikelihoodModel
from genjax_models.errors import ConfigError, require_count
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.flow import Affine, as_flow
from genjax_models.models.splines import MOST_BINS, spline

# Gauss-Legendre quadrature on [0, 1].
NODES, WEIGHTS = (0.5 * (1 + v) if i == 0 else 0.5 * v for i, v in enumerate(np.polynomial.legendre.leggauss(8)))


class MarginalSplines(nn.Module):
    """z_i as an increasing function of x_i alone: an affine map, then a spline."""

    visible: int
    bins: int
    bound: float

    def setup(self):
        units, bins = self.visible, self.bins
        self.loc = self.param("loc", zeros, (units,))
        self.log_scale = self.param("log_scale", zeros, (units,))
        self.widths = self.param("widths", zeros, (units, bins))
        self.heights = self.param("heights", zeros, (units, bins))
        self.slopes = self.param("slopes", zeros, (units, bins + 1))

    def _maps(self):
        return Affine(self.loc, self.log_scale), spline(self.widths, self.heights, self.slopes, self.bound)

    def inverse(self, x):
        first, second = self._maps()
        y, log_first = first.inverse(x)
        z, log_second = second.inverse(y)
        return z, jnp.sum(log_first + log_second)

    def forward(self, z):
        first, second = self._maps()
        return first.forward(second.forward(z))


@config
class InverseTransformGenerator(ModelConfig):
    """Independent real units, each x = F^-1(u) with a monotone spline for F."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = (
        "Goodfellow, Bengio and Courville 2016, section 20.10.2; Durkan, Bekasov, Murray and Papamakarios 2019"
    )

    bins: int = field(default=16, ge=1, le=MOST_BINS, help="bins K of every unit's spline")
    bound: float = field(default=4.0, static=True, gt=0, help="splines run from -bound to bound, straight lines beyond")

    @property
    def data_support(self) -> str:
        return "real"

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units."""
        return as_flow(self, MarginalSplines(visible, self.bins, float(self.bound)), visible)


def inverse_transform_generator(visible: int, **fields) -> LikelihoodModel:
    """Independent units x_i = F_i^-1(u_i), u_i uniform on [0, 1], each with a learned distribution function

        F_i(x) = Phi(s_i((x - loc_i) / scale_i)),

    Phi being that of the standard normal, so that z = s_i(...) is the normal score of x, and s_i a monotone
    rational-quadratic spline, straight beyond its outer knots with slopes of its own: the tails are normal, and the
    density integrates to one over all real x. It starts as the standard normal: standardize the data.

    Args:
        visible: units D of an example.
        **fields: those of `InverseTransformGenerator`: `bins`, and `bound` of the splines after the affine map.

    Returns:
        A `LikelihoodModel` with `inverse` (to normal scores) and `forward`.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = inverse_transform_generator(3, bins=32)

    Reference:
        Goodfellow et al. 2016, section 20.10.2; splines of Durkan et al. 2019.
    """
    return build_from_fields(InverseTransformGenerator, visible, fields)


class InverseTransform(NamedTuple):
    """A one-dimensional distribution on [low, high], as pure functions of arrays of any shape."""

    log_prob: Callable[[Any], jax.Array]  # x -> normalized log-density, -inf outside
    cdf: Callable[[Any], jax.Array]  # x -> F(x)
    inverse: Callable[[Any], jax.Array]  # u in [0, 1] -> F^-1(u), differentiable; NaN elsewhere
    sample: Callable[..., jax.Array]  # (key, shape=()) -> F^-1(u) of uniform u
    log_normalizer: jax.Array  # log of the integral of the density that was given


def inverse_transform_of_density(
    log_density: Callable[[jax.Array], jax.Array], low: float, high: float, points: int = 200
) -> InverseTransform:
    """The distribution of a given one-dimensional density, normalized by quadrature and sampled by x = F^-1(u).

    [low, high] is cut into cells, and Gauss-Legendre quadrature of 8 points gives the mass of each; F(x) adds that of
    the part of a cell up to x, and F^-1 bisects within the cell that its argument falls into, then takes a Newton step.
    Where the density is smooth, or has its kinks and jumps between cells, all of it is right to round-off.

    Args:
        log_density: of a scalar x, differentiable code or not; it need not be normalized. -inf where it is zero.
        low, high: the interval; the density counts as zero outside it.
        points: ends of cells, evenly spaced, at least 2.

    Returns:
        An `InverseTransform`.

    Raises:
        ConfigError: an interval that is empty or not finite, fewer than 2 points, or a density that is not a scalar, is
            not finite at some x, or is zero at all points of the quadrature.

    Example:
        >>> normal = inverse_transform_of_density(lambda x: -0.5 * x**2, -10, 10)
        >>> normal.inverse(0.975).round(2)
        Array(1.96, dtype=float32)

    Reference:
        Goodfellow et al. 2016, section 20.10.2.
    """
    low, high = as_number("low", low), as_number("high", high)
    if not low < high:
        raise ConfigError(f"low and high: got {low!r} and {high!r}, expected low < high.")
    require_count("points", points)
    if points < 2:
        raise ConfigError(f"points: got {points!r}, expected at least 2, the ends of one cell.")
    ends = jnp.linspace(low, high, points)
    if not bool(jnp.all(jnp.diff(ends) > 0)):
        raise ConfigError(f"points: {points} between {low!r} and {high!r} are closer than {ends.dtype} resolves.")
    nodes, weights = (jnp.asarray(v, ends.dtype) for v in (NODES, WEIGHTS))

    def values(x):
        return jax.vmap(log_density)(x.reshape(-1)).reshape(x.shape)

    x = ends[:-1, None] + jnp.diff(ends)[:, None] * nodes
    if (shape := jax.eval_shape(log_density, x[0, 0]).shape) != ():
        raise ConfigError(f"log_density: got an array of shape {shape} for a scalar x, expected a scalar.")
    found = values(x)
    if bool(jnp.any(wrong := jnp.isnan(found) | (found == jnp.inf))):
        at = float(x[wrong][0])
        raise ConfigError(f"log_density: got {found[wrong][0]} at x = {at:g}, expected a finite number or -inf.")
    top = jnp.max(found)
    if not bool(jnp.isfinite(top)):
        raise ConfigError(
            f"log_density: the density is zero all over [{low:g}, {high:g}]; give the interval it lies in."
        )
    masses = jnp.diff(ends) * (jnp.exp(found - top) @ weights)
    mass = jnp.sum(masses)
    below = jnp.concatenate([jnp.zeros(1, masses.dtype), jnp.cumsum(masses) / mass])
    below = (below / below[-1]).astype(masses.dtype)
    log_normalizer = top + jnp.log(mass)

    @jax.jit
    def log_prob(x):
        x = jnp.asarray(x, ends.dtype)
        inside = (x >= low) & (x <= high)
        return jnp.where(inside, values(jnp.where(inside, x, 0.5 * (low + high))) - log_normalizer, -jnp.inf)

    def in_cell(cell, x):
        """F(x) for x in that cell."""
        start = ends[cell]
        density = jnp.exp(values(start[..., None] + (x - start)[..., None] * nodes) - log_normalizer)
        return below[cell] + (x - start) * (density @ weights)

    @jax.jit
    def cdf(x):
        x = jnp.asarray(x, ends.dtype)
        inner = jnp.clip(x, low, high)
        cell = jnp.clip(jnp.searchsorted(ends, inner, side="right") - 1, 0, points - 2)
        # NaN stays NaN.
        return jnp.where(x <= low, 0, jnp.where(x >= high, 1, jnp.clip(in_cell(cell, inner), 0, 1)))

    @jax.jit
    def inverse(u):
        u = jnp.asarray(u, ends.dtype)
        cell = jnp.clip(jnp.searchsorted(below, u, side="left") - 1, 0, points - 2)

        def halve(_, bracket):
            left, right = bracket
            middle = 0.5 * (left + right)
            less = in_cell(cell, middle) < u
            return jnp.where(less, middle, left), jnp.where(less, right, middle)

        steps = math.ceil(-math.log2(jnp.finfo(ends.dtype).eps))
        bracket = jax.lax.stop_gradient((ends[cell], ends[cell + 1]))
        left, right = jax.lax.fori_loop(0, steps, halve, bracket)
        root = jax.lax.stop_gradient(0.5 * (left + right))
        # Newton's step, within the cell, moves as F^-1 does: dx/du = 1 / p(x).
        density = jnp.exp(log_prob(root))
        slope = jnp.where(density > 0, 1 / jnp.where(density > 0, density, 1), 0)
        step = jax.lax.stop_gradient((u - in_cell(cell, root)) * slope)
        x = jnp.clip(root + step, ends[cell], ends[cell + 1]) + (u - jax.lax.stop_gradient(u)) * slope
        return jnp.where((u >= 0) & (u <= 1), x, jnp.nan)

    def sample(key: Key, shape: tuple[int, ...] = ()) -> jax.Array:
        return inverse(jax.random.uniform(key, shape, ends.dtype))

    return InverseTransform(log_prob, cdf, inverse, sample, log_normalizer)
