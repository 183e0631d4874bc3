"""Data sets of Hugging Face, by a stand-in for the library with what is used of it."""

import io
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image as Pillow

from genjax_models.cli import main
from genjax_models.config import validate
from genjax_models.data import HuggingFace, require_labels
from genjax_models.errors import ConfigError, DataError, MissingData

PIXELS = np.random.RandomState(0).randint(0, 256, (20, 4, 3)).astype(np.uint8)
PIXELS[0, 0, 0] = 255


class Value:
    def __init__(self, dtype):
        self.dtype = dtype


class List:
    def __init__(self, feature):
        self.feature = feature


class ClassLabel(Value):
    pass


class Image(Value):
    def __init__(self, decode=True):
        super().__init__("PIL.Image.Image")
        self.decode = decode


class Columns:
    """A data set: features, and the values of each column."""

    def __init__(self, features, columns, numpy=False):
        self.features, self.columns, self.numpy = features, columns, numpy

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def select_columns(self, names):
        return Columns({n: self.features[n] for n in names}, {n: self.columns[n] for n in names})

    def cast_column(self, name, feature):
        return Columns({**self.features, name: feature}, self.columns)

    def with_format(self, kind):
        assert kind == "numpy"
        return Columns(self.features, self.columns, numpy=True)

    def __getitem__(self, rows):
        assert self.numpy
        return {name: _array(column[rows]) for name, column in self.columns.items()}

    def __iter__(self):
        """Images as they are stored, which only a cast gives."""
        assert all(not feature.decode for feature in self.features.values())
        return ({name: column[i] for name, column in self.columns.items()} for i in range(len(self)))


def _array(values):
    try:
        return np.array(values)
    except ValueError:
        return np.array(values, object)


def png(pixels):
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "png")
    return {"bytes": out.getvalue(), "path": None}


FEATURES = {
    "image": Image(),
    "digit": ClassLabel("int64"),
    "vector": List(Value("float32")),
    "grid": List(List(Value("int64"))),
    "height": Value("float64"),
    "weight": Value("uint8"),
    "name": Value("string"),
    "ragged": List(Value("float32")),
    "kind": ClassLabel("int64"),
}


def data(rows, names=("image", "digit", "vector", "grid", "height", "weight", "name", "ragged")):
    columns = {
        "image": [png(PIXELS[i]) for i in rows],
        "digit": [i % 3 for i in rows],
        "vector": [[float(i), 2.0] for i in rows],
        "grid": [[[i, 1], [2, 3]] for i in rows],
        "height": [i / 4 for i in rows],
        "weight": list(rows),
        "name": ["ab"[i % 2] for i in rows],
        "ragged": [[1.0] * (1 + i % 2) for i in rows],
        "kind": [-1 for i in rows],
    }
    return Columns({name: FEATURES[name] for name in names}, {name: columns[name] for name in names})


@pytest.fixture
def library(monkeypatch):
    """The stand-in; what it loads is `stored`, and `asked` is how."""
    module = types.ModuleType("datasets")
    module.stored, module.asked, module.Image, module.__version__ = data(range(20)), [], Image, "5.2.0"

    def load(*args, **kwargs):
        module.asked.append((*args, kwargs))
        if isinstance(module.stored, Exception):
            raise module.stored
        return module.stored

    module.load_from_disk = module.load_dataset = load
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def rows(x):
    return x.reshape(len(x), -1)


def test_images_are_those_of_a_folder(library, tmp_path):
    """Bytes over 255 by the fixed permutation of all rows, and their classes; the column of images is found."""
    source = HuggingFace(str(tmp_path))
    data, labels = source.load(), require_labels(source)
    order = np.random.RandomState(0).permutation(20)
    assert (data.support, data.image_shape) == ("unit", (4, 3))
    assert np.array_equal(np.concatenate(data[:3]), rows(PIXELS[order]).astype(np.float32) / 255)
    assert np.array_equal(np.concatenate(labels), order % 3)
    assert library.asked[0] == (str(tmp_path), {})
    small = HuggingFace(str(tmp_path), size=(2, 3), color="rgb", binarization="dynamic").load()
    assert (small.image_shape, small.dynamic) == ((2, 3, 3), True)


def test_images_in_files(library, tmp_path):
    (tmp_path / "x.png").write_bytes(library.stored.columns["image"][7]["bytes"])
    before = HuggingFace(str(tmp_path)).load()
    library.stored.columns["image"][7] = {"bytes": None, "path": str(tmp_path / "x.png")}
    assert np.array_equal(HuggingFace(str(tmp_path)).load().train, before.train)


@pytest.mark.parametrize(
    ("options", "expected", "shape"),
    [
        ({"columns": ("vector",)}, [[float(i), 2] for i in range(20)], None),
        ({"columns": ("grid",)}, [[i, 1, 2, 3] for i in range(20)], (2, 2)),
        ({"columns": ("weight", "vector", "height")}, [[i, i, 2, i / 4] for i in range(20)], None),
    ],
)
def test_columns_of_numbers(library, tmp_path, options, expected, shape):
    library.stored = {"train": library.stored, "valid": data([3, 1]), "test": data([2])}
    found = HuggingFace(str(tmp_path), label="name", **options)
    data_, labels = found.load(), require_labels(found)
    expected = np.array(expected, np.float32)
    assert data_.image_shape == shape
    assert all(np.array_equal(x, expected[i]) for x, i in zip(data_[:3], (range(20), [3, 1], [2]), strict=True))
    assert labels.validation.tolist() == [1, 1]


