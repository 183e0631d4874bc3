import os
import pickle

import numpy as np
import pytest

from genjax_models.config import Config, validate
from genjax_models.data import UCI
from genjax_models.data.uci import COLUMNS
from genjax_models.errors import ConfigError, DataError
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay

SIZES = {"train": 5, "valid": 3, "test": 4}


def rows(columns, **changes):
    """The three arrays of a made-up file, each split with its own values."""
    random = np.random.RandomState(columns)
    arrays = {key: random.randint(0, 2, (size, columns)).astype(np.uint8) for key, size in SIZES.items()}
    return {**arrays, **changes}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("subfolder", ["", "uci"])
def test_splits(tmp_path, name, subfolder):
    arrays = rows(COLUMNS[name])
    (tmp_path / subfolder).mkdir(exist_ok=True)
    np.savez_compressed(tmp_path / subfolder / f"{name}.npz", **arrays)
    data = UCI(name).load(str(tmp_path))
    for found, key in zip(data[:3], SIZES, strict=True):
        assert found.dtype == np.uint8
        assert np.array_equal(found, arrays[key])
    assert data.support == "binary"
    assert data.image_shape is None
    assert not data.dynamic


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_numbers_of_any_type(tmp_path, dtype):
    arrays = rows(180)
    np.savez(tmp_path / "dna.npz", **{key: x.astype(dtype) for key, x in arrays.items()})
    found = UCI("dna").load(str(tmp_path)).test
    assert found.dtype == np.uint8
    assert np.array_equal(found, arrays["test"])


def test_missing(tmp_path):
    np.savez(tmp_path / "dna.npz", **rows(180))
    with pytest.raises(DataError) as raised:
        UCI("adult").load(str(tmp_path))
    text = str(raised.value)
    assert "not found: adult.npz" in text
    assert str(tmp_path / "uci") in text
    assert "'valid'" in text
    assert "--data-dir" in text


def spoilt(value, dtype):
    x = rows(180)["test"].astype(dtype)
    x[2, 7:9] = value
    return x


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": np.zeros((3, 179), np.uint8)}, r"dna.npz, validation: got shape \(3, 179\), expected \[N, 180\]"),
        ({"train": np.zeros(180, np.uint8)}, r"dna.npz, train: got shape \(180,\), expected \[N, 180\]"),
        ({"test": np.zeros((0, 180), np.uint8)}, r"dna.npz, test: got shape \(0, 180\), .*at least 1"),
        ({"test": spoilt(2, np.uint8)}, r"test: 2 of 720 values are neither 0 nor 1, the first 2 at index \(2, 7\)"),
        ({"test": spoilt(np.nan, float)}, r"test: 2 of 720 values are neither .* nan at index \(2, 7\).*`arrays`"),
        ({"train": np.array([["0"] * 180] * 2)}, r"dna.npz, train: got dtype <U1, expected numbers"),
        ({"train": np.array([[{}] * 180])}, r"dna.npz: holds pickled Python objects"),
    ],
)
def test_other_arrays(tmp_path, changes, message):
    np.savez(tmp_path / "dna.npz", **rows(180, **changes))
    with pytest.raises(DataError, match=message):
        UCI("dna").load(str(tmp_path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train": rows(180)["train"], "test": rows(180)["test"]}, r"dna.npz: has train, test alone, expected 'train'"),
        ({"x": rows(180)["train"]}, r"dna.npz: holds one array, expected 'train', 'valid' and 'test'"),
    ],
)
def test_other_keys(tmp_path, arrays, message):
    np.savez(tmp_path / "dna.npz", **arrays)
    with pytest.raises(DataError, match=message):
        UCI("dna").load(str(tmp_path))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_broken_files_and_pickles(tmp_path):
    np.savez(tmp_path / "dna.npz", **rows(180))
    whole = (tmp_path / "dna.npz").read_bytes()
    (tmp_path / "dna.npz").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"dna.npz: cannot be read"):
        UCI("dna").load(str(tmp_path))
    (tmp_path / "dna.npz").write_bytes(pickle.dumps(Malicious(str(tmp_path / "made"))))
    with pytest.raises(DataError, match=r"dna.npz: is a pickle"):
        UCI("dna").load(str(tmp_path))
    assert not (tmp_path / "made").exists()


def test_name():
    for wrong in ("Adult", "adult.npz", 3):
        with pytest.raises(ConfigError, match="expected one of 'adult', 'mushrooms', 'dna'"):
            validate(UCI(wrong))
    config = Config(model=SigmoidBeliefNetwork(), objective=WakeSleep(), optimizer=Adam(), data=UCI("adult"))
    assert overlay(config, {"data.name": "dna"}).data == UCI("dna")
