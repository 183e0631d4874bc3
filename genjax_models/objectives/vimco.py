"""VIMCO: the importance weighted bound's gradient by scores, each particle's with the others as its baseline."""

from typing import Any, ClassVar, get_args

from genjax_models.config import config, field
from genjax_models.core import LatentVariableModel, Objective
from genjax_models.errors import ConfigError, require_count
from genjax_models.objectives.common import ParticleConfig, ScoreLoss, owns_nothing, require_latent_variable_model
from genjax_models.objectives.particles import Mean, importance_weighted_score


def vimco(model: LatentVariableModel, num_particles: int = 5, mean: Mean = "geometric") -> Objective:
    """VIMCO: the gradient of E log (1/K) sum_k p(x, z_k) / q(z_k | x) for p and q, with no gradient through samples.

    With L the bound of the K particles, w_k their normalized weights, and L_{-k} the bound in which the mean of the
    other weights stands for that of particle k, the gradient is

        sum_k  w_k grad log p(x, z_k) + (L - L_{-k} - w_k) grad log q(z_k | x).

    Both groups, and parameters that they share, follow the gradient of the K-particle bound without bias.

    Args:
        model: any `LatentVariableModel`; reparameterized ones are held at their samples.
        num_particles: K, at least 2: each particle's baseline is the others.
        mean: of the other weights, "geometric" or "arithmetic".

    Returns:
        An `Objective` whose value is minus the importance weighted bound; metric "bound", nats per example.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: fewer than 2 particles, or an unknown mean.

    Example:
        >>> objective = vimco(sigmoid_belief_network(64, layers=(32, 16)), num_particles=10)

    Reference:
        Mnih and Rezende, "Variational inference for Monte Carlo objectives", 2016, algorithm 1.
    """
    require_latent_variable_model("vimco", model)
    require_count("vimco: num_particles", num_particles)
    if num_particles < 2:
        raise ConfigError(
            f"vimco: num_particles: got {num_particles}, expected at least 2, for each particle's baseline is made of "
            "the others; with one use reinforce or nvil."
        )
    if mean not in get_args(Mean):
        raise ConfigError(f"vimco: mean: got {mean!r}, expected one of {', '.join(map(repr, get_args(Mean)))}.")
    return Objective(owns_nothing, ScoreLoss(model, num_particles, importance_weighted_score, (mean,)))


@config
class VIMCO(ParticleConfig):
    """VIMCO: the importance weighted bound by scores, with leave-one-out baselines."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Mnih and Rezende 2016"

    num_particles: int = field(default=5, ge=2, help="particles K an example")
    mean: Mean = field(default="geometric", help="mean of the other particles' weights in a particle's baseline")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return vimco(model, self.num_particles, self.mean)
