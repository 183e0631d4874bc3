"""Runs on disk: the one place with side effects.

A run folder holds config.json, metrics.jsonl, checkpoints/, and at the end samples.png, curves.png and result.json.
Training the same configuration in the same folder again resumes; nothing in it is overwritten by anything else.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import platform
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models import checkpoints
from genjax_models.config import Config, validate
from genjax_models.core import Params, Trainable, TrainState
from genjax_models.data import Dataset
from genjax_models.errors import DataError, RunError, UserError
from genjax_models.evaluation import log_marginal, objective_metrics
from genjax_models.overlay import differences, from_json, to_json
from genjax_models.tables import types
from genjax_models.train import EVALUATION, make_train, program_config

FORMAT = 1
CONFIG, METRICS, RESULT, EVALUATIONS = "config.json", "metrics.jsonl", "result.json", "evaluations.jsonl"
Log = Callable[[str], None]


class Interrupted(Exception):
    """A stop signal came; the run is saved and can be resumed."""


class NonFinite(Exception):
    """A step was not finite and the policy is to stop; the message says where, and what survives."""


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """What a run must remember of its data to be rebuilt without it."""

    visible: int
    image_shape: tuple[int, ...] | None
    sizes: tuple[int, ...]  # train, validation, test
    checksum: int  # crc32 over the three splits


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder with its configuration."""

    folder: Path
    config: Config
    data: DataSpec

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def load_data(config: Config, data_dir: str | None) -> tuple[Dataset, DataSpec]:
    """The configured data, checked against what the model's likelihood is defined on.

    Raises:
        DataError: data that cannot be read, or values that the likelihood is not defined on.
    """
    data = config.data.load(data_dir)
    wanted = config.model.data_support
    if wanted == "unit" and data.support == "real":
        values = np.concatenate([data.train.ravel(), data.validation.ravel(), data.test.ravel()])
        raise DataError(
            f"{type(config.data).__name__} holds values from {values.min():g} to {values.max():g}, but "
            f"{type(config.model).__name__} has a Bernoulli likelihood, for values in [0, 1]: scale the data to that, "
            "or use a model with a gaussian likelihood (VAE(likelihood='gaussian'))."
        )
    splits = (data.train, data.validation, data.test)
    checksum = functools.reduce(lambda crc, x: zlib.crc32(np.ascontiguousarray(x).data, crc), splits, 0)
    shape = None if data.image_shape is None else tuple(data.image_shape)
    return data, DataSpec(data.train.shape[1], shape, tuple(len(x) for x in splits), checksum)


