"""Configurations: which fields are leaves, and what `validate` says of wrong ones."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models.config import Config, Training, canonical, config, field, validate
from genjax_models.data import (
    MNIST,
    Arrays,
    Digits,
    Files,
    HuggingFace,
    ImageFolder,
    MidiFolder,
    Shards,
    WavFolder,
)
from genjax_models.errors import ConfigError
from genjax_models.models import VAE, SigmoidBeliefNetwork, vae
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO, IWAE, Part, ReweightedWakeSleep, Sum, WakeSleep
from genjax_models.optimizers import SGD, Adam, Cosine, Linear
from genjax_models.overlay import overlay

CONFIG = Config(model=VAE(latent=2), objective=ELBO(), optimizer=Adam(), data=Digits())


@config
class Inner:
    """Of `Every`."""

    rate: float = field(default=0.5)
    size: int = field(default=3)


@config
class Every:
    """A field of every kind."""

    number: float = field(default=1.0)
    on: float | None = field(default=2.0)
    off: float | None = field(default=None)
    several: tuple[float, ...] = field(default=(3.0, 4.0))
    inner: Inner = field(default=Inner())
    inners: tuple[Inner, ...] = field(default=(Inner(6.0),))
    seed: int = field(default=7, leaf=True)
    fixed: float = field(default=8.0, static=True)
    size: int = field(default=9)
    flag: bool = field(default=True)
    name: str = field(default="a")
    kind: Literal["a", "b"] = field(default="a")
    widths: tuple[int, ...] = field(default=(1, 2))


@config
class Bounded:
    """A limit that is no integer."""

    value: float = field(default=1.0, gt=0.5)


def paths_of_leaves(node) -> set[str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(node)
    return {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves}


def test_floats_are_leaves_and_nothing_else_is():
    """Of all kinds of fields the floats that are on, and the field declared a leaf, are what JAX sees."""
    assert sorted(jax.tree.leaves(Every())) == [0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 7]


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0.1},
        {"on": 0.1},
        {"several": (0.1, 0.2)},
        {"inner": Inner(0.1)},
        {"inners": (Inner(0.1),)},
        {"seed": 0},
    ],
)
def test_values_of_leaves_are_no_structure(change):
    assert jax.tree.structure(dataclasses.replace(Every(), **change)) == jax.tree.structure(Every())


@pytest.mark.parametrize(
    "change",
    [
        {"on": None},
        {"off": 0.1},
        {"several": (3.0,)},
        {"inner": Inner(0.5, 4)},
        {"inners": ()},
        {"inners": (Inner(6.0, 4),)},
        {"fixed": 0.1},
        {"size": 1},
        {"flag": False},
        {"name": "b"},
        {"kind": "b"},
        {"widths": (1, 3)},
    ],
)
def test_everything_else_is_structure(change):
    """Off and on differ in structure, as sizes and names do."""
    assert jax.tree.structure(dataclasses.replace(Every(), **change)) != jax.tree.structure(Every())


def test_leaves_of_a_run():
    """What a sweep can vary in a run: the numbers that are on, and the seed."""
    rates = {"optimizer.learning_rate", "optimizer.b1", "optimizer.b2", "optimizer.eps"}
    assert paths_of_leaves(CONFIG) == {"objective.beta", *rates, "seed"}
    more = overlay(CONFIG, {"training.average": "0.9", "model.likelihood": Gaussian(1)})
    assert paths_of_leaves(more) - paths_of_leaves(CONFIG) == {"training.average", "model.likelihood.scale"}
    scheduled = overlay(CONFIG, {"optimizer.learning_rate": Cosine(1e-3, 10)})
    schedule = {"optimizer.learning_rate.start", "optimizer.learning_rate.final_fraction"}
    assert paths_of_leaves(scheduled) - paths_of_leaves(CONFIG) == schedule


def test_fractions_of_the_data_are_structure():
    """They pick shapes, so they are static though they are floats."""
    assert jax.tree.leaves(Arrays(path="x.npy", validation_fraction=0.2)) == []


def test_configurations_are_frozen_and_hash():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.seed = 1
    assert hash(CONFIG) == hash(dataclasses.replace(CONFIG))


@pytest.mark.parametrize("one", [1, 1.0, np.float64(1), np.float32(1), np.int64(1), jnp.float32(1), np.array(1.0)])
def test_canonical_makes_every_number_alike(one):
    """Any spelling of a number ends as the same array type, with the same value, and sizes are left alone."""
    found = canonical(overlay(CONFIG, {"optimizer.learning_rate": one, "seed": np.int64(3)}))
    types = map(jax.typeof, jax.tree.leaves(dataclasses.replace(found, seed=())))
    assert {(t.shape, t.dtype, t.weak_type) for t in types} == {((), jnp.dtype("float32"), False)}
    assert (found.optimizer.learning_rate, found.seed) == (1, 3)
    assert found.seed.dtype == "uint32"
    assert jax.tree.structure(found) == jax.tree.structure(CONFIG)


def test_canonical_follows_the_default_precision(x64):
    assert canonical(CONFIG).optimizer.b2.dtype == "float64"
    assert canonical(CONFIG).optimizer.b2 == 0.999


def with_(**changes):
    return dataclasses.replace(CONFIG, **changes)


# What is wrong, the path it is reported under, what was got, and what the message says is allowed.
WRONG = [
    (with_(model=VAE(latent=0)), "model.latent", "0", "an integer, at least 1"),
    (with_(model=VAE(latent=-3)), "model.latent", "-3", "an integer, at least 1"),
    (with_(model=VAE(latent="3")), "model.latent", "'3'", "an integer"),
    (with_(model=VAE(latent=3.0)), "model.latent", "3.0", "an integer"),
    (with_(model=VAE(latent=True)), "model.latent", "True", "an integer"),
    (with_(model=VAE(latent=np.True_)), "model.latent", "True", "an integer"),
    (with_(model=VAE(latent=None)), "model.latent", "None", "an integer"),
    (with_(model=VAE(encoder=MLP([8]))), "model.encoder.hidden", "[8]", "Write a tuple"),
    (with_(model=VAE(encoder=MLP(8))), "model.encoder.hidden", "8", "a tuple, each element an integer"),
    (with_(model=VAE(encoder=MLP((8, 0)))), "model.encoder.hidden.1", "0", "at least 1"),
    (with_(model=VAE(encoder=MLP((8, 1.5)))), "model.encoder.hidden", "(8, 1.5)", "each element an integer"),
    (with_(model=SigmoidBeliefNetwork(layers=())), "model.layers", "an empty tuple", "at least one element"),
    (with_(model=VAE(encoder=MLP(activation="tahn"))), "model.encoder.activation", "'tahn'", "one of 'tanh'"),
    (with_(model=VAE(likelihood=1)), "model.likelihood", "1", "a Bernoulli or a Gaussian"),
    (with_(model=VAE(likelihood=Gaussian(1.0, True))), "model.likelihood", "predicted: got True", "leave out one"),
    (with_(model=ELBO()), "model", "ELBO", "a ModelConfig"),
    (with_(model=VAE), "model", "VAE", "a ModelConfig"),
    (with_(objective=IWAE(num_particles=0)), "objective.num_particles", "0", "at least 1"),
    (with_(objective=ELBO(beta=-0.5)), "objective.beta", "-0.5", "at least 0"),
    (with_(objective=ELBO(beta="1")), "objective.beta", "'1'", "a number or a ScheduleConfig"),
    (with_(objective=ReweightedWakeSleep(wake=0.0)), "objective.wake", "0.0", "more than 0"),
    (with_(objective=ReweightedWakeSleep(wake=None, sleep=None)), "objective", "wake and sleep", "give one"),
    (with_(objective=Sum()), "objective.parts", "an empty tuple", "at least one element"),
    (with_(objective=Sum((ELBO(),))), "objective.parts", "ELBO", "each element a Part"),
    (
        with_(objective=Sum((Part(WakeSleep()), Part(IWAE(0))))),
        "objective.parts.1.objective.num_particles",
        "0",
        "at least 1",
    ),
    (with_(optimizer=Adam(math.nan)), "optimizer.learning_rate", "nan", "a finite number"),
    (with_(optimizer=Adam(math.inf)), "optimizer.learning_rate", "inf", "a finite number"),
    (with_(optimizer=Adam(-math.inf)), "optimizer.learning_rate", "-inf", "a finite number"),
    (with_(optimizer=Adam(np.float32(math.nan))), "optimizer.learning_rate", "nan", "a finite number"),
    (with_(optimizer=Adam(jnp.float32(math.inf))), "optimizer.learning_rate", "inf", "a finite number"),
    (with_(optimizer=Adam(-1e-3)), "optimizer.learning_rate", "-0.001", "at least 0"),
    (with_(optimizer=Adam(jnp.float32(-1))), "optimizer.learning_rate", "-1", "at least 0"),
    (with_(optimizer=Adam(False)), "optimizer.learning_rate", "False", "a number"),
    (with_(optimizer=Adam(jnp.array(True))), "optimizer.learning_rate", "True", "a number"),
    (with_(optimizer=Adam(jnp.ones(2))), "optimizer.learning_rate", "[1., 1.]", "a number"),
    (with_(optimizer=Adam(None)), "optimizer.learning_rate", "None", "a number or a ScheduleConfig"),
    (with_(optimizer=Adam(Cosine(steps=0))), "optimizer.learning_rate.steps", "0", "at least 1"),
    (with_(optimizer=Adam(Cosine(final_fraction=2))), "optimizer.learning_rate.final_fraction", "2", "at most 1"),
    (with_(optimizer=Adam(b1=1)), "optimizer.b1", "1", "at least 0 and less than 1"),
    (with_(optimizer=Adam(clip_norm=0)), "optimizer.clip_norm", "0", "more than 0"),
    (with_(optimizer=SGD(nesterov=1)), "optimizer.nesterov", "1", "True or False"),
    (with_(optimizer=SGD(nesterov=True)), "optimizer", "nesterov: got True", "give momentum"),
    (with_(optimizer=None), "optimizer", "None", "OptimizerConfig"),
    (with_(data=Arrays(path="")), "data.path", "an empty string", ""),
    (with_(data=Arrays(path="x", image_shape=(2, 2, 2, 2))), "data", "image_shape: got (2, 2, 2, 2)", "height"),
    (with_(data=MNIST(binarization=None)), "data.binarization", "None", "one of 'threshold'"),
    (with_(training=Training(average=1)), "training.average", "1", "more than 0 and less than 1"),
    (with_(training=Training(average=0.0)), "training.average", "0.0", "more than 0 and less than 1"),
    (with_(training=Training(nonfinite="ignore")), "training.nonfinite", "'ignore'", "one of 'skip', 'stop'"),
    (with_(training=Training(num_steps=0)), "training.num_steps", "0", "at least 1"),
    (with_(training=Training(chunk=0)), "training.chunk", "0", "at least 1"),
    (with_(training={}), "training", "{}", "a Training"),
    (with_(seed=-1), "seed", "-1", "at least 0"),
    (with_(seed=2**32), "seed", "4294967296", "less than 4294967296"),
    (with_(seed=0.5), "seed", "0.5", "an integer"),
]


@pytest.mark.parametrize(("wrong", "path", "got", "allowed"), WRONG, ids=[f"{p}-{g}"[:60] for _, p, g, _ in WRONG])
def test_validate_names_the_field_its_value_and_what_is_allowed(wrong, path, got, allowed):
    with pytest.raises(ConfigError) as raised:
        validate(wrong)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert got in line
    assert allowed in line


def test_validate_lists_all_problems_at_once():
    wrong = Config(
        model=VAE(latent=0, encoder=MLP(activation="no")),
        objective=ELBO(),
        optimizer=Adam(math.nan, b1=2.0),
        data=Arrays(path=""),
        seed=-1,
    )
    with pytest.raises(ConfigError) as raised:
        validate(wrong)
    paths = [line.split(":")[0] for line in str(raised.value).splitlines()]
    assert paths == [
        "model.latent",
        "model.encoder.activation",
        "optimizer.learning_rate",
        "optimizer.b1",
        "data.path",
        "seed",
    ]


@pytest.mark.parametrize("rate", [0, 1, 1e-3, np.float32(1e-3), np.int32(1), jnp.float32(1e-3), jnp.int32(1), Linear()])
@pytest.mark.parametrize("size", [2, np.int64(2), np.uint8(2)])
def test_validate_accepts_numbers_of_any_library(rate, size):
    right = dataclasses.replace(CONFIG, optimizer=Adam(rate), model=VAE(latent=size, encoder=MLP((size,))))
    assert validate(right) is right


@pytest.mark.parametrize("right", [Adam(Cosine(final_fraction=1)), Adam(0, b1=0), Adam(0.0), SGD(momentum=0)], ids=str)
def test_validate_accepts_the_limits_that_are_allowed(right):
    assert validate(right) is right


@pytest.mark.parametrize("what", [None, {}, VAE, 3])
def test_validate_wants_a_configuration(what):
    with pytest.raises(ConfigError, match="expected a configuration"):
        validate(what)


@pytest.mark.parametrize("value", [0, 0.25, np.float32(0.5)])
def test_limits_hold_for_every_type_of_number(value):
    """An integer is compared with a fractional limit as a float is."""
    with pytest.raises(ConfigError, match=r"value: got .*more than 0\.5"):
        validate(Bounded(value))
    assert validate(Bounded(1)).value == 1


def test_misspelled_field_of_a_model_names_the_nearest():
    with pytest.raises(ConfigError, match=r"VAE has no field 'latnet'\. Did you mean 'latent'\?"):
        vae(4, latnet=3)


def test_a_path_becomes_text(tmp_path):
    """In every source that has one, also where a field is replaced."""
    for source in (Arrays, Files, ImageFolder, HuggingFace, MidiFolder, Shards, WavFolder):
        assert validate(source(tmp_path / "x")) == source(str(tmp_path / "x"))
    split = Files(Path("a.csv"), validation=Path("b.csv"), test=Path("c.csv"))
    assert (split.path, split.validation, split.test) == ("a.csv", "b.csv", "c.csv")
    assert overlay(Files("x.csv"), {"path": Path("y.csv")}) == Files("y.csv")
