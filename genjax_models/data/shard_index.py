"""Folders of shards: what lies in one, and the index that says it without reading the shards.

A folder has files `train-00000.npy`, `train-00001.npy`, ... of rows [n, D] or images [n, H, W] or [n, H, W, C], uint8
or float32; the same of `validation` and `test`; the contexts of the splits, row by row, in `train_context-00000.npy`
and so on, where there are any; and `index.json`.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genjax_models.config import describe, matches
from genjax_models.data.dataset import require_finite
from genjax_models.data.rows import BLOCK, Values
from genjax_models.errors import DataError, require_count
from genjax_models.overlay import parse_json

INDEX, FORMAT = "index.json", 1
SPLITS = ("train", "validation", "test")
CONTEXTS = tuple(f"{name}_context" for name in SPLITS)
DTYPES = (np.dtype(np.uint8), np.dtype(np.float32))


@dataclasses.dataclass(frozen=True)
class File:
    """A shard as it was when the index was written."""

    name: str
    examples: int
    bytes: int
    modified: int  # nanoseconds since the epoch
    sha256: str


@dataclasses.dataclass(frozen=True)
class Index:
    """What index.json holds."""

    visible: int
    dtype: str
    levels: int | None  # L: bytes k stand for values k / (L - 1)
    image_shape: tuple[int, ...] | None
    context: int | None  # the width of the contexts
    values: Values  # of the training examples
    files: dict[str, tuple[File, ...]]  # by split, and by context of a split


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> np.ndarray:
    """The array of a shard, mapped into memory, with flat rows.

    Raises:
        DataError: no `.npy` file, a truncated one, another type than uint8 and float32, or no rows.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: this shard is missing; put it back.") from None
    except Exception as error:  # broken files make numpy raise errors of many kinds
        raise DataError(f"{path}: cannot be read as a shard ({error}); expected a whole .npy file.") from error
    if not isinstance(mapped, np.memmap):
        raise DataError(f"{path}: is an archive of arrays; expected one array, saved by numpy.save.")
    if not mapped.flags.c_contiguous:
        raise DataError(f"{path}: is in Fortran order; expected C order, as numpy.ascontiguousarray gives.")
    return require_rows(mapped, str(path))


def require_rows(x: np.ndarray, name: str, like: np.ndarray | None = None) -> np.ndarray:
    """`x`, where it is rows or images, as those that it is to be `like`; else raise DataError."""
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise DataError(f"{name}: got shape {x.shape}, expected rows [n, D] or images [n, H, W(, C)], none empty.")
    if x.dtype not in DTYPES:
        raise DataError(f"{name}: got dtype {x.dtype}, expected uint8 or float32. Convert it by astype.")
    if like is not None and (x.dtype, x.shape[1:]) != (like.dtype, like.shape[1:]):
        raise DataError(
            f"{name}: holds {x.dtype} of shape {x.shape[1:]} an example, but the first shard holds {like.dtype} of "
            f"shape {like.shape[1:]}; expected the same in all. Save them alike."
        )
    return x


def _shape(mapped: np.ndarray) -> tuple[int, ...] | None:
    """The shape of the images of a shard; None of flat rows."""
    return mapped.shape[1:] if mapped.ndim > 2 else None


def flat(mapped: np.ndarray) -> np.ndarray:
    """A shard with a flat row for each example, [n, D]."""
    return np.asarray(mapped).reshape(len(mapped), -1)


