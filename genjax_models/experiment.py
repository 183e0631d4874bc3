"""Runs: training on disk, evaluating and drawing. All side effects start here, in the parts that this file calls.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models import checkpoints
from genjax_models.config import Config, Distribution, validate
from genjax_models.core import LatentVariableModel, Params, Trainable, TrainState
from genjax_models.data import Dataset, evaluation_subset
from genjax_models.errors import ConfigError, DataError, RunError, UserError, nearest
from genjax_models.evaluation import (
    LogZSquared,
    inpaint,
    log_marginal,
    log_p_star,
    log_z_squared,
    objective_metrics,
    sample_p_star,
)
from genjax_models.evaluation.bidirectional import require_binary_where_seen
from genjax_models.run_folder import (
    EVALUATIONS,
    METRICS,
    RESULT,
    DataSpec,
    Metrics,
    Run,
    as_json,
    create_or_match,
    locked,
    open_run,
    write_whole,
)
from genjax_models.train import EVALUATION, Train, check_training_data, make_train, program_config

Log = Callable[[str], None]


class Interrupted(Exception):
    """A stop signal came; the run is saved and can be resumed."""


class NonFinite(Exception):
    """A step was not finite and the policy is to stop; the message says where, and what survives."""


def load_data(config: Config, data_dir: str | None) -> tuple[Dataset, DataSpec]:
    """The configured data, its held-out splits cut to what is evaluated, and what identifies the whole of it.

    Raises:
        DataError: data that cannot be read, or values that the likelihood is not defined on.
    """
    data = config.data.load(data_dir)
    if data.dynamic != config.data.dynamic:
        raise DataError(
            f"{type(config.data).__name__}: dynamic is {config.data.dynamic}, but its data say {data.dynamic}; its "
            "property `dynamic` must tell whether every step binarizes anew."
        )
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
    measured = data._replace(
        validation=evaluation_subset(data.validation, config.evaluation.validation_examples),
        test=evaluation_subset(data.test, config.evaluation.test_examples),
    )
    return measured, DataSpec(data.train.shape[1], shape, tuple(len(x) for x in splits), checksum)


def _number(value: Any) -> float | None:
    """A number as JSON has it: not finite becomes null."""
    value = float(value)
    return value if math.isfinite(value) else None


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
def _metrics(config: Config, state: TrainState, params: Params, key, x, visible: int) -> dict[str, jax.Array]:
    """The objective's metrics on every example, each [N]."""
    objective = _build_objective(config, visible)
    (phase,) = state.phases
    trainable = Trainable(params, phase.own)
    x = jnp.asarray(x, jnp.result_type(float))
    return objective_metrics(objective, trainable, phase.objective, key, x, state.step)


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _log_marginal(config: Config, params: Params, key, x, visible: int, num_samples: int):
    return log_marginal(config.model.build(visible), params, key, x, num_samples)


@functools.partial(jax.jit, static_argnames=("visible", "num"))
def _sample(config: Config, params: Params, key, visible: int, num: int) -> jax.Array:
    """E[x | z] of draws of z from the prior, [num, D]; where that has no closed form, the draws of x."""
    model = config.model.build(visible)

    def one(key):
        z, x = model.sample_joint(params, key, ())
        return x if model.decode is None else model.decode(params, z, ())

    return jax.vmap(one)(jax.random.split(key, num))


# p*, the distribution of a bidirectional Helmholtz machine.


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _log_z_squared(config: Config, params: Params, key, visible: int, num_samples: int):
    return log_z_squared(config.model.build(visible), params, key, num_samples)


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _log_p_star(config: Config, params: Params, key, x, normalizer: LogZSquared, visible: int, num_samples: int):
    return log_p_star(config.model.build(visible), params, key, x, normalizer, num_samples)


@functools.partial(jax.jit, static_argnames=("visible", "num"))
def _sample_p_star(config: Config, params: Params, key, visible: int, num: int) -> jax.Array:
    """The probabilities that draws of p* were made by, [num, D]."""
    return sample_p_star(config.model.build(visible), params, key, num).probabilities


