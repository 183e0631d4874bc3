"""Sequences of unequal length: x is [T * F], T steps of F units, time first; a context [T] is a mask of its steps.

1 in a mask is a step that is there, 0 is padding, over which models pass. Sums over steps are taken in their order, and
step t draws from fold_in(key, t), so that padding changes no bit of any value or gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax_models.errors import ConfigError, DataError


def number_of_steps(visible: int, frame: int) -> int:
    """T of sequences with `visible` values; ConfigError where they are no whole number of steps."""
    if visible % frame:
        raise ConfigError(
            f"frame: got {frame} units a step, but x has {visible} values, which is no multiple of it; give a divisor "
            f"of {visible}, or pad the sequences."
        )
    return visible // frame


def mask_of(c: Any, steps: int) -> jax.Array:
    """Which of T steps are there, bool [T]: where the context is above 0; all of them without one."""
    leaves = jax.tree.leaves(c)
    if not leaves:
        return jnp.ones(steps, bool)
    if len(leaves) > 1 or jnp.shape(leaves[0]) != (steps,):
        got = ", ".join(str(jnp.shape(leaf)) for leaf in leaves)
        raise DataError(
            f"context: got shape {got}, expected {(steps,)}: a mask with 1 for each of {steps} steps that is there and "
            "0 for padding, or ()."
        )
    return jnp.asarray(leaves[0]) > 0


def frames_of(x: jax.Array, c: Any, frame: int) -> tuple[jax.Array, jax.Array]:
    """(x [T, F], mask [T]) of a sequence [T * F]; what is not there is 0, whatever it was."""
    x = jnp.asarray(x)
    if x.ndim != 1 or x.size % frame:
        raise DataError(f"x: got shape {x.shape}, expected [T * {frame}], steps of {frame} units one after another.")
    on = mask_of(c, x.size // frame)
    return jnp.where(on[:, None], x.reshape(len(on), frame), 0), on


def steps_drawn(c: Any, steps: int) -> int:
    """T of a sequence to be drawn: the mask's length, or `steps` without one."""
    leaves = jax.tree.leaves(c)
    return len(leaves[0]) if leaves and jnp.ndim(leaves[0]) == 1 else steps


def where_on(on: jax.Array, new: Any, old: Any) -> Any:
    """Leaf by leaf `new` at a step that is there, else `old`."""
    return jax.tree.map(lambda n, o: jnp.where(on, n, o), new, old)


def scan_steps(step: Callable, start: Any, on: jax.Array, given: Any = ()) -> tuple[Any, Any]:
    """`lax.scan` of step(carry, (t, on_t, given_t)) over the steps.

    A loop of one turn would be taken apart and rounded otherwise than the same step of a padded sequence, so that has
    a second turn with nothing there.
    """
    length = len(on)
    rows = jnp.arange(length), on, given
    if length == 1:
        rows = jax.tree.map(lambda v: jnp.concatenate([v, jnp.zeros_like(v)]), rows)
    end, found = jax.lax.scan(step, start, rows)
    return end, jax.tree.map(lambda v: v[:length], found)
