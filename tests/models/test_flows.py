"""Invertible generators: integrals by quadrature, Jacobians by differentiation, samples, and that they train."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from conformance import CONTINUOUS_MODELS, Small
from drills import drill, rarely
from toys import quick_jit, random_params, worst

from genjax_models.errors import ConfigError
from genjax_models.models import MAF, iaf, maf, neural_spline_flow, nice, realnvp
from genjax_models.models.coupling import squeeze, unsqueeze
from genjax_models.models.flow import LOG_SCALE_BOUND
from genjax_models.models.splines import spline
from genjax_models.objectives import maximum_likelihood
from genjax_models.optimizers import Adam
from genjax_models.train import make_train_step

ROWS = [pytest.param(s, id=f"{name}-{i}") for name, row in CONTINUOUS_MODELS.items() for i, s in enumerate(row)]
every_model = pytest.mark.parametrize("small", ROWS)
few_units = pytest.mark.parametrize("small", [row for row in ROWS if row.values[0].visible <= 2])
# A row of each model, and all that are images: compiling is what the others would cost.
some = pytest.mark.parametrize(
    "small", [r for r in ROWS if r.id.endswith("-0") or getattr(r.values[0].config, "scales", 1) > 1]
)


def solve(small, scale=0.5):
    model = small.config.build(small.visible)
    return model, random_params(model, small.visible, seed=1, scale=scale)


def nodes(small):
    """Points and weights along one unit: even steps in t; x is sinh(t), or a sigmoid of it onto what a logit takes."""
    number = 20_001 if small.visible == 1 else 401
    t, step = np.linspace(-5, 5, number, retstep=True)
    alpha = getattr(small.config, "logit", None)
    if alpha is None:
        return np.sinh(t), step * np.cosh(t)
    p, width = 1 / (1 + np.exp(-4 * t)), 1 / (1 - 2 * alpha)
    return width * (p - alpha), step * width * 4 * p * (1 - p)


def on_grid(log_prob, small):
    """p(x) times the volume of a cell on a grid, [n] or [n, n]."""
    points, weights = nodes(small)
    grid = np.stack(np.meshgrid(*[points] * small.visible, indexing="ij"), axis=-1).reshape(-1, small.visible)
    volume = weights if small.visible == 1 else np.outer(weights, weights)
    return np.exp(np.asarray(quick_jit(jax.vmap(log_prob))(grid))).reshape(volume.shape) * volume


@few_units
def test_integrates_to_one_and_samples_agree(x64, small):
    """By quadrature, exact where p(x) is smooth; draws follow its marginals (Kolmogorov and Smirnov)."""
    model, params = solve(small, scale=0.3)
    mass = on_grid(lambda x: model.log_prob(params, x, ()), small)
    tolerance = {"InverseTransformGenerator": 1e-4, "NeuralSplineFlow": 1e-4}.get(model.name, 1e-9)
    if getattr(small.config, "image_shape", None):
        tolerance = 1e-6  # layer norm is steep where channels are nearly equal
    assert abs(mass.sum() - 1) < tolerance
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = np.asarray(quick_jit(jax.vmap(lambda k: model.sample(params, k, ())))(keys))
    points = nodes(small)[0]
    for i in range(small.visible):
        marginal = mass.sum(axis=1 - i) if small.visible == 2 else mass
        below = np.cumsum(marginal) - 0.5 * marginal  # at the points, to second order
        distance = np.abs(np.interp(np.sort(drawn[:, i]), points, below) - (np.arange(2000) + 0.5) / 2000).max()
        assert distance < 1.95 / np.sqrt(2000)  # the level 0.001


@pytest.mark.parametrize("small", rarely(ROWS, *(f"realnvp-{i}" for i in range(2, 7)), "maf-2", "maf-3", "nice-2"))
def test_inverse_and_its_jacobian(x64, small):
    """forward undoes inverse; the log-determinant is that of the whole Jacobian; log p(x) is equation 20.72."""
    model, params = solve(small)
    x = jnp.asarray(np.random.RandomState(0).uniform(size=(3, small.visible)))

    def one(x):
        z, log_det = model.inverse(params, x, ())
        jacobian = jax.jacfwd(lambda v: model.inverse(params, v, ())[0])(x)
        return z, log_det, jacobian, model.forward(params, z, ()), model.log_prob(params, x, ())

    z, log_det, jacobian, back, log_prob = quick_jit(jax.vmap(one))(x)
    assert worst(back, x) < 1e-9
    sign, expected = np.linalg.slogdet(jacobian)
    assert np.all(sign != 0)
    assert worst(log_det, expected) < 1e-9
    assert worst(log_prob, scipy.stats.norm.logpdf(z).sum(axis=1) + expected) < 1e-9
    key = jax.random.key(7)
    noise = jax.random.normal(key, (small.visible,))
    assert worst(model.sample(params, key, ()), model.forward(params, noise, ())) < 1e-12
    # What papers print is in the logit's space.
    alpha = getattr(small.config, "logit", None)
    assert (model.preprocess_log_det is None) == (alpha is None)
    if alpha is not None:
        slopes = jax.vmap(jax.grad(lambda v: jax.scipy.special.logit(alpha + (1 - 2 * alpha) * v)))(x.reshape(-1))
        expected = jnp.log(slopes).reshape(x.shape).sum(axis=1)
        assert worst(jax.vmap(lambda v: model.preprocess_log_det(params, v, ()))(x), expected) < 1e-9


@pytest.mark.parametrize("wrong", ["sign", "none", "double"])
def test_a_wrong_determinant_does_not_integrate_to_one(x64, wrong):
    """The quadrature above would notice."""
    small = CONTINUOUS_MODELS["realnvp"][0]
    model, params = solve(small)
    factor = {"sign": -2, "none": -1, "double": 1}[wrong]

    def log_prob(x):
        return model.log_prob(params, x, ()) + factor * model.inverse(params, x, ())[1]

    assert abs(on_grid(log_prob, small).sum() - 1) > 1e-2


@every_model
def test_contract(small):
    """Rebuilt models are equal, others are not; parameters are float32 in one group; what is the identity starts so."""
    model, again = (small.config.build(small.visible) for _ in range(2))
    assert model == again
    assert hash(model) == hash(again)
    assert model.name == type(small.config).__name__
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(small.visible), ())
    assert set(params) == {"generative"}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    if hasattr(small.config, "layers"):
        assert model != dataclasses.replace(small.config, layers=small.config.layers + 1).build(small.visible)
    if getattr(small.config, "logit", None) is not None:
        assert small.config.data_support == "unit"
        assert model != dataclasses.replace(small.config, logit=0.2).build(small.visible)
    else:
        assert small.config.data_support == "real"


def test_models_of_one_shape_are_different_models():
    fields = {"layers": 2, "hidden": (4,)}
    models = [build(4, **fields) for build in (nice, realnvp, maf, iaf, neural_spline_flow)]
    assert len({*models}) == len({m.init for m in models}) == 5


@some
def test_starts_as_the_standard_normal_and_lowers(small):
    """The first log p(x) is that of N(0, I) (after the logit); a training step lowers for CPU, CUDA and TPU."""
    model = small.config.build(small.visible)
    key, x = jax.random.key(0), jnp.linspace(0.2, 0.8, small.visible)
    params = model.init(key, x, ())
    assert worst(params, model.init(key, 1 - x, ())) == 0
    z, _ = quick_jit(model.inverse)(params, x, ())
    alpha = getattr(small.config, "logit", None)
    y = x if alpha is None else jax.scipy.special.logit(alpha + (1 - 2 * alpha) * x)
    assert worst(jnp.sort(z), jnp.sort(y)) < 1e-5
    batch = jax.ShapeDtypeStruct((4, small.visible), jnp.float32)
    init, step = make_train_step(maximum_likelihood(model), Adam(clip_norm=1.0).build(), average=0.9)[:2]
    state = jax.eval_shape(init, jax.eval_shape(lambda: key), params, batch)
    exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(state, batch)
    assert exported.out_avals[: len(exported.in_avals) - 1] == exported.in_avals[:-1]


@pytest.mark.parametrize(("build", "seed"), [(maf, None), (maf, 3), (iaf, None), (iaf, 3)])
def test_jacobian_is_triangular_in_its_order(x64, build, seed):
    """Of one layer: dz/dx for MAF, dx/dz for IAF, below the diagonal where the order's network leads."""
    model = build(5, layers=1, hidden=(12,), activation="tanh", order_seed=seed)
    params = random_params(model, 5, seed=0)
    order = list(model.init.module.generative.orders[0])
    assert (order == list(range(5))) == (seed is None)
    fast = (lambda v: model.inverse(params, v, ())[0]) if build is maf else (lambda v: model.forward(params, v, ()))
    jacobian = np.asarray(jax.jacobian(fast)(jnp.linspace(-1, 1, 5)))[order][:, order]
    assert np.array_equal(jacobian != 0, np.tril(np.ones((5, 5), bool)))


