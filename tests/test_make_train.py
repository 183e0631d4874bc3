"""A run as one pure function: its batches, its chunks, what compiles again, and sweeps."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import worst

from genjax_models.config import Config, Evaluation, ObjectiveConfig, Training, canonical, config, field
from genjax_models.core import Batch, Objective, Phase
from genjax_models.data import Arrays, Digits
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.models import VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO, IWAE, from_loss
from genjax_models.optimizers import SGD, Adam, Linear
from genjax_models.overlay import overlay
from genjax_models.policy import Policy
from genjax_models.train import Plan, build, make_train

NUM, WIDTH = 23, 3
KEY = jax.random.key(5)
BITS = np.random.RandomState(0).randint(0, 2, (NUM, WIDTH)).astype(np.uint8)

CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((8,), "tanh"), decoder=MLP((8,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Digits(),
    training=Training(num_steps=60, batch_size=5, average=0.9),
)


@config
class Witness(ObjectiveConfig):
    """Reports the batch that it is given; its loss pulls every parameter by the batch's mean."""

    pull: float = field(default=1.0)

    def build(self, model: Any) -> Objective:
        def loss(params, key, batch):
            total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
            return self.pull * total * jnp.mean(batch.x), {"x": batch.x}

        return from_loss(loss)


@config
class TwoPhases(ObjectiveConfig):
    """Two updates of the recognition network and one of the generative, each of which reports its batch."""

    metric = "1.generative/x"

    def build(self, model: Any) -> Objective:
        return Witness().build(model)

    def phases(self, model, optimizer):
        objective = from_loss(lambda params, key, batch: (0.0 * key_free(params), {"x": batch.x, "c": batch.context}))
        return (
            Phase(objective, "recognition", optimizer.build(), repeats=2),
            Phase(objective, "generative", optimizer.build()),
        )


def key_free(params):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))


OF_REALS = dataclasses.replace(CONFIG, model=VAE(2, MLP((8,), "tanh"), MLP((8,), "tanh"), likelihood=Gaussian()))
WITNESS = dataclasses.replace(OF_REALS, objective=Witness(), optimizer=SGD(0.1))
NUMBERED = np.arange(1, NUM + 1, dtype=np.float32)[:, None] * np.ones((1, WIDTH), np.float32)


def equal(a, b) -> bool:
    """Whether two pytrees have the same structure and the same bits."""
    a, b = (jax.tree.map(lambda v: jax.random.key_data(v) if v.dtype == KEY.dtype else v, t) for t in (a, b))
    same = jax.tree.map(lambda u, v: u.dtype == v.dtype and np.asarray(u).tobytes() == np.asarray(v).tobytes(), a, b)
    return all(jax.tree.leaves(same))


def batches_seen(settings, key=KEY, data=NUMBERED) -> np.ndarray:
    """The batches of every step, [num_steps, B, D]."""
    return np.asarray(make_train(settings)(settings, key, data)[1]["x"])


# One call or many.


@pytest.mark.parametrize("lengths", [(17, 43), (1, 59), (1,) * 60], ids=lambda v: f"{len(v)}x{v[0]}")
def test_chunks_equal_one_call_bit_for_bit(lengths):
    """State and metrics of 60 steps do not depend on how they are divided into calls."""
    train = make_train(CONFIG)
    whole, metrics = train(CONFIG, KEY, BITS)
    state, found = train.init(CONFIG, KEY, BITS), []
    for length in lengths:
        state, part = train.advance(CONFIG, state, BITS, int(state.step), length)
        found.append(part)
    assert equal(state, whole)
    assert equal(jax.tree.map(lambda *v: jnp.concatenate(v), *found), metrics)
    assert (int(whole.step), len(metrics["bound"])) == (60, 60)


def test_the_key_decides_everything():
    """The same key gives the same bits, another key other parameters."""
    train = make_train(CONFIG)
    first, _ = train(CONFIG, KEY, BITS)
    assert equal(train(CONFIG, KEY, BITS)[0], first)
    assert worst(train(CONFIG, jax.random.key(6), BITS)[0].params, first.params) > 1e-3