@functools.partial(jax.jit, static_argnames="visible")
def _inpaint(config: Config, params: Params, key, x, hidden, visible: int) -> jax.Array:
    """x with the probabilities of what is hidden, [N, D]."""
    return inpaint(config.model.build(visible), params, key, x, hidden).probabilities


def _check_p_star(config: Config, visible: int, what: str) -> None:
    """Raise ConfigError unless p* of the model can be evaluated and sampled."""
    model = config.model.build(visible)
    if not isinstance(model, LatentVariableModel) or model.support != "binary":
        raise ConfigError(
            f"{what}: p* is the geometric mean of p(x, z) and q(z | x) over binary latents, which {model.name} does "
            "not have; use a belief net, or the distribution 'p'."
        )


def evaluated_parameters(state: TrainState) -> Params:
    """The moving average where one is kept, else the parameters."""
    return state.params if state.average is None else state.average


def _mean_and_error(values: Any) -> tuple[float | None, float | None]:
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # a model that has diverged
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
    train = make_train(config)
    data, spec = load_data(config, data_dir)
    _check_best_by(config, train, spec)
    if config.evaluation.distribution == "p_star":
        _check_p_star(config, spec.visible, "evaluation.distribution")
    check_training_data(config, data.train)  # before there is a folder that the mended configuration would not match
    run, existed = create_or_match(Path(folder), config, spec)
    if data.support == "unit" and config.model.data_support == "unit":
        log("the data are intensities: a Bernoulli likelihood's figures are cross-entropies, not log-probabilities.")
    if (run.folder / RESULT).exists():
        log(f"{folder} is finished; its result stands in {run.folder / RESULT}.")
        try:
            return json.loads((run.folder / RESULT).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(
                f"{run.folder / RESULT} is damaged ({error}); remove it, and train evaluates again."
            ) from None
    with locked(run.folder), StopSignals() as signals:
        clock = Clock(started)
        state, rows = _train_steps(run, existed, train, data, clock, signals, log, live)
        signals.at_once = True  # all steps are saved: there is nothing to finish first
        return _finish(run, state, data, rows, clock, log)


def _check_best_by(config: Config, train: Train, spec: DataSpec) -> None:
    """Raise ConfigError unless the objective reports the metric that checkpoints are chosen by."""
    name, visible = config.evaluation.best_by, spec.visible
    if name == "bound":  # every objective reports it
        return
    state = train.shapes(config, jax.ShapeDtypeStruct((config.training.batch_size, visible), jnp.float32))
    x = jax.ShapeDtypeStruct((1, visible), jnp.float32)
    known = _metrics.eval_shape(program_config(config), state, state.params, state.key, x, visible=visible)
    if name not in known:
        raise ConfigError(
            f"evaluation.best_by: got {name!r}, which this objective does not report.{nearest(name, known)}"
        )


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


def _start(run: Run, existed: bool, train: Train, x: jax.Array, clock: Clock, log: Log):
    """The state to train from, and the sum and count of train bounds since the last evaluation."""
    newest = checkpoints.newest_whole(run.checkpoints, log) if existed else None
    if newest is None:
        if existed:
            log(f"{run.folder}: no checkpoint to resume from; training from the start.")
        return train.init(run.config, jax.random.key(run.config.seed), x), (0.0, 0)
    log(f"{run.folder}: resuming from step {newest.step} of {run.config.training.num_steps}.")
    clock.before = newest.seconds
    return checkpoints.restore(newest.path, _abstract_state(run)), newest.pending


def _train_steps(run: Run, existed: bool, train: Train, data: Dataset, clock: Clock, signals, log: Log, live: bool):
    """All steps that are left: the last state, and the rows of metrics.jsonl."""
    config, training = run.config, run.config.training
    x, x_validation = jax.device_put(data.train), jax.device_put(data.validation)
    state, pending = _start(run, existed, train, x, clock, log)
    step = int(state.step)
    metrics = Metrics(run.folder / METRICS, step)
    progress = Progress(log, training.num_steps, live)
    last_finite: float | None = None
    validation: dict[str, float | None] = {}

    while step < training.num_steps:
        # Boundaries are multiples counted from step 0, so that a resumed run calls the same programs.
        until = min(_next(step, training.chunk), _next(step, training.evaluate_every), training.num_steps)
        state, found = train.advance(config, state, x, step, until - step)
        bounds = np.asarray(found["bound"], np.float64)  # waits for the chunk
        clock.stepped()
        taken = int(state.step) - step
        finite = bounds[:taken][np.isfinite(bounds[:taken])]
        pending = (pending[0] + float(finite.sum()), pending[1] + len(finite))
        last_finite = float(finite[-1]) if len(finite) else last_finite
        step += taken
        if bool(state.halted):
            progress.end()
            raise NonFinite(_nonfinite_message(run, step, last_finite))

        train_bound = pending[0] / pending[1] if pending[1] else None
        evaluated = step % training.evaluate_every == 0 or step == training.num_steps
        if evaluated:
            measured = _measure(run, state, evaluated_parameters(state), 0, x_validation)
            validation = {name: _mean_and_error(values)[0] for name, values in measured.items()}
            row = {"step": step, "seconds": round(clock.now(), 3), "train_bound": train_bound}
            metrics.add({**row, **{f"validation_{name}": value for name, value in validation.items()}})
            pending = (0.0, 0)
        progress.show(step, train_bound, validation.get("bound"), evaluated)
        if evaluated or signals.came:
            metric = validation[config.evaluation.best_by] if evaluated else None
            checkpoints.save(run.checkpoints, state, clock.now(), metric, pending)
            checkpoints.prune(run.checkpoints, step)
        if signals.came and step < training.num_steps:
            progress.end()
            saved = f"saved at step {step} of {training.num_steps} in {run.folder}"
            raise Interrupted(f"{signals.came}: {saved}; the same command resumes.")
    progress.end()
    return state, metrics.rows


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
    best = None
    if run.config.evaluation.parameters == "best":
        best = checkpoints.best_whole(run.checkpoints, log)
        if best is None:
            log(f"no whole checkpoint has a finite validation {run.config.evaluation.best_by}; taking the latest.")
    chosen = best or checkpoints.newest_whole(run.checkpoints, log)
    if chosen is None:
        raise RunError(f"{run.folder}: no whole checkpoint in {run.checkpoints}; train it first.")
    state = checkpoints.restore(chosen.path, _abstract_state(run))
    return state, evaluated_parameters(state), chosen


LOG_Z, LOG_P_STAR, COMPLETIONS = (2**32 - i for i in (1, 2, 3))  # streams beyond the samples' seeds


def _evaluation_key(run: Run, stream: int):
    """A key for evaluations: 0 validation, 1 test bound, 2 log p(x), 3 and on samples; and those below for p*."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(run.config.seed), EVALUATION), stream)


def _measure(run: Run, state: TrainState, params: Params, stream: int, x: jax.Array) -> dict[str, jax.Array]:
    """The objective's metrics on every example, each [N]."""
    return _metrics(program_config(run.config), state, params, _evaluation_key(run, stream), x, run.data.visible)


def _test(run: Run, state: TrainState, params: Params, x_test: jax.Array, num_samples: int) -> dict:
    """Bound and NLL on the test split; and what p* gives it, where that is asked for."""
    bound, bound_error = _mean_and_error(_measure(run, state, params, 1, x_test)["bound"])
    config, key = program_config(run.config), _evaluation_key(run, 2)
    estimate = _log_marginal(config, params, key, x_test, run.data.visible, num_samples)
    nll, nll_error = _mean_and_error(-np.asarray(estimate.log_prob))
    p_star = _test_p_star(run, params, x_test, num_samples) if run.config.evaluation.distribution == "p_star" else {}
    return {
        "test_bound": bound,
        "test_bound_standard_error": bound_error,
        "test_nll": nll,
        "test_nll_standard_error": nll_error,
        "test_nll_samples": num_samples,
        "test_nll_mean_estimator_error": _number(np.mean(np.asarray(estimate.standard_error))),
        **p_star,
        "test_examples": len(x_test),
        "units": "nats per example",
    }


def _test_p_star(run: Run, params: Params, x_test: jax.Array, num_samples: int) -> dict:
    """NLL of p* on the test split, unnormalized and with the estimate of log Z."""
    config, visible = program_config(run.config), run.data.visible
    num_z_samples = run.config.evaluation.num_z_samples
    z_squared = _log_z_squared(config, params, _evaluation_key(run, LOG_Z), visible, num_z_samples)
    estimate = _log_p_star(config, params, _evaluation_key(run, LOG_P_STAR), x_test, z_squared, visible, num_samples)
    unnormalized, error = _mean_and_error(-np.asarray(estimate.unnormalized))
    nll, _ = _mean_and_error(-np.asarray(estimate.log_prob))
    return {
        "test_nll_p_star_unnormalized": unnormalized,
        "test_nll_p_star_unnormalized_standard_error": error,
        "test_nll_p_star": nll,
        # The error of log Z is one for all examples: averaging over them does not lower it.
        "test_nll_p_star_standard_error": None if error is None else _number(np.hypot(error, z_squared.standard_error)),
        "test_nll_p_star_mean_estimator_error": _number(np.mean(np.asarray(estimate.standard_error))),
        "log_z": _number(z_squared.value / 2),
        "log_z_standard_error": _number(z_squared.standard_error / 2),
        "log_z_samples": num_z_samples,
    }


def _finish(run: Run, state: TrainState, data: Dataset, rows: list, clock: Clock, log: Log) -> dict:
    from genjax_models import plots

    log("evaluating on the test split")
    chosen_state, params, chosen = chosen_parameters(run, log)
    tested = _test(run, chosen_state, params, jax.device_put(data.test), run.config.evaluation.num_samples)
    images = sample_images(run, params, 100)
    plots.save_images(run.folder / "samples.png", images, run.data.image_shape)
    plots.save_curves(run.folder / "curves.png", rows, run.folder.name)
    result = {
        **tested,
        "evaluated_step": chosen.step,
        "evaluated_parameters": "latest" if chosen.metric is None else run.config.evaluation.parameters,
        f"validation_{run.config.evaluation.best_by}": chosen.metric,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "steps": int(state.step),
        "nonfinite_steps": int(state.nonfinite),
        "seconds_to_first_step": None if clock.first_step is None else round(clock.first_step, 3),
        "total_seconds": round(clock.now(), 3),
        "versions": _versions(),
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
    }
    write_whole(run.folder / RESULT, as_json(result))
    return result


def _versions() -> dict[str, str]:
    from importlib import metadata

    packages = ("genjax_models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def sample_images(run: Run, params: Params, num: int, seed: int = 0) -> np.ndarray:
    """E[x | z] of `num` draws from the prior, or the units' probabilities in draws of p*, [num, D]."""
    config, key = program_config(run.config), _evaluation_key(run, 3 + seed)
    draw = _sample_p_star if run.config.evaluation.distribution == "p_star" else _sample
    return np.asarray(draw(config, params, key, run.data.visible, num))


def _open_for(folder: Path, distribution: Distribution | None) -> Run:
    """The run in a folder, to be evaluated under another distribution than it was configured for, if one is given."""
    run = open_run(folder)
    if distribution is None:
        return run
    evaluation = validate(dataclasses.replace(run.config.evaluation, distribution=distribution))
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, evaluation=evaluation))
    if distribution == "p_star":
        _check_p_star(run.config, run.data.visible, "distribution 'p_star'")
    return run


