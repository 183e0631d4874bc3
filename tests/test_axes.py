"""What a sweep varies: the points of every combination of axes, and every mistake reported at once."""

import dataclasses
import doctest
import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models import axes, labels
from genjax_models.axes import (
    Axis,
    Choice,
    Integers,
    LogUniform,
    Range,
    Uniform,
    axes_to_json,
    axis,
    chain,
    linear_axis,
    log_axis,
    parse_axis,
    product,
    quasi_random,
    random,
    zipped,
)
from genjax_models.config import Config, Evaluation, ObjectiveConfig, Training, config
from genjax_models.data import Arrays, Digits
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.labels import label, point_label, short_names
from genjax_models.models import VAE, SigmoidBeliefNetwork
from genjax_models.objectives import ELBO, IWAE, Part, ReweightedWakeSleep, Sum, WakeSleep
from genjax_models.optimizers import SGD, Adam, Cosine, Warmup
from genjax_models.overlay import overlay
from genjax_models.points import expand, overrides_to_json
from genjax_models.tables import types

CONFIG = Config(model=SigmoidBeliefNetwork((5,)), objective=IWAE(), optimizer=Adam(), data=Digits(), seed=7)


@config
class OwnObjective(ObjectiveConfig):
    """An objective of the user's that no table names."""

    scale: int | float = 1

    def build(self, model):
        raise NotImplementedError


ARRAYS = dataclasses.replace(CONFIG, data=Arrays(path="x.npy"))
RATE, PARTICLES, LAYERS = "optimizer.learning_rate", "objective.num_particles", "model.layers"


def overrides(*args, **kwargs):
    return [point.overrides for point in expand(*args, **kwargs).points]


def values(node, base=CONFIG):
    """The values of a sweep over one field."""
    found = overrides(node, base)
    assert all(len(row) == 1 for row in found)
    return [value for row in found for value in row.values()]


def problems(*args, **kwargs):
    with pytest.raises(ConfigError) as error:
        expand(*args, **kwargs)
    return str(error.value).split("\n")


def the_problem(*args, **kwargs):
    found = problems(*args, **kwargs)
    assert len(found) == 1, found
    return found[0]


# Axes


def test_an_axis_gives_its_values_in_order():
    grid = expand(axis(RATE, (1e-4, 1e-2, 1e-3)), CONFIG)
    assert grid.shape == (3,)
    assert [point.index for point in grid.points] == [0, 1, 2]
    assert [point.overrides for point in grid.points] == [{RATE: 1e-4}, {RATE: 1e-2}, {RATE: 1e-3}]
    assert [point.config for point in grid.points] == [overlay(CONFIG, {RATE: v}) for v in (1e-4, 1e-2, 1e-3)]
    assert grid.dimensions == (((RATE,), ({RATE: 1e-4}, {RATE: 1e-2}, {RATE: 1e-3})),)


@pytest.mark.parametrize(
    "given",
    [
        (1, 2),
        [1, 2],
        range(1, 3),
        (v for v in (1, 2)),
        np.array([1, 2]),
        np.array([1.0, 2.0], np.float32),
        (np.int64(1), jnp.asarray(2.0)),
        ("1", "2"),
    ],
)
def test_a_float_axis_holds_pythons_floats(given):
    grid = expand(axis(RATE, given), CONFIG)
    for point, value in zip(grid.points, (1.0, 2.0), strict=True):
        for found in (point.overrides[RATE], point.config.optimizer.learning_rate):
            assert type(found) is float
            assert found == value
    assert [type(row[RATE]) for row in grid.dimensions[0].overrides] == [float, float]


@pytest.mark.parametrize("given", [(2, 3), np.array([2, 3]), ("2", " 3 ")])
def test_an_integer_axis_holds_pythons_integers(given):
    grid = expand(axis(PARTICLES, given), CONFIG)
    assert [point.overrides[PARTICLES] for point in grid.points] == [2, 3]
    assert [type(point.config.objective.num_particles) for point in grid.points] == [int, int]


def test_numbers_in_tuples_and_other_values_are_pythons_too():
    assert values(axis(LAYERS, ((np.int64(3),), (4, 2)))) == [(3,), (4, 2)]
    assert all(type(n) is int for row in values(axis(LAYERS, ((np.int64(3),), (4, 2)))) for n in row)
    base = dataclasses.replace(CONFIG, optimizer=SGD(momentum=0.5))
    assert [type(v) for v in values(axis("optimizer.nesterov", np.array([True, False])), base)] == [bool, bool]
    assert values(axis("optimizer.momentum", (None, 0, 0.5)), base) == [None, 0.0, 0.5]
    assert type(values(axis("optimizer.momentum", (None, 0)), base)[1]) is float


def test_text_is_read_as_its_fields_type_says():
    assert values(axis("evaluation.test_examples", ("none", "12"))) == [None, 12]
    assert values(axis("training.nonfinite", ("skip", "stop"))) == ["skip", "stop"]
    assert values(axis(LAYERS, ("3", "(4, 2)"))) == [(3,), (4, 2)]
    assert values(axis("data.path", ("a.npy", "7")), ARRAYS) == ["a.npy", "7"]