def test_shapes_are_those_of_the_state():
    train = make_train(CONFIG)
    shapes = train.shapes(CONFIG, jax.ShapeDtypeStruct(BITS.shape, BITS.dtype))
    state = train.init(CONFIG, KEY, BITS)
    assert jax.tree.map(lambda v: (v.shape, v.dtype), shapes) == jax.tree.map(lambda v: (v.shape, v.dtype), state)


# Batches.


def test_every_epoch_visits_every_example_at_most_once():
    """23 examples make 4 batches of 5 an epoch, 20 different ones; over the epochs all have their turn."""
    seen = batches_seen(WITNESS)
    assert np.all(seen == seen[:, :, :1])  # rows stay together
    epochs = seen[:, :, 0].reshape(15, 20)
    for epoch in epochs:
        assert len(set(epoch)) == 20
    assert set(epochs.ravel()) == set(NUMBERED[:, 0])


def test_epochs_of_full_batches_visit_every_example():
    for size, data in ((5, NUMBERED[:20]), (20, NUMBERED[:20])):
        seen = batches_seen(overlay(WITNESS, {"training.batch_size": size}), data=data)
        assert np.all(np.sort(seen[:, :, 0].reshape(-1, 20), axis=1) == data[:, 0])


def test_the_order_depends_on_key_and_epoch():
    """All epochs are ordered differently, and so are those of another key."""
    epochs = [tuple(e) for key in (5, 6) for e in batches_seen(WITNESS, jax.random.key(key))[:, :, 0].reshape(15, 20)]
    assert len(set(epochs)) == 30


def test_every_example_leads_equally_often():
    """Each of 4 examples is first in a quarter of the epochs: chi-square of 3 degrees below its 99.9% point."""
    settings = overlay(WITNESS, {"training.batch_size": 1, "training.num_steps": 1600})
    first = batches_seen(settings, data=NUMBERED[:4])[::4, 0, 0]
    counts = np.bincount(first.astype(int), minlength=5)[1:]
    assert np.sum((counts - 100) ** 2 / 100) < 16.27


INTENSITIES = np.tile(np.array([[0, 0.25, 1]], np.float32), (5, 1))


