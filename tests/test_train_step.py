"""The training step against loops written out by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from toys import quick_jit, random_params, worst

from genjax_models.config import validate
from genjax_models.core import Batch, Objective, Phase, Trainable
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.models import fvsbn, moment_matching_generator, sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import (
    ELBO,
    elbo,
    from_loss,
    iwae,
    maximum_likelihood,
    moment_matching,
    nvil,
    reweighted_wake_sleep,
    wake_sleep,
    weighted_sum,
)
from genjax_models.objectives.parts import PartKey
from genjax_models.optimizers import OPTIMIZERS, SCHEDULES, Adam, AdamW, Cyclical, Linear, Stages, clip_by_group_norm
from genjax_models.train import make_train_step

KEY = jax.random.key(7)


def quadratic(params, key, batch):
    """A loss with a minimum at the batch's mean, and noise from the key."""
    noise = 0.1 * jax.random.normal(key, batch.x.shape[1:])
    centre = jnp.mean(batch.x, axis=0) + noise
    return sum(jnp.sum((v - centre) ** 2) for v in jax.tree.leaves(params))


def two_groups():
    return {"generative": jnp.array([1.0, -2.0]), "recognition": jnp.array([0.5, 3.0])}


def batches(number, size=3, seed=0):
    return jnp.asarray(np.random.RandomState(seed).normal(size=(number, size, 2)), jnp.float32)


def same(a, b):
    """Whether two pytrees hold the same bits."""
    a, b = (jax.tree.map(lambda v: jax.random.key_data(v) if is_key(v) else v, t) for t in (a, b))
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(u, v, equal_nan=True) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def is_key(v):
    return jnp.issubdtype(v.dtype, jax.dtypes.prng_key)


def copy(tree):
    """What the step's donation does not reach."""
    return jax.tree.map(lambda v: jnp.array(v, copy=True), tree)


def own_by_hand(objective, params, optimizer, xs, key, index=0):
    """A loop of optax updates: step t of phase i draws from fold_in(fold_in(key, t), i)."""
    own, state = objective.init(key, params, Batch(xs[0]))
    moments = optimizer.init((params, own))

    @jax.jit
    def update(params, own, state, moments, x, t):
        draw = jax.random.fold_in(jax.random.fold_in(key, t), index)

        def loss(params, own):
            return objective.loss(Trainable(params, own), state, draw, Batch(x), t)

        (value, (after, _)), gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, own)
        changes, moments = optimizer.update(gradient, moments, (params, own))
        params, own = optax.apply_updates((params, own), changes)
        return params, own, after, moments, value

    values = []
    for t, x in enumerate(xs):
        params, own, state, moments, value = update(params, own, state, moments, x, jnp.int32(t))
        values.append(value)
    return params, moments, values


@pytest.mark.parametrize("name", ["elbo", "reweighted_wake_sleep"])
def test_steps_equal_a_loop_by_hand(name):
    """Five steps give the parameters, moments and bounds of five optax updates."""
    if name == "elbo":
        model = vae(4, latent=2, encoder=MLP((3,), "tanh"), decoder=MLP((3,), "tanh"))
        objective = elbo(model, beta=optax.linear_schedule(0.1, 1.0, 4))
    else:
        model = sigmoid_belief_network(4, layers=(3,))
        objective = reweighted_wake_sleep(model, 3)
    xs = jnp.asarray(np.random.RandomState(0).randint(0, 2, (5, 6, 4)), jnp.float32)
    params = model.init(KEY, xs[0, 0], ())
    optimizer = optax.adam(optax.linear_schedule(0.1, 0.01, 5))
    expected, moments, values = own_by_hand(objective, params, optimizer, xs, KEY)
    init, step = make_train_step(objective, optimizer)[:2]
    state = init(KEY, params, xs[0])
    for x, value in zip(xs, values, strict=True):
        state, metrics = step(state, x)
        np.testing.assert_allclose(metrics["bound"], -value, rtol=1e-6)
    assert worst(state.params, expected) < 1e-6
    assert worst(state.phases[0].optimizer, moments) < 1e-6
    assert worst(params, expected) > 0.05
    assert int(state.step) == 5


def test_a_plain_loss_trains():
    """A function of (params, key, batch) is an objective; it gets the step's key, and may report metrics."""
    xs, params = batches(4), two_groups()

    def loss(params, key, batch):
        value = quadratic(params, key, batch)
        return value, {"first": batch.x[0, 0]}

    expected, _, _ = own_by_hand(from_loss(loss), params, optax.sgd(0.1), xs, KEY)
    for given in (loss, from_loss(loss)):
        init, step = make_train_step(given, optax.sgd(0.1))[:2]
        state = init(KEY, params, xs[0])
        for x in xs:
            state, metrics = step(state, x)
        assert worst(state.params, expected) < 1e-6
        assert float(metrics["first"]) == float(xs[-1, 0, 0])
    init, step = make_train_step(lambda params, key, batch: batch.x, optax.sgd(0.1))[:2]
    with pytest.raises(ModelError, match="scalar"):
        step(init(KEY, params, xs[0]), xs[0])


