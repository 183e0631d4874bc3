"""Labels stand in the order of the rows that sources load."""

import gzip
import struct

import numpy as np
import pytest
import scipy.io

from genjax_models.data import COIL20, MNIST, UCI, Arrays, Bars, Digits, Gaussians, PlantedDigits, Solids
from genjax_models.data import mnist as module
from genjax_models.data.dataset import require_labels, splits
from genjax_models.errors import DataError


def test_digits():
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    known = {
        (row / 16).astype(np.float32).tobytes(): label for row, label in zip(bunch.data, bunch.target, strict=True)
    }
    assert len(known) == 1797  # no image stands there twice
    labels = require_labels(Digits())
    for x, found in zip(splits(Digits("none").load()).values(), labels, strict=True):
        assert [known[row.tobytes()] for row in x] == found.tolist()
    for a, b in zip(labels, require_labels(PlantedDigits()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_drawn():
    source = Gaussians(modes=5, num_train=30, num_validation=20, num_test=10)
    for x, found in zip(splits(source.load()).values(), source.labels(), strict=True):
        nearest = np.linalg.norm(x[:, None] - source.centres(), axis=2).argmin(axis=1)
        np.testing.assert_array_equal(found, nearest)
    solids = Solids(size=4, num_train=20, num_validation=6, num_test=5)
    data, labels = solids.load(), solids.labels()
    for context, found in zip((data.train_context, data.validation_context, data.test_context), labels, strict=True):
        np.testing.assert_array_equal(found, context[:, :4].argmax(axis=1))


def test_coil20(tmp_path):
    things = np.repeat(np.arange(20), 72)
    fea = np.repeat(things[:, None] / 20, 1024, axis=1)
    scipy.io.savemat(tmp_path / "COIL20.mat", {"fea": fea, "gnd": (things + 1)[:, None].astype(np.uint8)})
    source = COIL20(train_every=4)
    for x, found in zip(splits(source.load(str(tmp_path))).values(), source.labels(), strict=True):
        np.testing.assert_array_equal(np.rint(x[:, 0] * 20), found)


def images(number):
    return struct.pack(">4I", 0x0803, number, 28, 28) + bytes(number * 784)


def labelled(values):
    return struct.pack(">2I", 0x0801, len(values)) + bytes(values)


def test_mnist(tmp_path):
    (tmp_path / "mnist").mkdir()
    values = [i % 10 for i in range(10_003)]
    (tmp_path / module.TRAIN).write_bytes(images(10_003))
    (tmp_path / module.TEST).write_bytes(images(2))
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz, t10k-labels"):
        require_labels(MNIST(), str(tmp_path))
    (tmp_path / module.TRAIN_LABELS).write_bytes(labelled(values))
    (tmp_path / "mnist" / f"{module.TEST_LABELS}.gz").write_bytes(gzip.compress(labelled([7, 3]), 1))
    found = require_labels(MNIST(), str(tmp_path))
    assert [x.tolist() for x in found] == [values[:3], values[3:], [7, 3]]
    for content, message in (
        (labelled(values[:-1]), "got 10002 labels for the 10003 images of .*train-images"),
        (labelled([10, *values[1:]]), "got the label 10, expected digits from 0 to 9"),
        (labelled(values)[:-2], r"got 10001 bytes of labels, expected 10003 for the 10003 labels of its header"),
        (
            images(1),
            r"got the magic number 0x00000803, expected 0x00000801 .*Put the file of labels here, not of images",
        ),
        (b"\0\0", "got 2 bytes, expected an idx header of 8 bytes and labels"),
    ):
        (tmp_path / module.TRAIN_LABELS).write_bytes(content)
        with pytest.raises(DataError, match=message):
            require_labels(MNIST(), str(tmp_path))


def test_mnist_fetches_labels_when_they_are_asked_for(tmp_path, monkeypatch):
    mirror, folder = tmp_path / "mirror", tmp_path / "data"
    mirror.mkdir()
    (folder / "mnist").mkdir(parents=True)
    (folder / module.TRAIN).write_bytes(images(10_001))
    (folder / module.TEST).write_bytes(images(1))
    for name, values in ((module.TRAIN_LABELS, [1] * 10_001), (module.TEST_LABELS, [2])):
        (mirror / f"{name}.gz").write_bytes(gzip.compress(labelled(values), 1))
    source = MNIST(download=mirror.as_uri())
    with pytest.raises(DataError, match=r"with SHA-256 .*expected 65a50cbbf"):
        source.labels(str(folder))
    source.load(str(folder))
    assert list((folder / "mnist").iterdir()) == []


def test_arrays(tmp_path):
    path, x = tmp_path / "file.npz", np.random.RandomState(0).rand(6, 4)
    splits = {"train": x[:3], "valid": x[3:5], "test": x[5:]}

    def labels(**arrays):
        np.savez(path, **{key: np.asarray(value) for key, value in {**splits, **arrays}.items()})
        return Arrays(str(path)).labels()

    assert labels() is None
    for name in ("valid_labels", "validation_labels"):
        found = labels(**{"train_labels": [2, 0, 1], name: [1, 1], "test_labels": [0]})
        assert [x.tolist() for x in found] == [[2, 0, 1], [1, 1], [0]]
    with pytest.raises(DataError, match="has train_labels, labels of some splits alone"):
        labels(train_labels=[2, 0, 1])
    for wrong in ([2, 0], [2.0, 0, 1], [2, -1, 0]):
        with pytest.raises(
            DataError, match=r"labels of train: got shape .* expected integers from 0 up of shape \(3,\)"
        ):
            labels(train_labels=wrong, valid_labels=[1, 1], test_labels=[0])
    np.save(tmp_path / "file.npy", x)
    assert Arrays(str(tmp_path / "file.npy")).labels() is None


def test_what_has_none():
    for source in (Bars(), UCI("dna")):
        with pytest.raises(DataError, match=f"{type(source).__name__} has no labels; use data with labels: Digits"):
            require_labels(source)
