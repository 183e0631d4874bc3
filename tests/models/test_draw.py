"""DRAW against the paper's equations, written out by loops: filters, glimpses, gradients; what is shared; refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import rarely
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation.marginal import importance_weight
from genjax_models.models import DRAW, attention, draw
from genjax_models.models.units import Bernoulli, DiscretizedLogistics, Gaussian
from genjax_models.objectives import bidirectional, elbo, reweighted_wake_sleep, wake_sleep

# Filters, equation by equation. A is the width of the image and B its height; pixels are numbered from 1.


def loop_filters(numbers, size, height, width, first=1, neighbours=1):
    """(F_Y, F_X, gamma) by equations 19 to 26; another `first` pixel or number of `neighbours` is wrong."""
    gx, gy, log_variance, log_stride, log_gamma = map(float, numbers)
    g_x, g_y = (width + 1) / 2 * (gx + 1), (height + 1) / 2 * (gy + 1)
    stride = (max(width, height) - 1) / (size - neighbours) * np.exp(log_stride) if size > 1 else 0.0
    filters = []
    for g, pixels in ((g_y, height), (g_x, width)):
        bank = np.zeros((size, pixels))
        for i in range(1, size + 1):
            mu = g + (i - size / 2 - 0.5) * stride
            for a in range(pixels):
                bank[i - 1, a] = np.exp(-((a + first - mu) ** 2) / (2 * np.exp(log_variance)))
            bank[i - 1] /= bank[i - 1].sum()
        filters.append(bank)
    return (*filters, np.exp(log_gamma))


def loop_read(banks, image):
    """gamma F_Y x F_X' (equation 27), a channel at a time."""
    rows, columns, gamma = banks
    size = len(rows)
    out = np.zeros((size, size, image.shape[2]))
    for i in range(size):
        for j in range(size):
            for channel in range(image.shape[2]):
                for b in range(image.shape[0]):
                    for a in range(image.shape[1]):
                        out[i, j, channel] += gamma * rows[i, b] * image[b, a, channel] * columns[j, a]
    return out


def loop_write(banks, patch):
    """F_Y' w F_X / gamma (equation 29)."""
    rows, columns, gamma = banks
    out = np.zeros((rows.shape[1], columns.shape[1], patch.shape[2]))
    for b in range(out.shape[0]):
        for a in range(out.shape[1]):
            for channel in range(out.shape[2]):
                for i in range(len(rows)):
                    for j in range(len(columns)):
                        out[b, a, channel] += rows[i, b] * patch[i, j, channel] * columns[j, a] / gamma
    return out


@pytest.mark.parametrize(("size", "shape"), [(1, (4, 3, 1)), (2, (3, 5, 3)), (3, (6, 4, 2)), (4, (4, 4, 1))])
def test_filters_are_the_papers(x64, size, shape):
    draw_numbers = np.random.RandomState(size)
    numbers = 0.3 * draw_numbers.normal(size=5) + np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    image, patch = draw_numbers.normal(size=shape), draw_numbers.normal(size=(2, size, size, shape[2]))
    view, banks = attention.window(jnp.asarray(numbers), size, *shape[:2]), loop_filters(numbers, size, *shape[:2])
    assert worst(view[:2], banks[:2]) < 1e-12
    assert worst(attention.read(view, image), loop_read(banks, image)) < 1e-12
    assert worst(attention.write(view, patch), np.stack([loop_write(banks, p) for p in patch])) < 1e-12
    mutants = [loop_filters(numbers, size, *shape[:2], first=0)]
    if size > 1:
        mutants.append(loop_filters(numbers, size, *shape[:2], neighbours=0))
    assert all(worst(view[:2], wrong[:2]) > 1e-3 for wrong in mutants)


