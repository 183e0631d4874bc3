"""log p(x): exact by enumeration, and estimated by importance weighting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import (
    gaussian_log_marginal,
    linear_gaussian,
    near_posterior,
    net,
    net_log_marginal,
    net_log_weights,
    quick_jit,
    random_params,
    single_unit_posterior,
    with_posterior,
)

from genjax_models.core import Batch, Trainable
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import DoubtfulEstimate, exact_log_marginal, log_marginal, objective_metrics
from genjax_models.evaluation.blocks import in_blocks
from genjax_models.evaluation.marginal import summarize
from genjax_models.evaluation.pareto import generalized_pareto_shape, pareto_k, tail_length, trusted_k
from genjax_models.evaluation.weights import RunningSums, log_mean
from genjax_models.models import categorical_vae, sigmoid_belief_network, unlayered_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import iwae, reweighted_wake_sleep

KEY = jax.random.key(11)
pytestmark = pytest.mark.filterwarnings("ignore::genjax_models.evaluation.DoubtfulEstimate")


def truth(toy, x):
    """log p(x) of every example, by the toy's own enumeration."""
    return quick_jit(jax.vmap(lambda x: net_log_marginal(toy, toy.params, x)))(jnp.asarray(x))


@pytest.mark.parametrize("layers", [(3,), (2, 1, 2)])
def test_exact_log_marginal(x64, layers):
    """It equals an enumeration written out by hand, and p(x) sums to one over all x."""
    toy = net(layers, 4)
    found = exact_log_marginal(toy.model, toy.params, toy.x, block=5)
    assert np.max(np.abs(found - truth(toy, toy.x))) < 1e-12
    assert abs(np.sum(np.exp(found)) - 1) < 1e-12


def test_exact_log_marginal_in_chunks(x64):
    """With 11 latents the states come in two chunks, and none is left out or counted twice."""
    toy = net((7, 4), 3, seed=2)
    found = exact_log_marginal(toy.model, toy.params, toy.x)
    assert np.max(np.abs(found - truth(toy, toy.x))) < 1e-12
    assert abs(np.sum(np.exp(found)) - 1) < 1e-12


def test_estimate_converges_to_the_exact_value(x64):
    """With K = 20000 the weights' mean is within 4 of its stated standard errors, which shrink as 1/sqrt(K)."""
    toy = net((3, 2), 4)
    x = toy.x[::3]
    exact = exact_log_marginal(toy.model, toy.params, x)
    many = log_marginal(toy.model, toy.params, KEY, x, 20_000, chunk=1000)
    assert np.all(np.abs(many.log_prob - exact) < 4 * many.standard_error)
    assert np.all(many.standard_error < 0.03)
    few = log_marginal(toy.model, toy.params, KEY, x, 5_000, chunk=1000)
    np.testing.assert_allclose(few.standard_error / many.standard_error, 2.0, rtol=0.1)


def test_standard_errors_are_those_of_repetition(x64):
    """The stated error is the spread of the estimate over keys, and (w, w^2) give the effective sample size."""
    toy = net((3, 2), 4)
    x = toy.x[5:7]
    found = jax.vmap(lambda k: jnp.stack(log_marginal(toy.model, toy.params, k, x, 500)[:3]))(
        jax.random.split(KEY, 400)
    )
    log_prob, error, effective = jnp.moveaxis(found, 1, 0)
    # The standard deviation of 400 draws is known to 1 / sqrt(800) = 3.5 %, four of which are 14 %.
    np.testing.assert_allclose(np.std(log_prob, axis=0, ddof=1), np.sqrt(np.mean(error**2, axis=0)), rtol=0.15)
    np.testing.assert_allclose(error**2, (1 / effective - 1 / 500) * 500 / 499, rtol=1e-6)


