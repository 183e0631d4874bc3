"""New models and objectives: what the command writes works, is clean, and replaces nothing; the guides hold."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import contents
from toys import binary_states

from genjax_models import scaffold
from genjax_models.cli import main
from genjax_models.errors import ConfigError, UserError
from genjax_models.evaluation import log_prob
from genjax_models.models import sigmoid_belief_network
from genjax_models.objectives import elbo, maximum_likelihood, moment_matching
from genjax_models.scaffold import scaffold_model, scaffold_objective, with_change, with_import, with_table_row
from genjax_models.train import make_train_step

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.ipynb", "*.png", "*.egg-info", "build", "runs", "generated")
CAPABILITIES = ("LatentVariableModel", "LikelihoodModel", "ImplicitModel")


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A copy of what the command reads and writes, from which the package is taken to run."""
    folder = tmp_path / "clone"
    for path in ("genjax_models", "configs"):
        shutil.copytree(ROOT / path, folder / path, ignore=LEFT_OUT)
    (folder / "tests" / "objectives").mkdir(parents=True)
    for path in (scaffold.CONFORMANCE, scaffold.README, scaffold.CHANGELOG, "pyproject.toml"):
        shutil.copy(ROOT / path, folder / path)
    monkeypatch.setattr(scaffold, "PACKAGE", folder / "genjax_models")
    return folder


def everything(folder: Path, name: str) -> list[scaffold.Made]:
    """A model of every capability and an objective, named after `name`."""
    models = [scaffold_model(folder, f"{name}{i}", c) for i, c in enumerate(CAPABILITIES)]
    return [*models, scaffold_objective(folder, name)]


def run_made(folder: Path, path: str) -> dict:
    namespace: dict = {"__name__": "made"}
    exec(compile((folder / path).read_text(encoding="utf-8"), path, "exec"), namespace)
    return namespace


