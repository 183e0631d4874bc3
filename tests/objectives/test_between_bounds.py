"""Sticking the landing, Rényi, CIWAE, PIWAE, free bits and the doubly reparameterized wake update, by quadrature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from drills import drill
from toys import (
    encoder,
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
    worst,
)

from genjax_models.config import validate
from genjax_models.core import Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import log_marginal
from genjax_models.models import hierarchical_vae, sigmoid_belief_network
from genjax_models.objectives import (
    ELBO,
    DReG,
    PartiallyImportanceWeighted,
    combination,
    dreg,
    elbo,
    iwae,
    jackknife,
    partially_importance_weighted,
    renyi,
    reweighted_wake_sleep,
    sticking_the_landing,
)
from genjax_models.objectives.particles import (
    importance_weighted_bound,
    jackknife_bound,
    jackknife_weights,
    leave_one_out_mean,
    partially_importance_weighted_bound,
    renyi_bound,
)

pytestmark = pytest.mark.usefixtures("x64")
X1, X3 = np.array([[0.9]]), np.array([[0.9, -0.4, 0.3]])
ALPHAS = [-1.0, 0.0, 0.5, 1.0, 1.0 + 1e-9, 2.0]


def log_weights(toy, params, x, particles, nodes):
    """log w of every set of particles on a grid of their noises, [S, K], and the sets' weights, [S]."""
    grid, chance = normal_nodes(nodes, particles)
    likelihood, prior, log_q = gaussian_terms(toy, params, grid[..., None], x)
    return likelihood + prior - log_q, chance


def exact(toy, x, function, particles=2, nodes=24):
    """(loss, gradient) of minus the mean of function(log w [K]), integrated over the particles' noises."""

    def loss(params):
        def one(x):
            log_w, chance = log_weights(toy, params, x, particles, nodes)
            return chance @ jax.vmap(function)(log_w)

        return -jnp.mean(jax.vmap(one)(x))

    return quick_jit(jax.value_and_grad(loss))(toy.params)


def log_mean_exp(v):
    return jax.nn.logsumexp(v) - jnp.log(len(v))


def renyi_of(alpha):
    if abs(alpha - 1) < 1e-6:
        return jnp.mean
    return lambda log_w: log_mean_exp((1 - alpha) * log_w) / (1 - alpha)


@pytest.mark.parametrize("alpha", [drill(a) if a < 0 else a for a in ALPHAS])
def test_renyi_is_exact_in_expectation(alpha):
    """Also at its singular value, and next to it."""
    toy = near_posterior(linear_gaussian(1, 1), 0.1)
    found = integrate_loss(functools.partial(renyi, num_particles=2, alpha=alpha), toy, X1, 24)
    assert worst(found, exact(toy, X1, renyi_of(alpha))) < (1e-7 if alpha == 1 + 1e-9 else 1e-9)


@pytest.mark.slow
def test_renyi_falls_with_alpha_from_one_bound_to_the_other():
    scales = np.array([[0.01], [1.0], [40.0], [3.0], [0.1]] * 10)
    log_w = jnp.asarray(scales * np.random.RandomState(0).normal(size=(50, 5)))
    zero = jnp.zeros(5)

    def at(alpha):
        return jax.vmap(lambda w: renyi_bound(w, zero, alpha).bound)(log_w)

    bounds = jnp.stack([at(a) for a in (-30.0, -1.0, 0.0, 0.3, 0.99, 0.999999, 1.0, 1.000001, 1.5, 4.0)])
    assert jnp.all(jnp.diff(bounds, axis=0) < 1e-12)
    assert worst(bounds[2], jax.vmap(log_mean_exp)(log_w)) < 1e-12
    assert worst(bounds[6], jnp.mean(log_w, axis=1)) < 1e-12
    # No jump at the limit, where its slope is minus half the variance.
    assert worst((bounds[5] - bounds[7]) / 2e-6, jnp.var(log_w, axis=1) / 2) < 1e-4
    # In single precision the limit is approached without loss of digits.
    near = renyi_bound(log_w[0].astype(jnp.float32), zero.astype(jnp.float32), jnp.float32(1 - 1e-6)).bound
    assert abs(near - jnp.mean(log_w[0])) < 1e-6


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_combination_is_exact_in_expectation(beta):
    toy = near_posterior(linear_gaussian(1, 1), 0.1)
    found = integrate_loss(functools.partial(combination, num_particles=2, beta=beta), toy, X1, 24)
    expected = exact(toy, X1, lambda w: beta * jnp.mean(w) + (1 - beta) * log_mean_exp(w))
    assert worst(found, expected) < 1e-9


