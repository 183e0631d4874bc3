"""Many configurations of one structure in one compiled program, spread over all devices.

The numbers, keys and states of the points are stacked as [blocks, block]: the blocks are shared out to the devices,
each device takes its blocks one after another (`lax.map`), and the points of a block run at once (`vmap`). With one
point a block every point is bit for bit what it is alone; larger blocks differ by round-off, and pay where one point
does not fill a device. What one point does is traced once, however the points are arranged.

Of a mesh that also has the axis "data", several devices take each block together, and share its points' batches.
"""

import contextlib
import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax_models.config import Config
from genjax_models.core import Metrics, TrainState, as_batch
from genjax_models.errors import UserError
from genjax_models.evaluation.blocks import Devices
from genjax_models.measuring import (
    evaluated_parameters,
    evaluation_key,
    example_log_marginal,
    example_metrics,
)
from genjax_models.spread import DATA, Spread, spread
from genjax_models.train import compiled_advance, compiled_init, next_stop, program_config

POINTS = "points"  # the name of the mesh's axis
FACTOR = 4  # between the sizes of block that are tried
# Another size is tried while training would take this many times as long as trying it: it must win that back.
PATIENCE = 4
MEMORY_SHARE = 0.9  # of what is free, that a program may take


class MemoryShortage(UserError):
    """Points that run together need more memory than a device has."""

    def __init__(self, message: str, needed: int):
        super().__init__(message)
        self.bytes = needed


class Arrangement(NamedTuple):
    """Where every member of a stack stands. What is left over of the last block, and blocks that no device would
    otherwise have, repeat a member: they are computed and dropped."""

    members: np.ndarray  # [blocks, block], a member at each place
    starts: np.ndarray  # [blocks], the step that all members of a block have reached
    places: np.ndarray  # [members], the first place of each in the flattened blocks


def arrange(steps: Sequence[int], block: int, devices: int, capacity: int = 0) -> Arrangement:
    """Blocks of members that stand at the same step.

    Args:
        steps: of every member.
        block: members a block.
        devices: the number of blocks is made a multiple of this.
        capacity: blocks of an earlier arrangement, whose number is kept, or halved, so that few programs are compiled.
    """
    rows, starts = [], []
    for step in dict.fromkeys(steps):
        members = [i for i, s in enumerate(steps) if s == step]
        for first in range(0, len(members), block):
            row = members[first : first + block]
            rows.append(row + row[-1:] * (block - len(row)))
            starts.append(step)
    while capacity >= 2 * len(rows):
        capacity = math.ceil(capacity / 2)
    blocks = math.ceil(max(len(rows), capacity) / devices) * devices
    filled = rows + rows[-1:] * (blocks - len(rows))
    order = [member for row in rows for member in row]
    places = np.array([order.index(i) for i in range(len(steps))])
    return Arrangement(np.array(filled), np.array(starts + starts[-1:] * (blocks - len(rows)), np.int32), places)


def over_points(
    function: Callable[[Any, Any, Any], Any], mesh: Mesh, block: int, at_once: bool = True
) -> Callable[[Any, Any, Any], Any]:
    """`function(shared, common, point)` over all points of a stack, on all devices of the mesh.

    Args:
        function: of one point: what all points share, what a block shares, and the point's own.
        mesh: devices along the axis "points", and perhaps "data", along which what is shared may be `Spread`.
        block: points a block.
        at_once: whether the points of a block run at once; otherwise one after another, in the memory of one.

    Returns:
        A function of (shared, common with leaves [blocks, ...], points with leaves [blocks, block, ...]) that gives
        leaves [blocks, block, ...]. It has no collectives along "points".
    """

    def one_block(shared: Any, common: Any, points: Any) -> Any:
        if block == 1:  # no vmap: the program of a point alone, bit for bit
            alone = function(shared, common, jax.tree.map(lambda v: v[0], points))
            return jax.tree.map(lambda v: v[None], alone)
        over = jax.vmap if at_once else lambda f: functools.partial(jax.lax.map, f)
        return over(lambda point: function(shared, common, point))(points)

    def of_column(shared: Any, common: Any, points: Any) -> Any:
        held = shared.inside() if isinstance(shared, Spread) else shared
        return jax.lax.map(lambda xs: one_block(held, *xs), (common, points))

    split, whole = PartitionSpec(POINTS), PartitionSpec()
    # The axis "data" is left to the compiler, as in a run alone whose batches are spread.
    names, specs = {POINTS}, (whole, split, split)
    return jax.shard_map(of_column, mesh=mesh, in_specs=specs, out_specs=split, axis_names=names, check_vma=False)


