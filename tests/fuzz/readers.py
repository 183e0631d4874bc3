"""The readers of files that are fuzzed: what each is given, small files to begin from, and what it must not do.

Whatever a file holds, a reader takes it or says by an error of the package what is wrong, in memory that the file's own
size justifies. `run.py` mutates by coverage; `tests/test_fuzz.py` replays small files and fixed mutations of them.
"""

import gzip
import importlib.util
import io
import json
import struct
import tracemalloc
import warnings
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import scipy.io
import scipy.sparse
from PIL import Image

from genjax_models import checkpoints, run_folder, sound
from genjax_models.config import Config
from genjax_models.data import Arrays, Digits, Files, ImageFolder, Shards, binarized_mnist, coil20, piano_rolls, speech
from genjax_models.data import write_shards as write
from genjax_models.data.image_folder import read_image
from genjax_models.data.matlab import read_variables
from genjax_models.data.midi import read_roll
from genjax_models.data.mnist import read_images, read_labels
from genjax_models.data.shard_index import INDEX, read_index
from genjax_models.errors import DataError, DataNotice, UserError
from genjax_models.export import PARAMETERS, load_export, named
from genjax_models.models import FVSBN, VAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, MaximumLikelihood, Part, ReweightedWakeSleep, Sum
from genjax_models.optimizers import Adam, Linear
from genjax_models.overlay import to_json
from genjax_models.tables import types

# What a reader may take besides, and for each byte: deflate makes 1,032 of one, which become float32 and are copied.
MEMORY, MEMORY_A_BYTE = 24 << 20, 32 * 1032
"""Bytes."""


class Reader(NamedTuple):
    """A reader: `read(content, folder)` writes the content into an empty folder where it must, and reads it."""

    read: Callable[[bytes, Path], object]
    seeds: Callable[[], list[bytes]]
    repair: Callable[[bytes], bytes] = bytes  # makes checksums right, which mutations make wrong


def file(read: Callable[[Path], object], name: str) -> Callable[[bytes, Path], object]:
    """A reader of a path."""

    def call(content: bytes, folder: Path) -> object:
        (folder / name).write_bytes(content)
        return read(folder / name)

    return call


def check(reader: Reader, content: bytes, folder: Path) -> str | None:
    """Read a file; the message where it is refused.

    Raises:
        AssertionError: more memory than the file's size justifies.
        Exception: whatever else the reader raises that is no error of the package.
    """
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataNotice)
            reader.read(content, folder)
        said = None
    except UserError as error:
        said = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= MEMORY + MEMORY_A_BYTE * len(content), f"took {peak} bytes for a file of {len(content)}"
    assert said is None or said.strip(), "refused without a word"
    return said


def mutations(seeds: list[bytes], number: int, seed: int = 0) -> Iterator[bytes]:
    """Files that are cut, with bytes changed to any or to telling ones, with parts repeated or of two files."""
    random = np.random.RandomState(seed)
    telling = [b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"9" * 12, b"-"]
    for i in range(number):
        content = bytearray(seeds[i % len(seeds)])
        for _ in range(random.randint(1, 4)):
            at = random.randint(len(content) + 1)
            kind = random.randint(6)
            if kind == 0:
                del content[at:]
            elif kind == 1 and content:
                content[min(at, len(content) - 1)] = random.randint(256)
            elif kind == 2:
                put = telling[random.randint(len(telling))]
                content[at : at + len(put)] = put
            elif kind == 3:
                content[at:at] = content[at : at + random.randint(1, 40)] * random.randint(1, 4)
            elif kind == 4:
                other = seeds[random.randint(len(seeds))]
                content[at:] = other[random.randint(len(other) + 1) :]
            else:
                del content[at : at + random.randint(1, 9)]
        yield bytes(content)


# Small files.


def _idx(shape: tuple[int, ...], values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape) + values.astype(np.uint8).tobytes()


def _idx_seeds(shape: tuple[int, ...]) -> list[bytes]:
    plain = _idx(shape, np.arange(np.prod(shape)) % 10)
    return [plain, gzip.compress(plain, mtime=0), _idx((2**32 - 1,) * len(shape), np.zeros(4)), b""]


def _saved(save: Callable, *args, **kwargs) -> bytes:
    out = io.BytesIO()
    save(out, *args, **kwargs)
    return out.getvalue()


def _matlab(compress: bool = False, **variables) -> bytes:
    return _saved(scipy.io.savemat, variables, do_compression=compress)


def _cells(*rolls: np.ndarray) -> np.ndarray:
    out = np.empty((1, len(rolls)), object)
    out[0] = rolls
    return out


