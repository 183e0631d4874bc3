"""A data set in three splits, and how intensities become zeros and ones.

Every draw here is by `numpy.random.RandomState`: its stream is frozen for good, so the splits and the fixed
binarizations are the same under every version of numpy.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Batch
from genjax_models.errors import DataError

Support = Literal["binary", "unit", "real"]
Binarization = Literal["threshold", "fixed", "dynamic", "none"]
Dequantization = Literal["fixed", "dynamic"]
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
BINARIZATION_HELP = (
    "threshold: 1 above 0.5; fixed: one Bernoulli draw for good; dynamic: a new draw at every training step; "
    "none: keep the intensities"
)
DEQUANTIZATION_HELP = (
    "of L grey levels k / (L - 1) make reals (k + u) / L with uniform noise u, for densities. fixed: one draw for "
    "good; dynamic: a new draw at every training step; None: keep the levels"
)

SPLIT_SEED = 0
# One stream a split, so that a split's draw does not depend on the sizes of the others.
BINARIZATION_SEEDS = {"train": 1, "validation": 2, "test": 3}
DEQUANTIZATION_SEEDS = (4, 5, 6)
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))  # rounding must not make 1 of the highest level


class Dataset(NamedTuple):
    """Three splits, each [N, D], and what the model sees of them.

    `train`, `validation` and `test` are uint8 in {0, 1}, or float32. `support` is about the values that the model is
    trained on: under dynamic binarization `train` holds intensities and `support` is "binary". `image_shape` is
    (H, W) or (H, W, C) with product D, or None for rows that are no images. `levels` is the number L of grey levels
    k / (L - 1) that the source has, None where it has none or they are not known; under `dequantization` the values
    are (k + u) / L, but for a `train` that is "dynamic" and still holds the levels. A model that is given more than x
    finds it in the contexts, [N, C] for each split. Of data in shards on disk `train` and its contexts are `Rows`, of
    which those that are asked for are read.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    support: Support
    image_shape: tuple[int, ...] | None
    levels: int | None = None
    dequantization: Dequantization | None = None
    train_context: np.ndarray | None = None
    validation_context: np.ndarray | None = None
    test_context: np.ndarray | None = None

    @property
    def dynamic(self) -> bool:
        """Whether every training step must pass its batch through `binarize` or `dequantize`."""
        return self.dequantization == "dynamic" or (self.support == "binary" and self.train.dtype.kind == "f")

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least and the greatest value of `train`, where values are real numbers."""
        return (float(self.train.min()), float(self.train.max())) if self.support == "real" else None


class Labels(NamedTuple):
    """The class of every example, integers from 0 up, [N] for each split in the order of its rows."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def require_labels(source: Any, data_dir: str | None = None) -> Labels:
    """The labels of a data source.

    Args:
        source: the configuration of one, such as `Digits()`.
        data_dir: where data files lie; None for the environment's or the default folder.

    Raises:
        DataError: a source without labels, or one whose files are missing or broken.

    Example:
        >>> require_labels(Digits()).test[:3]
    """
    found = source.labels(data_dir)
    if found is None:
        raise DataError(
            f"{type(source).__name__} has no labels; use data with labels: Digits, PlantedDigits, MNIST, COIL20, "
            "Solids, Gaussians, ImageFolder, WavFolder or MidiFolder of sub-folders, Files with a column named as "
            "`label`, HuggingFace or Sklearn with classes, or Arrays of a file with labels, such as train_labels and "
            "test_labels, or y."
        )
    return found


def splits(data: Dataset) -> dict[str, np.ndarray]:
    """The three arrays by name."""
    return {"train": data.train, "validation": data.validation, "test": data.test}


def examples(data: Dataset, split: Literal["train", "validation", "test"]) -> Any:
    """A split [N, D]; a `Batch` of it with its contexts, where there are any."""
    x, context = getattr(data, split), getattr(data, f"{split}_context")
    return x if context is None else Batch(x, context)