def test_a_configuration_may_replace_another():
    objectives = (WakeSleep(), ReweightedWakeSleep(3))
    grid = expand(axis("objective", objectives), CONFIG)
    assert [point.overrides for point in grid.points] == [{"objective": o} for o in objectives]
    assert [point.config.objective for point in grid.points] == list(objectives)
    assert values(axis(RATE, (1e-3, Cosine(0.1)))) == [1e-3, Cosine(0.1)]


def test_a_configuration_goes_before_its_fields_whichever_axis_comes_first():
    objectives = axis("objective", (IWAE(), ReweightedWakeSleep()))
    particles = axis(PARTICLES, (2, 3))
    expected = [IWAE(2), IWAE(3), ReweightedWakeSleep(2), ReweightedWakeSleep(3)]
    assert [point.config.objective for point in expand(product(objectives, particles), CONFIG).points] == expected
    turned = expand(product(particles, objectives), CONFIG)
    assert [point.config.objective for point in turned.points] == [expected[i] for i in (0, 2, 1, 3)]
    assert list(turned.points[0].overrides) == [PARTICLES, "objective"]


def test_hyphens_in_paths_are_underscores():
    grid = expand(axis("optimizer.learning-rate", (0.5,)), CONFIG)
    assert grid.points[0].overrides == {RATE: 0.5}
    assert grid.dimensions[0].paths == (RATE,)


def test_ranges():
    assert values(log_axis(RATE, 1e-4, 1e-1, 4)) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert values(linear_axis(RATE, 0, 1, 11)) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert values(log_axis(RATE, 0.1, 0.4, 1)) == [0.1]
    assert values(linear_axis(RATE, 1 / 3, 2 / 3, 2)) == [1 / 3, 2 / 3]  # the ends as they were given
    assert all(type(v) is float for v in values(linear_axis(RATE, 0, 4, 3)))


def test_ranges_are_rounded_on_an_integer_field():
    found = values(log_axis(PARTICLES, 1, 1000, 4))
    assert found == [1, 10, 100, 1000]
    assert all(type(v) is int for v in found)
    assert values(linear_axis(PARTICLES, 1, 2000, 3)) == [1, 1000, 2000]
    assert values(linear_axis("evaluation.test_examples", 2, 5, 3)) == [2, 4, 5]  # None or an integer
    assert values(linear_axis("seed", 10**9, 4 * 10**9, 4)) == [10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9]


def test_ranges_stay_as_they_are_on_a_field_of_any_numbers():
    base = dataclasses.replace(CONFIG, objective=OwnObjective())
    assert values(linear_axis("objective.scale", 1, 2, 3), base) == [1, 1.5, 2]


def test_a_field_of_a_swept_configuration_is_rounded_by_its_type():
    base = dataclasses.replace(CONFIG, objective=WakeSleep())  # which has no such field
    node = product(axis("objective", (IWAE(),)), log_axis(PARTICLES, 1, 16, 3))
    assert [point.config.objective.num_particles for point in expand(node, base).points] == [1, 4, 16]


# Algebra


def test_a_product_is_row_major_and_keeps_its_dimensions():
    grid = expand(product(axis(RATE, (0.1, 0.2)), axis(PARTICLES, (1, 2, 3))), CONFIG)
    assert grid.shape == (2, 3)
    assert [tuple(point.overrides.values()) for point in grid.points] == [
        (0.1, 1), (0.1, 2), (0.1, 3), (0.2, 1), (0.2, 2), (0.2, 3),
    ]  # fmt: skip
    assert [d.paths for d in grid.dimensions] == [(RATE,), (PARTICLES,)]
    assert grid.dimensions[1].overrides == ({PARTICLES: 1}, {PARTICLES: 2}, {PARTICLES: 3})


def test_products_in_products_lie_flat():
    node = product(product(axis(RATE, (0.1, 0.2)), axis(PARTICLES, (1, 2))), axis(LAYERS, ((3,), (4,), (5,))))
    assert expand(node, CONFIG).shape == (2, 2, 3)


def test_a_zip_walks_along_its_parts_at_once():
    grid = expand(zipped(axis(RATE, (0.1, 0.2)), axis(PARTICLES, ("1", "2"))), CONFIG)
    assert grid.shape == (2,)
    assert grid.dimensions[0].paths == (RATE, PARTICLES)
    assert grid.dimensions[0].overrides == ({RATE: 0.1, PARTICLES: 1}, {RATE: 0.2, PARTICLES: 2})


def test_a_chain_tries_one_part_after_the_other():
    grid = expand(chain(axis(RATE, (0.1, 0.2)), axis(PARTICLES, (2, 3)), axis(RATE, (0.3,))), CONFIG)
    assert grid.shape == (5,)
    assert grid.dimensions[0].paths == (RATE, PARTICLES)
    assert [p.overrides for p in grid.points] == [{RATE: 0.1}, {RATE: 0.2}, {PARTICLES: 2}, {PARTICLES: 3}, {RATE: 0.3}]
    base = (CONFIG.optimizer.learning_rate, CONFIG.objective.num_particles)
    found = [(p.config.optimizer.learning_rate, p.config.objective.num_particles) for p in grid.points]
    assert found == [(0.1, base[1]), (0.2, base[1]), (base[0], 2), (base[0], 3), (0.3, base[1])]


