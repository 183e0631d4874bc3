"""Gradient estimators compared on a run: the variance of each against its time, at several stages of training."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax_models import checkpoints, plots
from genjax_models.config import ObjectiveConfig
from genjax_models.core import Batch, Key, LatentVariableModel, Objective, Params, Phase, TrainState
from genjax_models.data import binarize, evaluation_subset, require_in_memory
from genjax_models.errors import ConfigError, ModelError, RunError, UserError, nearest, require_count, require_picture
from genjax_models.evaluation import gradient_statistics
from genjax_models.measuring import Log
from genjax_models.objectives import OBJECTIVES, Sum
from genjax_models.preparation import load_data
from genjax_models.run_folder import Run, open_run
from genjax_models.train import EVALUATION, InitState, Step, make_train

GROUP = "recognition"  # whose gradient estimators differ in
FITTING = optax.adam(1e-3)


class Stage(NamedTuple):
    """The model's parameters after so many steps of a run."""

    step: int
    params: Params


def fitting_objectives(model: Any, names: Sequence[str] | None = None, own: Any = None) -> dict[str, ObjectiveConfig]:
    """The configuration of every objective, or of those named, that the model can serve.

    Args:
        model: the model.
        names: as in `OBJECTIVES`; None for all that fit, sums of objectives left out.
        own: a configuration to take for its class; of the others the defaults are taken.

    Raises:
        ConfigError: an unknown name, or none.
        ModelError: a named objective that the model cannot serve.
    """
    for name in names or ():
        if name not in OBJECTIVES or OBJECTIVES[name] is Sum:
            raise ConfigError(f"objectives: got {name!r}.{nearest(name, set(OBJECTIVES) - {'weighted_sum'})}")
    if names is not None and not names:
        raise ConfigError("objectives: got none, expected names of the table, or None for all that fit.")
    found = {}
    for name in dict.fromkeys(OBJECTIVES if names is None else names):
        cls = OBJECTIVES[name]
        if cls is Sum:
            continue
        config = own if type(own) is cls else cls()
        try:
            config.build(model)
        except ModelError:
            if names is not None:
                raise
            continue
        found[name] = config
    return found


def fit_own(
    objective: Objective, params: Params, key: Key, x: Any, num_steps: int = 200, batch_size: int = 100
) -> tuple[Any, Any]:
    """An objective's own parameters and state after steps on batches of x [N, D], the model's parameters held still.

    Baselines and control variates reduce variance only when they have learned; this gives them the time to.

    Returns:
        (own parameters, state), at once those of `objective.init` where there is nothing to fit.
    """
    batch = Batch(x[:batch_size])
    if not jax.tree.leaves(jax.eval_shape(objective.init, key, params, batch)):
        return objective.init(key, params, batch)
    return _run_fit(objective, num_steps, min(batch_size, len(x)), params, key, x)


def _fit(objective: Objective, num_steps: int, batch_size: int, params: Params, key: Key, x: jax.Array):
    phases = (Phase(objective, (), FITTING),)
    step = Step(phases, None, "skip")

    def body(state, i):
        rows = jax.random.randint(jax.random.fold_in(key, i), (batch_size,), 0, len(x))
        return step(state, Batch(x[rows]))[0], None

    start = InitState(phases, None)(key, params, Batch(x[:batch_size]))
    (phase,) = jax.lax.scan(body, start, jnp.arange(num_steps))[0].phases
    return phase.own, phase.objective


_run_fit = jax.jit(_fit, static_argnums=(0, 1, 2))


def _number(value: Any) -> float | None:
    """A number as JSON has it: not finite becomes null."""
    return float(value) if math.isfinite(value) else None


def measure(
    objectives: dict[str, Objective],
    stages: Sequence[Stage],
    x: Any,
    batch: Any,
    key: Key,
    *,
    num_draws: int = 200,
    fit_steps: int = 200,
    log: Log = lambda line: None,
) -> list[dict]:
    """Variance, signal-to-noise ratio and time of each objective's gradient at each stage.

    Args:
        objectives: by name.
        stages: parameters of one model.
        x: training data [N, D], on which an objective's own parameters and moments are fitted first, at each stage.
        batch: the examples [B, D] whose gradient is measured.
        key: seeds fits and draws.
        num_draws: gradients drawn of each.
        fit_steps: steps of fitting.
        log: hears of every measurement.

    Returns:
        A row for each stage and objective: "step", "objective", "seconds" of one gradient, and "variance" and
        "signal_to_noise" by parameter group (None where they are not finite).
    """
    rows = []
    for name, objective in objectives.items():
        for stage in stages:
            fitting, drawing = jax.random.split(jax.random.fold_in(key, stage.step))
            own = fit_own(objective, stage.params, fitting, x, fit_steps, len(batch))
            found = gradient_statistics(
                objective, stage.params, drawing, Batch(batch), num_draws, own_and_state=own, step=stage.step
            )
            rows.append(
                {
                    "step": stage.step,
                    "objective": name,
                    "seconds": found.seconds,
                    "variance": {group: _number(s.variance) for group, s in found.groups.items()},
                    "signal_to_noise": {group: _number(s.signal_to_noise) for group, s in found.groups.items()},
                }
            )
            log(f"step {stage.step}: {name} measured")
    return sorted(rows, key=lambda row: row["step"])


