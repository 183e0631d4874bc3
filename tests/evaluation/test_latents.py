"""What is said of latents, on linear Gaussians where all of it has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models.core import Batch, Joint
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import (
    PosteriorMoments,
    active_units,
    aggregate_posterior,
    interpolate_codes,
    latent_kl,
    posterior_moments,
    rate_distortion,
    reconstruct,
    refine_posterior,
    response,
    traverse,
)
from genjax_models.models import made, sigmoid_belief_network, variational_rnn
from tests import toys

D, Z, N = 5, 3, 40
X = 0.4 * np.random.RandomState(0).normal(size=(N, D))


@pytest.fixture(autouse=True)
def _float64(x64):
    pass


def toy(seed=0, latent=Z):
    return toys.linear_gaussian(D, latent, seed)


def with_layer(params, bias=None, kernel=None):
    """The recognition network's affine map, changed where something is given."""
    layer = dict(params["recognition"]["network"]["layers_0"])
    layer |= {k: v for k, v in {"bias": bias, "kernel": kernel}.items() if v is not None}
    return {**params, "recognition": {"network": {"layers_0": layer}}}


def without_closed_forms(model):
    return model._replace(kl=None, kl_by_dimension=None, posterior_moments=None)


def kl_by_dimension(params, x):
    mean, log_scale = toys.encoder(params, x)
    return 0.5 * (mean**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale)


KEY = jax.random.key(1)


def test_moments_are_those_of_q():
    """Exact in closed form, and else of draws, within five standard errors."""
    model, params, _ = toy()
    mean, log_scale = toys.encoder(params, X)
    found = posterior_moments(model, params, KEY, X, block=7)
    assert found.num_samples is None
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.std, np.exp(log_scale), atol=1e-12)
    drawn = posterior_moments(without_closed_forms(model), params, KEY, X, 400)
    assert drawn.num_samples == 400
    assert np.abs((drawn.mean - mean) / np.exp(log_scale)).max() < 5 / 20
    assert np.abs(drawn.std / np.exp(log_scale) - 1).max() < 5 / np.sqrt(800)


def test_active_units_are_those_that_the_data_move():
    """A latent whose q does not see x is the one that is inactive; the others have the variance of an affine map."""
    model, params, _ = toy()
    kernel = np.array(params["recognition"]["network"]["layers_0"]["kernel"])
    kernel[:, 1] = 0
    kernel[:, 2] *= 0.05 / np.std(X @ kernel[:, 2], ddof=1)  # of variance 0.0025, below the threshold
    params = with_layer(params, kernel=kernel)
    found = active_units(model, params, KEY, X)
    np.testing.assert_allclose(found.variance, np.var(X @ kernel[:, :Z], axis=0, ddof=1), atol=1e-12)
    assert found.active.tolist() == [True, False, False]
    assert found.number == 1
    assert active_units(model, params, KEY, X, threshold=0.002).active.tolist() == [True, False, True]


def test_latents_of_absent_steps_are_no_data():
    """Of four sequences all have step 0, two have step 1, one has step 2; what is absent is 0 and moves nothing."""
    mean = np.random.RandomState(0).normal(size=(4, 3, 2))
    std = np.random.RandomState(1).uniform(1, 2, size=(4, 3, 2))
    mask = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]], float)
    mean, std = (v * mask[..., None] for v in (mean, std))
    moments = PosteriorMoments(mean, std, 20)
    found = active_units(variational_rnn(6, frame=2), {}, KEY, Batch(np.zeros((4, 6)), mask), moments=moments)
    for step, rows in enumerate(([0, 1, 2, 3], [1, 2])):
        noise = np.mean(std[rows, step] ** 2, axis=0) / 20
        np.testing.assert_allclose(found.variance[step], np.var(mean[rows, step], axis=0, ddof=1) - noise, atol=1e-12)
    assert not found.active[2].any()


def test_noise_of_estimated_means_makes_no_unit_active():
    """q = p for every x: means of 20 draws alone vary by 1/20, five times the threshold."""
    model, params, _ = toy()
    params = jax.tree.map(jnp.zeros_like, params)
    sampled = without_closed_forms(model)
    x = np.zeros((2000, D))
    moments = posterior_moments(sampled, params, KEY, x, 20)
    np.testing.assert_allclose(np.var(moments.mean, axis=0), 1 / 20, rtol=0.2)
    found = active_units(sampled, params, KEY, x, moments=moments)
    assert np.abs(found.variance).max() < 0.01
    assert found.number == 0


