"""Mixtures of Bernoulli vectors, fitted by expectation maximization in numpy: what deep models have to beat.

Every choice (components, smoothing, when to stop) is made on the validation split; the test split is read once.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from genjax_models.config import DataConfig, as_number
from genjax_models.data import require_in_memory
from genjax_models.errors import DataError, require_count

MOST_ITERATIONS, PATIENCE = 300, 10


class Mixture(NamedTuple):
    """sum_k weight_k prod_i Bernoulli(x_i; mean_ki)."""

    weights: np.ndarray  # [K]
    means: np.ndarray  # [K, D]

    def joint(self, x: np.ndarray) -> np.ndarray:
        """log p(x, k), [N, K]."""
        log_one, log_zero = np.log(self.means), np.log1p(-self.means)
        return x @ (log_one - log_zero).T + log_zero.sum(1) + np.log(self.weights)

    def nll(self, x: np.ndarray) -> np.ndarray:
        """-log p(x), [N], nats."""
        return -logsumexp(self.joint(x), axis=1)


class Fit(NamedTuple):
    """A model, how it was chosen, and its mean validation NLL."""

    model: Mixture
    chosen: str
    validation: float


def maximize(x: np.ndarray, responsibilities: np.ndarray, smoothing: float) -> Mixture:
    """The most likely mixture of rows x [N, D] for given memberships [N, K], smoothed.

    Args:
        x: examples of zeros and ones.
        responsibilities: p(k | x), rows that sum to one.
        smoothing: imagined observations of each value of each unit.
    """
    counts = responsibilities.sum(0)
    means = (responsibilities.T @ x + smoothing) / (counts[:, None] + 2 * smoothing)
    return Mixture((counts + 1) / (counts + 1).sum(), means)


def expectation_maximization(
    draw: Callable[[], np.ndarray], components: int, smoothing: float, seed: int
) -> Iterator[Mixture]:
    """Mixtures after one, two, ... iterations, each on `draw()` [N, D], from components around random examples."""
    random, x = np.random.RandomState(seed), draw()
    means = 0.5 * x[random.choice(len(x), components, replace=len(x) < components)] + 0.5 * x.mean(0)
    mixture = Mixture(np.full(components, 1 / components), np.clip(means, 0.05, 0.95))
    while True:
        joint = mixture.joint(x)
        mixture = maximize(x, softmax(joint, axis=1), smoothing)
        yield mixture
        x = draw()


def fit_mixture(
    draw: Callable[[], np.ndarray],
    validation: np.ndarray,
    components: int,
    smoothing: float,
    seed: int,
    most_iterations: int = MOST_ITERATIONS,
) -> Fit:
    """The best mixture on the validation split in a run that ends when it has not improved for a while.

    Args:
        draw: gives training examples [N, D] of zeros and ones: the same every time, or new draws of intensities.
        validation: [N, D].
        components: K.
        smoothing: as for `maximize`.
        seed: of the first components.
        most_iterations: when it ends at the latest.

    Returns:
        The mixture with the least validation NLL.

    Example:
        >>> fit_mixture(lambda: data.train, data.validation, 50, 0.1, 0).model.nll(data.test).mean()

    Reference:
        Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm", 1977.
    """
    require_count("fit_mixture: components", components)
    smoothing = as_number("fit_mixture: smoothing", smoothing, gt=0)
    require_count("fit_mixture: most_iterations", most_iterations)
    best, best_iteration = None, 0
    for i, mixture in enumerate(expectation_maximization(draw, components, smoothing, seed), 1):
        value = float(mixture.nll(validation).mean())
        if best is None or value < best.validation:
            chosen = f"{components} components, smoothing {smoothing:g}, seed {seed}, {i} iterations"
            best, best_iteration = Fit(mixture, chosen, value), i
        if i >= most_iterations or i - best_iteration >= PATIENCE:
            return best
    raise AssertionError("expectation_maximization goes on for ever")


@dataclasses.dataclass(frozen=True)
class MixtureOfBernoullis:
    """A study, as a cell of a paper's table computes it: the mixture with the best validation NLL, on the test split.

    Example:
        >>> MixtureOfBernoullis(UCI("dna"))(seed=0, data_dir=None)["test_nll"]
    """

    data: DataConfig
    components: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512)
    smoothing: tuple[float, ...] = (0.1, 0.3, 1.0)  # imagined observations of each value of each unit
    most_iterations: int = MOST_ITERATIONS

    def __call__(self, seed: int, data_dir: str | None) -> dict[str, Any]:
        """The test NLL, its standard error over examples, and what was chosen."""
        data = self.data.load(data_dir)
        require_in_memory(data.train, "a mixture of Bernoulli vectors")
        if data.support != "binary" or data.dynamic:
            raise DataError(
                f"{type(self.data).__name__}: a mixture of Bernoulli vectors is of zeros and ones, and the support of "
                f"these data is {data.support!r}; binarize them."
            )
        train, validation, test = (x.astype(np.float64) for x in (data.train, data.validation, data.test))
        fits = [
            fit_mixture(lambda: train, validation, components, smoothing, seed, self.most_iterations)
            for components in self.components
            for smoothing in self.smoothing
        ]
        best = min(fits, key=lambda fit: fit.validation)
        nll = best.model.nll(test)
        return {
            "test_nll": float(nll.mean()),
            "test_nll_standard_error": float(nll.std(ddof=1) / len(nll) ** 0.5),
            "chosen": best.chosen,
        }