@pytest.mark.parametrize("groups", [1, 2])
def test_partial_weighting_gives_each_group_its_own_bound(groups):
    """p follows the bound of all particles, q the mean of its groups'; the value is the former."""
    toy = near_posterior(linear_gaussian(1, 1), 0.1)
    build = functools.partial(partially_importance_weighted, num_particles=2, num_groups=groups)
    value, gradient = integrate_loss(build, toy, X1, 24)
    tight, loose = exact(toy, X1, log_mean_exp), exact(toy, X1, log_mean_exp if groups == 1 else jnp.mean)
    assert abs(value - tight[0]) < 1e-9
    assert worst(gradient["generative"], tight[1]["generative"]) < 1e-9
    assert worst(gradient["recognition"], loose[1]["recognition"]) < 1e-9


def test_groups_are_averages_of_their_bounds():
    """With four particles in two groups, on the same draws as two objectives of two."""
    log_p, log_q = jnp.asarray(np.random.RandomState(3).normal(size=(2, 4)))
    found = partially_importance_weighted_bound(log_p, log_q, 2)
    parts = [importance_weighted_bound(log_p[i : i + 2], log_q[i : i + 2]) for i in (0, 2)]
    assert worst(found.recognition, jnp.concatenate([p.recognition for p in parts]) / 2) < 1e-15
    assert worst(found.generative, importance_weighted_bound(log_p, log_q).generative) == 0.0


def leave_out(log_w):
    """The jackknife, a bound at a time."""
    number = len(log_w)
    fewer = [log_mean_exp(jnp.delete(log_w, k, assume_unique_indices=True)) for k in range(number)]
    return number * log_mean_exp(log_w) - (number - 1) * sum(fewer) / number


@pytest.mark.parametrize("build", [jackknife, functools.partial(dreg, update="jackknife")])
def test_jackknife_is_exact_in_expectation(build):
    """Along the samples, and doubly reparameterized."""
    toy = near_posterior(linear_gaussian(1, 1), 0.1)
    found = integrate_loss(functools.partial(build, num_particles=3), toy, X1, 18)
    assert worst(found, exact(toy, X1, leave_out, 3, 18)) < 1e-8


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("number", [2, 5, 50])
def test_jackknife_weights_are_those_of_every_set_of_others(power, number):
    """And single precision keeps their digits, whatever the level of log w and however like each other they are."""
    for level, spread in ((0.0, 1.0), (-1e4, 1.0), (-1e4, 0.1), (-100.0, 30.0)):
        log_w = np.random.RandomState(number).normal(level, spread, number).astype(np.float32).astype(float)
        w = [scipy.special.softmax(np.where(np.arange(number) == j, -np.inf, log_w)) ** power for j in range(number)]
        expected = number * scipy.special.softmax(log_w) ** power - (1 - 1 / number) * np.sum(w, axis=0)
        found = jackknife_weights(jnp.asarray(log_w), power)
        assert worst(found, expected) < 1e-13 * number
        single = jackknife_weights(jnp.asarray(log_w, jnp.float32), power)
        assert worst(single, expected) < 3e-5 * np.abs(expected).max()


def test_weights_of_zero():
    """The means that leave a particle out, and the bounds between, are what the other weights make them."""
    zero = -jnp.inf
    assert list(leave_one_out_mean(jnp.array([zero, 2.0, 3.0]))) == [2.5, zero, zero]
    assert list(leave_one_out_mean(jnp.array([zero, 2.0, zero]))) == [zero, zero, zero]
    log_w, none = jnp.array([zero, -1000.0, -1001.0]), jnp.zeros(3)
    for alpha in (0.0, 0.5):
        found = renyi_bound(log_w, none, alpha)
        power = 1 - alpha
        assert abs(found.bound - (scipy.special.logsumexp(power * log_w) - np.log(3)) / power) < 1e-11
        assert worst(found.generative, scipy.special.softmax(power * log_w)) < 1e-15
    assert renyi_bound(log_w, none, 1.0).bound == zero
    assert renyi_bound(jnp.full(3, zero), none, 0.5).bound == zero