def test_kl_of_latents_is_in_closed_form_or_of_draws():
    model, params, _ = toy()
    exact = kl_by_dimension(params, X)
    found = latent_kl(model, params, KEY, X, block=9)
    assert found.exact
    np.testing.assert_allclose(found.by_dimension[0], exact, atol=1e-12)
    np.testing.assert_allclose(found.by_group[0], exact.sum(axis=1), atol=1e-12)
    groups = latent_kl(model._replace(kl_by_dimension=None), params, KEY, X)
    assert (groups.exact, groups.by_dimension) == (True, None)
    np.testing.assert_allclose(groups.by_group[0], exact.sum(axis=1), atol=1e-12)
    drawn = latent_kl(without_closed_forms(model), params, KEY, X, 2000)
    assert (drawn.exact, drawn.by_dimension) == (False, None)
    np.testing.assert_allclose(np.mean(drawn.by_group[0]), exact.sum(axis=1).mean(), rtol=0.03)


def test_rate_and_distortion_are_the_two_parts_of_the_bound():
    model, params, _ = toy()
    likelihood, kl = jax.vmap(lambda x: jnp.stack(toys.gaussian_likelihood_and_kl(toy(), params, x)))(X).T
    found = rate_distortion(model, params, KEY, X, 4000)
    np.testing.assert_allclose(found.rate, kl, atol=1e-12)
    np.testing.assert_allclose(found.distortion, -likelihood, rtol=0.15)
    assert abs(np.mean(found.distortion + likelihood)) < 0.05
    drawn = rate_distortion(without_closed_forms(model), params, KEY, X, 4000)
    assert abs(np.mean(drawn.rate) - np.mean(kl)) < 0.05


# Refinement.


SIZES = {"num_steps": 300, "num_samples": 2000}  # of one compiled program


def test_refinement_reaches_the_posterior_where_it_is_a_diagonal_gaussian():
    """With one latent: from a q that is far off to p(z | x), so that both gaps are what they are in closed form."""
    exact = toys.with_posterior(toy(latent=1))
    right = exact.params["recognition"]["network"]["layers_0"]
    params = with_layer(exact.params, bias=right["bias"] + np.array([0.7, 0.5]))
    x = X[:4]
    found = refine_posterior(exact.model, params, KEY, x, **SIZES)
    mean, log_scale = toys.encoder(exact.params, x)
    np.testing.assert_allclose(found.mean, mean, atol=1e-5)
    np.testing.assert_allclose(found.std, np.exp(log_scale), atol=1e-5)
    log_marginal = jax.vmap(lambda v: toys.gaussian_log_marginal(exact, params, v))(x)
    np.testing.assert_allclose(found.bound_after, log_marginal, atol=1e-6)
    # q's gap is KL(q || p(z | x)) of two Gaussians.
    shift = 0.7 / np.exp(np.asarray(log_scale))
    gap = (0.5 * (np.exp(0.5) ** 2 + shift**2 - 1) - 0.5)[:, 0]
    np.testing.assert_allclose(found.amortization_gap, gap, rtol=0.15)
    np.testing.assert_allclose(found.log_prob, log_marginal, atol=6 * np.max(found.standard_error))
    still = refine_posterior(exact.model, params, KEY, x, learning_rate=1e-9, **SIZES)
    np.testing.assert_allclose(still.amortization_gap, 0, atol=0.2)
    np.testing.assert_allclose(still.bound_before, found.bound_before, atol=1e-9)


def test_refinement_from_draws_of_q():
    """Where q has no moments in closed form: not a step away from those of draws, and with steps at the posterior."""
    exact = toys.with_posterior(toy(latent=1))
    model = without_closed_forms(exact.model)
    mean, log_scale = toys.encoder(exact.params, X[:4])
    start = refine_posterior(model, exact.params, KEY, X[:4], learning_rate=1e-9, **SIZES)
    assert (np.abs(start.mean - mean) < 5 * np.exp(log_scale) / 10).all()
    np.testing.assert_allclose(start.std, np.exp(log_scale), rtol=0.4)
    assert start.amortization_gap.max() < -1e-4  # q is better than a guess of it
    found = refine_posterior(model, exact.params, KEY, X[:4], **SIZES)
    np.testing.assert_allclose(found.mean, mean, atol=1e-5)
    np.testing.assert_allclose(found.std, np.exp(log_scale), atol=1e-5)


