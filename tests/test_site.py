"""The site: nothing that the tables, the works, the configurations and the commands have is missing on its pages."""

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from genjax_models.cli import parser
from genjax_models.models import MODELS
from genjax_models.objectives import OBJECTIVES
from genjax_models.references import WORKS, works
from genjax_models.tables import types

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def maker():
    """notebooks/pages.py, which makes the pages."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "notebooks" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(maker):
    return maker.pages()


def rows(page: str) -> list[list[str]]:
    """The rows of a page's tables, without their headers."""
    lines = [line for line in page.splitlines() if line.startswith("| {")]
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines]


@pytest.mark.parametrize(("package", "table"), [("models", MODELS), ("objectives", OBJECTIVES)])
def test_every_row_of_the_tables_is_there(pages, package, table):
    found = {re.match(r"\{py:obj\}`(\w+) ", row[0])[1]: row[1:] for row in rows(pages[f"{package}.md"])[: len(table)]}
    assert list(found) == list(table)
    for name, cls in table.items():
        capability, about, *source = found[name]
        assert capability == cls.capability
        assert about.replace(r"\|", "|") == cls.__doc__.splitlines()[0]
        linked = set(re.findall(r"\(#(\w+)\)", "".join(source)))
        assert linked == {work.key for work in works(cls.citation)}, name


def test_every_work_has_what_is_from_it(pages):
    """A section for each, with its BibTeX, and in it every part that cites it; the configurations and tables too."""
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", pages["works.md"], flags=re.MULTILINE)[1:]}
    assert set(sections) == set(WORKS)
    for phrase, work in WORKS.items():
        assert work.bibtex() in sections[phrase]
        assert f"({work.key})=" in pages["works.md"]
    for name, cls in types().items():
        for work in works(getattr(cls, "citation", "")):
            phrase = next(p for p, w in WORKS.items() if w.key == work.key)
            assert f"`{name} <" in sections[phrase] or f"`{name}`" in sections[phrase], (phrase, name)
    assert "[vae_digits](#config-vae_digits)" in sections["Kingma and Welling 2014"]
    assert "vae_digits" not in sections["Yin and Zhou 2019"]
    assert "[uci](/generated/papers/uci.md)" in sections["Germain, Gregor, Murray and Larochelle 2015"]
    assert "[bars](/generated/papers/bars.md)" in sections["Hinton, Dayan, Frey and Neal 1995"]


def test_every_command_and_configuration_and_document_is_there(pages):
    (commands,) = (a.choices for a in parser()._actions if a.dest == "command")
    for name in commands:
        assert f"\n## {name}\n\n```text\nusage: genjax-models {name}" in pages["commands.md"]
    for path in (ROOT / "configs").glob("*.py"):
        assert path.read_text(encoding="utf-8").rstrip() in pages["configurations.md"]
    for path in (ROOT / "configs" / "papers").glob("*.py"):
        assert f"papers/{path.stem}.md" in pages
        written = path.with_suffix(".md")
        assert not written.is_file() or pages[f"papers/{path.stem}.md"] == written.read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = "".join(pages[name] for name in pages if name.startswith(("parts/", "readme/", "papers.md")))
    for line in readme.splitlines()[1:]:
        if not line.startswith("#") and "](" not in line and "Where to go next" not in readme[: readme.find(line)]:
            assert line in shown, line


def test_the_reference_has_what_the_packages_export(pages):
    for package in ("models", "objectives", "evaluation", "data"):
        module = importlib.import_module(f"genjax_models.{package}")
        shown = set(re.findall(r"^\.\. auto\w+:: (\w+)$", pages[f"api/{package}.rst"], re.MULTILINE))
        exported = {name: getattr(module, name) for name in module.__all__}
        assert shown == {n for n, v in exported.items() if inspect.isclass(v) or inspect.isfunction(v)}, package
    for name in ("core", "config", "distributions", "train", "optimizers", "experiment", "export", "estimator"):
        assert f"/generated/api/{name}.rst" in pages["api/index.md"]
    for name in ("models.networks", "models.units", "models.posteriors", "models.priors", "objectives.particles"):
        assert f"api/{name}.rst" in pages
    reference = {name: page for name, page in pages.items() if name.startswith("api/") and name.endswith(".rst")}
    assert [name for name, page in reference.items() if ".. auto" not in page.replace(".. automodule", "")] == []
    assert not any("VAEModule" in page for page in reference.values())


def test_links_to_what_has_no_page_are_refused(maker):
    assert maker.rewritten("[a](notebooks/quickstart.ipynb)") == "[a](/quickstart.ipynb)"
    assert maker.rewritten("[a](https://a.b/c.md)") == "[a](https://a.b/c.md)"
    with pytest.raises(ValueError, match=r"LICENSE: the site has no page of it"):
        maker.rewritten("[a](LICENSE)")


def test_docstrings_keep_equations_tables_and_bars(maker):
    given = ["p(x | z) and x_, `a|b`.", "", "    x = y | z", "", "nade   p(x)", "made   q(x)", "", "Args:"]
    given += ["    **fields: of x | y.", "", "Example:", "    >>> a | b"]
    assert maker.as_restructured(given) == [
        *(r"p(x \| z) and x\_, `a|b`.", ""),
        *("::", "", "        x = y | z", ""),
        *("::", "", "    nade   p(x)", "    made   q(x)", ""),
        *("Args:", r"    **fields: of x \| y.", ""),
        *("Example:", "    >>> a | b", ""),
    ]


def test_pages_that_are_gone_are_taken_away(maker, pages, tmp_path, monkeypatch):
    """What did not change is not written again, so that a second build is short."""
    monkeypatch.setattr(maker, "pages", lambda: pages)
    maker.write(tmp_path)
    (tmp_path / "models.md").write_text("old", encoding="utf-8")
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    before = (tmp_path / "works.md").stat().st_mtime_ns
    maker.write(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == set(pages)
    assert (tmp_path / "models.md").read_text(encoding="utf-8").startswith("# All models")
    assert (tmp_path / "works.md").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_without_broken_links(tmp_path):
    """By the command that CONTRIBUTING has; all is on it, and a browser fetches nothing from elsewhere."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    command = re.search(r"^(sphinx-build .*) build/site", text, re.MULTILINE)[1].split()
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command[1:], str(site)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', page)) for path, page in pages.items()}
    links = 0
    for path, page in pages.items():
        fetched = re.findall(r'<(?:link|script|img|iframe)\b[^>]*?(?:href|src)="([^"]+)"', page)
        assert not [url for url in fetched if re.match(r"(https?:)?//", url)], path
        for reference in re.findall(r'\b(?:href|src)="([^"]+)"', page):
            if re.match(r"(https?|mailto|data):", reference):
                continue
            url, anchor = urldefrag(reference)
            target = (path.parent / unquote(url.split("?")[0])).resolve() if url else path
            assert target.is_file(), (path, reference)
            assert not anchor or target not in anchors or unquote(anchor) in anchors[target], (path, reference)
            links += 1
    assert links > 1000
    for package, table in (("models", MODELS), ("objectives", OBJECTIVES)):
        page = pages[site / "generated" / f"{package}.html"]
        for name in table:
            assert re.search(rf'href="api/{package}.html#genjax_models.{package}.\w+" title="[^"]*"><code[^>]*>', page)
            assert f">{name}</span>" in page
    cited = anchors[site / "generated" / "works.html"]
    assert {work.key for work in WORKS.values()} <= cited
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert "<img" in pages[site / f"{notebook.stem}.html"]
    assert "reweighted_wake_sleep" in (site / "searchindex.js").read_text(encoding="utf-8")
