"""Examples spread over devices: every device holds a share of them, and of each batch.

mesh = data_mesh()  # all devices, along the axis "data"
state, metrics = make_train(config)(config, key, spread(x, mesh))

What a step computes is what it computes on one device, to round-off: the same batches, by the same keys. The compiler
shares the work out by where the batch lies, and sums gradients over the devices.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from genjax_models.core import Batch, as_batch
from genjax_models.errors import ConfigError

DATA = "data"  # the name of the mesh's axis
SMALLEST = 2**14  # numbers in an array that is worth sharding


@dataclasses.dataclass(frozen=True)
class Whole:
    """Examples as an array, or a `Batch`, on one device: what `Spread` can do, done there."""

    rows: Batch  # leaves [N, ...]
    along_batch: ClassVar[None] = None

    @property
    def number(self) -> int:
        return self.rows.x.shape[0]

    def take(self, indices: jax.Array) -> Batch:
        return jax.tree.map(lambda v: v[indices], self.rows)

    def placed(self, state: Any) -> Any:
        return state

    def everywhere(self, arrays: Any) -> Any:
        return arrays


@dataclasses.dataclass(frozen=True)
class AlongBatch:
    """Within a trace, arrays [B, ...] spread over the devices as a batch is, where their number divides B."""

    mesh: Mesh | AbstractMesh

    def __call__(self, arrays: Any) -> Any:
        along = NamedSharding(self.mesh, PartitionSpec(DATA))

        def place(v):
            return v if v.shape[0] % self.mesh.shape[DATA] else jax.lax.with_sharding_constraint(v, along)

        return jax.tree.map(place, arrays)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spread:
    """Examples on the devices of a mesh; see `spread`."""

    rows: Batch  # leaves [N', ...]: the N examples and what makes N' a multiple of the devices
    number: int = dataclasses.field(metadata={"static": True})  # N
    mesh: Mesh | AbstractMesh = dataclasses.field(metadata={"static": True})
    shard_parameters: bool = dataclasses.field(metadata={"static": True})

    @property
    def devices(self) -> int:
        """How many devices share each batch."""
        return self.mesh.shape[DATA]

    def take(self, indices: jax.Array) -> Batch:
        """The examples at indices [..., B], leaves [..., B, ...], B spread over the devices.

        Each device looks up what it holds, and their sum, of which all terms but one are zero, is scattered.
        """
        last = indices.ndim - 1

        def of_device(rows, indices):
            local = indices - jax.lax.axis_index(DATA) * rows.shape[0]
            held = (local >= 0) & (local < rows.shape[0])
            found = rows[jnp.where(held, local, 0)]
            found = jnp.where(held.reshape(held.shape + (1,) * (rows.ndim - 1)), found, 0)
            return jax.lax.psum_scatter(found, DATA, scatter_dimension=last, tiled=True)

        scattered = PartitionSpec(*[None] * last, DATA)
        looked_up = jax.shard_map(
            of_device,
            mesh=self.mesh,
            in_specs=(PartitionSpec(DATA), PartitionSpec()),
            out_specs=scattered,
            axis_names={DATA},
        )
        return jax.tree.map(lambda rows: looked_up(rows, indices), self.rows)

    def inside(self) -> "Spread":
        """These examples within a `shard_map` over another axis of the mesh, where the axis "data" is left."""
        return dataclasses.replace(self, mesh=jax.sharding.get_abstract_mesh())

    @property
    def along_batch(self) -> "AlongBatch":
        """What lays other arrays where a batch lies."""
        return AlongBatch(self.mesh)

    def placed(self, state: Any) -> Any:
        """Within a trace, a state where it lies between steps: on every device whole, or sharded."""
        return jax.lax.with_sharding_constraint(state, self.shardings(state))

    def everywhere(self, arrays: Any) -> Any:
        """Within a trace, arrays whole on every device, where every process can read them."""
        return jax.lax.with_sharding_constraint(arrays, NamedSharding(self.mesh, PartitionSpec()))

    def shardings(self, state: Any) -> Any:
        """Where the arrays of a state lie, as `jax.sharding.NamedSharding`; shapes suffice."""
        return jax.tree.map(lambda leaf: NamedSharding(self.mesh, self._spec(leaf)), state)

    def _spec(self, leaf: Any) -> PartitionSpec:
        if not self.shard_parameters or leaf.size < SMALLEST or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return PartitionSpec()
        axes = [i for i, size in enumerate(leaf.shape) if size % self.devices == 0]
        if not axes:
            return PartitionSpec()
        widest = max(axes, key=lambda i: leaf.shape[i])
        return PartitionSpec(*[None] * widest, DATA)


def source_of(data: Any) -> "Spread | Whole":
    """Examples as the training step's source: those of `spread` as they are, others as `Whole`."""
    return data if isinstance(data, Spread) else Whole(as_batch(data))


