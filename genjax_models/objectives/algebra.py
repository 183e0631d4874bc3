"""Objectives from objectives, and from a user's own loss."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax

from genjax_models.config import ObjectiveConfig, ScheduleConfig, config, field
from genjax_models.core import Metrics, Objective, Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.objectives.common import owns_nothing
from genjax_models.objectives.parts import split
from genjax_models.optimizers import Schedule, build_value, plain_number, value_at

Parts = tuple[tuple[str, float | Schedule, Objective], ...]


@dataclasses.dataclass(frozen=True)
class SumInit:
    """`Objective.init` of `weighted_sum`."""

    parts: Parts

    def __call__(self, key, params, batch):
        keys = jax.random.split(key, len(self.parts))
        pairs = [part.init(k, params, batch) for k, (_, _, part) in zip(keys, self.parts, strict=True)]
        own, state = zip(*pairs, strict=True)
        return own, state


@dataclasses.dataclass(frozen=True)
class SumLoss:
    """`Objective.loss` of `weighted_sum`."""

    no_chunks: ClassVar[str] = "each part of a weighted_sum has a particle_chunk of its own"

    parts: Parts

    @property
    def draws_by_row(self) -> bool:
        return all(part.draws_by_row for _, _, part in self.parts)

    @property
    def needs_whole_batch(self) -> str | None:
        return next((part.needs_whole_batch for _, _, part in self.parts if part.needs_whole_batch), None)

    def __call__(self, trainable, state, key, batch, step):
        keys = split(key, len(self.parts))
        value, states = 0.0, []
        metrics: Metrics = {}
        for (name, weight, part), k, own, old in zip(self.parts, keys, trainable.own, state, strict=True):
            loss, (new, found) = part.loss(Trainable(trainable.model, own), old, k, batch, step)
            value = value + value_at(weight, step) * loss
            states.append(new)
            metrics |= {f"{name}/{metric}": v for metric, v in found.items()}
        return value, (tuple(states), {"bound": -jax.lax.stop_gradient(value), **metrics})


def weighted_sum(parts: Mapping[str, tuple[float | Schedule, Objective]]) -> Objective:
    """The sum of weighted objectives, each with its own parameters, state and key.

    Args:
        parts: from a name of yours to (weight, objective); a weight is a number or a function of the step.

    Returns:
        An `Objective` whose value is the weighted sum of the parts' values; metric "bound" is minus that, and every
        part's metrics stand under "name/metric".

    Raises:
        ConfigError: no parts.

    Example:
        >>> both = weighted_sum({"wake": (1.0, wake_sleep(model)), "rws": (schedule, reweighted_wake_sleep(model))})
    """
    if not parts:
        raise ConfigError("weighted_sum: got no parts, expected at least one {name: (weight, objective)}.")
    listed = tuple((name, plain_number(weight), objective) for name, (weight, objective) in parts.items())
    return Objective(SumInit(listed), SumLoss(listed))


@dataclasses.dataclass(frozen=True)
class UserLoss:
    """`Objective.loss` of `from_loss`."""

    function: Callable

    def __call__(self, trainable, state, key, batch, step):
        out = self.function(trainable.model, key, batch)
        loss, metrics = out if isinstance(out, tuple) else (out, {})
        if getattr(loss, "shape", ()) != ():
            raise ModelError(f"the loss returned shape {loss.shape}, expected a scalar: average over the batch.")
        return loss, (state, {"bound": -jax.lax.stop_gradient(loss), **metrics})


def from_loss(function: Callable) -> Objective:
    """An `Objective` from a pure function `loss(params, key, batch)`, which is minimized.

    Args:
        function: takes the model's parameters by group, a key, and a `Batch` (its `x` is [B, D]); returns a scalar, or
            a scalar and a dict of scalars to report.

    Returns:
        An `Objective` with metric "bound", minus the loss, and those that the function reports.

    Raises:
        ModelError: when traced, if the function does not return a scalar.
    """
    return Objective(owns_nothing, UserLoss(function))


@config
class Part:
    """A part of a weighted sum."""

    objective: ObjectiveConfig = field(help="the part's objective")
    weight: float | ScheduleConfig = field(default=1.0, help="its weight, a number or a schedule")


@config
class Sum(ObjectiveConfig):
    """Weighted sum of objectives; weights may follow the step."""

    capability: ClassVar[str] = "that of its parts"
    citation: ClassVar[str] = ""

    parts: tuple[Part, ...] = field(default=(), nonempty=True, help="objectives with their weights")

    def build(self, model: Any) -> Objective:
        """The objective on a model; parts are named by their number."""
        return weighted_sum(
            {str(i): (build_value(part.weight), part.objective.build(model)) for i, part in enumerate(self.parts)}
        )