@pytest.mark.slow
def test_jackknife_takes_off_most_of_the_bias():
    """Its value and gradient are those of bounds computed one by one, far from each other in scale too."""
    scales = np.array([0.1, 1.0, 30.0, 300.0])[:, None]
    log_w = jnp.asarray(scales * np.random.RandomState(1).normal(size=(4, 6)) - 1e3)
    found = jax.vmap(jackknife_bound)(log_w, jnp.zeros_like(log_w))
    value, gradient = jax.vmap(jax.value_and_grad(leave_out))(log_w)
    assert worst(found.bound, value) < 1e-9
    assert worst(found.generative, gradient) < 1e-9
    # log w ~ N(0, 1/4), whose mean weight's log is 1/8.
    grid, chance = normal_nodes(12, 4)
    bound, jack = (jnp.sum(chance * jax.vmap(f)(grid / 2)) for f in (log_mean_exp, leave_out))
    assert abs(jack - 0.125) < abs(bound - 0.125) / 8
    with pytest.raises(ConfigError, match="num_particles: got 1, expected an integer, at least 2"):
        jackknife(linear_gaussian(1, 1).model, 1)
    with pytest.raises(ConfigError, match="num_particles got 1; the jackknife leaves one particle out"):
        dreg(linear_gaussian(1, 1).model, 1, "jackknife")


@pytest.mark.parametrize(("visible", "particles"), [drill(3, 1), (1, 2)])
def test_sticking_the_landing_is_the_bounds_gradient_in_expectation(visible, particles):
    toy, x = linear_gaussian(visible, 1), X3[:, :visible]

    def loss(params):
        likelihood, kl = gaussian_likelihood_and_kl(toy, params, x[0])
        return kl - likelihood

    found = integrate_loss(functools.partial(sticking_the_landing, num_particles=particles), toy, x, nodes=6)
    assert worst(found, jax.value_and_grad(loss)(toy.params)) < 1e-10


def test_sticking_the_landing_has_no_noise_at_the_posterior():
    """Where q is p(z | x) the gradient of q is zero at every draw; that of the bound with scores is not."""
    toy, keys = with_posterior(linear_gaussian(3, 1)), jax.random.split(jax.random.key(0), 50)
    for build, still in ((sticking_the_landing, True), (functools.partial(elbo, kl="monte_carlo"), False)):
        mean, error = monte_carlo(functools.partial(build, num_particles=2), toy.model, toy.params, X3, keys)
        of_q, of_p = (
            max(float(jnp.max(jnp.abs(v))) for v in jax.tree.leaves((mean[1][group], error[1][group])))
            for group in ("recognition", "generative")
        )
        assert of_q < 1e-12 if still else of_q > 1e-3
        assert of_p > 1e-3


def test_doubly_reparameterized_wake_update_has_the_expectation_of_the_wake_phase():
    """q's gradient is that of `reweighted_wake_sleep` without dreams, whose particles stand still; p's too."""
    toy = near_posterior(linear_gaussian(1, 1), 0.3)
    found = integrate_loss(functools.partial(dreg, num_particles=2, update="reweighted_wake"), toy, X1, 40)

    def wake(params):
        """sum_k w~_k log q(z_k | x), weights and particles held, integrated."""
        log_w, chance = log_weights(toy, toy.params, X1[0], 2, 40)
        grid, _ = normal_nodes(40, 2)
        still = jax.lax.stop_gradient
        z = _particles(toy, toy.params, grid)
        log_q = _log_q(params, z)
        return chance @ jnp.sum(still(jax.nn.softmax(log_w, axis=1)) * log_q, axis=1)

    gradient = jax.grad(wake)(toy.params)["recognition"]
    assert worst(found[1]["recognition"], jax.tree.map(jnp.negative, gradient)) < 1e-8
    assert worst(found[1]["generative"], exact(toy, X1, log_mean_exp, nodes=40)[1]["generative"]) < 1e-9
    assert max(float(jnp.max(jnp.abs(v))) for v in jax.tree.leaves(gradient)) > 1e-3


