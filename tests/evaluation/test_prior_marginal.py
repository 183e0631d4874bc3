"""log p(x) as the average of p(x | z) over the prior: against closed forms and enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import gaussian_log_marginal, linear_gaussian, net, net_log_marginal

from genjax_models.core import Batch
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import prior_log_marginal, quadrature_log_marginal
from genjax_models.models import affine_generator, gan, unlayered_belief_network, vae, variational_rnn

X = np.array([[0.3, -1.0, 0.5], [2.0, 0.1, -0.4]])


@pytest.mark.parametrize("latent", [1, 2])
def test_quadrature_is_the_closed_form(x64, latent):
    toy = linear_gaussian(3, latent)
    expected = [gaussian_log_marginal(toy, toy.params, x) for x in X]
    np.testing.assert_allclose(quadrature_log_marginal(toy.model, toy.params, X, 60), expected, atol=1e-9)


@pytest.mark.parametrize("latent", [1, 2])
def test_samples_of_the_prior_agree_with_quadrature(x64, latent):
    toy = linear_gaussian(3, latent)
    found = prior_log_marginal(toy.model, toy.params, jax.random.key(0), X, 20_000)
    expected = np.array([gaussian_log_marginal(toy, toy.params, x) for x in X])
    assert (np.abs(found.log_prob - expected) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.1).all()
    # q plays no part.
    other = {**toy.params, "recognition": jax.tree.map(jnp.zeros_like, toy.params["recognition"])}
    again = prior_log_marginal(toy.model, other, jax.random.key(0), X, 20_000)
    np.testing.assert_array_equal(found.log_prob, again.log_prob)


def test_binary_latents_too(x64):
    toy = net((2, 2), 3)
    x = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    found = prior_log_marginal(toy.model, toy.params, jax.random.key(1), x, 20_000)
    expected = np.array([net_log_marginal(toy, toy.params, row) for row in x])
    assert (np.abs(found.log_prob - expected) < 4 * found.standard_error).all()
    assert (found.standard_error < 0.05).all()


MASKS = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def sequences(**fields):
    return variational_rnn(3, frame=1, latent=1, hidden=2, features=2, **fields)


def test_quadrature_is_of_whole_sequences():
    model = sequences()
    params = model.init(jax.random.key(0), X[0], MASKS[0])
    x = (X > 0).astype(float)
    np.testing.assert_array_equal(
        quadrature_log_marginal(model, params, Batch(x, np.ones_like(MASKS)), 5),
        quadrature_log_marginal(model, params, x, 5),
    )
    with pytest.raises(ModelError, match="integrates over every latent, and those of VariationalRNN at steps that a m"):
        quadrature_log_marginal(model, params, Batch(x, MASKS), 5)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: prior_log_marginal(sequences(), {}, None, X), ModelError, "of VariationalRNN given parts of x that"),
        (
            lambda: prior_log_marginal(unlayered_belief_network(3, hidden=(1,)), {}, None, X),
            ModelError,
            "cannot be drawn first; use log_marginal",
        ),
        (
            lambda: prior_log_marginal(gan(3), {}, None, X),
            ModelError,
            "'GAN' emits x itself, and has no p",
        ),
        (lambda: quadrature_log_marginal(affine_generator(3), {}, X), ModelError, "'AffineGenerator' has no latents"),
        (lambda: quadrature_log_marginal(net((2,), 3).model, {}, X), ModelError, "are binary. Use exact_log_marginal"),
        (lambda: prior_log_marginal(vae(3), {}, None, X, 0), ConfigError, "num_samples: got 0"),
    ],
)
def test_refusals(run, error, message):
    with pytest.raises(error, match=message):
        run()


def test_too_many_latents_are_refused():
    model = vae(3, latent=8)
    params = model.init(jax.random.key(0), X[0], ())
    with pytest.raises(ModelError, match=r"50 nodes along each of the 8 latents of VAE are 4e.13 points"):
        quadrature_log_marginal(model, params, X)