def test_phases_train_their_own_groups():
    """A phase moves its group alone, by its own optimizer; the others keep every bit."""
    xs, params = batches(1), two_groups()
    objective = from_loss(quadratic)
    phase = Phase(objective, "recognition", optax.adam(0.1))
    init, step = make_train_step(phase)[:2]
    state, _ = step(init(KEY, params, xs[0]), xs[0])
    assert same(state.params["generative"], params["generative"])
    assert worst(state.params["recognition"], params["recognition"]) == pytest.approx(0.1, rel=1e-3)
    # Its moments are those of its group: nothing is kept for the other.
    assert [v.shape for v in jax.tree.leaves(state.phases[0].optimizer)] == [(), (2,), (2,)]


def test_phases_follow_one_another():
    """The second phase sees what the first has left, takes its own batches, and folds its index into the key."""
    params, xs = two_groups(), batches(3)
    objective = from_loss(quadratic)
    first = Phase(objective, "recognition", optax.adam(0.1), repeats=2)
    second = Phase(objective, ("generative", "recognition"), optax.sgd(0.05))
    init, step = make_train_step(first, second)[:2]
    state, metrics = step(init(KEY, params, xs[0]), xs)

    key, expected = jax.random.fold_in(KEY, 0), dict(params)
    adam, moments = first.optimizer, first.optimizer.init({"recognition": params["recognition"]})
    keys = jax.random.split(jax.random.fold_in(key, 0), 2)
    for k, x in zip(keys, xs[:2], strict=True):
        value, gradient = jax.value_and_grad(quadratic)(expected, k, Batch(x))
        changes, moments = adam.update({"recognition": gradient["recognition"]}, moments)
        expected |= optax.apply_updates({"recognition": expected["recognition"]}, changes)
    np.testing.assert_allclose(metrics["0.recognition/bound"], -value, rtol=1e-6)
    value, gradient = jax.value_and_grad(quadratic)(expected, jax.random.fold_in(key, 1), Batch(xs[2]))
    np.testing.assert_allclose(metrics["1.generative+recognition/bound"], -value, rtol=1e-6)
    expected = jax.tree.map(lambda v, g: v - 0.05 * g, expected, gradient)
    assert worst(state.params, expected) < 1e-6
    # Other batches in any repeat, or the same key in both, would be seen.
    for order in ([1, 0, 2], [0, 2, 1], [0, 0, 2]):
        other, _ = step(init(KEY, params, xs[0]), xs[jnp.array(order)])
        assert worst(other.params, expected) > 1e-3


