"""Tables from files: what is read of each kind, how it is split and scaled, and what is said of broken ones."""

import io
import math
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import Arrays, Files, require_labels
from genjax_models.errors import ConfigError, DataError

X = np.random.RandomState(0).randint(-40, 90, (30, 4)) / 8  # eighths are exact in text and in float32
CSV = "\n".join(",".join(map(str, row)) for row in X.tolist()) + "\n"


def rows(data):
    return np.concatenate(data[:3])


def as_csv(tmp_path, text, name="x.csv", **options):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Files(str(path), **options)


def test_every_kind_of_file_has_the_same_rows(tmp_path):
    """A table comes out as the arrays source has it, value for value and row for row."""
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", table=X, other=X[:3])
    expected = Arrays(str(tmp_path / "x.npy")).load()
    assert [x.shape for x in expected[:3]] == [(24, 4), (3, 4), (3, 4)]
    for source in (
        Files(str(tmp_path / "x.npy")),
        Files(str(tmp_path / "x.npz"), array="table"),
        as_csv(tmp_path, CSV),
        as_csv(
            tmp_path, "\ufeffa,b,c,d\r\n" + CSV.replace("\n", "\r\n\r\n"), "sheet.csv"
        ),  # as spreadsheets write them
        as_csv(tmp_path, CSV.replace(",", " ; "), "semicolon.csv", delimiter="semicolon"),
        as_csv(tmp_path, "1,2,3,4\n" + CSV, "years.csv", header=True),
    ):
        data = source.load()
        assert data.support == "real"
        assert all(np.array_equal(a, b) for a, b in zip(data[:3], expected[:3], strict=True))


def test_whether_there_is_a_header_is_seen(tmp_path):
    for text, header, first in (("1,2\n3,4\n5,6\n", None, 1), ("1,2\n3,4\n5,6\n7,8\n", True, 3), (" ,2\n", None, None)):
        source = as_csv(tmp_path, text, header=header)
        assert np.array_equal(source.stored()["all"][0, 0], math.nan if first is None else first, equal_nan=True)
    with pytest.raises(DataError, match=r"x.csv: row 0 \(line 1\), column 1: got 'b', expected a number"):
        as_csv(tmp_path, "1,b\n3,4\n", header=False).load()


def test_a_tsv_file_has_tabs(tmp_path):
    text = "a\tb\n1\t2\n3\t\n"
    for name, options in (("x.tsv", {}), ("X.TSV", {}), ("x.csv", {"delimiter": "tab"})):
        rows = as_csv(tmp_path, text, name, **options).stored()["all"]
        assert np.array_equal(rows, [[1, 2], [3, math.nan]], equal_nan=True)
    rows = as_csv(tmp_path, text.replace("\t", ","), "x.tsv", delimiter="comma").stored()["all"]
    assert np.array_equal(rows, [[1, 2], [3, math.nan]], equal_nan=True)


def test_one_file_for_each_split(tmp_path):
    np.save(tmp_path / "train.npy", X[:20])
    np.savez(tmp_path / "test.npz", a=X[25:], b=X)
    as_csv(tmp_path, "a,b,c,d\n" + "\n".join(",".join(map(str, row)) for row in X[20:25]), "held.csv")
    files = {"validation": "held.csv", "test": "test.npy"}
    np.save(tmp_path / "test.npy", X[25:])
    data = Files("train.npy", **files).load(str(tmp_path))
    assert all(np.array_equal(a, b) for a, b in zip(data[:3], (X[:20], X[20:25], X[25:]), strict=True))
    np.savez(tmp_path / "whole.npz", train=X, valid=X, test=X)
    assert len(Files("whole.npz").load(str(tmp_path)).train) == 30
    np.save(tmp_path / "test.npy", X[:, :3])
    with pytest.raises(DataError, match=r"train.npy: the splits have examples of different shapes, .* test \(3,\)"):
        Files("train.npy", **files).load(str(tmp_path))
    with pytest.raises(DataError, match=r"(?s)not found: none.csv.*Check the field `validation`"):
        Files("train.npy", validation="none.csv", test="test.npy").load(str(tmp_path))
    with pytest.raises(DataError, match=r"whole.npz: has splits of its own, but other files are given for splits"):
        Files("whole.npz", validation="test.npy", test="test.npy").load(str(tmp_path))


