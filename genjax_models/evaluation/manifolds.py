"""Fidelity and diversity of samples: how they lie among the neighbourhoods of data, and data among theirs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from genjax_models.errors import ConfigError, require_count
from genjax_models.evaluation.frechet import check_features


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1."""

    precision: float  # of samples that lie in the manifold of data
    recall: float  # of data that lie in the manifold of samples


class DensityCoverage(NamedTuple):
    """What samples do in the neighbourhoods of data."""

    density: float  # neighbourhoods that a sample lies in, over those expected of data; not limited by 1
    coverage: float  # share of the neighbourhoods, from 0 to 1, with a sample in it


def _squared_distances(x: np.ndarray, y: np.ndarray, block: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of x, `block` at a time, and their squared distances from all y; from differences, so that 0 is 0."""
    from scipy.spatial.distance import cdist  # takes a moment, and only this file needs it

    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        yield rows, cdist(x[rows], y, "sqeuclidean")


def _squared_radii(x: np.ndarray, k: int, block: int) -> np.ndarray:
    """The squared distance of every row from its k-th nearest other one, [N]."""
    radii = np.empty(len(x))
    for rows, squared in _squared_distances(x, x, block):
        radii[rows] = np.partition(squared, k, axis=1)[:, k]  # the nearest is the row itself
    return radii


def _checked(name: str, real: Any, generated: Any, k: int, block: int) -> list[np.ndarray]:
    require_count(f"{name}: k", k)
    require_count(f"{name}: block", block)
    arrays = check_features(("real", real), ("generated", generated), least=1)
    if (fewest := min(map(len, arrays))) <= k:
        raise ConfigError(f"{name}: k: got {k}, expected less than the number of rows, {fewest}.")
    return arrays


def precision_recall(real: Any, generated: Any, k: int = 3, *, block: int = 500) -> PrecisionRecall:
    """Precision (do samples look like data?) and recall (are all data among the samples?) by nearest neighbours.

        f(v, V) = 1 if |v - u| <= |u - NN_k(u, V)| for some u in V, else 0,
        precision = mean of f(g, real) over generated g,    recall = mean of f(r, generated) over real r,

    NN_k(u, V) the k-th nearest of V to u, u itself not counted. The manifold of a set is the union of balls about its
    members, each as far as its k-th neighbour; one member far from the others makes a large ball. All depends on the
    sizes of the sets, and on k: compare figures of equal numbers alone. Float64 on the host, by all pairs.

    Args:
        real: features of data, [N, F].
        generated: features of samples, [M, F].
        k: the neighbour, less than N and M.
        block: rows compared at a time with all others; memory grows as block * max(N, M).

    Returns:
        `PrecisionRecall`.

    Raises:
        DataError: sets that are not [N, F] and [M, F], or not finite.
        ConfigError: an impossible k or block.

    Example:
        >>> precision_recall(trained.features(x_test), trained.features(samples)).recall

    Reference:
        Kynkäänniemi, Karras, Laine, Lehtinen and Aila, "Improved precision and recall metric for assessing generative
        models", 2019, equations 1 and 2.
    """
    x, y = _checked("precision_recall", real, generated, k, block)
    within_y = _squared_radii(y, k, block)
    # Of the same distances both ways: the columns gather precision, the rows recall.
    within_x, precise, recalled = _squared_radii(x, k, block), np.zeros(len(y), bool), 0
    for rows, squared in _squared_distances(x, y, block):
        precise |= (squared <= within_x[rows, None]).any(axis=0)
        recalled += int((squared <= within_y).any(axis=1).sum())
    return PrecisionRecall(float(precise.mean()), recalled / len(x))


def density_coverage(real: Any, generated: Any, k: int = 5, *, block: int = 500) -> DensityCoverage:
    """Density and coverage, in which data that lie far from the others count no more than others do.

        density = 1 / (k M) sum_g sum_r 1[g in B_k(r)],    coverage = 1 / N sum_r 1[some g in B_k(r)],

    B_k(r) the ball about r of real as far as its k-th nearest other real one. Samples from the distribution of data
    have density 1 in expectation and coverage 1 - prod_{i=1..k} (N - i) / (N + M - i), whatever the distribution.

    Args:
        real: features of data, [N, F].
        generated: features of samples, [M, F].
        k: the neighbour, less than N and M.
        block: rows compared at a time with all others; memory grows as block * max(N, M).

    Returns:
        `DensityCoverage`.

    Raises:
        DataError: sets that are not [N, F] and [M, F], or not finite.
        ConfigError: an impossible k or block.

    Example:
        >>> density_coverage(trained.features(x_test), trained.features(samples)).coverage

    Reference:
        Naeem, Oh, Uh, Choi and Yoo, "Reliable fidelity and diversity metrics for generative models", 2020, section 3.
    """
    x, y = _checked("density_coverage", real, generated, k, block)
    within, dense, covered = _squared_radii(x, k, block), 0, 0
    for rows, squared in _squared_distances(x, y, block):
        inside = squared <= within[rows, None]
        dense += int(inside.sum())
        covered += int(inside.any(axis=1).sum())
    return DensityCoverage(dense / (k * len(y)), covered / len(x))