def shares_of(mesh: Mesh) -> int:
    """How many devices share each batch of a point."""
    return mesh.shape.get(DATA, 1)


class Program(NamedTuple):
    """A compiled function of all points of a stack."""

    compiled: Any
    seconds: float  # that tracing and compiling took
    bytes: int  # of memory on each device; 0 where XLA does not say


# The programs of all stacks, the newest last: a sweep of a structure that has been swept compiles nothing again.
_programs: dict[Any, Program] = {}
KEPT = 64
SETTINGS = ("jax_default_prng_impl", "jax_default_matmul_precision", "jax_debug_nans")  # that change a program


def _key_data(state: TrainState) -> TrainState:
    return state._replace(key=jax.random.key_data(state.key))


def _typed_key(state: TrainState) -> TrainState:
    return state._replace(key=jax.random.wrap_key_data(state.key))


def on_host(state: TrainState) -> TrainState:
    """The state in numpy's arrays, which take no room on a device."""
    return _typed_key(jax.tree.map(np.asarray, _key_data(state)))


# The programs, of one point (configuration, state, seed). States enter and leave with the key's plain numbers.


def _init_point(x, start, point):
    config, _, seed = point
    return _key_data(compiled_init(config, jax.random.key(seed), x))


def _advance_point(x, start, point, length: int):
    config, state, _ = point
    state, metrics = compiled_advance(config, _typed_key(state), x, start, length=length)
    return _key_data(state), metrics


def _devices_of_point() -> Devices:
    """What a point's examples are shared out to in an evaluation: those that share its batches, or its only one."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if DATA in mesh.shape else 1


def _measure_point(x, start, point, stream: int):
    config, state, seed = point
    state, key = _typed_key(state), evaluation_key(seed, stream)
    visible, devices = as_batch(x).x.shape[1], _devices_of_point()
    return example_metrics(config, state, evaluated_parameters(state), key, x, visible, devices)


def _log_marginal_point(x, start, point, stream: int, num_samples: int):
    model, params, seed = point
    key, visible = evaluation_key(seed, stream), as_batch(x).x.shape[1]
    return example_log_marginal(model, params, key, x, visible, num_samples, _devices_of_point())


def _bytes(compiled: Any) -> int:
    """The memory that a program takes on each device; 0 where XLA does not say."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    # What is donated is an argument and an output in one place.
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
    )


def available_bytes(mesh: Mesh) -> int | None:
    """The memory that is free on each device of a mesh; None where nobody says."""
    devices = list(mesh.devices.flat)
    stats = [device.memory_stats() for device in devices]
    free = [s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats if s and "bytes_limit" in s]
    if free:
        return min(free)
    if devices[0].platform != "cpu":
        return None
    limits = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError, KeyError):  # a container's limit, "max" where there is none
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        counts = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        limits.append(limit - used + int(counts["inactive_file"]) + int(counts["active_file"]))  # files in memory go
    return min(limits) // len(devices) if limits else None


class Choice(NamedTuple):
    """How a group runs, and what that was measured by."""

    block: int  # points that run at once on a device
    seconds: dict[int, float]  # that a chunk of all points took, by the sizes of block that were tried
    compile_seconds: dict[int, float]
    bytes: dict[int, int]  # of memory on each device, also of a size that needed too much