def test_a_product_in_a_zip_or_a_chain_is_one_dimension():
    four = product(axis(RATE, (0.1, 0.2)), axis(PARTICLES, (1, 2)))
    zip_of = expand(zipped(four, axis(LAYERS, ((1,), (2,), (3,), (4,)))), CONFIG)
    assert zip_of.shape == (4,)
    assert [tuple(p.overrides.values()) for p in zip_of.points] == [
        (0.1, 1, (1,)), (0.1, 2, (2,)), (0.2, 1, (3,)), (0.2, 2, (4,)),
    ]  # fmt: skip
    assert expand(chain(four, axis(LAYERS, ((6,), (7,)))), CONFIG).shape == (6,)


def test_a_chain_in_a_product_keeps_its_fields_apart():
    grid = expand(product(chain(axis(RATE, (0.1,)), axis(LAYERS, ((6,),))), axis(PARTICLES, (1, 2))), CONFIG)
    assert grid.shape == (2, 2)
    assert [p.overrides for p in grid.points] == [
        {RATE: 0.1, PARTICLES: 1},
        {RATE: 0.1, PARTICLES: 2},
        {LAYERS: (6,), PARTICLES: 1},
        {LAYERS: (6,), PARTICLES: 2},
    ]
    assert grid.dimensions[0].overrides == ({RATE: 0.1}, {LAYERS: (6,)})


def test_seeds_are_the_last_dimension_from_the_configurations_own():
    grid = expand(axis(RATE, (0.1, 0.2)), CONFIG, seeds=3)
    assert grid.shape == (2, 3)
    assert [p.config.seed for p in grid.points] == [7, 8, 9, 7, 8, 9]
    assert grid.points[4].overrides == {RATE: 0.2, "seed": 8}
    assert grid.dimensions[1].paths == ("seed",)
    assert expand(None, CONFIG, seeds=2).shape == (2,)
    assert expand(None, CONFIG, seeds=1).points[0].config == CONFIG
    assert values(axis("seed", (1, 5))) == [1, 5]


def test_values_over_the_points_become_an_array_over_the_dimensions():
    grid = expand(product(axis(RATE, (0.1, 0.2)), axis(PARTICLES, (1, 2, 3))), CONFIG)
    for index in np.ndindex(grid.shape):
        point = grid.points[grid.reshape([p.index for p in grid.points])[index]]
        at = [d.overrides[i] for d, i in zip(grid.dimensions, index, strict=True)]
        assert point.overrides == at[0] | at[1]
    assert grid.reshape([np.zeros(4)] * 6).shape == (2, 3, 4)
    np.testing.assert_array_equal(grid.reshape([1, None, 2, 3, 4, 5]), [[1, np.nan, 2], [3, 4, 5]])
    with pytest.raises(ConfigError, match=r"values: got 5, expected one for each of the 6 points\."):
        grid.reshape([0] * 5)


def test_nodes_are_hashable_and_equal_by_value():
    def node():
        space = {RATE: LogUniform(1e-4, 1e-2), LAYERS: Choice([(2,), (3,)])}
        return product(axis("objective", [WakeSleep()]), log_axis(PARTICLES, 1, 4, 3), random(space, 4))

    assert node() == node()
    assert hash(node()) == hash(node())
    assert node() != chain(*node().parts)


# Draws

SPACE = {
    RATE: LogUniform(1e-4, 1e-2),
    "optimizer.b1": Uniform(0.5, 0.9),
    PARTICLES: Integers(3, 6),
    "training.nonfinite": Choice(("stop", "skip")),
}
LOW_HALVES = [
    lambda row: row[RATE] < 1e-3,
    lambda row: row["optimizer.b1"] < 0.7,
    lambda row: row[PARTICLES] < 5,
    lambda row: row["training.nonfinite"] == "stop",
]


@pytest.mark.parametrize("draws", [random, quasi_random])
def test_draws_are_one_dimension_within_their_limits(draws):
    grid = expand(draws(SPACE, 50, seed=3), CONFIG)
    assert grid.shape == (50,)
    assert grid.dimensions[0].paths == tuple(SPACE)
    rows = [point.overrides for point in grid.points]
    assert all(1e-4 <= row[RATE] <= 1e-2 and 0.5 <= row["optimizer.b1"] <= 0.9 for row in rows)
    assert {row[PARTICLES] for row in rows} == {3, 4, 5, 6}
    assert {row["training.nonfinite"] for row in rows} == {"stop", "skip"}
    kinds = {RATE: float, "optimizer.b1": float, PARTICLES: int, "training.nonfinite": str}
    assert all(type(row[path]) is kind for row in rows for path, kind in kinds.items())


@pytest.mark.parametrize("draws", [random, quasi_random])
def test_draws_follow_their_seed_alone_and_more_of_them_begin_alike(draws):
    rows = overrides(draws(SPACE, 10, seed=3), CONFIG)
    assert rows == overrides(draws(SPACE, 10, seed=3), CONFIG)
    assert rows == overrides(draws(SPACE, 23, seed=3), CONFIG)[:10]
    assert rows != overrides(draws(SPACE, 10, seed=4), CONFIG)
    assert rows[0] == overrides(draws(SPACE, 1, seed=3), CONFIG)[0]


