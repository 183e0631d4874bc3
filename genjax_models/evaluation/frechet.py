"""The Fréchet distance between two sets of features: of the Gaussians with their means and covariances."""

from typing import Any

import numpy as np

from genjax_models.errors import ConfigError, DataError, require_count


def check_features(*named: tuple[str, Any], least: int = 2) -> list[np.ndarray]:
    """Feature vectors [N, F], float64; DataError, by name, for another shape, too few rows, values not finite, or an F
    unlike the first's."""
    arrays: list[np.ndarray] = []
    for name, rows in named:
        x = np.asarray(rows, np.float64)
        width = arrays[0].shape[1] if arrays else x.shape[-1:] and x.shape[-1]
        if x.ndim != 2 or len(x) < least or not width or x.shape[1] != width:
            wanted = f"[N, {width}], as {named[0][0]} has it" if arrays else "[N, F]"
            raise DataError(f"{name}: got shape {x.shape}, expected {wanted}, with at least {least} rows.")
        if not np.isfinite(x).all():
            wrong = int((~np.isfinite(x)).any(axis=1).sum())
            raise DataError(f"{name}: {wrong} of {len(x)} rows have values that are not finite; leave them out.")
        arrays.append(x)
    return arrays


def _root(x: np.ndarray) -> np.ndarray:
    """R with R' R the sample covariance of the rows [N, F]; at most F rows."""
    rows, width = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1), x.shape[1]
    # Block by block, then of the blocks' own R: one QR of all rows takes ten times as long where cores are shared, for
    # the threads of BLAS wait for each other.
    while len(rows) > 2 * width:
        rows = np.concatenate([rows, np.zeros((-len(rows) % (2 * width), width))])
        rows = np.asarray(np.linalg.qr(rows.reshape(-1, 2 * width, width), mode="r")).reshape(-1, width)
    return np.asarray(np.linalg.qr(rows, mode="r"))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    root_a, root_b = _root(a), _root(b)
    # The eigenvalues of S_a S_b are the squared singular values of R_a R_b': no root of a small eigenvalue, which would
    # make 1e-8 of round-off, and nothing that a singular covariance could upset.
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    spread = np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross
    return float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2) + max(spread, 0))


def frechet_distance(a: Any, b: Any) -> float:
    """The squared Fréchet distance between the Gaussians with the moments of two sets of feature vectors.

        d^2 = |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)),

    with means m and covariances S, of divisor N - 1. Float64 on the host.

    Sets of N draws from one distribution have a distance above 0, that of their errors, of order F / N: the estimate is
    biased upwards, the more the smaller the sets, and by an amount that depends on the model. Compare distances of
    equal numbers of draws alone, state the number (50,000 in the literature, where F = 2,048), and put that of held-out
    data beside it; `extrapolated_frechet_distance` estimates the limit of large sets.

    Args:
        a: features [N, F], N at least 2; of any rank, so N may be less than F.
        b: features [M, F], M at least 2.

    Returns:
        The distance, in squared units of the features, at least 0.

    Raises:
        DataError: sets that are not [N, F] and [M, F] with two rows each, or not finite.

    Example:
        >>> frechet_distance(trained.features(x_test), trained.features(samples))

    Reference:
        Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, "GANs trained by a two time-scale update rule converge to
        a local Nash equilibrium", 2017, equation 6; of Inception features there, the "FID".
    """
    a, b = check_features(("a", a), ("b", b))
    return _distance(a, b)


def extrapolated_frechet_distance(a: Any, b: Any, *, points: int = 10, repeats: int = 5, seed: int = 0) -> float:
    """The limit of `frechet_distance` for large sets, by a line through the distances of parts of the two.

        d^2(t) = d^2(inf) + slope / t + O(1 / t^2),    parts of t N and t M rows, t from 1/2 to 1,

    fitted by least squares; the parts are drawn anew for every t, without replacement.

    Args:
        a: features [N, F].
        b: features [M, F]; both sets are cut, so that the line takes off the bias that comes of either.
        points: values of t, evenly spaced in 1 / t.
        repeats: parts drawn for every t below 1, whose mean is fitted.
        seed: of the parts.

    Returns:
        The intercept; of a small distance it may be below 0, for its error goes both ways. What is of higher order
        stays: give sets several times as large as F.

    Raises:
        DataError: as `frechet_distance`, with four rows each.
        ConfigError: fewer than two points, or an impossible number.

    Example:
        >>> extrapolated_frechet_distance(trained.features(x_test), trained.features(samples))

    Reference:
        Chong and Forsyth, "Effectively unbiased FID and Inception Score and where to find them", 2020; there
        only the samples are cut, beside real data that stay as they are.
    """
    require_count("extrapolated_frechet_distance: points", points)
    if points < 2:
        raise ConfigError(f"extrapolated_frechet_distance: points: got {points}, expected at least 2, for a line.")
    require_count("extrapolated_frechet_distance: repeats", repeats)
    a, b = check_features(("a", a), ("b", b), least=4)
    random = np.random.RandomState(seed)
    inverse = np.linspace(1, 2, points)
    means = []
    for value in inverse:
        drawn = [
            _distance(*(x[random.permutation(len(x))[: round(len(x) / value)]] for x in (a, b)))
            for _ in range(1 if value == 1 else repeats)
        ]
        means.append(np.mean(drawn))
    return float(np.polynomial.polynomial.polyfit(inverse, means, 1)[0])
