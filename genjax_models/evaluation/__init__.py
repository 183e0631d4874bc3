"""How good a model is: bounds, log p(x), gradients; what latents are used for; samples beside data."""

from genjax_models.evaluation.activity import ActiveUnits, LatentKL, active_units, latent_kl
from genjax_models.evaluation.aggregate import AggregatePosterior, aggregate_posterior
from genjax_models.evaluation.annealing import (
    AnnealedLogMarginal,
    Sandwich,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    sigmoid_schedule,
)
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
from genjax_models.evaluation.classifier import TrainedClassifier, default_network, train_classifier
from genjax_models.evaluation.codes import interpolate_codes, reconstruct, response, traverse
from genjax_models.evaluation.completion import complete
from genjax_models.evaluation.continuation import continue_sequences
from genjax_models.evaluation.distortion import RateDistortion, rate_distortion
from genjax_models.evaluation.divergence import divergence_in_bits
from genjax_models.evaluation.exact_marginal import exact_log_marginal
from genjax_models.evaluation.frechet import extrapolated_frechet_distance, frechet_distance
from genjax_models.evaluation.gradients import (
    GradientStatistics,
    GroupStatistics,
    exact_gradient,
    gradient_statistics,
)
from genjax_models.evaluation.interpolation import blend, interpolate, squared_error
from genjax_models.evaluation.likelihood import log_prob
from genjax_models.evaluation.manifolds import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from genjax_models.evaluation.marginal import DoubtfulEstimate, LogMarginal, log_marginal
from genjax_models.evaluation.modes import ModeCoverage, Nearest, mode_coverage, nearest
from genjax_models.evaluation.moments import PosteriorMoments, posterior_moments
from genjax_models.evaluation.paired import PairedDifference, paired_difference
from genjax_models.evaluation.particle_filter import particle_filter_log_marginal
from genjax_models.evaluation.parzen import choose_sigma, parzen_log_likelihood
from genjax_models.evaluation.prior_marginal import prior_log_marginal, quadrature_log_marginal
from genjax_models.evaluation.refinement import Refinement, refine_posterior
from genjax_models.evaluation.sample_quality import SampleQuality, sample_quality
from genjax_models.evaluation.spectrum import SpectralRatio, Spectrum, power_spectrum, spectral_ratio
from genjax_models.evaluation.two_sample import TwoSampleTest, median_bandwidth, mmd_squared, two_sample_test

__all__ = [
    "ActiveUnits",
    "AggregatePosterior",
    "AnnealedLogMarginal",
    "DensityCoverage",
    "DoubtfulEstimate",
    "ExactPStar",
    "GradientStatistics",
    "GroupStatistics",
    "LatentKL",
    "LogMarginal",
    "LogPStar",
    "LogZSquared",
    "ModeCoverage",
    "Nearest",
    "PStarSamples",
    "PairedDifference",
    "PosteriorMoments",
    "PrecisionRecall",
    "RateDistortion",
    "Refinement",
    "SampleQuality",
    "Sandwich",
    "SpectralRatio",
    "Spectrum",
    "TrainedClassifier",
    "TwoSampleTest",
    "active_units",
    "aggregate_posterior",
    "annealed_importance_sampling",
    "bidirectional_monte_carlo",
    "blend",
    "choose_sigma",
    "complete",
    "continue_sequences",
    "default_network",
    "density_coverage",
    "divergence_in_bits",
    "exact_gradient",
    "exact_log_marginal",
    "exact_log_p_star",
    "extrapolated_frechet_distance",
    "frechet_distance",
    "gradient_statistics",
    "inpaint",
    "interpolate",
    "interpolate_codes",
    "latent_kl",
    "log_marginal",
    "log_p_star",
    "log_prob",
    "log_z_squared",
    "median_bandwidth",
    "mmd_squared",
    "mode_coverage",
    "nearest",
    "objective_metrics",
    "paired_difference",
    "particle_filter_log_marginal",
    "parzen_log_likelihood",
    "posterior_moments",
    "power_spectrum",
    "precision_recall",
    "prior_log_marginal",
    "quadrature_log_marginal",
    "rate_distortion",
    "reconstruct",
    "refine_posterior",
    "response",
    "sample_p_star",
    "sample_quality",
    "sigmoid_schedule",
    "spectral_ratio",
    "squared_error",
    "train_classifier",
    "traverse",
    "two_sample_test",
]
