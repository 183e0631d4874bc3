"""What a sweep varies: axes over fields of a configuration, their algebra, and the points that they give.

An axis is a list of values for one field. A product tries all combinations of its parts, a zip walks along its parts
at once, a chain tries one part after the other, and random or quasi-random draws fill a box. Nothing is computed here:
`expand` gives checked configurations, or one error with everything that is wrong.
"""

import dataclasses
import hashlib
import itertools
import math
import numbers
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from genjax_models.config import Config, annotations, matches, members, validate
from genjax_models.errors import ConfigError, UserError
from genjax_models.overlay import flatten, replaced, to_json
from genjax_models.tables import types

SEED = "seed"
MAX_LABEL = 80  # characters of a point's label
DIGITS = 12  # significant digits of the values of a range: 0.3, not 0.30000000000000004


# What the points are


class Point(NamedTuple):
    """One configuration of a sweep."""

    index: int  # type: ignore[assignment]  # tuples have a method of that name
    overrides: dict[str, Any]  # dotted path -> value, in the order of the axes
    config: Config  # the base configuration with them applied, checked


class Dimension(NamedTuple):
    """One direction of a sweep."""

    paths: tuple[str, ...]  # the fields that vary along it
    overrides: tuple[dict[str, Any], ...]  # at each position


