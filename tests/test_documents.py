"""What the documents say runs as written."""

import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import genjax_models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


# A model of 500 steps: importance weighting has doubts about some examples, and says so.
@pytest.mark.filterwarnings("ignore::genjax_models.evaluation.DoubtfulEstimate")
def test_readme_python_runs_as_written():
    """The README's Python blocks, in order, in one namespace, train to a bound that an untrained model is far from."""
    namespace: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), namespace)
    # An independent fair coin per pixel costs 64 log 2 = 44.4 nats.
    assert namespace["metrics"]["bound"][-1] > -40


LONG = (
    "discrete_estimators.ipynb",
    "evaluation.ipynb",
    "own_loss.ipynb",
    "own_model.ipynb",
    "scaling_out.ipynb",
    "sweeps.ipynb",
    "tour.ipynb",
    "troubles.ipynb",
    "two_styles.ipynb",
)  # what the others do with other models, among the slow drills


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow if path.name in LONG else ())
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ],
    ids=lambda p: p.name,
)
def test_notebook_runs_and_keeps_its_outputs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any("image/png" in out.get("data", {}) for cell in code for out in cell.outputs), (
        "commit it with its outputs"
    )
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_a_notebook_and_its_text_have_the_same_code(name):
    """The text, for those who read changes, beside the notebook itself."""
    cells = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8").split("\n# %%")[1:]
    text = [cell.strip() for cell in cells if not cell.startswith(" [markdown]")]
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert text == [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_readme_commands_name_what_exists():
    """Files, extras and the script that the README's commands name are there."""
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    for name in re.findall(r"configs/\w+\.py", commands):
        assert (ROOT / name).is_file(), name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in re.findall(r'"?\.\[(\w+)\]', README):
        assert extra in project["optional-dependencies"], extra
    assert "genjax-models" in project["scripts"]


def test_every_configuration_says_what_it_reaches():
    """A configuration's docstring has its command, the machine, the time and the expected figure, or has none yet.

    A sweep has its picture beside it.
    """
    for path in sorted((ROOT / "configs").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        docstring = text.split('"""')[1]
        command = "sweep" if "\nSWEEP = " in text else "train"
        assert f"genjax-models {command} configs/{path.name}" in docstring, path
        assert path.with_suffix(".png").is_file() == (command == "sweep"), path
        if "EXPECTED: not yet run" in docstring:
            continue
        figure = r"EXPECTED: test (NLL -?\d+\.\d+ \+- \d+\.\d+|MMD\^2 -?\d+\.\d+)"
        assert re.search(figure, docstring), path
        assert re.search(r"\d+ (s|minutes) on (2 cores|one \w+ GPU)", docstring), path


def test_changelog_and_citation_have_the_version():
    version = genjax_models.__version__
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_configuration_of_uci_data_has_a_row_for_each_data_set():
    """A row starts with the data set and its seeds; what was not run is said to be so."""
    for path in sorted((ROOT / "configs").glob("*_uci.py")):
        docstring = path.read_text(encoding="utf-8").split('"""')[1]
        for name in ("adult", "mushrooms", "dna"):
            row = rf"^    {name} +seeds? \d(?:, \d)* .*\d+\.\d+ .*\+- \d+\.\d+"
            assert re.search(row, docstring, re.MULTILINE) or f"Not yet run on {name}" in docstring, (path, name)
