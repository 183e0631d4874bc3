"""Runs: training on disk, evaluating and drawing. Its side effects start here, in the parts that this file calls.

A run folder holds config.json, metrics.jsonl, checkpoints/, and at the end samples.png, curves.png, result.json, and
what its figures are means of, by test example, in test_examples_K.npz.
Training the same configuration in the same folder again resumes; nothing in it is overwritten by anything else.
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from genjax_models import checkpoints, processes
from genjax_models.callbacks import Callback, Callbacks, check_callbacks, means, moment_of
from genjax_models.config import Config, Distribution, validate
from genjax_models.core import Params, TrainState
from genjax_models.data import Dataset, evaluation_subset, examples
from genjax_models.data.dataset import as_intensities
from genjax_models.errors import ConfigError, RunError, UserError, naming, require_picture
from genjax_models.evaluation import complete
from genjax_models.evaluation.bidirectional import require_binary_where_seen
from genjax_models.measuring import (
    COMPLETIONS,
    Log,
    Tested,
    abstract_state,
    best_by,
    canvases,
    check_p_star,
    chosen_parameters,
    draw_completions,
    evaluated_parameters,
    evaluation_key,
    mean_and_error,
    measure,
    sample_images,
    test,
    views,
    with_neighbours,
    worth,
)
from genjax_models.origins import beginning, starting_parameters
from genjax_models.preparation import load_data, log_kind_of_data, prepare
from genjax_models.progress import Progress
from genjax_models.run_folder import (
    EVALUATIONS,
    METRICS,
    RESULT,
    Metrics,
    Run,
    as_json,
    create_or_match,
    locked,
    open_run,
    read_result,
    write_by_example,
    write_whole,
)
from genjax_models.spread import Spread, data_mesh
from genjax_models.streaming import Held, Stream, feed_of
from genjax_models.train import Train, program_config, require_shares

GO_ON = "Once that is mended, the same command goes on."


class Interrupted(Exception):
    """A stop signal came; the run is saved and can be resumed."""


class NonFinite(Exception):
    """A step was not finite and the policy is to stop, or what a run goes on from is not; the message says where, and
    what survives."""


class StopSignals:
    """SIGINT and SIGTERM noted while training, so that the chunk is finished and saved first.

    A second signal, or one that comes when `at_once` is set, raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.came: str | None = None
        self.at_once = False

    def _note(self, number: int, frame: Any) -> None:
        if self.came or self.at_once:
            raise KeyboardInterrupt
        self.came = signal.Signals(number).name

    def __enter__(self) -> "StopSignals":
        self._before = {}
        with contextlib.suppress(ValueError):  # not the main thread, which alone receives signals
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: Any) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)


def train_run(
    config: Config,
    folder: Path,
    data_dir: str | None = None,
    *,
    log: Log = print,
    live: bool = False,
    started: float | None = None,
    devices: int | None = None,
    shard_parameters: bool = False,
    callbacks: Sequence[Callback] = (),
    start_from: Path | str | None = None,
    extend: Path | str | None = None,
) -> dict:
    """Train, evaluate and draw a configuration in a run folder, from where it stands.

    Several processes that have come together (`processes.join`) train one run: each holds its share of the examples
    and of every batch; the first writes the folder and speaks.

    Args:
        config: a `Config`.
        folder: the run folder; made if it does not exist, resumed if it holds this configuration.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.
        live: rewrite one progress line on standard error instead of logging one an evaluation (and one a minute).
        started: `time.perf_counter()` of when the user began to wait, for the seconds to the first step.
        devices: how many share each batch; None for one, and for all of several processes. A run may go on with
            another number than it was begun with.
        shard_parameters: whether the devices share parameters and optimizer out too, as `spread` has it.
        callbacks: functions of a `callbacks.Moment`, called after every compiled chunk of steps, and at the end with
            the result; of several processes, in the first. One that raises is not called again, and the run goes on.
        start_from: the folder of a run of the same model, whose parameters (those that an evaluation takes) this one
            begins with, with a new optimizer.
        extend: the folder of a run that this one goes on with, up to its own `training.num_steps`, as if that had been
            one run; other fields than those of length, evaluation and optimizer must be the same.

    Returns:
        What result.json holds.

    Raises:
        UserError: configuration, data or folder that cannot be used.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        NonFinite: a step was not finite under the policy "stop", or the parameters to go on from are not.
        Lost: another process is gone; the run is saved.
        OSError: something cannot be written, or read while training; what was saved before stands.
    """
    started = time.perf_counter() if started is None else started
    log, live = (log, live) if processes.first() else (_say_nothing, False)
    callbacks = check_callbacks(callbacks)
    train, data, spec = processes.together(lambda: prepare(config, data_dir))
    mesh = _mesh(config, devices, shard_parameters)
    begin = beginning(Path(folder), config, spec, _path(start_from), _path(extend), log)
    existed = processes.by_first(lambda: create_or_match(Path(folder), config, spec, begin)[1])
    run = dataclasses.replace(open_run(Path(folder)), data=spec)
    log_kind_of_data(config, data, log)
    _log_devices(config, mesh, log)
    if processes.by_first((run.folder / RESULT).exists):
        log(f"{folder} is finished; its result stands in {run.folder / RESULT}.")
        return read_result(run.folder)
    with _locked_by_first(run.folder), StopSignals() as signals:
        clock = Clock(started)
        lost = processes.naming_the_lost(lambda: _what_survives(run))
        refused = naming(run.folder, lambda: f"{_what_survives(run)} {GO_ON}")
        with refused, lost, feed_of(config, data, mesh, shard_parameters) as feed:
            progress = Progress(log, config.training.num_steps, live)
            hearers = Hearers(progress, Callbacks(callbacks if processes.first() else (), progress.say))
            try:
                state, rows = _train_steps(run, existed, train, data, feed, mesh, clock, signals, hearers)
            finally:
                progress.end()  # whatever is said next stands below
            signals.at_once = True  # all steps are saved: there is nothing to finish first
            result = _finish(run, state, data, rows, clock, log)
            hearers.callbacks(moment_of(run, state, {}, result))
            return result


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)


