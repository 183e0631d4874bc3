"""MATLAB v5 files: arrays of numbers, and cell arrays of them.

scipy reads them. It takes the memory that a file claims before it looks whether so much is there, goes as deep into
cells within cells as a file has them, past the end of the stack, and past the end of its table of types; so what it is
given is looked through first.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

START = b"MATLAB 5.0 MAT-file"
HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15  # types of elements
NUMBERS = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18}  # and text
CELL, STRUCT, OBJECT, SPARSE, LAST = 1, 2, 3, 5, 15  # classes of matrices; up to the last they are of numbers or text
DEEPEST = 3  # cells within cells


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


def _head(matrix: bytes, order: str) -> tuple[int, int, bytes, list[tuple[int, bytes]]]:
    """The class of a matrix, how many values it claims, its name, and what comes after that."""
    (_, flags), (_, sizes), (_, name), *others = _elements(matrix, order)
    dimensions = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if len(flags) != 8 or not dimensions or min(dimensions) < 0:
        raise ValueError(f"a matrix of dimensions {dimensions}")
    return struct.unpack(f"{order}I", flags[:4])[0] & 0xFF, math.prod(dimensions), name, others


def _check(matrix: bytes, order: str, depth: int = 0) -> None:
    """Raise ValueError where a matrix claims more values than it has bytes, or has others within too deep."""
    kind, number, _, others = _head(matrix, order)
    if not 1 <= kind <= LAST:
        raise ValueError(f"a matrix of class {kind}, which is none of numbers")
    least = 8 if kind in (CELL, STRUCT, OBJECT) else 1
    there = sum(len(content) + 8 for _, content in others)
    if kind != SPARSE and number * least > there:
        raise ValueError(f"a matrix claims {number} values, and {there} bytes are there")
    for within, content in others:
        if within not in NUMBERS and not (within == MATRIX and least > 1):
            raise ValueError(f"an element of type {within} in a matrix of class {kind}")
        if within == MATRIX and content:
            if depth == DEEPEST:
                raise ValueError(f"cells within cells, more than {DEEPEST} deep")
            _check(content, order, depth + 1)


def read_variables(content: bytes, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The variables of these names that a MATLAB v5 file has, as scipy gives them, and the names of all it has.

    Raises:
        Exception: a file that is broken, of another kind, or claims more than it has; of whatever kind.
    """
    # Imported here: few need it, and it is slow to import.
    import scipy.io

    if not content.startswith(START) or len(content) < HEADER:
        raise ValueError(f"it starts with {content[:20]!r}")
    order = {b"IM": "<", b"MI": ">"}[content[126:HEADER]]
    found, wanted = [], content[:HEADER]
    for kind, element in _elements(content[HEADER:], order):
        if kind == COMPRESSED:
            # At most 1,032 times as long: no more can come of deflate.
            (kind, element), *_ = _elements(zlib.decompress(element), order)
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} between the variables")
        found.append(_head(element, order)[2].decode("latin1"))
        if found[-1] in names:
            _check(element, order)
            wanted += struct.pack(f"{order}II", MATRIX, len(element)) + element + bytes(-len(element) % 8)
    loaded = scipy.io.loadmat(io.BytesIO(wanted))
    return {name: loaded[name] for name in names if name in loaded}, found
