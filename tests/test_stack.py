"""Stacks: how points are arranged, spread over devices, and what they share with a run alone."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import worst

from genjax_models import stack as stacks
from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.evaluation import log_marginal
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.stack import MemoryShortage, Stack, arrange, block_sizes, over_points
from genjax_models.sweep import points_mesh
from genjax_models.train import make_train

BITS = np.random.RandomState(0).randint(0, 2, (23, 3)).astype(np.uint8)
CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((4,), "tanh"), decoder=MLP((4,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Digits(),
    training=Training(num_steps=30, batch_size=5, chunk=10, evaluate_every=10, average=0.9),
)
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
CONFIGS = [overlay(CONFIG, {"optimizer.learning_rate": rate, "seed": seed}) for seed, rate in enumerate(RATES)]
DEVICES = 8


def bits(tree) -> list[bytes]:
    """The bytes of every leaf."""
    plain = jax.tree.map(lambda v: jax.random.key_data(v) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v, tree)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(plain)]


# Arrangements.


@pytest.mark.parametrize(
    ("steps", "block", "devices", "capacity", "members", "starts"),
    [
        ([0] * 5, 2, 1, 0, [[0, 1], [2, 3], [4, 4]], [0, 0, 0]),
        ([0] * 5, 2, 2, 0, [[0, 1], [2, 3], [4, 4], [4, 4]], [0] * 4),
        ([0] * 3, 1, 8, 0, [[0], [1], [2], [2], [2], [2], [2], [2]], [0] * 8),
        ([7, 0, 7, 0, 7], 2, 1, 0, [[0, 2], [4, 4], [1, 3]], [7, 7, 0]),
        ([0] * 3, 1, 1, 4, [[0], [1], [2], [2]], [0] * 4),  # as many blocks as before: nothing compiles again
        ([0] * 2, 1, 1, 4, [[0], [1]], [0] * 2),  # half of them will do
        ([0], 1, 1, 8, [[0]], [0]),
    ],
)
def test_arrangements(steps, block, devices, capacity, members, starts):
    """Members at one step share blocks; what is left over repeats a member."""
    found = arrange(steps, block, devices, capacity)
    assert found.members.tolist() == members
    assert found.starts.tolist() == starts
    assert found.members.reshape(-1)[found.places].tolist() == list(range(len(steps)))


@pytest.mark.parametrize(("steps", "block"), [*itertools.product(([0] * 11, [0, 5, 0, 5, 9]), (1, 3, 20))])
def test_every_block_has_one_step_and_every_member_its_own(steps, block):
    found = arrange(steps, block, 4)
    assert len(found.starts) % 4 == 0
    for row, start in zip(found.members, found.starts, strict=True):
        assert {steps[i] for i in row} == {start}


@pytest.mark.parametrize(
    ("most", "platform", "sizes"),
    [(1, "cpu", [1]), (16, "cpu", [1, 4, 16]), (16, "gpu", [16, 4, 1]), (10, "cpu", [1, 3, 10]), (2, "tpu", [2, 1])],
)
def test_sizes_of_block_that_are_tried(most, platform, sizes):
    assert block_sizes(most, platform) == sizes


# Points on devices.


@pytest.mark.parametrize("block", [1, 2])
def test_points_are_spread_over_all_devices_without_collectives(block):
    """Five points on eight devices: the values are those of a loop, and no device hears of another."""
    x, points = jnp.arange(3.0), jnp.arange(10.0).reshape(5, 2)
    found = arrange([4] * 5, block, DEVICES)
    mesh = points_mesh()
    function = over_points(lambda x, start, point: x * point[0] + start * point[1], mesh, block)
    given = (x, jnp.asarray(found.starts), points[found.members])
    compiled = jax.jit(function).lower(*given).compile()
    out = compiled(*given)
    assert len(out.sharding.device_set) == DEVICES == mesh.size
    assert out.addressable_shards[0].data.shape[0] == len(found.starts) // DEVICES
    for word in ("all-gather", "all-reduce", "collective-permute", "all-to-all"):
        assert word not in compiled.as_text()
    values = np.asarray(out).reshape(-1, 3)[found.places]
    assert np.array_equal(values, [np.asarray(x * p[0] + 4 * p[1]) for p in points])


def run(block: int, devices: int, points: int = len(CONFIGS)):
    """The stack after two chunks, its states and the metrics of both."""
    stack = Stack(CONFIGS, BITS, points_mesh(jax.devices()[:devices]), block)
    stack.arrange(range(points), [0] * points)
    states = stack.init()
    first = stack.advance(states, 10)
    second = stack.advance(first[0], 10)
    return stack, second[0], np.concatenate([first[1]["bound"], second[1]["bound"]], axis=1)


@pytest.fixture(scope="module")
def alone():
    """State and bounds of every point after 20 steps, trained alone."""
    train = make_train(CONFIG)
    found = []
    for config in CONFIGS:
        state, bounds = train.init(config, jax.random.key(config.seed), BITS), []
        for start in (0, 10):
            state, metrics = train.advance(config, state, BITS, start, 10)
            bounds.append(np.asarray(metrics["bound"]))
        found.append((state, np.concatenate(bounds)))
    return found


@pytest.mark.bits
@pytest.mark.parametrize("devices", [1, DEVICES])
def test_one_point_at_a_time_is_the_run_alone_bit_for_bit(alone, devices):
    stack, states, bounds = run(1, devices)
    for taken, (state, bound), found in zip(stack.take(states), alone, bounds, strict=True):
        assert bits(taken) == bits(state)
        assert found.tobytes() == bound.tobytes()


def test_blocks_are_the_run_alone_to_round_off(alone):
    """Larger blocks, here of 2 and 3 points on one device, differ from a run alone in the last digits."""
    for block in (2, 3):
        stack, states, bounds = run(block, 1)
        for taken, (state, bound), found in zip(stack.take(states), alone, bounds, strict=True):
            assert worst(taken.params, state.params) < 1e-5
            assert np.abs(found - bound).max() < 1e-5


def test_what_a_point_does_is_traced_once(traces):
    """Five points of one structure, however they are arranged, call the model's methods as often as one does."""

    def count(points, block):
        jax.clear_caches()
        stacks._programs.clear()
        traces.clear()
        stack, states, _ = run(block, DEVICES, points)
        stack.measure(states, stack.share(BITS))
        return len(traces)

    one = count(1, 1)
    assert one > 0
    assert count(5, 2) == one