def test_orders_alternate_or_are_drawn():
    orders = MAF(layers=3, hidden=(4,)).build(4).init.module.generative.orders
    assert orders == ((0, 1, 2, 3), (3, 2, 1, 0), (0, 1, 2, 3))
    drawn = MAF(layers=3, hidden=(4,), order_seed=0).build(4).init.module.generative.orders
    assert len(set(drawn)) == 3
    assert {tuple(sorted(order)) for order in drawn} == {(0, 1, 2, 3)}


def test_iaf_is_the_inverse_of_maf(x64):
    """With the same networks: what takes x to z in the one takes z to x in the other."""
    fields = {"layers": 3, "hidden": (6,), "order_seed": 1}
    one, other = maf(4, **fields), iaf(4, **fields)
    params = random_params(one, 4, seed=0)
    x = jnp.array([0.3, -1.0, 0.5, 2.0])
    z, log_det = one.inverse(params, x, ())
    assert worst(other.forward(params, x, ()), z) < 1e-12
    back, other_det = other.inverse(params, z, ())
    assert worst(back, x) < 1e-9
    assert abs(log_det + other_det) < 1e-9


def test_gradient_of_units_one_by_one(x64):
    """What IAF recomputes backwards is the derivative of its log p(x): against central differences."""
    model = iaf(3, layers=2, hidden=(4,), activation="tanh")
    params, x = random_params(model, 3, seed=0), jnp.array([0.3, -0.4, 0.1])
    flat, unflatten = jax.flatten_util.ravel_pytree(params)
    value, gradient = (quick_jit(f(lambda v: model.log_prob(unflatten(v), x, ()))) for f in (lambda g: g, jax.grad))
    direction = jnp.asarray(np.random.RandomState(0).normal(size=flat.shape))
    difference = (value(flat + 1e-5 * direction) - value(flat - 1e-5 * direction)) / 2e-5
    assert abs(gradient(flat) @ direction - difference) < 1e-6 * abs(difference)


