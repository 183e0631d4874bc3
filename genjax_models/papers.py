"""Tables of papers as records: what each cell trains or computes, and the figure that the paper has there.

A file in `configs/papers/` sets TABLE, and `reproduction` fills it in. A cell has a configuration for each budget:
`full` is what is compared with the paper, `short` takes about ten minutes on two cores, and `smoke` a few steps on a
few examples, which prove that the cell runs.
"""

import dataclasses
import fnmatch
import math
import os
import re
import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from genjax_models.config import Config, ScheduleConfig, is_config, validate
from genjax_models.errors import ConfigError, UserError, nearest, require_count
from genjax_models.overlay import overlay

Budget = Literal["smoke", "short", "full"]
BUDGETS: tuple[Budget, ...] = ("smoke", "short", "full")
Better = Literal["lower", "higher"]
ERROR = "_standard_error"  # ends the name of a figure's error


class Paper(NamedTuple):
    """A paper's figure."""

    value: float
    where: str  # authors, year, and table
    standard_error: float | None = None
    checked: bool = True  # False: from memory, to be checked in the paper


class Study(Protocol):
    """What a cell computes where it trains no configuration: a frozen dataclass, whose text tells two of them apart."""

    def __call__(self, seed: int, data_dir: str | None) -> Mapping[str, Any]:
        """Figures by name, each perhaps with its error, `NAME_standard_error`."""


class Figure(NamedTuple):
    """A measured number with its standard error over test examples, where it has one."""

    value: float
    standard_error: float | None = None


Measure = Callable[[Path, str | None], Figure]  # (run folder, data_dir)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        row, column: its place.
        full: what is compared with the paper: a `Config`, or a `Study`.
        paper: the paper's figure; None where it has none.
        short: the same in about ten minutes on two cores; None where `full` takes no longer.
        smoke: a few steps on a few examples; None for what `smoke_config` makes of a configuration.
        figure: which number of the run's result.json (or the study's) it is, with a minus before the name for the
            negative; or a function of the run folder and the data folder.
        better: "lower" or "higher"; None for a number that is shown beside and not judged.
        runs: the name of its runs; cells of one name are figures of the same runs. None for one of its own.
        note: what is other than in the paper, in words.
        digits: shown behind the point; None for what the table has.
    """

    row: str
    column: str
    full: Any
    paper: Paper | None = None
    short: Any = None
    smoke: Any = None
    figure: str | Measure = "test_nll"
    better: Better | None = "lower"
    runs: str | None = None
    note: str = ""
    digits: int | None = None

    @property
    def name(self) -> str:
        """`row/column` in small letters, for folders and patterns."""
        return f"{slug(self.row)}/{slug(self.column)}"

    @property
    def run_name(self) -> str:
        return self.runs or self.name

    def at(self, budget: Budget) -> Any:
        """The `Config` or `Study` of a budget."""
        short = self.full if self.short is None else self.short
        if budget != "smoke":
            return self.full if budget == "full" else short
        return smoke_config(short) if self.smoke is None else self.smoke


class Seeds(NamedTuple):
    """How many seeds a cell has, by budget."""

    smoke: int = 1
    short: int = 1
    full: int = 3


SEEDS = Seeds()


@dataclasses.dataclass(frozen=True)
class Table:
    """A paper's table, or several papers' in one: the TABLE of a file in `configs/papers/`."""

    name: str  # of its folder
    title: str
    unit: str  # of all figures
    cells: tuple[Cell, ...]
    seeds: Seeds = SEEDS
    digits: int = 2  # shown behind the point
    notes: str = ""  # below the title

    def digits_of(self, cell: Cell) -> int:
        """How many digits of a cell's figures are shown behind the point."""
        return self.digits if cell.digits is None else cell.digits

    def matching(self, pattern: str | None) -> tuple[Cell, ...]:
        """The cells whose names a pattern matches, or one of several with commas between them; all for None.

        Raises:
            ConfigError: a pattern that matches none.
        """
        if pattern is None:
            return self.cells
        parts = [part.strip().lower() for part in pattern.split(",")]
        found = []
        for part in parts:
            own = [cell for cell in self.cells if fnmatch.fnmatchcase(cell.name, part)]
            if not own:
                names = [cell.name for cell in self.cells]
                raise ConfigError(
                    f"--cells: {part!r} matches no cell of {self.name}; patterns have the wildcards of a shell, such "
                    f"as '{names[0].split('/')[0]}/*'.{nearest(part, names)}"
                )
            found += own
        return tuple(cell for cell in self.cells if cell in found)