def test_filters_hold_where_they_see_nothing():
    """Far outside of the image, or with no width at all, weights still sum to one and gradients are finite."""

    def seen(numbers):
        view = attention.window(numbers, 3, 28, 28)
        return jnp.sum(attention.read(view, jnp.ones((28, 28, 1)))), view

    for numbers in ([40.0, -3.0, 0.0, 0.0, 0.0], [0.1, 0.2, -20.0, 0.0, 0.0], [0.0, 0.0, 20.0, 5.0, 0.0]):
        (value, view), slope = jax.value_and_grad(seen, has_aux=True)(jnp.array(numbers))
        assert abs(float(value) - 9) < 1e-4
        assert worst(view.rows.sum(1), np.ones(3)) < 1e-5
        assert np.all(np.isfinite(slope))


def test_outline_is_half_a_stride_around_the_centres():
    """Centred, as large as the image: two filters on the first and the last pixel of the longer edge."""
    found = attention.outline(jnp.zeros(5), 2, 28, 28)
    assert worst(found, np.array([-13.0, -13.0, 41.0, 41.0])) < 1e-4
    # Filters at pixels 2, 3 and 4 of rows, and of columns; numbered from 1.
    small = jnp.array([0.0, 0.0, 0.0, jnp.log(0.5), 0.0])
    assert worst(attention.outline(small, 3, 5, 5), np.array([1.0, 1.0, 4.0, 4.0])) < 1e-4
    one = jnp.array([0.0, 0.0, 2 * jnp.log(1.5), 0.0, 0.0])
    assert worst(attention.outline(one, 1, 5, 7), np.array([1.0, 2.0, 4.0, 5.0])) < 1e-4


# The whole model, glimpse by glimpse.


def sigmoid(v):
    return 1 / (1 + jnp.exp(-v))


def gaussian(z, mean, log_scale):
    return jnp.sum(-0.5 * ((z - mean) / jnp.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi))


def view_of(numbers, size, height, width):
    """Equations 19 to 26 on arrays, without the care for what is outside."""
    g_x, g_y = (width + 1) / 2 * (numbers[0] + 1), (height + 1) / 2 * (numbers[1] + 1)
    stride = (max(width, height) - 1) / max(size - 1, 1) * jnp.exp(numbers[3])
    banks = []
    for g, pixels in ((g_y, height), (g_x, width)):
        mu = g + (np.arange(1, size + 1) - size / 2 - 0.5) * stride
        bank = jnp.exp(-((np.arange(1, pixels + 1) - mu[:, None]) ** 2) / (2 * jnp.exp(numbers[2])))
        banks.append(bank / bank.sum(1, keepdims=True))
    return (*banks, jnp.exp(numbers[4]))


def lstm(part, memory, given):
    h, s = memory
    i, f, g, o = jnp.split(jnp.concatenate([given, h]) @ part["gates_kernel"] + part["gates_bias"], 4)
    s = sigmoid(f + 1) * s + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(s), s


def head(part, name, h):
    return h @ part[f"{name}_kernel"] + part[f"{name}_bias"]


