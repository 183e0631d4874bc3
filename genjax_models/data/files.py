"""A user's own tables, from `.npy`, `.npz`, `.csv`, `.tsv` and `.parquet` files."""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from genjax_models.config import config, field, validate
from genjax_models.data.arrays import find_own, labels_of, read, require_room
from genjax_models.data.dataset import Labels
from genjax_models.data.own_rows import ScaledRows, divided_notice, flattened, parted
from genjax_models.errors import DataError, nearest

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".parquet")
Delimiter = Literal["comma", "semicolon", "tab"]
CHARACTERS = {"comma": ",", "semicolon": ";", "tab": "\t"}
BYTES_A_CELL = 8  # of float64
# What tables have for a missing value, in small letters.
MISSING = ("na", "n/a", "#n/a", "null", "none", "nil", "?", "-")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)+")
ROWS_TRIED = 100  # by other delimiters
MOST_DIGITS = 19  # of an integer of 64 bits; a longer class is a name


class Table(NamedTuple):
    """What is read of a file: its arrays by split or under "all", and where there are any the label of each row, what
    messages call the columns, and whether the first of these looks like the number of the row."""

    arrays: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    columns: list[str] | None = None
    numbered: bool = False


def _number(cell: str) -> float | None:
    """The number of a cell, NaN of an empty one, None where it has other text."""
    text = cell.strip()
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of each line of a table of text that is not empty, and its cells."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a file of text in UTF-8.") from error


def _column(names: list[str] | None, width: int, wanted: str, path: Path) -> int:
    """The place of a column that is given by its name, or by its number from 0."""
    if names is not None and wanted in names:
        return names.index(wanted)
    if names is None and wanted.isdecimal() and int(wanted) < width:
        return int(wanted)
    if names is None:
        raise DataError(f"{path}: label: got {wanted!r}, expected a column by its number, from 0 to {width - 1}.")
    raise DataError(f"{path}: label: has no column {wanted!r}.{nearest(wanted, names)}")


def read_csv(path: Path, header: bool | None = None, delimiter: Delimiter = "comma", label: str | None = None) -> Table:
    """The numbers of a table of text, float64 [N, D], with NaN for empty cells, and its column of labels as text.

    Args:
        path: the file, in UTF-8.
        header: whether its first line names the columns; None: if any cell of it is neither a number nor missing.
        delimiter: between the cells.
        label: the column with the labels, by name, or by number from 0 where no header names it.

    Raises:
        DataError: a file that cannot be read or is empty, a row of another length, a cell that is no number (with its
            row and column), no such column.
    """
    lines = _lines(path, CHARACTERS[delimiter])
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: is empty; expected rows of numbers.")
    width = len(first[1])
    if header is None:
        others = (cell for i, cell in enumerate(first[1]) if str(i) != label)
        header = any(_number(cell) is None and not _is_missing(cell) for cell in others)
    names = [cell.strip() for cell in first[1]] if header else None
    at = None if label is None else _column(names, width, label, path)
    if at is not None and width == 1:
        raise DataError(f"{path}: has the labels {label!r} and no other column; expected columns of numbers.")
    numbers: list[np.ndarray] = []
    labels: list[str] = []
    rows = lines if header else itertools.chain([first], lines)
    for row, (line, cells) in enumerate(rows):
        place = f"{path}: row {row} (line {line})"
        if len(cells) != width:
            advice = _advice(path, delimiter, cells[0])
            raise DataError(f"{place}: has {len(cells)} cells, expected {width} as in the first line.{advice}")
        if at is not None:
            if not (text := cells.pop(at).strip()):
                raise DataError(f"{place}: has no label in column {label!r}; fill it in, or remove the row.")
            labels.append(text)
        try:
            numbers.append(np.array(cells, np.float64))  # several times as fast as cell by cell
        except ValueError:
            wrong = next((i for i, cell in enumerate(cells) if _number(cell) is None), None)
            if wrong is not None:
                named = _called(wrong if at is None or wrong < at else wrong + 1, names)
                advice = _advice(path, delimiter, cells[wrong])
                advice = advice or " Give the `delimiter` if this is more than one cell."
                raise DataError(_no_number(f"{place}, column {named}", cells[wrong], advice)) from None
            numbers.append(np.array([_number(cell) for cell in cells], np.float64))
        if row % 4096 == 0:
            require_room(BYTES_A_CELL * len(numbers) * width, str(path))
    if not numbers:
        raise DataError(f"{path}: has a header and no rows; expected rows of numbers.")
    x = np.stack(numbers)
    columns = [_called(i, names) for i in range(width) if i != at]
    pandas = names is not None and at != 0 and names[0] in ("", "Unnamed: 0")
    numbered = at != 0 and x.shape[1] > 1 and (pandas or (len(x) > 2 and np.array_equal(x[:, 0], np.arange(len(x)))))
    # One long label makes text of an array long for all.
    return Table({"all": x}, None if at is None else np.array(labels, object), columns, numbered)


