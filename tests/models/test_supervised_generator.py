"""Generators of known codes: their density by quadrature, their samples, and a run on rendered solids."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from runs import Log
from toys import quick_jit, worst

from genjax_models.config import Config, Training
from genjax_models.core import Batch
from genjax_models.data import Bars, Solids
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import blend, interpolate, squared_error
from genjax_models.experiment import evaluate_run, sample_run, train_run
from genjax_models.models import SupervisedGenerator, made, supervised_generator
from genjax_models.models.layers import _convolution, _products
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.run_folder import read_metrics
from genjax_models.sweep import run_sweep

GRID = np.linspace(-1.5, 2.5, 2001)
CODE = jnp.array([0.3, -1.0, 0.5])


def small(depth=1, **fields):
    shape = (2, 2) if depth == 1 else (2, 2, depth)
    size = 4 * depth
    model = supervised_generator(size, image_shape=shape, hidden=(5,), channels=(3,), scale=0.2, **fields)
    init = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(size), CODE)
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(init)))
    leaves = [jax.random.normal(k, v.shape, jnp.float64) for k, v in zip(keys, jax.tree.leaves(init), strict=True)]
    return model, jax.tree.unflatten(jax.tree.structure(init), leaves)


@pytest.mark.parametrize("mask", [drill(True), False])
def test_density_is_a_product_of_normalized_pixels(x64, mask):
    """log p(x) is the sum over pixels of log p_i(x_i), each found by quadrature of p(x) along it; so are the means."""
    model, params = small(mask=mask)
    x = jnp.array([0.1, 0.9, 0.4, -0.2])

    def along(i):
        return jax.vmap(lambda t: model.log_prob(params, x.at[i].set(t), CODE))(jnp.asarray(GRID))

    whole = model.log_prob(params, x, CODE)
    ratios = np.exp(np.asarray(quick_jit(jax.vmap(along))(jnp.arange(4))) - float(whole))  # p(x_i = t) / p_i(x_i)
    step = GRID[1] - GRID[0]
    integrals = ratios.sum(axis=1) * step
    assert abs(-np.log(integrals).sum() - whole) < 1e-9
    means = (ratios * GRID).sum(axis=1) * step / integrals
    np.testing.assert_allclose(model.mean(params, CODE), means, atol=1e-9)
    # Samples follow those densities: Kolmogorov-Smirnov at the level 0.001, each pixel.
    keys = jax.random.split(jax.random.key(2), 4000)
    drawn = np.asarray(jax.vmap(lambda key: model.sample(params, key, CODE))(keys))
    for i in range(4):
        cdf = np.interp(np.sort(drawn[:, i]), GRID, np.cumsum(ratios[i]) * step / integrals[i])
        assert np.abs(cdf - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / np.sqrt(4000)


def test_channels_of_a_pixel_share_the_mask(x64):
    """Two channels are not independent under a mask: the density is that of the pixel, by quadrature in the plane."""
    model, params = small(depth=2)
    x = jnp.full(8, 0.3)
    grid = np.linspace(-1.5, 2.5, 201)
    plane = jnp.asarray(np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2))
    whole = float(model.log_prob(params, x, CODE))

    def around(i):
        values = jax.lax.map(
            lambda v: model.log_prob(params, jax.lax.dynamic_update_slice(x, v, (2 * i,)), CODE), plane, batch_size=500
        )
        return jnp.exp(values - whole)

    ratios = np.asarray(quick_jit(lambda: jax.lax.map(around, jnp.arange(4)))())
    integrals = ratios.sum(axis=1) * (grid[1] - grid[0]) ** 2
    assert abs(-np.log(integrals).sum() - whole) < 1e-9
    means = np.einsum("ip,pc->ic", ratios, plane) * (grid[1] - grid[0]) ** 2 / integrals[:, None]
    np.testing.assert_allclose(model.mean(params, CODE), means.ravel(), atol=1e-9)
    # A mixture of two Gaussians that are both uncorrelated has a covariance of the means alone.
    products = ratios @ np.asarray(plane).prod(axis=1) * (grid[1] - grid[0]) ** 2 / integrals
    assert np.abs(products - means.prod(axis=1)).max() > 1e-3


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (2, 3), (5, 4)])
def test_convolution_by_products_is_that_of_xla(x64, window):
    x = jax.random.normal(jax.random.key(0), (6, 5, 3))
    kernel = jax.random.normal(jax.random.key(1), (*window, 3, 4))
    assert worst(_products(x, kernel), _convolution(x, kernel)) < 1e-12


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: supervised_generator(1023), ConfigError, r"\(32, 32\), which has 1024 values, but x has 1023"),
        (
            lambda: supervised_generator(144, image_shape=(12, 12)),
            ConfigError,
            "3 up-convolutions, which make",
        ),
        (lambda: supervised_generator(8, image_shape=(8,)), ConfigError, r"image_shape: got \(8,\)"),
        (lambda: supervised_generator(1024, scale=0.0), ConfigError, "scale: got 0.0"),
        (lambda: supervised_generator(1024, channels=()), ConfigError, "channels: got an empty tuple"),
        (
            lambda: supervised_generator(1024).init(jax.random.key(0), jnp.zeros(1024), ()),
            ModelError,
            r"got \(\) as the context of an example, expected its code",
        ),
        (lambda: interpolate(made(3), {}, CODE, CODE), ModelError, "interpolate needs a model with E"),
        (lambda: squared_error(made(3), {}, jnp.zeros((1, 3))), ModelError, "squared_error needs a model with E"),
        (lambda: interpolate(small()[0], {}, CODE, CODE[:2]), DataError, r"shapes \(3,\) and \(2,\)"),
        (lambda: interpolate(small()[0], {}, CODE, CODE, 0), ConfigError, "num: got 0"),
        (lambda: blend(np.zeros((1, 2)), np.zeros((1, 3)), np.zeros((1, 3))), DataError, "N from 2 up"),
        (lambda: blend(np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((1, 2))), DataError, "blend: got examples"),
    ],
)
def test_bad_input_is_named(x64, build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_blend_weighs_the_two_nearest():
    x = np.eye(3)
    codes = np.array([[0.0], [1.0], [5.0]])
    found = blend(x, codes, np.array([[0.25], [1.0], [4.0]]))
    np.testing.assert_allclose(found, [[0.75, 0.25, 0], [0, 1, 0], [0, 0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(blend(x[:2], np.zeros((2, 1)), np.zeros((1, 1))), [[0.5, 0.5, 0]])


def test_interpolation_goes_from_one_code_to_the_other(x64):
    model, params = small()
    last = -CODE
    found = interpolate(model, params, CODE, last, 3)
    expected = [model.mean(params, c) for c in (CODE, 0 * CODE, last)]
    assert worst(found, jnp.stack(expected)) < 1e-12
    batch = Batch(found + jnp.array([0.0, 1.0, 2.0])[:, None], jnp.stack([CODE, 0 * CODE, last]))
    assert worst(squared_error(model, params, batch), jnp.array([0.0, 1.0, 4.0])) < 1e-12


CONFIG = Config(
    model=SupervisedGenerator(image_shape=(8, 8), hidden=(16,), channels=(8,)),
    objective=MaximumLikelihood(),
    optimizer=Adam(learning_rate=1e-2),
    data=Solids(size=8, num_train=60, num_validation=10, num_test=24),
    training=Training(num_steps=60, batch_size=20, evaluate_every=30, chunk=30),
)


@pytest.mark.slow
def test_run_learns_from_codes(tmp_path):
    """The error on new codes falls below that of the mean image; pictures are drawn from the test split's codes."""
    folder, log = tmp_path / "run", Log()
    result = train_run(CONFIG, folder, None, log=log)
    data = CONFIG.data.load()
    assert result["test_squared_error"] < ((data.test - data.train.mean(axis=0)) ** 2).mean()
    blended = ((blend(data.train, data.train_context, data.test_context) - data.test) ** 2).mean(axis=1)
    assert result["test_squared_error_of_blend"] == pytest.approx(blended.mean(), rel=1e-6)
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl", 60)] == [30, 60]
    assert (folder / "views.png").is_file()
    again = evaluate_run(folder, None, None, log)
    assert again["test_squared_error"] == pytest.approx(result["test_squared_error"], rel=1e-5)
    assert again["test_nll"] == pytest.approx(result["test_nll"], rel=1e-5)
    assert sample_run(folder, 5, tmp_path / "five.png", 0, False, log).is_file()
    swept = run_sweep(CONFIG, {"optimizer.learning_rate": (1e-2, 1e-3)}, block=1)
    assert swept.nll[0] < swept.nll[1]


def test_data_without_codes_are_refused(tmp_path):
    settings = dataclasses.replace(
        CONFIG, data=Bars(size=8), model=dataclasses.replace(CONFIG.model, image_shape=(8, 8))
    )
    with pytest.raises(
        DataError, match="SupervisedGenerator is given a context with every example, which Bars does not have"
    ):
        train_run(settings, tmp_path / "run", None, log=Log())
    assert not (tmp_path / "run").exists()
