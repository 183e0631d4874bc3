"""How good a model is: bounds, importance weighted and exact log p(x)."""

from genjax_models.evaluation.bound import objective_metrics
from genjax_models.evaluation.marginal import LogMarginal, exact_log_marginal, log_marginal

__all__ = ["LogMarginal", "exact_log_marginal", "log_marginal", "objective_metrics"]
