"""The pure estimators: bounds in their order, and coefficients that sum as they must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import (
    exact_bound,
    gaussian_bound,
    gaussian_likelihood_and_kl,
    gaussian_log_marginal,
    linear_gaussian,
    near_posterior,
    net,
    net_log_marginal,
    net_log_weights,
    particle_sets,
    quick_jit,
    single_unit_posterior,
    with_posterior,
)

from genjax_models.objectives.particles import (
    evidence_lower_bound,
    importance_weighted_bound,
    log_mean_exp,
    reweighted_wake,
    wake,
)

pytestmark = pytest.mark.usefixtures("x64")


ESTIMATES = (importance_weighted_bound, reweighted_wake, evidence_lower_bound, wake)


def expected_bounds(toy, x, estimates=ESTIMATES):
    """The bounds at K = 1, 2, 4 on every set of particles, weighted by the set's chance: [3, estimates]."""

    @quick_jit
    def expected(params):
        log_p, log_q = net_log_weights(toy, params, x)

        def one(estimate, sets):
            bounds = jax.vmap(lambda s: estimate(log_p[s], log_q[s]).bound)(sets)
            return jnp.exp(jnp.sum(log_q[sets], axis=1)) @ bounds

        sets = [particle_sets(len(toy.z[0]), k) for k in (1, 2, 4)]
        return jnp.array([[one(estimate, s) for estimate in estimates] for s in sets])

    return expected(toy.params)


@pytest.mark.parametrize("layers", [(1,), (2, 1)])
def test_binary_bounds_are_ordered(layers):
    """ELBO < IWAE_2 < IWAE_4 < log p(x), strictly while q is not the posterior."""
    toy = net(layers, 3)
    x = toy.x[5]
    found = expected_bounds(toy, x)
    bounds = quick_jit(lambda p: jnp.array([exact_bound(toy, p, x, k) for k in (1, 2, 4)]))(toy.params)
    # The importance weighted bound rises with K; the ELBO does not depend on it.
    assert np.max(np.abs(found[:, :2] - bounds[:, None])) < 1e-12
    assert np.max(np.abs(found[:, 2:] - bounds[0])) < 1e-12
    chain = np.array([*bounds, net_log_marginal(toy, toy.params, x)])
    assert np.all(np.diff(chain) > 1e-3), chain


def test_binary_bounds_meet_at_the_posterior():
    """With q(z | x) = p(z | x) all bounds are log p(x)."""
    toy = net((1,), 3)
    toy = toy._replace(params={**toy.params, "recognition": single_unit_posterior(toy.params["generative"])})
    for x in toy.x[[0, 3, 5]]:
        log_marginal = net_log_marginal(toy, toy.params, x)
        bounds = expected_bounds(toy, x, (importance_weighted_bound, evidence_lower_bound))
        assert np.max(np.abs(bounds - log_marginal)) < 1e-12


def test_gaussian_bounds_are_ordered():
    """The same chain for continuous latents, by quadrature; with equality at the posterior."""
    toy, x = near_posterior(linear_gaussian(2, 1), 0.2), jnp.array([0.9, -1.2])
    likelihood, kl = gaussian_likelihood_and_kl(toy, toy.params, x)
    log_marginal = gaussian_log_marginal(toy, toy.params, x)
    bounds = [
        quick_jit(lambda k=k, n=n: gaussian_bound(toy, toy.params, x, k, n))() for k, n in ((1, 40), (2, 40), (4, 14))
    ]
    assert abs(bounds[0] - (likelihood - kl)) < 1e-10
    assert np.all(np.diff(np.array([*bounds, log_marginal])) > 1e-3)
    tight = with_posterior(toy)
    for k in (1, 2, 3):
        assert abs(quick_jit(lambda k=k: gaussian_bound(tight, tight.params, x, k, 8))() - log_marginal) < 1e-12


def test_coefficients_are_the_derivatives_of_the_bounds():
    """For the two bounds (a, b) is the gradient by (log p, log q); the wake phases change q's coefficients alone."""
    draw = np.random.RandomState(0).normal
    log_p, log_q = jnp.asarray(3 * draw(size=5)), jnp.asarray(draw(size=5))

    def derivatives(bound):
        return jax.grad(bound, argnums=(0, 1))(log_p, log_q)

    mean = derivatives(lambda p, q: jnp.mean(p - q))
    weighted = derivatives(lambda p, q: jnp.log(jnp.mean(jnp.exp(p - q))))
    for estimate, a, b in [
        (evidence_lower_bound, *mean),
        (importance_weighted_bound, *weighted),
        (wake, mean[0], jnp.zeros(5)),
        (reweighted_wake, weighted[0], weighted[0]),
    ]:
        found = estimate(log_p, log_q)
        np.testing.assert_allclose(found.generative, a, atol=1e-14)
        np.testing.assert_allclose(found.recognition, b, atol=1e-14)


def test_bounds_survive_extreme_weights():
    """Log-weights far outside the range of exp keep the bound exact, and the weights normalized."""
    for shift in (-2000.0, 2000.0):
        log_p = jnp.array([shift, shift + np.log(3.0)])
        found = importance_weighted_bound(log_p, jnp.zeros(2))
        assert found.bound == pytest.approx(shift + np.log(2.0), abs=1e-9)
        np.testing.assert_allclose(found.generative, [0.25, 0.75], rtol=1e-9)
    # A particle that p cannot have produced has no weight; the others go on.
    found = importance_weighted_bound(jnp.array([-jnp.inf, 0.0]), jnp.zeros(2))
    assert found.bound == pytest.approx(-np.log(2.0))
    assert list(found.generative) == [0.0, 1.0]
    assert log_mean_exp(jnp.zeros(7)) == pytest.approx(0.0, abs=1e-15)


def test_estimators_refuse_other_shapes():
    """A batch axis, or lists of different length, would be averaged in silence."""
    for estimate in (evidence_lower_bound, importance_weighted_bound, wake, reweighted_wake):
        with pytest.raises(AssertionError):
            estimate(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
        with pytest.raises(AssertionError):
            estimate(jnp.zeros(3), jnp.zeros(1))
