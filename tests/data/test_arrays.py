import pickle
import zipfile

import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import SOURCES, Arrays
from genjax_models.errors import ConfigError, DataError

GREY = np.random.RandomState(0).rand(20, 6).astype(np.float32)
BITS = (GREY > 0.5).astype(np.uint8)


def load(tmp_path, array=None, /, **options):
    """Save one array, or several by `arrays`, and load them."""
    arrays = options.pop("arrays", None)
    path = tmp_path / ("file.npy" if arrays is None else "file.npz")
    np.save(path, array) if arrays is None else np.savez(path, **arrays)
    return Arrays(str(path), **options).load()


def rows(data):
    return np.concatenate(data[:3])


def same_rows(a, b):
    return np.array_equal(np.sort(a, axis=0), np.sort(b, axis=0))


def test_sources_are_described():
    names = (
        "digits mnist binarized_mnist uci bars gaussians solids coil20 planted_digits piano_rolls speech arrays files "
        "image_folder wav_folder midi_folder huggingface sklearn shards with_classes"
    )
    assert list(SOURCES) == names.split()
    assert all(source.__doc__.splitlines()[0].strip() for source in SOURCES.values())


def test_support_follows_the_values(tmp_path):
    unit = load(tmp_path, GREY.astype(np.float64))
    assert unit.support == "unit"
    assert unit.train.dtype == np.float32
    assert same_rows(rows(unit), GREY)
    real = load(tmp_path, GREY * 9 - 3)
    assert real.support == "real"
    assert same_rows(rows(real), GREY * 9 - 3)
    for dtype in (np.uint8, np.int64, np.float32, bool):
        binary = load(tmp_path, BITS.astype(dtype))
        assert binary.support == "binary"
        assert binary.train.dtype == np.uint8
        assert same_rows(rows(binary), BITS)
    # Other integers are numbers, not bytes.
    assert load(tmp_path, np.arange(20)[:, None]).support == "real"


def test_split_by_fractions(tmp_path):
    data = load(tmp_path, GREY)
    assert [len(x) for x in data[:3]] == [16, 2, 2]
    assert not np.array_equal(data.train, GREY[:16])  # shuffled
    data = load(tmp_path, GREY, validation_fraction=0.25, test_fraction=0.5)
    assert [len(x) for x in data[:3]] == [5, 5, 10]
    assert np.array_equal(rows(data), rows(load(tmp_path, GREY, validation_fraction=0.25, test_fraction=0.5)))
    # At least one row in each.
    assert [len(x) for x in load(tmp_path, GREY, test_fraction=0.001)[:3]] == [17, 2, 1]


@pytest.mark.parametrize("key", ["valid", "validation"])
def test_splits_of_a_file(tmp_path, key):
    arrays = {"test": GREY[:2], key: GREY[2:5], "train": GREY[5:], "labels": np.array([{}], object)}
    data = load(tmp_path, arrays=arrays)
    assert np.array_equal(data.train, GREY[5:])
    assert np.array_equal(data.validation, GREY[2:5])
    assert np.array_equal(data.test, GREY[:2])


def test_one_array_of_a_file(tmp_path):
    assert same_rows(rows(load(tmp_path, arrays={"images": GREY})), GREY)
    beside = {"X": GREY, "y": np.arange(20), "mean": GREY[:1]}
    for a, b in zip(load(tmp_path, arrays=beside), load(tmp_path, GREY), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("names", "sizes"),
    [(("test",), [12, 3, 5]), (("valid",), [9, 5, 6]), (("valid", "test"), [15, 5, 5]), ((), [6, 3, 6])],
)
def test_a_split_that_is_missing_is_a_share_of_the_training_split(tmp_path, names, sizes):
    """The others stay as they are, and every row of the training split is in one that is made of it."""
    arrays = {"train": GREY[5:], **dict.fromkeys(names, GREY[:5])}
    data = load(tmp_path, arrays=arrays, validation_fraction=0.2, test_fraction=0.4)
    assert [len(x) for x in data[:3]] == sizes
    made = [data.train]
    for name, x in (("valid", data.validation), ("test", data.test)):
        if name in names:
            assert np.array_equal(x, GREY[:5])
        else:
            made.append(x)
    assert same_rows(np.concatenate(made), GREY[5:])
    assert np.array_equal(data.train, GREY[5 : 5 + len(data.train)]) == (len(names) == 2)  # else by a permutation


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),  # Keras
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),  # MedMNIST
        ("training_data", "training_targets", "testing_data", "testing_targets"),
    ],
)
def test_usual_names_of_examples_and_labels(tmp_path, names):
    """Labels [N] or [N, 1] go with their examples, also where validation is a share of the training split."""
    labels = np.arange(20)
    values = GREY[5:], labels[5:], GREY[:5], labels[:5, None]
    np.savez(tmp_path / "file.npz", **dict(zip(names, values, strict=True)))
    source = Arrays(str(tmp_path / "file.npz"), validation_fraction=0.2)
    data, found = source.load(), source.labels()
    assert [len(x) for x in found] == [12, 3, 5]
    for x, y in zip(data[:3], found, strict=True):
        assert np.array_equal(x, GREY[y])