def _write(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there."""
    building = path.with_name(f".{path.name}.building")
    building.write_text(text, encoding="utf-8")
    building.replace(path)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _number(value: Any) -> float | None:
    """A number as JSON has it: not finite becomes null."""
    value = float(value)
    return value if math.isfinite(value) else None


def open_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        RunError: no run there, or a configuration that this version cannot read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise RunError(f"{folder}: no run here, {CONFIG} is missing; give a folder that `train` made.")
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        if noted["format"] != FORMAT:
            raise RunError(f"{path}: format {noted['format']!r}, this version reads {FORMAT}.")
        spec = noted["data"]
        shape = None if spec["image_shape"] is None else tuple(spec["image_shape"])
        data = DataSpec(spec["visible"], shape, tuple(spec["sizes"]), spec["checksum"])
        return Run(folder, from_json(noted["config"], types()), data)
    except RunError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read as a run's configuration: {error}") from None


def _create_or_match(folder: Path, config: Config, data: DataSpec) -> tuple[Run, bool]:
    """The run for a configuration in a folder, and whether it was there before.

    Raises:
        RunError: the folder holds something else, another configuration or other data, or cannot be written.
    """
    if (folder / CONFIG).exists():
        run = open_run(folder)
        if found := differences(run.config, config):
            listed = "\n".join(f"  {line}" for line in found)
            raise RunError(f"{folder} holds a run with another configuration:\n{listed}\nGive another --run-dir.")
        if run.data != data:
            raise RunError(
                f"{folder} holds a run on other data: {run.data} then, {data} now. Give the data it was started on, or "
                "another --run-dir."
            )
        return run, True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is no run folder; give an empty or new one with --run-dir.")
    document = {"format": FORMAT, "config": to_json(config, types()), "data": dataclasses.asdict(data)}
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        _write(folder / CONFIG, _json(document))
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); give another --run-dir.") from None
    return Run(folder, config, data), False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the run folder against a second process that trains in it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"{folder} is being trained by another process; wait for it, or give another --run-dir."
            ) from None
        yield


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], str | None]]:
    """Yields a function that names the stop signal that came, if any; a second one interrupts at once."""
    came: list[str] = []

    def note(number, frame):
        if came:
            raise KeyboardInterrupt
        came.append(signal.Signals(number).name)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone receives signals
        yield lambda: None
        return
    try:
        yield lambda: came[0] if came else None
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


class Metrics:
    """metrics.jsonl: one line an evaluation, in order of steps."""

    def __init__(self, path: Path, step: int):
        """Read the lines up to a step; those after it belong to steps that will be taken again."""
        self.path = path
        self.rows: list[dict] = []
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line may be cut short by a crash
                row = json.loads(line)
                if row["step"] <= step:
                    self.rows.append(row)
        if len(self.rows) < len(lines):
            _write(path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def add(self, row: dict) -> None:
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class Progress:
    """One line on standard error, rewritten in a terminal, a line an evaluation elsewhere."""

    def __init__(self, log: Log, total: int, live: bool):
        self.log, self.total, self.live = log, total, live
        self.since = time.perf_counter()
        self.first: int | None = None

    def show(self, step: int, train: float | None, validation: float | None, evaluated: bool) -> None:
        now = time.perf_counter()
        if self.first is None:  # the first call compiled; speed is measured from its end
            self.since, self.first = now, step
        rate = (step - self.first) / (now - self.since) if step > self.first else None
        left = "" if rate is None else f"  {rate:6.0f} steps/s  {_duration((self.total - step) / rate)} left"
        bounds = "".join(
            f"  {name} {value:.2f}"
            for name, value in (("train", train), ("validation", validation))
            if value is not None
        )
        line = f"step {step:>{len(str(self.total))}}/{self.total}{bounds}{left}"
        if self.live:
            sys.stderr.write("\r\033[K" + line)
            sys.stderr.flush()
        elif evaluated:
            self.log(line)

    def end(self) -> None:
        if self.live:
            sys.stderr.write("\n")


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    return f"{seconds // 60}:{seconds % 60:02d}" if seconds >= 60 else f"{seconds} s"


def _build_objective(config: Config, visible: int):
    return config.objective.build(config.model.build(visible))


@functools.partial(jax.jit, static_argnames="visible")
def _bound(config: Config, state: TrainState, params: Params, key, x, visible: int) -> jax.Array:
    """The objective's bound on every example, [N]."""
    objective = _build_objective(config, visible)
    trainable = Trainable(params, state.own[0])
    x = jnp.asarray(x, jnp.result_type(float))
    return objective_metrics(objective, trainable, state.objective[0], key, x, state.step)["bound"]


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _log_marginal(config: Config, params: Params, key, x, visible: int, num_samples: int):
    return log_marginal(config.model.build(visible), params, key, x, num_samples)


@functools.partial(jax.jit, static_argnames=("visible", "num"))
def _sample(config: Config, params: Params, key, visible: int, num: int) -> jax.Array:
    """E[x | z] of draws from the prior, [num, D]."""
    model = config.model.build(visible)

    def one(key):
        z, _ = model.sample_joint(params, key, ())
        return model.decode(params, z, ())

    return jax.vmap(one)(jax.random.split(key, num))


def evaluated_parameters(state: TrainState) -> Params:
    """The moving average where one is kept, else the parameters."""
    return state.params if state.average is None else state.average


def _mean_and_error(values: Any) -> tuple[float | None, float | None]:
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return _number(values.mean()), _number(error)


def train_run(
    config: Config,
    folder: Path,
    data_dir: str | None = None,
    *,
    log: Log = print,
    live: bool = False,
    started: float | None = None,
) -> dict:
    """Train, evaluate and draw a configuration in a run folder, from where it stands.

    Args:
        config: a `Config`.
        folder: the run folder; made if it does not exist, resumed if it holds this configuration.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.
        live: rewrite one progress line on standard error instead of logging one an evaluation.
        started: `time.perf_counter()` of when the user began to wait, for the seconds to the first step.

    Returns:
        What result.json holds.

    Raises:
        UserError: configuration, data or folder that cannot be used.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        NonFinite: a step was not finite under the policy "stop".
    """
    started = time.perf_counter() if started is None else started
    validate(config)
    train = make_train(config)
    data, spec = load_data(config, data_dir)
    folder = Path(folder)
    run, existed = _create_or_match(folder, config, spec)
    if (folder / RESULT).exists():
        log(f"{folder} is finished; its result stands in {folder / RESULT}.")
        return json.loads((folder / RESULT).read_text(encoding="utf-8"))
    with _locked(folder), _stop_signals() as stop_signal:
        return _train_locked(run, existed, train, data, log, live, started, stop_signal)


def _train_locked(run: Run, existed: bool, train, data: Dataset, log: Log, live: bool, started, stop_signal) -> dict:
    config, training, key = run.config, run.config.training, jax.random.key(run.config.seed)
    x_train, x_validation = jnp.asarray(data.train), jnp.asarray(data.validation)
    newest = checkpoints.newest_whole(run.checkpoints, log) if existed else None
    if newest is None:
        state, before = train.init(config, key, x_train), 0.0
        if existed:
            log(f"{run.folder}: no checkpoint to resume from; training from the start.")
    else:
        state = checkpoints.restore(newest.path, _abstract_state(run))
        before = newest.seconds
        log(f"{run.folder}: resuming from step {newest.step} of {training.num_steps}.")
    metrics = Metrics(run.folder / METRICS, int(state.step))
    progress = Progress(log, training.num_steps, live)
    program = program_config(config)
    validation_key = jax.random.fold_in(jax.random.fold_in(key, EVALUATION), 0)
    first_step_seconds, bounds, last_finite, validation = None, [], None, None
    step = int(state.step)
    seconds = lambda: before + time.perf_counter() - started  # noqa: E731

    while step < training.num_steps:
        # Boundaries are multiples counted from step 0, so that a resumed run calls the same programs.
        until = min(_next(step, training.chunk), _next(step, training.evaluate_every), training.num_steps)
        state, found = train.advance(config, state, x_train, step, until - step)
        chunk_bounds = np.asarray(found["bound"])  # waits for the chunk
        if first_step_seconds is None:
            first_step_seconds = time.perf_counter() - started
        reached = int(state.step)
        finite = chunk_bounds[: reached - step][np.isfinite(chunk_bounds[: reached - step])]
        bounds.extend(finite)
        last_finite = float(finite[-1]) if len(finite) else last_finite
        if bool(state.halted):
            progress.end()
            raise NonFinite(_nonfinite_message(run, reached, last_finite))
        step = reached
        evaluated = step % training.evaluate_every == 0 or step == training.num_steps
        if evaluated:
            params = evaluated_parameters(state)
            values = _bound(program, state, params, validation_key, x_validation, run.data.visible)
            validation = _number(np.mean(np.asarray(values, np.float64)))
        train_bound = _number(np.mean(bounds)) if bounds else None
        progress.show(step, train_bound, validation, evaluated)
        if evaluated:
            row = {"step": step, "seconds": round(seconds(), 3)}
            metrics.add({**row, "train_bound": train_bound, "validation_bound": validation})
            bounds = []
        came = stop_signal()
        if evaluated or came:
            checkpoints.save(run.checkpoints, state, seconds(), validation if evaluated else None)
            checkpoints.prune(run.checkpoints)
        if came and step < training.num_steps:
            progress.end()
            raise Interrupted(
                f"{came}: saved at step {step} of {training.num_steps} in {run.folder}; the same command resumes."
            )
    progress.end()
    return _finish(run, state, data, metrics.rows, first_step_seconds, seconds, log)


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def _nonfinite_message(run: Run, step: int, last_finite: float | None) -> str:
    survivors = checkpoints.paths(run.checkpoints)
    bound = "none was finite" if last_finite is None else f"the last finite bound was {last_finite:.4f} nats"
    survivor = f"the checkpoint {survivors[-1]} survives" if survivors else "no checkpoint was written yet"
    return (
        f"step {step}: the loss or its gradient is not finite; {bound}; {survivor}. Try a lower learning rate, "
        "--optimizer.clip-norm, or --training.nonfinite skip, in a new run folder."
    )


def _abstract_state(run: Run) -> TrainState:
    """The shapes of the run's training state."""
    train = make_train(run.config)
    x = jax.ShapeDtypeStruct((run.config.training.batch_size, run.data.visible), jnp.float32)
    return train.shapes(run.config, x)


def chosen_parameters(run: Run, log: Log) -> tuple[TrainState, Params, checkpoints.Checkpoint]:
    """The state of the checkpoint that `evaluation.parameters` chooses, with the parameters to evaluate.

    Raises:
        RunError: no whole checkpoint.
    """
    best = checkpoints.best_whole(run.checkpoints, log) if run.config.evaluation.parameters == "best" else None
    chosen = best or checkpoints.newest_whole(run.checkpoints, log)
    if chosen is None:
        raise RunError(f"{run.folder}: no whole checkpoint in {run.checkpoints}; train it first.")
    state = checkpoints.restore(chosen.path, _abstract_state(run))
    return state, evaluated_parameters(state), chosen


def _test(run: Run, state: TrainState, params: Params, x_test, num_samples: int) -> dict:
    """Bound and NLL on the test split."""
    key = jax.random.fold_in(jax.random.key(run.config.seed), EVALUATION)
    program, visible = program_config(run.config), run.data.visible
    bound, bound_error = _mean_and_error(_bound(program, state, params, jax.random.fold_in(key, 1), x_test, visible))
    estimate = _log_marginal(program, params, jax.random.fold_in(key, 2), x_test, visible, num_samples)
    nll, nll_error = _mean_and_error(-np.asarray(estimate.log_prob))
    return {
        "test_bound": bound,
        "test_bound_standard_error": bound_error,
        "test_nll": nll,
        "test_nll_standard_error": nll_error,
        "test_nll_samples": num_samples,
        "test_nll_mean_estimator_error": _number(np.mean(np.asarray(estimate.standard_error))),
        "test_examples": len(x_test),
        "units": "nats per example",
    }


def _finish(run: Run, state: TrainState, data: Dataset, rows: list, first_step_seconds, seconds, log: Log) -> dict:
    from genjax_models import plots

    log("evaluating on the test split")
    chosen_state, params, chosen = chosen_parameters(run, log)
    tested = _test(run, chosen_state, params, jnp.asarray(data.test), run.config.evaluation.num_samples)
    images = sample_images(run, params, 100)
    plots.save_images(run.folder / "samples.png", images, run.data.image_shape)
    plots.save_curves(run.folder / "curves.png", rows, run.folder.name)
    result = {
        **tested,
        "evaluated_step": chosen.step,
        "evaluated_parameters": run.config.evaluation.parameters,
        "validation_bound": chosen.metric,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "steps": int(state.step),
        "nonfinite_steps": int(state.nonfinite),
        "seconds_to_first_step": None if first_step_seconds is None else round(first_step_seconds, 3),
        "total_seconds": round(seconds(), 3),
        "versions": _versions(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
    }
    _write(run.folder / RESULT, _json(result))
    return result


def _versions() -> dict[str, str]:
    packages = ("genjax_models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def sample_images(run: Run, params: Params, num: int, seed: int = 0) -> np.ndarray:
    """E[x | z] of `num` draws from the prior, [num, D]."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(run.config.seed), EVALUATION), 3 + seed)
    return np.asarray(_sample(program_config(run.config), params, key, run.data.visible, num))


def evaluate_run(folder: Path, data_dir: str | None, num_samples: int | None, log: Log) -> dict:
    """Evaluate a run on the test split again, and add a line to its evaluations.jsonl.

    Raises:
        UserError: no run, no whole checkpoint, or data that is not there or other than the run's.
    """
    run = open_run(Path(folder))
    data, spec = load_data(run.config, data_dir)
    if spec != run.data:
        raise RunError(f"{folder} was trained on other data: {run.data} then, {spec} now.")
    state, params, chosen = chosen_parameters(run, log)
    samples = run.config.evaluation.num_samples if num_samples is None else num_samples
    tested = {"evaluated_step": chosen.step, **_test(run, state, params, jnp.asarray(data.test), samples)}
    try:
        with (run.folder / EVALUATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(tested) + "\n")
    except OSError as error:
        log(f"{run.folder / EVALUATIONS} cannot be written ({error.strerror}); the figures stand here alone.")
    return tested


def sample_run(folder: Path, num: int, out: Path, seed: int, overwrite: bool, log: Log) -> Path:
    """Draw samples of a run as a picture.

    Raises:
        UserError: no run, no whole checkpoint, or a file that exists already or cannot be written.
    """
    from genjax_models import plots

    run, out = open_run(Path(folder)), Path(out)
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite to replace it.")
    _, params, chosen = chosen_parameters(run, log)
    images = sample_images(run, params, num, seed)
    try:
        plots.save_images(out, images, run.data.image_shape)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    log(f"{num} samples of step {chosen.step} in {out}")
    return out