def _say_nothing(line: str) -> None:
    pass


def _mesh(config: Config, devices: int | None, shard_parameters: bool) -> Mesh | None:
    """The devices that share each batch; None for one alone."""
    if devices is None and not processes.several():
        if shard_parameters:
            raise ConfigError("shard_parameters: there is one device to share parameters out to; give devices too.")
        return None
    mesh = data_mesh(devices)
    if processes.several() and mesh.size != len(jax.devices()):
        raise ConfigError(f"devices: got {devices}, but {processes.count()} processes train with all of theirs.")
    require_shares(config, mesh)
    return mesh


def _log_devices(config: Config, mesh: Mesh | None, log: Log) -> None:
    """Say which devices train, where there are several."""
    if mesh is not None:
        shares = f"each batch of {config.training.batch_size} is shared by {mesh.size} devices"
        log(shares + (f" of {processes.count()} processes." if processes.several() else "."))
    elif len(jax.devices()) > 1:
        log(f"training on 1 of {len(jax.devices())} devices; with --devices several share each batch.")


@contextlib.contextmanager
def _locked_by_first(folder: Path) -> Iterator[None]:
    """`locked`, which one of several processes holds for all."""
    with contextlib.ExitStack() as stack:
        processes.together(lambda: stack.enter_context(locked(folder)) if processes.first() else None)
        yield


def _what_survives(run: Run) -> str:
    survivors = checkpoints.paths(run.checkpoints)
    return f"The checkpoint {survivors[-1]} survives." if survivors else "No checkpoint was written yet."


class Clock:
    """Seconds of a run, over all its starts."""

    def __init__(self, started: float):
        self.started, self.before = started, 0.0
        self.first_step: float | None = None

    def now(self) -> float:
        return self.before + time.perf_counter() - self.started

    def stepped(self) -> None:
        """Note the end of the first step of this start."""
        if self.first_step is None:
            self.first_step = time.perf_counter() - self.started


def _newest(run: Run, log: Log) -> checkpoints.Checkpoint | None:
    """The newest whole checkpoint, as the first process finds it."""

    def name() -> str | None:
        found = checkpoints.newest_whole(run.checkpoints, log)
        return None if found is None else found.path.name

    found = processes.by_first(name)
    return None if found is None else checkpoints.read_manifest(run.checkpoints / found)[0]