def _called(column: int, names: list[str] | None) -> str:
    """What messages call a column."""
    return f"{column}" if names is None else f"{column} ({names[column]!r})"


def _is_missing(cell: str) -> bool:
    """Whether a cell has what other programs write for a missing value."""
    return cell.strip().lower() in MISSING


def _no_number(place: str, cell: str, advice: str = "") -> str:
    """What is wrong with a cell of text where a number is expected, and what to do, to which there may be more."""
    said = f"{place}: got {cell[:60]!r}, expected a number; "
    if _is_missing(cell):
        return (
            f"{said}leave the cell empty where the value is missing, which `genjax-models inspect-data` counts, and "
            "fill it in or remove the row before training."
        )
    if DECIMAL_COMMA.fullmatch(cell.strip()):
        return f"{said}write it with a decimal point, and with nothing between thousands."
    return f"{said}encode it as numbers, remove the column, or name it as `label` if it has the classes.{advice}"


def _rows_by(path: Path, character: str) -> list[list[str]]:
    """The first rows of a table as another character splits them, all of one length; none where it does not."""
    try:
        lines = itertools.islice(_lines(path, character), ROWS_TRIED)
        rows = [cells for _, cells in lines if not cells[0].lstrip().startswith("#")]
    except DataError:
        return []
    return rows if len({len(cells) for cells in rows}) == 1 and len(rows[0]) > 1 else []


def _advice(path: Path, delimiter: Delimiter, cell: str) -> str:
    """What else may be the matter with a table that cannot be read at a cell, in sentences."""
    said = ""
    _, first = next(_lines(path, CHARACTERS[delimiter]))
    if any(text.lstrip().startswith("#") for text in (first[0], cell)):
        said += " Lines that begin with '#' are no comments here; remove them."
    for other, character in CHARACTERS.items():
        if other == delimiter or not (rows := _rows_by(path, character)):
            continue
        said += f" The delimiter {other!r} splits the rows into {len(rows[0])} cells each; set `delimiter` to it."
        if commas := [c.strip() for cells in rows for c in cells if DECIMAL_COMMA.fullmatch(c.strip())]:
            said += f" Numbers such as {commas[0][:60]!r} must be written with a decimal point first."
        break
    return said