def as_intensities(x: Any, limits: tuple[float, float] | None) -> np.ndarray:
    """Values as they are drawn: those of a data set's `limits` become 0 and 1, and without limits all stay."""
    if limits is None:
        return np.asarray(x)
    low, high = limits
    return (np.asarray(x) - low) / (high - low or 1)


def channels_first(image_shape: tuple[int, ...] | None) -> str | None:
    """What to say of an image shape that may have its channels before height and width; None of others."""
    if len(image_shape or ()) != 3:
        return None
    first, _, last = image_shape  # type: ignore[misc]  # it has three
    if first not in (1, 3, 4) or last in (1, 3, 4):
        return None
    return f"images of shape {image_shape}: if {first} is the number of channels, save them as [N, H, W, C]"


def require_finite(x: np.ndarray, name: str) -> None:
    """Raise DataError if `x`, of any shape, holds NaN or infinity; the message has their count and the first index."""
    # min and max pass NaN on, and need no mask as large as the data.
    if x.size == 0 or x.dtype.kind != "f" or (math.isfinite(x.min()) and math.isfinite(x.max())):
        return
    bad = ~np.isfinite(x)
    first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), x.shape))
    raise DataError(
        f"{name}: {int(bad.sum())} of {x.size} values are NaN or infinite (as float32), the first {x[first]} at index "
        f"{first}; expected finite numbers. Remove those rows, or fill in the values."
    )


def require_unit(x: np.ndarray, name: str, support: str) -> None:
    """Raise DataError if `x` holds a value outside [0, 1]; the message has their count, the minimum and the maximum."""
    low, high = x.min(), x.max()
    if low >= 0 and high <= 1:
        return
    count = int(((x < 0) | (x > 1)).sum())
    raise DataError(
        f"{name}: {count} of {x.size} values are outside [0, 1] (minimum {low:g}, maximum {high:g}); expected "
        f"intensities in [0, 1] for {support} data. Scale them first, for example by (x - min) / (max - min), or by "
        "x / 255 for bytes."
    )


def require_levels(data: Dataset, source: str) -> int:
    """L, if all values are grey levels k / (L - 1); otherwise raise DataError."""
    if data.levels is None or data.levels < 2:
        raise DataError(
            f"{source}: got levels {data.levels!r}; dequantization needs the number of grey levels, from 2 up."
        )
    for name, x in splits(data).items():
        if isinstance(x, np.ndarray):  # rows on disk are bytes k
            check_levels(f"{source}, {name} split", x, data.levels, "give the number of levels that the data has")
    return data.levels


def check_levels(name: str, x: np.ndarray, levels: int, fix: str) -> None:
    """Raise DataError unless all values are grey levels k / (L - 1)."""
    k = x * np.float32(levels - 1)
    # float32 holds k / (L - 1) to 6e-8 of it, so k to less than 0.01 for up to 10^5 levels.
    if (wrong := np.abs(k - np.round(k)) > 0.01).any():
        raise DataError(
            f"{name}: {int(wrong.sum())} of {x.size} values are none of the {levels} grey levels k / {levels - 1}, "
            f"such as {x[wrong][0]:g}; {fix}."
        )


def _check_context(context: np.ndarray | None, number: int, of_train: np.ndarray | None, name: str) -> None:
    if (context is None) != (of_train is None):
        raise DataError(f"{name}: contexts are in some splits and not in others; give all three, or none.")
    if context is None or of_train is None:
        return
    if context.ndim != 2 or context.dtype != np.float32 or context.shape != (number, *of_train.shape[1:]):
        raise DataError(
            f"{name}: got contexts of shape {context.shape} and dtype {context.dtype}, expected float32 of shape "
            f"{(number, *of_train.shape[1:])}, a row for each example, of the same width in every split."
        )
    require_finite(context, f"{name}, contexts")


