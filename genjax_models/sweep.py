"""Sweeps in memory: a configuration, axes and seeds in, arrays indexed by the axes out.

result = run_sweep(config, axis("optimizer.learning_rate", (1e-4, 1e-3, 1e-2)), seeds=4)
result.validation["bound"]  # [3, 4]

`sweep_folder` is the same on disk.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from genjax_models import processes
from genjax_models.axes import Axes, axes_to_json, axis, product
from genjax_models.config import Config, DataConfig
from genjax_models.core import TrainState
from genjax_models.data import Dataset, examples, require_in_memory
from genjax_models.errors import ConfigError, require_count
from genjax_models.points import Grid, expand
from genjax_models.preparation import prepare
from genjax_models.run_folder import DataSpec
from genjax_models.spread import DATA
from genjax_models.stack import POINTS, Choice, MemoryShortage, Stack
from genjax_models.tables import types
from genjax_models.train import Train, check_training_data, check_values, make_train, program_config, require_shares


@dataclasses.dataclass(frozen=True)
class SuccessiveHalving:
    """Stop early what is not among the best, and give its slot to a point that has not begun.

    At the rungs `min_steps`, `min_steps * reduction`, ... every point that arrives goes on if its validation metric
    (`evaluation.best_by`) is in the best 1 / `reduction` of all of its structure that have come to that rung so far: an
    axis over sizes or classes parts the points that are compared. Points that arrive together are judged together: with
    a slot for every point this is successive halving (Jamieson and Talwalkar 2016), with fewer slots its asynchronous
    form (Li et al. 2020), with decisions in the order of the points.
    """

    min_steps: int  # the first rung; a multiple of training.evaluate_every
    reduction: int = 3
    slots: int | None = None  # points that run at a time; None for all

    def rungs(self, num_steps: int) -> list[int]:
        """The steps of all rungs before the last step."""
        rungs, step = [], self.min_steps
        while step < num_steps:
            rungs.append(step)
            step *= self.reduction
        return rungs

    def check(self, config: Config) -> None:
        """Raise ConfigError where the numbers are impossible, or no rung is an evaluation of the configuration."""
        require_count("halving.min_steps", self.min_steps)
        require_count("halving.reduction", self.reduction)
        if self.slots is not None:
            require_count("halving.slots", self.slots)
        if self.reduction < 2:
            raise ConfigError(f"halving.reduction: got {self.reduction}, expected at least 2.")
        training = config.training
        if self.min_steps % training.evaluate_every or self.min_steps >= training.num_steps:
            raise ConfigError(
                f"halving.min_steps: got {self.min_steps}, expected a multiple of training.evaluate_every "
                f"({training.evaluate_every}) below training.num_steps ({training.num_steps})."
            )


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is swept, and how: the SWEEP of a config file.

    Example:
        >>> SWEEP = Sweep(log_axis("optimizer.learning_rate", 1e-4, 1e-2, 5), seeds=4)
    """

    axes: Axes | Mapping[str, Iterable[Any]] | None = None  # or fields with their values, for all combinations
    seeds: int | None = None  # that many of each point, from the configuration's seed up
    halving: SuccessiveHalving | None = None
    block: int | None = None  # points that run at once on a device; None to have it measured, 1 for bit-identity

    @property
    def nodes(self) -> Axes | None:
        """The axes, where they were given by fields as well."""
        if isinstance(self.axes, Mapping):
            return product(*(axis(path, values) for path, values in self.axes.items()))
        return self.axes

    def expand(self, config: Config, check: Callable[[Config], Any]) -> Grid:
        """The points of the sweep over a configuration, as `points.expand`."""
        if self.block is not None:
            require_count("block", self.block)
        if not isinstance(self.halving, SuccessiveHalving | None):
            raise ConfigError(f"halving: got {self.halving!r}, expected SuccessiveHalving(min_steps=...) or None.")

        def check_all(point: Config) -> None:
            check(point)
            if self.halving is not None:
                self.halving.check(point)

        return expand(self.nodes, config, self.seeds, check_all)

    def to_json(self) -> dict[str, Any]:
        """The sweep as plain dicts, lists, strings and numbers."""
        halving = None if self.halving is None else dataclasses.asdict(self.halving)
        return {
            "axes": axes_to_json(self.nodes, types()),
            "seeds": self.seeds,
            "halving": halving,
            "block": self.block,
        }


def group(configs: Sequence[Config]) -> list[tuple[int, ...]]:
    """The points that share a program, data and evaluation: indices into `configs`, in order of their first."""
    found: dict[Any, list[int]] = {}
    for i, config in enumerate(configs):
        key = jax.tree.structure(program_config(config)), config.data, config.evaluation
        found.setdefault(key, []).append(i)
    return [tuple(members) for members in found.values()]


