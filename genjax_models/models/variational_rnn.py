"""The variational recurrent neural network (Chung, Kastner, Dinh, Goel, Courville and Bengio 2015)."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax_models.config import config, field
from genjax_models.core import Joint, LatentVariableModel, total
from genjax_models.distributions import Normal, standard_normal
from genjax_models.models.adapter import as_model
from genjax_models.models.build import build_from_fields
from genjax_models.models.layers import Activation
from genjax_models.models.recurrence import Cell, Memory, Recurrence, RecurrentConfig, numbers_of
from genjax_models.models.units import Emission
from genjax_models.sequences import frames_of, mask_of, number_of_steps, scan_steps, steps_drawn, where_on


class Features(Recurrence):
    """phi_x, phi_z and the recurrence h_t = f(phi_x(x_t), phi_z(z_t), h_{t-1}) (equation 7)."""

    latent: int
    hidden: int
    layers: tuple[int, ...]  # sizes of hidden layers, in every network
    activation: Activation
    frame: int
    cell: Cell

    def setup(self):
        self.of_x = self.perceptron("x", self.frame, self.layers, self.activation)
        self.of_z = self.perceptron("z", self.latent, self.layers, self.activation)
        self.start, self.step = self.recurrent(self.cell, 2 * self.layers[-1], self.hidden)


class Laws(Recurrence):
    """p(z_t | h_{t-1}) and p(x_t | z_t, h_{t-1}) (equations 5 and 6)."""

    latent: int
    hidden: int
    layers: tuple[int, ...]
    activation: Activation
    emission: Emission

    def setup(self):
        head = self.perceptron("prior", self.hidden, self.layers, self.activation, 2 * self.latent)
        self.prior = lambda h: Normal(*jnp.split(head(h), 2))
        given = self.layers[-1] + self.hidden
        decoder = self.perceptron("decoder", given, self.layers, self.activation, self.emission.width)
        self.numbers = numbers_of(self.emission, decoder)


class Encoder(Recurrence):
    """q(z_t | x_t, h_{t-1}) (equation 9)."""

    latent: int
    hidden: int
    layers: tuple[int, ...]
    activation: Activation

    def setup(self):
        given = self.layers[-1] + self.hidden
        head = self.perceptron("encoder", given, self.layers, self.activation, 2 * self.latent)
        self.law = lambda features, h: Normal(*jnp.split(head(features, h), 2))


class VariationalRNNModule(nn.Module):
    """p(x, z) = prod_t p(z_t | x_<t, z_<t) p(x_t | z_<=t, x_<t), q(z | x) = prod_t q(z_t | x_<=t, z_<t).

    z is one latent group, [T, Z]. All sums over steps are taken step by step, and step t draws from fold_in(key, t), so
    that padding changes no bit.
    """

    reparameterized: ClassVar[bool] = True
    support: ClassVar[str] = "real"
    prior_given_x: ClassVar[bool] = True

    generative: Laws
    recognition: Encoder
    shared: Features
    frame: int
    steps: int  # T where no mask says it

    def setup(self):
        # Here, for no module may look for its parameters within a scan.
        self.units = self.generative.emission.units
        self.prior, self.numbers, self.law = self.generative.prior, self.generative.numbers, self.recognition.law
        self.of_x, self.of_z = self.shared.of_x, self.shared.of_z
        self.start, self.recur = self.shared.start, self.shared.step
        self.dtype = self.start.hidden.dtype

    def _noise(self, key):
        return standard_normal(key, (self.shared.latent,), self.dtype)

    def _step(self, memory: Memory, x, draw):
        """h_t, z_t, and the step's log p(x_t | ...), log p(z_t | ...) and log q(z_t | ...); z_t, log q = draw(q)."""
        h, features = memory.hidden, self.of_x(x)
        z, log_q = draw(self.law(features, h))
        features_z = self.of_z(z)
        terms = self.units.log_prob(self.numbers(features_z, h), x), self.prior(h).log_prob(z), log_q
        return self.recur(memory, (features, features_z)), z, terms

    def _draw(self, noise):
        """z_t of q by its noise, along which gradients flow."""

        def draw(q):
            return q.loc + jnp.exp(q.log_scale) * noise, q.log_prob_of_noise(noise)

        return draw

    def _walk(self, x, c, draw, given=()):
        """z [T, Z] and the three sums of `_step`'s terms over the steps that are there; z_t is draw(t, given_t)(q)."""
        x, on = frames_of(x, c, self.frame)

        def step(carry, row):
            memory, sums = carry
            t, on, (x, given) = row
            new, z, terms = self._step(memory, x, draw(t, given))
            sums = tuple(s + jnp.where(on, term, 0) for s, term in zip(sums, terms, strict=True))
            return (where_on(on, new, memory), sums), jnp.where(on, z, 0)

        (_, sums), z = scan_steps(step, (self.start, (jnp.zeros((), self.dtype),) * 3), on, (x, given))
        return z, sums

    def _at(self, z, x, c):
        z = jnp.where(mask_of(c, len(z))[:, None], z, 0)
        return self._walk(x, c, lambda t, z: lambda q: (z, q.log_prob(z)), z)[1]

    def propose_joint(self, key, x, c=()):
        noise = jax.vmap(lambda t: self._noise(jax.random.fold_in(key, t)))(jnp.arange(jnp.size(x) // self.frame))
        z, (likelihood, prior, log_q) = self._walk(x, c, lambda t, noise: self._draw(noise), noise)
        return z, (log_q,), Joint(likelihood, (prior,))

    def propose(self, key, x, c=()):
        return self.propose_joint(key, x, c)[:2]

    def log_joint(self, z, x, c=()):
        likelihood, prior, _ = self._at(z, x, c)
        return Joint(likelihood, (prior,))

    def log_posterior(self, z, x, c=()):
        return (self._at(z, x, c)[2],)

    def _generate(self, key, on, x=None, seen=None):
        """z [T, Z] and x [T * F] from p; where `seen` [T], x_t is as given and z_t from q."""

        def step(memory, row):
            t, on, given = row
            h = memory.hidden
            above, below = jax.random.split(jax.random.fold_in(key, t))
            law = self.prior(h)
            if given:
                law = where_on(given[1], self.law(self.of_x(given[0]), h), law)
            z = law.loc + jnp.exp(law.log_scale) * self._noise(above)
            features = self.of_z(z)
            x = self.units.sample(below, self.numbers(features, h))
            if given:
                x = jnp.where(given[1], given[0], x)
            new = self.recur(memory, (self.of_x(x), features))
            return where_on(on, new, memory), (jnp.where(on, z, 0), jnp.where(on, x, 0))

        _, (z, x) = scan_steps(step, self.start, on, () if seen is None else (x, seen))
        return z, x.ravel()

    def sample_joint(self, key, c=()):
        return self._generate(key, mask_of(c, steps_drawn(c, self.steps)))

    def continue_from(self, key, x, steps, c=()):
        x, on = frames_of(x, c, self.frame)
        return self._generate(key, on, x, jnp.arange(len(on)) < steps)[1]

    def filter_start(self):
        return self.start

    def filter_step(self, key, state, x):
        state, _, (likelihood, prior, log_q) = self._step(state, x, self._draw(self._noise(key)))
        return state, total((likelihood, prior)) - log_q


@config
class VariationalRNN(RecurrentConfig):
    """Variational recurrent network: a latent vector a time step, with prior, encoder and decoder on one recurrence."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Chung, Kastner, Dinh, Goel, Courville and Bengio 2015"
    takes_context: ClassVar[bool] = True  # masks

    latent: int = field(default=16, ge=1, help="latent units Z of a time step")

    def build(self, visible: int) -> LatentVariableModel:
        """The model of sequences with `visible` values; ConfigError where they are no whole number of steps."""
        steps, layers = number_of_steps(visible, self.frame), (self.features,) * self.depth
        sizes = self.latent, self.hidden, layers, self.activation
        module = VariationalRNNModule(
            Laws(*sizes, Emission(self.likelihood, self.frame)),
            Encoder(*sizes),
            Features(*sizes, self.frame, self.cell),
            self.frame,
            steps,
        )
        return as_model(LatentVariableModel, module)


def variational_rnn(visible: int, **fields: Any) -> LatentVariableModel:
    """A variational recurrent network of sequences with T steps of F units, visible = T F.

    With h_0 learned, for t = 1, ..., T

        z_t ~ N(mu, diag sigma^2)(h_{t-1}),    x_t ~ p(x_t | phi_z(z_t), h_{t-1})
        q(z_t | x_t, h_{t-1}) = N(mu, diag sigma^2)(phi_x(x_t), h_{t-1})
        h_t = f(phi_x(x_t), phi_z(z_t), h_{t-1})

    A context [T] is a mask: 1 for a step that is there, 0 for padding. A step that is not there is passed over: it has
    no terms, draws zeros and leaves h as it is, so that padding changes no bit of any value or gradient. T may differ
    from call to call; without a context all steps of x are there, and `visible` says how many are drawn.

    Args:
        visible: values D = T F of a sequence, time first.
        **fields: those of `VariationalRNN`: `frame`, `latent`, `hidden`, `features`, `depth`, `cell`, `activation`,
            `likelihood`.

    Returns:
        A `LatentVariableModel` with z one array [T, latent], reparameterized. phi_x, phi_z and f are in the group
        "shared". `continue_from(params, key, x, steps, c)` keeps the first steps of x and draws the others.

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value; `visible` no multiple of `frame`.

    Example:
        >>> model = variational_rnn(3 * 88, frame=88)
        >>> params = model.init(jax.random.key(0), jnp.zeros(3 * 88), ())
        >>> z, x = model.sample_joint(params, jax.random.key(1), jnp.array([1.0, 1.0, 0.0]))
        >>> z.shape
        (3, 16)

    Reference:
        Chung, Kastner, Dinh, Goel, Courville and Bengio, "A recurrent latent variable model for sequential data", 2015,
        equations 5 to 11.
    """
    return build_from_fields(VariationalRNN, visible, fields)
