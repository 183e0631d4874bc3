"""Recurrent models: written out step by step, padded without a changed bit, masked out, continued."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from toys import binary_states, quick_jit, random_params, worst

from genjax_models.core import Batch, Trainable, total
from genjax_models.errors import ConfigError, DataError
from genjax_models.models import recurrent_likelihood, variational_rnn
from genjax_models.models.units import Bernoulli, Gaussian, MixtureOfGaussians
from genjax_models.objectives import elbo, maximum_likelihood

F = 2
SMALL = {"frame": F, "hidden": 3, "features": 4, "depth": 2, "activation": "tanh"}
LAWS = [
    ("gru", Bernoulli()),
    ("lstm", Gaussian()),
    ("gru", Gaussian(predicted=True, least_scale=0.1)),
    ("lstm", MixtureOfGaussians(2, least_scale=0.05)),
]
every_law = pytest.mark.parametrize(("cell", "likelihood"), LAWS, ids=[f"{c}-{type(u).__name__}" for c, u in LAWS])


def vrnn(steps, **fields):
    model = variational_rnn(steps * F, latent=2, **SMALL | fields)
    return model, random_params(model, steps * F, seed=1, scale=0.5)


def rnn(steps, **fields):
    model = recurrent_likelihood(steps * F, **SMALL | fields)
    return model, random_params(model, steps * F, seed=2, scale=0.5)


def sequence(steps, seed=0):
    return jnp.asarray(np.random.RandomState(seed).randint(0, 2, steps * F), float)


# Written out again: loops over steps, on parameters alone.


def dense(group, name, h):
    return h @ group[f"{name}_kernel"] + group[f"{name}_bias"]


def network(group, name, *given):
    h = jnp.concatenate(given)
    for i in range(2):
        h = jnp.tanh(dense(group, f"{name}_{i}", h))
    return h if f"{name}_out_kernel" not in group else dense(group, f"{name}_out", h)


def sigmoid(a):
    return 1 / (1 + jnp.exp(-a))


def start(group):
    return group["hidden"], group.get("cell")


def recur(group, state, *given):
    h, s = state
    if s is None:
        r, u = jnp.split(sigmoid(dense(group, "gates", jnp.concatenate([*given, h]))), 2)
        return u * h + (1 - u) * jnp.tanh(dense(group, "candidate", jnp.concatenate([*given, r * h]))), None
    i, f, g, o = jnp.split(dense(group, "gates", jnp.concatenate([*given, h])), 4)
    s = sigmoid(f + 1) * s + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(s), s


def normal(v, loc, scale):
    return jnp.sum(-0.5 * ((v - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi))


def of_units(group, likelihood, out, x):
    """log p(x_t) from what the decoder puts out."""
    if isinstance(likelihood, Bernoulli):
        return jnp.sum(jnp.log(sigmoid(jnp.where(x == 1, out, -out))))
    if isinstance(likelihood, MixtureOfGaussians):
        weights, means, scales = out.reshape(3, 2, F)
        density = [
            jax.nn.softmax(weights, axis=0)[c] * jax.scipy.stats.norm.pdf(x, means[c] + 2 * c - 1, 0.05 + jnp.exp(s))
            for c, s in enumerate(scales)
        ]
        return jnp.sum(jnp.log(sum(density)))
    if likelihood.predicted:
        return normal(x, out[:F], jnp.exp(out[F:]) + 0.1)
    return normal(x, out, jnp.exp(group["emission"]["log_scale"]))


def written_out(params, likelihood, z, x):
    """log p(x | z), log p(z) and log q(z | x) of z [T, Z] and x [T, F] (Chung et al. 2015, equations 5 to 11)."""
    p, q, shared = params["generative"], params["recognition"], params["shared"]
    state, sums = start(shared), jnp.zeros(3)
    for z_t, x_t in zip(z, x, strict=True):
        h, of_x, of_z = state[0], network(shared, "x", x_t), network(shared, "z", z_t)
        prior, posterior = jnp.split(network(p, "prior", h), 2), jnp.split(network(q, "encoder", of_x, h), 2)
        laws = [normal(z_t, loc, jnp.exp(log_scale)) for loc, log_scale in (prior, posterior)]
        sums += jnp.array([of_units(p, likelihood, network(p, "decoder", of_z, h), x_t), *laws])
        state = recur(shared, state, of_x, of_z)
    return sums


@every_law
def test_terms_are_those_of_the_paper(x64, cell, likelihood):
    """The fused pass, and log_joint and log_posterior at its z, against loops; a padded step is no step of these."""
    steps = 3
    (model, params), (plain, plain_params) = (make(steps, cell=cell, likelihood=likelihood) for make in (vrnn, rnn))
    x, mask = sequence(steps), jnp.array([1.0, 1.0, 0.0])

    @quick_jit
    def run(c):
        z, (log_q,), joint = model.propose_joint(params, jax.random.key(3), x, c)
        again = model.log_joint(params, z, x, c), model.log_posterior(params, z, x, c)
        return z, (joint, (log_q,)), again, plain.log_prob(plain_params, x, c)

    for c, there in ((jnp.ones(steps), 3), (mask, 2)):
        z, fused, again, log_p = run(c)
        assert worst(fused, again) < 1e-10
        frames = x.reshape(steps, F)[:there]
        expected = written_out(params, likelihood, z[:there], frames)
        assert worst(expected, jnp.stack(jax.tree.leaves(fused))) < 1e-10
        net, exact = plain_params["generative"], 0.0
        state = start(net)
        for x_t in frames:
            exact += of_units(net, likelihood, network(net, "decoder", state[0]), x_t)
            state = recur(net, state, network(net, "x", x_t))
        assert abs(exact - log_p) < 1e-10


@pytest.mark.parametrize("steps", [drill(1), 3])
def test_padding_changes_no_bit(steps):
    """Losses, gradients and what is drawn of T steps, and of the same with padding that holds no numbers at all."""
    (model, params), (plain, plain_params) = (make(steps, depth=1) for make in (vrnn, rnn))
    objectives = (elbo(model, num_particles=2), params), (maximum_likelihood(plain), plain_params)
    x, key = jnp.stack([sequence(steps), sequence(steps, 1)]), jax.random.key(1)

    @quick_jit
    def run(x, c):
        batch = Batch(x, jnp.stack([c, c]))
        losses = [
            jax.value_and_grad(lambda p, o=o: o.loss(Trainable(p), (), key, batch, 0)[0])(p) for o, p in objectives
        ]
        z, drawn = model.sample_joint(params, key, c)
        seen = [m.continue_from(p, key, x[0], 1, c) for m, p in ((model, params), (plain, plain_params))]
        return (
            losses,
            [z[:steps], model.propose(params, key, x[0], c)[0][:steps]],
            [v[: steps * F] for v in (drawn, plain.sample(plain_params, key, c), *seen)],
        )

    expected = run(x, jnp.ones(steps))
    padded = jnp.concatenate([x, jnp.full((2, 4 * F), jnp.nan)], axis=1)
    found = run(padded, jnp.concatenate([jnp.ones(steps), jnp.zeros(4)]))
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (expected, found)), strict=True))


def test_nothing_there():
    """A mask that leaves nothing, and a sequence of no steps, have log p = 0 exactly, and draw zeros."""
    (model, params), (plain, plain_params) = vrnn(2, depth=1), rnn(2, depth=1)
    for x, c in ((sequence(2), jnp.zeros(2)), (jnp.zeros(0), ())):

        def value(params, x=x, c=c):
            z, log_q, joint = model.propose_joint(params, jax.random.key(0), x, c)
            again = model.log_joint(params, z, x, c), model.log_posterior(params, z, x, c)
            drawn = (
                model.sample_joint(params, jax.random.key(0), c)[1],
                plain.sample(plain_params, jax.random.key(0), c),
            )
            return total((joint, log_q, again)) + plain.log_prob(plain_params, x, c), (z, drawn)

        (found, (z, drawn)), gradient = quick_jit(jax.value_and_grad(value, has_aux=True))(params)
        assert found == 0.0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves((z, gradient)))
        assert not any(map(np.any, drawn)) or c == ()


def test_recurrent_likelihood_sums_to_one_and_draws_what_it_says(x64):
    """Over all sequences of two steps, and of one of two; draws and continuations of a prefix by their frequencies."""
    model, params = rnn(2)
    states = binary_states(2 * F)
    density = np.exp(quick_jit(jax.vmap(lambda x: model.log_prob(params, x, ())))(states))
    assert abs(density.sum() - 1) < 1e-12
    half = quick_jit(jax.vmap(lambda x: model.log_prob(params, x, jnp.array([1.0, 0.0]))))(states[::4])
    assert abs(np.exp(half).sum() - 1) < 1e-12
    keys, index = jax.random.split(jax.random.key(0), 20_000), 2 ** np.arange(2 * F)[::-1]
    whole = jax.jit(jax.vmap(lambda k: model.sample(params, k, ())))(keys)
    given = jnp.array([0.0, 1.0, 0.0, 0.0])
    rest = jax.jit(jax.vmap(lambda k: model.continue_from(params, k, given, 1, ())))(keys)
    assert np.all(np.asarray(rest)[:, :F] == given[:F])
    prefix = np.all(states[:, :F] == given[:F], axis=1)
    for drawn, p in ((whole, density), (rest, np.where(prefix, density, 0) / density[prefix].sum())):
        counts = np.bincount(np.asarray(drawn).astype(int) @ index, minlength=len(states))
        error = np.sqrt(p * (1 - p) / len(keys))
        assert np.all(np.abs(counts / len(keys) - p) <= 4.5 * error)


def test_continuations_filter_the_prefix(x64):
    """With all steps given x comes back; with some, what follows is drawn from p at z ~ q of the prefix alone."""
    model, params = vrnn(3, likelihood=Gaussian(0.7))
    x, key, mask = jnp.asarray(np.random.RandomState(0).normal(size=3 * F)), jax.random.key(2), jnp.array([1.0, 1, 0])
    go = quick_jit(lambda x, steps, c: model.continue_from(params, key, x, steps, c))
    assert np.array_equal(go(x, 3, jnp.ones(3)), x)
    assert np.array_equal(go(x, 3, mask), x.at[2 * F :].set(0))
    np.testing.assert_allclose(go(x, 0, jnp.ones(3)), model.sample_joint(params, key, ())[1], rtol=1e-12)
    one = go(x, 1, jnp.ones(3))
    assert np.array_equal(one[:F], x[:F])
    assert not np.any(one[F:] == x[F:])
    assert np.array_equal(go(x.at[F:].set(9.0), 1, jnp.ones(3)), one)
    # The next step given h_1, from means over keys: E[x_2] by the prefix's own filter.
    keys = jax.random.split(key, 4000)
    drawn = jax.jit(jax.vmap(lambda k: model.continue_from(params, k, x, 1, ())))(keys)[:, F : 2 * F]

    def by_hand(key):
        p, q, shared = params["generative"], params["recognition"], params["shared"]
        first, second = jax.random.normal(key, (2, 2))
        state = start(shared)
        of_x = network(shared, "x", x[:F])
        loc, log_scale = jnp.split(network(q, "encoder", of_x, state[0]), 2)
        state = recur(shared, state, of_x, network(shared, "z", loc + jnp.exp(log_scale) * first))
        loc, log_scale = jnp.split(network(p, "prior", state[0]), 2)
        of_z = network(shared, "z", loc + jnp.exp(log_scale) * second)
        return network(p, "decoder", of_z, state[0])

    means = jax.jit(jax.vmap(by_hand))(jax.random.split(jax.random.key(7), 4000))
    error = np.sqrt((np.var(drawn, axis=0) + np.var(means, axis=0)) / 4000)
    assert np.all(np.abs(drawn.mean(axis=0) - means.mean(axis=0)) < 4 * error)


def test_bad_input_is_named():
    model, params = vrnn(2)
    with pytest.raises(ConfigError, match="frame: got 2 units a step, but x has 5 values"):
        variational_rnn(5, frame=2)
    with pytest.raises(ConfigError, match="frame: got 3 units a step, but x has 2 values"):
        recurrent_likelihood(2, frame=3)
    with pytest.raises(ConfigError, match="visible: got 0"):
        variational_rnn(0)
    with pytest.raises(DataError, match=r"x: got shape \(5,\), expected \[T \* 2\]"):
        model.propose(params, jax.random.key(0), jnp.zeros(5), ())
    with pytest.raises(DataError, match=r"context: got shape \(3,\), expected \(2,\): a mask"):
        model.propose(params, jax.random.key(0), jnp.zeros(4), jnp.ones(3))
    with pytest.raises(ConfigError, match="cell: got 'rnn'"):
        recurrent_likelihood(2, cell="rnn")
