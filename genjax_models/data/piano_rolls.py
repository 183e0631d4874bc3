"""Piano rolls: polyphonic music as the keys that are down at each step (Boulanger-Lewandowski et al. 2012)."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import Dataset, check
from genjax_models.data.folder import find, read_bytes
from genjax_models.data.matlab import read_variables
from genjax_models.data.sequences import pad
from genjax_models.errors import DataError

SUBFOLDER = "pianorolls"
KEYS = 88
LOWEST = 21  # the MIDI number of the first key, A0
SPLITS = ("traindata", "validdata", "testdata")
FIX = (
    "It is a MATLAB file with the cell arrays `traindata`, `validdata` and `testdata`, rolls [T, 88] in {0, 1}, as the "
    "authors of temporal convolutional networks (Bai, Kolter and Koltun 2018) have it of JSB chorales."
)


def read(path: Path) -> list[list[np.ndarray]]:
    """The rolls of training, validation and test, uint8 [T, 88] each.

    Raises:
        DataError: no MATLAB v5 file, or one without rolls.
    """
    try:
        found, _ = read_variables(read_bytes(path), SPLITS)
        parts = [[np.asarray(roll) for roll in np.asarray(found[name]).ravel()] for name in SPLITS]
    # Broken files raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: expected a MATLAB v5 file with {', '.join(SPLITS)} ({error!r}). {FIX}") from error
    for name, rolls in zip(SPLITS, parts, strict=True):
        if not rolls:
            raise DataError(f"{path}, {name}: is empty, expected at least one roll. {FIX}")
        for i, roll in enumerate(rolls):
            if roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll) or roll.dtype.kind not in "biuf":
                raise DataError(
                    f"{path}, {name}, roll {i}: got shape {roll.shape} of {roll.dtype}, expected [T, {KEYS}] of "
                    f"numbers, T at least 1. {FIX}"
                )
            if ((roll != 0) & (roll != 1)).any():
                raise DataError(f"{path}, {name}, roll {i}: some values are neither 0 nor 1. {FIX}")
    return [[roll.astype(np.uint8) for roll in rolls] for rolls in parts]


@config
class PianoRolls(DataConfig):
    """Polyphonic music, binary: which of 88 piano keys are down at each of T steps, with masks as contexts.

    Rows are [T * 88], time first, T the longest of all splits, zeros after a piece's end; a context [T] has 1 for the
    steps of the piece. Of JSB chorales 229, 76 and 77 pieces of 25 to 160 steps. The file lies in the data folder or
    its subfolder `pianorolls`.
    """

    citation: ClassVar[str] = "Boulanger-Lewandowski, Bengio and Vincent 2012"
    file: str = field(default="JSB_Chorales.mat", nonempty=True, help="the MATLAB file's name")

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits as the file has them, uint8, with masks [N, T].

        Raises:
            DataError: the file is missing, broken, or of something else.
        """
        validate(self)
        (path,) = find(data_dir, (self.file,), SUBFOLDER, FIX)
        parts = read(path)
        steps = max(len(roll) for rolls in parts for roll in rolls)
        (train, validation, test), masks = zip(*(pad(rolls, steps) for rolls in parts), strict=True)
        return check(Dataset(train, validation, test, "binary", (steps, KEYS), None, None, *masks), str(path))