def _rolls() -> list[bytes]:
    roll = np.eye(3, 88, dtype=np.uint8)
    parts = {name: _cells(roll, roll[:2]) for name in piano_rolls.SPLITS}
    return [_matlab(**parts), _matlab(True, **parts), _matlab(traindata=_cells(_cells(roll)))]


def _amat() -> list[bytes]:
    row = b"0 " * 783 + b"1\n"
    x = np.eye(2, 784, dtype=np.uint8)
    return [row * 2, b"0 1\n", _matlab(X=x), _matlab(True, X=x), _matlab(X=x * 0.5, y="text"), _matlab(X={"a": x})]


def _coil() -> list[bytes]:
    return [_matlab(True, fea=np.zeros((2, 4)), gnd=np.ones((2, 1))), _matlab(fea="text", gnd=np.ones((2, 1)))]


def _variables() -> list[bytes]:
    kinds = {
        "numbers": np.eye(2),
        "complex": np.eye(2) * 1j,
        "bits": np.eye(2) > 0,
        "text": "text",
        "struct": {"a": 1.0, "b": "text"},
        "cells": _cells(np.eye(2), _cells(np.eye(1))),
        "sparse": scipy.sparse.csc_matrix(np.eye(2)),
        "wide": np.arange(6, dtype=np.int64).reshape(1, 2, 3),
    }
    return [_matlab(i % 2 > 0, X=value, other=1.0) for i, value in enumerate(kinds.values())] + [_nested(100)]


def _nested(depth: int) -> bytes:
    """A cell array within one within one, and so on."""
    inner = b""
    for _ in range(depth):
        head = struct.pack("<4I4I", 6, 8, 1, 0, 5, 8, 1, 1) + struct.pack("<HHI", 1, 1, ord("X"))
        inner = struct.pack("<II", 14, len(head) + len(inner)) + head + inner
    return _matlab()[:128] + inner


def _read_variables(content: bytes, folder: Path) -> None:
    """Which leaves it to its callers to say what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_variables(content, ["X"])
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(repr(error)) from error


X = np.arange(24.0).reshape(12, 2)


def _npy() -> list[bytes]:
    arrays = [X, X.astype(np.uint8), X > 3, np.asfortranarray(X), X.astype("S2"), X.astype("f2,f2"), np.array(3.0)]
    found = [_saved(np.save, x) for x in arrays]
    head = b"\x93NUMPY\x01\x00"
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 2), }\n"
    return [*found, head + struct.pack("<H", len(text)) + text]


def _npz() -> list[bytes]:
    labels = np.arange(12)
    parts = dict.fromkeys(("train", "valid", "test"), X)
    named = {f"{name}_labels": labels for name in parts}
    whole = _saved(np.savez, **parts, **named)
    small = _saved(np.savez_compressed, a=X.astype(np.uint8))
    empty = {f"{name}_labels": labels[:0] for name in parts}
    return [whole, small, _saved(np.savez, **dict.fromkeys(parts, X[:0]), **empty), _zip({"a": b"text"})]


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _csv() -> list[bytes]:
    rows = "".join(f"{i},{i / 4},{'ab'[i % 2]}\n" for i in range(12))
    return [
        f"x,y,kind\n{rows}".encode(),
        ("\ufeffx,y,kind\r\n" + rows.replace("\n", "\r\n")).encode(),
        b'"1","2",3\n,,4\n1e400,nan,5\n',
        "".join(f"{i};{99**i};{10**i}\n" for i in range(12)).replace(";", ",").encode(),
        b"",
    ]


def _wav() -> list[bytes]:
    found = []
    for channels, width in ((1, 2), (2, 2), (1, 1)):
        out = io.BytesIO()
        with wave.open(out, "wb") as sounds:
            sounds.setparams((channels, width, 8000, 0, "NONE", ""))
            sounds.writeframes(bytes(range(48)))
        found.append(out.getvalue())
    for kind, bits, channels in ((1, 24, 2), (1, 32, 1), (3, 32, 1), (3, 64, 2)):
        x = np.linspace(-1, 1, 12)
        plain = x.astype(f"<f{bits // 8}").tobytes() if kind == 3 else bytes(range(48))
        found += [riff(plain, kind, bits, channels), riff(plain, kind, bits, channels, extensible=True)]
    return found


def riff(data: bytes, kind: int, bits: int, channels: int, rate: int = 8000, extensible: bool = False) -> bytes:
    """A WAV file of samples as they are, in format 1 (integers) or 3 (floats)."""
    block = bits // 8 * channels
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * block, block, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, kind) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _speech() -> list[bytes]:
    return [
        _zip({"1_a_0.wav": _wav()[0], "x/2_b_7.wav": _wav()[0], "other.txt": b"text"}),
        _zip({"1_a_0.wav": b"RIFF"}),
    ]


def _midi() -> list[bytes]:
    def track(body: bytes) -> bytes:
        return b"MTrk" + struct.pack(">I", len(body)) + body

    first = (
        b"\x00\xff\x51\x03\x07\xa1\x20\x02\x90\x3c\x40\x01\x3e\x40\x00\xf0\x02\x01\xf7\x81\x00\x3c\x00\x00\xff\x2f\x00"
    )
    head = struct.pack(">4sIHHH", b"MThd", 6, 1, 2, 4)
    return [sound.midi(np.eye(4, 88, dtype=int)), head + track(first) + track(b"\x00\x99\x24\x40\x00\xff\x2f\x00")]


def _images() -> list[bytes]:
    grey = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    found = [_saved(grey.save, kind) for kind in ("png", "jpeg", "bmp", "gif", "webp", "ppm")]
    found += [_saved(grey.save, "tiff", compression=c) for c in ("raw", "tiff_lzw", "tiff_adobe_deflate")]
    for mode in ("1", "RGB", "RGBA", "P", "I;16"):
        deep = Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 999)
        found.append(_saved((deep if mode == "I;16" else grey.convert(mode)).save, "png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [*found, _saved(grey.save, "jpeg", exif=exif), _png_of(8192, 8192)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


def _repair_png(content: bytes) -> bytes:
    """With the checksums that the chunks of a PNG ought to have; anything else as it is."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return content
    out, at = content[:8], 8
    while at + 8 <= len(content):
        size = min(struct.unpack_from(">I", content, at)[0], len(content) - at - 8)
        body = content[at + 4 : at + 8 + size]
        out += content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return out


