"""Overrides by dotted path, JSON there and back, and differences."""

import dataclasses
import itertools
import json
import types as python_types
import typing
from typing import Literal

import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models.config import Config, Evaluation, ObjectiveConfig, Training, annotations, config, field, validate
from genjax_models.data import (
    MNIST,
    SOURCES,
    UCI,
    Arrays,
    Digits,
    Files,
    HuggingFace,
    ImageFolder,
    MidiFolder,
    Shards,
    Sklearn,
    WavFolder,
)
from genjax_models.errors import ConfigError
from genjax_models.models import MODELS, VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import NETWORKS
from genjax_models.models.posteriors import POSTERIORS
from genjax_models.models.priors import PRIORS
from genjax_models.models.units import LIKELIHOODS
from genjax_models.objectives import ELBO, OBJECTIVES, Part, Reinforce, ReweightedWakeSleep, Sum, WakeSleep
from genjax_models.objectives.baselines import BASELINES, Neural
from genjax_models.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adam,
    Cosine,
    Cyclical,
    Linear,
    Polynomial,
    Sigmoid,
    Warmup,
)
from genjax_models.overlay import differences, flatten, from_json, overlay, to_json
from genjax_models.tables import types

CONFIG = Config(model=VAE(latent=2), objective=ELBO(), optimizer=Adam(), data=Digits())
ARRAYS = dataclasses.replace(CONFIG, data=Arrays(path="x.npy"))
FETCHED = dataclasses.replace(CONFIG, data=MNIST(download="address"))
PLAIN = dataclasses.replace(CONFIG, optimizer=SGD(momentum=0.5))
LAYERED = dataclasses.replace(CONFIG, model=SigmoidBeliefNetwork((5, 4)))
WARM = dataclasses.replace(CONFIG, optimizer=Adam(Warmup()))
SUM = dataclasses.replace(CONFIG, objective=Sum((Part(WakeSleep()), Part(ReweightedWakeSleep(wake=Linear()), 2.0))))


def at(node, path):
    for name in path.replace("-", "_").split("."):
        node = node[int(name)] if name.isdigit() else getattr(node, name)
    return node


@pytest.mark.parametrize(
    ("base", "path", "text", "value"),
    [
        (CONFIG, "model.latent", "3", 3),
        (CONFIG, "model.latent", " 3 ", 3),
        (CONFIG, "optimizer.learning_rate", "3e-4", 3e-4),
        (CONFIG, "optimizer.learning_rate", "1", 1.0),
        (CONFIG, "optimizer.clip_norm", "5", 5.0),
        (overlay(CONFIG, {"optimizer.clip_norm": 5.0}), "optimizer.clip_norm", "none", None),
        (overlay(CONFIG, {"optimizer.clip_norm": 5.0}), "optimizer.clip_norm", "null", None),
        (PLAIN, "optimizer.nesterov", "true", True),
        (PLAIN, "optimizer.nesterov", "False", False),
        (CONFIG, "model.encoder.activation", "relu", "relu"),
        (CONFIG, "model.encoder.hidden", "30,20", (30, 20)),
        (CONFIG, "model.encoder.hidden", "(30, 20)", (30, 20)),
        (CONFIG, "model.encoder.hidden", "[30,20,10]", (30, 20, 10)),
        (CONFIG, "model.encoder.hidden", "30", (30,)),
        (CONFIG, "model.encoder.hidden", "30,", (30,)),
        (CONFIG, "model.encoder.hidden", "", ()),
        (CONFIG, "model.encoder.hidden", "()", ()),
        (ARRAYS, "data.path", "some folder/x.npz", "some folder/x.npz"),
        (ARRAYS, "data.path", "none", "none"),
        (ARRAYS, "data.image_shape", "8,8", (8, 8)),
        (overlay(ARRAYS, {"data.image_shape": (8, 8)}), "data.image_shape", "none", None),
        (ARRAYS, "data.test_fraction", "0.25", 0.25),
        (CONFIG, "training.average", "0.99", 0.99),
        (CONFIG, "seed", "4294967295", 2**32 - 1),
        (FETCHED, "data.download", "https://example.org/mnist", "https://example.org/mnist"),
        (FETCHED, "data.download", "none", None),
        (WARM, "optimizer.learning_rate.peak", "0.01", 0.01),
        (WARM, "optimizer.learning_rate.steps", "7", 7),
        (WARM, "optimizer.learning_rate", "0.01", 0.01),
        (SUM, "objective.parts.0.weight", "0.25", 0.25),
        (SUM, "objective.parts.1.objective.num_particles", "9", 9),
        (SUM, "objective.parts.1.objective.wake.end", "0.5", 0.5),
        (SUM, "objective.parts.1.objective.sleep", "none", None),
        (CONFIG, "optimizer.learning-rate", "0.5", 0.5),
        (SUM, "objective.parts.1.objective.num-particles", "9", 9),
        (LAYERED, "model.generative", "nade", "nade"),
        (LAYERED, "model.recognition", "nade,factorial", ("nade", "factorial")),
        (CONFIG, "model.latent", 3, 3),
        (CONFIG, "optimizer.learning_rate", Cosine(), Cosine()),
        (CONFIG, "model", SigmoidBeliefNetwork(), SigmoidBeliefNetwork()),
    ],
)
def test_overlay_reads_text_as_the_field_says(base, path, text, value):
    """The one field has the value, of the right type, and no other field has changed."""
    new = overlay(base, {path: text})
    assert at(new, path) == value
    assert type(at(new, path)) is type(value)
    plain = path.replace("-", "_")
    changed = {p for p in {*flatten(base), *flatten(new)} if flatten(base).get(p, "no") != flatten(new).get(p, "no")}
    assert changed == {p for p in changed if p == plain or p.startswith(f"{plain}.")}


