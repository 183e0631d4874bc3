import gzip

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from genjax_models.data import BinarizedMNIST
from genjax_models.data.binarized_mnist import read
from genjax_models.errors import DataError

ROWS = np.random.RandomState(0).randint(0, 2, (3, 784)).astype(np.uint8)


def text(rows, space=" ", end="\n"):
    return "".join(space.join(map(str, row)) + end for row in rows).encode()


@pytest.mark.parametrize(
    "content",
    [text(ROWS), text(ROWS)[:-1], text(ROWS, end=" \r\n"), text(ROWS, "\t") + b"\n\n", b"\n  " + text(ROWS, "  ")],
)
def test_text(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    found = read(tmp_path / "file")
    assert found.dtype == np.uint8
    assert np.array_equal(found, ROWS)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, bool])
@pytest.mark.parametrize("compressed", [False, True])
def test_matlab(tmp_path, dtype, compressed):
    values = {"other": np.eye(2), "X": ROWS.astype(dtype)}
    scipy.io.savemat(tmp_path / "file", values, appendmat=False, do_compression=compressed)
    found = read(tmp_path / "file")
    assert found.dtype == np.uint8
    assert np.array_equal(found, ROWS)


def spoilt(value, column=700):
    rows = ROWS.astype(object)
    rows[1, column] = value
    return text(rows)


joined = text(ROWS).split(b"\n")
joined[1] = joined[1].replace(b" ", b"", 1) + b" 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"file: has no rows, expected images of 784 values"),
        (b" \n\n", r"file: has no rows"),
        (text(ROWS[:, :783]), r"file, line 1: got 783 values, expected 784. Fetch the file again, whole"),
        (text(ROWS) + b"0 1\n", r"file, line 4: got 2 values, expected 784"),
        (spoilt(2), r"file, line 2: got the value '2', expected 0 or 1"),
        (spoilt("0.5"), r"file, line 2: got the value '0.5', expected 0 or 1. .*source `arrays`"),
        (spoilt("x", 783), r"file, line 2: got the value 'x'"),
        (b"\n".join(joined), r"file, line 2: got the value '\d\d', expected 0 or 1"),
        (b"<html>", r"file: starts with b'<html>', expected rows of 0 and 1 as text, or a MATLAB v5 file"),
        (gzip.compress(text(ROWS), mtime=0), r"file: starts with b'\\x1f.*again, uncompressed"),
        (b"MATLAB 7.3 MAT-file, Platform", r"file: is a MATLAB 7.3 \(HDF5\) file.*Save it with -v7"),
        (b"MATLAB 5.0 MAT-file" + bytes(300), r"file: expected a MATLAB v5 file, found a broken one"),
    ],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "file")


CELL = np.empty((1, 2), object)
CELL[0, :] = [ROWS, "text"]
WRONG = ROWS.astype(float)
WRONG[1, 5:7] = 0.5, np.nan


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Y": ROWS}, r"file: has no variable X, only Y. Save the images as X"),
        ({"X": ROWS.T}, r"file: X has shape \(784, 3\), expected \[N, 784\]. Save one image a row"),
        ({"X": ROWS[:0]}, r"file: has no rows"),
        ({"X": CELL}, r"file: X is an array of object, expected a full array of numbers"),
        ({"X": scipy.sparse.csc_matrix(ROWS.astype(float))}, r"file: X is a sparse matrix, expected a full array"),
        ({"X": {"a": 1.0}}, r"file: X is a structure, expected a full array"),
        ({"X": WRONG}, r"file: 2 of 2352 values of X are neither 0 nor 1, the first 0.5 at index \(1, 5\)"),
    ],
)
def test_other_matlab_files(tmp_path, values, message):
    scipy.io.savemat(tmp_path / "file", values, appendmat=False)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "file")


def test_truncated_matlab_file(tmp_path):
    scipy.io.savemat(tmp_path / "file", {"X": ROWS}, appendmat=False, do_compression=True)
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"file: expected a MATLAB v5 file, found a broken one .*Fetch it again"):
        read(tmp_path / "file")


def test_load(tmp_path):
    (tmp_path / "binarized_mnist").mkdir()
    (tmp_path / "binarized_mnist_train.amat").write_bytes(text(ROWS))
    (tmp_path / "binarized_mnist" / "binarized_mnist_valid.amat").write_bytes(text(ROWS[:2]))
    with pytest.raises(DataError, match=r"(?s)not found: binarized_mnist_test.amat.*Larochelle and Murray"):
        BinarizedMNIST().load(str(tmp_path))
    scipy.io.savemat(tmp_path / "binarized_mnist_test.amat", {"X": ROWS[1:]}, appendmat=False)
    data = BinarizedMNIST().load(str(tmp_path))
    assert np.array_equal(data.train, ROWS)
    assert np.array_equal(data.validation, ROWS[:2])
    assert np.array_equal(data.test, ROWS[1:])
    assert data.support == "binary"
    assert data.image_shape == (28, 28)
    assert not data.dynamic
