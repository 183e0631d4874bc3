"""What q(z | x) of real latents is: its law, given the numbers that an encoder puts out for it.

    diagonal_gaussian         every latent by itself              Kingma and Welling 2014
    full_gaussian             any covariance
    inverse_autoregressive    layers of masked networks on a diagonal Gaussian's draw      Kingma et al. 2016

Each is a linen module that says how many numbers it is given (`width`), and turns them into a law: something with
`sample_and_log_prob(key)`, reparameterized, `log_prob(z)`, and, where they have a closed form, `moments()` (mean and
standard deviation), `kl_to_standard()` and `kl_to_standard_by_dimension()`. Any module that does so may stand there.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.distributions import LOG_2PI, Normal, standard_normal
from genjax_models.models.autoregressive_flows import layer_orders
from genjax_models.models.layers import Activation, dense
from genjax_models.models.made import MaskedNetwork


class Diagonal(NamedTuple):
    """N(loc, diag(scale^2)) of all latents."""

    normal: Normal  # [Z]

    def sample_and_log_prob(self, key):
        return self.normal.sample_and_log_prob(key)

    def log_prob(self, z):
        return self.normal.log_prob(z)

    def moments(self):
        return self.normal.loc, jnp.exp(self.normal.log_scale)

    def kl_to_standard(self):
        return self.normal.kl_to_standard()

    def kl_to_standard_by_dimension(self):
        return Normal(*(v[..., None] for v in self.normal)).kl_to_standard()


class DiagonalPosterior(nn.Module):
    """A diagonal Gaussian from its means and log scales."""

    latent: int

    closed_form: ClassVar[tuple[str, ...]] = ("kl", "kl_by_dimension", "posterior_moments")

    @property
    def width(self) -> int:
        return 2 * self.latent

    def __call__(self, numbers):
        return Diagonal(Normal(*jnp.split(numbers, 2, axis=-1)))


class Full(NamedTuple):
    """N(loc, L L'), L lower triangular with a positive diagonal."""

    loc: jax.Array  # [Z]
    log_diagonal: jax.Array  # [Z], of L
    below: jax.Array  # [Z, Z], of which what lies below the diagonal counts

    @property
    def tril(self) -> jax.Array:
        return jnp.tril(self.below, -1) + jnp.diag(jnp.exp(self.log_diagonal))

    def _log_prob_of_noise(self, noise):
        return -jnp.sum(0.5 * jnp.square(noise) + self.log_diagonal) - 0.5 * LOG_2PI * noise.shape[-1]

    def sample_and_log_prob(self, key):
        noise = standard_normal(key, self.loc.shape, self.loc.dtype)
        # Exact, for the log-probability is of the noise: few digits would make z one of another noise.
        return self.loc + jnp.matmul(self.tril, noise, precision="highest"), self._log_prob_of_noise(noise)

    def log_prob(self, z):
        return self._log_prob_of_noise(jax.scipy.linalg.solve_triangular(self.tril, z - self.loc, lower=True))

    def moments(self):
        return self.loc, jnp.linalg.norm(self.tril, axis=-1)

    def kl_to_standard(self):
        square = jnp.sum(jnp.square(self.loc)) + jnp.sum(jnp.square(self.tril))
        return 0.5 * (square - self.loc.shape[-1]) - jnp.sum(self.log_diagonal)


class FullPosterior(nn.Module):
    """A Gaussian of any covariance, from its means, the logs of its Cholesky factor's diagonal, and what is below."""

    latent: int

    closed_form: ClassVar[tuple[str, ...]] = ("kl", "posterior_moments")

    @property
    def width(self) -> int:
        return 2 * self.latent + self.latent * (self.latent - 1) // 2

    def __call__(self, numbers):
        loc, log_diagonal, rest = jnp.split(numbers, (self.latent, 2 * self.latent))
        return Full(
            loc, log_diagonal, jnp.zeros((self.latent, self.latent)).at[jnp.tril_indices(self.latent, -1)].set(rest)
        )


class Chain(NamedTuple):
    """z = g_T(... g_1(z_0)), z_0 from a diagonal Gaussian; g_t(z)_i = s_i z_i + (1 - s_i) m_i by the latents before i.

    s = sigmoid(2 + r), and r and m are a masked network's (Kingma et al. 2016, equations 10 to 14 and algorithm 1).
    """

    start: Normal  # [Z]
    forward: Any  # z_0 -> (z, log |det dz/dz_0|)
    inverse: Any  # z -> (z_0, log |det dz_0/dz|)

    def sample_and_log_prob(self, key):
        z, log_q = self.start.sample_and_log_prob(key)
        z, log_det = self.forward(z)
        return z, log_q - log_det

    def log_prob(self, z):
        z, log_det = self.inverse(z)
        return self.start.log_prob(z) + log_det


OPEN = 2.0  # of a gate at the start, which so lets most of z_i through (Kingma et al. 2016, section 4)


def _gate(network, z):
    m, r = network(z)
    r = r + OPEN
    return jax.nn.sigmoid(r) * z + jax.nn.sigmoid(-r) * m, jnp.sum(jax.nn.log_sigmoid(r))


def _ungate(layer: MaskedNetwork, shift, z):
    """The way back, a latent after the other in the layer's order."""
    nothing, outputs, see = layer.unit_by_unit(z.dtype, shift=shift)

    def unit(seen, given):
        position, i = given
        m, r = outputs(seen, i)
        r = r + OPEN
        before = (z[i] - jax.nn.sigmoid(-r) * m) / jax.nn.sigmoid(r)
        return see(seen, position, i, before), -jax.nn.log_sigmoid(r)

    order = jnp.array(layer.order)
    seen, log_slopes = jax.lax.scan(unit, nothing, (1 + jnp.arange(len(order)), order))
    return seen.x, jnp.sum(log_slopes)


class InverseAutoregressivePosterior(nn.Module):
    """A diagonal Gaussian's draw, taken through layers of masked networks that also see what the encoder says of x.

    A draw with its density is one pass a layer; the density of a given z takes the latents one after the other.
    """

    latent: int
    layers: int
    hidden: tuple[int, ...]
    activation: Activation
    context: int

    closed_form: ClassVar[tuple[str, ...]] = ()

    @property
    def width(self) -> int:
        return 2 * self.latent + self.context

    def setup(self):
        orders = layer_orders(self.latent, self.layers, None)
        shape = self.hidden, self.activation
        self.networks = [MaskedNetwork(order, *shape, False, None, outputs=2) for order in orders]
        self.shifts = [dense(self.hidden[0]) for _ in orders]

    def __call__(self, numbers):
        loc, log_scale, h = jnp.split(numbers, (self.latent, 2 * self.latent))
        pairs = [(network, shift(h)) for network, shift in zip(self.networks, self.shifts, strict=True)]

        def through(z, steps):
            total = jnp.zeros((), z.dtype)
            for step in steps:
                z, log_det = step(z)
                total = total + log_det
            return z, total

        def forward(z):
            return through(z, [lambda v, n=network, s=shift: _gate(n(shift=s), v) for network, shift in pairs])

        def inverse(z):
            return through(z, [lambda v, n=network, s=shift: _ungate(n, s, v) for network, shift in pairs[::-1]])

        return Chain(Normal(loc, log_scale), forward, inverse)


@config
class DiagonalGaussian:
    """A mean and a scale for every latent."""

    citation: ClassVar[str] = "Kingma and Welling 2014"

    def module(self, latent: int) -> nn.Module:
        """The law of `latent` latents."""
        return DiagonalPosterior(latent)


@config
class FullGaussian:
    """A mean for every latent, and any covariance of all of them."""

    citation: ClassVar[str] = "Kingma and Welling 2019, section 2.5.1"

    def module(self, latent: int) -> nn.Module:
        """The law of `latent` latents."""
        return FullPosterior(latent)


@config
class InverseAutoregressive:
    """Inverse autoregressive flow on a diagonal Gaussian."""

    citation: ClassVar[str] = "Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016"

    layers: int = field(
        default=2, ge=1, help="masked networks, one on the other, each in the order opposite to the last"
    )
    hidden: tuple[int, ...] = field(default=(100,), ge=1, nonempty=True, help="sizes of every masked network's layers")
    activation: Activation = field(default="elu", help="after every hidden layer")
    context: int = field(default=50, ge=1, help="numbers from the encoder that all masked networks see")

    def module(self, latent: int) -> nn.Module:
        """The law of `latent` latents."""
        return InverseAutoregressivePosterior(latent, self.layers, self.hidden, self.activation, self.context)


Posterior = DiagonalGaussian | FullGaussian | InverseAutoregressive
POSTERIORS: dict[str, type] = {
    "diagonal_gaussian": DiagonalGaussian,
    "full_gaussian": FullGaussian,
    "inverse_autoregressive": InverseAutoregressive,
}
