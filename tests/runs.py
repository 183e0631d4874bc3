"""What the drills of runs and of sweeps share: a log, and what is in a folder."""

import json
from pathlib import Path

import jax
import numpy as np

from genjax_models import checkpoints
from genjax_models.measuring import abstract_state, mean_and_error
from genjax_models.run_folder import EXAMPLES, open_run, read_by_example


class Log(list):
    """Collects the lines a run or a sweep logs."""

    def __call__(self, line: str) -> None:
        self.append(line)

    def __str__(self) -> str:
        return "\n".join(self)


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict:
    """Every file with its content and the time it was written."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def by_example(folder: Path) -> dict:
    """What is kept by test example, by file; of the result's own file its figures are the means, to the last bit."""
    result, found = read_json(folder / "result.json"), {}
    for path in folder.glob(f"{EXAMPLES}_*.npz"):
        rows, values, figures = read_by_example(path)
        found[path.name] = (rows.tolist(), {name: v.tobytes() for name, v in values.items()}, figures)
        if figures == {name: result[name] for name in figures}:
            for name, v in values.items():
                means = result[f"test_{name}"], result[f"test_{name}_standard_error"]
                assert len(v) == len(rows) == result["test_examples"]
                assert mean_and_error(v) == means
    return found


def last_state(folder: Path):
    """The bytes of every array of the newest checkpoint."""
    run = open_run(folder)
    state = checkpoints.restore(checkpoints.paths(run.checkpoints)[-1], abstract_state(run))
    plain = state._replace(key=jax.random.key_data(state.key))
    return jax.tree.map(lambda v: np.asarray(v).tobytes(), plain)
