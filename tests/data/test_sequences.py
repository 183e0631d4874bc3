"""Piano rolls and speech from small files of the same form: lengths, masks, splits, scales, and what is refused."""

import io
import wave
import zipfile

import numpy as np
import pytest
import scipy.io
from fuzz.readers import riff

from genjax_models.data import PianoRolls, Speech, examples
from genjax_models.errors import DataError
from genjax_models.models import RecurrentLikelihood


def rolls(lengths, seed):
    return [(np.random.RandomState(seed + i).rand(t, 88) < 0.1).astype(np.uint8) for i, t in enumerate(lengths)]


def save_rolls(path, **parts):
    def cells(arrays):
        cell = np.empty((1, len(arrays)), object)
        cell[0, :] = arrays
        return cell

    scipy.io.savemat(path, {name: cells(arrays) for name, arrays in parts.items()})


PARTS = {"traindata": rolls((3, 1, 2), 0), "validdata": rolls((4, 2), 10), "testdata": rolls((2, 5), 20)}


def test_rolls_are_padded_to_the_longest_and_masked(tmp_path):
    (tmp_path / "pianorolls").mkdir()
    save_rolls(tmp_path / "pianorolls" / "JSB_Chorales.mat", **PARTS)
    data = PianoRolls().load(str(tmp_path))
    assert data.image_shape == (5, 88)
    assert data.support == "binary"
    for name, pieces in zip(("train", "validation", "test"), PARTS.values(), strict=True):
        x, mask = examples(data, name)
        assert x.dtype == np.uint8
        assert mask.dtype == np.float32
        for row, on, piece in zip(x.reshape(-1, 5, 88), mask, pieces, strict=True):
            np.testing.assert_array_equal(on, np.arange(5) < len(piece))
            np.testing.assert_array_equal(row[: len(piece)], piece)
            assert not row[len(piece) :].any()
    RecurrentLikelihood(frame=88).build(data.train.shape[1])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({**PARTS, "testdata": [np.zeros((3, 87))] * 2}, r"testdata, roll 0: got shape \(3, 87\)"),
        ({**PARTS, "validdata": [np.full((3, 88), 2.0)] * 2}, "validdata, roll 0: some values are neither 0 nor 1"),
        ({"traindata": PARTS["traindata"]}, "expected a MATLAB v5 file with traindata, validdata, testdata"),
    ],
)
def test_what_are_no_rolls(tmp_path, parts, message):
    save_rolls(tmp_path / "x.mat", **parts)
    with pytest.raises(DataError, match=message):
        PianoRolls("x.mat").load(str(tmp_path))


def test_missing_and_broken_files(tmp_path):
    for source, name in ((PianoRolls(), "JSB_Chorales.mat"), (Speech(), "spoken_digits_2speakers.zip")):
        with pytest.raises(DataError, match=f"not found: {name}"):
            source.load(str(tmp_path))
        (tmp_path / name).write_bytes(b"PK nothing of the kind" * 9)
        with pytest.raises(DataError, match=name):
            source.load(str(tmp_path))


def wav(samples, width=2, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, width, 8000, 0, "NONE", ""))
        out.writeframes(np.asarray(samples, "<i2").tobytes())
    return file.getvalue()


def save_speech(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_speech_is_framed_scaled_and_split_by_takes(tmp_path):
    """Sample k becomes (k + u) / scale in [k, k + 1) / scale; what does not fill a frame is left out."""
    samples = {
        f"{d}_{who}_{take}.wav": np.arange(7 + d) * 100 - 300 + take
        for d in (0, 3)
        for who in "ab"
        for take in (0, 5, 11)
    }
    save_speech(tmp_path / "s.zip", {"readme.txt": b"x"} | {f"wavs/{name}": wav(v) for name, v in samples.items()})
    data = Speech("s.zip", frame=3, scale=50.0).load(str(tmp_path))
    assert data.image_shape == (3, 3)
    assert data.support == "real"
    for name, take in (("train", 11), ("validation", 5), ("test", 0)):
        x, mask = examples(data, name)
        np.testing.assert_array_equal(mask, [[1, 1, 0]] * 2 + [[1, 1, 1]] * 2)
        for row, (d, who) in zip(x, ((0, "a"), (0, "b"), (3, "a"), (3, "b")), strict=True):
            k = samples[f"{d}_{who}_{take}.wav"][: 6 + d]
            noise = row[: len(k)] * 50 - k
            assert noise.min() > -1e-3
            assert noise.max() < 1 + 1e-3
            assert np.ptp(noise) > 0.1
            assert not row[len(k) :].any()
    again = Speech("s.zip", frame=3, scale=50.0).load(str(tmp_path))
    np.testing.assert_array_equal(again.train, data.train)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.wav": wav([1, 2, 3])}, "holds no file named DIGIT_SPEAKER_TAKE.wav"),
        (
            {"1_a_0.wav": riff(bytes(8), 7, 8, 1)},
            "1_a_0.wav: cannot be read as a WAV file .samples of 8 bits in format 7",
        ),
        ({"1_a_0.wav": wav([1, 2])}, "1_a_0.wav has 2 samples, fewer than a frame of 3"),
        ({"1_a_0.wav": wav([1, 2, 3]), "1_a_7.wav": wav([1, 2, 3])}, "no takes for one of the splits"),
        ({"1_a_0.wav": b"RIFF"}, "1_a_0.wav: cannot be read as a WAV file"),
    ],
)
def test_what_is_no_speech(tmp_path, files, message):
    save_speech(tmp_path / "s.zip", files)
    with pytest.raises(DataError, match=message):
        Speech("s.zip", frame=3).load(str(tmp_path))
