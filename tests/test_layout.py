"""Imports run one way, and slow imports stay off the way to the first step."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "genjax_models"

# A file may import from its own layer and those before it.
LAYERS = [
    {"errors", "progress"},
    {"core", "config", "policy", "processes", "references"},
    {"distributions", "optimizers", "overlay", "sequences", "data", "spread"},
    {"models", "objectives"},
    {"evaluation", "train", "tables", "axes", "labels", "points", "plots", "sweep_report", "checkpoints", "streaming"},
    {"mixture", "papers", "scaffold"},
    {"papers_report", "report_page"},
    {"canvas_plots", "comparison_plots", "diagnostic_plots", "sound"},
    {"inspection"},
    {"run_folder"},
    {"callbacks"},
    {"measuring"},
    {"origins", "preparation", "stack"},
    {"experiment", "sweep", "trackers"},
    {
        "annealing_report",
        "checking",
        "comparison",
        "estimator_comparison",
        "diagnosis",
        "continuation",
        "quality",
        "export",
    },
    {"estimator"},
    {"sweep_training"},
    {"sweep_folder"},
    {"reproduction", "report"},
    {"hub"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The modules a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = part(path)
    for name in imported(path):
        words = name.split(".")
        if words[0] == "genjax_models" and len(words) > 1:
            assert LEVEL[words[1]] <= LEVEL[own], f"{own} imports {name}"
            assert {own, words[1]} != {"models", "objectives"}, f"{own} imports {name}"
        assert words[0] != "flax" or own == "models", f"{own} imports flax"
        assert words[0] != "distrax" or own == "distributions", f"{own} imports distrax"


def test_nothing_slow_is_imported_before_the_first_step():
    code = "import sys, genjax_models.experiment; print(' '.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    slow = {"sklearn", "matplotlib", "orbax.checkpoint", "distrax", "tensorflow_probability", "tensorstore"}
    assert slow.isdisjoint(out)
