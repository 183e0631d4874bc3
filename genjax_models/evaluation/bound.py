"""An objective's own value on held-out data, example by example."""

from typing import Any

import jax

from genjax_models.core import Batch, Key, Metrics, Objective, Trainable, as_batch
from genjax_models.evaluation.blocks import Devices, in_blocks


def objective_metrics(
    objective: Objective,
    trainable: Trainable,
    state: Any,
    key: Key,
    x: Any,
    step: Any = 0,
    *,
    block: int = 100,
    devices: Devices = 1,
) -> Metrics:
    """The metrics of an objective, such as its bound, on every example by itself.

    Args:
        objective: an `Objective`.
        trainable: the model's parameters and the objective's own.
        state: the objective's state; it is read, not advanced.
        key: example i draws from `fold_in(key, i)`.
        x: examples [N, D], or a `Batch` with contexts.
        step: the step that schedules are read at.
        block: examples computed at a time.
        devices: of this process, or a mesh of devices, that the blocks are shared out to.

    Returns:
        A dict from the metric's name to its values [N], nats for bounds.
    """

    def example(key, row: Batch):
        one = jax.tree.map(lambda v: v[None], row)
        return objective.loss(trainable, state, key, one, step)[1][1]

    return in_blocks(example, key, as_batch(x), block, devices)
