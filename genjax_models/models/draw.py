"""The deep recurrent attentive writer (Gregor, Danihelka, Graves, Rezende and Wierstra 2015)."""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.distributions import Normal, standard_normal
from genjax_models.errors import ConfigError
from genjax_models.models import attention
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.recurrence import Recurrence, zeros
from genjax_models.models.units import (
    LIKELIHOOD_HELP,
    Bernoulli,
    DiscretizedLogistics,
    Emission,
    Gaussian,
    Likelihood,
)


class Writer(Recurrence):
    """h^dec_t from z_t, and what it adds to the canvas (equations 7 and 8)."""

    image_shape: tuple[int, int, int]
    outputs: int  # numbers P for each value of the image
    latent: int
    hidden: int
    window: int | None

    def setup(self):
        height, width, channels = self.image_shape
        shape = (self.outputs, height, width, channels)
        self.canvas = self.param("canvas", zeros, (math.prod(shape),))  # c_0
        self.memory, self.step = self.lstm(self.latent, self.hidden)
        if self.window is None:
            self.write = self.affine("write", self.hidden, math.prod(shape))
            return
        size = self.window
        head = self.affine("write", self.hidden, attention.NUMBERS + self.outputs * size * size * channels)

        def write(h):
            numbers, patch = jnp.split(head(h), (attention.NUMBERS,))
            view = attention.window(numbers, size, height, width)
            return attention.write(view, patch.reshape(self.outputs, size, size, channels)).ravel()

        self.write = write
        self.outline = lambda h: attention.outline(head(h)[: attention.NUMBERS], size, height, width)


class Reader(Recurrence):
    """h^enc_t from what is read of x and of its error, and q(z_t | h^enc_t) (equations 1, 2, 4 and 5)."""

    image_shape: tuple[int, int, int]
    latent: int
    hidden: int
    decoder_hidden: int
    window: int | None

    def setup(self):
        height, width, channels = self.image_shape
        size = self.window
        if size is None:
            seen = 2 * height * width * channels
            self.read = lambda x, error, h: (x, error)
        else:
            seen = 2 * size * size * channels
            head = self.affine("read", self.decoder_hidden, attention.NUMBERS)

            def read(x, error, h):
                view = attention.window(head(h), size, height, width)
                return tuple(attention.read(view, v.reshape(height, width, channels)).ravel() for v in (x, error))

            self.read = read
        self.memory, self.step = self.lstm(seen + self.decoder_hidden, self.hidden)
        self.law = self.affine("law", self.hidden, 2 * self.latent)


def _guess(units: Any, numbers: jax.Array) -> jax.Array:
    """E[x], from which x errs; without its rounding to levels where the exact mean is a sum over all of these."""
    if isinstance(units, DiscretizedLogistics):
        weights, means, _ = units._components(numbers)
        return (jnp.sum(jax.nn.softmax(weights, axis=-2) * means, axis=-2) + 1) / 2
    return units.mean(numbers)


