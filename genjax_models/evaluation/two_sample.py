"""Are two samples from one distribution? Maximum mean discrepancy, and the test that it makes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Key
from genjax_models.errors import DataError, require_bool, require_count
from genjax_models.evaluation.blocks import in_blocks
from genjax_models.objectives.moment_matching import (
    BANDWIDTHS,
    check_bandwidths,
    gaussian_kernel,
    squared_distances,
)


def check_rows(*named: tuple[str, Any], least: int = 1) -> tuple[jax.Array, ...]:
    """Arrays [N, D] of floats; DataError, by name, for another shape, too few rows, or a D unlike the first's."""
    arrays: list[jax.Array] = []
    for name, rows in named:
        shape = np.shape(rows)
        width = arrays[0].shape[1] if arrays else shape[-1:] and shape[-1]
        if len(shape) != 2 or shape[0] < least or not width or shape[1] != width:
            wanted = f"[N, {width}], as {named[0][0]} has it" if arrays else "[N, D]"
            raise DataError(f"{name}: got shape {shape}, expected {wanted}, with at least {least} rows.")
        arrays.append(jnp.asarray(rows, jnp.result_type(float)))
    return tuple(arrays)


def _row_means(x, y, bandwidths, without_self: bool, block: int) -> jax.Array:
    """mean_j k(x_i, y_j) of every row of x, [N]; without j = i where x is y and that pair does not count."""
    others = y.shape[0] - without_self

    def row(_, example):
        i, value = example
        kernel = gaussian_kernel(squared_distances(value[None], y)[0], bandwidths)
        kernel = jnp.where(jnp.arange(y.shape[0]) == i, 0, kernel) if without_self else kernel
        return jnp.sum(kernel) / others

    return in_blocks(row, jax.random.key(0), (jnp.arange(x.shape[0]), x), block)


@functools.partial(jax.jit, static_argnames=("unbiased", "block"))
def _mmd_squared(x, y, bandwidths, unbiased, block):
    within = [jnp.mean(_row_means(v, v, bandwidths, unbiased, block)) for v in (x, y)]
    return within[0] - 2 * jnp.mean(_row_means(x, y, bandwidths, False, block)) + within[1]


def mmd_squared(
    x: Any, y: Any, bandwidths: tuple[float, ...] = BANDWIDTHS, *, unbiased: bool = True, block: int = 500
) -> jax.Array:
    """The squared maximum mean discrepancy between the distributions of two samples.

        MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y'),    k(x, y) = sum_sigma exp(-|x - y|^2 / (2 sigma)).

    Args:
        x, y: samples [N, D] and [M, D].
        bandwidths: sigma, squared lengths, each above 0.
        unbiased: True leaves out pairs of a point with itself, so that the expectation is MMD^2 and the value may be
            below 0; False counts them, as training by `moment_matching` does, and is never below 0.
        block: rows compared at a time with all of the other sample; memory grows as block * max(N, M).

    Returns:
        A scalar.

    Raises:
        DataError: samples that are not [N, D] and [M, D], or too few for an estimate without bias.
        ConfigError: an impossible bandwidth or block.

    Example:
        >>> mmd_squared(x_test, samples, bandwidths=(median_bandwidth(x_test),))

    Reference:
        Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", 2012, equations 3 and 5.
    """
    require_bool("mmd_squared: unbiased", unbiased)
    require_count("mmd_squared: block", block)
    checked = check_bandwidths("mmd_squared", bandwidths)
    x, y = check_rows(("x", x), ("y", y), least=2 if unbiased else 1)
    return _mmd_squared(x, y, checked, unbiased, block)


