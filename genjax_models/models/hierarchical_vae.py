"""Variational autoencoders with several layers of Gaussian latents (Rezende, Mohamed and Wierstra 2014)."""

import itertools
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.distributions import Normal
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.layers import MLP, Activation, activation
from genjax_models.models.units import LIKELIHOOD_HELP, Bernoulli, Emission, Likelihood, LikelihoodConfig

Inference = Literal["bottom_up", "ladder"]


class Conditional(nn.Module):
    """N(loc(h), diag(scale(h)^2)) of a layer, its two parameters from one network."""

    size: int
    hidden: tuple[int, ...]
    activation: Activation

    def setup(self):
        self.network = MLP(self.hidden, 2 * self.size, self.activation)

    def __call__(self, h):
        return Normal(*jnp.split(self.network(h), 2, axis=-1))


class Layers(nn.Module):
    """The conditionals of all layers but one, from the bottom up, each with hidden layers of its own size."""

    sizes: tuple[int, ...]
    hidden: tuple[tuple[int, ...], ...]
    activation: Activation

    def setup(self):
        self.laws = [Conditional(n, h, self.activation) for n, h in zip(self.sizes, self.hidden, strict=True)]

    def __call__(self, i, h):
        return self.laws[i](h)


class Below(nn.Module):
    """p(x | z_1)."""

    emission: Emission
    hidden: tuple[int, ...]
    activation: Activation

    def setup(self):
        self.network = MLP(self.hidden, self.emission.width, self.activation)

    def __call__(self, z):
        return self.emission(self.network(z))


class Generative(nn.Module):
    """p(x | z_1) and p(z_l | z_{l+1}), l = 1, ..., L - 1."""

    visible: Below
    latents: Layers


class Trunk(nn.Module):
    """d_l = f_l(d_{l-1}) with d_0 = x, and the part N(loc, scale^2) that each has in q(z_l | z_{l+1}, x)."""

    sizes: tuple[int, ...]
    hidden: tuple[tuple[int, ...], ...]
    activation: Activation

    def setup(self):
        self.up = [MLP(h[:-1], h[-1], self.activation) for h in self.hidden]
        self.heads = [MLP((), 2 * n, self.activation) for n in self.sizes]

    def __call__(self, x):
        parts, h = [], x
        for up, head in zip(self.up, self.heads, strict=True):
            h = activation(self.activation)(up(h))
            parts.append(Normal(*jnp.split(head(h), 2, axis=-1)))
        return parts


def combine(a: Normal, b: Normal) -> Normal:
    """The normalized product of two densities: precisions add up (Sønderby et al. 2016, equations 17 to 19)."""
    log_precision = jnp.logaddexp(-2 * a.log_scale, -2 * b.log_scale)
    weight = jnp.exp(-2 * a.log_scale - log_precision)
    return Normal(weight * a.loc + (1 - weight) * b.loc, -0.5 * log_precision)


class _HierarchicalVAE(nn.Module):
    """z_L ~ N(0, I), z_l ~ p(z_l | z_{l+1}), x ~ p(x | z_1). Latents: a tuple (z_1, ..., z_L)."""

    reparameterized: ClassVar[bool] = True
    support: ClassVar[str] = "real"

    def _visible(self, z):
        """(the units of x, their numbers)."""
        raise NotImplementedError

    def _law(self, z, i):
        """p(z_l | z_{l+1}) of l = i + 1."""
        raise NotImplementedError

    def _top(self):
        size = self.sizes[-1]
        return Normal(jnp.zeros(size), jnp.zeros(size))

    def sample_joint(self, key, c=()):
        number = len(self.sizes)
        below, *keys = jax.random.split(key, number + 1)
        z = [self._top().sample(keys[-1])]
        for i in range(number - 2, -1, -1):
            z.insert(0, self._law(z[0], i).sample(keys[i]))
        units, numbers = self._visible(z[0])
        return tuple(z), units.sample(below, numbers)

    def log_joint(self, z, x, c=()):
        units, numbers = self._visible(z[0])
        prior = [self._law(above, i).log_prob(v) for i, (v, above) in enumerate(itertools.pairwise(z))]
        return Joint(units.log_prob(numbers, x), (*prior, self._top().log_prob(z[-1])))

    def decode(self, z, c=()):
        units, numbers = self._visible(z[0])
        return units.mean(numbers)


class BottomUp(_HierarchicalVAE):
    """q(z | x) = q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_{L-1})."""

    layered: ClassVar[bool] = True

    generative: Generative
    recognition: Layers
    sizes: tuple[int, ...]

    def _visible(self, z):
        return self.generative.visible.emission.units, self.generative.visible(z)

    def _law(self, z, i):
        return self.generative.latents(i, z)

    def propose(self, key, x, c=()):
        z, terms, h = [], [], x
        for i, k in enumerate(jax.random.split(key, len(self.sizes))):
            h, log_q = self.recognition(i, h).sample_and_log_prob(k)
            z.append(h)
            terms.append(log_q)
        return tuple(z), tuple(terms)

    def log_posterior(self, z, x, c=()):
        return tuple(self.recognition(i, h).log_prob(v) for i, (h, v) in enumerate(zip((x, *z[:-1]), z, strict=True)))


