"""Sweeps in memory: what comes back, that it is what each point gives alone, and what is refused."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from test_stack import BITS, CONFIG, bits
from toys import worst

from genjax_models import stack as stacks
from genjax_models.axes import axis, chain, product, zipped
from genjax_models.data import Arrays, BinarizedMNIST
from genjax_models.errors import ConfigError, UserError
from genjax_models.evaluation.blocks import in_blocks
from genjax_models.objectives import ELBO, IWAE, Part, Reinforce, Sum, WakeSleep
from genjax_models.overlay import overlay
from genjax_models.stack import over_points
from genjax_models.sweep import SuccessiveHalving, Sweep, group, run_sweep, sweep_mesh
from genjax_models.train import make_train

RATE = "optimizer.learning_rate"


def alone(overrides: dict, data=BITS):
    """The last state and the metrics of a point trained in a call of its own."""
    config = overlay(CONFIG, overrides)
    return make_train(config)(config, jax.random.key(config.seed), data)


@pytest.mark.bits
def test_every_entry_is_its_point_trained_alone():
    """Over rates, steps and seeds; the structures differ, and the shorter runs end in NaN."""
    axes = product(axis(RATE, (1e-3, 1e-1)), axis("training.num_steps", (20, 30)))
    result = run_sweep(CONFIG, axes, seeds=2, data=BITS, block=1)
    assert result.grid.shape == (2, 2, 2)
    assert result.metrics["bound"].shape == (2, 2, 2, 30)
    assert len(result.choices) == 2  # a group for each number of steps
    for r, rate in enumerate((1e-3, 1e-1)):
        for n, steps in enumerate((20, 30)):
            for seed in range(2):
                state, metrics = alone({RATE: rate, "training.num_steps": steps, "seed": seed})
                index = (r, n, seed)
                assert result.metrics["bound"][index][:steps].tobytes() == np.asarray(metrics["bound"]).tobytes()
                assert np.isnan(result.metrics["bound"][index][steps:]).all()
                assert bits(result.states[index]) == bits(state)
    assert not result.halted.any()
    assert (result.nonfinite == 0).all()
    assert np.isnan(result.nll).all()  # there is no test split
    assert result.validation == {}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Configured data: 40 rows for training, 9 for validation and 11 for test."""
    path = tmp_path_factory.mktemp("data") / "x.npz"
    rows = np.random.RandomState(1).randint(0, 2, (60, 3)).astype(np.uint8)
    np.savez(path, train=rows[:40], validation=rows[40:49], test=rows[49:])
    return Arrays(path=str(path)), rows


def test_held_out_figures_are_means_over_the_splits(files):
    from genjax_models.measuring import evaluated_parameters, evaluation_key, example_log_marginal, example_metrics
    from genjax_models.train import program_config

    data, rows = files
    base = overlay(dataclasses.replace(CONFIG, data=data), {"evaluation.num_samples": 6})
    result = run_sweep(base, axis(RATE, (1e-2, 1e-1)), block=1)
    assert result.nll.shape == result.validation["bound"].shape == (2,)
    for i, rate in enumerate((1e-2, 1e-1)):
        config = program_config(overlay(base, {RATE: rate}))
        state, params = result.states[i], evaluated_parameters(result.states[i])
        measured = example_metrics(config, state, params, evaluation_key(0, 0), rows[40:49], 3)["bound"]
        exact = example_log_marginal(config.model, params, evaluation_key(0, 2), rows[49:], 3, 6).log_prob
        assert result.validation["bound"][i] == pytest.approx(float(np.mean(measured)), abs=1e-5)
        assert result.nll[i] == pytest.approx(-float(np.mean(exact)), abs=1e-5)