def test_scaling_is_by_the_training_split(tmp_path):
    """Each column by its own range there; beyond it 0 and 1, and 0 for what is constant there."""
    parts = {
        "train": np.array([[0, 5, 7], [10, 5, 9], [5, 5, 8.0]]),
        "valid": np.array([[-3, 5, 8.5], [2.5, 6, 7]]),
        "test": np.array([[20, 4, 9.0]]),
    }
    np.savez(tmp_path / "x.npz", **parts)
    data = Files(str(tmp_path / "x.npz"), scaling="unit").load()
    assert (data.support, data.train.dtype) == ("unit", np.float32)
    assert np.array_equal(data.train, [[0, 0, 0], [1, 0, 1], [0.5, 0, 0.5]])
    assert np.array_equal(data.validation, [[0, 0, 0.75], [0.25, 0, 0]])
    assert np.array_equal(data.test, [[1, 0, 1]])
    # Images have one range, so that grey levels stay what they are to each other: here 0, 1 and 4 of 4.
    parts = {name: x[:, :2] % 5 for name, x in parts.items()}
    parts["train"][0] = [1, 4]
    np.savez(tmp_path / "x.npz", **parts)
    data = Files(str(tmp_path / "x.npz"), scaling="unit", image_shape=(1, 2), levels=5).load()
    assert (data.image_shape, data.levels) == ((1, 2), 5)
    assert np.array_equal(data.train, [[0.25, 1], [0, 0], [0, 0]])
    # A table of one value is all constant.
    np.savez(tmp_path / "x.npz", train=X * 0 + 3, valid=X, test=X)
    assert not rows(Files(str(tmp_path / "x.npz"), scaling="unit").load()).any()


def test_standard_scaling_is_by_the_training_split(tmp_path):
    """Mean 0 and deviation 1 there, by column; of images by one; a constant column loses its value alone."""
    random = np.random.RandomState(3)
    parts = {
        name: random.randn(number, 3) * [1e-3, 40, 0] + [7, -1e4, 0.1]
        for name, number in (("train", 30), ("valid", 5), ("test", 8))
    }
    np.savez(tmp_path / "x.npz", **parts)
    source = Files(str(tmp_path / "x.npz"), scaling="standard")
    data, scale = source.load(), source.scale()
    assert (data.support, data.train.dtype) == ("real", np.float32)
    np.testing.assert_allclose(data.train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.std(0), [1, 1, 0], rtol=1e-5)
    mean, deviation = parts["train"].mean(0), parts["train"].std(0)
    np.testing.assert_allclose(data.test[:, :2], ((parts["test"] - mean) / deviation)[:, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.test[:, 2], 0)
    np.testing.assert_allclose(scale.log_volume, np.log(deviation[:2]).sum(), rtol=1e-10)
    for stored, x in zip(parts.values(), data[:3], strict=True):
        np.testing.assert_allclose(scale.undo(x), stored, rtol=1e-6)
    # By one mean and deviation.
    image = Files(str(tmp_path / "x.npz"), scaling="standard", image_shape=(1, 3))
    x = parts["train"]
    np.testing.assert_allclose(image.load().train, (x - x.mean()) / x.std(), rtol=1e-5)
    np.testing.assert_allclose(image.scale().log_volume, 3 * np.log(x.std()), rtol=1e-10)


@pytest.mark.parametrize("scaling", ["none", "unit", "standard"])
def test_a_scale_is_the_way_back(tmp_path, scaling):
    """Of one file, whose split it takes; the density of stored values is that of scaled ones by `log_volume`."""
    x = np.random.RandomState(4).randn(50, 4) * [1, 10, 100, 0] + 5
    np.save(tmp_path / "x.npy", x)
    source = Files(str(tmp_path / "x.npy"), scaling=scaling)
    scale, data = source.scale(), source.load()
    order = np.random.RandomState(0).permutation(50)
    np.testing.assert_allclose(scale.undo(data.train), x[order[:40]], rtol=1e-5, atol=1e-4)
    assert scale.shift.shape == scale.divisor.shape == (4,)
    np.testing.assert_allclose(scale.log_volume, np.log(scale.divisor).sum())
    assert scaling != "none" or scale.log_volume == 0


def test_tiny_numbers_are_not_divided_by_zero(tmp_path):
    """Whose squares are 0 in float64."""
    x = np.ones((20, 1)) * 1e-30
    x[::2] = 3e-200
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "large.npy", x * 1e30)
    small, large = (Files(str(tmp_path / name), scaling="standard").load() for name in ("x.npy", "large.npy"))
    np.testing.assert_allclose(small.train, large.train, rtol=1e-5)
    np.save(tmp_path / "x.npy", np.where(x > 1e-100, 0, x))
    np.testing.assert_allclose(Files(str(tmp_path / "x.npy"), scaling="standard").load().train, 0, atol=1e-30)