def test_dynamic_binarization_draws_anew_at_every_step():
    """Zeros and ones; certain pixels are certain, and an intensity of 1/4 is on in a quarter of the draws."""
    data = Arrays(path="x", binarization="dynamic")
    settings = dataclasses.replace(WITNESS, data=data, training=Training(num_steps=400, batch_size=5))
    seen = batches_seen(settings, data=INTENSITIES)
    assert set(np.unique(seen)) == {0, 1}
    assert not seen[:, :, 0].any()
    assert seen[:, :, 2].all()
    assert abs(seen[:, :, 1].mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert len({step.tobytes() for step in seen[:, :, 1]}) > 8  # of the 32 there are
    again = batches_seen(settings, data=INTENSITIES)
    assert np.array_equal(seen, again)
    assert not np.array_equal(seen, batches_seen(settings, jax.random.key(6), INTENSITIES))


@pytest.mark.parametrize("binarization", ["none", "threshold", "fixed"])
def test_other_binarizations_leave_batches_as_they_are(binarization):
    settings = dataclasses.replace(WITNESS, data=Arrays(path="x", binarization=binarization))
    assert np.all(batches_seen(settings, data=INTENSITIES) == INTENSITIES)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_batches_are_floats(dtype):
    seen = batches_seen(WITNESS, data=BITS.astype(dtype))
    assert seen.dtype == np.float32
    assert set(np.unique(seen)) == {0, 1}


# Refusals.


@pytest.mark.parametrize("entry", ["call", "init"])
def test_a_batch_larger_than_the_data_is_refused(entry):
    settings = overlay(CONFIG, {"training.batch_size": NUM + 1})
    train = make_train(settings)
    call = train if entry == "call" else train.init
    with pytest.raises(DataError, match=rf"training\.batch_size: got {NUM + 1}, .* {NUM} examples"):
        call(settings, KEY, BITS)


@pytest.mark.parametrize("data", [np.zeros(3), np.zeros((3, 2, 2)), 3.0, None, [[0.0]]])
def test_data_that_is_no_table_is_refused(data):
    with pytest.raises(DataError, match=r"expected an array \[N, D\]"):
        make_train(CONFIG)(CONFIG, KEY, data)


@pytest.mark.parametrize("entry", ["__call__", "init"])
def test_values_that_the_model_is_not_defined_on_are_refused(entry, traces):
    """Bytes, say, of a Bernoulli likelihood; within a user's own trace there are no values to look at."""
    train = make_train(CONFIG)
    with pytest.raises(DataError, match=r"data holds values from 0 to 255, but VAE is of values in \[0, 1\]: scale"):
        getattr(train, entry)(CONFIG, KEY, 255 * BITS)
    assert traces == []


@pytest.mark.parametrize("objective", [ELBO(), IWAE()])
def test_an_objective_that_does_not_fit_is_refused_before_anything_is_traced(objective, traces):
    settings = dataclasses.replace(CONFIG, model=SigmoidBeliefNetwork((3,)), objective=objective)
    with pytest.raises(ModelError, match="wake_sleep"):
        make_train(settings)
    assert traces == []


def test_a_wrong_configuration_is_refused_before_anything_is_traced(traces):
    with pytest.raises(ConfigError, match=r"model\.latent: got 0"):
        make_train(dataclasses.replace(CONFIG, model=VAE(latent=0)))
    assert traces == []


@pytest.mark.parametrize(
    "change",
    [
        {"model.latent": 3},
        {"training.average": None},
        {"training.num_steps": 61},
        {"optimizer.learning_rate": Linear()},
    ],
)
@pytest.mark.parametrize("entry", ["call", "init", "advance", "shapes"])
def test_a_configuration_of_another_structure_is_refused(change, entry):
    train, other = make_train(CONFIG), overlay(CONFIG, change)
    calls = {
        "call": lambda: train(other, KEY, BITS),
        "init": lambda: train.init(other, KEY, BITS),
        "advance": lambda: train.advance(other, None, BITS, 0, 1),
        "shapes": lambda: train.shapes(other, BITS),
    }
    with pytest.raises(ConfigError, match="another structure"):
        calls[entry]()


# What compiles again.


def run_all(settings) -> None:
    train = make_train(settings)
    train(settings, KEY, BITS)
    train.advance(settings, train.init(settings, KEY, BITS), BITS, 0, 3)


def test_numbers_seeds_and_evaluation_compile_nothing_again(traces):
    """Any spelling of any number, any seed and any evaluation run the program that is there; a size does not."""
    settings = overlay(CONFIG, {"model.latent": 4, "training.num_steps": 3})
    run_all(settings)
    assert traces
    traces.clear()
    rates = (1, 1.0, 1e-3, np.float32(1e-3), np.float64(1e-3), np.int64(1), jnp.float32(1e-3), jnp.int32(1))
    for rate in rates:
        run_all(overlay(settings, {"optimizer.learning_rate": rate, "optimizer.b1": 0, "training.average": rate * 0.5}))
    for seed in (1, 2**32 - 1, np.int64(3), np.uint32(4)):
        run_all(dataclasses.replace(settings, seed=seed))
    run_all(dataclasses.replace(settings, evaluation=Evaluation(num_samples=7, parameters="latest")))
    run_all(dataclasses.replace(settings, model=dataclasses.replace(settings.model, latent=np.int64(4))))
    assert traces == []
    run_all(overlay(settings, {"model.latent": 5}))
    assert traces


def test_spellings_of_a_number_train_alike():
    settings = [overlay(CONFIG, {"optimizer.learning_rate": one(0.5)}) for one in (float, np.float32, jnp.float32)]
    first, *rest = (make_train(s)(s, KEY, BITS) for s in settings)
    assert all(equal(first, other) for other in rest)


# Sweeps.


def stacked(settings):
    return jax.tree.map(lambda *v: jnp.stack(v), *map(canonical, settings))


@pytest.mark.parametrize("objective", [ELBO(), IWAE(3)])
def test_a_vmapped_sweep_equals_separate_runs(objective):
    """Three configurations with a key each, trained in one call, are the three runs; to float32's round-off."""
    base = dataclasses.replace(CONFIG, objective=objective)
    settings = [
        overlay(base, {"optimizer.learning_rate": rate, "optimizer.b1": b1, "training.average": average, "seed": seed})
        for seed, (rate, b1, average) in enumerate([(1e-3, 0.9, 0.5), (1e-2, 0.5, 0.9), (3e-2, 0.0, 0.99)])
    ]
    keys = jax.random.split(KEY, 3)
    train = make_train(base)
    swept, metrics = jax.vmap(train, (0, 0, None))(stacked(settings), keys, jnp.asarray(BITS))
    for i, one in enumerate(settings):
        state, found = train(one, keys[i], BITS)
        member = jax.tree.map(lambda v, i=i: v[i], (swept.params, swept.average, metrics))
        assert worst(member, (state.params, state.average, found)) < 1e-3
        assert swept.step[i] == state.step
    first, second = (jax.tree.map(lambda v, i=i: v[i], swept.params) for i in range(2))
    assert worst(first, second) > 1e-2


def test_configurations_say_how_gradients_are_computed():
    settings = overlay(CONFIG, {"training.accumulate": "5", "training.remat": "true", "training.compute": "bfloat16"})
    assert build(settings, WIDTH)[1].plan == Plan(5, Policy(remat=True, compute="bfloat16"))
    assert build(CONFIG, WIDTH)[1].plan == Plan()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.accumulate": 2}, r"training: accumulate: got 2, which does not divide the batch of 5"),
        ({"training.accumulate": 5, "objective.free_bits": 0.1}, r"training\.accumulate: got 5, but elbo's free bits"),
    ],
)
def test_parts_that_cannot_be_are_refused_before_anything_is_traced(change, message, traces):
    with pytest.raises(ConfigError, match=message):
        make_train(overlay(CONFIG, change))
    assert traces == []