class Case:
    """A configuration with what its likelihood's numbers [P, D] mean."""

    def __init__(self, image_shape, mean, log_prob, **fields):
        self.fields = {"glimpses": 2, "latent": 2, "encoder_hidden": 3, "decoder_hidden": 4} | fields
        self.shape = (*image_shape, 1)[:3]
        self.visible = int(np.prod(image_shape))
        self.mean, self.log_prob = mean, log_prob
        self.model = draw(self.visible, image_shape=image_shape, **self.fields)
        self.params = random_params(self.model, self.visible, seed=1, scale=0.5)

    def direct(self, params, noise, x):
        """(z, log q, log p(x | z), log p(z), canvases) by equations 3 to 8, in a loop."""
        q, p = params["recognition"], params["shared"]
        height, width, channels = self.shape
        read, write = self.fields["read"], self.fields["write"]
        reader, writer, canvas = (q["hidden"], q["cell"]), (p["hidden"], p["cell"]), p["canvas"]
        zs, log_q, log_prior, canvases = [], [], [], []
        for e in noise:
            error = x - self.mean(params, canvas.reshape(-1, self.visible))
            if read is None:
                r = jnp.concatenate([x, error])
            else:
                rows, columns, gamma = view_of(head(q, "read", writer[0]), read, height, width)
                seen = [
                    jnp.stack([gamma * rows @ v.reshape(self.shape)[..., k] @ columns.T for k in range(channels)], -1)
                    for v in (x, error)
                ]
                r = jnp.concatenate([v.ravel() for v in seen])
            reader = lstm(q, reader, jnp.concatenate([r, writer[0]]))
            mean, log_scale = jnp.split(head(q, "law", reader[0]), 2)
            z = mean + jnp.exp(log_scale) * e
            writer = lstm(p, writer, z)
            out = head(p, "write", writer[0])
            if write is not None:
                rows, columns, gamma = view_of(out[:5], write, height, width)
                patches = out[5:].reshape(-1, write, write, channels)
                out = jnp.stack(
                    [jnp.stack([rows.T @ w[..., k] @ columns / gamma for k in range(channels)], -1) for w in patches]
                )
            canvas = canvas + out.ravel()
            zs.append(z)
            log_q.append(gaussian(z, mean, log_scale))
            log_prior.append(gaussian(z, 0.0, jnp.zeros(())))
            canvases.append(self.mean(params, canvas.reshape(-1, self.visible)))
        likelihood = self.log_prob(params, canvas.reshape(-1, self.visible), x)
        return tuple(zs), tuple(log_q), (likelihood, tuple(log_prior)), jnp.stack(canvases)


def bernoulli_log_prob(params, numbers, x):
    return jnp.sum(x * numbers[0] - jnp.logaddexp(numbers[0], 0.0))


def logistics_mean(params, numbers):
    """The mean of two logistic laws, which start at -1 and 1."""
    chance = jnp.exp(numbers[:2]) / jnp.exp(numbers[:2]).sum(0)
    return (jnp.sum(chance * (numbers[2:4] + np.array([[-1.0], [1.0]])), 0) + 1) / 2


def logistics(params, numbers, x):
    return jnp.sum(DiscretizedLogistics(4, 2).log_probs(numbers, x))


BERNOULLI = (lambda params, numbers: sigmoid(numbers[0]), bernoulli_log_prob)
PREDICTED = (lambda params, numbers: numbers[0], lambda params, numbers, x: gaussian(x, *numbers))
LEARNED = (
    lambda params, numbers: numbers[0],
    lambda params, numbers, x: gaussian(x, numbers[0], params["generative"]["log_scale"]),
)
CASES = {
    "windows": ((3, 4), BERNOULLI, {"read": 2, "write": 3}),
    "dense": ((2, 3), BERNOULLI, {"read": None, "write": None}),
    "colours, one filter": ((2, 2, 3), PREDICTED, {"read": None, "write": 1, "likelihood": Gaussian(predicted=True)}),
    "colours, dense canvas": ((3, 2, 3), LEARNED, {"read": 2, "write": None, "likelihood": Gaussian()}),
    "levels": (
        (2, 2, 2),
        (logistics_mean, logistics),
        {"glimpses": 1, "read": 1, "write": 2, "likelihood": DiscretizedLogistics(4, 2)},
    ),
}


def case(name):
    image_shape, functions, fields = CASES[name]
    return Case(image_shape, *functions, **fields)


