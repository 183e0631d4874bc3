"""Log-probabilities of the model zoo, lean enough for K particles, in nats summed over the last axis.

distrax has these distributions too, with more methods, but costs an import and longer traces at every start.
`Bernoulli.distrax()` and `Normal.distrax()` hand over to it where its entropies, divergences or quantiles are wanted.
This is the one file that knows distrax.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

LOG_2PI = math.log(2 * math.pi)


@jax.custom_jvp
def bernoulli_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """The sum of x * logits - log(1 + exp(logits)) over the last axis: [..., D] -> [...].

    On a CPU this is most of a Bernoulli decoder's cost outside its matrix products, so it takes one pass over the
    logits and few logarithms: log(1 + e^-|l|) summed is the log of a product, whose 16 factors in (1, 2] stay far
    inside float32, and one `reduce` of two operands makes both sums, where XLA would write out the operands of two.
    """
    logits, x = jnp.broadcast_arrays(logits, x)
    size = logits.shape[-1]
    group = max(g for g in range(1, 17) if size % g == 0)
    linear, factors = (
        v.reshape(*v.shape[:-1], group, size // group)
        for v in (x * logits - jnp.maximum(logits, 0), 1 + jnp.exp(-jnp.abs(logits)))
    )
    sums, products = jax.lax.reduce(
        (linear, factors),
        (jnp.zeros((), linear.dtype), jnp.ones((), factors.dtype)),
        lambda a, b: (a[0] + b[0], a[1] * b[1]),
        dimensions=(logits.ndim - 1,),
    )
    return jnp.sum(sums - jnp.log(products), axis=-1)


@functools.partial(bernoulli_log_prob.defjvp, symbolic_zeros=True)
def _bernoulli_log_prob_jvp(primals, tangents):
    logits, x = primals
    slopes = (lambda: x - jax.nn.sigmoid(logits), lambda: logits)
    moving = [slope() * t for slope, t in zip(slopes, tangents, strict=True) if not isinstance(t, SymbolicZero)]
    return bernoulli_log_prob(logits, x), sum(jnp.sum(v, axis=-1) for v in moving)


class Bernoulli(NamedTuple):
    """Independent binary units, p(x_i = 1) = sigmoid(logits_i)."""

    logits: jax.Array  # [..., D]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x), [...]; for x between 0 and 1 the negative cross-entropy, which is no log-probability."""
        return bernoulli_log_prob(self.logits, x)

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw in {0, 1}, of the logits' shape and type; no gradient flows through it."""
        return self.sample_from_uniforms(jax.random.uniform(key, self.logits.shape, self.logits.dtype))[0]

    def sample_from_uniforms(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(x, logits), each [..., D]: x_i is 1 where u_i < p(x_i = 1); no gradient flows through x."""
        p = jax.lax.stop_gradient(jax.nn.sigmoid(self.logits))
        return (u < p).astype(p.dtype), self.logits

    def logits_given(self, x: jax.Array) -> jax.Array:
        """The logit of every unit given the units of x before it, [..., D]."""
        return jnp.broadcast_to(self.logits, x.shape)

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