@pytest.mark.bits
def test_points_at_different_steps(alone):
    """A point that begins while the others stand at step 10 does what it does alone, and so do they."""
    stack = Stack(CONFIGS, BITS, points_mesh(), 1)
    stack.arrange([0, 1], [0, 0])
    states, _ = stack.advance(stack.init(), 10)
    older = stack.take(states)
    stack.arrange([2], [0])
    newer = stack.take(stack.init())
    stack.arrange([0, 2, 1], [10, 0, 10])
    states = stack.put([older[0], newer[0], older[1]])
    assert stack.stop() == 10
    states, _ = stack.advance(states, 10)
    assert stack.steps == [20, 10, 20]
    found = stack.take(states)
    assert bits(found[0]) == bits(alone[0][0])
    assert bits(found[2]) == bits(alone[1][0])
    states, _ = stack.advance(states, 10)
    assert bits(stack.take(states)[1]) == bits(alone[2][0])


def test_fillers_do_not_outnumber_the_points():
    """Points at six steps share no large blocks; one that leaves compiles nothing again, half of them do."""
    stack = Stack([CONFIGS[0]] * 64, BITS, points_mesh(jax.devices()[:1]), 64)
    for points, steps, shape in [
        (64, [0] * 64, (1, 64)),
        (63, [0] * 63, (1, 64)),
        (32, [0] * 32, (1, 32)),
        (64, [10 * (i % 6) for i in range(64)], (6, 16)),
    ]:
        stack.arrange(range(points), steps)
        assert stack._arrangement.members.shape == shape


def test_evaluations_are_those_of_a_run_alone(alone):
    """log p(x) of every point and example, under the moving average, by the evaluation's own key."""
    from genjax_models.measuring import evaluation_key

    stack, states, _ = run(1, DEVICES)
    found = stack.log_marginal(states, stack.share(BITS), 7)
    assert found.log_prob.shape == (len(CONFIGS), len(BITS))
    model = CONFIG.model.build(BITS.shape[1])
    for i, (state, _) in enumerate(alone):
        exact = log_marginal(model, state.average, evaluation_key(CONFIGS[i].seed, 2), BITS, 7)
        assert np.allclose(found.log_prob[i], exact.log_prob, atol=1e-5)


