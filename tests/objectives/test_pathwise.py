"""elbo and iwae on linear-Gaussian models: exact by quadrature over their noises, and by sampling."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drills import drill
from toys import (
    decoder,
    drawing,
    gaussian_bound,
    gaussian_likelihood_and_kl,
    gaussian_log_marginal,
    gaussian_terms,
    integrate_loss,
    linear_gaussian,
    monte_carlo,
    near_posterior,
    normal_nodes,
    quick_jit,
    with_posterior,
    within_errors,
    worst,
)

from genjax_models.core import Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import elbo, iwae
from genjax_models.objectives.common import loss_of
from genjax_models.objectives.particles import importance_weighted_bound

# The module; mutants patch it.
PATHWISE = importlib.import_module("genjax_models.objectives.pathwise")
COMMON = importlib.import_module("genjax_models.objectives.common")  # where `iwae` has its loss
pytestmark = pytest.mark.usefixtures("x64")
X1 = np.array([[0.9]])
X3 = np.array([[0.9, -0.4, 0.3]])


def exact_elbo(toy, x, beta=1.0):
    """(loss, gradient) of elbo over a batch: minus the bound, and the beta-weighted one's derivative."""

    def both(params):
        likelihood, kl = jax.vmap(lambda x: gaussian_likelihood_and_kl(toy, params, x))(x)
        return -jnp.mean(likelihood - beta * kl), -jnp.mean(likelihood - kl)

    gradient, value = quick_jit(jax.grad(both, has_aux=True))(toy.params)
    return value, gradient


def exact_iwae(toy, x, particles, nodes):
    """(loss, gradient) of iwae: minus the bound, integrated over its noises, and its derivative."""

    def loss(params):
        return -jnp.mean(jax.vmap(lambda x: gaussian_bound(toy, params, x, particles, nodes))(x))

    return quick_jit(jax.value_and_grad(loss))(toy.params)


def test_quadrature_and_closed_forms_agree():
    """The two oracles of this file confirm each other: terms integrated by quadrature are the closed forms."""
    toy = linear_gaussian(3, 2)
    grid, weights = normal_nodes(8, 2)
    likelihood, prior, log_q = gaussian_terms(toy, toy.params, grid, X3[0])
    exact_likelihood, exact_kl = gaussian_likelihood_and_kl(toy, toy.params, X3[0])
    assert abs(weights @ likelihood - exact_likelihood) < 1e-12
    assert abs(weights @ (log_q - prior) - exact_kl) < 1e-12
    # p(x) is the integral of p(x | z) over the prior.
    w, b = decoder(toy.params)
    points, mass = normal_nodes(40, 2)
    log_likelihood = -0.5 * np.sum(((X3[0] - points @ w - b) / toy.scale) ** 2, axis=1)
    log_likelihood = log_likelihood - 3 * np.log(toy.scale * np.sqrt(2 * np.pi))
    assert abs(np.log(mass @ np.exp(log_likelihood)) - gaussian_log_marginal(toy, toy.params, X3[0])) < 1e-9


@pytest.mark.parametrize("kl", ["auto", "closed_form", "monte_carlo"])
@pytest.mark.parametrize(("visible", "latent", "particles"), [(3, 2, 1), (1, 1, 2)])
def test_elbo_is_exact_in_expectation(visible, latent, particles, kl):
    """Value and both gradients integrate to the closed-form ELBO's."""
    toy, x = linear_gaussian(visible, latent), X3[:, :visible]
    build = functools.partial(elbo, num_particles=particles, kl=kl)
    # The integrand is quadratic in the noise, so a few nodes are exact.
    assert worst(integrate_loss(build, toy, x, nodes=4), exact_elbo(toy, x)) < 1e-10


def test_closed_form_kl_has_no_noise():
    """The KL of "auto" is the closed form, in the metric too, while "monte_carlo" estimates it."""
    toy = linear_gaussian(3, 2)
    _, exact = gaussian_likelihood_and_kl(toy, toy.params, X3[0])
    for kl, noisy in (("auto", False), ("closed_form", False), ("monte_carlo", True)):
        loss, (_, metrics) = elbo(toy.model, kl=kl).loss(Trainable(toy.params), (), jax.random.key(0), X3, 0)
        error = abs(metrics["kl"] - exact)
        assert error > 1e-3 if noisy else error < 1e-12
        assert metrics["bound"] == -loss
        assert abs(metrics["likelihood"] - metrics["kl"] - metrics["bound"]) < 1e-12


@pytest.mark.parametrize("kl", ["closed_form", "monte_carlo"])
@pytest.mark.parametrize("beta", [0.25, 4.0])
def test_beta_weighs_the_gradient_and_not_the_value(beta, kl):
    """The loss stays minus the true bound; its gradient is that of likelihood - beta KL."""
    toy = linear_gaussian(3, 2)
    build = functools.partial(elbo, beta=beta, kl=kl)
    exact = exact_elbo(toy, X3, beta)
    assert worst(integrate_loss(build, toy, X3, nodes=4), exact) < 1e-10
    unweighted = exact_elbo(toy, X3)
    assert abs(exact[0] - unweighted[0]) < 1e-12
    assert worst(exact[1], unweighted[1]) > 0.1