def test_noise_is_that_of_other_sources(tmp_path):
    """A fixed permutation and fixed draws: equal to those of the arrays source on the same intensities."""
    grey = np.random.RandomState(1).randint(0, 5, (30, 6)) / 4
    np.save(tmp_path / "x.npy", grey)
    for noise in (
        {"binarization": "threshold"},
        {"binarization": "fixed"},
        {"binarization": "dynamic"},
        {"dequantization": "fixed", "levels": 5},
        {"dequantization": "dynamic", "levels": 5},
    ):
        ours = Files(str(tmp_path / "x.npy"), scaling="unit", **noise)
        data, expected = ours.load(), Arrays(str(tmp_path / "x.npy"), **noise).load()
        assert (data.dynamic, data.support, data.levels) == (ours.dynamic, expected.support, expected.levels)
        assert all(np.array_equal(a, b) for a, b in zip(data[:3], expected[:3], strict=True))
    with pytest.raises(DataError, match=r"x.csv: \d+ of 120 values are outside \[0, 1\].*binarization 'fixed'"):
        as_csv(tmp_path, CSV, binarization="fixed").load()


def test_codes_are_no_levels_before_they_are_scaled(tmp_path):
    """Levels are refused for the codes, with what makes levels of these, which does."""
    codes = np.random.RandomState(1).randint(0, 5, (30, 6))
    np.save(tmp_path / "x.npy", codes)
    path = str(tmp_path / "x.npy")
    wrong = r"x.npy: levels: got 5, of values k / 4 in \[0, 1\], but the data hold 0 to 4; "
    with pytest.raises(DataError, match=wrong + "set scaling to 'unit', if .*, or divide them by 4 before saving"):
        Files(path, levels=5).load()
    with pytest.raises(DataError, match=wrong + "divide them by 4 before saving, or leave levels None"):
        Arrays(path, levels=5).load()
    scaled = Files(path, levels=5, scaling="unit").load()
    assert scaled.levels == 5
    np.save(tmp_path / "x.npy", codes / 4)
    divided = Arrays(path, levels=5).load()
    assert all(np.array_equal(a, b) for a, b in zip(scaled[:3], divided[:3], strict=True))


def test_a_column_of_labels(tmp_path):
    """It is left out of the examples, and goes through the same permutation."""
    text = "a,kind,b\n" + "".join(f"{i},{('cat', 'ant', 'bee')[i % 3]},{i + 0.5}\n" for i in range(20))
    source = as_csv(tmp_path, text, label="kind")
    for examples, labels in zip(source.load()[:3], require_labels(source), strict=True):
        assert examples.shape == (len(labels), 2)
        assert labels.tolist() == [(2, 0, 1)[int(i) % 3] for i in examples[:, 0]]
    # A spreadsheet's mark at the start is no part of the first column's name.
    source = as_csv(tmp_path, "\ufeffkind,a\n" + "".join(f"{i % 2},{i}\n" for i in range(20)), label="kind")
    assert np.array_equal(require_labels(source).test, source.load().test[:, 0] % 2)
    # Integers stay what they are, and a file without a header names the column by its number.
    source = as_csv(tmp_path, "".join(f"{i},{i % 4 + 5}\n" for i in range(20)), label="1")
    assert np.array_equal(require_labels(source).train, source.load().train[:, 0] % 4 + 5)
    assert as_csv(tmp_path, CSV).labels() is None
    np.savez(tmp_path / "x.npz", train=X, valid=X[:2], test=X[:1], train_labels=np.arange(30) % 2, valid_labels=[1, 0],
             test_labels=[1])  # fmt: skip
    assert require_labels(Files(str(tmp_path / "x.npz"))).validation.tolist() == [1, 0]


