"""Samplers without a density: networks against their definitions, and the contract on every small configuration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import IMPLICIT_MODELS, MODELS, OBJECTIVES, fits
from toys import quick_jit, random_params, worst

from genjax_models.core import ImplicitModel
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import gan, moment_matching_generator
from genjax_models.models.gan import draw_latent
from genjax_models.models.networks import (
    MLP,
    Activate,
    Affine,
    Convolutional,
    depth_to_space,
    space_to_depth,
    spectral_norm,
)
from genjax_models.optimizers import Adam
from genjax_models.train import make_train_step

ROWS = [pytest.param(s, id=f"{name}-{i}") for name, row in IMPLICIT_MODELS.items() for i, s in enumerate(row)]
every_model = pytest.mark.parametrize("small", ROWS)


def solve(small, scale=0.7):
    model = small.config.build(small.visible)
    return model, random_params(model, small.visible, seed=1, scale=scale)


@every_model
def test_contract(small):
    """Rebuilt models are equal; init is deterministic; objectives fit or are refused by name."""
    model, again = (small.config.build(small.visible) for _ in range(2))
    assert isinstance(model, ImplicitModel)
    assert model == again
    assert hash(model) == hash(again)
    assert model.name == type(small.config).__name__
    params = model.init(jax.random.key(0), jnp.zeros(small.visible), ())
    assert worst(params, again.init(jax.random.key(0), jnp.ones(small.visible), ())) == 0
    assert worst(params, model.init(jax.random.key(1), jnp.zeros(small.visible), ())) > 1e-3
    groups = {"critic"} if model.critic else {"autoencoder"} if model.encode else set()
    assert set(params) == {"generative"} | groups
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    for config in (c for row in OBJECTIVES.values() for c in row):
        if fits(config, model):
            config.build(model)
        else:
            with pytest.raises(ModelError, match=model.name):
                config.build(model)


@every_model
def test_step_lowers_for_every_platform(small):
    """Every fitting objective's phases, with the batches that they take; the state goes in as it comes out."""
    model = small.config.build(small.visible)
    fitting = [c for name in ("adversarial", "moment_matching") for c in OBJECTIVES[name] if fits(c, model)]
    # Whole for the first of its model; for the others the last, whose penalty differentiates twice.
    for config in fitting if small in (row[0] for row in IMPLICIT_MODELS.values()) else fitting[2:3] or fitting[:1]:
        phases = config.phases(model, Adam(clip_norm=1.0))
        batches = sum(phase.repeats for phase in phases)
        x = jax.ShapeDtypeStruct((4, small.visible), jnp.float32)
        stacked = x if batches == 1 else jax.ShapeDtypeStruct((batches, *x.shape), jnp.float32)
        init, step = make_train_step(*phases, average=0.9)[:2]
        key = jax.eval_shape(lambda: jax.random.key(0))
        params = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct(x.shape[1:], jnp.float32), ())
        state = jax.eval_shape(init, key, params, x)
        exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(state, stacked)
        assert exported.out_avals[: len(exported.in_avals) - 1] == exported.in_avals[:-1]


@every_model
def test_functions_of_one_example(x64, small):
    """Shapes, ranges, and that a batch is a loop."""
    model, params = solve(small)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jnp.asarray(np.random.RandomState(0).uniform(size=(3, small.visible)))

    def every_function(key, x):
        found = {"sample": model.sample(params, key, ())}
        if model.critic is not None:
            found["critic"] = model.critic(params, x, ())
        if model.encode is not None:
            code = model.encode(params, x, ())
            made = model.sample_code(params, key, ())
            error = model.reconstruction_error(params, x, ())
            found |= {"code": code, "made": made, "x": model.decode(params, code, ()), "error": error}
            found["again"] = model.decode(params, made, ())
        return found

    batched, single = quick_jit(jax.vmap(every_function))(keys, x), quick_jit(every_function)
    for i in range(3):
        assert worst(jax.tree.map(lambda v, i=i: v[i], batched), single(keys[i], x[i])) < 1e-12
    assert batched["sample"].shape == (3, small.visible)
    assert np.ptp(batched["sample"], axis=0).min() > 1e-6
    if small.config.data_support == "unit":
        assert batched["sample"].min() > 0
        assert batched["sample"].max() < 1
    else:
        assert np.abs(batched["sample"] - 0.5).max() > 0.5
    if model.critic is not None:
        assert batched["critic"].shape == (3,)
        assert np.ptp(batched["critic"]) > 1e-6
    if model.encode is not None:
        assert batched["code"].shape == batched["made"].shape == (3, small.config.autoencoder[-1])
        assert worst(batched["again"], batched["sample"]) == 0
        unit, out = small.config.data == "unit", np.asarray(batched["x"])
        terms = -(x * np.log(out) + (1 - x) * np.log(1 - out)) if unit else 0.5 * (x - out) ** 2
        assert worst(batched["error"], terms.sum(axis=1)) < 1e-9


