"""What `inspect-data` says of data, exactly, from Python and from the shell."""

import json
import math

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from genjax_models import inspection
from genjax_models.cli import main
from genjax_models.commands.files import open_source
from genjax_models.config import Config
from genjax_models.data import Arrays, Digits, Files, Gaussians, ImageFolder, Shards, WavFolder, write_shards
from genjax_models.errors import ConfigError, DataError, DataNotice, UserError
from genjax_models.inspection import inspect_data, inspection_text
from genjax_models.models import VAE
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.preparation import log_kind_of_data

PARTS = {
    "train": np.array([[0, 0.25, 1], [0, 0.75, 0.5], [0, 0.25, 1], [-0.0, 0.5, 0]]),
    "valid": np.array([[0, 0.75, 0.5], [0, 0.1, 0.2]]),
    "test": np.array([[-0.0, 0.1, 0.2], [0, 0, 0], [0, 0.75, 0.5], [0, 0.75, 0.5]]),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENJAX_MODELS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def cli(place, capsys):
    def run(*words):
        code = main(words)
        return code, *capsys.readouterr()

    return run


def write_csv(path, rows):
    path.write_text("".join(",".join("" if math.isnan(v) else str(v) for v in row) + "\n" for row in rows))
    return Files(str(path))


def test_figures_are_exact(place):
    """Against counts by hand; noise is left out of what is looked at, and said of what is trained on."""
    np.savez(place / "x.npz", **PARTS, train_labels=[3, 1, 1, 3], valid_labels=[1, 2], test_labels=[3, 3, 3, 1])
    found = inspect_data(Arrays("x.npz", binarization="dynamic"))
    assert found["splits"]["train"] == {
        "shape": [4, 3],
        "minimum": 0.0,
        "maximum": 1.0,
        "mean": 4.25 / 12,
        "zeros": 5 / 12,
        "ones": 2 / 12,
        "distinct_values": 5,
        "missing": 0,
        "rows_with_missing": 0,
        "first_rows_with_missing": [],
        "infinite": 0,
    }
    assert found["constant_columns"] == {"number": 1, "first": [0]}
    assert found["duplicates"] == {
        "within_train": 1,
        "within_validation": 0,
        "within_test": 1,
        "validation_in_train": 1,
        "test_in_train": 2,
        "test_in_validation": 3,
    }
    # Between 0 and 1 are 0.25, 0.75, 0.5, 0.25 and 0.5: above the threshold are 0.75 and two ones.
    shares = {
        "between_zero_and_one": 5,
        "ones_by_threshold": 3,
        "ones_by_draws": 4.25,
        "draws_other_than_threshold": 1.75,
    }
    assert found["binarization"] == {name: pytest.approx(n / 12, abs=1e-15) for name, n in shares.items()}
    assert found["classes"] == {"number": 3, "fewest_in_train": 2, "most_in_train": 2, "not_in_train": [2]}
    assert (found["support"], found["dynamic"], found["refused"]) == ("binary", True, None)
    text = inspection_text(found)
    assert "train          4        3        0        1  0.3542  41.7%  16.7%                5" in text
    assert "a model is trained on: binary, 0 and 1, by a new draw of noise at every step" in text
    assert "classes: 3, of 2 to 2 examples in training; not in training: [2]" in text
    assert "constant columns: 1: 0 (from 0)" in text
    assert "1 within train, 1 within test, 1 validation in train, 2 test in train, 3 test in validation" in text
    json.dumps(found, allow_nan=False)


def test_data_on_disk_are_those_in_memory(place):
    """Shards give the figures of the arrays that they were written of."""
    parts = [x.astype(np.float32) for x in PARTS.values()]
    write_shards(place / "shards", *parts, shard_bytes=30)
    np.savez("x.npz", **PARTS)
    ours, theirs = (inspect_data(source) for source in (Shards("shards", binarization="dynamic"), Arrays("x.npz")))
    assert ours["splits"] == theirs["splits"]
    assert all(ours[name] == theirs[name] for name in ("duplicates", "binarization", "constant_columns"))


def test_missing_values_are_named_by_their_rows(cli, place, monkeypatch):
    """What training refuses is told with its rows in the file, and the exit code is that of bad input."""
    monkeypatch.setattr(inspection, "BLOCK", 7)  # figures are put together block by block
    rows = np.arange(60.0).reshape(20, 3)
    rows[4, 1] = rows[4, 2] = rows[17, 0] = math.nan
    rows[9, 2] = math.inf
    source = write_csv(place / "x.csv", rows)
    found = inspect_data(source)
    figures = found["splits"]["all"]
    assert (figures["missing"], figures["infinite"]) == (3, 1)
    assert figures["first_rows_with_missing"] == [4, 17]
    assert (figures["minimum"], figures["maximum"], figures["distinct_values"]) == (0, 59, 56)
    assert "4 of 60 values are NaN or infinite" in found["refused"]
    assert found["binarization"] is None
    code, out, err = cli("inspect-data", "x.csv", "--out", "x.png")
    assert code == 2
    assert "missing values in all: 3, in 2 of 20 rows: 4, 17 (from 0)\ninfinite values in all: 1\n" in out
    assert err.startswith("error: ")
    assert "NaN or infinite" in err
    assert not (place / "x.png").exists()
    np.save(place / "x.npy", rows)
    ours = inspect_data(Arrays("x.npy"))
    assert all(ours[name] == found[name] for name in ("splits", "duplicates", "constant_columns", "binarization"))
    # Noise that the values do not allow is refused as well, of data that load without it.
    write_csv(place / "y.csv", np.arange(60.0).reshape(20, 3))
    found = inspect_data(Files("y.csv", binarization="fixed"))
    assert "outside [0, 1]" in found["refused"]
    assert found["splits"]["train"]["shape"] == [16, 3]


def test_what_scaling_cuts_is_counted(place):
    np.savez("x.npz", train=[[0.0, 1], [10, 2]], valid=[[-1.0, 1], [10, 2]], test=[[5.0, 3], [11, 0]])
    found = inspect_data(Files("x.npz", scaling="unit"))
    assert found["clipped"] == {"validation": 1, "test": 3}
    assert "which scaling cut: 1 in validation, 3 in test" in inspection_text(found)
    assert inspect_data(Files("x.npz"))["clipped"] is None


@pytest.mark.parametrize(
    ("text", "options", "column"),
    [
        (",a,b\n5,1,2\n4,3,9\n", {}, "0 ('')"),
        ("Unnamed: 0,a\n5,1\n4,3\n", {}, "0 ('Unnamed: 0')"),
        ("a,b\n0,9\n1,7\n2,8\n", {}, "0 ('a')"),
        ("0,9\n1,7\n2,8\n", {}, "0"),
        ("0,9,c\n1,7,d\n2,8,c\n", {"label": "2"}, "0"),
        ("a,b\n0,9\n2,7\n1,8\n", {}, None),
        ("a,b\n1,9\n2,7\n3,8\n", {}, None),
        ("a\n0\n1\n2\n", {}, None),
        ("0,9,c\n1,7,d\n2,8,c\n", {"label": "0"}, None),
    ],
)
def test_a_column_that_numbers_the_rows_is_noticed(place, text, options, column):
    """Which pandas writes; a column of labels is none of it."""
    (place / "x.csv").write_text(text if options.get("label") != "0" else text.replace("c", "1").replace("d", "2"))
    said = Files("x.csv", **options).notices()
    assert len(said) == (column is not None)
    assert all(text.startswith(f"column {column} looks like the number of the row, as pandas") for text in said)
    assert all("to_csv(..., index=False)" in text for text in said)


def test_integers_that_become_equal_are_noticed(cli, place):
    """By inspect-data without a warning, and with one where they are loaded for a run; not where scaling keeps them."""
    rows = "".join(f"{2**24 + i},k,{i},{2**24 + 2 * i}.5,{-(2**24) - 2 * i}\n" for i in range(20))
    (place / "x.csv").write_text("id,kind,x,y,z\n" + rows)
    source = Files("x.csv", label="kind")
    said = (
        "distinct integers beyond 16777216 become equal, as float32 does not hold all: column 0 ('id'), where 19 "
        "become 11. Remove a column that only numbers the rows, set scaling to 'unit', or subtract a constant before "
        "saving."
    )
    assert inspect_data(source)["notices"] == [said]
    assert f"\nnotice: {said}\n" in cli("inspect-data", "x.csv", "--label", "kind")[1]
    with pytest.warns(DataNotice, match=r"x.csv: distinct integers .* column 0 \('id'\), where 19 become 11"):
        source.load()
    scaled = Files("x.csv", label="kind", scaling="unit")
    assert scaled.notices() == []
    assert len(np.unique(scaled.load().train[:, 0])) == 16
    np.savez("x.npz", train=[[2**40 + i, i] for i in range(9)], valid=[[2**40, 1.5]], test=[[2**40 - 1, 1e300]])
    (said,) = Arrays("x.npz").notices()
    assert "column 0, where 10 become 1. Remove a column that only numbers the rows, or subtract" in said


def test_bytes_of_a_table_that_are_divided_are_noticed(place):
    x = np.arange(60, dtype=np.uint8).reshape(20, 3)
    np.save("x.npy", x)
    np.save("images.npy", x.reshape(20, 1, 3))
    np.save("bits.npy", x % 2)
    np.save("wide.npy", x.astype(np.int32))
    for kind in (Arrays, Files):
        (said,) = inspect_data(kind("x.npy"))["notices"]
        assert said.startswith("values of dtype uint8 were divided by 255")
        assert kind("x.npy", image_shape=(1, 3)).notices() == []
        assert not any(kind(f"{name}.npy").notices() for name in ("images", "bits", "wide"))


def test_a_picture_of_images(cli, place):
    """As they are, thresholded and drawn, never over another file."""
    (place / "set").mkdir()
    for i in range(20):
        Image.fromarray(np.full((4, 4), 12 * i, np.uint8)).save(place / "set" / f"{i:02}.png")
    words = ("inspect-data", "set", "--size", "4,4", "--out", "x.png")
    code, out, err = cli(*words)
    assert (code, err) == (0, "picture in x.png\n")
    assert "images of shape (4, 4)\ngrey levels: 256\n" in out
    picture = imread(place / "x.png")[..., 0]
    edge = len(picture) // 16  # three images of 4 pixels, and four frames of one
    assert picture.shape == (16 * edge, 51 * edge)
    small = picture[edge // 2 :: edge, edge // 2 :: edge]
    raw, bits, drawn = small[2, 2::5], small[7, 2::5], small[12:15, 2::5]
    train = ImageFolder("set", size=(4, 4)).load().train[:, 0]
    assert len(set(raw)) == 10
    assert np.abs(raw[:, None] - train).min(axis=1).max() < 1.01 / 255  # a colour of the picture is one of 256
    assert np.array_equal(bits, raw > 0.5)
    assert set(np.unique(drawn)) == {0, 1}
    before = (place / "x.png").read_bytes()
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert "x.png exists; give another --out, or --overwrite to replace it" in err
    assert (place / "x.png").read_bytes() == before
    assert cli(*words, "--overwrite", "--color", "rgb")[0] == 0
    assert (place / "x.png").read_bytes() != before
    for wrong, message in (
        (("digits", "--out", "none/x.png"), "none/x.png: no such folder, none"),
        (("gaussians", "--out", "y.png"), "y.png: the data are rows that are no images"),
        (("set", "--size", "5,4"), "20 of 20 images cannot be used"),
    ):
        code, _, err = cli("inspect-data", *wrong)
        assert code == 2
        assert message in err


def test_a_picture_of_channels_that_are_no_colours(cli, place):
    """A panel for each: ten images of three binary pixels, beside each other in two channels, three times."""
    np.save(place / "x.npy", np.random.RandomState(0).randint(0, 2, (30, 1, 3, 2)).astype(bool))
    code, _, err = cli("inspect-data", "x.npy", "--out", "x.png")
    assert (code, err) == (0, "picture in x.png\n")
    picture = imread(place / "x.png")
    edge = len(picture) // 7
    assert picture.shape[:2] == (7 * edge, 81 * edge)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 17, 23), "images of shape (3, 17, 23): if 3 is the number of channels, save them as [N, H, W, C]"),
        ((1, 4, 5), "images of shape (1, 4, 5): if 1 is the number of channels, save them as [N, H, W, C]"),
        ((3, 17, 3), "images of shape (3, 17, 3)"),
        ((8, 8, 2), "images of shape (8, 8, 2)"),
        ((3, 17), "images of shape (3, 17)"),
    ],
)
def test_images_with_channels_first_are_asked_about(cli, place, shape, said):
    """By inspect-data, and as a run begins."""
    np.save(place / "x.npy", np.zeros((5, *shape), np.uint8))
    assert f"\n{said}\n" in cli("inspect-data", "x.npy")[1]
    heard = []
    log_kind_of_data(Config(VAE(), ELBO(), Adam(), Arrays("x.npy")), Arrays("x.npy").load(), heard.append)
    assert heard == [f"{said}."] * ("channels" in said)


