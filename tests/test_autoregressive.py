"""Binary units in an order, against the products of conditionals that define them, written out unit by unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from toys import binary_states, quick_jit, worst

from genjax_models.distributions import NADE, AutoregressiveBernoulli

KINDS = ["autoregressive", "nade"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def law(kind, number, seed=0, scale=0.8, hidden=4, batch=()):
    """A distribution over `number` units with random parameters, its biases by `batch`."""
    draw = np.random.RandomState(seed).normal

    def normal(*shape):
        return jnp.asarray(scale * draw(size=shape))

    if kind == "autoregressive":
        return AutoregressiveBernoulli(normal(*batch, number), normal(number, number))
    return NADE(normal(*batch, number), normal(*batch, hidden), normal(number, hidden), normal(number, hidden))


def defined_logits(law, s):
    """The logits of all units of one s [n], as the papers define them: a loop over i and a sum over j < i."""
    if isinstance(law, AutoregressiveBernoulli):
        before = [sum((law.lateral[i, j] * s[j] for j in range(i)), 0.0) for i in range(len(s))]
        return jnp.stack([law.bias[i] + before[i] for i in range(len(s))])
    logits = []
    for i in range(len(s)):
        a = law.hidden_bias + sum((law.inward[j] * s[j] for j in range(i)), 0.0)
        logits.append(law.bias[i] + law.outward[i] @ (1 / (1 + jnp.exp(-a))))
    return jnp.stack(logits)


def defined_log_prob(law, s):
    """log of the product of the units' conditionals."""
    logits = defined_logits(law, s)
    return jnp.sum(s * logits - jnp.log1p(jnp.exp(logits)))


def mass(law):
    """The sum of p(s) over all 2^n states."""
    states = binary_states(law.bias.shape[-1])
    return float(jnp.sum(jnp.exp(quick_jit(lambda law: law.log_prob(states))(law))))


@every_kind
@pytest.mark.parametrize("number", [1, 2, 5, 12])
def test_sums_to_one(x64, kind, number):
    """Over all 2^D states, whatever the parameters."""
    for seed in range(3):
        assert abs(mass(law(kind, number, seed, scale=1.5)) - 1) < 1e-12


def test_a_unit_that_sees_itself_is_no_distribution(x64):
    """The check of the sums can fail: with the diagonal, or with all other units, they are not one."""
    states, right = binary_states(5), law("autoregressive", 5)
    for diagonal in (0, 5):

        class Wrong(AutoregressiveBernoulli):
            def logits_given(self, s, diagonal=diagonal):
                return self.bias + s @ jnp.tril(self.lateral, diagonal).T

        assert abs(float(jnp.sum(jnp.exp(Wrong(*right).log_prob(states)))) - 1) > 1e-2


@every_kind
def test_log_prob_is_the_product_of_conditionals(x64, kind):
    """Values, first derivatives by every parameter and by s, and second ones; 7 units are 3 blocks, the last padded."""
    toy, states = law(kind, 7), jnp.asarray(binary_states(7)[::9])
    soft = jnp.asarray(np.random.RandomState(1).uniform(size=7))
    direction = jax.tree.map(lambda v: jnp.cos(jnp.arange(v.size, dtype=v.dtype)).reshape(v.shape), toy)

    @quick_jit
    def ours(toy):
        def log_prob(toy, s):
            return toy.log_prob(s)

        slope = jax.grad(log_prob, argnums=(0, 1))
        curve = jax.jvp(lambda t: slope(t, soft), (toy,), (direction,))[1]
        reverse = jax.grad(lambda t: sum(map(jnp.vdot, jax.grad(log_prob)(t, soft), direction)))(toy)
        return toy.logits_given(states), toy.log_prob(states), slope(toy, soft), curve, reverse

    @quick_jit
    def defined(toy):
        slope = jax.grad(defined_log_prob, argnums=(0, 1))
        curve = jax.jvp(lambda t: slope(t, soft), (toy,), (direction,))[1]
        logits, values = (jax.vmap(lambda s, f=f: f(toy, s))(states) for f in (defined_logits, defined_log_prob))
        return logits, values, slope(toy, soft), curve, curve[0]

    assert worst(ours(toy), defined(toy)) < 1e-12


