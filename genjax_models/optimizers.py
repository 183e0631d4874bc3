"""Optimizers and schedules as configuration.

In Python any function of the step serves as a schedule, and any optax transformation as an optimizer that needs no more
than gradients, parameters and the loss's value.

Only schedules whose numbers may be traced stand here, so that a sweep over them compiles once.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from genjax_models.config import OptimizerConfig, ScheduleConfig, config, field

Schedule = Callable[[jax.Array], jax.Array]


def build_value(value: Any) -> Any:
    """A configured number or schedule as optax and the objectives take it: a scalar or a function of the step."""
    return value.build() if isinstance(value, ScheduleConfig) else value


def plain_number(value: Any) -> Any:
    """A concrete scalar as a Python float, which hashes; schedules, traced numbers and None as they are."""
    if value is None or callable(value) or isinstance(value, jax.core.Tracer):
        return value
    return float(value)


def value_at(value: Any, step: jax.Array) -> Any:
    """A number, or a schedule at a step."""
    return value(step) if callable(value) else value


@config
class Linear(ScheduleConfig):
    """From `start` to `end` over `steps`, beginning at step `delay`; constant before and after."""

    start: float = field(default=0.0, help="value at first")
    end: float = field(default=1.0, help="value at last")
    steps: int = field(default=1000, ge=1, help="steps from one to the other")
    delay: int = field(default=0, ge=0, help="steps before it moves")

    def build(self) -> Schedule:
        return optax.linear_schedule(self.start, self.end, self.steps, self.delay)


@config
class Cosine(ScheduleConfig):
    """From `start` along a half cosine to `start * final_fraction` over `steps` (Loshchilov and Hutter 2017)."""

    start: float = field(default=1e-3, help="value at first")
    steps: int = field(default=1000, ge=1, help="steps until the last value")
    final_fraction: float = field(default=0.0, ge=0, le=1, help="last value as a fraction of the first")

    def build(self) -> Schedule:
        return optax.cosine_decay_schedule(self.start, self.steps, self.final_fraction)


@config
class Warmup(ScheduleConfig):
    """From `start` linearly to `peak` over `steps`, constant after."""

    start: float = field(default=0.0, help="value at first")
    peak: float = field(default=1e-3, help="value from `steps` on")
    steps: int = field(default=100, ge=1, help="steps of warm-up")

    def build(self) -> Schedule:
        return optax.warmup_constant_schedule(self.start, self.peak, self.steps)


@config
class Polynomial(ScheduleConfig):
    """From `start` to `end` as the power `power` of the remaining fraction of `steps`."""

    start: float = field(default=1e-3, help="value at first")
    end: float = field(default=0.0, help="value at last")
    power: float = field(default=1.0, gt=0, help="1 is linear, 2 quadratic")
    steps: int = field(default=1000, ge=1, help="steps from one to the other")

    def build(self) -> Schedule:
        return optax.polynomial_schedule(self.start, self.end, self.power, self.steps)


@config
class Sigmoid(ScheduleConfig):
    """From `start` to `end` along a logistic curve with its middle at half of `steps` (Bowman et al. 2016)."""

    start: float = field(default=0.0, help="value long before")
    end: float = field(default=1.0, help="value long after")
    steepness: float = field(default=10.0, gt=0, help="the curve runs over sigmoid(-steepness / 2 .. steepness / 2)")
    steps: int = field(default=1000, ge=1, help="steps from one to the other")

    def build(self) -> Schedule:
        def value(step):
            return self.start + (self.end - self.start) * jax.nn.sigmoid(self.steepness * (step / self.steps - 0.5))

        return value


@config
class Cyclical(ScheduleConfig):
    """From `start` linearly to `end`, which it holds, over and over (Fu et al. 2019)."""

    start: float = field(default=0.0, help="value at the start of a cycle")
    end: float = field(default=1.0, help="value at its end, and after the last cycle")
    rising: float = field(default=0.5, gt=0, le=1, help="part of a cycle on the way from one to the other")
    steps: int = field(default=1000, ge=1, help="steps of a cycle")
    cycles: int = field(default=4, ge=1, help="number of cycles")

    def build(self) -> Schedule:
        def value(step):
            part = jnp.minimum(step % self.steps / self.steps / self.rising, 1)
            return self.start + (self.end - self.start) * jnp.where(step < self.cycles * self.steps, part, 1)

        return value


@config
class Stages(ScheduleConfig):
    """One value after the other, each held until its stage is over."""

    values: tuple[float, ...] = field(default=(1e-3, 1e-4), nonempty=True, help="the value of each stage")
    steps: tuple[int, ...] = field(default=(1000,), ge=1, help="at which steps all stages but the first begin")

    def check(self) -> list[str]:
        if len(self.steps) != len(self.values) - 1 or list(self.steps) != sorted(set(self.steps)):
            return [f"steps: got {self.steps} for {len(self.values)} values, expected one less of them, rising."]
        return []

    def build(self) -> Schedule:
        def value(step):
            stage = jnp.searchsorted(jnp.asarray(self.steps, jnp.int32), step, side="right")
            return jnp.stack([jnp.asarray(v, jnp.result_type(float)) for v in self.values])[stage]

        return value


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "linear": Linear,
    "cosine": Cosine,
    "warmup": Warmup,
    "polynomial": Polynomial,
    "sigmoid": Sigmoid,
    "cyclical": Cyclical,
    "stages": Stages,
}


def reaching_zero(configured: Any, *names: str) -> list[str]:
    """What is wrong with fields that must be above 0 all along, where they are schedules."""
    problems = []
    for name in names:
        schedule = getattr(configured, name)
        if not isinstance(schedule, ScheduleConfig):
            continue
        stages = schedule.steps if isinstance(schedule, Stages) else ()
        value = schedule.build()  # which goes one way from each of these steps to the next
        if (low := min(float(value(step)) for step in (0, *stages, 2**30))) <= 0:
            problems.append(f"{name}: its schedule reaches {low:g}, expected values more than 0.")
    return problems


def clip_by_group_norm(max_norm: float | jax.Array) -> optax.GradientTransformation:
    """Clip the global norm of each parameter group by itself.

    Generative and recognition gradients differ in scale by orders of magnitude under wake-sleep; one joint norm would
    let the louder group silence the other. The groups are the model's, and the objective's own parameters.
    """
    clip = optax.clip_by_global_norm(max_norm)

    def update(updates, state, params=None):
        model, own = updates
        return (
            {group: clip.update(part, optax.EmptyState())[0] for group, part in model.items()},
            clip.update(own, optax.EmptyState())[0] if jax.tree.leaves(own) else own,
        ), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _chain(clip_norm: Any, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return optimizer if clip_norm is None else optax.chain(clip_by_group_norm(clip_norm), optimizer)


@config
class Adam(OptimizerConfig):
    """Adam (Kingma and Ba 2015)."""

    citation: ClassVar[str] = "Kingma and Ba 2015"
    learning_rate: float | ScheduleConfig = field(default=1e-3, ge=0, help="a number, or a schedule in the config file")
    b1: float = field(default=0.9, ge=0, lt=1, help="decay of the first moment")
    b2: float = field(default=0.999, ge=0, lt=1, help="decay of the second moment")
    eps: float = field(default=1e-8, gt=0, help="added to the root of the second moment")
    clip_norm: float | None = field(default=None, gt=0, help="clip the gradient's norm in each parameter group to this")

    def build(self) -> optax.GradientTransformation:
        return _chain(self.clip_norm, optax.adam(build_value(self.learning_rate), self.b1, self.b2, self.eps))


def _kernels(params: Any) -> Any:
    """Which parameters are arrays of two dimensions or more."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