def test_what_is_of_all_is_for_training_beside_a_test_split(tmp_path):
    """And no row of the test split is taken for training, nor one of training for the test."""
    np.savez(tmp_path / "file.npz", x=GREY[5:], y=np.arange(5, 20), x_test=GREY[:5], y_test=np.arange(5), t=GREY[0])
    source = Arrays(str(tmp_path / "file.npz"), validation_fraction=0.2)
    data, found = source.load(), source.labels()
    assert found.test.tolist() == [0, 1, 2, 3, 4]
    assert [len(x) for x in found] == [12, 3, 5]
    for x, y in zip(data[:3], found, strict=True):
        assert np.array_equal(x, GREY[y])


@pytest.mark.parametrize("others", [("data", "images"), ("train_images", "x_test"), ("x", "labels"), ("mean", "y")])
def test_names_of_splits_alone_go_before_others(tmp_path, others):
    arrays = {"train": GREY[5:], "valid": GREY[2:5], "test": GREY[:2], **dict.fromkeys(others, GREY[:1])}
    data = load(tmp_path, arrays=arrays)
    assert np.array_equal(data.train, GREY[5:])
    assert np.array_equal(data.test, GREY[:2])


@pytest.mark.parametrize("name", ["y", "labels", "test_data", "train", "mean"])
def test_an_array_alone_may_have_any_name(tmp_path, name):
    for a, b in zip(load(tmp_path, arrays={name: GREY}), load(tmp_path, GREY), strict=True):
        assert np.array_equal(a, b)
    assert Arrays(str(tmp_path / "file.npz")).labels() is None


def test_labels_of_all_examples_are_split_as_they_are(tmp_path):
    np.savez(tmp_path / "file.npz", X=GREY, y=np.arange(20))
    source = Arrays(str(tmp_path / "file.npz"))
    for x, y in zip(source.load()[:3], source.labels(), strict=True):
        assert np.array_equal(x, GREY[y])
    np.savez(tmp_path / "file.npz", X=GREY, y=GREY[:, 0])
    with pytest.raises(DataError, match=r"labels: got shape \(20,\) and dtype float32, expected integers from 0 up"):
        source.labels()
    np.savez(tmp_path / "file.npz", train=GREY, test=GREY, y_train=np.arange(20))
    with pytest.raises(DataError, match=r"has y_train, labels of some splits alone; expected those of test too"):
        source.labels()


def test_bytes_are_scaled(tmp_path):
    data = load(tmp_path, np.tile(np.uint8([0, 51, 255]), (20, 1)))
    assert data.support == "unit"
    assert np.array_equal(data.test[0], np.float32([0, 0.2, 1]))
    assert load(tmp_path, BITS * np.uint8(255)).support == "binary"
    # One split alone does not decide.
    data = load(tmp_path, arrays={"train": BITS * np.uint8(200), "valid": BITS, "test": BITS})
    assert data.validation.max() == np.float32(1 / 255)


def test_binarization(tmp_path):
    dynamic = load(tmp_path, GREY, binarization="dynamic")
    assert dynamic.dynamic
    assert dynamic.train.dtype == np.float32
    assert dynamic.test.dtype == np.uint8
    assert same_rows(rows(load(tmp_path, GREY, binarization="threshold")), BITS)
    # Zeros and ones stay as they are.
    assert same_rows(rows(load(tmp_path, BITS, binarization="fixed")), BITS)


def test_images(tmp_path):
    data = load(tmp_path, GREY.reshape(20, 3, 2))
    assert data.image_shape == (3, 2)
    assert data.train.shape == (16, 6)
    assert load(tmp_path, GREY.reshape(20, 1, 2, 3)).image_shape == (1, 2, 3)
    assert load(tmp_path, GREY).image_shape is None
    assert load(tmp_path, GREY, image_shape=(2, 3)).image_shape == (2, 3)
    assert load(tmp_path, GREY.reshape(20, 3, 2), image_shape=(3, 2)).image_shape == (3, 2)


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    working, folder = tmp_path / "working", tmp_path / "folder"
    for place in (working, folder / "sub"):
        place.mkdir(parents=True)
    monkeypatch.chdir(working)
    with pytest.raises(DataError) as raised:
        Arrays("sub/a.npy").load(str(folder))
    text = str(raised.value)
    assert "not found: sub/a.npy" in text
    assert "Check the field `path`" in text
    assert f"{working / 'sub'} (no such folder)\n  {folder / 'sub'}\n" in text
    np.save(folder / "sub" / "a.npy", GREY)
    assert Arrays("sub/a.npy").load(str(folder)).support == "unit"
    (working / "sub").mkdir()
    np.save(working / "sub" / "a.npy", BITS)
    assert Arrays("sub/a.npy").load(str(folder)).support == "binary"