def data_mesh(devices: int | Sequence[Any] | None = None) -> Mesh:
    """Devices along the axis "data".

    Args:
        devices: which, or how many of `jax.devices()`; None for all, of all processes.

    Raises:
        ConfigError: more than there are, or none.

    Example:
        >>> data_mesh(1).shape
        OrderedDict({'data': 1})
    """
    there = jax.devices()
    if isinstance(devices, int):
        if isinstance(devices, bool) or not 1 <= devices <= len(there):
            raise ConfigError(
                f"devices: got {devices}, expected 1 to {len(there)}, which are here ({there[0].platform}). Several of "
                'a CPU come by jax.config.update("jax_num_cpu_devices", 4) before anything else.'
            )
        devices = there[:devices]
    chosen = there if devices is None else list(devices)
    if not chosen:
        raise ConfigError("devices: got none, expected at least one.")
    return Mesh(np.array(chosen), (DATA,))


def own_share(mesh: Mesh, size: int) -> slice:
    """The part of a batch of `size` that the devices of this process hold."""
    held = NamedSharding(mesh, PartitionSpec(DATA)).addressable_devices_indices_map((size,))
    parts = [index[0].indices(size) for index in held.values() if index is not None]
    return slice(min(start for start, _, _ in parts), max(stop for _, stop, _ in parts))


def spread_steps(own: Any, mesh: Mesh, shape: tuple[int, ...], *, shard_parameters: bool = False) -> Spread:
    """Batches of many steps on the devices of a mesh, each batch spread over them, for `Train.advance_over`.

    Args:
        own: what this process holds of them, leaves [length, b, ...] or [length, batches, b, ...], `own_share` of each.
        mesh, shard_parameters: as for `spread`.
        shape: of a step's examples in all processes, [B] or [batches, B].
    """
    along = NamedSharding(mesh, PartitionSpec(*[None] * len(shape), DATA))

    def place(v):
        whole = (v.shape[0], *shape, *v.shape[1 + len(shape) :])
        return jax.make_array_from_process_local_data(along, v, whole)

    return Spread(jax.tree.map(place, as_batch(own)), shape[-1], mesh, shard_parameters)


def spread(data: Any, mesh: Mesh, *, shard_parameters: bool = False) -> Spread:
    """Examples on the devices of a mesh, an equal share on each, for `make_train`'s functions.

    Args:
        data: [N, D], or a `Batch` of that with contexts; of numpy, so that only a process's own share is read of what
            is mapped from a file.
        mesh: from `data_mesh`.
        shard_parameters: whether the large arrays of parameters and of the optimizer's state are shared out too, along
            their widest axis that the number of devices divides, and gathered where they are used: less memory, and
            more to send. Otherwise every device has them whole.

    Returns:
        A `Spread`. Steps, draws and figures are those of the examples on one device, to round-off.

    Raises:
        ConfigError: a mesh without the axis "data".

    Example:
        >>> train = make_train(config)
        >>> state, metrics = train(config, jax.random.key(0), spread(x, data_mesh()))
    """
    if DATA not in mesh.shape:
        raise ConfigError(f'mesh: got the axes {", ".join(mesh.shape)}, expected one called "{DATA}", as of data_mesh.')
    batch, share = as_batch(data), NamedSharding(mesh, PartitionSpec(DATA))
    number, devices = len(batch.x), mesh.shape[DATA]
    full = -(-number // devices) * devices

    def place(rows):
        def part(index):
            own = np.asarray(rows[index[0]])
            # What fills up the last share is never drawn.
            return own if len(own) == size else np.pad(own, [(0, size - len(own))] + [(0, 0)] * (own.ndim - 1))

        size = full // devices
        return jax.make_array_from_callback((full, *rows.shape[1:]), share, part)

    return Spread(jax.tree.map(place, batch), number, mesh, shard_parameters)