class Stack:
    """Points of one structure in motion: some or all of a group, each at its own step.

    Args:
        configs: of all the group's points; what follows calls them by their index here.
        x: training data [N, D], or a `Batch` of that with contexts.
        mesh: the devices, along the axis "points", and perhaps "data".
        block: points that run at once on a device.
    """

    def __init__(self, configs: Sequence[Config], x: Any, mesh: Mesh, block: int = 1):
        self.mesh, self.block = mesh, block
        self.columns, self.shares = mesh.shape[POINTS], shares_of(mesh)
        self.training = configs[0].training
        self._all = (
            jax.tree.map(lambda *v: np.stack(v), *map(program_config, configs)),
            np.array([c.seed for c in configs], np.uint32),
        )
        self._split = NamedSharding(mesh, PartitionSpec(POINTS))
        self.x = self.share(x) if DATA not in mesh.shape else spread(x, mesh)
        self._capacity, self._block = 0, 0  # of the arrangement that stands
        self.points: list[int] = []

    def share(self, x: Any) -> Any:
        """An array, or a `Batch`, on every device."""
        return jax.device_put(x, NamedSharding(self.mesh, PartitionSpec()))

    def arrange(self, points: Sequence[int], steps: Sequence[int]) -> None:
        """Say which points run from now on, and the step at which each stands."""
        # Blocks are halved where half would do, and not at every point that leaves, which would compile anew; and where
        # points at many steps would leave most places to fillers.
        block, size = self.block, self.columns
        while block >= 2 * math.ceil(len(points) / size):
            block = math.ceil(block / 2)
        while block > 1 and sum(-(-n // block) * block for n in Counter(steps).values()) > 2 * len(points):
            block = math.ceil(block / 2)
        self.points, self.steps = list(points), list(steps)
        if block != self._block:
            self._block, self._capacity = block, 0
        self._arrangement = arrange(steps, block, size, self._capacity)
        self._capacity = max(self._capacity, len(self._arrangement.starts))
        own = np.array(self.points)
        self._configs, self._seeds = self._place(jax.tree.map(lambda v: v[own], self._all))

    def set_block(self, block: int) -> None:
        """Say how many points run at once; `arrange` and `put` follow it."""
        self.block, self._capacity = block, 0

    def _place(self, tree: Any) -> Any:
        """Leaves [points, ...] on the devices, as [blocks, block, ...]."""
        return jax.device_put(jax.tree.map(lambda v: v[self._arrangement.members], tree), self._split)

    def _take(self, tree: Any) -> Any:
        """Leaves [blocks, block, ...] on the host, as [points, ...]."""
        places = self._arrangement.places
        return jax.tree.map(lambda v: np.asarray(v).reshape(-1, *v.shape[2:])[places], tree)

    def put(self, states: Sequence[TrainState]) -> Any:
        """The states of the points, put on the devices."""
        plain = [jax.tree.map(np.asarray, _key_data(state)) for state in states]
        return self._place(jax.tree.map(lambda *v: np.stack(v), *plain))

    def take(self, states: Any) -> list[TrainState]:
        """The states of the points, on the host."""
        stacked = self._take(states)
        return [_typed_key(jax.tree.map(lambda v, i=i: v[i], stacked)) for i in range(len(self.points))]

    def _given(self, x: Any, states: Any, configs: Any = None) -> tuple[Any, ...]:
        """What a program takes; `configs` where it is not the whole configurations of the points."""
        return x, self._starts(), self._configs if configs is None else configs, states, self._seeds

    def _program(self, function: Callable, given: tuple[Any, ...], donate: bool = False, **static: Any) -> Program:
        """A function of one point, compiled for all points as they are arranged."""
        block = self._arrangement.members.shape[1]
        leaves, structure = jax.tree.flatten(given)
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        settings = tuple(getattr(jax.config, setting) for setting in SETTINGS)
        name = function, tuple(static.items()), self.mesh, block, structure, shapes, settings
        program = _programs.pop(name, None)
        if program is None:
            began = time.perf_counter()
            # An evaluation fills a device by the particles of one point, and takes the memory of one.
            at_once = function in (_init_point, _advance_point)
            all_points = over_points(functools.partial(function, **static), self.mesh, block, at_once)
            jitted = jax.jit(
                lambda x, starts, configs, states, seeds: all_points(x, starts, (configs, states, seeds)),
                donate_argnums=3 if donate else (),
            )
            compiled = jitted.lower(*given).compile()
            program = Program(compiled, time.perf_counter() - began, _bytes(compiled))
        _programs[name] = program
        while len(_programs) > KEPT:
            del _programs[next(iter(_programs))]
        return program

    def _starts(self) -> jax.Array:
        return jax.device_put(self._arrangement.starts, self._split)

    def _run(self, function: Callable, given: tuple[Any, ...], **options: Any) -> Any:
        """A function of one point, at all points as they are arranged."""
        return self._program(function, given, **options).compiled(*given)

    def init(self) -> Any:
        """The states before the first step."""
        return self._run(_init_point, self._given(self.x, None))

    def advance(self, states: Any, length: int) -> tuple[Any, Metrics]:
        """`length` steps of every point: the states, which are donated, and metrics [points, length] on the host."""
        states, metrics = self._run(_advance_point, self._given(self.x, states), donate=True, length=length)
        metrics = self._take(metrics)  # waits
        self._arrangement = self._arrangement._replace(starts=self._arrangement.starts + np.int32(length))
        self.steps = [step + length for step in self.steps]
        return states, metrics

    def peek(self, states: TrainState) -> tuple[np.ndarray, np.ndarray]:
        """The steps that the points have taken, and which of them have stopped at one that was not finite, [points]."""
        return self._take((states.step, states.halted))

    def measure(self, states: Any, x: jax.Array, stream: int = 0) -> dict[str, np.ndarray]:
        """The objective's metrics of every point on every example of x [N, D], [points, N]."""
        return self._take(self._run(_measure_point, self._given(x, states), stream=stream))

    def log_marginal(self, states: Any, x: jax.Array, num_samples: int) -> Any:
        """log p(x) of every point for every example of x [N, D], and its standard error, [points, N], in nats."""
        # Told of the model alone, groups that differ in how they train it share the program.
        given = self._given(x, evaluated_parameters(states), self._configs.model)
        return self._take(self._run(_log_marginal_point, given, stream=2, num_samples=num_samples))

    def stop(self) -> int:
        """The steps until the next point has an evaluation or the end of a chunk."""
        return min(next_stop(self.training, step) - step for step in self.steps)

    def room(self) -> int:
        """The points that there is memory for at a time, by the size of their states."""
        have = available_bytes(self.mesh)
        point = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), self._all)
        state = jax.eval_shape(lambda point: _init_point(self.x, None, (point[0], None, point[1])), point)
        size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        # A state, its copy while points are rearranged, and what a step makes of it.
        return len(self._all[1]) if have is None else max(1, int(MEMORY_SHARE * have / (3 * size)) * self.columns)

    def require_memory(self, states: Any) -> int:
        """The bytes that a chunk takes on each device.

        Raises:
            MemoryShortage: it takes more than there is.
        """
        need = self._program(_advance_point, self._given(self.x, states), donate=True, length=self.stop()).bytes
        have = available_bytes(self.mesh)
        # The states stand there already, and are counted as the program's argument as well.
        there = sum(leaf.nbytes for leaf in jax.tree.leaves(states)) // self.columns
        if have is not None and need - there > MEMORY_SHARE * have:
            raise MemoryShortage(
                f"{len(self.points)} points need {need / 2**30:.2f} GiB on each of {self.mesh.size} devices, which "
                f"have {have / 2**30:.2f} GiB free; take fewer points, or let fewer run at a time (a smaller --block, "
                "halving with slots), or give smaller batches or a smaller model.",
                need,
            )
        return need

    def choose(self, states: Any) -> tuple[Any, Choice]:
        """Try sizes of block for one chunk each, and keep the fastest: the states as they were, and the choice.

        The states are donated. A size is tried only while all that is left to train would take long enough to win the
        trial back; what is tried trains copies, which are dropped.

        Raises:
            MemoryShortage: not even one point at a time fits.
        """
        sizes = block_sizes(math.ceil(len(self.points) / self.columns), self.mesh.devices.flat[0].platform)
        kept, points, steps = self.take(states), self.points, self.steps
        jax.tree.map(lambda leaf: leaf.delete(), states)  # the copies need the room
        length = self.stop()
        chunks = max(1, (self.training.num_steps - min(steps)) / length)
        seconds: dict[int, float] = {}
        compile_seconds: dict[int, float] = {}
        needed: dict[int, int] = {}
        for size in sizes:
            if seconds:
                best = min(seconds.values())
                if best > 0 and chunks * best < PATIENCE * (max(compile_seconds.values()) + best):
                    break
            self.set_block(size)
            self.arrange(points, steps)
            copies = self.put(kept)
            try:
                needed[size] = self.require_memory(copies)
            except MemoryShortage as shortage:
                needed[size] = shortage.bytes
                if size == 1:
                    raise
                continue
            given = self._given(self.x, copies)
            program = self._program(_advance_point, given, donate=True, length=length)
            compile_seconds[size] = program.seconds
            began = time.perf_counter()
            jax.block_until_ready(program.compiled(*given))
            seconds[size] = time.perf_counter() - began
            if seconds[size] > min(seconds.values()):
                break  # the best lies behind
        self.set_block(min(seconds, key=seconds.__getitem__))
        self.arrange(points, steps)
        rounded = {size: round(value, 4) for size, value in seconds.items()}
        return self.put(kept), Choice(self.block, rounded, {k: round(v, 3) for k, v in compile_seconds.items()}, needed)


def block_sizes(most: int, platform: str) -> list[int]:
    """The sizes of block to try for `most` points a device, in the order in which they are likely to be best.

    On a CPU arrays outgrow the cache, so that it begins with 1; an accelerator wants to be filled, and begins with all.
    """
    blocks = [math.ceil(most / FACTOR**i) for i in range(math.ceil(math.log(most, FACTOR)) + 1)]
    sizes = sorted({*blocks, 1})
    return sizes if platform == "cpu" else sizes[::-1]