def test_variance_of_few_weights_has_no_bias(x64):
    """Over all sets of three weights: the error's square, times the set's mean squared, is the variance of a mean."""
    w, p = np.array([0.2, 1.0, 7.0]), np.array([0.5, 0.3, 0.2])
    sets = np.array(list(itertools.product(range(3), repeat=3)))
    found = log_mean(jax.vmap(RunningSums.empty().add)(np.log(w[sets])), 3)
    variance = np.prod(p[sets], axis=1) @ (np.exp(2 * found.value) * found.standard_error**2)
    np.testing.assert_allclose(variance, (p @ w**2 - (p @ w) ** 2) / 3, rtol=1e-12)


def test_definition(x64):
    """It is log (1/K) sum_k w_k of the samples that its docstring names, with their error and effective number."""
    toy = net((2, 2), 3)
    x, number = jnp.asarray(toy.x[2:5]), 7

    def log_weight(i, k):
        z, log_q = toy.model.propose(toy.params, jax.random.fold_in(jax.random.fold_in(KEY, i), k), x[i], ())
        joint = toy.model.log_joint(toy.params, z, x[i], ())
        return joint.likelihood + sum(joint.prior) - sum(log_q)

    indices = jnp.arange(3)[:, None], jnp.arange(number)[None]
    w = np.exp(quick_jit(jnp.vectorize(log_weight))(*indices))
    found = log_marginal(toy.model, toy.params, KEY, x, number)
    np.testing.assert_allclose(found.log_prob, np.log(w.mean(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(found.effective_samples, w.sum(axis=1) ** 2 / np.sum(w**2, axis=1), rtol=1e-12)
    relative = w.std(axis=1, ddof=1) / w.mean(axis=1) / np.sqrt(number)
    np.testing.assert_allclose(found.standard_error, relative, rtol=1e-9)


def test_chunks_and_blocks_are_only_round_off(x64):
    """Chunk and block, whether they divide the sizes or not, change nothing; nor does the company an example keeps."""
    toy = net((3,), 4)
    whole = log_marginal(toy.model, toy.params, KEY, toy.x, 100)
    for chunk, block in [(7, 50), (33, 7)]:
        found = log_marginal(toy.model, toy.params, KEY, toy.x, 100, chunk=chunk, block=block)
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    first = log_marginal(toy.model, toy.params, KEY, toy.x[:5], 100)
    np.testing.assert_allclose(first.log_prob, whole.log_prob[:5], rtol=1e-10)
    with_context = log_marginal(toy.model, toy.params, KEY, Batch(toy.x, jnp.zeros((16, 2))), 100)
    np.testing.assert_allclose(with_context.log_prob, whole.log_prob, rtol=1e-10)


def test_no_error_at_the_posterior(x64):
    """With q(z | x) = p(z | x) one sample is enough, for binary and for Gaussian latents."""
    toy = net((1,), 3)
    params = {**toy.params, "recognition": single_unit_posterior(toy.params["generative"])}
    found = log_marginal(toy.model, params, KEY, toy.x, 3)
    assert np.max(np.abs(found.log_prob - truth(toy, toy.x))) < 1e-12
    assert np.max(found.standard_error) < 1e-7
    np.testing.assert_allclose(found.effective_samples, 3.0, rtol=1e-9)
    gaussian, x = with_posterior(linear_gaussian(2, 1)), np.array([[0.9, -1.2], [0.1, 0.4]])
    exact = quick_jit(jax.vmap(lambda x: gaussian_log_marginal(gaussian, gaussian.params, x)))(x)
    assert np.max(np.abs(log_marginal(gaussian.model, gaussian.params, KEY, x, 2).log_prob - exact)) < 1e-12
    off = near_posterior(gaussian, 0.2)
    estimate = log_marginal(off.model, off.params, KEY, x, 20_000, chunk=1000)
    assert np.all(np.abs(estimate.log_prob - exact) < 4 * estimate.standard_error)
    assert np.all(estimate.standard_error < 0.02)


def test_one_sample_has_the_bound_s_mean(x64):
    """K = 1 estimates are ELBO samples: lower in the mean than log p(x), which many samples reach."""
    toy = net((3,), 4)
    x = np.repeat(toy.x[5:6], 4000, axis=0)
    ones = log_marginal(toy.model, toy.params, KEY, x, 1, block=4000)
    log_p, log_q = (np.asarray(v) for v in net_log_weights(toy, toy.params, toy.x[5]))
    elbo = np.exp(log_q) @ (log_p - log_q)
    error = np.std(ones.log_prob) / np.sqrt(4000)
    assert abs(np.mean(ones.log_prob) - elbo) < 4 * error
    assert truth(toy, toy.x[5:6])[0] - elbo > 10 * error
    assert np.all(ones.effective_samples == 1.0)
    assert np.isnan(ones.standard_error).all()


def test_impossible_weights(x64):
    """An example that no sample explains has log p(x) = -inf, and samples without weight count for nothing."""
    toy = net((2,), 3)

    def log_joint(params, z, x, c):
        joint = toy.model.log_joint(params, z, x, c)
        # p(x | z) = 0 unless the first latent is on, or x is all zero.
        possible = (z[0][0] == 1.0) & jnp.any(x > 0)
        return joint._replace(likelihood=jnp.where(possible, joint.likelihood, -jnp.inf))

    model = toy.model._replace(log_joint=log_joint)
    x = toy.x[[0, 5]]
    exact = exact_log_marginal(model, toy.params, x)
    found = log_marginal(model, toy.params, KEY, x, 4000, chunk=1)
    assert exact[0] == found.log_prob[0] == -np.inf
    assert abs(found.log_prob[1] - exact[1]) < 4 * found.standard_error[1] < 0.2


def test_large_and_small_log_weights_survive():
    """In float32, with log p(x) near -1000, the running sums neither overflow nor vanish."""
    model = sigmoid_belief_network(600, layers=(2,))
    params = random_params(model, 600, 0, 3.0)
    params["recognition"] = jax.tree.map(jnp.zeros_like, params["recognition"])
    x = jnp.asarray(np.random.RandomState(0).randint(0, 2, (3, 600)), jnp.float32)
    exact = exact_log_marginal(model, params, x)
    assert np.all(exact < -500)
    found = log_marginal(model, params, KEY, x, 2000, chunk=3)
    assert np.all(np.abs(found.log_prob - exact) < 4 * found.standard_error + 1e-2)


@pytest.mark.parametrize("name", ["num_samples", "chunk", "block"])
def test_bad_sizes(name):
    """Sizes that are no positive integers are refused by name."""
    toy = net((2,), 3)
    for size in (0, -1, 1.5, True, None, "10"):
        with pytest.raises(ConfigError, match=name):
            log_marginal(toy.model, toy.params, KEY, toy.x, **{"num_samples": 5, name: size})


def test_bad_models_and_data():
    """What cannot be computed is refused, with what to use instead."""
    toy = net((2,), 3)
    for function in (exact_log_marginal, lambda model, params, x: log_marginal(model, params, KEY, x)):
        with pytest.raises(ModelError):
            function("a model", toy.params, toy.x)
        for x in (toy.x[0], toy.x[:0], toy.x[None], None):
            with pytest.raises(DataError, match=r"\[N, D\]"):
                function(toy.model, toy.params, x)
    with pytest.raises(ModelError, match=r"enumerates binary latents, which CategoricalVAE does not.*log_marginal"):
        exact_log_marginal(categorical_vae(3), toy.params, toy.x)
    big = sigmoid_belief_network(3, layers=(20, 5))
    with pytest.raises(ModelError, match=r"25.*log_marginal"):
        exact_log_marginal(big, random_params(big, 3, 0), toy.x)


def test_objective_metrics_example_by_example(x64):
    """Each example's metrics are those of a batch of one at its own key, whatever the block."""
    for toy, build, x in [
        (net((2,), 3), reweighted_wake_sleep, net((2,), 3).x[:5]),
        (linear_gaussian(3, 1), iwae, np.random.RandomState(0).normal(size=(5, 3))),
    ]:
        objective = build(toy.model, 4)
        found = _metrics(objective, toy.params, x, 100)
        assert all(v.shape == (5,) for v in found.values())
        for name, value in _metrics(objective, toy.params, x, 2).items():
            np.testing.assert_allclose(value, found[name], rtol=1e-12)
        one = _metrics(objective, toy.params, x[:1], 1)
        np.testing.assert_allclose(one["bound"][0], found["bound"][0], rtol=1e-12)


def _metrics(objective, params, x, block):
    return quick_jit(lambda p: objective_metrics(objective, Trainable(p), (), KEY, jnp.asarray(x), block=block))(params)


def test_k_hat_is_that_of_the_tail(x64):
    """Of exact quantiles of generalized Pareto distributions: their shape, drawn to 1 / 2 as by ten observations."""
    number = 2000
    chances = (np.arange(number) + 0.5) / number
    shape_of, k_of = jax.jit(generalized_pareto_shape), jax.jit(pareto_k)
    for shape in (-0.3, 0.2, 0.7, 1.5):
        excesses = 3 * np.expm1(-shape * np.log1p(-chances)) / shape
        expected = (number * shape + 10 * 0.5) / (number + 10)
        assert abs(shape_of(jnp.asarray(excesses)) - expected) < 0.02
        # Of log-weights: the largest, above one that stands for the threshold; no scale matters.
        log_w = np.log(np.append(excesses[::-1], 0) + 1) - 700
        assert abs(k_of(jnp.asarray(log_w)) - expected) < 0.02
    assert np.isnan(k_of(jnp.zeros(30)))  # weights that are all equal
    assert np.isnan(k_of(jnp.full(30, -jnp.inf)))
    assert [tail_length(k) for k in (1, 20, 25, 225, 5000)] == [0, 0, 5, 45, 213]
    np.testing.assert_allclose([trusted_k(100), trusted_k(100_000)], [0.5, 0.7])


def test_k_hat_of_many_weights_in_chunks(x64):
    """The largest weights are found whatever the chunks, and q that is too narrow is doubted, the posterior not.

    With q = N(m, s^2) for a posterior N(m, t^2) the weights' tail has the shape k = 1 - s^2 / t^2.
    """
    toy = with_posterior(linear_gaussian(2, 1))
    narrow = jax.tree.map(jnp.array, toy.params)
    bias = narrow["recognition"]["network"]["layers_0"]["bias"]
    narrow["recognition"]["network"]["layers_0"]["bias"] = bias + jnp.array([0.0, np.log(0.1)])
    x = np.array([[0.9, -1.2], [0.1, 0.4]])
    with pytest.warns(DoubtfulEstimate, match="log_marginal: .*of 2 of 2 examples.*Raise num_samples"):
        found = log_marginal(toy.model, narrow, KEY, x, 50_000, chunk=5000)
    assert found.doubtful.all()
    assert (np.abs(found.pareto_k - (1 - 0.1**2)) < 0.2).all()
    found = log_marginal(toy.model, narrow, KEY, x, 300, chunk=37)
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(KEY, 1), k))(jnp.arange(300))

    def log_weight(k):
        z, log_q = toy.model.propose(narrow, k, x[1], ())
        return sum(jax.tree.leaves(toy.model.log_joint(narrow, z, x[1], ()))) - sum(log_q)

    log_w = quick_jit(jax.vmap(log_weight))(keys)
    np.testing.assert_allclose(
        found.pareto_k[1], quick_jit(pareto_k)(np.sort(log_w)[::-1][: tail_length(300) + 1]), rtol=1e-9
    )
    wide = jax.tree.map(jnp.array, narrow)
    wide["recognition"]["network"]["layers_0"]["bias"] = bias + jnp.array([0.0, np.log(1.5)])
    assert not log_marginal(toy.model, wide, KEY, x, 2000).doubtful.any()


def test_latents_that_follow_parts_of_x_are_not_looked_for_elsewhere():
    """s = (x_1, h, x_2), each mostly a copy of the one before, and q is the posterior: all weights are the same."""
    model = unlayered_belief_network(2, hidden=(1,), recognition="factorial")
    x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    params = model.init(KEY, x[0], ())
    copies = jnp.array([[0.0, 0, 0], [12.0, 0, 0], [0.0, 12.0, 0]])  # [to, from]
    params["generative"] = {"bias": jnp.array([-3.0, -6.0, -6.0]), "weights": copies}
    params["recognition"] = {"bias": jnp.array([-12.0]), "kernel": jnp.array([[12.0], [12.0]])}
    found = log_marginal(model, params, KEY, x, 25)
    np.testing.assert_allclose(found.effective_samples, 25, rtol=1e-5)
    assert not found.doubtful.any()


def test_few_effective_samples_of_binary_latents_are_doubted(x64):
    """There k-hat is not defined; within a trace no warning can be given, and the mark is there."""
    toy = net((2,), 3)
    far = {**toy.params, "recognition": jax.tree.map(lambda v: 12 * v - 6, toy.params["recognition"])}
    marks = jax.jit(lambda params: log_marginal(toy.model, params, KEY, toy.x, 100).doubtful)
    found = jax.jit(lambda params: log_marginal(toy.model, params, KEY, toy.x, 100))(far)
    assert np.isnan(found.pareto_k).all()
    assert found.doubtful[found.effective_samples < 10].all()
    assert (found.effective_samples < 10).any()
    even = {**toy.params, "recognition": jax.tree.map(jnp.zeros_like, toy.params["recognition"])}
    assert not marks(even).any()


def test_all_devices_are_used(x64):
    """Blocks are shared out to 8 devices and change nothing; arrays that were put on one device stay there."""
    toy = net((3,), 4)
    whole = log_marginal(toy.model, toy.params, KEY, toy.x, 50)
    spread = log_marginal(toy.model, toy.params, KEY, toy.x, 50, block=1)
    assert len(spread.log_prob.sharding.device_set) == len(jax.devices()) == 8
    np.testing.assert_allclose(spread.log_prob, whole.log_prob, rtol=1e-12)
    there = jax.device_put(toy.params, jax.devices()[3])
    alone = log_marginal(toy.model, there, KEY, toy.x, 50, block=1)
    assert alone.log_prob.sharding.device_set == {jax.devices()[3]}
    np.testing.assert_allclose(alone.log_prob, whole.log_prob, rtol=1e-12)


def test_linear_gaussian_models_have_a_closed_form(x64):
    x = np.array([[0.3, -1.0, 0.5], [2.0, 0.1, -0.4]])
    for latent in (1, 3):
        toy = linear_gaussian(3, latent)
        expected = jax.vmap(lambda x, toy=toy: gaussian_log_marginal(toy, toy.params, x))(x)
        np.testing.assert_allclose(exact_log_marginal(toy.model, toy.params, x), expected, rtol=1e-12)
    bent = vae(3, latent=2, decoder=MLP((4,), "tanh"), likelihood=Gaussian())
    params = random_params(bent, 3, 0, 0.5)
    with pytest.raises(ModelError, match=r"of VAE is not quadratic in its real latents.*quadrature_log_marginal"):
        exact_log_marginal(bent, params, x)
    assert np.isnan(jax.jit(lambda params: exact_log_marginal(bent, params, x))(params)).all()
    # At its beginning a net of ReLUs has its mode and no slope at 0, and bends elsewhere.
    folded = vae(3, latent=1, encoder=MLP((4,), "relu"), decoder=MLP((4,), "relu"), likelihood=Gaussian())
    with pytest.raises(ModelError, match="not quadratic"):
        exact_log_marginal(folded, folded.init(KEY, x[0], ()), x)


def test_contexts_have_a_row_for_each_example():
    toy = net((2,), 3)
    with pytest.raises(DataError, match=r"context: got shape \(2, 1\) for 8 examples, expected a row for each"):
        log_marginal(toy.model, toy.params, KEY, Batch(toy.x, jnp.zeros((2, 1))), 30)


def test_what_is_no_number_is_doubtful():
    """Weights that are all zero, or of which one is NaN."""
    nothing = RunningSums(*(jnp.array([v]) for v in (-jnp.inf, 0.0, 0.0)))
    spoiled = RunningSums(*(jnp.array([v]) for v in (0.0, jnp.nan, jnp.nan)))
    for sums in (nothing, spoiled):
        for number in (3, 100):
            assert summarize(sums, jnp.array([jnp.nan]), number).doubtful.all()


def _agrees(found, exact):
    """Whether every estimate lies within 4 of its standard errors of the truth, or is marked."""
    return bool((found.doubtful | (np.abs(found.log_prob - exact) <= 4 * found.standard_error + 1e-9)).all())


def test_estimates_agree_with_the_truth_or_are_doubted(x64):
    """Whatever q: uniform, random, or sure of something else; doubts where none is due are the exception."""
    for layers, size in (((4,), 32), ((10, 6), 4)):
        toy = net(layers, 5)
        x = toy.x[:size]
        for sharpness in (1, 3):
            generative = jax.tree.map(lambda v, s=sharpness: s * v, toy.params["generative"])
            exact = exact_log_marginal(toy.model, {**toy.params, "generative": generative}, x)
            for sure in (0, 1, 4):
                recognition = jax.tree.map(lambda v, s=sure: s * v, toy.params["recognition"])
                params = {"generative": generative, "recognition": recognition}
                found = log_marginal(toy.model, params, KEY, x, 1000)
                assert _agrees(found, exact), (layers, sharpness, sure)
                if (layers, sharpness, sure) == ((4,), 1, 4):  # draws of q alone would not have told
                    assert (found.doubtful & (found.effective_samples > 10)).any()
                if (layers, sure) == ((4,), 0):
                    assert not found.doubtful.any()
    for toy in (linear_gaussian(5, 2), linear_gaussian(6, 3, scale=0.3)):
        keys = jax.random.split(KEY, 32)
        x = jax.vmap(lambda k, toy=toy: toy.model.sample_joint(toy.params, k, ())[1])(keys)
        exact = exact_log_marginal(toy.model, toy.params, x)
        as_prior = {**toy.params, "recognition": jax.tree.map(jnp.zeros_like, toy.params["recognition"])}
        for params in (toy.params, as_prior):
            assert _agrees(log_marginal(toy.model, params, KEY, x, 1000), exact)


def test_weights_of_infinite_variance_are_doubted(x64):
    """q = N(m, s^2) for a posterior N(m, t^2): E w^2 is finite where s^2 / t^2 is above 1 / 2, and then (1 + chi^2)."""
    toy = with_posterior(linear_gaussian(3, 1))
    x = np.random.RandomState(0).normal(size=(20, 3))
    layer = toy.params["recognition"]["network"]["layers_0"]
    for ratio, expected in ((0.2, True), (0.9, False), (2.0, False)):
        bias = layer["bias"] + jnp.array([0.0, 0.5 * np.log(ratio)])
        recognition = {"network": {"layers_0": {**layer, "bias": bias}}}
        marks = jax.jit(lambda r: log_marginal(toy.model, {**toy.params, "recognition": r}, KEY, x, 1000))(recognition)
        assert (marks.doubtful == expected).all()


def test_keys_typed_and_raw():
    """A raw key is one key, as a typed one is; of keys [N], of either kind, each example has its own."""
    examples, expected = Batch(jnp.zeros((5, 1))), None
    for key in (jax.random.key(3), jax.random.PRNGKey(3)):
        each = jax.vmap(lambda i, key=key: jax.random.fold_in(key, i))(jnp.arange(5))
        for given in (key, each):
            found = in_blocks(lambda key, row: jax.random.uniform(key), given, examples, block=2)
            expected = jax.vmap(jax.random.uniform)(each) if expected is None else expected
            np.testing.assert_array_equal(found, expected)
