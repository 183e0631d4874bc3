"""Folders of images: what their pixels become, in which order and splits, and what is said of files that fail."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from genjax_models.config import validate
from genjax_models.data import ImageFolder, require_labels
from genjax_models.data.image_folder import read_image
from genjax_models.errors import ConfigError, DataError

PIXELS = np.random.RandomState(0).randint(0, 256, (24, 4, 6)).astype(np.uint8)


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Twenty grey images 4 x 6 in two classes, and what is no image beside them."""
    for i in range(20):
        save(tmp_path / "set" / ("cats" if i % 2 else "ants") / f"{i:02}.png", PIXELS[i])
    (tmp_path / "set" / "notes.txt").write_text("no image")
    (tmp_path / "set" / ".hidden.png").write_text("no image")
    (tmp_path / "set" / ".trash").mkdir()
    (tmp_path / "set" / ".trash" / "x.png").write_text("no image")
    return tmp_path / "set"


def test_images_in_the_order_of_their_paths(folder):
    """All of them, bit for bit where nothing is resized, split by the fixed permutation, with their classes."""
    source = ImageFolder(str(folder), size=(4, 6))
    data, labels = source.load(), require_labels(source)
    assert (data.support, data.image_shape, data.levels) == ("unit", (4, 6), 256)
    order = np.random.RandomState(0).permutation(20)  # of ants/00, ants/02, ..., cats/01, ...
    expected = np.concatenate([PIXELS[0:20:2], PIXELS[1:20:2]])[order].reshape(20, 24)
    assert [len(x) for x in data[:3]] == [16, 2, 2]
    assert np.array_equal(np.concatenate(data[:3]), expected.astype(np.float32) / 255)
    assert np.array_equal(np.concatenate(labels), np.repeat([0, 1], 10)[order])
    binary = ImageFolder(str(folder), size=(4, 6), binarization="threshold").load()
    assert np.array_equal(binary.train, data.train > 0.5)
    assert ImageFolder(str(folder), size=(4, 6), dequantization="dynamic").load().dynamic
    # From the data folder, too.
    assert np.array_equal(ImageFolder("set", size=(4, 6)).load(str(folder.parent)).test, data.test)


def test_folders_of_splits_and_links(tmp_path):
    for name, count in (("train", 5), ("val", 2), ("test", 3)):
        for i in range(count):
            save(tmp_path / "a" / name / f"kind{i % 2}" / "deep" / f"{i}.png", PIXELS[i])
    source = ImageFolder(str(tmp_path / "a"), size=(4, 6))
    assert [len(x) for x in source.load()[:3]] == [5, 2, 3]
    assert [x.tolist() for x in require_labels(source)] == [[0, 0, 0, 1, 1], [0, 1], [0, 0, 1]]
    # A folder may be a link to another, but is not gone round in circles.
    (tmp_path / "a" / "train" / "kind0" / "circle").symlink_to(tmp_path / "a" / "train")
    (tmp_path / "a" / "train" / "kind2").symlink_to(tmp_path / "a" / "val" / "kind0")
    assert [len(x) for x in source.load()[:3]] == [6, 2, 3]


@pytest.mark.parametrize(
    "names", [("Train", "Valid", "Test"), ("training", "VAL", "Testing"), ("TRAIN", "dev", "test")]
)
def test_folders_of_splits_by_any_usual_name(tmp_path, names):
    for name, count in zip(names, (3, 1, 2), strict=True):
        for i in range(count):
            save(tmp_path / name / f"{i}.png", PIXELS[i])
    source = ImageFolder(str(tmp_path), size=(4, 6))
    assert [len(x) for x in source.load()[:3]] == [3, 1, 2]
    assert source.labels() is None
    save(tmp_path / "validation" / "0.png", PIXELS[0])
    twice = " and ".join(sorted([names[1], "validation"]))
    with pytest.raises(DataError, match=rf"has the sub-folders {twice}, which both name the validation split"):
        source.load()