def spoilt(value):
    x = GREY.copy()
    x[3, 4] = x[7, 1] = value
    return x


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (spoilt(np.nan), {}, r"file.npy: 2 of 120 values are NaN or infinite .* nan at index \(3, 4\).*Remove those"),
        (spoilt(np.inf).reshape(20, 3, 2), {}, r"2 of 120 .* the first inf at index \(3, 2, 0\)"),
        (GREY.astype(np.float64) * 1e300, {}, r"\d+ of 120 values are NaN or infinite \(as float32\)"),
        (GREY[0], {}, r"file.npy: got shape \(6,\), expected \[N, D\], \[N, H, W\] or \[N, H, W, C\]. Reshape"),
        (GREY.reshape(5, 2, 2, 2, 3), {}, r"file.npy: got shape \(5, 2, 2, 2, 3\)"),
        (GREY[:0], {}, r"file.npy: is empty, shape \(0, 6\)"),
        (GREY[:, :0], {}, r"file.npy: is empty, shape \(20, 0\)"),
        (GREY[:2], {}, r"file.npy: 2 rows cannot be split into 0 for training, 1 for validation and 1 for test"),
        (GREY.astype(complex), {}, r"file.npy: got dtype complex128, expected real numbers or bool"),
        (np.array([["a"]]), {}, r"file.npy: got dtype <U1, expected real numbers"),
        (np.array([[{}]], object), {}, r"file.npy: holds pickled Python objects .*Save it again with astype"),
        (GREY, {"image_shape": (2, 2)}, r"image_shape \(2, 2\) has 4 pixels, but every row has 6 values"),
        (GREY.reshape(20, 3, 2), {"image_shape": (2, 3)}, r"images of shape \(3, 2\), but image_shape is \(2, 3\)"),
        (
            spoilt(4.5),
            {"binarization": "dynamic"},
            r"2 of 120 values are outside \[0, 1\] \(minimum 0\.\d+, maximum 4.5\), and binarization 'dynamic'.*Scale",
        ),
    ],
)
def test_other_arrays(tmp_path, array, options, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, array, **options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"file.npz: has the keys \(none\); expected 'train' with 'valid'"),
        ({"a": GREY, "b": GREY}, r"has the keys 'a', 'b'; expected 'train' .* or one array alone"),
        ({"test": GREY, "x_valid": GREY}, r"has the keys 'test', 'x_valid'; expected 'train' with"),
        ({"train_mean": GREY, "y": GREY}, r"has the keys 'train_mean', 'y'; expected"),
        ({"train": GREY, "valid": GREY, "validation": GREY, "test": GREY}, r"has 'valid' and 'validation', of which"),
        ({"x": GREY, "data": GREY}, r"has 'x' and 'data', of which either could be meant"),
        ({"train": GREY[:1]}, r"file.npz: 1 rows cannot be split"),
        ({"train": GREY[:1], "test": GREY}, r"file.npz: 1 rows leave none for training"),
        ({"train": GREY, "valid": GREY, "test": GREY[:, :5]}, r"different shapes, train \(6,\).* test \(5,\)"),
        ({"train": GREY, "valid": spoilt(np.nan), "test": GREY}, r"file.npz, validation: 2 of 120 values are NaN"),
        ({"train": GREY, "valid": GREY[:0], "test": GREY}, r"file.npz, validation: is empty"),
        ({"images": np.array([[{}]], object)}, r"file.npz: holds pickled Python objects"),
    ],
)
def test_other_archives(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, arrays=arrays)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_nothing_is_unpickled(tmp_path):
    sprung = tmp_path / "sprung"
    (tmp_path / "a.npy").write_bytes(pickle.dumps(Trap(str(sprung))))
    with pytest.raises(DataError, match=r"a.npy: is a pickle, which can run code .*numpy.save"):
        Arrays(str(tmp_path / "a.npy")).load()
    with pytest.raises(DataError, match=r"holds pickled Python objects"):
        load(tmp_path, np.array([[Trap(str(sprung))]], object))
    assert not sprung.exists()


def test_other_files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1,2\n3,4\n")
    with pytest.raises(DataError, match=r"file: is no array file \(it starts with b'1,2\\n3,'\)"):
        Arrays(str(path)).load()
    np.save(tmp_path / "a.npy", GREY)
    path.write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"file: cannot be read .*expected a whole .npy or .npz file"):
        Arrays(str(path)).load()
    np.savez(tmp_path / "a.npz", GREY)
    path.write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"file: cannot be read"):
        Arrays(str(path)).load()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text", "hello")
    with pytest.raises(DataError, match=r"file: is a zip archive of other files"):
        Arrays(str(path)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "path: got an empty string"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "got a sum of 1, expected less than 1"),
        ({"test_fraction": 0.0}, "test_fraction: got 0.0, expected a number, more than 0 and less than 1"),
        ({"image_shape": (6,)}, r"image_shape: got \(6,\), expected \(height, width\)"),
        ({"image_shape": (6, 0)}, r"image_shape.1: got 0"),
    ],
)
def test_wrong_fields(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(Arrays(**{"path": "a.npy", **options}))