def test_sampling_is_one_loop():
    """The program of a draw does not grow with D."""
    sizes = []
    for visible in (8, 64):
        model = maf(visible, layers=2, hidden=(4,))
        params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(visible), ())
        sizes.append(
            len(str(jax.make_jaxpr(lambda p, k, m=model: m.sample(p, k, ()))(params, jax.random.key(0))).splitlines())
        )
    assert sizes[1] <= sizes[0] + 8


# The logit.


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_logit_at_its_edges(alpha):
    """At x = 0 and x = 1 float32 agrees with float64, gradients are finite, and x comes back."""
    model = maf(3, layers=1, hidden=(), logit=alpha)
    params = {"generative": {"layers_0": {"kernel_0": jnp.zeros((3, 6)), "bias_0": jnp.zeros(6)}}}
    edges = np.array([0.0, 1.0, 0.999])
    ends = alpha + (1 - 2 * alpha) * edges
    y, log_slopes = np.log(ends / (1 - ends)), np.log(1 - 2 * alpha) - np.log(ends) - np.log(1 - ends)
    exact = scipy.stats.norm.logpdf(y).sum() + log_slopes.sum()
    x = jnp.asarray(edges, jnp.float32)
    assert abs(model.log_prob(params, x, ()) / exact - 1) < 1e-5
    assert abs(model.preprocess_log_det(params, x, ()) / log_slopes.sum() - 1) < 1e-5
    gradients = quick_jit(jax.grad(model.log_prob, argnums=(0, 1)))(params, x, ())
    assert all(bool(jnp.all(jnp.isfinite(v))) for v in jax.tree.leaves(gradients))
    assert worst(model.forward(params, model.inverse(params, x, ())[0], ()), x) < 1e-6
    # Where no sample falls the density is zero, not NaN.
    for outside in (-1.0, 2.0):
        assert model.log_prob(params, x.at[1].set(outside), ()) == -jnp.inf
    # Whole numbers are numbers.
    assert model.log_prob(params, jnp.array([0, 1, 1]), ()) == model.log_prob(params, jnp.array([0.0, 1.0, 1.0]), ())


