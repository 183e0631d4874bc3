"""Runs that begin where another one stands: with its parameters, or with all of its state, to take more steps.

Such a run has a folder of its own, in which all lies that it begins with; the other one is only read.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from genjax_models import checkpoints
from genjax_models.config import Config
from genjax_models.core import Params
from genjax_models.errors import ConfigError, RunError, UserError
from genjax_models.measuring import Log, abstract_state, chosen_parameters
from genjax_models.overlay import differing
from genjax_models.run_folder import (
    CONFIG,
    MAY_CHANGE,
    METRICS,
    DataSpec,
    Origin,
    Run,
    metrics_text,
    open_run,
    read_metrics,
)
from genjax_models.train import require_parameters_of

START = "start"  # in a run folder: the run whose parameters it begins with, by its config.json and one checkpoint
Begin = Callable[[Path], Origin]


def beginning(
    folder: Path, config: Config, data: DataSpec, start_from: Path | None, extend: Path | None, log: Log
) -> Begin | None:
    """What lays into a new run folder what the run takes over from another; None where that is nothing, or is done.

    Args:
        folder: the run folder; where it holds a run already, that must have begun so.
        config, data: the run's.
        start_from: the run whose parameters it begins with, those that an evaluation takes.
        extend: the run whose state it goes on with.
        log: hears of checkpoints that are damaged, which are passed over.

    Raises:
        UserError: both are given; no run there or no whole checkpoint; other parameters, data, or fields than those
            that may change; no more steps than were taken; or the folder holds a run that began otherwise.
    """
    if start_from is not None and extend is not None:
        raise UserError("start_from and extend: got both, expected one: a run begins with parameters or with a state.")
    given = extend if start_from is None else start_from
    if given is None:
        return None
    if (folder / CONFIG).exists():
        _require_begun(open_run(folder), given, "parameters" if extend is None else "state")
        return None
    run, source = Run(folder, config, data), open_run(given)
    return _from_parameters(run, source, log) if extend is None else _from_state(run, source, log)


def _require_begun(run: Run, given: Path, kind: str) -> None:
    """Raise RunError unless a run in a folder began with that of the other one which is given now."""
    origin = run.origin
    if origin is None or (origin.kind, origin.folder) != (kind, str(given.resolve())):
        began = "new parameters" if origin is None else f"the {origin.kind} of {origin.folder}"
        raise RunError(
            f"{run.folder} holds a run that began with {began}, not with the {kind} of {given.resolve()}. Give another "
            "--run-dir, or leave that out to go on with this one."
        )


def _copied(checkpoint: checkpoints.Checkpoint, folder: Path) -> None:
    """Copy a checkpoint into a folder of checkpoints, and check the copy."""
    checkpoints.verify(Path(shutil.copytree(checkpoint.path, folder / checkpoint.path.name)))


def _from_parameters(run: Run, source: Run, log: Log) -> Begin:
    _, params, chosen = chosen_parameters(source, log)
    require_parameters_of(abstract_state(run), params, f"start_from {source.folder}")

    def begin(folder: Path) -> Origin:
        (folder / START).mkdir()
        shutil.copy(source.folder / CONFIG, folder / START)
        _copied(chosen, open_run(folder / START).checkpoints)
        return Origin("parameters", str(source.folder.resolve()), chosen.step)

    log(f"{run.folder} begins with the parameters of step {chosen.step} of {source.folder}.")
    return begin


def _from_state(run: Run, source: Run, log: Log) -> Begin:
    name = f"extend {source.folder}"
    found = differing(source.config, run.config)
    if wrong := [line for path, line in found.items() if not path.startswith(MAY_CHANGE)]:
        listed = "\n".join(f"  {line}" for line in wrong)
        raise ConfigError(
            f"{name}: a run that goes on keeps its configuration, but for its length, evaluation and the optimizer's "
            f"numbers:\n{listed}\nWith start_from another one begins with its parameters."
        )
    if source.data != run.data:
        raise RunError(f"{name}: it was trained on other data: {source.data.in_words()}, now {run.data.in_words()}.")
    newest = checkpoints.newest_whole(source.checkpoints, log)
    if newest is None:
        raise RunError(f"{name}: no whole checkpoint in {source.checkpoints}; train it first.")
    if run.config.training.num_steps <= newest.step:
        raise ConfigError(
            f"{name}: training.num_steps: got {run.config.training.num_steps}, expected more than the {newest.step} "
            "steps that it has taken; this is their number in all."
        )
    try:
        checkpoints.require_structure(newest.path, abstract_state(run))
    except RunError as error:
        raise ConfigError(
            f"{name}: the optimizer's state would be another one; give it other numbers alone, a schedule where it had "
            f"one, or begin with the run's parameters, by start_from. {error}"
        ) from None
    best = checkpoints.best_whole(source.checkpoints, log) or newest

    def begin(folder: Path) -> Origin:
        there = Run(folder, run.config, run.data).checkpoints
        for checkpoint in {c.path: c for c in (newest, best)}.values():
            _copied(checkpoint, there)
        (folder / METRICS).write_text(metrics_text(read_metrics(source.folder / METRICS, newest.step)), "utf-8")
        return Origin("state", str(source.folder.resolve()), newest.step)

    log(f"{run.folder} goes on from step {newest.step} of {source.folder}.")
    return begin


def starting_parameters(run: Run, log: Log) -> Params | None:
    """The model's parameters that a run begins with; None for new ones."""
    if run.origin is None or run.origin.kind == "state":
        return None
    return chosen_parameters(open_run(run.folder / START), log)[1]