@pytest.mark.parametrize("name", rarely(CASES, "colours, dense canvas"))
def test_glimpses_are_the_papers(x64, name):
    """A draw of q, all terms, their gradient along the draw, and canvases: those of a plain loop."""
    toy = case(name)
    model, key = toy.model, jax.random.key(2)
    x = jnp.asarray(np.random.RandomState(0).randint(0, 2, toy.visible).astype(float))
    noise = jax.random.normal(key, (toy.fields["glimpses"], toy.fields["latent"]))

    def bound(log_p, log_q):
        return total(log_p) - total(log_q)

    @quick_jit
    def both(params):
        def ours(params):
            z, log_q, log_p = model.propose_joint(params, key, x, ())
            return bound(log_p, log_q), (z, log_q, tuple(log_p))

        def theirs(params):
            z, log_q, log_p, canvases = toy.direct(params, noise, x)
            return bound(log_p, log_q), ((z, log_q, log_p), canvases)

        (_, found), slope = jax.value_and_grad(ours, has_aux=True)(params)
        (_, (expected, canvases)), direct = jax.value_and_grad(theirs, has_aux=True)(params)
        # The same from the parts of the contract, at the z that was drawn.
        z = found[0]
        mean = canvases[-1] if name == "levels" else model.decode(params, z, ())
        parts = (model.propose(params, key, x, ()), tuple(model.log_joint(params, z, x, ())))
        parts = (*parts, model.log_posterior(params, z, x, ()))
        # Errors from levels are told from an approximate mean, so that canvases differ from the loop's.
        pictures = canvases if name == "levels" else model.canvases(params, z, ())
        return (found, slope), (expected, direct), parts, pictures, canvases, mean

    ours, theirs, (proposed, joint, posterior), canvases, expected, mean = both(toy.params)
    assert worst(ours, theirs) < 1e-10
    z, log_q, log_p = ours[0]
    assert worst((proposed, joint, posterior), ((z, log_q), log_p, log_q)) < 1e-10
    assert worst(canvases, expected) < 1e-10
    assert worst(canvases[-1], mean) < 1e-12
    assert min(np.max(np.abs(v)) for v in jax.tree.leaves(ours[1])) > 1e-6


def test_scores_agree_in_single_precision():
    """log_joint and log_posterior of a draw are what the fused pass returned, on images of 28 x 28."""
    model = draw(784, glimpses=6, latent=3, encoder_hidden=8, decoder_hidden=8)
    x = jax.random.bernoulli(jax.random.key(0), 0.3, (784,)).astype(jnp.float32)

    @quick_jit
    def run(params):
        z, log_q, log_p = model.propose_joint(params, jax.random.key(1), x, ())
        return (log_q, log_p), (model.log_posterior(params, z, x, ()), model.log_joint(params, z, x, ()))

    fused, apart = run(model.init(jax.random.key(2), x, ()))
    relative = jax.tree.map(lambda a, b: (a - b) / np.maximum(1, np.abs(a)), fused, apart)
    assert worst(relative, jax.tree.map(jnp.zeros_like, relative)) < 1e-5


def test_one_loop_serves_p_and_q():
    """However many glimpses there are: the program is one loop, and grows by slices alone."""
    sizes = []
    for glimpses in (3, 40):
        model = draw(9, image_shape=(3, 3), glimpses=glimpses, latent=1, encoder_hidden=2, decoder_hidden=2, write=3)
        params = model.init(jax.random.key(0), jnp.zeros(9), ())
        program = jax.make_jaxpr(model.propose_joint)(params, jax.random.key(0), jnp.zeros(9), ())
        assert str(program).count("scan[") == 1
        sizes.append(len(str(program).splitlines()))
    assert sizes[1] - sizes[0] <= 12 * (40 - 3)


def test_objectives_of_the_fused_pass(x64):
    """Bound and importance weights are those of proposing and scoring apart, particle by particle."""
    toy = case("windows")
    x = jnp.asarray(np.random.RandomState(3).randint(0, 2, (2, toy.visible)).astype(float))
    key = jax.random.key(4)

    def values(params, model):
        bound = elbo(model, 2).loss(Trainable(params), (), key, x, 0)
        return bound, importance_weight(model, params, Batch(x[0]), key)

    fused, apart = (
        quick_jit(functools.partial(values, model=model))
        for model in (toy.model, toy.model._replace(propose_joint=None))
    )
    assert worst(fused(toy.params), apart(toy.params)) < 1e-10