def test_scales_are_bounded():
    """However large a network's outputs are, log p(x) and its gradient are finite."""
    model = realnvp(4, layers=4, hidden=(3,))
    params = random_params(model, 4, seed=0, scale=50.0)
    value, gradient = quick_jit(jax.value_and_grad(model.log_prob))(params, jnp.linspace(-1, 1, 4), ())
    assert all(bool(jnp.all(jnp.isfinite(v))) for v in jax.tree.leaves((value, gradient)))
    _, log_det = model.inverse(params, jnp.linspace(-1, 1, 4), ())
    assert abs(log_det) <= 4 * 2 * LOG_SCALE_BOUND


# Splines.


def random_spline(number, bins, inner=False, bound=2.0):
    draw = np.random.RandomState(0).normal
    slopes = bins - 1 if inner else bins + 1
    return spline(*(jnp.asarray(draw(size=(number, n))) for n in (bins, bins, slopes)), bound)


@pytest.mark.parametrize("inner", [False, True])
def test_spline_meets_its_knots(x64, inner):
    """Values and slopes at the knots, from both sides; beyond, straight lines or the identity; increasing all along."""
    s = random_spline(3, 5, inner)
    for k in range(6):
        for nearby in (-1e-10, 0.0, 1e-10):
            z, log_slope = s.inverse(s.x[:, k] + nearby)
            assert worst(z, s.z[:, k]) < 1e-8
            assert worst(log_slope, jnp.log(s.slopes[:, k])) < 1e-6
    for end, x in ((0, -5.0), (-1, 5.0)):
        z, log_slope = s.inverse(jnp.full(3, x))
        assert worst(z, s.z[:, end] + s.slopes[:, end] * (x - s.x[:, end])) < 1e-12
        assert worst(s.forward(z), jnp.full(3, x)) < 1e-12
        if inner:
            assert worst(z, jnp.full(3, x)) < 1e-12
            assert worst(log_slope, jnp.zeros(3)) < 1e-12
    x = jnp.linspace(-3, 3, 500)[:, None]
    z, log_slope = s.inverse(jnp.tile(x, 3))
    assert bool(jnp.all(jnp.diff(z, axis=0) > 0))
    assert worst(s.forward(z), jnp.tile(x, 3)) < 1e-9
    differences = jax.vmap(jax.vmap(jax.grad(lambda v, row: row.inverse(v)[0]), (0, 0)), (0, None))(jnp.tile(x, 3), s)
    assert worst(jnp.exp(log_slope), differences) < 1e-9


def test_spline_of_zeros_is_the_identity(x64):
    s = spline(jnp.zeros((1, 7)), jnp.zeros((1, 7)), jnp.zeros((1, 8)), 3.0)
    x = jnp.linspace(-5, 5, 41)
    z, log_slope = s.inverse(x)
    assert worst(z, x) < 1e-12
    assert worst(log_slope, jnp.zeros(41)) < 1e-12


# Images.


def test_squeeze_takes_neighbours_to_channels():
    x = jnp.arange(4 * 6 * 3).reshape(4, 6, 3)
    assert squeeze(x).shape == (2, 3, 12)
    assert worst(squeeze(x)[1, 2], x[2:4, 4:6].reshape(-1)) == 0
    assert worst(unsqueeze(squeeze(x)), x) == 0


