"""Functions of one example over many, in blocks, so that memory does not grow with their number."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax_models.core import is_hashable


def in_blocks(function: Callable, key: jax.Array, examples: Any, block: int) -> Any:
    """`function(key, example)` of every example, leaves [N, ...], `block` examples at a time.

    Example i gets `fold_in(key, i)`, so its value does not depend on the block's size.
    """
    number = jax.tree.leaves(examples)[0].shape[0]
    block = min(block, number)
    blocks = -(-number // block)

    def of_block(indices):
        rows = jax.tree.map(lambda v: v[indices], examples)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
        return jax.vmap(function)(keys, rows)

    # The last block is filled up with the last example.
    indices = jnp.minimum(jnp.arange(blocks * block), number - 1).reshape(blocks, block)
    values = jax.lax.map(of_block, indices)
    return jax.tree.map(lambda v: v.reshape(blocks * block, *v.shape[2:])[:number], values)


def compiled(function: Callable, static: int) -> Callable:
    """`function` under `jax.jit`, its first arguments, `static` of them, records that are fixed.

    A model with traced hyperparameters stands in somebody's trace already, and is run as it is.
    """
    program = jax.jit(function, static_argnums=tuple(range(static)))

    @functools.wraps(function)
    def run(*args):
        return (program if is_hashable(args[:static]) else function)(*args)

    return run