CONFIGS = [
    Config(VAE(2, MLP((3,)), MLP((3,))), ELBO(beta=Linear()), Adam(), Digits()),
    Config(FVSBN(), MaximumLikelihood(), Adam(Linear()), Files("x.csv")),
    Config(
        SigmoidBeliefNetwork((3,)), Sum((Part(ReweightedWakeSleep(), 0.5), Part(ReweightedWakeSleep()))), Adam(),
        ImageFolder("x", size=(2, 2)),
    ),
]  # fmt: skip


def _document(config: Config, visible: int = 64) -> dict:
    data = {"visible": visible, "image_shape": [8, 8], "sizes": [900, 20, 20], "checksum": 7, "context": None}
    return {"format": run_folder.FORMAT, "config": to_json(config, types()), "data": data}


def _configs() -> list[bytes]:
    found = [json.dumps(_document(config)).encode() for config in CONFIGS]
    deep = b'{"format": 1, "config": ' + b"[" * 600 + b"]" * 600 + b', "data": {}}'
    return [*found, found[0].replace(b'"seed": 0', b'"seed": 1' + b"0" * 400), deep, b"[" * 5000, b"{}"]


def _read_config(path: Path) -> None:
    data = run_folder.open_run(path.parent).data
    assert isinstance(data.visible, int)
    assert all(isinstance(size, int) for size in data.sizes)


def _results() -> list[bytes]:
    result = {"test_nll": -3.5, "steps": 7, "name": "vae", "nothing": None, "curve": [1, 2.5]}
    rows = [{"step": 1, "bound": -3.0}, {"step": 2, "bound": float("nan")}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return [json.dumps(result).encode(), lines.encode(), b"[" * 5000, b'3\n"text"\n[]\nnull\n{}\n{"step": null}\n']


def _read_results(content: bytes, folder: Path) -> None:
    """Both kinds that a run folder has."""
    (folder / run_folder.RESULT).write_bytes(content)
    (folder / run_folder.METRICS).write_bytes(content)
    for row in run_folder.Metrics(folder / run_folder.METRICS, 1 << 40).rows:
        assert isinstance(row["step"], int)
    assert isinstance(run_folder.read_result(folder), dict)


def _by_example() -> list[bytes]:
    values = {"nll": np.arange(3.0), "bound": np.zeros(3)}
    figures = {"test_nll": 1.0, "test_nll_samples": 5}
    return [_saved(np.savez, rows=np.arange(3), figures=np.array(json.dumps(figures)), **values), *_npz()]


def _read_by_example(path: Path) -> None:
    found = run_folder.read_by_example(path)
    assert isinstance(found.figures, dict)


def _manifest() -> list[bytes]:
    import hashlib

    noted = {"step": 3, "seconds": 1.5, "metric": None, "pending": [0.0, 0], "files": {"a": "b"}, "leaves": {}}
    text = json.dumps(noted)
    return [json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()}).encode() + b"\n" + text.encode(), b"[\n["]


def _repair_manifest(content: bytes) -> bytes:
    """With the hash of what comes after the first line."""
    import hashlib

    text = content.split(b"\n", 1)[-1]
    return json.dumps({"sha256": hashlib.sha256(text).hexdigest()}).encode() + b"\n" + text