def check(data: Dataset, source: str = "data") -> Dataset:
    """Check a data set, and return it.

    Raises:
        DataError: an empty split, a rank other than 2, splits of different D, a dtype other than float32 and uint8, a
            value that is not finite or outside the support, an `image_shape` whose product is not D.
    """
    if data.support not in get_args(Support):
        raise DataError(f"{source}: got support {data.support!r}, expected one of {', '.join(get_args(Support))}.")
    width = data.train.shape[-1] if data.train.ndim == 2 else None
    for split_name, x in splits(data).items():
        name = f"{source}, {split_name} split"
        if x.ndim != 2:
            raise DataError(f"{name}: got shape {x.shape}, expected [N, D]. Flatten every example to one row.")
        if 0 in x.shape:
            raise DataError(f"{name}: is empty, shape {x.shape}; expected at least one row and one column.")
        if x.shape[1] != width:
            raise DataError(
                f"{name}: has D = {x.shape[1]} columns, but train has {width}; expected the same in all three splits. "
                "Give all splits the same columns."
            )
        dtypes = ("uint8", "float32") if data.support == "binary" else ("float32",)
        if x.dtype not in dtypes:
            raise DataError(
                f"{name}: got dtype {x.dtype}, expected {' or '.join(dtypes)} for support {data.support!r}. Convert "
                "it by astype."
            )
        require_finite(x, name)
        if data.support != "real":
            require_unit(x, name, data.support)
        # The training split may hold intensities for dynamic binarization; what is evaluated may not.
        if data.support == "binary" and split_name != "train":
            between = int(((x != 0) & (x != 1)).sum())
            if between:
                raise DataError(
                    f"{name}: {between} of {x.size} values are neither 0 nor 1; expected zeros and ones for binary "
                    "data. Binarize this split once."
                )
        _check_context(getattr(data, f"{split_name}_context"), len(x), data.train_context, name)
    if data.image_shape is not None and math.prod(data.image_shape) != width:
        raise DataError(
            f"{source}: image_shape {data.image_shape} has {math.prod(data.image_shape)} pixels, but every row has "
            f"{width} values. Give a shape whose product is {width}."
        )
    return data


def split(x: np.ndarray, validation: int, test: int, seed: int = SPLIT_SEED) -> Parts:
    """(train, validation, test) rows of `x` [N, ...] by a permutation that depends only on N and `seed`.

    Raises:
        DataError: a split would be empty.
    """
    train = len(x) - validation - test
    if min(train, validation, test) < 1:
        raise DataError(
            f"{len(x)} rows cannot be split into {train} for training, {validation} for validation and {test} for "
            "test; expected at least one in each. Give more rows, or other fractions."
        )
    order = np.random.RandomState(seed).permutation(len(x))
    first, second = train, train + validation
    return x[order[:first]], x[order[first:second]], x[order[second:]]


def evaluation_subset(x: np.ndarray, count: int | None, seed: int = 0) -> np.ndarray:
    """`count` rows of `x` [N, ...] by a fixed random permutation; `x` itself if `count` is None or at least N.

    The first rows would be no fair sample: some test files are sorted by class.

    Raises:
        DataError: `count` is less than 1.
    """
    if count is None or count >= len(x):
        return x
    if count < 1:
        raise DataError(f"evaluation_subset: got count {count}, expected at least 1, or None for all rows.")
    return x[np.random.RandomState(seed).permutation(len(x))[:count]]


def binarize(key: jax.Array, x: jax.Array) -> jax.Array:
    """One Bernoulli draw, float32 in {0, 1}, with the intensities `x` [...] in [0, 1] as probabilities."""
    return (jax.random.uniform(key, x.shape) < x).astype(jnp.float32)


