"""Auto-regressive networks of binary units without latents, whose conditionals run along with the units.

    fvsbn   p(x_i = 1 | x_<i) = sigmoid(b_i + sum_{j < i} V_ij x_j)                         Frey, Hinton and Dayan 1996
    nade    p(x_i = 1 | x_<i) = sigmoid(b_i + V_i . sigmoid(c + sum_{j < i} W_j x_j))       Larochelle and Murray 2011

i and j are positions in an order of the units. With units that are not binary, the last sigmoid of nade gives way to
their law, and the activation of the hidden units is scaled by a parameter of each position (Uria et al. 2013).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LikelihoodModel
from genjax_models.models import units as laws
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import Kind, Units, zeros
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.orders import ORDER_HELP, Order, OrderedConfig, check_order, inverse, permutation


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

    def complete(self, key, x, hidden, c=()):
        x, hidden = (v[np.array(self.order)] for v in (jnp.asarray(x), hidden))
        # A unit is one where u < p, so these u make the seen units what they are.
        u = jnp.where(hidden, jax.random.uniform(key, x.shape, x.dtype), 2 - 3 * x)
        return self.generative().sample_from_uniforms(u)[0][inverse(self.order)]

    @property
    def levels(self) -> int:
        return 2

    @property
    def completion_orders(self) -> tuple[tuple[int, ...], ...]:
        return (self.order,)


class RunningNetwork(nn.Module):
    """The numbers of every unit given those before it, from hidden units whose activation runs along."""

    visible: int
    hidden: int
    outputs: int  # P

    def setup(self):
        self.bias = self.param("bias", zeros, (self.outputs, self.visible))
        self.hidden_bias = self.param("hidden_bias", zeros, (self.hidden,))
        self.inward = self.param("inward", glorot_uniform, (self.visible, self.hidden))
        self.outward = self.param("outward", glorot_uniform, (self.hidden, self.outputs * self.visible))
        self.scale = self.param("scale", nn.initializers.ones_init(), (self.visible,))

    def __call__(self, given: Any, value: Callable) -> tuple[jax.Array, jax.Array]:
        """The values [D] and numbers [P, D] of the units, in their order.

        Args:
            given: what is known of each unit, leaves [D, ...].
            value: (a unit's numbers [P], its part of `given`) -> its value.
        """
        outward = jnp.moveaxis(self.outward.reshape(self.hidden, self.outputs, self.visible), -1, 0)

        # Backwards, only the activations of all units are kept.
        @jax.checkpoint
        def unit(a, at):
            own, b, w, v, scale = at
            numbers = b + jax.nn.sigmoid(scale * a) @ v
            x = value(numbers, own)
            return a + x * w, (x, numbers)

        _, (x, numbers) = jax.lax.scan(unit, self.hidden_bias, (given, self.bias.T, self.inward, outward, self.scale))
        return x, numbers.T


class NADEOfUnitsModule(nn.Module):
    """p(x) as a product over units that are not binary, each given those before it."""

    visible: int
    order: tuple[int, ...]
    hidden: int
    units: Any

    def setup(self):
        self.generative = RunningNetwork(self.visible, self.hidden, self.units.outputs)

    def log_prob(self, x, c=()):
        x = jnp.asarray(x)[np.array(self.order)]
        return self.units.log_prob(self.generative(x, lambda numbers, x: x)[1], x)

    def complete(self, key, x, hidden, c=()):
        x, hidden = (v[np.array(self.order)] for v in (jnp.asarray(x), hidden))

        def value(numbers, own):
            x, hidden, key = own
            return jnp.where(hidden, laws.one(self.units, key, numbers), x)

        return self.generative((x, hidden, jax.random.split(key, self.visible)), value)[0][inverse(self.order)]

    def sample(self, key, c=()):
        return self.complete(key, jnp.zeros(self.visible), jnp.ones(self.visible, bool))

    @property
    def levels(self) -> int | None:
        return self.units.levels

    @property
    def completion_orders(self) -> tuple[tuple[int, ...], ...]:
        return (self.order,)


def _build(config: ModelConfig, module: nn.Module) -> LikelihoodModel:
    return as_model(LikelihoodModel, module)._replace(name=type(config).__name__)


@config
class FVSBN(OrderedConfig):
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
        return _build(self, FullyVisibleModule(visible, permutation(self.order, visible), "autoregressive", None))


@config
class NADE(OrderedConfig):
    """Neural auto-regressive distribution estimator: one hidden layer, whose weights all conditionals share."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Larochelle and Murray 2011; Uria, Murray and Larochelle 2013"

    hidden: int = field(default=500, ge=1, help="hidden units H")
    order: Order = field(default=None, help=ORDER_HELP)
    units: laws.Units = field(default=laws.Bernoulli(), help=laws.UNITS_HELP)

    def check(self) -> list[str]:
        return check_order(self.order)

    @property
    def data_support(self) -> str:
        return self.units.data_support

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for an order of another number of units."""
        order = permutation(self.order, visible)
        if isinstance(self.units, laws.Bernoulli):
            return _build(self, FullyVisibleModule(visible, order, "nade", self.hidden))
        return _build(self, NADEOfUnitsModule(visible, order, self.hidden, self.units))


def fvsbn(visible: int, **fields) -> LikelihoodModel:
    """A fully visible sigmoid belief network over x in {0, 1}^visible.

        p(x_i = 1 | x_1, ..., x_{i-1}) = sigmoid(b_i + sum_{j < i} V_ij x_j),

    i and j being positions in the order. A probability is one masked product, a draw one scan, both O(D^2).

    Args:
        visible: units D of an example.
        **fields: that of `FVSBN`: `order`, None for that of x, a seed for a random one, or a permutation of
            0, ..., D - 1, the units in their order.

    Returns:
        A `LikelihoodModel` with `conditional_logits` and `complete`.

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
    """A neural auto-regressive distribution estimator, over x in {0, 1}^visible unless its units are others.

        p(x_i = 1 | x_1, ..., x_{i-1}) = sigmoid(b_i + V_i . sigmoid(c + sum_{j < i} W_j x_j)),

    i and j being positions in the order. The activation of the H hidden units runs along with the units, so that a
    probability and a draw are one scan each, O(D H).

    Real units make it an RNADE: the hidden units are sigmoid(rho_i a_i), a_i their activation at position i, and
    weights, means and log standard deviations of the mixture of unit i are affine in them.

    Args:
        visible: units D of an example.
        **fields: those of `NADE`: `hidden`, H; `order`, as for `fvsbn`; `units`, a config of `models.units`.

    Returns:
        A `LikelihoodModel` with `complete`; with `conditional_logits` if the units are binary.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or an order that is no permutation.

    Example:
        >>> model = nade(64, hidden=50, order=0)

    Reference:
        Larochelle and Murray, "The neural autoregressive distribution estimator", 2011, equations 9 and 10; Uria,
        Murray and Larochelle, "RNADE: the real-valued neural autoregressive density-estimator", 2013;
        Goodfellow et al. 2016, section 20.10.10.
    """
    return build_from_fields(NADE, visible, fields)
