"""Pictures: what stands where, and PNG files that decode to it."""

import math

import numpy as np
import pytest
from matplotlib.image import imread

from genjax_models.plots import image_grid, save_curves, save_images


def numbered(number: int, *shape: int) -> np.ndarray:
    """Rows whose values are all different, in (0, 1)."""
    size = number * math.prod(shape)
    return ((np.arange(size) + 1) / (size + 1)).astype(np.float32).reshape(number, -1)


@pytest.mark.parametrize("number", [1, 2, 4, 5, 6, 7, 9, 10])
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (1, 1), (2, 3, 3), (2, 3, 1)])
def test_image_grid_holds_every_image_once_in_reading_order(number, shape):
    """A square of images where possible, row by row, each within a gray frame one pixel wide; empty places are gray."""
    x = numbered(number, *shape)
    height, width, *channels = shape
    grid = image_grid(x, shape)
    columns = math.ceil(number**0.5)
    rows = -(-number // columns)
    colors = [] if channels == [1] else channels
    assert grid.shape == (rows * (height + 1) + 1, columns * (width + 1) + 1, *colors)
    expected = np.full_like(grid, 0.5)
    for i in range(number):
        for row in range(height):
            for column in range(width):
                place = 1 + (i // columns) * (height + 1) + row, 1 + (i % columns) * (width + 1) + column
                expected[place] = x[i].reshape(height, width, *colors)[row, column]
    np.testing.assert_array_equal(grid, expected)


def test_image_grid_clips():
    grid = image_grid(np.array([[-1.0, 0.25, 7.0]]), (1, 3))
    np.testing.assert_array_equal(grid[1, 1:4], [0, 0.25, 1])


def test_image_grid_of_rows_that_are_no_images():
    """Without a shape each example is a row of pixels."""
    x = numbered(3, 5)
    np.testing.assert_array_equal(image_grid(x, None), x)


def test_image_grid_takes_integers():
    x = np.array([[0, 1], [1, 0]], np.uint8)
    np.testing.assert_array_equal(image_grid(x, (1, 2))[[1], 1:6], [[0, 1, 0.5, 1, 0]])


@pytest.mark.parametrize(("number", "shape"), [(5, (2, 3)), (5, (2, 3, 3)), (2, (40, 30)), (3, None), (1, (800, 2))])
def test_save_images_decodes_to_the_grid(tmp_path, number, shape):
    """Every pixel of the grid is a square block of the picture, black for 0 and white for 1."""
    x = numbered(number, *(shape or (6,)))
    x[0, 0], x[-1, -1] = 0, 1
    save_images(tmp_path / "x.png", x, shape)
    picture, grid = imread(tmp_path / "x.png"), image_grid(x, shape)
    enlarge = picture.shape[0] // grid.shape[0]
    assert picture.shape[:2] == (enlarge * grid.shape[0], enlarge * grid.shape[1])
    # As large as fits into 700 pixels.
    assert enlarge == 1 or enlarge * max(grid.shape[:2]) <= 700 < (enlarge + 1) * max(grid.shape[:2])
    colors = grid if grid.ndim == 3 else grid[..., None].repeat(3, axis=2)
    blocks = colors.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    assert np.abs(picture[..., :3] - blocks).max() <= 2 / 255  # a gray level in 256, and a byte
    black, white = picture[blocks[..., 0] == 0][:, 0], picture[blocks[..., 0] == 1][:, 0]
    assert (black == 0).all()
    assert (white == 1).all()


ROWS = [
    {"step": 10, "train_bound": -5.0, "validation_bound": -6.0},
    {"step": 20, "train_bound": -4.0, "validation_bound": -5.5},
]
HOLES = [{"step": 10, "train_bound": None, "validation_bound": None}, {**ROWS[1], "validation_bound": None}]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], HOLES, HOLES[:1], ROWS * 30], ids=len)
def test_save_curves_is_a_picture_with_something_on_it(tmp_path, rows):
    """6.4 by 4 inches at 120 dots, also with values that are not there."""
    save_curves(tmp_path / "x.png", rows, "name")
    picture = imread(tmp_path / "x.png")
    assert picture.shape[:2] == (4 * 120, 768)
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 2


def test_save_curves_shows_the_curves(tmp_path):
    """Two runs that differ in one value differ in their picture, and equal ones do not."""
    other = [ROWS[0], {**ROWS[1], "validation_bound": -4.0}]
    for name, rows in {"a": ROWS, "b": ROWS, "c": other}.items():
        save_curves(tmp_path / name, rows, "name")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("title", ["$", r"$\nothing$", "a_b^c", "$x", ""])
def test_save_curves_takes_any_name_for_a_title(tmp_path, title):
    """A folder's name is no formula."""
    save_curves(tmp_path / "x.png", ROWS, title)
    assert imread(tmp_path / "x.png").shape[:2] == (4 * 120, 768)