def test_a_sweep_over_keys_alone_and_a_chunked_sweep():
    """One configuration with many keys; and a sweep advanced in chunks is the sweep in one call."""
    keys = jax.random.split(KEY, 2)
    train, data = make_train(CONFIG), jnp.asarray(BITS)
    swept, _ = jax.vmap(train, (None, 0, None))(canonical(CONFIG), keys, data)
    state = jax.vmap(train.init, (None, 0, None))(canonical(CONFIG), keys, data)
    for start in (0, 30):
        advance = jax.vmap(lambda s, start=start: train.advance(CONFIG, s, data, start, 30))
        state, _ = advance(state)
    assert worst(swept.params, state.params) < 1e-4
    for i in range(2):
        assert worst(jax.tree.map(lambda v, i=i: v[i], swept.params), train(CONFIG, keys[i], data)[0].params) < 1e-3


# Fields of the training.


def test_average_is_the_debiased_moving_average():
    """After n steps: sum of (1 - d) d^(n - i) params_i over (1 - d^n), of the parameters after each step."""
    train, decay = make_train(CONFIG), CONFIG.training.average
    state, weighted = train.init(CONFIG, KEY, BITS), None
    for n in range(1, 13):
        state, _ = train.advance(CONFIG, state, BITS, n - 1, 1)
        params = jax.tree.map(lambda v: np.asarray(v, np.float64), state.params)
        add = jax.tree.map(lambda p: (1 - decay) * p, params)
        weighted = add if weighted is None else jax.tree.map(lambda w, a: decay * w + a, weighted, add)
        expected = jax.tree.map(lambda w, n=n: w / (1 - decay**n), weighted)
        assert worst(state.average, expected) < 1e-5
    assert worst(state.average, state.params) > 1e-3


def test_no_average_is_kept_unless_asked():
    settings = overlay(CONFIG, {"training.average": None})
    assert make_train(settings).shapes(settings, BITS).average is None
    assert make_train(CONFIG).shapes(CONFIG, BITS).average is not None


POISONED = np.concatenate([NUMBERED[:19], np.full((1, WIDTH), np.inf, np.float32)])


