"""What a sweep varies: axes over fields of a configuration, and their algebra.

An axis is a list of values for one field. A product tries all combinations of its parts, a zip walks along its parts
at once, a chain tries one part after the other, and random or quasi-random draws fill a box. Nothing is computed or
checked here: `points.expand` does.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from genjax_models.errors import ConfigError
from genjax_models.overlay import to_json

# Distributions to draw from


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """exp of a uniform on [log low, log high]."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Integers:
    """Uniform on low, low + 1, ..., high."""

    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Choice:
    """Uniform on a list of values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _as_tuple(self.values))


Distribution = Uniform | LogUniform | Integers | Choice


# Axes and their algebra


@dataclasses.dataclass(frozen=True)
class Axis:
    """Listed values of a field."""

    path: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """Values of a field that are evenly spaced, or whose logarithms are."""

    path: str
    scale: Literal["log", "linear"]
    low: float
    high: float
    num: int


@dataclasses.dataclass(frozen=True)
class Combined:
    """All combinations of the parts, the parts side by side, or one after the other."""

    kind: Literal["product", "zipped", "chain"]
    parts: tuple["Axes", ...]


@dataclasses.dataclass(frozen=True)
class Draws:
    """Joint draws of several fields."""

    kind: Literal["random", "quasi_random"]
    distributions: tuple[tuple[str, Distribution], ...]
    num: int
    seed: int


Axes = Axis | Range | Combined | Draws


def _as_tuple(values: Any) -> Any:
    """Several values as a tuple; what is no such thing stays, for `expand` to report."""
    one = isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0
    return values if one or isinstance(values, (Mapping, set, frozenset)) else tuple(values)


def _canonical(path: Any) -> Any:
    """A path with underscores, as the fields are named."""
    return path.strip().replace("-", "_") if isinstance(path, str) else path


def axis(path: str, values: Iterable[Any]) -> Axis:
    """Every value of a field in turn.

    Args:
        path: the field's dotted path.
        values: numbers, strings, tuples or configurations; a string is read as the field's type says.

    Example:
        >>> axis("optimizer.learning_rate", (1e-4, 1e-3))
        Axis(path='optimizer.learning_rate', values=(0.0001, 0.001))
    """
    return Axis(_canonical(path), _as_tuple(values))


def log_axis(path: str, low: float, high: float, num: int) -> Range:
    """low (high / low)^(i / (num - 1)) for i < num, both ends included; rounded on an integer field.

    Args:
        path: the field's dotted path.
        low, high: the ends, 0 < low <= high.
        num: how many values; one alone is the low end.
    """
    return Range(_canonical(path), "log", low, high, num)


def linear_axis(path: str, low: float, high: float, num: int) -> Range:
    """low + (high - low) i / (num - 1) for i < num, both ends included; rounded on an integer field.

    Args:
        path: the field's dotted path.
        low, high: the ends, low <= high.
        num: how many values; one alone is the low end.
    """
    return Range(_canonical(path), "linear", low, high, num)


def product(*parts: Axes) -> Combined:
    """All combinations of the parts; the last part varies fastest, and every part keeps its dimensions."""
    return Combined("product", parts)


def zipped(*parts: Axes) -> Combined:
    """The parts side by side, which need equal lengths: one dimension."""
    return Combined("zipped", parts)


def chain(*parts: Axes) -> Combined:
    """One part after the other: one dimension. A field that a part does not name keeps the base's value."""
    return Combined("chain", parts)


def random(distributions: Mapping[str, Distribution], num: int, seed: int = 0) -> Draws:
    """Independent draws of several fields at once: one dimension.

    Args:
        distributions: from dotted path to `Uniform`, `LogUniform`, `Integers` or `Choice`; numbers are rounded on an
            integer field.
        num: how many draws; more of them begin with the same ones.
        seed: of the draws.

    Reference:
        Bergstra and Bengio 2012.
    """
    return _draws("random", distributions, num, seed)


def quasi_random(distributions: Mapping[str, Distribution], num: int, seed: int = 0) -> Draws:
    """Draws that fill the box evenly, a scrambled Sobol sequence: one dimension.

    Args:
        distributions: from dotted path to `Uniform`, `LogUniform`, `Integers` or `Choice`; numbers are rounded on an
            integer field.
        num: how many draws, best a power of 2; more of them begin with the same ones.
        seed: of the scrambling.

    Reference:
        Sobol 1967; Owen 1998.
    """
    return _draws("quasi_random", distributions, num, seed)


