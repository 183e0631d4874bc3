"""Functions of one example over many, in blocks, so that memory does not grow with their number."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax_models.core import Batch, is_hashable
from genjax_models.errors import DataError, require_count


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


def in_blocks(function: Callable, key: jax.Array, examples: Any, block: int, devices: int | Mesh = 1) -> Any:
    """`function(key, example)` of every example, leaves [N, ...], `block` examples at a time.

    Example i gets `fold_in(key, i)`, so its value does not depend on the block's size. The blocks are shared out to
    that many devices of this process, or to those of a mesh with one axis, where there is one for each; of a mesh, the
    values come to all devices whole.
    """
    whole = isinstance(devices, Mesh)
    mesh = devices if isinstance(devices, Mesh) else Mesh(np.array(jax.local_devices()[:devices]), ("examples",))
    number = jax.tree.leaves(examples)[0].shape[0]
    block = min(block, number)
    blocks = -(-number // block)
    spread = blocks >= mesh.size > 1
    if spread:
        blocks = -(-blocks // mesh.size) * mesh.size

    def of_block(indices):
        rows = jax.tree.map(lambda v: v[indices], examples)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
        return jax.vmap(function)(keys, rows)

    def of_device(indices):
        return jax.lax.map(of_block, indices)

    if spread:
        split = PartitionSpec(*mesh.axis_names)
        of_device = jax.shard_map(of_device, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    # The last block is filled up with the last example.
    indices = jnp.minimum(jnp.arange(blocks * block), number - 1).reshape(blocks, block)
    values = of_device(indices)
    values = jax.tree.map(lambda v: v.reshape(blocks * block, *v.shape[2:])[:number], values)
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
