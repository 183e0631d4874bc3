"""Data sets of the Hugging Face library `datasets`, from a folder or from the hub."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax_models.config import config, field, validate
from genjax_models.data.dataset import Labels
from genjax_models.data.files import classes_of
from genjax_models.data.folder import missing, places_of
from genjax_models.data.image_folder import CHANNELS, Color, decode_image
from genjax_models.data.own_folder import require_all
from genjax_models.data.own_rows import ScaledRows, flattened, parted
from genjax_models.errors import DataError, nearest

EXTRA = "python -m pip install 'genjax_models[datasets]'"
MARKS = ("dataset_dict.json", "state.json")  # in a folder that `save_to_disk` wrote
HELD = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
NUMBERS = re.compile(r"u?int\d+|float\d+|bool")


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(f"data sets of Hugging Face are read by `datasets`, which is not installed. {EXTRA}") from None
    # Earlier ones run a data set's own script when they are asked to, or ask.
    if int(datasets.__version__.split(".")[0]) < 4:
        raise DataError(f"datasets is version {datasets.__version__}, expected 4 or later. {EXTRA} --upgrade")
    return datasets


def _is_number(feature: Any) -> bool:
    """Whether a column holds numbers, or lists or arrays of them."""
    if type(feature).__name__ == "ClassLabel":
        return False
    inner = getattr(feature, "feature", None)
    return NUMBERS.fullmatch(str(getattr(feature, "dtype", ""))) is not None if inner is None else _is_number(inner)


def _one_of(names: list[str], wanted: str, source: str, what: str) -> str:
    if wanted not in names:
        raise DataError(f"{source}: {what}: has no {wanted!r}.{nearest(wanted, names)}")
    return wanted


def _content(image: Any) -> bytes:
    """The bytes of an image as the library stores it: there, or in a file."""
    content, path = image["bytes"], image["path"]
    if content is None and path is not None and Path(path).is_file():
        content = Path(path).read_bytes()
    if content is None:
        raise DataError("is missing")
    return content


@config
class HuggingFace(ScaledRows):
    """A data set of the library `datasets` (with the extra `datasets`): a column of images, or columns of numbers.

    `path` is a folder that `save_to_disk` wrote or, with `hub`, a name such as "ylecun/mnist", which is fetched unless
    it is in the library's cache. Nothing of a data set is run. Images become grey or RGB bytes over 255, as
    `ImageFolder` has them; columns of numbers stand side by side, a column of lists or arrays alone is rows or images.
    Splits named `validation` (or `valid`, `val`, `dev`) and `test` are used; one that is not there is a share of the
    training split by a fixed permutation, and so are both.
    """

    path: str = field(
        nonempty=True,
        help="the folder, looked for from the working folder, then in the data folder; with `hub` a name there",
    )
    hub: bool = field(default=False, help="whether `path` is a name on the hub, rather than a folder")
    subset: str | None = field(default=None, nonempty=True, help="which configuration, of a name on the hub with some")
    revision: str | None = field(default=None, nonempty=True, help="the commit, branch or tag, of a name on the hub")
    columns: tuple[str, ...] = field(
        default=(), help="one of images, or some of numbers; none: the only one of images, else all of numbers"
    )
    label: str | None = field(
        default=None, nonempty=True, help="the column with the classes; None: the only one of classes, if there is one"
    )
    train: str = field(default="train", nonempty=True, help="the name of the training split")
    validation: str | None = field(
        default=None, nonempty=True, help="the name of the validation split; None: as it is called, or a share of train"
    )
    test: str | None = field(
        default=None, nonempty=True, help="the name of the test split; None: as it is called, or a share of train"
    )
    size: tuple[int, int] | None = field(
        default=None, ge=1, help="height and width that images are brought to; None: all are as the first"
    )
    color: Color = field(default="grey", help="of images; grey: one channel; rgb: three")

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        found = super().check()
        if self.hub and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", self.path):
            found.append(f"path: got {self.path!r}, expected a name on the hub such as 'ylecun/mnist'.")
        if not self.hub and (self.subset is not None or self.revision is not None):
            found.append("subset and revision: are of names on the hub, and hub is False.")
        if self.label is not None and self.label in self.columns:
            found.append(f"columns: has the label {self.label!r}; leave it out.")
        return found

    def _open(self, data_dir: str | None) -> tuple[str, dict[str, Any]]:
        """What the messages call the data, and a data set of the library for each split, or under "all"."""
        validate(self)
        library = _library()
        source = self.path
        try:
            if self.hub:
                loaded = library.load_dataset(self.path, self.subset, revision=self.revision)
            else:
                candidates = places_of(self.path, data_dir)
                folder = next((place for place in candidates if place.is_dir()), None)
                if folder is None:
                    fix = "Check the field `path`, or set `hub` for a name on the hub."
                    raise missing([self.path], [place.parent for place in candidates], fix)
                source = str(folder)
                loaded = library.load_from_disk(source)
        except DataError:
            raise
        # Of many kinds: no network, no such name, broken files.
        except Exception as error:
            what = "fetched from the hub" if self.hub else "read as a folder of save_to_disk"
            raise DataError(f"{source}: cannot be {what} ({type(error).__name__}: {error}).") from error
        if not isinstance(loaded, Mapping):
            return source, {"all": loaded}
        names = list(loaded)
        chosen = {"train": _one_of(names, self.train, source, "train")}
        for split in HELD:
            given = getattr(self, split)
            if given is not None:
                chosen[split] = _one_of(names, given, source, split)
        for split, usual in HELD.items():
            found = [name for name in usual if name in names and name not in chosen.values()]
            if split not in chosen and found:
                chosen[split] = found[0]
        if len(set(chosen.values())) < len(chosen):
            raise DataError(f"{source}: got the splits {chosen}, expected another one for each.")
        if len(chosen) == 1:
            return source, {"all": loaded[self.train]}
        return source, {split: loaded[name] for split, name in chosen.items()}

    def _label(self, features: Mapping[str, Any], source: str) -> str | None:
        if self.label is not None:
            return _one_of(list(features), self.label, source, "label")
        found = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
        return found[0] if len(found) == 1 else None

    def _columns(self, features: Mapping[str, Any], source: str) -> tuple[list[str], bool]:
        """The columns that make the rows, and whether they are one of images."""
        images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
        chosen = [_one_of(list(features), name, source, "columns") for name in self.columns]
        if not chosen:
            label = self._label(features, source)
            chosen = images or [name for name, x in features.items() if _is_number(x) and name != label]
            if not chosen or len(images) > 1:
                there = ", ".join(f"{name} ({type(x).__name__})" for name, x in features.items())
                raise DataError(f"{source}: has the columns {there}; name those to take by `columns`.")
        if any(name in images for name in chosen):
            if len(chosen) > 1:
                raise DataError(f"{source}: columns: got {', '.join(chosen)}, expected one of images, alone.")
            return chosen, True
        if wrong := [name for name in chosen if not _is_number(features[name])]:
            raise DataError(f"{source}: columns: {wrong[0]!r} holds {features[wrong[0]]}, expected images or numbers.")
        return chosen, False

    def _images(self, data: Any, column: str, source: str, shape: tuple[int, ...] | None) -> np.ndarray:
        """The images of a split, bytes [N, height, width] or [N, height, width, 3]; all of `shape`, if that is given,
        and else of that of the first."""
        stored = data.cast_column(column, _library().Image(decode=False)).select_columns([column])
        wrong, out = [], []
        for row, example in enumerate(stored):
            try:
                image = decode_image(_content(example[column]), self.size, self.color)
                image = image if CHANNELS[self.color] > 1 else image[..., 0]
                shape = image.shape if shape is None else shape
                if image.shape != shape:
                    raise DataError(
                        f"is of shape {image.shape}, others of {shape}; give a size that all are brought to"
                    )
                out.append(image)
            except DataError as error:
                wrong.append(f"row {row}, {column}: {error}.")
            # Broken images make Pillow raise errors of many kinds.
            except Exception as error:
                wrong.append(f"row {row}, {column}: cannot be read as an image ({error}).")
        require_all(Path(source), wrong, len(stored), "images")
        return np.stack(out)

    def _numbers(self, data: Any, columns: list[str], source: str) -> np.ndarray:
        """The columns of a split side by side, [N, D], or as it is a single one of arrays."""
        found = data.select_columns(columns).with_format("numpy")[:]
        arrays = [np.asarray(found[name]) for name in columns]
        for name, x in zip(columns, arrays, strict=True):
            if x.dtype.kind not in "biuf":
                raise DataError(f"{source}: column {name!r}: has rows of different lengths, or others than numbers.")
        if len(arrays) == 1 and arrays[0].ndim > 1:
            return arrays[0]
        return np.column_stack([x.reshape(len(x), -1) for x in arrays])

    def _rows(self, data_dir: str | None) -> tuple[str, dict[str, np.ndarray], tuple[int, ...] | None]:
        source, splits = self._open(data_dir)
        arrays: dict[str, np.ndarray] = {}
        shape: tuple[int, ...] | None = None
        for split, data in splits.items():
            columns, images = self._columns(data.features, source)
            if not len(data):
                raise DataError(f"{source}, {split}: has no rows.")
            if images:
                arrays[split] = self._images(data, columns[0], f"{source}, {split}", shape)
                shape = arrays[split].shape[1:]
            else:
                arrays[split] = self._numbers(data, columns, f"{source}, {split}")
        return source, *flattened(arrays, source, self.image_shape)

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The column of classes, integers from 0 up as they are, others in sorted order; None where there is none.

        Raises:
            DataError: as `load`; labels that are missing.
        """
        source, splits = self._open(data_dir)
        found = {}
        for split, data in splits.items():
            name = self._label(data.features, source)
            if name is None:
                return None
            values = np.asarray(data.select_columns([name]).with_format("numpy")[:][name])
            known = values if values.dtype.kind in "biu" else np.array([str(v) for v in values.tolist()])
            if (values.dtype.kind in "biu" and (values < 0).any()) or values.dtype.kind in "fO":
                raise DataError(
                    f"{source}, {split}: some labels of {name!r} are missing; choose another split or column."
                )
            found[split] = known.astype(str)
        return Labels(*parted(classes_of(found), source, self.validation_fraction, self.test_fraction))