def _draws(kind: Literal["random", "quasi_random"], distributions: Any, num: int, seed: int) -> Draws:
    if isinstance(distributions, Mapping):
        distributions = tuple((_canonical(path), distribution) for path, distribution in distributions.items())
    return Draws(kind, distributions, num, seed)


# The shell


def parse_axis(text: str) -> Axis | Range:
    """An axis as the shell writes it.

    `PATH=1,2,3` lists values. Values that are tuples are set apart by semicolons, `PATH=50;50,20`, or stand in
    parentheses, `PATH=(50),(50,20)`; a semicolon at the end makes all before it one value. `PATH=log:LOW:HIGH:NUM` and
    `PATH=linear:LOW:HIGH:NUM` are `log_axis` and `linear_axis`. A hyphen in the path stands for an underscore.

    Raises:
        ConfigError: text that is none of these.

    Example:
        >>> parse_axis("optimizer.learning-rate=log:1e-4:1e-2:3")
        Range(path='optimizer.learning_rate', scale='log', low=0.0001, high=0.01, num=3)
    """
    path, equals, values = str(text).partition("=")
    path, values = _canonical(path), values.strip()
    if not isinstance(text, str) or not equals or not path:
        raise ConfigError(
            f"axis: got {text!r}, expected PATH=VALUE,VALUE,... or PATH=log:LOW:HIGH:NUM or PATH=linear:LOW:HIGH:NUM, "
            "such as optimizer.learning_rate=1e-4,1e-3."
        )
    scale, *ends = values.split(":")
    if ends and scale in ("log", "linear"):
        try:
            low, high, num = ends
            return Range(path, scale, float(low), float(high), int(num))  # type: ignore[arg-type]
        except ValueError:
            raise ConfigError(
                f"{path}: got {values!r}, expected {scale}:LOW:HIGH:NUM, two numbers and an integer, such as "
                f"{path}={scale}:1:8:4."
            ) from None
    return Axis(path, tuple(_split(path, values)))


def _split(path: str, text: str) -> list[str]:
    """The values in a list from the shell."""
    if not text:
        return []
    if ";" in text:
        values = text.removesuffix(";").split(";")
    else:
        depth, values = 0, [""]
        for letter in text:
            depth += (letter in "([") - (letter in ")]")
            if letter == "," and depth == 0:
                values.append("")
            else:
                values[-1] += letter
            if depth < 0:
                break
        if depth != 0:
            raise ConfigError(
                f"{path}: got {text!r}, whose parentheses do not match; write tuples as {path}=(50),(50,20) or "
                f"{path}=50;50,20, and end a single text with a semicolon."
            )
    values = [value.strip() for value in values]
    if "" in values:
        raise ConfigError(
            f"{path}: got {text!r}, where a value is empty; drop the separator, or write () for no elements."
        )
    return values


# JSON


def axes_to_json(node: Axes | None, types: Mapping[str, type]) -> Any:
    """Axes as plain dicts, lists, strings and numbers, each with its constructor's name as "type".

    Args:
        node: what `expand` takes.
        types: the names of configurations, `tables.types()`.

    Raises:
        ConfigError: a configuration that no table names.
    """
    match node:
        case Axis(path, values):
            return {"type": "axis", "path": path, "values": to_json(values, types)}
        case Range(path, scale, low, high, num):
            ends = {"low": to_json(low, types), "high": to_json(high, types)}
            return {"type": f"{scale}_axis", "path": path, **ends, "num": int(num)}
        case Draws(kind, distributions, num, seed):
            pairs = {path: _distribution_to_json(d, types) for path, d in distributions}
            return {"type": kind, "distributions": pairs, "num": int(num), "seed": int(seed)}
        case Combined(kind, parts):
            return {"type": kind, "parts": [axes_to_json(part, types) for part in parts]}
    return None


def _distribution_to_json(distribution: Distribution, types: Mapping[str, type]) -> Any:
    names = {Uniform: "uniform", LogUniform: "log_uniform", Integers: "integers", Choice: "choice"}
    fields = {name: to_json(value, types) for name, value in vars(distribution).items()}
    return {"type": names[type(distribution)], **fields}