@pytest.mark.parametrize("seed", range(4))
def test_quasi_random_draws_fill_the_space_evenly(seed):
    rows = overrides(quasi_random(SPACE, 64, seed), CONFIG)
    for low in LOW_HALVES:
        assert sum(map(low, rows)) == 32
    # Any 2^m first points are even, too, and every pair of fields shares its four quarters.
    for low in LOW_HALVES:
        assert sum(map(low, rows[:16])) == 8
    quarters = [(LOW_HALVES[0](row), LOW_HALVES[1](row)) for row in rows]
    assert {q: quarters.count(q) for q in itertools.product((True, False), repeat=2)} == dict.fromkeys(quarters, 16)
    eighths = np.floor((np.log10([row[RATE] for row in rows]) + 4) / 2 * 8)  # in log space
    assert np.bincount(eighths.astype(int)).tolist() == [8] * 8


def test_random_draws_are_less_even_than_quasi_random_ones():
    rows = overrides(random(SPACE, 64), CONFIG)
    shares = [sum(map(low, rows)) for low in LOW_HALVES]
    assert shares != [32] * 4
    assert all(15 < share < 49 for share in shares)  # 32 +- 4 standard errors


def test_draws_are_the_quantiles_of_their_uniforms():
    u = np.random.RandomState(5).uniform(size=(20, 4))
    for row, (a, b, c, d) in zip(overrides(random(SPACE, 20, seed=5), CONFIG), u, strict=True):
        assert row[RATE] == pytest.approx(1e-4 * 100**a, rel=1e-12)
        assert row["optimizer.b1"] == pytest.approx(0.5 + 0.4 * b, rel=1e-12)
        assert row[PARTICLES] == [3, 4, 5, 6][int(4 * c)]
        assert row["training.nonfinite"] == ("stop", "skip")[int(2 * d)]


def test_draws_are_rounded_on_an_integer_field():
    found = values(quasi_random({"model.latent": LogUniform(1, 1000)}, 8), dataclasses.replace(CONFIG, model=VAE()))
    assert all(type(v) is int for v in found)
    assert sum(v < 32 for v in found) == 4
    assert type(values(random({RATE: Integers(1, 9)}, 1))[0]) is float


def test_drawn_configurations_and_tuples():
    space = {"objective": Choice((WakeSleep(), IWAE())), LAYERS: Choice(((3,), (4, 2)))}
    rows = overrides(quasi_random(space, 4), CONFIG)
    assert {(row["objective"], row[LAYERS]) for row in rows} == set(
        itertools.product((WakeSleep(), IWAE()), ((3,), (4, 2)))
    )


# The shell


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{RATE}=1e-4,1e-3", Axis(RATE, ("1e-4", "1e-3"))),
        (" optimizer.learning-rate = 1e-4 , 1e-3 ", Axis(RATE, ("1e-4", "1e-3"))),
        (f"{LAYERS}=50;50,20", Axis(LAYERS, ("50", "50,20"))),
        (f"{LAYERS}=50,20;", Axis(LAYERS, ("50,20",))),
        (f"{LAYERS}=50,20", Axis(LAYERS, ("50", "20"))),
        (f"{LAYERS}=(50),(50, 20)", Axis(LAYERS, ("(50)", "(50, 20)"))),
        (f"{LAYERS}=[50],[50,20]", Axis(LAYERS, ("[50]", "[50,20]"))),
        ("training.average=none,0.99", Axis("training.average", ("none", "0.99"))),
        ("data.path=a=b.npy,c d.npy", Axis("data.path", ("a=b.npy", "c d.npy"))),
        ("data.path=a,b.npy;", Axis("data.path", ("a,b.npy",))),
        ("data.path=a-b,logs:1", Axis("data.path", ("a-b", "logs:1"))),
        ("x=log,linear", Axis("x", ("log", "linear"))),
        (f"{RATE}=log:1e-4:1e-2:8", Range(RATE, "log", 1e-4, 1e-2, 8)),
        ("optimizer.learning-rate=linear: 0 : 1 : 5", Range(RATE, "linear", 0, 1, 5)),
        (f"{RATE}=log:0:-1:0", Range(RATE, "log", 0, -1, 0)),  # for expand to report with all else
        (f"{RATE}=", Axis(RATE, ())),
    ],
)
def test_axes_from_the_shell(text, expected):
    assert parse_axis(text) == expected


def test_axes_from_the_shell_hold_parsed_values():
    assert values(parse_axis(f"{RATE}=1e-4,1")) == [1e-4, 1.0]
    assert values(parse_axis(f"{LAYERS}=50;50,20")) == [(50,), (50, 20)]
    assert values(parse_axis(f"{LAYERS}=(50),(50,20)")) == [(50,), (50, 20)]
    assert values(parse_axis(f"{LAYERS}=50,20")) == [(50,), (20,)]
    assert values(parse_axis("model.layers=50,20;")) == [(50, 20)]
    assert values(parse_axis("training.average=none,0.99")) == [None, 0.99]
    assert values(parse_axis(f"{PARTICLES}=log:1:100:3")) == [1, 10, 100]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (RATE, [repr(RATE), "expected PATH=VALUE", "PATH=log:LOW:HIGH:NUM", "such as"]),
        ("=1,2", ["'=1,2'", "expected PATH=VALUE"]),
        ("", ["''", "expected PATH=VALUE"]),
        (5, ["got 5", "expected PATH=VALUE"]),
        (f"{RATE}=log:1:2", [RATE, "'log:1:2'", "expected log:LOW:HIGH:NUM", f"{RATE}=log:1:8:4"]),
        (f"{RATE}=linear:1:2:3:4", ["'linear:1:2:3:4'", "expected linear:LOW:HIGH:NUM"]),
        (f"{RATE}=log:a:2:3", ["'log:a:2:3'", "two numbers and an integer"]),
        (f"{RATE}=log:1:2:2.5", ["'log:1:2:2.5'", "two numbers and an integer"]),
        (f"{RATE}=1,,2", [RATE, "'1,,2'", "empty", "drop the separator"]),
        (f"{RATE}=1,", ["'1,'", "empty"]),
        (f"{LAYERS}=;1", ["';1'", "empty"]),
        (f"{LAYERS}=(50,20", [LAYERS, "'(50,20'", "parentheses", f"{LAYERS}=(50),(50,20)"]),
        (f"{LAYERS}=50),(20", ["'50),(20'", "parentheses"]),
    ],
)
def test_text_that_is_no_axis(text, parts):
    with pytest.raises(ConfigError) as error:
        parse_axis(text)
    assert all(part in str(error.value) for part in parts), str(error.value)