def _load_run_data(run: Run, data_dir: str | None) -> Dataset:
    data, spec = load_data(run.config, data_dir)
    if spec != run.data:
        raise RunError(f"{run.folder} was trained on other data: {run.data} then, {spec} now.")
    return data


def evaluate_run(
    folder: Path, data_dir: str | None, num_samples: int | None, log: Log, distribution: Distribution | None = None
) -> dict:
    """Evaluate a run on the test split again, and add a line to its evaluations.jsonl.

    Args:
        folder: the run folder.
        data_dir: where data files lie; None for the environment's or the default folder.
        num_samples: importance samples an example; None for the configured number.
        log: hears what happens.
        distribution: "p", or "p_star" for its figures too; None for what is configured.

    Raises:
        UserError: no run, no whole checkpoint, a model without p*, or data that is not there or other than the run's.
    """
    run = _open_for(Path(folder), distribution)
    data = _load_run_data(run, data_dir)
    state, params, chosen = chosen_parameters(run, log)
    samples = run.config.evaluation.num_samples if num_samples is None else num_samples
    tested = {"evaluated_step": chosen.step, **_test(run, state, params, jax.device_put(data.test), samples)}
    try:
        with (run.folder / EVALUATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(tested) + "\n")
    except OSError as error:
        log(f"{run.folder / EVALUATIONS} cannot be written ({error.strerror}); the figures stand here alone.")
    return tested


