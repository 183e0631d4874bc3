"""Layered sigmoid belief networks (Neal 1992; Goodfellow et al. 2016, section 20.10.1)."""

from typing import ClassVar

import flax.linen as nn
import jax

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import Conditionals, Kind, Units, zeros


class GenerativeLayers(nn.Module):
    """p(x, h): the top layer, then a conditional for each layer below, down to x."""

    sizes: tuple[int, ...]  # from x up to the top
    kinds: tuple[Kind, ...]
    hidden: int | None
    deterministic: tuple[int, ...]

    def setup(self):
        self.top_logits = self.param("top_logits", zeros, self.sizes[-1:])
        self.top = Units(self.sizes[-1], self.kinds[-1], self.hidden)
        self.below = Conditionals(self.sizes[1:], self.sizes[:-1], self.kinds[:-1], self.hidden, self.deterministic)

    def prior(self):
        return self.top(self.top_logits)

    def __call__(self, i, above):
        """The conditional of layer i given the layer above it; layer 0 is x."""
        return self.below(i, above)

    def affine_layers(self):
        """(biases of the top, ((W, b), ...) from the layer below it down to x)."""
        return self.top_logits, tuple((layer.kernel, layer.bias) for layer in reversed(self.below.layers))


class SigmoidBeliefNetworkModule(nn.Module):
    """p: h_L -> ... -> h_1 -> x; q: x -> h_1 -> ... -> h_L. Latents (h_1, ..., h_L), in {0, 1}."""

    reparameterized: ClassVar[bool] = False
    support: ClassVar[str] = "binary"
    layered: ClassVar[bool] = True

    visible: int
    layers: tuple[int, ...]
    generative_kinds: tuple[Kind, ...]  # of x, h_1, ..., h_L
    recognition_kinds: tuple[Kind, ...]  # of h_1, ..., h_L
    nade_hidden: int | None
    deterministic: tuple[int, ...]  # between two layers, from the lower one upwards

    @property
    def factorial_posterior(self) -> bool:
        return set(self.recognition_kinds) == {"factorial"}

    @property
    def lacks(self) -> tuple[str, ...]:
        """The optional functions of the contract that need independent units, or an affine map from layer to layer."""
        visible, *latent = (kind != "factorial" for kind in self.generative_kinds)
        lacking = {
            "decode": visible,
            "prior_logits": any(latent),
            "affine_layers": visible or any(latent) or bool(self.deterministic),
        }
        return tuple(name for name, is_so in lacking.items() if is_so)

    def setup(self):
        sizes, hidden, between = (self.visible, *self.layers), self.nade_hidden, self.deterministic
        self.generative = GenerativeLayers(sizes, self.generative_kinds, hidden, between[::-1])
        self.recognition = Conditionals(sizes[:-1], self.layers, self.recognition_kinds, hidden, between)

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
            s, log_q = self.recognition(i, s).sample_and_log_prob(k)
            z.append(s)
            terms.append(log_q)
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
    """Sigmoid belief network: layers of binary latents, and a recognition network of the same layers.

    The conditionals of p and q are each of one kind, or of a kind a layer.
    """

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Neal 1992; Saul, Jaakkola and Jordan 1996; Bornschein and Bengio 2015"

    layers: tuple[int, ...] = field(
        default=(200,), ge=1, nonempty=True, help="sizes of the latent layers, from x upwards"
    )
    generative: Kind | tuple[Kind, ...] = field(
        default="factorial", help="p's conditionals: a kind for all, or one each for x and the latent layers, upwards"
    )
    recognition: Kind | tuple[Kind, ...] = field(
        default="factorial", help="q's conditionals: a kind for all, or one for each latent layer, upwards"
    )
    nade_hidden: int | None = field(
        default=None, ge=1, help="hidden units of every nade conditional; None for as many as the layer has units"
    )
    deterministic: tuple[int, ...] = field(
        default=(), ge=1, help="sizes of the tanh layers between two stochastic layers, from the lower one upwards"
    )

    def kinds(self) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
        """The kinds of p's conditionals, for x, h_1, ..., h_L, and of q's, for h_1, ..., h_L."""
        number = len(self.layers)
        p, q = self.generative, self.recognition
        return (p,) * (number + 1) if isinstance(p, str) else p, (q,) * number if isinstance(q, str) else q

    def check(self) -> list[str]:
        number, (p, q), found = len(self.layers), self.kinds(), []
        if len(p) != number + 1:
            found.append(
                f"generative: got {p!r}, expected one kind, or {number + 1}: for x and each of the latent layers."
            )
        if len(q) != number:
            found.append(f"recognition: got {q!r}, expected one kind, or {number}: for each of the latent layers.")
        if self.nade_hidden is not None and "nade" not in p + q:
            found.append(
                f"nade_hidden: got {self.nade_hidden!r}, but no conditional in generative or recognition is a 'nade'; "
                "leave it None."
            )
        return found

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units."""
        module = SigmoidBeliefNetworkModule(visible, self.layers, *self.kinds(), self.nade_hidden, self.deterministic)
        return as_model(LatentVariableModel, module)


def sigmoid_belief_network(visible: int, **fields) -> LatentVariableModel:
    """A sigmoid belief network over x in {0, 1}^visible, with its recognition network.

    p(x, h) = p(h_L) p(h_{L-1} | h_L) ... p(x | h_1), every unit a sigmoid of the layer above it and, where the layer is
    not factorial, of the units before it in its own; q(h | x) has the same layers, walked upwards. The three kinds of
    conditional are written out in `genjax_models.models.conditionals`.

    Args:
        visible: units D of an example.
        **fields: those of `SigmoidBeliefNetwork`: `layers`, sizes from x upwards; `generative` and `recognition`, the
            kinds "factorial", "autoregressive" or "nade" of p's and q's conditionals; `nade_hidden`, hidden units of
            the nades; `deterministic`, sizes of tanh layers between stochastic ones.

    Returns:
        A `LatentVariableModel` with z = (h_1, ..., h_L), a group for each layer; not reparameterized. It has `decode`
        where p(x | h_1) is factorial, `prior_logits` where p's latent layers are, and `affine_layers` where all of p is
        and has no tanh layers.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = sigmoid_belief_network(64, layers=(32, 16), generative="nade", nade_hidden=20)
        >>> params = model.init(jax.random.key(0), jnp.zeros(64), ())
        >>> z, x = model.sample_joint(params, jax.random.key(1), ())
        >>> [h.shape for h in z], x.shape
        ([(32,), (16,)], (64,))

    Reference:
        Neal, "Connectionist learning of belief networks", 1992; Goodfellow et al. 2016, equation 20.70; Bornschein and
        Bengio, "Reweighted wake-sleep", 2015.
    """
    return build_from_fields(SigmoidBeliefNetwork, visible, fields)