def test_windows_are_where_it_writes():
    """The outline of every stroke holds what the stroke changed most; without a window there is none."""
    model = draw(64, image_shape=(8, 8), glimpses=3, latent=2, encoder_hidden=3, decoder_hidden=4, read=None, write=2)
    params = random_params(model, 64, seed=3, scale=1.0)
    write = params["shared"]["write_bias"].at[:5].set(jnp.array([0.3, -0.4, -2.0, jnp.log(0.2), 0.0]))
    kernel = params["shared"]["write_kernel"].at[:, :5].set(0.0)
    params = {**params, "shared": {**params["shared"], "write_bias": write, "write_kernel": kernel}}
    z, _ = model.sample_joint(params, jax.random.key(0), ())
    windows = model.windows(params, z, ())
    # Centres (0.3 + 1) 9 / 2 and (1 - 0.4) 9 / 2, a stride of 0.2 * 7.
    expected = np.array([2.7 - 0.5 - 1.4, 5.85 - 0.5 - 1.4, 2.7 - 0.5 + 1.4, 5.85 - 0.5 + 1.4])
    assert worst(windows, np.tile(expected, (3, 1))) < 1e-4
    canvases = np.asarray(model.canvases(params, z, ()))
    changed = np.abs(np.diff(np.log(canvases / (1 - canvases)), axis=0))
    row, column = np.unravel_index(changed.argmax(axis=1), (8, 8))
    assert np.all((windows[1:, 0] <= row + 0.5) & (row + 0.5 <= windows[1:, 2]))
    assert np.all((windows[1:, 1] <= column + 0.5) & (column + 0.5 <= windows[1:, 3]))
    assert draw(64, image_shape=(8, 8), write=None).windows is None


def test_q_is_made_of_the_shared_parameters(x64):
    """All that p is made of, but the scale of x, moves q(z | x); so what teaches p and q apart refuses the model."""
    toy = case("colours, dense canvas")
    x = jnp.asarray(np.random.RandomState(0).normal(size=toy.visible))
    z, _ = toy.model.sample_joint(toy.params, jax.random.key(0), ())
    slope = quick_jit(jax.grad(lambda p: total(toy.model.log_posterior(p, z, x, ()))))(toy.params)
    assert set(slope) == {"generative", "recognition", "shared"}
    assert min(np.max(np.abs(v)) for v in jax.tree.leaves(slope["shared"])) > 1e-6
    assert not any(np.any(v) for v in jax.tree.leaves(slope["generative"]))
    for objective in (wake_sleep, reweighted_wake_sleep, bidirectional):
        with pytest.raises(ModelError, match="shared"):
            objective(toy.model).init(jax.random.key(0), toy.params, x[None])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image_shape": (28, 27)}, ["image_shape: got (28, 27), which has 756 values, but x has 784"]),
        ({"image_shape": (784,)}, ["image_shape: got (784,), expected (height, width)"]),
        ({"image_shape": (7, 7, 4, 4)}, ["image_shape: got (7, 7, 4, 4), expected (height, width)"]),
        ({"image_shape": (0, 784)}, ["image_shape.0: got 0"]),
        ({"read": 29}, ["read: got 29, a window of 29 x 29 filters, but the image has 28 x 28 pixels"]),
        ({"image_shape": (4, 196), "write": 5}, ["write: got 5", "4 x 196", "at most 4, or None"]),
        ({"read": 0}, ["read: got 0"]),
        ({"glimpses": 0}, ["glimpses: got 0, expected an integer, at least 1"]),
        ({"glimpses": 2.5}, ["glimpses: got 2.5, expected an integer"]),
        ({"latent": 0}, ["latent: got 0"]),
        ({"glimpse": 3}, ["no field 'glimpse'", "'glimpses'"]),
    ],
)
def test_refuses(fields, words):
    with pytest.raises(ConfigError) as raised:
        draw(784, **fields)
    for word in words:
        assert word in str(raised.value)


def test_likelihoods_say_what_x_may_be():
    for likelihood, support in ((Bernoulli(), "unit"), (Gaussian(), "real")):
        assert DRAW(likelihood=likelihood).data_support == support
    assert DRAW(likelihood=Gaussian()).density
    assert not DRAW(likelihood=Gaussian(0.1)).density
