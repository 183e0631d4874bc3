"""MNIST, from its original idx files."""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.arrays import MOST_DEFLATED
from genjax_models.data.dataset import (
    BINARIZATION_HELP,
    DEQUANTIZATION_HELP,
    Binarization,
    Dataset,
    Dequantization,
    Labels,
    check_noise,
    from_intensities,
)
from genjax_models.data.download import fetch
from genjax_models.data.folder import data_folder, find, locate, read_bytes
from genjax_models.errors import DataError

SUBFOLDER = "mnist"
MOST_PIXELS = 2**31  # of an image; numpy makes no array of more, not even of no images
VALIDATION = 10_000
IMAGE_SHAPE = (28, 28)
# Unsigned bytes (8) in three dimensions, and in one.
IMAGE_MAGIC, LABEL_MAGIC = 0x0803, 0x0801
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
TRAIN_LABELS, TEST_LABELS = "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"
SUFFIXES = ("", ".gz")
# Of the uncompressed files: the gzip files of different mirrors differ.
SHA256 = {
    TRAIN: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TEST: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
LABEL_SHA256 = {
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FIX = (
    "They are files of MNIST (LeCun, Cortes and Burges), as its mirrors have them, gzipped or not; set the field "
    "`download` to a mirror's address to have them fetched."
)


def _read(path: Path, magic: int, kind: str, other: str) -> np.ndarray:
    """The bytes of an idx file, gzipped or not, in the shape that its header says."""
    data = read_bytes(path)
    again = "Fetch the file again."
    dimensions = magic & 0xFF  # the last byte of the magic number
    header = 4 + 4 * dimensions
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(header)
                # One more than the header says, and no more than can come of the file, whatever the header says.
                claimed = math.prod(struct.unpack(f">{dimensions + 1}I", data)[1:]) if len(data) == header else 0
                data += file.read(min(claimed, MOST_DEFLATED * path.stat().st_size) + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: expected a whole gzip file, found a broken one ({error}). {again}") from error
    if len(data) < header:
        raise DataError(f"{path}: got {len(data)} bytes, expected an idx header of {header} bytes and {kind}. {again}")
    found, *shape = struct.unpack(f">{dimensions + 1}I", data[:header])
    if found != magic:
        raise DataError(
            f"{path}: got the magic number {found:#010x}, expected {magic:#010x} (an idx file of {kind}: unsigned "
            f"bytes with axes {'N, H, W' if dimensions == 3 else 'N'}). Put the file of {kind} here, not of {other}."
        )
    size, expected = len(data) - header, math.prod(shape)
    if not 0 < math.prod(shape[1:]) < MOST_PIXELS:
        raise DataError(
            f"{path}: got {kind} of {'x'.join(map(str, shape[1:]))}, expected from 1 to {MOST_PIXELS - 1} pixels. "
            f"{again}"
        )
    if size != expected:
        of_each = f" of {'x'.join(map(str, shape[1:]))}" if shape[1:] else ""
        raise DataError(
            f"{path}: got {size} bytes of {'pixels' if of_each else kind}, expected {expected} for the {shape[0]} "
            f"{kind}{of_each} of its header: it is truncated or has trailing bytes. {again}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_images(path: Path) -> np.ndarray:
    """The images [N, H, W], uint8, of an idx file, gzipped or not.

    Raises:
        DataError: a broken gzip file, another magic number, or more or fewer bytes than the header says.
    """
    return _read(path, IMAGE_MAGIC, "images", "labels")


def read_labels(path: Path) -> np.ndarray:
    """The labels [N], uint8, of an idx file, gzipped or not.

    Raises:
        DataError: as `read_images`, or a label above 9.
    """
    labels = _read(path, LABEL_MAGIC, "labels", "images")
    if labels.size and labels.max() > 9:
        raise DataError(f"{path}: got the label {labels.max()}, expected digits from 0 to 9. Fetch the file again.")
    return labels


def _intensities(images: np.ndarray) -> np.ndarray:
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows /= 255
    return rows


@config
class MNIST(DataConfig):
    """The handwritten digits of MNIST, 28x28 pixels: 50,000 train, 10,000 validation, 10,000 test.

    The validation split is the last 10,000 training images; intensities are divided by 255. The files
    `train-images-idx3-ubyte` and `t10k-images-idx3-ubyte`, with `.gz` or without, lie in the data folder or its
    subfolder `mnist`; labels, in `train-labels-idx1-ubyte` and `t10k-labels-idx1-ubyte`, are read only when asked for.
    """

    citation: ClassVar[str] = "LeCun, Bottou, Bengio and Haffner 1998"
    binarization: Binarization = field(default="dynamic", help=BINARIZATION_HELP)
    dequantization: Dequantization | None = field(default=None, help=DEQUANTIZATION_HELP)
    download: str | None = field(
        default=None, nonempty=True, help="base address of the gzipped files, to fetch what is missing; None: never"
    )

    @property
    def levels(self) -> int:
        """Grey levels."""
        return 256

    def check(self) -> list[str]:
        return check_noise(self.binarization, self.dequantization, self.levels)

    def _find(self, data_dir: str | None, sha256: dict[str, str]) -> list[Path]:
        """The paths of the files, fetched where they are missing and there is an address."""
        if self.download is not None:
            for name, digest in sha256.items():
                if locate(data_dir, name, SUBFOLDER, SUFFIXES) is None:
                    address = f"{self.download.rstrip('/')}/{name}.gz"
                    fetch(address, digest, data_folder(data_dir) / SUBFOLDER / name, gunzip=True)
        return find(data_dir, tuple(sha256), SUBFOLDER, FIX, SUFFIXES)

    def labels(self, data_dir: str | None = None) -> Labels:
        """Which digit each image is, 0 to 9.

        Raises:
            DataError: a file is missing or broken, or has another number of labels than there are images.
        """
        validate(self)
        found = []
        for path, images in zip(self._find(data_dir, LABEL_SHA256), self._find(data_dir, SHA256), strict=True):
            found.append(read_labels(path).astype(np.int64))
            if len(found[-1]) != (number := len(read_images(images))):
                raise DataError(
                    f"{path}: got {len(found[-1])} labels for the {number} images of {images}; put both files of one "
                    "data set here."
                )
        train, test = found
        return Labels(train[:-VALIDATION], train[-VALIDATION:], test)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 784.

        Raises:
            DataError: a file is missing, broken, or not of 28x28 images.
        """
        validate(self)
        images = []
        for path in self._find(data_dir, SHA256):
            images.append(read_images(path))
            if images[-1].shape[1:] != IMAGE_SHAPE:
                raise DataError(
                    f"{path}: got images of shape {images[-1].shape[1:]}, expected {IMAGE_SHAPE}. Put the file of "
                    "MNIST here; load other images by the source `arrays`."
                )
            least = VALIDATION + 1 if len(images) == 1 else 1
            if len(images[-1]) < least:
                raise DataError(
                    f"{path}: got {len(images[-1])} images, expected at least {least}: the last {VALIDATION} training "
                    "images are the validation split. Put the whole file of MNIST here."
                )
        train, test = (_intensities(x) for x in images)
        parts = train[:-VALIDATION], train[-VALIDATION:], test
        return from_intensities(
            *parts, self.binarization, IMAGE_SHAPE, SUBFOLDER, levels=self.levels, dequantization=self.dequantization
        )
