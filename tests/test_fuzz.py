"""Readers of files take broken ones as broken: small files and fixed mutations of each, and every file that once did
harm. `tests/fuzz/run.py` fuzzes them by coverage.
"""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz import readers

from genjax_models.config import validate
from genjax_models.data import Arrays, Digits, Files, binarized_mnist, speech
from genjax_models.data.image_folder import read_image
from genjax_models.data.midi import read_roll
from genjax_models.data.mnist import read_images
from genjax_models.data.shard_index import INDEX, read_index
from genjax_models.errors import ConfigError, DataError, RunError
from genjax_models.objectives import ELBO
from genjax_models.overlay import from_json, parse_json, to_json
from genjax_models.run_folder import CONFIG, METRICS, RESULT, Metrics, open_run, read_by_example, read_result
from genjax_models.tables import types

MUTATIONS = {"parameters": 10}
DEEP = "[" * 20_000  # no recursion goes so far


@pytest.mark.parametrize("name", [name for name in readers.READERS if name != "parquet"])
def test_mutations(name, tmp_path):
    """What is read, or refused by an error of the package, in memory that the file's size justifies; some of each."""
    reader = readers.READERS[name]
    seeds = reader.seeds()
    said = []
    for content in [*seeds, *readers.mutations(seeds, MUTATIONS.get(name, 60))]:
        said.append(readers.check(reader, reader.repair(content), tmp_path))
        for path in tmp_path.iterdir():
            path.unlink()
    assert any(text is not None for text in said)


@pytest.mark.slow
@pytest.mark.parametrize("name", readers.READERS)
def test_many_mutations(name, tmp_path):
    reader = readers.READERS[name]
    for content in readers.mutations(reader.seeds(), 200 if name in MUTATIONS else 3000, seed=1):
        readers.check(reader, reader.repair(content), tmp_path)
        for path in tmp_path.iterdir():
            path.unlink()


def test_the_check_can_fail(tmp_path):
    """Another error than the package's, and memory that a file of a few bytes does not justify."""
    with pytest.raises(KeyError):
        readers.check(readers.Reader(lambda content, folder: {}[content], list), b"", tmp_path)
    with pytest.raises(AssertionError, match=r"took 4\d+ bytes for a file of 3"):
        readers.check(readers.Reader(lambda content, folder: bytearray(40 << 20), list), b"abc", tmp_path)
    assert not tracemalloc.is_tracing()


def save(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_idx_files_that_claim(tmp_path):
    """Images of no pixels whose shape no array has; and of a gzip file no more is unpacked than its header says."""
    for shape in ((2**32 - 1, 2**32 - 1, 0), (0, 2**32 - 1, 2**32 - 1)):
        path = save(tmp_path / "x", struct.pack(">4I", 0x0803, *shape))
        with pytest.raises(DataError, match=r"got images of 4294967295x\d+, expected from 1 to 2147483647 pixels"):
            read_images(path)
    bomb = struct.pack(">4I", 0x0803, 1, 2, 2) + bytes(64 << 20)
    save(path, gzip.compress(bomb, mtime=0))
    tracemalloc.start()
    with pytest.raises(DataError, match="got 5 bytes of pixels, expected 4 for the 1 images"):
        read_images(path)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Types of elements beyond scipy's table, by which it reads past its end.
        (lambda x: x.replace(struct.pack("<I", 9), struct.pack("<I", 81)), "an element of type 81 where numbers"),
        (lambda x: readers._nested(20_000), "cells within cells, more than 3 deep"),  # past the end of the stack
        (lambda x: x.replace(struct.pack("<II", 9, 32), struct.pack("<II", 9, 2**31)), "an element claims 2147483648"),
        (
            lambda x: x.replace(struct.pack("<II", 2, 2), struct.pack("<II", 2**14, 2**14)),
            "a matrix of shape \\(16384, 16384\\) with 4 values",
        ),
        (lambda x: x[:-3], "an element claims"),
        (lambda x: x[:128] + struct.pack("<II", 14, 0), "not enough values"),
    ],
)
def test_matlab_files_that_harm_scipy(tmp_path, change, message):
    """By the plain file and by one that is compressed."""
    broken = change(readers._matlab(X=np.eye(2)))
    packed = zlib.compress(broken[128:])
    for content in (broken, broken[:128] + struct.pack("<II", 15, len(packed)) + packed):
        with pytest.raises(DataError, match=message):
            binarized_mnist.read(save(tmp_path / "x.mat", content))


