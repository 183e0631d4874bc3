"""p* of a bidirectional Helmholtz machine: its probabilities, samples and completions, against enumeration."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from toys import linear_gaussian, net, net_log_weights, quick_jit, random_params, single_unit_posterior

from genjax_models.core import total
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import (
    LogZSquared,
    exact_log_p_star,
    inpaint,
    log_p_star,
    log_z_squared,
    sample_p_star,
)
from genjax_models.evaluation.bidirectional import Pair, gibbs_sweep, log_root, refresh_candidates
from genjax_models.models import sigmoid_belief_network

MODULE = importlib.import_module("genjax_models.evaluation.bidirectional")
KEY = jax.random.key(7)
UNIT = LogZSquared(jnp.zeros(()), jnp.zeros(()), jnp.ones(()))


def roots(toy):
    """sqrt(p(x, z) q(z | x)) of every x and z, [2^D, S]."""
    log_p, log_q = jax.vmap(lambda x: net_log_weights(toy, toy.params, x))(jnp.asarray(toy.x))
    return np.exp((np.asarray(log_p) + np.asarray(log_q)) / 2)


def p_star(toy):
    """p*(x) of every x, [2^D]."""
    unnormalized = roots(toy).sum(axis=1) ** 2
    return unnormalized / unnormalized.sum()


def quickly(function, toy, *args, **options):
    """`function(model, params, ...)`, compiled without much ado."""
    return quick_jit(lambda params: function(toy.model, params, *args, **options))(toy.params)


def p_of_x(toy):
    """p(x) of every x, [2^D]."""
    log_p, _ = jax.vmap(lambda x: net_log_weights(toy, toy.params, x))(jnp.asarray(toy.x))
    return np.exp(log_p).sum(axis=1)


def far_apart(layers, visible, seed=0):
    """A net whose p and q disagree, so that p* is another distribution than p."""
    toy = net(layers, visible, seed)
    return toy._replace(params=jax.tree.map(lambda v: 2.0 * v, toy.params))


def counts(x):
    """How often every state of binary rows [N, D] occurs, in the order of `toys.binary_states`."""
    index = np.asarray(x).astype(int) @ (2 ** np.arange(x.shape[1])[::-1])
    return np.bincount(index, minlength=2 ** x.shape[1])


def fits(x, chance):
    """Pearson's test of draws [N, D] against the chances of all states, at a fixed key."""
    return scipy.stats.chisquare(counts(x), len(x) * chance / chance.sum()).pvalue > 1e-3


# Probabilities.


def outcomes(toy):
    """Every (x, z, z') as indices [M, 3], its chance under p(x, z) q(z' | x), and a model that draws it by context."""
    indices = np.array(list(itertools.product(range(len(toy.x)), range(len(toy.z[0])), range(len(toy.z[0])))))
    log_p, log_q = jax.vmap(lambda x: net_log_weights(toy, toy.params, x))(jnp.asarray(toy.x))
    chance = np.exp(np.asarray(log_p)[indices[:, 0], indices[:, 1]] + np.asarray(log_q)[indices[:, 0], indices[:, 2]])

    def latents(i):
        return tuple(jnp.asarray(layer)[i] for layer in toy.z)

    def propose(params, key, x, c):
        z = latents(c[2])
        return z, toy.model.log_posterior(params, z, x, ())

    return (
        jnp.asarray(indices),
        chance,
        toy.model._replace(
            sample_joint=lambda params, key, c: (latents(c[1]), jnp.asarray(toy.x)[c[0]]),
            propose=propose,
            log_joint=lambda params, z, x, c: toy.model.log_joint(params, z, x, ()),
            log_posterior=lambda params, z, x, c: toy.model.log_posterior(params, z, x, ()),
        ),
    )


@pytest.mark.parametrize("layers", [(3,), (2, 1), (1, 1, 1)])
def test_z_squared_is_estimated_without_bias(x64, layers):
    """Over all (x, z, z') the estimate's expectation is sum_x p~*(x), and its log's is lower; that is below 0."""
    toy = net(layers, 2)
    indices, chance, model = outcomes(toy)
    log_w = quick_jit(jax.vmap(lambda c: log_z_squared(model, toy.params, KEY, 1, context=c).value))(indices)
    exact = np.sum(roots(toy).sum(axis=1) ** 2)
    assert abs(chance.sum() - 1) < 1e-10
    assert abs(chance @ np.exp(log_w) - exact) < 1e-10
    assert chance @ log_w < np.log(exact) - 1e-3 < -1e-3


