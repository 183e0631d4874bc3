"""Standard MIDI Files as piano rolls."""

import struct
from typing import NamedTuple

import numpy as np

from genjax_models.data.piano_rolls import KEYS, LOWEST
from genjax_models.errors import DataError

DRUMS = 9  # the channel, from 0, whose numbers are no pitches
MOST_STEPS = 1 << 16  # of a roll, more than four hours of sixteenths; a few bytes may claim any number
FIX = "Save it as a Standard MIDI File of format 0 or 1, with ticks a quarter note, or leave it out."
# Bytes of data after the status of a message on a channel, by its upper half.
DATA = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}


class Note(NamedTuple):
    """A key, as a MIDI number, that is down from one tick to another."""

    start: int
    end: int
    key: int


class _Track:
    """The bytes of a track, read from the front."""

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name, self.at = content, name, 0

    def take(self, number: int) -> bytes:
        found = self.content[self.at : self.at + number]
        if len(found) < number:
            raise DataError(f"{self.name}: cannot be read (a track ends within a message). {FIX}")
        self.at += number
        return found

    def variable_length(self) -> int:
        """Seven bits a byte, at most four of them."""
        number = 0
        for _ in range(4):
            (byte,) = self.take(1)
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number
        raise DataError(f"{self.name}: cannot be read (a number of more than four bytes). {FIX}")


def _notes(track: _Track) -> tuple[list[Note], int]:
    """The notes of a track, but for drums, and the tick at which it ends; what still sounds there ends there."""
    now, running = 0, None
    down: dict[tuple[int, int], int] = {}
    found = []
    while track.at < len(track.content):
        now += track.variable_length()
        (status,) = track.take(1)
        if status < 0x80:  # the first byte of data, of a message whose status is that of the last
            if running is None:
                raise DataError(f"{track.name}: cannot be read (a message without a status). {FIX}")
            track.at -= 1
            status = running
        if status == 0xFF:
            (kind,) = track.take(1)
            track.take(track.variable_length())
            if kind == 0x2F:  # the end of the track
                break
            continue
        if status in (0xF0, 0xF7):
            track.take(track.variable_length())
            continue
        if status > 0xF0:
            raise DataError(f"{track.name}: cannot be read (a message of status {status:#x}). {FIX}")
        running, channel = status, status & 0xF
        data = track.take(DATA[status >> 4])
        if max(data) > 0x7F:
            raise DataError(f"{track.name}: cannot be read (a byte of data of {max(data):#x}). {FIX}")
        if status >> 4 not in (0x8, 0x9) or channel == DRUMS:
            continue
        key, velocity = data
        # A key that is struck again while it is down ends one note and begins another.
        start = down.pop((channel, key), None)
        if start is not None:
            found.append(Note(start, now, key))
        if status >> 4 == 0x9 and velocity:
            down[channel, key] = now
    return found + [Note(start, now, key) for (_, key), start in down.items()], now


def read_notes(content: bytes, name: str) -> tuple[list[Note], int, int]:
    """The notes of a Standard MIDI File, the tick at which it ends, and its ticks a quarter note.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        DataError: no MIDI file, a broken one, or one of format 2 or with ticks of seconds.
    """
    if content[:4] != b"MThd" or len(content) < 14:
        raise DataError(f"{name}: cannot be read as a MIDI file (it starts with {content[:4]!r}). {FIX}")
    length, kind, number, division = struct.unpack(">IHHH", content[4:14])
    if kind > 1:
        raise DataError(f"{name}: got format {kind}, whose tracks are no voices of one piece. {FIX}")
    if not 0 < division < 0x8000:
        raise DataError(f"{name}: got ticks that are parts of seconds, or none; expected ticks a quarter note. {FIX}")
    at, tracks, notes, end = 8 + length, 0, [], 0
    while tracks < number:
        head = content[at : at + 8]
        size = struct.unpack(">I", head[4:])[0] if len(head) == 8 else 0
        if len(head) < 8 or at + 8 + size > len(content):
            raise DataError(f"{name}: cannot be read ({tracks} of its {number} tracks are there). {FIX}")
        if head[:4] == b"MTrk":  # what else there may be is to be passed over
            found, last = _notes(_Track(content[at + 8 : at + 8 + size], name))
            notes += found
            end = max(end, last)
            tracks += 1
        at += 8 + size
    return notes, end, division


def read_roll(content: bytes, name: str, steps_per_quarter: int) -> np.ndarray:
    """The piano roll, uint8 [T, 88], of a Standard MIDI File: which keys are down at each step.

    Notes begin and end at the nearest step, and last at least one. The roll begins with the file and ends with its last
    track; keys beyond the 88 of a piano and drums are left out, and neither tempo nor pedals change anything.

    Args:
        content: of the file.
        name: of the file, for messages.
        steps_per_quarter: steps in a quarter note.

    Raises:
        DataError: as `read_notes`; no notes on the 88 keys; more than 65,536 steps.

    Example:
        >>> read_roll(genjax_models.sound.midi(roll), "roll", 1)
    """
    notes, end, division = read_notes(content, name)
    played = np.array([note for note in notes if LOWEST <= note.key < LOWEST + KEYS], np.int64).reshape(-1, 3)
    if not len(played):
        raise DataError(f"{name}: has no notes on the {KEYS} keys of a piano; leave it out.")
    nearest = (2 * played[:, :2] * steps_per_quarter + division) // (2 * division)
    start, stop = nearest[:, 0], np.maximum(nearest[:, 1], nearest[:, 0] + 1)
    steps = int(max((2 * end * steps_per_quarter + division) // (2 * division), stop.max()))
    if steps > MOST_STEPS:
        raise DataError(
            f"{name}: lasts {steps} steps, more than the {MOST_STEPS} that are read; give fewer steps_per_quarter, or "
            "leave it out."
        )
    roll: np.ndarray = np.zeros((steps, KEYS), np.uint8)
    written = [0] * KEYS  # up to which step, for a key may be down by many notes at once
    for begin, end, key in sorted(zip(start.tolist(), stop.tolist(), (played[:, 2] - LOWEST).tolist(), strict=True)):
        roll[max(begin, written[key]) : end, key] = 1
        written[key] = max(end, written[key])
    return roll
