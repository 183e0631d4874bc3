"""Run folders: what is in one, and that nothing in it is lost or overwritten in silence."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import tempfile
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from genjax_models.checkpoints import sync_folder
from genjax_models.config import Config, matches
from genjax_models.core import Batch
from genjax_models.data.arrays import read
from genjax_models.errors import RunError, naming
from genjax_models.overlay import differing, from_json, parse_json, to_json
from genjax_models.tables import types

FORMAT = 1
CONFIG, METRICS, RESULT, EVALUATIONS = "config.json", "metrics.jsonl", "result.json", "evaluations.jsonl"
# What may change when a run goes on longer: nothing of how a step is taken, but the optimizer's numbers and schedules.
MAY_CHANGE = (
    "training.num_steps",
    "training.evaluate_every",
    "training.chunk",
    "training.nonfinite",
    "evaluation.num_samples",
    "evaluation.test_examples",
    "evaluation.parameters",
    "evaluation.distribution",
    "evaluation.num_z_samples",
    "optimizer.",
)
EXAMPLES = "test_examples"  # begins the names of the files with values by example


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """What a run must remember of its data to be rebuilt without it."""

    visible: int
    image_shape: tuple[int, ...] | None
    sizes: tuple[int, ...]  # train, validation, test
    checksum: int  # crc32 over the three splits
    context: int | None = None  # the width of the contexts, where the data have any
    # By which pictures are scaled: of real numbers the training split's least and greatest. Older runs did not note it.
    limits: tuple[float, float] | None = dataclasses.field(default=None, compare=False, repr=False)

    def in_words(self) -> str:
        """The number of values and of examples, and the checksum."""
        shape = "" if self.image_shape is None else f" of shape {self.image_shape}"
        context = "" if self.context is None else f" and {self.context} of a context"
        sizes = "/".join(map(str, self.sizes))
        return f"{sizes} examples of {self.visible} values{shape}{context} (CRC-32 {self.checksum:08x})"

    @property
    def abstract(self) -> Any:
        """Shapes and types of the training data, as `data.examples` gives them."""
        x, *context = (
            jax.ShapeDtypeStruct((self.sizes[0], width), np.float32)
            for width in (self.visible, self.context)
            if width is not None
        )
        return Batch(x, *context) if context else x  # type: ignore[arg-type]  # shapes stand for arrays


DATA_TYPES = typing.get_type_hints(DataSpec)


class Origin(NamedTuple):
    """What a run took over from another one to begin with."""

    kind: Literal["parameters", "state"]
    folder: str  # the other run's
    step: int  # of its checkpoint


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder with its configuration."""

    folder: Path
    config: Config
    data: DataSpec
    origin: Origin | None = None  # None of a run that began with new parameters

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def sha256(self) -> str:
        """Of what stands in the folder about configuration and data, which no other run has by chance."""
        return hashlib.sha256((self.folder / CONFIG).read_bytes()).hexdigest()


