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
import numpy as np
from jax.custom_derivatives import SymbolicZero

LOG_2PI = math.log(2 * math.pi)


@jax.custom_jvp
def bernoulli_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """The sum of x * logits - log(1 + exp(logits)) over the last axis: [..., D] -> [...].

    On a CPU this is most of a Bernoulli decoder's cost outside its matrix products, so it takes one pass over the
    logits and few logarithms: log(1 + e^-|l|) summed is the log of a product, whose 16 factors in (1, 2] (8 in float16)
    stay far inside the numbers' range, and one `reduce` of two operands makes both sums, where XLA would write out the
    operands of two.
    """
    # XLA refuses a reduce whose operands differ in precision.
    logits, x = jnp.broadcast_arrays(logits.astype(jnp.result_type(logits, x)), x)
    size = logits.shape[-1]
    most = 8 if logits.dtype == jnp.float16 else 16
    group = max(g for g in range(1, most + 1) if size % g == 0)
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


def _threefry(key: jax.Array, counters: jax.Array) -> jax.Array:
    """Threefry-2x32 of 20 rounds (Salmon et al. 2011) of counters below 2^32, its two words joined by xor as in JAX."""
    first, second = key
    keys = first, second, first ^ second ^ jnp.uint32(0x1BD11BDA)
    x, y = first, counters + second
    for i in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x = x + y
            y = x ^ (y << rotation | y >> 32 - rotation)
        x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return x ^ y


