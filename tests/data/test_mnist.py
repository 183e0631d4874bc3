import gzip
import hashlib
import struct

import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import MNIST
from genjax_models.data import mnist as module
from genjax_models.data.mnist import read_images
from genjax_models.errors import ConfigError, DataError


def idx(images, magic=0x0803):
    return struct.pack(">4I", magic, *images.shape) + images.tobytes()


IMAGES = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2)
TRAIN = np.zeros((10_003, 28, 28), np.uint8)
TRAIN[:, 0, 0] = np.arange(10_003) % 256
TRAIN[2] = 255
TEST = np.full((2, 28, 28), 51, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with 10,003 and 2 images: one file plain in the folder, one gzipped in the subfolder."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(TRAIN))
    (folder / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(TEST), 1))
    return str(folder)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_images(tmp_path, pack):
    (tmp_path / "file").write_bytes(pack(idx(IMAGES)))
    assert np.array_equal(read_images(tmp_path / "file"), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file: got 0 bytes, expected an idx header of 16 bytes"),
        (idx(IMAGES)[:10], "file: got 10 bytes, expected an idx header of 16 bytes"),
        (idx(IMAGES, 0x0801), "file: got the magic number 0x00000801, expected 0x00000803 .*not of labels"),
        (idx(IMAGES)[:-1], "file: got 11 bytes of pixels, expected 12 for the 2 images of 3x2 .*truncated"),
        (idx(IMAGES) + b"ab", "file: got 14 bytes of pixels, expected 12 for the 2 images .*Fetch the file again"),
        (gzip.compress(idx(IMAGES)[:-1], mtime=0), "got 11 bytes of pixels, expected 12"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-10], "file: expected a whole gzip file, found a broken one"),
        (
            gzip.compress(idx(IMAGES), mtime=0)[:-8] + bytes(8),
            "file: expected a whole gzip file, found a broken one .*CRC",
        ),
        (gzip.compress(idx(IMAGES), mtime=0) + b"ab", "file: expected a whole gzip file, found a broken one"),
    ],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_images(tmp_path / "file")


def test_splits(folder):
    data = MNIST("none").load(folder)
    assert [x.shape for x in data[:3]] == [(3, 784), (10_000, 784), (2, 784)]
    assert data.support == "unit"
    assert data.image_shape == (28, 28)
    assert np.array_equal(data.train[:, 0], np.float32([0, 1 / 255, 1]))
    assert np.all(data.train[2] == 1)
    assert np.all(data.test == np.float32(0.2))
    assert np.array_equal(data.validation[:, 0], (TRAIN[3:, 0, 0] / 255).astype(np.float32))


def test_binarization(folder, monkeypatch):
    monkeypatch.setenv("GENJAX_MODELS_DATA", folder)
    data = MNIST().load()
    assert data.dynamic
    assert data.train.dtype == np.float32
    assert data.test.dtype == np.uint8
    assert 0.15 < data.test.mean() < 0.25
    assert MNIST("threshold").load(folder).test.max() == 0
    assert MNIST("fixed").load(folder).train.dtype == np.uint8


def test_missing(tmp_path):
    with pytest.raises(DataError) as raised:
        MNIST().load(str(tmp_path))
    text = str(raised.value)
    assert "train-images-idx3-ubyte or train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte" in text
    assert str(tmp_path / "mnist") in text
    assert "`download`" in text
    assert "--data-dir" in text


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (IMAGES, TEST, r"train-images-idx3-ubyte: got images of shape \(3, 2\), expected \(28, 28\).*source `arrays`"),
        (TRAIN[:10_000], TEST, r"train-images-idx3-ubyte: got 10000 images, expected at least 10001.*validation split"),
        (TRAIN, TEST[:0], r"t10k-images-idx3-ubyte: got 0 images, expected at least 1"),
    ],
)
def test_other_images(tmp_path, train, test, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(train))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(test))
    with pytest.raises(DataError, match=message):
        MNIST().load(str(tmp_path))


def test_download(folder, tmp_path, monkeypatch):
    mirror, target = tmp_path / "mirror", tmp_path / "data"
    mirror.mkdir()
    for name, images in {module.TRAIN: TRAIN, module.TEST: TEST}.items():
        (mirror / f"{name}.gz").write_bytes(gzip.compress(idx(images), 1))
    config = MNIST("none", download=mirror.as_uri() + "/")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: got \d+ bytes with SHA-256 .*expected ba891046e"):
        config.load(str(target))
    assert list((target / "mnist").iterdir()) == []
    digests = {name: hashlib.sha256(idx(x)).hexdigest() for name, x in {module.TRAIN: TRAIN, module.TEST: TEST}.items()}
    monkeypatch.setattr(module, "SHA256", digests)
    data = config.load(str(target))
    assert len(data.train) == 3
    assert sorted(p.name for p in (target / "mnist").iterdir()) == [module.TEST, module.TRAIN]
    # What is there is not asked for again.
    nowhere = MNIST("none", download=(tmp_path / "nowhere").as_uri())
    assert np.array_equal(nowhere.load(str(target)).train, data.train)
    assert len(nowhere.load(folder).train) == 3
    with pytest.raises(DataError, match=r"the download to .* failed"):
        nowhere.load(str(tmp_path / "empty"))


def test_an_empty_address():
    with pytest.raises(ConfigError, match=r"download: got an empty string"):
        validate(MNIST(download=""))
