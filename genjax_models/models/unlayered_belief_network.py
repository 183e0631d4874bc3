"""The sigmoid belief network without layers (Goodfellow et al. 2016, equation 20.70; Neal 1992).

All units s_1, ..., s_{Z+D} stand in one order, each a sigmoid of all before it; any Z of them are hidden.
"""

import itertools
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ModelConfig, config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.distributions import AutoregressiveBernoulli, Bernoulli
from genjax_models.errors import ConfigError
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import Conditional, zeros
from genjax_models.models.initializers import glorot_uniform

Recognition = Literal["autoregressive", "factorial"]


class OrderedUnits(nn.Module):
    """p(s_i = 1 | s_1, ..., s_{i-1}) = sigmoid(b_i + sum_{j < i} W_ji s_j), with `weights` [i, j]."""

    units: int

    def setup(self):
        self.bias = self.param("bias", zeros, (self.units,))
        self.weights = self.param("weights", glorot_uniform, (self.units, self.units))

    def __call__(self):
        return AutoregressiveBernoulli(self.bias, self.weights)


class UnlayeredBeliefNetworkModule(nn.Module):
    """p: s_1 -> s_2 -> ...; q: x -> h. The only latent group is h, the hidden units in their order."""

    reparameterized: ClassVar[bool] = False
    support: ClassVar[str] = "binary"

    visible: int
    hidden: tuple[int, ...]  # positions of the hidden units, increasing
    recognition_kind: Recognition

    @property
    def factorial_posterior(self) -> bool:
        return self.recognition_kind == "factorial"

    @property
    def layered(self) -> bool:
        """Whether h is a layer above x: log p(h) then involves h alone."""
        return self.hidden == tuple(range(len(self.hidden)))

    @property
    def prior_given_x(self) -> bool:
        return not self.layered

    def setup(self):
        units = len(self.hidden) + self.visible
        self.generative = OrderedUnits(units)
        self.recognition = Conditional(self.visible, len(self.hidden), self.recognition_kind, None, ())
        self.hidden_at = np.array(self.hidden)
        self.visible_at = np.setdiff1d(np.arange(units), self.hidden_at)

    def sample_joint(self, key, c=()):
        s = self.generative().sample(key)
        return (s[self.hidden_at],), s[self.visible_at]

    def propose(self, key, x, c=()):
        h, log_q = self.recognition(x).sample_and_log_prob(key)
        return (h,), (log_q,)

    def log_joint(self, z, x, c=()):
        (h,) = z
        # Where the k-th of (h, x) stands in s.
        place = np.argsort(np.concatenate([self.hidden_at, self.visible_at]))
        logits = self.generative().logits_given(jnp.concatenate([h, x])[place])
        likelihood = Bernoulli(logits[self.visible_at]).log_prob(x)
        return Joint(likelihood, (Bernoulli(logits[self.hidden_at]).log_prob(h),))

    def log_posterior(self, z, x, c=()):
        return (self.recognition(x).log_prob(z[0]),)

    def posterior_logits(self, z, x, c=()):
        return (self.recognition(x).logits_given(z[0]),)

    def sample_from_uniforms(self, u, x, c=()):
        h, logits = self.recognition(x).sample_from_uniforms(u[0])
        return (h,), (logits,)


@config
class UnlayeredBeliefNetwork(ModelConfig):
    """Sigmoid belief network without layers: units in one order, each given all before it, any of them hidden."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Neal 1992; Goodfellow, Bengio and Courville 2016, equation 20.70"

    hidden: int | tuple[int, ...] = field(
        default=20,
        nonempty=True,
        help="the hidden units: how many, to stand before all visible ones, or their positions in the order, from 0",
    )
    recognition: Recognition = field(default="autoregressive", help="q's units given x: one after the other, or apart")

    def positions(self) -> tuple[int, ...]:
        """Those of the hidden units."""
        return self.hidden if isinstance(self.hidden, tuple) else tuple(range(self.hidden))

    def check(self) -> list[str]:
        at = self.positions()
        if not at:
            return [f"hidden: got {self.hidden!r}, expected at least 1 hidden unit."]
        if at[0] < 0 or any(i >= j for i, j in itertools.pairwise(at)):
            return [f"hidden: got {at!r}, expected positions from 0 that increase, none twice."]
        return []

    @property
    def data_support(self) -> str:
        return "unit"

    @property
    def least_visible(self) -> int:
        """As many as stand before the last hidden unit, but at least 1."""
        at = self.positions()
        return max(1, at[-1] + 1 - len(at))

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units.

        Raises:
            ConfigError: a hidden unit's position lies beyond the last unit.
        """
        at = self.positions()
        if at[-1] >= len(at) + visible:
            raise ConfigError(
                f"hidden: got position {at[-1]}, expected at most {len(at) + visible - 1}: the {len(at)} hidden and "
                f"{visible} visible units have positions from 0."
            )
        return as_model(LatentVariableModel, UnlayeredBeliefNetworkModule(visible, at, self.recognition))


def unlayered_belief_network(visible: int, **fields) -> LatentVariableModel:
    """A sigmoid belief network over x in {0, 1}^visible with its units in one order, and its recognition network.

        p(s_i = 1 | s_1, ..., s_{i-1}) = sigmoid(sum_{j < i} W_ji s_j + b_i),

    s being x and Z hidden units h at any positions. With the hidden ones first that is h before x, each fully connected
    within; with the visible ones first h explains nothing, and p(x) is that of a fully visible net. q(h | x) has logits
    x A + c, plus, if auto-regressive, those from the hidden units before. A probability is one masked product, a draw
    of p one scan.

    Args:
        visible: units D of an example.
        **fields: those of `UnlayeredBeliefNetwork`: `hidden`, the number Z of hidden units, which then come first, or
            their positions in the order, from 0 to Z + D - 1; `recognition`, "autoregressive" or "factorial".

    Returns:
        A `LatentVariableModel` with z = (h,), not reparameterized. The terms of its `log_joint` are the sums over the
        visible and over the hidden units, which are log p(x | h) and log p(h) where the hidden ones come first.
        E[x | h] has no closed form, so there is no `decode`.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value, a position beyond the last unit included.

    Example:
        >>> model = unlayered_belief_network(4, hidden=(0, 3))
        >>> params = model.init(jax.random.key(0), jnp.zeros(4), ())
        >>> (h,), x = model.sample_joint(params, jax.random.key(1), ())  # s = (h_1, x_1, x_2, h_2, x_3, x_4)
        >>> h.shape, x.shape
        ((2,), (4,))

    Reference:
        Neal, "Connectionist learning of belief networks", 1992; Goodfellow et al. 2016, equation 20.70.
    """
    return build_from_fields(UnlayeredBeliefNetwork, visible, fields)