class DRAWModule(nn.Module):
    """z_t ~ N(0, I) for t = 1, ..., T; x ~ p(x | c_T). A latent group for every glimpse, z_t [Z].

    q(z_t | x, z_1, ..., z_{t-1}) looks at the canvas and at the decoder's state, so it is made of all that p is made of
    but the scale of x: those parameters are "shared".
    """

    reparameterized: ClassVar[bool] = True
    support: ClassVar[str] = "real"

    generative: Emission
    recognition: Reader
    shared: Writer
    glimpses: int

    @property
    def lacks(self) -> tuple[str, ...]:
        return () if self.shared.window is not None else ("windows",)

    def _start(self):
        return self.shared.memory, self.shared.canvas

    def _decode(self, z):
        """(c_t, h^dec_t) after every glimpse at z, [T, Z] -> [T, ...], and c_T."""
        step, write = self.shared.step, self.shared.write

        def glimpse(carry, z):
            memory, canvas = carry
            memory = step(memory, (z,))
            canvas = canvas + write(memory.hidden)
            return (memory, canvas), (canvas, memory.hidden)

        (_, canvas), seen = jax.lax.scan(glimpse, self._start(), z)
        return canvas, seen

    def _attend(self, x, given, draw):
        """z, q(z_t | ...) of every glimpse, and c_T; z_t is draw(q, given_t)."""
        x = jnp.asarray(x)
        write_step, write = self.shared.step, self.shared.write
        read, read_step, law = self.recognition.read, self.recognition.step, self.recognition.law
        emission, units = self.generative, self.generative.units

        def glimpse(carry, given):
            reader, writer, canvas = carry
            error = x - _guess(units, emission(canvas))
            reader = read_step(reader, (*read(x, error, writer.hidden), writer.hidden))
            q = Normal(*jnp.split(law(reader.hidden), 2))
            z = draw(q, given)
            writer = write_step(writer, (z,))
            return (reader, writer, canvas + write(writer.hidden)), (z, q)

        # Backwards, all but the large products is computed again: to store it would take longer, and the most memory.
        saved = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        glimpse = jax.checkpoint(glimpse, policy=saved, prevent_cse=False)
        (_, _, canvas), (z, q) = jax.lax.scan(glimpse, (self.recognition.memory, *self._start()), given)
        return z, q, canvas

    def _joint(self, z, canvas, x):
        likelihood = self.generative.units.log_prob(self.generative(canvas), jnp.asarray(x))
        return Joint(likelihood, tuple(Normal(jnp.zeros_like(z), jnp.zeros(())).log_prob(z)))

    def sample_joint(self, key, c=()):
        above, below = jax.random.split(key)
        z = standard_normal(above, (self.glimpses, self.shared.latent), self.shared.canvas.dtype)
        canvas, _ = self._decode(z)
        return tuple(z), self.generative.units.sample(below, self.generative(canvas))

    def propose_joint(self, key, x, c=()):
        noise = standard_normal(key, (self.glimpses, self.shared.latent), self.shared.canvas.dtype)
        z, q, canvas = self._attend(x, noise, lambda q, noise: q.loc + jnp.exp(q.log_scale) * noise)
        return tuple(z), tuple(q.log_prob_of_noise(noise)), self._joint(z, canvas, x)

    def propose(self, key, x, c=()):
        return self.propose_joint(key, x, c)[:2]

    def log_joint(self, z, x, c=()):
        z = jnp.stack(z)
        return self._joint(z, self._decode(z)[0], x)

    def log_posterior(self, z, x, c=()):
        z, q, _ = self._attend(x, jnp.stack(z), lambda q, z: z)
        return tuple(q.log_prob(z))

    def decode(self, z, c=()):
        return self.canvases(z, c)[-1]

    def canvases(self, z, c=()):
        _, (canvas, _) = self._decode(jnp.stack(z))
        return self.generative.units.mean(self.generative(canvas))

    def windows(self, z, c=()):
        _, (_, hidden) = self._decode(jnp.stack(z))
        return jax.vmap(self.shared.outline)(hidden)