def test_refinement_of_masked_sequences_is_refused():
    model = variational_rnn(6, frame=2, latent=1, hidden=2, features=2)
    params = model.init(KEY, jnp.zeros(6), ())
    batch = Batch(jnp.zeros((2, 6)), jnp.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]))
    with pytest.raises(ModelError, match="of VariationalRNN at steps that a mask leaves out are no part of p and q"):
        refine_posterior(model, params, KEY, batch)


def test_refinement_starting_at_the_posterior_has_no_gaps():
    exact = toys.with_posterior(toy(latent=1))
    found = refine_posterior(exact.model, exact.params, KEY, X[:4], **SIZES)
    for gap in (found.amortization_gap, found.approximation_gap, found.standard_error):
        assert np.abs(gap).max() < 1e-6


def test_refinement_reaches_the_best_diagonal_gaussian():
    """Of a posterior with correlations: the precision's diagonal gives the variances, and the gap in closed form."""
    model, params, scale = toy()
    w, b = toys.decoder(params)
    precision = np.eye(Z) + w @ w.T / scale**2
    mean = (X[:4] - b) @ w.T / scale**2 @ np.linalg.inv(precision)
    found = refine_posterior(model, params, KEY, X[:4], **SIZES)
    np.testing.assert_allclose(found.mean, mean, atol=0.05)
    np.testing.assert_allclose(found.std, np.broadcast_to(np.diag(precision) ** -0.5, (4, Z)), rtol=0.15)
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    log_marginal = jax.vmap(lambda v: toys.gaussian_log_marginal(toy(), params, v))(X[:4])
    np.testing.assert_allclose(log_marginal - found.bound_after, gap, atol=0.05)
    np.testing.assert_allclose(found.approximation_gap, gap, atol=0.1)


# The aggregate posterior.


def test_aggregate_posterior_that_is_the_prior():
    """q(z | x) = p(z): no information, no distance."""
    model, params, _ = toy()
    params = jax.tree.map(jnp.zeros_like, params)
    found = aggregate_posterior(model, params, KEY, X)
    assert abs(found.kl) < 1e-10
    assert abs(found.mutual_information) < 1e-10
    assert abs(found.mmd_squared) < 0.1


def test_aggregate_posterior_parts_the_rate():
    """Codes that do not overlap tell all of the index, log N; the rest of the rate is the distance from the prior."""
    model, params, _ = toy()
    apart = np.zeros((D, 2 * Z))
    apart[:Z, :Z] = 300 * np.eye(Z)
    params = with_layer(params, kernel=apart, bias=np.zeros(2 * Z))
    found = aggregate_posterior(model, params, KEY, X)
    np.testing.assert_allclose(found.mutual_information, np.log(N), atol=1e-6)
    rate = kl_by_dimension(params, X).sum(axis=1).mean()
    np.testing.assert_allclose(found.kl + found.mutual_information, rate, rtol=0.02)
    assert found.mmd_squared > 0.3
    np.testing.assert_allclose(found.z, X[:, :Z] * 300, atol=6)


def test_aggregate_posterior_of_two_examples_is_a_mixture_of_two():
    """I and KL by quadrature, of one latent."""
    exact = toys.with_posterior(toy(latent=1))
    x = np.repeat(X[:2], 500, axis=0)
    found = aggregate_posterior(exact.model, exact.params, KEY, x)
    mean, log_scale = toys.encoder(exact.params, X[:2])
    z = np.linspace(-8, 8, 20_001)
    densities = np.exp(-0.5 * ((z - mean) / np.exp(log_scale)) ** 2 - log_scale) / np.sqrt(2 * np.pi)
    mixture, prior = densities.mean(axis=0), np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    step = z[1] - z[0]
    kl = np.sum(mixture * np.log(mixture / prior)) * step
    information = np.mean(np.sum(densities * np.log(densities / mixture), axis=1)) * step
    np.testing.assert_allclose(found.kl, kl, atol=0.15)
    np.testing.assert_allclose(found.mutual_information, information, atol=0.06)


def test_a_prior_that_is_given_x_is_refused():
    model, params, _ = toy()

    def log_joint(params, z, x, c):
        joint = model.log_joint(params, z, x, c)
        return Joint(joint.likelihood, (joint.prior[0] + x[0],))

    with pytest.raises(ModelError, match="prior"):
        aggregate_posterior(model._replace(log_joint=log_joint), params, KEY, X)