def test_beta_may_follow_the_step():
    """A schedule is read at the step that the loss is told."""
    toy = linear_gaussian(3, 2)
    build = functools.partial(elbo, beta=optax.linear_schedule(0.0, 1.0, 10))
    for step, beta in [(0, 0.0), (5, 0.5), (20, 1.0)]:
        assert worst(integrate_loss(build, toy, X3, nodes=4, step=step), exact_elbo(toy, X3, beta)) < 1e-10


@pytest.mark.parametrize(("particles", "nodes"), [(1, 30), (2, 30)])
@pytest.mark.parametrize("visible", [drill(1), 3])
def test_iwae_is_exact_in_expectation(visible, particles, nodes):
    """The estimator, integrated over the noises, has the value and both gradients of the integrated bound."""
    toy, x = near_posterior(linear_gaussian(visible, 1), 0.2), X3[:, :visible]
    build = functools.partial(iwae, num_particles=particles)
    found, exact = integrate_loss(build, toy, x, nodes), exact_iwae(toy, x, particles, nodes)
    assert worst(found, exact) < 1e-10
    # More nodes change nothing: the integral has converged.
    assert worst(exact, exact_iwae(toy, x, particles, nodes + 9)) < 1e-8
    if particles == 1:
        assert worst(found, exact_elbo(toy, x)) < 1e-10


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_batches_are_averaged_over_independent_noise(objective):
    """The loss of two examples is the mean of their losses, each with noise of its own."""
    toy, x = linear_gaussian(1, 1), np.array([[0.9], [-1.3]])
    if objective == "elbo":
        assert worst(integrate_loss(elbo, toy, x, nodes=6), exact_elbo(toy, x)) < 1e-10
    else:
        build = functools.partial(iwae, num_particles=1)
        assert worst(integrate_loss(build, toy, x, nodes=6), exact_iwae(toy, x, 1, 40)) < 1e-10


@pytest.mark.parametrize(
    ("build", "exact"),
    [
        (elbo, lambda toy, x: exact_elbo(toy, x)),
        (functools.partial(elbo, num_particles=3, kl="monte_carlo"), lambda toy, x: exact_elbo(toy, x)),
        (functools.partial(iwae, num_particles=2), lambda toy, x: exact_iwae(toy, x, 2, 30)),
        (functools.partial(iwae, num_particles=3), lambda toy, x: exact_iwae(toy, x, 3, 20)),
    ],
    ids=["elbo", "elbo monte carlo", "iwae 2", "iwae 3"],
)
def test_sampled_losses_and_gradients_agree(build, exact):
    """With the model's own draws, the mean over 4000 keys is within 4 standard errors of the exact value."""
    toy = near_posterior(linear_gaussian(3, 1), 0.2)
    mean, error = monte_carlo(build, toy.model, toy.params, X3, jax.random.split(jax.random.key(1), 4000))
    assert within_errors(mean, exact(toy, X3), error, number=4)
    # The test has teeth: the errors are small beside what is measured.
    assert abs(mean[0]) > 30 * error[0]


@pytest.mark.parametrize("build", [functools.partial(elbo, kl="monte_carlo"), functools.partial(iwae, num_particles=3)])
def test_posterior_makes_every_bound_tight(build):
    """With q(z | x) = p(z | x) every weight is p(x): the loss is -log p(x) at any key."""
    toy = with_posterior(linear_gaussian(3, 1))
    loss = jax.jit(lambda key: build(toy.model).loss(Trainable(toy.params), (), key, X3, 0)[0])
    exact = -gaussian_log_marginal(toy, toy.params, X3[0])
    assert all(abs(loss(jax.random.key(seed)) - exact) < 1e-10 for seed in range(3))


# Mutants.


def wrong_sign(monkeypatch):
    stop = jax.lax.stop_gradient
    for module in (PATHWISE, COMMON):
        monkeypatch.setattr(module, "loss_of", lambda bound, surrogate: -stop(bound) + (surrogate - stop(surrogate)))


def beta_in_the_value(monkeypatch):
    stop = jax.lax.stop_gradient
    monkeypatch.setattr(PATHWISE, "loss_of", lambda bound, surrogate: -stop(bound) - surrogate + stop(bound))


def draws_held_fixed(monkeypatch):
    """z does not move with q's parameters."""

    def mutate(model):
        def propose(params, key, x, c):
            z = jax.lax.stop_gradient(model.propose(params, key, x, c)[0])
            return z, model.log_posterior(params, z, x, c)

        return drawing(model, propose)

    return mutate


def kl_to_the_wrong_side(monkeypatch):
    """The prior is scored under a standard deviation of two."""

    def mutate(model):
        def log_joint(params, z, x, c):
            joint = model.log_joint(params, z, x, c)
            return joint._replace(prior=(joint.prior[0] / 4,))

        return model._replace(log_joint=log_joint)

    return mutate


