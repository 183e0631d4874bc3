"""A user's own folder of images."""

import io
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.arrays import require_room
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
from genjax_models.data.own_folder import Found, classes_by_folder, find_in_folder, require_all
from genjax_models.data.own_rows import check_fractions, parted
from genjax_models.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm")
# No others: some of Pillow's readers start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
DENSE = ("PNG", "JPEG", "BMP", "GIF", "PPM")  # a pixel of these takes some share of a bit at least
MOST_PIXELS_A_BYTE = 1 << 14
MOST_PIXELS = 1 << 26  # of one image, 8192 x 8192; a small file may claim any number
CHANNELS = {"grey": 1, "rgb": 3}
Color = Literal["grey", "rgb"]


def _flat(image: Any, color: Color) -> Any:
    """A Pillow image in grey or RGB bytes, on white where it is transparent.

    Raises:
        DataError: pixels of other kinds than 8 or 16 bits.
    """
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    if image.mode not in MODES:
        raise DataError(f"has pixels of mode {image.mode!r}, expected 8 or 16 bits; save it as such")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if color == "grey" else "RGB")


def decode_image(content: bytes, size: tuple[int, int] | None, color: Color) -> np.ndarray:
    """An image as bytes [height, width, channels], as `read_image` has it; of its own size where that is None.

    Raises:
        DataError: an image that is animated, smaller than `size`, or of more pixels than 8192 x 8192; other errors of
            Pillow where it is broken.
    """
    # Imported here: no other source needs it. Of bytes in memory it takes no more than there are, whatever is claimed.
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what counts is whether the pixels can be read
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"claims {image.width} x {image.height} pixels, more than the {MOST_PIXELS} that are read; "
                    "make it smaller first"
                )
            if image.format in DENSE and image.width * image.height > MOST_PIXELS_A_BYTE * len(content):
                raise DataError(f"claims {image.width} x {image.height} pixels in {len(content)} bytes; save it again")
            # MPO has other views of the same picture behind the first, as some cameras save them.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise DataError("has several frames, an animation or pages; save the one that is wanted alone")
            image.load()
            upright = ImageOps.exif_transpose(image)
            height, width = size or (upright.height, upright.width)
            if upright.height < height or upright.width < width:
                raise DataError(
                    f"is {upright.height} pixels high and {upright.width} wide, smaller than size {height} x "
                    f"{width}; give a smaller size, or leave it out"
                )
            fitted = ImageOps.fit(_flat(upright, color), (width, height), Image.Resampling.BOX)
            return np.asarray(fitted, np.uint8).reshape(height, width, CHANNELS[color])


def read_image(path: Path, size: tuple[int, int], color: Color = "grey") -> np.ndarray:
    """An image as bytes [height, width, channels]: turned as its EXIF data say, the middle cut out in the shape of
    `size`, and every pixel the mean of those that it covers.

    Args:
        path: the file.
        size: height and width.
        color: "grey" for one channel, "rgb" for three.

    Raises:
        DataError: a file that is no image, broken, animated, smaller than `size`, or of more pixels than 8192 x 8192.
    """
    try:
        return decode_image(path.read_bytes(), size, color)
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error
    # Broken files make Pillow raise errors of many kinds, and bombs one of its own.
    except Exception as error:
        what = "is empty" if path.is_file() and not path.stat().st_size else f"cannot be read as an image ({error})"
        raise DataError(f"{path}: {what}; replace it, or leave it out.") from error


@config
class ImageFolder(DataConfig):
    """Your own images, from a folder with sub-folders: PNG, JPEG, BMP, GIF, WebP, TIFF and portable maps, as bytes.

    Each becomes grey or RGB, the middle of it in the shape of `size` is cut out, and made as small by means over areas;
    what is transparent becomes white, and photographs are turned upright. Values are k / 255. Sub-folders named
    `train` (or `training`), `valid` (or `validation`, `val`, `dev`) and `test` (or `testing`), in any letter case, are
    the splits, and validation or test, if missing, is a share of the training split; otherwise the images, in the order
    of their paths, are split by a fixed permutation. The first sub-folder below, where there is one, is an image's
    class, and `labels` numbers the classes in sorted order. Every file is checked, and what cannot be used is named,
    before anything is trained; hidden files and files of other kinds are left out. `genjax-models inspect-data FOLDER`
    says what is in a folder.
    """

    path: str = field(nonempty=True, help="the folder; looked for from the working folder, then in the data folder")
    size: tuple[int, int] = field(default=(32, 32), ge=1, help="height and width that the images are brought to")
    color: Color = field(default="grey", help="grey: one channel; rgb: three")
    binarization: Binarization = field(default="none", help=BINARIZATION_HELP)
    dequantization: Dequantization | None = field(default=None, help=DEQUANTIZATION_HELP)
    validation_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the images for validation, where no folder has them"
    )
    test_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the images for test, where no folder has them"
    )

    @property
    def levels(self) -> int:
        """Grey levels."""
        return 256

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        return [
            *check_noise(self.binarization, self.dequantization, self.levels),
            *check_fractions(self.validation_fraction, self.test_fraction),
        ]

    def _images(self, data_dir: str | None) -> tuple[Path, dict[str, list[Found]]]:
        """The folder, and its images by split or under "all"."""
        validate(self)
        return find_in_folder(self.path, data_dir, SUFFIXES, "images")

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = height * width * channels, all in memory.

        Raises:
            DataError: no such folder or no images in it; images that cannot be read, are animated, too small or too
                large, by name.
        """
        folder, found = self._images(data_dir)
        number, pixels = sum(map(len, found.values())), self.size[0] * self.size[1] * CHANNELS[self.color]
        require_room(4 * number * pixels, str(folder))
        wrong: list[str] = []

        def read_all(images: list[Found]) -> np.ndarray:
            out = np.zeros((len(images), pixels), np.uint8)
            for row, image in enumerate(images):
                try:
                    out[row] = read_image(image.path, self.size, self.color).ravel()
                except DataError as error:
                    wrong.append(str(error))
            return out

        rows = {name: read_all(images) for name, images in found.items()}
        require_all(folder, wrong, number, "images")
        parts = parted(rows, str(folder), self.validation_fraction, self.test_fraction)
        train, validation, test = (x.astype(np.float32) / 255 for x in parts)
        shape = self.size if self.color == "grey" else (*self.size, 3)
        noise = self.levels, self.dequantization
        return from_intensities(train, validation, test, self.binarization, shape, str(folder), *noise)

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The class of each image by its sub-folder; None where there are no sub-folders.

        Raises:
            DataError: no such folder or no images in it; some images in sub-folders and others in none.
        """
        folder, found = self._images(data_dir)
        classes = classes_by_folder(folder, found)
        if classes is None:
            return None
        return Labels(*parted(classes, str(folder), self.validation_fraction, self.test_fraction))
