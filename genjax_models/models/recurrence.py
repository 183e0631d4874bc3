"""Parts of recurrent networks as pure functions."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.models.initializers import glorot_uniform
from genjax_models.models.layers import Activation, activation
from genjax_models.models.units import LIKELIHOOD_HELP, Bernoulli, Likelihood, LikelihoodConfig

Cell = Literal["gru", "lstm"]
zeros = nn.initializers.zeros_init()


@config
class RecurrentConfig(LikelihoodConfig):
    """What the configurations of recurrent networks have in common."""

    frame: int = field(default=1, ge=1, help="units F of a time step; x is T steps of F units, time first")
    hidden: int = field(default=64, ge=1, help="units H of the recurrence")
    features: int = field(default=64, ge=1, help="units of what x and z go through, and of hidden layers")
    depth: int = field(default=1, ge=1, help="hidden layers of every network, each")
    cell: Cell = field(default="gru", help="gru (Cho et al. 2014) or lstm (Hochreiter and Schmidhuber 1997)")
    activation: Activation = field(default="relu", help="of hidden layers")
    likelihood: Likelihood = field(default=Bernoulli(), help=LIKELIHOOD_HELP)

    @property
    def least_visible(self) -> int:
        return self.frame


class Memory(NamedTuple):
    """What a recurrent network carries from step to step."""

    hidden: jax.Array  # h, [H]
    cell: Any = ()  # an LSTM's s, [H]


class Recurrence(nn.Module):
    """Parts of a recurrent network as pure functions, which `lax.scan` takes where it takes no module."""

    def affine(self, name: str, inputs: int, out: int) -> Callable[[jax.Array], jax.Array]:
        """h W + b."""
        kernel = self.param(f"{name}_kernel", glorot_uniform, (inputs, out))
        bias = self.param(f"{name}_bias", zeros, (out,))
        return lambda h: h @ kernel + bias

    def perceptron(
        self, name: str, inputs: int, hidden: Sequence[int], nonlinear: Activation, out: int | None = None
    ) -> Callable[..., jax.Array]:
        """Hidden layers with an activation after each, and where `out` is given a last one without: of vectors with
        `inputs` values in all."""
        sizes = [inputs, *hidden]
        layers = [self.affine(f"{name}_{i}", *pair) for i, pair in enumerate(itertools.pairwise(sizes))]
        last = None if out is None else self.affine(f"{name}_out", sizes[-1], out)

        def apply(*given):
            h = jnp.concatenate(given)
            for layer in layers:
                h = activation(nonlinear)(layer(h))
            return h if last is None else last(h)

        return apply

    def lstm(self, inputs: int, hidden: int) -> tuple[Memory, Callable[[Memory, tuple], Memory]]:
        """A learned first state, and the step from a state and vectors with `inputs` values in all to the next state.

        Forget gates start open, by a bias of 1.
        """
        gates = self.affine("gates", inputs + hidden, 4 * hidden)
        start = Memory(self.param("hidden", zeros, (hidden,)), self.param("cell", zeros, (hidden,)))

        def step(memory, given):
            i, f, g, o = jnp.split(gates(jnp.concatenate([*given, memory.hidden])), 4)
            cell = jax.nn.sigmoid(f + 1) * memory.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            return Memory(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)

        return start, step

    def gru(self, inputs: int, hidden: int) -> tuple[Memory, Callable[[Memory, tuple], Memory]]:
        """As `lstm`, by gated recurrent units: h' = u h + (1 - u) tanh(W [given, r h] + b)."""
        gates = self.affine("gates", inputs + hidden, 2 * hidden)
        candidate = self.affine("candidate", inputs + hidden, hidden)
        start = Memory(self.param("hidden", zeros, (hidden,)))

        def step(memory, given):
            h = memory.hidden
            reset, update = jnp.split(jax.nn.sigmoid(gates(jnp.concatenate([*given, h]))), 2)
            return Memory(update * h + (1 - update) * jnp.tanh(candidate(jnp.concatenate([*given, reset * h]))))

        return start, step

    def recurrent(self, cell: Cell, inputs: int, hidden: int) -> tuple[Memory, Callable[[Memory, tuple], Memory]]:
        """`lstm` or `gru`, by name."""
        return self.lstm(inputs, hidden) if cell == "lstm" else self.gru(inputs, hidden)


def numbers_of(emission: Any, decoder: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The units' numbers by an `Emission` of what a network puts out, within a scan too."""
    emission(jnp.zeros(emission.width))  # which then has its parameters
    return lambda *given: emission(decoder(*given))
