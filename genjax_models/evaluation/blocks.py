"""Functions of one example over many, in blocks, so that memory does not grow with their number."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from genjax_models.core import Batch, is_hashable
from genjax_models.errors import DataError, require_count

Devices = int | Mesh | AbstractMesh  # how many of this process's, or those of a mesh


def check_examples(batch: Batch) -> Batch:
    """The batch with floating x; DataError unless that is [N, D], with a row of context for each example."""
    if getattr(batch.x, "ndim", 0) != 2 or batch.x.shape[0] == 0:
        raise DataError(f"x: got shape {getattr(batch.x, 'shape', None)}, expected [N, D] with at least one example.")
    number = batch.x.shape[0]
    if wrong := [jnp.shape(leaf) for leaf in jax.tree.leaves(batch.context) if jnp.shape(leaf)[:1] != (number,)]:
        raise DataError(f"context: got shape {wrong[0]} for {number} examples, expected a row for each.")
    return batch._replace(x=jnp.asarray(batch.x, jnp.result_type(float)))


def require_sizes(name: str, **sizes: int) -> None:
    """Raise ConfigError, by name, for a size below one."""
    for size, value in sizes.items():
        require_count(f"{name}: {size}", value)


def devices_for(*trees: Any) -> int:
    """The number of devices that examples can be shared out to: all of this process's, or one.

    One within somebody's trace, whose mesh is another, and where arrays were put on other devices by the caller.
    """
    devices = jax.local_devices()
    for leaf in jax.tree.leaves(trees):
        if isinstance(leaf, jax.core.Tracer):
            return 1
        if isinstance(leaf, jax.Array) and leaf.committed and leaf.sharding.device_set != set(devices):
            return 1
    return len(devices)


def in_blocks(function: Callable, key: jax.Array, examples: Any, block: int, devices: Devices = 1) -> Any:
    """`function(key, example)` of every example, leaves [N, ...], `block` examples at a time.

    Example i gets `fold_in(key, i)`, so its value does not depend on the block's size; or the i-th of keys [N]. The
    blocks are shared out to that many devices of this process, or to those of a mesh, where there is one for each; of a
    mesh, the values come to all devices whole. Within a `shard_map` over some of its axes, the blocks are shared out
    along the others.
    """
    # A raw key, as of `jax.random.PRNGKey`, has an axis of its own.
    several = key.ndim > (0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1)
    whole = not isinstance(devices, int)
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("examples",)) if isinstance(devices, int) else devices
    axes = tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind != AxisType.Manual)
    number = jax.tree.leaves(examples)[0].shape[0]
    block = min(block, number)
    blocks = -(-number // block)
    shares = math.prod(mesh.shape[name] for name in axes)
    spread = blocks >= shares > 1
    if spread:
        blocks = -(-blocks // shares) * shares

    def of_block(indices):
        rows = jax.tree.map(lambda v: v[indices], examples)
        keys = key[indices] if several else jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
        return jax.vmap(function)(keys, rows)

    def of_device(indices):
        return jax.lax.map(of_block, indices)

    def of_all(indices):
        if not spread:
            return of_device(indices)
        split = PartitionSpec(axes)
        if axes == mesh.axis_names:
            shared_out = jax.shard_map(of_device, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
            return shared_out(indices)
        # What `function` closes over may not enter a `shard_map` within another: the compiler shares the work out.
        indices = indices.reshape(shares, -1, block)
        values = jax.vmap(of_device)(jax.lax.with_sharding_constraint(indices, NamedSharding(mesh, split)))
        return jax.tree.map(lambda v: v.reshape(blocks, *v.shape[2:]), values)

    # The last block is filled up with the last example.
    indices = jnp.minimum(jnp.arange(blocks * block), number - 1).reshape(blocks, block)
    values = jax.tree.map(lambda v: v.reshape(blocks * block, *v.shape[2:])[:number], of_all(indices))
    return jax.lax.with_sharding_constraint(values, NamedSharding(mesh, PartitionSpec())) if whole else values


def compiled(function: Callable, static: int) -> Callable:
    """`function` under `jax.jit`, its first arguments, `static` of them, records that are fixed.

    A model with traced hyperparameters stands in somebody's trace already, and is run as it is.
    """
    program = jax.jit(function, static_argnums=tuple(range(static)))

    @functools.wraps(function)
    def run(*args):
        return (program if is_hashable(args[:static]) else function)(*args)

    return run