def test_phases_of_wake_sleep_are_parts_of_one():
    """Every term of wake-sleep reaches one group: at a fixed draw a phase of a group does that group's part."""
    model = sigmoid_belief_network(3, layers=(2,))
    x = jnp.asarray([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    params = model.init(KEY, x[0], ())
    original = wake_sleep(model)
    objective = original._replace(loss=lambda t, s, key, b, step: original.loss(t, s, KEY, b, step))

    def after(phase):
        init, step = make_train_step(phase)[:2]
        return step(init(KEY, params, x), x)[0].params

    one = after(Phase(objective, None, optax.sgd(0.1)))
    generative, recognition = (Phase(objective, g, optax.sgd(0.1)) for g in ("generative", "recognition"))
    alone = after(generative)
    assert same(alone["recognition"], params["recognition"])
    assert worst(alone["generative"], one["generative"]) < 1e-7
    assert worst(after(recognition)["recognition"], one["recognition"]) < 1e-7


def test_groups_are_clipped_by_themselves():
    """Each group's gradient, and the objective's own parameters', is scaled to the norm alone."""
    model = {"generative": {"w": jnp.array([3.0, 4.0]), "b": jnp.array([12.0])}, "recognition": jnp.array([0.3, 0.4])}
    own = (jnp.array([8.0, 6.0]),)
    clip = clip_by_group_norm(2.0)
    (clipped, clipped_own), _ = clip.update((model, own), clip.init((model, own)))
    expected = {
        "generative": jax.tree.map(lambda g: g * 2 / 13, model["generative"]),
        "recognition": model["recognition"],
    }
    assert worst(clipped, expected) < 1e-6
    assert worst(clipped_own, (jnp.array([1.6, 1.2]),)) < 1e-6
    assert clip.update((model, ()), clip.init((model, ())))[0][1] == ()

    # In a step: plain descent moves each group by the clipped gradient.
    def loss(params, key, batch):
        return 100 * params["generative"] @ batch.x[0] + 0.1 * params["recognition"] @ batch.x[0]

    params, x = two_groups(), jnp.array([[3.0, 4.0]])
    init, step = make_train_step(loss, OPTIMIZERS["sgd"](learning_rate=1.0, clip_norm=2.0).build())[:2]
    state, _ = step(init(KEY, params, x), x)
    moved = jax.tree.map(lambda a, b: a - b, params, state.params)
    assert worst(moved, {"generative": jnp.array([1.2, 1.6]), "recognition": jnp.array([0.3, 0.4])}) < 1e-5


def test_the_moving_average_is_debiased():
    """After n steps: the iterates weighed by decay^(n - i), normalized; the initial parameters have no weight."""
    decay, xs, params = 0.7, batches(6), two_groups()
    init, step = make_train_step(quadratic, optax.sgd(0.05), average=decay)[:2]
    state, iterates = init(KEY, params, xs[0]), []
    assert same(state.average, params)
    for n, x in enumerate(xs, start=1):
        state, _ = step(state, x)
        iterates.append(jax.tree.map(np.array, state.params))
        weights = decay ** np.arange(n)[::-1]
        expected = jax.tree.map(lambda *v, w=weights: np.tensordot(w / w.sum(), np.stack(v), 1), *iterates)
        assert worst(state.average, expected) < 1e-6
    assert worst(state.average, state.params) > 1e-2


def test_initial_values_have_no_weight_in_a_slow_average():
    params, x = jax.tree.map(lambda v: v - 1e4, two_groups()), batches(1)[0]
    for decay in (0.9999, 0.999999, jnp.float32(0.999999)):
        init, step = make_train_step(quadratic, optax.sgd(0.9), average=decay)[:2]
        state, _ = step(init(KEY, params, x), x)
        assert worst(state.average, state.params) < 2e-3  # two units in the last place of the initial values
        assert worst(state.params, params) > 100


@pytest.mark.parametrize(
    ("first", "optimizer", "message"),
    [
        (ELBO(), optax.sgd(1.0), r"got ELBO\(.*as objective, expected an Objective or a loss .*such as elbo\(model\)"),
        (3, optax.sgd(1.0), "got 3 as objective"),
        (
            lambda params, key, batch: 0.0,
            Adam(),
            r"got Adam\(.*as optimizer, expected one of optax; write Adam\(\).bui",
        ),
    ],
)
def test_what_is_no_objective_or_optimizer_is_refused(first, optimizer, message):
    with pytest.raises(ConfigError, match=message):
        make_train_step(first, optimizer)


def counting(loss):
    """An objective with parameters and state of its own: a learned constant, and the number of updates."""

    def init(key, params, batch):
        return {"constant": jnp.zeros(())}, jnp.zeros((), jnp.int32)

    def value(trainable, state, key, batch, step):
        total = loss(trainable.model, key, batch) + (trainable.own["constant"] - 3.0) ** 2
        return total, (state + 1, {"bound": -total})

    return Objective(init, value)


def trained_parts(state):
    return state.params, state.phases, state.average


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_skip_puts_everything_back(bad):
    """A batch that is not finite changes no bit of what is trained, is counted, and the run goes on after it."""
    xs, params = batches(4), two_groups()
    xs = xs.at[2].set(bad)
    init, step = make_train_step(counting(quadratic), optax.adam(0.1), average=0.9)[:2]
    state = init(KEY, params, xs[0])
    for x in xs[:2]:
        state, _ = step(state, x)
    before = copy(state)
    state, _ = step(state, xs[2])
    assert same(trained_parts(state), trained_parts(before))
    assert (int(state.nonfinite), int(state.step), bool(state.halted)) == (1, 3, False)
    assert same(state.key, before.key)
    skipped = copy(state)
    state, _ = step(state, xs[3])
    assert worst(state.params, skipped.params) > 1e-3
    assert (int(state.nonfinite), int(state.step), int(state.phases[0].objective)) == (1, 4, 3)

    # The next step is the one that a run without the bad batch takes at that step's key.
    hand = jax.grad(lambda p, k: quadratic(p, k, Batch(xs[3])))
    draw = jax.random.fold_in(jax.random.fold_in(KEY, 3), 0)
    adam = optax.adam(0.1)
    gradient = (hand(skipped.params, draw), jax.tree.map(lambda c: 2 * (c - 3.0), skipped.phases[0].own))
    changes, _ = adam.update(gradient, skipped.phases[0].optimizer)
    assert worst(state.params, optax.apply_updates(skipped.params, changes[0])) < 1e-6
    # The average weighs three updates, not four.
    assert worst(state.average, skipped.average) < worst(state.params, skipped.params)
    rate = 0.1 / (1 - 0.9**3)
    expected = jax.tree.map(lambda a, p: a + rate * (p - a), skipped.average, state.params)
    assert worst(state.average, expected) < 1e-6


def test_an_infinite_gradient_is_skipped_too():
    """The loss may be finite where its gradient is not."""
    params = {"generative": jnp.array([0.0, 1.0]), "recognition": jnp.ones(2)}
    init, step = make_train_step(lambda p, key, batch: jnp.sum(jnp.sqrt(p["generative"])), optax.sgd(0.1))[:2]
    state, metrics = step(init(KEY, params, batches(1)[0]), batches(1)[0])
    assert float(metrics["bound"]) == -1.0
    assert int(state.nonfinite) == 1
    assert same(state.params, params)


def test_one_nan_in_a_large_gradient_is_seen():
    """Also where a maximum would miss it: XLA's, on a CPU, may pass a NaN over in a matrix of this size."""

    def root(params, key, batch):
        # At zero the value is 0, and the gradient infinity times zero.
        return jnp.sum(jnp.sqrt(params["generative"]) ** 2)

    init, step = make_train_step(root, optax.sgd(0.1))[:2]
    params = {"generative": jnp.ones((784, 200)).at[391, 57].set(0.0)}
    state, metrics = step(init(jax.random.key(0), params, jnp.zeros((1, 1))), jnp.zeros((1, 1)))
    assert float(metrics["bound"]) == -(784 * 200 - 1)
    assert int(state.nonfinite) == 1
    assert same(state.params, params)


def test_a_bad_repeat_puts_the_whole_step_back():
    """A phase's second update failing undoes the phase before it as well."""
    xs, params = batches(3).at[2].set(jnp.nan), two_groups()
    phases = (
        Phase(counting(quadratic), "generative", optax.adam(0.1)),
        Phase(from_loss(quadratic), "recognition", optax.adam(0.1), repeats=2),
    )
    init, step = make_train_step(*phases)[:2]
    start = init(KEY, params, xs[0])
    before = copy(start)
    state, _ = step(start, xs)
    assert same(trained_parts(state), trained_parts(before))
    assert int(state.nonfinite) == 1


def test_stop_halts_for_good():
    """Under "stop" nothing changes from the bad batch on, not even the step, so that a restart meets it again."""
    xs, params = batches(4).at[1].set(jnp.nan), two_groups()
    init, step = make_train_step(counting(quadratic), optax.adam(0.1), average=0.9, nonfinite="stop")[:2]
    state, _ = step(init(KEY, params, xs[0]), xs[0])
    before = copy(state)
    state, _ = step(state, xs[1])
    assert bool(state.halted)
    assert same(state._replace(halted=before.halted, nonfinite=before.nonfinite), before)
    halted = copy(state)
    for x in xs[2:]:
        state, _ = step(state, x)
        assert same(state, halted)
    assert (int(state.nonfinite), int(state.step)) == (1, 1)


def test_a_state_keeps_its_types():
    """Also where an objective of one's own gives back another: the next step is the same program."""

    def loss(trainable, state, key, batch, step):
        value = quadratic(trainable.model, key, batch)
        return value, (state + 1.5, {"bound": -value})

    objective = Objective(lambda key, params, batch: ((), jnp.zeros((), jnp.int32)), loss)
    init, step = make_train_step(objective, optax.sgd(0.1))
    state, _ = step(init(KEY, two_groups(), batches(1)[0]), batches(1)[0])
    assert state.phases[0].objective.dtype == jnp.int32
    assert state.phases[0].objective == 1


def test_donation_spares_what_the_caller_holds():
    """The state that goes in is used up; parameters and key that it was made of are not."""
    xs, params, key = batches(2), two_groups(), jax.random.key(3)
    init, step = make_train_step(quadratic, optax.adam(0.1), average=0.5)[:2]
    start = init(key, params, xs[0])
    state, _ = step(start, xs[0])
    state, _ = step(state, xs[1])
    assert same(params, two_groups())
    assert same(key, jax.random.key(3))
    assert start.params["generative"].is_deleted()


def test_optimizers_that_keep_the_parameters_can_be_donated():
    """Prodigy's state begins as the parameters themselves, which one state must not donate twice."""
    params = two_groups()
    init, step = make_train_step(quadratic, optax.contrib.prodigy())
    state = init(KEY, params, batches(1)[0])
    state, _ = step(state, batches(1)[0])
    assert int(state.step) == 1
    assert same(params, two_groups())


def test_optimizers_are_given_the_value():
    """`reduce_on_plateau` needs the loss: the first is the best so far, and the second, no better, halves the scale."""
    optimizer = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1))
    init, step = make_train_step(lambda params, key, batch: jnp.sum(params["generative"] ** 2), optimizer)
    state = init(KEY, two_groups(), batches(1)[0])
    scales = []
    for _ in range(2):
        state, _ = step(state, batches(1)[0])
        scales.append(float(state.phases[0].optimizer[1].scale))
    assert scales == [1.0, 0.5]