@config
class DRAW(ModelConfig):
    """Deep recurrent attentive writer: T glimpses, each read from an image and written to a canvas, by two LSTMs."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Gregor, Danihelka, Graves, Rezende and Wierstra 2015"

    image_shape: tuple[int, ...] = field(default=(28, 28), ge=1, help="height, width and perhaps channels of x")
    glimpses: int = field(default=64, ge=1, help="T, glimpses of an image and strokes on the canvas")
    latent: int = field(default=100, ge=1, help="latent units Z of a glimpse")
    encoder_hidden: int = field(default=256, ge=1, help="units of the LSTM that reads")
    decoder_hidden: int = field(default=256, ge=1, help="units of the LSTM that writes")
    read: int | None = field(default=2, ge=1, help="N of the N x N filters that read; None reads the whole image")
    write: int | None = field(default=5, ge=1, help="N of the N x N filters that write; None writes the whole canvas")
    likelihood: Likelihood = field(default=Bernoulli(), help=LIKELIHOOD_HELP)

    def check(self) -> list[str]:
        if len(self.image_shape) not in (2, 3):
            return [f"image_shape: got {self.image_shape}, expected (height, width) or (height, width, channels)."]
        edge = min(self.image_shape[:2])
        return [
            f"{name}: got {size}, a window of {size} x {size} filters, but the image has {self.image_shape[0]} x "
            f"{self.image_shape[1]} pixels; give at most {edge}, or None for no window."
            for name, size in (("read", self.read), ("write", self.write))
            if size is not None and size > edge
        ]

    @property
    def data_support(self) -> str:
        """The values that p(x | z) is defined on."""
        return self.likelihood.data_support

    @property
    def density(self) -> bool:
        """Whether p(x | z) is a density of a scale without limit."""
        return self.likelihood.data_support == "real" and not (
            isinstance(self.likelihood, Gaussian) and self.likelihood.scale is not None
        )

    @property
    def levels(self) -> int | None:
        """L, where a unit of x takes the values k / (L - 1) alone."""
        return self.likelihood.levels

    @property
    def least_visible(self) -> int:
        return math.prod(self.image_shape)

    def build(self, visible: int) -> LatentVariableModel:
        """The model of images with `visible` values; ConfigError where `image_shape` has another number of them."""
        if visible != math.prod(self.image_shape):
            raise ConfigError(
                f"image_shape: got {self.image_shape}, which has {math.prod(self.image_shape)} values, but x has "
                f"{visible}; give the shape of the data's images."
            )
        height, width, *depth = self.image_shape
        shape = height, width, depth[0] if depth else 1
        emission = Emission(self.likelihood, visible)
        reader = Reader(shape, self.latent, self.encoder_hidden, self.decoder_hidden, self.read)
        writer = Writer(shape, self.likelihood.outputs or 1, self.latent, self.decoder_hidden, self.write)
        return as_model(LatentVariableModel, DRAWModule(emission, reader, writer, self.glimpses))


def draw(visible: int, **fields) -> LatentVariableModel:
    """A deep recurrent attentive writer of images in [0, 1]^visible, R^visible or of counts.

    With h^dec_0, h^enc_0 and c_0 learned, for t = 1, ..., T

        r_t = read(x, x - E[x | c_{t-1}], h^dec_{t-1}),    h^enc_t = LSTM(h^enc_{t-1}, [r_t, h^dec_{t-1}])
        z_t ~ q(z_t | h^enc_t),    h^dec_t = LSTM(h^dec_{t-1}, z_t),    c_t = c_{t-1} + write(h^dec_t)

    and p(x | z) is that of the last canvas, c_T. The channels of an image share the filters of a window.

    Args:
        visible: values D of an image, row by row, the channels of a pixel together.
        **fields: those of `DRAW`: `image_shape`, `glimpses`, `latent`, `encoder_hidden`, `decoder_hidden`, `read`,
            `write`, `likelihood`.

    Returns:
        A `LatentVariableModel` with z a tuple of T arrays [latent], reparameterized. All parameters of p but a learned
        scale of x are in the group "shared", for q reads p's canvas. `canvases` gives the image after every glimpse,
        and `windows`, with `write`, where it wrote.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value; a window larger than the image.

    Example:
        >>> model = draw(784, glimpses=8, latent=10)
        >>> params = model.init(jax.random.key(0), jnp.zeros(784), ())
        >>> z, x = model.sample_joint(params, jax.random.key(1), ())
        >>> model.canvases(params, z, ()).shape
        (8, 784)

    Reference:
        Gregor, Danihelka, Graves, Rezende and Wierstra, "DRAW: A recurrent neural network for image generation", 2015,
        equations 1 to 8, 17 and 18, and with windows 19 to 29.
    """
    return build_from_fields(DRAW, visible, fields)