def points_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """All devices, or those given, along the axis that points are spread over."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (POINTS,))


def sweep_mesh(points: int | None = None, data: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Devices along two axes: `points` columns, which share the points out, of `data` that share each batch.

    For points that are too large or too slow for one device each: every column trains points of its own, on batches
    that its devices share as those of `train --devices` do.

    Args:
        points: columns; None for as many as there are devices for.
        data: devices in each column.
        devices: which; None for all of `jax.devices()`. Neighbours share batches.

    Returns:
        A mesh with the axes "points" and "data", for `run_sweep` and `sweep_run`.

    Raises:
        ConfigError: more devices than there are, or a number that does not divide them where `points` is None.

    Example:
        >>> run_sweep(config, axes, mesh=sweep_mesh(points=2, data=4))  # 8 devices
    """
    there = list(jax.devices() if devices is None else devices)
    require_count("data", data)
    if points is None:
        if not there or len(there) % data:
            raise ConfigError(
                f"data: got {data}, expected a divisor of the {len(there)} devices that are here; say points too, to "
                "leave some of them out."
            )
        points = len(there) // data
    require_count("points", points)
    if points * data > len(there):
        raise ConfigError(
            f"points and data: got {points} x {data} = {points * data} devices, expected at most the {len(there)} that "
            'are here. Several of a CPU come by jax.config.update("jax_num_cpu_devices", 8) before anything else.'
        )
    return Mesh(np.array(there[: points * data]).reshape(points, data), (POINTS, DATA))


def require_mesh(mesh: Mesh) -> None:
    """Raise ConfigError unless points can be spread over a mesh, in this process."""
    if POINTS not in mesh.shape or set(mesh.shape) - {POINTS, DATA}:
        raise ConfigError(
            f'mesh: got the axes {", ".join(mesh.axis_names)}, expected "{POINTS}" and perhaps "{DATA}", as of '
            "sweep_mesh."
        )
    if processes.several():
        raise ConfigError(
            f"a sweep runs on the devices of one process, and this is one of {processes.count()}; start it alone, or "
            "train its points one by one."
        )


def check_shares(config: Config, mesh: Mesh) -> None:
    """Raise ConfigError unless the devices of each column can share a point's batches equally."""
    if DATA in mesh.shape:
        require_shares(config, mesh)


class SweepResult(NamedTuple):
    """What a sweep returns. Arrays begin with the axes of `grid`: [*grid.shape, ...].

    Where points have other metrics, or fewer steps, than others, what they lack is NaN; so is what comes after a step
    that was not finite, where that stops a run.
    """

    grid: Grid
    metrics: dict[str, np.ndarray]  # the objective's metrics at every training step, [*shape, num_steps]
    validation: dict[str, np.ndarray]  # its mean metrics on the validation split after the last step, [*shape]
    nll: np.ndarray  # mean -log p(x) of the test split under the last parameters, nats per example, [*shape]
    nonfinite: np.ndarray  # steps whose loss or gradient was not finite, [*shape]
    halted: np.ndarray  # points that stopped at such a step, [*shape]
    states: np.ndarray  # the last `TrainState` of every point, an array of objects [*shape], on the host
    choices: tuple[Choice, ...]  # of every group, how its points ran


def run_sweep(
    config: Config,
    axes: Axes | Mapping[str, Iterable[Any]] | None = None,
    seeds: int | None = None,
    data: Any = None,
    *,
    block: int | None = None,
    devices: Sequence[Any] | None = None,
    mesh: Mesh | None = None,
    data_dir: str | None = None,
) -> SweepResult:
    """Train every point of a sweep, in one compiled program for each structure, on all devices.

    Args:
        config: the configuration that the axes vary.
        axes: what is swept, from `genjax_models.axes`; or fields with their values, for all combinations.
        seeds: that many seeds of each point, from `config.seed` up: a last dimension.
        data: training data [N, D] to use instead of the configured source; then `validation` is empty and `nll` NaN.
        block: points that run at once on a device; None to have it measured. With 1 every point is bit for bit what
            it is alone.
        devices: what the points are spread over; None for all of `jax.devices()`. On a CPU,
            `jax.config.update("jax_num_cpu_devices", 4)` before anything else makes four of it.
        mesh: of `sweep_mesh`, instead of `devices`, where several devices share each batch of a point. Every point is
            then what it is alone on one device to round-off, with any block.
        data_dir: where data files lie; None for the environment's or the default folder.

    Returns:
        A `SweepResult`.

    Raises:
        UserError: all that is wrong with devices, axes and points, before anything runs; or too little memory.

    Example:
        >>> result = run_sweep(config, axis("optimizer.learning_rate", (1e-3, 1e-2)), seeds=4)
        >>> result.nll.mean(axis=-1)
    """
    if devices is not None and mesh is not None:
        raise ConfigError("devices and mesh are both given, expected one of the two; sweep_mesh takes devices too.")
    mesh = points_mesh(devices) if mesh is None else mesh
    require_mesh(mesh)
    read: dict[DataConfig, Dataset] = {}

    def check(point: Config) -> None:
        if data is None:
            prepare_point(point, data_dir, read)
        else:
            _check_given(point, data)
        check_shares(point, mesh)

    grid = Sweep(axes, seeds, block=block).expand(config, check)
    configs = [point.config for point in grid.points]
    rows: list[Any] = [None] * len(configs)
    choices = []
    for members in group(configs):
        own = [configs[i] for i in members]
        dataset = prepare(own[0], data_dir, read)[1] if data is None else None
        choice, found = _run_group(own, data, dataset, block, mesh)
        choices.append(choice)
        for i, row in zip(members, found, strict=True):
            rows[i] = row
    return _collect(grid, rows, tuple(choices))


