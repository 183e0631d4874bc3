"""Sequences to be looked at and listened to: piano rolls as pictures, MIDI files and tones, samples as WAV files."""

import io
import math
import struct
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genjax_models.errors import DataError
from genjax_models.plots import new_figure

LOWEST = 21  # the MIDI number of the first of 88 keys, A0
RATE = 22_050  # samples a second
STEP_SECONDS = 0.25
TICKS = 480  # of a MIDI file, a step
OVERTONES = (1.0, 0.4, 0.15)
FADE_SECONDS = 0.01


def _roll(roll: np.ndarray) -> np.ndarray:
    roll = np.asarray(roll)
    if roll.ndim != 2 or not ((roll == 0) | (roll == 1)).all():
        raise DataError(
            f"roll: got shape {roll.shape}, expected [T, keys] of zeros and ones; reshape a row by (T, 88), and draw "
            "keys from probabilities first."
        )
    return roll.astype(int)


def _require_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise DataError(f"{name}: got {value!r}, expected a number more than 0.")


def notes(roll: np.ndarray) -> list[tuple[int, int, int]]:
    """(first step, step after the last, key) of every note: a key that stays down is one note."""
    edges = np.diff(_roll(roll), axis=0, prepend=0, append=0)
    return [
        (int(start), int(end), key)
        for key in range(edges.shape[1])
        for start, end in zip(*(np.flatnonzero(edges[:, key] == sign) for sign in (1, -1)), strict=True)
    ]


def _variable_length(number: int) -> bytes:
    """Seven bits a byte, the highest first; all but the last have their eighth bit set."""
    found = [number & 0x7F]
    while number := number >> 7:
        found.insert(0, number & 0x7F | 0x80)
    return bytes(found)


def midi(roll: np.ndarray, step_seconds: float = STEP_SECONDS, lowest: int = LOWEST) -> bytes:
    """A Standard MIDI File (format 0) of a piano roll.

    Args:
        roll: [T, keys] of zeros and ones.
        step_seconds: of a step, below 16.7.
        lowest: the MIDI number of the first key, 0 to 127; all keys must lie there.

    Raises:
        DataError: a roll of other values, or a number out of range.
    """
    _require_positive("step_seconds", step_seconds)
    roll = _roll(roll)
    tempo = round(step_seconds * 1e6)
    if not (1 <= tempo < 2**24 and lowest >= 0 and lowest + roll.shape[1] <= 128):
        raise DataError(
            f"midi: got step_seconds {step_seconds!r} and {roll.shape[1]} keys from number {lowest!r} on; expected "
            "at most 16.7 s and keys within 0 to 127."
        )
    # At the same step keys go up before others go down.
    events = sorted([(start, 1, key) for start, _, key in notes(roll)] + [(end, 0, key) for _, end, key in notes(roll)])
    track, now = b"\x00\xff\x51\x03" + struct.pack(">I", tempo)[1:], 0
    for step, down, key in events:
        track += _variable_length((step - now) * TICKS) + bytes([0x90 if down else 0x80, lowest + key, 64])
        now = step
    track += _variable_length((len(roll) - now) * TICKS) + b"\xff\x2f\x00"
    return struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, TICKS, b"MTrk", len(track)) + track


def tones(roll: np.ndarray, step_seconds: float = STEP_SECONDS, rate: int = RATE, lowest: int = LOWEST) -> np.ndarray:
    """The sound of a piano roll, float32 [n] in [-1, 1]: sines with two overtones, which fade in and out.

    Args:
        roll: [T, keys] of zeros and ones.
        step_seconds: of a step.
        rate: samples a second.
        lowest: the MIDI number of the first key; number 69 has 440 Hz.

    Raises:
        DataError: a roll of other values, or a number out of range.
    """
    _require_positive("step_seconds", step_seconds)
    _require_positive("rate", rate)
    roll = _roll(roll)
    ends = np.round(np.arange(len(roll) + 1) * step_seconds * rate).astype(int)
    out = np.zeros(ends[-1])
    for start, end, key in notes(roll):
        time = np.arange(ends[end] - ends[start]) / rate
        pitch = 440 * 2 ** ((lowest + key - 69) / 12)
        fade = np.minimum(1, np.minimum(time, time[::-1]) / FADE_SECONDS) * np.exp(-0.7 * time)
        for i, weight in enumerate(OVERTONES, 1):
            if i * pitch < rate / 2:  # above, it would sound as a lower tone
                out[ends[start] : ends[end]] += weight * fade * np.sin(2 * np.pi * i * pitch * time)
    # So that no chord is cut off, however many keys are down.
    loudest = sum(OVERTONES) * max(1, int(roll.sum(axis=1).max(initial=0)))
    return (out / loudest).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """A WAV file, 16 bits and one channel, of samples [n] in [-1, 1]; what is outside is cut off.

    Samples of `data.Speech` are x * scale / 32768 with its `scale`, at 8,000 a second.

    Raises:
        DataError: samples that are not finite or not [n].
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise DataError(f"samples: got shape {samples.shape}, expected finite numbers [n]; write one channel.")
    _require_positive("rate", rate)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    return out.getvalue()


def save_rolls(path: Path, rolls: Sequence[np.ndarray], titles: Sequence[str], given: int = 0) -> None:
    """Write a PNG of piano rolls [T, keys], one below the other, time to the right.

    Args:
        path: the picture.
        rolls: of zeros and ones, or of probabilities.
        titles: one above each.
        given: the first steps, which were given: a line is drawn after them.
    """
    longest = max(len(roll) for roll in rolls)
    figure, panels = new_figure(max(6.4, min(14, 0.08 * longest)), 1.9 * len(rolls), rows=len(rolls))
    for panel, roll, title in zip(np.atleast_1d(panels), rolls, titles, strict=True):
        panel.imshow(
            np.asarray(roll, np.float32).T,
            cmap="Greys",
            vmin=0,
            vmax=1,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        panel.set_title(title, fontsize=9, parse_math=False)
        panel.set_ylabel("key")
        if given:
            panel.axvline(given - 0.5, color="C3", linewidth=1)
    np.atleast_1d(panels)[-1].set_xlabel("step")
    figure.savefig(path, dpi=120, format="png")


def save_continuations(
    folder: Path, rolls: Sequence[np.ndarray], given: int, step_seconds: float = STEP_SECONDS
) -> list[Path]:
    """Write piano rolls [T, keys] as continuations.png, and each as continuation_I.mid and continuation_I.wav.

    Args:
        folder: where to; it must exist.
        rolls: of zeros and ones.
        given: the first steps, which were given.
        step_seconds: of a step.

    Returns:
        The files.
    """
    folder = Path(folder)
    paths = [folder / "continuations.png"]
    save_rolls(paths[0], rolls, [f"continuation {i}" for i in range(len(rolls))], given)
    for i, roll in enumerate(rolls):
        for suffix, content in (("mid", midi(roll, step_seconds)), ("wav", wav(tones(roll, step_seconds)))):
            paths.append(folder / f"continuation_{i}.{suffix}")
            paths[-1].write_bytes(content)
    return paths