class Ladder(_HierarchicalVAE):
    """q(z | x) = q(z_L | x) ... q(z_1 | z_2, x), each factor the product of p(z_l | z_{l+1}) and of a part by x.

    q is made of p's conditionals of z, whose parameters so belong to both.
    """

    generative: Below
    shared: Layers
    recognition: Trunk
    sizes: tuple[int, ...]

    def _visible(self, z):
        return self.generative.emission.units, self.generative(z)

    def _law(self, z, i):
        return self.shared(i, z)

    def _factors(self, x, step):
        """step(i, q(z_l | z_{l+1}, x)) -> (z_l, its term) of l = i + 1, from the top down."""
        parts = self.recognition(x)
        z: list[Any] = []
        terms: list[Any] = []
        for i in range(len(self.sizes) - 1, -1, -1):
            law = combine(self._law(z[0], i), parts[i]) if z else parts[i]
            v, term = step(i, law)
            z.insert(0, v)
            terms.insert(0, term)
        return tuple(z), tuple(terms)

    def propose(self, key, x, c=()):
        keys = jax.random.split(key, len(self.sizes))
        return self._factors(x, lambda i, law: law.sample_and_log_prob(keys[i]))

    def log_posterior(self, z, x, c=()):
        return self._factors(x, lambda i, law: (z[i], law.log_prob(z[i])))[1]


@config
class HierarchicalVAE(LikelihoodConfig):
    """Variational autoencoder with layers of Gaussian latents, q from x upwards or, as a ladder, from the top down."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = (
        "Rezende, Mohamed and Wierstra 2014; Burda, Grosse and Salakhutdinov 2015; Sønderby et al. 2016 (ladder)"
    )

    layers: tuple[int, ...] = field(default=(100, 50), ge=1, nonempty=True, help="latent units, from x upwards")
    hidden: tuple[int, ...] = field(
        default=(200, 100), ge=1, nonempty=True, help="hidden units between x and the first layer, and so on upwards"
    )
    depth: int = field(default=2, ge=1, help="hidden layers of every conditional")
    activation: Activation = field(default="tanh", help="after every hidden layer")
    likelihood: Likelihood = field(default=Bernoulli(), help=LIKELIHOOD_HELP)
    inference: Inference = field(
        default="bottom_up", help="q(z_l | z_{l-1}) from x upwards, or q(z_l | z_{l+1}, x) from the top down (ladder)"
    )

    def check(self) -> list[str]:
        if len(self.hidden) != len(self.layers):
            return [
                f"hidden: got {len(self.hidden)} sizes for {len(self.layers)} layers of latents, expected one for each."
            ]
        return []

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units."""
        hidden = tuple((n,) * self.depth for n in self.hidden)
        below = Below(Emission(self.likelihood, visible), hidden[0], self.activation)
        latents = Layers(self.layers[:-1], hidden[1:], self.activation)
        if self.inference == "ladder":
            trunk = Trunk(self.layers, hidden, self.activation)
            module: nn.Module = Ladder(below, latents, trunk, self.layers)
        else:
            module = BottomUp(Generative(below, latents), Layers(self.layers, hidden, self.activation), self.layers)
        return as_model(LatentVariableModel, module)._replace(name="HierarchicalVAE")


def hierarchical_vae(visible: int, **fields) -> LatentVariableModel:
    """A variational autoencoder with layers of latents,

        p(x, z) = p(x | z_1) p(z_1 | z_2) ... p(z_{L-1} | z_L) N(z_L; 0, I),

    each conditional a diagonal Gaussian by a network. By `inference`, q is a chain from x upwards, as in the
    importance weighted autoencoder's paper, or a ladder: from the top down, where q(z_l | z_{l+1}, x) is the product of
    p(z_l | z_{l+1}) and of a Gaussian that x gives, so that a layer without use costs nothing.

    Args:
        visible: units D of an example.
        **fields: those of `HierarchicalVAE`: `layers`, `hidden`, `depth`, `activation`, `likelihood` (of
            `models.units`), `inference`.

    Returns:
        A `LatentVariableModel` with z a tuple (z_1, ..., z_L) of arrays [n_l], reparameterized. Under a ladder, p's
        conditionals of z are in the group "shared", for they are q's too.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = hierarchical_vae(784, layers=(100, 50), hidden=(200, 100))

    Reference:
        Rezende, Mohamed and Wierstra 2014; Burda, Grosse and Salakhutdinov 2015, section 3; Sønderby, Raiko, Maaløe,
        Sønderby and Winther, "Ladder variational autoencoders", 2016.
    """
    return build_from_fields(HierarchicalVAE, visible, fields)
