"""The fixed binarization of MNIST by Larochelle and Murray."""

from pathlib import Path

import numpy as np

from genjax_models.config import DataConfig, config
from genjax_models.data.dataset import Dataset, check
from genjax_models.data.folder import find, read_bytes
from genjax_models.data.matlab import START, read_variables
from genjax_models.errors import DataError

SUBFOLDER = "binarized_mnist"
NAMES = tuple(f"binarized_mnist_{split}.amat" for split in ("train", "valid", "test"))
COLUMNS = 784
FIX = (
    "They are the binarized MNIST of Larochelle and Murray (2011), from Larochelle's public pages: text files, one "
    "image a row, or the same as MATLAB v5 files."
)


def _read_text(data: bytes, path: Path) -> np.ndarray:
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != COLUMNS:
            raise DataError(
                f"{path}, line {number}: got {len(words)} values, expected {COLUMNS}. Fetch the file again, whole."
            )
        row = b"".join(words)
        # As long as there are words: all are of one character. Stripped to nothing: all are 0 or 1.
        if len(row) != COLUMNS or row.strip(b"01"):
            wrong = next(word for word in words if word not in (b"0", b"1"))
            raise DataError(
                f"{path}, line {number}: got the value {wrong.decode('ascii', 'replace')!r}, expected 0 or 1. "
                "Binarize it, or load intensities by the source `arrays`."
            )
        rows.append(row)
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, COLUMNS) - ord("0")


def _read_matlab(data: bytes, path: Path) -> np.ndarray:
    try:
        variables, names = read_variables(data, ["X"])
    # Broken files raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: expected a MATLAB v5 file, found a broken one ({error}). Fetch it again.") from error
    x = variables.get("X")
    if x is None:
        raise DataError(f"{path}: has no variable X, only {', '.join(names) or 'none'}. Save the images as X.")
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
        found = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else f"a {x.kind}"
        raise DataError(f"{path}: X is {found}, expected a full array of numbers. Save X as a plain matrix.")
    if x.ndim != 2 or x.shape[1] != COLUMNS:
        raise DataError(f"{path}: X has shape {x.shape}, expected [N, {COLUMNS}]. Save one image a row.")
    wrong = (x != 0) & (x != 1)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{path}: {int(wrong.sum())} of {x.size} values of X are neither 0 nor 1, the first {x[first]} at index "
            f"{first}. Binarize it, or load intensities by the source `arrays`."
        )
    return x.astype(np.uint8)


def read(path: Path) -> np.ndarray:
    """The rows [N, 784], uint8 in {0, 1}, of a text file or a MATLAB v5 file, told apart by how they start.

    Raises:
        DataError: neither kind of file, a row of other than 784 values, a value other than 0 and 1, or no rows.
    """
    data = read_bytes(path)
    if data.startswith(START):
        rows = _read_matlab(data, path)
    elif data.startswith(b"MATLAB 7.3 MAT-file"):
        raise DataError(f"{path}: is a MATLAB 7.3 (HDF5) file, expected MATLAB v5 or text. Save it with -v7.")
    else:
        start = data[:64].lstrip()[:16]
        if start and not start[:1].isdigit():
            raise DataError(
                f"{path}: starts with {start!r}, expected rows of 0 and 1 as text, or a MATLAB v5 file. Fetch it "
                "again, uncompressed."
            )
        rows = _read_text(data, path)
    if not len(rows):
        raise DataError(f"{path}: has no rows, expected images of {COLUMNS} values. Fetch it again.")
    return rows


@config
class BinarizedMNIST(DataConfig):
    """MNIST in the fixed binarization of Larochelle and Murray: 50,000 train, 10,000 validation, 10,000 test.

    The images have 28x28 pixels. The files `binarized_mnist_{train,valid,test}.amat` lie in the data folder or its
    subfolder `binarized_mnist`.
    """

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 784, uint8.

        Raises:
            DataError: a file is missing or broken.
        """
        train, validation, test = (read(path) for path in find(data_dir, NAMES, SUBFOLDER, FIX))
        return check(Dataset(train, validation, test, "binary", (28, 28)), SUBFOLDER)
