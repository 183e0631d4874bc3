"""The files of a new model or objective in a clone of this project: a small one that works, to be edited.

A file of its own, made from `templates/`, its configuration for the digits, and a line in each table that names it.
They are written into the package, for a run folder names classes by its tables, and could not be opened without.
"""

import ast
import bisect
import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple, get_args

import genjax_models
from genjax_models.errors import ConfigError, UserError
from genjax_models.tables import types

Capability = Literal["LatentVariableModel", "LikelihoodModel", "ImplicitModel"]
PACKAGE = Path(genjax_models.__file__).parent
LONGEST = 32  # characters of a name, which leaves room on its lines
WIDTH = 120  # of a line
CONFORMANCE, README, CHANGELOG = "tests/conformance.py", "README.md", "CHANGELOG.md"


class Plan(NamedTuple):
    """What is made of a kind of model or objective; `${name}` and `${Class}` stand for its own."""

    package: Literal["models", "objectives"]
    files: tuple[tuple[str, str], ...]  # (path, template)
    config: Mapping[str, str]  # what the template of the configuration has besides
    small_table: str  # of tests/conformance.py
    small: str  # the row there
    row: str  # of the README's table
    header: str  # of that table
    change: str  # in the changelog
    tests: str  # what to run


CONFIG = ("configs/${name}_digits.py", "config")
OWN = {
    "title": "${Class} on the 8x8 digits of scikit-learn.",
    "model_class": "${Class}",
    "model": "${Class}()",
    "steps": "2000",
}


def _model(template: str, small_table: str, small: str, row: str, objective: str, rate: str) -> Plan:
    return Plan(
        package="models",
        files=(("genjax_models/models/${name}.py", template), CONFIG),
        config=OWN | {"objective_class": objective, "objective": f"{objective}()", "rate": rate},
        small_table=small_table,
        small=small,
        row=f"| `${{name}}` | {row} |",
        header="| model | what it is |",
        change="- Model `${name}`.",
        tests="python -m pytest tests/models -k ${name}",
    )


MODELS: dict[str, Plan] = {
    "LatentVariableModel": _model(
        "latent_variable_model",
        "MODELS",
        "[Small(${Class}(latent=1, hidden=(3,)), 3)]",
        "Gaussian latents, binary units given them, and a Gaussian q",
        "ELBO",
        "1e-3",
    ),
    "LikelihoodModel": _model(
        "likelihood_model",
        "LIKELIHOOD_MODELS",
        "[Small(${Class}(components=3), 4)]",
        "a mixture of products of Bernoullis",
        "MaximumLikelihood",
        "1e-2",
    ),
    "ImplicitModel": _model(
        "implicit_model",
        "IMPLICIT_MODELS",
        "[Small(${Class}(latent=3, hidden=(4,)), 4)]",
        "a sampler without a density: a network's image of Gaussian noise",
        "MomentMatching",
        "1e-3",
    ),
}
OBJECTIVE = Plan(
    package="objectives",
    files=(
        ("genjax_models/objectives/${name}.py", "objective"),
        ("tests/objectives/test_${name}.py", "test_objective"),
        CONFIG,
    ),
    config={
        "title": "A sigmoid belief net on the 8x8 digits of scikit-learn, trained by ${Class}.",
        "model_class": "SigmoidBeliefNetwork",
        "model": "SigmoidBeliefNetwork(layers=(64, 32))",
        "objective_class": "${Class}",
        "objective": "${Class}()",
        "rate": "3e-3",
        "steps": "3000",
    },
    small_table="OBJECTIVES",
    small="[${Class}(num_particles=2)]",
    row="| `${name}` | scores, less the mean of the other particles' signals | Williams 1992 |",
    header="| objective | gradient of q | source |",
    change="- Objective `${name}`.",
    tests="python -m pytest tests/models/test_conformance.py tests/objectives -k '${name} or ${Class}'",
)


class Made(NamedTuple):
    """What was written, and how to go on."""

    created: tuple[str, ...]  # files, from the clone's top folder
    changed: tuple[str, ...]
    commands: tuple[str, ...]

    def __str__(self) -> str:
        files = [f"created  {path}" for path in self.created] + [f"changed  {path}" for path in self.changed]
        return "\n".join([*files, "to go on:", *(f"  {command}" for command in self.commands)])