def _start(run: Run, existed: bool, train: Train, x: Any, clock: Clock, log: Log):
    """The state to train from, and the sum and count of train bounds since the last evaluation."""
    goes_on = run.origin is not None and run.origin.kind == "state"
    newest = _newest(run, log) if existed or goes_on else None
    if newest is None:
        if goes_on:
            raise RunError(f"{run.folder}: no whole checkpoint of what it goes on with is left; extend anew.")
        if existed:
            log(f"{run.folder}: no checkpoint to resume from; training from the start.")
        params = starting_parameters(run, log)
        return train.init(run.config, jax.random.key(run.config.seed), x, params), (0.0, 0)
    log(f"{run.folder}: resuming from step {newest.step} of {run.config.training.num_steps}.")
    clock.before = newest.seconds
    like = abstract_state(run)
    state = checkpoints.restore(newest.path, like, x.shardings(like) if isinstance(x, Spread) else None)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params)):  # no step would be finite
        raise NonFinite(
            f"{newest.path}: a parameter is not finite, though the files are as they were written: a fault of memory? "
            "Remove that folder, and the same command goes on from the checkpoint before it."
        )
    return state, newest.pending


class Record:
    """What a run writes while it trains: a line of metrics and a checkpoint an evaluation."""

    def __init__(self, run: Run, step: int, pending: tuple[float, int], clock: Clock):
        self.run, self.step, self.pending, self.clock = run, step, pending, clock
        self.metrics = Metrics(run.folder / METRICS, step, writes=processes.first())
        self.validation: dict[str, float | None] = {}
        self.last_finite: float | None = None

    def took(self, bounds: np.ndarray) -> None:
        """Note the train bound of every step of a chunk, [steps]."""
        finite = bounds[np.isfinite(bounds)].tolist()
        total, count = self.pending
        for bound in finite:  # one after another, so that the sum does not depend on how steps are cut into chunks
            total += bound
        self.pending = (total, count + len(finite))
        self.last_finite = finite[-1] if finite else self.last_finite
        self.step += len(bounds)

    @property
    def train_bound(self) -> float | None:
        """The mean train bound since the last evaluation."""
        return self.pending[0] / self.pending[1] if self.pending[1] else None

    @property
    def due(self) -> bool:
        """Whether an evaluation is due after the steps so far."""
        training = self.run.config.training
        return self.step % training.evaluate_every == 0 or self.step == training.num_steps

    def evaluated(self, measured: Mapping[str, Any]) -> float | None:
        """Note the metrics of every validation example, each [N]; the worth of that which checkpoints are chosen by."""
        self.validation = {name: mean_and_error(values)[0] for name, values in measured.items()}
        shown = self.run.config.objective.metric
        row = {"step": self.step, "seconds": round(self.clock.now(), 3), f"train_{shown}": self.train_bound}
        self.metrics.add({**row, **{f"validation_{name}": value for name, value in self.validation.items()}})
        self.pending = (0.0, 0)
        metric = best_by(self.run.config)
        return worth(metric, self.validation[metric])

    def saving(self, state: TrainState, metric: float | None) -> Callable[[], None]:
        """What writes a checkpoint of the state as the record stands now, with the metric where it was evaluated."""
        folder, step, seconds, pending = self.run.checkpoints, self.step, self.clock.now(), self.pending

        def save() -> None:
            checkpoints.save(folder, state, seconds, metric, pending)
            if processes.first():
                checkpoints.prune(folder, step)
            processes.wait_for_all(f"pruned up to {step}")

        return save

    def nonfinite(self) -> str:
        """What there is to say when the next step is not finite."""
        return _nonfinite_message(self.run, self.step, self.last_finite)


class Hearers(NamedTuple):
    """Who hears of a run while it trains."""

    progress: Progress
    callbacks: Callbacks


def _train_steps(
    run: Run,
    existed: bool,
    train: Train,
    data: Dataset,
    feed: Held | Stream,
    mesh: Mesh | None,
    clock: Clock,
    signals: StopSignals,
    hearers: Hearers,
):
    """All steps that are left: the last state, and the rows of metrics.jsonl."""
    config, total = run.config, run.config.training.num_steps
    x_validation = examples(data, "validation")
    if not processes.several():
        x_validation = jax.device_put(x_validation)
    progress = hearers.progress
    state, pending = _start(run, existed, train, feed.like, clock, progress.say)
    record = Record(run, int(state.step), pending, clock)
    if record.step < total:
        progress.begin(record.step)

    while record.step < total:
        step = record.step
        state, found = feed.advance(train, state, step)
        bounds = np.asarray(found[config.objective.metric], np.float64)  # waits for the chunk
        clock.stepped()
        record.took(bounds[: int(state.step) - step])
        if bool(state.halted):
            raise NonFinite(record.nonfinite())

        train_bound, metric = record.train_bound, None
        if record.due:
            metric = record.evaluated(measure(run, state, evaluated_parameters(state), 0, x_validation, mesh))
        progress.show(record.step, train_bound, record.validation.get(best_by(config)), record.due)
        came = processes.any_of(bool(signals.came))
        if record.due or came:
            record.saving(state, metric)()
        if hearers.callbacks:
            metrics = means(found, record.step - step)
            if record.due:
                validation = record.validation.items()
                metrics |= {f"validation_{name}": math.nan if v is None else v for name, v in validation}
            hearers.callbacks(moment_of(run, state, metrics))
        if came and record.step < total:
            saved = f"saved at step {record.step} of {total} in {run.folder}"
            raise Interrupted(f"{signals.came or 'a signal to another process'}: {saved}; the same command resumes.")
    return state, record.metrics.rows


