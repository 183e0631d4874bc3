"""Units of auto-regressive networks other than binary ones: sums and integrals of one, and samples that follow."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_frequencies
from toys import quick_jit, random_params, worst

from genjax_models.models import deep_nade, made, nade
from genjax_models.models.units import LEAST_LOG_SCALE, Categorical, DiscretizedLogistics, MixtureOfGaussians

BUILDERS = {
    "made": lambda visible, units: made(visible, hidden=(5,), order=1, units=units),
    "nade": lambda visible, units: nade(visible, hidden=4, order=1, units=units),
    "deep_nade": lambda visible, units: deep_nade(visible, hidden=(5,), order=1, units=units),
}
every_network = pytest.mark.parametrize("name", BUILDERS)


def scores(model, params, x):
    return np.asarray(quick_jit(jax.vmap(lambda v: model.log_prob(params, v, ())))(jnp.asarray(x)))


@pytest.mark.parametrize("units", [Categorical(levels=3), DiscretizedLogistics(levels=4, components=2)], ids=type)
@every_network
def test_levels_sum_to_one_and_samples_agree(x64, name, units):
    model = BUILDERS[name](3, units)
    assert model.levels == units.levels
    assert model.conditional_logits is None
    params = random_params(model, 3, seed=0, scale=1.0)
    states = np.array(list(itertools.product(np.arange(units.levels) / (units.levels - 1), repeat=3)))
    density = np.exp(scores(model, params, states))
    assert abs(density.sum() - 1) < 1e-12
    keys = jax.random.split(jax.random.key(0), 10_000)
    drawn = np.asarray(quick_jit(jax.vmap(lambda k: model.sample(params, k, ())))(keys)) * (units.levels - 1)
    assert np.abs(drawn - np.rint(drawn)).max() < 1e-6
    code = np.rint(drawn).astype(int) @ (units.levels ** np.arange(3)[::-1])
    assert_frequencies(np.arange(len(states)), density, code)


@every_network
def test_mixtures_integrate_to_one(x64, name):
    """In the plane by quadrature; samples have the marginals of the integrated density (Kolmogorov-Smirnov)."""
    model = BUILDERS[name](2, MixtureOfGaussians(components=3, least_scale=0.2))
    params = random_params(model, 2, seed=1, scale=0.3)
    grid = np.linspace(-20, 20, 801)
    step = grid[1] - grid[0]
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(scores(model, params, plane)).reshape(len(grid), -1)
    assert abs(density.sum() * step**2 - 1) < 1e-6
    keys = jax.random.split(jax.random.key(0), 5000)
    drawn = np.asarray(quick_jit(jax.vmap(lambda k: model.sample(params, k, ())))(keys))
    for axis in (0, 1):
        cdf = np.cumsum(density.sum(axis=1 - axis)) * step**2
        at = np.interp(np.sort(drawn[:, axis]), grid + step / 2, cdf)
        assert np.abs(at - (np.arange(5000) + 0.5) / 5000).max() < 1.95 / np.sqrt(5000)


def test_discretized_logistics_are_differences_of_sigmoids(x64):
    """The mass between halfway points, the outer levels taking the tails, on [-1, 1]."""
    units = DiscretizedLogistics(levels=5, components=2)
    numbers = jax.random.normal(jax.random.key(0), (units.outputs, 1))
    weights, means, log_scales = units._components(numbers)
    share = jax.nn.softmax(weights, axis=-2)[:, 0]
    total = 0.0
    for k in range(5):
        centre = 2 * k / 4 - 1
        upper = jax.nn.sigmoid((centre + 1 / 4 - means[:, 0]) / jnp.exp(log_scales[:, 0])) if k < 4 else 1.0
        lower = jax.nn.sigmoid((centre - 1 / 4 - means[:, 0]) / jnp.exp(log_scales[:, 0])) if k > 0 else 0.0
        expected = jnp.sum(share * (upper - lower))
        found = jnp.exp(units.log_probs(numbers, jnp.array([k / 4]))[0])
        assert abs(found - expected) < 1e-10
        total += float(found)
    assert abs(total - 1) < 1e-12


@pytest.mark.slow
def test_logistics_far_out_are_exact_in_float32():
    """A level that a narrow component misses by far: log(1 - sigmoid(d / s)) is -d / s there, and so are its slopes."""
    units = DiscretizedLogistics(levels=256, components=1)
    numbers = jnp.array([[0.0], [-1.0], [-9.0]])
    value, slope = jax.value_and_grad(lambda n: units.log_prob(n, jnp.array([1.0])))(numbers)
    rate = np.exp(-(LEAST_LOG_SCALE + np.log1p(np.exp(-9 - LEAST_LOG_SCALE))))
    missed = (2 - 1 / 255) * rate
    assert value == pytest.approx(-missed, rel=1e-5)
    of_floor = 1 / (1 + np.exp(9 + LEAST_LOG_SCALE))
    np.testing.assert_allclose(slope[:, 0], [0, rate, missed * of_floor], rtol=1e-4)


def test_logistics_much_wider_than_their_range_share_it_by_its_ends():
    """At log scales where a level's part, width / 4, is no float any more, beside one half for either end."""
    units = DiscretizedLogistics(levels=256, components=1)
    for log_scale in (20.0, 86.0, 110.0):
        numbers = jnp.array([[0.0], [0.3], [log_scale]])
        for x, value, slope in ((0.5, np.log(2 / 255 / 4) - log_scale, -1.0), (0.0, np.log(0.5), 0.0)):
            found = jax.value_and_grad(lambda n, x=x: units.log_prob(n, jnp.array([x])))(numbers)
            assert found[0] == pytest.approx(value, abs=1e-5)
            np.testing.assert_allclose(found[1][:, 0], [0, 0, slope], atol=1e-6)


def test_categorical_of_two_levels_is_bernoulli(x64):
    """Two logits of which one is zero give the binary network of the same weights."""
    two, binary = made(3, hidden=(4,), units=Categorical(levels=2)), made(3, hidden=(4,))
    params = random_params(binary, 3, seed=0)
    generative = dict(params["generative"])
    generative["kernel_1"] = jnp.concatenate([0 * generative["kernel_1"], generative["kernel_1"]], axis=1)
    generative["bias_1"] = jnp.concatenate([0 * generative["bias_1"], generative["bias_1"]])
    states = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    assert worst(scores(two, {"generative": generative}, states), scores(binary, params, states)) < 1e-12