# Mistakes


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        (
            axis("optimizer.learning_rat", (1, 2)),
            ["learning_rat", "Adam has no field", "Did you mean 'learning_rate'?"],
        ),
        (axis("optimiser.b1", (0.1, 0.2)), ["'optimiser'", "Did you mean 'optimizer'?"]),
        (axis("learning_rate", (1, 2)), ["learning_rate: Config has no field", f"Did you mean {RATE!r}?"]),
        (axis(PARTICLES, ("many",)), [f"{PARTICLES}: got 'many', expected an integer."]),
        (axis(PARTICLES, (2.5,)), [f"{PARTICLES}: got 2.5, expected an integer."]),
        (axis(PARTICLES, (0,)), [f"{PARTICLES}: got 0, expected an integer, at least 1."]),
        (axis(RATE, (True,)), [f"{RATE}: got True, expected a number"]),
        (axis(RATE, (float("inf"),)), [f"{RATE}: got inf, expected a finite number."]),
        (axis(LAYERS, ((3, 0),)), [f"{LAYERS}.1: got 0, expected an integer, at least 1."]),
        (axis(LAYERS, ([3],)), [f"{LAYERS}: got [3]", "Write a tuple"]),
        (axis("model.layers.0", (3,)), [f"give all of {LAYERS} at once"]),
        (axis("objective", ("elbo",)), ["objective: got 'elbo'", "override its fields"]),
        (axis("objective", (Adam(),)), ["objective=adam: objective: got Adam(", "expected an ObjectiveConfig"]),
        (axis("objective", (IWAE(0),)), [f"objective=iwae-num_particles=0: {PARTICLES}: got 0", "at least 1"]),
        (axis("objective", (IWAE,)), ["objective: got <class", "IWAE", "expected an ObjectiveConfig"]),
        (product(axis(RATE, (0.1,)), None), ["axes: got None, expected axis(...)"]),
        (axis("objective.parts.0.weight", (1, 2)), ["objective.parts: IWAE has no field 'parts'"]),
        (axis(f"{RATE}.peak", (1, 2)), [f"{RATE}.peak: {RATE} is 0.001, which has no fields."]),
        (axis("seed", (2**32,)), ["seed: got 4294967296", "less than 4294967296"]),
        (axis(RATE, ()), [f"{RATE}: its axis has no values; give at least one."]),
        (axis(RATE, 0.1), [f"{RATE}: got 0.1, expected a tuple of values, such as (0.1,)."]),
        (axis("training.nonfinite", "stop"), ["got 'stop', expected a tuple of values, such as ('stop',)."]),
        (axis(RATE, np.asarray(0.1)), ["expected a tuple of values"]),
        (axis(RATE, {0.1, 0.2}), ["expected a tuple of values"]),
        (axis(3, (1, 2)), ["axis: got 3 for the field", RATE]),
        (axis("", (1, 2)), ["axis: got '' for the field", RATE]),
        (log_axis(None, 1, 2, 3), ["log_axis: got None for the field"]),
        (product(), ["product: it has no parts; give it at least one axis."]),
        (zipped(), ["zipped: it has no parts; give it at least one axis."]),
        (chain(), ["chain: it has no parts; give it at least one axis."]),
        (chain(axis(RATE, (1, 2)), product()), ["product: it has no parts"]),
        (
            zipped(axis(RATE, (1, 2, 3)), axis(PARTICLES, (1, 2))),
            [f"3 ({RATE}) and 2 ({PARTICLES}) values", "expected equally many", "product"],
        ),
        (
            product(axis(RATE, (1, 2)), axis("optimizer.learning-rate", (3, 4))),
            [f"{RATE}: it varies in two parts of product(...)", "name each field once", "chain"],
        ),
        (
            zipped(axis(RATE, (1, 2)), zipped(axis(PARTICLES, (1, 2)), axis(RATE, (3, 4)))),
            [f"{RATE}: it varies in two parts of zipped(...)"],
        ),
        (log_axis(RATE, 0, 1, 3), [f"{RATE}: got low = 0", "logarithmic", "more than 0", "linear_axis"]),
        (log_axis(RATE, 2, 1, 3), [f"{RATE}: got low = 2 and high = 1, expected low <= high; exchange them."]),
        (linear_axis(RATE, 2, 1, 3), ["got low = 2 and high = 1, expected low <= high"]),
        (linear_axis(RATE, 1, 2, 0), [f"{RATE}: got num = 0, expected an integer, at least 1."]),
        (linear_axis(RATE, 1, 2, 2.0), ["got num = 2.0, expected an integer, at least 1."]),
        (linear_axis(RATE, "a", 2, 2), ["got low = 'a', expected a finite number."]),
        (linear_axis(RATE, 0, float("nan"), 2), ["got high = nan, expected a finite number."]),
        (linear_axis(RATE, 1, 1, 3), [f"{RATE}: 3 values from 1 to 1 are all the same", "ask for 1"]),
        (linear_axis(RATE, -1, 1, 2), [f"{RATE}: got -1.0, expected a number"]),
        (
            log_axis(PARTICLES, 1, 4, 6),
            [f"{PARTICLES}: 6 log-spaced values from 1 to 4", "repeat 1, 2;", "fewer", "(1, 2, 3, 4)"],
        ),
        (linear_axis("data.path", 0, 1, 2), ["data.path", "Digits has no field"]),
        (random({}, 3), ["random: got ()", "expected a distribution for every field", "LogUniform"]),
        (random([RATE], 3), ["random: got ['optimizer.learning_rate']", "expected a distribution"]),
        (quasi_random({RATE: (1, 2)}, 3), [f"{RATE}: got (1, 2), expected Uniform(a, b), LogUniform"]),
        (random({RATE: Uniform(2, 1)}, 3), [f"{RATE}: got low = 2 and high = 1"]),
        (random({RATE: LogUniform(0, 1)}, 3), [f"{RATE}: got low = 0 on a logarithmic scale", "use Uniform"]),
        (random({RATE: Integers(1, 2.5)}, 3), [f"{RATE}: got high = 2.5, expected an integer."]),
        (random({RATE: Choice(())}, 3), [f"{RATE}: got Choice(()), expected a tuple with at least one value."]),
        (random({RATE: Choice("ab")}, 3), ["got Choice('ab'), expected a tuple"]),
        (random({RATE: Uniform(1, 2)}, 0), ["random: got num = 0, expected an integer, at least 1."]),
        (quasi_random({RATE: Uniform(1, 2)}, 3, seed=-1), ["quasi_random: got seed = -1, expected an integer"]),
        (
            random({RATE: Uniform(1, 2), "optimizer.learning-rate": Uniform(1, 2)}, 3),
            [f"{RATE}: random draws it twice"],
        ),
        ([axis(RATE, (1, 2))], ["axes: got [Axis(", "expected axis(...)", "product(...)"]),
        (product(axis(RATE, (1, 2)), "seed"), ["axes: got 'seed'", "expected axis(...)"]),
    ],
)
def test_every_mistake_says_what_was_given_expected_and_how_to_mend_it(node, parts):
    found = the_problem(node, CONFIG)
    assert all(part in found for part in parts), found


