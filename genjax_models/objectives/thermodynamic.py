"""The thermodynamic variational objective: log p(x) as an integral along the path from q(z | x) to p(z | x)."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import as_number, config, field
from genjax_models.core import LatentVariableModel, Objective
from genjax_models.errors import ConfigError, require_count
from genjax_models.objectives.common import ParticleConfig, ScoreLoss, owns_nothing, require_latent_variable_model
from genjax_models.objectives.particles import Estimate, thermodynamic_bound


def log_spaced(beta_1: float | jax.Array, num_partitions: int) -> jax.Array:
    """0, then `num_partitions` betas from beta_1 to 1, equally spaced in their logarithm; [P + 1]."""
    above = jnp.power(beta_1, jnp.linspace(1.0, 0.0, num_partitions))
    return jnp.concatenate([jnp.zeros_like(above[:1]), above])


def _estimate(log_p: jax.Array, log_q: jax.Array, beta_1: float | jax.Array, num_partitions: int) -> Estimate:
    return thermodynamic_bound(log_p, log_q, log_spaced(beta_1, num_partitions))


def thermodynamic(
    model: LatentVariableModel, num_particles: int = 10, num_partitions: int = 5, beta_1: float = 0.1
) -> Objective:
    """The thermodynamic variational objective: a Riemann sum between the evidence lower bound and log p(x).

    With E_beta over the density proportional to p(x, z)^beta q(z | x)^(1 - beta), log p(x) is the integral over beta
    from 0 to 1 of E_beta[log p(x, z) - log q(z | x)], which rises with beta; each interval's left end bounds it below:

        sum_{i < P}  (beta_{i+1} - beta_i) E_{beta_i}[log p(x, z) - log q(z | x)].

    One set of K particles of q serves all betas, by self-normalized importance weights, in the value and in the
    covariance estimate of its gradient. Both are biased at finite K and right in the limit: the value may lie above
    the bound it estimates.

    Args:
        model: any `LatentVariableModel`; reparameterized ones are held at their samples.
        num_particles: K, at least 2: with one, the covariances are zero.
        num_partitions: P, at least 2: intervals of [0, 1]; the first is [0, beta_1].
        beta_1: the least beta above 0; the others lie between it and 1, equally spaced in their logarithm.

    Returns:
        An `Objective` whose value is minus the estimated bound; metric "bound", nats per example.

    Raises:
        ModelError: the model has no recognition distribution.
        ConfigError: too few particles or partitions, or a beta_1 outside (0, 1).

    Example:
        >>> objective = thermodynamic(sigmoid_belief_network(64, layers=(32, 16)), num_particles=20)

    Reference:
        Masrani, Le and Wood, "The thermodynamic variational objective", 2019.
    """
    require_latent_variable_model("thermodynamic", model)
    for name, value in (("num_particles", num_particles), ("num_partitions", num_partitions)):
        require_count(f"thermodynamic: {name}", value)
        if value < 2:
            raise ConfigError(f"thermodynamic: {name}: got {value}, expected at least 2.")
    beta_1 = as_number("thermodynamic: beta_1", beta_1, gt=0, lt=1)
    return Objective(owns_nothing, ScoreLoss(model, num_particles, _estimate, (beta_1, num_partitions)))


@config
class Thermodynamic(ParticleConfig):
    """Thermodynamic variational objective: a Riemann sum of log p(x), its gradient by covariances."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Masrani, Le and Wood 2019"

    num_particles: int = field(default=10, ge=2, help="particles K an example, which serve every beta")
    num_partitions: int = field(default=5, ge=2, help="intervals of [0, 1]")
    beta_1: float = field(default=0.1, gt=0, lt=1, help="least beta above 0; the others are log-spaced up to 1")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return thermodynamic(model, self.num_particles, self.num_partitions, self.beta_1)