def _check_picture(out: Path, seed: int, overwrite: bool) -> None:
    """Raise UserError, before anything is drawn, for a seed out of range or a file that stands there."""
    if not 0 <= seed < 2**31:
        raise UserError(f"seed: got {seed}, expected at least 0 and less than {2**31}.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite to replace it.")


def _save_picture(out: Path, images: np.ndarray, image_shape: tuple[int, ...] | None, columns: int | None = None):
    from genjax_models import plots

    try:
        plots.save_images(out, images, image_shape, columns)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None


def sample_run(
    folder: Path, num: int, out: Path, seed: int, overwrite: bool, log: Log, distribution: Distribution | None = None
) -> Path:
    """Draw samples of a run as a picture, from "p" or "p_star"; None for what is configured.

    Raises:
        UserError: no run, no whole checkpoint, a model without p*, or a file that exists already or cannot be written.
    """
    run, out = _open_for(Path(folder), distribution), Path(out)
    _check_picture(out, seed, overwrite)
    _, params, chosen = chosen_parameters(run, log)
    _save_picture(out, sample_images(run, params, num, seed), run.data.image_shape)
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
        folder: the run folder of a model with binary latents.
        hide: "top", "bottom", "left", "right", or a fraction of random pixels such as "0.5".
        num: images, a row each.
        out: the picture.
        seed: another one hides and draws anew; the images stay.
        overwrite: replace the picture if it exists.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens.

    Raises:
        UserError: no run or checkpoint, a model without p*, data without images, or a file that cannot be written.
    """
    completions = 6
    run, out = _open_for(Path(folder), "p_star"), Path(out)
    _check_picture(out, seed, overwrite)
    shape = run.data.image_shape
    if shape is None:
        raise RunError(f"{folder}: its data are no images; give the data an image_shape (Arrays(image_shape=(8, 8))).")
    hidden_pixels(hide, shape, 1, seed)  # explains a wrong word before the data are read
    x = evaluation_subset(_load_run_data(run, data_dir).test, num).astype(np.float32)
    hidden = hidden_pixels(hide, shape, len(x), seed)
    require_binary_where_seen(x, hidden)
    _, params, chosen = chosen_parameters(run, log)
    again = [np.repeat(v, completions, axis=0) for v in (x, hidden)]
    key = jax.random.fold_in(_evaluation_key(run, COMPLETIONS), seed)
    completed = np.asarray(_inpaint(program_config(run.config), params, key, *again, run.data.visible))
    seen = np.where(hidden, 0.5, x)
    rows = np.concatenate([x[:, None], seen[:, None], completed.reshape(len(x), completions, -1)], axis=1)
    _save_picture(out, rows.reshape(-1, rows.shape[-1]), shape, columns=rows.shape[1])
    log(f"{len(x)} test images, what is seen of each, and {completions} completions by step {chosen.step} in {out}")
    return out
