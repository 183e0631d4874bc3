"""Masked and inverse autoregressive flows (Papamakarios, Pavlakou and Murray 2017; Kingma et al. 2016).

A layer takes every unit to x_i -> (x_i - mu_i) exp(-a_i), with mu_i and a_i from the units before it in the layer's
order, by a masked network. That is one pass; the way back takes the units one after the other in a loop.

    maf   from x to z in one pass a layer, from z to x in a loop
    iaf   from z to x in one pass a layer, from x to z in a loop
"""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import config, field
from genjax_models.core import LikelihoodModel
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.flow import Affine, FlowConfig, as_flow, bounded
from genjax_models.models.layers import Activation
from genjax_models.models.made import MaskedNetwork
from genjax_models.models.orders import permutation

ORDERS_HELP = (
    "None takes the units as x has them and turns their order round after every layer; a seed draws the orders"
)


def _one_pass(network: Callable, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(u, log |det du/dx|)."""
    loc, raw = network(x)
    u, log_slopes = Affine(loc, bounded(raw)).inverse(x)
    return u, jnp.sum(log_slopes)


def _unit_by_unit(layer: MaskedNetwork, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(x, log |det dx/du|) of u = `_one_pass(layer(), x)`."""
    nothing, outputs, see = layer.unit_by_unit(jnp.result_type(u, layer.kernels[0]))

    # What has been seen is kept at every step anyway; backwards, the rest is computed from it again.
    @jax.checkpoint
    def unit(seen, given):
        position, i = given
        loc, raw = outputs(seen, i)
        law = Affine(loc, bounded(raw))
        return see(seen, position, i, law.forward(u[i])), law.log_scale

    order = jnp.array(layer.order)
    seen, log_scales = jax.lax.scan(unit, nothing, (1 + jnp.arange(len(order)), order))
    return seen.x, jnp.sum(log_scales)


class AutoregressiveLayers(nn.Module):
    """Layers of masked networks, each in its order; the first is next to x if `inverse` is the fast way, else to z."""

    orders: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...]
    activation: Activation
    fast: str  # "inverse" or "forward"

    def setup(self):
        shape = self.hidden, self.activation
        self.layers = [MaskedNetwork(order, *shape, False, None, outputs=2, last=zeros) for order in self.orders]

    def _fast(self, x):
        total = jnp.zeros((), x.dtype)
        for layer in self.layers:
            x, log_det = _one_pass(layer(), x)
            total = total + log_det
        return x, total

    def _slow(self, u):
        total = jnp.zeros((), u.dtype)
        for layer in reversed(self.layers):
            u, log_det = _unit_by_unit(layer, u)
            total = total + log_det
        return u, total

    def inverse(self, x):
        return self._fast(x) if self.fast == "inverse" else self._slow(x)

    def forward(self, z):
        return (self._slow(z) if self.fast == "inverse" else self._fast(z))[0]


def layer_orders(visible: int, layers: int, seed: int | None) -> tuple[tuple[int, ...], ...]:
    """The order of the units in every layer: that of x and its reverse in turns, or drawn by a seed."""
    if seed is None:
        natural = permutation(None, visible)
        return tuple(natural if i % 2 == 0 else natural[::-1] for i in range(layers))
    random = np.random.RandomState(seed)
    return tuple(tuple(int(i) for i in random.permutation(visible)) for _ in range(layers))


@config
class AutoregressiveFlow(FlowConfig):
    """What MAF and IAF have in common."""

    fast: ClassVar[str]  # the way that takes one pass a layer

    layers: int = field(default=5, ge=1, help="masked networks, one on the other")
    hidden: tuple[int, ...] = field(default=(500,), ge=1, help="sizes of every network's hidden layers")
    activation: Activation = field(default="relu", help="after every hidden layer")
    order_seed: int | None = field(default=None, ge=0, lt=2**32, help=ORDERS_HELP)

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units."""
        orders = layer_orders(visible, self.layers, self.order_seed)
        return as_flow(self, AutoregressiveLayers(orders, self.hidden, self.activation, self.fast), visible, self.logit)


@config
class MAF(AutoregressiveFlow):
    """Masked autoregressive flow: layers of masked networks, with densities in one pass a layer."""

    citation: ClassVar[str] = "Papamakarios, Pavlakou and Murray 2017"
    fast: ClassVar[str] = "inverse"


@config
class IAF(AutoregressiveFlow):
    """Inverse autoregressive flow: layers of masked networks, with samples in one pass a layer."""

    citation: ClassVar[str] = "Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016"
    fast: ClassVar[str] = "forward"


def maf(visible: int, **fields) -> LikelihoodModel:
    """A masked autoregressive flow. A layer, from x on, is

        u_i = (x_i - mu_i(x_<i)) exp(-a_i(x_<i)),   log |det du/dx| = -sum_i a_i,

    i being positions in the layer's order, and the u of the last layer is z ~ N(0, I). A density is one pass a layer,
    a draw one compiled loop over the units. |a_i| is kept below 8 by a tanh. Layers start as the identity, and there
    is no batch norm between them (a model is defined on one example): standardize real data.

    Args:
        visible: units D of an example.
        **fields: those of `MAF`: `layers`; `hidden`, sizes of each network's layers; `activation`; `order_seed`, None
            for the order of x and its reverse in turns, or a seed that draws an order for every layer; `logit`, None
            for real x, or alpha for x in [0, 1], which goes through logit(alpha + (1 - 2 alpha) x) first.

    Returns:
        A `LikelihoodModel` with `inverse` and `forward`, and with `preprocess_log_det` where there is a logit.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = maf(784, layers=5, hidden=(1024,), logit=1e-6)

    Reference:
        Papamakarios, Pavlakou and Murray, "Masked autoregressive flow for density estimation", 2017, equations 3 to 6.
    """
    return build_from_fields(MAF, visible, fields)


def iaf(visible: int, **fields) -> LikelihoodModel:
    """An inverse autoregressive flow: `maf` with x and z in each other's places. A layer, from z on, is

        u_i = (z_i - mu_i(z_<i)) exp(-a_i(z_<i)),

    and the u of the last layer is x. A draw is one pass a layer; a density is one compiled loop over the units, and so
    is each step of training.

    Args:
        visible: units D of an example.
        **fields: those of `IAF`, as for `maf`.

    Returns:
        A `LikelihoodModel` with `inverse` and `forward`, and with `preprocess_log_det` where there is a logit.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = iaf(8, layers=2, hidden=(32,))

    Reference:
        Kingma et al., "Improving variational inference with inverse autoregressive flow", 2016, equation 10; as a
        generator of data, Papamakarios et al. 2017, section 3.3.
    """
    return build_from_fields(IAF, visible, fields)