def test_all_mistakes_are_reported_at_once():
    node = product(
        axis("optimizer.learning_rat", (1e-3, 1e-2)),
        axis(PARTICLES, ("many", 0, 3)),
        zipped(axis("optimizer.b1", (0.1, 2.0)), axis("optimizer.b2", (0.1, 0.2, 0.3))),
        log_axis("optimizer.eps", 0, 1, 0),
        axis("training.num_steps", ()),
        chain(),
    )
    found = problems(node, CONFIG, seeds=0)
    expected = [
        "optimizer.learning_rat: Adam has no field",
        f"{PARTICLES}: got 'many'",
        f"{PARTICLES}: got 0",
        "optimizer.b1: got 2.0",
        "zipped: its parts have 2 (optimizer.b1) and 3 (optimizer.b2)",
        "optimizer.eps: got num = 0",
        "optimizer.eps: got low = 0",
        "training.num_steps: its axis has no values",
        "chain: it has no parts",
        "seeds: got 0",
    ]
    assert len(found) == len(expected)
    assert all(any(line.startswith(start) for line in found) for start in expected), found


def test_a_mistake_of_many_points_is_reported_once_with_one_of_them():
    base = dataclasses.replace(CONFIG, optimizer=SGD())
    node = product(axis("optimizer.momentum", (None, 0.5)), axis("optimizer.nesterov", (True, False)))
    assert the_problem(node, base, seeds=2) == (
        "optimizer.momentum=None, optimizer.nesterov=True, seed=7 and 1 more point: "
        "optimizer: nesterov: got True without momentum; give momentum as well."
    )


def test_a_field_that_only_some_swept_configurations_have():
    node = product(axis("objective", (WakeSleep(), IWAE(), ELBO())), axis(PARTICLES, (2, 3)))
    assert the_problem(node, CONFIG) == (
        f"objective=wake_sleep, {PARTICLES}=2 and 1 more point: {PARTICLES}: WakeSleep has no field 'num_particles'."
    )


def test_a_misspelt_field_is_named_without_a_point():
    assert the_problem(axis("optimiser.b1", (0.1, 0.2)), CONFIG).startswith("optimiser: Config has no field")
    assert the_problem(axis("objective.parts.0.weight", (1, 2)), CONFIG).startswith("objective.parts: IWAE has no")


@pytest.mark.parametrize("given", [(RATE, PARTICLES), ("ab", "cd"), ()])
def test_draws_of_no_pairs(given):
    assert "expected a distribution for every field" in the_problem(random(given, 3), CONFIG)