def test_all_columns_of_numbers_where_none_is_named(library, tmp_path):
    library.stored = data(range(20), ("name", "height", "digit", "weight"))
    found = HuggingFace(str(tmp_path), label="weight", scaling="unit").load()
    assert found.train.shape == (16, 1)
    assert (found.train.min(), found.train.max()) == (0, 1)


def test_what_is_no_split_is_a_share_of_the_training_split(library, tmp_path):
    library.stored = {"train": data(range(20)), "test": data([5, 6]), "extra": data([0])}
    source = HuggingFace(str(tmp_path), columns=("height",), validation_fraction=0.2)
    found, labels = source.load(), require_labels(source)
    order = np.random.RandomState(0).permutation(20)
    for x, y, i in zip(found[:3], labels, (order[:16], order[16:], np.array([5, 6])), strict=True):
        assert np.array_equal(x[:, 0], i / 4)
        assert np.array_equal(y, i % 3)
    held = HuggingFace(str(tmp_path), columns=("height",), train="extra", validation="train").load()
    assert [len(x) for x in held[:3]] == [1, 20, 2]


def test_names_on_the_hub(library):
    source = HuggingFace("ylecun/mnist", hub=True, subset="mnist", revision="abc")
    source.load()
    assert library.asked == [("ylecun/mnist", "mnist", {"revision": "abc"})]
    library.stored = ConnectionError("no network")
    with pytest.raises(DataError, match=r"ylecun/mnist: cannot be fetched from the hub \(ConnectionError: no network"):
        source.load()


def broken(row):
    found = data(range(20))
    found.columns["image"][row] = {"bytes": b"no image", "path": None}
    found.columns["image"][row + 1] = {"bytes": None, "path": "none.png"}
    found.columns["image"][row + 2] = png(PIXELS[0, :2])
    return found


@pytest.mark.parametrize(
    ("stored", "options", "message"),
    [
        (OSError("broken"), {}, r"cannot be read as a folder of save_to_disk \(OSError: broken\)"),
        (broken(4), {}, r"(?s)3 of 20 images .*row 4, image: cannot.*5, image: is missing.\n.*6, image: is of shape"),
        (data(range(20)), {"columns": ("ragged",)}, "column 'ragged': has rows of different lengths"),
        (data(range(20)), {"columns": ("name",)}, "columns: 'name' holds .*, expected images or numbers"),
        (data(range(20)), {"columns": ("hight",)}, "columns: has no 'hight'. Did you mean 'height'"),
        (data(range(20)), {"columns": ("image", "height")}, "got image, height, expected one of images, alone"),
        (data(range(20)), {"label": "none"}, "label: has no 'none'"),
        (data(range(20), ("name", "digit")), {}, r"has the columns name \(Value\), digit \(ClassLabel\); name those"),
        (data([], ("height",)), {}, "all: has no rows"),
        ({"train": data([1]), "test": data([2])}, {"columns": ("height",)}, "1 rows leave none for training"),
        ({"train": data([1]), "test": data([2])}, {"train": "tran"}, "train: has no 'tran'. Did you mean 'train'"),
        ({"train": data([1])}, {"validation": "train"}, "expected another one for each"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(library, tmp_path, stored, options, message):
    library.stored = stored
    source = HuggingFace(str(tmp_path), **options)
    with pytest.raises(DataError, match=message):
        source.labels() if "label" in options else source.load()


def test_labels_that_are_missing(library, tmp_path):
    library.stored = data(range(20), ("height", "kind"))
    with pytest.raises(DataError, match="some labels of 'kind' are missing"):
        HuggingFace(str(tmp_path)).labels()
    library.stored = data(range(20), ("height",))
    assert HuggingFace(str(tmp_path)).labels() is None


def test_without_the_library(library, tmp_path, monkeypatch):
    with pytest.raises(MissingData, match=r"(?s)not found: nowhere.*set `hub` for a name on the hub"):
        HuggingFace("nowhere").load(str(tmp_path))
    library.__version__ = "3.6.0"
    with pytest.raises(DataError, match=r"datasets is version 3.6.0, expected 4 or later. .*\[datasets\]"):
        HuggingFace(str(tmp_path)).load()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"`datasets`, which is not installed. .*\[datasets\]"):
        HuggingFace(str(tmp_path)).load()


def test_from_the_shell(library, tmp_path, capsys):
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert main(["inspect-data", str(tmp_path), "--columns", "vector", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["shape"] == [16, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "../x", "hub": True}, "path: got '../x', expected a name on the hub"),
        ({"subset": "x"}, "subset and revision: are of names on the hub"),
        ({"columns": ("a",), "label": "a"}, "columns: has the label 'a'"),
        ({"size": (0, 1)}, "size.0: got 0"),
    ],
)
def test_wrong_fields(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(HuggingFace(**{"path": "x", **options}))
