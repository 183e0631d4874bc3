"""Configurations: frozen dataclasses that are pytrees.

Float fields are leaves; everything else (sizes, names, which class) is structure. Two configurations of equal
structure share one compiled program, and a stack of configurations is what `jax.vmap` sweeps over. A float that must
stay concrete, because it picks a shape or a branch, is declared `field(..., static=True)`. "Off" is `None`.

`validate` runs on concrete values before anything is traced. It is no `__post_init__`: JAX rebuilds a configuration
around tracers, which have no values to check.
"""

import abc
import dataclasses
import math
import numbers
import operator
import pathlib
import types
import typing
from typing import Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Phase
from genjax_models.errors import ConfigError
from genjax_models.policy import Compute

T = TypeVar("T")


class ModelConfig(abc.ABC):
    """Base of every model's configuration."""

    capability: ClassVar[str]  # which of the three in `core`
    citation: ClassVar[str]

    @property
    @abc.abstractmethod
    def data_support(self) -> str:
        """The values that p(x) is defined on: "unit" for [0, 1], "real", or "count" for 0, 1, 2, ..."""

    @property
    def density(self) -> bool:
        """Whether p(x) is a density, without limit for data that take few values."""
        return self.data_support == "real"

    @property
    def needs_context(self) -> bool:
        """Whether the model is of x given more: a code, a class."""
        return False

    @property
    def takes_context(self) -> bool:
        """Whether contexts that the data have mean anything to the model."""
        return self.needs_context

    @property
    def least_visible(self) -> int:
        """The fewest visible units that the model may be built for."""
        return 1

    @abc.abstractmethod
    def build(self, visible: int) -> Any:
        """The model, one of the three capabilities, of examples with `visible` units."""


class ObjectiveConfig(abc.ABC):
    """Base of every objective's configuration."""

    capability: ClassVar[str]  # what it needs of a model
    citation: ClassVar[str]
    metric: ClassVar[str] = "bound"  # of its metrics, the one that progress and curves show

    @abc.abstractmethod
    def build(self, model: Any) -> Any:
        """The `core.Objective` on a model; ModelError if the model cannot serve it."""

    def phases(self, model: Any, optimizer: "OptimizerConfig") -> tuple[Phase, ...]:
        """The phases of a training step: one over all parameters, unless parts of the model play against each other."""
        return (Phase(self.build(model), None, optimizer.build()),)


class OptimizerConfig(abc.ABC):
    """Base of every optimizer's configuration."""

    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def build(self) -> Any:
        """An `optax.GradientTransformation`."""


class ScheduleConfig(abc.ABC):
    """Base of every schedule's configuration."""

    @abc.abstractmethod
    def build(self) -> Any:
        """A function from the step to a value."""


class DataConfig(abc.ABC):
    """Base of every data source's configuration."""

    citation: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """A `pathlib.Path` becomes text, which is what the fields are."""
        for f in dataclasses.fields(self):  # type: ignore[arg-type]  # every source is a dataclass
            if isinstance(value := getattr(self, f.name), pathlib.PurePath):
                object.__setattr__(self, f.name, str(value))

    @property
    def dynamic(self) -> bool:
        """Whether the training split holds intensities that every step binarizes or dequantizes anew."""
        return "dynamic" in (getattr(self, "binarization", None), getattr(self, "dequantization", None))

    @abc.abstractmethod
    def load(self, data_dir: str | None = None) -> Any:
        """The `data.Dataset`, from the data folder where it needs one."""

    def labels(self, data_dir: str | None = None) -> Any:
        """The `data.Labels` of what `load` gives, row by row; None where the source has none."""
        return None


BASES = (ModelConfig, ObjectiveConfig, OptimizerConfig, ScheduleConfig, DataConfig)


def field(
    default: Any = dataclasses.MISSING,
    *,
    help: str = "",
    static: bool = False,
    leaf: bool = False,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    nonempty: bool = False,
    kw_only: bool = False,
) -> Any:
    """A dataclass field with its constraints.

    Args:
        default: the default value; without one the field must be given.
        help: one line for the command line's help.
        static: a float that belongs to the structure instead of the leaves.
        leaf: an integer that belongs to the leaves instead of the structure (a seed).
        ge, gt, le, lt: bounds on a number, or on every element of a tuple.
        nonempty: a tuple or a string must have at least one element.
        kw_only: given by name alone; for a base class whose fields come before those of its classes.
    """
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata = {"help": help, "static": static, "leaf": leaf, "limits": limits, "nonempty": nonempty}
    return dataclasses.field(default=default, metadata=metadata, kw_only=kw_only)


def annotations(cls: Any) -> dict[str, Any]:
    """The resolved annotation of every field of a configuration class."""
    return cls.__hints__


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def is_config_type(annotation: Any) -> bool:
    """Whether an annotation is a configuration class or one of the bases."""
    return isinstance(annotation, type) and (hasattr(annotation, "__config__") or issubclass(annotation, BASES))