def slug(text: str) -> str:
    """A text as a part of a file name.

    Example:
        >>> slug("MADE, 2 layers")
        'made_2_layers'
    """
    return re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("_.")


def recipe(file: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> Config:
    """The CONFIG of a Python file with fields replaced by dotted path, as `genjax-models train FILE --a.b 1` has it.

    Raises:
        ConfigError: no such file, no CONFIG in it, or overrides that do not fit.

    Example:
        >>> recipe("configs/nade_uci.py", {"data.name": "dna"}).data.name
        'dna'
    """
    if not Path(file).is_file():
        raise ConfigError(f"{file}: no such file.")
    config = runpy.run_path(os.fspath(file)).get("CONFIG")
    if not isinstance(config, Config):
        raise ConfigError(f"{file}: expected CONFIG = genjax_models.config.Config(...), found {config!r}.")
    try:
        return overlay(config, overrides or {})
    except UserError as error:
        raise ConfigError(f"{file}: {error}") from None


def with_steps(config: Config, num_steps: int, overrides: Mapping[str, Any] | None = None) -> Config:
    """A configuration of another length: schedules are stretched with it, and it is evaluated at least ten times.

    Args:
        config: the configuration.
        num_steps: updates in all.
        overrides: other fields by dotted path, put in afterwards.

    Example:
        >>> with_steps(config, config.training.num_steps // 10, {"evaluation.num_samples": 100})
    """
    require_count("with_steps: num_steps", num_steps)
    factor = num_steps / config.training.num_steps
    every = min(config.training.evaluate_every, max(1, num_steps // 10))
    stretched = _stretched(config, factor)
    training = dataclasses.replace(config.training, num_steps=num_steps, evaluate_every=every)
    return overlay(dataclasses.replace(stretched, training=training), overrides or {})


def _stretched(node: Any, factor: float) -> Any:
    """A configuration whose schedules take `factor` times their steps."""
    if isinstance(node, tuple):
        return tuple(_stretched(value, factor) for value in node)
    if not is_config(node):
        return node
    fields = {f.name: _stretched(getattr(node, f.name), factor) for f in dataclasses.fields(node)}
    if isinstance(node, ScheduleConfig):
        for name in {"steps", "delay"} & fields.keys():
            steps = fields[name]
            many = tuple(_scaled(v, factor) for v in steps) if isinstance(steps, tuple) else _scaled(steps, factor)
            fields[name] = many
    return dataclasses.replace(node, **fields)


def _scaled(steps: int, factor: float) -> int:
    return max(min(steps, 1), round(steps * factor))


SMOKE_STEPS, SMOKE_EXAMPLES = 3, 8


def smoke_config(config: Config) -> Config:
    """A configuration cut to three steps in batches of at most four, and evaluated on eight examples."""
    batch_size = min(4, config.training.batch_size)
    training = dataclasses.replace(
        config.training,
        num_steps=SMOKE_STEPS,
        batch_size=batch_size,
        accumulate=math.gcd(batch_size, config.training.accumulate),
        evaluate_every=SMOKE_STEPS,
        chunk=SMOKE_STEPS,
    )
    evaluation = dataclasses.replace(
        config.evaluation,
        num_samples=min(10, config.evaluation.num_samples),
        num_z_samples=min(20, config.evaluation.num_z_samples),
        test_examples=SMOKE_EXAMPLES,
        validation_examples=SMOKE_EXAMPLES,
    )
    return dataclasses.replace(config, training=training, evaluation=evaluation)


def check_table(table: Any, where: str = "TABLE") -> Table:
    """Check a table's records, and the configurations of all budgets, and return it.

    Raises:
        ConfigError: all that is wrong.
    """
    if not isinstance(table, Table):
        raise ConfigError(f"{where}: expected TABLE = genjax_models.papers.Table(...), found {table!r}.")
    problems: list[str] = []
    if not table.cells:
        problems.append("cells: got none, expected at least one.")
    names = [cell.name for cell in table.cells]
    problems += [f"cells: {name} is there twice." for name in dict.fromkeys(n for n in names if names.count(n) > 1)]
    runs: dict[str, Cell] = {}
    for cell in table.cells:
        first = runs.setdefault(cell.run_name, cell)
        for budget in BUDGETS:
            problems += _problems(cell, budget, first)
        if cell.paper is not None and not math.isfinite(cell.paper.value):
            problems.append(f"{cell.name}: got the paper's figure {cell.paper.value}, expected a finite number.")
    if problems:
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))
    return table


def _problems(cell: Cell, budget: Budget, first: Cell) -> list[str]:
    if budget == "smoke" and cell.smoke is None and not isinstance(cell.at("short"), Config):
        return [f"{cell.name}: a study needs `smoke`, a version of it that takes a second."]
    task = cell.at(budget)
    if task != first.at(budget):
        return [f"{cell.name}: shares the runs of {first.name}, but its {budget} is another."]
    if not isinstance(task, Config):
        ok = callable(task) and dataclasses.is_dataclass(task) and not isinstance(task, type)
        wanted = "a Config or a study (a frozen dataclass)"
        return [] if ok else [f"{cell.name}: {budget}: got {task!r}, expected {wanted}."]
    try:
        validate(task)
    except ConfigError as error:
        return [f"{cell.name}: {budget}: {error}"]
    return []


# How a figure stands beside the paper's.


class Comparison(NamedTuple):
    """Our seeds together, beside the paper's figure; None where there is nothing to compare."""

    mean: float  # over seeds
    examples_error: float | None  # the standard error over test examples, of one seed, on average
    seeds_error: float | None  # the standard error of the mean over seeds
    difference: float | None  # mean - paper
    verdict: Literal["better", "within", "short"] | None


def compare(ours: Sequence[Figure], paper: Paper | None, better: Better | None) -> Comparison | None:
    """Figures of several seeds beside the paper's.

    With m the mean over seeds and e the standard error over test examples of one seed (of the mean over seeds, where
    figures have none), m is "better" where it is at least as good as the paper's p, "within" where it is worse by no
    more than e, and else "short". Seeds share their test examples, so that averaging over them does not lower e.

    Args:
        ours: by seed.
        paper: the paper's.
        better: which way is better; None to judge nothing.

    Returns:
        The comparison; None without figures.
    """
    if not ours:
        return None
    n, values = len(ours), [figure.value for figure in ours]
    mean = sum(values) / n if any(map(math.isnan, values)) else math.fsum(values) / n
    seeds_error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n) if n > 1 else None
    errors = [figure.standard_error for figure in ours if figure.standard_error is not None]
    examples_error = math.fsum(errors) / len(errors) if errors else None
    if not math.isfinite(mean):  # of a run that diverged: worse than any figure
        return Comparison(mean, None, None, None, None if paper is None or better is None else "short")
    if paper is None:
        return Comparison(mean, examples_error, seeds_error, None, None)
    difference = mean - paper.value
    if better is None:
        return Comparison(mean, examples_error, seeds_error, difference, None)
    worse = difference if better == "lower" else -difference
    allowed = next((e for e in (examples_error, seeds_error) if e is not None), 0.0)
    verdict: Literal["better", "within", "short"] = "short"
    if worse <= allowed:
        verdict = "better" if worse <= 0 else "within"
    return Comparison(mean, examples_error, seeds_error, difference, verdict)
