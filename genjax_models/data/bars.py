"""Images of bars, drawn from a known distribution."""

import itertools
from typing import ClassVar

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import Dataset, check

# One stream a split, so that a split's draw does not depend on the sizes of the others.
SEEDS = {"train": 0, "validation": 1, "test": 2}


@config
class Bars(DataConfig):
    """Images of either vertical or horizontal bars, size x size pixels, drawn anew from a known distribution.

    First the orientation is chosen, vertical with probability `vertical`; then each of the `size` bars of that
    orientation is present with probability `bar`, independently. A pixel is 1 where a bar that is present covers it.
    The defaults are those of Hinton, Dayan, Frey and Neal (1995). Every split is drawn by a fixed seed, and more rows
    begin with the same ones.
    """

    citation: ClassVar[str] = "Hinton, Dayan, Frey and Neal 1995"
    size: int = field(default=4, ge=1, le=12, help="pixels along an edge, and bars in each orientation")
    vertical: float = field(default=2 / 3, static=True, ge=0, le=1, help="probability of vertical bars")
    bar: float = field(default=0.2, static=True, gt=0, lt=1, help="probability that a bar is present")
    num_train: int = field(default=10_000, ge=1, help="rows for training")
    num_validation: int = field(default=1000, ge=1, help="rows for validation")
    num_test: int = field(default=1000, ge=1, help="rows for test")

    def _images(self, vertical: np.ndarray, bars: np.ndarray) -> np.ndarray:
        """[N, size * size], uint8, of orientations [N] and bars [N, size]."""
        shape = (len(bars), self.size, self.size)
        columns, rows = np.broadcast_to(bars[:, None, :], shape), np.broadcast_to(bars[:, :, None], shape)
        return np.where(vertical[:, None, None], columns, rows).astype(np.uint8).reshape(len(bars), -1)

    def _draw(self, number: int, seed: int) -> np.ndarray:
        uniform = np.random.RandomState(seed).random_sample((number, 1 + self.size))
        return self._images(uniform[:, 0] < self.vertical, uniform[:, 1:] < self.bar)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = size * size, uint8; `data_dir` is not needed."""
        validate(self)
        splits = (
            self._draw(self.num_train, SEEDS["train"]),
            self._draw(self.num_validation, SEEDS["validation"]),
            self._draw(self.num_test, SEEDS["test"]),
        )
        return check(Dataset(*splits, "binary", (self.size, self.size)), "bars")

    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """Every image that can be drawn, with its probability; all others have probability zero.

        No bars, and all bars, look the same in both orientations; their two probabilities are added.

        Returns:
            (images [M, size * size], uint8, all different; probabilities [M], float64). 4x4 pixels have M = 30.

        Example:
            >>> x, p = Bars().distribution()
            >>> divergence = p @ (np.log2(p) - log_marginal / np.log(2))  # bits, from log p(x) of a model, [M]
        """
        validate(self)
        bars = np.array(list(itertools.product((0, 1), repeat=self.size)))
        chance = np.prod(np.where(bars, self.bar, 1 - self.bar), axis=1)
        upright = np.repeat([True, False], len(bars))
        images = self._images(upright, np.tile(bars, (2, 1)))
        weights = np.where(upright, self.vertical, 1 - self.vertical) * np.tile(chance, 2)
        distinct, index = np.unique(images, axis=0, return_inverse=True)
        probability = np.bincount(index.ravel(), weights, len(distinct))
        possible = probability > 0
        return distinct[possible], probability[possible]
