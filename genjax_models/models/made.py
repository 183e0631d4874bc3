"""Masked autoencoders as auto-regressive networks (Germain, Gregor, Murray and Larochelle 2015)."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

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
from genjax_models.models.orders import (
    ORDER_HELP,
    Order,
    OrderedConfig,
    check_ensemble,
    check_order,
    ensemble,
    permutation,
)
from genjax_models.models.units import UNITS_HELP, Bernoulli, Units, one


def hidden_degrees(visible: int, hidden: tuple[int, ...], seed: int | np.random.RandomState | None) -> list[np.ndarray]:
    """m(k) of every hidden unit k, a layer an array: it sees the units at positions 1, ..., m(k).

    Spread evenly over 1, ..., D - 1; or, given a seed or a stream, drawn uniformly from the least degree of the layer
    before up to D - 1, as in the paper (section 4). With D = 1 there is nothing to see.
    """
    most = max(1, visible - 1)
    if seed is None:
        return [1 + np.arange(size) * most // size for size in hidden]
    random = seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)
    least, degrees = 1, []
    for size in hidden:
        degrees.append(random.randint(least, most + 1, size))
        least = int(degrees[-1].min())
    return degrees


class Seen(NamedTuple):
    """What a masked network has made of the units at the first positions of its order."""

    x: jax.Array  # [D], those units; 0 for all others
    sums: tuple[jax.Array, ...]  # what the units of every hidden layer have been given so far, [size] each
    top: jax.Array  # the last hidden layer [size], or x without one; 0 where a unit has not all its inputs yet


class MaskedNetwork(nn.Module):
    """Outputs for all units, of which those at position i depend on the units at positions below i alone."""

    order: tuple[int, ...]
    hidden: tuple[int, ...]
    activation: Activation
    direct: bool
    mask_seed: int | None
    outputs: int | None = None  # numbers P for each unit; None for one, without an axis
    last: Callable[..., jax.Array] = glorot_uniform  # the initializer of the last layer's kernel
    num_masks: int = 1  # M, drawn one after the other by `mask_seed`
    order_seed: int | None = None  # draws an order for each mask; None for `order` in all

    def setup(self):
        visible = len(self.order)
        sizes = (visible, *self.hidden, visible * (self.outputs or 1))
        initial = [glorot_uniform] * len(self.hidden) + [self.last]
        self.kernels = [
            self.param(f"kernel_{i}", init, shape)
            for i, (init, shape) in enumerate(zip(initial, itertools.pairwise(sizes), strict=True))
        ]
        self.biases = [self.param(f"bias_{i}", zeros, (size,)) for i, size in enumerate(sizes[1:])]
        if self.direct:
            self.direct_kernel = self.param("direct", self.last, (visible, sizes[-1]))
        seed = None if self.mask_seed is None else np.random.RandomState(self.mask_seed)
        drawn = [hidden_degrees(visible, self.hidden, seed) for _ in range(self.num_masks)]
        self.degrees = [1 + np.argsort(self.orders, axis=1), *map(np.stack, zip(*drawn, strict=True))]  # [M, size]

    @property
    def orders(self) -> np.ndarray:
        """The order of the units that goes with each mask, [M, D]."""
        if self.order_seed is None:
            return np.tile(self.order, (self.num_masks, 1))
        return ensemble(self.order_seed, self.num_masks, len(self.order))

    def __call__(self, mask=0, shift=None) -> Callable[[jax.Array], jax.Array]:
        """The outputs, [..., D] or [..., P, D], as a pure function of x [..., D], under one of the masks.

        A shift [first hidden size] is added to what the first hidden units are given: so they see a context too.
        """
        return self.members(shift)(mask)

    def members(self, shift=None) -> Callable[[Any], Callable[[jax.Array], jax.Array]]:
        """`__call__` as a pure function of the mask's number, which may be traced."""
        direct = self.direct_kernel if self.direct else None
        return functools.partial(self._network, self.kernels, self._biases(shift), direct)

    @nn.nowrap
    def _biases(self, shift) -> list[jax.Array]:
        return self.biases if shift is None else [self.biases[0] + shift, *self.biases[1:]]

    def unit_by_unit(self, dtype, mask=0, shift=None) -> tuple[Seen, Callable, Callable]:
        """The same network taken along its order: (nothing seen, outputs, see).

        `outputs(seen, i)` [] or [P] are those of unit i, which is next; `see(seen, position, i, x_i)` goes on from it,
        positions counted from 1. A hidden unit of degree m has its last input from position m: it is computed there,
        once, and what reaches it later is never read. So a walk over all positions costs D times what lies between
        hidden layers, and one pass of what lies around them. No kernel is masked, which a batch that mixes masks would
        have to do for every example. `dtype` is that of x or of the parameters, whichever is wider.
        """
        degrees = [jnp.asarray(m)[mask] for m in self.degrees[1:]]
        visible, kernels, biases = len(self.order), tuple(self.kernels), tuple(self._biases(shift))
        top_kernel, top_bias = self._by_unit(kernels[-1]), biases[-1].reshape(-1, visible).T
        direct = self._by_unit(self.direct_kernel) if self.direct else None
        act, scalar = activation(self.activation), self.outputs is None

        def outputs(seen, i):
            out = seen.top @ top_kernel[i] + top_bias[i]
            out = out if direct is None else out + seen.x @ direct[i]
            return out[0] if scalar else out

        def see(seen, position, i, value):
            x = seen.x.at[i].set(value)
            if not degrees:
                return Seen(x, (), x)
            new, sums = value, []
            for layer, degree in enumerate(degrees):
                sums.append(seen.sums[layer] + (new @ kernels[layer] if layer else new * kernels[0][i]))
                new = jnp.where(degree == position, act(sums[-1]), 0)
            return Seen(x, tuple(sums), seen.top + new)

        sums = tuple(bias.astype(dtype) for bias in biases[:-1])
        nothing = jnp.zeros(visible, dtype)
        return Seen(nothing, sums, jnp.zeros_like(sums[-1]) if degrees else nothing), outputs, see

    @nn.nowrap
    def _by_unit(self, kernel) -> jax.Array:
        """A kernel to the outputs as [D, inputs, P]."""
        return kernel.reshape(len(kernel), -1, len(self.order)).transpose(2, 0, 1)

    @nn.nowrap
    def _network(self, kernels, biases, direct, mask) -> Callable[[jax.Array], jax.Array]:
        degrees = [jnp.asarray(m)[mask] for m in self.degrees]
        strict = jnp.tile(degrees[0], self.outputs or 1)

        def masked(kernel, allowed):
            # Compared here, not stored: a mask is as large as its kernel, its degrees are not.
            return jnp.where(allowed, kernel, 0)

        masks = [m[:, None] <= above for m, above in itertools.pairwise(degrees)]
        kernels = list(map(masked, kernels, [*masks, degrees[-1][:, None] < strict]))
        direct = None if direct is None else masked(direct, degrees[0][:, None] < strict)

        def network(x):
            h = x
            for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
                h = activation(self.activation)(h @ kernel + bias)
            out = h @ kernels[-1] + biases[-1]
            out = out if direct is None else out + x @ direct
            return out if self.outputs is None else out.reshape(*out.shape[:-1], self.outputs, -1)

        return network