@pytest.mark.parametrize("layers", [(3,), (2, 1), (1, 1, 1)])
def test_exact_log_p_star(x64, layers):
    """It equals an enumeration written out by hand; p* sums to one, p~* to Z^2 < 1, and p~*(x) < p(x) everywhere."""
    toy = net(layers, 3)
    found = quickly(exact_log_p_star, toy, toy.x, block=3)
    unnormalized = roots(toy).sum(axis=1) ** 2
    np.testing.assert_allclose(np.exp(found.unnormalized), unnormalized, rtol=1e-10)
    np.testing.assert_allclose(np.exp(found.log_prob), unnormalized / unnormalized.sum(), rtol=1e-10)
    assert abs(np.exp(found.log_z_squared) - unnormalized.sum()) < 1e-10
    assert unnormalized.sum() < 1
    assert np.all(np.exp(found.unnormalized) < p_of_x(toy))
    turned = quickly(exact_log_p_star, toy, toy.x[::-1], block=3)
    np.testing.assert_allclose(turned.log_prob, found.log_prob[::-1], rtol=1e-10)


def test_estimates_converge(x64):
    """Many samples come within 4 stated errors of the enumerated log Z^2, log p~* and log p*."""
    toy = far_apart((2, 2), 3)
    exact = quickly(exact_log_p_star, toy, toy.x)
    normalizer = quickly(log_z_squared, toy, KEY, 40_000, chunk=3000)
    assert abs(normalizer.value - exact.log_z_squared) < 4 * normalizer.standard_error < 0.2
    found = quickly(log_p_star, toy, KEY, toy.x, normalizer, 20_000, chunk=1000)
    assert np.all(np.abs(found.unnormalized - exact.unnormalized) < 4 * found.standard_error)
    assert np.all(np.abs(found.log_prob - exact.log_prob) < 4 * found.log_prob_standard_error)
    assert np.all(found.standard_error < 0.1)
    np.testing.assert_allclose(found.log_prob, found.unnormalized - normalizer.value, rtol=1e-12)
    np.testing.assert_allclose(
        found.log_prob_standard_error**2, found.standard_error**2 + normalizer.standard_error**2, rtol=1e-9
    )


def test_log_p_star_rises_from_below(x64):
    """In the mean over 4,000 repetitions the estimate is lower than log p~*(x), less so with more samples."""
    toy = far_apart((3,), 3)
    x = np.repeat(toy.x[5:6], 4000, axis=0)
    exact = 2 * np.log(roots(toy)[5].sum())
    found = [quickly(log_p_star, toy, KEY, x, UNIT, k, block=4000).unnormalized for k in (1, 8)]
    (one, eight), (error, _) = np.mean(found, axis=1), np.std(found, axis=1) / np.sqrt(4000)
    log_p, log_q = (np.asarray(v) for v in net_log_weights(toy, toy.params, toy.x[5]))
    assert abs(one - np.exp(log_q) @ (log_p - log_q)) < 4 * error
    assert one + 10 * error < eight < exact


def test_definitions(x64):
    """Both are the logs of means over the samples that their docstrings name, with errors from their spread."""
    toy, number = net((2, 1), 3), 7
    x = jnp.asarray(toy.x[2:5])

    def log_ratio(z, x):
        return total(toy.model.log_joint(toy.params, z, x, ())) - total(toy.model.log_posterior(toy.params, z, x, ()))

    def root(i, k):
        z, _ = toy.model.propose(toy.params, jax.random.fold_in(jax.random.fold_in(KEY, i), k), x[i], ())
        return jnp.exp(log_ratio(z, x[i]) / 2)

    w = np.asarray(quick_jit(jnp.vectorize(root))(jnp.arange(3)[:, None], jnp.arange(number)[None]))
    found = quickly(log_p_star, toy, KEY, x, UNIT, number, chunk=3, block=2)
    np.testing.assert_allclose(found.unnormalized, 2 * np.log(w.mean(axis=1)), rtol=1e-10)
    error = 2 * w.std(axis=1, ddof=1) / w.mean(axis=1) / np.sqrt(number)
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-9)
    np.testing.assert_allclose(found.effective_samples, w.sum(axis=1) ** 2 / np.sum(w**2, axis=1), rtol=1e-10)

    def weight(k):
        down, up = jax.random.split(jax.random.fold_in(KEY, k))
        z, x = toy.model.sample_joint(toy.params, down, ())
        return jnp.exp((log_ratio(toy.model.propose(toy.params, up, x, ())[0], x) - log_ratio(z, x)) / 2)

    w = np.asarray(quick_jit(jax.vmap(weight))(jnp.arange(number)))
    z_squared = quickly(log_z_squared, toy, KEY, number, chunk=2)
    np.testing.assert_allclose(z_squared.value, np.log(w.mean()), rtol=1e-10)
    np.testing.assert_allclose(z_squared.standard_error, w.std(ddof=1) / w.mean() / np.sqrt(number), rtol=1e-9)
    np.testing.assert_allclose(z_squared.effective_samples, w.sum() ** 2 / np.sum(w**2), rtol=1e-10)