def prepare_point(
    config: Config, data_dir: str | None, read: dict[DataConfig, Dataset]
) -> tuple[Train, Dataset, DataSpec]:
    """`prepare` for a point of a sweep, whose training data are held on the devices; DataError where they cannot be."""
    train, data, spec = prepare(config, data_dir, read)
    require_in_memory(data.train, "a sweep")
    return train, data, spec


def _check_given(config: Config, data: Any) -> None:
    make_train(config)
    check_training_data(config, data)
    check_values(config, data)


class _Row(NamedTuple):
    metrics: dict[str, np.ndarray]
    validation: dict[str, float]
    nll: float
    state: TrainState


def _run_group(configs: Sequence[Config], data: Any, dataset: Dataset | None, block: int | None, mesh: Mesh):
    """The choice, and a `_Row` of every configuration, on `data` [N, D] or else a data set."""
    stack = Stack(configs, data if dataset is None else examples(dataset, "train"), mesh, block or 1)
    if (room := stack.room()) < len(configs):
        raise MemoryShortage(
            f"there is memory for {room} points of {len(configs)} at a time; sweep in a folder, which runs them in "
            "turns (genjax-models sweep), or give fewer points.",
            0,
        )
    stack.arrange(range(len(configs)), [0] * len(configs))
    states = stack.init()
    if block is None:
        states, choice = stack.choose(states)
    else:
        choice = Choice(block, {}, {}, {block: stack.require_memory(states)})
    chunks = []
    while stack.steps[0] < stack.training.num_steps:
        states, metrics = stack.advance(states, stack.stop())
        chunks.append(metrics)
    metrics = jax.tree.map(lambda *v: np.concatenate(v, axis=1), *chunks)
    taken, halted = stack.peek(states)
    for i in np.flatnonzero(halted):  # what was computed after it is of parameters that stood still
        for values in metrics.values():
            values[i, taken[i] + 1 :] = np.nan
    validation: dict[str, np.ndarray] = {}
    nll = np.full(len(configs), np.nan)
    if dataset is not None:
        measured = stack.measure(states, stack.share(examples(dataset, "validation")))
        validation = {name: np.asarray(v, np.float64).mean(axis=1) for name, v in measured.items()}
        if configs[0].model.capability != "ImplicitModel":
            num_samples = configs[0].evaluation.num_samples
            estimate = stack.log_marginal(states, stack.share(examples(dataset, "test")), num_samples)
            nll = -np.asarray(estimate.log_prob, np.float64).mean(axis=1)
        for values in (nll, *validation.values()):
            values[halted] = np.nan
    return choice, [
        _Row({name: v[i] for name, v in metrics.items()}, {name: v[i] for name, v in validation.items()}, nll[i], state)
        for i, state in enumerate(stack.take(states))
    ]


def _collect(grid: Grid, rows: Sequence[_Row], choices: tuple[Choice, ...]) -> SweepResult:
    """The rows of all points as arrays over the axes."""

    def padded(name: str) -> np.ndarray:
        found = [row.metrics.get(name) for row in rows]
        there = [v for v in found if v is not None]
        shape = np.max([v.shape for v in there], axis=0)
        out = np.full((len(rows), *shape), np.nan, np.result_type(np.float32, *there))
        for i, v in enumerate(found):
            if v is not None:
                out[i][tuple(slice(0, n) for n in v.shape)] = v
        return out.reshape(*grid.shape, *shape)

    states = np.empty(len(rows), object)
    states[:] = [row.state for row in rows]
    return SweepResult(
        grid=grid,
        metrics={name: padded(name) for name in dict.fromkeys(n for row in rows for n in row.metrics)},
        validation={
            name: grid.reshape([row.validation.get(name, np.nan) for row in rows])
            for name in dict.fromkeys(n for row in rows for n in row.validation)
        },
        nll=grid.reshape([row.nll for row in rows]),
        nonfinite=grid.reshape([int(row.state.nonfinite) for row in rows]),
        halted=grid.reshape([bool(row.state.halted) for row in rows]),
        states=states.reshape(grid.shape),
        choices=choices,
    )