def scaffold_model(root: Path, name: str, capability: Capability = "LatentVariableModel") -> Made:
    """Write a small working model of that name into a clone of this project.

    Args:
        root: the top folder of the clone.
        name: of its function and of its row in the tables, in small letters with underscores; its class has the same
            name in capitals, `MyModel` for `my_model`.
        capability: what it can compute, of `core`.

    Returns:
        The files, and the commands that train and test it.

    Raises:
        ConfigError: a name that cannot be one or is taken, or an unknown capability.
        UserError: no clone in the folder, a file in the way, or a table that is not where it is expected. Nothing is
            written then.

    Example:
        >>> print(scaffold_model(Path("."), "my_model", "LikelihoodModel"))
    """
    if capability not in get_args(Capability):
        raise ConfigError(f"capability: got {capability!r}, expected one of {', '.join(get_args(Capability))}.")
    return _scaffold(root, name, MODELS[capability])


def scaffold_objective(root: Path, name: str) -> Made:
    """Write a small working objective of that name into a clone of this project, with its proof by enumeration.

    Args:
        root: the top folder of the clone.
        name: as for `scaffold_model`.

    Returns:
        The files, and the commands that train by it and test it.

    Raises:
        ConfigError, UserError: as for `scaffold_model`.

    Example:
        >>> print(scaffold_objective(Path("."), "my_objective"))
    """
    return _scaffold(root, name, OBJECTIVE)


def class_name(name: str) -> str:
    """The class of a name: `MyModel` for `my_model`."""
    return "".join(part.capitalize() for part in name.split("_"))


def _scaffold(root: Path, name: str, plan: Plan) -> Made:
    """Everything is made and checked before anything is written."""
    _check_name(name)
    init = f"genjax_models/{plan.package}/__init__.py"
    _check_clone(root, (init, CONFORMANCE, README, CHANGELOG))
    cls = class_name(name)
    made = files(name, plan)
    before = {path: (root / path).read_text(encoding="utf-8") for path in (init, CONFORMANCE, README, CHANGELOG)}
    _check_taken(name, cls, plan, {path: before[path] for path in (init, CONFORMANCE)})
    if there := [path for path in made if (root / path).exists()]:
        raise UserError(f"{', '.join(there)}: there already, so nothing was written; take another name, or move it.")

    def own(text: str) -> str:
        return Template(text).substitute(name=name, Class=cls)

    def edited(path: str, *edits: Callable[[str], str]) -> str:
        text = before[path]
        try:
            for edit in edits:
                text = edit(text)
        except LookupError as error:
            raise UserError(f"{path}: {error.args[0]} is not there as expected, so nothing was written.") from None
        return text

    package = f"genjax_models.{plan.package}"
    names = sorted((cls, name), key=_order)
    changed = {
        init: edited(
            init,
            lambda text: with_import(text, f"{package}.{name}", names),
            lambda text: with_row(text, plan.package.upper(), f'"{name}": {cls},'),
            lambda text: with_exports(text, names),
        ),
        CONFORMANCE: edited(
            CONFORMANCE,
            lambda text: with_import(text, package, [cls]),
            lambda text: with_row(text, plan.small_table, f'"{name}": {own(plan.small)},'),
        ),
        README: edited(README, lambda text: with_table_row(text, plan.header, own(plan.row))),
        CHANGELOG: edited(CHANGELOG, lambda text: with_change(text, own(plan.change))),
    }
    for path, text in made.items():
        with (root / path).open("x", encoding="utf-8") as file:
            file.write(text)
    for path, text in changed.items():
        (root / path).write_text(text, encoding="utf-8")
    return Made(tuple(made), tuple(changed), (f"genjax-models train configs/{name}_digits.py", own(plan.tests)))


def files(name: str, plan: Plan) -> dict[str, str]:
    """The new files of a plan, by path."""
    own = {"name": name, "Class": class_name(name)}
    own |= {key: Template(value).substitute(own) for key, value in plan.config.items()}

    def filled(template: str) -> str:
        text = (PACKAGE / "templates" / f"{template}.txt").read_text(encoding="utf-8")
        return Template(text).substitute(own)

    return {Template(path).substitute(own): filled(template) for path, template in plan.files}


def _check_clone(root: Path, files: tuple[str, ...]) -> None:
    for path in files:
        if not (root / path).is_file():
            raise UserError(
                f"{root.resolve()}: no clone of genjax_models, {path} is missing; go to the top folder of one."
            )
    if PACKAGE.resolve() != (root / "genjax_models").resolve():
        raise UserError(
            f"{root.resolve()}: genjax_models runs from {PACKAGE}, and would not find what is written here; install "
            "this clone by `python -m pip install -e .`"
        )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ConfigError(f"name: got {name!r}, expected small letters, digits and underscores, such as my_model.")
    if len(name) > LONGEST:
        raise ConfigError(f"name: got {name!r} of {len(name)} characters, expected at most {LONGEST}.")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        raise ConfigError(f"name: got {name!r}, which is a word of Python's own; take another.")