def _pieces(x: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of a shard, a few thousand at a time."""
    return (np.asarray(x[start : start + BLOCK]) for start in range(0, len(x), BLOCK))


def _bytes_in(shards: Iterable[np.ndarray]) -> np.ndarray:
    """The bytes that occur in shards of bytes, ascending."""
    counts = sum(np.bincount(piece.ravel(), minlength=256) for x in shards for piece in _pieces(x))
    return np.flatnonzero(counts)


def index_shards(folder: str | Path, *, levels: int | None = None, image_shape: tuple[int, ...] | None = None) -> Path:
    """Write the index of shards that lie in a folder, which are read through for it.

    Args:
        folder: where the shards lie, under names as `train-00000.npy`: of `train`, `validation` and `test`, and, where
            examples come with contexts, of `train_context`, `validation_context` and `test_context`.
        levels: grey levels L of shards of bytes k, whose values are k / (L - 1); None for 256 where a byte is more than
            1, and for values 0 and 1 elsewhere.
        image_shape: (H, W) or (H, W, C), for images that are stored as flat rows.

    Returns:
        The path of the index.

    Raises:
        DataError: an index there already, no shards of a split, broken ones, some of other widths or types than
            others, or values that are not finite or no levels.

    Example:
        >>> index_shards("photographs", image_shape=(64, 64, 3))
    """
    folder = Path(folder)
    path = folder / INDEX
    if path.exists():
        raise DataError(f"{path} exists; remove it, to have the index written anew, or give another folder.")
    if levels is not None:
        require_count("levels", levels, 2)
    found = {name: sorted(folder.glob(f"{name}-*.npy")) for name in (*SPLITS, *CONTEXTS)}
    if absent := [name for name in SPLITS if not found[name]]:
        raise DataError(
            f"{folder}: has no shards of {' and '.join(absent)}; expected files {absent[0]}-00000.npy, "
            f"{absent[0]}-00001.npy, ..."
        )
    if 0 < sum(bool(found[name]) for name in CONTEXTS) < len(CONTEXTS):
        raise DataError(f"{folder}: contexts are in some splits and not in others; give all three, or none.")
    opened = {name: [_open(p) for p in paths] for name, paths in found.items()}
    first = opened["train"][0]
    contexts = opened["train_context"][0] if found["train_context"] else None
    for name in (*SPLITS, *CONTEXTS):
        for p, x in zip(found[name], opened[name], strict=True):
            require_rows(x, str(p), first if name in SPLITS else contexts)
    if contexts is not None and (contexts.dtype != np.float32 or contexts.ndim != 2):
        raise DataError(f"{folder}: got contexts {contexts.dtype} {contexts.shape}, expected float32 [n, C].")
    for name, context in zip(SPLITS, CONTEXTS, strict=True):
        sizes = [len(x) for x in opened[name]], [len(x) for x in opened[context]]
        if opened[context] and sizes[0] != sizes[1]:
            raise DataError(
                f"{folder}: the shards of {name} have {sizes[0]} examples and those of {context} {sizes[1]}; expected "
                "a context for each example, in shards of the same sizes."
            )
    visible = math.prod(first.shape[1:])
    if image_shape is not None and (_shape(first) is not None or math.prod(image_shape) != visible):
        raise DataError(
            f"{folder}: image_shape {image_shape} does not fit examples of shape {first.shape[1:]}; give the shape of "
            "flat rows, with their number of values as its product."
        )
    if levels is not None and first.dtype != np.uint8:
        raise DataError(f"{folder}: levels {levels} are of shards of bytes k, and these hold {first.dtype}.")

    values = Values()
    if first.dtype == np.uint8:
        own, others = _bytes_in(opened["train"]), _bytes_in([*opened["validation"], *opened["test"]])
        greatest = int(max(own[-1], others[-1]))
        levels = 256 if levels is None and greatest > 1 else levels
        if levels is not None and greatest >= levels:
            raise DataError(f"{folder}: holds the byte {greatest}, but levels {levels} are bytes up to {levels - 1}.")
        values = values.and_of(own if levels is None else own.astype(np.float32) / np.float32(levels - 1))
    for name in (*SPLITS, *CONTEXTS):
        for p, x in zip(found[name], opened[name], strict=True):
            for piece in _pieces(x) if x.dtype == np.float32 else ():
                require_finite(piece, str(p))
                if name == "train":
                    values = values.and_of(piece)

    def noted(p: Path, x: np.ndarray) -> File:
        stat = p.stat()
        return File(p.name, len(x), stat.st_size, stat.st_mtime_ns, _sha256(p))

    files = {
        name: tuple(noted(p, x) for p, x in zip(found[name], opened[name], strict=True))
        for name in found
        if found[name]
    }
    shape = _shape(first) if image_shape is None else tuple(image_shape)
    width = None if contexts is None else contexts.shape[1]
    index = Index(visible, first.dtype.name, levels, shape, width, values, files)
    building = path.with_name(f".{INDEX}.building")
    building.write_text(json.dumps({"format": FORMAT, **dataclasses.asdict(index)}, indent=1) + "\n", encoding="utf-8")
    building.replace(path)
    return path


def _require_types(*records: Any) -> None:
    """Raise ValueError where a record holds something else than its class says."""
    for record in records:
        for name, kind in typing.get_type_hints(type(record)).items():
            if name not in ("files", "values") and not matches(value := getattr(record, name), kind):
                raise ValueError(f"{name}: got {value!r}, expected {describe(kind)}")


def read_index(path: Path) -> Index:
    try:
        noted = parse_json(path.read_text(encoding="utf-8"))
        if noted.pop("format") != FORMAT:
            raise ValueError("of another version's format")
        files = {name: tuple(File(**row) for row in rows) for name, rows in noted.pop("files").items()}
        shape, values = noted.pop("image_shape"), Values(**noted.pop("values"))
        index = Index(**noted, image_shape=shape and tuple(shape), values=values, files=files)
        _require_types(index, *itertools.chain(*files.values()))
        if not all(index.files[name] for name in SPLITS):
            raise ValueError("a split without shards")
        return index
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read as an index of shards ({error}); remove it, and write it anew by "
            "genjax_models.data.index_shards."
        ) from None


def verified(path: Path, file: File, index: Index, width: int) -> np.ndarray:
    """The rows of a shard, which is as the index has it: by size and time, or else by its hash."""
    again = "put the old file back, or remove index.json and write it anew by genjax_models.data.index_shards"
    try:
        stat = path.stat()
    except OSError:
        raise DataError(f"{path}: this shard is missing, and the index names it; {again}.") from None
    if stat.st_size != file.bytes:
        what = "truncated" if stat.st_size < file.bytes else "changed"
        raise DataError(f"{path}: has {stat.st_size} bytes, the index says {file.bytes}: it is {what}; {again}.")
    if stat.st_mtime_ns != file.modified:
        if _sha256(path) != file.sha256:
            raise DataError(f"{path}: was changed since the index was written; {again}.")
        # A copy: with the time of what it is a copy of, it need not be read through again at every start.
        with contextlib.suppress(OSError):
            os.utime(path, ns=(stat.st_atime_ns, file.modified))
    mapped = _open(path)
    dtype = "float32" if path.name.startswith(CONTEXTS) else index.dtype
    if (len(mapped), math.prod(mapped.shape[1:]), mapped.dtype.name) != (file.examples, width, dtype):
        raise DataError(
            f"{path}: holds {mapped.dtype} of shape {mapped.shape}, the index says {dtype} of {file.examples} examples "
            f"with {width} values; {again}."
        )
    return mapped
