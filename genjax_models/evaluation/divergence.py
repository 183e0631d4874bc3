"""How far a belief net is from a distribution that is known."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from genjax_models.core import LatentVariableModel, Params, as_batch
from genjax_models.errors import DataError
from genjax_models.evaluation.blocks import check_examples
from genjax_models.evaluation.exact_marginal import exact_log_marginal, require_few_binary_latents


def divergence_in_bits(x: Any, probability: Any, model: LatentVariableModel, params: Params) -> float:
    """KL(true || model) = sum_x p(x) log2 (p(x) / model(x)), exact, over the x that can occur: others add nothing.

    Args:
        x: everything that can occur, [M, D].
        probability: of each, [M], above 0, of sum 1.
        model: a `LatentVariableModel` with binary latents, few enough for `exact_log_marginal`.
        params: its parameters.

    Returns:
        Bits.

    Raises:
        DataError: arrays that do not belong together, or no probabilities.
        ModelError: latents that are not binary, or too many of them.

    Example:
        >>> divergence_in_bits(*Bars().distribution(), model, params)
    """
    p = np.asarray(probability, np.float64)
    if p.shape != np.shape(x)[:1] or np.any(p <= 0) or abs(p.sum() - 1) > 1e-6:
        raise DataError(
            f"divergence_in_bits: got probabilities of shape {p.shape} and sum {p.sum():g} for x of shape "
            f"{np.shape(x)}, expected one above 0 for each row, of sum 1."
        )
    batch = check_examples(as_batch(jnp.asarray(x)))
    require_few_binary_latents("divergence_in_bits", model, params, batch, "a model with few binary latents")
    log_marginal = np.asarray(exact_log_marginal(model, params, jnp.asarray(x)), np.float64)
    return float(p @ (np.log2(p) - log_marginal / np.log(2)))
