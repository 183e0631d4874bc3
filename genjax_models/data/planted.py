"""Digits with a bright square in half of them: a feature of a few pixels, which a code may ignore."""

from typing import Literal

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import Dataset, Labels, Parts, Support, check, split, threshold
from genjax_models.data.digits import TEST, VALIDATION, classes, intensities
from genjax_models.errors import DataError

# One stream a split, so that a split's draw does not depend on the sizes of the others.
SEEDS = {"train": 7, "validation": 8, "test": 9}
SHAPE = (8, 8)
Place = Literal["corner", "anywhere"]


def plant(x: np.ndarray, image_shape: tuple[int, ...], square: int, place: Place, seed: int) -> np.ndarray:
    """The images with a square of ones in each, in the upper left corner, or anywhere, evenly.

    Args:
        x: images [N, D].
        image_shape: (height, width) or (height, width, channels), with product D.
        square: its edge in pixels.
        place: where it is.
        seed: of the places; the draw depends on N and on the shape alone.

    Raises:
        DataError: a square that is larger than the images.
    """
    height, width = image_shape[:2]
    if not 1 <= square <= min(height, width):
        raise DataError(f"square: got {square}, expected 1 to {min(height, width)} pixels of images {image_shape}.")
    out = np.array(x).reshape(len(x), height, width, -1)
    if place == "corner":
        out[:, :square, :square] = 1
    else:
        random = np.random.RandomState(seed)
        corners = [random.randint(edge - square + 1, size=len(x)) for edge in (height, width)]
        for image, top, left in zip(out, *corners, strict=True):
            image[top : top + square, left : left + square] = 1
    return out.reshape(x.shape)


@config
class PlantedDigits(DataConfig):
    """The digits of `Digits`, with a bright square in half of the images, whatever the digit.

    In a corner it is one bit, log 2 = 0.69 nats to tell. A Gaussian likelihood of scale s pays square^2 / (8 s^2) nats
    on average for not telling it and predicting 1/2 instead, so maximum likelihood should ignore squares of an edge
    below about 2.4 s.
    """

    square: int = field(default=2, ge=1, le=8, help="edge of the square in pixels")
    place: Place = field(default="corner", help="where it is: always in the upper left corner, or anywhere")
    binarization: Literal["threshold", "none"] = field(
        default="none", help="threshold: 1 above 0.5; none: keep the intensities"
    )

    @property
    def levels(self) -> int:
        """Grey levels."""
        return 17

    def _originals(self) -> Parts:
        parts = split(intensities(), VALIDATION, TEST)
        return tuple(map(threshold, parts)) if self.binarization == "threshold" else parts  # type: ignore[return-value]

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 64; `data_dir` is not needed.

        Raises:
            DataError: scikit-learn is not installed, or its file is broken.
        """
        validate(self)

        def half(x: np.ndarray, seed: int) -> np.ndarray:
            chosen = np.random.RandomState([seed, 1]).uniform(size=len(x)) < 0.5
            return np.where(chosen[:, None], plant(x, SHAPE, self.square, self.place, seed), x)

        train, validation, test = map(half, self._originals(), SEEDS.values())
        support: Support = "binary" if self.binarization == "threshold" else "unit"
        levels = None if support == "binary" else self.levels
        return check(Dataset(train, validation, test, support, SHAPE, levels), "planted digits")

    def labels(self, data_dir: str | None = None) -> Labels:
        """Which digit each image is, 0 to 9, with a square or without."""
        return classes()

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Test images without the square, and with it, [N, 64] float32: what `evaluation.response` compares.

        They are all but those that are as bright as the square where it goes.
        """
        validate(self)
        x = self._originals()[2]
        planted = plant(x, SHAPE, self.square, self.place, SEEDS["test"])
        differs = (planted != x).any(axis=1)
        return x[differs].astype(np.float32), planted[differs].astype(np.float32)
