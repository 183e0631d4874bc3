"""Linen modules that several models share."""

from collections.abc import Callable
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.models.initializers import glorot_uniform

Activation = Literal["tanh", "relu", "elu", "gelu", "silu", "softplus", "sigmoid"]


def activation(name: Activation) -> Callable[[jax.Array], jax.Array]:
    """The elementwise function of that name."""
    assert name in get_args(Activation)
    return jnp.tanh if name == "tanh" else getattr(jax.nn, name)


def dense(size: int, kernel: Callable[..., jax.Array] = glorot_uniform) -> nn.Dense:
    """x W + b, with W from the model's one random draw and b zero."""
    return nn.Dense(size, kernel_init=kernel)


class MLP(nn.Module):
    """Dense layers with an activation after each but the last: [..., D] -> [..., out]."""

    hidden: tuple[int, ...]
    out: int
    activation: Activation = "tanh"
    last: Callable[..., jax.Array] = glorot_uniform  # the initializer of the last layer's kernel

    def setup(self):
        self.layers = [*map(dense, self.hidden), dense(self.out, self.last)]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = activation(self.activation)(layer(x))
        return self.layers[-1](x)
