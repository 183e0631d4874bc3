"""Binary data sets from the UCI repository, in the splits of the papers on auto-regressive and belief nets."""

from typing import Literal

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.arrays import read
from genjax_models.data.dataset import Dataset, check
from genjax_models.data.folder import find
from genjax_models.errors import DataError

SUBFOLDER = "uci"
COLUMNS = {"adult": 123, "mushrooms": 112, "dna": 180}
FIX = (
    "It is the binary data set in the splits of Larochelle and Murray (2011): an .npz file with the arrays 'train', "
    "'valid' and 'test' of zeros and ones, one example a row."
)


def _binary(x: np.ndarray, name: str, columns: int) -> np.ndarray:
    """The rows [N, columns] as uint8 in {0, 1}."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: got dtype {x.dtype}, expected numbers. Save it as uint8.")
    if x.ndim != 2 or x.shape[1] != columns or not len(x):
        raise DataError(f"{name}: got shape {x.shape}, expected [N, {columns}], N at least 1. Save one example a row.")
    wrong = (x != 0) & (x != 1)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{name}: {int(wrong.sum())} of {x.size} values are neither 0 nor 1, the first {x[first]} at index "
            f"{first}. Load other data by the source `arrays`."
        )
    return x.astype(np.uint8)


@config
class UCI(DataConfig):
    """Binary data of the UCI repository: adult (D = 123), mushrooms (D = 112) or dna (D = 180).

    Categorical attributes are written as indicators. In the splits that NADE, reweighted wake-sleep and bidirectional
    Helmholtz machines were measured on, train, validation and test have 5,000, 1,414 and 26,147 rows (adult), 2,000,
    500 and 5,624 (mushrooms), 1,400, 600 and 1,186 (dna). The file `NAME.npz` lies in the data folder or its subfolder
    `uci`.
    """

    name: Literal["adult", "mushrooms", "dna"] = field(help="which data set")

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits as the file has them, uint8.

        Raises:
            DataError: the file is missing, broken or pickled, or its arrays have other keys, shapes or values.
        """
        validate(self)
        (path,) = find(data_dir, [f"{self.name}.npz"], SUBFOLDER, FIX)
        arrays = read(path)
        if "all" in arrays:
            raise DataError(f"{path}: holds one array, expected 'train', 'valid' and 'test'. {FIX}")
        if len(arrays) < 3:
            raise DataError(f"{path}: has {', '.join(arrays)} alone, expected 'train', 'valid' and 'test'. {FIX}")
        parts = (_binary(x, f"{path}, {split}", COLUMNS[self.name]) for split, x in arrays.items())
        train, validation, test = parts
        return check(Dataset(train, validation, test, "binary", None), str(path))
