"""What a user's functions hear of a run: they are called between compiled chunks of steps.

train_run(config, folder, callbacks=[lambda moment: print(moment.step, moment.metrics)])
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax_models.core import Params, TrainState
from genjax_models.errors import ConfigError
from genjax_models.run_folder import Run


class Moment(NamedTuple):
    """Where a run stands."""

    run: Run  # with its folder and configuration
    step: int  # steps that were taken
    # By name, "train_" means over the steps since the moment before, and, after an evaluation, "validation_" means over
    # the examples; what was not finite is NaN, or left out of the means of steps where others were.
    metrics: Mapping[str, float]
    parameters: Callable[[], Params]  # a copy of the model's, as numpy arrays; to be called before the callback returns
    result: Mapping[str, Any] | None = None  # what result.json holds, at the end


Callback = Callable[[Moment], None]


class Callbacks:
    """The functions of a run. One that raises is not called again, and the run goes on."""

    def __init__(self, functions: Sequence[Callback], log: Callable[[str], None]):
        self.functions, self.log = list(functions), log

    def __bool__(self) -> bool:
        return bool(self.functions)

    def __call__(self, moment: Moment) -> None:
        for function in tuple(self.functions):
            try:
                function(moment)
            except Exception as error:  # whatever it is, the run is worth more
                self.functions.remove(function)
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(last.filename).name}, line {last.lineno}"
                self.log(
                    f"callback {_name(function)} at step {moment.step}: {type(error).__name__}: {error} ({where}). It "
                    "is not called again; the run goes on."
                )


def _name(function: Callback) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """The callbacks as a tuple.

    Raises:
        ConfigError: something that is no sequence of functions.
    """
    if not isinstance(callbacks, (tuple, list)) or not all(map(callable, callbacks)):
        raise ConfigError(
            f"callbacks: got {callbacks!r}, expected a list of functions of a genjax_models.callbacks.Moment."
        )
    return tuple(callbacks)


def copied(params: Params) -> Params:
    """Parameters as numpy arrays of their own, which outlive the next step."""
    return jax.tree.map(lambda v: np.array(v, copy=True), params)


def means(found: Mapping[str, Any], steps: int) -> dict[str, float]:
    """The mean of each metric over the steps of a chunk, "train_" before its name."""
    shown = {}
    for name, values in found.items():
        taken = np.asarray(values, np.float64)[:steps]
        finite = taken[np.isfinite(taken)]
        shown[f"train_{name}"] = float(finite.mean()) if len(finite) else float("nan")
    return shown


def moment_of(
    run: Run, state: TrainState, metrics: Mapping[str, float], result: Mapping[str, Any] | None = None
) -> Moment:
    """The moment after the steps that a state has taken."""
    params = state.params if state.average is None else state.average
    return Moment(run, int(state.step), metrics, lambda: copied(params), result)
