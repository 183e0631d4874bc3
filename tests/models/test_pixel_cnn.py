"""PixelCNN: what each pixel sees, exactly; sums of one; samples and completions that follow; refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_frequencies
from drills import drill
from toys import quick_jit, random_params

from genjax_models.errors import ConfigError, DataError
from genjax_models.evaluation import complete
from genjax_models.models import pixel_cnn
from genjax_models.models.units import Categorical, DiscretizedLogistics

module = __import__("genjax_models.models.pixel_cnn", fromlist=["one_row_down"])
SIZES = {"features": 4, "head": 6, "first_window": 3}


def small(image_shape, layers=2, **fields):
    return pixel_cnn(int(np.prod(image_shape)), image_shape=image_shape, layers=layers, **(SIZES | fields))


def states_of(model, visible):
    levels = model.levels
    return np.array(list(itertools.product(np.arange(levels) / (levels - 1), repeat=visible)))


def density_of(model, params, states):
    return np.exp(np.asarray(quick_jit(jax.vmap(lambda x: model.log_prob(params, x, ())))(jnp.asarray(states))))


SMALL = {
    "2x2": ((2, 2), {}),
    "2x3": ((2, 3), {"first_window": 5}),
    "1x1": ((1, 1), {"layers": 1}),
    "2x1x3": ((2, 1, 3), {"layers": 3}),
    "2x2, three levels": ((2, 2), {"units": Categorical(levels=3)}),
    "1x2x2, logistics": ((1, 2, 2), {"units": DiscretizedLogistics(levels=3, components=2)}),
}


@pytest.mark.parametrize("name", SMALL)
def test_sums_to_one_and_samples_agree(x64, name):
    image_shape, fields = SMALL[name]
    model, visible = small(image_shape, **fields), int(np.prod(image_shape))
    params = random_params(model, visible, seed=0, scale=1.0)
    states = states_of(model, visible)
    density = density_of(model, params, states)
    assert abs(density.sum() - 1) < 1e-12
    assert np.std(np.log(density)) > 0.1
    keys = jax.random.split(jax.random.key(1), 10_000)
    drawn = np.asarray(quick_jit(jax.vmap(lambda k: model.sample(params, k, ())))(keys)) * (model.levels - 1)
    code = np.rint(drawn).astype(int) @ (model.levels ** np.arange(visible)[::-1])
    assert_frequencies(np.arange(len(states)), density, code, fewest=2)


def sees(model, visible):
    """[D, D]: whether the numbers of a unit depend on another, in float64 under random parameters."""
    params = random_params(model, visible, seed=0, scale=0.5)
    x = jnp.asarray(np.random.RandomState(1).uniform(size=visible))
    jacobian = quick_jit(jax.jacobian(lambda x: model.conditional_logits(params, x, ())))(x)
    return np.asarray(jacobian) != 0


@pytest.mark.parametrize(
    ("image_shape", "fields"),
    [
        drill((5, 4), {}),
        ((4, 5), {"first_window": 5}),
        ((4, 3, 3), {}),
        drill((3, 3, 2), {"window": 5}),
        ((1, 4, 2), {}),
    ],
)
def test_every_unit_sees_all_before_it_and_none_else(x64, image_shape, fields):
    """Raster order, channels last, and no blind spot, if the layers are enough to reach across."""
    visible = int(np.prod(image_shape))
    # So many features that some of every channel pass the rectifiers.
    model = small(image_shape, layers=max(image_shape[:2]), features=24, head=30, **fields)
    found = sees(model, visible)
    assert np.array_equal(found, np.tril(np.ones((visible, visible), bool), -1))


def test_one_layer_sees_its_window(x64):
    """Above: the two rows and three columns of the window; left: the pixel beside."""
    found = sees(small((4, 5), layers=1), 20).reshape(4, 5, 4, 5)
    for i, j in itertools.product(range(4), range(5)):
        expected = np.zeros((4, 5), bool)
        expected[max(i - 2, 0) : i, max(j - 1, 0) : j + 2] = True
        expected[i, max(j - 1, 0) : j] = True
        assert np.array_equal(found[i, j], expected), (i, j)


MUTANTS = {
    "the row below": ("one_row_down", lambda h: h),
    "a window centred on the row": ("from_above", lambda h, kernel: module.convolve(h, kernel)),
    "channels in no order": (
        "groups",
        lambda n, channels: np.arange(n) * channels // n if n > channels else np.zeros(n),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_pixel_that_sees_too_much_is_no_distribution(x64, monkeypatch, name):
    attribute, wrong = MUTANTS[name]
    image_shape = (2, 1, 2)
    params = random_params(small(image_shape), 4, seed=0, scale=1.0)
    states = states_of(small(image_shape), 4)
    assert abs(density_of(small(image_shape), params, states).sum() - 1) < 1e-12
    monkeypatch.setattr(module, attribute, wrong)
    assert abs(density_of(small(image_shape), params, states).sum() - 1) > 1e-6


def test_lower_part_follows_the_exact_conditional(x64):
    """Every pattern of seen units first, against the enumerated p(x); seen units after hidden ones are refused."""
    model = small((3, 2))
    params = random_params(model, 6, seed=2, scale=1.0)
    states = states_of(model, 6)
    density = density_of(model, params, states)
    x, number = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), 3000
    masks = np.arange(6) >= np.arange(7)[:, None]
    rows = np.repeat(np.where(masks, np.nan, x), number, axis=0)
    drawn = np.asarray(complete(model, params, jax.random.key(3), rows, np.repeat(masks, number, axis=0)))
    for start, completed in enumerate(drawn.reshape(7, number, 6)):
        assert (completed[:, :start] == x[:start]).all()
        given = density * (states[:, :start] == x[:start]).all(axis=1)
        if start < 6:
            code = completed.astype(int) @ (2 ** np.arange(6)[::-1])
            assert_frequencies(np.arange(64), given / given.sum(), code, fewest=2)
    with pytest.raises(DataError, match="unit 2 is seen, but comes after unit 0"):
        complete(model, params, jax.random.key(0), x[None], np.arange(6) < 2)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: pixel_cnn(5, image_shape=(2, 2)), r"image_shape: got \(2, 2\), which has 4 values, but x has 5"),
        (lambda: pixel_cnn(4, image_shape=(4,)), r"image_shape: got \(4,\), expected \(height, width\)"),
        (lambda: pixel_cnn(4, image_shape=(2, 0)), "image_shape.1: got 0"),
        (lambda: pixel_cnn(4, image_shape=(2, 2), window=4), "window: got 4, expected an odd number"),
        (lambda: pixel_cnn(4, image_shape=(2, 2), first_window=6), "first_window: got 6, expected an odd number"),
        (lambda: pixel_cnn(12, image_shape=(2, 2, 3), features=2), "features: got 2, expected one for each of the 3"),
        (lambda: pixel_cnn(12, image_shape=(2, 2, 3), head=2), "head: got 2, expected one for each of the 3"),
    ],
)
def test_bad_input_is_named(run, message):
    with pytest.raises(ConfigError, match=message):
        run()