def test_multi_scale_reaches_every_unit(x64):
    """Even with one coupling of each kind no unit leaves a scale as it was."""
    small = CONTINUOUS_MODELS["realnvp"][5]
    model, params = solve(small)
    x = jnp.linspace(0.1, 0.9, 8)
    jacobian = np.asarray(quick_jit(jax.jacfwd(lambda v: model.inverse(params, v, ())[0]))(x))
    assert np.all(np.sum(jacobian != 0, axis=1) > 1)


# Training, and bad input.


@pytest.mark.parametrize("build", [maf, realnvp, drill(neural_spline_flow)])
def test_learns_a_bent_distribution(build):
    """A parabola with noise: far below the cross-entropy of any Gaussian, and near the entropy of the data's law."""
    random = np.random.RandomState(0)
    first = random.normal(size=2000)
    second = (first**2 - 1) / np.sqrt(2) + 0.2 * random.normal(size=2000)
    x = jnp.asarray(np.stack([first, second], axis=1)[:, ::-1], jnp.float32)
    model = build(2, layers=3, hidden=(24,), activation="tanh")
    init, step = make_train_step(maximum_likelihood(model), Adam(learning_rate=1e-2).build())[:2]
    params = model.init(jax.random.key(0), x[0], ())
    state = init(jax.random.key(1), params, x[:250])
    run = jax.jit(lambda s: jax.lax.scan(step, s, jnp.tile(x.reshape(8, 250, 2), (40, 1, 1))))
    state, metrics = run(state)
    entropy = 0.5 * (1 + np.log(2 * np.pi)) * 2 + np.log(0.2)
    gaussian = 0.5 * (1 + np.log(2 * np.pi)) * 2 + 0.5 * np.linalg.slogdet(np.cov(x.T))[1]
    reached = -float(jnp.mean(metrics["bound"][-8:]))
    assert entropy - 0.1 < reached < entropy + 0.25 < gaussian


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nice(1), "NICE: got 1 visible unit, but a coupling needs one unit that moves"),
        (lambda: realnvp(1), "RealNVP: got 1 visible unit"),
        (lambda: neural_spline_flow(1), "use maf or inverse_transform_generator"),
        (lambda: realnvp(12, image_shape=(3, 3)), r"image_shape: got \(3, 3\), which has 9 units, but x has 12"),
        (lambda: realnvp(9, image_shape=(9,)), r"image_shape: got \(9,\), expected \(height, width\)"),
        (lambda: realnvp(9, image_shape=(3, 3), scales=2), "scales: got 2 for an image of 3 x 3"),
        (lambda: realnvp(4, image_shape=(2, 2), scales=2), "must leave whole numbers and at least two pixels"),
        (lambda: realnvp(3, image_shape=(1, 1, 3)), "scales: got 1 for an image of 1 x 1"),
        (lambda: realnvp(4, scales=2), "scales: got 2 without image_shape"),
        (lambda: realnvp(4, image_shape=(2, 2), hidden=(3, 4)), r"hidden: got \(3, 4\) with image_shape"),
        (lambda: realnvp(4, image_shape=(2, 2), hidden=()), r"hidden: got \(\) with image_shape"),
        (lambda: maf(3, logit=0.0), "logit: got 0.0"),
        (lambda: maf(3, logit=0.5), "logit: got 0.5"),
        (lambda: iaf(3, layers=0), "layers: got 0"),
        (lambda: maf(3, order_seed=-1), "order_seed: got -1"),
        (lambda: neural_spline_flow(3, bins=0), "bins: got 0"),
        (lambda: neural_spline_flow(3, bins=1000), "bins: got 1000"),
        (lambda: neural_spline_flow(3, bound=0), "bound: got 0"),
        (lambda: nice(3, hiden=(4,)), "Did you mean 'hidden'?"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_least_visible_is_what_builds():
    for row in CONTINUOUS_MODELS.values():
        config = type(row[0].config)()
        assert isinstance(Small(config, config.least_visible).config.build(config.least_visible).name, str)