def test_batches_for_several_phases_must_be_stacked():
    first, second = (Phase(from_loss(quadratic), None, optax.sgd(0.1)) for _ in range(2))
    init, step = make_train_step(first, second)
    state = init(KEY, two_groups(), batches(1)[0])
    with pytest.raises(DataError, match="take 2 batches a step, stacked on a leading axis of 2; got arrays of shapes"):
        step(state, jnp.stack(batches(3)))


def test_a_gradient_whose_square_overflows_is_not_finite():
    """It would make Adam's second moment infinite, after which the parameter never moves."""
    init, step = make_train_step(lambda params, key, batch: 1e25 * params["generative"], optax.adam(0.1))
    state = init(KEY, {"generative": jnp.float32(1.0)}, batches(1)[0])
    state, _ = step(state, batches(1)[0])
    assert int(state.nonfinite) == 1
    assert float(state.params["generative"]) == 1.0


def test_runs_are_determined_by_key_and_step():
    """Equal keys give equal bits; another key, or another step, another draw; a restored state goes on exactly."""
    xs, params = batches(4), two_groups()
    init, step = make_train_step(quadratic, optax.adam(0.1))[:2]

    def run(key, xs):
        state = init(key, params, xs[0])
        for x in xs:
            state, _ = step(state, x)
        return state

    assert same(run(KEY, xs), run(KEY, xs))
    assert worst(run(KEY, xs).params, run(jax.random.key(8), xs).params) > 1e-4
    half = copy(run(KEY, xs[:2]))
    restored = copy(half)
    for x in xs[2:]:
        restored, _ = step(restored, x)
    assert same(restored, run(KEY, xs))
    one, _ = step(copy(half), xs[2])
    other, _ = step(copy(half)._replace(step=jnp.int32(17)), xs[2])
    assert worst(one.params, other.params) > 1e-5