def poisoned_run(nonfinite):
    """State, and which of the 60 steps (4 an epoch) had the infinite example in their batch."""
    settings = overlay(WITNESS, {"training.nonfinite": nonfinite, "optimizer.learning_rate": 1e-3})
    state, metrics = make_train(settings)(settings, KEY, POISONED)
    return state, np.isinf(np.asarray(metrics["x"])).any(axis=(1, 2))


def test_skip_leaves_out_the_batches_that_are_not_finite():
    """One of four batches an epoch is left out and counted; parameters move by the others alone."""
    state, bad = poisoned_run("skip")
    assert bad.sum() == 15
    assert (int(state.nonfinite), int(state.step), bool(state.halted)) == (15, 60, False)
    settings = overlay(WITNESS, {"optimizer.learning_rate": 1e-3})
    start = make_train(settings).init(settings, KEY, POISONED)
    x = batches_seen(overlay(settings, {"training.nonfinite": "skip"}), data=POISONED)
    moved = 1e-3 * np.mean(x[~bad], axis=(1, 2)).sum()
    assert worst(state.params, jax.tree.map(lambda p: p - moved, start.params)) < 1e-4


def test_stop_halts_at_the_first_step_that_is_not_finite():
    """Nothing moves from there on; the step counter stays at the step that failed."""
    state, bad = poisoned_run("stop")
    first = int(np.argmax(bad))
    assert (int(state.nonfinite), int(state.step), bool(state.halted)) == (1, first, True)
    settings = overlay(WITNESS, {"optimizer.learning_rate": 1e-3})
    train = make_train(settings)
    before = train.init(settings, KEY, POISONED)
    if first:
        before, _ = train.advance(settings, before, POISONED, 0, first)
    assert equal(state.params, before.params)
    assert equal(state.average, before.average)


# Several phases, and contexts.


def test_phases_take_fresh_batches_with_their_contexts():
    """A step takes three batches that no other step of the epoch takes; contexts stay with their rows."""
    settings = dataclasses.replace(WITNESS, objective=TwoPhases(), training=Training(num_steps=2, batch_size=3))
    data = Batch(NUMBERED[:18], 100 + NUMBERED[:18, :1])
    _, metrics = make_train(settings)(settings, KEY, data)
    assert {"0.recognition/x", "0.recognition/c", "1.generative/x", "1.generative/c"} < set(metrics)
    for phase in ("0.recognition", "1.generative"):
        np.testing.assert_array_equal(metrics[f"{phase}/c"], 100 + metrics[f"{phase}/x"][..., :1])
    # The first phase reports the last of its two batches: four of the six batches are seen here.
    seen = np.concatenate([metrics[f"{phase}/x"][..., 0].ravel() for phase in ("0.recognition", "1.generative")])
    assert len(set(seen.tolist())) == 12
    assert set(seen.tolist()) <= set(range(1, 19))


def test_phases_need_data_for_all_their_batches():
    settings = dataclasses.replace(WITNESS, objective=TwoPhases(), training=Training(num_steps=1, batch_size=8))
    with pytest.raises(DataError, match="got 8 and a step takes 3 batches, but the training data has 23 examples"):
        make_train(settings)(settings, KEY, NUMBERED)


def test_contexts_of_another_number_are_refused():
    with pytest.raises(DataError, match=r"got 23 examples and contexts of \[\(22,\)\] rows"):
        make_train(WITNESS)(WITNESS, KEY, Batch(NUMBERED, NUMBERED[:-1]))


def test_dynamic_dequantization_draws_anew_at_every_step():
    levels = np.repeat(np.arange(17, dtype=np.float32)[:, None] / 16, 2, axis=1)
    data = Digits(binarization="none", dequantization="dynamic")
    settings = dataclasses.replace(WITNESS, data=data, training=Training(num_steps=2, batch_size=17))
    first, second = (np.sort(x, axis=0) for x in batches_seen(settings, data=levels))
    for x in (first, second):
        np.testing.assert_array_equal(np.floor(17 * x), np.arange(17)[:, None] * np.ones(2))
    assert not (first == second).any()
