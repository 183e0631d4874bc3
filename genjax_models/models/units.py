"""What a visible unit is: its law, given the numbers that a network puts out for it.

    bernoulli               0 or 1
    categorical             levels k / (L - 1), each with a logit of its own
    mixture_of_gaussians    any number                                          Uria, Murray and Larochelle 2013
    discretized_logistics   levels k / (L - 1), neighbours alike                Salimans, Karpathy, Chen and Kingma 2017
    gaussian                any number, about one mean
    poisson                 counts 0, 1, 2, ...

The last two serve models with latents alone. A law with P numbers a unit takes [..., P, D], one with a single number
[..., D]. A value that is no level counts as the nearest one. Wherever a unit is an input, it is so by its value.
"""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, config, field
from genjax_models.distributions import LOG_2PI, Normal, bernoulli_log_prob, bernoulli_sample, standard_normal

LEAST_LOG_SCALE = -7.0  # of a discretized logistic on [-1, 1], where 256 levels are 0.008 apart: a step, in effect


def _level(x: jax.Array, levels: int) -> jax.Array:
    """The nearest k of k / (L - 1)."""
    return jnp.clip(jnp.round(x * (levels - 1)), 0, levels - 1)


def _pick(values: jax.Array, index: jax.Array) -> jax.Array:
    """values[..., index, :] unit by unit: [..., P, D] and [..., D] -> [..., D]."""
    return jnp.take_along_axis(values, index[..., None, :], axis=-2)[..., 0, :]


def _log1mexp(w: jax.Array, log_w: jax.Array) -> jax.Array:
    """log(1 - exp(-w)) of w > 0 by its logarithm too: w may be too small for a float, or nothing be left beside 1."""
    small = w < 1e-3
    return jnp.where(small, log_w - w / 2 + w**2 / 24, jnp.log(-jnp.expm1(-jnp.where(small, 1, w))))


def _spread(components: int) -> np.ndarray:
    """What is added to the components' means, [C, 1], so that they start apart: evenly over [-1, 1]."""
    return np.linspace(-1, 1, components)[:, None] if components > 1 else np.zeros((1, 1))


@config
class Bernoulli:
    """Binary units, p(x_i = 1) = sigmoid(logit_i)."""

    citation: ClassVar[str] = ""
    data_support: ClassVar[str] = "unit"
    outputs: ClassVar[None] = None  # one number a unit, without an axis
    levels: ClassVar[int] = 2

    def log_probs(self, logits: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x_i), [..., D]."""
        return bernoulli_log_prob(logits[..., None], x[..., None])

    def log_prob(self, logits: jax.Array, x: jax.Array) -> jax.Array:
        """Their sum, [...]."""
        return bernoulli_log_prob(logits, x)

    def sample(self, key: jax.Array, logits: jax.Array) -> jax.Array:
        """A draw, [..., D]."""
        return bernoulli_sample(key, jax.nn.sigmoid(logits))

    def mean(self, logits: jax.Array) -> jax.Array:
        """E[x], [..., D]."""
        return jax.nn.sigmoid(logits)


class _Summed:
    """`log_prob` of units that have `log_probs`."""

    def log_prob(self, numbers: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x), [...], of [..., P, D] and [..., D]."""
        return jnp.sum(self.log_probs(numbers, x), axis=-1)  # type: ignore[attr-defined]


