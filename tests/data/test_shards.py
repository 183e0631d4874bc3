"""Shards on disk: the same data as in memory, and an error for whatever is not as the index has it."""

import os
import shutil

import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import (
    Arrays,
    Dataset,
    Digits,
    Rows,
    Shards,
    blocks,
    index_shards,
    not_a_count,
    require_in_memory,
    rows,
    shard,
    shard_index,
    write_shards,
)
from genjax_models.errors import ConfigError, DataError

BYTES = np.random.RandomState(0).randint(0, 256, (30, 6)).astype(np.uint8)
REAL = np.random.RandomState(1).standard_normal((30, 6)).astype(np.float32)


def parts(x):
    return x[:20], x[20:26], x[26:]


@pytest.fixture
def written(tmp_path):
    """A folder of shards of seven examples, of bytes."""
    return write_shards(tmp_path / "bytes", *parts(BYTES), levels=256, shard_bytes=7 * 6)


def same(streamed: Dataset, held: Dataset) -> bool:
    """Whether all values and all that is said of them are the same."""
    for a, b in zip(streamed, held, strict=True):
        a = a[:] if isinstance(a, Rows) else a
        if isinstance(b, np.ndarray):
            if a.dtype != b.dtype or not np.array_equal(a, b):
                return False
        elif a != b:
            return False
    return True


@pytest.mark.parametrize(
    "noise",
    [
        {"binarization": "none"},
        {"binarization": "threshold"},
        {"binarization": "dynamic"},
        {"binarization": "none", "dequantization": "dynamic"},
    ],
)
def test_shards_of_a_source_are_the_source(tmp_path, noise):
    """To the last bit; of grey levels bytes are stored. Written beneath the noise, whatever the source draws."""
    folder = shard(Digits(**noise) if noise["binarization"] != "threshold" else Digits("none"), tmp_path / "digits")
    levels = 17 if "dequantization" in noise else None
    loaded = Shards(str(folder), levels=levels, **noise).load()
    assert isinstance(loaded.train, Rows)
    assert loaded.train.shards[0].dtype == np.uint8
    assert (loaded.train.dtype, loaded.dynamic) == (Digits(**noise).load().train.dtype, Digits(**noise).dynamic)
    assert same(loaded, Digits(**noise).load())


@pytest.mark.parametrize("fixed", [{"binarization": "fixed"}, {"binarization": "none", "dequantization": "fixed"}])
def test_fixed_draws_are_written_as_they_are(tmp_path, fixed):
    """They are then data like any other, of 0 and 1 or in [0, 1]."""
    loaded, held = Shards(str(shard(Digits(**fixed), tmp_path / "x"))).load(), Digits(**fixed).load()
    assert same(loaded, held._replace(levels=None, dequantization=None))


