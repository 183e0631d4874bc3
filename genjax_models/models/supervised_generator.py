"""Generators of images whose codes are known (Dosovitskiy, Springenberg and Brox 2015)."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import LikelihoodModel
from genjax_models.distributions import Normal, standard_normal
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.layers import Activation, Convolution, activation, dense


class ImageOfCode(nn.Module):
    """A code to an image [H, W, C] and the logits of its mask [H, W, 1], or None."""

    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...]
    channels: tuple[int, ...]
    activation: Activation
    mask: bool

    def setup(self):
        height, width, depth = self.image_shape
        self.start = (height >> len(self.channels), width >> len(self.channels), self.channels[0])
        self.code = [*map(dense, self.hidden), dense(self.start[0] * self.start[1] * self.start[2])]
        self.up = [Convolution(channels) for channels in self.channels]
        self.heads = Convolution(depth + self.mask)

    def __call__(self, c):
        act = activation(self.activation)
        h = c
        for layer in self.code:
            h = act(layer(h))
        h = h.reshape(self.start)
        for up in self.up:
            h = act(up(h.repeat(2, axis=0).repeat(2, axis=1)))
        out = self.heads(h)
        depth = self.image_shape[-1]
        return jax.nn.sigmoid(out[..., :depth]), out[..., depth:] if self.mask else None


class SupervisedGeneratorModule(nn.Module):
    """p(x | c) of a known code c: every pixel Gaussian about the image, or about black where the mask leaves it out."""

    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...]
    channels: tuple[int, ...]
    activation: Activation
    mask: bool
    scale: float

    def setup(self):
        self.generative = ImageOfCode(self.image_shape, self.hidden, self.channels, self.activation, self.mask)

    def emit(self, c):
        shape = getattr(c, "shape", None)
        if shape is None or len(shape) != 1:
            raise ModelError(
                f"supervised_generator: got {c if shape is None else shape} as the context of an example, expected its "
                "code, an array [C]: train it on data with contexts, such as COIL20 or Solids."
            )
        return self.generative(c)

    def mean(self, c):
        image, mask = self.emit(c)
        return (image if mask is None else image * jax.nn.sigmoid(mask)).ravel()

    def sample(self, key, c=()):
        image, mask = self.emit(c)
        inside, noise = jax.random.split(key)
        if mask is not None:
            image = image * jax.random.bernoulli(inside, jax.nn.sigmoid(mask))
        return (image + self.scale * standard_normal(noise, image.shape)).ravel()

    def log_prob(self, x, c=()):
        image, mask = self.emit(c)
        pixels = x.reshape(self.image_shape)

        def score(about):
            """log N(x; about, scale^2) of every pixel, [H, W, 1], its channels together."""
            return Normal(about, jnp.log(self.scale)).log_prob(pixels)[..., None]

        if mask is None:
            return score(image).sum()
        inside, outside = jax.nn.log_sigmoid(mask), jax.nn.log_sigmoid(-mask)
        return jnp.logaddexp(inside + score(image), outside + score(jnp.zeros_like(image))).sum()


@config
class SupervisedGenerator(ModelConfig):
    """Images from known codes: a network of the code, up-convolutions, and heads for the image and for its mask."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Dosovitskiy, Springenberg and Brox 2015"

    image_shape: tuple[int, ...] = field(default=(32, 32), ge=1, help="height, width and perhaps channels of x")
    hidden: tuple[int, ...] = field(default=(256, 256), ge=1, help="layers of the code, from the code on")
    channels: tuple[int, ...] = field(
        default=(64, 32, 16), ge=1, nonempty=True, help="of the up-convolutions, each of which doubles height and width"
    )
    activation: Activation = field(default="silu", help="after every layer but the heads")
    mask: bool = field(default=True, help="a head that tells where the object is; black elsewhere")
    scale: float = field(default=0.1, gt=0, help="standard deviation of every pixel about its mean")

    def check(self) -> list[str]:
        if len(self.image_shape) not in (2, 3):
            return [f"image_shape: got {self.image_shape}, expected (height, width) or (height, width, channels)."]
        factor = 2 ** len(self.channels)
        if any(n % factor for n in self.image_shape[:2]):
            problem = (
                f"channels: got {len(self.channels)} up-convolutions, which make multiples of {factor} pixels, "
                f"for images of {self.image_shape[:2]}; give fewer, or images of such a size."
            )
            return [problem]
        return []

    @property
    def data_support(self) -> str:
        return "real"

    @property
    def density(self) -> bool:
        return False  # of a fixed scale, which bounds it

    @property
    def needs_context(self) -> bool:
        return True

    @property
    def least_visible(self) -> int:
        height, width, *channels = self.image_shape
        return height * width * (channels[0] if channels else 1)

    def build(self, visible: int) -> LikelihoodModel:
        """The model of images with `visible` values; ConfigError unless `image_shape` has as many."""
        if visible != self.least_visible:
            raise ConfigError(
                f"image_shape: got {self.image_shape}, which has {self.least_visible} values, but x has {visible}; "
                "give the shape of the data's images."
            )
        height, width, *depth = self.image_shape
        shape = (height, width, depth[0] if depth else 1)
        module = SupervisedGeneratorModule(shape, self.hidden, self.channels, self.activation, self.mask, self.scale)
        return as_model(LikelihoodModel, module)


def supervised_generator(visible: int, **fields) -> LikelihoodModel:
    """A generator of images x of known codes c, learned from pairs.

        p(x | c) = prod over pixels of  m N(x; u, scale^2) + (1 - m) N(x; 0, scale^2),

    with the image u(c) in [0, 1] and the mask m(c) from up-convolutions of a network of the code. The mask is not in
    the data: it is summed out, pixel by pixel. With a small scale maximum likelihood is least squares on the object and
    a classification of its outline, which are the two losses of the paper.

    Args:
        visible: values D of an image, the product of `image_shape`.
        **fields: those of `SupervisedGenerator`: `image_shape`, `hidden`, `channels`, `activation`, `mask`, `scale`.

    Returns:
        A `LikelihoodModel` whose context is the code, an array [C], with `mean`: E[x | c] = m u.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, or a shape of another size.
        ModelError: when it is called without a code.

    Example:
        >>> model = supervised_generator(1024, image_shape=(32, 32))
        >>> params = model.init(jax.random.key(0), jnp.zeros(1024), jnp.zeros(9))
        >>> model.mean(params, jnp.zeros(9)).shape
        (1024,)

    Reference:
        Dosovitskiy, Springenberg and Brox, "Learning to generate chairs with convolutional neural networks", 2015;
        Goodfellow et al. 2016, section 20.10.2.
    """
    return build_from_fields(SupervisedGenerator, visible, fields)