# Codes.


def test_reconstructions_and_their_response():
    """In the limit of a sharp q a reconstruction is x A W + b; its response to a change is that map's."""
    model, params, _ = toy()
    layer = params["recognition"]["network"]["layers_0"]
    kernel = np.array(layer["kernel"])
    kernel[:, Z:] = 0
    params = with_layer(params, kernel=kernel, bias=np.concatenate([layer["bias"][:Z], np.full(Z, -40.0)]))
    w, b = toys.decoder(params)
    expected = (X @ kernel[:, :Z] + layer["bias"][:Z]) @ w + b
    np.testing.assert_allclose(reconstruct(model, params, KEY, X, block=9), expected, atol=1e-10)
    change = np.zeros((N, D))
    change[:, 2] = 0.5
    share = (change @ kernel[:, :Z] @ w)[:, 2] / 0.5
    np.testing.assert_allclose(response(model, params, KEY, X, X + change), share, atol=1e-10)
    # With the noise of q, too: the same in both draws, it leaves an affine decoder's answer as it is.
    noisy = with_layer(params, bias=layer["bias"])
    np.testing.assert_allclose(response(model, noisy, KEY, X, X + change), share, atol=1e-10)


def test_ways_between_codes_and_along_one_latent():
    model, params, _ = toy()
    w, b = toys.decoder(params)
    start, end = np.random.RandomState(3).normal(size=(2, Z))
    t = np.linspace(0, 1, 5)[:, None]
    np.testing.assert_allclose(
        interpolate_codes(model, params, start, end, 5), ((1 - t) * start + t * end) @ w + b, atol=1e-12
    )
    values = np.array([-3.0, 0.0, 2.0])
    moved = np.tile(start, (3, 1))
    moved[:, 1] = values
    np.testing.assert_allclose(traverse(model, params, start, 0, 1, values), moved @ w + b, atol=1e-12)


# What cannot be used.


def test_models_without_real_latents_are_refused():
    nets = made(D, hidden=(4,)), sigmoid_belief_network(D, layers=(3,))
    for model, words in zip(nets, ("does not have", "are binary"), strict=True):
        for function in (posterior_moments, active_units, aggregate_posterior, refine_posterior):
            with pytest.raises(ModelError, match=words):
                function(model, {}, KEY, X)
    for function in (latent_kl, rate_distortion, reconstruct):
        with pytest.raises(ModelError):
            function(nets[0], {}, KEY, X)
    model, params, _ = toy()
    with pytest.raises(ModelError, match=r"E\[x \| z\]"):
        reconstruct(model._replace(decode=None), params, KEY, X)


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda m, p: posterior_moments(without_closed_forms(m), p, KEY, X, 1), ConfigError, "at least 2"),
        (lambda m, p: posterior_moments(m, p, KEY, X[0]), DataError, "expected \\[N, D\\]"),
        (lambda m, p: active_units(m, p, KEY, X[:1]), DataError, "got 1 example"),
        (lambda m, p: active_units(m, p, KEY, X, threshold=-1.0), ConfigError, "threshold: got -1.0"),
        (lambda m, p: aggregate_posterior(m, p, KEY, Batch(X[:1])), DataError, "got 1 example"),
        (lambda m, p: refine_posterior(m, p, KEY, X, 0), ConfigError, "num_steps: got 0"),
        (lambda m, p: refine_posterior(m, p, KEY, X, learning_rate=0.0), ConfigError, "learning_rate: got 0.0"),
        (lambda m, p: response(m, p, KEY, X, X[:3]), DataError, "planted: got shape"),
        (lambda m, p: interpolate_codes(m, p, X[0, :Z], X[1, :Z], 1), ConfigError, "num: got 1"),
        (lambda m, p: traverse(m, p, X[0, :Z], 0, 3, [0.0]), ConfigError, "latent 3 of group 0"),
        (lambda m, p: traverse(m, p, X[0, :Z], 1, 0, [0.0]), ConfigError, "latent 0 of group 1"),
        (lambda m, p: rate_distortion(m, p, KEY, X, 0), ConfigError, "num_samples: got 0"),
    ],
)
def test_wrong_arguments_are_named(act, error, words):
    model, params, _ = toy()
    with pytest.raises(error, match=words):
        act(model, params)