def _bits(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array | None:
    """`jax.random.bits(key, shape)`, for draws of that type; None where JAX itself is to draw.

    On a CPU the generator of JAX is a loop that passes over its memory round after round: it takes longer to run, and
    twice as long to compile.
    """
    size = math.prod(shape)
    counted = getattr(jax.config, "jax_threefry_partitionable", True) and size < 2**32
    if dtype != jnp.float32 or not counted or str(jax.random.key_impl(key)) != "threefry2x32":
        return None
    return _threefry(jax.random.key_data(key), jnp.arange(size, dtype=jnp.uint32)).reshape(shape)


def _uniform(bits: jax.Array) -> jax.Array:
    """Numbers in [0, 1) of 23 of the bits, as JAX makes them."""
    return jax.lax.bitcast_convert_type(bits >> 9 | jnp.uint32(0x3F800000), jnp.float32) - 1


def standard_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> jax.Array:
    """`jax.random.normal(key, shape, dtype)`; the same bits, sooner."""
    dtype = jnp.result_type(dtype)
    if (bits := _bits(key, shape, dtype)) is None:
        return jax.random.normal(key, shape, dtype)
    least = np.nextafter(np.float32(-1), np.float32(0))
    u = jnp.maximum(least, _uniform(bits) * (1 - least) + least)
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(u)


def bernoulli_sample(key: jax.Array, p: jax.Array) -> jax.Array:
    """1 where `jax.random.uniform(key, p.shape, p.dtype) < p`, else 0, of p's type; the same bits, sooner.

    By JAX's generator K particles' binary units would cost half as much to draw as all matrix products of a belief
    net's training step.
    """
    if (bits := _bits(key, p.shape, p.dtype)) is None:
        return (jax.random.uniform(key, p.shape, p.dtype) < p).astype(p.dtype)
    # 0 and 1 are their own roots. But XLA would fuse, and so repeat, the generator in everything that reads the draw,
    # did it not end in an operation that counts as expensive.
    return jnp.sqrt((_uniform(bits) < p).astype(p.dtype))


class Bernoulli(NamedTuple):
    """Independent binary units, p(x_i = 1) = sigmoid(logits_i)."""

    logits: jax.Array  # [..., D]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x), [...]; for x between 0 and 1 the negative cross-entropy, which is no log-probability."""
        return bernoulli_log_prob(self.logits, x)

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw in {0, 1}, of the logits' shape and type; no gradient flows through it."""
        return bernoulli_sample(key, jax.lax.stop_gradient(jax.nn.sigmoid(self.logits)))

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The draw of `sample` with its log-probability."""
        x = self.sample(key)
        return x, self.log_prob(x)

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


class BinaryConcrete(NamedTuple):
    """Relaxed binary units sigmoid(y_i), y_i = (logits_i + noise_i) / temperature with standard logistic noise.

    As the temperature falls they come close to Bernoulli(sigmoid(logits_i)). Densities are those of y: between two such
    distributions the Jacobian of the sigmoid cancels, and y neither rounds to an end of (0, 1) nor overflows there
    (Maddison, Mnih and Teh 2017, appendix C).
    """

    logits: jax.Array  # [..., D]
    temperature: jax.Array | float

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """y of standard logistic noise, [..., D]; gradients flow through it."""
        return (self.logits + noise) / self.temperature

    def log_density(self, y: jax.Array) -> jax.Array:
        """log p(y), [...]: log temperature + s - 2 log(1 + exp(s)) at s = logits - temperature * y, over the units."""
        s = self.logits - self.temperature * y
        # s - 2 log(1 + e^s) is twice the Bernoulli log-probability of one half.
        return 2 * bernoulli_log_prob(s, jnp.full_like(s, 0.5)) + y.shape[-1] * jnp.log(self.temperature)


@jax.custom_jvp
def _ancestral(distribution: Any, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(s, logits), drawn unit by unit: s_i is 1 where u_i < sigmoid(logits_i)."""
    return distribution.walk(u)


@_ancestral.defjvp
def _ancestral_jvp(primals, tangents):
    # The draw is held fixed, and the logits move with the parameters as they do where it is given: no derivative walks
    # through the draw.
    distribution, u = primals
    s, logits = _ancestral(distribution, u)
    _, moved = jax.jvp(lambda d: d.logits_given(s), (distribution,), tangents[:1])
    return (s, logits), (jnp.zeros_like(s), moved)


class AutoregressiveBernoulli(NamedTuple):
    """Binary units in their order, p(s_i = 1 | s_1, ..., s_{i-1}) = sigmoid(b_i + sum_{j < i} V_ij s_j).

    A probability of given units is one masked product, a draw one scan over the units, both O(n^2).

    Reference:
        Frey, Hinton and Dayan 1996; within the layers of a belief net, Gregor et al. 2014, Bornschein and Bengio 2015.
    """

    bias: jax.Array  # b, [..., n]
    lateral: jax.Array  # V, [n, n], of which what lies below the diagonal counts

    def logits_given(self, s: jax.Array) -> jax.Array:
        """The logit of every unit given the units of s before it, [..., n]."""
        return self.bias + s @ jnp.tril(self.lateral, -1).T

    def log_prob(self, s: jax.Array) -> jax.Array:
        """log p(s), [...]."""
        return bernoulli_log_prob(self.logits_given(s), s)

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw in {0, 1}, of the biases' shape and type; no gradient flows through it."""
        return self.sample_and_log_prob(key)[0]

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The draw of `sample` with its log-probability, from one walk over the units."""
        s, logits = self.sample_from_uniforms(jax.random.uniform(key, self.bias.shape, self.bias.dtype))
        return s, bernoulli_log_prob(logits, s)

    def sample_from_uniforms(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(s, logits), each [..., n]: s_i is 1 where u_i < sigmoid(logits_i); no gradient flows through s."""
        return _ancestral(self, u)

    def walk(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`sample_from_uniforms`, to be differentiated through its rule alone."""

        def unit(s, given):
            i, b, v, u = given
            logit = b + s @ v  # the units from i on are still zero
            drawn = (u < jax.nn.sigmoid(logit)).astype(s.dtype)
            return jax.lax.dynamic_update_index_in_dim(s, drawn, i, axis=-1), logit

        bias, u = (jnp.moveaxis(v, -1, 0) for v in jnp.broadcast_arrays(self.bias, u))
        start = jnp.zeros((*u.shape[1:], len(u)), bias.dtype)
        s, logits = jax.lax.scan(unit, start, (jnp.arange(len(u)), bias, self.lateral, u))
        return s, jnp.moveaxis(logits, 0, -1)


class NADE(NamedTuple):
    """Binary units in their order, p(s_i = 1 | s_1, ..., s_{i-1}) = sigmoid(b_i + V_i . sigmoid(a_i)).

    The activation a_i = c + sum_{j < i} W_j s_j of H hidden units runs along with the units, so that probabilities and
    draws are one scan each, O(n H).

    Reference:
        Larochelle and Murray, "The neural autoregressive distribution estimator", 2011.
    """

    bias: jax.Array  # b, [..., n]
    hidden_bias: jax.Array  # c, [..., H]
    inward: jax.Array  # W, [n, H]
    outward: jax.Array  # V, [n, H]

    def logits_given(self, s: jax.Array) -> jax.Array:
        """The logit of every unit given the units of s before it, [..., n]."""

        # Backwards, the activations of all units would be n times as large as the hidden layer: those at the start of
        # about sqrt(n) blocks are kept, and those within one block at a time computed again, without their sigmoids.
        @jax.checkpoint
        def unit(a, given):
            s, b, w, v = given
            return a + s[..., None] * w, b + jax.nn.sigmoid(a) @ v

        @jax.checkpoint
        def block(a, given):
            return jax.lax.scan(unit, a, given)

        bias, s = jnp.broadcast_arrays(self.bias, s)
        number = bias.shape[-1]
        size = math.isqrt(number - 1) + 1

        def blocks(v):
            padded = jnp.pad(v, ((0, -number % size), *((0, 0) for _ in v.shape[1:])))
            return padded.reshape(-1, size, *v.shape[1:])

        units = jnp.moveaxis(s, -1, 0), jnp.moveaxis(bias, -1, 0), self.inward, self.outward
        start = jnp.broadcast_to(self.hidden_bias, (*bias.shape[:-1], self.hidden_bias.shape[-1]))
        start = start.astype(jnp.result_type(start, s, self.inward))
        _, logits = jax.lax.scan(block, start, jax.tree.map(blocks, units))
        return jnp.moveaxis(logits.reshape(-1, *bias.shape[:-1])[:number], 0, -1)

    def log_prob(self, s: jax.Array) -> jax.Array:
        """log p(s), [...]."""
        return bernoulli_log_prob(self.logits_given(s), s)

    def sample(self, key: jax.Array) -> jax.Array:
        """A draw in {0, 1}, of the biases' shape and type; no gradient flows through it."""
        return self.sample_and_log_prob(key)[0]

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The draw of `sample` with its log-probability, from one walk over the units."""
        s, logits = self.sample_from_uniforms(jax.random.uniform(key, self.bias.shape, self.bias.dtype))
        return s, bernoulli_log_prob(logits, s)

    def sample_from_uniforms(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(s, logits), each [..., n]: s_i is 1 where u_i < sigmoid(logits_i); no gradient flows through s."""
        return _ancestral(self, u)

    def walk(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`sample_from_uniforms`, to be differentiated through its rule alone."""

        def unit(a, given):
            u, b, w, v = given
            logit = b + jax.nn.sigmoid(a) @ v
            s = (u < jax.nn.sigmoid(logit)).astype(a.dtype)
            return a + s[..., None] * w, (s, logit)

        bias, u = (jnp.moveaxis(v, -1, 0) for v in jnp.broadcast_arrays(self.bias, u))
        start = jnp.broadcast_to(self.hidden_bias, (*bias.shape[1:], self.hidden_bias.shape[-1]))
        _, drawn = jax.lax.scan(unit, start, (u, bias, self.inward, self.outward))
        s, logits = (jnp.moveaxis(v, 0, -1) for v in drawn)
        return s, logits


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
        noise = standard_normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise, self.log_prob_of_noise(noise)

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterized draw."""
        return self.loc + jnp.exp(self.log_scale) * standard_normal(key, self.loc.shape, self.loc.dtype)

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
