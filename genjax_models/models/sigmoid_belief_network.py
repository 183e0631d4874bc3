"""Layered sigmoid belief networks (Neal 1992; Goodfellow et al. 2016, section 20.10.1)."""

from typing import ClassVar

import flax.linen as nn
import jax

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.distributions import Bernoulli
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.layers import dense


class FactorialLayers(nn.Module):
    """A chain of conditionals p(s_i = 1 | layer before) = sigmoid(sum_j W_ji s_j + b_i) (equation 20.70)."""

    sizes: tuple[int, ...]

    def setup(self):
        self.layers = [dense(size) for size in self.sizes]

    def __call__(self, i, before):
        return Bernoulli(self.layers[i](before))


class GenerativeLayers(nn.Module):
    """p(x, h): the top layer's biases, then a conditional for each layer below, down to x."""

    sizes: tuple[int, ...]  # from x up to the layer below the top
    top: int

    def setup(self):
        self.top_logits = self.param("top_logits", nn.initializers.zeros_init(), (self.top,))
        self.below = FactorialLayers(self.sizes)

    def prior(self):
        return Bernoulli(self.top_logits)

    def __call__(self, i, above):
        """The conditional of layer i given the layer above it; layer 0 is x."""
        return self.below(i, above)

    def affine_layers(self):
        """(biases of the top, ((W, b), ...) from the layer below it down to x)."""
        layers = [layer.variables["params"] for layer in reversed(self.below.layers)]
        return self.top_logits, tuple((layer["kernel"], layer["bias"]) for layer in layers)


class SigmoidBeliefNetworkModule(nn.Module):
    """p: h_L -> ... -> h_1 -> x; q: x -> h_1 -> ... -> h_L. Latents (h_1, ..., h_L), in {0, 1}."""

    reparameterized: ClassVar[bool] = False
    support: ClassVar[str] = "binary"
    factorial_posterior: ClassVar[bool] = True
    layered: ClassVar[bool] = True

    visible: int
    layers: tuple[int, ...]

    def setup(self):
        self.generative = GenerativeLayers((self.visible, *self.layers[:-1]), self.layers[-1])
        self.recognition = FactorialLayers(self.layers)

    def sample_joint(self, key, c=()):
        keys = jax.random.split(key, len(self.layers) + 1)
        s = self.generative.prior().sample(keys[-1])
        z = [s]
        for i in reversed(range(len(self.layers))):
            s = self.generative(i, s).sample(keys[i])
            z.insert(0, s)
        return tuple(z[1:]), z[0]

    def propose(self, key, x, c=()):
        z, terms, s = [], [], x
        for i, k in enumerate(jax.random.split(key, len(self.layers))):
            q = self.recognition(i, s)
            s = q.sample(k)
            z.append(s)
            terms.append(q.log_prob(s))
        return tuple(z), tuple(terms)

    def log_joint(self, z, x, c=()):
        likelihood, *prior = (self.generative(i, above).log_prob(s) for i, (s, above) in enumerate(_pairs(x, z)))
        return Joint(likelihood, (*prior, self.generative.prior().log_prob(z[-1])))

    def log_posterior(self, z, x, c=()):
        return tuple(self.recognition(i, below).log_prob(s) for i, (below, s) in enumerate(_pairs(x, z)))

    def decode(self, z, c=()):
        return self.generative(0, z[0]).mean()

    def posterior_logits(self, z, x, c=()):
        return tuple(self.recognition(i, below).logits_given(s) for i, (below, s) in enumerate(_pairs(x, z)))

    def sample_from_uniforms(self, u, x, c=()):
        z, logits, s = [], [], x
        for i, v in enumerate(u):
            s, logit = self.recognition(i, s).sample_from_uniforms(v)
            z.append(s)
            logits.append(logit)
        return tuple(z), tuple(logits)

    def prior_logits(self, z, c=()):
        below = (self.generative(i, s).logits for i, s in enumerate(z) if i > 0)
        return (*below, self.generative.prior().logits)

    def affine_layers(self):
        return self.generative.affine_layers()


def _pairs(x, z):
    """(layer, layer above) from x upwards."""
    return zip((x, *z[:-1]), z, strict=True)


@config
class SigmoidBeliefNetwork(ModelConfig):
    """Sigmoid belief network: layers of binary latents, factorial conditionals, a mirrored recognition network."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Neal 1992; Saul, Jaakkola and Jordan 1996"
    layers: tuple[int, ...] = field(
        default=(200,), ge=1, nonempty=True, help="sizes of the latent layers, from x upwards"
    )

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units."""
        return as_model(LatentVariableModel, SigmoidBeliefNetworkModule(visible, self.layers))


def sigmoid_belief_network(visible: int, **fields) -> LatentVariableModel:
    """A sigmoid belief network over x in {0, 1}^visible, with its recognition network.

    p(x, h) = p(h_L) p(h_{L-1} | h_L) ... p(x | h_1), every unit a sigmoid of the layer above it; q(h | x) has the same
    layers, walked upwards.

    Args:
        visible: units D of an example.
        **fields: those of `SigmoidBeliefNetwork`: `layers`, sizes from x upwards.

    Returns:
        A `LatentVariableModel` with z = (h_1, ..., h_L), a group for each layer; not reparameterized.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = sigmoid_belief_network(64, layers=(32, 16))
        >>> params = model.init(jax.random.key(0), jnp.zeros(64), ())
        >>> z, x = model.sample_joint(params, jax.random.key(1), ())
        >>> [h.shape for h in z], x.shape
        ([(32,), (16,)], (64,))

    Reference:
        Neal, "Connectionist learning of belief networks", 1992; Goodfellow et al. 2016, equation 20.70.
    """
    return build_from_fields(SigmoidBeliefNetwork, visible, fields)