def dequantize(key: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """(k + u) / L with u uniform on [0, 1), in [0, 1), of grey levels x = k / (L - 1), [...].

    Reference:
        Uria, Murray and Larochelle 2013, section 4; Theis, van den Oord and Bethge 2016, section 3.1: a density's mean
        log-likelihood of such data is below that of the levels it makes, sum over [k, k + 1) / L.
    """
    return jnp.minimum((jnp.round(x * (levels - 1)) + jax.random.uniform(key, x.shape)) / levels, BELOW_ONE)


def refresh(source: Any, key: jax.Array, x: jax.Array) -> jax.Array:
    """A training batch [B, D] of a `dynamic` source with a new draw of its noise."""
    if getattr(source, "dequantization", None) == "dynamic":
        return dequantize(key, x, source.levels)
    return binarize(key, x)


def threshold(x: np.ndarray) -> np.ndarray:
    """uint8: 1 where an intensity is more than 0.5, and 0 elsewhere, at 0.5 itself too."""
    return (x > 0.5).astype(np.uint8)


def _drawn(x: np.ndarray, seed: int, dtype: type, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """`rule(x, u)` with u uniform on [0, 1), one draw that depends only on the shape of x [N, D] and `seed`."""
    random = np.random.RandomState(seed)
    out: np.ndarray = np.empty(x.shape, dtype)
    # In blocks, which leave the stream as it is: RandomState draws float64, eight times the size of bytes.
    for start in range(0, len(x), 4096):
        rows = x[start : start + 4096]
        out[start : start + 4096] = rule(rows, random.random_sample(rows.shape))
    return out


def draw(x: np.ndarray, seed: int) -> np.ndarray:
    """uint8: one Bernoulli draw of the intensities `x` [N, D] that depends only on `x` and `seed`."""
    return _drawn(x, seed, np.uint8, lambda rows, uniform: uniform < rows)


def draw_dequantized(x: np.ndarray, seed: int, levels: int) -> np.ndarray:
    """float32 (k + u) / L, one draw of u that depends only on the shape of x = k / (L - 1), [N, D], and `seed`."""

    def dequantized(rows, uniform):
        return np.minimum((np.round(rows * (levels - 1)) + uniform) / levels, BELOW_ONE)

    return _drawn(x, seed, np.float32, dequantized)


def check_noise(binarization: Binarization, dequantization: Dequantization | None, levels: int | None) -> list[str]:
    """What is wrong between the three, for a configuration's `check`."""
    found = []
    if dequantization is not None and levels is None:
        found.append(f"levels: got None with dequantization {dequantization!r}, which needs their number.")
    if dequantization is not None and binarization != "none":
        both = f"dequantization: got {dequantization!r} with binarization {binarization!r}"
        found.append(f"{both}, which leaves no levels; use one.")
    return found


def from_intensities(
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    binarization: Binarization,
    image_shape: tuple[int, ...] | None,
    source: str = "data",
    levels: int | None = None,
    dequantization: Dequantization | None = None,
) -> Dataset:
    """A checked data set from float32 intensities in [0, 1], each split [N, D].

    "threshold" and "fixed" make all splits zeros and ones; "dynamic" leaves `train` as it is, for `binarize` at every
    step, and draws the other two once, as "fixed" does; "none" keeps all intensities, or under a `dequantization`
    the grey levels with noise.

    Raises:
        DataError: see `check`.
    """
    data = check(Dataset(train, validation, test, "unit", image_shape, levels), source)
    if dequantization is not None:
        levels = require_levels(data, source)
        train, validation, test = (
            x if dequantization == "dynamic" and name == "train" else draw_dequantized(x, seed, levels)
            for (name, x), seed in zip(splits(data).items(), DEQUANTIZATION_SEEDS, strict=True)
        )
        return Dataset(train, validation, test, "unit", image_shape, levels, dequantization)
    if binarization == "none":
        return data
    if binarization == "threshold":
        train, validation, test = threshold(train), threshold(validation), threshold(test)
    else:
        train = draw(train, BINARIZATION_SEEDS["train"]) if binarization == "fixed" else train
        validation = draw(validation, BINARIZATION_SEEDS["validation"])
        test = draw(test, BINARIZATION_SEEDS["test"])
    return Dataset(train, validation, test, "binary", image_shape)
