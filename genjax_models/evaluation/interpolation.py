"""What a generator makes of codes that it was not trained on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Batch, LikelihoodModel, Params, as_batch
from genjax_models.data import Rows
from genjax_models.errors import DataError, ModelError, require_count
from genjax_models.evaluation.blocks import compiled, in_blocks


def _require_mean(name: str, model: Any) -> Callable:
    if not isinstance(model, LikelihoodModel) or model.mean is None:
        raise ModelError(
            f"{name} needs a model with E[x | c] of a given code c, which {getattr(model, 'name', '') or model!r} does "
            "not have; use supervised_generator."
        )
    return model.mean


def _errors(model, block, params, batch) -> jax.Array:
    def example(_, row):
        return jnp.mean((row.x - model.mean(params, row.context)) ** 2)

    return in_blocks(example, jax.random.key(0), batch, block)


_run_errors = compiled(_errors, static=2)


def squared_error(model: LikelihoodModel, params: Params, batch: Batch, *, block: int = 100) -> jax.Array:
    """The mean over units of (x - E[x | c])^2 of every example, [N].

    Args:
        model: a `LikelihoodModel` with `mean`.
        params: its parameters.
        batch: examples [N, D] with their codes [N, C].
        block: examples computed at a time.

    Raises:
        ModelError: a model without E[x | c].
        ConfigError: a block below one.
    """
    _require_mean("squared_error", model)
    require_count("squared_error: block", block)
    return _run_errors(model, block, params, as_batch(batch))


def blend(x: np.ndarray | Rows, codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The linear blend of the two examples whose codes are nearest, weighted towards the nearer one: [M, D].

    Args:
        x, codes: at least two examples [N, D] with their codes [N, C].
        at: codes [M, C] to blend for.

    Raises:
        DataError: fewer than two examples, or codes of different widths.
    """
    codes, at = (np.asarray(v, np.float32) for v in (codes, at))
    x = x if isinstance(x, Rows) else np.asarray(x, np.float32)  # on disk the two that are nearest are read
    if len(x) < 2 or len(x) != len(codes) or codes.shape[1:] != at.shape[1:] or at.ndim != 2:
        raise DataError(
            f"blend: got examples {x.shape} with codes {codes.shape} for codes {at.shape}; expected [N, D] with [N, C] "
            "for [M, C], N from 2 up."
        )
    out = np.empty((len(at), x.shape[1]), np.float32)
    for i, code in enumerate(at):
        distance = np.linalg.norm(codes - code, axis=1)
        near = np.argpartition(distance, 1)[:2]
        between = distance[near].sum()
        far_share = distance[near] / between if between > 0 else np.full(2, 0.5, np.float32)
        out[i] = far_share[::-1] @ x[near]
    return out


def interpolate(model: LikelihoodModel, params: Params, first: Any, last: Any, num: int = 8) -> jax.Array:
    """E[x | c] at `num` codes c from `first` [C] to `last` [C] on a straight line, [num, D].

    Raises:
        ModelError: a model without E[x | c].
        ConfigError: fewer than one code.
        DataError: codes of different shapes.
    """
    mean = _require_mean("interpolate", model)
    require_count("interpolate: num", num)
    first, last = jnp.asarray(first), jnp.asarray(last)
    if first.shape != last.shape or first.ndim != 1:
        raise DataError(f"interpolate: got codes of shapes {first.shape} and {last.shape}, expected two of [C].")
    share = jnp.linspace(0, 1, num)[:, None]
    return jax.vmap(lambda c: mean(params, c))(first + share * (last - first))