@pytest.mark.parametrize("x", [REAL, REAL.astype(bool).astype(np.float32), BYTES // 128, np.rint(3 + REAL)])
def test_values_are_told_as_those_of_arrays(tmp_path, x):
    """Real numbers, zeros and ones as numbers and as bytes, and counts."""
    np.savez(tmp_path / "x.npz", **dict(zip(("train", "valid", "test"), parts(x), strict=True)))
    loaded = Shards(str(write_shards(tmp_path / "x", *parts(x), shard_bytes=99))).load()
    held = Arrays(str(tmp_path / "x.npz")).load()
    assert len(loaded.train.shards) > 1
    assert same(loaded, held)
    assert (loaded.train.min(), loaded.train.max()) == (held.train.min(), held.train.max())
    assert not_a_count(loaded.train) == not_a_count(held.train)
    assert (not_a_count(held.train) is None) == (x is not REAL)


def test_rows_are_read_at_any_places(written, monkeypatch):
    """From several shards, in the order asked for, some twice; and block by block."""
    loaded = Shards(str(written)).load()
    places = np.array([19, 0, 7, 6, 13, 14, 0])
    assert [len(x) for x in loaded.train.shards] == [7, 7, 6]
    assert np.array_equal(loaded.train.read(places), BYTES[places])
    assert np.array_equal(loaded.train[places], (BYTES[places] / np.float32(255)).astype(np.float32))
    assert np.array_equal(loaded.train[5:9], loaded.train[np.arange(5, 9)])
    bits = Shards(str(written), binarization="threshold").load().train
    assert np.array_equal(bits.read(places), BYTES[places] > 127)
    monkeypatch.setattr(rows, "BLOCK", 8)
    assert [len(x) for x in blocks(loaded.train)] == [8, 8, 4]
    assert np.array_equal(np.concatenate(list(blocks(loaded.train))), loaded.train[:])


def test_rows_become_no_array_unasked(written):
    train = Shards(str(written)).load().train
    with pytest.raises(DataError, match=r"\(20, 6\) are in shards on disk"):
        np.asarray(train)
    with pytest.raises(DataError, match=r"a sweep: the training data \(20, 6\)"):
        require_in_memory(train, "a sweep")
    assert require_in_memory(BYTES, "a sweep") is BYTES


def test_contexts_and_a_train_split_in_parts(tmp_path):
    """Contexts come in shards of as many rows; without them any number of arrays is written one after another."""
    folder = write_shards(tmp_path / "c", *parts(REAL), contexts=parts(REAL[:, :2]), shard_bytes=99)
    loaded = Shards(str(folder)).load()
    places = np.array([18, 2, 3])
    assert np.array_equal(loaded.train_context.read(places), REAL[places, :2])
    assert np.array_equal(loaded.test_context, REAL[26:, :2])
    images = BYTES.reshape(30, 2, 3)
    given = (images[start : start + 9] for start in (0, 9))
    loaded = Shards(str(write_shards(tmp_path / "i", given, images[18:24], images[24:], levels=300))).load()
    assert [len(x) for x in loaded.train.shards] == [9, 9]
    assert (loaded.image_shape, loaded.levels) == ((2, 3), 300)
    assert np.array_equal(loaded.train[:], BYTES[:18].astype(np.float32) / np.float32(299))


def test_nothing_is_written_over(written, tmp_path):
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in written.iterdir()}
    for write in (lambda: write_shards(written, *parts(REAL)), lambda: shard(Digits(), written)):
        with pytest.raises(DataError, match="bytes exists; nothing is written over it"):
            write()
    with pytest.raises(DataError, match=r"index\.json exists"):
        index_shards(written)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in written.iterdir()} == before


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (([BYTES[:9], BYTES[9:20, :5]], BYTES, BYTES), {}, r"train: holds uint8 of shape \(5,\).*first shard.*\(6,\)"),
        ((BYTES, REAL, BYTES), {}, r"validation: holds float32 .* first shard holds uint8"),
        ((BYTES.astype(int), BYTES, BYTES), {}, "train: got dtype int64, expected uint8 or float32"),
        ((REAL.astype(">f4"), REAL, REAL), {}, "train: got dtype >f4, expected uint8 or float32"),
        ((BYTES[:0], BYTES, BYTES), {}, r"train: got shape \(0, 6\)"),
        ((BYTES[:, 0], BYTES, BYTES), {}, r"train: got shape \(30,\)"),
        (([], BYTES, BYTES), {}, "has no shards of train"),
        ((REAL, np.where(REAL > 2, np.nan, REAL), REAL), {}, r"validation-00000\.npy: \d of 180 values are NaN"),
        ((BYTES, BYTES, BYTES), {"levels": 200}, "x: holds the byte 254, but levels 200 are bytes up to 199"),
        ((REAL, REAL, REAL), {"levels": 256}, "levels 256 are of shards of bytes"),
        ((REAL, REAL, REAL), {"image_shape": (2, 2)}, r"image_shape \(2, 2\) does not fit examples of shape \(6,\)"),
        (
            (REAL, REAL, REAL),
            {"contexts": (REAL, REAL[:9], REAL)},
            r"validation have \[30\].* validation_context \[9\]",
        ),
        (([REAL], REAL, REAL), {"contexts": (REAL, REAL, REAL)}, "with them train is one array, got list"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, given, options, message):
    with pytest.raises(DataError, match=message):
        write_shards(tmp_path / "x", *given, **options)
    assert list(tmp_path.iterdir()) == []


