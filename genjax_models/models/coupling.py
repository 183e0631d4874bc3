"""Coupling flows: one part of x moves elementwise, by a map that a network makes from the part that stays.

    nice                    additive                         Dinh, Krueger and Bengio 2014
    realnvp                 affine                           Dinh, Sohl-Dickstein and Bengio 2017
    neural_spline_flow      rational-quadratic splines       Durkan, Bekasov, Murray and Papamakarios 2019

Of a vector, the units of even and of odd number move in turns. Of an image, those of a checkerboard's colours do, and
then halves of the channels, after 2 x 2 pixels have become channels; half of what there is leaves before a new scale.
"""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import config, field
from genjax_models.core import LikelihoodModel
from genjax_models.errors import ConfigError
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.flow import Affine, FlowConfig, as_flow, bounded
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import MLP, Activation, activation, convolve
from genjax_models.models.splines import MOST_BINS, Spline, spline

# Records, not tuples: two tuples without fields would be equal, and so would models that differ in them.


@dataclasses.dataclass(frozen=True)
class Additive:
    """x_i = loc_i + z_i."""

    numbers: ClassVar[int] = 1  # that a network gives a unit

    def of(self, raw: jax.Array) -> Affine:
        """The map of every unit, from a network's numbers, [n, 1]."""
        return Affine(raw[:, 0], jnp.zeros(()))


@dataclasses.dataclass(frozen=True)
class Scaled:
    """x_i = loc_i + exp(log_scale_i) z_i."""

    numbers: ClassVar[int] = 2

    def of(self, raw: jax.Array) -> Affine:
        """The map of every unit, from a network's numbers, [n, 2]."""
        return Affine(raw[:, 0], bounded(raw[:, 1]))


@dataclasses.dataclass(frozen=True)
class Splines:
    """x_i by a spline between -bound and bound, and as it is beyond."""

    bins: int
    bound: float

    @property
    def numbers(self) -> int:
        return 3 * self.bins - 1

    def of(self, raw: jax.Array) -> Spline:
        """The map of every unit, from a network's numbers, [n, 3 K - 1]."""
        widths, heights, slopes = jnp.split(raw, [self.bins, 2 * self.bins], axis=-1)
        return spline(widths, heights, slopes, self.bound)


Kind = Additive | Scaled | Splines


