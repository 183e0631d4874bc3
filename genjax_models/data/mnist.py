"""MNIST, from its original idx files."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import (
    BINARIZATION_HELP,
    DEQUANTIZATION_HELP,
    Binarization,
    Dataset,
    Dequantization,
    check_noise,
    from_intensities,
)
from genjax_models.data.download import fetch
from genjax_models.data.folder import data_folder, find, locate, read_bytes
from genjax_models.errors import DataError

SUBFOLDER = "mnist"
VALIDATION = 10_000
IMAGE_SHAPE = (28, 28)
# Unsigned bytes (8) in three dimensions.
IMAGE_MAGIC = 0x0803
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
# Of the uncompressed files: the gzip files of different mirrors differ.
SHA256 = {
    TRAIN: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TEST: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
FIX = (
    "They are the image files of MNIST (LeCun, Cortes and Burges), as its mirrors have them, gzipped or not; set the "
    "field `download` to a mirror's address to have them fetched."
)


def read_images(path: Path) -> np.ndarray:
    """The images [N, H, W], uint8, of an idx file, gzipped or not.

    Raises:
        DataError: a broken gzip file, another magic number, or more or fewer bytes than the header says.
    """
    data = read_bytes(path)
    again = "Fetch the file again."
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: expected a whole gzip file, found a broken one ({error}). {again}") from error
    if len(data) < 16:
        raise DataError(f"{path}: got {len(data)} bytes, expected an idx header of 16 bytes and images. {again}")
    magic, *shape = struct.unpack(">4I", data[:16])
    if magic != IMAGE_MAGIC:
        raise DataError(
            f"{path}: got the magic number {magic:#010x}, expected {IMAGE_MAGIC:#010x} (an idx file of images: "
            "unsigned bytes in three dimensions). Put the file of images here, not of labels."
        )
    size, expected = len(data) - 16, math.prod(shape)
    if size != expected:
        raise DataError(
            f"{path}: got {size} bytes of pixels, expected {expected} for the {shape[0]} images of "
            f"{shape[1]}x{shape[2]} of its header: it is truncated or has trailing bytes. {again}"
        )
    return np.frombuffer(data, np.uint8, offset=16).reshape(shape)


def _intensities(images: np.ndarray) -> np.ndarray:
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows /= 255
    return rows


@config
class MNIST(DataConfig):
    """The handwritten digits of MNIST, 28x28 pixels: 50,000 train, 10,000 validation, 10,000 test.

    The validation split is the last 10,000 training images; intensities are divided by 255. The files
    `train-images-idx3-ubyte` and `t10k-images-idx3-ubyte`, with `.gz` or without, lie in the data folder or its
    subfolder `mnist`; labels are not needed.
    """

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
        return check_noise(self.binarization, self.dequantization)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = 784.

        Raises:
            DataError: a file is missing, broken, or not of 28x28 images.
        """
        validate(self)
        suffixes = ("", ".gz")
        if self.download is not None:
            for name, sha256 in SHA256.items():
                if locate(data_dir, name, SUBFOLDER, suffixes) is None:
                    address = f"{self.download.rstrip('/')}/{name}.gz"
                    fetch(address, sha256, data_folder(data_dir) / SUBFOLDER / name, gunzip=True)
        images = []
        for path in find(data_dir, (TRAIN, TEST), SUBFOLDER, FIX, suffixes):
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
