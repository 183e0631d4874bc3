"""Completion of partly observed examples by models whose log p(x) has a closed form."""

from typing import Any

import jax
import numpy as np

from genjax_models.core import Key, LikelihoodModel, Params, as_batch
from genjax_models.errors import DataError, ModelError, require_count
from genjax_models.evaluation.bidirectional import check_hidden, require_binary_where_seen
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks

TOLERANCE = 1e-4  # how far from a level, in levels, a seen value may be: float32 rounds k / 255


def _complete(model, block, params, key, batch, hidden) -> jax.Array:
    def example(key, row):
        batch, hidden = row
        return model.complete(params, key, batch.x, hidden, batch.context)

    return in_blocks(example, key, (batch, hidden), block)


_run_complete = compiled(_complete, static=2)


def complete(model: LikelihoodModel, params: Params, key: Key, x: Any, hidden: Any, *, block: int = 100) -> jax.Array:
    """Completions of examples: x_hidden ~ p(x_hidden | x_seen), exactly.

    A network that takes the units in an order draws the hidden ones one after the other, which is exact where the seen
    ones come first in that order. `deep_nade` completes any pattern: it is trained for all orders, and draws from the
    one that takes the seen units first. An ensemble of masks in one order draws a member in proportion to how probable
    the seen units are under it. With everything hidden this is a plain draw of the model.

    Args:
        model: a `LikelihoodModel` with `complete`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`; repeat an example to complete it more than once.
        x: examples [N, D], or a `Batch` with contexts; hidden units may hold any number.
        hidden: booleans [D], or [N, D] for a mask an example: True where x is not seen.
        block: examples computed at a time.

    Returns:
        x [N, D], as given where it is seen.

    Raises:
        ModelError: a model that completes nothing.
        ConfigError: a block below one.
        DataError: examples that are not [N, D], seen values that are none of the model's levels or not finite, a mask
            of another shape, or one that hides a unit before a seen one of the model's order. Under a trace neither
            values nor orders are checked.

    Example:
        >>> hidden = jnp.arange(64) >= 32
        >>> completed = complete(model, params, jax.random.key(0), x_test, hidden)

    Reference:
        Uria, Murray and Larochelle, "A deep and tractable density estimator", 2014.
    """
    name = getattr(model, "name", "") or repr(model)
    if not isinstance(model, LikelihoodModel):
        raise ModelError(
            f"complete needs a LikelihoodModel, got {name}, which is a {type(model).__name__}. Use inpaint for a model "
            "with binary latents."
        )
    if model.complete is None:
        raise ModelError(f"complete: {name} has no conditionals to draw from; use fvsbn, nade, made or deep_nade.")
    require_count("complete: block", block)
    batch = check_examples(as_batch(x))
    mask = check_hidden(batch.x, hidden)
    if not any(isinstance(v, jax.core.Tracer) for v in (batch.x, mask)):
        _require_levels(model.levels, np.asarray(batch.x), np.asarray(mask))
        _require_order(name, model.completion_orders or (), np.asarray(mask))
    return _run_complete(model, block, params, key, batch, mask)


def _require_levels(levels: int | None, x: np.ndarray, hidden: np.ndarray) -> None:
    if levels == 2:
        return require_binary_where_seen(x, hidden)
    seen = x[~hidden]
    if levels is None:
        wrong, expected = seen[~np.isfinite(seen)], "not finite"
    else:
        scaled = seen * (levels - 1)
        wrong = seen[~((abs(scaled - np.round(scaled)) < TOLERANCE) & (seen >= 0) & (seen <= 1))]
        expected = f"none of the {levels} levels k / {levels - 1}"
    if len(wrong):
        raise DataError(f"x: {len(wrong)} seen values are {expected}, such as {wrong[0]:g}.")


def _require_order(name: str, orders: tuple[tuple[int, ...], ...], hidden: np.ndarray) -> None:
    for order in orders:
        positions = hidden[:, list(order)]
        late = ~positions & np.logical_or.accumulate(positions, axis=1)
        if late.any():
            row, at = (int(i) for i in np.argwhere(late)[0])
            before = int(np.argmax(positions[row]))
            raise DataError(
                f"hidden: in example {row}, unit {order[at]} is seen, but comes after unit {order[before]}, which is "
                f"hidden, in the order of {name}. Hide it too, train {name} with an order that has the seen units "
                "first, or use deep_nade, which completes any pattern."
            )
