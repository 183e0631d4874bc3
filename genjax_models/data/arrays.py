"""A user's own arrays, from a `.npy` or `.npz` file."""

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from genjax_models.config import config, field, validate
from genjax_models.data.dataset import Labels
from genjax_models.data.folder import missing, places_of
from genjax_models.data.own_rows import OwnRows, divided_notice, flattened
from genjax_models.errors import DataError

SPLITS = ("train", "validation", "test")
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MOST_DEFLATED = 1032  # bytes that one of deflate can stand for


def _choose(keys: list[str], path: Path) -> dict[str, str]:
    """The key of each split, or the only key under "all"."""
    if len(keys) == 1 and keys[0] not in (*SPLITS, "valid"):
        return {"all": keys[0]}
    names = {"validation" if key == "valid" else key: key for key in keys}
    if {"valid", "validation"} <= set(keys) or any(name not in names for name in SPLITS):
        raise DataError(
            f"{path}: has the keys {', '.join(map(repr, keys)) or '(none)'}; expected 'train', 'valid' (or "
            "'validation') and 'test', or one array alone. Save it again with those keys."
        )
    return {name: names[name] for name in SPLITS}


def _choose_labels(keys: list[str], path: Path) -> dict[str, str]:
    """The key of each split's labels; none where the file has none."""
    names = {"validation_labels" if key == "valid_labels" else key: key for key in keys}
    found = {name: names[f"{name}_labels"] for name in SPLITS if f"{name}_labels" in names}
    if found and len(found) < len(SPLITS):
        raise DataError(
            f"{path}: has {', '.join(found.values())}, labels of some splits alone; expected train_labels, "
            "valid_labels (or validation_labels) and test_labels. Save it again with all three, or with none."
        )
    return found


def require_room(size: int, name: str) -> None:
    """Raise DataError where so many bytes are more than the machine's memory, before they are taken."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such numbers on this system
        return
    if size > memory:
        raise DataError(
            f"{name}: takes {size / 2**30:,.1f} GiB, and this machine has {memory / 2**30:,.1f} GiB of memory; write "
            "it as shards (data.write_shards), which are read from disk as they are needed."
        )


def _check_header(stream: IO[bytes], size: int, name: str) -> None:
    """Raise DataError where an array's header claims more than there is: numpy takes the memory before it reads."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise DataError(f"{name}: has version {version} of the format, expected 1 or 2; save it by numpy.save.")
    shape, _, dtype = HEADERS[version](stream)
    claimed, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if not dtype.hasobject and claimed > there:  # objects are refused by numpy, with words for it below
        raise DataError(
            f"{name}: cannot be read (its header says {dtype} {shape}, {claimed} bytes, and {there} are there); "
            "expected a whole .npy or .npz file."
        )
    require_room(claimed, name)


