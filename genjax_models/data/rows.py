"""Training examples that stay on disk, of which those that are asked for are read."""

import copy
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from genjax_models.errors import DataError

BLOCK = 8192  # rows read at a time where all are read


@dataclasses.dataclass(frozen=True)
class Values:
    """What is known of all values of examples without reading them."""

    minimum: float = math.inf
    maximum: float = -math.inf
    binary: bool = True  # whether all are 0 or 1
    not_a_count: float | None = None  # one of them that is none of 0, 1, 2, ...

    def and_of(self, x: np.ndarray) -> "Values":
        """What is known with those of `x` [n, ...] as well."""
        return Values(
            min(self.minimum, float(x.min())),
            max(self.maximum, float(x.max())),
            self.binary and bool(((x == 0) | (x == 1)).all()),
            not_a_count(x) if self.not_a_count is None else self.not_a_count,
        )


class Rows:
    """Examples [N, D] in shards on disk, of which those that are asked for are read.

    It stands for an array in `Dataset.train` and `Dataset.train_context`: `rows[index]` are the values at an array of
    places or in a slice. `read` gives them as they are stored, which is a byte for a grey level.
    """

    ndim = 2

    def __init__(self, shards: Sequence[np.ndarray], levels: int | None, values: Values, sha256: Sequence[str]):
        """Shards [n, D] of bytes k for values k / (L - 1), or of values where there are no levels."""
        self.shards = list(shards)
        self.ends = np.cumsum([len(x) for x in shards])
        self.shape = (int(self.ends[-1]), shards[0].shape[1])
        self.levels, self.values = levels, values
        self.fingerprint = "\n".join(sha256).encode()  # of the content
        self.scale = None if levels is None else np.float32(levels - 1)  # values are what is read over it
        self.dtype: np.dtype = np.dtype(np.float32)  # of the values
        self._cut: float | None = None  # what is read becomes 1 above it, and 0 elsewhere

    def as_bits(self) -> "Rows":
        """The same examples with 1 where a value is more than 0.5, and 0 elsewhere, as uint8."""
        bits = copy.copy(self)
        if self.shards[0].dtype == np.float32:
            bits._cut = 0.5
        elif self.levels is not None:
            bits._cut = (self.levels - 1) // 2
        bits.scale, bits.dtype = None, np.dtype(np.uint8)
        return bits

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise DataError(
            f"training data {self.shape} are in shards on disk, and are needed as one array here: train on them by "
            "`genjax-models train` or experiment.train_run, or load a smaller set by the source `arrays`."
        )

    def read(self, places: np.ndarray) -> np.ndarray:
        """The examples at places [n], as they are stored, [n, D]."""
        order = np.argsort(places)  # from shard to shard, and forward in each, as disks like it
        ascending = places[order]
        bounds = np.searchsorted(ascending, self.ends)
        out = np.empty((len(places), self.shape[1]), self.shards[0].dtype)
        first = 0
        for i in np.flatnonzero(np.diff(bounds, prepend=0)):
            here, start = slice(first, bounds[i]), self.ends[i - 1] if i else 0
            out[order[here]] = self.shards[i][ascending[here] - start]
            first = bounds[i]
        return out if self._cut is None else (out > self._cut).view(np.uint8)

    def __getitem__(self, index: Any) -> np.ndarray:
        stored = self.read(np.arange(*index.indices(len(self))) if isinstance(index, slice) else np.asarray(index))
        values = stored if stored.dtype == self.dtype else stored.astype(self.dtype)
        return values if self.scale is None else values / self.scale

    def blocks(self) -> Iterator[np.ndarray]:
        """All values in order, a few thousand rows at a time."""
        return (self[start : start + BLOCK] for start in range(0, len(self), BLOCK))

    def min(self) -> float:
        """The least value of all."""
        return self.values.minimum

    def max(self) -> float:
        """The greatest value of all."""
        return self.values.maximum


def not_a_count(x: np.ndarray | Rows) -> float | None:
    """One of the values of `x` [...] that is none of 0, 1, 2, ...; None where there is none such."""
    if isinstance(x, Rows):
        return x.values.not_a_count
    wrong = (x < 0) | (x != np.rint(x))
    return float(x[wrong][0]) if wrong.any() else None


def blocks(x: np.ndarray | Rows) -> Iterable[np.ndarray]:
    """The rows of `x` [N, D] in order: all at once of an array, a few thousand at a time of what is on disk."""
    return x.blocks() if isinstance(x, Rows) else [x]


def require_in_memory(x: np.ndarray | Rows, what: str) -> np.ndarray:
    """`x` [N, D]; DataError where it stays on disk, which `what` cannot use."""
    if isinstance(x, Rows):
        raise DataError(
            f"{what}: the training data {x.shape} are in shards on disk, and this takes them in memory; use data that "
            "fit there, such as the source `arrays`."
        )
    return x