def _check_taken(name: str, cls: str, plan: Plan, edited: Mapping[str, str]) -> None:
    """Raise ConfigError where the name, or its class, means something else in a table or a file that gets it."""
    if name in types():
        raise ConfigError(f"name: got {name!r}, which {types()[name].__name__} has in the tables; take another.")
    new = {path: text for path, text in files("name_of_it", plan).items() if path.endswith(".py")}
    for path, text in {**edited, **new}.items():
        if taken := {name, cls} & _identifiers(text):
            where = path if path in edited else "the file that is made"
            raise ConfigError(
                f"name: got {name!r}, but {where} has another {' and '.join(sorted(taken))}; take another."
            )


def _identifiers(text: str) -> set[str]:
    """The names that a Python file binds or reads."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found


# Edits of a text. Where what they look for is missing they raise LookupError, with its name.


def _order(name: str) -> tuple:
    """Where a name stands in a sorted list of names: constants, classes, others."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), _natural(name)


def _import_order(name: str) -> tuple:
    """Where a name stands among those that are imported from one module."""
    return _order(name)[0], _natural(name.lower())


def _placed(there: Sequence[str], new: Iterable[str], order: Callable[[str], tuple]) -> list[str]:
    """Names put into a list that is in order."""
    placed = list(there)
    for name in new:
        bisect.insort(placed, name, key=order)
    return placed


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts 2 before 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _replaced(text: str, first: int, last: int, new: list[str]) -> str:
    """The text with its lines `first` to `last`, counted from 1, replaced."""
    lines = text.splitlines()
    return "\n".join([*lines[: first - 1], *new, *lines[last:]]) + "\n"


def _bracketed(head: str, words: list[str], tail: str) -> list[str]:
    """`head`, words with commas, `tail`: a line a word."""
    return [head, *(f"    {word}," for word in words), tail]


def with_import(text: str, module: str, names: list[str]) -> str:
    """The file with names imported from a module, in its place in the order."""
    imports = [n for n in ast.parse(text).body if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    below = [n for n in imports if str(n.module).startswith("genjax_models")]
    if not below:
        raise LookupError("the import of genjax_models")
    same = next((n for n in below if n.module == module), None)
    if same is not None:
        names = _placed([alias.name for alias in same.names], names, _import_order)
    line = f"from {module} import {', '.join(names)}"
    lines = [line] if len(line) <= WIDTH else _bracketed(f"from {module} import (", names, ")")
    if same is not None:
        return _replaced(text, same.lineno, same.end_lineno or same.lineno, lines)
    before = [n for n in below if _natural(str(n.module)) < _natural(module)]
    at = (before[-1].end_lineno or 0) + 1 if before else below[0].lineno
    return _replaced(text, at, at - 1, lines)


def with_row(text: str, table: str, row: str) -> str:
    """The file with a row at the end of the dict of that name."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == table:
            end = node.end_lineno or node.lineno
            return _replaced(text, end, end - 1, [f"    {row}"])
    raise LookupError(f"the dict {table}")


def with_exports(text: str, names: list[str]) -> str:
    """The file with names in its `__all__`, in their place in the order."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            words = [f'"{word}"' for word in _placed(ast.literal_eval(node.value), names, _order)]
            return _replaced(text, node.lineno, node.end_lineno or node.lineno, _bracketed("__all__ = [", words, "]"))
    raise LookupError("the list __all__")


def with_table_row(text: str, header: str, row: str) -> str:
    """The document with a row at the end of the table of that header."""
    lines = text.splitlines()
    if header not in lines:
        raise LookupError(f"the table {header}")
    at = lines.index(header)
    while at < len(lines) and lines[at].startswith("|"):
        at += 1
    return _replaced(text, at + 1, at, [row])


def with_change(text: str, line: str) -> str:
    """The changelog with a line at the end of its first version's."""
    lines = text.splitlines()
    versions = [i for i, found in enumerate(lines) if found.startswith("## ")]
    if not versions:
        raise LookupError("a version")
    at = versions[1] if len(versions) > 1 else len(lines)
    while not lines[at - 1].strip():
        at -= 1
    return _replaced(text, at + 1, at, [line])
