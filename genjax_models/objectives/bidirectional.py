"""The bidirectional Helmholtz machine: p and q are trained to be each other's inverse.

Its distribution is the geometric mean of p and q, with q(x) chosen to be the marginal of that mean:

    p*(x, z) = sqrt(p(x, z) q(z | x) p*(x)) / Z,   p*(x) = (sum_z sqrt(p(x, z) q(z | x)))^2 / Z^2 = p~*(x) / Z^2.

As Z is at most 1, log p~*(x) is a lower bound on log p*(x), and by the Cauchy-Schwarz inequality on log p(x) too.
What is drawn and computed from p* stands in `evaluation.bidirectional`.
"""

from typing import Any, ClassVar

from genjax_models.config import config, field
from genjax_models.core import LatentVariableModel, Objective
from genjax_models.errors import require_bool, require_count
from genjax_models.objectives.common import (
    ParticleConfig,
    RefuseShared,
    require_groups_apart,
    require_latent_variable_model,
)
from genjax_models.objectives.particles import centred_square_root_bound, square_root_bound
from genjax_models.objectives.wake_sleep import WakeSleepLoss


def bidirectional(model: LatentVariableModel, num_particles: int = 10, centred: bool = True) -> Objective:
    """The bidirectional Helmholtz machine's bound 2 log (1/K) sum_k sqrt(p(x, z_k) / q(z_k | x)), with z_k ~ q(. | x).

    In expectation it is a lower bound on log p~*(x), rising to it with K, and hence on log p*(x) and log p(x). With the
    normalized square roots w~_k, p follows sum_k w~_k grad log p(x, z_k): the gradient of the expected bound, without
    bias. q follows sum_k w~_k grad log q(z_k | x), the estimate of grad log p~*(x) = E_{p*(z | x)} grad log q(z | x)
    from weighted particles: biased at finite K (at K = 1 it is zero in the mean), exact in the limit.

    Args:
        model: a `LatentVariableModel` without shared parameters.
        num_particles: K.
        centred: weigh q's particles by w~_k - 1/K. As grad log q is zero in the mean this changes no expectation, and
            where p and q agree, which makes all w~_k = 1/K, it leaves no noise; False is algorithm 1 to the letter.

    Returns:
        An `Objective` whose value is minus the bound; metric "bound", nats per example.

    Raises:
        ModelError: the model has no recognition distribution; or, from `init`, it has shared parameters.
        ConfigError: an impossible number of particles, or a `centred` that is not a bool.

    Example:
        >>> objective = bidirectional(sigmoid_belief_network(64, layers=(32, 16)), num_particles=10)

    Reference:
        Bornschein, Shabanian, Fischer and Bengio, "Bidirectional Helmholtz machines", 2016, algorithm 1; `centred` is
        in the authors' program.
    """
    require_latent_variable_model("bidirectional", model)
    require_groups_apart("bidirectional", model)
    require_count("bidirectional: num_particles", num_particles)
    require_bool("bidirectional: centred", centred)
    estimate = centred_square_root_bound if centred else square_root_bound
    return Objective(RefuseShared("bidirectional"), WakeSleepLoss(model, num_particles, estimate, wake=1.0, sleep=None))


@config
class Bidirectional(ParticleConfig):
    """Bidirectional Helmholtz machine: p and q learn their geometric mean from K square-root weighted particles."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Bornschein, Shabanian, Fischer and Bengio 2016"

    num_particles: int = field(default=10, ge=1, help="particles K an example")
    centred: bool = field(default=True, help="subtract 1/K from q's weights: the same expectation, less variance")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return bidirectional(model, self.num_particles, self.centred)