class Vectors(nn.Module):
    """Couplings of a vector's units of even and of odd number; those of odd number move first, from x on."""

    visible: int
    layers: int
    hidden: tuple[int, ...]
    activation: Activation
    kind: Kind
    scaled: bool = False  # whether every unit has a scale of its own next to z

    def setup(self):
        sizes = [(self.visible + 1) // 2, self.visible // 2]
        moved = [sizes[1 - i % 2] for i in range(self.layers)]
        self.networks = [MLP(self.hidden, n * self.kind.numbers, self.activation, zeros) for n in moved]
        if self.scaled:
            self.log_scale = self.param("log_scale", zeros, (self.visible,))

    def _map(self, i, kept):
        raw = self.networks[i](kept)
        return self.kind.of(raw.reshape(-1, self.kind.numbers))

    def _join(self, parts):
        even, odd = parts
        odd = jnp.pad(odd, (0, len(even) - len(odd)))
        return jnp.stack([even, odd], axis=1).reshape(-1)[: self.visible]

    def inverse(self, x):
        parts, total = [x[0::2], x[1::2]], jnp.zeros((), x.dtype)
        for i in range(self.layers):
            kept, moved = i % 2, 1 - i % 2
            parts[moved], log_slopes = self._map(i, parts[kept]).inverse(parts[moved])
            total = total + jnp.sum(log_slopes)
        z = self._join(parts)
        if self.scaled:
            z, log_slopes = Affine(jnp.zeros(()), self.log_scale).inverse(z)
            total = total + jnp.sum(log_slopes)
        return z, total

    def forward(self, z):
        if self.scaled:
            z = Affine(jnp.zeros(()), self.log_scale).forward(z)
        parts = [z[0::2], z[1::2]]
        for i in reversed(range(self.layers)):
            kept, moved = i % 2, 1 - i % 2
            parts[moved] = self._map(i, parts[kept]).forward(parts[moved])
        return self._join(parts)


class Standardized(nn.Module):
    """A flow of (x - loc) / scale, elementwise and learned: what follows need not know the range of x."""

    visible: int
    flow: nn.Module

    def setup(self):
        self.loc = self.param("loc", zeros, (self.visible,))
        self.log_scale = self.param("log_scale", zeros, (self.visible,))

    def inverse(self, x):
        y, log_slopes = Affine(self.loc, self.log_scale).inverse(x)
        z, log_det = self.flow.inverse(y)
        return z, log_det + jnp.sum(log_slopes)

    def forward(self, z):
        return Affine(self.loc, self.log_scale).forward(self.flow.forward(z))


# Images.

Shape = tuple[int, int, int]  # height, width, channels


class Couplings(NamedTuple):
    """Couplings of an image in a row, in which the units under a mask and under its complement stay in turns."""

    shape: Shape
    by: str  # "checkerboard" or "channels"
    number: int

    @property
    def mask(self) -> np.ndarray:
        """True where a unit stays in the first of them, [H, W, C]."""
        rows, columns, channels = np.indices(self.shape)
        if self.by == "checkerboard":
            return (rows + columns) % 2 == 0
        return channels < self.shape[2] // 2


class Scale(NamedTuple):
    """What is done at one scale: couplings, and unless it is the last, 2 x 2 pixels to channels and more couplings."""

    before: Couplings
    after: Couplings | None  # of the squeezed image, half of whose channels then leave


def plan(shape: Shape, layers: int, scales: int) -> list[Scale]:
    """The couplings of every scale (Dinh, Sohl-Dickstein and Bengio 2017, section 3.6)."""
    found = []
    for _ in range(scales - 1):
        height, width, channels = shape
        squeezed = height // 2, width // 2, 4 * channels
        found.append(Scale(Couplings(shape, "checkerboard", layers), Couplings(squeezed, "channels", layers)))
        shape = height // 2, width // 2, 2 * channels
    return [*found, Scale(Couplings(shape, "checkerboard", layers + 1), None)]


def squeeze(x: jax.Array) -> jax.Array:
    """2 x 2 pixels to channels: [H, W, C] -> [H / 2, W / 2, 4 C]."""
    height, width, channels = x.shape
    x = x.reshape(height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 2, 1, 3, 4).reshape(height // 2, width // 2, 4 * channels)


def unsqueeze(x: jax.Array) -> jax.Array:
    """The way back: [H, W, 4 C] -> [2 H, 2 W, C]."""
    height, width, channels = x.shape
    x = x.reshape(height, width, 2, 2, channels // 4)
    return x.transpose(0, 2, 1, 3, 4).reshape(2 * height, 2 * width, channels // 4)


class Norm(NamedTuple):
    """Layer norm over channels."""

    scale: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-6) * self.scale + self.bias


class Convolution(NamedTuple):
    """Of an image [H, W, in] with a kernel [h, w, in, out], zeros around it."""

    kernel: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return convolve(x, self.kernel) + self.bias


class ResidualNetwork(NamedTuple):
    """Residual blocks of two convolutions, each after layer norm and activation: [H, W, C] -> [H, W, 2 C]."""

    first: Convolution
    blocks: tuple[tuple[Norm, Convolution], ...]  # the layers of a block, leaves [blocks, ...]
    norm: Norm
    last: Convolution

    def __call__(self, name: Activation, x: jax.Array) -> jax.Array:
        f = activation(name)

        def block(h, layers):
            inner = h
            for norm, convolution in layers:
                inner = convolution(f(norm(inner)))
            return h + inner, None

        h, _ = jax.lax.scan(block, self.first(x), self.blocks)
        return self.last(f(self.norm(h)))


class ResidualNetworks(nn.Module):
    """Residual networks of equal shape, leaves [number, ...]: what loops over them compiles once."""

    number: int
    channels: int
    hidden: tuple[int, ...]  # channels, the same in every block

    def setup(self):
        n, width = self.number, self.hidden[0]
        many = (n, len(self.hidden))
        inner = [(self._norm(f"norm_{i}", *many), self._convolution(f"block_{i}", *many, 3, width)) for i in range(2)]
        self.network = ResidualNetwork(
            self._convolution("first", n, 3, width, inputs=self.channels),
            tuple(inner),
            self._norm("norm", n),
            self._convolution("last", n, 1, 2 * self.channels, init=zeros),
        )

    def _norm(self, name, *number):
        shape = (*number, self.hidden[0])
        return Norm(
            self.param(f"{name}_scale", nn.initializers.ones_init(), shape), self.param(f"{name}_bias", zeros, shape)
        )

    def _convolution(self, name, *sizes, inputs=None, init=None):
        *number, size, out = sizes
        shape = (*number, size, size, inputs or self.hidden[0], out)
        # Stacked weights are no larger receptive field: that bound is for one of them.
        stacked = init or (lambda key, shape: math.sqrt(math.prod(number)) * glorot_uniform(key, shape))
        return Convolution(
            self.param(f"{name}_kernel", stacked, shape), self.param(f"{name}_bias", zeros, (*number, 1, 1, out))
        )

    def __call__(self):
        return self.network


class Images(nn.Module):
    """Affine couplings of an image at several scales, each with a residual network."""

    shape: Shape
    layers: int
    scales: int
    hidden: tuple[int, ...]
    activation: Activation

    def setup(self):
        self.plan = plan(self.shape, self.layers, self.scales)
        rows = [row for scale in self.plan for row in scale if row is not None]
        self.networks = [ResidualNetworks(row.number, row.shape[2], self.hidden) for row in rows]

    def _steps(self) -> list[list]:
        """Of every scale the couplings, before and after it is squeezed, with their networks."""
        networks = iter(self.networks)
        return [[row and (row, next(networks)()) for row in scale] for scale in self.plan]

    def _each(self, step, start, rows, reverse=False):
        """`step(carry, map of x)` along couplings in a row."""
        row, networks = rows

        def coupling(carry, given):
            network, complement = given
            stay = row.mask ^ complement

            def of(x):
                loc, raw = jnp.split(network(self.activation, jnp.where(stay, x, 0)), 2, axis=-1)
                # What stays does so by the identity.
                return Affine(jnp.where(stay, 0, loc), jnp.where(stay, 0, bounded(raw)))

            return step(carry, of), None

        complements = np.arange(row.number) % 2 == 1
        start = jax.tree.map(lambda v: v.astype(jnp.result_type(v, networks.first.bias)), start)
        return jax.lax.scan(coupling, start, (networks, complements), reverse=reverse)[0]

    def inverse(self, x):
        def step(carry, of):
            x, total = carry
            x, log_slopes = of(x).inverse(x)
            return x, total + jnp.sum(log_slopes)

        left = []
        carry = x.reshape(self.shape), jnp.zeros((), x.dtype)
        for before, after in self._steps():
            carry = self._each(step, carry, before)
            if after:
                carry = self._each(step, (squeeze(carry[0]), carry[1]), after)
                # The half that has just moved, were there one coupling alone.
                x, leaving = jnp.split(carry[0], 2, axis=-1)
                left.append(leaving)
                carry = x, carry[1]
        return jnp.concatenate([v.reshape(-1) for v in (*left, carry[0])]), carry[1]

    def forward(self, z):
        def step(x, of):
            return of(x).forward(x)

        # What leaves a scale is as large as what is left for the next one.
        shapes = [scale.before.shape for scale in (*self.plan[1:], self.plan[-1])]
        cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        left = [v.reshape(shape) for v, shape in zip(jnp.split(z, cuts), shapes, strict=True)]
        x = left.pop()
        for before, after in reversed(self._steps()):
            if after:
                x = jnp.concatenate([x, left.pop()], axis=-1)
                x = unsqueeze(self._each(step, x, after, reverse=True))
            x = self._each(step, x, before, reverse=True)
        return x.reshape(-1)


# Configurations.


def _require_two(name: str, visible: int) -> None:
    if visible < 2:
        raise ConfigError(
            f"{name}: got {visible} visible unit, but a coupling needs one unit that moves and one that stays; use maf "
            "or inverse_transform_generator, which serve one unit."
        )


@config
class NICE(FlowConfig):
    """Additive couplings, of unit Jacobian, and a scale for every unit."""

    citation: ClassVar[str] = "Dinh, Krueger and Bengio 2014"

    layers: int = field(default=4, ge=1, help="couplings")
    hidden: tuple[int, ...] = field(default=(500, 500), ge=1, help="sizes of every coupling's hidden layers")
    activation: Activation = field(default="relu", help="after every hidden layer")

    @property
    def least_visible(self) -> int:
        return 2

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for a single one."""
        _require_two("NICE", visible)
        network = Vectors(visible, self.layers, self.hidden, self.activation, Additive(), scaled=True)
        return as_flow(self, network, visible, self.logit)


@config
class RealNVP(FlowConfig):
    """Affine couplings, of vectors or of images at several scales."""

    citation: ClassVar[str] = "Dinh, Sohl-Dickstein and Bengio 2017"

    layers: int = field(
        default=6, ge=1, help="couplings; of an image, those of each kind at a scale, and one more at the last"
    )
    hidden: tuple[int, ...] = field(
        default=(200, 200), ge=1, help="sizes of hidden layers; of an image, the channels of every residual block"
    )
    activation: Activation = field(default="relu", help="after every hidden layer")
    image_shape: tuple[int, ...] | None = field(
        default=None, ge=1, help="(height, width) or (height, width, channels) for convolutions, None for vectors"
    )
    scales: int = field(default=1, ge=1, help="scales of an image; each but the first has a quarter of the pixels")

    def check(self) -> list[str]:
        if self.image_shape is None:
            return [] if self.scales == 1 else [f"scales: got {self.scales} without image_shape; give it, or leave 1."]
        found = []
        if len(self.image_shape) not in (2, 3):
            found.append(f"image_shape: got {self.image_shape}, expected (height, width) or (height, width, channels).")
        if not self.hidden or len(set(self.hidden)) > 1:
            found.append(f"hidden: got {self.hidden} with image_shape, expected the same channels for every block.")
        smaller = 2 ** (self.scales - 1)
        height, width = self.image_shape[:2] if len(self.image_shape) > 1 else (1, 1)
        if len(self.image_shape) in (2, 3) and (height % smaller or width % smaller or height * width < 2 * smaller**2):
            found.append(
                f"scales: got {self.scales} for an image of {height} x {width}, which halves height and width "
                f"{self.scales - 1} times and must leave whole numbers and at least two pixels; give fewer scales."
            )
        return found

    @property
    def least_visible(self) -> int:
        return 2 if self.image_shape is None else math.prod(self.image_shape)

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for a single one, or another number than the image has."""
        _require_two("RealNVP", visible)
        if self.image_shape is None:
            network: nn.Module = Vectors(visible, self.layers, self.hidden, self.activation, Scaled())
        else:
            if math.prod(self.image_shape) != visible:
                raise ConfigError(
                    f"image_shape: got {self.image_shape}, which has {math.prod(self.image_shape)} units, but x has "
                    f"{visible}; give the shape of one example."
                )
            height, width, channels = (*self.image_shape, 1)[:3]
            network = Images((height, width, channels), self.layers, self.scales, self.hidden, self.activation)
        return as_flow(self, network, visible, self.logit)


@config
class NeuralSplineFlow(FlowConfig):
    """Couplings by monotone rational-quadratic splines."""

    citation: ClassVar[str] = "Durkan, Bekasov, Murray and Papamakarios 2019"

    layers: int = field(default=6, ge=1, help="couplings")
    hidden: tuple[int, ...] = field(default=(200, 200), ge=1, help="sizes of every coupling's hidden layers")
    activation: Activation = field(default="relu", help="after every hidden layer")
    bins: int = field(default=8, ge=1, le=MOST_BINS, help="bins K of every spline")
    bound: float = field(default=4.0, static=True, gt=0, help="splines run from -bound to bound, the identity beyond")

    @property
    def least_visible(self) -> int:
        return 2

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units; ConfigError for a single one."""
        _require_two("NeuralSplineFlow", visible)
        kind = Splines(self.bins, float(self.bound))
        network = Vectors(visible, self.layers, self.hidden, self.activation, kind)
        return as_flow(self, Standardized(visible, network), visible, self.logit)


def nice(visible: int, **fields) -> LikelihoodModel:
    """Non-linear independent components: additive couplings, in turns of the two halves of x,

        moved -> moved - m(kept),   log |det| = 0,   and at the end   z_i -> z_i exp(-s_i).

    Couplings start as the identity. |x| far above 1 takes long to learn: standardize real data.

    Args:
        visible: units D of an example, at least 2; halves of an odd number are unequal.
        **fields: those of `NICE`: `layers`, `hidden`, `activation`; `logit`, None for real x, or alpha for x in
            [0, 1], which goes through logit(alpha + (1 - 2 alpha) x) first.

    Returns:
        A `LikelihoodModel` with `inverse` and `forward`, and with `preprocess_log_det` where there is a logit.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or a single unit.

    Example:
        >>> model = nice(64, layers=4, hidden=(200, 200))

    Reference:
        Dinh, Krueger and Bengio, "NICE: non-linear independent components estimation", 2014, sections 3.2 and 3.3,
        with a normal prior.
    """
    return build_from_fields(NICE, visible, fields)


def realnvp(visible: int, **fields) -> LikelihoodModel:
    """Real-valued non-volume-preserving transformations: affine couplings,

        moved -> (moved - t(kept)) exp(-s(kept)),   log |det| = -sum_i s_i,

    |s_i| kept below 8 by a tanh. The two halves of a vector move in turns. With `image_shape` the networks are
    convolutions in residual blocks, with layer norm over channels (a model is defined on one example, and has no batch
    norm), and each scale has couplings by checkerboard, a squeeze of 2 x 2 pixels to channels, couplings by channels,
    and half of the channels leaving; the last scale has `layers + 1` by checkerboard. Couplings start as the identity:
    standardize real data.

    Args:
        visible: units D of an example, at least 2; halves of an odd number are unequal.
        **fields: those of `RealNVP`: `layers`, `hidden`, `activation`; `image_shape`, None for vectors, or (height,
            width) or (height, width, channels) of x flattened row by row; `scales`; `logit`, None for real x, or alpha
            for x in [0, 1], which goes through logit(alpha + (1 - 2 alpha) x) first.

    Returns:
        A `LikelihoodModel` with `inverse` and `forward`, and with `preprocess_log_det` where there is a logit.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, a single unit, or an image shape of another
            number of units.

    Example:
        >>> model = realnvp(784, image_shape=(28, 28), scales=3, layers=3, hidden=(32, 32), logit=0.05)

    Reference:
        Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", 2017, equations 7 and 8, sections 3.4
        to 3.6.
    """
    return build_from_fields(RealNVP, visible, fields)


def neural_spline_flow(visible: int, **fields) -> LikelihoodModel:
    """Couplings whose elementwise maps are monotone rational-quadratic splines from -bound to bound, the identity
    beyond; before them, every unit is shifted and scaled, as is learned.

    Args:
        visible: units D of an example, at least 2; halves of an odd number are unequal.
        **fields: those of `NeuralSplineFlow`: `layers`, `hidden`, `activation`, `bins`, `bound`; `logit`, None for real
            x, or alpha for x in [0, 1], which goes through logit(alpha + (1 - 2 alpha) x) first.

    Returns:
        A `LikelihoodModel` with `inverse` and `forward`, and with `preprocess_log_det` where there is a logit.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or a single unit.

    Example:
        >>> model = neural_spline_flow(6, layers=5, hidden=(128, 128))

    Reference:
        Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", 2019, equations 4 to 8, RQ-NSF (C).
    """
    return build_from_fields(NeuralSplineFlow, visible, fields)
