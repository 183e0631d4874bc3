"""Log-probabilities against naive float64 arithmetic and against distrax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from toys import quick_jit

from genjax_models.distributions import Bernoulli, Normal, bernoulli_log_prob, bernoulli_sample, standard_normal


def sum_softplus(logits):
    return -bernoulli_log_prob(logits, jnp.zeros_like(logits))


SIZES = [*range(1, 41), 784]


def logits_and_x(size, batch=3):
    draw = np.random.RandomState(size)
    return draw.normal(scale=4.0, size=(batch, size)), (draw.uniform(size=(batch, size)) < 0.5).astype(float)


def naive(logits, x):
    """log p(x), unit by unit."""
    return np.sum(x * scipy.special.log_expit(logits) + (1 - x) * scipy.special.log_expit(-logits), axis=-1)


@pytest.mark.parametrize("size", SIZES)
def test_bernoulli_log_prob_of_every_size(size):
    """Whatever number of units share a logarithm, values and gradients are those of the units' sum."""
    logits, x = logits_and_x(size)
    with jax.enable_x64(True):
        value = quick_jit(lambda logits: (Bernoulli(logits).log_prob(x), sum_softplus(logits)))(logits)
        slope = quick_jit(jax.grad(lambda logits: jnp.sum(Bernoulli(logits).log_prob(x))))(logits)
        np.testing.assert_allclose(value[0], naive(logits, x), rtol=1e-13)
        np.testing.assert_allclose(value[1], np.sum(np.logaddexp(logits, 0), axis=-1), rtol=1e-13)
        np.testing.assert_allclose(slope, x - scipy.special.expit(logits), atol=1e-14)
    small = logits.astype(np.float32)
    value = Bernoulli(jnp.asarray(small)).log_prob(jnp.asarray(x, jnp.float32))
    assert value.dtype == jnp.float32
    # A float32 factor 1 + e^-|l| holds e^-|l| to 1.2e-7, absolutely.
    np.testing.assert_allclose(value, naive(small.astype(float), x), rtol=3e-6, atol=1.2e-7)