def _read_manifest(content: bytes, folder: Path) -> None:
    (folder / checkpoints.MANIFEST).write_bytes(content)
    found, files, leaves = checkpoints.read_manifest(folder)
    assert isinstance(found.step, int)
    assert isinstance(files, dict)
    assert isinstance(leaves, dict)


def _index() -> list[bytes]:
    """The index of a small folder of shards."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "shards"
        write(folder, X.astype(np.float32), X[:2].astype(np.float32), X[:3].astype(np.float32))
        return [(folder / INDEX).read_bytes(), b"[" * 5000, b"null"]


def _read_index(content: bytes, folder: Path) -> None:
    """The index, and the shards that it names, of which there are none."""
    (folder / INDEX).write_bytes(content)
    read_index(folder / INDEX)
    Shards(str(folder)).load()


def _parameters() -> list[bytes]:
    from safetensors.numpy import save

    arrays = {
        name: np.asarray(v) for name, v in named(FVSBN().build(2).init(jax.random.key(0), np.zeros(2), ())).items()
    }
    head = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'
    return [save(arrays, {"step": "3"}), struct.pack("<Q", len(head)) + head + bytes(4), struct.pack("<Q", 2**60)]


def _read_parameters(content: bytes, folder: Path) -> None:
    (folder / run_folder.CONFIG).write_text(json.dumps(_document(CONFIGS[1], visible=2)))
    (folder / PARAMETERS).write_bytes(content)
    load_export(folder)


def _every(*calls: Callable[[Path], object]) -> Callable[[Path], None]:
    """All of these readers, one after another, each whether the one before refused or not."""

    def call(path: Path) -> None:
        said = None
        for read in calls:
            try:
                read(path)
            except UserError as error:
                said = error
        if said is not None:
            raise said

    return call


READERS: dict[str, Reader] = {
    "idx_images": Reader(file(read_images, "x"), lambda: _idx_seeds((3, 2, 2))),
    "idx_labels": Reader(file(read_labels, "x"), lambda: _idx_seeds((5,))),
    "amat": Reader(file(binarized_mnist.read, "x.amat"), _amat),
    "rolls": Reader(file(piano_rolls.read, "x.mat"), _rolls),
    "matlab": Reader(_read_variables, _variables),
    "coil20": Reader(file(coil20.read, "x.mat"), _coil),
    "npy": Reader(file(lambda path: Arrays(str(path)).load(), "x.npy"), _npy),
    "npz": Reader(
        file(
            _every(
                lambda path: Arrays(str(path)).load(),
                lambda path: Arrays(str(path)).labels(),
                lambda path: Files(str(path), array="a", scaling="unit").load(),
            ),
            "x.npz",
        ),
        _npz,
    ),
    "npz_array": Reader(  # the fuzzed array within a whole archive
        lambda content, folder: file(lambda path: Arrays(str(path)).load(), "x.npz")(_zip({"a.npy": content}), folder),
        _npy,
    ),
    "csv": Reader(
        file(
            _every(
                lambda path: Files(str(path), scaling="unit").load(),
                lambda path: Files(str(path), label="kind").load(),
                lambda path: Files(str(path), label="kind").labels(),
                lambda path: Files(str(path), label="2", header=False).labels(),
            ),
            "x.csv",
        ),
        _csv,
    ),
    "wav": Reader(lambda content, folder: speech.read_wav(content, "x", "Mend it."), _wav),
    "speech": Reader(file(speech.read, "x.zip"), _speech),
    "midi": Reader(lambda content, folder: read_roll(content, "x", 4), _midi),
    "image": Reader(
        file(_every(lambda path: read_image(path, (2, 2)), lambda path: read_image(path, (3, 2), "rgb")), "x"),
        _images,
        _repair_png,
    ),
    "config": Reader(file(_read_config, run_folder.CONFIG), _configs),
    "result": Reader(_read_results, _results),
    "by_example": Reader(file(_read_by_example, "x.npz"), _by_example),
    "manifest": Reader(_read_manifest, _manifest, _repair_manifest),
    "index": Reader(_read_index, _index),
    "parameters": Reader(_read_parameters, _parameters),
}


def _parquet() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"x": X[:, 0], "n": list(range(12)), "kind": ["a", "b"] * 6})
    return [_saved(lambda out, c=c: parquet.write_table(table, out, compression=c)) for c in ("none", "snappy")]


if importlib.util.find_spec("pyarrow") is not None:
    READERS["parquet"] = Reader(
        file(
            _every(
                lambda path: Files(str(path), label="kind").load(), lambda path: Files(str(path), label="kind").labels()
            ),
            "x.parquet",
        ),
        _parquet,
    )
