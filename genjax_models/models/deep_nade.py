"""Deep and order-agnostic auto-regressive networks (Uria, Murray and Larochelle 2014)."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import config, field
from genjax_models.core import LikelihoodModel
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import Activation, activation
from genjax_models.models.orders import ORDER_HELP, Order, OrderedConfig, check_ensemble, ensemble, permutation
from genjax_models.models.units import UNITS_HELP, Bernoulli, Units, one


def random_seen(key: jax.Array, visible: int) -> jax.Array:
    """The units before position d of a random order, as booleans [D]; d is uniform over 1, ..., D."""
    order_key, position_key = jax.random.split(key)
    positions = jax.random.permutation(order_key, visible)
    return positions < jax.random.randint(position_key, (), 0, visible)


def given(numbers: jax.Array, x: jax.Array) -> jax.Array:
    """The value of a unit that is known."""
    return x


class OrderAgnosticNetwork(nn.Module):
    """The law of every unit given any others: a feed-forward net of [x * seen, seen]."""

    visible: int
    hidden: tuple[int, ...]
    activation: Activation
    outputs: int | None  # numbers P for each unit; None for one, without an axis

    def setup(self):
        widths = (*self.hidden, self.visible * (self.outputs or 1))
        shapes = zip((2 * self.visible, *self.hidden), widths, strict=True)
        self.kernels = [self.param(f"kernel_{i}", glorot_uniform, shape) for i, shape in enumerate(shapes)]
        self.biases = [self.param(f"bias_{i}", zeros, (width,)) for i, width in enumerate(widths)]

    def _top(self) -> Callable[[jax.Array], jax.Array]:
        """From the first layer's activation to the last hidden layer."""
        kernels, biases = self.kernels[1:-1], self.biases[1:-1]

        def top(a):
            h = activation(self.activation)(a)
            for kernel, bias in zip(kernels, biases, strict=True):
                h = activation(self.activation)(h @ kernel + bias)
            return h

        return top

    def __call__(self, x, seen):
        """The numbers of all units, [D] or [P, D], in one pass."""
        a = jnp.concatenate([x * seen, seen]) @ self.kernels[0] + self.biases[0]
        out = self._top()(a) @ self.kernels[-1] + self.biases[-1]
        return out if self.outputs is None else out.reshape(self.outputs, self.visible)

    def walk(self) -> Callable[..., tuple[jax.Array, jax.Array]]:
        """The units one after the other, each given those before it, in one loop, as a pure function of

            order: the units in their order, [D];
            given: what is known of each unit, as x has them, leaves [D, ...];
            value: (a unit's numbers [] or [P], its part of `given`) -> its value,

        which returns the values [D] and the numbers [D] or [P, D], as x has them. Of a unit's pass only the hidden
        layers above the first are computed anew: the first one's activation runs along, as in NADE.
        """
        first, top, inputs = self.biases[0], self._top(), self.kernels[0].reshape(2, self.visible, -1)
        shape = (self.visible,) if self.outputs is None else (self.outputs, self.visible)
        outward = jnp.moveaxis(self.kernels[-1].reshape(-1, *shape), -1, 0)  # [D, H] or [D, H, P]
        biases = jnp.moveaxis(self.biases[-1].reshape(shape), -1, 0)

        def walk(order, given, value):
            def unit(a, at):
                i, own = at
                numbers = top(a) @ outward[i] + biases[i]
                x = value(numbers, own)
                return a + x * inputs[0, i] + inputs[1, i], (x, numbers)

            start = first.astype(jnp.result_type(first, *jax.tree.leaves(given)[:1]))
            _, found = jax.lax.scan(unit, start, (order, jax.tree.map(lambda v: v[order], given)))
            position = jnp.argsort(order)
            return found[0][position], jnp.moveaxis(found[1][position], 0, -1)

        return walk