def _check_archive(file: IO[bytes], keys: Mapping[str, str], path: Path) -> None:
    """Raise DataError where a chosen array of a `.npz` file claims to be larger than its bytes can be."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = set(archive.namelist())
        for key in keys.values():
            info = archive.getinfo(key if key in members else f"{key}.npy")
            name = f"{path}, {key}"
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{name}: is compressed as numpy does not; save it by numpy.savez_compressed.")
            if info.compress_size > size or info.file_size > MOST_DEFLATED * (info.compress_size + 1):
                raise DataError(
                    f"{name}: cannot be read ({min(size, info.compress_size)} bytes that claim to be "
                    f"{info.file_size}); expected a whole .npy or .npz file."
                )
            with archive.open(info) as stream:
                if stream.read(6) != b"\x93NUMPY":
                    continue  # no array, which is said below
                stream.seek(0)
                _check_header(stream, info.file_size, name)


def read(path: Path, choose: Callable[[list[str], Path], dict[str, str]] = _choose) -> dict[str, np.ndarray]:
    """The arrays "train", "validation" and "test" of a file, or its only one under "all".

    Args:
        path: the file.
        choose: which key of the file each array has, by name.

    Raises:
        DataError: no `.npy` or `.npz` file, a broken one, one with other keys, or pickled objects (never loaded).
    """
    try:
        # Opened here, so that it is closed also when numpy gives up halfway.
        with open(path, "rb") as file:
            start = file.read(6)
            # By content: np.load takes anything else for a pickle.
            if start != b"\x93NUMPY" and start[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
                # Pickles of protocol 2 and later start with 0x80.
                kind = (
                    "is a pickle, which can run code when it is loaded" if start[:1] == b"\x80" else "is no array file"
                )
                raise DataError(
                    f"{path}: {kind} (it starts with {start!r}); expected a .npy or .npz file. Save plain arrays by "
                    "numpy.save or numpy.savez."
                )
            file.seek(0)
            if start == b"\x93NUMPY":
                _check_header(file, os.fstat(file.fileno()).st_size, str(path))
                file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"all": loaded}
            keys = choose(loaded.files, path)
            _check_archive(file, keys, path)
            arrays = {name: loaded[key] for name, key in keys.items()}
        if not all(isinstance(x, np.ndarray) for x in arrays.values()):
            raise DataError(f"{path}: is a zip archive of other files; expected arrays. Save them by numpy.savez.")
        return arrays
    except DataError:
        raise
    # Broken files make numpy and zipfile raise errors of many kinds.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: holds pickled Python objects (dtype object), which can run code when they are loaded; "
                "expected numbers. Save it again with astype('float32') or astype('uint8')."
            ) from error
        raise DataError(f"{path}: cannot be read ({error}); expected a whole .npy or .npz file.") from error


def find_own(path: str, data_dir: str | None, name: str = "path") -> Path:
    """A user's own file, from the working folder or else the data folder; MissingData, naming the field, if it is
    nowhere."""
    candidates = places_of(path, data_dir)
    for place in candidates:
        if place.is_file():
            return place
    raise missing([path], [place.parent for place in candidates], f"Check the field `{name}`.")


def labels_of(path: Path) -> Labels | None:
    """The labels beside the three splits of a `.npz` file; None where it has none.

    Raises:
        DataError: labels of some splits alone, that are no integers from 0 up, or not one for each example.
    """
    found = read(path, _choose_labels)
    if set(found) != set(SPLITS):
        return None
    examples = read(path)
    for name, labels in found.items():
        number = len(np.atleast_1d(examples[name]))
        if labels.shape != (number,) or labels.dtype.kind not in "iu" or (labels < 0).any():
            raise DataError(
                f"{path}, labels of {name}: got shape {labels.shape} and dtype {labels.dtype}, expected integers "
                f"from 0 up of shape ({number},), one for each example."
            )
    return Labels(*(found[name].astype(np.int64) for name in SPLITS))


@config
class Arrays(OwnRows):
    """Your own arrays from a `.npy` or `.npz` file: rows [N, D] or images [N, H, W] or [N, H, W, C].

    A `.npz` file with the keys `train`, `valid` (or `validation`) and `test` is used as it is split, and other keys are
    ignored; a single array is split by a fixed permutation. If any uint8 array has a value above 1, all uint8 arrays
    are divided by 255; other numbers are taken as they are. Data of only 0 and 1 are binary, data in [0, 1]
    intensities, and all other data real numbers, which cannot be binarized. The classes of the examples may stand
    beside the three splits, integers [N] under `train_labels`, `valid_labels` (or `validation_labels`) and
    `test_labels`.
    """

    path: str = field(nonempty=True, help="the file; looked for from the working folder, then in the data folder")

    def _rows(self, data_dir: str | None) -> tuple[str, dict[str, np.ndarray], tuple[int, ...] | None]:
        validate(self)
        path = find_own(self.path, data_dir)
        return str(path), *flattened(read(path), str(path), self.image_shape)

    def notices(self, data_dir: str | None = None) -> list[str]:
        """What in the data may not be meant, though they can be used, in sentences.

        Raises:
            DataError: as `stored`.
        """
        return [
            *super().notices(data_dir),
            *divided_notice(read(find_own(self.path, data_dir)), self.image_shape),
        ]

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The labels that a `.npz` file has beside its three splits; None where it has none.

        Raises:
            DataError: labels of some splits alone, that are no integers from 0 up, or not one for each example.
        """
        validate(self)
        return labels_of(find_own(self.path, data_dir))
