"""What the drills of runs and of sweeps share: a log, a terminal, and what is in a folder."""

import io
import json
import re
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


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and what stands in it."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\033\[\d*[A-Z]|\r|\n|[^\033\r\n]+", self.getvalue()):
            if part == "\r":
                column = 0
            elif part == "\n":
                lines, row, column = [*lines, ""], row + 1, 0
            elif part == "\033[K":
                lines[row] = lines[row][:column]
            elif part.endswith("A"):
                row, column = row - int(part[2:-1]), 0
            elif part == "\033[J":
                lines = [*lines[:row], lines[row][:column]]
            else:
                lines[row] = lines[row][:column] + part + lines[row][column + len(part) :]
                column += len(part)
        return lines


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


def outcome(folder: Path) -> tuple:
    """All of a run that must not depend on how it came about: state, metrics, result and samples, but no seconds."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_lines(folder / "metrics.jsonl")]
    result = {k: v for k, v in read_json(folder / "result.json").items() if "seconds" not in k}
    return last_state(folder), rows, result, (folder / "samples.png").read_bytes(), by_example(folder)


def last_state(folder: Path):
    """The bytes of every array of the newest checkpoint."""
    run = open_run(folder)
    state = checkpoints.restore(checkpoints.paths(run.checkpoints)[-1], abstract_state(run))
    plain = state._replace(key=jax.random.key_data(state.key))
    return jax.tree.map(lambda v: np.asarray(v).tobytes(), plain)