def test_weighted_sums():
    """Value and gradient are the weighted sums of the parts', schedules are read at the step, states stay apart."""
    x, params = batches(1)[0], two_groups()
    schedule = optax.linear_schedule(0.0, 1.0, 10)

    def cubes(params, key, batch):
        return jnp.sum(params["generative"] ** 3) * jnp.mean(batch.x)

    parts = {"a": (0.25, counting(quadratic)), "b": (schedule, counting(cubes))}
    both = weighted_sum(parts)
    own, state = both.init(KEY, params, Batch(x))
    assert own == ({"constant": 0.0},) * 2
    own = ({"constant": jnp.array(1.0)}, {"constant": jnp.array(-1.0)})

    def loss(params, own, step):
        return both.loss(Trainable(params, own), (jnp.int32(4), jnp.int32(9)), KEY, Batch(x), step)

    keys = jax.random.split(KEY, 2)
    for step, weight in [(0, 0.0), (5, 0.5), (30, 1.0)]:
        (value, (state, metrics)), gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, own, step)

        def by_hand(params, own, weight=weight):
            a = quadratic(params, keys[0], Batch(x)) + (own[0]["constant"] - 3.0) ** 2
            b = cubes(params, keys[1], Batch(x)) + (own[1]["constant"] - 3.0) ** 2
            return 0.25 * a + weight * b, (a, b)

        (exact, (a, b)), exact_gradient = jax.value_and_grad(by_hand, argnums=(0, 1), has_aux=True)(params, own)
        np.testing.assert_allclose(value, exact, rtol=1e-6)
        assert worst(gradient, exact_gradient) < 1e-5
        assert state == (5, 10)
        np.testing.assert_allclose([metrics["bound"], metrics["a/bound"], metrics["b/bound"]], [-exact, -a, -b], 1e-6)
    with pytest.raises(ConfigError, match="no parts"):
        weighted_sum({})


