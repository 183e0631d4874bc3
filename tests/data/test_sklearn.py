"""Data sets of scikit-learn by their loaders' names, and Bunches at hand."""

import json

import numpy as np
import pytest
import scipy.sparse
from sklearn import datasets
from sklearn.utils import Bunch

from genjax_models.cli import main
from genjax_models.config import validate
from genjax_models.data import Sklearn, from_bunch, require_labels
from genjax_models.errors import ConfigError, DataError, MissingData

ORDER = np.random.RandomState(0).permutation(178)  # of the wines, as every source splits


def test_rows_and_classes_are_those_of_the_loader():
    wine = datasets.load_wine()
    source = Sklearn("load_wine", scaling="unit")
    data, labels = source.load(), require_labels(source)
    train = wine.data[ORDER[:142]]
    expected = (train - train.min(axis=0)) / (train.max(axis=0) - train.min(axis=0))
    assert np.array_equal(data.train, expected.astype(np.float32))
    assert np.array_equal(labels.test, wine.target[ORDER[160:]])
    assert (data.support, data.image_shape) == ("unit", None)
    given = from_bunch(datasets.load_wine(), scaling="unit")
    assert all(np.array_equal(a, b) for a, b in zip(given[0][:3], data[:3], strict=True))
    assert np.array_equal(given[1].train, labels.train)


def test_images_keep_their_shape():
    data = Sklearn("load_digits", scaling="unit", levels=17, dequantization="dynamic", test_fraction=0.2).load()
    assert (data.image_shape, data.levels, data.dynamic, len(data.test)) == ((8, 8), 17, True, 359)
    assert np.array_equal(np.unique(data.train * 16), np.arange(17))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, None),
        (np.arange(20) / 2, None),  # what is predicted by regression
        (np.zeros((20, 2), int), None),
        (np.array(["b", "a"] * 10), np.array([1, 0] * 10)),
        (np.arange(20) % 3 + 1, np.arange(20) % 3 + 1),
    ],
)
def test_what_is_a_label(target, expected):
    labels = from_bunch(Bunch(data=np.arange(40.0).reshape(20, 2), target=target))[1]
    order = np.random.RandomState(0).permutation(20)
    assert labels is None if expected is None else np.array_equal(np.concatenate(labels), expected[order])


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (Sklearn("load_wino"), DataError, "loader: got 'load_wino', which scikit-learn does not have.*'load_wine'"),
        (Sklearn("load_files"), DataError, "load_files: needs container_path; call it, and give the Bunch"),
        (Sklearn("load_sample_images"), DataError, r"expected a Bunch with `data` \[N, D\], got images, filenames"),
        (Sklearn("fetch_openml"), DataError, "fetch_openml: cannot be loaded"),
        (Sklearn("system"), ConfigError, "loader: got 'system', expected a name such as"),
        (Sklearn("load_wine", levels=17, dequantization="fixed"), DataError, "dequantization takes grey levels"),
    ],
)
def test_what_cannot_be_used(source, error, message):
    with pytest.raises(error, match=message):
        source.load()


def test_nothing_is_fetched_unless_it_is_asked_for(tmp_path):
    with pytest.raises(MissingData, match=r"fetch_covtype: is not in .*set `download` to have it fetched"):
        Sklearn("fetch_covtype", data_home=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("bunch", "fields", "error", "message"),
    [
        (Bunch(data=scipy.sparse.eye(4)), {}, DataError, r"data is a sparse matrix of shape \(4, 4\)"),
        (Bunch(data=["a text"]), {}, DataError, r"bunch: got shape \(1,\)"),
        (Bunch(data=[[1, 2], [3]]), {}, DataError, "bunch: data is no array"),
        (np.zeros((4, 2)), {}, DataError, "expected a Bunch with `data`.*got ndarray"),
        (Bunch(data=np.zeros((9, 2))), {"loader": "load_wine"}, ConfigError, "from_bunch: has no field 'loader'"),
        (Bunch(data=np.zeros((9, 2))), {"levels": 1}, ConfigError, "levels: got 1"),
    ],
)
def test_bunches_that_cannot_be_used(bunch, fields, error, message):
    with pytest.raises(error, match=message):
        from_bunch(bunch, **fields)


def test_from_the_shell(capsys):
    assert main(["inspect-data", "sklearn", "--loader", "load_iris", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["splits"]["train"]["shape"], found["classes"]["number"]) == ([120, 4], 3)
    assert main(["inspect-data", "sklearn"]) == 2
    assert "loader" in capsys.readouterr().err


def test_wrong_fields():
    with pytest.raises(ConfigError, match=r"got a sum of 1, expected less than 1"):
        validate(Sklearn("load_wine", validation_fraction=0.5, test_fraction=0.5))