def test_where_q_is_the_posterior(x64):
    """Z is 1 and p* is p, without any error."""
    toy = net((1,), 3)
    params = {**toy.params, "recognition": single_unit_posterior(toy.params["generative"])}
    solved = toy._replace(params=params)
    normalizer = quickly(log_z_squared, solved, KEY, 5)
    found = quickly(log_p_star, solved, KEY, toy.x, normalizer, 2)
    assert abs(normalizer.value) < 1e-12
    assert np.max(np.abs(found.log_prob - np.log(p_star(solved)))) < 1e-12
    assert np.max(np.abs(found.log_prob - np.log(p_of_x(solved)))) < 1e-12
    assert np.max(found.log_prob_standard_error) < 1e-7


def test_small_weights_survive():
    """In float32, with weights near e^-300, neither estimate vanishes; memory does not grow with the samples."""
    model = sigmoid_belief_network(400, layers=(5,))
    params = random_params(model, 400, 0, 3.0)
    x = jnp.asarray(np.random.RandomState(0).randint(0, 2, (2, 400)), jnp.float32)
    unnormalized = quick_jit(lambda p: log_p_star(model, p, KEY, x, UNIT, 200, chunk=50).unnormalized)(params)
    assert np.all((unnormalized > -3000) & (unnormalized < -300))

    def program(number):
        return quick_jit(lambda p: log_z_squared(model, p, KEY, number, chunk=50).value).lower(params).compile()

    few, many = program(200), program(10**8)
    assert -2000 < few(params) < -2
    assert few.memory_analysis().temp_size_in_bytes == many.memory_analysis().temp_size_in_bytes


# Samples.


def pairs(toy):
    """p*(x, z, z') of every outcome [M], and the outcomes as a `Pair`, leaves [M, ...]."""
    weights = roots(toy)
    chance = weights[:, :, None] * weights[:, None, :]
    indices = np.array(list(np.ndindex(chance.shape)))
    z = tuple(jnp.asarray(layer)[indices[:, 1:]] for layer in toy.z)
    return chance.ravel() / chance.sum(), Pair(jnp.asarray(toy.x)[indices[:, 0]], z)


def test_p_star_is_the_marginal_of_pairs(x64):
    """Summed over z and z' the law of pairs is p*(x), summed over z' it is sqrt(p q p*(x)) / Z."""
    toy = net((2, 1), 2)
    chance, _ = pairs(toy)
    weights = roots(toy)
    chance = chance.reshape(len(toy.x), len(toy.z[0]), len(toy.z[0]))
    np.testing.assert_allclose(chance.sum(axis=(1, 2)), p_star(toy), rtol=1e-10)
    z = np.sqrt(np.sum(weights.sum(axis=1) ** 2))
    np.testing.assert_allclose(chance.sum(axis=2), weights * np.sqrt(p_star(toy))[:, None] / z, rtol=1e-10)


@pytest.mark.parametrize("number", [1, 2])
def test_choosing_latents_leaves_their_distribution(x64, number):
    """Over all candidates of q, old z to new z has p*(z | x) as its fixed point, to round-off; dropping the old fails.

    The candidates are prescribed, so that this is the transition matrix of the sampler's own weights.
    """
    toy = far_apart((1, 1), 2)
    x, states = jnp.asarray(toy.x[1]), len(toy.z[0])
    target = roots(toy)[1] / roots(toy)[1].sum()
    _, log_q = net_log_weights(toy, toy.params, x)
    sets = np.array(list(itertools.product(range(states), repeat=number)))
    keys = jax.random.split(KEY, number)

    def latents(i):
        return tuple(jnp.asarray(layer)[i] for layer in toy.z)

    def transition(old, drawn):
        def propose(params, key, x, c):
            which = jnp.argmax(jnp.all(jax.random.key_data(keys) == jax.random.key_data(key), axis=-1))
            z = latents(drawn[which])
            return z, toy.model.log_posterior(params, z, x, c)

        model = toy.model._replace(propose=propose)
        candidates, log_w = refresh_candidates(model, toy.params, KEY, x, latents(old), (), number)
        index = candidates[0][:, 0] * 2 + candidates[1][:, 0]
        chosen = index[:, None] == jnp.arange(states)
        return jax.nn.softmax(log_w) @ chosen, jax.nn.softmax(log_w[1:]) @ chosen[1:]

    chance = np.exp(np.sum(np.asarray(log_q)[sets], axis=1))
    rows = quick_jit(jax.vmap(jax.vmap(transition, (None, 0)), (0, None)))(jnp.arange(states), jnp.asarray(sets))
    kept, dropped = (np.einsum("k,ikj->ij", chance, row) for row in rows)
    np.testing.assert_allclose(kept.sum(axis=1), 1, rtol=1e-10)
    assert np.max(np.abs(target @ kept - target)) < 1e-10
    assert np.max(np.abs(target @ dropped - target)) > 1e-2


