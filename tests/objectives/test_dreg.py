"""The doubly reparameterized gradient: exact by quadrature, against TensorFlow Probability, and how noisy it is."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from toys import (
    encoder,
    gaussian_bound,
    integrate_loss,
    linear_gaussian,
    monte_carlo,
    near_posterior,
    prescribe,
    quick_jit,
    record_draws,
    with_posterior,
    worst,
)

from genjax_models.core import Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network
from genjax_models.objectives import dreg, iwae
from genjax_models.objectives.common import loss_of
from genjax_models.objectives.particles import importance_weighted_bound

MODULE = importlib.import_module("genjax_models.objectives.dreg")
pytestmark = pytest.mark.usefixtures("x64")
X1, X3 = np.array([[0.9]]), np.array([[0.9, -0.4, 0.3]])


def exact(toy, x, particles, nodes=30):
    """(loss, gradient): minus the importance weighted bound, integrated over its noises, and its derivative."""

    def loss(params):
        return -jnp.mean(jax.vmap(lambda x: gaussian_bound(toy, params, x, particles, nodes))(x))

    return quick_jit(jax.value_and_grad(loss))(toy.params)


@pytest.mark.parametrize("particles", [1, 2])
@pytest.mark.parametrize("visible", [drill(1), 3])
def test_gradient_is_that_of_the_bound_in_expectation(visible, particles):
    """Integrated over the noises, value and both gradients are those of the integrated bound."""
    toy, x = near_posterior(linear_gaussian(visible, 1), 0.2), X3[:, :visible]
    found = integrate_loss(functools.partial(dreg, num_particles=particles), toy, x, 30)
    assert worst(found, exact(toy, x, particles)) < 1e-10


def gaussian_q(tfp, params, x):
    mean, log_scale = encoder(params, x)
    return tfp.distributions.Independent(tfp.distributions.Normal(mean, jnp.exp(log_scale)), 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gradient_of_q_is_that_of_tensorflow_probability():
    """`monte_carlo_variational_loss`, doubly reparameterized, on the same draws."""
    from tensorflow_probability.substrates import jax as tfp

    toy, x, particles, seed = linear_gaussian(3, 2), X3[0], 4, jax.random.key(4)
    drawn = []

    def theirs(params):
        def log_p(z):
            drawn.append(jax.lax.stop_gradient(z))
            flat = z.reshape(-1, z.shape[-1])
            joint = jax.vmap(lambda z: total(toy.model.log_joint(toy.params, z, x, ())))
            return joint(flat).reshape(z.shape[:-1])

        return tfp.vi.monte_carlo_variational_loss(
            log_p,
            gaussian_q(tfp, params, x),
            sample_size=1,
            importance_sample_size=particles,
            gradient_estimator=tfp.vi.GradientEstimators.DOUBLY_REPARAMETERIZED,
            stopped_surrogate_posterior=gaussian_q(tfp, jax.lax.stop_gradient(params), x),
            seed=seed,
        )

    theirs(toy.params)
    z = drawn[0].reshape(particles, -1)
    mean, log_scale = encoder(toy.params, x)
    noise = (z - mean) / jnp.exp(log_scale)

    def propose(params, noise, x, c):
        mean, log_scale = encoder(params, x)
        z = mean + jnp.exp(log_scale) * noise
        return z, toy.model.log_posterior(params, z, x, c)

    build = functools.partial(dreg, num_particles=particles)
    draws = record_draws(build, toy.model, toy.params, jax.random.key(0), x[None])
    objective = build(prescribe(toy.model, draws, propose, noise, ()))
    value, gradient = jax.value_and_grad(lambda p: objective.loss(Trainable(p), (), jax.random.key(0), x[None], 0)[0])(
        toy.params
    )
    exact_value, exact_gradient = jax.value_and_grad(theirs)(toy.params)
    assert abs(value - exact_value) < 1e-12
    assert worst(gradient["recognition"], exact_gradient["recognition"]) < 1e-12
    assert len({tuple(row) for row in np.asarray(z)}) == particles


def test_at_the_posterior_the_gradient_of_q_has_no_noise():
    """Where q is p(z | x) every log-weight is constant along z: each draw's gradient is zero, `iwae`'s is not."""
    toy = with_posterior(linear_gaussian(3, 1))
    keys = jax.random.split(jax.random.key(0), 50)
    for build, still in ((dreg, True), (iwae, False)):
        _, error = monte_carlo(functools.partial(build, num_particles=3), toy.model, toy.params, X3, keys)
        noise = max(float(jnp.max(e)) for e in jax.tree.leaves(error[1]["recognition"]))
        assert noise < 1e-12 if still else noise > 1e-2


def test_p_learns_as_under_iwae():
    """On the same draws, value and p's gradient are those of `iwae`."""
    toy = linear_gaussian(3, 2)
    args = Trainable(toy.params), (), jax.random.key(3), X3, 0
    losses = [build(toy.model, 4).loss for build in (dreg, iwae)]
    (a, ga), (b, gb) = (jax.value_and_grad(lambda t, f=f: f(t, *args[1:])[0])(args[0]) for f in losses)
    assert a == b
    assert worst(ga.model["generative"], gb.model["generative"]) < 1e-12
    assert worst(ga.model["recognition"], gb.model["recognition"]) > 1e-3


# Mutants.


def loss_with(monkeypatch, change):
    """A loss whose surrogate is `change(w, own, log_p, log_q)`, [B, K] each, of moving and of detached scores."""

    def loss(self, trainable, state, key, batch, step):
        params, x = trainable.model, batch[0]
        still, stop = jax.lax.stop_gradient(params), jax.lax.stop_gradient

        def one(key):
            z, moving = self.model.propose(params, key, x, ())
            joint = self.model.log_joint
            return (
                total(joint(params, stop(z), x, ())),
                total(joint(still, z, x, ())),
                total(self.model.log_posterior(still, z, x, ())),
                total(moving),
            )

        own, log_p, log_q, moving = jax.vmap(one)(jax.random.split(key, self.num_particles))
        a = importance_weighted_bound(stop(log_p), stop(log_q))
        return loss_of(a.bound, jnp.sum(change(a.generative, own, log_p, log_q, moving))), (state, {})

    monkeypatch.setattr(MODULE.DReGLoss, "__call__", loss)


MUTANTS = {
    "weights not squared": lambda w, own, p, q, moving: w * own + w * (p - q),
    "q's score kept": lambda w, own, p, q, moving: w * own + w**2 * (p - moving),
    "p by squares too": lambda w, own, p, q, moving: w**2 * own + w**2 * (p - q),
    "no entropy": lambda w, own, p, q, moving: w * own + w**2 * p,
}


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_fail(monkeypatch, name):
    """The comparison above sees each mistake, at K = 2."""
    toy = near_posterior(linear_gaussian(1, 1), 0.4)
    build = functools.partial(dreg, num_particles=2)
    loss_with(monkeypatch, lambda w, own, p, q, moving: w * own + w**2 * (p - q))
    assert worst(integrate_loss(build, toy, X1, 30), exact(toy, X1, 2)) < 1e-6  # the frame itself is right
    loss_with(monkeypatch, MUTANTS[name])
    assert worst(integrate_loss(build, toy, X1, 30), exact(toy, X1, 2)) > 1e-3


def test_models_and_arguments_are_checked():
    with pytest.raises(ModelError, match=r"dreg.*SigmoidBeliefNetwork"):
        dreg(sigmoid_belief_network(3, layers=(2,)))
    with pytest.raises(ConfigError, match="num_particles"):
        dreg(linear_gaussian(3, 2).model, num_particles=0)