def _nonfinite_message(run: Run, step: int, last_finite: float | None) -> str:
    survivors = checkpoints.paths(run.checkpoints)
    bound = "none was finite" if last_finite is None else f"the last finite bound was {last_finite:.4f} nats"
    survivor = f"the checkpoint {survivors[-1]} survives" if survivors else "no checkpoint was written yet"
    advice = "Try a lower learning rate, --optimizer.clip-norm, or --training.nonfinite skip, in a new run folder."
    if step == 0:  # before any update: the rate plays no part
        advice = (
            "As no update was made yet, look at the range of the data, by `genjax-models inspect-data`, and scale them "
            "where it is large; or else at the loss."
        )
    return f"step {step}: the loss or its gradient is not finite; {bound}; {survivor}. {advice}"


def _finish(run: Run, state: TrainState, data: Dataset, rows: list, clock: Clock, log: Log) -> dict:
    log("evaluating on the test split")
    chosen_state, params, chosen = chosen_parameters(run, log)
    tested = test(run, chosen_state, params, data, run.config.evaluation.num_samples)
    if not processes.first():
        return tested.figures
    return write_result(run, chosen, params, tested, state, rows, clock, data)


def write_result(
    run: Run,
    chosen: checkpoints.Checkpoint,
    params: Params,
    tested: Tested,
    state: TrainState,
    rows: Sequence[Mapping[str, Any]],
    clock: Clock,
    data: Dataset,
    devices: int | None = None,
) -> dict:
    """Draw samples and curves, and write result.json, with which a run is finished.

    Args:
        run: the run.
        chosen, params: the checkpoint that was evaluated, and its parameters.
        tested: what was found on the test split.
        state: the state after the last step.
        rows: of metrics.jsonl.
        clock: the run's.
        data: the run's.
        devices: that shared each batch; None for those that the state lies on.
    """
    from genjax_models import canvas_plots, plots

    metric, shape = best_by(run.config), run.data.image_shape
    if devices is None:
        devices = len(state.step.sharding.device_set) if isinstance(state.step, jax.Array) else 1
    samples, limits = sample_images(run, params, 100, contexts=data.test_context), data.limits

    def save(name: str, x: np.ndarray, columns: int | None = None) -> None:
        plots.save_images(run.folder / name, as_intensities(x, limits), shape, columns)

    if run.config.model.capability == "ImplicitModel":
        save("neighbours.png", with_neighbours(samples[:50], data), 10)
    save("samples.png", samples)
    if (shown := views(run, params, data, 20)) is not None:
        save("views.png", shown.reshape(-1, run.data.visible), 12)
    if (drawn := canvases(run, params, 16)) is not None and shape is not None:
        canvas, windows = as_intensities(drawn[0], limits), drawn[1]
        canvas_plots.save_strips(run.folder / "canvases.png", canvas, shape, windows)
        canvas_plots.save_animation(run.folder / "canvases.gif", canvas, shape, windows)
    plots.save_curves(run.folder / "curves.png", rows, run.folder.name)
    result = {
        **tested.figures,
        "evaluated_step": chosen.step,
        "evaluated_parameters": "latest" if chosen.metric is None else run.config.evaluation.parameters,
        f"validation_{metric}": worth(metric, chosen.metric),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "steps": int(state.step),
        "nonfinite_steps": int(state.nonfinite),
        "seconds_to_first_step": None if clock.first_step is None else round(clock.first_step, 3),
        "total_seconds": round(clock.now(), 3),
        "versions": versions(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
        "devices": devices,
        "processes": processes.count(),
    }
    if run.origin is not None:
        result["origin"] = run.origin._asdict()
    if tested.values:
        write_by_example(run.folder, tested.by_example(run, chosen.step))
    write_whole(run.folder / RESULT, as_json(result))
    return result


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a run's numbers depend on."""
    from importlib import metadata

    packages = ("genjax_models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def open_for(folder: Path, distribution: Distribution | None) -> Run:
    """The run in a folder, to be evaluated under another distribution than it was configured for, if one is given.

    Raises:
        UserError: no run, or p* of a model that has none.
    """
    run = open_run(folder)
    if distribution is None:
        return run
    evaluation = validate(dataclasses.replace(run.config.evaluation, distribution=distribution))
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, evaluation=evaluation))
    if distribution == "p_star":
        check_p_star(run.config, run.data.visible, "distribution 'p_star'")
    return run


