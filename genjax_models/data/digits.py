"""The digits of scikit-learn, which come with the package."""

import gzip
import importlib.util
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import (
    BINARIZATION_HELP,
    DEQUANTIZATION_HELP,
    Binarization,
    Dataset,
    Dequantization,
    Labels,
    check_noise,
    from_intensities,
    split,
)
from genjax_models.errors import DataError

ROWS, PIXELS = 1797, 64
VALIDATION, TEST = 200, 500


def _table() -> np.ndarray:
    """Pixels from 0 to 16 and the class in a last column, [1797, 65]; read from the package's folder, for its import
    takes a second."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None:
        raise DataError(
            "The digits come with scikit-learn, and no package sklearn was found. Install scikit-learn, or choose "
            "another data source."
        )
    places = [Path(place) / "datasets" / "data" / "digits.csv.gz" for place in spec.submodule_search_locations or ()]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise DataError(f"The digits come with scikit-learn, which is broken ({error}). Reinstall it.") from error
        digits, source = load_digits(), "sklearn.datasets.load_digits"
        table = np.column_stack([digits.data, digits.target])
    else:
        source = str(path)
        try:
            table = np.loadtxt(gzip.decompress(path.read_bytes()).decode("ascii").splitlines(), delimiter=",")
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise DataError(f"{path}: expected gzipped numbers ({error}). Reinstall scikit-learn.") from error
    if table.shape != (ROWS, PIXELS + 1):
        raise DataError(
            f"{source}: got a table of shape {table.shape}, expected {ROWS} digits of {PIXELS} pixels and their "
            "classes. Reinstall scikit-learn."
        )
    return table


def intensities() -> np.ndarray:
    """The digits [1797, 64], float32 in [0, 1]."""
    return (_table()[:, :PIXELS] / 16).astype(np.float32)


def classes() -> Labels:
    """Which digit each image of the splits is."""
    return Labels(*split(_table()[:, PIXELS].astype(np.int64), VALIDATION, TEST))


@config
class Digits(DataConfig):
    """The 1,797 handwritten digits of scikit-learn, 8x8 pixels: 1,097 train, 200 validation, 500 test.

    A pixel counts 0 to 16 and is divided by 16; the split is by a fixed permutation.
    """

    citation: ClassVar[str] = "Alpaydin and Kaynak 1998"
    binarization: Binarization = field(default="threshold", help=BINARIZATION_HELP)
    dequantization: Dequantization | None = field(default=None, help=DEQUANTIZATION_HELP)

    @property
    def levels(self) -> int:
        """Grey levels."""
        return 17

    def check(self) -> list[str]:
        return check_noise(self.binarization, self.dequantization, self.levels)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 64; `data_dir` is not needed.

        Raises:
            DataError: scikit-learn is not installed, or its file is broken.
        """
        validate(self)
        parts = split(intensities(), VALIDATION, TEST)
        return from_intensities(
            *parts, self.binarization, (8, 8), "digits", levels=self.levels, dequantization=self.dequantization
        )

    def labels(self, data_dir: str | None = None) -> Labels:
        """Which digit each image is, 0 to 9."""
        return classes()
