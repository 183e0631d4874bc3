"""What is in a data set, before a long run on it."""

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax_models.config import DataConfig, validate
from genjax_models.data import Dataset, Rows, evaluation_subset
from genjax_models.data.dataset import (
    BINARIZATION_SEEDS,
    as_intensities,
    channels_first,
    draw,
    require_levels,
    threshold,
)
from genjax_models.errors import DataError, DataNotice, MissingData, UserError, require_picture

BLOCK = 8192  # rows looked at at once
MOST_LEVELS = 4096  # distinct values counted; more are no levels
SHOWN = 10  # rows and columns that are named
IMAGES = 10  # in a row of the picture


def _beneath(source: DataConfig) -> DataConfig:
    """The source without noise: its intensities or levels."""
    names = {f.name for f in dataclasses.fields(source)}  # type: ignore[arg-type]  # every source is a dataclass
    quiet = {k: v for k, v in {"binarization": "none", "dequantization": None}.items() if k in names}
    return dataclasses.replace(source, **quiet)  # type: ignore[type-var]


class _Tally:
    """Figures of the rows of one split, block by block, and the hash of each row."""

    def __init__(self, x: np.ndarray | Rows) -> None:
        self.shape = tuple(x.shape)
        self.minimum, self.maximum, self.total = np.inf, -np.inf, 0.0
        self.zeros = self.ones = self.finite = self.between = self.infinite = self.missing = 0
        self.unsure = 0.0  # expected number of values that a Bernoulli draw and the threshold disagree on
        self.above = 0  # of 0.5
        self.levels: set[float] | None = set()
        self.missing_rows: list[int] = []
        self.incomplete = 0
        self.low = np.full(self.shape[1], np.inf)
        self.high = np.full(self.shape[1], -np.inf)
        self.hashes: list[bytes] = []
        for start in range(0, self.shape[0], BLOCK):
            self._add(start, np.asarray(x[start : start + BLOCK]))

    def _add(self, start: int, x: np.ndarray) -> None:
        x = x.astype(np.promote_types(x.dtype, np.float32), copy=False)
        there = ~np.isnan(x)
        if not there.all():
            rows = np.flatnonzero(~there.all(axis=1))
            self.missing += int((~there).sum())
            self.incomplete += len(rows)
            self.missing_rows += (start + rows[: SHOWN - len(self.missing_rows)]).tolist()
        finite = np.isfinite(x)
        values = x[finite]
        self.infinite += int((there & ~finite).sum())
        self.finite += values.size
        if values.size:
            self.minimum, self.maximum = min(self.minimum, values.min()), max(self.maximum, values.max())
            self.total += float(values.sum(dtype=np.float64))
            self.zeros += int((values == 0).sum())
            self.ones += int((values == 1).sum())
            self.above += int((values > 0.5).sum())
            self.between += int(((values > 0) & (values < 1)).sum())
            self.unsure += float(np.minimum(values, 1 - values).sum(dtype=np.float64))
            if self.levels is not None:
                self.levels |= set(np.unique(values).tolist())
                self.levels = None if len(self.levels) > MOST_LEVELS else self.levels
        self.low = np.minimum(self.low, np.where(there, x, np.inf).min(axis=0))
        self.high = np.maximum(self.high, np.where(there, x, -np.inf).max(axis=0))
        plain = np.ascontiguousarray(x + 0)  # no -0
        self.hashes += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in plain]

    def figures(self) -> dict[str, Any]:
        number = max(1, self.finite)
        return {
            "shape": list(self.shape),
            "minimum": float(self.minimum) if self.finite else None,
            "maximum": float(self.maximum) if self.finite else None,
            "mean": self.total / number if self.finite else None,
            "zeros": self.zeros / number,
            "ones": self.ones / number,
            "distinct_values": None if self.levels is None else len(self.levels),
            "missing": self.missing,
            "rows_with_missing": self.incomplete,
            "first_rows_with_missing": self.missing_rows,
            "infinite": self.infinite,
        }

    def binarization(self) -> dict[str, Any] | None:
        """Shares of all values; None where some are missing or outside [0, 1]."""
        size = self.shape[0] * self.shape[1]
        if self.finite < size or self.minimum < 0 or self.maximum > 1:
            return None
        return {
            "between_zero_and_one": self.between / size,
            "ones_by_threshold": self.above / size,
            "ones_by_draws": self.total / size,
            "draws_other_than_threshold": self.unsure / size,
        }


