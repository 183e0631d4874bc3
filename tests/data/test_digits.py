import gzip
import importlib.machinery
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from genjax_models.data import Digits
from genjax_models.errors import ConfigError, DataError


def test_splits():
    pytest.importorskip("sklearn")
    data = Digits().load()
    assert [x.shape for x in data[:3]] == [(1097, 64), (200, 64), (500, 64)]
    assert data.support == "binary"
    assert data.image_shape == (8, 8)
    assert data.train.dtype == np.uint8
    grey = Digits("none").load()
    assert grey.support == "unit"
    assert grey.train.max() == 1
    assert grey.train.min() == 0
    assert np.array_equal(data.test, grey.test > 0.5)
    assert Digits("dynamic").load().dynamic


def test_are_the_digits_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    expected = datasets.load_digits().data / 16
    found = np.concatenate(Digits("none").load()[:3])
    order = np.random.RandomState(0).permutation(1797)
    assert np.array_equal(found, expected[order].astype(np.float32))


def test_scikit_learn_is_not_imported():
    pytest.importorskip("sklearn")
    code = "import sys; from genjax_models.data import Digits; Digits().load(); print('sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def place(monkeypatch, folder, content=None):
    """Make `find_spec` say that scikit-learn lies in `folder`, whose digits file has `content`."""
    if content is not None:
        (folder / "datasets" / "data").mkdir(parents=True)
        (folder / "datasets" / "data" / "digits.csv.gz").write_bytes(content)
    spec = importlib.machinery.ModuleSpec("sklearn", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


def test_falls_back_to_the_import(monkeypatch, tmp_path):
    pytest.importorskip("sklearn.datasets")
    expected = Digits().load()
    place(monkeypatch, tmp_path)
    found = Digits().load()
    assert all(np.array_equal(a, b) for a, b in zip(expected[:3], found[:3], strict=True))


def test_a_broken_package(monkeypatch, tmp_path):
    place(monkeypatch, tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"scikit-learn, which is broken .*Reinstall it"):
        Digits().load()


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"no package sklearn was found. Install scikit-learn"):
        Digits().load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3", r"digits.csv.gz: expected gzipped numbers .*Reinstall scikit-learn"),
        (gzip.compress(b"a,b\n", mtime=0), r"digits.csv.gz: expected gzipped numbers"),
        (gzip.compress(b"1,2\n3,4\n", mtime=0), r"got a table of shape \(2, 2\), expected 1797 digits of 64 pixels"),
    ],
)
def test_a_broken_file(monkeypatch, tmp_path, content, message):
    place(monkeypatch, tmp_path, content)
    with pytest.raises(DataError, match=message):
        Digits().load()


def test_a_wrong_field():
    with pytest.raises(ConfigError, match=r"binarization: got 'dynamc', expected one of"):
        Digits("dynamc").load()