def read_parquet(path: Path, label: str | None = None) -> Table:
    """The numbers of a `.parquet` file, float64 [N, D], with NaN for what is missing, and its column of labels.

    Args:
        path: the file.
        label: the name of the column with the labels.

    Raises:
        DataError: neither pyarrow nor pandas installed, a file that cannot be read or has no rows, a column that holds
            no numbers, no such column.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        columns = _by_pandas(path)
    else:
        try:
            with parquet.ParquetFile(path, memory_map=False) as file:
                require_room(BYTES_A_CELL * file.metadata.num_rows * file.metadata.num_columns, str(path))
                table = file.read()
            if len(set(table.column_names)) < table.num_columns:
                raise DataError(f"{path}: has several columns of one name; expected distinct names.")
            columns = {name: table.column(i).to_numpy() for i, name in enumerate(table.column_names)}
        except DataError:
            raise
        # Broken files make pyarrow raise errors of many kinds.
        except Exception as error:
            raise DataError(f"{path}: cannot be read ({error}); expected a whole .parquet file.") from error
    names = list(columns)
    if not names or not len(columns[names[0]]):
        raise DataError(f"{path}: has no rows or no columns; expected columns of numbers.")
    at = None if label is None else _column(names, len(names), label, path)
    labels = None if at is None else columns.pop(names[at])
    if labels is not None:
        if missing := [i for i, value in enumerate(labels.tolist()) if value is None or value != value]:
            raise DataError(
                f"{path}: row {missing[0]}: has no label in column {label!r}; fill it in, or remove the row."
            )
        labels = labels.astype(str)
    if not columns:
        raise DataError(f"{path}: has the labels {label!r} and no other column; expected columns of numbers.")
    for name, values in columns.items():
        if values.dtype.kind in "biuf":
            continue
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, (bool, int, float)):  # a time too is no number
                raise DataError(_no_number(f"{path}: row {row}, column {name!r}", str(value)))
    called = [_called(names.index(name), names) for name in columns]
    return Table({"all": np.column_stack([x.astype(np.float64) for x in columns.values()])}, labels, called)


def _by_pandas(path: Path) -> dict[str, np.ndarray]:
    try:
        import pandas
    except ImportError:
        raise DataError(
            f"{path}: .parquet files are read by pyarrow or pandas, and neither is installed. Install the extra "
            "`parquet`: python -m pip install 'genjax_models[parquet]'; or save the table as .csv."
        ) from None
    try:
        table = pandas.read_parquet(path)
        return {str(name): table[name].to_numpy() for name in table.columns}
    # Broken files, and a pandas without an engine for them, raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a whole .parquet file.") from error


def classes_of(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels [N] of each split, as text, as integers from 0 up: those that they are, or their place in sorted order."""
    names = sorted(set().union(*(set(x.tolist()) for x in labels.values())))
    if all(name.isdecimal() and len(name) < MOST_DIGITS for name in names):
        return {key: x.astype(np.int64) for key, x in labels.items()}
    places = {name: i for i, name in enumerate(names)}
    return {key: np.array([places[name] for name in x.tolist()], np.int64) for key, x in labels.items()}