@config
class Categorical(_Summed):
    """Units with L levels k / (L - 1), p(x_i = k / (L - 1)) = softmax(logits_i)_k."""

    citation: ClassVar[str] = ""
    data_support: ClassVar[str] = "unit"

    levels: int = field(default=256, ge=2, help="L, the values k / (L - 1) of a unit; MNIST's pixels have 256")

    @property
    def outputs(self) -> int:
        """P."""
        return self.levels

    def log_probs(self, logits: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x_i), [..., D]."""
        return _pick(jax.nn.log_softmax(logits, axis=-2), _level(x, self.levels).astype(int))

    def sample(self, key: jax.Array, logits: jax.Array) -> jax.Array:
        """A draw, [..., D]."""
        return jax.random.categorical(key, logits, axis=-2).astype(logits.dtype) / (self.levels - 1)

    def mean(self, logits: jax.Array) -> jax.Array:
        """E[x], [..., D]."""
        return jnp.einsum("...pd,p->...d", jax.nn.softmax(logits, axis=-2), jnp.linspace(0, 1, self.levels))


@config
class MixtureOfGaussians(_Summed):
    """Real units, p(x_i) = sum_c pi_ic N(x_i; mu_ic, sigma_ic^2), with a floor under sigma, or p(x) has no bound."""

    citation: ClassVar[str] = "Uria, Murray and Larochelle 2013"
    data_support: ClassVar[str] = "real"
    levels: ClassVar[None] = None

    components: int = field(default=10, ge=1, help="Gaussians a unit")
    least_scale: float = field(
        default=1e-2, static=True, gt=0, help="floor under a component's standard deviation, in the units of the data"
    )

    @property
    def outputs(self) -> int:
        """P: weight, mean and scale of every component."""
        return 3 * self.components

    def _components(self, numbers: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Logits of the weights, means and standard deviations, each [..., C, D]."""
        weights, means, scales = jnp.split(numbers, 3, axis=-2)
        return weights, means + _spread(self.components), self.least_scale + jnp.exp(scales)

    def log_probs(self, numbers: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x_i), densities, [..., D]."""
        weights, means, scales = self._components(numbers)
        log_density = -0.5 * jnp.square((x[..., None, :] - means) / scales) - jnp.log(scales) - 0.5 * LOG_2PI
        return jax.nn.logsumexp(jax.nn.log_softmax(weights, axis=-2) + log_density, axis=-2)

    def sample(self, key: jax.Array, numbers: jax.Array) -> jax.Array:
        """A draw, [..., D]."""
        which, where = jax.random.split(key)
        weights, means, scales = self._components(numbers)
        chosen = jax.random.categorical(which, weights, axis=-2)
        noise = standard_normal(where, chosen.shape, numbers.dtype)
        return _pick(means, chosen) + _pick(scales, chosen) * noise

    def mean(self, numbers: jax.Array) -> jax.Array:
        """E[x], [..., D]."""
        weights, means, _ = self._components(numbers)
        return jnp.sum(jax.nn.softmax(weights, axis=-2) * means, axis=-2)


@config
class DiscretizedLogistics(_Summed):
    """Units with L levels: a mixture of logistic laws, each integrated from halfway below a level to halfway above.

    The first and the last level take the tails. Means and scales are those of 2x - 1 in [-1, 1].
    """

    citation: ClassVar[str] = "Salimans, Karpathy, Chen and Kingma 2017"
    data_support: ClassVar[str] = "unit"

    levels: int = field(default=256, ge=2, help="L, the values k / (L - 1) of a unit; MNIST's pixels have 256")
    components: int = field(default=10, ge=1, help="logistic laws a unit")

    @property
    def outputs(self) -> int:
        """P: weight, mean and log scale of every component."""
        return 3 * self.components

    def _components(self, numbers: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Logits of the weights, means and log scales, each [..., C, D]."""
        weights, means, log_scales = jnp.split(numbers, 3, axis=-2)
        # A hard floor would have no gradient below it.
        return (
            weights,
            means + _spread(self.components),
            LEAST_LOG_SCALE + jax.nn.softplus(log_scales - LEAST_LOG_SCALE),
        )

    def log_probs(self, numbers: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x_i), [..., D]."""
        weights, means, log_scales = self._components(numbers)
        k = _level(x, self.levels)[..., None, :]
        half = 1 / (self.levels - 1)
        distance, rate, log_width = 2 * half * k - 1 - means, jnp.exp(-log_scales), math.log(2 * half) - log_scales
        above, below, width = rate * (distance + half), rate * (distance - half), 2 * half * rate
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), without a difference of like numbers.
        first, last = k == 0, k == self.levels - 1
        log_mass = (
            jnp.where(last, 0, jax.nn.log_sigmoid(above))
            + jnp.where(first, 0, jax.nn.log_sigmoid(-below))
            + jnp.where(first | last, 0, _log1mexp(width, log_width))
        )
        return jax.nn.logsumexp(jax.nn.log_softmax(weights, axis=-2) + log_mass, axis=-2)

    def sample(self, key: jax.Array, numbers: jax.Array) -> jax.Array:
        """A draw, [..., D]."""
        which, where = jax.random.split(key)
        weights, means, log_scales = self._components(numbers)
        chosen = jax.random.categorical(which, weights, axis=-2)
        noise = jax.random.logistic(where, chosen.shape, numbers.dtype)
        v = _pick(means, chosen) + jnp.exp(_pick(log_scales, chosen)) * noise
        return _level((v + 1) / 2, self.levels) / (self.levels - 1)

    def mean(self, numbers: jax.Array) -> jax.Array:
        """E[x], [..., D]: the mean of k / (L - 1) is that of P(x >= k / (L - 1)) over k = 1, ..., L - 1."""
        weights, means, log_scales = self._components(numbers)
        chance = jax.nn.softmax(weights, axis=-2)

        def above(k):
            edge = (2 * k - 1) / (self.levels - 1) - 1
            return jnp.sum(chance * jax.nn.sigmoid((means - edge) * jnp.exp(-log_scales)), axis=-2)

        # One level at a time: together they would be L times as large as the numbers.
        return jax.lax.fori_loop(1, self.levels, lambda k, sofar: sofar + above(k), above(1) * 0) / (self.levels - 1)


@config
class Gaussian:
    """Real units, p(x_i) = N(x_i; mu_i, sigma_i^2); sigma fixed, learned for every unit, or predicted with the mean."""

    citation: ClassVar[str] = ""
    data_support: ClassVar[str] = "real"
    levels: ClassVar[None] = None

    scale: float | None = field(default=None, gt=0, help="sigma of all units; None learns it")
    predicted: bool = field(default=False, help="learn sigma as a function of what mu is one of, not one a unit")
    least_scale: float | None = field(
        default=None, gt=0, help="a floor that a learned sigma stays above, in the units of the data; None for none"
    )

    def check(self) -> list[str]:
        if self.scale is not None and (self.predicted or self.least_scale is not None):
            name = "predicted" if self.predicted else "least_scale"
            return [
                f"{name}: got {getattr(self, name)!r} with the fixed scale {self.scale!r}; leave out one of the two."
            ]
        return []

    @property
    def outputs(self) -> int | None:
        """P: mean and log scale of a unit where the scale is predicted, else one number, the mean."""
        return 2 if self.predicted else None

    def normal(self, numbers: jax.Array) -> Normal:
        """The law of units with numbers [..., 2, D], or of units with a fixed scale and means [..., D]."""
        if self.scale is not None:
            return Normal(numbers, jnp.log(self.scale))
        loc, log_scale = numbers[..., 0, :], numbers[..., 1, :]
        return Normal(
            loc, log_scale if self.least_scale is None else jnp.logaddexp(log_scale, jnp.log(self.least_scale))
        )

    def log_prob(self, numbers: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x), a density, [...]."""
        return self.normal(numbers).log_prob(x)

    def log_probs(self, numbers: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x_i), densities, [..., D]."""
        loc, log_scale = self.normal(numbers)
        return Normal(loc[..., None], jnp.broadcast_to(log_scale, loc.shape)[..., None]).log_prob(x[..., None])

    def sample(self, key: jax.Array, numbers: jax.Array) -> jax.Array:
        """A draw, [..., D]."""
        return self.normal(numbers).sample(key)

    def mean(self, numbers: jax.Array) -> jax.Array:
        """E[x], [..., D]."""
        return self.normal(numbers).loc


@config
class Poisson(_Summed):
    """Counts, p(x_i = n) = r_i^n exp(-r_i) / n!, from log r_i."""

    citation: ClassVar[str] = ""
    data_support: ClassVar[str] = "count"
    outputs: ClassVar[None] = None
    levels: ClassVar[None] = None

    def log_probs(self, log_rate: jax.Array, x: jax.Array) -> jax.Array:
        """log p(x_i), [..., D]."""
        return x * log_rate - jnp.exp(log_rate) - jax.lax.lgamma(x + 1.0)

    def sample(self, key: jax.Array, log_rate: jax.Array) -> jax.Array:
        """A draw, [..., D]."""
        return jax.random.poisson(key, jnp.exp(log_rate)).astype(log_rate.dtype)

    def mean(self, log_rate: jax.Array) -> jax.Array:
        """E[x], [..., D]."""
        return jnp.exp(log_rate)


Units = Bernoulli | Categorical | MixtureOfGaussians | DiscretizedLogistics
UNITS_HELP = "what a unit of x is, from genjax_models.models.units"
UNITS: dict[str, type] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "mixture_of_gaussians": MixtureOfGaussians,
    "discretized_logistics": DiscretizedLogistics,
}

Likelihood = Bernoulli | Gaussian | Categorical | MixtureOfGaussians | DiscretizedLogistics | Poisson
LIKELIHOOD_HELP = "p(x_i | z) of a unit of x, from genjax_models.models.units"
LIKELIHOODS: dict[str, type] = UNITS | {"gaussian": Gaussian, "poisson": Poisson}


class LikelihoodConfig(ModelConfig):
    """Base of configurations with a field `likelihood`, the law of a unit of x given the latents."""

    likelihood: Likelihood

    @property
    def data_support(self) -> str:
        """The values that p(x | z) is defined on."""
        return self.likelihood.data_support

    @property
    def density(self) -> bool:
        """Whether p(x | z) is a density of a scale without limit."""
        fixed = isinstance(self.likelihood, Gaussian) and self.likelihood.scale is not None
        return self.likelihood.data_support == "real" and not fixed

    @property
    def levels(self) -> int | None:
        """L, where a unit of x takes the values k / (L - 1) alone."""
        return self.likelihood.levels


class Emission(nn.Module):
    """p(x | h): the units' numbers from what a network puts out for them, [units * P] -> [P, units].

    Holds the scale of units that learn one for all examples, so that a decoder needs only a last layer of `width`.
    """

    units: Any  # a `Likelihood`
    visible: int

    @property
    def width(self) -> int:
        """What the network before it must put out."""
        return self.visible * (self.units.outputs or 1)

    def setup(self):
        if self._learns_scale:
            self.log_scale = self.param("log_scale", nn.initializers.zeros_init(), (self.visible,))

    @property
    def _learns_scale(self) -> bool:
        return isinstance(self.units, Gaussian) and self.units.scale is None and not self.units.predicted

    def __call__(self, out):
        if self._learns_scale:
            return jnp.stack([out, jnp.broadcast_to(self.log_scale, out.shape)], axis=-2)
        outputs = self.units.outputs
        return out if outputs is None else out.reshape(*out.shape[:-1], outputs, self.visible)


def one(units: Any, key: jax.Array, numbers: jax.Array) -> jax.Array:
    """A draw of a single unit, [...], given its numbers, [..., P] or [...]."""
    return units.sample(key, numbers[..., None])[..., 0]