def test_shards_of_ones_own_get_an_index(tmp_path):
    """Where they lie, without a copy; one of another width, and contexts of some splits alone, are refused."""
    for name, x in zip(("train", "validation", "test"), parts(BYTES), strict=True):
        np.save(tmp_path / f"{name}-00000.npy", x)
    with pytest.raises(DataError, match=r"has no index\.json; write it by .*index_shards"):
        Shards(str(tmp_path)).load()
    np.save(tmp_path / "train-00001.npy", BYTES[:, :5])
    with pytest.raises(DataError, match=r"train-00001\.npy: holds uint8 of shape \(5,\)"):
        index_shards(tmp_path)
    np.save(tmp_path / "train-00001.npy", BYTES)
    np.save(tmp_path / "train_context-00000.npy", REAL)
    with pytest.raises(DataError, match="contexts are in some splits"):
        index_shards(tmp_path)
    (tmp_path / "train_context-00000.npy").unlink()
    index_shards(tmp_path, image_shape=(3, 2))
    loaded = Shards(str(tmp_path)).load()
    assert (loaded.train.shape, loaded.image_shape, loaded.levels) == ((50, 6), (3, 2), 256)


def test_a_start_reads_no_shard_through(written, monkeypatch):
    """Nor the whole of a copy twice: its files get the times of those that they are copies of."""
    copy = shutil.copytree(written, written.with_name("copy"))
    os.utime(copy / "train-00001.npy")
    hashed, hash_of = [], shard_index._sha256
    monkeypatch.setattr(shard_index, "_sha256", lambda path: hashed.append(path.name) or hash_of(path))
    for folder in (written, copy, copy):
        assert np.array_equal(Shards(str(folder)).load().train.read(np.arange(20)), BYTES[:20])
    assert hashed == ["train-00001.npy"]


def spoil(name, change):
    """A function of a folder that changes the bytes of a file in it."""

    def run(folder):
        path = folder / name
        content = change(path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return run


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (spoil("train-00001.npy", lambda b: None), r"train-00001\.npy: this shard is missing"),
        (spoil("train-00001.npy", lambda b: b[:-1]), r"train-00001\.npy: has 169 bytes, .* says 170: it is truncated"),
        (spoil("train-00002.npy", lambda b: b + b"\0"), "it is changed"),
        (spoil("test-00000.npy", lambda b: b[:-1] + bytes([b[-1] ^ 1])), r"test-00000\.npy: was changed since the"),
        (spoil("index.json", lambda b: b[:-9]), r"index\.json: cannot be read as an index of shards"),
        (spoil("index.json", lambda b: b.replace(b'"format": 1', b'"format": 2')), "another version's format"),
        (spoil("index.json", lambda b: b.replace(b'"visible": 6', b'"visible": 7')), r"index says .* with 7 values"),
        (spoil("index.json", lambda b: None), r"has no index\.json"),
    ],
)
def test_what_is_not_as_the_index_has_it(written, damage, message):
    damage(written)
    with pytest.raises(DataError, match=message):
        Shards(str(written)).load()


def test_shards_that_are_no_plain_arrays(tmp_path):
    for name in ("validation", "test"):
        np.save(tmp_path / f"{name}-00000.npy", BYTES)
    path = tmp_path / "train-00000.npy"
    for save, message in (
        (lambda f: np.save(f, np.array([{}]), allow_pickle=True), "cannot be read as a shard"),
        (lambda f: np.savez(f, x=BYTES), "archive"),
        (lambda f: np.save(f, np.asfortranarray(BYTES)), "Fortran order"),
    ):
        with path.open("wb") as file:
            save(file)
        with pytest.raises(DataError, match=message):
            index_shards(tmp_path)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"path": ""}, ConfigError, "path: got an empty string"),
        ({"binarization": "fixed"}, ConfigError, "binarization: got 'fixed', expected one of 'threshold', 'dynamic'"),
        ({"binarization": "dynamic", "dequantization": "dynamic"}, ConfigError, "leaves no levels"),
        ({"dequantization": "dynamic"}, ConfigError, "levels: got None with dequantization 'dynamic'"),
        ({"levels": 17}, DataError, "got levels 17, but its shards have 256"),
        ({"path": "nowhere"}, DataError, r"not found: nowhere/index\.json"),
    ],
)
def test_settings_that_do_not_fit(written, fields, error, message):
    with pytest.raises(error, match=message):
        Shards(**{"path": str(written), **fields}).load()


def test_noise_of_real_numbers_is_refused(tmp_path):
    folder = write_shards(tmp_path / "x", *parts(REAL))
    with pytest.raises(DataError, match=r"holds values from -.*and noise is drawn of intensities in \[0, 1\]"):
        Shards(str(folder), binarization="dynamic").load()
    assert validate(Shards(str(folder), binarization="dynamic")).dynamic