def test_center_crop_and_means_over_areas(tmp_path):
    """The middle in the shape that is asked for; of a whole factor each pixel is the mean of a block."""
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = np.arange(16).reshape(4, 4) * 16
    path = save(tmp_path / "wide.png", wide)
    assert np.array_equal(read_image(path, (4, 4))[..., 0], wide[:, 3:7])
    blocks = wide[:, 3:7].reshape(2, 2, 2, 2).mean(axis=(1, 3))
    assert np.array_equal(read_image(path, (2, 2))[..., 0], blocks)
    path = save(tmp_path / "tall.png", wide.T)
    assert np.array_equal(read_image(path, (2, 2))[..., 0], blocks.T)


def test_every_kind_of_pixel(tmp_path):
    """Grey, palettes, bits, 16 bits, transparency and photographs that lie on their side."""
    grey = PIXELS[0]
    rgb = PIXELS[:3].transpose(1, 2, 0)
    luminance = np.asarray(Image.fromarray(rgb).convert("L"))
    sixteen = grey.astype(np.uint16) * 257
    bits = (grey > 99).astype(np.uint8) * 255
    clear = np.concatenate([rgb, np.where(grey > 99, 255, 0).astype(np.uint8)[..., None]], axis=2)
    on_white = np.where(clear[..., 3:] > 0, rgb, 255)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    palette = Image.fromarray(rgb).quantize(256)
    cases = [
        (save(tmp_path / "grey.png", grey), grey, None),
        (save(tmp_path / "grey.bmp", grey), grey, None),
        (save(tmp_path / "grey.pgm", grey), grey, None),
        (save(tmp_path / "grey.gif", grey), grey, None),
        (save(tmp_path / "rgb.webp", rgb, lossless=True), luminance, rgb),
        (save(tmp_path / "rgb.tiff", rgb), luminance, rgb),
        (save(tmp_path / "sixteen.png", sixteen), grey, None),
        (save(tmp_path / "bits.png", bits, "1"), bits, None),
        (save(tmp_path / "clear.png", clear), np.asarray(Image.fromarray(on_white).convert("L")), on_white),
        (save(tmp_path / "palette.png", palette), None, np.asarray(palette.convert("RGB"))),
    ]
    for path, in_grey, in_rgb in cases:
        if in_grey is not None:
            assert np.array_equal(read_image(path, (4, 6))[..., 0], in_grey), path
            in_rgb = np.repeat(in_grey[..., None], 3, axis=2) if in_rgb is None else in_rgb
        assert np.array_equal(read_image(path, (4, 6), "rgb"), in_rgb), path
    side = save(tmp_path / "side.png", grey, exif=turned)
    assert np.array_equal(read_image(side, (6, 4))[..., 0], np.rot90(grey, -1))
    # A camera's second view of the same picture is no animation.
    views = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (100, 200)]
    views[0].save(tmp_path / "views.jpg", format="MPO", save_all=True, append_images=views[1:])
    assert np.array_equal(np.unique(read_image(tmp_path / "views.jpg", (4, 4))), [100])


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(edge):
    """A PNG of a few bytes that claims edge x edge pixels."""
    head = struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_files_that_cannot_be_used_are_all_named(folder):
    """Before anything is trained, with what is wrong with each; a long list is cut."""
    frames = [Image.fromarray(x) for x in PIXELS[:2]]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    (folder / "bomb.png").write_bytes(bomb(60_000))
    (folder / "large.png").write_bytes(bomb(8_200))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>")
    (folder / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    save(folder / "small.png", PIXELS[0, :3])
    save(folder / "real.tif", PIXELS[0].astype(np.float32))
    for name, message in (
        ("animated.gif", r"animated.gif: has several frames"),
        ("bomb.png", r"bomb.png: cannot be read as an image \(Image size \(3600000000 pixels\) exceeds limit"),
        ("large.png", r"large.png: claims 8200 x 8200 pixels, more than the 67108864"),
        ("empty.jpg", r"empty.jpg: is empty; replace it, or leave it out"),
        ("page.jpg", r"page.jpg: cannot be read as an image \(cannot identify image file"),
        ("script.png", r"script.png: cannot be read as an image \(cannot identify"),
        ("small.png", r"small.png: is 3 pixels high and 6 wide, smaller than size 4 x 6; give a smaller size"),
        ("real.tif", r"real.tif: has pixels of mode 'F', expected 8 or 16 bits"),
    ):
        with pytest.raises(DataError, match=message):
            read_image(folder / name, (4, 6))
    with pytest.raises(DataError, match=r"(?s)set: 8 of 28 images cannot be used:\n.*animated.gif.*\nand 3 more$"):
        ImageFolder(str(folder), size=(4, 6)).load()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_truncated_and_corrupt_files(tmp_path, kind):
    """Wherever a file is cut or a byte of it is changed, it is read or named, and nothing else is raised."""
    content, random = io.BytesIO(), np.random.RandomState(0)
    Image.fromarray(np.repeat(PIXELS[:4].reshape(8, 12, 1), 3, axis=2)).save(content, kind)
    whole, path = content.getvalue(), tmp_path / "x.png"
    said = []
    for i in range(60):
        broken = bytearray(whole)
        if i % 2:
            broken = broken[: random.randint(len(whole))]
        else:
            broken[random.randint(len(whole))] = random.randint(256)
        path.write_bytes(broken)
        try:
            assert read_image(path, (8, 8)).shape == (8, 8, 1)
        except DataError as error:
            said.append(str(error))
    assert len(said) >= 10
    assert all(text.startswith(f"{path}: ") for text in said)


def test_folders_that_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match=r"(?s)not found: none.*Check the field `path`"):
        ImageFolder("none").load(str(tmp_path))
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"bare: holds no images; expected files that end with .png, .jpg"):
        ImageFolder(str(tmp_path / "bare")).load()
    save(folder / "alone.png", PIXELS[0])
    with pytest.raises(DataError, match=r"set: some of it is in sub-folders, .*alone.png is in none"):
        ImageFolder(str(folder)).labels()
    save(folder / "dev" / "x.png", PIXELS[0])
    with pytest.raises(DataError, match=r"set: has the sub-folders dev; expected train \(or training\) too"):
        ImageFolder(str(folder)).load()
    for name in ("train", "test"):
        save(folder / name / "x.png", PIXELS[0])
    with pytest.raises(DataError, match=r"splits in sub-folders \(dev, test, train\), and other images .* alone.png"):
        ImageFolder(str(folder)).load()
    for i in range(2):
        save(tmp_path / "two" / f"{i}.png", PIXELS[i])
    assert ImageFolder(str(tmp_path / "two")).labels() is None
    with pytest.raises(DataError, match=r"two: 2 rows cannot be split"):
        ImageFolder(str(tmp_path / "two"), size=(2, 2)).load()