def load_run_data(run: Run, data_dir: str | None) -> Dataset:
    """The data of a run.

    Raises:
        UserError: data that are not there, or other than those that it was trained on.
    """
    data, spec = load_data(run.config, data_dir)
    if spec != run.data:
        raise RunError(f"{run.folder} was trained on other data: {run.data.in_words()} then, {spec.in_words()} now.")
    return data


def evaluate_run(
    folder: Path, data_dir: str | None, num_samples: int | None, log: Log, distribution: Distribution | None = None
) -> dict:
    """Evaluate a run on the test split again, and add a line to its evaluations.jsonl.

    A finished run also keeps the values by example, in a file for each number of samples.

    Args:
        folder: the run folder.
        data_dir: where data files lie; None for the environment's or the default folder.
        num_samples: importance samples an example; None for the configured number.
        log: hears what happens.
        distribution: "p", or "p_star" for its figures too; None for what is configured.

    Raises:
        UserError: no run, no whole checkpoint, a model without p*, or data that is not there or other than the run's.
    """
    run = open_for(Path(folder), distribution)
    data = load_run_data(run, data_dir)
    state, params, chosen = chosen_parameters(run, log)
    samples = run.config.evaluation.num_samples if num_samples is None else num_samples
    log(f"evaluating step {chosen.step} on the test split")
    tested = test(run, state, params, data, samples)
    found = tested.by_example(run, chosen.step)
    if tested.values and (run.folder / RESULT).exists():  # of a run under way they would soon be of old parameters
        try:
            if (path := write_by_example(run.folder, found)) is not None:
                log(f"values by example in {path}")
        except OSError as error:
            log(f"values by example cannot be written in {run.folder} ({error.strerror}).")
    try:
        with (run.folder / EVALUATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found.figures) + "\n")
    except OSError as error:
        log(f"{run.folder / EVALUATIONS} cannot be written ({error.strerror}); the figures stand here alone.")
    return found.figures


def load_run(folder: Path | str, log: Log = print) -> tuple[Any, Params]:
    """The model of a run folder, and its parameters: those that an evaluation takes, by `evaluation.parameters`.

    Args:
        folder: the run folder, of a run that is finished or not.
        log: hears of checkpoints that are damaged, which are passed over.

    Raises:
        UserError: no run, a model of no known name, or no whole checkpoint.

    Example:
        >>> model, params = load_run("runs/vae_digits")
        >>> z, x = model.sample_joint(params, jax.random.key(0), ())
    """
    run = open_run(Path(folder))
    return run.config.model.build(run.data.visible), chosen_parameters(run, log)[1]


def _check_picture(out: Path, seed: int, overwrite: bool) -> None:
    """Raise UserError, before anything is drawn, for a seed out of range, no PNG, or a file that stands there."""
    if not 0 <= seed < 2**31:
        raise UserError(f"seed: got {seed}, expected at least 0 and less than {2**31}.")
    require_picture(out, overwrite)


def _save_picture(out: Path, images: np.ndarray, image_shape: tuple[int, ...] | None, columns: int | None = None):
    from genjax_models import plots

    try:
        plots.save_images(out, images, image_shape, columns)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None