def test_generator_is_its_network_of_a_draw_from_the_prior(x64):
    """Written out a second time, with z of the two priors, whose moments are those of a uniform and a normal."""
    for prior, variance in (("uniform", 1 / 3), ("normal", 1.0)):
        model = gan(4, latent=3, prior=prior, generator=MLP(hidden=(5,)), data="real")
        params = random_params(model, 4, seed=0)
        key = jax.random.key(1)
        z = np.asarray(draw_latent(key, 3, prior))
        first, last = (params["generative"][f"layers_{i}"] for i in range(2))
        expected = np.maximum(z @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"]
        assert worst(model.sample(params, key, ()), expected) < 1e-12
        many = np.asarray(draw_latent(key, 20_000, prior))
        assert abs(many.mean()) < 5 * np.sqrt(variance / 20_000)
        assert abs(many.var() - variance) < 0.04 * variance
        assert prior == "normal" or np.abs(many).max() <= 1


# Spectral normalization


def with_singular_values(values, rows, seed=0):
    draw = np.random.RandomState(seed).normal
    u, v = (np.linalg.qr(draw(size=(n, len(values))))[0] for n in (rows, len(values)))
    return (u * values) @ v.T


norm_of = jax.jit(spectral_norm)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e100])
def test_spectral_norm_is_the_largest_singular_value(x64, scale):
    for rows, values in ((7, [3, 2, 1.5, 0]), (4, [0.2, 0.1]), (2, [1, 0.5, 0.3][:2]), (5, [2.0])):
        matrix = scale * with_singular_values(np.array(values), rows)
        assert abs(norm_of(jnp.asarray(matrix)) / np.linalg.svd(matrix)[1][0] - 1) < 1e-9
        assert abs(norm_of(jnp.asarray(matrix.T)) / np.linalg.svd(matrix)[1][0] - 1) < 1e-9
    kernel = scale * np.random.RandomState(1).normal(size=(3, 3, 2, 4))
    largest = np.linalg.svd(kernel.reshape(18, 4))[1][0]
    assert 0.97 < norm_of(jnp.asarray(kernel)) / largest < 1 + 1e-12
    assert norm_of(jnp.zeros((3, 2))) == 0


def test_spectral_norm_of_random_matrices_is_near(x64):
    """Where singular values crowd it is a few per cent low, and never high."""
    for seed, shape in enumerate([(100, 100), (300, 50), (20, 200)]):
        matrix = np.random.RandomState(seed).normal(size=shape)
        assert 0.95 < norm_of(jnp.asarray(matrix)) / np.linalg.svd(matrix)[1][0] < 1 + 1e-12


def test_gradient_of_the_spectral_norm(x64):
    """That of a largest singular value, u v'."""
    matrix = with_singular_values(np.array([3, 1, 0.5]), 4)
    u, _, v = np.linalg.svd(matrix)
    assert worst(jax.grad(spectral_norm)(jnp.asarray(matrix)), np.outer(u[:, 0], v[0])) < 1e-9
    flat = jax.grad(lambda k: jnp.sum(k / jnp.maximum(spectral_norm(k), 1e-300)))(jnp.zeros((2, 2)))
    assert flat.shape == (2, 2)


def test_a_spectral_critic_has_slope_at_most_one(x64):
    """Its layers' matrices have norm 1, so with a ReLU of slope at most 1 no two points are told apart by more."""
    model = gan(5, critic=MLP(hidden=(4, 3), normalization="spectral"))
    params = random_params(model, 5, seed=0, scale=5.0)
    x = np.random.RandomState(0).normal(size=(50, 5))
    slopes = np.linalg.norm(jax.vmap(jax.grad(lambda x: model.critic(params, x, ())))(x), axis=1)
    assert 0 < slopes.max() < 1 + 1e-6
    bare = gan(5, critic=MLP(hidden=(4, 3)))
    assert np.linalg.norm(jax.vmap(jax.grad(lambda x: bare.critic(params, x, ())))(x), axis=1).max() > 10


# Normalization within an example


def test_group_and_layer_normalization(x64):
    """Of an image [H, W, 32] and a vector: groups of 16 channels, or all, over all pixels."""
    for shape in ((3, 2, 32), (32,)):
        h = 5 + 3 * np.random.RandomState(0).normal(size=shape)
        for kind, groups in (("group", 2), ("layer", 1)):
            module = Activate("relu", kind)
            params = {"scale": np.linspace(1, 2, 32), "shift": np.linspace(-1, 1, 32)}
            parts = h.reshape(-1, groups, 32 // groups)
            mean, variance = (f(parts, axis=(0, 2), keepdims=True) for f in (np.mean, np.var))
            normal = ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(shape)
            expected = np.maximum(normal * params["scale"] + params["shift"], 0)
            assert worst(module.apply({"params": params}, h), expected) < 1e-12


def test_what_is_normalized():
    """All hidden layers of a generator, all but the first of a critic; neither one's output."""
    for kind in ("group", "layer"):
        networks = {
            "generator": Convolutional((8, 8), (32, 16), normalization=kind),
            "critic": Convolutional((8, 8), (16, 32), normalization=kind),
        }
        for model in (gan(64, **networks), gan(64, **{k: MLP((32, 16), normalization=kind) for k in networks})):
            params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(64), ())
            critic = params["critic"]["network"]
            assert [f"activations_{i}" in params["generative"] for i in range(2)] == [True, True]
            assert [f"activations_{i}" in critic for i in range(2)] == [False, True]