def test_overlay_takes_several_at_once_and_leaves_its_argument_alone():
    before = json.dumps(to_json(CONFIG, types()))
    new = overlay(CONFIG, {"model.latent": "3", "training.batch-size": "7", "seed": "1"})
    assert (new.model.latent, new.training.batch_size, new.seed) == (3, 7, 1)
    assert json.dumps(to_json(CONFIG, types())) == before


REFUSED = [
    (CONFIG, "model.latnet", "3", ["model.latnet", "VAE has no field 'latnet'", "Did you mean 'latent'?"]),
    (CONFIG, "optimizer.learning-rat", "3", ["Adam has no field", "Did you mean 'learning_rate'?"]),
    (CONFIG, "modle.latent", "3", ["modle", "Config has no field", "Did you mean 'model'?"]),
    (CONFIG, "training.xyz", "3", ["training.xyz", "Known here: accumulate, average, batch_size,"]),
    (CONFIG, "", "3", ["has no field ''"]),
    (CONFIG, "model.", "3", ["VAE has no field ''"]),
    (CONFIG, "model..latent", "3", ["VAE has no field ''"]),
    (CONFIG, "model.latent", "3.5", ["model.latent: got '3.5', expected an integer"]),
    (CONFIG, "model.latent", "", ["model.latent: got '', expected an integer"]),
    (CONFIG, "model.latent", "none", ["model.latent: got 'none', expected an integer"]),
    (CONFIG, "model.latent", [3], ["model.latent: got [3], expected an integer"]),
    (CONFIG, "optimizer.learning_rate", "fast", ["optimizer.learning_rate: got 'fast', expected a number"]),
    (CONFIG, "optimizer.learning_rate", "none", ["optimizer.learning_rate: got 'none', expected a number"]),
    (CONFIG, "optimizer.clip_norm", "off", ["optimizer.clip_norm: got 'off', expected a number or None"]),
    (PLAIN, "optimizer.nesterov", "1", ["optimizer.nesterov: got '1', expected True or False"]),
    (CONFIG, "model.encoder.activation", "tan", ["model.encoder.activation: got 'tan', expected one of 'tanh'"]),
    (CONFIG, "model.encoder.hidden", "30,x", ["model.encoder.hidden: got '30,x', expected a tuple"]),
    (CONFIG, "model.encoder.hidden", [30], ["model.encoder.hidden: got [30]", "Write a tuple"]),
    (CONFIG, "model.latent", "0", ["model.latent: got 0, expected an integer, at least 1"]),
    (CONFIG, "model.encoder.hidden", "30,0", ["model.encoder.hidden.1: got 0"]),
    (CONFIG, "optimizer.learning_rate", "nan", ["optimizer.learning_rate: got nan, expected a finite number"]),
    (CONFIG, "optimizer.learning_rate", "1e999", ["optimizer.learning_rate: got inf, expected a finite number"]),
    (LAYERED, "model.layers", "", ["model.layers: got an empty tuple"]),
    (LAYERED, "model.layers.0", "3", ["model.layers.0", "give all of model.layers at once"]),
    (LAYERED, "model.layers.2", "3", ["model.layers.2", "model.layers has 2 elements, numbered from 0"]),
    (SUM, "objective.parts.2.weight", "3", ["objective.parts.2", "has 2 elements, numbered from 0"]),
    (SUM, "objective.parts.x.weight", "3", ["objective.parts.x", "has 2 elements"]),
    (SUM, "objective.parts.-1.weight", "3", ["objective.parts", "has 2 elements"]),
    (SUM, "objective.parts.\N{SUPERSCRIPT ONE}.weight", "3", ["objective.parts", "has 2 elements"]),
    (SUM, "objective.parts.0", "wake_sleep", ["objective.parts.0: name a field of this element"]),
    (SUM, "objective.parts.0.wieght", "3", ["objective.parts.0.wieght", "Did you mean 'weight'?"]),
    (CONFIG, "model.latent.size", "3", ["model.latent.size", "model.latent is 2, which has no fields"]),
    (CONFIG, "model", "vae", ["model: got 'vae'", "override its fields", "model.latent"]),
    (CONFIG, "training", "none", ["training: got 'none'", "training.num_steps"]),
    (WARM, "optimizer.learning_rate", "cosine", ["optimizer.learning_rate: got 'cosine', expected a number"]),
    (WARM, "optimizer.learning_rate.end", "1", ["Warmup has no field 'end'"]),
]