class DeepNADEModule(nn.Module):
    """p(x), the average over M orders of the product over the units in each."""

    visible: int
    hidden: tuple[int, ...]
    activation: Activation
    order: Order  # a permutation if M = 1, else a seed
    num_orders: int
    units: Any

    @property
    def lacks(self) -> tuple[str, ...]:
        return () if self.num_orders == 1 and isinstance(self.units, Bernoulli) else ("conditional_logits",)

    @property
    def levels(self) -> int | None:
        return self.units.levels

    def setup(self):
        self.generative = OrderAgnosticNetwork(self.visible, self.hidden, self.activation, self.units.outputs)
        self.orders = ensemble(self.order, self.num_orders, self.visible)

    def conditional_logits(self, x, c=()):
        return self.generative.walk()(jnp.asarray(self.orders[0]), jnp.asarray(x), given)[1]

    def log_prob(self, x, c=()):
        x, walk = jnp.asarray(x), self.generative.walk()

        def member(order):
            return self.units.log_prob(walk(order, x, given)[1], x)

        if self.num_orders == 1:
            return member(jnp.asarray(self.orders[0]))
        return jax.nn.logsumexp(jax.lax.map(member, jnp.asarray(self.orders))) - np.log(self.num_orders)

    def training_log_prob(self, key, shared_key, x, c=()):
        seen = random_seen(key, self.visible)
        unseen = self.units.log_probs(self.generative(x, seen.astype(x.dtype)), x) * ~seen
        return self.visible / jnp.sum(~seen) * jnp.sum(unseen)

    def complete(self, key, x, hidden, c=()):
        member, draw = jax.random.split(key)
        orders = jnp.asarray(self.orders)
        order = orders[jax.random.randint(member, (), 0, self.num_orders)]
        # Those that are seen first; the sort is stable.
        order = order[jnp.argsort(hidden[order])]

        def value(numbers, own):
            x, hidden, key = own
            return jnp.where(hidden, one(self.units, key, numbers), x)

        return self.generative.walk()(order, (x, hidden, jax.random.split(draw, self.visible)), value)[0]

    def sample(self, key, c=()):
        return self.complete(key, jnp.zeros(self.visible), jnp.ones(self.visible, bool))


@config
class DeepNADE(OrderedConfig):
    """Deep NADE: one net of any depth for all orders of the units, and ensembles of orders (EoNADE)."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Uria, Murray and Larochelle 2014"

    hidden: tuple[int, ...] = field(default=(500, 500), ge=1, nonempty=True, help="sizes of the hidden layers")
    activation: Activation = field(default="relu", help="after every hidden layer")
    order: Order = field(default=None, help=ORDER_HELP)
    num_orders: int = field(default=1, ge=1, help="orders whose probabilities p(x) averages, drawn by the seed `order`")
    units: Units = field(default=Bernoulli(), help=UNITS_HELP)

    def check(self) -> list[str]:
        return check_ensemble(self.order, self.num_orders, f"num_orders={self.num_orders}")

    @property
    def data_support(self) -> str:
        return self.units.data_support

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for an order of another number of units."""
        order = permutation(self.order, visible) if self.num_orders == 1 else self.order
        module = DeepNADEModule(visible, self.hidden, self.activation, order, self.num_orders, self.units)
        return as_model(LikelihoodModel, module)


def deep_nade(visible: int, **fields) -> LikelihoodModel:
    """A deep neural auto-regressive distribution estimator, trained for all orders o of the units at once.

    One net of [x * seen, seen] gives p(x_i | x_seen) for every unit i and any set of seen ones. Training takes for
    every example a random order and a random position d in it, and scores all units that are not seen before it,

        D / (D - d + 1) * sum_{i not seen} log p(x_i | x_{o_1}, ..., x_{o_{d-1}}),

    whose expectation is E_o log p(x | o), at most log p(x) of the ensemble E_o p(x | o). Evaluation is exact: p(x | o)
    in one order, or the average of such probabilities over `num_orders`. A probability is a loop of D passes an order,
    in which the first layer's activation runs along, D (H_1 + H_1 H_2 + ...); so is a draw.

    Completion draws the hidden units of x after the seen ones, in the order of a random member.

    Args:
        visible: units D of an example.
        **fields: those of `DeepNADE`: `hidden`, sizes of the layers; `activation`; `order`, the one of evaluation and
            sampling: None for that of x, a seed for a random one, or a permutation of 0, ..., D - 1; `num_orders`, M
            orders drawn by that seed; `units`, a config of `models.units`.

    Returns:
        A `LikelihoodModel` with `training_log_prob` and `complete`; with `conditional_logits` if M = 1 and the units
        are binary.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, an order that is no permutation, or several
            orders without a seed.

    Example:
        >>> model = deep_nade(64, hidden=(100, 100), order=0, num_orders=8)

    Reference:
        Uria, Murray and Larochelle, "A deep and tractable density estimator", 2014;
        Goodfellow et al. 2016, section 20.10.10.
    """
    return build_from_fields(DeepNADE, visible, fields)
