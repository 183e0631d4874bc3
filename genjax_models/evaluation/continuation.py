"""Continuations of sequences by recurrent models."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax_models.core import Key, Params, as_batch
from genjax_models.errors import ConfigError, ModelError, require_count
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks


def _continue(model, block, params, key, batch, steps) -> jax.Array:
    def example(key, row):
        return model.continue_from(params, key, row.x, steps, row.context)

    return in_blocks(example, key, batch, block)


_run_continue = compiled(_continue, static=2)


def continue_sequences(model: Any, params: Params, key: Key, x: Any, steps: int, *, block: int = 100) -> jax.Array:
    """Sequences with their first steps kept and the others drawn from p, given those.

    Of a model with latents, z of the kept steps is drawn from q, as a filter would, and everything after from p.

    Args:
        model: one with `continue_from`: `variational_rnn` or `recurrent_likelihood`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`; repeat an example to continue it more than once.
        x: sequences [N, T * F], or a `Batch` with masks [N, T], of ones to go on to the end of x.
        steps: how many steps are kept, 0 to T; steps that the mask leaves out among them stay out.
        block: sequences computed at a time.

    Returns:
        [N, T * F], 0 where a mask is.

    Raises:
        ModelError: a model of no sequences.
        ConfigError: a number of steps that x does not have.
        DataError: sequences that are not [N, T * F].

    Example:
        >>> longer = continue_sequences(model, params, jax.random.key(0), x_test, 40)

    Reference:
        Chung, Kastner, Dinh, Goel, Courville and Bengio, "A recurrent latent variable model for sequential data", 2015,
        equations 5 and 6.
    """
    if getattr(model, "continue_from", None) is None:
        raise ModelError(
            f"continue_sequences: {getattr(model, 'name', '') or repr(model)} has no steps to go on with; use "
            "variational_rnn or recurrent_likelihood."
        )
    require_count("continue_sequences: block", block)
    batch = check_examples(as_batch(x))
    most = batch.x.shape[1] // model.frame
    if not hasattr(steps, "__index__") or isinstance(steps, bool) or not 0 <= steps <= most:
        raise ConfigError(f"continue_sequences: steps got {steps!r}, expected an integer from 0 to {most}, those of x.")
    return _run_continue(model, block, params, key, batch, jnp.asarray(steps))
