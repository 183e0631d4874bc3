"""Pictures: what stands where, and PNG files that decode to it."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.image import imread

from genjax_models.plots import image_grid, save_curves, save_images, save_sweep, sweep_figure
from genjax_models.sweep_report import Member


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


@pytest.mark.parametrize(("number", "channels", "across"), [(1, 2, 1), (5, 2, 2), (6, 4, 2), (3, 9, 1)])
def test_image_grid_has_a_grey_panel_for_each_channel(number, channels, across):
    """Those of an image side by side, in order, where channels are no colours; as if each were an image of its own."""
    x = numbered(number, 2, 3, channels)
    panels = np.moveaxis(x.reshape(number, 2, 3, channels), 3, 1).reshape(number * channels, 6)
    np.testing.assert_array_equal(image_grid(x, (2, 3, channels)), image_grid(panels, (2, 3), across * channels))
    np.testing.assert_array_equal(image_grid(x, (2, 3, channels), 2), image_grid(panels, (2, 3), 2 * channels))


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


@pytest.mark.parametrize(
    ("number", "shape"), [(5, (2, 3)), (5, (2, 3, 3)), (5, (2, 3, 4)), (2, (40, 30)), (3, None), (1, (800, 2))]
)
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


RATE, WIDTH, NAME, DEPTH = "optimizer.learning_rate", "model.width", "objective", "model.depth"


def members_of(points, values=None, seeds=1, metric="test_nll"):
    """Finished members, whose metric is their index or what is given."""
    overrides = [{**point, **({"seed": s} if seeds > 1 else {})} for point in points for s in range(seeds)]
    values = range(len(overrides)) if values is None else values
    rows = zip(overrides, values, strict=True)
    return [Member(i, f"members/{i}", point, "finished", 9, {metric: v}) for i, (point, v) in enumerate(rows)]


def points_of(**axes):
    paths = {"rate": RATE, "width": WIDTH, "name": NAME, "depth": DEPTH}
    return [dict(zip((paths[name] for name in axes), row, strict=True)) for row in itertools.product(*axes.values())]


def curves(panel):
    """The means that are joined by lines, by their legend: [(x, y), ...]."""
    return {c.get_label(): list(zip(*c.lines[0].get_data(), strict=True)) for c in panel.containers}


def dots(panel, label):
    """Single points of a label, sorted."""
    return sorted(
        (*map(float, (*line.get_xdata(), *line.get_ydata())),) for line in panel.lines if line.get_label() == label
    )


def heading(figure):
    return figure.get_suptitle().splitlines()


def test_sweep_over_one_number():
    """Means 2, 3, 7 of the seeds (0, 4), (3, 3), (6, 8); the errors of two seeds are half their distance."""
    members = members_of(points_of(rate=(0.1, 0.2, 0.3)), [0, 4, 3, 3, 6, 8], seeds=2)
    figure = sweep_figure(members, "test_nll", "a title")
    (panel,) = figure.axes
    assert curves(panel) == {"mean ± standard error": [(0.1, 2), (0.2, 3), (0.3, 7)]}
    bars = panel.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0, 4], [3, 3], [6, 8]], atol=1e-12)
    assert dots(panel, "one member") == [(0.1, 0), (0.1, 4), (0.2, 3), (0.2, 3), (0.3, 6), (0.3, 8)]
    assert dots(panel, "best") == [(0.1, 2)]
    assert panel.get_xscale() == "linear"
    assert panel.get_xlabel() == "learning_rate"
    assert panel.get_ylabel() == "test nll (nats per example)"
    assert heading(figure) == ["a title", "best at learning_rate 0.1: 2.0 ± 2.0 (2)"]


def test_sweep_marks_the_highest_bound():
    figure = sweep_figure(members_of(points_of(rate=(1, 2, 3)), [-3, -1, -2], metric="test_bound"), "test_bound", "")
    assert dots(figure.axes[0], "best") == [(2, -1)]
    assert figure.axes[0].get_ylabel() == "test bound (nats per example)"
    assert heading(figure) == ["best at learning_rate 2: -1 (1)"]


def test_nats_are_the_unit_of_bounds_and_likelihoods_alone():
    figure = sweep_figure(members_of([{RATE: 1}, {RATE: 2}], metric="total_seconds"), "total_seconds", "")
    assert figure.axes[0].get_ylabel() == "total seconds"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((1e-4, 1e-3, 1e-2), "log"),
        ((1, 5, 50), "log"),
        ((1, 100), "log"),
        ((1, 5, 30), "linear"),  # within a factor 30
        ((0, 5, 500), "linear"),  # no logarithm
        ((-1, 5, 500), "linear"),
        (tuple(np.linspace(0.01, 1, 9)), "linear"),  # even as they are
    ],
)
def test_sweep_axis_is_logarithmic_where_the_values_are(values, scale):
    (panel,) = sweep_figure(members_of(points_of(rate=values)), "test_nll", "").axes
    assert panel.get_xscale() == scale


def test_sweep_without_some_figures():
    """Missing ones are counted, unfinished ones enter no mean, and none is a zero."""
    members = members_of(points_of(rate=(1, 2, 3)), [5, None, 7, 1, math.nan, None], seeds=2)
    members[3] = members[3]._replace(status="halted")
    figure = sweep_figure(members, "test_nll", "t")
    (panel,) = figure.axes
    assert curves(panel) == {"mean ± standard error": [(1, 5), (2, 7)]}
    assert dots(panel, "one member") == [(1, 5), (2, 7)]
    assert dots(panel, "not finished") == [(2, 1)]
    assert heading(figure)[1:] == ["best at learning_rate 1: 5 (1)", "3 of 6 members have no test_nll and are left out"]


def test_sweep_that_diverged_in_one_place_still_shows_the_others():
    members = members_of(points_of(rate=(1, 2, 3, 4, 5)), [80, 81, 82, 83, 1e6])
    figure = sweep_figure(members, "test_nll", "t")
    (panel,) = figure.axes
    assert curves(panel) == {"finished": [(1, 80), (2, 81), (3, 82), (4, 83)]}
    assert dots(panel, "beyond the axis") == [(5, 83)]
    assert [line.get_marker() for line in panel.lines if line.get_label() == "beyond the axis"] == ["^"]
    assert panel.get_ylim()[1] < 84
    assert heading(figure)[-1] == "1 beyond the axis"
    upwards = members_of(points_of(rate=(1, 2, 3, 4, 5)), [-80, -81, -82, -83, -1e6], metric="test_bound")
    assert dots(sweep_figure(upwards, "test_bound", "t").axes[0], "beyond the axis") == [(5, -83)]
    whole = members_of(points_of(rate=(1, 2, 3, 4, 5)), [80, 81, 82, 83, 120])
    assert dots(sweep_figure(whole, "test_nll", "t").axes[0], "beyond the axis") == []


def test_sweep_over_names():
    """They stand side by side, and nothing lies between them for a line to say."""
    (panel,) = sweep_figure(members_of(points_of(name=("b", "a$x$", None))), "test_nll", "").axes
    assert [text.get_text() for text in panel.get_xticklabels()] == ["b", r"a\$x\$", "none"]
    assert curves(panel) == {"finished": [(0, 0), (1, 1), (2, 2)]}
    assert panel.containers[0].lines[0].get_linestyle() == "None"


def test_sweep_over_two_fields():
    """The longer numeric field lies along the axis, whichever comes first."""
    for axes in ({"width": (2, 4), "rate": (1, 2, 3)}, {"name": ("x", "y", "z", "w"), "rate": (1, 2, 3)}):
        first = next(iter(axes))
        (panel,) = sweep_figure(members_of(points_of(**axes)), "test_nll", "").axes
        expected = {
            f"{'width' if first == 'width' else 'objective'} = {v}": [(x, 3 * i + x - 1) for x in (1, 2, 3)]
            for i, v in enumerate(axes[first])
        }
        assert curves(panel) == expected
        assert dots(panel, "best") == [(1, 0)]
        colours = {tuple(c.lines[0].get_color()) for c in panel.containers}
        assert len(colours) == len(expected)


def test_sweep_over_three_fields():
    members = members_of(points_of(name=("x", "y"), depth=((1,), (1, 1), (2,)), rate=(1, 2, 3, 4)))
    figure = sweep_figure(members, "test_nll", "")
    assert [panel.get_title() for panel in figure.axes] == ["objective = x", "objective = y"]
    for j, panel in enumerate(figure.axes):
        expected = {
            f"depth = {text}": [(x, 12 * j + 4 * i + x - 1) for x in (1, 2, 3, 4)]
            for i, text in enumerate(["1", "1-1", "2"])
        }
        assert curves(panel) == expected
    assert [dots(panel, "best") for panel in figure.axes] == [[(1, 0)], []]
    assert len(figure.legends[0].get_texts()) == 4  # three lines and the best


DRAW = [
    {RATE: 10**-a, WIDTH: b, NAME: c}
    for a, b, c in [(4, 10, "x"), (2, 14, "y"), (3, 12, "x"), (1, 18, "y"), (0, 30, "x")]
]


@pytest.mark.parametrize(("metric", "sign"), [("test_nll", 1), ("test_bound", -1)])
def test_sweep_over_a_draw_has_parallel_coordinates(metric, sign):
    """A line for each setting, from value to value to the height of its metric; the best last, thick, and dark."""
    values = [sign * v for v in (5, 3, 4, 7, 9)]
    figure = sweep_figure(members_of(DRAW, values, metric=metric), metric, "t")
    panel, (bar,) = figure.axes[0], figure.axes[0].child_axes
    lines = [line for line in panel.lines if len(line.get_xdata()) == 4]
    # Five settings, and the white border of the best beneath it.
    assert len(lines) == 6
    best = lines[-1]
    assert best.get_linewidth() > 2 > max(line.get_linewidth() for line in lines[:-2])
    share = (np.array([best.get_ydata()[i] for i in (0, 1)]) - 0.04) / 0.92
    np.testing.assert_allclose(share, [0.5, 0.2], atol=1e-9)  # 10^-2 of 10^-4 to 1, 14 of 10 to 30
    low, high = bar.get_ylim()
    ends = [line.get_ydata()[-1] for line in lines[:-2]] + [best.get_ydata()[-1]]
    np.testing.assert_allclose(low + np.array(ends) * (high - low), sorted(values, key=lambda v: -sign * v), atol=1e-9)
    assert sum(best.get_color()[:3]) < min(sum(line.get_color()[:3]) for line in lines[:-2])
    assert [text.get_text() for text in panel.get_xticklabels()] == ["learning_rate", "width", "objective"]
    assert bar.get_ylabel() == f"{metric.replace('_', ' ')} (nats per example)"
    texts = [text.get_text() for text in panel.texts]
    assert texts == ["0.0001", "0.001", "0.01", "0.1", "1", "10", "12", "14", "18", "30", "x", "y"]
    assert heading(figure)[1].startswith("best at learning_rate 0.01, width 14, objective y: ")


def test_sweep_over_fields_that_go_together_or_are_many_has_parallel_coordinates():
    zipped = [{RATE: a, WIDTH: a} for a in (1, 2, 3)]
    four = [{**p, "training.steps": s} for p in points_of(name="xy", depth=(1, 2), rate=(1, 2)) for s in (1, 2)]
    many = points_of(name=[f"name {i}" for i in range(11)], rate=range(12))
    for points in (zipped, four, many):
        figure = sweep_figure(members_of(points), "test_nll", "")
        assert len(figure.axes[0].child_axes) == 1
    chained = [{RATE: 1}, {RATE: 2}, {RATE: 3}, {WIDTH: 7}, {WIDTH: 8}, {WIDTH: 9}]
    texts = [text.get_text() for text in sweep_figure(members_of(chained), "test_nll", "").axes[0].texts]
    assert texts == ["1", "2", "3", "base", "base", "7", "8", "9"]


def test_parallel_coordinates_without_some_figures():
    members = members_of(DRAW, [5, 3, 4, 7, None])
    members[1] = members[1]._replace(status="halted")
    figure = sweep_figure(members, "test_nll", "t")
    panel = figure.axes[0]
    assert sum(line.get_linestyle() == "--" for line in panel.lines) == 1
    assert sum(len(line.get_xdata()) == 4 for line in panel.lines) == 4  # three, and a border
    assert heading(figure)[1].startswith("best at learning_rate 0.001, ")
    assert heading(figure)[2:] == ["1 of 5 members have no test_nll and are left out", "dashed: not finished"]


def test_sweep_over_seeds_alone():
    figure = sweep_figure(members_of([{}], [1, 2, 6], seeds=3), "test_nll", "t")
    (panel,) = figure.axes
    assert dots(panel, "one member") == [(0, 1), (1, 2), (2, 6)]
    (mean,) = (line for line in panel.lines if line.get_label() == "mean")
    np.testing.assert_allclose(mean.get_ydata(), 3)
    (band,) = panel.patches
    assert band.get_height() == pytest.approx(2 * math.sqrt(7 / 3))
    assert heading(figure) == ["t", "3.0 ± 1.5 (3)"]


@pytest.mark.parametrize(
    "points",
    [
        [{}],
        [{}, {}],
        [{RATE: 1}],
        points_of(rate=(1, 1.0001, 2), name=("a", "b")),
        points_of(name=("x" * 40, "y" * 40, "z")),
        points_of(rate=np.geomspace(1e-5, 1, 30).tolist()),
        DRAW,
    ],
)
@pytest.mark.parametrize("value", [None, 1.0])
def test_save_sweep_writes_a_picture(tmp_path, points, value):
    """Also when no member has a figure, or all have the same, and whatever the names are."""
    save_sweep(tmp_path / "x.png", members_of(points, [value] * len(points)), "test_nll", "$a_b^c$ " * 30)
    picture = imread(tmp_path / "x.png")
    assert picture.shape[0] > 400
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 2


def test_texts_of_a_sweep_do_not_overlap(tmp_path):
    """Ticks, legend, and heading keep apart on the widest of pictures."""
    depths = ((200,), (200, 200), (200, 200, 200))
    names = ("wake_sleep", "reweighted_wake_sleep")
    points = points_of(rate=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2), name=names, depth=depths)
    for figure in (
        sweep_figure(members_of(points, seeds=2), "test_nll", "a long title " * 20),
        sweep_figure(members_of(points_of(rate=(0.001, 0.0011, 0.5, 1))), "test_nll", "t"),
    ):
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        boxes = [text.get_window_extent(renderer) for panel in figure.axes for text in panel.get_xticklabels()]
        boxes += [panel.xaxis.label.get_window_extent(renderer) for panel in figure.axes]
        boxes += [panel.get_window_extent(renderer) for panel in figure.axes]
        boxes += [figure.legends[0].get_window_extent(renderer), figure._suptitle.get_window_extent(renderer)]
        for a, b in itertools.combinations(boxes, 2):
            assert not a.overlaps(b), (a, b)
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_texts_of_parallel_coordinates_do_not_overlap():
    names = [f"a name of an objective that is long, {i}" for i in range(6)]
    draw = [{NAME: name, RATE: i, DEPTH: name[::-1], "seed": i} for i, name in enumerate(names)]
    figure = sweep_figure(members_of(draw), "test_nll", "t")
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    assert min(box.x0 for box in boxes) >= 0
