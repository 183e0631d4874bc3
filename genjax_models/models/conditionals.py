"""Conditionals of a layer s of binary units given the layer h before it, of three kinds that differ within the layer.

    factorial        p(s_i = 1 | h)       = sigmoid(b_i(h))                               Neal 1992
    autoregressive   p(s_i = 1 | h, s_<i) = sigmoid(b_i(h) + sum_{j < i} V_ij s_j)        Gregor et al. 2014
    nade             p(s_i = 1 | h, s_<i) = sigmoid(b_i(h) + V_i . sigmoid(a_i)),         Bornschein and Bengio 2015
                     a_i = c(h) + sum_{j < i} W_j s_j

b and c are affine in h, or in tanh layers of it that stand between (Gregor et al. 2014); the top layer of p has no h,
and b and c are parameters.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from genjax_models.distributions import NADE, AutoregressiveBernoulli, Bernoulli
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import dense

Kind = Literal["factorial", "autoregressive", "nade"]
zeros = nn.initializers.zeros_init()


class Units(nn.Module):
    """The units of a layer, and the weights between them: from the biases that the layer before gives, their law."""

    units: int
    kind: Kind
    hidden: int | None = None  # hidden units H of a nade; None for as many as units

    @property
    def width(self) -> int:
        """H."""
        return self.units if self.hidden is None else self.hidden

    def setup(self):
        if self.kind == "autoregressive":
            self.lateral = self.param("lateral", glorot_uniform, (self.units, self.units))
        elif self.kind == "nade":
            self.hidden_bias = self.param("hidden_bias", zeros, (self.width,))
            self.inward = self.param("inward", glorot_uniform, (self.units, self.width))
            self.outward = self.param("outward", glorot_uniform, (self.units, self.width))

    def __call__(self, b, c=0.0):
        """The distribution of s; `c` is added to the bias of a nade's hidden units."""
        if self.kind == "autoregressive":
            return AutoregressiveBernoulli(b, self.lateral)
        if self.kind == "nade":
            return NADE(b, self.hidden_bias + c, self.inward, self.outward)
        return Bernoulli(b)


class Conditional(nn.Module):
    """p(s | h)."""

    inputs: int  # units of h
    units: int
    kind: Kind
    hidden: int | None
    deterministic: tuple[int, ...]  # sizes of the tanh layers between h and s, from h on

    def setup(self):
        self.between = [dense(size) for size in self.deterministic]
        self.within = Units(self.units, self.kind, self.hidden)
        fan_in = (self.inputs, *self.deterministic)[-1]
        self.kernel = self.param("kernel", glorot_uniform, (fan_in, self.units))
        self.bias = self.param("bias", zeros, (self.units,))
        if self.kind == "nade":
            self.hidden_kernel = self.param("hidden_kernel", glorot_uniform, (fan_in, self.within.width))

    def __call__(self, h):
        for layer in self.between:
            h = jnp.tanh(layer(h))
        b = h @ self.kernel + self.bias
        return self.within(b, h @ self.hidden_kernel) if self.kind == "nade" else self.within(b)


class Conditionals(nn.Module):
    """A conditional for each layer i of a chain, given the layer before it in the chain."""

    inputs: tuple[int, ...]  # units of the layer before
    sizes: tuple[int, ...]
    kinds: tuple[Kind, ...]
    hidden: int | None
    deterministic: tuple[int, ...]

    def setup(self):
        shapes = zip(self.inputs, self.sizes, self.kinds, strict=True)
        self.layers = [Conditional(*shape, self.hidden, self.deterministic) for shape in shapes]

    def __call__(self, i, before):
        return self.layers[i](before)