def test_a_path_that_is_a_list():
    assert "axis: got ['a'] for the field" in the_problem(product(axis(["a"], (1,)), axis(RATE, (1, 2))), CONFIG)


def test_a_field_of_a_class_that_was_not_called():
    found = problems(product(axis("objective", (IWAE,)), axis(PARTICLES, (2,))), CONFIG)
    assert len(found) == 2
    assert any("which has no fields" in line for line in found)
    assert any("expected an ObjectiveConfig" in line for line in found)


def test_a_mistake_of_the_base_is_not_blamed_on_a_point():
    base = dataclasses.replace(CONFIG, training=Training(num_steps=0))
    assert the_problem(axis(RATE, (1, 2)), base) == "training.num_steps: got 0, expected an integer, at least 1."
    assert overrides(axis("training.num_steps", (3,)), base) == [{"training.num_steps": 3}]  # it may mend the base
    with pytest.raises(ConfigError, match=r"config: got 5, expected a genjax_models\.config\.Config"):
        expand(axis(RATE, (1, 2)), 5)


@pytest.mark.parametrize("seeds", [0, -1, 2.0, True, "3"])
def test_a_number_of_seeds_that_is_none(seeds):
    assert the_problem(axis(RATE, (1, 2)), CONFIG, seeds) == f"seeds: got {seeds!r}, expected an integer, at least 1."


def test_seeds_that_cannot_be():
    assert "nothing is swept" in the_problem(None, CONFIG)
    assert "--seeds 3" in the_problem(None, CONFIG)
    assert "an axis varies the seed already" in the_problem(chain(axis("seed", (1, 2))), CONFIG, 3)
    last = dataclasses.replace(CONFIG, seed=2**32 - 2)
    assert expand(None, last, 2).points[1].config.seed == 2**32 - 1
    assert "4294967294 + 2 = 4294967296, expected less than 4294967296" in the_problem(None, last, 3)
    assert the_problem(None, dataclasses.replace(CONFIG, seed="a"), 3).startswith("seed: got 'a'")


@pytest.mark.parametrize(
    ("node", "pair", "text"),
    [
        (axis(RATE, (0.1, 0.2, 0.1)), (0, 2), f"({RATE}=0.1)"),
        (axis(RATE, ("1e-1", 0.2, "0.1")), (0, 2), f"({RATE}=0.1)"),
        (axis(RATE, (1, 1.0)), (0, 1), f"({RATE}=1.0)"),
        (axis(RATE, (0.5, np.float32(0.5))), (0, 1), f"({RATE}=0.5)"),
        (axis("objective", (IWAE(), IWAE())), (0, 1), "(objective=iwae)"),
        (chain(axis(RATE, (1e-3, 0.1)), axis(PARTICLES, (50, 2))), (0, 2), f"({RATE}=0.001; and {PARTICLES}=50)"),
        (zipped(axis(RATE, (1, 2, 1)), axis(PARTICLES, (3, 4, 3))), (0, 2), f"({RATE}=1.0, {PARTICLES}=3)"),
        (random({PARTICLES: Choice((1,))}, 2), (0, 1), f"({PARTICLES}=1)"),
        (axis("optimizer", (Adam(1), Adam(jnp.asarray(1.0)))), (0, 1), "(optimizer=adam-learning_rate=1"),
    ],
)
def test_points_that_are_the_same_configuration(node, pair, text):
    found = the_problem(node, overlay(CONFIG, {PARTICLES: 50}))
    assert f"points {pair[0]} and {pair[1]} are the same configuration" in found
    assert text in found
    assert "leave one out" in found


def test_many_points_that_are_the_same_are_counted():
    found = problems(product(axis(RATE, (1, 1)), axis(PARTICLES, tuple(range(1, 11)))), CONFIG)
    assert len(found) == 4
    assert "points 0 and 10 " in found[0]
    assert found[3] == "and 7 more points are the same as others."


