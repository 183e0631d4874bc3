"""Networks from a vector to an example and from an example to a vector, as configurations.

    network.decoder(visible, outputs)    a module, h [H] -> [outputs * visible], all numbers of one kind together
    network.encoder(out, visible)        a module, (x [D], c [C] or ()) -> [out]

Any linen module that is called in one of these ways may stand in its place. All of them are defined on one example, so
the statistics of normalization are those of that example's own units.
"""

import math
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import config, field
from genjax_models.errors import ConfigError
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import Activation, activation, convolve

Normalization = Literal["group", "layer", "spectral"]
NORMALIZATION_HELP = (
    "group, layer: each example's hidden units to mean 0 and variance 1, by groups of 16 or all together; spectral: "
    "every weight matrix to norm 1; None leaves it out"
)
GROUP = 16  # channels that are normalized together (Wu and He 2018, section 4.1)
POWER_ITERATIONS = 30


def spectral_norm(kernel: jax.Array) -> jax.Array:
    """The largest singular value of a kernel [..., out], as a matrix from all its inputs to `out`.

    By 30 power iterations from a fixed vector, for a model keeps no state from step to step in which they could go on.
    They give at most the norm, and fall short of it by less than (s2 / s1)^60 times a constant: by a few per cent where
    singular values crowd, as in random matrices. The gradient is that of u' W v with the two vectors held fixed.

    Reference:
        Miyato, Kataoka, Koyama and Yoshida, "Spectral normalization for generative adversarial networks", 2018,
        algorithm 1; a convolution's kernel is reshaped as there.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    fixed, tiny = jax.lax.stop_gradient(matrix), jnp.finfo(kernel.dtype).tiny

    def unit(v):
        # Scaled first: squares of very small numbers are 0.
        v = v / jnp.maximum(jnp.max(jnp.abs(v)), tiny)
        return v / jnp.maximum(jnp.linalg.norm(v), tiny)

    def times(u, w):
        # A norm of few digits would not hold the matrix to it: neither accelerators' default nor a policy's will do.
        return jnp.matmul(u, w, precision="highest")

    start = unit(jnp.asarray(np.random.RandomState(0).normal(size=matrix.shape[1]), kernel.dtype))
    v = jax.lax.fori_loop(0, POWER_ITERATIONS, lambda _, v: unit(times(unit(times(fixed, v)), fixed)), start)
    return times(times(unit(times(fixed, v)), matrix), v)


class Affine(nn.Module):
    """h W + b of a vector; with a window, the convolution of an image [H, W, C]."""

    out: int
    normalization: Normalization | None = None  # of which only "spectral" is done here
    window: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, h):
        kernel = self.param("kernel", glorot_uniform, (*self.window, h.shape[-1], self.out))
        if self.normalization == "spectral":
            kernel = kernel / jnp.maximum(spectral_norm(kernel), jnp.finfo(kernel.dtype).tiny)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.out,))
        return (convolve(h, kernel) if self.window else h @ kernel) + bias


class Activate(nn.Module):
    """Hidden units [..., C] normalized by group or layer, with a scale and a shift a channel; then an activation."""

    activation: Activation
    normalization: Normalization | None

    @nn.compact
    def __call__(self, h):
        channels = h.shape[-1]
        if self.normalization in ("group", "layer"):
            size = GROUP if self.normalization == "group" else channels
            parts = h.reshape(-1, channels // size, size)
            parts = parts - parts.mean(axis=(0, 2), keepdims=True)
            parts = parts * jax.lax.rsqrt((parts**2).mean(axis=(0, 2), keepdims=True) + 1e-5)
            scale = self.param("scale", nn.initializers.ones_init(), (channels,))
            h = parts.reshape(h.shape) * scale + self.param("shift", nn.initializers.zeros_init(), (channels,))
        return activation(self.activation)(h)


def _activations(count: int, name: Activation, normalization: Normalization | None, first: bool) -> list[Activate]:
    """One for every hidden layer; only in a critic the first, which sees x, is not normalized."""
    return [Activate(name, normalization if i or first else None) for i in range(count)]


def beside(h: jax.Array, c) -> jax.Array:
    """A vector with the context after it, [H] and [C] -> [H + C]; as it is without one."""
    given = jax.tree.leaves(c)
    return jnp.concatenate([h, *(jnp.ravel(v).astype(h.dtype) for v in given)]) if given else h


class Perceptron(nn.Module):
    """Dense hidden layers and a last one without activation: [in] -> [out], a context beside what it is given."""

    hidden: tuple[int, ...]
    out: int
    activation: Activation
    normalization: Normalization | None = None
    first: bool = True  # whether the first hidden layer is normalized

    def setup(self):
        self.layers = [Affine(n, self.normalization) for n in (*self.hidden, self.out)]
        self.activations = _activations(len(self.hidden), self.activation, self.normalization, self.first)

    def __call__(self, h, c=()):
        h = beside(h, c)
        for layer, activate in zip(self.layers, self.activations, strict=False):
            h = activate(layer(h))
        return self.layers[-1](h)


def depth_to_space(h: jax.Array) -> jax.Array:
    """[H, W, 4 C] -> [2 H, 2 W, C]: four channels become a square of pixels."""
    height, width, channels = h.shape
    parts = h.reshape(height, width, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
    return parts.reshape(2 * height, 2 * width, channels // 4)


def space_to_depth(h: jax.Array) -> jax.Array:
    """[2 H, 2 W, C] -> [H, W, 4 C], the inverse; an odd edge is continued by zeros."""
    h = jnp.pad(h, ((0, h.shape[0] % 2), (0, h.shape[1] % 2), (0, 0)))
    height, width, channels = h.shape
    parts = h.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 1, 3, 4)
    return parts.reshape(height // 2, width // 2, 4 * channels)


class ResidualBlocks(nn.Module):
    """Blocks h + convolution(activate(convolution(activate(h)))) of an image [H, W, C] (He et al. 2016, figure 4e)."""

    number: int
    channels: int
    activation: Activation
    normalization: Normalization | None

    def setup(self):
        self.layers = [Affine(self.channels, self.normalization, (3, 3)) for _ in range(2 * self.number)]
        self.activations = _activations(2 * self.number, self.activation, self.normalization, first=True)

    def __call__(self, h):
        for i in range(0, 2 * self.number, 2):
            inner = self.layers[i](self.activations[i](h))
            h = h + self.layers[i + 1](self.activations[i + 1](inner))
        return h


class UpConvolutions(nn.Module):
    """A vector to a small image, doubled by each layer, and cut to size: [in] -> [outputs * H W C].

    A convolution of stride 1/2 is one that makes four times the channels, put side by side (Shi et al. 2016).
    """

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...]
    activation: Activation
    normalization: Normalization | None
    blocks: int = 0  # residual blocks before each doubling
    outputs: int = 1  # numbers for each value of the image

    def setup(self):
        height, width, depth = self.image_shape
        scale = 2 ** len(self.channels)
        self.start = (-(-height // scale), -(-width // scale), self.channels[0])
        self.code = Affine(math.prod(self.start), self.normalization)
        sizes = (*self.channels[1:], depth * self.outputs)
        self.layers = [Affine(4 * n, self.normalization, (3, 3)) for n in sizes]
        self.activations = _activations(len(self.channels), self.activation, self.normalization, first=True)
        if self.blocks:
            rest = self.activation, self.normalization
            self.residual = [ResidualBlocks(self.blocks, n, *rest) for n in self.channels]

    def __call__(self, z):
        h = self.code(z).reshape(self.start)
        for i, (layer, activate) in enumerate(zip(self.layers, self.activations, strict=True)):
            h = self.residual[i](h) if self.blocks else h
            h = depth_to_space(layer(activate(h)))
        height, width, depth = self.image_shape
        return h[:height, :width].reshape(height, width, self.outputs, depth).transpose(2, 0, 1, 3).ravel()


class StridedConvolutions(nn.Module):
    """An image, halved by each layer, to a vector: [H W C] -> [out]; a context is beside what the last layer sees."""

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...]
    out: int
    activation: Activation
    normalization: Normalization | None
    blocks: int = 0  # residual blocks after each halving

    def setup(self):
        self.layers = [Affine(n, self.normalization, (3, 3)) for n in self.channels]
        self.activations = _activations(len(self.channels), self.activation, self.normalization, first=False)
        self.last = Affine(self.out, self.normalization)
        if self.blocks:
            rest = self.activation, self.normalization
            self.residual = [ResidualBlocks(self.blocks, n, *rest) for n in self.channels]

    def __call__(self, x, c=()):
        h = x.reshape(self.image_shape)
        for i, (layer, activate) in enumerate(zip(self.layers, self.activations, strict=True)):
            h = layer(space_to_depth(h))
            h = activate(self.residual[i](h) if self.blocks else h)
        return self.last(beside(h.ravel(), c))


def _check_groups(name: str, sizes: tuple[int, ...], normalization: Normalization | None) -> list[str]:
    if normalization == "group" and any(n % GROUP for n in sizes):
        return [f"{name}: got {sizes} with group normalization, expected multiples of {GROUP}, the size of a group."]
    if normalization in ("group", "layer") and not sizes:
        return [f"normalization: got {normalization!r} without hidden layers, which it is of; leave it None."]
    return []


@config
class MLP:
    """Dense layers."""

    citation: ClassVar[str] = ""

    hidden: tuple[int, ...] = field(default=(256, 256), ge=1, help="hidden layers, from the input on")
    activation: Activation = field(default="relu", help="after every hidden layer; leaky_relu has slope 0.2 below 0")
    normalization: Normalization | None = field(default=None, help=NORMALIZATION_HELP)

    def check(self) -> list[str]:
        return _check_groups("hidden", self.hidden, self.normalization)

    @property
    def layers(self) -> int:
        """Hidden layers."""
        return len(self.hidden)

    @property
    def visible(self) -> int | None:
        """The one number of units that its examples may have; None for any."""
        return None

    def decoder(self, visible: int, outputs: int = 1) -> nn.Module:
        """h [H] -> [outputs * visible]."""
        return Perceptron(self.hidden, outputs * visible, self.activation, self.normalization)

    def encoder(self, out: int, visible: int) -> nn.Module:
        """x [visible] -> [out]."""
        return Perceptron(self.hidden, out, self.activation, self.normalization, first=False)


@config
class Convolutional:
    """Convolutions that double the image's edges at each layer of a decoder, and halve them in an encoder.

    Edges that do not divide are continued by zeros in an encoder, and cut in a decoder.
    """

    citation: ClassVar[str] = "Radford, Metz and Chintala 2016; with residual blocks, He et al. 2016"

    image_shape: tuple[int, ...] = field(default=(28, 28), ge=1, help="height, width and perhaps channels of x")
    channels: tuple[int, ...] = field(
        default=(64, 32), ge=1, nonempty=True, help="hidden channels from the input on, for each doubling or halving"
    )
    activation: Activation = field(default="relu", help="after every hidden layer; leaky_relu has slope 0.2 below 0")
    normalization: Normalization | None = field(default=None, help=NORMALIZATION_HELP)
    blocks: int = field(default=0, ge=0, help="residual blocks of two convolutions at each of the sizes")

    def check(self) -> list[str]:
        if len(self.image_shape) not in (2, 3):
            return [f"image_shape: got {self.image_shape}, expected (height, width) or (height, width, channels)."]
        return _check_groups("channels", self.channels, self.normalization)

    @property
    def layers(self) -> int:
        """Hidden layers."""
        return len(self.channels)

    @property
    def visible(self) -> int | None:
        """The number of units that its examples have."""
        return math.prod(self.image_shape)

    @property
    def _shape(self) -> tuple[int, int, int]:
        height, width, *depth = self.image_shape
        return height, width, depth[0] if depth else 1

    def decoder(self, visible: int, outputs: int = 1) -> nn.Module:
        """h [H] -> [outputs * visible], each an image row by row."""
        self._require(visible)
        parts = self._shape, self.channels, self.activation, self.normalization, self.blocks
        return UpConvolutions(*parts, outputs)

    def encoder(self, out: int, visible: int) -> nn.Module:
        """x [visible], an image row by row -> [out]."""
        self._require(visible)
        return StridedConvolutions(self._shape, self.channels, out, self.activation, self.normalization, self.blocks)

    def _require(self, visible: int) -> None:
        if visible != self.visible:
            raise ConfigError(
                f"image_shape: got {self.image_shape}, which has {self.visible} values, but x has {visible}; give the "
                "shape of the data's images."
            )


Network = MLP | Convolutional
NETWORKS: dict[str, type] = {"mlp": MLP, "convolutional": Convolutional}