@pytest.mark.bits
def test_a_point_that_diverges_stops_and_its_neighbours_go_on():
    """A rate of 1e38 is not finite after the first step; the points beside it are what they are without it."""
    result = run_sweep(CONFIG, axis(RATE, (1e-2, 1e38, 1e-3)), data=BITS, block=1)
    assert result.halted.tolist() == [False, True, False]
    assert result.nonfinite.tolist() == [0, 1, 0]
    assert result.states[1].step < 30
    assert [np.isnan(row).all() for row in result.metrics["bound"][:, 2:]] == [False, True, False]  # it stood still
    assert not np.isnan(result.metrics["bound"][:, 0]).any()
    for i, rate in ((0, 1e-2), (2, 1e-3)):
        assert bits(result.states[i]) == bits(alone({RATE: rate})[0])


def test_objectives_with_other_metrics_share_a_sweep():
    """A metric that a point does not have is NaN there."""
    two = axis("objective", (ELBO(), IWAE(2), ELBO(beta=0.5)))
    result = run_sweep(overlay(CONFIG, {"training.num_steps": 3}), two, data=BITS, block=1)
    names = set(result.metrics)
    own = [set(alone({"objective": o, "training.num_steps": 3})[1]) for o in (ELBO(), IWAE(2))]
    assert names == own[0] | own[1]
    for name in names:
        assert [not np.isnan(row).all() for row in result.metrics[name]] == [
            name in own[0],
            name in own[1],
            name in own[0],
        ]


def test_groups_are_by_structure_data_and_evaluation(files):
    """Numbers and seeds do not part points; sizes, classes, data and what is evaluated do."""
    configs = [
        overlay(CONFIG, overrides)
        for overrides in (
            {RATE: 1.0},
            {"model.latent": 3},
            {RATE: 2.0, "seed": 7},
            {"objective": IWAE(2)},
            {"evaluation.num_samples": 9},
            {"data": files[0]},
            {"objective": ELBO(beta=0.3)},
        )
    ]
    assert group(configs) == [(0, 2, 6), (1,), (3,), (4,), (5,)]


def test_traces_count_groups_not_points(traces):
    """Six points of two structures call the model's methods as often as two points do."""

    def count(rates):
        jax.clear_caches()
        stacks._programs.clear()
        traces.clear()
        axes = product(axis("model.latent", (1, 2)), axis(RATE, rates))
        run_sweep(overlay(CONFIG, {"training.num_steps": 3}), axes, data=BITS, block=1)
        return len(traces)

    one = count((1e-2,))
    assert one > 0
    assert count((1e-3, 1e-2, 1e-1)) == one


def test_a_structure_that_was_swept_compiles_nothing_again(traces, monkeypatch):
    """Other numbers and seeds, as many points: the same programs, and the same points come out."""
    base = overlay(CONFIG, {"training.num_steps": 3})
    first = run_sweep(base, axis(RATE, (1e-3, 1e-2)), data=BITS, block=1)
    traces.clear()
    monkeypatch.setattr(stacks, "over_points", lambda *a: pytest.fail("it compiles"))
    second = run_sweep(base, axis(RATE, (1e-2, 1e-1)), seeds=2, data=BITS, block=1)
    assert traces == []
    assert bits(second.states[0, 0]) == bits(first.states[1])


def test_one_program_estimates_log_p_whatever_trained_the_model(files, monkeypatch):
    compiled, over_points = [], stacks.over_points

    def recorded(function, *args):
        compiled.append(function.func)
        return over_points(function, *args)

    stacks._programs.clear()
    monkeypatch.setattr(stacks, "over_points", recorded)
    base = overlay(dataclasses.replace(CONFIG, data=files[0]), {"training.num_steps": 3, "evaluation.num_samples": 6})
    run_sweep(base, axis("optimizer.clip_norm", (None, 1.0)), block=1)
    assert compiled.count(stacks._advance_point) == 2
    assert compiled.count(stacks._log_marginal_point) == 1


# Batches that several devices share.


