"""What a user's own rows share, from whatever they are read: checks, splits, scaling and noise."""

import abc
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from genjax_models.config import DataConfig, config, field
from genjax_models.data.dataset import (
    BINARIZATION_HELP,
    DEQUANTIZATION_HELP,
    SPLIT_SEED,
    Binarization,
    Dataset,
    Dequantization,
    Parts,
    check,
    check_noise,
    from_intensities,
    require_finite,
    split,
)
from genjax_models.errors import DataError, DataNotice

Scaling = Literal["none", "unit", "standard"]
SPLIT_NAMES = {  # in small letters
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
EXACT = 1 << 24  # up to here float32 holds every integer
SHOWN = 3  # columns that a notice names


def is_divided(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether bytes among the arrays are divided by 255."""
    return any(x.dtype == np.uint8 and x.size > 0 and x.max() > 1 for x in arrays.values())


def flattened(
    arrays: Mapping[str, np.ndarray], source: str, image_shape: tuple[int, ...] | None
) -> tuple[dict[str, np.ndarray], tuple[int, ...] | None]:
    """Examples as rows [N, D], and the shape of their images; bytes over 255, if any array has one above 1.

    Args:
        arrays: of each split that there is, or one under "all": [N, D], [N, H, W] or [N, H, W, C].
        source: what they are of, for messages.
        image_shape: of rows that are flattened images.

    Raises:
        DataError: what are no numbers, an array of another rank or without values, examples of different shapes.
    """
    scale = is_divided(arrays)
    rows, shapes = {}, {}
    for key, x in arrays.items():
        name = source if key == "all" else f"{source}, {key}"
        if x.ndim not in (2, 3, 4):
            raise DataError(
                f"{name}: got shape {x.shape}, expected [N, D], [N, H, W] or [N, H, W, C]. Reshape it, and save it "
                "again."
            )
        if 0 in x.shape:
            raise DataError(f"{name}: is empty, shape {x.shape}; expected at least one row and one value in it.")
        if x.dtype.kind not in "biuf":
            raise DataError(f"{name}: got dtype {x.dtype}, expected real numbers or bool. Convert it before saving.")
        shapes[key] = x.shape[1:]
        if scale and x.dtype == np.uint8:
            x = x.astype(np.float32) / 255
        rows[key] = x.reshape(len(x), -1)
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise DataError(
            f"{source}: the splits have examples of different shapes, {found}; "
            "expected the same in all. Save them alike."
        )
    shape = next(iter(shapes.values()))
    if image_shape is not None and len(shape) > 1 and image_shape != shape:
        raise DataError(
            f"{source}: holds images of shape {shape}, but image_shape is {image_shape}. Leave image_shape out: "
            "it is for flat rows."
        )
    return rows, image_shape or (shape if len(shape) > 1 else None)


def divided_notice(arrays: Mapping[str, np.ndarray], image_shape: tuple[int, ...] | None) -> list[str]:
    """What there is to say where bytes of a table, no images, were divided by 255."""
    if image_shape is not None or any(x.ndim != 2 for x in arrays.values()) or not is_divided(arrays):
        return []
    return ["values of dtype uint8 were divided by 255, as grey levels are; save counts or codes as another dtype."]


def finite(
    rows: Mapping[str, np.ndarray], source: str, image_shape: tuple[int, ...] | None = None
) -> dict[str, np.ndarray]:
    """The rows as float32; DataError where a value is not finite, with its place in the image if there are images."""
    out = {}
    for key, x in rows.items():
        # Too large for float32 becomes infinite, which is reported next.
        with np.errstate(over="ignore"):
            out[key] = x.astype(np.float32, copy=False)
        fits = image_shape is not None and math.prod(image_shape) == x.shape[1]
        examples = out[key].reshape(len(x), *image_shape) if fits and image_shape else out[key]
        require_finite(examples, source if key == "all" else f"{source}, {key}")
    return out


def merged_integers(rows: Mapping[str, np.ndarray]) -> list[tuple[int, int, int]]:
    """The columns of rows [N, D] with integers that become equal as float32: their number, how many distinct ones
    beyond 2^24 there are in all splits, and how many are left."""
    wide = [x for x in rows.values() if x.dtype.kind in "iuf" and np.promote_types(x.dtype, np.float32) != np.float32]
    large = [((x > EXACT) | (x < -EXACT)).any(axis=0) for x in wide]
    found = []
    for column in np.flatnonzero(np.any(large, axis=0)) if wide else ():
        values = np.unique(np.concatenate([x[:, column] for x in wide]))
        values = values[((values > EXACT) | (values < -EXACT)) & (values == np.rint(values))]
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        distinct, left = int(np.isfinite(single).sum()), len(np.unique(single[np.isfinite(single)]))
        if left < distinct:
            found.append((int(column), distinct, left))
    return found


def merged_notice(found: Sequence[tuple[int, int, int]], columns: Sequence[str] | None, scaled: bool) -> str:
    """What to say of columns that `merged_integers` found, by what messages call them, or by their numbers."""
    named = [
        f"column {column if columns is None else columns[column]}, where {distinct} become {left}"
        for column, distinct, left in found[:SHOWN]
    ]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    scaling = ", set scaling to 'unit'" if scaled else ""
    return (
        f"distinct integers beyond {EXACT} become equal, as float32 does not hold all: {'; '.join(named)}{more}. "
        f"Remove a column that only numbers the rows{scaling}, or subtract a constant before saving."
    )


def parted(rows: Mapping[str, np.ndarray], source: str, validation: float, test: float) -> Parts:
    """The three splits: those that there are, and one of validation and test that is missing by its fraction of the
    training split; where both are missing, or of rows under "all", each by its fraction of all; by a fixed permutation.

    Raises:
        DataError: too few rows.
    """
    rows = {"all": rows["train"]} if rows.keys() == {"train"} else rows
    if "all" not in rows:
        train, held = rows["train"], []
        for name, fraction in (("validation", validation), ("test", test)):
            train, found = (train, rows[name]) if name in rows else _carved(train, fraction, source)
            held.append(found)
        return train, held[0], held[1]
    x = rows["all"]
    try:
        return split(x, *(max(1, round(len(x) * fraction)) for fraction in (validation, test)))
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def _carved(x: np.ndarray, fraction: float, source: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows [N, ...] of the training split without a share of them, and those, by a fixed permutation."""
    count = max(1, round(len(x) * fraction))
    if count >= len(x):
        raise DataError(f"{source}: {len(x)} rows leave none for training; give more, or a smaller fraction.")
    order = np.random.RandomState(SPLIT_SEED).permutation(len(x))
    return x[order[:-count]], x[order[-count:]]


def as_dataset(parts: Parts, image_shape: tuple[int, ...] | None, source: str, noise: Any) -> Dataset:
    """A checked data set whose support follows the values, after the binarization or dequantization of `noise`.

    Args:
        parts: the splits, float32 [N, D].
        image_shape: of the rows, or None.
        source: what they are of, for messages.
        noise: a configuration with `binarization`, `levels` and `dequantization`.

    Raises:
        DataError: noise that the values do not allow; see `check`.
    """
    low, high = min(x.min() for x in parts), max(x.max() for x in parts)
    unit = low >= 0 and high <= 1
    binary = unit and all(bool(((x == 0) | (x == 1)).all()) for x in parts)
    if not unit and noise.binarization != "none":
        count = sum(int(((x < 0) | (x > 1)).sum()) for x in parts)
        raise DataError(
            f"{source}: {count} of {sum(x.size for x in parts)} values are outside [0, 1] (minimum {low:g}, "
            f"maximum {high:g}), and binarization {noise.binarization!r} takes intensities in [0, 1]. Scale "
            "the values before saving, or set binarization to 'none' for real data."
        )
    if not unit and noise.levels is not None and noise.dequantization is None:
        most = noise.levels - 1
        scaled = hasattr(noise, "scaling")
        scaling = "set scaling to 'unit', if the training split has the first and the last, or " if scaled else ""
        raise DataError(
            f"{source}: levels: got {noise.levels}, of values k / {most} in [0, 1], but the data hold {low:g} to "
            f"{high:g}; {scaling}divide them by {most} before saving, or leave levels None for real data."
        )
    if noise.dequantization is not None and not unit:
        raise DataError(
            f"{source}: holds values from {low:g} to {high:g}; dequantization takes grey levels k / (L - 1) in "
            "[0, 1]. Scale the values before saving, or leave dequantization None."
        )
    if noise.binarization != "none" or noise.dequantization is not None or (unit and not binary):
        return from_intensities(*parts, noise.binarization, image_shape, source, noise.levels, noise.dequantization)
    if binary:
        train, validation, test = (x.astype(np.uint8) for x in parts)
        return check(Dataset(train, validation, test, "binary", image_shape), source)
    return check(Dataset(*parts, "real", image_shape), source)


def check_fractions(validation: float, test: float) -> list[str]:
    """What is wrong between the fractions, for a configuration's `check`."""
    total = validation + test
    wrong = f"validation_fraction and test_fraction: got a sum of {total:g}, expected less than 1."
    return [wrong] if total >= 1 else []


def check_image_shape(shape: tuple[int, ...] | None) -> list[str]:
    """What is wrong with the shape of rows that are images, for a configuration's `check`."""
    wrong = f"image_shape: got {shape}, expected (height, width) or (height, width, channels)."
    return [] if shape is None or len(shape) in (2, 3) else [wrong]


class Scale(NamedTuple):
    """How stored values became those of a data set: (value - shift) / divisor, [D] each, in float64.

    A density of the scaled values becomes one of the stored values by `log_volume`, which its NLL in nats has more.
    """

    shift: np.ndarray
    divisor: np.ndarray

    def undo(self, x: Any) -> np.ndarray:
        """Stored values, float64, of scaled ones [..., D], such as a model's samples."""
        return np.asarray(x, np.float64) * self.divisor + self.shift

    @property
    def log_volume(self) -> float:
        """The sum of the logarithms of the divisors, in nats."""
        return float(np.log(self.divisor).sum())


def scale_of(train: np.ndarray, scaling: Scaling, by_column: bool) -> Scale:
    """The scale of a training split [N, D].

    Args:
        train: the split.
        scaling: "unit" by least value and range, "standard" by mean and standard deviation (divisor N), "none".
        by_column: each column by its own; else all by one. A column that is constant is divided by 1.
    """
    axis, width = (0 if by_column else None), train.shape[1]
    shift, divisor = np.zeros(width), np.ones(width)
    if scaling != "none":
        x = train.astype(np.float64)
        low, high = x.min(axis), x.max(axis)
        spread = high - low if scaling == "unit" else x.std(axis)
        constant = (low == high) | (spread == 0)  # the latter of numbers whose squares vanish
        # The mean of equal numbers is not quite one of them.
        shift = shift + np.where(constant | (scaling == "unit"), low, x.mean(axis))
        divisor = divisor * np.where(constant, 1, spread)
    return Scale(shift, divisor)


def scaled(
    rows: Mapping[str, np.ndarray], train: np.ndarray, scaling: Scaling, by_column: bool
) -> dict[str, np.ndarray]:
    """Values [N, D] by the scale of `train`, as `scale_of` has it; under "unit" what is beyond the range becomes 0 or
    1, and a constant column 0."""
    scale = scale_of(train, scaling, by_column)
    found = {key: (x - scale.shift) / scale.divisor for key, x in rows.items()}
    if scaling != "unit":
        return found
    varies = (train.min(0) < train.max(0)) if by_column else train.min() < train.max()
    return {key: np.where(varies, np.clip(x, 0, 1), 0) for key, x in found.items()}


@config
class OwnRows(DataConfig):
    """Base of sources of a user's own rows [N, D]: how they are split, and what noise they get.

    A class says what its rows are by `_rows`.
    """

    binarization: Binarization = field(default="none", help=BINARIZATION_HELP, kw_only=True)
    levels: int | None = field(
        default=None,
        ge=2,
        help="grey levels L of values k / (L - 1), 256 for bytes; None where there are none",
        kw_only=True,
    )
    dequantization: Dequantization | None = field(default=None, help=DEQUANTIZATION_HELP, kw_only=True)
    validation_fraction: float = field(
        default=0.1,
        static=True,
        gt=0,
        lt=1,
        help="share of the rows for validation, where the data have no such split",
        kw_only=True,
    )
    test_fraction: float = field(
        default=0.1,
        static=True,
        gt=0,
        lt=1,
        help="share of the rows for test, where the data have no such split",
        kw_only=True,
    )
    image_shape: tuple[int, ...] | None = field(
        default=None,
        ge=1,
        nonempty=True,
        help="height, width and channels of rows that are flattened images",
        kw_only=True,
    )

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        return [
            *check_noise(self.binarization, self.dequantization, self.levels),
            *check_fractions(self.validation_fraction, self.test_fraction),
            *check_image_shape(self.image_shape),
        ]

    @abc.abstractmethod
    def _rows(self, data_dir: str | None) -> tuple[str, dict[str, np.ndarray], tuple[int, ...] | None]:
        """What the messages call the data, the rows [N, D] by split or under "all", and the shape of images; of splits
        validation and test may be missing."""

    def _values(
        self, source: str, rows: dict[str, np.ndarray], image_shape: tuple[int, ...] | None
    ) -> dict[str, np.ndarray]:
        """The rows as float32, all finite."""
        return finite(rows, source, image_shape)

    def stored(self, data_dir: str | None = None) -> dict[str, np.ndarray]:
        """The rows [N, D] as they are stored, by split or under "all": before scaling, NaN where a value is missing.

        Raises:
            DataError: as `load`, but for values that are not finite.
        """
        return self._rows(data_dir)[1]

    def _column_names(self, data_dir: str | None) -> Sequence[str] | None:
        """What the messages call the columns; None where that is their numbers from 0."""
        return None

    def _merged(self, rows: Mapping[str, np.ndarray], columns: Sequence[str] | None) -> list[str]:
        """What there is to say of integers that become equal."""
        found = merged_integers(rows)
        return [merged_notice(found, columns, hasattr(self, "scaling"))] if found else []

    def notices(self, data_dir: str | None = None) -> list[str]:
        """What in the data may not be meant, though they can be used, in sentences.

        Raises:
            DataError: as `stored`.
        """
        return self._merged(self.stored(data_dir), self._column_names(data_dir))

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits; images are flattened to rows, and `image_shape` tells their shape.

        Raises:
            DataError: what cannot be read; dtypes or shapes that do not fit; values that are missing or not finite;
                binarization of values outside [0, 1].

        Warns:
            DataNotice: distinct integers that become equal as float32.
        """
        source, rows, image_shape = self._rows(data_dir)
        if self._merged(rows, None):
            for notice in self._merged(rows, self._column_names(data_dir)):
                warnings.warn(f"{source}: {notice}", DataNotice, stacklevel=2)
        return self.dataset(source, rows, image_shape)

    def dataset(self, source: str, rows: dict[str, np.ndarray], image_shape: tuple[int, ...] | None) -> Dataset:
        """The three splits of rows as `_rows` gives them: scaled, split, and with noise.

        Raises:
            DataError: values that are not finite, or outside [0, 1] where noise needs them there.
        """
        values = self._values(source, rows, image_shape)
        parts = parted(values, source, self.validation_fraction, self.test_fraction)
        return as_dataset(parts, image_shape, source, self)


@config
class ScaledRows(OwnRows):
    """Base of sources of a user's own rows whose values may be scaled."""

    scaling: Scaling = field(
        default="none",
        help="by the training split, unit: to [0, 1] by its range; standard: to mean 0 and deviation 1; none: not",
        kw_only=True,
    )

    def _merged(self, rows: Mapping[str, np.ndarray], columns: Sequence[str] | None) -> list[str]:
        return super()._merged(rows, columns) if self.scaling == "none" else []

    def clipped(self, data_dir: str | None = None) -> dict[str, int] | None:
        """How many values of the validation and the test split scaling cuts, or None where that cuts nothing."""
        if self.scaling != "unit":
            return None
        source, rows, image_shape = self._rows(data_dir)
        train, validation, test = parted(rows, source, self.validation_fraction, self.test_fraction)
        axis = 0 if image_shape is None else None
        low, high = train.min(axis=axis), train.max(axis=axis)
        held = {"validation": validation, "test": test}
        return {name: int(((x < low) | (x > high)).sum()) for name, x in held.items()}

    def _values(
        self, source: str, rows: dict[str, np.ndarray], image_shape: tuple[int, ...] | None
    ) -> dict[str, np.ndarray]:
        values = finite(rows, source, image_shape)
        if self.scaling == "none":
            return values
        train = parted(rows, source, self.validation_fraction, self.test_fraction)[0]
        return finite(scaled(rows, train, self.scaling, image_shape is None), source)

    def scale(self, data_dir: str | None = None) -> Scale:
        """How stored values become those that a model is trained on, but for what "unit" cuts.

        Raises:
            DataError: as `load`.

        Example:
            >>> data = Files("table.csv", scaling="standard")
            >>> z, x = model.sample_joint(params, key, ())
            >>> row = data.scale().undo(x)
            >>> nll_of_rows = result["test_nll"] + data.scale().log_volume
        """
        source, rows, image_shape = self._rows(data_dir)
        finite(rows, source, image_shape)
        train = parted(rows, source, self.validation_fraction, self.test_fraction)[0]
        return scale_of(train, self.scaling, image_shape is None)
