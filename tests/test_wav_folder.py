"""Folders of recordings: frames, pieces, splits and classes, and what is said of files that fail."""

import io
import wave

import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import WavFolder, examples, require_labels
from genjax_models.errors import ConfigError, DataError


def wav(samples, rate=8000, channels=1, width=2):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", ""))
        out.writeframes(np.asarray(samples, f"<i{width}").tobytes())
    return file.getvalue()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    """Ten recordings of 6 to 15 samples in two classes; those of recording i begin with 1000 * i."""
    for i in range(10):
        save(tmp_path / "set" / "ab"[i % 2] / f"{i}.WAV", wav(1000 * i + np.arange(6 + i)))
    return tmp_path / "set"


def levels(x, scale):
    """The samples of rows, without the noise."""
    return np.floor(x.astype(np.float64) * scale + 1e-2).astype(int)


def test_recordings_are_framed_and_split_with_their_classes(folder):
    """By the fixed permutation of their paths, a/0, a/2, ..., b/1, ...; what does not fill a frame is left out."""
    source = WavFolder(str(folder), frame=3, scale=64.0)
    data, labels = source.load(), require_labels(source)
    assert (data.support, data.image_shape) == ("real", (5, 3))
    order = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9])[np.random.RandomState(0).permutation(10)]
    for name, places in (("train", order[:8]), ("validation", order[8:9]), ("test", order[9:])):
        x, mask = examples(data, name)
        lengths = (6 + places) // 3
        assert np.array_equal(mask, np.arange(5) < lengths[:, None])
        expected = (1000 * places[:, None] + np.arange(15)) * np.repeat(mask, 3, axis=1)
        assert np.abs(levels(x, 64) - expected).max() <= 1  # float32 rounds the noise of one in a hundred
        assert np.array_equal(getattr(labels, name), places % 2)
    assert np.array_equal(source.load().train, data.train)


def test_pieces_stay_with_their_recording(folder):
    """Cut at two frames; every sample is there once, and no recording is in two splits."""
    source = WavFolder(str(folder), frame=3, scale=64.0, steps=2, validation_fraction=0.3)
    data, labels = source.load(), require_labels(source)
    assert data.image_shape == (2, 3)
    seen = []
    for name in ("train", "validation", "test"):
        x, mask = examples(data, name)
        first = levels(x[:, :1], 64).ravel()
        seen.append(set((first // 1000).tolist()))
        assert np.array_equal(getattr(labels, name), first // 1000 % 2)
        assert sorted(first % 1000) == sorted(6 * k for i in seen[-1] for k in range(-(-((6 + i) // 3) // 2)))
        assert mask.sum() == sum((6 + i) // 3 for i in seen[-1])
    assert sorted(map(len, seen)) == [1, 3, 6]
    assert set.union(*seen) == set(range(10))


def test_folders_of_splits(tmp_path):
    for name, numbers in (("train", (1, 2, 3)), ("valid", (4,)), ("test", (5, 6))):
        for i in numbers:
            save(tmp_path / name / f"{i}.wav", wav(1000 * i + np.arange(6)))
    source = WavFolder(str(tmp_path), frame=6, scale=64.0)
    assert [(levels(x[:, 0], 64) // 1000).tolist() for x in source.load()[:3]] == [[1, 2, 3], [4], [5, 6]]
    assert source.labels() is None


def test_files_that_cannot_be_used_are_all_named(folder):
    save(folder / "a" / "stereo.wav", wav([1, 2, 3, 4], channels=2))
    save(folder / "a" / "wide.wav", wav([1, 2, 3, 4], width=4))
    save(folder / "b" / "text.wav", b"RIFF")
    save(folder / "b" / "short.wav", wav([1, 2]))
    with pytest.raises(DataError, match=r"set: 4 of 14 recordings cannot be used:\n") as raised:
        WavFolder(str(folder), frame=3).load()
    for message in (
        "stereo.wav: got 2 channels of 16 bits, expected one of 16. Save it as a mono",
        "wide.wav: got 1 channels of 32 bits",
        "text.wav: cannot be read as a WAV file",
        "short.wav: has 2 samples, fewer than a frame of 3",
    ):
        assert message in str(raised.value)
    for name in ("a/stereo", "a/wide", "b/text", "b/short"):
        (folder / f"{name}.wav").unlink()
    save(folder / "b" / "other.wav", wav(np.arange(9), rate=44100))
    with pytest.raises(DataError, match=r"set: has recordings of 8000, 44100 samples a second; expected one"):
        WavFolder(str(folder), frame=3).load()
    (folder.parent / "bare").mkdir()
    with pytest.raises(DataError, match=r"bare: holds no recordings; expected files that end with .wav"):
        WavFolder(str(folder.parent / "bare")).load()


def test_truncated_and_corrupt_files(tmp_path):
    """Wherever a file is cut or a byte of it is changed, it is read or named, and nothing else is raised."""
    whole, random = wav(np.arange(40)), np.random.RandomState(0)
    for i in range(9):
        save(tmp_path / f"{i}.wav", whole)
    said = []
    for i in range(200):
        broken = bytearray(whole)
        if i % 2:
            broken = broken[: random.randint(len(whole))]
        else:
            broken[random.randint(44)] = random.randint(256)  # of the header
        (tmp_path / "9.wav").write_bytes(broken)
        try:
            WavFolder(str(tmp_path), frame=4).load()
        except DataError as error:
            said.append(str(error))
    assert len(said) > 60
    assert all("9.wav" in text or "samples a second" in text for text in said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": 0}, "frame: got 0"),
        ({"steps": 0}, "steps: got 0"),
        ({"scale": 0.0}, "scale: got 0.0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "got a sum of 1, expected less than 1"),
    ],
)
def test_wrong_fields(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(WavFolder(**{"path": "x", **options}))
