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
from genjax_models.evaluation.modes import ModeCoverage, Nearest, mode_coverage, nearest
from genjax_models.evaluation.parzen import choose_sigma, parzen_log_likelihood
from genjax_models.evaluation.prior_marginal import prior_log_marginal, quadrature_log_marginal
from genjax_models.evaluation.two_sample import TwoSampleTest, median_bandwidth, mmd_squared, two_sample_test

__all__ = [
    "ExactPStar",
    "GradientStatistics",
    "GroupStatistics",
    "LogMarginal",
    "LogPStar",
    "LogZSquared",
    "ModeCoverage",
    "Nearest",
    "PStarSamples",
    "TwoSampleTest",
    "blend",
    "choose_sigma",
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
    "median_bandwidth",
    "mmd_squared",
    "mode_coverage",
    "nearest",
    "objective_metrics",
    "parzen_log_likelihood",
    "prior_log_marginal",
    "quadrature_log_marginal",
    "sample_p_star",
    "squared_error",
    "two_sample_test",
]
