"""log p(x) of models that have it in closed form."""

from typing import Any

import jax

from genjax_models.core import LikelihoodModel, Params, as_batch
from genjax_models.errors import ModelError, require_count
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks


def _score(model, block, params, batch) -> jax.Array:
    def example(_, row):
        return model.log_prob(params, row.x, row.context)

    return in_blocks(example, jax.random.key(0), batch, block)


_run_score = compiled(_score, static=2)


def log_prob(model: LikelihoodModel, params: Params, x: Any, *, block: int = 100) -> jax.Array:
    """The exact log p(x) of every example, `block` of them at a time.

    Args:
        model: a `LikelihoodModel`.
        params: its parameters.
        x: examples [N, D], or a `Batch` with contexts.
        block: examples computed at a time; values depend on it by round-off alone.

    Returns:
        log p(x), [N], nats.

    Raises:
        ModelError: a model without log p(x) in closed form.
        ConfigError: a block below one.
        DataError: examples that are not [N, D].

    Example:
        >>> nll = -log_prob(model, params, x_test).mean()
    """
    if not isinstance(model, LikelihoodModel):
        raise ModelError(
            f"log_prob needs a LikelihoodModel, got {getattr(model, 'name', '') or model!r}, which is a "
            f"{type(model).__name__}. Use log_marginal for a model with latents."
        )
    require_count("log_prob: block", block)
    return _run_score(model, block, params, check_examples(as_batch(x)))