@pytest.mark.parametrize(("base", "path", "value", "words"), REFUSED, ids=[f"{p}={v}" for _, p, v, _ in REFUSED])
def test_overlay_refuses(base, path, value, words):
    """An unknown field, a wrong type or an impossible value: one message with the path, the value and the way out."""
    with pytest.raises(ConfigError) as raised:
        overlay(base, {path: value})
    for word in words:
        assert word in str(raised.value)


def test_overlay_checks_the_rules_between_fields():
    with pytest.raises(ConfigError, match="momentum"):
        overlay(dataclasses.replace(CONFIG, optimizer=SGD()), {"optimizer.nesterov": "true"})
    both = {"optimizer.nesterov": "true", "optimizer.momentum": "0.9"}
    assert overlay(dataclasses.replace(CONFIG, optimizer=SGD()), both).optimizer == SGD(momentum=0.9, nesterov=True)


# JSON.


def there_and_back(node):
    """Through text, as a file has it."""
    return from_json(json.loads(json.dumps(to_json(node, types()), allow_nan=False)), types())


def example(cls):
    """An instance of a class of the tables, with what has no default filled in."""
    needed = {
        Arrays: {"path": "x.npy"},
        Files: {"path": "x.csv"},
        ImageFolder: {"path": "x"},
        WavFolder: {"path": "x"},
        MidiFolder: {"path": "x"},
        HuggingFace: {"path": "x"},
        Sklearn: {"loader": "load_wine"},
        Shards: {"path": "x"},
        UCI: {"name": "adult"},
        Sum: {"parts": (Part(ELBO()),)},
        Part: {"objective": ELBO()},
        Reinforce: {"num_particles": 2},
        # Schedules that stay above zero, as a temperature must.
        Linear: {"start": 0.2},
        Cosine: {"final_fraction": 0.2},
        Warmup: {"start": 0.2},
        Polynomial: {"end": 0.2},
        Sigmoid: {"start": 0.2},
        Cyclical: {"start": 0.2},
    }
    return cls(**needed.get(cls, {}))


