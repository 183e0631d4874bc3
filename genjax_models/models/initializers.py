"""Initial weights from one random draw for the whole model.

Compiling one small random draw per layer costs more than a second at the start of every run. Inside `one_draw` the
initializers here take consecutive slices of a single draw; outside it each draws for itself, as flax's own do.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp


class _Pool:
    """Uniform numbers on (-1, 1), handed out in order; without numbers it only counts what is asked for."""

    def __init__(self, numbers: jax.Array | None = None):
        self.numbers, self.taken = numbers, 0

    def take(self, shape: tuple[int, ...]) -> jax.Array:
        start, self.taken = self.taken, self.taken + math.prod(shape)
        if self.numbers is None:
            return jnp.zeros(shape)
        return self.numbers[start : self.taken].reshape(shape)


_pool: ContextVar[_Pool | None] = ContextVar("pool", default=None)


@contextlib.contextmanager
def _using(pool: _Pool) -> Iterator[_Pool]:
    token = _pool.set(pool)
    try:
        yield pool
    finally:
        _pool.reset(token)


def one_draw(init: Callable[[], object], key: jax.Array):
    """Call `init()` twice: once abstractly, to count the numbers its initializers take, then with one draw of them."""
    with _using(_Pool()) as count:
        jax.eval_shape(init)
    with _using(_Pool(jax.random.uniform(key, (count.taken,), minval=-1, maxval=1))):
        return init()


def glorot_uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> jax.Array:
    """Uniform on +-sqrt(6 / (fan_in + fan_out)) for a kernel [..., fan_in, fan_out] (Glorot and Bengio 2010).

    Of JAX's own floating type unless another is asked for, as flax's zeros are: float64 where that is enabled.
    """
    pool = _pool.get()
    receptive = math.prod(shape[:-2])
    bound = math.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
    numbers = jax.random.uniform(key, shape, dtype, -1, 1) if pool is None else pool.take(shape).astype(dtype)
    return bound * numbers