def _particles(toy, params, grid):
    mean, log_scale = encoder(params, X1[0])
    return mean + jnp.exp(log_scale) * grid[..., None]


def _log_q(params, z):
    mean, log_scale = encoder(params, X1[0])
    return jnp.sum(-0.5 * ((z - mean) / jnp.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi), axis=-1)


def test_wake_update_and_wake_phase_agree_on_samples():
    """Within standard errors over many keys, and with less noise: `reweighted_wake_sleep` itself, dreams off."""
    toy, keys = near_posterior(linear_gaussian(3, 1), 0.1), jax.random.split(jax.random.key(1), 3000)
    builds = (
        functools.partial(dreg, num_particles=4, update="reweighted_wake"),
        functools.partial(reweighted_wake_sleep, num_particles=4, wake=1.0, sleep=None),
    )
    ours, theirs = (monte_carlo(build, toy.model, toy.params, X3, keys) for build in builds)
    leaves = [jax.tree.leaves(tree[1]["recognition"]) for tree in (*ours, *theirs)]
    for a, ea, b, eb in zip(*leaves, strict=True):
        assert jnp.all(jnp.abs(a - b) < 4.5 * jnp.hypot(ea, eb) + 1e-9)
    assert sum(float(jnp.sum(v**2)) for v in leaves[1]) < 0.5 * sum(float(jnp.sum(v**2)) for v in leaves[3])


def test_bounds_are_ordered_on_the_same_draws():
    """elbo <= combination <= iwae; renyi lies between for alpha between; and all below log p(x) in the mean."""
    toy, keys = linear_gaussian(3, 2), jax.random.split(jax.random.key(5), 400)

    def mean(build):
        loss = build(toy.model).loss
        return -jnp.mean(quick_jit(jax.vmap(lambda k: loss(Trainable(toy.params), (), k, X3, 0)[0]))(keys))

    parts = {"num_particles": 6}
    low = mean(functools.partial(elbo, kl="monte_carlo", **parts))
    middle = [mean(functools.partial(f, **parts)) for f in (combination, renyi)]
    high = mean(functools.partial(iwae, **parts))
    assert all(low < m < high for m in middle)
    assert abs(mean(functools.partial(renyi, alpha=0.0, **parts)) - high) < 1e-12
    assert abs(mean(functools.partial(renyi, alpha=1.0, **parts)) - low) < 1e-12
    assert high < gaussian_log_marginal(toy, toy.params, X3[0]) + 0.05


@pytest.mark.filterwarnings("ignore::genjax_models.evaluation.DoubtfulEstimate")
def test_the_bound_is_the_evaluations_estimate_of_the_same_particles():
    """An objective's K particles and those of `log_marginal` make one function of the keys that each is drawn by."""
    toy, key = linear_gaussian(3, 2), jax.random.key(2)

    def bound(keys):
        def log_weight(k):
            z, log_q = toy.model.propose(toy.params, k, X3[0], ())
            return total(toy.model.log_joint(toy.params, z, X3[0], ())), total(log_q)

        return importance_weighted_bound(*jax.vmap(log_weight)(keys)).bound

    _, (_, metrics) = iwae(toy.model, 7).loss(Trainable(toy.params), (), key, X3, 0)
    assert abs(metrics["bound"] - bound(jax.random.split(jax.random.split(key, 1)[0], 7))) < 1e-12
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(key, 0), k))(jnp.arange(7))
    assert abs(log_marginal(toy.model, toy.params, key, X3, 7).log_prob[0] - bound(keys)) < 1e-12


@pytest.mark.parametrize(("off", "beta"), [(0.5, 0.0), (-0.5, 1.0)])
def test_free_bits_of_a_group(off, beta):
    """Below lambda the KL has no gradient, above it the whole; the value is the true bound either way."""
    toy = linear_gaussian(3, 2)
    _, cost = gaussian_likelihood_and_kl(toy, toy.params, X3[0])
    args = (), jax.random.key(0), X3, 0
    found, other = (
        jax.value_and_grad(lambda t, o=o: o.loss(t, *args)[0])(Trainable(toy.params))
        for o in (elbo(toy.model, free_bits=float(cost) + off), elbo(toy.model, beta=beta))
    )
    assert found[0] == other[0]
    assert worst(found[1], other[1]) < 1e-12


