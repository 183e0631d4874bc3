"""Moment matching against loops over pairs; with an autoencoder each group follows its own loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import IMPLICIT_MODELS
from drills import drill
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, ImplicitModel, Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import fvsbn, moment_matching_generator
from genjax_models.objectives import MomentMatching, moment_matching
from genjax_models.optimizers import Adam
from genjax_models.train import make_train_step

BANDWIDTHS = (0.5, 3.0)


def linear_generator():
    """x = A z with z the context, so that nothing is random."""
    return ImplicitModel("toy", None, lambda params, key, c: params["generative"] @ c)


def squared_by_hand(x, y):
    """MMD^2 over all pairs, points with themselves included, one pair at a time."""

    def mean(a, b):
        pairs = [sum(jnp.exp(-jnp.sum((u - v) ** 2) / (2 * s)) for s in BANDWIDTHS) for u in a for v in b]
        return sum(pairs) / len(pairs)

    return mean(x, x) - 2 * mean(x, y) + mean(y, y)


def run(objective, params, batch, key=None):
    """(loss, metrics, gradient)."""

    def loss(params):
        return objective.loss(Trainable(params), (), jax.random.key(0) if key is None else key, batch, 0)

    (value, (_, metrics)), gradient = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, metrics, gradient


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("number", [None, drill(2), 6])
def test_against_a_loop_over_pairs(x64, root, number):
    """The value and its gradient; of more samples than examples the contexts go round."""
    draw = np.random.RandomState(0).normal
    a, x, z = draw(size=(3, 2)), draw(size=(4, 3)), draw(size=(4, 2))
    rows = np.arange(4 if number is None else number) % 4

    def expected(a):
        squared = squared_by_hand(x, [a @ z[i] for i in rows])
        return jnp.sqrt(squared) if root else squared

    value, slope = quick_jit(jax.value_and_grad(expected))(a)
    objective = moment_matching(linear_generator(), BANDWIDTHS, root, number)
    found, metrics, gradient = run(objective, {"generative": a}, Batch(x, z))
    assert value > 0.05
    assert abs(found - value) < 1e-12
    assert abs(metrics["mmd"] - value) < 1e-12
    assert worst(gradient["generative"], slope) < 1e-11


def test_equal_samples_have_value_and_gradient_zero():
    """The root's slope is infinite there, and rounding may leave less than nothing of the square."""
    for seed in range(5):
        x = np.random.RandomState(seed).normal(size=(30, 4)).astype(np.float32)
        found, _, gradient = run(
            moment_matching(linear_generator()), {"generative": np.eye(4, dtype="f4")}, Batch(x, x)
        )
        assert 0 <= found < 5e-3
        assert np.all(np.isfinite(gradient["generative"]))
    same = np.zeros((4, 2))  # whose means over 16 pairs have no rounding
    zero, _, gradient = run(moment_matching(linear_generator()), {"generative": np.eye(2)}, Batch(same, same))
    assert zero == 0
    assert not np.any(gradient["generative"])


@pytest.mark.parametrize("small", IMPLICIT_MODELS["moment_matching_generator"][1:], ids=["unit", "real"])
def test_with_an_autoencoder_each_group_follows_its_own_loss(x64, small):
    """MMD of codes moves the generator with the codes held fixed, the reconstruction error moves the autoencoder."""
    model = small.config.build(small.visible)
    params = random_params(model, small.visible, seed=0)
    x = np.random.RandomState(0).uniform(size=(4, small.visible))
    key = jax.random.key(3)
    codes = np.asarray(jax.vmap(lambda x: model.encode(params, x, ()))(x))

    def mmd(generative):
        draw = {"generative": generative, "autoencoder": params["autoencoder"]}
        made = [model.sample_code(draw, k, ()) for k in jax.random.split(key, 4)]
        return jnp.sqrt(squared_by_hand(codes, made))

    def error(autoencoder):
        tried = {"generative": params["generative"], "autoencoder": autoencoder}
        return sum(model.reconstruction_error(tried, row, ()) for row in x) / 4

    first, of_generator = quick_jit(jax.value_and_grad(mmd))(params["generative"])
    second, of_autoencoder = quick_jit(jax.value_and_grad(error))(params["autoencoder"])
    value, metrics, gradient = run(moment_matching(model, BANDWIDTHS), params, x, key)
    assert abs(metrics["mmd"] - first) < 1e-12
    assert abs(metrics["reconstruction_error"] - second) < 1e-12
    assert abs(value - first - second) < 1e-12
    assert worst(gradient["generative"], of_generator) < 1e-11
    assert worst(gradient["autoencoder"], of_autoencoder) < 1e-12
    for part in gradient.values():
        assert any(np.any(leaf) for leaf in jax.tree.leaves(part))


def test_training_matches_moments():
    """A generator finds the mean and the standard deviation of the data, 3 and 1."""
    model = moment_matching_generator(1, latent=1, hidden=(20,), data="real", prior="normal")
    init, step = make_train_step(*MomentMatching(bandwidths=(0.5, 2.0, 8.0)).phases(model, Adam(3e-2)))[:2]
    x = 3 + jax.random.normal(jax.random.key(0), (200, 100, 1))
    start = init(jax.random.key(1), model.init(jax.random.key(2), x[0, 0], ()), x[0])
    state, metrics = jax.jit(lambda state: jax.lax.scan(step, state, x))(start)
    assert set(metrics) == {MomentMatching.metric}
    drawn = jax.vmap(lambda k: model.sample(state.params, k, ()))(jax.random.split(jax.random.key(3), 1000))
    assert abs(np.mean(drawn) - 3) < 0.2
    assert abs(np.std(drawn) - 1) < 0.2


def test_bad_input_is_named():
    model = moment_matching_generator(3)
    with pytest.raises(ModelError, match=r"moment_matching needs an ImplicitModel, got 'FVSBN', which is a Likelihood"):
        moment_matching(fvsbn(3))
    for bandwidths, message in (((), r"got \(\)"), (1.0, "got 1.0"), ((1.0, -2.0), r"bandwidths\.1: got -2\.0")):
        with pytest.raises(ConfigError, match=message):
            moment_matching(model, bandwidths)
    with pytest.raises(ConfigError, match="num_samples: got 0"):
        moment_matching(model, num_samples=0)
    with pytest.raises(ConfigError, match="root: got 1"):
        moment_matching(model, root=1)
