"""Linen modules that several models share."""

import functools
from collections.abc import Callable
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.models.initializers import glorot_uniform

Activation = Literal["tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid"]


def activation(name: Activation) -> Callable[[jax.Array], jax.Array]:
    """The elementwise function of that name; leaky_relu has slope 0.2 below 0."""
    assert name in get_args(Activation)
    if name == "leaky_relu":
        return functools.partial(jax.nn.leaky_relu, negative_slope=0.2)
    return jnp.tanh if name == "tanh" else getattr(jax.nn, name)


def dense(size: int, kernel: Callable[..., jax.Array] = glorot_uniform) -> nn.Dense:
    """x W + b, with W from the model's one random draw and b zero."""
    return nn.Dense(size, kernel_init=kernel, param_dtype=float)


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


def _products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    height, width, channels = x.shape
    rows, columns, _, out = kernel.shape
    padded = jnp.pad(x, (((rows - 1) // 2, rows // 2), ((columns - 1) // 2, columns // 2), (0, 0)))
    shifted = [padded[i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(rows * columns * channels, out)


def _convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """An image [H, W, C] with a kernel [rows, columns, C, out], zeros around the edges: [H, W, out].

    On a CPU by a matrix product: XLA's convolutions lose their fast path inside a loop, as training is one, where a
    step with them was 40 times slower (48 images of 32x32x32, 2 cores).
    """
    kind = jnp.result_type(x, kernel)
    x, kernel = x.astype(kind), kernel.astype(kind)
    return jax.lax.platform_dependent(x, kernel, cpu=_products, default=_convolution)


class Convolution(nn.Module):
    """Convolution of an image [H, W, C] with a kernel of `window` pixels, zeros around the edges: [H, W, out]."""

    out: int
    window: tuple[int, int] = (3, 3)

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", glorot_uniform, (*self.window, x.shape[-1], self.out))
        return convolve(x, kernel) + self.param("bias", nn.initializers.zeros_init(), (self.out,))
