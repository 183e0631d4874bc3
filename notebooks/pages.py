"""The pages of the site that are made, not written: from the documents, the tables of names, the works and the code."""

import argparse
import ast
import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import itertools
import os
import pkgutil
import re
import runpy
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn

import genjax_models
from genjax_models import cli
from genjax_models.commands.authoring import catalogue
from genjax_models.config import describe, is_config_type
from genjax_models.models import MODELS
from genjax_models.objectives import OBJECTIVES
from genjax_models.papers import Table
from genjax_models.references import WORKS, cited, works
from genjax_models.scaffold import MODELS as MADE
from genjax_models.scaffold import OBJECTIVE, files
from genjax_models.tables import types

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("models", "objectives", "evaluation", "data")  # whose names users import from the package itself
WIDTH = "100"  # columns of the commands' help
START = ("Two commands", "From a notebook")  # the README's sections on the start page
REPLACED = ("Papers' tables", "Where to go next")  # on a page with more, and what the side bar does

# Where documents that the README links to are on the site.
HOMES = {"CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
FOLDERS = {"configs/papers": "papers", "tests/benchmarks": "benchmarks"}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def rewritten(text: str) -> str:
    """A document of the repository with its links turned to the site's pages.

    Raises:
        ValueError: a link to what the site does not have.
    """

    def home(match: re.Match) -> str:
        target = match[1]
        if re.match(r"https?:|#", target):
            return match[0]
        folder, _, name = target.rpartition("/")
        if folder.partition("/")[0] == "notebooks":
            return f"]({target.removeprefix('notebooks')})"
        if target in HOMES:
            return f"](/generated/{HOMES[target]}.md)"
        if folder in FOLDERS and name.endswith(".md"):
            return f"](/generated/{FOLDERS[folder]}/{name})"
        raise ValueError(f"{target}: the site has no page of it; see HOMES and FOLDERS in notebooks/pages.py.")

    return re.sub(r"\]\(([^)\s]+)\)", home, text)


def sections(text: str) -> dict[str, str]:
    """The sections of a document by title, and what stands before the first under an empty one."""
    head, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    found = {"": head.split("\n", 1)[1].strip()}
    for part in rest:
        title, _, body = part.partition("\n")
        found[title.strip()] = body.strip()
    return found


def slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def code(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def cell(text: str) -> str:
    """Text as a cell of a table."""
    return text.replace("|", r"\|")


def document_pages() -> Iterator[tuple[str, str]]:
    readme = sections(rewritten(read("README.md")))
    start = [readme[""], *(f"## {title}\n\n{readme[title]}" for title in START)]
    others = {slug(title): title for title in readme if title and title not in (*START, *REPLACED)}
    names = "\n".join(f"/generated/readme/{name}" for name in others)
    start.append(f"```{{toctree}}\n:hidden:\n:caption: Use\n\n{names}\n```")
    yield "parts/start.md", "\n\n".join(start)
    for name, title in others.items():
        yield f"readme/{name}.md", f"# {title}\n\n{readme[title]}"
    for path, name in HOMES.items():
        yield f"{name}.md", rewritten(read(path))
    for path in sorted((ROOT / "tests" / "benchmarks").glob("*.md")):
        yield f"benchmarks/{path.name}", rewritten(path.read_text(encoding="utf-8"))


def scaffold_parts() -> Iterator[tuple[str, str]]:
    """The files that the guides are about."""
    for name, plan in (("my_model", MADE["LatentVariableModel"]), ("my_objective", OBJECTIVE)):
        yield f"parts/{name}.md", code(next(iter(files(name, plan).values())), "python")


def link(name: str, package: str) -> str:
    """A name of a table as a link to its function, or else its class, in the reference."""
    table = {"models": MODELS, "objectives": OBJECTIVES}.get(package)
    module = importlib.import_module(f"genjax_models.{package}")
    target = name if callable(getattr(module, name, None)) or table is None else table[name].__name__
    return f"{{py:obj}}`{name} <genjax_models.{package}.{target}>`"


def citation_links(citation: str) -> str:
    """A citation whose works are links to the index by paper."""
    for phrase, work in WORKS.items():
        citation = re.sub(rf"(?<![\w[]){re.escape(phrase)}\b", f"[{phrase}](#{work.key})", citation)
    return citation


def table_pages() -> Iterator[tuple[str, str]]:
    found = catalogue()
    needs = {
        "models": "The capability says what a model can compute, and so what trains it: {py:obj}`genjax_models.core`.",
        "objectives": "The capability is what an objective needs of a model at the least.",
    }
    for package, rows in found.items():
        title = {"models": "All models", "objectives": "All objectives"}[package]
        lines = [
            f"# {title}",
            "",
            needs[package],
            "",
            "| name | capability | what it is | from |",
            "| --- | --- | --- | --- |",
        ]
        for row in rows:
            words = link(row["name"], package), row["capability"], row["description"], citation_links(row["citation"])
            lines.append(f"| {' | '.join(map(cell, words))} |")
        if package == "models":
            lines += ["", "## What trains them", "", "| model | objectives |", "| --- | --- |"]
            for row in rows:
                fitting = ", ".join(link(name, "objectives") for name in row["objectives"])
                lines.append(f"| {link(row['name'], 'models')} | {fitting} |")
        yield f"{package}.md", "\n".join(lines)


def configurations() -> dict[str, Any]:
    """The CONFIG of every file in configs/, by the file's name."""
    return {path.stem: runpy.run_path(str(path))["CONFIG"] for path in sorted((ROOT / "configs").glob("*.py"))}


def tables() -> dict[str, Table]:
    """The TABLE of every file in configs/papers/, by the file's name."""
    return {
        path.stem: runpy.run_path(str(path))["TABLE"] for path in sorted((ROOT / "configs" / "papers").glob("*.py"))
    }


def named_works(text: str) -> set[str]:
    """The keys of the works that are named in a text."""
    return {work.key for phrase, work in WORKS.items() if re.search(rf"(?<!\w){re.escape(phrase)}\b", text)}


def keys(citations: Iterable[str]) -> set[str]:
    return {work.key for citation in citations for work in works(citation)}


def work_page() -> str:
    """The index by paper."""
    named = {name: keys(cited([cls])) for name, cls in types().items()}
    configs = {name: keys(cited(config)) for name, config in configurations().items()}
    papers = {
        name: set().union(*(named_works(cell.paper.where) for cell in table.cells if cell.paper))
        for name, table in tables().items()
    }
    about = (
        "Every work that something here is from, with what that is: models and objectives, their parts, optimizers and "
        "data, the configurations that use them, and the tables that have the paper's figures. `genjax-models cite` "
        "prints those of a run."
    )
    lines = ["# Index by paper", "", about]
    for phrase, work in sorted(WORKS.items(), key=lambda item: (item[0].casefold(), item[1].year)):
        lines += ["", f"({work.key})=", "", f"## {phrase}", "", f"*{plain(work.title)}*", ""]
        parts: dict[str, list[str]] = {
            "Models": [link(n, "models") for n in named if n in MODELS and work.key in named[n]],
            "Objectives": [link(n, "objectives") for n in named if n in OBJECTIVES and work.key in named[n]],
            "Parts, optimizers and data": [
                f"`{n}`" for n in named if n not in MODELS and n not in OBJECTIVES and work.key in named[n]
            ],
            "Configurations": [f"[{n}](#config-{n})" for n in configs if work.key in configs[n]],
            "Tables": [f"[{n}](/generated/papers/{n}.md)" for n in papers if work.key in papers[n]],
        }
        lines += [f"- {title}: {', '.join(names)}" for title, names in parts.items() if names]
        lines += ["", code(work.bibtex(), "bibtex")]
    return "\n".join(lines)


def plain(title: str) -> str:
    """A title without BibTeX's braces and commands."""
    return re.sub(r"[{}\\]", "", title)


def paper_pages() -> Iterator[tuple[str, str]]:
    lines = ["# Papers' tables", "", sections(rewritten(read("README.md")))["Papers' tables"], "", "## All tables", ""]
    lines += ["| table | what it has | measured here |", "| --- | --- | --- |"]
    for name, table in tables().items():
        measured = (ROOT / "configs" / "papers" / f"{name}.md").is_file()
        answer = "yes" if measured else "not yet"
        lines.append(f"| [{name}](/generated/papers/{name}.md) | {cell(table.title)} | {answer} |")
        yield f"papers/{name}.md", read(f"configs/papers/{name}.md") if measured else paper_table(name, table)
    lines += ["", "```{toctree}\n:hidden:\n:titlesonly:\n:glob:\n\npapers/*\n```"]
    yield "papers.md", "\n".join(lines)


def paper_table(name: str, table: Table) -> str:
    """A table that was not run yet: the paper's figures alone."""
    lines = [f"# {table.title}", "", f"In {table.unit}. Not run yet: `genjax-models reproduce {name} --budget full`."]
    lines += [
        "",
        *([table.notes, ""] if table.notes else []),
        "| row | column | paper | where |",
        "| --- | --- | ---: | --- |",
    ]
    for c in table.cells:
        figure = where = ""
        if c.paper is not None:
            error = "" if c.paper.standard_error is None else f" ± {c.paper.standard_error:g}"
            figure = f"{c.paper.value:.{table.digits_of(c)}f}{error}"
            where = c.paper.where + ("" if c.paper.checked else " (from memory, to be checked)")
        lines.append(f"| {cell(c.row)} | {cell(c.column)} | {figure} | {cell(where)} |")
    notes = [f"- {c.row}, {c.column}: {c.note}" for c in table.cells if c.note]
    return "\n".join([*lines, "", *notes])


def configuration_page() -> str:
    about = (
        "The files of `configs/`, as they are: `genjax-models train configs/NAME.py` trains one, and `genjax-models "
        "sweep` those that set SWEEP."
    )
    lines = ["# Configurations", "", about]
    for path in sorted((ROOT / "configs").glob("*.py")):
        lines += [
            "",
            f"(config-{path.stem})=",
            "",
            f"## {path.stem}",
            "",
            code(path.read_text(encoding="utf-8"), "python"),
        ]
        if path.with_suffix(".png").is_file():
            lines += ["", f"![its figures](/../configs/{path.stem}.png)"]
    return "\n".join(lines)


@contextlib.contextmanager
def columns(width: str) -> Iterator[None]:
    """Within it, help is as wide as that."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = width
    try:
        yield
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)


def command_page() -> str:
    """Every command's --help."""
    with columns(WIDTH):
        top = cli.parser()
        commands = subcommands(top)
        lines = [
            "# Commands",
            "",
            "What `genjax-models --help` and the `--help` of each command print.",
            "",
            code(top.format_help()),
        ]
        for name, parser in commands:
            lines += ["", f"## {name}", "", code(parser.format_help())]
    return "\n".join(lines)


def subcommands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its parser, and the commands of those that have some."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield f"{before}{name}", below
                yield from subcommands(below, f"{before}{name} ")


# The reference.


def modules() -> dict[str, ModuleType]:
    """The modules of the reference, by their name in the package.

    All of the top level, and of the modules below those whose configurations stand in a table, or that the README or
    CONTRIBUTING names, if the package does not have their names itself.
    """
    found = {}
    for info in pkgutil.iter_modules(genjax_models.__path__):
        if info.name not in ("cli", "commands", "__main__"):
            found[info.name] = importlib.import_module(f"genjax_models.{info.name}")
    text = read("README.md") + read("CONTRIBUTING.md")
    names = {f"{a}.{b}" for a, b in re.findall(rf"\b({'|'.join(PACKAGES)})[./]([a-z]\w+)", text)}
    names |= {cls.__module__.removeprefix("genjax_models.") for cls in types().values()}
    for name in sorted(names - set(found)):
        package, _, own = name.partition(".")
        if own and importlib.util.find_spec(f"genjax_models.{name}") is not None:
            module = importlib.import_module(f"genjax_models.{name}")
            exported = (getattr(found[package], n) for n in found[package].__all__)
            if not any(getattr(value, "__module__", None) == module.__name__ for value in exported):
                found[name] = module
    return dict(sorted(found.items()))


def members(module: ModuleType) -> dict[str, Any]:
    """The public functions and classes of a module that say what they are, in order; of a package what it exports."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    found = {n: getattr(module, n) for n in names if not n.startswith("_")}
    return {n: v for n, v in found.items() if is_documented(v)}


def is_documented(value: Any) -> bool:
    """Whether it is a function or a class with a docstring of its own; modules of flax are how a model is computed."""
    if inspect.isclass(value):
        return bool(value.__dict__.get("__doc__")) and not issubclass(value, nn.Module) and own_doc(value)
    return callable(value) and bool(getattr(value, "__doc__", None)) and hasattr(value, "__name__")


def own_doc(cls: type) -> bool:
    """Whether a class has a docstring that was written: NamedTuples and dataclasses get one that is its signature."""
    return not (cls.__doc__ or "").startswith(f"{cls.__name__}(")


def directive(name: str, value: Any) -> str:
    """What documents a function or a class in the reference."""
    if not inspect.isclass(value):
        return f".. autofunction:: {name}\n"
    kind = "autoexception" if issubclass(value, Exception) else "autoclass"
    lines = [f".. {kind}:: {name}", ""]
    if not is_config_type(value):
        for own, method in vars(value).items():
            is_method = inspect.isfunction(method) or isinstance(method, property | classmethod | staticmethod)
            if is_method and not own.startswith("_") and method.__doc__:
                lines += [f"   .. auto{'property' if isinstance(method, property) else 'method'}:: {own}", ""]
    return "\n".join(lines)


def first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def module_page(name: str, module: ModuleType) -> str:
    full = module.__name__
    lines = [heading(full, "="), f".. automodule:: {full}\n", f".. py:currentmodule:: {full}\n"]
    groups: dict[str, list[str]] = {}
    for own, value in members(module).items():
        groups.setdefault(getattr(value, "__module__", full), []).append(own)
    if list(groups) != [full] and hasattr(module, "__path__"):
        for origin in sorted(groups):
            lines.append(heading(origin.rpartition(".")[2], "-"))
            lines += [directive(own, getattr(module, own)) for own in groups[origin]]
    else:
        lines += [directive(own, getattr(module, own)) for own in members(module)]
    return "\n".join(lines)


def reference_pages() -> Iterator[tuple[str, str]]:
    found = modules()
    lines = ["# Reference", "", "| module | what is in it |", "| --- | --- |"]
    for name, module in found.items():
        yield f"api/{name}.rst", module_page(name, module)
        lines.append(f"| [{name}](/generated/api/{name}.rst) | {cell(first_line(module))} |")
    names = "\n".join(found)
    lines += ["", f"```{{toctree}}\n:hidden:\n:titlesonly:\n\n{names}\n```"]
    yield "api/index.md", "\n".join(lines)


def pages() -> dict[str, str]:
    """Every made page by its path below notebooks/generated/."""
    found = dict([*document_pages(), *scaffold_parts(), *table_pages(), *paper_pages(), *reference_pages()])
    return found | {"works.md": work_page(), "configurations.md": configuration_page(), "commands.md": command_page()}


def write(folder: Path) -> None:
    """Write the pages into a folder, those that changed alone, and take away what is no page any more."""
    found = pages()
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in found:
            path.unlink()
    for name, text in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = text.rstrip() + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# Docstrings are plain text with a few sections, and equations that blank lines set off; this makes them what Sphinx
# reads.

SECTION = re.compile(r"(Args|Returns|Raises|Example|Reference):$")


def escaped(line: str) -> str:
    """A line whose bars, stars and trailing underscores mean themselves, outside of backticks."""
    parts = re.split(r"(`[^`]*`)", line)
    plain = (re.sub(r"(?<=\w)_(?!\w)", r"\\_", re.sub(r"([|*\\])", r"\\\1", part)) for part in parts[::2])
    return "".join(a + b for a, b in zip(plain, [*parts[1::2], ""], strict=True))


def escaped_argument(line: str) -> str:
    """A line of a section; the stars of `**fields:` are napoleon's."""
    match = re.match(r"(\s+\*{1,2}\w+)(:.*)", line)
    return match[1] + escaped(match[2]) if match else escaped(line)


def as_restructured(lines: Sequence[str]) -> list[str]:
    """A docstring's lines as reStructuredText, with the sections left to napoleon; equations and tables stay as set."""
    out: list[str] = []
    section = ""
    for blank, group in itertools.groupby(lines, lambda line: not line.strip()):
        if blank:
            continue
        paragraph = list(group)
        indented = all(line.startswith(" ") for line in paragraph)
        match = SECTION.match(paragraph[0])
        section = match[1] if match else section if indented else ""
        if section == "Example":
            out += paragraph
        elif section:
            out += map(escaped_argument, paragraph)
        elif indented or re.match(r"\S+ {2,}\S", paragraph[0]):
            out += ["::", "", *(f"    {line}" for line in paragraph)]
        else:
            out += map(escaped, paragraph)
        out.append("")
    return out


def fields_of(cls: Any) -> list[str]:
    """The fields of a configuration with their help, or those of a record as its source has them, as lines to add."""
    if hasattr(cls, "__config__"):
        rows = []
        for f in dataclasses.fields(cls):
            kind = describe(cls.__hints__[f.name])
            default = "" if f.default is dataclasses.MISSING else f", by default ``{short(f.default)}``"
            rows.append(f"- **{f.name}**: {escaped(f.metadata.get('help', ''))} ({escaped(kind)}{default})")
        return ["", *rows, ""] if rows else []
    if hasattr(cls, "_fields") or dataclasses.is_dataclass(cls):
        source = textwrap.dedent(inspect.getsource(cls))
        body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)).body
        fields = [n for n in body if isinstance(n, ast.AnnAssign)]
        if fields and not re.search(r"^Args:$", inspect.cleandoc(cls.__doc__ or ""), re.MULTILINE):
            lines = source.splitlines()[fields[0].lineno - 1 : fields[-1].end_lineno]
            return ["", "::", "", *lines, ""]
    return []


def short(value: Any) -> str:
    """A default as it is written."""
    text = repr(value)
    return f"{type(value).__name__}(...)" if len(text) > 60 and hasattr(value, "__config__") else text