class Grid(NamedTuple):
    """All points of a sweep, in row-major order over its dimensions."""

    dimensions: tuple[Dimension, ...]
    points: tuple[Point, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of positions along every dimension."""
        return tuple(len(dimension.overrides) for dimension in self.dimensions)

    def reshape(self, values: Sequence[Any]) -> np.ndarray:
        """Values of the points as an array indexed by the dimensions.

        Args:
            values: one a point, in the points' order, each a number or an array [...]; None becomes nan.

        Returns:
            An array [*shape, ...].

        Raises:
            ConfigError: another number of values than of points.
        """
        if len(values) != len(self.points):
            raise ConfigError(f"values: got {len(values)}, expected one for each of the {len(self.points)} points.")
        array = np.asarray([np.nan if value is None else value for value in values])
        return array.reshape(*self.shape, *array.shape[1:])


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
class Product:
    """All combinations of the parts."""

    parts: tuple["Axes", ...]


@dataclasses.dataclass(frozen=True)
class Zipped:
    """The parts' positions side by side."""

    parts: tuple["Axes", ...]


@dataclasses.dataclass(frozen=True)
class Chain:
    """The parts' positions one part after the other."""

    parts: tuple["Axes", ...]


@dataclasses.dataclass(frozen=True)
class Draws:
    """Joint draws of several fields."""

    kind: Literal["random", "quasi_random"]
    distributions: tuple[tuple[str, Distribution], ...]
    num: int
    seed: int


Axes = Axis | Range | Product | Zipped | Chain | Draws


def _as_tuple(values: Any) -> Any:
    """Several values as a tuple; what is no such thing stays, for `expand` to report."""
    unordered = isinstance(values, (Mapping, set, frozenset))
    one = isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0
    return values if one or unordered else tuple(values)


def axis(path: str, values: Iterable[Any]) -> Axis:
    """Every value of a field in turn.

    Args:
        path: the field's dotted path.
        values: numbers, strings, tuples or configurations; a string is read as the field's type says.

    Example:
        >>> axis("optimizer.learning_rate", (1e-4, 1e-3))
        Axis(path='optimizer.learning_rate', values=(0.0001, 0.001))
    """
    return Axis(path, _as_tuple(values))


def log_axis(path: str, low: float, high: float, num: int) -> Range:
    """low (high / low)^(i / (num - 1)) for i < num, both ends included; rounded on an integer field.

    Args:
        path: the field's dotted path.
        low, high: the ends, 0 < low <= high.
        num: how many values; one alone is the low end.
    """
    return Range(path, "log", low, high, num)


def linear_axis(path: str, low: float, high: float, num: int) -> Range:
    """low + (high - low) i / (num - 1) for i < num, both ends included; rounded on an integer field.

    Args:
        path: the field's dotted path.
        low, high: the ends, low <= high.
        num: how many values; one alone is the low end.
    """
    return Range(path, "linear", low, high, num)


def product(*parts: Axes) -> Product:
    """All combinations of the parts; the last part varies fastest, and every part keeps its dimensions."""
    return Product(parts)


def zipped(*parts: Axes) -> Zipped:
    """The parts side by side, which need equal lengths: one dimension."""
    return Zipped(parts)


def chain(*parts: Axes) -> Chain:
    """One part after the other: one dimension. A field that a part does not name keeps the base's value."""
    return Chain(parts)


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
    given = tuple(distributions.items()) if isinstance(distributions, Mapping) else distributions
    return Draws(kind, given, num, seed)


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
    forms = "expected PATH=VALUE,VALUE,... or PATH=log:LOW:HIGH:NUM or PATH=linear:LOW:HIGH:NUM"
    path, equals, values = str(text).partition("=")
    path, values = _canonical(path.strip()), values.strip()
    if not isinstance(text, str) or not equals or not path:
        raise ConfigError(f"axis: got {text!r}, {forms}, such as optimizer.learning_rate=1e-4,1e-3.")
    scale, colon, rest = values.partition(":")
    if colon and scale in ("log", "linear"):
        example = f"such as {path}={scale}:1:8:4"
        words = [word.strip() for word in rest.split(":")]
        if len(words) != 3:
            raise ConfigError(f"{path}: got {values!r}, expected {scale}:LOW:HIGH:NUM, {example}.")
        try:
            low, high, num = _number(words[0]), _number(words[1]), int(words[2])
        except ValueError:
            raise ConfigError(
                f"{path}: got {values!r}, expected two numbers and an integer after {scale}:, {example}."
            ) from None
        return Range(path, scale, low, high, num)  # type: ignore[arg-type]
    return Axis(path, tuple(_split(path, values)))


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


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


# From axes to points


def expand(
    axes: Axes | None,
    config: Config,
    seeds: int | None = None,
    check: Callable[[Config], Any] | None = None,
) -> Grid:
    """The points of a sweep, checked.

    Args:
        axes: what varies; None for the seeds alone.
        config: the base: what no axis names.
        seeds: None for the configuration's own seed, or N for a last dimension of config.seed + 0, ..., N - 1.
        check: builds a configuration, raising a `UserError` where it cannot; called once for every structure.

    Returns:
        A product concatenates the dimensions of its parts; anything else is one dimension.

    Raises:
        ConfigError: everything that is wrong at once: an axis that names no field, values of a wrong type or out of
            limits, zips of unequal length, parts or axes that are empty, a field that varies twice, impossible ranges
            and draws, two points that are the same configuration, and points that cannot be built.

    Example:
        >>> grid = expand(axis("model.latent", (2, 4)), config, seeds=3)  # doctest: +SKIP
        >>> grid.shape  # doctest: +SKIP
        (2, 3)
    """
    if not isinstance(config, Config):
        raise ConfigError(f"config: got {config!r}, expected a genjax_models.config.Config.")
    expansion = _Expansion(config, axes)
    dimensions = [] if axes is None else expansion.dimensions(axes)
    if seeds is not None:
        dimensions += expansion.seeds(seeds, axes)
    elif axes is None:
        raise ConfigError(
            "nothing is swept: give an axis, such as --axis optimizer.learning_rate=1e-4,1e-3 or SWEEP = axis(...) in "
            "the config file, or several seeds, such as --seeds 3."
        )
    dimensions = [positions for positions in dimensions if positions]  # those without are reported
    points = expansion.points(dimensions, check)
    if expansion.problems:
        raise ConfigError("\n".join(dict.fromkeys(expansion.problems)))
    return Grid(_dimensions(dimensions, points), tuple(points))


Row = dict[str, Any]  # overrides: dotted path -> value


class Problem(NamedTuple):
    """What is wrong with a point."""

    text: str
    complete: bool  # whether the text alone tells where


class _Expansion:
    """Points of a base configuration, and all problems met on the way."""

    def __init__(self, config: Config, axes: Any):
        self.config = config
        self.problems: list[str] = []
        self.rows_known = True  # whether the rows are those that were meant, so that equal ones are a mistake
        # Where a field that only a swept configuration has can be looked up.
        self.contexts: list[Any] = [config]
        for path, value in _swept_configurations(axes):
            try:
                self.contexts.append(replaced(config, path, value))
            except ConfigError:
                continue

    def dimensions(self, node: Any) -> list[list[Row]]:
        """The positions along every dimension of a node; none where it is wrong."""
        if not isinstance(node, Product):
            return [self.rows(node)]
        self._check_parts("product", node.parts, disjoint=True)
        return [positions for part in node.parts for positions in self.dimensions(part)]

    def rows(self, node: Any) -> list[Row]:
        """The positions of a node as one dimension; none where it is wrong."""
        match node:
            case Axis():
                return self._axis_rows(node)
            case Range():
                return self._range_rows(node)
            case Draws():
                return self._draws_rows(node)
            case Product():
                whole = [positions for positions in self.dimensions(node) if positions]
                return [_merged(rows) for rows in itertools.product(*whole)] if whole else []
            case Zipped():
                return self._zipped_rows(node)
            case Chain():
                self._check_parts("chain", node.parts, disjoint=False)
                return [row for part in node.parts for row in self.rows(part)]
        self.problems.append(
            f"axes: got {node!r}, expected axis(...), log_axis(...), linear_axis(...), random(...), quasi_random(...), "
            "or a product(...), zipped(...) or chain(...) of such."
        )
        return []

    def _check_parts(self, name: str, parts: Sequence[Any], disjoint: bool) -> None:
        if not parts:
            self.problems.append(f"{name}: it has no parts; give it at least one axis.")
        twice = _repeated([path for part in parts for path in dict.fromkeys(_paths(part))])
        if disjoint and twice:
            self.rows_known = False
            self.problems += [
                f"{path}: it varies in two parts of a {name}; name each field once, or use chain(...) to try one part "
                "after the other."
                for path in twice
            ]

    def _is_path(self, path: Any, name: str) -> bool:
        if isinstance(path, str) and path.strip():
            return True
        self.problems.append(f"{name}: got {path!r} for the field, expected a path such as 'optimizer.learning_rate'.")
        return False

    def _axis_rows(self, node: Axis) -> list[Row]:
        path = _canonical(node.path)
        if not self._is_path(path, "axis"):
            return []
        return [{path: value} for value in self._listed(path, node.values)]

    def _listed(self, path: str, values: Any) -> tuple[Any, ...]:
        """Values that are several and not none."""
        if not isinstance(values, tuple):
            self.problems.append(f"{path}: got {values!r}, expected a tuple of values, such as ({values!r},).")
            return ()
        if not values:
            self.problems.append(f"{path}: its axis has no values; give at least one.")
        return values

    def _range_rows(self, node: Range) -> list[Row]:
        path = _canonical(node.path)
        if not self._is_path(path, f"{node.scale}_axis"):
            return []
        problems = _num_problems(node.num)
        problems += _interval_problems(node.low, node.high, node.scale == "log", "linear_axis")
        if problems:
            self.problems += [f"{path}: {problem}" for problem in problems]
            return []
        if node.num > 1 and node.low == node.high:
            self.problems.append(
                f"{path}: {node.num} values from {node.low!r} to {node.high!r} are all the same; ask for 1, or move "
                "an end."
            )
            return [{path: node.low}]
        space = np.geomspace if node.scale == "log" else np.linspace
        inner = [float(v) for v in space(float(node.low), float(node.high), node.num)][1:-1]
        ends = [node.low] if node.num == 1 else [node.low, node.high]
        if not self._is_integer(path):
            return [{path: v} for v in [ends[0], *(float(f"{v:.{DIGITS}g}") for v in inner), *ends[1:]]]
        values = [round(v) for v in [ends[0], *inner, *ends[1:]]]
        if _repeated(values):
            self.rows_known = False
            distinct = tuple(dict.fromkeys(values))
            self.problems.append(
                f"{path}: {node.num} {node.scale}-spaced values from {node.low!r} to {node.high!r}, rounded for an "
                f"integer field, repeat {_listing(_repeated(values))}; ask for fewer, or list them: axis({path!r}, "
                f"{_shortened(distinct)})."
            )
        return [{path: v} for v in values]

    def _zipped_rows(self, node: Zipped) -> list[Row]:
        self._check_parts("zip", node.parts, disjoint=True)
        before = len(self.problems)
        parts = [(part, self.rows(part)) for part in node.parts]
        whole = [(part, rows) for part, rows in parts if rows]
        lengths = [len(rows) for _, rows in whole]
        if len(set(lengths)) > 1:
            found = " and ".join(f"{len(rows)} ({', '.join(dict.fromkeys(_paths(part)))})" for part, rows in whole)
            self.problems.append(
                f"zip: its parts have {found} values, expected equally many; make them so, or use product(...) for all "
                "combinations."
            )
        if len(self.problems) > before:
            self.rows_known = False
        # Where lengths differ the shorter parts start again, so that every value is looked at.
        longest = max(lengths, default=0)
        return [_merged([rows[i % len(rows)] for _, rows in whole]) for i in range(longest)]

    def _draws_rows(self, node: Draws) -> list[Row]:
        before = len(self.problems)
        if not isinstance(node.distributions, tuple) or not node.distributions:
            self.problems.append(
                f"{node.kind}: got {node.distributions!r}, expected a distribution for every field, such as "
                "{'optimizer.learning_rate': LogUniform(1e-4, 1e-2)}."
            )
            return []
        self.problems += [f"{node.kind}: {problem}" for problem in _num_problems(node.num)]
        if not _is_integral(node.seed) or not 0 <= node.seed < 2**32:
            self.problems.append(
                f"{node.kind}: got seed = {node.seed!r}, expected an integer, at least 0 and less than {2**32}."
            )
        columns = []
        for given, distribution in node.distributions:
            path = _canonical(given)
            if self._is_path(path, node.kind):
                columns.append((path, distribution))
                self.problems += [f"{path}: {problem}" for problem in _distribution_problems(distribution)]
        self.problems += [
            f"{path}: {node.kind} draws it twice; name each field once." for path in _repeated([p for p, _ in columns])
        ]
        if len(self.problems) > before:
            return []
        draw = _uniforms if node.kind == "random" else _sobol
        rows: list[Row] = [{} for _ in range(node.num)]
        for (path, distribution), column in zip(columns, draw(node.num, len(columns), node.seed).T, strict=True):
            whole = self._is_integer(path)
            for row, u in zip(rows, column, strict=True):
                row[path] = _quantile(distribution, float(u), whole)
        return rows

    def seeds(self, seeds: Any, axes: Any) -> list[list[Row]]:
        """The dimension of the seeds."""
        problems = [] if _is_count(seeds) else [f"seeds: got {seeds!r}, expected an integer, at least 1."]
        first = self.config.seed
        if not problems and _is_integral(first) and first + seeds > 2**32:
            problems.append(
                f"seeds: got {seeds!r}, whose last seed would be {first} + {seeds - 1} = {first + seeds - 1}, expected "
                f"less than {2**32}; lower the seed or their number."
            )
        if SEED in _paths(axes):
            problems.append(f"seeds: got {seeds!r}, but an axis varies the seed already; leave out one of the two.")
        self.problems += problems
        if problems:
            return []
        return [[{SEED: first + i if _is_integral(first) else first} for i in range(seeds)]]

    def _is_integer(self, path: str) -> bool:
        """Whether a field takes integers alone, so that numbers of a range are rounded for it."""
        for context in self.contexts:
            found = _field_at(context, path)
            if found is not None:
                return int in members(found[0]) and float not in members(found[0])
        return False

    def points(self, dimensions: list[list[Row]], check: Callable[[Config], Any] | None) -> list[Point]:
        """The points of the dimensions that are whole; problems of all others."""
        points: list[Point] = []
        found: dict[Problem, list[Row]] = {}  # with the overrides of all points that have it
        for i, rows in enumerate(itertools.product(*dimensions) if dimensions else ()):
            config, overrides, problems = self._apply(_merged(rows))
            for problem in problems:
                found.setdefault(problem, []).append(overrides)
            if not problems:
                points.append(Point(i, overrides, config))
        self.problems += [text if complete else _where(at) + text for (text, complete), at in found.items()]
        if self.rows_known:
            self.problems += _repeats(points)
        if check is not None:
            self.problems += _unbuildable(points, check)
        return points

    def _apply(self, row: Row) -> tuple[Any, Row, list[Problem]]:
        """The base with overrides, the overrides as Python values of their fields, and what is wrong."""
        config, read = self.config, dict(row)
        problems: list[Problem] = []
        # A configuration before its fields, whichever axis comes first.
        for path in sorted(row, key=lambda path: path.count(".")):
            try:
                config = replaced(config, path, row[path])
            except ConfigError as error:
                text = str(error) + self._elsewhere(path, str(error))
                problems.append(Problem(text, not any(_inside(path, other) for other in row)))
                continue
            annotation, value = _field_at(config, path)  # type: ignore[misc]  # it was just replaced
            read[path] = _plain(value, annotation)
            if not isinstance(value, str):
                config = replaced(config, path, read[path])
        try:
            config = validate(config)
        except ConfigError as error:
            problems += [Problem(text, _complete(text, row)) for text in str(error).split("\n")]
        return config, read, problems

    def _elsewhere(self, path: str, message: str) -> str:
        """Where there is a field of that name, if not at that path."""
        if "has no field" not in message or "Did you mean" in message:
            return ""
        known = [p for p in flatten(self.config) if p != path and p.split(".")[-1] == path.split(".")[-1]]
        return f" Did you mean {' or '.join(map(repr, known))}?" if known else ""


def _complete(problem: str, row: Row) -> bool:
    """Whether a problem with a value names a swept field, whose value it quotes, or one that nothing here touches."""
    at = problem.split(":")[0]
    inside = [path for path in row if at == path or _inside(at, path)]
    if not inside:
        return not any(_inside(path, at) for path in row)
    return len(inside) == 1 and not _is_configuration(row[inside[0]])


def _dimensions(dimensions: Sequence[Sequence[Row]], points: Sequence[Point]) -> tuple[Dimension, ...]:
    """The dimensions with values as the points have them."""
    grid = np.arange(len(points)).reshape([len(positions) for positions in dimensions])
    found = []
    for d, positions in enumerate(dimensions):
        firsts = np.moveaxis(grid, d, 0).reshape(len(positions), -1)[:, 0]
        read = [{path: points[i].overrides[path] for path in row} for row, i in zip(positions, firsts, strict=True)]
        found.append(Dimension(tuple(dict.fromkeys(path for row in positions for path in row)), tuple(read)))
    return tuple(found)


def _repeats(points: Sequence[Point]) -> list[str]:
    """Points that are the same configuration."""
    first: dict[Any, Point] = {}
    pairs = []
    for point in points:
        known = first.setdefault(_identity(point.config), point)
        if known is not point:
            pairs.append((known, point))
    problems = [
        f"points {a.index} and {b.index} are the same configuration ({_text(a.overrides)}"
        + ("" if a.overrides == b.overrides else f"; and {_text(b.overrides)}")
        + "); leave one out, ask for fewer draws, or repeat points by several seeds."
        for a, b in pairs[:3]
    ]
    return problems + ([f"and {len(pairs) - 3} more points are the same as others."] if len(pairs) > 3 else [])


def _identity(config: Config) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        return value.item() if hasattr(value, "item") else value

    return frozenset((path, plain(value)) for path, value in flatten(config).items())


def _unbuildable(points: Sequence[Point], check: Callable[[Config], Any]) -> list[str]:
    """What `check` says about one point of every structure."""
    groups: dict[Any, list[Point]] = {}
    for point in points:
        groups.setdefault(jax.tree.structure(point.config), []).append(point)
    found: dict[str, list[Row]] = {}
    for group in groups.values():
        try:
            check(group[0].config)
        except UserError as error:
            found.setdefault(str(error), []).extend(point.overrides for point in group)
    return [_where(rows) + problem for problem, rows in found.items()]


def _where(rows: Sequence[Row]) -> str:
    more = f" and {len(rows) - 1} more point{'s' * (len(rows) > 2)}" if len(rows) > 1 else ""
    return f"{_text(rows[0])}{more}: "


def _text(row: Row) -> str:
    return ", ".join(f"{path}={label(v) if _is_configuration(v) else repr(v)}" for path, v in row.items())


# Fields and values


def _canonical(path: Any) -> Any:
    """A path with underscores, as the fields are named."""
    return path.strip().replace("-", "_") if isinstance(path, str) else path


def _paths(node: Any) -> list[str]:
    """The fields that a node varies, repeated where it names them more than once."""
    match node:
        case Axis() | Range():
            return [_canonical(node.path)]
        case Draws():
            pairs = node.distributions if isinstance(node.distributions, tuple) else ()
            return [_canonical(path) for path, _ in pairs]
        case Product() | Zipped() | Chain():
            return [path for part in node.parts for path in _paths(part)]
    return []


def _swept_configurations(node: Any) -> list[tuple[str, Any]]:
    """(path, value) of every swept value that is itself a configuration."""
    match node:
        case Axis():
            pairs = [(node.path, node.values)]
        case Draws():
            given = node.distributions if isinstance(node.distributions, tuple) else ()
            pairs = [(path, d.values) for path, d in given if isinstance(d, Choice)]
        case Product() | Zipped() | Chain():
            return [pair for part in node.parts for pair in _swept_configurations(part)]
        case _:
            return []
    return [
        (_canonical(path), value)
        for path, values in pairs
        if isinstance(path, str) and isinstance(values, tuple)
        for value in values
        if _is_configuration(value)
    ]


def _is_configuration(value: Any) -> bool:
    several = value if isinstance(value, tuple) else (value,)
    return any(hasattr(v, "__config__") and not isinstance(v, type) for v in several)


def _inside(path: str, other: str) -> bool:
    """Whether a path leads through another."""
    return path.startswith(f"{other}.")


def _field_at(node: Any, path: str) -> tuple[Any, Any] | None:
    """(annotation, value) of the field at a path; None where there is none."""
    annotation = None
    for name in path.split("."):
        if isinstance(node, tuple):
            if not name.isdecimal() or int(name) >= len(node):
                return None
            node = node[int(name)]
        elif _is_configuration(node) and name in annotations(type(node)):
            annotation, node = annotations(type(node))[name], getattr(node, name)
        else:
            return None
    return annotation, node


def _plain(value: Any, annotation: Any) -> Any:
    """A value as Python's int, float, bool or str where its field takes one: 1 of a float field is 1.0."""
    if isinstance(value, tuple) and not _is_configuration(value):
        for member in members(annotation):
            inner = typing.get_args(member) if typing.get_origin(member) is tuple else ()
            inner = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
            if len(inner) == len(value):
                return tuple(_plain(v, a) for v, a in zip(value, inner, strict=True))
        return value
    if isinstance(value, np.generic):
        value = value.item()
    kinds = members(annotation)
    if int in kinds and matches(value, int):
        return int(value)
    return float(value) if float in kinds and matches(value, float) else value


def _merged(rows: Iterable[Row]) -> Row:
    return {path: value for row in rows for path, value in row.items()}


def _repeated(values: Iterable[Any]) -> list[Any]:
    """The values that come more than once."""
    seen: set[Any] = set()
    return list(dict.fromkeys(v for v in values if v in seen or seen.add(v)))  # type: ignore[func-returns-value]


def _listing(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values[:8])) + (", ..." if len(values) > 8 else "")


