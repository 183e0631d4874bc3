"""Objectives: pure losses on models. One is added by a function and its configuration, and one line in `OBJECTIVES`."""

from genjax_models.config import ObjectiveConfig
from genjax_models.objectives.algebra import Part, Sum, from_loss, weighted_sum
from genjax_models.objectives.bidirectional import Bidirectional, bidirectional
from genjax_models.objectives.pathwise import ELBO, IWAE, elbo, iwae
from genjax_models.objectives.wake_sleep import ReweightedWakeSleep, WakeSleep, reweighted_wake_sleep, wake_sleep

OBJECTIVES: dict[str, type[ObjectiveConfig]] = {
    "elbo": ELBO,
    "iwae": IWAE,
    "wake_sleep": WakeSleep,
    "reweighted_wake_sleep": ReweightedWakeSleep,
    "bidirectional": Bidirectional,
    "weighted_sum": Sum,
}

__all__ = [
    "ELBO",
    "IWAE",
    "OBJECTIVES",
    "Bidirectional",
    "Part",
    "ReweightedWakeSleep",
    "Sum",
    "WakeSleep",
    "bidirectional",
    "elbo",
    "from_loss",
    "iwae",
    "reweighted_wake_sleep",
    "wake_sleep",
    "weighted_sum",
]