def test_json_there_and_back_for_every_combination():
    """Every model with every objective, in turn with each optimizer, schedule and data source."""
    rates = [1e-3, *(cls() for cls in SCHEDULES.values())]
    tables = [[example(cls) for cls in table.values()] for table in (MODELS, OBJECTIVES, OPTIMIZERS, SOURCES)]
    models, objectives, *others = tables
    in_turn = zip(*map(itertools.cycle, (*others, rates)), strict=True)
    for (model, objective), (optimizer, data, rate) in zip(
        itertools.product(models, objectives), in_turn, strict=False
    ):
        optimizer = dataclasses.replace(optimizer, learning_rate=rate)
        whole = Config(model, Sum((Part(objective, rate),)), optimizer, data, Training(), Evaluation(), 5)
        assert there_and_back(whole) == whole


def others(value, annotation):
    """Other values of a field, one for each alternative of its annotation."""
    if typing.get_origin(annotation) in (typing.Union, python_types.UnionType):
        return [v for member in typing.get_args(annotation) for v in others(value, member)]
    if annotation is type(None):
        return [] if value is None else [None]
    if typing.get_origin(annotation) is Literal:
        return [v for v in typing.get_args(annotation) if v != value]
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)[0]
        if typing.get_origin(inner) is Literal:
            return [typing.get_args(inner)[:2]]
        return [(Part(WakeSleep(), 3.0),)] if inner is Part else [(6, 7)]
    simple = {bool: [True, False], str: ["another"], int: [11], float: [0.3], Training: [Training(7)]}
    if annotation in simple:
        return [v for v in simple[annotation] if v != value]
    if annotation is Evaluation:
        return [Evaluation(7)]
    if annotation is Neural:
        return [Neural(hidden=(6, 7))]
    return [e for cls in types().values() if issubclass(cls, annotation) and (e := example(cls)) != value]


# Fields that are only allowed beside another.
BESIDE = {
    "nesterov": {"momentum": 0.5},
    "num_particles": {"num_groups": 1},
    "num_groups": {"num_particles": 11},
    "generative": {"layers": (3,)},
    "recognition": {"layers": (3, 2)},
    "nade_hidden": {"recognition": "nade"},
    "layout": {"modes": 25},
    "kind": {"gradient_penalty": 10.0},
    "num_masks": {"mask_seed": 0},
    "order_agnostic": {"num_masks": 2, "order": 1},
    "num_orders": {"order": 1},
    "dequantization": {"binarization": "none", "levels": 5},
    "scales": {"image_shape": (1024, 2048)},
    "validation": {"test": "test.csv"},
    "test": {"validation": "validation.csv"},
    "subset": {"hub": True},
    "revision": {"hub": True},
}
# Values where not any number or any two will do.
FITTING = {
    "order": (1, 2, 0),
    "steps": (7,),
    "image_shape": (32, 64),
    "train_every": 3,
    "square": 5,
    "accumulate": 5,
    "columns": ("a", "b"),
    "loader": "load_iris",
}
FIELDS = [(cls, name) for cls in types().values() for name in annotations(cls)]


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])
def test_every_field_survives_json_and_is_a_difference(cls, name):
    """Whatever a field is set to is read back, and `differences` names that field and nothing beside it."""
    base = CONFIG if cls is Config else example(cls)
    base = dataclasses.replace(base, **{k: v for k, v in BESIDE.get(name, {}).items() if k in annotations(cls)})
    assert differences(base, dataclasses.replace(base)) == []
    values = others(getattr(base, name), annotations(cls)[name])
    assert values
    for value in (fit if isinstance(v, type(fit := FITTING.get(name))) else v for v in values):
        new = validate(dataclasses.replace(base, **{name: value}))
        assert there_and_back(new) == new != base
        paths = [line.split(":")[0] for line in differences(base, new)]
        assert paths
        assert all(path == name or path.startswith(f"{name}.") for path in paths)


@pytest.mark.parametrize("number", [np.float32(0.3), np.float64(0.3), jnp.float32(0.3), np.array(0.3), np.int64(1), 1])
def test_json_writes_numbers_of_any_library(number):
    """numpy's and JAX's scalars become the number they are, and sizes stay integers."""
    new = overlay(CONFIG, {"optimizer.learning_rate": number, "model.latent": np.int64(3)})
    tree = json.loads(json.dumps(to_json(new, types())))
    assert tree["optimizer"]["learning_rate"] == float(number)
    assert tree["model"]["latent"] == 3
    assert differences(there_and_back(new), new) == []


