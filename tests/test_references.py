"""What is to be cited has an entry, and the command finds it."""

import re

import pytest

from genjax_models.cli import main
from genjax_models.errors import ConfigError
from genjax_models.references import WORKS, bibtex, works
from genjax_models.tables import types

CITATIONS = {name: cls.citation for name, cls in types().items() if getattr(cls, "citation", "")}


@pytest.mark.parametrize("name", CITATIONS)
def test_every_citation_has_its_works(name):
    assert len(works(CITATIONS[name])) == len(CITATIONS[name].split(";"))


def test_every_work_is_cited():
    assert {work.key for work in WORKS.values()} == {w.key for c in CITATIONS.values() for w in works(c)}


def test_entries_are_bibtex():
    entries = bibtex(CITATIONS.values()).split("\n\n")
    assert len(entries) == len(WORKS) == len({work.key for work in WORKS.values()})
    for entry in entries:
        assert entry.isascii()
        assert entry.count("{") == entry.count("}")
        assert re.fullmatch(r"@[a-z]+\{[a-z0-9]+,\n(  [a-z]+ += \{.+\},\n)+\}", entry)
        assert {"author", "title", "year"} <= set(re.findall(r"^  ([a-z]+) +=", entry, re.MULTILINE))


@pytest.mark.parametrize("phrase", WORKS)
def test_entries_are_of_the_authors_that_are_named(phrase):
    """The surnames of the phrase, in order; a paper's year may be a year after its preprint's, which the phrase has."""
    work = WORKS[phrase]
    names, year = re.fullmatch(r"(.*) (\d{4})", phrase).groups()
    plain = re.sub(r"[{}\\'\"]", "", work.author.replace(r"{\o}", "ø"))
    surnames = [author.split(",")[0] for author in plain.split(" and ")]
    wanted = [name.replace("é", "e") for name in re.split(r", | and ", names.removesuffix(" et al."))]
    assert surnames[: len(wanted)] == wanted
    assert names.endswith("et al.") or len(surnames) == len(wanted)
    assert work.year - int(year) in (0, 1)


def test_the_command(tmp_path, capsys):
    assert main(["cite", "configs/iwae_digits.py"]) == 0
    keys = re.findall(r"^@\w+\{(\w+),", capsys.readouterr().out, re.MULTILINE)
    assert keys == [
        "alpaydin1998optical",
        "burda2016importance",
        "kingma2014auto",
        "kingma2015adam",
        "rezende2014stochastic",
    ]
    assert main(["cite", "vimco", "fvsbn"]) == 0
    assert "mnih2016variational" in (out := capsys.readouterr().out)
    assert "frey1998graphical" in out
    assert main(["cite", "vimko"]) == 2
    assert "vimco" in capsys.readouterr().err
    assert main(["cite", "maximum_likelihood"]) == 2
    assert "no work to cite" in capsys.readouterr().err


def test_what_no_work_is_called_is_refused():
    with pytest.raises(ConfigError, match="Nobody 1999"):
        works("Neal 1992; Nobody 1999")