def _has_leaves(annotation: Any) -> bool:
    for member in members(annotation):
        if member is float or is_config_type(member):
            return True
        if typing.get_origin(member) is tuple and any(_has_leaves(a) for a in typing.get_args(member)):
            return True
    return False


def is_config(value: Any) -> bool:
    """Whether a value is a configuration, rather than its class."""
    return hasattr(value, "__config__") and not isinstance(value, type)


@typing.dataclass_transform(frozen_default=True, field_specifiers=(field, dataclasses.field))
def config(cls: type[T]) -> type[T]:
    """Make a class a configuration: a frozen dataclass, registered as a pytree whose leaves are its floats."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    hints = typing.get_type_hints(cls)
    cls.__hints__ = {f.name: hints[f.name] for f in dataclasses.fields(cls)}  # type: ignore
    data: list[str] = []
    meta: list[str] = []
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        leaf = _has_leaves(annotations(cls)[f.name]) and not f.metadata.get("static", False)
        leaf = leaf or f.metadata.get("leaf", False)
        (data if leaf else meta).append(f.name)
    cls.__config__ = True  # type: ignore[attr-defined]
    cls.__leaves__ = frozenset(data)  # type: ignore[attr-defined]
    jax.tree_util.register_dataclass(cls, data_fields=data, meta_fields=meta)
    return cls


def children(node: Any, path: str = "") -> list[tuple[str, str, Any, Any, dict]]:
    """(path, name, annotation, value, metadata) of every field of a configuration."""
    prefix = f"{path}." if path else ""
    return [
        (prefix + f.name, f.name, annotations(type(node))[f.name], getattr(node, f.name), dict(f.metadata))
        for f in dataclasses.fields(node)
    ]


def describe(annotation: Any) -> str:
    """An annotation in words: "an integer", "one of 'tanh', 'relu'", "a tuple of integers"."""
    if typing.get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(a) for a in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f"a tuple, each element {describe(inner[0])}"
        return f"a tuple ({', '.join(describe(a) for a in inner)})"
    alternatives = members(annotation)
    if len(alternatives) > 1:
        return " or ".join(describe(a) for a in alternatives)
    words = {int: "an integer", float: "a number", bool: "True or False", str: "a string", type(None): "None"}
    name = getattr(annotation, "__name__", str(annotation))
    return words.get(annotation, f"{'an' if name[0] in 'AEIO' else 'a'} {name}")


def matches(value: Any, annotation: Any) -> bool:
    """Whether a value has the annotated type; an integer is a number, a bool is neither."""
    if len(members(annotation)) > 1:
        return any(matches(value, a) for a in members(annotation))
    if typing.get_origin(annotation) is Literal:
        return any(value == a and type(value) is type(a) for a in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(matches(v, inner[0]) for v in value)
        return len(value) == len(inner) and all(matches(v, a) for v, a in zip(value, inner, strict=True))
    if annotation is type(None):
        return value is None
    if annotation is int:
        # numpy's integers are structure too: they hash and compare like Python's.
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if annotation is float:
        scalar = isinstance(value, (jax.Array, np.ndarray)) and value.shape == () and value.dtype.kind in "fiu"
        return (isinstance(value, numbers.Real) and not isinstance(value, bool)) or scalar
    return isinstance(value, annotation)


def _problems(value: Any, annotation: Any, metadata: dict, path: str) -> list[str]:
    if not matches(value, annotation):
        hint = " Write a tuple: lists do not hash." if isinstance(value, list) else ""
        return [f"{path}: got {value!r}, expected {describe(annotation)}.{hint}"]
    if dataclasses.is_dataclass(value):
        found = []
        for child_path, _, child_annotation, child, child_metadata in children(value, path):
            found += _problems(child, child_annotation, child_metadata, child_path)
        check = getattr(value, "check", None)
        if not found and check is not None:
            found += [f"{path}: {problem}" if path else problem for problem in check()]
        return found
    if isinstance(value, tuple):
        if metadata.get("nonempty") and not value:
            return [f"{path}: got an empty tuple, expected at least one element."]
        inner = typing.get_args(next(a for a in members(annotation) if matches(value, a)))
        inner = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
        rows = enumerate(zip(value, inner, strict=True))
        return [p for i, (v, a) in rows for p in _problems(v, a, metadata, f"{path}.{i}")]
    if isinstance(value, str) and metadata.get("nonempty") and not value:
        return [f"{path}: got an empty string."]
    if isinstance(value, (bool, str)) or value is None:
        return []
    if isinstance(value, numbers.Integral) and not -(2**63) <= int(value) < 2**63:
        return [f"{path}: got {value!r}, expected a number of at most 64 bits."]
    if not math.isfinite(value):
        return [f"{path}: got {value!r}, expected a finite number."]
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    limits = {k: v for k, v in metadata.get("limits", {}).items() if v is not None}
    if all(getattr(operator, k)(value, limit) for k, limit in limits.items()):
        return []
    allowed = " and ".join(f"{words[k]} {limit}" for k, limit in limits.items())
    return [f"{path}: got {value!r}, expected {describe(annotation)}, {allowed}."]


def validate(node: T) -> T:
    """Check types and values of a configuration, and return it.

    A configuration class may add rules between its fields: `check()` returns a list of sentences.

    Raises:
        ConfigError: naming, for every field that is wrong, its path, its value and what is allowed.
    """
    if not is_config(node):
        raise ConfigError(f"expected a configuration such as genjax_models.config.Config, got {node!r}.")
    problems = _problems(node, type(node), {}, "")
    if problems:
        raise ConfigError("\n".join(problems))
    return node


def as_number(name: str, value: Any, **limits: float) -> Any:
    """A number given to a function: a concrete one as a Python float, which hashes; a traced one as it is.

    Args:
        name: the argument, for the message.
        value: what was given.
        **limits: ge, gt, le, lt, as for `field`.

    Raises:
        ConfigError: something else than a finite number within the limits.
    """
    if isinstance(value, jax.core.Tracer):
        return value
    if problems := _problems(value, float, {"limits": limits}, name):
        raise ConfigError(problems[0])
    return float(value)


def canonical(node: T) -> T:
    """The same configuration with every leaf a strongly typed array.

    A Python int, a Python float and a numpy scalar otherwise have three types under `jax.jit`, and trace three times.
    """

    def convert(value: Any, metadata: Any) -> Any:
        if hasattr(value, "__config__"):
            fields = {f.name: f.metadata for f in dataclasses.fields(value) if f.name in value.__leaves__}
            return dataclasses.replace(value, **{k: convert(getattr(value, k), m) for k, m in fields.items()})
        if isinstance(value, tuple):
            return tuple(convert(v, metadata) for v in value)
        if value is None:
            return None
        dtype = np.uint32 if metadata.get("leaf") else jnp.result_type(float)
        # numpy where it can be: jax compiles a program for every conversion.
        return jnp.asarray(value, dtype) if isinstance(value, jax.Array) else np.asarray(value, dtype)

    return convert(node, {})


@config
class Training:
    """How long to train, on what batches, and what to do along the way."""

    num_steps: int = field(default=2000, ge=1, help="updates in all")
    batch_size: int = field(default=100, ge=1, help="examples a batch, drawn without replacement within an epoch")
    evaluate_every: int = field(default=500, ge=1, help="steps between validations, with a checkpoint each")
    chunk: int = field(default=100, ge=1, help="steps in one compiled call; progress and stop signals come in between")
    average: float | None = field(
        default=None, gt=0, lt=1, help="decay of a moving average of the model's parameters, used to evaluate"
    )
    nonfinite: Literal["skip", "stop"] = field(
        default="stop", help="a step whose loss or gradient is not finite: skip that batch, or stop the run"
    )
    accumulate: int = field(
        default=1,
        ge=1,
        help="equal parts of a batch, whose gradients are averaged before the update: the memory is that of one part",
    )
    remat: bool = field(
        default=False,
        help="compute what a gradient needs of the way forward again, rather than keep it: less memory, more time",
    )
    compute: Compute = field(
        default="float32",
        help="what the model's matrix products and convolutions read; their sums, and all else, are float32",
    )

    def check(self) -> list[str]:
        if self.batch_size % self.accumulate:
            uneven = f"accumulate: got {self.accumulate}, which does not divide the batch of {self.batch_size}"
            return [f"{uneven}; give one that does."]
        return []


Distribution = Literal["p", "p_star"]


@config
class Evaluation:
    """What is measured on held-out data."""

    num_samples: int = field(
        default=1000,
        ge=1,
        help="importance samples K a test example for log p(x); of a sampler, samples in all for Parzen",
    )
    best_by: str | None = field(
        default=None,
        nonempty=True,
        help="the metric on validation data that chooses the best checkpoint; None: the bound, or a sampler's mmd",
    )
    test_examples: int | None = field(
        default=None, ge=2, help="evaluate that many test examples, by a fixed random draw; None for all"
    )
    validation_examples: int | None = field(
        default=None, ge=2, help="validate on that many examples, by a fixed random draw; None for all"
    )
    parameters: Literal["best", "latest"] = field(
        default="best", help="evaluate the checkpoint that is best by best_by, or the latest one"
    )
    distribution: Distribution = field(
        default="p", help="evaluate p(x), or also p*(x), the geometric mean of p and q, from which samples then are"
    )
    num_z_samples: int = field(default=100_000, ge=1, help="samples for the constant log Z of p*; unused for p")


@config
class Config:
    """A whole run: everything needed to repeat it, but the folder that the data lies in."""

    model: ModelConfig = field(help="the model, from genjax_models.models")
    objective: ObjectiveConfig = field(help="the objective, from genjax_models.objectives")
    optimizer: OptimizerConfig = field(help="the optimizer, from genjax_models.optimizers")
    data: DataConfig = field(help="the data, from genjax_models.data")
    training: Training = field(default=Training(), help="length, batches, averaging, policy for non-finite steps")
    evaluation: Evaluation = field(default=Evaluation(), help="the final evaluation on the test split")
    seed: int = field(default=0, leaf=True, ge=0, lt=2**32, help="seeds parameters, batches and noise")
