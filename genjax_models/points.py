"""From the axes of a sweep to its points: checked configurations, or one error with everything that is wrong."""

import contextlib
import itertools
import math
import reprlib
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax_models.axes import (
    Axes,
    Axis,
    Choice,
    Combined,
    Distribution,
    Draws,
    Integers,
    LogUniform,
    Range,
    Uniform,
)
from genjax_models.config import Config, annotations, is_config, matches, members, validate
from genjax_models.errors import ConfigError, UserError
from genjax_models.labels import label
from genjax_models.overlay import flatten, replaced, to_json

SEED = "seed"
DIGITS = 12  # significant digits of the values of a range: 0.3, not 0.30000000000000004
Row = dict[str, Any]  # overrides: dotted path -> value


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


def overrides_to_json(overrides: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """A point's overrides as plain dicts, lists, strings and numbers.

    Raises:
        ConfigError: a configuration that no table names.
    """
    return {path: to_json(value, types) for path, value in overrides.items()}


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
            and draws, points that cannot be built, and, where the axes themselves are right, two points that are the
            same configuration.

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
    points = expansion.points(dimensions, check)
    if expansion.problems:
        raise ConfigError("\n".join(dict.fromkeys(expansion.problems)))
    return Grid(_dimensions(dimensions, points), tuple(points))


class _Expansion:
    """Points of a base configuration, and all problems met on the way."""

    def __init__(self, config: Config, axes: Any):
        self.config = config
        self.problems: list[str] = []
        self.contexts: list[Any] = [config]  # where a field that only a swept configuration has can be looked up
        for path, values in _fields(axes):
            for value in values:
                with contextlib.suppress(ConfigError):
                    self.contexts.append(replaced(config, path, value))

    def dimensions(self, node: Any) -> list[list[Row]]:
        """The positions along every dimension of a node, but those of a part that is wrong."""
        if isinstance(node, Combined) and node.kind == "product":
            self.problems += _problems(node)
            return [positions for part in node.parts for positions in self.dimensions(part)]
        rows = self.rows(node)
        return [rows] if rows else []

    def rows(self, node: Any) -> list[Row]:
        """The positions of a node as one dimension; none where it is wrong."""
        if isinstance(node, Combined) and node.kind == "product":
            dimensions = self.dimensions(node)
            return [_merged(rows) for rows in itertools.product(*dimensions)] if dimensions else []
        problems = _problems(node)
        self.problems += problems
        match node:
            case Combined("zipped", parts):
                return self.side_by_side(parts)
            case Combined(_, parts):
                return [row for part in parts for row in self.rows(part)]
            case _ if problems:
                return []
            case Axis(path, values):
                return [{path: value} for value in values]
            case Range(path):
                return [{path: value} for value in self.spaced(node)]
        fields = [(path, d, self.is_integer(path)) for path, d in node.distributions]
        return [
            {path: _quantile(d, float(u), whole) for (path, d, whole), u in zip(fields, row, strict=True)}
            for row in _uniforms(node)
        ]

    def side_by_side(self, parts: Sequence[Any]) -> list[Row]:
        whole = [(part, rows) for part in parts if (rows := self.rows(part))]
        if len({len(rows) for _, rows in whole}) > 1:
            found = " and ".join(f"{len(rows)} ({', '.join(dict.fromkeys(_paths(part)))})" for part, rows in whole)
            self.problems.append(
                f"zipped: its parts have {found} values, expected equally many; make them so, or use product(...) for "
                "all combinations."
            )
        # Where lengths differ the shorter parts start again, so that every value is looked at.
        longest = max((len(rows) for _, rows in whole), default=0)
        return [_merged(rows[i % len(rows)] for _, rows in whole) for i in range(longest)]

    def spaced(self, node: Range) -> list[Any]:
        """The values of a range, rounded as its field needs."""
        space = np.geomspace if node.scale == "log" else np.linspace
        values = [float(f"{v:.{DIGITS}g}") for v in space(float(node.low), float(node.high), node.num)]
        values[-1], values[0] = node.high, node.low  # as they were given
        if not self.is_integer(node.path):
            return values
        values = [round(float(v)) for v in values]
        distinct = tuple(dict.fromkeys(values))
        if len(distinct) < len(values):
            self.problems.append(
                f"{node.path}: {node.num} {node.scale}-spaced values from {node.low!r} to {node.high!r}, rounded for "
                f"an integer field, repeat {reprlib.repr(_repeated(values))[1:-1]}; ask for fewer, or list them: "
                f"axis({node.path!r}, {reprlib.repr(distinct)})."
            )
        return values

    def seeds(self, seeds: Any, axes: Any) -> list[list[Row]]:
        """The dimension of the seeds; none where it is wrong."""
        problems = [f"seeds: {problem}" for problem in _num_problems(seeds, "")]
        first = self.config.seed
        known = matches(first, int)
        if not problems and known and first + seeds > 2**32:
            problems.append(
                f"seeds: got {seeds!r}, whose last seed would be {first} + {seeds - 1} = {first + seeds - 1}, expected "
                f"less than {2**32}; lower the seed or their number."
            )
        if SEED in _paths(axes):
            problems.append(f"seeds: got {seeds!r}, but an axis varies the seed already; leave out one of the two.")
        self.problems += problems
        return [] if problems else [[{SEED: first + i if known else first} for i in range(seeds)]]

    def is_integer(self, path: str) -> bool:
        """Whether a field takes integers alone, so that numbers of a range are rounded for it."""
        for context in self.contexts:
            with contextlib.suppress(AttributeError, LookupError, ValueError):  # none there
                kinds = members(_field_at(context, path)[0])
                return int in kinds and float not in kinds
        return False

    def points(self, dimensions: list[list[Row]], check: Callable[[Config], Any] | None) -> list[Point]:
        """The points of the dimensions that are whole; problems of all others."""
        as_meant = not self.problems  # the rows are all that were asked for, so that equal ones are a mistake
        points: list[Point] = []
        found: dict[str, list[Row]] = {}  # from each problem to the overrides of all points that have it
        for i, rows in enumerate(itertools.product(*dimensions) if dimensions else ()):
            config, overrides, problems = self.apply(_merged(rows))
            for problem in problems:
                found.setdefault(problem, []).append(overrides)
            if not problems:
                points.append(Point(i, overrides, config))
        self.problems += [text if _tells_where(text, at[0]) else _where(at) + text for text, at in found.items()]
        if as_meant:
            self.problems += _repeats(points)
        if check is not None:
            self.problems += _unbuildable(points, check)
        return points

    def apply(self, row: Row) -> tuple[Any, Row, list[str]]:
        """The base with overrides, the overrides as Python values of their fields, and what is wrong."""
        config, read, problems = self.config, dict(row), []
        # A configuration before its fields, whichever axis comes first.
        for path in sorted(row, key=lambda path: path.count(".")):
            try:
                config = replaced(config, path, row[path])
            except ConfigError as error:
                problems.append(f"{error}{self.elsewhere(path, str(error))}")
                continue
            annotation, value = _field_at(config, path)
            read[path] = _plain(value, _kinds(annotation))
            config = replaced(config, path, read[path])
        try:
            validate(config)
        except ConfigError as error:
            problems += str(error).split("\n")
        return config, read, problems

    def elsewhere(self, path: str, message: str) -> str:
        """Where there is a field of that name, if not at that path."""
        if "has no field" not in message or "Did you mean" in message:
            return ""
        known = [p for p in flatten(self.config) if p != path and p.split(".")[-1] == path.split(".")[-1]]
        return f" Did you mean {' or '.join(map(repr, known))}?" if known else ""


def _dimensions(dimensions: Sequence[Sequence[Row]], points: Sequence[Point]) -> tuple[Dimension, ...]:
    """The dimensions with values as the points have them."""
    found = []
    stride = len(points)
    for positions in dimensions:
        stride //= len(positions)
        read = [{path: points[i * stride].overrides[path] for path in row} for i, row in enumerate(positions)]
        found.append(Dimension(tuple(_merged(positions)), tuple(read)))
    return tuple(found)


# Nodes


def _fields(node: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """(path, listed values) of every field that a node varies, repeated where it names one more than once."""
    found: list[tuple[Any, Any]] = []
    match node:
        case Axis(path, values):
            found = [(path, values)]
        case Range(path):
            found = [(path, ())]
        case Draws():
            found = [(path, d.values if isinstance(d, Choice) else ()) for path, d in _pairs(node)]
        case Combined(_, parts):
            found = [field for part in parts for field in _fields(part)]
    return [(path, values if isinstance(values, tuple) else ()) for path, values in found if isinstance(path, str)]


def _paths(node: Any) -> list[str]:
    return [path for path, _ in _fields(node)]


def _pairs(node: Draws) -> tuple[tuple[str, Distribution], ...]:
    """(path, distribution) of draws; none where they are anything else."""
    given = node.distributions
    whole = isinstance(given, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given)
    return given if whole else ()


def _problems(node: Any) -> list[str]:
    """What is wrong with a node, whatever its parts and the configuration."""
    match node:
        case Axis(path, values):
            if problems := _path_problems("axis", path):
                return problems
            if not isinstance(values, tuple):
                return [f"{path}: got {values!r}, expected a tuple of values, such as ({values!r},)."]
            return [] if values else [f"{path}: its axis has no values; give at least one."]
        case Range(path, scale, low, high, num):
            if problems := _path_problems(f"{scale}_axis", path):
                return problems
            problems = _num_problems(num) + _interval_problems(low, high, "linear_axis" if scale == "log" else "")
            if not problems and num > 1 and low == high:
                return [f"{path}: {num} values from {low!r} to {high!r} are all the same; ask for 1, or move an end."]
            return [f"{path}: {problem}" for problem in problems]
        case Draws(kind, distributions, num, seed):
            if not _pairs(node):
                example = "{'optimizer.learning_rate': LogUniform(1e-4, 1e-2)}"
                return [f"{kind}: got {distributions!r}, expected a distribution for every field, such as {example}."]
            problems = [f"{kind}: {problem}" for problem in _num_problems(num)]
            if not matches(seed, int) or not 0 <= seed < 2**32:
                problems.append(f"{kind}: got seed = {seed!r}, expected an integer, at least 0 and less than {2**32}.")
            for path, distribution in distributions:
                problems += _path_problems(kind, path)
                problems += [f"{path}: {problem}" for problem in _distribution_problems(distribution)]
            twice = _repeated(_paths(node))
            return problems + [f"{path}: {kind} draws it twice; name each field once." for path in twice]
        case Combined(kind, ()):
            return [f"{kind}: it has no parts; give it at least one axis."]
        case Combined("chain"):
            return []
        case Combined(kind, parts):
            twice = _repeated(path for part in parts for path in dict.fromkeys(_paths(part)))
            return [
                f"{path}: it varies in two parts of {kind}(...); name each field once, or use chain(...) to try one "
                "part after the other."
                for path in twice
            ]
    nodes = "axis(...), log_axis(...), linear_axis(...), random(...), quasi_random(...)"
    return [f"axes: got {node!r}, expected {nodes}, or a product(...), zipped(...) or chain(...) of such."]


def _path_problems(name: str, path: Any) -> list[str]:
    if isinstance(path, str) and path:
        return []
    return [f"{name}: got {path!r} for the field, expected a path such as 'optimizer.learning_rate'."]


def _num_problems(num: Any, name: str = "num = ") -> list[str]:
    whole = matches(num, int) and num >= 1
    return [] if whole else [f"got {name}{num!r}, expected an integer, at least 1."]


def _interval_problems(low: Any, high: Any, unless_log: str = "", whole: bool = False) -> list[str]:
    """What is wrong with an interval; `unless_log` is what to use where its scale must not be logarithmic."""
    expected = "an integer" if whole else "a finite number"
    problems = [
        f"got {name} = {value!r}, expected {expected}."
        for name, value in (("low", low), ("high", high))
        if not matches(value, int if whole else float) or not math.isfinite(value)
    ]
    if problems:
        return problems
    if low > high:
        problems.append(f"got low = {low!r} and high = {high!r}, expected low <= high; exchange them.")
    if unless_log and low <= 0:
        positive = f"got low = {low!r} on a logarithmic scale, expected more than 0; raise it, or use {unless_log}."
        problems.append(positive)
    return problems


def _distribution_problems(distribution: Any) -> list[str]:
    match distribution:
        case Uniform(low, high):
            return _interval_problems(low, high)
        case LogUniform(low, high):
            return _interval_problems(low, high, "Uniform")
        case Integers(low, high):
            return _interval_problems(low, high, whole=True)
        case Choice(values):
            whole = isinstance(values, tuple) and values
            return [] if whole else [f"got Choice({values!r}), expected a tuple with at least one value."]
    return [f"got {distribution!r}, expected Uniform(a, b), LogUniform(a, b), Integers(a, b) or Choice((a, b, ...))."]


# Draws


def _uniforms(node: Draws) -> np.ndarray:
    """Points in [0, 1), [num, fields]: independent, or the first of a scrambled Sobol sequence."""
    size = node.num, len(node.distributions)
    if node.kind == "random":
        return np.random.RandomState(node.seed).uniform(size=size)
    from scipy.stats import qmc  # half a second, which only such sweeps wait for

    return qmc.Sobol(size[1], rng=node.seed).random_base2((node.num - 1).bit_length())[: node.num]


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


# Problems of points


def _tells_where(problem: str, row: Row) -> bool:
    """Whether a problem with a value names a swept field, whose value it quotes, or one that nothing here touches."""
    at = problem.split(":")[0] + "."
    through = [path for path in row if at.startswith(f"{path}.")]
    if not through:
        return "has no field" in problem or not any(path.startswith(at) for path in row)
    return len(through) == 1 and not _holds_config(row[through[0]])


def _repeats(points: Sequence[Point]) -> list[str]:
    """Points that are the same configuration."""
    first: dict[Any, Point] = {}
    pairs = []
    for point in points:
        leaves, structure = jax.tree.flatten(point.config)
        same = first.setdefault((structure, *(np.asarray(v).item() for v in leaves)), point)
        if same is not point:
            pairs.append((same, point))
    problems = [
        f"points {a.index} and {b.index} are the same configuration ({_text(a.overrides)}"
        + ("" if a.overrides == b.overrides else f"; and {_text(b.overrides)}")
        + "); leave one out, ask for fewer draws, or repeat points by several seeds."
        for a, b in pairs[:3]
    ]
    return problems + ([f"and {len(pairs) - 3} more points are the same as others."] if len(pairs) > 3 else [])


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
    return ", ".join(f"{path}={label(v) if _holds_config(v) else repr(v)}" for path, v in row.items())


# Fields and values


def _holds_config(value: Any) -> bool:
    return any(map(is_config, value if isinstance(value, tuple) else (value,)))


def _field_at(config: Any, path: str) -> tuple[Any, Any]:
    """(annotation, value) of the field at a path."""
    *way, name = path.split(".")
    for step in way:
        config = config[int(step)] if isinstance(config, tuple) else getattr(config, step)
    return annotations(type(config))[name], getattr(config, name)


def _kinds(annotation: Any) -> set[Any]:
    """All types that a value, or the elements of a tuple, may have."""
    inner = typing.get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation}


def _plain(value: Any, kinds: set[Any]) -> Any:
    """A value as Python's int, float, bool or str where its field takes one: 1 of a float field is 1.0."""
    if isinstance(value, tuple):
        return tuple(_plain(v, kinds) for v in value)
    if isinstance(value, np.generic):
        value = value.item()
    if int in kinds and matches(value, int):
        return int(value)
    return float(value) if float in kinds and matches(value, float) else value


def _merged(rows: Iterable[Row]) -> Row:
    return {path: value for row in rows for path, value in row.items()}


def _repeated(values: Iterable[Any]) -> list[Any]:
    """The values that come more than once."""
    return [value for value, times in Counter(values).items() if times > 1]