def _duplicates(tallies: Mapping[str, _Tally]) -> dict[str, int]:
    sets = {name: set(tally.hashes) for name, tally in tallies.items()}
    found = {f"within_{name}": len(tallies[name].hashes) - len(distinct) for name, distinct in sets.items()}
    for name, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if name in sets and other in sets:
            found[f"{name}_in_{other}"] = sum(row in sets[other] for row in tallies[name].hashes)
    return found


def _classes(source: DataConfig, data_dir: str | None) -> dict[str, Any] | None:
    labels = source.labels(data_dir)
    if labels is None:
        return None
    names, counts = np.unique(labels.train, return_counts=True)
    held = np.unique(np.concatenate([labels.validation, labels.test]))
    return {
        "number": len(np.union1d(names, held)),
        "fewest_in_train": int(counts.min()),
        "most_in_train": int(counts.max()),
        "not_in_train": np.setdiff1d(held, names).tolist(),
    }


def _save_picture(out: Path, data: Dataset) -> None:
    """Some training images as they are, and where they are in [0, 1] below them thresholded and drawn."""
    from genjax_models.plots import save_images

    if isinstance(data.train, Rows):
        places = np.sort(np.random.RandomState(0).permutation(len(data.train))[:IMAGES])
        x = data.train[places]
    else:
        x = evaluation_subset(data.train, IMAGES)
    x = x.astype(np.float32)
    if data.support == "real":
        pictures = as_intensities(x, data.limits)
    else:
        pictures = np.concatenate([x, threshold(x), draw(x, BINARIZATION_SEEDS["train"])])
    try:
        save_images(out, pictures, data.image_shape, columns=len(x))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None


