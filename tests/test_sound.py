"""MIDI files read by another reader, tones by their spectra, WAV files by their samples; and continuations of a net."""

import io
import struct
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models.core import Batch
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import continue_sequences
from genjax_models.models import made, recurrent_likelihood
from genjax_models.sound import midi, save_continuations, tones, wav


def roll_of(steps, *notes):
    """A roll with (first step, step after the last, key) held down."""
    roll = np.zeros((steps, 88), np.uint8)
    for start, end, key in notes:
        roll[start:end, key] = 1
    return roll


def read_midi(content):
    """(ticks a quarter, microseconds a quarter, the last tick, {(tick, tick, number)}) of a file with one track."""
    assert struct.unpack(">4sIHH", content[:12]) == (b"MThd", 6, 0, 1)
    division, track, length = struct.unpack(">H4sI", content[12:22])
    assert (track, length) == (b"MTrk", len(content) - 22)
    at, now, tempo, down, found = 22, 0, None, {}, set()
    while True:
        delta = 0
        while True:
            delta, more, at = delta << 7 | content[at] & 0x7F, content[at] & 0x80, at + 1
            if not more:
                break
        now += delta
        status = content[at]
        if status == 0xFF:
            kind, size = content[at + 1 : at + 3]
            if kind == 0x2F:
                assert at + 3 == len(content)
                assert not down
                return division, tempo, now, found
            assert kind == 0x51
            tempo, at = int.from_bytes(content[at + 3 : at + 3 + size], "big"), at + 3 + size
        else:
            number, velocity = content[at + 1 : at + 3]
            if status == 0x90:
                assert number not in down
                assert velocity > 0
                down[number] = now
            else:
                assert status == 0x80
                found.add((down.pop(number), now, number))
            at += 3


def test_midi_has_every_note():
    """Held keys are one note, a key struck again after a step's rest two; long rests take long numbers."""
    held = [(0, 3, 0), (1, 2, 40), (3, 4, 40), (4, 5, 87), (200, 201, 40)]
    division, tempo, last, found = read_midi(midi(roll_of(300, *held), step_seconds=0.5))
    assert found == {(a * division, b * division, 21 + key) for a, b, key in held}
    assert tempo == 500_000
    assert last == 300 * division
    assert read_midi(midi(roll_of(0)))[2:] == (0, set())


def test_tones_have_the_keys_pitches():
    """A4 alone, then A4 with E5, then nothing: the spectrum of each step has just their peaks, by their overtones."""
    rate, step = 8000, 0.5
    sound = tones(roll_of(3, (0, 2, 48), (1, 2, 55)), step, rate).reshape(3, -1)
    assert not sound[2].any()
    spectrum = np.abs(np.fft.rfft(sound[:2], axis=1))
    pitches = 440.0, 440 * 2 ** (7 / 12)
    at = [round(p * step) for p in pitches]
    first, both = spectrum / spectrum.max(axis=1, keepdims=True)
    assert first.argmax() == at[0]
    assert first[at[1]] < 0.05 < 0.5 < both[at[1] - 1 : at[1] + 2].max()
    assert 0.2 < np.abs(sound).max() <= 1
    assert np.abs(tones(np.ones((2, 88)), 0.1, rate)).max() <= 1


def test_wav_has_the_samples():
    with wave.open(io.BytesIO(wav(np.array([0, 0.5, -1, 1, 7]), 8000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(5), "<i2"), [0, 16384, -32768, 32767, 32767])


def test_what_cannot_be_heard():
    with pytest.raises(DataError, match=r"roll: got shape \(2, 88\), expected"):
        midi(np.full((2, 88), 0.5))
    with pytest.raises(DataError, match="step_seconds: got 0"):
        tones(roll_of(2), step_seconds=0)
    with pytest.raises(DataError, match="88 keys from number 60"):
        midi(roll_of(2), lowest=60)
    with pytest.raises(DataError, match=r"samples: got shape \(1,\), expected finite"):
        wav(np.array([np.nan]))


def test_continuations_keep_what_is_given_and_are_written(tmp_path):
    model = recurrent_likelihood(6 * 88, frame=88, hidden=3, features=3)
    params = model.init(jax.random.key(0), jnp.zeros(6 * 88), ())
    x = np.stack([roll_of(6, (0, 6, 30)).ravel()] * 2)
    drawn = np.asarray(continue_sequences(model, params, jax.random.key(1), x, 4)).reshape(2, 6, 88)
    np.testing.assert_array_equal(drawn[:, :4], x.reshape(2, 6, 88)[:, :4])
    assert (drawn[0, 4:] != drawn[1, 4:]).any()
    short = continue_sequences(model, params, jax.random.key(1), Batch(x, np.tile([1.0, 1, 1, 1, 1, 0], (2, 1))), 4)
    np.testing.assert_array_equal(short.reshape(2, 6, 88)[:, :5], drawn[:, :5])
    assert not short[:, 5 * 88 :].any()
    paths = save_continuations(tmp_path, drawn, 4)
    assert {p.name for p in paths} == {"continuations.png"} | {
        f"continuation_{i}.{s}" for i in (0, 1) for s in ("mid", "wav")
    }
    assert paths[0].read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "continuation_1.mid").read_bytes() == midi(drawn[1])
    with pytest.raises(ConfigError, match="steps got 7, expected an integer from 0 to 6"):
        continue_sequences(model, params, jax.random.key(1), x, 7)
    with pytest.raises(ModelError, match="MADE has no steps to go on with"):
        continue_sequences(made(6), {}, jax.random.key(0), x[:, :6], 1)
