"""Folders of recordings: frames, pieces, splits and classes, and what is said of files that fail."""

import io
import wave

import numpy as np
import pytest
from fuzz.readers import riff

from genjax_models.config import validate
from genjax_models.data import WavFolder, examples, require_labels
from genjax_models.data.speech import read_wav
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


def test_recordings_for_training_alone(folder):
    """Validation and test are shares of them, and pieces of a recording stay together with its class."""
    folder.rename(folder.parent / "train")
    source = WavFolder(str(folder.parent), frame=3, scale=64.0, steps=2, validation_fraction=0.3)
    data, labels = source.load(), require_labels(source)
    recordings = [levels(x, 64)[:, 0] // 1000 for x in data[:3]]
    assert [len(set(i)) for i in recordings] == [6, 3, 1]
    assert set(np.concatenate(recordings)) == set(range(10))
    for i, y in zip(recordings, labels, strict=True):
        assert np.array_equal(i % 2, y)


@pytest.mark.parametrize("steps", [None, 2])
def test_recordings_of_equal_lengths(tmp_path, steps):
    for i in range(10):
        save(tmp_path / f"{i}.wav", wav(1000 * i + np.arange(12)))
    data = WavFolder(str(tmp_path), frame=3, scale=64.0, steps=steps).load()
    pieces = 1 if steps is None else 2
    assert [len(x) for x in data[:3]] == [8 * pieces, pieces, pieces]
    assert set(levels(np.concatenate(data[:3]), 64)[:, 0] // 1000) == set(range(10))


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


LEVELS = np.array([-(2**15), -300, 0, 1, 256, 2**14, 2**15 - 1])


def packed(kind, bits):
    """The levels in a kind of samples, of as many bits as it has."""
    if kind == 3:
        return (LEVELS / 2**15).astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return (LEVELS // 256 + 128).astype(np.uint8).tobytes()
    wide = (LEVELS.astype(np.int64) << (bits - 16)).astype("<i8")
    return wide.view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_every_kind_of_sample(kind, bits):
    """All are levels of 16 bits; what is said in the longer form of the header is the same."""
    expected = LEVELS // 256 * 256 if bits == 8 else LEVELS
    data = packed(kind, bits)
    for extensible in (False, True):
        samples, rate = read_wav(riff(data, kind, bits, 1, 44100, extensible), "x", "Mend it.")
        assert (samples.dtype, rate) == (np.int16, 44100)
        assert np.array_equal(samples, expected)


def test_channels_become_their_mean():
    two = np.array([[100, 300], [-32768, -32768], [7, -7], [32767, 32767]], "<i2")
    assert read_wav(wav(two, channels=2), "x", "")[0].tolist() == [200, -32768, 0, 32767]
    floats = np.array([[0.5, -0.25, 0.125], [1, 1, 1]], "<f4").tobytes()
    assert read_wav(riff(floats, 3, 32, 3), "x", "")[0].tolist() == [4096, 32767]  # 1 is beyond the last level


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (riff(np.array([0, np.nan], "<f8").tobytes(), 3, 64, 1), "holds samples from nan to nan"),
        (riff(np.array([0, -np.inf], "<f4").tobytes(), 3, 32, 1), "holds samples from -inf to 0"),
        (riff(bytes(16), 1, 64, 1), "samples of 64 bits in format 1"),
        (riff(bytes(16), 3, 16, 1), "samples of 16 bits in format 3"),
        (riff(bytes(16), 2, 16, 1, extensible=True), "samples of 16 bits in format 2"),
        (riff(bytes(16), 1, 16, 0), "0 channels, 0 bytes for a sample of each, 8000 of them a second"),
        (riff(bytes(16), 1, 16, 1, rate=0), "1 channels, 2 bytes for a sample of each, 0 of them a second"),
        (riff(bytes(16), 1, 24, 2)[:-1], "it ends within a sample"),
        (riff(bytes(16), 1, 16, 1)[:40], "it has no samples"),
        (riff(bytes(16), 1, 16, 1).replace(b"fmt ", b"else"), "its format is missing or cut short"),
    ],
)
def test_samples_that_are_refused(content, message):
    with pytest.raises(DataError, match=rf"x: .*{message}.*\. Mend it\."):
        read_wav(content, "x", "Mend it.")


def test_folders_of_splits(tmp_path):
    for name, numbers in (("train", (1, 2, 3)), ("valid", (4,)), ("test", (5, 6))):
        for i in numbers:
            save(tmp_path / name / f"{i}.wav", wav(1000 * i + np.arange(6)))
    source = WavFolder(str(tmp_path), frame=6, scale=64.0)
    assert [(levels(x[:, 0], 64) // 1000).tolist() for x in source.load()[:3]] == [[1, 2, 3], [4], [5, 6]]
    assert source.labels() is None


def test_files_that_cannot_be_used_are_all_named(folder):
    save(folder / "a" / "loud.wav", riff(np.array([0, -0.5, 1.5], "<f4").tobytes(), 3, 32, 1))
    save(folder / "a" / "law.wav", riff(bytes(8), 7, 8, 1))
    save(folder / "b" / "text.wav", b"RIFF")
    save(folder / "b" / "short.wav", wav([1, 2]))
    with pytest.raises(DataError, match=r"set: 4 of 14 recordings cannot be used:\n") as raised:
        WavFolder(str(folder), frame=3).load()
    for message in (
        "loud.wav: holds samples from -0.5 to 1.5, expected finite ones in [-1, 1]. Save it as a WAV file of integers",
        "law.wav: cannot be read as a WAV file (samples of 8 bits in format 7, expected integers of 8, 16, 24 or 32",
        "text.wav: cannot be read as a WAV file (it does not begin as one)",
        "short.wav: has 2 samples, fewer than a frame of 3",
    ):
        assert message in str(raised.value)
    for name in ("a/loud", "a/law", "b/text", "b/short"):
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