def test_points_whose_batches_are_shared_only_round(x64):
    """Three points two at a time in two columns of four devices, of an objective with particles and one with state.

    The devices of one column alone hear of each other; 23 examples are no multiple of four.
    """
    parts = Part(IWAE(num_particles=3)), Part(Reinforce())
    config, rates = overlay(CONFIG, {"objective": Sum(parts), "training.batch_size": 8}), (1e-3, 1e-2, 1e-1)
    result = run_sweep(config, axis(RATE, rates), data=BITS, block=2, mesh=sweep_mesh(points=2, data=4))
    assert result.metrics["bound"].dtype == np.float64
    for i, rate in enumerate(rates):
        point = overlay(config, {RATE: rate})
        state, metrics = make_train(point)(point, jax.random.key(point.seed), BITS)
        for name in ("bound", "0/bound", "1/bound"):
            np.testing.assert_allclose(result.metrics[name][i], metrics[name], rtol=1e-9)
        for name in ("params", "phases", "average"):
            assert worst(getattr(result.states[i], name), getattr(state, name)) < 1e-9
        assert float(state.phases[0].objective[1].mean) < -1
    program = next(p for (function, *_), p in reversed(stacks._programs.items()) if function is stacks._advance_point)
    groups = set(re.findall(r"replica_groups=(.+?), [a-z_]+=", program.compiled.as_text()))
    assert groups
    assert groups <= {"{{0,1,2,3},{4,5,6,7}}", "[2,4]<=[8]", "mesh['points'=2,'data'=4] {'data'}"}


def test_held_out_examples_are_shared_by_the_devices_of_a_column():
    """Ten blocks of three on four devices, for two points: each takes three of them, and values are those of one."""
    examples, key, points = jnp.arange(29.0), jax.random.key(0), jnp.array([1.0, 2.0])

    def values(x, start, point, devices):
        return in_blocks(lambda k, v: point * v + jax.random.uniform(k), key, x, 3, devices)

    def shared(x, start, point):
        return values(x, start, point, jax.sharding.get_abstract_mesh())

    function = over_points(shared, sweep_mesh(points=2, data=4), 1)
    program = jax.jit(function).lower(examples, jnp.zeros(2), points[:, None]).compile()
    found = program(examples, jnp.zeros(2), points[:, None])
    for value, point in zip(found, points, strict=True):
        np.testing.assert_allclose(value[0], values(examples, 0.0, point, 1), rtol=1e-6)
    assert '"known_trip_count":{"n":"3"}' in program.as_text().replace(" ", "")


def test_meshes():
    """As many columns as there are devices for, of neighbours; and what cannot be."""
    assert dict(sweep_mesh(data=4).shape) == {"points": 2, "data": 4}
    assert [d.id for d in sweep_mesh(points=2, data=3).devices[1]] == [3, 4, 5]
    for given, said in (
        ({"data": 3}, "data: got 3, expected a divisor of the 8 devices"),
        ({"points": 3, "data": 4}, "points and data: got 3 x 4 = 12 devices, expected at most the 8"),
        ({"data": 0}, "data: got 0"),
        ({"points": True}, "points: got True"),
        ({"devices": []}, "a divisor of the 0 devices"),
    ):
        with pytest.raises(ConfigError, match=said):
            sweep_mesh(**given)


def test_what_devices_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr("genjax_models.sweep._run_group", lambda *a: pytest.fail("it ran"))
    sizes = axis("training.batch_size", (8, 10, 12))
    with pytest.raises(ConfigError, match="batch_size: got 10, which 4 devices cannot share equally"):
        run_sweep(CONFIG, sizes, data=BITS, mesh=sweep_mesh(data=4))
    with pytest.raises(ConfigError, match='got the axes data, expected "points" and perhaps "data"'):
        run_sweep(CONFIG, sizes, data=BITS, mesh=Mesh(np.array(jax.devices()), ("data",)))
    with pytest.raises(ConfigError, match="devices and mesh are both given"):
        run_sweep(CONFIG, sizes, data=BITS, devices=jax.devices(), mesh=sweep_mesh())
    monkeypatch.setattr("genjax_models.processes.several", lambda: True)
    with pytest.raises(ConfigError, match="a sweep runs on the devices of one process, and this is one of"):
        run_sweep(CONFIG, sizes, data=BITS)