@config
class Files(ScaledRows):
    """Your own tables from `.npy`, `.npz`, `.csv`, `.tsv` or `.parquet` files: rows [N, D], of arrays also images.

    One file is split by a fixed permutation; a `.npz` file with the keys `train`, `valid` and `test`, or the like of
    `x_train` and `val_images`, is used as it is split, and so are files for each split. Where validation or test is
    missing, it is a share of the training split. Every column of a table is a number, but for the one
    named as `label`, which `labels` gives: integers from 0 up as they are, other classes in sorted order. Empty
    cells are missing values, which no model is trained on. If any uint8 array has a value above 1, all uint8 arrays
    are divided by 255. Under "unit" each column becomes (x - min) / (max - min) by the range that it has in the
    training split, all columns of images by one range; what lies beyond in other splits becomes 0 or 1, and columns
    that are constant in the training split 0; under "standard" it becomes (x - mean) / deviation. `scale` has the
    way back. Data of only 0 and 1 are binary, data in [0, 1] intensities, and all other data real numbers, which
    cannot be binarized. `genjax-models inspect-data FILE` says what is in a file.
    """

    path: str = field(
        nonempty=True,
        help="the file, or that of the training split; looked for from the working folder, then in the data folder",
    )
    validation: str | None = field(default=None, nonempty=True, help="the file of the validation split")
    test: str | None = field(default=None, nonempty=True, help="the file of the test split")
    array: str | None = field(
        default=None,
        nonempty=True,
        help="the array of a .npz file; None: its train, valid and test, its x, or its only one",
    )
    header: bool | None = field(
        default=None,
        help="whether the first line of a .csv or .tsv file names its columns; None: if a cell of it is text",
    )
    delimiter: Delimiter | None = field(
        default=None, help="what stands between the cells; None: tabs in a .tsv file, commas in a .csv file"
    )
    label: str | None = field(
        default=None,
        nonempty=True,
        help="the column with the classes, by name, or by its number from 0 where no header names it",
    )

    def _choose(self, keys: list[str], path: Path) -> dict[str, str]:
        assert self.array is not None
        if self.array not in keys:
            raise DataError(f"{path}: array: has no {self.array!r}.{nearest(self.array, keys)}")
        return {"all": self.array}

    def _read(self, path: Path) -> Table:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise DataError(f"{path}: expected a file whose name ends with {', '.join(SUFFIXES)}; save it as one.")
        if self.array is not None and suffix != ".npz":
            raise DataError(f"{path}: array: got {self.array!r}, but only .npz files have several arrays.")
        if self.label is not None and suffix in (".npy", ".npz"):
            raise DataError(
                f"{path}: label: got {self.label!r}, but its columns have no names; a .npz file has labels as "
                "train_labels, valid_labels and test_labels, or as y beside x."
            )
        if suffix in (".csv", ".tsv"):
            delimiter = self.delimiter or ("tab" if suffix == ".tsv" else "comma")
            return read_csv(path, self.header, delimiter, self.label)
        if suffix == ".parquet":
            return read_parquet(path, self.label)
        return Table(read(path) if self.array is None else read(path, self._choose))

    def _tables(self, data_dir: str | None) -> tuple[str, Table | dict[str, Table]]:
        """What the messages call the data, and the one table, or those of the files by split."""
        validate(self)
        path = find_own(self.path, data_dir)
        given = {"validation": self.validation, "test": self.test}
        if given == {"validation": None, "test": None}:
            return str(path), self._read(path)
        others = {name: find_own(file, data_dir, name) for name, file in given.items() if file is not None}
        paths = {"train": path, **others}
        tables = {name: self._read(p) for name, p in paths.items()}
        for name, table in tables.items():
            if "all" not in table.arrays:
                raise DataError(
                    f"{paths[name]}: has splits of its own, but other files are given for splits; choose one by "
                    "`array`, or give this file alone."
                )
        return str(path), tables

    def _arrays(self, data_dir: str | None) -> tuple[str, dict[str, np.ndarray], Table]:
        """What the messages call the data, the arrays by split or under "all", and the first table."""
        source, tables = self._tables(data_dir)
        if isinstance(tables, Table):
            return source, tables.arrays, tables
        return source, {name: table.arrays["all"] for name, table in tables.items()}, tables["train"]

    def _rows(self, data_dir: str | None) -> tuple[str, dict[str, np.ndarray], tuple[int, ...] | None]:
        source, arrays, _ = self._arrays(data_dir)
        return source, *flattened(arrays, source, self.image_shape)

    def _column_names(self, data_dir: str | None) -> list[str] | None:
        return self._arrays(data_dir)[2].columns

    def notices(self, data_dir: str | None = None) -> list[str]:
        """What in the data may not be meant, though they can be used, in sentences.

        Raises:
            DataError: as `stored`.
        """
        source, arrays, first = self._arrays(data_dir)
        rows, _ = flattened(arrays, source, self.image_shape)
        found = [*self._merged(rows, first.columns), *divided_notice(arrays, self.image_shape)]
        if first.numbered and first.columns is not None:
            found.append(
                f"column {first.columns[0]} looks like the number of the row, as pandas writes it, and is taken as a "
                "feature: save the table without it, by to_csv(..., index=False), unless that is meant."
            )
        return found

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The column `label`, or the labels beside the examples of a `.npz` file that is given alone; None where there
        are none.

        Raises:
            DataError: as `load`; labels that are missing, or of some splits alone.
        """
        validate(self)
        path = find_own(self.path, data_dir)
        if self.label is None:
            alone = self.validation is None and self.test is None and self.array is None
            fractions = self.validation_fraction, self.test_fraction
            return labels_of(path, *fractions) if alone and path.suffix.lower() == ".npz" else None
        source, tables = self._tables(data_dir)
        single = {"all": tables} if isinstance(tables, Table) else tables
        classes = classes_of({key: table.labels for key, table in single.items() if table.labels is not None})
        return Labels(*parted(classes, source, self.validation_fraction, self.test_fraction))
