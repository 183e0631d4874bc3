"""Recurrent networks without latents, the baselines of Chung et al. (2015)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config
from genjax_models.core import LikelihoodModel
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.layers import Activation
from genjax_models.models.recurrence import Cell, Recurrence, RecurrentConfig, numbers_of
from genjax_models.models.units import Emission
from genjax_models.sequences import frames_of, mask_of, number_of_steps, scan_steps, steps_drawn, where_on


class Network(Recurrence):
    """h_t = f(phi_x(x_t), h_{t-1}) and p(x_t | h_{t-1})."""

    frame: int
    hidden: int
    layers: tuple[int, ...]
    cell: Cell
    activation: Activation
    emission: Emission

    def setup(self):
        self.features = self.perceptron("x", self.frame, self.layers, self.activation)
        self.start, self.step = self.recurrent(self.cell, self.layers[-1], self.hidden)
        decoder = self.perceptron("decoder", self.hidden, self.layers, self.activation, self.emission.width)
        self.numbers = numbers_of(self.emission, decoder)


class RecurrentLikelihoodModule(nn.Module):
    """p(x) = prod_t p(x_t | x_<t). Step t draws from fold_in(key, t)."""

    generative: Network
    frame: int
    steps: int  # T where no mask says it

    def setup(self):
        # Here, for no module may look for its parameters within a scan.
        self.units, self.numbers = self.generative.emission.units, self.generative.numbers
        self.features, self.start, self.recur = self.generative.features, self.generative.start, self.generative.step

    def log_prob(self, x, c=()):
        x, on = frames_of(x, c, self.frame)

        def step(carry, row):
            memory, log_p = carry
            _, on, x = row
            term = self.units.log_prob(self.numbers(memory.hidden), x)
            new = self.recur(memory, (self.features(x),))
            return (where_on(on, new, memory), log_p + jnp.where(on, term, 0)), ()

        return scan_steps(step, (self.start, jnp.zeros((), self.start.hidden.dtype)), on, x)[0][1]

    def _generate(self, key, on, x=None, seen=None):
        """x [T * F]; as given where `seen` [T]."""

        def step(memory, row):
            t, on, given = row
            x = self.units.sample(jax.random.fold_in(key, t), self.numbers(memory.hidden))
            if given:
                x = jnp.where(given[1], given[0], x)
            return where_on(on, self.recur(memory, (self.features(x),)), memory), jnp.where(on, x, 0)

        return scan_steps(step, self.start, on, () if seen is None else (x, seen))[1].ravel()

    def sample(self, key, c=()):
        return self._generate(key, mask_of(c, steps_drawn(c, self.steps)))

    def continue_from(self, key, x, steps, c=()):
        x, on = frames_of(x, c, self.frame)
        return self._generate(key, on, x, jnp.arange(len(on)) < steps)


@config
class RecurrentLikelihood(RecurrentConfig):
    """Recurrent network that predicts every time step from those before it, without latents."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Graves 2013; Chung, Kastner, Dinh, Goel, Courville and Bengio 2015"
    takes_context: ClassVar[bool] = True  # masks

    def build(self, visible: int) -> LikelihoodModel:
        """The model of sequences with `visible` values; ConfigError where they are no whole number of steps."""
        network = Network(
            self.frame,
            self.hidden,
            (self.features,) * self.depth,
            self.cell,
            self.activation,
            Emission(self.likelihood, self.frame),
        )
        steps = number_of_steps(visible, self.frame)
        return as_model(LikelihoodModel, RecurrentLikelihoodModule(network, self.frame, steps))


def recurrent_likelihood(visible: int, **fields: Any) -> LikelihoodModel:
    """A recurrent network of sequences with T steps of F units, visible = T F, with exact log p(x).

    With h_0 learned, x_t ~ p(x_t | h_{t-1}) and h_t = f(phi_x(x_t), h_{t-1}): `variational_rnn` without its latents,
    and so the baseline of equal size. The units of a step are independent given the steps before it. Contexts are masks
    and lengths are free, as there.

    Args:
        visible: values D = T F of a sequence, time first.
        **fields: those of `RecurrentLikelihood`: `frame`, `hidden`, `features`, `depth`, `cell`, `activation`,
            `likelihood`.

    Returns:
        A `LikelihoodModel`. `continue_from(params, key, x, steps, c)` keeps the first steps of x and draws the others.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value; `visible` no multiple of `frame`.

    Example:
        >>> model = recurrent_likelihood(3 * 88, frame=88)
        >>> params = model.init(jax.random.key(0), jnp.zeros(3 * 88), ())
        >>> model.log_prob(params, jnp.zeros(3 * 88), jnp.zeros(3))
        Array(0., dtype=float32)

    Reference:
        Chung, Kastner, Dinh, Goel, Courville and Bengio, "A recurrent latent variable model for sequential data", 2015,
        equations 1 to 3.
    """
    return build_from_fields(RecurrentLikelihood, visible, fields)