@config
class AdamW(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    learning_rate: float | ScheduleConfig = field(default=1e-3, ge=0, help="a number, or a schedule in the config file")
    b1: float = field(default=0.9, ge=0, lt=1, help="decay of the first moment")
    b2: float = field(default=0.999, ge=0, lt=1, help="decay of the second moment")
    eps: float = field(default=1e-8, gt=0, help="added to the root of the second moment")
    weight_decay: float = field(default=1e-4, ge=0, help="decay of the parameters, times the learning rate")
    decay_biases: bool = field(default=True, help="decay biases and other vectors too, not kernels alone")
    clip_norm: float | None = field(default=None, gt=0, help="clip the gradient's norm in each parameter group to this")

    def build(self) -> optax.GradientTransformation:
        rate, mask = build_value(self.learning_rate), None if self.decay_biases else _kernels
        adamw = optax.adamw(rate, self.b1, self.b2, self.eps, weight_decay=self.weight_decay, mask=mask)
        return _chain(self.clip_norm, adamw)


@config
class SGD(OptimizerConfig):
    """Gradient descent, with momentum if given."""

    learning_rate: float | ScheduleConfig = field(default=1e-2, ge=0, help="a number, or a schedule in the config file")
    momentum: float | None = field(default=None, ge=0, lt=1, help="decay of the velocity; None for plain descent")
    nesterov: bool = field(default=False, help="look ahead along the velocity")
    clip_norm: float | None = field(default=None, gt=0, help="clip the gradient's norm in each parameter group to this")

    def check(self) -> list[str]:
        if self.nesterov and self.momentum is None:
            return ["nesterov: got True without momentum; give momentum as well."]
        return []

    def build(self) -> optax.GradientTransformation:
        return _chain(self.clip_norm, optax.sgd(build_value(self.learning_rate), self.momentum, self.nesterov))


@config
class RMSProp(OptimizerConfig):
    """RMSProp (Tieleman and Hinton 2012)."""

    learning_rate: float | ScheduleConfig = field(default=1e-3, ge=0, help="a number, or a schedule in the config file")
    decay: float = field(default=0.9, ge=0, lt=1, help="decay of the second moment")
    eps: float = field(default=1e-8, gt=0, help="added to the second moment")
    clip_norm: float | None = field(default=None, gt=0, help="clip the gradient's norm in each parameter group to this")

    def build(self) -> optax.GradientTransformation:
        rate = build_value(self.learning_rate)
        return _chain(self.clip_norm, optax.rmsprop(rate, decay=self.decay, eps=self.eps))


OPTIMIZERS: dict[str, type[OptimizerConfig]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "rmsprop": RMSProp}