def inspect_data(
    source: DataConfig, data_dir: str | None = None, out: Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Figures of a data set, and whether it can be trained on.

    Noise is left out: of data that are binarized or dequantized these are the intensities. Of sources with `stored`
    values, `Files` and `Arrays`, that refuse to load them, the figures are of what the files have, and rows of missing
    values are places in the files from 0.

    Args:
        source: the configuration of a data source, such as `Digits()`.
        data_dir: where data files lie; None for the environment's or the default folder.
        out: a picture of some images, as they are, thresholded and drawn; None for none.
        overwrite: replace the picture if it exists.

    Returns:
        "source"; "splits" with figures of each; "image_shape", "support", "levels", "dynamic" and "contexts" of what a
        model is trained on; "constant_columns" of the training split, their number and the first; "duplicates", rows
        that equal an earlier one or one of another split; "binarization", of training data in [0, 1], as shares of all
        values; "clipped", values of the held-out splits that scaling cut; "classes", None where there are none or they
        cannot be used; "notices", what may not be meant, and why classes cannot be used;
        "refused", why nothing can be trained on it, or None.

    Raises:
        UserError: a picture that exists or cannot be drawn; data that cannot be read at all.

    Example:
        >>> inspect_data(Digits())["duplicates"]
    """
    validate(source)
    if out is not None:
        out = Path(out)
        require_picture(out, overwrite)
        if not out.parent.is_dir():
            raise UserError(f"{out}: no such folder, {out.parent}; make it, or give another --out.")
    refused, loaded, raw = None, None, None
    quiet = _beneath(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataNotice)  # "notices" has them
            raw = quiet.load(data_dir)
            loaded = raw if quiet == source else source.load(data_dir)
        if raw.levels is not None and raw.dequantization is None:
            require_levels(raw, type(source).__name__)
    except MissingData:
        raise
    except DataError as error:
        refused = str(error)
        if raw is None and not hasattr(source, "stored"):
            raise
    if raw is not None:
        parts = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    else:
        parts = source.stored(data_dir)  # type: ignore[attr-defined]
    image_shape = None if raw is None else raw.image_shape
    if out is not None and raw is not None:
        if image_shape is None:
            raise UserError(
                f"{out}: the data are rows that are no images, of which there is no picture; leave --out out."
            )
        _save_picture(out, raw)
    tallies = {name: _Tally(x) for name, x in parts.items()}
    first = next(iter(tallies.values()))
    constant = np.flatnonzero(first.low >= first.high).tolist()
    notices = source.notices(data_dir) if hasattr(source, "notices") else []
    classes = None
    if refused is None:
        try:
            classes = _classes(source, data_dir)
        except DataError as error:  # a model is trained without them
            notices = [*notices, f"there are no classes to tell, which most models do without. {error}"]
    return {
        "source": repr(source),
        "splits": {name: tally.figures() for name, tally in tallies.items()},
        "image_shape": None if image_shape is None else list(image_shape),
        "support": None if loaded is None else loaded.support,
        "levels": None if raw is None else raw.levels,
        "dynamic": None if loaded is None else loaded.dynamic,
        "contexts": None if raw is None or raw.train_context is None else raw.train_context.shape[1],
        "constant_columns": {"number": len(constant), "first": constant[:SHOWN]},
        "duplicates": _duplicates(tallies),
        "binarization": first.binarization(),
        "clipped": source.clipped(data_dir) if hasattr(source, "clipped") and refused is None else None,
        "classes": classes,
        "notices": notices,
        "refused": refused,
    }


def _some(values: list[int], number: int) -> str:
    return ", ".join(map(str, values)) + (", ..." if number > len(values) else "")


def inspection_text(found: Mapping[str, Any]) -> str:
    """What `inspect_data` found, in words."""
    rows = [("split", "rows", "columns", "minimum", "maximum", "mean", "zeros", "ones", "distinct values")]
    for name, x in found["splits"].items():
        number = f"{x['distinct_values']}" if x["distinct_values"] is not None else f"more than {MOST_LEVELS}"
        limits = ["none" if x[k] is None else f"{x[k]:.4g}" for k in ("minimum", "maximum", "mean")]
        shares = [f"{x[k]:.1%}" for k in ("zeros", "ones")]
        rows.append((name, *map(str, x["shape"]), *limits, *shares, number))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [found["source"], ""]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    lines.append("")
    if found["support"] is not None:
        kind = {"binary": "binary, 0 and 1", "unit": "intensities in [0, 1]", "real": "real numbers"}[found["support"]]
        kind += ", by a new draw of noise at every step" if found["dynamic"] else ""
        lines.append(f"a model is trained on: {kind}")
    if found["image_shape"] is not None:
        shape = tuple(found["image_shape"])
        lines.append(channels_first(shape) or f"images of shape {shape}")
    if found["levels"] is not None:
        lines.append(f"grey levels: {found['levels']}")
    if found["contexts"] is not None:
        lines.append(f"contexts: {found['contexts']} values beside each example")
    if (classes := found["classes"]) is not None:
        absent = f"; not in training: {classes['not_in_train']}" if classes["not_in_train"] else ""
        fewest, most = classes["fewest_in_train"], classes["most_in_train"]
        lines.append(f"classes: {classes['number']}, of {fewest} to {most} examples in training{absent}")
    for name, x in found["splits"].items():
        if x["missing"]:
            which = _some(x["first_rows_with_missing"], x["rows_with_missing"])
            where = f"{x['rows_with_missing']} of {x['shape'][0]} rows: {which}"
            lines.append(f"missing values in {name}: {x['missing']}, in {where} (from 0)")
        if x["infinite"]:
            lines.append(f"infinite values in {name}: {x['infinite']}")
    if cut := {name: number for name, number in (found["clipped"] or {}).items() if number}:
        which = ", ".join(f"{number} in {name}" for name, number in cut.items())
        lines.append(f"values beyond the range of the training split, which scaling cut: {which}")
    constant = found["constant_columns"]
    if constant["number"]:
        lines.append(f"constant columns: {constant['number']}: {_some(constant['first'], constant['number'])} (from 0)")
    repeated = [f"{number} {name.replace('_', ' ')}" for name, number in found["duplicates"].items() if number]
    lines.append(f"duplicate rows: {', '.join(repeated) or 'none'}")
    shares = found["binarization"]
    if shares is None:
        lines.append("binarization: none is possible, of values that are missing or outside [0, 1]")
    elif not shares["between_zero_and_one"]:
        lines.append("binarization: changes nothing, all values are 0 or 1")
    else:
        lines.append(
            f"binarization: {shares['between_zero_and_one']:.1%} of values are between 0 and 1; by the threshold "
            f"{shares['ones_by_threshold']:.1%} become 1, by draws {shares['ones_by_draws']:.1%}; the two differ in "
            f"{shares['draws_other_than_threshold']:.1%}"
        )
    lines += [f"notice: {notice}" for notice in found["notices"]]
    return "\n".join(lines)