@pytest.mark.parametrize("held", ["validation", "test"])
def test_a_file_of_one_held_out_split(tmp_path, held):
    """The other one is a share of the training split, with its labels."""
    for name, rows in (("train", range(20)), ("held", range(20, 25))):
        (tmp_path / f"{name}.csv").write_text("a,kind\n" + "".join(f"{i},{i % 3}\n" for i in rows))
    source = Files(str(tmp_path / "train.csv"), label="kind", **{held: str(tmp_path / "held.csv")})
    data, labels = source.load(), require_labels(source)
    assert getattr(data, held)[:, 0].tolist() == [20, 21, 22, 23, 24]
    assert sorted(np.concatenate(data[:3])[:, 0].tolist()) == list(range(25))
    assert [len(x) for x in data[:3]] == ([18, 5, 2] if held == "validation" else [18, 2, 5])
    for x, y in zip(data[:3], labels, strict=True):
        assert np.array_equal(x[:, 0] % 3, y)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "x.csv: is empty; expected rows of numbers"),
        ("\n \n", {}, "x.csv: is empty"),
        ("a,b\n", {}, "x.csv: has a header and no rows"),
        ("a,b\n1,2\n3\n", {}, r"x.csv: row 1 \(line 3\): has 1 cells, expected 2 as in the first line"),
        ("a,b\n1,2\n3,4,5\n", {}, r"x.csv: row 1 \(line 3\): has 3 cells, expected 2"),
        ("age,b\n1,2\n\n3,x y\n", {}, r"row 1 \(line 4\), column 1 \('b'\): got 'x y', expected a number; encode it"),
        ("a,b,c\n1,2,3\nu,2,3\n", {"label": "b"}, r"row 1 \(line 3\), column 0 \('a'\): got 'u'"),
        ("a,b,c\n1,2,3\n1,2,u\n", {"label": "b"}, r"row 1 \(line 3\), column 2 \('c'\): got 'u'"),
        ("1;2\n3;4\n", {}, r"column 0 \('1;2'\): got '3;4', .* The delimiter 'semicolon' splits the rows into 2 cells"),
        ("1 2\n3 4\n", {}, r"column 0 \('1 2'\): got '3 4', .* Give the `delimiter` if this is more than one cell\.$"),
        ("a,b\n1,2\n3,N/A\n", {}, r"row 1 \(line 3\), column 1 \('b'\): got 'N/A', .*; leave the cell empty where"),
        ("1,null\n3,4\n", {}, r"row 0 \(line 1\), column 1: got 'null', .* fill it in or remove the row"),
        ("1,2\n3, ?\n", {}, r"row 1 \(line 2\), column 1: got ' \?', expected a number; leave the cell empty"),
        (
            "a;b;c\n1,7;-0,1;0,4\n1,5;0,9;1,4\n",
            {},
            r"line 2\): has 4 cells, .* The delimiter 'semicolon' splits .* 3 cells each; .* such as '1,7' must",
        ),
        (
            "a;b\n1,7;2\n",
            {"delimiter": "semicolon"},
            r"column 0 \('a'\): got '1,7', .*; write it with a decimal point, and with nothing between thousands\.$",
        ),
        (
            "# of mine\na,b\n1,2\n",
            {},
            r"has 2 cells, expected 1 as in the first line\. Lines that begin with '#' are no",
        ),
        (
            "a,b\n1,2\n# more\n3,4\n",
            {},
            r"row 1 \(line 3\): has 1 cells, .* Lines that begin with '#' .* remove them\.$",
        ),
        ("# of mine\na;b\n1;2\n", {}, r"got 'a;b', .* remove them\. The delimiter 'semicolon' splits the rows into 2"),
        ("a,b\n1,2\n3,\n", {"label": "b"}, r"row 1 \(line 3\): has no label in column 'b'"),
        ("a,kind\n1,2\n", {"label": "kid"}, r"label: has no column 'kid'. Did you mean 'kind'\?"),
        ("1,2\n1,2\n", {"label": "kid"}, r"label: got 'kid', expected a column by its number, from 0 to 1"),
        ("a\n1\n", {"label": "a"}, r"has the labels 'a' and no other column"),
        ('a,b\n1,"2\n', {}, r"x.csv: cannot be read \(unexpected end of data\)"),
        (b"a,b\n1,\xff\n", {}, r"x.csv: cannot be read \('utf-8' codec .*expected a file of text in UTF-8"),
        (b"a,b\n1,\x00\n", {}, r"x.csv: (cannot be read|row 0 )"),
        ("1,2\n" * 20 + "3,nan\n,5\n", {}, r"x.csv: 2 of 44 values are NaN .* the first nan at index \(20, 1\)"),
        ("1,2\n" * 20 + "3,1e999\n", {}, r"x.csv: 1 of 42 values are NaN or infinite .* the first inf at index"),
        ("1,2\n3,4\n", {}, r"x.csv: 2 rows cannot be split"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, options, message):
    source = as_csv(tmp_path, text, **options)
    with pytest.raises(DataError, match=message):
        source.load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ";"}, "delimiter: got ';', expected one of 'comma', 'semicolon', 'tab'"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "got a sum of 1, expected less than 1"),
        ({"image_shape": (6,)}, r"image_shape: got \(6,\)"),
        ({"dequantization": "fixed"}, "levels: got None with dequantization 'fixed'"),
        ({"scaling": "byte"}, "scaling: got 'byte', expected one of 'none', 'unit', 'standard'"),
    ],
)
def test_wrong_fields(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(Files(**{"path": "x.csv", **options}))


def test_fields_that_do_not_fit_the_file(tmp_path):
    np.savez(tmp_path / "x.npz", a=X)
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    for name, options, message in (
        ("x.xlsx", {}, r"x.xlsx: expected a file whose name ends with .npy, .npz, .csv, .tsv, .parquet"),
        ("x.npz", {"array": "b"}, r"x.npz: array: has no 'b'"),
        ("x.npz", {"label": "a"}, r"x.npz: label: got 'a', but its columns have no names"),
        ("x.csv", {"array": "a"}, r"x.csv: array: got 'a', but only .npz files"),
    ):
        as_csv(tmp_path, CSV)
        with pytest.raises(DataError, match=message):
            Files(str(tmp_path / name), **options).load()


def header(shape, dtype="<f8", version=1):
    """A .npy file's header alone."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + struct.pack("<BBH", version, 0, len(text)) + text.encode()


def test_a_header_takes_no_memory_that_the_file_does_not_have(tmp_path):
    path = tmp_path / "x.npy"
    for source in (Files, Arrays):
        path.write_bytes(header((2**40, 2**20)) + bytes(64))
        with pytest.raises(DataError, match=r"x.npy: cannot be read \(its header says float64 .* and 64 are there\)"):
            source(str(path)).load()
    path.write_bytes(header((2, 4), version=3) + bytes(64))
    with pytest.raises(DataError, match=r"x.npy: has version \(3, 0\) of the format, expected 1 or 2"):
        Files(str(path)).load()
    archive = tmp_path / "x.npz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.npy", header((2**40, 2**20)) + bytes(64))
    with pytest.raises(DataError, match=r"x.npz, a: cannot be read \(its header says float64"):
        Files(str(archive)).load()
    # The directory of the archive may claim more than deflate can stand for.
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", header((8, 4)) + bytes(256))
    info = zipfile.ZipFile(content).getinfo("a.npy")
    directory = content.getvalue().rindex(b"PK\x01\x02")
    claimed = bytearray(content.getvalue())
    claimed[directory + 24 : directory + 28] = struct.pack("<I", 2**31)
    archive.write_bytes(claimed)
    with pytest.raises(DataError, match=rf"x.npz, a: cannot be read \({info.compress_size} bytes that claim to be 214"):
        Files(str(archive)).load()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a.npy", header((8, 4)) + bytes(256))
    with pytest.raises(DataError, match=r"x.npz, a: is compressed as numpy does not"):
        Files(str(archive)).load()


def test_more_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr("os.sysconf", lambda name: 16)
    for source in (Files(str(tmp_path / "x.npy")), as_csv(tmp_path, CSV * 200)):
        with pytest.raises(DataError, match=r"this machine has 0.0 GiB of memory; write it as shards"):
            source.load()


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{}]], object))
    with pytest.raises(DataError, match=r"holds pickled Python objects"):
        Files(str(tmp_path / "x.npy")).load()
    (tmp_path / "x.npy").write_bytes(pickle.dumps(X))
    with pytest.raises(DataError, match=r"x.npy: is a pickle"):
        Files(str(tmp_path / "x.npy")).load()


@pytest.mark.parametrize("kind", ["npy", "npz", "csv"])
def test_truncated_and_corrupt_files(tmp_path, kind):
    """Wherever a file is cut or a byte of it is changed, it loads or says what is wrong, and nothing else is raised."""
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, X[:12].astype(np.float32))
    elif kind == "npz":
        np.savez_compressed(path, table=X[:12].astype(np.float32))
    else:
        path.write_text("a,b,c,d\n" + CSV)
    whole, random = path.read_bytes(), np.random.RandomState(0)
    said = []
    for i in range(120):
        broken = bytearray(whole)
        if i % 2:
            broken = broken[: random.randint(len(whole))]
        else:
            broken[random.randint(len(whole))] = random.randint(256)
        path.write_bytes(broken)
        try:
            Files(str(path)).load()
        except DataError as error:
            said.append(str(error))
    assert all(str(path) in text for text in said)
    assert len(said) > (10 if kind == "csv" else 60)


# Parquet: by whichever of the two packages is there.


class Column:
    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


def parquet_by(monkeypatch, columns):
    """A pyarrow of a table with these columns; none where they are None."""

    class ParquetFile:
        def __init__(self, path, memory_map):
            if not path.read_bytes().startswith(b"PAR1"):
                raise OSError("no magic bytes")
            rows = len(next(iter(columns.values())))
            self.metadata = types.SimpleNamespace(num_rows=rows, num_columns=len(columns))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self):
            return types.SimpleNamespace(
                column_names=list(columns),
                num_columns=len(columns),
                column=lambda i: Column(list(columns.values())[i]),
            )

    module = types.ModuleType("pyarrow")
    module.parquet = types.SimpleNamespace(ParquetFile=ParquetFile)
    monkeypatch.setitem(sys.modules, "pyarrow", None if columns is None else module)
    monkeypatch.setitem(sys.modules, "pandas", None)


def test_parquet(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1")
    columns = {"a": X[:, 0], "kind": np.array(["u", "v"] * 15, object), "b": np.arange(30)}
    parquet_by(monkeypatch, columns)
    source = Files(str(path), label="kind")
    assert np.array_equal(source.stored()["all"], np.stack([X[:, 0], np.arange(30)], axis=1))
    assert np.array_equal(source.labels().train, source.load().train[:, 1] % 2)
    with pytest.raises(DataError, match=r"x.parquet: row 0, column 'kind': got 'u', expected a number; encode it"):
        Files(str(path)).load()
    parquet_by(monkeypatch, {"a": np.array([1, None, 2.5, True] * 5, object)})
    assert np.array_equal(Files(str(path)).stored()["all"][:4, 0], [1, math.nan, 2.5, 1], equal_nan=True)
    parquet_by(monkeypatch, {"when": np.zeros(20, "datetime64[ns]")})
    with pytest.raises(DataError, match=r"row 0, column 'when': got '1970-01-01T00:00:00.0+', expected a number"):
        Files(str(path)).load()
    path.write_bytes(b"else")
    with pytest.raises(DataError, match=r"x.parquet: cannot be read \(no magic bytes\); expected a whole .parquet"):
        Files(str(path)).load()
    parquet_by(monkeypatch, None)
    with pytest.raises(DataError, match=r"neither is installed. Install the extra `parquet`"):
        Files(str(path)).load()