# What is chosen, and what fits.


def test_choosing_leaves_the_states_as_they_were(monkeypatch):
    monkeypatch.setattr(stacks, "PATIENCE", 0)  # every size is worth a trial
    stack = Stack(CONFIGS, BITS, points_mesh(jax.devices()[:1]))
    stack.arrange(range(5), [0] * 5)
    states = stack.init()
    before = [bits(s) for s in stack.take(states)]
    states, choice = stack.choose(states)
    assert [bits(s) for s in stack.take(states)] == before
    assert len(choice.seconds) >= 2
    # Of blocks that look equally fast in the rounded figures, any may have been chosen.
    assert choice.seconds[choice.block] == min(choice.seconds.values())
    assert stack.block == choice.block
    assert set(choice.bytes) >= set(choice.seconds)
    assert stack.steps == [0] * 5


def test_a_trial_that_cannot_pay_is_not_made():
    """Three chunks of microseconds do not win a compilation back."""
    stack = Stack(CONFIGS, BITS, points_mesh(jax.devices()[:1]))
    stack.arrange(range(5), [0] * 5)
    _, choice = stack.choose(stack.init())
    assert list(choice.seconds) == [1]


def test_memory_is_checked_before_anything_runs(monkeypatch):
    """A size of block that does not fit is passed over; where not even one point at a time fits, that is said."""
    monkeypatch.setattr(stacks, "PATIENCE", 0)
    monkeypatch.setattr(stacks, "_programs", {})
    stack = Stack(CONFIGS, BITS, points_mesh(jax.devices()[:1]))
    stack.arrange(range(5), [0] * 5)
    states = stack.init()
    real = stacks._bytes
    monkeypatch.setattr(stacks, "_bytes", lambda compiled: real(compiled) if stack.block == 1 else 10**15)
    states, choice = stack.choose(states)
    assert len(choice.bytes) > 1
    assert choice.block == 1
    assert list(choice.seconds) == [1]
    assert {choice.bytes[size] for size in choice.bytes if size > 1} == {10**15}
    monkeypatch.undo()

    monkeypatch.setattr(Stack, "_run", lambda *args: pytest.fail("it ran"))
    monkeypatch.setattr(stacks, "available_bytes", lambda mesh: 10)
    with pytest.raises(MemoryShortage, match=r"5 points need .* GiB on each of 1 devices"):
        stack.choose(states)


def test_the_memory_that_is_free_on_this_machine():
    """Eight devices of one CPU share what there is."""
    one, eight = (stacks.available_bytes(points_mesh(jax.devices()[:n])) for n in (1, 8))
    assert one > 2**20
    assert 0.5 < 8 * eight / one < 2


def test_room_is_for_three_copies_of_a_state(monkeypatch):
    """With 0.9 of a device's memory, on each of two devices."""
    stack = Stack(CONFIGS, BITS, points_mesh(jax.devices()[:2]))
    state = make_train(CONFIG).shapes(CONFIG, jax.ShapeDtypeStruct(BITS.shape, jnp.float32))
    key, rest = 2 * 4, [leaf for leaf in jax.tree.leaves(state) if leaf.dtype != state.key.dtype]
    size = key + sum(leaf.size * leaf.dtype.itemsize for leaf in rest)
    monkeypatch.setattr(stacks, "available_bytes", lambda mesh: 3 * size * 7 / 0.9 + 1)
    assert stack.room() == 14
    monkeypatch.setattr(stacks, "available_bytes", lambda mesh: 1)
    assert stack.room() == 1


def test_members_of_a_stack_keep_their_seed():
    """Equal configurations but for the seed end differently; equal seeds alike."""
    same = [dataclasses.replace(CONFIG, seed=seed) for seed in (3, 3, 4)]
    stack = Stack(same, BITS, points_mesh(), 1)
    stack.arrange(range(3), [0] * 3)
    states, _ = stack.advance(stack.init(), 10)
    a, b, c = stack.take(states)
    assert bits(a) == bits(b)
    assert bits(a.params) != bits(c.params)
