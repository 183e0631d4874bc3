"""All tables of names together: what a configuration's JSON may name, and what `list` shows."""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import SOURCES
from genjax_models.models import MODELS
from genjax_models.models.networks import NETWORKS
from genjax_models.models.posteriors import POSTERIORS
from genjax_models.models.priors import PRIORS
from genjax_models.models.units import LIKELIHOODS
from genjax_models.objectives import OBJECTIVES, Part
from genjax_models.objectives.baselines import BASELINES
from genjax_models.optimizers import OPTIMIZERS, SCHEDULES


def types() -> dict[str, type]:
    """Every configuration class by the name it has in `config.json`."""
    own = {"config": Config, "training": Training, "evaluation": Evaluation, "part": Part}
    parts = {**LIKELIHOODS, **NETWORKS, **POSTERIORS, **PRIORS, **BASELINES}
    return {**own, **MODELS, **parts, **OBJECTIVES, **OPTIMIZERS, **SCHEDULES, **SOURCES}