def building_path(path: Path) -> Path:
    """Where a file stands until it is whole."""
    return path.with_name(f".{path.name}.building")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text or bytes, so that it is whole or not there."""
    building = building_path(path)
    with naming(path):
        try:
            with building.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            building.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                building.unlink()
            raise
    sync_folder(path.parent)


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def open_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        RunError: no run there, or a configuration that this version cannot read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise RunError(f"{folder}: no run here, {CONFIG} is missing; give a folder that `train` made.")
    try:
        noted = parse_json(path.read_text(encoding="utf-8"))
        if noted["format"] != FORMAT:
            raise RunError(f"{path}: format {noted['format']!r}, this version reads {FORMAT}.")
        spec = noted["data"]
        shape = None if spec["image_shape"] is None else tuple(spec["image_shape"])
        limits = None if spec.get("limits") is None else tuple(spec["limits"])
        rest = spec["checksum"], spec.get("context"), limits
        data = DataSpec(spec["visible"], shape, tuple(spec["sizes"]), *rest)
        if wrong := [name for name, kind in DATA_TYPES.items() if not matches(getattr(data, name), kind)]:
            raise RunError(
                f"{path}: data.{wrong[0]}: got {getattr(data, wrong[0])!r}; train anew, or put the file back."
            )
        origin = None if noted.get("origin") is None else Origin(**noted["origin"])
        return Run(folder, from_json(noted["config"], types()), data, origin)
    except RunError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read as a run's configuration: {error}") from None


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """What runs are called beside each other: by their folders, or by the paths where two folders have one name."""
    names = [run.folder.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def create_or_match(
    folder: Path, config: Config, data: DataSpec, begin: Callable[[Path], Origin] | None = None
) -> tuple[Run, bool]:
    """The run for a configuration in a folder, and whether it was there before.

    Args:
        folder: the folder.
        config, data: the run's.
        begin: lays into a new run's folder what it takes over from another run; None for a run that takes nothing.

    Raises:
        RunError: the folder holds something else, another configuration or other data, or cannot be written.
    """
    if (folder / CONFIG).exists():
        run = open_run(folder)
        if found := differing(run.config, config):
            listed = "\n".join(f"  {line}" for line in found.values())
            longer = config.training.num_steps > run.config.training.num_steps
            advice = (
                ", with --extend to go on from it" if longer and all(p.startswith(MAY_CHANGE) for p in found) else ""
            )
            raise RunError(
                f"{folder} holds a run with another configuration:\n{listed}\nGive another --run-dir{advice}."
            )
        if run.data != data:
            raise RunError(
                f"{folder} holds a run on other data: {run.data.in_words()} then, {data.in_words()} now. Give the data "
                "it was started on, or another --run-dir."
            )
        return run, True
    # A run that was killed before its configuration stood leaves an empty folder, or the beginning of that file.
    leftover = building_path(folder / CONFIG)
    if folder.exists() and (not folder.is_dir() or any(p != leftover for p in folder.iterdir())):
        raise RunError(f"{folder} exists and is no run folder; give an empty or new one with --run-dir.")
    document = {"format": FORMAT, "config": to_json(config, types()), "data": dataclasses.asdict(data)}
    try:
        if begin is None:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CONFIG, as_json(document))
            return Run(folder, config, data), False
        with _whole_folder(folder) as building:
            origin = begin(building)
            write_whole(building / CONFIG, as_json({**document, "origin": origin._asdict()}))
        return Run(folder, config, data, origin), False
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); give another --run-dir.") from None


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that takes its name, in place of an empty one, when all that is to lie in it does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.building-", dir=folder.parent) as place:
        building = Path(place) / folder.name
        building.mkdir()
        yield building
        sync_folder(building)
        if folder.exists():
            building_path(folder / CONFIG).unlink(missing_ok=True)
            folder.rmdir()
        building.replace(folder)
    sync_folder(folder.parent)


class ByExample(NamedTuple):
    """What was measured of every test example, and the figures that were made of it."""

    rows: np.ndarray  # [N], the examples' places in the whole test split
    values: dict[str, np.ndarray]  # [N] each, by the name of its mean among the figures without "test_": "nll", ...
    figures: dict[str, Any]  # as `evaluate` prints them


def by_example_path(folder: Path, figures: dict[str, Any]) -> Path:
    """Where values by example stand: test_examples_1000.npz for K = 1000, test_examples_exact.npz without samples; with
    those of p* another file."""
    samples = figures["test_nll_samples"]
    p_star = "_p_star" if "test_nll_p_star" in figures else ""
    return folder / f"{EXAMPLES}_{'exact' if samples is None else samples}{p_star}.npz"


def write_by_example(folder: Path, found: ByExample) -> Path | None:
    """Keep values by example in a run folder: the file, or None where just these stood there.

    It holds an array for each name, `rows`, and `figures` as JSON text.
    """
    path = by_example_path(folder, found.figures)
    with contextlib.suppress(RunError, FileNotFoundError):
        there = read_by_example(path)
        same = there.figures == found.figures and there.values.keys() == found.values.keys()
        pairs = [(there.rows, found.rows), *((there.values[k], v) for k, v in found.values.items() if same)]
        if same and all(np.array_equal(*pair, equal_nan=True) for pair in pairs):
            return None
    content = io.BytesIO()
    np.savez(content, rows=found.rows, figures=np.array(json.dumps(found.figures)), **found.values)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())
    return path


def read_by_example(path: Path) -> ByExample:
    """What `write_by_example` wrote.

    Raises:
        RunError: a damaged file.
        FileNotFoundError: no such file.
    """
    try:
        if not path.exists():
            raise FileNotFoundError(path)
        arrays = read(path, lambda names, _: {name: name for name in names})
        rows, figures = arrays.pop("rows"), dict(parse_json(str(arrays.pop("figures"))))
        if rows.ndim != 1 or any(values.shape != rows.shape for values in arrays.values()):
            raise ValueError("its arrays are of different shapes")
        return ByExample(rows, arrays, figures)
    except FileNotFoundError:
        raise
    except Exception as error:  # broken archives make numpy and zipfile raise errors of many kinds
        raise RunError(
            f"{path} is damaged ({error}); remove it, and `genjax-models evaluate {path.parent}` makes one."
        ) from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder against a second process that trains in it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{folder} is being trained by another process; wait for it, or give another --run-dir."
            ) from None
        yield


def read_metrics(path: Path, step: int) -> list[dict]:
    """The lines of a metrics.jsonl up to a step; none where there is no file."""
    rows = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # the last line may be cut short by a crash, and any one damaged
            rows.append(parse_json(line))
    return [row for row in rows if isinstance(row, dict) and matches(row.get("step"), int) and row["step"] <= step]


def metrics_text(rows: Sequence[dict]) -> str:
    """metrics.jsonl with these lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_result(folder: Path) -> dict[str, Any]:
    """What result.json holds.

    Raises:
        RunError: the run is not finished, or the file is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        raise RunError(f"{folder} is not finished, {RESULT} is missing; `genjax-models train {folder}` goes on.")
    try:
        return dict(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it, and train evaluates again.") from None


class Metrics:
    """metrics.jsonl: one line an evaluation, in order of steps."""

    def __init__(self, path: Path, step: int, writes: bool = True):
        """Read the lines up to a step; those after it belong to steps that will be taken again.

        Of several processes one `writes`; the others keep the lines in memory.
        """
        self.path, self.writes = path, writes
        self.rows = read_metrics(path, step) if writes else []
        if not writes:
            return
        kept = metrics_text(self.rows)
        if path.exists() and kept != path.read_text(encoding="utf-8", errors="replace"):
            write_whole(path, kept)

    def add(self, row: dict) -> None:
        self.rows.append(row)
        if not self.writes:
            return
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