def swept(toy, number, hidden):
    """p*(x, z, z') of every outcome; and where a sweep leads from `number` exact draws of it, with probabilities."""
    chance, every = pairs(toy)
    start = np.random.RandomState(0).choice(len(chance), number, p=chance)
    hidden = jnp.asarray(hidden)

    def one(key, index):
        pair = jax.tree.map(lambda v: v[index], every)
        return gibbs_sweep(toy.model, toy.params, key, pair, hidden, (), 2)

    pair, probabilities = quick_jit(jax.vmap(one))(jax.random.split(KEY, number), jnp.asarray(start))
    return chance, pair, probabilities


def flattened(pair):
    """A pair's units side by side: x, then z, then z', [N, D + 2 Z]."""
    both = [np.concatenate([layer[:, i] for layer in pair.z], axis=1) for i in range(2)]
    return np.concatenate([np.asarray(pair.x), *both], axis=1)


@pytest.mark.parametrize("layers", [(2,), (1, 1)])
def test_a_sweep_leaves_p_star(x64, layers):
    """Exact draws of (x, z, z') are exact draws after a sweep: all 2^6 states, 30,000 draws, chi-square."""
    toy = far_apart(layers, 2)
    chance, pair, _ = swept(toy, 30_000, [True, True])
    assert fits(flattened(pair), chance)


def without_square(model, params, z, x, c):
    """log p(x, z) q(z | x), not its root."""
    return 2 * log_root(model, params, z, x, c)


def of_p_alone(model, params, z, x, c):
    """log p(x, z): Gibbs sampling of p."""
    return total(model.log_joint(params, z, x, c))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [without_square, of_p_alone])
def test_mutant_sweeps_leave_another_distribution(x64, monkeypatch, mutant):
    """The chi-square sees conditionals of something else."""
    monkeypatch.setattr(MODULE, "log_root", mutant)
    toy = far_apart((1, 1), 2)
    chance, pair, _ = swept(toy, 30_000, [True, True])
    assert not fits(flattened(pair), chance)


def test_probabilities_are_the_exact_conditionals(x64):
    """That of the unit visited last is p*(x_i = 1 | all else) at the end; those of seen units are the units."""
    toy = far_apart((1, 1), 2)
    chance, pair, probabilities = swept(toy, 200, [False, True])
    states = flattened(pair).astype(int)
    table = chance.reshape([2] * 6)
    on, off = (np.array([table[(s[0], i, *s[2:])] for s in states]) for i in (1, 0))
    np.testing.assert_allclose(probabilities[:, 1], on / (on + off), rtol=1e-10)
    np.testing.assert_array_equal(probabilities[:, 0], pair.x[:, 0])


def test_resampling_approaches_p_star(x64):
    """One proposal is a dream of p; with more the distance to p* shrinks to what 6,000 draws show."""
    toy = far_apart((2,), 2, seed=4)
    target = p_star(toy)
    draw = functools.partial(sample_p_star, toy.model, toy.params, KEY, 6_000, num_sweeps=0, block=6_000)
    drawn = {number: draw(num_proposals=number).x for number in (1, 4, 40)}
    distance = {number: np.abs(counts(x) / 6_000 - target).sum() / 2 for number, x in drawn.items()}
    assert fits(drawn[1], p_of_x(toy))
    assert distance[1] > 0.1
    assert distance[4] < 0.6 * distance[1]
    assert distance[40] < 0.25 * distance[1]


def test_samples_follow_p_star(x64):
    """From dreams of p, by sweeps: x and (x, z) as enumerated."""
    toy = far_apart((2,), 2, seed=4)
    found = sample_p_star(toy.model, toy.params, KEY, 6_000, num_proposals=1, num_sweeps=12, block=6_000)
    weights = roots(toy) * np.sqrt(p_star(toy))[:, None]
    assert fits(found.x, p_star(toy))
    assert fits(np.concatenate([found.x, found.z[0]], axis=1), weights.ravel())
    assert np.all((found.probabilities > 0) & (found.probabilities < 1))


