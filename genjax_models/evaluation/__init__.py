"""How good a model is: bounds, importance weighted and exact log p(x); the p* of a bidirectional machine; gradients."""

from genjax_models.evaluation.bidirectional import (
    ExactPStar,
    LogPStar,
    LogZSquared,
    PStarSamples,
    exact_log_p_star,
    inpaint,
    log_p_star,
    log_z_squared,
    sample_p_star,
)
from genjax_models.evaluation.bound import objective_metrics
from genjax_models.evaluation.completion import complete
from genjax_models.evaluation.gradients import (
    GradientStatistics,
    GroupStatistics,
    exact_gradient,
    gradient_statistics,
)
from genjax_models.evaluation.interpolation import blend, interpolate, squared_error
from genjax_models.evaluation.likelihood import log_prob
from genjax_models.evaluation.marginal import LogMarginal, exact_log_marginal, log_marginal

__all__ = [
    "ExactPStar",
    "GradientStatistics",
    "GroupStatistics",
    "LogMarginal",
    "LogPStar",
    "LogZSquared",
    "PStarSamples",
    "blend",
    "complete",
    "exact_gradient",
    "exact_log_marginal",
    "exact_log_p_star",
    "gradient_statistics",
    "inpaint",
    "interpolate",
    "log_marginal",
    "log_p_star",
    "log_prob",
    "log_z_squared",
    "objective_metrics",
    "sample_p_star",
    "squared_error",
]
