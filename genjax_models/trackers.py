"""Callbacks that show a run elsewhere: TensorBoard, and Weights & Biases.

train_run(config, folder, callbacks=[TensorBoard()])

`metrics.jsonl` is always written; `to_tensorboard` makes of it, for runs that were made before or by a sweep, what
`TensorBoard` writes while a run goes on.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax_models.callbacks import Callback, Moment
from genjax_models.errors import UserError
from genjax_models.overlay import flatten
from genjax_models.run_folder import METRICS, RESULT, Run, distinct_names, open_run, read_metrics, read_result

SUFFIX = ".run"  # lest hyperparameters, which tensorboardX writes to a file of their own, get one of the same name
IMAGES = "samples.png", "views.png", "neighbours.png", "canvases.png"


def settings(run: Run) -> dict[str, str | int | float | bool]:
    """The fields of a run's configuration by their dotted paths."""
    fields = flatten(run.config).items()
    return {path: value if isinstance(value, str | int | float) else str(value) for path, value in fields}


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a result that are not among the metrics."""
    return {
        name: float(value)
        for name, value in result.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and not name.startswith("validation_")
    }


class TensorBoard:
    """Scalars, pictures and, with the result, hyperparameters of a run, for `tensorboard --logdir`.

    Args:
        folder: where event files go; None for `tensorboard` in the run folder.

    Raises:
        UserError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path | str | None = None):
        self.folder = folder
        self._writer: Any = None
        _tensorboard_writer()

    def __call__(self, moment: Moment) -> None:
        if self._writer is None:
            folder = self.folder or moment.run.folder / "tensorboard"
            # What an earlier start wrote after the checkpoint that this one came from is taken again.
            self._writer = _tensorboard_writer()(str(folder), purge_step=moment.step, filename_suffix=SUFFIX)
        for name, value in moment.metrics.items():
            self._writer.add_scalar(name, value, moment.step)
        if moment.result is not None:
            _finish_tensorboard(self._writer, moment.run, moment.result)


def _tensorboard_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError(
            "TensorBoard's files need tensorboardX, which is not installed: "
            "python -m pip install 'genjax_models[tensorboard]'."
        ) from None
    return SummaryWriter


def _finish_tensorboard(writer: Any, run: Run, result: Mapping[str, Any]) -> None:
    from matplotlib.image import imread

    step = int(result["steps"])
    for name in IMAGES:
        if (run.folder / name).exists():
            writer.add_image(name.removesuffix(".png"), imread(run.folder / name), step, dataformats="HWC")
    writer.add_hparams(settings(run), _figures(result), name=".", global_step=step)
    writer.close()


def to_tensorboard(folders: Sequence[Path | str], out: Path | str) -> list[Path]:
    """Event files for TensorBoard of runs, and of all members of sweeps: a folder for each in `out`.

    Args:
        folders: run folders, and folders of sweeps.
        out: a folder that does not exist, or is empty.

    Returns:
        The folders that were written.

    Raises:
        UserError: no run or sweep, a folder that holds something, or tensorboardX is not installed.
    """
    writer_of, out = _tensorboard_writer(), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; give another --out.")
    runs = []
    for folder in map(Path, folders):
        members = sorted(p for p in (folder / "members").glob("*") if p.is_dir())
        runs += [open_run(member) for member in members or [folder]]
    written = []
    for run, name in zip(runs, distinct_names(runs), strict=True):
        place = out / name.replace(os.sep, "_")
        writer = writer_of(str(place), filename_suffix=SUFFIX)
        for row in read_metrics(run.folder / METRICS, run.config.training.num_steps):
            for metric, value in row.items():
                if metric not in ("step", "seconds") and value is not None:
                    writer.add_scalar(metric, value, row["step"])
        if (run.folder / RESULT).exists():
            _finish_tensorboard(writer, run, read_result(run.folder))
        writer.close()
        written.append(place)
    return written


class WandB:
    """A run of Weights & Biases for each run folder, with its configuration, metrics, samples and result.

    A run that is resumed goes on in the same one there.

    Args:
        settings: what `wandb.init` takes besides, such as `project` and `mode="offline"`.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(self, **settings: Any):
        self.given = {"project": "genjax_models", **settings}
        self._run: Any = None
        self._wandb = _wandb()

    def __call__(self, moment: Moment) -> None:
        folder = moment.run.folder
        if self._run is None:
            name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
            given = {"name": folder.name, "id": name, "resume": "allow", "dir": str(folder), **self.given}
            self._run = self._wandb.init(config=settings(moment.run), **given)
        self._run.log(dict(moment.metrics), step=moment.step)
        if moment.result is not None:
            there = [name for name in IMAGES if (folder / name).exists()]
            self._run.log({name[:-4]: self._wandb.Image(str(folder / name)) for name in there}, step=moment.step)
            self._run.summary.update(_figures(moment.result))
            self._run.finish()


def _wandb() -> Any:
    try:
        import wandb
    except ImportError:
        raise UserError(
            "Weights & Biases needs wandb, which is not installed: python -m pip install 'genjax_models[wandb]'."
        ) from None
    return wandb


TRACKERS: dict[str, Callable[[], Callback]] = {"tensorboard": TensorBoard, "wandb": WandB}
