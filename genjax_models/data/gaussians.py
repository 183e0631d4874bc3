"""Points of the plane from a mixture of Gaussians, on a ring or on a grid."""

import math
from typing import Literal

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import Dataset, Labels, check

# One stream a split, so that a split's draw does not depend on the sizes of the others.
SEEDS = {"train": 0, "validation": 1, "test": 2}


@config
class Gaussians(DataConfig):
    """A mixture of equally likely round Gaussians in the plane, whose modes a generator may miss.

    The defaults are the ring of eight of Metz, Poole, Pfau and Sohl-Dickstein (2017); their grid of 25 and that of
    Srivastava et al. (2017) are `Gaussians("grid", modes=25, extent=4.0, std=0.05)`. Every split is drawn by a fixed
    seed, and more rows begin with the same ones.
    """

    layout: Literal["ring", "grid"] = field(
        default="ring", help="where the means lie: on a circle, or on a square grid"
    )
    modes: int = field(default=8, ge=1, help="Gaussians M; a square number from 4 up for a grid")
    extent: float = field(default=2.0, static=True, gt=0, help="the circle's radius, or half the edge of the grid")
    std: float = field(default=0.02, static=True, gt=0, help="standard deviation of each Gaussian, in each direction")
    num_train: int = field(default=10_000, ge=1, help="rows for training")
    num_validation: int = field(default=1000, ge=1, help="rows for validation")
    num_test: int = field(default=1000, ge=1, help="rows for test")

    def check(self) -> list[str]:
        if self.layout == "grid" and (self.modes < 4 or math.isqrt(self.modes) ** 2 != self.modes):
            return [f"modes: got {self.modes} for a grid, expected a square number from 4 up, such as 25."]
        return []

    def centres(self) -> np.ndarray:
        """The means, [modes, 2], float64; those of a ring counter-clockwise from (extent, 0)."""
        validate(self)
        if self.layout == "ring":
            angle = 2 * np.pi * np.arange(self.modes) / self.modes
            return self.extent * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        side = np.linspace(-self.extent, self.extent, math.isqrt(self.modes))
        return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)

    # Two streams, so that the first rows do not depend on the number of rows.
    def _which(self, number: int, seed: int) -> np.ndarray:
        return np.random.RandomState([seed, 0]).randint(self.modes, size=number)

    def _draw(self, number: int, seed: int) -> np.ndarray:
        noise = np.random.RandomState([seed, 1]).normal(size=(number, 2))
        return (self.centres()[self._which(number, seed)] + self.std * noise).astype(np.float32)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 2, real; `data_dir` is not needed."""
        validate(self)
        splits = (
            self._draw(self.num_train, SEEDS["train"]),
            self._draw(self.num_validation, SEEDS["validation"]),
            self._draw(self.num_test, SEEDS["test"]),
        )
        return check(Dataset(*splits, "real", None), "gaussians")

    def labels(self, data_dir: str | None = None) -> Labels:
        """Which Gaussian each point was drawn from, by its row in `centres`."""
        validate(self)
        sizes = self.num_train, self.num_validation, self.num_test
        return Labels(*map(self._which, sizes, SEEDS.values()))
