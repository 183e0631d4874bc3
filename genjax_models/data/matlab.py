"""MATLAB v5 files: full arrays of numbers, and cell arrays of them.

scipy reads such files too. But it takes the memory that a file claims before it looks whether so much is there, goes
as deep into cells within cells as a file has them, past the end of the stack, and ends the interpreter at some that are
broken.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

START = b"MATLAB 5.0 MAT-file"
HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15  # types of elements
# Those of numbers, as they are stored; a matrix of another class may be stored in a narrower one.
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CELL, FULL = 1, range(6, 16)  # classes of matrices; those of numbers
OTHERS = {2: "structure", 3: "object", 4: "text", 5: "sparse matrix"}
COMPLEX = 0x0800
DEEPEST = 3  # cells within cells


class Unread(NamedTuple):
    """In the place of a variable that is neither a full array of numbers nor a cell array."""

    kind: str


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The type and the content of each element that stands in `content`; ValueError where it claims more."""
    at = 0
    while at < len(content):
        if len(content) - at < 8:
            raise ValueError("an element is cut short")
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # a short one, in the place of its size
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
            end = at + 8
            if size > 4:
                raise ValueError(f"a short element claims {size} bytes")
        else:
            begin = at + 8
            end = begin + size + (0 if kind == COMPRESSED else -size % 8)
        if begin + size > len(content):
            raise ValueError(f"an element claims {size} bytes, and {len(content) - begin} are there")
        yield kind, content[begin : begin + size]
        at = end


def _numbers(element: tuple[int, bytes], order: str) -> np.ndarray:
    kind, content = element
    if kind not in STORED:
        raise ValueError(f"an element of type {kind} where numbers are expected")
    return np.frombuffer(content, order + STORED[kind])


class _Matrix:
    """A matrix, of which only what stands before its values is read at first."""

    def __init__(self, content: bytes, order: str) -> None:
        first, second, (_, name), *self.values = _elements(content, order)
        flags, shape = _numbers(first, order), _numbers(second, order)
        if len(flags) != 2 or len(shape) < 2 or len(shape) > 32 or min(shape) < 0:
            raise ValueError(f"a matrix of flags {flags.tolist()} and shape {shape.tolist()}")
        self.order, self.name, self.shape = order, name.decode("latin1"), tuple(shape.tolist())
        self.kind, self.complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & COMPLEX)

    def read(self, depth: int = 0) -> Any:
        """Its values, stored column by column."""
        if self.kind in OTHERS:
            return Unread(OTHERS[self.kind])
        number = math.prod(self.shape)
        if self.kind == CELL:
            if depth == DEEPEST:
                raise ValueError(f"cells within cells, more than {DEEPEST} deep")
            if len(self.values) != number or any(kind != MATRIX for kind, _ in self.values):
                raise ValueError(f"a cell array of {number} cells, and {len(self.values)} are there")
            cells: np.ndarray = np.empty(number, object)
            for i, (_, content) in enumerate(self.values):
                cells[i] = _Matrix(content, self.order).read(depth + 1) if content else np.zeros((0, 0))
            return cells.reshape(self.shape, order="F")
        if self.kind not in FULL or len(self.values) != 1 + self.complex:
            raise ValueError(f"a matrix of class {self.kind} with {len(self.values)} elements of values")
        parts = [_numbers(element, self.order) for element in self.values]
        if any(len(part) != number for part in parts):
            raise ValueError(f"a matrix of shape {self.shape} with {len(parts[0])} values")
        x = parts[0] + 1j * parts[1] if self.complex else parts[0]
        return x.reshape(self.shape, order="F")


def read_variables(content: bytes, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The variables of these names that a MATLAB v5 file has, and the names of all it has.

    Numbers are an array of the type that they are stored in, a cell array is one of objects, and whatever else
    `Unread`.

    Raises:
        Exception: a file that is broken, of another kind, or claims more than it has; of whatever kind.
    """
    if not content.startswith(START) or len(content) < HEADER:
        raise ValueError(f"it starts with {content[:20]!r}")
    order = {b"IM": "<", b"MI": ">"}[content[126:HEADER]]
    found, chosen = [], {}
    for kind, element in _elements(content[HEADER:], order):
        if kind == COMPRESSED:
            # At most 1,032 times as long: no more can come of deflate.
            ((kind, element),) = _elements(zlib.decompress(element), order)
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} between the variables")
        matrix = _Matrix(element, order)
        found.append(matrix.name)
        if matrix.name in names:
            chosen[matrix.name] = matrix.read()
    return chosen, found
