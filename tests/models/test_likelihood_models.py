"""Auto-regressive networks: exact over all states, for every order and mask; and they train, measure and sample."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import LIKELIHOOD_MODELS, MODELS, OBJECTIVES, assert_frequencies, fits
from drills import drill, rarely
from runs import Log, read_json
from toys import binary_states, quick_jit, random_params, worst

from genjax_models.config import Config, Evaluation, Training
from genjax_models.core import Trainable
from genjax_models.data import Bars
from genjax_models.distributions import bernoulli_log_prob
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import log_prob
from genjax_models.experiment import evaluate_run, sample_run, train_run
from genjax_models.models import FVSBN, MADE, NADE, fvsbn, made, nade, vae
from genjax_models.models.made import hidden_degrees
from genjax_models.objectives import MaximumLikelihood, maximum_likelihood
from genjax_models.optimizers import Adam
from genjax_models.train import make_train_step

ROWS = [pytest.param(s, id=f"{name}-{i}") for name, row in LIKELIHOOD_MODELS.items() for i, s in enumerate(row)]
every_model = pytest.mark.parametrize("small", ROWS)


def solve(small, scale=1.0):
    model = small.config.build(small.visible)
    return model, random_params(model, small.visible, seed=1, scale=scale)


def total_probability(model, visible):
    """The sum of p(x) over all states, under random parameters."""
    params = random_params(model, visible, seed=0, scale=1.0)
    return float(jnp.sum(jnp.exp(jax.vmap(lambda x: model.log_prob(params, x, ()))(binary_states(visible)))))


@every_model
def test_sums_to_one_and_samples_agree(x64, small):
    model, params = solve(small)
    states = binary_states(small.visible)
    density = np.exp(log_prob(model, params, states))
    assert abs(density.sum() - 1) < 1e-12
    keys = jax.random.split(jax.random.key(3), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda k: model.sample(params, k, ())))(keys))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    states_drawn = drawn.astype(int) @ (2 ** np.arange(small.visible)[::-1])
    assert_frequencies(np.arange(len(states)), density, states_drawn, fewest=min(4, len(states)))


@pytest.mark.parametrize("small", rarely(ROWS, "pixel_cnn-0", "nade-2", "made-1"))
def test_conditionals_are_those_of_the_joint(x64, small):
    """The logit of unit i is that of p(x_i | the units before it), from the enumerated p(x); none sees the future."""
    model, params = solve(small)
    if model.conditional_logits is None:  # no auto-regressive network
        assert model.completion_orders is None
        return
    visible = small.visible
    order = model.init.module.order
    states = binary_states(visible)
    density = np.exp(log_prob(model, params, states))
    logits = np.asarray(jax.vmap(lambda x: model.conditional_logits(params, x, ()))(states))
    for x, given in zip(states, logits, strict=True):
        for k, unit in enumerate(order):
            same = np.all(states[:, list(order[:k])] == x[list(order[:k])], axis=1)
            ones = density[same & (states[:, unit] == 1)].sum()
            assert abs(np.log(ones / (density[same].sum() - ones)) - given[unit]) < 1e-9
    jacobian = np.asarray(jax.jacobian(lambda x: model.conditional_logits(params, x, ()))(jnp.full(visible, 0.3)))
    position = np.argsort(order)
    assert not np.any(jacobian[position[:, None] <= position])


@pytest.mark.parametrize("visible", [1, 2, 3, drill(4), drill(5)])
def test_every_order_sums_to_one(x64, visible):
    orders = list(itertools.permutations(range(visible)))
    for order in orders[:: max(1, len(orders) // 24)]:  # all of up to four units
        for model in (made(visible, hidden=(4,), order=order, mask_seed=sum(order[:2])), fvsbn(visible, order=order)):
            assert abs(total_probability(model, visible) - 1) < 1e-12


@pytest.mark.slow
def test_random_orders_and_masks_of_twelve_units(x64):
    """The sum is one, and the network's Jacobian is zero exactly where the order forbids or no path of masks leads."""
    for seed in range(36):
        hidden = ((30,), (20, 25), (15, 15, 15))[seed % 3]
        model = made(12, hidden=hidden, activation="softplus", order=seed, mask_seed=seed, direct=bool(seed % 2))
        assert abs(total_probability(model, 12) - 1) < 1e-12
        params = random_params(model, 12, seed=0)
        slopes = jax.jacobian(lambda x, m=model, p=params: m.conditional_logits(p, x, ()))
        jacobian = quick_jit(slopes)(jnp.full(12, 0.3))
        position = np.argsort(model.init.module.order)
        steps = [1 + position, *hidden_degrees(12, hidden, seed)]
        paths = np.eye(12, dtype=int)
        for m, above in itertools.pairwise(steps):
            paths = paths @ (m[:, None] <= above)
        paths = paths @ (steps[-1][:, None] < 1 + position)
        if seed % 2:
            paths = paths + (position[:, None] < position)
        assert np.array_equal(np.asarray(jacobian) != 0, paths.T > 0)


@pytest.mark.parametrize("seen", [lambda x: x, lambda x: jnp.roll(x, -1)], ids=["itself", "the next unit"])
def test_a_unit_that_sees_too_much_is_no_distribution(x64, seen):
    """The checks above would notice: the sum over all states is then not one."""
    model = made(3, hidden=(6,))
    assert abs(total_probability(model, 3) - 1) < 1e-12

    def wrong(params, x, c):
        return bernoulli_log_prob(model.conditional_logits(params, x, c) + seen(x), x)

    assert abs(total_probability(model._replace(log_prob=wrong), 3) - 1) > 1e-2