def test_weighted_sums_of_objectives_train():
    """A sum of bounds on one model, in a step, moves by the weighted sum of the parts' gradients."""
    model = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    x = jnp.array([[1.0, 0.0, 1.0]])
    params = model.init(KEY, x[0], ())
    parts = {"elbo": (0.5, elbo(model)), "iwae": (2.0, iwae(model, 3))}
    init, step = make_train_step(weighted_sum(parts), optax.sgd(0.1))[:2]
    state, _ = step(init(KEY, params, x), x)
    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(KEY, 0), 0), 2)
    expected = params
    for k, (weight, part) in zip(keys, parts.values(), strict=True):
        gradient = jax.grad(lambda p, k=k, part=part: part.loss(Trainable(p), (), k, x, 0)[0])(params)
        expected = jax.tree.map(lambda v, g, w=weight: v - 0.1 * w * g, expected, gradient)
    assert worst(state.params, expected) < 1e-6
    assert worst(expected, params) > 1e-2


def test_wrong_arguments_are_refused():
    """Neither form, an unknown policy, a group that is not there."""
    objective, adam = from_loss(quadratic), optax.adam(0.1)
    for arguments in [(objective,), (objective, adam, adam), (objective, 0.1), (Phase(objective, None, adam), adam)]:
        with pytest.raises(ConfigError):
            make_train_step(*arguments)
    with pytest.raises(ConfigError, match="repeats"):
        make_train_step(Phase(objective, None, adam, repeats=0))
    with pytest.raises(ConfigError, match="'skip'"):
        make_train_step(objective, adam, nonfinite="ignore")
    init, _ = make_train_step(Phase(objective, "critic", adam))[:2]
    with pytest.raises(ModelError, match=r"critic.*generative, recognition"):
        init(KEY, two_groups(), batches(1)[0])


# Schedules and optimizers whose numbers are traced and batched.

SCHEDULE_LEAVES = {
    "linear": {"start": [0.1, 0.5], "end": [1.0, 0.2]},
    "cosine": {"start": [0.1, 0.5], "final_fraction": [0.0, 0.3]},
    "warmup": {"start": [0.0, 0.1], "peak": [1.0, 0.2]},
    "polynomial": {"start": [0.1, 0.5], "end": [0.0, 0.2], "power": [1.0, 2.0]},
    "sigmoid": {"start": [0.1, 0.5], "end": [1.0, 0.0], "steepness": [10.0, 4.0]},
    "cyclical": {"start": [0.1, 0.0], "end": [1.0, 2.0], "rising": [0.5, 1.0]},
    "stages": {"values": [(3.0, 2.0, 1.0), (0.5, 0.25, 0.75)]},
}
OPTIMIZER_LEAVES = {
    "adam": {
        "learning_rate": [0.1, 0.02],
        "b1": [0.9, 0.5],
        "b2": [0.99, 0.9],
        "eps": [1e-8, 1e-2],
        "clip_norm": [9, 1],
    },
    "adamw": {"learning_rate": [0.1, 0.02], "b1": [0.9, 0.5], "b2": [0.99, 0.9], "eps": [1e-8, 1e-2]}
    | {"weight_decay": [0.0, 0.5], "clip_norm": [9, 1]},
    "sgd": {"learning_rate": [0.1, 0.02], "momentum": [0.9, 0.3], "clip_norm": [9, 1]},
    "rmsprop": {"learning_rate": [0.1, 0.02], "decay": [0.9, 0.5], "eps": [1e-8, 1e-2], "clip_norm": [9, 1]},
}


def members(cls, leaves, **structure):
    """Two configurations, and the two stacked into one."""
    single = [cls(**{k: jax.tree.map(jnp.float32, v[i]) for k, v in leaves.items()}, **structure) for i in range(2)]
    return single, jax.tree.map(lambda *v: jnp.stack(v), *single)


def test_every_schedule_and_optimizer_is_listed():
    """A new row without leaves to batch fails here, and so does a float field that nobody varies."""
    assert set(SCHEDULE_LEAVES) == set(SCHEDULES)
    assert set(OPTIMIZER_LEAVES) == set(OPTIMIZERS)
    for table, rows in ((SCHEDULES, SCHEDULE_LEAVES), (OPTIMIZERS, OPTIMIZER_LEAVES)):
        for name, leaves in rows.items():
            assert set(leaves) == table[name].__leaves__, name


