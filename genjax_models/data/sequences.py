"""Sequences of unequal length as rows of equal length, with masks."""

from collections.abc import Sequence

import numpy as np


def pad(sequences: Sequence[np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [T_i, F] with zeros after them, time first: x [N, steps * F], and masks [N, steps], float32, 1 where a
    step is there."""
    x: np.ndarray = np.zeros((len(sequences), steps, sequences[0].shape[1]), sequences[0].dtype)
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence
    lengths = np.array([len(sequence) for sequence in sequences])
    return x.reshape(len(x), -1), (np.arange(steps) < lengths[:, None]).astype(np.float32)
