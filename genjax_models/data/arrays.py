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
from genjax_models.data.own_rows import SPLIT_OF, OwnRows, divided_notice, flattened, parted
from genjax_models.errors import DataError

SPLITS = ("train", "validation", "test")
DATA_WORDS = ("x", "data", "images", "inputs", "features")  # of a key, in small letters
LABEL_WORDS = ("y", "label", "labels", "target", "targets")
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MOST_DEFLATED = 1032  # bytes that one of deflate can stand for


def _place_of(key: str) -> tuple[str, bool] | None:
    """The split of an array, or "all", and whether it has labels, by the words of its key; None where they say neither.

    Example:
        >>> _place_of("x_train"), _place_of("val_labels"), _place_of("X"), _place_of("mean")
        (('train', False), ('validation', True), ('all', False), None)
    """
    words = key.lower().split("_")
    splits = [SPLIT_OF[word] for word in words if word in SPLIT_OF]
    kinds = [word in LABEL_WORDS for word in words if word in (*DATA_WORDS, *LABEL_WORDS)]
    if len(splits) > 1 or len(kinds) > 1 or len(splits) + len(kinds) < len(words):
        return None
    return (splits[0] if splits else "all"), any(kinds)


def _keys_of(keys: list[str], labels: bool, path: Path) -> dict[str, str]:
    """The key of each split, or the one of all under "all", of what is labels or of what is not.

    A key that is a split's name and no more goes before others; what is of all, beside a validation or a test split
    and none for training, is the training split.
    """
    found: dict[str, list[str]] = {}
    for key in keys:
        place = _place_of(key)
        if place is not None and place[1] == labels:
            found.setdefault(place[0], []).append(key)
    whole = found.pop("all", None)
    if whole is not None and "train" not in found:
        found = {"train" if found else "all": whole, **found}
    chosen = {}
    for split, own in found.items():
        exact = [key for key in own if key.lower() in SPLIT_OF] or own
        if len(exact) > 1:
            both = " and ".join(map(repr, exact))
            raise DataError(f"{path}: has {both}, of which either could be meant; save it again with one of them.")
        chosen[split] = exact[0]
    return {name: chosen[name] for name in (*SPLITS, "all") if name in chosen}


def _choose(keys: list[str], path: Path) -> dict[str, str]:
    """The key of each split that there is, or the only one under "all"."""
    if len(keys) == 1:
        return {"all": keys[0]}
    found = _keys_of(keys, False, path)
    if "train" not in found and "all" not in found:
        raise DataError(
            f"{path}: has the keys {', '.join(map(repr, keys)) or '(none)'}; expected 'train' with 'valid' and 'test' "
            "or without, such as 'x_train' and 'x_test', or 'x' with all examples, or one array alone. Save it again "
            "with those keys, or name one as `array` of Files."
        )
    return found


def _choose_labels(keys: list[str], path: Path) -> dict[str, str]:
    """The keys of the labels of what `_choose` chooses; none where the file has none."""
    examples = _choose(keys, path)
    found = _keys_of([key for key in keys if key not in examples.values()], True, path)
    chosen = {name: found[name] for name in examples if name in found}
    if chosen and len(chosen) < len(examples):
        others = ", ".join(examples[name] for name in examples if name not in chosen)
        raise DataError(
            f"{path}: has {', '.join(chosen.values())}, labels of some splits alone; expected those of {others} too. "
            "Save it again with labels of all, or with none."
        )
    return chosen


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
    """The arrays "train", and where there are such "validation" and "test", of a file, or the one of all under "all".

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


def labels_of(path: Path, validation: float, test: float) -> Labels | None:
    """The labels beside the examples of a `.npz` file, split as those are; None where it has none.

    Args:
        path: the file.
        validation, test: shares, where the file has no such split.

    Raises:
        DataError: labels of some splits alone, that are no integers from 0 up, or not one for each example.
    """
    keys: dict[str, str] = {}

    def choose(there: list[str], path: Path) -> dict[str, str]:
        keys.update(_choose_labels(there, path))
        return keys

    found = read(path, choose)
    if not keys:  # none, or a .npy file
        return None
    examples, labels = read(path), {}
    for name, x in found.items():
        number = len(np.atleast_1d(examples[name]))
        if x.shape not in ((number,), (number, 1)) or x.dtype.kind not in "iu" or (x < 0).any():
            where = "labels" if name == "all" else f"labels of {name}"
            raise DataError(
                f"{path}, {where}: got shape {x.shape} and dtype {x.dtype}, expected integers from 0 up of "
                f"shape ({number},), one for each example."
            )
        labels[name] = x.reshape(-1).astype(np.int64)
    return Labels(*parted(labels, str(path), validation, test))


@config
class Arrays(OwnRows):
    """Your own arrays from a `.npy` or `.npz` file: rows [N, D] or images [N, H, W] or [N, H, W, C].

    A `.npz` file with the keys `train`, `valid` and `test`, or the like of `x_train` and `val_images`, is used as it is
    split, and other keys are ignored; validation or test, if missing, is a share of the training split. A single array,
    or the one called `x`, is split by a fixed permutation. If any uint8 array has a value above 1, all uint8 arrays
    are divided by 255; other numbers are taken as they are. Data of only 0 and 1 are binary, data in [0, 1]
    intensities, and all other data real numbers, which cannot be binarized. The classes of the examples may stand
    beside them, integers [N] under `train_labels`, `valid_labels` and `test_labels`, the like of `y_train`, or `y`.
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
        """The labels that a `.npz` file has beside its examples; None where it has none.

        Raises:
            DataError: labels of some splits alone, that are no integers from 0 up, or not one for each example.
        """
        validate(self)
        return labels_of(find_own(self.path, data_dir), self.validation_fraction, self.test_fraction)