def _shortened(values: tuple[Any, ...]) -> str:
    return repr(values) if len(values) <= 8 else f"({_listing(values)})"


# Numbers


def _is_integral(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_integral(value) and value >= 1


def _num_problems(num: Any) -> list[str]:
    return [] if _is_count(num) else [f"got num = {num!r}, expected an integer, at least 1."]


def _interval_problems(low: Any, high: Any, log: bool, instead: str, whole: bool = False) -> list[str]:
    problems = []
    for name, value in (("low", low), ("high", high)):
        if whole and not _is_integral(value):
            problems.append(f"got {name} = {value!r}, expected an integer.")
        elif not matches(value, float) or not math.isfinite(value):
            problems.append(f"got {name} = {value!r}, expected a finite number.")
    if problems:
        return problems
    if low > high:
        problems.append(f"got low = {low!r} and high = {high!r}, expected low <= high; exchange them.")
    if log and low <= 0:
        problems.append(f"got low = {low!r} on a logarithmic scale, expected more than 0; raise it, or use {instead}.")
    return problems


def _distribution_problems(distribution: Any) -> list[str]:
    match distribution:
        case Uniform(low, high):
            return _interval_problems(low, high, False, "")
        case LogUniform(low, high):
            return _interval_problems(low, high, True, "Uniform")
        case Integers(low, high):
            return _interval_problems(low, high, False, "", whole=True)
        case Choice(values):
            if isinstance(values, tuple) and values:
                return []
            return [f"got Choice({values!r}), expected a tuple with at least one value."]
    return [f"got {distribution!r}, expected Uniform(a, b), LogUniform(a, b), Integers(a, b) or Choice((a, b, ...))."]


def _uniforms(num: int, dimension: int, seed: int) -> np.ndarray:
    """Independent uniforms on [0, 1), [num, dimension]."""
    return np.random.RandomState(seed).uniform(size=(num, dimension))


def _sobol(num: int, dimension: int, seed: int) -> np.ndarray:
    """The first points of a scrambled Sobol sequence in [0, 1), [num, dimension]."""
    from scipy.stats import qmc  # half a second, which only such sweeps wait for

    return qmc.Sobol(dimension, rng=seed).random_base2((num - 1).bit_length())[:num]


def _quantile(distribution: Distribution, u: float, whole: bool) -> Any:
    """F^-1(u), u in [0, 1), of a distribution; rounded for an integer field."""
    match distribution:
        case Choice(values):
            return values[min(int(u * len(values)), len(values) - 1)]
        case Integers(low, high):
            return min(int(low) + int(u * (high - low + 1)), int(high))
        case LogUniform(low, high):
            value = math.exp((1 - u) * math.log(low) + u * math.log(high))
        case Uniform(low, high):
            value = low + u * (high - low)
    value = float(min(max(value, distribution.low), distribution.high))
    return round(value) if whole else value


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
        case None:
            return None
        case Axis():
            return {"type": "axis", "path": node.path, "values": to_json(node.values, types)}
        case Range():
            ends = {"low": to_json(node.low, types), "high": to_json(node.high, types), "num": int(node.num)}
            return {"type": f"{node.scale}_axis", "path": node.path, **ends}
        case Draws():
            pairs = {path: _distribution_to_json(d, types) for path, d in node.distributions}
            return {"type": node.kind, "distributions": pairs, "num": int(node.num), "seed": int(node.seed)}
    name = {Product: "product", Zipped: "zipped", Chain: "chain"}[type(node)]
    return {"type": name, "parts": [axes_to_json(part, types) for part in node.parts]}


def _distribution_to_json(distribution: Distribution, types: Mapping[str, type]) -> Any:
    names = {Uniform: "uniform", LogUniform: "log_uniform", Integers: "integers", Choice: "choice"}
    fields = {f.name: to_json(getattr(distribution, f.name), types) for f in dataclasses.fields(distribution)}
    return {"type": names[type(distribution)], **fields}


def overrides_to_json(overrides: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """A point's overrides as plain dicts, lists, strings and numbers.

    Raises:
        ConfigError: a configuration that no table names.
    """
    return {path: to_json(value, types) for path, value in overrides.items()}


# Names


def label(value: Any) -> str:
    """A short text of a swept value, for tables, pictures and folders.

    A configuration gives its name, and those of its fields that are not at their default.

    Example:
        >>> label(0.001), label((200, 100)), label(None)
        ('0.001', '200-100', 'none')
    """
    if _is_configuration(value) and not isinstance(value, tuple):
        given = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_default(value, f)]
        return "-".join([_name(type(value)), *(f"{name}={label(v)}" for name, v in given)])
    if isinstance(value, tuple):
        return "-".join(map(label, value)) or "empty"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if _is_integral(value):
        return str(int(value))
    if matches(value, float):
        exact = f"{float(value):.9g}"
        return exact if len(exact) <= 10 else f"{float(value):.6g}"
    return str(value)


def _is_default(config: Any, f: dataclasses.Field) -> bool:
    return f.default is not dataclasses.MISSING and getattr(config, f.name) == f.default


def _name(cls: type) -> str:
    """A configuration's name in the tables, or one made of its class's."""
    named = {known: name for name, known in types().items()}
    return named.get(cls) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path's last component, or as many as set it apart from the others.

    Example:
        >>> short_names(["model.latent", "optimizer.rate", "schedule.rate"])
        {'model.latent': 'latent', 'optimizer.rate': 'optimizer.rate', 'schedule.rate': 'schedule.rate'}
    """

    def end(path: str, words: int) -> str:
        return ".".join(path.split(".")[-words:])

    names = {}
    for path in paths:
        others = [other for other in paths if other != path]
        depths = range(1, path.count(".") + 2)
        names[path] = next((end(path, n) for n in depths if all(end(path, n) != end(o, n) for o in others)), path)
    return names


def point_label(overrides: Mapping[str, Any]) -> str:
    """A point's overrides as a folder name: safe on all systems, and of at most 80 characters.

    Example:
        >>> point_label({"optimizer.learning_rate": 0.001, "seed": 2})
        'learning_rate=0.001_seed=2'
    """
    names = short_names(list(overrides))
    text = "_".join(f"{names[path]}={label(value)}" for path, value in overrides.items()) or "base"
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "-", text)
    if len(safe) > MAX_LABEL:  # what is cut still tells points apart
        safe = f"{safe[: MAX_LABEL - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return safe.rstrip(".")
