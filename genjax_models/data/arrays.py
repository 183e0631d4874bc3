"""A user's own arrays, from a `.npy` or `.npz` file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import (
    BINARIZATION_HELP,
    DEQUANTIZATION_HELP,
    Binarization,
    Dataset,
    Dequantization,
    Labels,
    check,
    check_noise,
    from_intensities,
    require_finite,
    split,
)
from genjax_models.data.folder import missing, places_of
from genjax_models.errors import DataError

SPLITS = ("train", "validation", "test")


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
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"all": loaded}
            arrays = {name: loaded[key] for name, key in choose(loaded.files, path).items()}
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


def _numbers(x: np.ndarray, name: str, scale: bool) -> np.ndarray:
    """`x` as finite float32; bytes divided by 255 if `scale`."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: got dtype {x.dtype}, expected real numbers or bool. Convert it before saving.")
    # Too large for float32 becomes infinite, which is reported next.
    with np.errstate(over="ignore"):
        out = x.astype(np.float32)
    require_finite(out, name)
    if scale and x.dtype == np.uint8:
        out /= 255
    return out


@config
class Arrays(DataConfig):
    """Your own arrays from a `.npy` or `.npz` file: rows [N, D] or images [N, H, W] or [N, H, W, C].

    A `.npz` file with the keys `train`, `valid` (or `validation`) and `test` is used as it is split, and other keys are
    ignored; a single array is split by a fixed permutation. If any uint8 array has a value above 1, all uint8 arrays
    are divided by 255; other numbers are taken as they are. Data of only 0 and 1 are binary, data in [0, 1]
    intensities, and all other data real numbers, which cannot be binarized. The classes of the examples may stand
    beside the three splits, integers [N] under `train_labels`, `valid_labels` (or `validation_labels`) and
    `test_labels`.
    """

    path: str = field(nonempty=True, help="the file; looked for from the working folder, then in the data folder")
    binarization: Binarization = field(default="none", help=BINARIZATION_HELP)
    levels: int | None = field(
        default=None, ge=2, help="grey levels L of values k / (L - 1), 256 for bytes; None where there are none"
    )
    dequantization: Dequantization | None = field(default=None, help=DEQUANTIZATION_HELP)
    validation_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the rows for validation, where the file has no splits"
    )
    test_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the rows for test, where the file has no splits"
    )
    image_shape: tuple[int, ...] | None = field(
        default=None, ge=1, nonempty=True, help="height, width and channels of rows that are flattened images"
    )

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        found = check_noise(self.binarization, self.dequantization, self.levels)
        total = self.validation_fraction + self.test_fraction
        if total >= 1:
            found.append(f"validation_fraction and test_fraction: got a sum of {total:g}, expected less than 1.")
        if self.image_shape is not None and len(self.image_shape) not in (2, 3):
            found.append(f"image_shape: got {self.image_shape}, expected (height, width) or (height, width, channels).")
        return found

    def _find(self, data_dir: str | None) -> Path:
        candidates = places_of(self.path, data_dir)
        for path in candidates:
            if path.is_file():
                return path
        raise missing([self.path], [path.parent for path in candidates], "Check the field `path`.")

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The labels that a `.npz` file has beside its three splits; None where it has none.

        Raises:
            DataError: labels of some splits alone, that are no integers from 0 up, or not one for each example.
        """
        validate(self)
        path = self._find(data_dir)
        found = read(path, _choose_labels)
        if set(found) != set(SPLITS):
            return None
        examples = read(path)
        for name, labels in found.items():
            number = len(examples[name])
            if labels.shape != (number,) or labels.dtype.kind not in "iu" or labels.min() < 0:
                raise DataError(
                    f"{path}, labels of {name}: got shape {labels.shape} and dtype {labels.dtype}, expected integers "
                    f"from 0 up of shape ({number},), one for each example."
                )
        return Labels(*(found[name].astype(np.int64) for name in SPLITS))

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits; images are flattened to rows, and `image_shape` tells their shape.

        Raises:
            DataError: the file is missing, broken or pickled; keys, dtypes or shapes that do not fit; values that are
                not finite; binarization of values outside [0, 1].
        """
        validate(self)
        path = self._find(data_dir)
        arrays = read(path)
        scale = any(x.dtype == np.uint8 and x.size > 0 and x.max() > 1 for x in arrays.values())
        shapes = {}
        for key, x in arrays.items():
            name = str(path) if key == "all" else f"{path}, {key}"
            if x.ndim not in (2, 3, 4):
                raise DataError(
                    f"{name}: got shape {x.shape}, expected [N, D], [N, H, W] or [N, H, W, C]. Reshape it, and save it "
                    "again."
                )
            if 0 in x.shape:
                raise DataError(f"{name}: is empty, shape {x.shape}; expected at least one row and one value in it.")
            arrays[key] = _numbers(x, name, scale).reshape(len(x), -1)
            shapes[key] = x.shape[1:]
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
            raise DataError(
                f"{path}: the splits have examples of different shapes, {found}; "
                "expected the same in all. Save them alike."
            )
        shape = next(iter(shapes.values()))
        if self.image_shape is not None and len(shape) > 1 and self.image_shape != shape:
            raise DataError(
                f"{path}: holds images of shape {shape}, but image_shape is {self.image_shape}. Leave image_shape out: "
                "it is for flat rows."
            )
        image_shape = self.image_shape or (shape if len(shape) > 1 else None)
        values = arrays.values()
        low, high = min(x.min() for x in values), max(x.max() for x in values)
        unit = low >= 0 and high <= 1
        binary = unit and all(bool(((x == 0) | (x == 1)).all()) for x in values)
        if not unit and self.binarization != "none":
            count = sum(int(((x < 0) | (x > 1)).sum()) for x in values)
            raise DataError(
                f"{path}: {count} of {sum(x.size for x in values)} values are outside [0, 1] (minimum {low:g}, "
                f"maximum {high:g}), and binarization {self.binarization!r} takes intensities in [0, 1]. Scale "
                "the values before saving, or set binarization to 'none' for real data."
            )
        if "all" in arrays:
            x = arrays["all"]
            sizes = [max(1, round(len(x) * f)) for f in (self.validation_fraction, self.test_fraction)]
            try:
                train, validation, test = split(x, *sizes)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
        else:
            train, validation, test = (arrays[name] for name in SPLITS)
        if self.dequantization is not None and not unit:
            raise DataError(
                f"{path}: holds values from {low:g} to {high:g}; dequantization takes grey levels k / (L - 1) in "
                "[0, 1]. Scale the values before saving, or leave dequantization None."
            )
        if self.binarization != "none" or self.dequantization is not None or (unit and not binary):
            noise = self.binarization, image_shape, str(path), self.levels, self.dequantization
            return from_intensities(train, validation, test, *noise)
        if binary:
            train, validation, test = (x.astype(np.uint8) for x in (train, validation, test))
            return check(Dataset(train, validation, test, "binary", image_shape), str(path))
        return check(Dataset(train, validation, test, "real", image_shape), str(path))
