"""Auto-regressive networks of binary units without latents, whose conditionals run along with the units.

    fvsbn   p(x_i = 1 | x_<i) = sigmoid(b_i + sum_{j < i} V_ij x_j)                         Frey, Hinton and Dayan 1996
    nade    p(x_i = 1 | x_<i) = sigmoid(b_i + V_i . sigmoid(c + sum_{j < i} W_j x_j))       Larochelle and Murray 2011

i and j are positions in an order of the units.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LikelihoodModel
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import Kind, Units, zeros
from genjax_models.models.orders import ORDER_HELP, Order, check_order, inverse, permutation


class OrderedUnits(nn.Module):
    """The law of all visible units, in their order."""

    units: int
    kind: Kind
    hidden: int | None

    def setup(self):
        self.bias = self.param("bias", zeros, (self.units,))
        self.within = Units(self.units, self.kind, self.hidden)

    def __call__(self):
        return self.within(self.bias)


class FullyVisibleModule(nn.Module):
    """p(x) as a product over the units in their order, each given those before it."""

    visible: int
    order: tuple[int, ...]
    kind: Kind
    hidden: int | None

    def setup(self):
        self.generative = OrderedUnits(self.visible, self.kind, self.hidden)

    def sample(self, key, c=()):
        return self.generative().sample(key)[inverse(self.order)]

    def log_prob(self, x, c=()):
        return self.generative().log_prob(x[np.array(self.order)])

    def conditional_logits(self, x, c=()):
        return self.generative().logits_given(jnp.asarray(x)[np.array(self.order)])[inverse(self.order)]


def _build(config: ModelConfig, visible: int, order: Order, kind: Kind, hidden: int | None) -> LikelihoodModel:
    module = FullyVisibleModule(visible, permutation(order, visible), kind, hidden)
    return as_model(LikelihoodModel, module)._replace(name=type(config).__name__)


@config
class FVSBN(ModelConfig):
    """Fully visible sigmoid belief network: logistic regressions of every unit on those before it."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Frey, Hinton and Dayan 1996; Frey 1998"

    order: Order = field(default=None, help=ORDER_HELP)

    def check(self) -> list[str]:
        return check_order(self.order)

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for an order of another number of units."""
        return _build(self, visible, self.order, "autoregressive", None)


@config
class NADE(ModelConfig):
    """Neural auto-regressive distribution estimator: one hidden layer, whose weights all conditionals share."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Larochelle and Murray 2011"

    hidden: int = field(default=500, ge=1, help="hidden units H")
    order: Order = field(default=None, help=ORDER_HELP)

    def check(self) -> list[str]:
        return check_order(self.order)

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for an order of another number of units."""
        return _build(self, visible, self.order, "nade", self.hidden)


def fvsbn(visible: int, **fields) -> LikelihoodModel:
    """A fully visible sigmoid belief network over x in {0, 1}^visible.

        p(x_i = 1 | x_1, ..., x_{i-1}) = sigmoid(b_i + sum_{j < i} V_ij x_j),

    i and j being positions in the order. A probability is one masked product, a draw one scan, both O(D^2).

    Args:
        visible: units D of an example.
        **fields: that of `FVSBN`: `order`, None for that of x, a seed for a random one, or a permutation of
            0, ..., D - 1, the units in their order.

    Returns:
        A `LikelihoodModel` with `conditional_logits`.

    Raises:
        ConfigError: an unknown field, a wrong type, or an order that is no permutation of the units.

    Example:
        >>> model = fvsbn(4, order=(3, 1, 0, 2))
        >>> params = model.init(jax.random.key(0), jnp.zeros(4), ())
        >>> model.log_prob(params, jnp.ones(4), ()).shape
        ()

    Reference:
        Frey, Hinton and Dayan, "Does the wake-sleep algorithm produce good density estimators?", 1996; Frey 1998;
        Goodfellow et al. 2016, section 20.10.8.
    """
    return build_from_fields(FVSBN, visible, fields)


def nade(visible: int, **fields) -> LikelihoodModel:
    """A neural auto-regressive distribution estimator over x in {0, 1}^visible.

        p(x_i = 1 | x_1, ..., x_{i-1}) = sigmoid(b_i + V_i . sigmoid(c + sum_{j < i} W_j x_j)),

    i and j being positions in the order. The activation of the H hidden units runs along with the units, so that a
    probability and a draw are one scan each, O(D H).

    Args:
        visible: units D of an example.
        **fields: those of `NADE`: `hidden`, H; `order`, as for `fvsbn`.

    Returns:
        A `LikelihoodModel` with `conditional_logits`.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or an order that is no permutation.

    Example:
        >>> model = nade(64, hidden=50, order=0)

    Reference:
        Larochelle and Murray, "The neural autoregressive distribution estimator", 2011, equations 9 and 10;
        Goodfellow et al. 2016, section 20.10.10.
    """
    return build_from_fields(NADE, visible, fields)
