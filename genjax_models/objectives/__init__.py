"""Objectives: pure losses on models. One is added by a function and its configuration, and one line in `OBJECTIVES`."""

from genjax_models.config import ObjectiveConfig
from genjax_models.objectives.adversarial import Adversarial, Players, adversarial
from genjax_models.objectives.algebra import Part, Sum, from_loss, weighted_sum
from genjax_models.objectives.antithetic import ARM, DisARM, arm, disarm
from genjax_models.objectives.between_bounds import (
    Combination,
    Jackknife,
    PartiallyImportanceWeighted,
    Renyi,
    combination,
    jackknife,
    partially_importance_weighted,
    renyi,
)
from genjax_models.objectives.bidirectional import Bidirectional, bidirectional
from genjax_models.objectives.common import chunk_particles
from genjax_models.objectives.dreg import DReG, dreg
from genjax_models.objectives.fivo import FIVO, fivo
from genjax_models.objectives.gumbel_softmax import GumbelSoftmax, gumbel_softmax
from genjax_models.objectives.maximum_likelihood import MaximumLikelihood, maximum_likelihood
from genjax_models.objectives.mean_field import MeanField, mean_field, mean_field_bound, mean_field_bound_at
from genjax_models.objectives.moment_matching import MomentMatching, moment_matching
from genjax_models.objectives.muprop import MuProp, muprop
from genjax_models.objectives.nvil import NVIL, nvil
from genjax_models.objectives.pathwise import ELBO, IWAE, elbo, iwae
from genjax_models.objectives.rebar import REBAR, RELAX, rebar, relax
from genjax_models.objectives.reinforce import Reinforce, reinforce
from genjax_models.objectives.relaxed import Concrete, StraightThrough, concrete, straight_through
from genjax_models.objectives.sticking_the_landing import StickingTheLanding, sticking_the_landing
from genjax_models.objectives.thermodynamic import Thermodynamic, thermodynamic
from genjax_models.objectives.vimco import VIMCO, vimco
from genjax_models.objectives.wake_sleep import ReweightedWakeSleep, WakeSleep, reweighted_wake_sleep, wake_sleep

OBJECTIVES: dict[str, type[ObjectiveConfig]] = {
    "elbo": ELBO,
    "iwae": IWAE,
    "dreg": DReG,
    "fivo": FIVO,
    "sticking_the_landing": StickingTheLanding,
    "renyi": Renyi,
    "combination": Combination,
    "jackknife": Jackknife,
    "partially_importance_weighted": PartiallyImportanceWeighted,
    "wake_sleep": WakeSleep,
    "reweighted_wake_sleep": ReweightedWakeSleep,
    "bidirectional": Bidirectional,
    "concrete": Concrete,
    "straight_through": StraightThrough,
    "gumbel_softmax": GumbelSoftmax,
    "arm": ARM,
    "disarm": DisARM,
    "reinforce": Reinforce,
    "nvil": NVIL,
    "vimco": VIMCO,
    "thermodynamic": Thermodynamic,
    "mean_field": MeanField,
    "muprop": MuProp,
    "rebar": REBAR,
    "relax": RELAX,
    "maximum_likelihood": MaximumLikelihood,
    "adversarial": Adversarial,
    "moment_matching": MomentMatching,
    "weighted_sum": Sum,
}

__all__ = [
    "ARM",
    "ELBO",
    "FIVO",
    "IWAE",
    "NVIL",
    "OBJECTIVES",
    "REBAR",
    "RELAX",
    "VIMCO",
    "Adversarial",
    "Bidirectional",
    "Combination",
    "Concrete",
    "DReG",
    "DisARM",
    "GumbelSoftmax",
    "Jackknife",
    "MaximumLikelihood",
    "MeanField",
    "MomentMatching",
    "MuProp",
    "Part",
    "PartiallyImportanceWeighted",
    "Players",
    "Reinforce",
    "Renyi",
    "ReweightedWakeSleep",
    "StickingTheLanding",
    "StraightThrough",
    "Sum",
    "Thermodynamic",
    "WakeSleep",
    "adversarial",
    "arm",
    "bidirectional",
    "chunk_particles",
    "combination",
    "concrete",
    "disarm",
    "dreg",
    "elbo",
    "fivo",
    "from_loss",
    "gumbel_softmax",
    "iwae",
    "jackknife",
    "maximum_likelihood",
    "mean_field",
    "mean_field_bound",
    "mean_field_bound_at",
    "moment_matching",
    "muprop",
    "nvil",
    "partially_importance_weighted",
    "rebar",
    "reinforce",
    "relax",
    "renyi",
    "reweighted_wake_sleep",
    "sticking_the_landing",
    "straight_through",
    "thermodynamic",
    "vimco",
    "wake_sleep",
    "weighted_sum",
]