def test_free_bits_of_single_latents_and_of_every_layer():
    """Each latent, and each layer of a hierarchy, has its own."""
    toy, key = linear_gaussian(3, 2), jax.random.key(0)
    by_latent = toy.model.kl_by_dimension(toy.params, X3[0], ())[0]
    free = float(jnp.mean(by_latent))
    assert jnp.min(by_latent) < free < jnp.max(by_latent)

    def expected(params):
        z = toy.model.propose(params, jax.random.split(jax.random.split(key, 1)[0], 1)[0], X3[0], ())[0]
        kl = toy.model.kl_by_dimension(params, X3[0], ())[0]
        return jnp.sum(jnp.where(by_latent < free, free, kl)) - toy.model.log_joint(params, z, X3[0], ()).likelihood

    objective = elbo(toy.model, free_bits_by_dimension=free)
    found = jax.grad(lambda p: objective.loss(Trainable(p), (), key, X3, 0)[0])(toy.params)
    assert worst(found, jax.grad(expected)(toy.params)) < 1e-12
    layers = hierarchical_vae(3, layers=(2, 2), hidden=(3, 3))
    params = layers.init(key, X3[0])
    draw = jax.random.split(jax.random.split(key, 1)[0], 1)[0]
    z, log_q = layers.propose(params, draw, X3[0], ())
    costs = [float(q - p) for q, p in zip(log_q, layers.log_joint(params, z, X3[0], ()).prior, strict=True)]
    between = max(costs) / 2
    assert min(costs) < between

    def by_layer(params):
        z, log_q = layers.propose(params, draw, X3[0], ())
        joint = layers.log_joint(params, z, X3[0], ())
        kept = [q - p for q, p, c in zip(log_q, joint.prior, costs, strict=True) if c > between]
        return sum(kept) - joint.likelihood

    objective = elbo(layers, free_bits=between)
    found = quick_jit(jax.grad(lambda p: objective.loss(Trainable(p), (), key, X3, 0)[0]))(params)
    assert worst(found, quick_jit(jax.grad(by_layer))(params)) < 1e-6


def test_refusals():
    toy = linear_gaussian(3, 2).model
    binary = sigmoid_belief_network(3, layers=(2,))
    for build in (renyi, combination, partially_importance_weighted, sticking_the_landing):
        with pytest.raises(ModelError, match=f"{build.__name__}.*SigmoidBeliefNetwork"):
            build(binary)
        with pytest.raises(ConfigError, match="num_particles"):
            build(toy, num_particles=0)
    for alpha in (np.nan, np.inf, "half"):
        with pytest.raises(ConfigError, match="renyi: alpha"):
            renyi(toy, alpha=alpha)
    with pytest.raises(ConfigError, match="combination: beta"):
        combination(toy, beta=1.5)
    with pytest.raises(ConfigError, match="num_groups got 3, which does not divide the 4 particles"):
        partially_importance_weighted(toy, 4, 3)
    with pytest.raises(ConfigError, match="does not divide"):
        validate(PartiallyImportanceWeighted(5, 2))
    with pytest.raises(ConfigError, match="num_particles got 1; the update of reweighted wake-sleep is zero"):
        dreg(toy, 1, "reweighted_wake")
    with pytest.raises(ConfigError, match="expected at least 2"):
        validate(DReG(1, "reweighted_wake"))
    with pytest.raises(ConfigError, match="update got 'wake'"):
        dreg(toy, 2, "wake")
    with pytest.raises(ConfigError, match="elbo: free_bits: got -1"):
        elbo(toy, free_bits=-1)
    with pytest.raises(ConfigError, match="both given"):
        elbo(toy, free_bits=1.0, free_bits_by_dimension=1.0)
    with pytest.raises(ConfigError, match="both given"):
        validate(ELBO(free_bits=1.0, free_bits_by_dimension=1.0))
    with pytest.raises(ModelError, match="HierarchicalVAE does not have"):
        elbo(hierarchical_vae(3, layers=(1,), hidden=(2,)), free_bits_by_dimension=0.1)
    ladder = hierarchical_vae(3, layers=(2, 1), hidden=(2, 2), inference="ladder")
    with pytest.raises(ModelError, match="shared"):
        partially_importance_weighted(ladder, 4, 2)