@every_kind
def test_draws_follow_their_logits(x64, kind):
    """s_i is 1 where u_i < sigmoid(logit_i), with the logits of that s, whose gradients are those at fixed s."""
    toy = law(kind, 6, scale=1.5)
    u = jnp.asarray(np.random.RandomState(2).uniform(size=(50, 6)))

    @quick_jit
    def run(toy):
        draw = jax.vmap(toy.sample_from_uniforms)
        weights = jnp.arange(1.0, 7)
        at_draw = jax.grad(lambda t: jnp.sum(jax.vmap(t.sample_from_uniforms)(u)[1] @ weights))(toy)
        s, logits = draw(u)
        fixed = jax.grad(lambda t: jnp.sum(t.logits_given(s) @ weights))(toy)
        through = jax.grad(lambda t: jnp.sum(jax.vmap(t.sample_from_uniforms)(u)[0]))(toy)
        return s, logits, toy.logits_given(s), at_draw, fixed, through

    s, logits, given, at_draw, fixed, through = run(toy)
    assert np.array_equal(s, u < jax.nn.sigmoid(logits))
    assert 0.1 < s.mean() < 0.9
    assert worst((logits, at_draw), (given, fixed)) < 1e-12
    assert not any(np.any(v) for v in through)


@every_kind
def test_samples_have_their_probabilities(x64, kind):
    """Counts of all 8 states of three units, at a fixed key."""
    toy, number = law(kind, 3, scale=1.0), 20_000
    keys = jax.random.split(jax.random.key(0), number)
    drawn = np.asarray(quick_jit(jax.vmap(toy.sample))(keys))
    assert drawn.dtype == toy.bias.dtype
    again, log_prob = quick_jit(jax.vmap(toy.sample_and_log_prob))(keys[:100])
    assert worst((again, log_prob), (drawn[:100], toy.log_prob(again))) < 1e-12
    counts = np.bincount((drawn @ [4, 2, 1]).astype(int), minlength=8)
    expected = number * np.exp(toy.log_prob(binary_states(3)))
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


@every_kind
def test_batches_and_types(x64, kind):
    """Leading axes of the biases, of s or of both are a batch; s may be of an integer type."""
    toy = law(kind, 5, batch=(2, 3))
    states = jnp.asarray(np.random.RandomState(3).uniform(size=(2, 3, 5)) < 0.5, float)
    offsets, shared = (2, toy[2:]) if kind == "nade" else (1, toy[1:])

    def single(f):
        def one(given, s):
            return f(type(toy)(*given, *shared), s)

        return jax.vmap(jax.vmap(one))

    @quick_jit
    def run(states):
        log_prob = single(lambda t, s: t.log_prob(s))(toy[:offsets], states)
        drawn = single(lambda t, u: t.sample_from_uniforms(u))(toy[:offsets], states / 2 + 0.2)
        one = type(toy)(*(v[0, 0] for v in toy[:offsets]), *shared)
        pairs = (
            (toy.log_prob(states), log_prob),
            (toy.sample_from_uniforms(states / 2 + 0.2), drawn),
            (toy.log_prob(states.astype(np.uint8)), log_prob),
            (toy.log_prob(states.astype(bool)), log_prob),
            (one.log_prob(states)[0, 0], log_prob[0, 0]),
            (toy.log_prob(states[0, 0])[0, 0], log_prob[0, 0]),
        )
        return pairs

    for batched, alone in run(states):
        assert worst(batched, alone) < 1e-13


@every_kind
def test_precisions_may_differ(x64, kind):
    """Parameters of float32 and s of float64 give it in float64, and gradients of the parameters' type."""
    exact = jax.tree.map(lambda v: v.astype(jnp.float32).astype(jnp.float64), law(kind, 5))
    coarse = jax.tree.map(lambda v: v.astype(jnp.float32), exact)
    s = binary_states(5)[19]
    value, slope = quick_jit(jax.value_and_grad(lambda t: t.log_prob(s)))(coarse)
    assert value.dtype == s.dtype == np.float64
    assert {v.dtype for v in slope} == {np.dtype(np.float32)}
    assert abs(value - exact.log_prob(s)) < 1e-5


@every_kind
def test_extremes(kind):
    """Logits of hundreds give finite log-probabilities and gradients, in float32."""
    toy = jax.tree.map(lambda v: jnp.asarray(1000 * v, jnp.float32), law(kind, 6))
    states = jnp.asarray(binary_states(6), jnp.float32)
    value, slope = quick_jit(jax.value_and_grad(lambda t: jnp.sum(t.log_prob(states))))(toy)
    assert value.dtype == jnp.float32
    assert all(np.all(np.isfinite(v)) for v in (value, *slope))


def test_nade_keeps_few_activations():
    """Differentiated, a NADE holds activations of about 2 sqrt(n) of the n units of every row, by XLA's own account."""
    rows, number, hidden = 64, 400, 64
    toy = jax.eval_shape(lambda: law("nade", number, hidden=hidden, batch=(rows,)))
    toy = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, jnp.float32), toy)
    s = jax.ShapeDtypeStruct((rows, number), jnp.float32)
    compiled = jax.jit(jax.grad(lambda t, s: jnp.sum(t.log_prob(s)))).lower(toy, s).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < rows * number * hidden * 4 / 2
