"""Comparing run times on a machine that others use too: in turns, in one process, over several rounds."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax


class Row(NamedTuple):
    """One comparison; `ratio` is ours by the other's, and is to be at most `target`: infinite, nothing is asked."""

    name: str
    ours: float
    other: float
    unit: str
    ratio: float
    target: float


def seconds(function: Callable[[], object]) -> float:
    """Seconds that a call takes, its result awaited."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def in_turns(*functions: Callable[[], object], rounds: int = 15, measure=seconds) -> list[list[float]]:
    """`measure` of each function, by round; the first round, which warms up, is left out."""
    times = [[measure(function) for function in functions] for _ in range(rounds + 1)]
    return [list(column) for column in zip(*times[1:], strict=True)]


def compare(name: str, ours: list[float], other: list[float], unit: str, target: float, scale: float = 1) -> Row:
    """The least of each, which other processes disturb least, times a scale; the median over rounds of their ratio."""
    ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
    return Row(name, min(ours) * scale, min(other) * scale, unit, ratio, target)