@pytest.mark.parametrize("name", SCHEDULE_LEAVES)
def test_schedules_under_vmap(name):
    """A stack of schedules gives at every step what each gives by itself, and what its docstring says."""
    steps = (4, 9) if name == "stages" else 10
    single, stacked = members(SCHEDULES[name], SCHEDULE_LEAVES[name], steps=steps)
    steps = jnp.arange(0, 14)
    batched = jax.jit(jax.vmap(lambda config: jax.vmap(config.build())(steps)))(stacked)
    expected = np.stack([[config.build()(step) for step in steps] for config in single])
    np.testing.assert_allclose(batched, expected, rtol=1e-6)
    t = np.minimum(np.arange(14), 10) / 10
    for i, row in enumerate(batched):
        c = {k: v[i] for k, v in SCHEDULE_LEAVES[name].items()}
        exact = {
            "linear": lambda c: c["start"] + t * (c["end"] - c["start"]),
            "cosine": lambda c: (
                c["start"] * (c["final_fraction"] + (1 - c["final_fraction"]) * 0.5 * (1 + np.cos(np.pi * t)))
            ),
            "warmup": lambda c: c["start"] + t * (c["peak"] - c["start"]),
            "sigmoid": lambda c: (
                c["start"] + (c["end"] - c["start"]) / (1 + np.exp(-c["steepness"] * (np.arange(14) / 10 - 0.5)))
            ),
            "cyclical": lambda c: (
                c["start"] + (c["end"] - c["start"]) * np.minimum(np.arange(14) % 10 / 10 / c["rising"], 1)
            ),
            "stages": lambda c: np.array([c["values"][(i >= 4) + (i >= 9)] for i in range(14)]),
            "polynomial": lambda c: c["end"] + (c["start"] - c["end"]) * (1 - t) ** c["power"],
        }[name](c)
        np.testing.assert_allclose(row, exact, rtol=1e-5, atol=1e-6)


def test_cycles_come_to_an_end():
    schedule = Cyclical(steps=4, cycles=2, rising=0.5).build()
    np.testing.assert_allclose([schedule(t) for t in range(11)], [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("steps", [(), (3, 3), (5, 2), (1, 2, 3)])
def test_stages_need_a_beginning_each(steps):
    with pytest.raises(ConfigError, match="steps: got"):
        validate(Stages((1.0, 0.5, 0.1), steps))


def test_linear_schedule_waits():
    """`delay` steps at the first value, then `steps` to the last."""
    schedule = Linear(start=1.0, end=3.0, steps=4, delay=3).build()
    np.testing.assert_allclose([schedule(t) for t in range(9)], [1, 1, 1, 1, 1.5, 2, 2.5, 3, 3], rtol=1e-6)


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZER_LEAVES)
def test_optimizers_under_vmap(name, scheduled):
    """Runs of a stack of optimizers end where each one's own run ends; a learning rate may be a schedule."""
    leaves = dict(OPTIMIZER_LEAVES[name])
    single, stacked = members(OPTIMIZERS[name], leaves)
    if scheduled:
        rates = {"start": leaves.pop("learning_rate"), "end": [0.0, 0.01]}
        schedules, stack = members(Linear, rates, steps=3)
        replace = functools.partial(_with_rate, OPTIMIZERS[name])
        single, stacked = [replace(c, s) for c, s in zip(single, schedules, strict=True)], replace(stacked, stack)
    xs, params = batches(4), two_groups()

    def run(config):
        optimizer = config.build()
        state, p = optimizer.init((params, ())), params
        for x in xs:
            gradient = jax.grad(quadratic)(p, KEY, Batch(x))
            changes, state = optimizer.update((gradient, ()), state, (p, ()))
            p = optax.apply_updates((p, ()), changes)[0]
        return p

    batched = jax.jit(jax.vmap(run))(stacked)
    ends = [jax.jit(run)(config) for config in single]
    assert worst(batched, jax.tree.map(lambda *v: jnp.stack(v), *ends)) < 1e-6
    assert worst(*ends) > 1e-3


def _with_rate(cls, config, schedule):
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(cls)}
    return cls(**{**fields, "learning_rate": schedule})


@pytest.mark.parametrize("decay_biases", [True, False])
def test_decay_of_kernels_and_biases(decay_biases):
    """Without a gradient, AdamW takes rate * decay off every kernel, and off vectors unless they are spared."""
    params = {"generative": {"kernel": jnp.full((2, 3), 4.0), "bias": jnp.full(3, 4.0)}}
    optimizer = AdamW(learning_rate=0.1, weight_decay=0.5, decay_biases=decay_biases).build()
    changes, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(changes["generative"]["kernel"], -0.2, rtol=1e-6)
    np.testing.assert_allclose(changes["generative"]["bias"], -0.2 if decay_biases else 0, rtol=1e-6)


# Batches in parts: what each draws is tested in tests/objectives/test_parts.py.