def test_made_without_hidden_layers_is_a_fvsbn(x64):
    """MADE without hidden layers is the FVSBN of the same weights, in any order."""
    order = (2, 0, 1, 3)
    single, net = made(4, hidden=(), order=order), fvsbn(4, order=order)
    params = random_params(single, 4, seed=2)
    kernel, bias = params["generative"]["kernel_0"], params["generative"]["bias_0"]
    at = np.array(order)
    same = {"generative": {"bias": bias[at], "within": {"lateral": kernel[at][:, at].T}}}
    states = binary_states(4)
    assert worst(log_prob(single, params, states), log_prob(net, same, states)) < 1e-12


@pytest.mark.parametrize("small", rarely(ROWS, "pixel_cnn-0", "nade-1"))
def test_gradient_of_the_objective_is_that_of_the_mean(x64, small):
    """Against the enumerated log p(x), with the metric being the value; batched as in a loop."""
    model, params = solve(small)
    x = jnp.asarray(binary_states(small.visible)[::2])
    init, loss = maximum_likelihood(model)
    assert init(jax.random.key(0), params, x) == ((), ())

    def value(p):
        found, (_, metrics) = loss(Trainable(p), (), jax.random.key(0), x, 0)
        return found, metrics["bound"]

    (found, bound), gradient = quick_jit(jax.value_and_grad(value, has_aux=True))(params)

    def mean(p):
        return sum(model.log_prob(p, row, ()) for row in x) / len(x)

    expected, slope = quick_jit(jax.value_and_grad(mean))(params)
    assert abs(found + expected) < 1e-12
    assert abs(bound - expected) < 1e-12
    assert worst(gradient, jax.tree.map(jnp.negative, slope)) < 1e-12


@every_model
def test_contract(small):
    """Rebuilt models are equal; init is deterministic; objectives fit or are refused by name; the step lowers."""
    model, again = (small.config.build(small.visible) for _ in range(2))
    assert model == again
    assert hash(model) == hash(again)
    assert model.name == type(small.config).__name__
    params = model.init(jax.random.key(0), jnp.zeros(small.visible), ())
    assert worst(params, again.init(jax.random.key(0), jnp.ones(small.visible), ())) == 0
    assert set(params) == {"generative"}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    for config in (c for row in OBJECTIVES.values() for c in row):
        if fits(config, model):
            config.build(model)
        else:
            with pytest.raises(ModelError, match=model.name):
                config.build(model)
    x = jax.ShapeDtypeStruct((4, small.visible), jnp.float32)
    init, step = make_train_step(maximum_likelihood(model), Adam(clip_norm=1.0).build(), average=0.9)[:2]
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(init, key, params, x)
    exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(state, x)
    assert exported.out_avals[: len(exported.in_avals) - 1] == exported.in_avals[:-1]


def test_a_model_with_latents_is_refused_by_name():
    model = MODELS["vae"][0].config.build(3)
    with pytest.raises(ModelError, match="maximum_likelihood needs a LikelihoodModel, got 'VAE'"):
        maximum_likelihood(model)
    with pytest.raises(ModelError, match="log_prob needs a LikelihoodModel, got 'VAE'"):
        log_prob(vae(3, latent=1), {}, jnp.zeros((1, 3)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fvsbn(3, order=(0, 0, 1)), r"order: got \(0, 0, 1\), expected a permutation of 0 to 2"),
        (lambda: nade(3, order=(1, 0)), "order: got a permutation of 2 units, but x has 3"),
        (lambda: made(3, order=-1), "order: got -1, expected a seed"),
        (lambda: made(3, hidden=(0,)), "hidden.0: got 0"),
        (lambda: made(3, hidden=(), direct=True), "direct: got True with no hidden layers"),
        (lambda: made(3, hidden=(), mask_seed=0), "mask_seed: got 0 with no hidden layers"),
        (lambda: nade(3, hidden=0), "hidden: got 0"),
        (lambda: nade(3, order=[0, 1, 2]), "Write a tuple"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    "model", [drill(FVSBN()), drill(NADE(hidden=4)), MADE(hidden=(8,))], ids=lambda m: type(m).__name__
)
def test_run_reports_the_exact_likelihood(tmp_path, model):
    """A run trains, and its NLL is minus its bound on the same examples, without samples; then it is drawn."""
    config = Config(
        model=model,
        objective=MaximumLikelihood(),
        optimizer=Adam(learning_rate=1e-2),
        data=Bars(size=3),
        training=Training(num_steps=40, batch_size=20, evaluate_every=20, chunk=20),
        evaluation=Evaluation(num_samples=7),
    )
    folder, log = tmp_path / "run", Log()
    train_run(config, folder, None, log=log)
    result = read_json(folder / "result.json")
    assert result["test_nll_samples"] is None
    assert result["test_nll"] == pytest.approx(-result["test_bound"], abs=1e-5)
    assert result["test_nll_mean_estimator_error"] == 0
    assert result["test_nll"] < 9 * np.log(2)
    assert evaluate_run(folder, None, None, log)["test_nll"] == pytest.approx(result["test_nll"], abs=1e-6)
    assert sample_run(folder, 4, tmp_path / "drawn.png", 0, False, log).is_file()
