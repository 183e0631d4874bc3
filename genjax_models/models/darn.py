"""Deep auto-regressive networks (Gregor, Danihelka, Mnih, Blundell and Wierstra 2014)."""

from typing import ClassVar, Literal

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LatentVariableModel
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import Kind
from genjax_models.models.sigmoid_belief_network import SigmoidBeliefNetwork


@config
class DARN(ModelConfig):
    """DARN: binary latent layers, auto-regressive within each, tanh layers between them; a feedforward q(h | x)."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Gregor, Danihelka, Mnih, Blundell and Wierstra 2014"

    layers: tuple[int, ...] = field(
        default=(500,), ge=1, nonempty=True, help="sizes of the latent layers, from x upwards"
    )
    deterministic: tuple[int, ...] = field(
        default=(), ge=1, help="sizes of the tanh layers between two stochastic layers, from the lower one upwards"
    )
    visible_lateral: bool = field(
        default=True, help="connections between the visible units; False is the fDARN, whose p(x | h) is factorial"
    )
    recognition: Literal["factorial", "autoregressive"] = field(
        default="factorial", help="q's conditionals: independent units, or connections within each layer there too"
    )

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units."""
        lateral: Kind = "autoregressive"
        of_visible: Kind = lateral if self.visible_lateral else "factorial"
        network = SigmoidBeliefNetwork(
            layers=self.layers,
            generative=(of_visible, *(lateral for _ in self.layers)),
            recognition=self.recognition,
            deterministic=self.deterministic,
        )
        return network.build(visible)._replace(name=type(self).__name__)


def darn(visible: int, **fields) -> LatentVariableModel:
    """A deep auto-regressive network over x in {0, 1}^visible, with its recognition network.

    p(x, h) = p(h_L) ... p(x | h_1), where unit i of a layer is a sigmoid of the layer above it, through tanh layers
    where there are any, and of the units before it in its own layer. q(h | x) mirrors it; its units are independent
    within a layer unless `recognition` says otherwise.

    Args:
        visible: units D of an example.
        **fields: those of `DARN`: `layers`, sizes from x upwards; `deterministic`, sizes of the tanh layers between two
            stochastic ones; `visible_lateral`, False for an fDARN; `recognition`, "factorial" or "autoregressive".

    Returns:
        A `LatentVariableModel` with z = (h_1, ..., h_L), a group for each layer; not reparameterized. E[x | z] has no
        closed form with lateral connections between the visible units, so that only an fDARN has `decode`.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = darn(64, layers=(32,), deterministic=(50,))

    Reference:
        Gregor, Danihelka, Mnih, Blundell and Wierstra, "Deep autoregressive networks", 2014; the fDARN, Mnih and
        Gregor, "Neural variational inference and learning in belief networks", 2014.
    """
    return build_from_fields(DARN, visible, fields)