# Convolutions


def test_depth_and_space():
    h = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    image = depth_to_space(jnp.asarray(h))
    assert image.shape == (4, 6, 2)
    assert worst(space_to_depth(image), h) == 0
    assert image[2 * 1 + 1, 2 * 2 + 0].tolist() == h[1, 2, 4:6].tolist()
    odd = space_to_depth(jnp.ones((3, 5, 1)))
    assert odd.shape == (2, 3, 4)
    assert odd.sum() == 15


def test_halving_is_a_convolution_of_stride_two(x64):
    """3x3 over squares of 2x2 pixels is 6x6 pixels at stride 2, with two rows of zeros around the image."""
    draw = np.random.RandomState(0).normal
    x, kernel, bias = draw(size=(8, 6, 3)), draw(size=(3, 3, 12, 5)), draw(size=5)
    found = Affine(5, window=(3, 3)).apply({"params": {"kernel": kernel, "bias": bias}}, space_to_depth(x))
    whole = kernel.reshape(3, 3, 2, 2, 3, 5).transpose(0, 2, 1, 3, 4, 5).reshape(6, 6, 3, 5)
    layout = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(x[None], whole, (2, 2), ((2, 2), (2, 2)), dimension_numbers=layout)[0]
    assert worst(found, expected + bias) < 1e-12


def test_doubling_is_its_transpose(x64):
    """The doubling layer with the kernel read backwards is the halving one's: <up(h), x> = <h, down(x)>."""
    draw = np.random.RandomState(0).normal
    h, x, kernel = draw(size=(4, 3, 5)), draw(size=(8, 6, 3)), draw(size=(3, 3, 12, 5))
    down = Affine(5, window=(3, 3)).apply({"params": {"kernel": kernel, "bias": np.zeros(5)}}, space_to_depth(x))
    backwards = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    up = Affine(12, window=(3, 3)).apply({"params": {"kernel": backwards, "bias": np.zeros(12)}}, h)
    assert abs(np.sum(depth_to_space(up) * x) - np.sum(h * down)) < 1e-9


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (5, 7, 3), (1, 2)])
@pytest.mark.parametrize("channels", [(4,), (4, 3, 2)])
def test_images_of_any_size(shape, channels):
    visible = int(np.prod(shape))
    model = gan(visible, generator=Convolutional(shape, channels), critic=Convolutional(shape, channels[::-1]))

    def both(key):
        params = model.init(key, jnp.zeros(visible), ())
        x = model.sample(params, key, ())
        return x, model.critic(params, x, ())

    assert [v.shape for v in jax.eval_shape(both, jax.random.key(0))] == [(visible,), ()]


def test_rebuilt_models_trace_once(traces):
    """Neither a rebuilt model's functions, nor a rebuilt objective's step, trace again."""
    counts, kept = [], []
    x = jnp.zeros((2, 4, 3))
    for _ in range(2):
        model = gan(3, generator=MLP((2,)), critic=MLP((2,)))
        params = model.init(jax.random.key(0), x[0, 0], ())
        jax.jit(model.sample)(params, jax.random.key(0), ())
        jax.jit(model.critic)(params, x[0, 0], ())
        kept.append(model)
        counts.append(len(traces))
    assert counts[0] > 0
    assert counts[1] == counts[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gan(4, latent=0), "latent: got 0"),
        (lambda: gan(4, data="binary"), "data: got 'binary', expected one of 'unit', 'real'"),
        (
            lambda: gan(4, generator=Convolutional((2, 3))),
            r"image_shape: got \(2, 3\), which has 6 values, but x has 4",
        ),
        (lambda: gan(4, critic=Convolutional((2, 3))), "which has 6 values, but x has 4"),
        (
            lambda: gan(4, generator=Convolutional((4,))),
            r"generator: image_shape: got \(4,\), expected \(height, width\)",
        ),
        (lambda: gan(4, generator=Convolutional((2, 2)), critic=Convolutional((1, 2))), "different sizes"),
        (lambda: gan(4, generator=Convolutional((2, 2), ())), "generator.channels: got an empty tuple"),
        (lambda: gan(4, generator=MLP((24,), normalization="group")), "expected multiples of 16"),
        (lambda: gan(4, generator=MLP((), normalization="layer")), "normalization: got 'layer' without hidden layers"),
        (lambda: gan(4, critic=MLP((16,), normalization="layer")), "critic.normalization: got 'layer'"),
        (lambda: gan(4, critic=MLP((16,), normalization="batch")), "critic.normalization: got 'batch'"),
        (lambda: gan(4, network=MLP()), "GAN has no field 'network'"),
        (lambda: moment_matching_generator(4, autoencoder=()), "autoencoder: got an empty tuple"),
        (lambda: moment_matching_generator(4, hidden=(0,)), "hidden.0: got 0"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_a_model_with_latents_has_no_critic():
    """What only samplers have is no part of the other capabilities."""
    model = MODELS["vae"][0].config.build(3)
    assert not hasattr(model, "critic")
