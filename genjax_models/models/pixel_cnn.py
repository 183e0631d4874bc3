"""Gated PixelCNN: an auto-regressive network of masked convolutions over the pixels of an image (van den Oord 2016)."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LikelihoodModel
from genjax_models.errors import ConfigError
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import convolve
from genjax_models.models.units import Bernoulli, Categorical, DiscretizedLogistics, one


def groups(features: int, channels: int) -> np.ndarray:
    """The channel that each feature of a pixel works for: it sees the pixel's channels before that one, [features]."""
    return np.arange(features) * channels // features


def gate(h: jax.Array) -> jax.Array:
    """tanh(h_1) sigmoid(h_2) of the two halves of the features (equation 2)."""
    a, b = jnp.split(h, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def from_above(h: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of h [H, W, C] with [r, w, C, out] that sees a pixel's own row and the r - 1 rows above."""
    rows = kernel.shape[0] // 2
    return convolve(jnp.pad(h, ((rows, 0), (0, 0), (0, 0))), kernel)[: h.shape[0]]


def from_left(h: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of h [H, W, C] with [t, C, out] that sees a pixel and the t - 1 pixels on its left."""
    columns = kernel.shape[0] // 2
    return convolve(jnp.pad(h, ((0, 0), (columns, 0), (0, 0))), kernel[None])[:, : h.shape[1]]


def one_row_down(h: jax.Array) -> jax.Array:
    """Every row in the place of the next one, with zeros in that of the first."""
    return jnp.pad(h, ((1, 0), (0, 0), (0, 0)))[:-1]


class PixelNetwork(nn.Module):
    """The numbers of every unit given the pixels before it, row by row, and the channels before it in its own pixel.

    A vertical stack of convolutions sees the rows above, a horizontal one the pixels on the left, and in every layer
    what the first has found enters the second; so no pixel before is out of sight if the layers are enough.
    """

    image_shape: tuple[int, int, int]
    features: int
    layers: int
    first_window: int
    window: int
    head: int
    outputs: int | None  # numbers P for each unit; None for one, without an axis

    def setup(self):
        channels, features = self.image_shape[-1], self.features
        inputs = [channels] + [features] * (self.layers - 1)
        reach = [self.first_window // 2] + [self.window // 2] * (self.layers - 1)

        def kernels(name, *shapes):
            return [self.param(f"{name}_{i}", glorot_uniform, shape) for i, shape in enumerate(shapes)]

        def biases(name, *sizes):
            return [self.param(f"{name}_{i}", zeros, (size,)) for i, size in enumerate(sizes)]

        both = 2 * features  # what a gate takes
        self.vertical_kernels = kernels(
            "vertical", *((r + 1, 2 * r + 1, n, both) for r, n in zip(reach, inputs, strict=True))
        )
        self.vertical_biases = biases("vertical_bias", *[both] * self.layers)
        self.across_kernels = kernels("across", *[(both, both)] * self.layers)
        self.left_kernels = kernels("left", *((r + 1, n, both) for r, n in zip(reach, inputs, strict=True)))
        self.left_biases = biases("left_bias", *[both] * self.layers)
        self.out_kernels = kernels("out", *[(features, features)] * self.layers)
        self.out_biases = biases("out_bias", *[features] * self.layers)
        sizes = (self.head, (self.outputs or 1) * channels)
        self.head_kernels = kernels("head", (features, sizes[0]), sizes)
        self.head_biases = biases("head_bias", *sizes)

    def vertical(self) -> Callable[[jax.Array], list[jax.Array]]:
        """What every layer's horizontal stack is told of the rows above each pixel, [H, W, 2F], of x [H, W, C]."""
        layers = list(zip(self.vertical_kernels, self.vertical_biases, self.across_kernels, strict=True))

        def vertical(x):
            told, h = [], x
            for kernel, bias, across in layers:
                both = from_above(h, kernel) + bias
                told.append(one_row_down(both) @ across)
                h = gate(both)
            return told

        return vertical

    def horizontal(self) -> Callable[[jax.Array, list[jax.Array]], jax.Array]:
        """The numbers, [R W C] or [P, R W C], of any R rows x [R, W, C], given what `vertical` tells of those above."""
        channels = self.image_shape[-1]
        inputs, own, head = (groups(n, channels) for n in (channels, self.features, self.head))
        numbers = np.tile(np.arange(channels), self.outputs or 1)

        def masked(kernel, allowed):
            return jnp.where(allowed, kernel, 0)

        def at_the_pixel(kernel, allowed):
            # The last tap is the pixel itself.
            return kernel.at[-1].set(masked(kernel[-1], allowed))

        both = np.tile(own, 2)
        # The first layer sees the channels before its own (mask A), the others what works for them or for its own (B).
        allowed = [inputs[:, None] < both] + [own[:, None] <= both] * (self.layers - 1)
        left = list(map(at_the_pixel, self.left_kernels, allowed))
        out = [masked(kernel, own[:, None] <= own) for kernel in self.out_kernels]
        tops = [
            masked(k, a[:, None] <= b) for k, a, b in zip(self.head_kernels, (own, head), (head, numbers), strict=True)
        ]
        layers = list(zip(left, self.left_biases, out, self.out_biases, strict=True))
        head_biases = self.head_biases

        def horizontal(x, told):
            h = x
            for i, (kernel, bias, out_kernel, out_bias) in enumerate(layers):
                found = gate(from_left(h, kernel) + bias + told[i]) @ out_kernel + out_bias
                h = h + found if i else found
            for kernel, bias in zip(tops, head_biases, strict=True):
                h = jax.nn.relu(h) @ kernel + bias
            by_unit = jnp.moveaxis(h.reshape(*x.shape[:2], -1, channels), 2, 0)  # [P, R, W, C]
            return by_unit.ravel() if self.outputs is None else by_unit.reshape(self.outputs, -1)

        return horizontal


class PixelCNNModule(nn.Module):
    """p(x) as a product over the pixels of an image, row by row."""

    image_shape: tuple[int, int, int]
    features: int
    layers: int
    first_window: int
    window: int
    head: int
    units: Any

    def setup(self):
        sizes = (self.features, self.layers, self.first_window, self.window, self.head)
        self.generative = PixelNetwork(self.image_shape, *sizes, self.units.outputs)

    @property
    def lacks(self) -> tuple[str, ...]:
        return () if isinstance(self.units, Bernoulli) else ("conditional_logits",)

    @property
    def levels(self) -> int:
        return self.units.levels

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(range(math.prod(self.image_shape)))

    @property
    def completion_orders(self) -> tuple[tuple[int, ...], ...]:
        return (self.order,)

    def _numbers(self, x):
        image = x.reshape(self.image_shape)
        return self.generative.horizontal()(image, self.generative.vertical()(image))

    def conditional_logits(self, x, c=()):
        return self._numbers(jnp.asarray(x))

    def log_prob(self, x, c=()):
        x = jnp.asarray(x)
        return self.units.log_prob(self._numbers(x), x)

    def complete(self, key, x, hidden, c=()):
        vertical, horizontal = self.generative.vertical(), self.generative.horizontal()
        rows, columns, channels = self.image_shape
        keys = jax.random.split(key, (rows, columns * channels))

        def row(image, given):
            i, hidden, keys = given
            # The rows above are done: what is told of them stays the same along the row.
            told = [jax.lax.dynamic_slice_in_dim(v, i, 1) for v in vertical(image)]

            def unit(line, given):
                j, hidden, key = given
                numbers = horizontal(line.reshape(1, columns, channels), told)
                return line.at[j].set(jnp.where(hidden, one(self.units, key, numbers[..., j]), line[j])), None

            line, _ = jax.lax.scan(unit, image[i].reshape(-1), (jnp.arange(columns * channels), hidden, keys))
            return image.at[i].set(line.reshape(columns, channels)), None

        start = jnp.where(hidden, 0, x).reshape(self.image_shape)
        image, _ = jax.lax.scan(row, start, (jnp.arange(rows), hidden.reshape(rows, -1), keys))
        return image.reshape(-1)

    def sample(self, key, c=()):
        visible = math.prod(self.image_shape)
        return self.complete(key, jnp.zeros(visible), jnp.ones(visible, bool))


@config
class PixelCNN(ModelConfig):
    """Gated PixelCNN: masked convolutions over an image, each pixel given those above and on its left."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu 2016"

    image_shape: tuple[int, ...] = field(default=(28, 28), ge=1, help="height, width and perhaps channels of x")
    features: int = field(default=32, ge=1, help="features F of a pixel, in either stack")
    layers: int = field(default=8, ge=1, help="gated layers, each of both stacks")
    first_window: int = field(default=7, ge=3, help="edge of the first layer's window, an odd number")
    window: int = field(default=3, ge=3, help="edge of the other layers' windows, an odd number")
    head: int = field(default=64, ge=1, help="features between the stacks and the outputs")
    units: Bernoulli | Categorical | DiscretizedLogistics = field(
        default=Bernoulli(), help="what a unit of x is, from genjax_models.models.units"
    )

    def check(self) -> list[str]:
        if len(self.image_shape) not in (2, 3):
            return [f"image_shape: got {self.image_shape}, expected (height, width) or (height, width, channels)."]
        windows = {"first_window": self.first_window, "window": self.window}
        sizes, channels = {"features": self.features, "head": self.head}, self._shape[2]
        return [
            *(
                f"{k}: got {v}, expected an odd number, with a pixel in its middle."
                for k, v in windows.items()
                if v % 2 == 0
            ),
            *(
                f"{k}: got {v}, expected one for each of the {channels} channels."
                for k, v in sizes.items()
                if v < channels
            ),
        ]

    @property
    def _shape(self) -> tuple[int, int, int]:
        height, width, *depth = self.image_shape
        return height, width, depth[0] if depth else 1

    @property
    def data_support(self) -> str:
        return "unit"

    @property
    def least_visible(self) -> int:
        return math.prod(self.image_shape)

    def build(self, visible: int) -> LikelihoodModel:
        """The model of images with `visible` values; ConfigError where `image_shape` has another number of them."""
        if visible != math.prod(self.image_shape):
            raise ConfigError(
                f"image_shape: got {self.image_shape}, which has {math.prod(self.image_shape)} values, but x has "
                f"{visible}; give the shape of the data's images."
            )
        sizes = (self.features, self.layers, self.first_window, self.window, self.head)
        return as_model(LikelihoodModel, PixelCNNModule(self._shape, *sizes, self.units))


def pixel_cnn(visible: int, **fields) -> LikelihoodModel:
    """A gated PixelCNN over images x, flattened row by row, each pixel channel by channel.

    p(x) is the product over the units in that order, each given all before it. In every layer l,

        v_l = gate(V_l * v_{l-1}),   h_l = h_{l-1} + U_l gate(H_l * h_{l-1} + A_l v'_l),   gate = tanh x sigmoid,

    V_l * being a convolution over a pixel's own row and the rows above, v'_l its result one row down, before the gate,
    and H_l * one over the pixel and those on its left, of which the first layer leaves the pixel itself out. So every
    earlier pixel is seen, without the blind spot of masked square windows, if there are layers enough to reach it.
    Features of a pixel are shared out among its channels, so that the channels see those before them alone.

    A probability is one pass. A draw is one loop over the pixels, in which the vertical stack is computed once a row
    and the horizontal one for that row alone.

    Args:
        visible: units D of an example, the product of `image_shape`.
        **fields: those of `PixelCNN`: `image_shape`, (height, width) or (height, width, channels); `features`, F;
            `layers`; `first_window` and `window`, odd; `head`, features of the layer before the outputs; `units`, a
            `Bernoulli`, `Categorical` or `DiscretizedLogistics` of `models.units`.

    Returns:
        A `LikelihoodModel` with `complete`; with `conditional_logits` if the units are binary.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, an even window, or another number of units.

    Example:
        >>> model = pixel_cnn(64, image_shape=(8, 8), features=16, layers=4, first_window=3)

    Reference:
        van den Oord et al., "Conditional image generation with PixelCNN decoders", 2016, equation 2 and figure 2.
    """
    return build_from_fields(PixelCNN, visible, fields)
