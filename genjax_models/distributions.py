"""Log-probabilities of the model zoo, lean enough for K particles, in nats summed over the last axis.

distrax has these distributions too, with more methods; but a program written with it takes about twice as long to
trace and compile, which a user waits for at every start. `Bernoulli.distrax()` and `Normal.distrax()` hand over to it
where its entropies, divergences or quantiles are wanted. This is the one file that knows distrax.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LOG_2PI = math.log(2 * math.pi)


@jax.custom_jvp
def sum_softplus(logits: jax.Array) -> jax.Array:
    """The sum of log(1 + exp(logits)) over the last axis: [..., D] -> [...].

    One logarithm serves 16 units: log(1 + e^-|l|) summed is the log of a product of factors in (1, 2], which stays far
    inside float32. On a CPU the logarithm is otherwise the largest elementwise cost of a Bernoulli decoder.
    """
    factors = 1 + jnp.exp(-jnp.abs(logits))
    size = factors.shape[-1]
    group = 16
    if size > group:
        whole = size - size % group
        head = jnp.prod(factors[..., :whole].reshape(*factors.shape[:-1], group, whole // group), axis=-2)
        factors = jnp.concatenate([head, factors[..., whole:]], axis=-1) if whole < size else head
    return jnp.sum(jnp.maximum(logits, 0), axis=-1) + jnp.sum(jnp.log(factors), axis=-1)


@sum_softplus.defjvp
def _sum_softplus_jvp(primals, tangents):
    (logits,), (tangent,) = primals, tangents
    return sum_softplus(logits), jnp.sum(jax.nn.sigmoid(logits) * tangent, axis=-1)


class Bernoulli(NamedTuple):
    """Independent binary units, p(x_i = 1) = sigmoid(logits_i)."""

    logits: jax.Array  # [..., D]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x), [...]; for x between 0 and 1 the negative cross-entropy, which is no log-probability."""
        return jnp.sum(x * self.logits, axis=-1) - sum_softplus(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw in {0, 1}, of the logits' shape and type; no gradient flows through it."""
        p = jax.lax.stop_gradient(jax.nn.sigmoid(self.logits))
        return (jax.random.uniform(key, p.shape, p.dtype) < p).astype(p.dtype)

    def mean(self) -> jax.Array:
        """E[x], the probabilities."""
        return jax.nn.sigmoid(self.logits)

    def distrax(self) -> Any:
        """The same distribution as a `distrax.Independent(distrax.Bernoulli)`."""
        distrax = _import_distrax()
        return distrax.Independent(distrax.Bernoulli(logits=self.logits, dtype=self.logits.dtype), 1)


class Normal(NamedTuple):
    """Independent Gaussian units N(loc_i, exp(log_scale_i)^2)."""

    loc: jax.Array  # [..., D]
    log_scale: jax.Array  # broadcasts against loc

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x), a density, [...]."""
        standard = (x - self.loc) * jnp.exp(-self.log_scale)
        return self.log_prob_of_noise(standard)

    def log_prob_of_noise(self, noise: jax.Array) -> jax.Array:
        """log p(x) at x = loc + exp(log_scale) * noise."""
        log_scale = jnp.broadcast_to(self.log_scale, jnp.shape(noise))
        return -jnp.sum(0.5 * jnp.square(noise) + log_scale, axis=-1) - 0.5 * LOG_2PI * noise.shape[-1]

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A reparameterized draw and its log-density, from one noise."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise, self.log_prob_of_noise(noise)

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterized draw."""
        return self.loc + jnp.exp(self.log_scale) * jax.random.normal(key, self.loc.shape, self.loc.dtype)

    def mean(self) -> jax.Array:
        """E[x]."""
        return self.loc

    def kl_to_standard(self) -> jax.Array:
        """KL(N(loc, scale^2) || N(0, 1)), [...] (Kingma and Welling 2014, appendix B)."""
        square = jnp.square(self.loc) + jnp.exp(2 * self.log_scale)
        return 0.5 * jnp.sum(square - 1 - 2 * self.log_scale, axis=-1)

    def distrax(self) -> Any:
        """The same distribution as a `distrax.Independent(distrax.Normal)`."""
        distrax = _import_distrax()
        scale = jnp.broadcast_to(jnp.exp(self.log_scale), self.loc.shape)
        return distrax.Independent(distrax.Normal(self.loc, scale), 1)


def _import_distrax():
    # Its import costs most of a second and warns of a deprecated name in jax that it still reads.
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import distrax
    return distrax