def test_completions_follow_the_conditional(x64):
    """x_hidden is drawn as p*(x_hidden | x_seen) has it, with masks of all examples or of each; the rest stays."""
    toy = far_apart((2,), 3, seed=2)
    number = 3_000
    x = np.concatenate([np.tile([1.0, 9.0, 9.0], (number, 1)), np.tile([9.0, 0.0, 9.0], (number, 1))])
    hidden = x == 9.0
    complete = quick_jit(lambda p, x, hidden: inpaint(toy.model, p, KEY, x, hidden, num_sweeps=12, block=2 * number).x)
    found = complete(toy.params, x, hidden)
    table = p_star(toy).reshape(2, 2, 2)
    assert np.all(np.asarray(found)[~hidden] == x[~hidden])
    assert fits(found[:number, 1:], table[1].ravel())
    assert fits(found[number:, ::2], table[:, 0].ravel())
    assert not fits(found[:number, 1:], p_of_x(toy).reshape(2, 4)[1])
    one, each = (quickly(inpaint, toy, KEY, x[:2], h, num_sweeps=12).x for h in (hidden[0], hidden[:2]))
    np.testing.assert_array_equal(one, each)
    np.testing.assert_array_equal(one, found[:2])


# Refusals.


def test_bad_models():
    """What has no q, or no binary units where they are swept or enumerated, is refused by name."""
    toy, gaussian = net((2,), 3), linear_gaussian(3, 1)
    for call, name in [
        (lambda model, params: log_z_squared(model, params, KEY), "log_z_squared"),
        (lambda model, params: log_p_star(model, params, KEY, toy.x, UNIT), "log_p_star"),
        (lambda model, params: exact_log_p_star(model, params, toy.x), "exact_log_p_star"),
        (lambda model, params: sample_p_star(model, params, KEY, 2), "sample_p_star"),
        (lambda model, params: inpaint(model, params, KEY, toy.x, jnp.ones(3, bool)), "inpaint"),
    ]:
        with pytest.raises(ModelError, match=name):
            call("a model", toy.params)
    for call in (
        lambda: exact_log_p_star(gaussian.model, gaussian.params, toy.x),
        lambda: sample_p_star(gaussian.model, gaussian.params, KEY, 2),
        lambda: inpaint(gaussian.model, gaussian.params, KEY, toy.x, jnp.ones(3, bool)),
    ):
        with pytest.raises(ModelError, match="VAE"):
            call()
    big = sigmoid_belief_network(10, layers=(15,))
    with pytest.raises(ModelError, match=r"25 units.*log_p_star"):
        exact_log_p_star(big, random_params(big, 10, 0), np.zeros((1, 10)))
    assert log_z_squared(gaussian.model, gaussian.params, KEY, 50).value < 1


def test_bad_sizes_and_data():
    """Sizes that are no counts, masks of another shape or type, and seen intensities are refused by name."""
    toy = net((2,), 3)
    model, params, mask = toy.model, toy.params, jnp.ones(3, bool)
    for call, names in [
        (functools.partial(log_z_squared, model, params, KEY), ["num_samples", "chunk"]),
        (functools.partial(log_p_star, model, params, KEY, toy.x, UNIT), ["num_samples", "chunk", "block"]),
        (functools.partial(sample_p_star, model, params, KEY, 2), ["num_proposals", "num_candidates", "block"]),
        (functools.partial(inpaint, model, params, KEY, toy.x, mask), ["num_sweeps", "num_candidates", "block"]),
        (functools.partial(sample_p_star, model, params, KEY), ["num"]),
    ]:
        for name, size in itertools.product(names, (0, -1, 1.5, True, None, "10")):
            with pytest.raises(ConfigError, match=f"{name}: got"):
                call(**{name: size})
    with pytest.raises(ConfigError, match="num_sweeps: got -1"):
        sample_p_star(model, params, KEY, 2, num_sweeps=-1)
    for wrong in (jnp.ones(4, bool), jnp.ones(3), jnp.ones((2, 3), bool)):
        with pytest.raises(DataError, match="hidden: got"):
            inpaint(model, params, KEY, toy.x, wrong)
    with pytest.raises(DataError, match=r"1 seen values are neither 0 nor 1, such as 0.5"):
        inpaint(model, params, KEY, np.array([[0.5, 0.5, 1.0]]), jnp.array([True, False, False]))
    with pytest.raises(DataError, match=r"\[N, D\]"):
        inpaint(model, params, KEY, toy.x[0], mask)
