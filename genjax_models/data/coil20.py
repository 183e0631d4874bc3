"""COIL-20: twenty objects on a turntable (Nene, Nayar and Murase 1996)."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import Dataset, Labels, check
from genjax_models.data.folder import find, read_bytes
from genjax_models.data.matlab import read_variables
from genjax_models.errors import DataError

SUBFOLDER, NAME = "coil20", "COIL20.mat"
OBJECTS, VIEWS, SIZE = 20, 72, 32
FIX = (
    "It is COIL-20 (Nene, Nayar and Murase 1996) in 32x32 pixels as a MATLAB file with `fea` [1440, 1024] and `gnd` "
    "[1440, 1], as Deng Cai's public pages have it."
)


def read(path: Path) -> np.ndarray:
    """The images [20, 72, 1024], float32 in [0, 1], row by row, of the objects' views at 0, 5, ..., 355 degrees.

    Raises:
        DataError: no MATLAB v5 file, or one without these images.
    """
    try:
        found, _ = read_variables(read_bytes(path), ["fea", "gnd"])
        x, label = np.asarray(found["fea"], np.float32), np.asarray(found["gnd"]).ravel()
    # Broken files raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: expected a MATLAB v5 file with fea and gnd ({error!r}). {FIX}") from error
    if x.shape != (OBJECTS * VIEWS, SIZE**2) or not np.array_equal(label, np.repeat(np.arange(OBJECTS) + 1, VIEWS)):
        raise DataError(
            f"{path}: got fea of shape {x.shape}, expected {(OBJECTS * VIEWS, SIZE**2)} with {VIEWS} views of each of "
            f"{OBJECTS} objects in order. {FIX}"
        )
    # MATLAB flattens an image column by column.
    return np.ascontiguousarray(x.reshape(OBJECTS, VIEWS, SIZE, SIZE).swapaxes(2, 3)).reshape(OBJECTS, VIEWS, -1)


def encode(thing: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """The code of an object [N] from 0 to 19 at an angle [N]: float32 [N, 22], one of 20, then its cos and sin.

    Raises:
        DataError: an object that there is none of, or an angle that is not finite.
    """
    thing, degrees = np.broadcast_arrays(np.atleast_1d(thing), np.atleast_1d(np.asarray(degrees, np.float64)))
    if (wrong := ~np.isin(thing, range(OBJECTS))).any():
        raise DataError(f"object: got {thing[wrong][0]}, expected one from 0 to {OBJECTS - 1}.")
    if not np.isfinite(degrees).all():
        raise DataError("degrees: some angles are not finite; expected degrees.")
    one = thing[:, None] == np.arange(OBJECTS)
    angle = np.radians(degrees)[:, None]
    return np.concatenate([one, np.cos(angle), np.sin(angle)], axis=1, dtype=np.float32)


@config
class COIL20(DataConfig):
    """Twenty objects, 72 views of each 5 degrees apart, 32x32 grey pixels in [0, 1], with object and angle as contexts.

    Of each object the views at multiples of `train_every` steps are for training; of those between, every third is for
    validation, the others for test: what is evaluated lies between two views that were seen. The file `COIL20.mat` lies
    in the data folder or its subfolder `coil20`.
    """

    citation: ClassVar[str] = "Nene, Nayar and Murase 1996"
    train_every: int = field(default=2, ge=2, le=36, help="train on every such view, 2 for those 10 degrees apart")

    def check(self) -> list[str]:
        if VIEWS % self.train_every:
            return [f"train_every: got {self.train_every}, expected a divisor of the {VIEWS} views."]
        return []

    def _parts(self) -> list[np.ndarray]:
        """The views of each split."""
        validate(self)
        views = np.arange(VIEWS)
        between = views[views % self.train_every > 0]
        return [views[:: self.train_every], between[::3], np.delete(between, slice(None, None, 3))]

    def labels(self, data_dir: str | None = None) -> Labels:
        """Which object each image shows, 0 to 19."""
        return Labels(*(np.repeat(np.arange(OBJECTS), len(part)) for part in self._parts()))

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 1024, with codes as contexts, [N, 22], as `encode` gives them.

        Raises:
            DataError: the file is missing, broken, or of other images.
        """
        parts = self._parts()
        (path,) = find(data_dir, (NAME,), SUBFOLDER, FIX)
        images = read(path)
        train, validation, test = (images[:, part].reshape(-1, SIZE**2) for part in parts)
        contexts = [encode(np.repeat(np.arange(OBJECTS), len(p)), np.tile(p * 360 / VIEWS, OBJECTS)) for p in parts]
        return check(Dataset(train, validation, test, "unit", (SIZE, SIZE), None, None, *contexts), SUBFOLDER)