def test_json_is_plain():
    """Each configuration is an object with its name in the tables; tuples are lists."""
    assert to_json(WARM, types())["optimizer"]["learning_rate"] == {
        "type": "warmup",
        "start": 0.0,
        "peak": 1e-3,
        "steps": 100,
    }
    assert to_json(LAYERED, types())["model"] == {
        "type": "sigmoid_belief_network",
        "layers": [5, 4],
        "generative": "factorial",
        "recognition": "factorial",
        "nade_hidden": None,
        "deterministic": [],
    }


def test_names_of_the_tables_are_distinct():
    """No name stands for two classes, so none is lost in the union of the tables."""
    tables = (MODELS, OBJECTIVES, BASELINES, OPTIMIZERS, SCHEDULES, SOURCES, LIKELIHOODS, NETWORKS, POSTERIORS, PRIORS)
    assert len(types()) == 4 + sum(map(len, tables))
    assert len(set(types().values())) == len(types())


def broken(**changes):
    tree = to_json(CONFIG, types())
    return {**tree, **changes}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (broken(model={"type": "vea"}), ["'vea'", "Did you mean 'vae'?"]),
        (broken(model={"latent": 3}), ["type: got None"]),
        (broken(model={"type": 3}), ["type: got 3"]),
        (broken(model={"type": "vae", "latnet": 3}), ["vae: has no field 'latnet'", "Did you mean 'latent'?"]),
        (broken(model={"type": "vae", "latent": 0}), ["model.latent: got 0"]),
        (broken(model={"type": "vae", "latent": None}), ["model.latent: got None"]),
        (broken(model={"type": "elbo"}), ["model: got ELBO"]),
        (broken(data={"type": "arrays"}), ["arrays: ", "path"]),
        (broken(extra=1), ["config: has no field 'extra'"]),
        ([], ["expected a configuration"]),
        ("vae", ["expected a configuration"]),
    ],
)
def test_from_json_refuses(tree, words):
    with pytest.raises(ConfigError) as raised:
        from_json(tree, types())
    for word in words:
        assert word in str(raised.value)


@config
class Homeless(ObjectiveConfig):
    """Stands in no table."""

    rate: float = field(default=1.0)

    def build(self, model):
        raise NotImplementedError


def test_to_json_refuses_what_could_not_be_rebuilt():
    with pytest.raises(ConfigError, match="Homeless stands in no table"):
        to_json(dataclasses.replace(CONFIG, objective=Homeless()), types())


# Differences.


def test_differences_list_exactly_what_differs():
    new = overlay(CONFIG, {"model.latent": 3, "training.average": 0.9, "seed": 4})
    assert differences(CONFIG, CONFIG) == []
    assert differences(CONFIG, new) == ["model.latent: 2, now 3", "training.average: None, now 0.9", "seed: 0, now 4"]
    assert differences(new, CONFIG) == ["model.latent: 3, now 2", "training.average: 0.9, now None", "seed: 4, now 0"]


def test_differences_of_other_classes():
    """Another class is a difference, and so are the fields that only one of the two has."""
    lines = differences(CONFIG, LAYERED)
    assert "model: 'VAE', now 'SigmoidBeliefNetwork'" in lines
    assert "model.layers: 'absent', now (5, 4)" in lines
    names = [*flatten(VAE()), *flatten(SigmoidBeliefNetwork())]
    assert {line.split(":")[0] for line in lines} == {"model"} | {f"model.{name}" for name in names}


def test_differences_within_tuples_of_configurations():
    new = overlay(SUM, {"objective.parts.1.weight": 3.0, "objective.parts.1.objective.wake.steps": 5})
    assert differences(SUM, new) == [
        "objective.parts.1.objective.wake.steps: 1000, now 5",
        "objective.parts.1.weight: 2.0, now 3.0",
    ]
    shorter = dataclasses.replace(SUM, objective=Sum(SUM.objective.parts[:1]))
    assert all(line.startswith("objective.parts.1") for line in differences(SUM, shorter))
    assert len(differences(SUM, shorter)) > 0