def test_folders_of_training_and_test_alone(tmp_path):
    """As many data sets come: validation is a share of the training split, with its classes."""
    for i in range(20):
        save(
            tmp_path / "set" / ("Test" if i < 4 else "Train") / "ab"[i % 2] / f"{i:02}.png",
            np.full((4, 6), 5 * i, np.uint8),
        )
    source = ImageFolder(str(tmp_path / "set"), size=(4, 6), validation_fraction=0.25)
    data, labels = source.load(), require_labels(source)
    assert [len(x) for x in data[:3]] == [12, 4, 4]
    number = [np.rint(x[:, 0] * 255 / 5).astype(int) for x in data[:3]]
    assert sorted(number[2]) == [0, 1, 2, 3]
    assert sorted(np.concatenate(number)) == list(range(20))
    for i, y in zip(number, labels, strict=True):
        assert np.array_equal(i % 2, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 4)}, r"size.0: got 0"),
        ({"size": (4,)}, r"size: got \(4,\), expected a tuple \(an integer, an integer\)"),
        ({"color": "gray"}, "color: got 'gray', expected one of 'grey', 'rgb'"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "got a sum of 1, expected less than 1"),
        ({"binarization": "fixed", "dequantization": "fixed"}, "which leaves no levels; use one"),
    ],
)
def test_wrong_fields(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(ImageFolder(**{"path": "x", **options}))
