"""Masked autoencoders as auto-regressive networks (Germain, Gregor, Murray and Larochelle 2015)."""

import itertools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LikelihoodModel
from genjax_models.distributions import bernoulli_log_prob
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import Activation, activation
from genjax_models.models.orders import ORDER_HELP, Order, check_order, inverse, permutation


def hidden_degrees(visible: int, hidden: tuple[int, ...], seed: int | None) -> list[np.ndarray]:
    """m(k) of every hidden unit k, a layer an array: it sees the units at positions 1, ..., m(k).

    Spread evenly over 1, ..., D - 1; or, given a seed, drawn uniformly from the least degree of the layer before up to
    D - 1, as in the paper (section 4). With D = 1 there is nothing to see.
    """
    most = max(1, visible - 1)
    if seed is None:
        return [1 + np.arange(size) * most // size for size in hidden]
    random, least, degrees = np.random.RandomState(seed), 1, []
    for size in hidden:
        degrees.append(random.randint(least, most + 1, size))
        least = int(degrees[-1].min())
    return degrees


class MaskedNetwork(nn.Module):
    """The logits of all units, of which that at position i depends on the units at positions below i alone."""

    order: tuple[int, ...]
    hidden: tuple[int, ...]
    activation: Activation
    direct: bool
    mask_seed: int | None

    def setup(self):
        visible = len(self.order)
        sizes = (visible, *self.hidden, visible)
        self.kernels = [
            self.param(f"kernel_{i}", glorot_uniform, shape) for i, shape in enumerate(itertools.pairwise(sizes))
        ]
        self.biases = [self.param(f"bias_{i}", zeros, (size,)) for i, size in enumerate(sizes[1:])]
        if self.direct:
            self.direct_kernel = self.param("direct", glorot_uniform, (visible, visible))
        self.positions = 1 + inverse(self.order)
        self.degrees = [self.positions, *hidden_degrees(visible, self.hidden, self.mask_seed)]

    def __call__(self) -> Callable[[jax.Array], jax.Array]:
        """The logits [..., D] as a pure function of x [..., D]."""
        strict = jnp.asarray(self.positions)

        def masked(kernel, allowed):
            # Compared here, not stored: a mask is as large as its kernel, its degrees are not.
            return jnp.where(allowed, kernel, 0)

        degrees = [jnp.asarray(m) for m in self.degrees]
        masks = [m[:, None] <= above for m, above in itertools.pairwise(degrees)]
        kernels = list(map(masked, self.kernels, [*masks, degrees[-1][:, None] < strict]))
        direct = masked(self.direct_kernel, strict[:, None] < strict) if self.direct else None

        def logits(x):
            h = x
            for kernel, bias in zip(kernels[:-1], self.biases[:-1], strict=True):
                h = activation(self.activation)(h @ kernel + bias)
            out = h @ kernels[-1] + self.biases[-1]
            return out if direct is None else out + x @ direct

        return logits


class MADEModule(nn.Module):
    """p(x) as a product over the units in their order, all conditionals from one pass of a masked network."""

    order: tuple[int, ...]
    hidden: tuple[int, ...]
    activation: Activation
    direct: bool
    mask_seed: int | None

    def setup(self):
        self.generative = MaskedNetwork(self.order, self.hidden, self.activation, self.direct, self.mask_seed)

    def conditional_logits(self, x, c=()):
        return self.generative()(x)

    def log_prob(self, x, c=()):
        return bernoulli_log_prob(self.generative()(x), x)

    def sample(self, key, c=()):
        logits = self.generative()
        uniform = jax.random.uniform(key, (len(self.order),))

        def unit(x, i):
            p = jax.nn.sigmoid(logits(x)[i])
            return x.at[i].set((uniform[i] < p).astype(x.dtype)), None

        x, _ = jax.lax.scan(unit, jnp.zeros_like(uniform), jnp.array(self.order))
        return x


@config
class MADE(ModelConfig):
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

    def check(self) -> list[str]:
        if not self.hidden and self.direct:
            return ["direct: got True with no hidden layers, without which the connections are direct already."]
        if not self.hidden and self.mask_seed is not None:
            return [f"mask_seed: got {self.mask_seed!r} with no hidden layers, whose masks it draws; leave it None."]
        return check_order(self.order)

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for an order of another number of units."""
        order = permutation(self.order, visible)
        return as_model(LikelihoodModel, MADEModule(order, self.hidden, self.activation, self.direct, self.mask_seed))


def made(visible: int, **fields) -> LikelihoodModel:
    """A masked autoencoder as an auto-regressive network over x in {0, 1}^visible.

    Every hidden unit k has a degree m(k) and sees the units at positions up to m(k); the output at position i is a
    sigmoid of hidden units of degrees below i. A probability is one pass of the network, a draw D of them inside one
    compiled loop.

    Args:
        visible: units D of an example.
        **fields: those of `MADE`: `hidden`, sizes of the layers; `activation`; `direct`, True for masked connections
            from inputs to outputs; `order`, None for that of x, a seed for a random one, or a permutation of
            0, ..., D - 1, the units in their order; `mask_seed`, None for evenly spread degrees, or a seed that draws
            them.

    Returns:
        A `LikelihoodModel` with `conditional_logits`.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or an order that is no permutation.

    Example:
        >>> model = made(64, hidden=(100, 100), direct=True)

    Reference:
        Germain, Gregor, Murray and Larochelle, "MADE: masked autoencoder for distribution estimation", 2015.
    """
    return build_from_fields(MADE, visible, fields)
