"""Values and gradients by reparameterized samples beside TensorFlow Probability's, and bounds beside `evaluation`'s."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import drawing, encoder, linear_gaussian, net, quick_jit, worst

from genjax_models.core import Trainable, total
from genjax_models.evaluation import log_marginal
from genjax_models.objectives import (
    combination,
    dreg,
    elbo,
    iwae,
    partially_importance_weighted,
    renyi,
    reweighted_wake_sleep,
    sticking_the_landing,
    vimco,
)

pytestmark = pytest.mark.usefixtures("x64")
X = np.array([[0.9, -0.4, 0.3]])
KEY, K = jax.random.key(4), 4


def gaussian_q(tfp, params, x):
    mean, log_scale = encoder(params, x)
    return tfp.distributions.Independent(tfp.distributions.Normal(mean, jnp.exp(log_scale)), 1)


# Objectives by name: ours, and what theirs takes: the divergence's power t of a weight (log w is then t log w), the
# particles that are averaged, those inside the logarithm, and the estimator.
THEIRS = {
    "elbo": (functools.partial(elbo, num_particles=K, kl="monte_carlo"), 1.0, K, 1, "REPARAMETERIZATION"),
    "iwae": (functools.partial(iwae, num_particles=K), 1.0, 1, K, "REPARAMETERIZATION"),
    "sticking": (functools.partial(sticking_the_landing, num_particles=K), 1.0, K, 1, "DOUBLY_REPARAMETERIZED"),
    "renyi 0.3": (functools.partial(renyi, num_particles=K, alpha=0.3), 0.7, 1, K, "REPARAMETERIZATION"),
    "renyi -2": (functools.partial(renyi, num_particles=K, alpha=-2.0), 3.0, 1, K, "REPARAMETERIZATION"),
    "renyi 2.5": (functools.partial(renyi, num_particles=K, alpha=2.5), -1.5, 1, K, "REPARAMETERIZATION"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", THEIRS)
def test_gradients_are_those_of_tensorflow_probability(name):
    """`monte_carlo_variational_loss` on the same draws, of p^t q^(1 - t) in place of p where weights have a power t."""
    from tensorflow_probability.substrates import jax as tfp

    build, power, averaged, inside, estimator = THEIRS[name]
    toy, x = linear_gaussian(3, 2), X[0]
    drawn: list = []

    def theirs(params):
        q = gaussian_q(tfp, params, x)

        def log_p(z):
            drawn.append(jax.lax.stop_gradient(z))
            joint = functools.partial(toy.model.log_joint, params)
            for _ in z.shape[:-1]:
                joint = jax.vmap(joint, (0, None, None))
            return power * total(joint(z, x, ())) + (1 - power) * q.log_prob(z)

        loss = tfp.vi.monte_carlo_variational_loss(
            log_p,
            q,
            sample_size=averaged,
            importance_sample_size=inside,
            gradient_estimator=getattr(tfp.vi.GradientEstimators, estimator),
            stopped_surrogate_posterior=gaussian_q(tfp, jax.lax.stop_gradient(params), x),
            seed=KEY,
        )
        return loss / power

    theirs(toy.params)
    z = np.asarray(drawn[0]).reshape(K, -1)
    mean, log_scale = encoder(toy.params, x)
    noise = (z - mean) / jnp.exp(log_scale)
    keys = jax.random.key_data(jax.random.split(jax.random.split(KEY, 1)[0], K))

    def propose(params, key, x, c):
        mean, log_scale = encoder(params, x)
        z = mean + jnp.exp(log_scale) * noise[jnp.argmax(jnp.all(keys == jax.random.key_data(key), axis=-1))]
        return z, toy.model.log_posterior(params, z, x, c)

    loss = build(drawing(toy.model, propose)).loss
    ours = quick_jit(jax.value_and_grad(lambda p: loss(Trainable(p), (), KEY, X, 0)[0]))(toy.params)
    expected = quick_jit(jax.value_and_grad(theirs))(toy.params)
    assert worst(ours, expected) < 1e-11
    assert worst(expected[1], jax.tree.map(jnp.zeros_like, expected[1])) > 0.1


BOUNDS = {
    "iwae": functools.partial(iwae, num_particles=K),
    "dreg": functools.partial(dreg, num_particles=K),
    "renyi": functools.partial(renyi, num_particles=K, alpha=0.0),
    "combination": functools.partial(combination, num_particles=K, beta=0.0),
    "partially": functools.partial(partially_importance_weighted, num_particles=K, num_groups=2),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_the_estimates_of_evaluation(name):
    """By one key, a batch's bound of K particles is the mean of `log_marginal`'s estimates of K samples."""
    toy, x = linear_gaussian(3, 2), np.concatenate([X, -X])
    expected = jnp.mean(log_marginal(toy.model, toy.params, KEY, x, K).log_prob)
    loss, (_, metrics) = BOUNDS[name](toy.model).loss(Trainable(toy.params), (), KEY, x, 0)
    assert abs(metrics["bound"] - expected) < 1e-12
    assert loss == -metrics["bound"]
    assert abs(expected - jnp.mean(log_marginal(toy.model, toy.params, KEY, x, K + 1).log_prob)) > 1e-3


def test_bounds_of_binary_latents_are_the_estimates_of_evaluation():
    """So it is for samples that are held fixed; wake-sleep's wake phase has the first half of its key."""
    toy = net((2, 1), 3)
    for build, key in ((vimco, KEY), (reweighted_wake_sleep, jax.random.split(KEY)[0])):
        expected = jnp.mean(log_marginal(toy.model, toy.params, key, toy.x[3:5], K).log_prob)
        objective = build(toy.model, num_particles=K)
        metrics = objective.loss(Trainable(toy.params), (), KEY, jnp.asarray(toy.x[3:5]), 0)[1][1]
        assert abs(metrics["bound"] - expected) < 1e-12