def stages_of(run: Run, x: jax.Array, log: Log) -> list[Stage]:
    """The run's initial parameters, and those of its whole checkpoints: the best and the two newest are kept.

    Raises:
        RunError: no whole checkpoint.
    """
    train = make_train(run.config)
    initial: TrainState = train.init(run.config, jax.random.key(run.config.seed), x)
    stages = [Stage(0, initial.params)]
    for path in checkpoints.paths(run.checkpoints):
        try:
            state = checkpoints.restore(path, initial)
        except RunError as error:
            log(f"{error} Left out.")
            continue
        stages.append(Stage(int(state.step), state.params))
    if len(stages) == 1:
        raise RunError(f"{run.folder}: no whole checkpoint in {run.checkpoints}; train it first.")
    return stages


def compare_estimators(
    folder: Path,
    objectives: Sequence[str] | None = None,
    *,
    num_draws: int = 200,
    batch_size: int | None = None,
    out: Path = Path("estimators.png"),
    overwrite: bool = False,
    data_dir: str | None = None,
    log: Log = print,
) -> dict:
    """Measure gradient estimators on a run's model at its initial parameters and checkpoints, and draw the comparison.

    Args:
        folder: the run folder.
        objectives: names as in `OBJECTIVES`; None for all that the model can serve. The run's own objective is
            configured as in the run, the others by their defaults.
        num_draws: gradients drawn of each, at least 2.
        batch_size: examples of the training split, by a fixed random draw; None for the run's batch size.
        out: the picture.
        overwrite: replace the picture if it exists.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        {"run", "batch_size", "num_draws", "device", "estimators"}, the last as `measure` returns it.

    Raises:
        UserError: no run, no whole checkpoint, data other than the run's, a model without a recognition distribution,
            an unknown or unfit objective, or a picture that exists or cannot be written.
    """
    run, out = open_run(Path(folder)), Path(out)
    require_count("num_draws", num_draws)
    if num_draws < 2:
        raise ConfigError(f"num_draws: got {num_draws}, expected at least 2, for a variance.")
    require_picture(out, overwrite)
    model = run.config.model.build(run.data.visible)
    if not isinstance(model, LatentVariableModel):
        raise ModelError(f"{model.name} has no latents, so its gradients have no noise to compare.")
    configs = fitting_objectives(model, objectives, run.config.objective)
    data, spec = load_data(run.config, data_dir)
    if spec != run.data:
        raise RunError(f"{folder} was trained on other data: {run.data} then, {spec} now.")
    require_in_memory(data.train, "estimators")
    size = run.config.training.batch_size if batch_size is None else batch_size
    require_count("batch_size", size)
    if size > len(data.train):
        raise ConfigError(f"batch_size: got {size}, but the training data has {len(data.train)} examples.")

    key = jax.random.fold_in(jax.random.key(run.config.seed), EVALUATION)
    stages = stages_of(run, jax.device_put(data.train), log)
    x = jnp.asarray(data.train, jnp.result_type(float))
    if run.config.data.dynamic:
        x = binarize(jax.random.fold_in(key, 1), x)
    rows = measure(
        {name: config.build(model) for name, config in configs.items()},
        stages,
        x,
        jnp.asarray(evaluation_subset(np.asarray(x), size)),
        key,
        num_draws=num_draws,
        log=log,
    )
    try:
        plots.save_estimators(out, rows, f"{run.folder.name}: {model.name}, batch of {size}")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    return {
        "run": str(folder),
        "batch_size": size,
        "num_draws": num_draws,
        "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}",
        "estimators": rows,
    }


def table(result: dict) -> str:
    """What `compare_estimators` returns, as lines of text."""
    lines = [f"{'step':>8}  {'objective':24}{'variance of q':>16}{'signal/noise':>14}{'ms a gradient':>15}"]
    for row in result["estimators"]:
        variance, ratio = (row[name].get(GROUP) for name in ("variance", "signal_to_noise"))
        figures = [f"{v:.4g}" if v is not None else "-" for v in (variance, ratio, 1000 * row["seconds"])]
        lines.append(f"{row['step']:>8}  {row['objective']:24}{figures[0]:>16}{figures[1]:>14}{figures[2]:>15}")
    return "\n".join(lines)