def test_archives_that_claim(tmp_path):
    """A directory that claims as much before deflating as after; labels of no examples, and of a single number."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.npy", b"\x93NUMPY" + bytes(300))
    claimed = bytearray(content.getvalue())
    directory = claimed.rindex(b"PK\x01\x02")
    claimed[directory + 20 : directory + 28] = struct.pack("<II", 2**31, 2**31)
    path = save(tmp_path / "x.npz", claimed)
    with pytest.raises(DataError, match=rf"{len(claimed)} bytes that claim to be 2147483648"):
        Arrays(str(path)).load()
    names = ("train", "valid", "test")
    np.savez(path, **dict.fromkeys(names, np.zeros((0, 2))), **{f"{n}_labels": np.zeros(0, int) for n in names})
    assert [len(x) for x in Arrays(str(path)).labels()] == [0, 0, 0]
    np.savez(path, **dict.fromkeys(names, 3.0), **{f"{n}_labels": np.zeros(0, int) for n in names})
    with pytest.raises(DataError, match=r"labels of train: got shape \(0,\)"):
        Arrays(str(path)).labels()
    np.savez(path, rows=np.zeros(0), figures=np.array(DEEP))
    with pytest.raises(RunError, match=r"damaged .*nested too deep"):
        read_by_example(path)


def test_labels_that_are_long(tmp_path):
    """Beyond 64 bits a class is a name; and one long label takes no memory for the others."""
    path = save(tmp_path / "x.csv", "".join(f"{i},{10**i}\n" for i in range(30)))
    labels = Files(str(path), label="1", header=False).labels()
    assert sorted(np.concatenate(labels)) == list(range(30))
    save(path, "0," + "a" * 100_000 + "\n" + "0,b\n" * 20_000)
    tracemalloc.start()
    Files(str(path), label="1", header=False).labels()
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_a_zip_file_of_recordings_that_is_broken(tmp_path):
    content = readers._zip({"1_a_0.wav": b"RIFF"})
    broken = content.replace(b"PK\x01\x02", b"PK\x01\x02")[:-6] + struct.pack("<IH", 2**32 - 2, 0)
    with pytest.raises(DataError, match="cannot be read as a zip file of WAV files"):
        speech.read(save(tmp_path / "x.zip", broken))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("1_a_0.wav", bytes(99))
    with pytest.raises(DataError, match=r"1_a_0.wav: is compressed otherwise than by deflate"):
        speech.read(save(tmp_path / "x.zip", out.getvalue()))


def test_notes_that_last_take_a_roll_and_no_more():
    track = b"\x00\x90\x3c\x40\x83\xff\x7f\x3c\x00"  # key 60 for 65,535 steps
    content = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, 1, b"MTrk", len(track)) + track
    tracemalloc.start()
    assert read_roll(content, "x", 1).sum() == 65535
    assert tracemalloc.get_traced_memory()[1] < 7 << 20
    tracemalloc.stop()


def test_pictures_that_claim(tmp_path):
    with pytest.raises(DataError, match=r"claims 8192 x 8192 pixels in \d+ bytes; save it again"):
        read_image(save(tmp_path / "x.png", readers._png_of(8192, 8192)), (2, 2))
    # What comes after the pixels claims four gigabytes, which a file was asked for.
    claimed = readers._images()[0]
    at = claimed.index(b"IEND") - 4
    content = claimed[:at] + b"\xff\0\0\0" + claimed[at + 4 :]
    readers.check(readers.READERS["image"], content, tmp_path)
    # Of an empty picture there is a pixel for less than a bit.
    from PIL import Image

    Image.new("1", (2048, 2048)).save(tmp_path / "empty.png")
    assert read_image(tmp_path / "empty.png", (2, 2)).max() == 0


def test_json_that_is_deep(tmp_path):
    """Where a reader calls itself for what is within, it does not go past Python's limit."""
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(DEEP)
    for name, read in ((CONFIG, open_run), (RESULT, read_result)):
        save(tmp_path / name, DEEP)
        with pytest.raises(RunError, match="nested too deep"):
            read(tmp_path)
    with pytest.raises(DataError, match="nested too deep"):
        read_index(save(tmp_path / INDEX, DEEP))
    deep: list = []
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(ConfigError, match="nested too deep"):
        from_json(deep, types())
    tree = to_json(ELBO(), types())
    for _ in range(400):
        tree = {"type": "weighted_sum", "parts": [{"type": "part", "objective": tree, "weight": 1.0}]}
    with pytest.raises(ConfigError, match="nested too deep"):
        from_json(tree, types())


def test_numbers_of_more_than_64_bits():
    with pytest.raises(ConfigError, match=r"num_particles: got 10+, expected a number of at most 64 bits"):
        validate(ELBO(num_particles=10**400))
    with pytest.raises(ConfigError, match=r"beta: got 10+, expected a number of at most 64 bits"):
        validate(ELBO(beta=10**400))


def test_damaged_lines_of_metrics_are_left_out(tmp_path):
    """As the last one is, which a crash cuts short."""
    lines = ['{"step": 1, "bound": -3.0}', "3", "[]", "null", "{}", '{"step": "1"}', DEEP, "\xff", '{"step": 2, "bo']
    save(tmp_path / METRICS, "\n".join(lines).encode("latin1"))
    assert Metrics(tmp_path / METRICS, 5).rows == [{"step": 1, "bound": -3.0}]
    assert (tmp_path / METRICS).read_text() == lines[0] + "\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("visible", "64"), ("sizes", [1, "2", 3]), ("image_shape", [8.5]), ("context", {}), ("limits", [1.0, "2"])],
)
def test_what_a_run_says_of_its_data(tmp_path, name, value):
    document = readers._document(readers.CONFIGS[0])
    document["data"][name] = value
    save(tmp_path / CONFIG, json.dumps(document))
    with pytest.raises(RunError, match=rf"config.json: data.{name}: got"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("visible", "2"), ("levels", 1.5), ("dtype", None), ("examples", "2"), ("bytes", None)]
)
def test_what_an_index_says_of_shards(tmp_path, name, value):
    noted = json.loads(readers._index()[0])
    (noted if name in noted else noted["files"]["train"][0])[name] = value
    with pytest.raises(DataError, match=rf"cannot be read as an index of shards \({name}: got"):
        read_index(save(tmp_path / INDEX, json.dumps(noted)))


def test_the_seeds_are_read(tmp_path):
    """The first small file of a reader is whole, but where it names others that are not there."""
    for name, reader in readers.READERS.items():
        if name not in ("coil20", "csv", "index", "npz", "parquet"):
            assert readers.check(reader, reader.seeds()[0], tmp_path) is None, name
    assert Digits() == readers.CONFIGS[0].data