@pytest.mark.parametrize("size", [1, 37])
def test_bernoulli_derivatives(x64, size):
    """First derivatives by logits and by x, second derivatives, forwards and backwards."""
    logits, x = (v[0] for v in logits_and_x(size))
    tangent = np.random.RandomState(0).normal(size=size)
    p = scipy.special.expit(logits)

    def log_prob(logits, x):
        return Bernoulli(logits).log_prob(x)

    np.testing.assert_allclose(jax.grad(log_prob, argnums=1)(logits, x), logits, atol=1e-14)
    _, both = jax.jvp(log_prob, (logits, x), (tangent, 2 * tangent))
    np.testing.assert_allclose(both, tangent @ (x - p) + 2 * tangent @ logits, rtol=1e-13)
    np.testing.assert_allclose(jax.hessian(log_prob)(logits, x), -np.diag(p * (1 - p)), atol=1e-14)
    np.testing.assert_allclose(jax.hessian(sum_softplus)(logits), np.diag(p * (1 - p)), atol=1e-14)
    reverse_twice = jax.grad(lambda logits: jax.grad(log_prob)(logits, x) @ tangent)(logits)
    np.testing.assert_allclose(reverse_twice, -p * (1 - p) * tangent, atol=1e-14)
    mixed = jax.jacfwd(jax.grad(log_prob, argnums=1))(logits, x)
    np.testing.assert_allclose(mixed, np.eye(size), atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bernoulli_extremes(dtype):
    """Logits of +-100 (and +-1000) give exact values and gradients, and neither an infinity nor a NaN."""
    with jax.enable_x64(dtype == np.float64):
        logits = jnp.asarray([100.0, -100.0, 100.0, -100.0, 0.0] * 8, dtype)
        x = jnp.asarray([1.0, 0.0, 0.0, 1.0, 1.0] * 8, dtype)
        value, slope = jax.value_and_grad(lambda logits: Bernoulli(logits).log_prob(x))(logits)
        np.testing.assert_allclose(value, -8 * (200 + np.log(2)), rtol=1e-6 if dtype == np.float32 else 1e-14)
        np.testing.assert_allclose(slope, np.tile([0.0, 0.0, -1.0, 1.0, 0.5], 8), atol=1e-12)
        certain = Bernoulli(jnp.asarray([1000.0] * 20, dtype))
        assert certain.log_prob(jnp.ones(20, dtype)) == 0.0
        assert certain.log_prob(jnp.zeros(20, dtype)) == -20_000.0
        # Many sure units: the product that shares a logarithm keeps what each adds.
        sure = Bernoulli(jnp.full(784, -20.0, dtype)).log_prob(jnp.zeros(784, dtype))
        exact = -784 * np.log1p(np.exp(-20.0))
        np.testing.assert_allclose(sure, exact, rtol=1e-6 if dtype == np.float64 else 0, atol=784 * 1.2e-7)
    # Half precision ends at 65,504, which 16 even units would pass.
    half = Bernoulli(jnp.zeros(784, jnp.float16)).log_prob(jnp.ones(784, jnp.float16))
    np.testing.assert_allclose(half, -784 * np.log(2), rtol=2e-3)


def test_bernoulli_takes_integers_and_broadcasts(x64):
    """x may be of an integer type or of another precision, and either side may lack the batch."""
    logits, x = logits_and_x(20)
    for kind in (np.int32, np.uint8, bool):
        value, slope = jax.value_and_grad(
            lambda logits, k=kind: jnp.sum(Bernoulli(logits).log_prob(jnp.asarray(x, k)))
        )(logits)
        np.testing.assert_allclose(value, naive(logits, x).sum(), rtol=1e-13)
        np.testing.assert_allclose(slope, x - scipy.special.expit(logits), atol=1e-14)
    for a, b in ((logits.astype(np.float32), x), (logits, x.astype(np.float32))):
        value, slope = jax.value_and_grad(lambda a, b=b: jnp.sum(Bernoulli(a).log_prob(b)))(jnp.asarray(a))
        np.testing.assert_allclose(value, naive(a.astype(float), x).sum(), rtol=1e-6)
        assert slope.dtype == a.dtype
    one = jax.grad(lambda logits: jnp.sum(Bernoulli(logits).log_prob(x)))(logits[0])
    np.testing.assert_allclose(one, np.sum(x - scipy.special.expit(logits[0]), axis=0), atol=1e-13)
    np.testing.assert_allclose(Bernoulli(logits).log_prob(x[0]), naive(logits, x[0]), rtol=1e-13)
    other = jax.grad(lambda x: jnp.sum(Bernoulli(logits).log_prob(x)))(x[0])
    np.testing.assert_allclose(other, logits.sum(axis=0), atol=1e-13)
    # Intensities between 0 and 1: the cross-entropy.
    grey = np.random.RandomState(1).uniform(size=x.shape)
    np.testing.assert_allclose(Bernoulli(logits).log_prob(grey), naive(logits, grey), rtol=1e-13)


def test_bernoulli_agrees_with_distrax(x64):
    """Log-probability and mean are those of the distribution that `distrax()` hands over."""
    logits, x = map(jnp.asarray, logits_and_x(23))
    ours = Bernoulli(logits)
    theirs = ours.distrax()
    np.testing.assert_allclose(ours.log_prob(x), theirs.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=1e-12)
    slopes = jax.grad(lambda logits: jnp.sum(Bernoulli(logits).distrax().log_prob(x)))(logits)
    np.testing.assert_allclose(
        jax.grad(lambda logits: jnp.sum(Bernoulli(logits).log_prob(x)))(logits), slopes, atol=1e-12
    )


def test_bernoulli_samples(x64):
    """Draws are 0 or 1 of the logits' type, independent by unit, with their probabilities, and carry no gradient."""
    logits, number = jnp.array([-2.0, 0.0, 1.5]), 20_000
    draws = np.asarray(Bernoulli(jnp.broadcast_to(logits, (number, 3))).sample(jax.random.key(0)))
    assert draws.dtype == logits.dtype
    counts = np.bincount((draws @ [4, 2, 1]).astype(int), minlength=8)
    p = scipy.special.expit(np.asarray(logits))
    states = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    expected = number * np.prod(np.where(states == 1, p, 1 - p), axis=1)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    assert not np.any(jax.grad(lambda logits: jnp.sum(Bernoulli(logits).sample(jax.random.key(0))))(logits))
    assert np.array_equal(Bernoulli(jnp.array([1e4, -1e4])).sample(jax.random.key(1)), [1.0, 0.0])


@pytest.mark.parametrize("scales", ["by unit", "shared"])
def test_normal_agrees_with_distrax(x64, scales):
    """Log-density, its gradients, mean and KL to the standard normal."""
    draw = np.random.RandomState(0).normal
    loc, x = draw(size=(4, 7)), draw(size=(4, 7))
    log_scale = jnp.asarray(draw(size=(4, 7)) if scales == "by unit" else 0.3)
    ours = Normal(jnp.asarray(loc), log_scale)
    theirs = ours.distrax()
    np.testing.assert_allclose(ours.log_prob(x), theirs.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=1e-12)
    slopes = [
        jax.grad(lambda *a, f=f: jnp.sum(f(Normal(*a)).log_prob(x)), argnums=(0, 1))(*ours)
        for f in (lambda n: n, lambda n: n.distrax())
    ]
    for mine, other in zip(*slopes, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
    if scales == "by unit":
        standard = Normal(jnp.zeros((4, 7)), jnp.zeros(())).distrax()
        np.testing.assert_allclose(ours.kl_to_standard(), theirs.kl_divergence(standard), rtol=1e-12)


def test_normal_draws_are_reparameterized(x64):
    """x = loc + scale * noise: the score of the noise is that of the draw, and its gradients are 1 and x - loc."""
    loc, log_scale, key = jnp.array([0.5, -1.0, 2.0]), jnp.array([-0.3, 0.2, 0.0]), jax.random.key(4)
    x, log_prob = Normal(loc, log_scale).sample_and_log_prob(key)
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(x, loc, np.exp(log_scale)).sum(), rtol=1e-12)
    np.testing.assert_allclose(x, Normal(loc, log_scale).sample(key), rtol=1e-15)
    by_loc, by_scale = jax.jacobian(lambda *a: Normal(*a).sample(key), argnums=(0, 1))(loc, log_scale)
    np.testing.assert_allclose(by_loc, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(by_scale, np.diag(x - loc), atol=1e-14)


def test_normal_draws_have_their_moments(x64):
    """Mean and variance of 20000 draws lie within 4 standard errors."""
    number, loc, scale = 20_000, np.array([0.5, -1.0]), np.array([0.2, 3.0])
    draws = Normal(jnp.broadcast_to(loc, (number, 2)), jnp.log(jnp.asarray(scale))).sample(jax.random.key(0))
    assert np.all(np.abs(draws.mean(axis=0) - loc) < 4 * scale / np.sqrt(number))
    assert np.all(np.abs(draws.var(axis=0) / scale**2 - 1) < 4 * np.sqrt(2 / number))


def jax_sample(key, p):
    return (jax.random.uniform(key, p.shape, p.dtype) < p).astype(p.dtype)


def check_samples(keys, p):
    """For each of p's arrays and each key, together in one program."""

    def draw(sample, keys, p):
        return [jax.vmap(lambda key, p=p: sample(key, p))(keys) for p in p]

    found, expected = quick_jit(lambda *args: (draw(bernoulli_sample, *args), draw(jax_sample, *args)))(keys, p)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_normal_samples_are_those_of_jax():
    """Bit for bit, whatever the size, type, kind of key and setting of its generator."""

    def check(keys, shapes, dtype):
        def draw(sample):
            return jax.jit(lambda keys: [jax.vmap(lambda k, s=s: sample(k, s, dtype))(keys) for s in shapes])(keys)

        for ours, theirs in zip(draw(standard_normal), draw(jax.random.normal), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)

    keys = jax.random.split(jax.random.key(0), 3)
    check(keys, [(), (0,), (1,), (7,), (3, 5), (784,)], jnp.float32)
    check(keys, [(7,)], jnp.bfloat16)
    check(jax.random.split(jax.random.key(3, impl="rbg"), 2), [(7,)], jnp.float32)
    with jax.threefry_partitionable(False):
        check(keys, [(7,)], jnp.float32)
    with jax.enable_x64(True):
        check(keys, [(7,)], jnp.float32)
        check(keys, [(7,)], float)


def test_bernoulli_samples_are_those_of_jax():
    """Bit for bit, whatever the size, type, kind of key and setting of its generator."""
    shapes = [(), (0,), (1,), (2,), (7,), (3, 5), (784,)]
    p = [jnp.asarray(np.random.RandomState(0).uniform(size=shape), jnp.float32) for shape in shapes]
    keys = jax.random.split(jax.random.key(0), 3)
    check_samples(keys, [*p, p[4].astype(jnp.bfloat16)])
    check_samples(jax.random.split(jax.random.PRNGKey(3), 2), p[4:5])
    check_samples(jax.random.split(jax.random.key(3, impl="rbg"), 2), p[4:5])
    with jax.threefry_partitionable(False):
        check_samples(keys, p[4:5])
    with jax.enable_x64(True):
        check_samples(keys, [p[4], p[4].astype(float)])
    # A probability for each key as well.
    found, expected = (
        jax.vmap(draw)(keys, jnp.stack([p[4], 1 - p[4], p[4]])) for draw in (bernoulli_sample, jax_sample)
    )
    np.testing.assert_array_equal(found, expected)