class MADEModule(nn.Module):
    """p(x) as a product over the units in their order, all conditionals from one pass of a masked network.

    With several masks, p(x) is the average of what each of them gives.
    """

    order: tuple[int, ...]
    hidden: tuple[int, ...]
    activation: Activation
    direct: bool
    mask_seed: int | None
    num_masks: int = 1
    order_seed: int | None = None
    units: Any = Bernoulli()

    @property
    def lacks(self) -> tuple[str, ...]:
        one = ("training_log_prob",) if self.num_masks == 1 else ()
        return one if self.num_masks == 1 and isinstance(self.units, Bernoulli) else (*one, "conditional_logits")

    @property
    def completion_orders(self) -> tuple[tuple[int, ...], ...]:
        if self.order_seed is None:
            return (self.order,)
        return tuple(tuple(map(int, o)) for o in ensemble(self.order_seed, self.num_masks, len(self.order)))

    @property
    def levels(self) -> int | None:
        return self.units.levels

    def setup(self):
        self.generative = MaskedNetwork(
            self.order,
            self.hidden,
            self.activation,
            self.direct,
            self.mask_seed,
            outputs=self.units.outputs,
            num_masks=self.num_masks,
            order_seed=self.order_seed,
        )

    def conditional_logits(self, x, c=()):
        return self.generative()(x)

    def log_prob(self, x, c=()):
        x, members = jnp.asarray(x), self.generative.members()
        if self.num_masks == 1:
            return self.units.log_prob(members(0)(x), x)
        scores = jax.lax.map(lambda m: self.units.log_prob(members(m)(x), x), jnp.arange(self.num_masks))
        return jax.nn.logsumexp(scores) - np.log(self.num_masks)

    def training_log_prob(self, key, shared_key, x, c=()):
        mask = jax.random.randint(shared_key, (), 0, self.num_masks)
        return self.units.log_prob(self.generative(mask)(x), x)

    def _posterior(self, x, seen):
        """log p_m(x_seen) of every mask, [M], where what is seen comes first."""
        members = self.generative.members()

        def of_seen(m):
            return jnp.sum(jnp.where(seen, self.units.log_probs(members(m)(x), x), 0))

        return jax.lax.map(of_seen, jnp.arange(self.num_masks))

    def complete(self, key, x, hidden, c=()):
        choice, draw = jax.random.split(key)
        x = jnp.where(hidden, 0, x)
        mask: Any = 0
        if self.num_masks > 1:
            # p(x_hidden | x_seen) is that of the members, weighted by how well each explains what is seen.
            mask = jax.random.categorical(choice, self._posterior(x, ~hidden))
        nothing, outputs, see = self.generative.unit_by_unit(jnp.result_type(x, self.generative.kernels[0]), mask)
        # Without a seed for orders there is but one, which does not depend on the mask.
        order = jnp.asarray(self.order) if self.order_seed is None else jnp.asarray(self.generative.orders)[mask]

        def unit(seen, given):
            position, i, key = given
            drawn = one(self.units, key, outputs(seen, i))
            return see(seen, position, i, jnp.where(hidden[i], drawn, x[i])), None

        positions = 1 + jnp.arange(len(self.order))
        return jax.lax.scan(unit, nothing, (positions, order, jax.random.split(draw, len(self.order))))[0].x

    def sample(self, key, c=()):
        return self.complete(key, jnp.zeros(len(self.order)), jnp.ones(len(self.order), bool))