def test_steps_in_parts_equal_whole_ones_in_the_memory_of_a_part(x64):
    """Maximum likelihood draws nothing: parameters, moments, average and bound are those of whole batches.

    Of two members under `vmap`, with several phases and repeats; memory is what XLA sets aside.
    """
    model = fvsbn(16)
    xs = jnp.asarray(np.random.RandomState(0).randint(0, 2, (3, 960, 16)), float)
    objective, params = maximum_likelihood(model), random_params(model, 16, 0)
    phases = Phase(objective, None, optax.adam(0.1), repeats=2), Phase(objective, "generative", optax.sgd(0.1))

    def run(accumulate):
        init, step = make_train_step(*phases, average=0.5, accumulate=accumulate)
        members = jax.vmap(lambda key: init(key, params, xs[0]))(jax.random.split(KEY, 2))
        program = quick_jit(jax.vmap(step, (0, None))).lower(members, xs).compile()
        for _ in range(2):
            members, metrics = program(members, xs)
        return members, metrics, program.memory_analysis().temp_size_in_bytes

    (whole, reported, memory), (parts, found, less) = run(1), run(12)
    assert jax.tree.structure(parts) == jax.tree.structure(whole)
    for name in ("params", "phases", "average"):
        assert worst(getattr(parts, name), getattr(whole, name)) < 1e-12
    assert worst(found, reported) < 1e-12
    assert worst(jax.tree.map(lambda v: v[0], whole.params), params) > 0.05
    assert less < memory / 2  # of which most is a copy of the batches


def test_a_state_goes_from_part_to_part_and_back_with_all_of_them():
    """A loss of one's own draws by a key for each part; a part that is not finite takes all parts back."""

    def loss(trainable, state, key, batch, step):
        draws = state["draws"].at[state["parts"]].set(jax.random.uniform(key))
        value = jnp.mean(jnp.sqrt(batch.x)) * jnp.sum(trainable.model["generative"])
        return value, ({"parts": state["parts"] + 1, "draws": draws}, {"bound": -value})

    def start(key, params, batch):
        return (), {"parts": jnp.zeros((), jnp.int32), "draws": jnp.zeros(9)}

    init, step = make_train_step(Objective(start, loss), optax.sgd(0.1), accumulate=3)
    params, good = two_groups(), jnp.ones((6, 2))
    first, metrics = step(init(KEY, params, good), good)
    seen = copy(first.phases[0].objective)
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, 0), 0), i) for i in range(3)]
    np.testing.assert_array_equal(seen["draws"][:3], jnp.stack(list(map(jax.random.uniform, keys))))
    assert int(seen["parts"]) == 3
    np.testing.assert_allclose(metrics["bound"], 1.0)
    np.testing.assert_allclose(first.params["generative"], params["generative"] - 0.1)
    held = copy((first.params, first.phases))
    second, _ = step(first, good.at[2, 0].set(-1.0))
    assert same((second.params, second.phases), held)
    assert (int(second.nonfinite), int(second.step)) == (1, 2)
    assert int(step(second, good)[0].phases[0].objective["parts"]) == 6


def test_moments_take_in_every_part_as_a_batch():
    """NVIL on every second row: its moments are those after two batches of that size, with the model held still."""
    model = sigmoid_belief_network(4, layers=(2,))
    objective = nvil(model, baseline=None)
    x = jnp.asarray(np.random.RandomState(0).randint(0, 2, (6, 4)), jnp.float32)
    init, step = make_train_step(Phase(objective, (), optax.sgd(0.1)), accumulate=2)
    params = model.init(KEY, x[0], ())
    moments = step(init(KEY, params, x), x)[0].phases[0].objective
    assert [int(m.batches) for m in moments] == [2]
    draw, state = jax.random.fold_in(jax.random.fold_in(KEY, 0), 0), objective.init(KEY, params, Batch(x))[1]

    @quick_jit
    def expected(state):
        for part in range(2):
            key = PartKey(draw, jnp.int32(part), 2)
            _, (state, _) = objective.loss(Trainable(params), state, key, Batch(x[part::2]), 0)
        return state

    assert worst(moments, expected(state)) < 1e-5


def test_parts_that_cannot_be_are_refused():
    model, sampler = vae(4), moment_matching_generator(4)
    objective = elbo(model, free_bits=1.0)
    for refused, reason in (
        (moment_matching(sampler), "moment_matching compares all pairs of a batch"),
        (objective, "elbo's free bits are of the KL averaged over a whole batch"),
        (weighted_sum({"a": (1.0, objective)}), "elbo's free bits"),
    ):
        with pytest.raises(ConfigError, match=f"accumulate: got 2, but {reason}"):
            make_train_step(refused, optax.sgd(0.1), accumulate=2)
        make_train_step(refused, optax.sgd(0.1), accumulate=1)
    with pytest.raises(ConfigError, match="accumulate: got 0, expected an integer, at least 1"):
        make_train_step(elbo(model), optax.sgd(0.1), accumulate=0)
    init, step = make_train_step(quadratic, optax.sgd(0.1), accumulate=2)
    with pytest.raises(DataError, match="accumulate: got 2, which does not divide the batch of 3 examples"):
        step(init(KEY, two_groups(), batches(1)[0]), batches(1)[0])
