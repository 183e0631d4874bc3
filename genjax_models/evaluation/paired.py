"""How two models differ on the same examples."""

from typing import Any, NamedTuple

import numpy as np

from genjax_models.errors import DataError


class PairedDifference(NamedTuple):
    """The mean of a difference over examples; in nats where the values are."""

    mean: float
    standard_error: float  # NaN of one example


def paired_difference(a: Any, b: Any) -> PairedDifference:
    """The mean of a_i - b_i over examples, and its standard error.

        d_i = a_i - b_i,    m = sum_i d_i / N,    error = sqrt(sum_i (d_i - m)^2 / (N - 1) / N).

    Most of the spread of an NLL over examples is that some examples are harder than others, for both models; it drops
    out of the differences, whose error is far below those of the two means. The error is over examples, with the
    parameters as they are: how far another seed of training moves them it does not say.

    Args:
        a, b: a value for every example, [N] each, of the same examples in the same order: the NLL by two models.

    Returns:
        A `PairedDifference`, float64; not finite where a value is not.

    Raises:
        DataError: arrays that are not [N] both, or without examples.

    Example:
        >>> mean, error = paired_difference(log_prob(made, params, x), log_marginal(vae, others, key, x).log_prob)

    Reference:
        Student 1908, "The Probable Error of a Mean", on two drugs given to the same patients.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise DataError(
            f"paired_difference: got values of shapes {a.shape} and {b.shape}, expected [N] for both, of the same N "
            "examples in the same order."
        )
    with np.errstate(invalid="ignore", over="ignore"):  # a model that has diverged
        difference = a - b
        error = difference.std(ddof=1) / np.sqrt(a.size) if a.size > 1 else np.nan
        return PairedDifference(float(difference.mean()), float(error))