def test_points_that_cannot_be_built_are_reported_once_a_structure():
    seen = []

    def check(config):
        seen.append(config)
        if len(config.model.layers) > 1:
            raise ModelError("layers: too many.")
        if config.objective.num_particles == 2:
            raise DataError("num_particles: an odd number is needed.")
        return 5

    node = product(axis(LAYERS, ((3,), (4, 2), (5, 2))), axis(PARTICLES, (1, 2)), axis(RATE, (0.1, 0.2)))
    found = problems(product(node, axis("training.num_steps", (5, 0))), CONFIG, seeds=2, check=check)
    assert len({jax.tree.structure(c) for c in seen}) == len(seen) == 6
    shared = f"{RATE}=0.1, training.num_steps=5, seed=7"
    assert found == [
        "training.num_steps: got 0, expected an integer, at least 1.",
        f"{LAYERS}=(3,), {PARTICLES}=2, {shared} and 3 more points: num_particles: an odd number is needed.",
        f"{LAYERS}=(4, 2), {PARTICLES}=1, {shared} and 15 more points: layers: too many.",
    ]
    seen.clear()
    assert expand(product(axis(RATE, (1, 2)), axis("optimizer.b1", (0.1, 0.2))), CONFIG, 3, check).shape == (2, 2, 3)
    assert len(seen) == 1

    def broken(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # no user's mistake
        expand(axis(RATE, (1, 2)), CONFIG, check=broken)


# JSON


def test_axes_and_overrides_as_json():
    node = chain(
        product(axis("objective", (WakeSleep(),)), log_axis(RATE, 1, 2, np.int64(3))),
        zipped(axis(LAYERS, ((np.int64(3),), (4, 2))), linear_axis("optimizer.b1", 0.1, 0.2, 2)),
        random({RATE: Uniform(1, 2), PARTICLES: Choice((1, "2"))}, 4, seed=5),
        quasi_random({"optimizer.b1": LogUniform(0.1, 0.2), PARTICLES: Integers(1, 2)}, 2),
    )
    found = axes_to_json(node, types())
    wake_sleep = found["parts"][0]["parts"][0]["values"][0]
    assert wake_sleep["type"] == "wake_sleep"
    assert json.loads(json.dumps(found)) == {
        "type": "chain",
        "parts": [
            {
                "type": "product",
                "parts": [
                    {"type": "axis", "path": "objective", "values": [wake_sleep]},
                    {"type": "log_axis", "path": RATE, "low": 1, "high": 2, "num": 3},
                ],
            },
            {
                "type": "zipped",
                "parts": [
                    {"type": "axis", "path": LAYERS, "values": [[3], [4, 2]]},
                    {"type": "linear_axis", "path": "optimizer.b1", "low": 0.1, "high": 0.2, "num": 2},
                ],
            },
            {
                "type": "random",
                "distributions": {
                    RATE: {"type": "uniform", "low": 1, "high": 2},
                    PARTICLES: {"type": "choice", "values": [1, "2"]},
                },
                "num": 4,
                "seed": 5,
            },
            {
                "type": "quasi_random",
                "distributions": {
                    "optimizer.b1": {"type": "log_uniform", "low": 0.1, "high": 0.2},
                    PARTICLES: {"type": "integers", "low": 1, "high": 2},
                },
                "num": 2,
                "seed": 0,
            },
        ],
    }
    assert axes_to_json(None, types()) is None
    row = {"objective": WakeSleep(), RATE: 0.1, LAYERS: (3, 2), "training.average": None, "seed": 1}
    assert json.loads(json.dumps(overrides_to_json(row, types()))) == {
        "objective": wake_sleep,
        RATE: 0.1,
        LAYERS: [3, 2],
        "training.average": None,
        "seed": 1,
    }


def test_json_of_a_configuration_that_no_table_names():
    with pytest.raises(ConfigError, match="OwnObjective stands in no table"):
        axes_to_json(axis("objective", (OwnObjective(),)), types())
    with pytest.raises(ConfigError, match="OwnObjective stands in no table"):
        overrides_to_json({"objective": OwnObjective()}, types())


# Names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (1.0, "1"),
        (1e-5, "1e-05"),
        (0.1234567, "0.1234567"),
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333"),
        (np.float32(0.1), "0.1"),
        (jnp.asarray(0.5), "0.5"),
        (4294967295, "4294967295"),
        (np.int64(3), "3"),
        (True, "true"),
        (None, "none"),
        ("skip", "skip"),
        ((200, 200), "200-200"),
        ((0.5,), "0.5"),
        ((), "empty"),
        (WakeSleep(), "wake_sleep"),
        (IWAE(3), "iwae-num_particles=3"),
        (Adam(Warmup(peak=0.5)), "adam-learning_rate=warmup-peak=0.5"),
        (Sum((Part(ELBO(), 2.0), Part(IWAE()))), "weighted_sum-parts=part-objective=elbo-weight=2-part-objective=iwae"),
        (Evaluation(num_samples=5), "evaluation-num_samples=5"),
        (OwnObjective(), "own_objective"),
    ],
)
def test_labels_of_values(value, text):
    assert label(value) == text


def test_paths_are_cut_to_what_tells_them_apart():
    assert short_names([RATE, "model.latent", "seed"]) == {
        RATE: "learning_rate",
        "model.latent": "latent",
        "seed": "seed",
    }
    parts = ["objective.parts.0.weight", "objective.parts.1.weight"]
    assert short_names(parts) == {parts[0]: "0.weight", parts[1]: "1.weight"}
    assert short_names(["a.x", "x"]) == {"a.x": "a.x", "x": "x"}


def test_labels_of_points():
    assert point_label({RATE: 0.001, "seed": 2}) == "learning_rate=0.001_seed=2"
    assert point_label({"a.rate": 1, "b.rate": (2, 3)}) == "a.rate=1_b.rate=2-3"
    assert point_label({"objective": WakeSleep(), "x": None}) == "objective=wake_sleep_x=none"
    assert point_label({}) == "base"


@pytest.mark.parametrize(
    "value", ["a/b\\c:d*e?f", "..", "x y\n<>|", "Größe", "x" * 500, "/" * 300, tuple(range(99)), "a." * 60, -1e-300]
)
def test_labels_of_points_are_safe_folder_names(value, tmp_path):
    name = point_label({"data.path": value})
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=+-]*", name)
    assert len(name) <= 80
    assert not name.endswith(".")
    (tmp_path / name).mkdir()


def test_long_labels_of_points_stay_apart():
    a, b = (point_label({"data.path": "x" * 100 + end}) for end in "ab")
    assert a != b
    assert len(a) == len(b) == 80


@pytest.mark.parametrize(("module", "examples"), [(axes, 2), (labels, 3)])
def test_the_examples_in_the_docstrings(module, examples):
    found = doctest.testmod(module)
    assert found.attempted >= examples
    assert found.failed == 0