# What is refused.


def test_all_that_is_wrong_is_said_at_once_before_anything_runs(monkeypatch):
    monkeypatch.setattr("genjax_models.sweep._run_group", lambda *a: pytest.fail("it ran"))
    axes = product(
        axis("optimizer.learning_rat", (1e-3,)),
        axis("model.latent", (0, 2.5)),
        zipped(axis("optimizer.b1", (0.1, 0.2)), axis("optimizer.b2", (0.1, 0.2, 0.3))),
        chain(),
    )
    with pytest.raises(ConfigError) as error:
        run_sweep(CONFIG, axes, data=BITS)
    for said in ("learning_rate", "model.latent", "0", "2.5", "2 (optimizer.b1) and 3 (optimizer.b2)", "chain"):
        assert said in str(error.value)


def test_points_that_cannot_be_built_are_named(monkeypatch):
    """A misfit of model and objective, too large a batch and missing data, in one error."""
    monkeypatch.setattr("genjax_models.sweep._run_group", lambda *a: pytest.fail("it ran"))
    axes = chain(
        axis("objective", (ELBO(), WakeSleep())),
        axis("training.batch_size", (1000000,)),
        axis("data", (BinarizedMNIST(),)),
    )
    with pytest.raises(UserError) as error:
        run_sweep(overlay(CONFIG, {"model.encoder.hidden": (4,)}), axes, data_dir="/nowhere")
    assert "training.batch_size=1000000" in str(error.value)
    assert "data=binarized_mnist" in str(error.value)


@pytest.mark.parametrize(
    ("halving", "said"),
    [
        (SuccessiveHalving(15), "a multiple of training.evaluate_every"),
        (SuccessiveHalving(30), "below training.num_steps"),
        (SuccessiveHalving(10, reduction=1), "reduction: got 1"),
        (SuccessiveHalving(10, slots=0), "slots: got 0"),
        (SuccessiveHalving(0), "min_steps: got 0"),
    ],
)
def test_impossible_halving_is_refused(halving, said):
    with pytest.raises(ConfigError, match=said):
        Sweep(axis(RATE, (1.0, 2.0)), halving=halving).expand(CONFIG, lambda config: None)


def test_points_that_there_is_no_room_for_are_refused(monkeypatch):
    monkeypatch.setattr(stacks, "available_bytes", lambda mesh: 1)
    monkeypatch.setattr(stacks.Stack, "init", lambda self: pytest.fail("it ran"))
    with pytest.raises(UserError, match="memory for 1 points of 2 at a time"):
        run_sweep(CONFIG, axis(RATE, (1.0, 2.0)), data=BITS, devices=jax.devices()[:1])


def test_halving_of_another_type_is_refused():
    with pytest.raises(ConfigError, match=r"halving: got \{'min_steps': 10\}"):
        Sweep(axis(RATE, (1.0, 2.0)), halving={"min_steps": 10}).expand(CONFIG, lambda config: None)


def test_fields_with_their_values_are_a_product():
    """A dict of paths is short for the product of its axes."""
    short = Sweep({RATE: [1e-3, 1e-2], "model.latent": (1, 2)}, seeds=2)
    long = Sweep(product(axis(RATE, (1e-3, 1e-2)), axis("model.latent", (1, 2))), seeds=2)
    grids = [sweep.expand(CONFIG, lambda config: None) for sweep in (short, long)]
    assert grids[0] == grids[1]
    assert grids[0].shape == (2, 2, 2)
    assert short.to_json() == long.to_json()


def test_rungs():
    assert SuccessiveHalving(10, reduction=2).rungs(81) == [10, 20, 40, 80]
    assert SuccessiveHalving(10, reduction=3).rungs(90) == [10, 30]


@pytest.mark.parametrize("block", [0, -1, 1.5])
def test_an_impossible_block_is_refused(block):
    with pytest.raises(ConfigError, match="block"):
        run_sweep(CONFIG, axis(RATE, (1.0, 2.0)), data=BITS, block=block)