def test_what_a_name_opens(cli, place):
    """A source, a configuration, a file or a folder, with fields of the source by name."""
    (place / "config.py").write_text(
        "from genjax_models.config import Config\nfrom genjax_models.data import Digits\n"
        "from genjax_models.models import VAE\nfrom genjax_models.objectives import ELBO\n"
        "from genjax_models.optimizers import Adam\nCONFIG = Config(VAE(2), ELBO(), Adam(), Digits('none'))\n"
    )
    (place / "data" / "photographs").mkdir(parents=True)
    (place / "sounds").mkdir()
    (place / "sounds" / "a.wav").touch()
    write_shards(place / "written", *(x.astype(np.float32) for x in PARTS.values()))
    for name, fields, expected in (
        ("digits", {}, Digits()),
        ("gaussians", {}, Gaussians()),
        ("config.py", {"binarization": "fixed"}, Digits("fixed")),
        ("x.csv", {"header": "false", "label": "0"}, Files("x.csv", header=False, label="0")),
        ("files", {"path": "x.npy"}, Files("x.npy")),
        ("photographs", {"size": "8,9"}, ImageFolder("photographs", size=(8, 9))),
        ("sounds", {"frame": "7"}, WavFolder("sounds", frame=7)),
        ("written", {}, Shards("written")),
    ):
        assert open_source(name, None, fields) == expected
    for name, fields, message in (
        ("digit", {}, "digit: expected a data source, a config file, .* Did you mean 'digits'"),
        ("files", {}, "files: needs --path, the file, or that of the training split"),
        ("sklearn", {}, r"sklearn: needs --loader, the name of the function in sklearn.datasets\.$"),
        ("digits", {"binarisation": "none"}, "has no field 'binarisation'. Did you mean 'binarization'"),
        ("none.py", {}, "none.py: no such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_source(name, None, fields)
    code, out, err = cli("inspect-data", "config.py", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["support"], found["image_shape"], found["levels"]) == ("unit", [8, 8], 17)
    assert (found["classes"]["number"], found["duplicates"]["test_in_train"]) == (10, 0)
    code, _, err = cli("inspect-data", "none.npy")
    assert code == 2
    assert "Data file not found: none.npy" in err


def test_data_that_cannot_be_read_at_all(place):
    (place / "x.npy").write_bytes(b"\x93NUMPY")
    for source in (Files("x.npy"), Arrays("x.npy")):
        with pytest.raises(DataError, match=r"x.npy: cannot be read"):
            inspect_data(source)
    with pytest.raises(UserError, match="path: got an empty string"):
        inspect_data(Files(""))


def test_levels_that_the_data_do_not_have_are_told_beside_the_figures(tmp_path):
    np.save(tmp_path / "codes.npy", np.arange(40).reshape(20, 2) % 5)
    found = inspect_data(Files(tmp_path / "codes.npy", scaling="unit", levels=3))
    assert "none of the 3 grey levels k / 2" in found["refused"]
    assert found["splits"]["train"]["maximum"] == 1.0
    assert inspect_data(Files(tmp_path / "codes.npy", scaling="unit", levels=5))["refused"] is None


def test_labels_that_are_no_classes_are_noticed(place):
    """Such as the targets of a regression; the rest stands."""
    np.savez(place / "x.npz", X=np.random.RandomState(0).rand(20, 3), y=np.random.RandomState(1).rand(20))
    found = inspect_data(Files("x.npz"))
    assert (found["classes"], found["refused"]) == (None, None)
    assert found["splits"]["train"]["shape"] == [16, 3]
    (said,) = found["notices"]
    assert said.startswith("there are no classes to tell, which most models do without.")
    assert "labels: got shape (20,) and dtype float64, expected integers from 0 up" in said