def sample_run(
    folder: Path,
    num: int,
    out: Path,
    seed: int,
    overwrite: bool,
    log: Log,
    distribution: Distribution | None = None,
    data_dir: str | None = None,
) -> Path:
    """Draw samples of a run as a picture, from "p" or "p_star"; None for what is configured.

    Data are read only for a model that is given contexts, which then are those of the test split.

    Raises:
        UserError: no run, no whole checkpoint, a model without p*, or a file that exists already or cannot be written.
    """
    run, out = open_for(Path(folder), distribution), Path(out)
    _check_picture(out, seed, overwrite)
    _, params, chosen = chosen_parameters(run, log)
    contexts = None if run.data.context is None else load_run_data(run, data_dir).test_context
    samples = as_intensities(sample_images(run, params, num, seed, contexts), run.data.limits)
    _save_picture(out, samples, run.data.image_shape)
    log(f"{num} samples of step {chosen.step} in {out}")
    return out


def hidden_pixels(hide: str, image_shape: tuple[int, ...], num: int, seed: int) -> np.ndarray:
    """Which pixels of `num` images are hidden, booleans [num, D]: a half of each, or a random fraction.

    Raises:
        UserError: neither a half's name nor a number between 0 and 1.
    """
    height, width = image_shape[:2]
    rows, columns = np.indices((height, width))
    halves = {
        "top": rows < height // 2,
        "bottom": rows >= height - height // 2,
        "left": columns < width // 2,
        "right": columns >= width - width // 2,
    }
    if hide in halves:
        hidden = np.broadcast_to(halves[hide], (num, height, width))
    else:
        try:
            fraction = float(hide)
        except ValueError:
            fraction = math.nan
        if not 0 < fraction < 1:
            known = ", ".join(halves)
            raise UserError(f"--hide: got {hide!r}, expected one of {known}, or a fraction between 0 and 1.")
        order = np.random.RandomState(seed).uniform(size=(num, height * width)).argsort(axis=1).argsort(axis=1)
        hidden = (order < round(fraction * height * width)).reshape(num, height, width)
    channels = math.prod(image_shape[2:])
    return np.repeat(hidden.reshape(num, -1), channels, axis=1)


def inpaint_run(
    folder: Path, hide: str, num: int, out: Path, seed: int, overwrite: bool, data_dir: str | None, log: Log
) -> Path:
    """Complete test images of which a part is hidden, as a picture: truth, what is seen, and six completions a row.

    Args:
        folder: the run folder of a model with binary latents, or of an auto-regressive network.
        hide: "top", "bottom", "left", "right", or a fraction of random pixels such as "0.5".
        num: images, a row each.
        out: the picture.
        seed: another one hides and draws anew; the images stay.
        overwrite: replace the picture if it exists.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens.

    Raises:
        UserError: no run or checkpoint, a model without p* or conditionals, hidden pixels that come before seen ones
            in a network's order, data without images, or a file that cannot be written.
    """
    completions = 6
    run, out = open_run(Path(folder)), Path(out)
    exact = run.config.model.capability == "LikelihoodModel"
    if not exact:
        if getattr(run.config.model.build(run.data.visible), "support", None) != "binary":
            raise RunError(
                f"{folder}: {type(run.config.model).__name__} cannot complete examples: inpaint takes a network's "
                "conditionals, or p* of one with binary latents (SigmoidBeliefNetwork and the like)."
            )
        run = open_for(Path(folder), "p_star")
    _check_picture(out, seed, overwrite)
    shape = run.data.image_shape
    if shape is None:
        raise RunError(f"{folder}: its data are no images; give the data an image_shape (Arrays(image_shape=(8, 8))).")
    hidden_pixels(hide, shape, 1, seed)  # explains a wrong word before the data are read
    x = evaluation_subset(load_run_data(run, data_dir).test, num).astype(np.float32)
    hidden = hidden_pixels(hide, shape, len(x), seed)
    if not exact:
        require_binary_where_seen(x, hidden)
    _, params, chosen = chosen_parameters(run, log)
    again = [np.repeat(v, completions, axis=0) for v in (x, hidden)]
    key = jax.random.fold_in(evaluation_key(run.config.seed, COMPLETIONS), seed)
    if exact:
        completed = np.asarray(complete(run.config.model.build(run.data.visible), params, key, *again))
    else:
        completed = np.asarray(draw_completions(program_config(run.config), params, key, *again, run.data.visible))
    x, completed = (as_intensities(v, run.data.limits) for v in (x, completed))
    seen = np.where(hidden, 0.5, x)
    rows = np.concatenate([x[:, None], seen[:, None], completed.reshape(len(x), completions, -1)], axis=1)
    _save_picture(out, rows.reshape(-1, rows.shape[-1]), shape, columns=rows.shape[1])
    log(f"{len(x)} test images, what is seen of each, and {completions} completions by step {chosen.step} in {out}")
    return out
