"""Folders of MIDI files: what is read of them, quantized by hand, and what is said of files that fail."""

import struct

import numpy as np
import pytest

from genjax_models.commands.files import open_source
from genjax_models.config import validate
from genjax_models.data import MidiFolder, examples, require_labels
from genjax_models.data.midi import Note, read_notes, read_roll
from genjax_models.errors import ConfigError, DataError
from genjax_models.sound import midi

END = b"\x00\xff\x2f\x00"


def file(*tracks, kind=0, division=4, number=None, between=b""):
    """A MIDI file of these tracks, with other chunks between them."""
    chunks = between.join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)
    head = struct.pack(">4sIHHH", b"MThd", 6, kind, len(tracks) if number is None else number, division)
    return head + chunks


def down(roll):
    """(step, key) of what is down, the keys by their MIDI numbers."""
    return [(int(step), int(key) + 21) for step, key in np.argwhere(roll)]


@pytest.fixture
def rolls():
    """Ten rolls of 3 to 12 steps; the last step of each is silent."""
    random = np.random.RandomState(0)
    found = [(random.rand(3 + i, 88) < 0.1).astype(int) for i in range(10)]
    for roll in found:
        roll[0, 5], roll[-1] = 1, 0
    return found


@pytest.fixture
def folder(tmp_path, rolls):
    """They as files in two classes, a quarter note a step."""
    for i, roll in enumerate(rolls):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i}.{('mid', 'MIDI')[i % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(midi(roll))
    return tmp_path / "set"


def test_every_way_to_say_a_note():
    """Running status, a velocity of 0, a key struck again, one that is never let go, drums, other messages; ticks are
    added up along each track."""
    track = (
        b"\x02\x90\x3c\x40"  # at tick 2 key 60 goes down
        b"\x01\x3e\x40"  # at 3, by running status, 62
        b"\x00\xff\x01\x03abc"  # a text
        b"\x01\x3c\x40"  # at 4 key 60 is struck again; the status runs on over a text
        b"\x00\xf0\x02\x90\xf7"  # a message of a maker's own
        b"\x00\xc0\x05\x00\xb0\x40\x7f\x00\xe0\x00\x40"  # a program, a pedal, a bend
        b"\x81\x00\x80\x3c\x00"  # at 4 + 128 key 60 goes up
        b"\x00\x99\x24\x40"  # a drum
        b"\x00\x91\x3e\x40\x08\x3e\x00"  # key 62 of another channel, down for 8
        b"\x00\xff\x2f\x00\x00\x90\x10\x40"  # the end, and what nobody hears
    )
    notes, end, division = read_notes(file(track), "x")
    assert sorted(notes) == [Note(2, 4, 60), Note(3, 140, 62), Note(4, 132, 60), Note(132, 140, 62)]
    assert (end, division) == (140, 4)


def test_tracks_are_voices_of_one_piece():
    tracks = b"\x00\x90\x3c\x40\x04\x80\x3c\x00" + END, b"\x02\x90\x40\x40\x10\x90\x40\x00\x06\xff\x2f\x00"
    notes, end, _ = read_notes(file(*tracks, kind=1, between=b"XFIH\x00\x00\x00\x03abc"), "x")
    assert (notes, end) == ([Note(0, 4, 60), Note(2, 18, 64)], 24)


def test_notes_begin_and_end_at_the_nearest_step():
    """By hand, with four ticks a quarter note: at half a step up, at least one step, and keys beyond the piano left
    out; the roll ends with the last track."""
    track = b"\x02\x90\x15\x40\x01\x15\x00\x02\x3c\x40\x05\x3c\x00\x00\x14\x40\x0c\x14\x00" + END  # 2-3, 5-10, 10-22
    for steps, expected, length in (
        (1, [(1, 21), (1, 60), (2, 60)], 6),
        (2, [(1, 21), (3, 60), (4, 60)], 11),
        (4, [(2, 21)] + [(t, 60) for t in range(5, 10)], 22),
        (12, [(t, 21) for t in range(6, 9)] + [(t, 60) for t in range(15, 30)], 66),
    ):
        roll = read_roll(file(track), "x", steps)
        assert (roll.shape, roll.dtype) == ((length, 88), np.uint8)
        assert down(roll) == expected


def test_files_of_our_own_come_back(rolls):
    for roll in rolls:
        assert np.array_equal(read_roll(midi(roll), "x", 1), roll)
        assert np.array_equal(read_roll(midi(roll), "x", 3), np.repeat(roll, 3, axis=0))


def test_pieces_are_split_with_their_classes(folder, rolls):
    """By the fixed permutation of their paths, a/0, a/2, ..., b/1, ..., as recordings are."""
    source = open_source(str(folder), None, {"steps_per_quarter": "1"})
    assert source == MidiFolder(str(folder), steps_per_quarter=1)
    data, labels = source.load(), require_labels(source)
    assert (data.support, data.image_shape) == ("binary", (12, 88))
    order = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9])[np.random.RandomState(0).permutation(10)]
    for name, places in (("train", order[:8]), ("validation", order[8:9]), ("test", order[9:])):
        x, mask = examples(data, name)
        assert np.array_equal(mask, np.arange(12) < (3 + places)[:, None])
        for row, i in zip(x.reshape(-1, 12, 88), places, strict=True):
            assert np.array_equal(row[: 3 + i], rolls[i])
            assert not row[3 + i :].any()
        assert np.array_equal(getattr(labels, name), places % 2)
    # Cut at five steps; parts of a piece stay together.
    cut = MidiFolder(str(folder), steps_per_quarter=1, steps=5)
    data, labels = cut.load(), require_labels(cut)
    assert data.image_shape == (5, 88)
    expected = np.concatenate([np.minimum(5, 3 + i - np.arange(0, 3 + i, 5)) for i in order[:8]])
    assert np.array_equal(data.train_context.sum(axis=1), expected)
    assert np.array_equal(labels.train, np.concatenate([np.full(-(-(3 + i) // 5), i % 2) for i in order[:8]]))


BROKEN = {
    b"": r"cannot be read as a MIDI file \(it starts with b''\)",
    b"RIFF" + bytes(20): "cannot be read as a MIDI file",
    file(END, kind=2): "got format 2, whose tracks are no voices",
    file(END, division=0xE728): "got ticks that are parts of seconds",
    file(END, division=0): "got ticks that are parts of seconds, or none",
    file(END, number=2): "1 of its 2 tracks are there",
    file(END)[:-1]: "0 of its 1 tracks are there",
    file(b"\x00\x90\x3c"): "a track ends within a message",
    file(b"\x00\x3c\x40"): "a message without a status",
    file(b"\xff\xff\xff\xff\x00"): "a number of more than four bytes",
    file(b"\x00\xf4\x00"): "a message of status 0xf4",
    file(b"\x00\x90\x3c\x80"): "a byte of data of 0x80",
    file(END): "has no notes on the 88 keys",
    file(b"\x00\x90\x14\x40" + END): "has no notes on the 88 keys",
    file(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x3c\x00"): "lasts 67108864 steps, more than the 65536 that are read",
}


@pytest.mark.parametrize("content", BROKEN, ids=lambda x: repr(x[-12:]))
def test_files_that_cannot_be_used(content):
    with pytest.raises(DataError, match=f"^x: .*{BROKEN[content]}"):
        read_roll(content, "x", 1)


def test_files_that_cannot_be_used_are_all_named(folder):
    (folder / "a" / "text.mid").write_bytes(b"text")
    (folder / "b" / "cut.mid").write_bytes((folder / "b" / "1.MIDI").read_bytes()[:40])
    with pytest.raises(DataError, match=r"set: 2 of 12 MIDI files cannot be used:\n.*text.mid: .*\n.*cut.mid: "):
        MidiFolder(str(folder)).load()
    (folder / "none").mkdir()
    with pytest.raises(DataError, match=r"none: holds no MIDI files; expected files that end with .mid, .midi"):
        MidiFolder(str(folder / "none")).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_quarter": 0}, "steps_per_quarter: got 0"),
        ({"steps": 0}, "steps: got 0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "got a sum of 1, expected less than 1"),
    ],
)
def test_wrong_fields(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(MidiFolder(**{"path": "x", **options}))
