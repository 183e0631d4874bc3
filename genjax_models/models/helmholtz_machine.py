"""The Helmholtz machine (Dayan, Hinton, Neal and Zemel 1995): a factorial belief net with its recognition network."""

from typing import ClassVar

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LatentVariableModel
from genjax_models.models.build import build_from_fields
from genjax_models.models.sigmoid_belief_network import SigmoidBeliefNetwork


@config
class HelmholtzMachine(ModelConfig):
    """Helmholtz machine: layers of binary latents, factorial in the generative and the recognition direction."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Dayan, Hinton, Neal and Zemel 1995"

    layers: tuple[int, ...] = field(
        default=(200,), ge=1, nonempty=True, help="sizes of the latent layers, from x upwards"
    )

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units."""
        return SigmoidBeliefNetwork(self.layers).build(visible)._replace(name=type(self).__name__)


def helmholtz_machine(visible: int, **fields) -> LatentVariableModel:
    """A Helmholtz machine over x in {0, 1}^visible, to be trained by wake-sleep.

    p(x, h) = p(h_L) p(h_{L-1} | h_L) ... p(x | h_1) and q(h | x) = q(h_1 | x) ... q(h_L | h_{L-1}), every unit the
    sigmoid of an affine function of the layer before it.

    Args:
        visible: units D of an example.
        **fields: those of `HelmholtzMachine`: `layers`, sizes from x upwards.

    Returns:
        A `LatentVariableModel` with z = (h_1, ..., h_L), a group for each layer; not reparameterized.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> objective = wake_sleep(helmholtz_machine(64, layers=(32, 16)))

    Reference:
        Dayan, Hinton, Neal and Zemel, "The Helmholtz machine", 1995; Hinton, Dayan, Frey and Neal, "The wake-sleep
        algorithm for unsupervised neural networks", 1995.
    """
    return build_from_fields(HelmholtzMachine, visible, fields)