def median_bandwidth(x: Any, *, most: int = 1000) -> jax.Array:
    """The median of |x_i - x_j|^2 over pairs i < j, a bandwidth for `mmd_squared` of data of unknown scale.

    Args:
        x: rows [N, D]; for a test, both samples together.
        most: of more rows than that, as many are taken, evenly spaced.

    Returns:
        A scalar, above 0.

    Raises:
        DataError: rows that are not [N, D] with N from 2 up, or of which most pairs are equal.
        ConfigError: an impossible `most`.

    Reference:
        Gretton et al. 2012, section 8: there the bandwidth is the root of this, and enters as its square.
    """
    require_count("median_bandwidth: most", most)
    (x,) = check_rows(("x", x), least=2)
    number = min(x.shape[0], max(most, 2))
    x = x[np.arange(number) * x.shape[0] // number]
    median = jnp.median(squared_distances(x, x)[np.triu_indices(number, 1)])
    if not isinstance(median, jax.core.Tracer) and median <= 0:
        raise DataError("x: half of all pairs of rows are equal, so their median distance is 0 and no bandwidth.")
    return median


class TwoSampleTest(NamedTuple):
    """What a permutation test found."""

    mmd_squared: jax.Array  # of the two samples, without bias
    p_value: jax.Array  # of the hypothesis that both are from one distribution


def split_statistics(kernel: jax.Array, first: jax.Array) -> jax.Array:
    """MMD^2, without bias, of ways to split a pooled sample in two, [P].

    Args:
        kernel: k between all pairs, [N, N], zero on the diagonal.
        first: 1 for the members of the first part, 0 for those of the second, [P, N].
    """
    inside = jnp.matmul(first, kernel, precision="highest")
    n = first.sum(axis=1)
    m = first.shape[1] - n
    xx, x_any = jnp.sum(inside * first, axis=1), jnp.matmul(first, kernel.sum(axis=1), precision="highest")
    xy = x_any - xx
    yy = kernel.sum() - x_any - xy
    return xx / (n * (n - 1)) - 2 * xy / (n * m) + yy / (m * (m - 1))


def permutation_p_value(observed: jax.Array, permuted: jax.Array, rounding: Any) -> jax.Array:
    """(1 + the number of permuted statistics [P] that are at least the observed one) / (1 + P).

    A statistic that is below by no more than `rounding` counts as equal.
    """
    return (1 + jnp.sum(permuted >= observed - rounding)) / (1 + permuted.shape[0])


@functools.partial(jax.jit, static_argnames=("num_permutations", "block"))
def _test(key, x, y, bandwidths, num_permutations, block):
    # The smaller sample first: what `split_statistics` finds by subtraction is then no small part of the whole.
    first, second = sorted((x, y), key=len)
    n, pooled = len(first), jnp.concatenate([first, second])
    size = pooled.shape[0]
    kernel = gaussian_kernel(squared_distances(pooled, pooled), bandwidths)
    kernel = jnp.where(jnp.eye(size, dtype=bool), 0, kernel)

    def split(order):
        return jnp.zeros(size, kernel.dtype).at[order[:n]].set(1)

    def permuted(key, _):
        return split_statistics(kernel, split(jax.random.permutation(key, size))[None])[0]

    observed = split_statistics(kernel, split(jnp.arange(size))[None])[0]
    statistics = in_blocks(permuted, key, jnp.arange(num_permutations), block)
    # Sums of N terms up to len(bandwidths) in different orders.
    rounding = 16 * jnp.finfo(kernel.dtype).eps * len(bandwidths)
    return TwoSampleTest(observed, permutation_p_value(observed, statistics, rounding))


def two_sample_test(
    key: Key,
    x: Any,
    y: Any,
    bandwidths: tuple[float, ...] | None = None,
    *,
    num_permutations: int = 1000,
    block: int = 50,
) -> TwoSampleTest:
    """Test whether two samples are from one distribution, by their MMD and random permutations of the pooled sample.

    If they are, all ways to split the pooled sample are equally likely, and the p-value is at most a with probability
    at most a, whatever the sizes of the samples. Memory is (N + M)^2: give no more than some thousands of rows.

    Args:
        key: of the permutations.
        x, y: samples [N, D] and [M, D], N and M from 2 up.
        bandwidths: as for `mmd_squared`; None for `median_bandwidth` of both samples together.
        num_permutations: P; the p-value is at least 1 / (1 + P).
        block: permutations computed at a time.

    Returns:
        A `TwoSampleTest`: MMD^2 without bias, and p = (1 + #{permuted MMD^2 >= MMD^2}) / (1 + P).

    Raises:
        DataError: samples that are not [N, D] and [M, D] with at least two rows.
        ConfigError: an impossible bandwidth or number.

    Example:
        >>> two_sample_test(key, x_test[:1000], samples).p_value

    Reference:
        Gretton et al. 2012, section 5; Phipson and Smyth, "Permutation p-values should never be zero", 2010.
    """
    require_count("two_sample_test: num_permutations", num_permutations)
    require_count("two_sample_test: block", block)
    x, y = check_rows(("x", x), ("y", y), least=2)
    if bandwidths is None:
        # Of the pooled sample, in an order that tells nothing of which row is of which: else the test were not exact.
        pooled = jnp.concatenate([x, y])
        bandwidths = (median_bandwidth(pooled[jnp.argsort(jnp.sum(pooled**2, axis=1))]),)  # type: ignore[assignment]
    return _test(key, x, y, check_bandwidths("two_sample_test", bandwidths), num_permutations, block)
