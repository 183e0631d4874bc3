"""Baselines of score-function gradients: what may be taken off the signal of a particle without touching the mean.

A baseline of particle k may depend on x and on the other particles, never on z_k. It reads its parameters and moments
as they were before the step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.config import config, field, validate
from genjax_models.core import Key, Scalar
from genjax_models.errors import ConfigError, nearest
from genjax_models.optimizers import plain_number


class Moments(NamedTuple):
    """Running mean and variance of a signal, exponentially weighted and without bias towards the start."""

    mean: Scalar
    variance: Scalar
    batches: jax.Array  # int32: how many were taken in

    @classmethod
    def none(cls) -> "Moments":
        """Those of no batch: mean and variance zero."""
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def after(self, signal: jax.Array, decay: float | Scalar) -> "Moments":
        """With a batch's signals, of any shape, taken in; a batch with one that is not finite is left out."""
        signal = jax.lax.stop_gradient(signal)
        # After n batches their weights sum to one, and the zeros at the start have none.
        batches = self.batches + 1
        rate = (1 - decay) / (1 - decay**batches)
        mean = self.mean + (rate * (jnp.mean(signal) - self.mean)).astype(self.mean.dtype)
        variance = self.variance + (rate * (jnp.var(signal) - self.variance)).astype(self.variance.dtype)
        finite = jnp.isfinite(mean) & jnp.isfinite(variance)
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), Moments(mean, variance, batches), self)


class Network(NamedTuple):
    """A baseline network of your own, as pure functions of one input; a flax module's own `init` and `apply` serve."""

    init: Callable[..., Any]  # (key, h) -> parameters
    apply: Callable[..., Scalar]  # (parameters, h) -> one number


@config
class Neural:
    """A network of h with tanh units, as in Mnih and Gregor 2014; zero until it has learned."""

    hidden: tuple[int, ...] = field(default=(100,), ge=1, help="sizes of the hidden layers")

    def init(self, key: Key, h: jax.Array) -> tuple:
        """(W [n, m], b [m]) of every layer: weights from N(0, 1/n), the last layer's zero."""
        sizes = (h.size, *self.hidden)
        keys = jax.random.split(key, len(sizes))
        layers = [
            (jax.random.normal(k, (n, m)) / n**0.5, jnp.zeros(m))
            for k, n, m in zip(keys[1:], sizes[:-1], sizes[1:], strict=True)
        ]
        return (*layers, (jnp.zeros((sizes[-1], 1)), jnp.zeros(1)))

    def apply(self, params: tuple, h: jax.Array) -> Scalar:
        """The baseline of one input."""
        h = h.ravel()
        for w, b in params[:-1]:
            h = jnp.tanh(h @ w + b)
        w, b = params[-1]
        return (h @ w + b)[0]


@config
class Constant:
    """The same baseline for every example."""

    value: float = field(default=0.0, help="the baseline, nats")


@config
class RunningMean:
    """The running mean of the signal over batches."""

    decay: float = field(default=0.8, ge=0, lt=1, help="decay of the mean")


@config
class LeaveOneOut:
    """The mean of the example's other particles."""


BASELINES: dict[str, type] = {
    "constant": Constant,
    "running_mean": RunningMean,
    "leave_one_out": LeaveOneOut,
    "neural": Neural,
}


def as_baseline(name: str, value: Any, *allowed: type) -> Any:
    """The baseline meant by `value`: None or "none", one of the classes `allowed`, or its name in `BASELINES`.

    Raises:
        ConfigError: anything else, or a field of it that is impossible.
    """
    known = {k: v for k, v in BASELINES.items() if v in allowed}
    if isinstance(value, str):
        if value not in ("none", *known):
            raise ConfigError(f"{name}: got {value!r}.{nearest(value, ('none', *known))}")
        value = None if value == "none" else known[value]()
    if value is not None and not isinstance(value, allowed):
        raise ConfigError(
            f"{name}: got {value!r}, expected None, {', '.join(cls.__name__ for cls in allowed)} of "
            f"genjax_models.objectives.baselines, or one of {', '.join(map(repr, known))}."
        )
    if hasattr(value, "__config__"):
        # While a sweep traces its numbers they have no values; they were checked before.
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
            validate(value)
        value = jax.tree.map(plain_number, value)
    return value
