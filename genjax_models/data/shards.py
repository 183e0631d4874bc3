"""Data sets in shards on disk, whose training examples are never in memory all at once."""

import contextlib
import dataclasses
import mmap
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import (
    Dataset,
    check,
    check_noise,
    from_intensities,
)
from genjax_models.data.folder import missing, places_of
from genjax_models.data.rows import Rows, require_in_memory
from genjax_models.data.shard_index import (
    CONTEXTS,
    INDEX,
    SPLITS,
    flat,
    index_shards,
    read_index,
    require_rows,
    verified,
)
from genjax_models.errors import DataError, require_count

SHARD_BYTES = 2**26


def _stored(x: np.ndarray, levels: int | None) -> np.ndarray:
    """Values as bytes k of grey levels k / (L - 1) where they are just that, and else as they are."""
    if levels is None or levels > 256 or x.dtype != np.float32:
        return x
    k = np.rint(x * np.float32(levels - 1))
    exact = k.min() >= 0 and k.max() < levels and bool((k / np.float32(levels - 1) == x).all())
    return k.astype(np.uint8) if exact else x


def write_shards(
    folder: str | Path,
    train: np.ndarray | Iterable[np.ndarray],
    validation: np.ndarray,
    test: np.ndarray,
    *,
    contexts: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    levels: int | None = None,
    image_shape: tuple[int, ...] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write a data set as a folder of shards with their index, which the source `shards` reads.

    Args:
        folder: where; it must not exist.
        train: examples [N, D], or images [N, H, W] or [N, H, W, C], uint8 or float32; or any number of such arrays, one
            after another, for what does not fit in memory: each becomes a shard, or several.
        validation, test: arrays of the same kind, which a run holds in memory.
        contexts: those of the three splits, float32 [N, C]; then `train` is one array.
        levels: as for `index_shards`.
        image_shape: as for `index_shards`.
        shard_bytes: a shard holds as many examples as fit into so many bytes, at least one.

    Returns:
        The folder.

    Raises:
        DataError: the folder exists; or as for `index_shards`, and then there is no folder.

    Example:
        >>> write_shards("photographs", (np.load(p) for p in paths), validation, test, levels=256)
    """
    folder = Path(folder)
    require_count("shard_bytes", shard_bytes)
    if folder.exists() or folder.is_symlink():
        raise DataError(f"{folder} exists; nothing is written over it. Give another folder.")
    if contexts is not None and not isinstance(train, np.ndarray):
        raise DataError(f"contexts: with them train is one array, got {type(train).__name__}.")
    given: dict[str, Any] = dict(zip(SPLITS, (train, validation, test), strict=True))
    given |= dict(zip(CONTEXTS, contexts or (), strict=bool(contexts)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.{os.getpid()}.building")  # gets its name when it is whole
    building.mkdir()
    try:
        first: dict[str, np.ndarray] = {}
        each: dict[str, int] = {}
        for name, arrays in given.items():
            number, split = 0, name.removesuffix("_context")
            for x in [arrays] if isinstance(arrays, np.ndarray) else arrays:
                require_rows(x, name, first.setdefault("x" if name == split else "context", x))
                # The shards of contexts have as many rows as those of their examples.
                rows = each.setdefault(split, max(1, shard_bytes // x[0].nbytes))
                for start in range(0, len(x), rows):
                    np.save(building / f"{name}-{number:05d}.npy", np.ascontiguousarray(x[start : start + rows]))
                    number += 1
        index_shards(building, levels=levels, image_shape=image_shape)
        building.rename(folder)
    except DataError as error:  # said of the folder that was asked for
        raise DataError(str(error).replace(str(building), str(folder))) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def shard(source: DataConfig, folder: str | Path, data_dir: str | None = None) -> Path:
    """Write the data of a source as a folder of shards.

    Of a source that draws noise at every step what lies beneath is written, for `Shards` to draw it: Shards(path,
    binarization="dynamic") of `shard(MNIST(), path)` is MNIST(). Other noise is written as it was drawn.

    Args:
        source: the configuration of one, such as `MNIST()`.
        folder: where; it must not exist.
        data_dir: where data files lie; None for the environment's or the default folder.

    Returns:
        The folder.

    Raises:
        DataError: the folder exists, or the data cannot be read.

    Example:
        >>> shard(MNIST(), "mnist_shards")
    """
    if Path(folder).exists():  # before the data are read
        raise DataError(f"{folder} exists; nothing is written over it. Give another folder.")
    if source.dynamic:
        beneath = {"binarization": "none", "dequantization": None}
        names = {f.name for f in dataclasses.fields(source)}  # type: ignore[arg-type]  # every source is a dataclass
        source = dataclasses.replace(source, **{k: v for k, v in beneath.items() if k in names})  # type: ignore
    data = source.load(data_dir)
    levels = data.levels if data.dequantization is None else None
    splits = [require_in_memory(x, type(source).__name__) for x in (data.train, data.validation, data.test)]
    stored = [_stored(x, levels) for x in splits]
    if len({x.dtype for x in stored}) > 1:
        stored = [x.astype(np.float32) for x in splits]
    contexts = data.train_context, data.validation_context, data.test_context
    return write_shards(
        folder,
        *stored,
        contexts=None if data.train_context is None else contexts,
        levels=levels if stored[0].dtype == np.uint8 else None,
        image_shape=data.image_shape,
    )


def _is_large(size: int) -> bool:
    """Whether so many bytes leave little of the memory to keep them in."""
    try:
        return size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    except (AttributeError, ValueError, OSError):  # no such numbers on this system
        return True


@config
class Shards(DataConfig):
    """A data set in shards on disk, streamed: a folder that `genjax-models shard` or `data.write_shards` made.

    Training examples are read as they are needed, in the order that data in memory are taken; of every batch each is a
    read of its own at a random place, which wants a solid-state disk where the data are larger than memory. The
    validation and test splits are read whole into memory, before evaluation.validation_examples and test_examples cut
    them: write as many as are worth evaluating. The orders of two epochs are in memory, 4 bytes an example each.

    Shards are checked at every start by size and time of change, and by their hash where the time is another than the
    index says, as it is of a copy; while a run reads them they are to be left alone.

    Shards of your own, under names as `train-00000.npy`, get their index by `data.index_shards`. Of bytes the values
    are k / (L - 1); data of only 0 and 1 are binary, data in [0, 1] intensities, and all other data real numbers. One
    fixed draw of noise is a draw of the whole data set, which is not read as a whole: write shards of a source that
    makes it, as `shard(MNIST("fixed"), path)` does, and take them as they are.
    """

    path: str = field(nonempty=True, help="the folder; looked for from the working folder, then in the data folder")
    binarization: Literal["threshold", "dynamic", "none"] = field(
        default="none",
        help="threshold: 1 above 0.5; dynamic: a new Bernoulli draw at every training step; none: keep the values",
    )
    levels: int | None = field(
        default=None, ge=2, help="grey levels L of the shards, for dequantization; None where it is not used"
    )
    dequantization: Literal["dynamic"] | None = field(
        default=None,
        help="of L grey levels k / (L - 1) make reals (k + u) / L with uniform noise u, for densities. dynamic: a new "
        "draw at every training step; None: keep the levels",
    )

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        return check_noise(self.binarization, self.dequantization, self.levels)

    def _find(self, data_dir: str | None) -> Path:
        candidates = places_of(self.path, data_dir)
        for path in candidates:
            if (path / INDEX).is_file():
                return path
        for path in candidates:
            if any(path.glob("train-*.npy")):
                raise DataError(f"{path}: has no {INDEX}; write it by genjax_models.data.index_shards.")
        fix = "Check the field `path`, or write the folder by `genjax-models shard`."
        raise missing([f"{self.path}/{INDEX}"], candidates, fix)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The training split as `Rows`, which stay on disk, and the other two as arrays.

        Raises:
            DataError: no folder or index, shards that are missing, truncated or changed since the index was written,
                binarization of values outside [0, 1], or dequantization of what has no such levels.
        """
        validate(self)
        folder = self._find(data_dir)
        index = read_index(folder / INDEX)
        rows = {}
        for name, files in index.files.items():
            width = index.visible if name in SPLITS else cast(int, index.context)
            opened = [verified(folder / file.name, file, index, width) for file in files]
            if name in ("train", "train_context") and _is_large(sum(file.bytes for file in files)):
                for x in opened:  # or every example would bring its neighbours along, which are not asked for
                    with contextlib.suppress(AttributeError, OSError):
                        cast(mmap.mmap, x.base).madvise(mmap.MADV_RANDOM)
            levels = index.levels if name in SPLITS else None
            rows[name] = Rows([flat(x) for x in opened], levels, index.values, [file.sha256 for file in files])
        train, held = rows["train"], {name: x[:] for name, x in rows.items() if not name.startswith("train")}
        # Everything else that can be wrong is so in the splits in memory; of training examples one stands for all.
        one, validation, test = train[:1], held["validation"], held["test"]
        low, high = min(x.min() for x in (train, validation, test)), max(x.max() for x in (train, validation, test))
        unit = low >= 0 and high <= 1
        if not unit and (self.binarization != "none" or self.dequantization is not None):
            raise DataError(
                f"{folder}: holds values from {low:g} to {high:g}, and noise is drawn of "
                "intensities in [0, 1]: leave binarization 'none' and dequantization None."
            )
        if self.levels not in (None, index.levels):
            raise DataError(
                f"{folder}: got levels {self.levels}, but its shards have "
                f"{'none, as they are no bytes' if index.levels is None else index.levels}; give their number."
            )
        binary = index.values.binary and all(bool(((x == 0) | (x == 1)).all()) for x in (validation, test))
        shape = index.image_shape
        if self.binarization != "none" or self.dequantization is not None or (unit and not binary):
            noise = self.binarization, shape, str(folder), index.levels, self.dequantization
            data = from_intensities(one, validation, test, *noise)
        elif binary:
            one, validation, test = (x.astype(np.uint8) for x in (one, validation, test))
            data = Dataset(one, validation, test, "binary", shape)
        else:
            data = Dataset(one, validation, test, "real", shape)
        if index.context is not None:
            data = data._replace(
                train_context=rows["train_context"][:1],
                validation_context=held["validation_context"],
                test_context=held["test_context"],
            )
        check(data, str(folder))
        bits = data.support == "binary" and not data.dynamic
        # What stands for arrays is no array, and becomes none.
        data = data._replace(train=cast(np.ndarray, train.as_bits() if bits else train))
        return data._replace(train_context=cast(np.ndarray | None, rows.get("train_context")))
