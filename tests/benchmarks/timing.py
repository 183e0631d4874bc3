"""Comparing run times on a machine that others use too: in turns, in one process, over several rounds."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax


class Row(NamedTuple):
    """One comparison; `ratio` is ours by the other's, and is to be at most `target`."""

    name: str
    ours: float
    other: float
    unit: str
    ratio: float
    target: float


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Seconds per call, the result awaited."""
    start = time.perf_counter()
    for _ in range(repeats):
        out = function()
    jax.block_until_ready(out)
    return (time.perf_counter() - start) / repeats


def in_turns(*functions: Callable[[], object], rounds: int = 9, repeats: int = 3) -> list[list[float]]:
    """Seconds per call of each function, by round; in every round each is timed once, after a call that is not."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, found in zip(functions, times, strict=True):
            seconds(function, 1)
            found.append(seconds(function, repeats))
    return times


def compare(name: str, ours: list[float], other: list[float], target: float, unit: str = "ms") -> Row:
    """The least time of each, which other processes disturb least, and the median over rounds of their ratio."""
    scale = {"ms": 1e3, "s": 1.0}[unit]
    ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
    return Row(name, min(ours) * scale, min(other) * scale, unit, ratio, target)