@config
class MADE(OrderedConfig):
    """Masked autoencoder: a feed-forward net whose masks leave every output only the inputs before it."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Germain, Gregor, Murray and Larochelle 2015"

    hidden: tuple[int, ...] = field(default=(500,), ge=1, help="sizes of the hidden layers, from x on")
    activation: Activation = field(default="relu", help="after every hidden layer")
    direct: bool = field(default=False, help="masked connections from the inputs to the outputs as well")
    order: Order = field(default=None, help=ORDER_HELP)
    mask_seed: int | None = field(
        default=None, ge=0, lt=2**32, help="None spreads the hidden units' degrees evenly, a seed draws them"
    )
    num_masks: int = field(
        default=1, ge=1, help="masks M that p(x) averages over, drawn by mask_seed; a batch trains one of them"
    )
    order_agnostic: bool = field(default=False, help="every mask has an order of its own, drawn by the seed `order`")
    units: Units = field(default=Bernoulli(), help=UNITS_HELP)

    def check(self) -> list[str]:
        if not self.hidden and self.direct:
            return ["direct: got True with no hidden layers, without which the connections are direct already."]
        if not self.hidden and self.mask_seed is not None:
            return [f"mask_seed: got {self.mask_seed!r} with no hidden layers, whose masks it draws; leave it None."]
        if self.order_agnostic and self.num_masks == 1:
            return ["order_agnostic: got True with num_masks=1, which has one order; give more masks."]
        if self.num_masks > 1 and self.mask_seed is None and not self.order_agnostic:
            masks = "give a mask_seed, or order_agnostic=True" if self.hidden else "give order_agnostic=True"
            return [f"num_masks: got {self.num_masks}, all of which would be the same; {masks}."]
        if self.order_agnostic:
            return check_ensemble(self.order, self.num_masks, "order_agnostic=True")
        return check_order(self.order)

    @property
    def data_support(self) -> str:
        return self.units.data_support

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for an order of another number of units."""
        module = MADEModule(
            order=permutation(self.order, visible),
            hidden=self.hidden,
            activation=self.activation,
            direct=self.direct,
            mask_seed=self.mask_seed,
            num_masks=self.num_masks,
            order_seed=self.order if self.order_agnostic else None,  # type: ignore[arg-type]
            units=self.units,
        )
        return as_model(LikelihoodModel, module)


def made(visible: int, **fields) -> LikelihoodModel:
    """A masked autoencoder as an auto-regressive network over x in {0, 1}^visible.

    Every hidden unit k has a degree m(k) and sees the units at positions up to m(k); the output at position i is a
    sigmoid of hidden units of degrees below i. A probability is one pass of the network. A draw is one compiled loop
    over the units, O(D H) for one hidden layer, as NADE's, and O(D H^2) for more.

    Args:
        visible: units D of an example.
        **fields: those of `MADE`: `hidden`, sizes of the layers; `activation`; `direct`, True for masked connections
            from inputs to outputs; `order`, None for that of x, a seed for a random one, or a permutation of
            0, ..., D - 1, the units in their order; `mask_seed`, None for evenly spread degrees, or a seed that draws
            them; `num_masks`, M masks drawn by it, whose probabilities p(x) averages; `order_agnostic`, True for M
            orders, drawn by the seed `order`, instead of one; `units`, a config of `models.units`.

    Returns:
        A `LikelihoodModel` with `complete`; with `training_log_prob`, the score under a random mask that a batch
        shares, if M > 1; with `conditional_logits` if M = 1 and the units are binary.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, an order that is no permutation, or several
            masks without the seeds that make them differ.

    Example:
        >>> model = made(64, hidden=(100, 100), direct=True)

    Reference:
        Germain, Gregor, Murray and Larochelle, "MADE: masked autoencoder for distribution estimation", 2015.
    """
    return build_from_fields(MADE, visible, fields)