# Short and long names, which lines break around differently, and one that sorts by its number.
@pytest.mark.parametrize("name", ["q", "my_model", "vae10", "a" * (scaffold.LONGEST - 5) + "_b_c"])
def test_what_is_written_is_formatted_and_in_order(clone, name):
    everything(clone, name)
    for command in (["format", "--check"], ["check", "--no-cache"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_what_is_written_names_it_everywhere(clone):
    """Each kind in its tables, once; every other line of the files is as it was."""
    before = contents(clone)
    made = everything(clone, "my_own")
    created = {path for m in made for path in m.created}
    assert {path for path in contents(clone) if path not in before} == created
    assert created == {
        *(f"genjax_models/models/my_own{i}.py" for i in range(3)),
        *(f"configs/my_own{i}_digits.py" for i in range(3)),
        "genjax_models/objectives/my_own.py",
        "tests/objectives/test_my_own.py",
        "configs/my_own_digits.py",
    }
    changed = {path for path in before if contents(clone)[path] != before[path]}
    assert changed == {path for m in made for path in m.changed}
    added = {path: [] for path in changed}
    for path in changed:
        old, new = before[path][0].decode().splitlines(), (clone / path).read_text(encoding="utf-8").splitlines()
        for line in new:
            if old and line == old[0]:
                old.pop(0)
            else:
                added[path].append(line)
        assert not old, path
    assert added["genjax_models/objectives/__init__.py"] == [
        "from genjax_models.objectives.my_own import MyOwn, my_own",
        '    "my_own": MyOwn,',
        '    "MyOwn",',
        '    "my_own",',
    ]
    assert len(added["genjax_models/models/__init__.py"]) == 3 * 4
    assert len(added["tests/conformance.py"]) == 4 * 2
    assert [len(added[path]) for path in ("README.md", "CHANGELOG.md")] == [4, 4]
    readme = (clone / "README.md").read_text(encoding="utf-8")
    places = [readme.index(f"| `{name}") for name in ("gan`, ", "my_own0`", "my_own2`", "moment_matching`", "my_own`")]
    assert places == sorted(places)
    assert "genjax-models train configs/my_own_digits.py" in str(made[-1])


def test_what_is_written_works(clone):
    """The models draw, score and train by what their configurations have; the objective trains a belief net."""
    everything(clone, "my_own")
    x = jnp.asarray(binary_states(4))
    fitting = {"my_own0": elbo, "my_own1": maximum_likelihood, "my_own2": moment_matching}
    made = {}
    for name, objective in fitting.items():
        made[name] = model = run_made(clone, f"genjax_models/models/{name}.py")[name](4)
        init, step = make_train_step(objective(model), optax.sgd(0.1))[:2]
        params = jax.eval_shape(model.init, jax.random.key(0), x[0], ())
        state = jax.eval_shape(init, jax.random.key(0), params, x)
        after, metrics = jax.eval_shape(step, state, x)
        assert jax.tree.map(lambda v: (v.shape, v.dtype), after) == jax.tree.map(lambda v: (v.shape, v.dtype), state)
        assert metrics
    mixture = made["my_own1"]
    params = mixture.init(jax.random.key(0), x[0], ())
    assert abs(np.exp(np.float64(log_prob(mixture, params, x))).sum() - 1) < 1e-5
    objective = run_made(clone, "genjax_models/objectives/my_own.py")["my_own"]
    net = sigmoid_belief_network(4, layers=(2,))
    init, step = make_train_step(objective(net, 3), optax.sgd(0.1))[:2]
    state = init(jax.random.key(0), net.init(jax.random.key(0), x[0], ()), x)
    _, metrics = step(state, x)
    assert np.isfinite(metrics["bound"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My_model", "got 'My_model', expected small letters"),
        ("my-model", "expected small letters"),
        ("my__model", "expected small letters"),
        ("../my", "expected small letters"),
        ("", "got '', expected small letters"),
        ("lambda", "a word of Python's own"),
        ("match", "a word of Python's own"),
        ("sum", "a word of Python's own"),
        ("a" * 33, "of 33 characters, expected at most 32"),
        ("vae", "'vae', which VAE has in the tables"),
        ("iwae", "which IWAE has in the tables"),
        ("digits", "which Digits has in the tables"),
        ("as_model", "genjax_models/models/__init__.py has another as_model"),
        ("small", "tests/conformance.py has another Small"),
        ("jax", "has another jax"),
        ("encoder", "the file that is made has another encoder"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(clone, name, message):
    before = contents(clone)
    with pytest.raises(ConfigError, match=re.escape(message)):
        scaffold_model(clone, name)
    assert contents(clone) == before


@pytest.mark.parametrize(
    "path", ["genjax_models/models/my_own.py", "configs/my_own_digits.py"], ids=["module", "configuration"]
)
def test_nothing_is_put_over_a_file(clone, path):
    (clone / path).write_text("mine", encoding="utf-8")
    before = contents(clone)
    with pytest.raises(UserError, match=f"{path}: there already"):
        scaffold_model(clone, "my_own")
    assert contents(clone) == before


def test_a_second_time_is_refused(clone):
    scaffold_objective(clone, "my_own")
    before = contents(clone)
    with pytest.raises(ConfigError, match=r"objectives/__init__.py has another MyOwn and my_own"):
        scaffold_objective(clone, "my_own")
    assert contents(clone) == before


def test_where_a_table_is_gone_nothing_is_written(clone):
    path = clone / "README.md"
    path.write_text(path.read_text(encoding="utf-8").replace("| model | what it is |", "| model |"), encoding="utf-8")
    before = contents(clone)
    with pytest.raises(UserError, match=r"README.md: the table \| model \| what it is \| is not there as expected"):
        scaffold_model(clone, "my_own")
    assert contents(clone) == before


def test_only_into_the_clone_that_runs(clone, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no clone of genjax_models, genjax_models/models/__init__.py is missing"):
        scaffold_model(tmp_path, "my_own")
    monkeypatch.setattr(scaffold, "PACKAGE", ROOT / "genjax_models")
    with pytest.raises(UserError, match="would not find what is written here"):
        scaffold_model(clone, "my_own")


def test_the_command(clone, monkeypatch, capsys):
    monkeypatch.chdir(clone)
    assert main(["scaffold", "model", "my_own", "--capability", "LikelihoodModel"]) == 0
    out = capsys.readouterr().out
    assert "created  genjax_models/models/my_own.py" in out
    assert "python -m pytest tests/models -k my_own" in out
    assert "LikelihoodModel" in (clone / "genjax_models" / "models" / "my_own.py").read_text(encoding="utf-8")
    assert main(["scaffold", "objective", "my_goal", "--capability", "LikelihoodModel"]) == 2
    assert "an objective has none" in capsys.readouterr().err
    assert main(["scaffold", "objective", "my_goal"]) == 0
    assert main(["scaffold", "model", "my_own"]) == 2
    assert "take another" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="capability: got 'Sampler'"):
        scaffold_model(clone, "my_other", "Sampler")


def test_edits():
    """Names are put where they sort, an import of the same module is widened, and long ones are broken."""
    text = "import os\n\nfrom genjax_models.a import x\nfrom genjax_models.c import (\n    y,\n)\n"
    assert with_import(text, "genjax_models.b", ["B"]).splitlines()[3] == "from genjax_models.b import B"
    assert with_import(text, "genjax_models.d", ["D"]).splitlines()[-1] == "from genjax_models.d import D"
    assert with_import(text, "genjax_models.A", ["D"]).splitlines()[2] == "from genjax_models.A import D"
    assert with_import(text, "genjax_models.c", ["Z"]).splitlines()[-1] == "from genjax_models.c import Z, y"
    long = with_import(text, "genjax_models.c", ["z" * 100]).splitlines()
    assert long[-4:] == ["from genjax_models.c import (", "    y,", f"    {'z' * 100},", ")"]
    assert with_table_row("a\n| h |\n| - |\n| 1 |\n\nb\n", "| h |", "| 2 |") == "a\n| h |\n| - |\n| 1 |\n| 2 |\n\nb\n"
    assert with_change("# C\n\n## 2\n\n- x\n\n## 1\n", "- y") == "# C\n\n## 2\n\n- x\n- y\n\n## 1\n"
    assert with_change("# C\n\n## 1\n\n- x\n", "- y") == "# C\n\n## 1\n\n- x\n- y\n"


def blocks(guide: str) -> list[tuple[str, str]]:
    """The blocks of code of a guide, with their languages."""
    text = (ROOT / "notebooks" / "guides" / guide).read_text(encoding="utf-8")
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["add_a_model.md", "add_an_objective.md"])
def test_guides_hold(guide, tmp_path):
    """Every line of shell and every block of Python of a guide, in order, in a copy of this clone.

    A method is put below `decode`, as the guide says.
    """
    folder = tmp_path / "clone"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    for path in ROOT.glob("configs/*.png"):  # which a test of documents looks for
        shutil.copy(path, folder / "configs" / path.name)
    environment = {k: v for k, v in os.environ.items() if k != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"

    found = blocks(guide)
    assert len(found) >= 5
    for language, block in found:
        if language == "sh":
            for line in block.splitlines():
                run("bash", "-c", line)
        elif block.startswith(" "):
            path = folder / "genjax_models" / "models" / "my_model.py"
            above, below = path.read_text(encoding="utf-8").split("\n\n\n@config")
            path.write_text(f"{above}\n\n{block.rstrip()}\n\n\n@config{below}", encoding="utf-8")
        else:
            run(sys.executable, "-c", block)
    run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests/test_references.py",
        "tests/test_overlay.py",
        "tests/test_layout.py",
    )
    run(sys.executable, "-m", "pytest", "-q", "tests/test_documents.py", "-k", "not notebook and not python")
