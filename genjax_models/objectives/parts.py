"""A batch that is computed in parts, whose gradients are averaged: what each part draws, and who allows it.

A loss draws by `split` and `draw_rows` in place of `jax.random.split` and of draws [B, ...], and says so by the base
`ByRow`. Each part then draws what its rows would draw in the whole batch, so that the parts' mean is the whole batch's
loss. Any other loss is given a key of its own for each part.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from genjax_models.core import Key, along_batch

T = TypeVar("T")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PartKey:
    """The key of a whole batch, as a part of it is given it."""

    key: Key
    part: jax.Array  # int32, which of the parts this is
    number: int = dataclasses.field(metadata={"static": True})  # parts in all, of equal size


class ByRow:
    """Base of losses that are a mean over the batch's examples, and whose examples draw by `split` and `draw_rows`."""

    draws_by_row: ClassVar[bool] = True


def split(key: Key | PartKey, number: int = 2) -> Any:
    """The keys of `number` independent streams, of a part too."""
    if isinstance(key, PartKey):
        return tuple(dataclasses.replace(key, key=k) for k in jax.random.split(key.key, number))
    return jax.random.split(key, number)


def draw_rows(draw: Callable[[Key, int], T], key: Key | PartKey, size: int) -> T:
    """`draw(key, B)`, leaves [B, ...], for the B examples of a batch; of a part, its rows of the whole batch's."""
    if not isinstance(key, PartKey):
        return draw(key, size)
    # Keys and uniforms are drawn for the whole batch, and for every part again: small beside what is made of them.
    whole = draw(key.key, key.number * size)
    return jax.tree.map(lambda v: in_parts(v, key.number)[key.part], whole)


def in_parts(v: jax.Array, number: int) -> jax.Array:
    """An array [B, ...] as [parts, B / parts, ...]: rows i, i + parts, i + 2 parts, ... are part i.

    Neighbouring rows lie on one device where a batch is spread over several, so that all devices have a share of each.
    """
    return jnp.moveaxis(v.reshape(v.shape[0] // number, number, *v.shape[1:]), 1, 0)


def example_keys(key: Key | PartKey, size: int) -> jax.Array:
    """A key for each of the B examples of a batch, [B], laid where the batch lies."""
    return along_batch(draw_rows(jax.random.split, key, size))


def common_key(key: Key | PartKey) -> Key:
    """The key of what all examples of a batch share, and so do its parts."""
    return key.key if isinstance(key, PartKey) else key