def estimate_with(monkeypatch, change):
    original = PATHWISE.importance_weighted_bound
    monkeypatch.setattr(PATHWISE, "importance_weighted_bound", lambda p, q: original(p, q)._replace(**change(p, q)))


def uniform_weights(monkeypatch):
    uniform = functools.partial(jnp.full_like, fill_value=0.5)
    estimate_with(monkeypatch, lambda p, q: {"generative": uniform(p), "recognition": -uniform(p)})


def unnormalized_weights(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"generative": jnp.exp(p - q), "recognition": -jnp.exp(p - q)})


def no_entropy(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"recognition": jnp.zeros_like(q)})


def sum_instead_of_mean_of_weights(monkeypatch):
    estimate_with(monkeypatch, lambda p, q: {"bound": jax.nn.logsumexp(p - q)})


def weights_not_detached(monkeypatch):
    """The surrogate sum_k w_k log w_k is differentiated through its weights too."""

    def loss(self, trainable, state, key, batch, step):
        def one(key):
            z, log_q = self.model.propose(trainable.model, key, batch[0], ())
            return total(self.model.log_joint(trainable.model, z, batch[0], ())), total(log_q)

        log_p, log_q = jax.vmap(one)(jax.random.split(key, self.num_particles))
        a = importance_weighted_bound(log_p, log_q)
        return loss_of(a.bound, a.generative @ log_p + a.recognition @ log_q), (state, {})

    monkeypatch.setattr(PATHWISE.PathLoss, "__call__", loss)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [wrong_sign, beta_in_the_value, draws_held_fixed, kl_to_the_wrong_side])
def test_elbo_mutants_fail(monkeypatch, mutant):
    """The same comparison as above sees each mistake."""
    toy = linear_gaussian(3, 2)
    mutate = mutant(monkeypatch) or (lambda model: model)

    def build(model):
        return elbo(mutate(model), beta=0.3, kl="monte_carlo")

    assert worst(integrate_loss(build, toy, X3, nodes=4), exact_elbo(toy, X3, 0.3)) > 1e-3


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize(
    "mutant",
    [
        wrong_sign,
        draws_held_fixed,
        uniform_weights,
        unnormalized_weights,
        no_entropy,
        sum_instead_of_mean_of_weights,
        weights_not_detached,
        kl_to_the_wrong_side,
    ],
)
def test_iwae_mutants_fail(monkeypatch, mutant):
    """The same comparison as above sees each mistake."""
    toy = linear_gaussian(1, 1)
    mutate = mutant(monkeypatch) or (lambda model: model)

    def build(model):
        return iwae(mutate(model), num_particles=2)

    assert worst(integrate_loss(build, toy, X1, 30), exact_iwae(toy, X1, 2, 30)) > 1e-3


def test_shared_noise_is_seen():
    """Examples that share their key keep the mean and lose independence: the recording of draws refuses them."""

    def build(model):
        def loss(trainable, state, key, batch, step):
            log_q = jax.vmap(lambda x: total(model.propose(trainable.model, key, x, ())[1]))(batch)
            return jnp.mean(log_q), (state, {})

        return elbo(model)._replace(loss=loss)

    with pytest.raises(AssertionError, match="share a key"):
        integrate_loss(build, linear_gaussian(1, 1), np.array([[0.9], [-1.3]]), nodes=4)


@pytest.mark.parametrize("name", ["elbo", "iwae"])
def test_models_without_moving_samples_are_refused(name):
    """The error names the objective, the model and what to use instead; other capabilities are refused too."""
    build = {"elbo": elbo, "iwae": iwae}[name]
    with pytest.raises(ModelError, match=rf"{name}.*SigmoidBeliefNetwork.*wake_sleep"):
        build(sigmoid_belief_network(3, layers=(2,)))
    with pytest.raises(ModelError, match=f"{name} needs a LatentVariableModel"):
        build({})


def test_impossible_arguments_are_refused():
    """K, kl, and a closed form that the model lacks, each by name."""
    model = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    for number in (0, -1, 2.0, True, None, "3"):
        for build in (elbo, iwae):
            with pytest.raises(ConfigError, match="num_particles"):
                build(model, num_particles=number)
    with pytest.raises(ConfigError, match=r"'closed_form'.*'monte_carlo'"):
        elbo(model, kl="exact")
    without = model._replace(kl=None)
    with pytest.raises(ModelError, match=f"{model.name} has no KL in closed form"):
        elbo(without, kl="closed_form")
    # Without the closed form "auto" estimates the KL.
    toy = linear_gaussian(3, 2)
    estimated = functools.partial(elbo, kl="monte_carlo")(toy.model)
    chosen = elbo(toy.model._replace(kl=None))
    args = Trainable(toy.params), (), jax.random.key(0), X3, 0
    assert chosen.loss(*args)[0] == estimated.loss(*args)[0] != elbo(toy.model).loss(*args)[0]
