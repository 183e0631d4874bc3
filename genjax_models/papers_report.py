"""A paper's table beside ours, as Markdown and as JSON, from what the runs left."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from genjax_models.errors import UserError
from genjax_models.papers import Budget, Cell, Comparison, Figure, Paper, Table, compare

Status = Literal["finished", "missing", "skipped", "failed"]

BUDGET_TEXT: Mapping[Budget, str] = {
    "smoke": "smoke: a few steps on a few examples, which show that every cell runs and nothing else",
    "short": "short: about ten minutes a cell on two cores",
    "full": "full",
}
HEADER = ("row", "column", "paper", "ours, by seed", "mean over seeds", "difference", "reached", "time")
UPDATES = " updates of `full`"
VERDICTS = {"better": "yes", "within": "within one standard error", "short": "no"}
EXPLANATION = (
    "Ours: ± one standard error over test examples for each seed, and over seeds for their mean (their number in "
    "brackets). Reached: the mean is at least as good as the paper's figure, or else within one standard error of it, "
    "over test examples (over seeds, where a figure has none over examples). Time: of the slowest seed; seeds trained "
    "together share it."
)


class Result(NamedTuple):
    """What one seed of a cell came to."""

    seed: int
    figure: Figure
    folder: str  # relative to the table's
    seconds: float | None
    made: Mapping[str, Any]  # date, commit, machine, versions


class Kept(NamedTuple):
    """What an earlier page has of a cell that is not run here."""

    line: str  # its row, as it stands there
    made: str  # where and when it was run, and the page written


class Outcome(NamedTuple):
    """A cell as it stands."""

    cell: Cell
    status: Status
    results: tuple[Result, ...] = ()  # by seed
    reason: str = ""  # why it was skipped, or failed

    @property
    def name(self) -> str:
        """As pages have it."""
        return f"{self.cell.row}, {self.cell.column}"

    @property
    def comparison(self) -> Comparison | None:
        return compare([result.figure for result in self.results], self.cell.paper, self.cell.better)


def number_text(value: float, error: float | None, digits: int) -> str:
    """A number with its standard error.

    Example:
        >>> number_text(83.4912, 0.2571, 2), number_text(0.0691, None, 3)
        ('83.49 ± 0.26', '0.069')
    """
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def _paper_text(paper: Paper | None, digits: int, sources: Sequence[str]) -> str:
    if paper is None:
        return "-"
    doubt = "" if paper.checked else ", from memory, to be checked"
    return f"{number_text(paper.value, paper.standard_error, digits)} [{sources.index(paper.where) + 1}{doubt}]"


def _ours_text(outcome: Outcome, digits: int) -> str:
    """Figures by seed, the seeds named where they are not the first ones."""
    if not outcome.results:
        return {"missing": "not run", "finished": "-"}.get(outcome.status, outcome.status)
    seeds = [result.seed for result in outcome.results]
    named = seeds != list(range(len(seeds)))
    figures = [number_text(*result.figure, digits) for result in outcome.results]
    texts = [f"{f} (seed {s})" if named else f for f, s in zip(figures, seeds, strict=True)]
    return ", ".join(texts) + (" (failed later)" if outcome.status == "failed" else "")


def _sources(table: Table) -> list[str]:
    return list(dict.fromkeys(cell.paper.where for cell in table.cells if cell.paper is not None))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _cells(line: str) -> list[str]:
    """What `_row` was given, or nothing where a line is no row."""
    if not (line.startswith("| ") and line.endswith(" |")):
        return []
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line[1:-1])]


def duration(seconds: float) -> str:
    """Seconds, or minutes from two of them on.

    Example:
        >>> duration(61.4), duration(600.0)
        ('61 s', '10 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _command(table: Table, budget: Budget) -> str:
    return f"`genjax-models reproduce {table.name} --budget {budget}`"


def _said(name: str, lines: Iterable[str]) -> list[str]:
    """What a page's lines "- NAME; NAME: TEXT" say of a cell."""
    found = (line.removeprefix("- ").partition(": ") for line in lines if line.startswith("- "))
    return [text for names, _, text in found if name in names.split("; ")]


def kept_from(
    page: str, table: Table, budget: Budget, outcomes: Sequence[Outcome]
) -> tuple[dict[str, Kept], list[str]]:
    """What a page that `markdown` wrote has of cells without a result here.

    A row is kept where the paper's figure beside it and the cell's number of updates are what the table has now.

    Args:
        page: its text.
        table, budget, outcomes: as for `markdown`.

    Returns:
        By the name of the cell what is kept, and the page's other rows that have figures, "ROW, COLUMN".

    Raises:
        UserError: a page of something else than this table and budget.
    """
    if _command(table, budget) not in page:
        raise UserError(
            f"the page to keep rows of has no {_command(table, budget)}, as a page of this table and budget has; write "
            "to another file, or keep none."
        )
    lines = page.splitlines()
    sources = _sources(table)
    where = lines.index("Kept from earlier pages:") if "Kept from earlier pages:" in lines else len(lines)
    # A row with figures has a mean.
    rows = [row for row in map(_cells, lines) if len(row) == len(HEADER) and row[4] not in ("", HEADER[4], "---:")]
    theirs = {f"{row[0]}, {row[1]}": row for row in rows}
    kept = {}
    for outcome in outcomes:
        row = None if outcome.results else theirs.get(outcome.name)
        if row is None or row[2] != _paper_text(outcome.cell.paper, table.digits_of(outcome.cell), sources):
            continue
        updates = [text for text in _said(outcome.name, lines[:where]) if text.endswith(UPDATES)]
        if updates == [text for text in (_updates(outcome.cell, budget),) if text]:
            made = _said(outcome.name, lines[where:])
            kept[outcome.name] = Kept(_row(row), made[0] if made else lines[-1])
    ours = {outcome.name for outcome in outcomes if outcome.results}
    return kept, [name for name in theirs if name not in kept and name not in ours]


def markdown(
    table: Table,
    budget: Budget,
    outcomes: Sequence[Outcome],
    rendered: Mapping[str, Any],
    kept: Mapping[str, Kept] = MappingProxyType({}),
) -> str:
    """The table as Markdown: a line for every cell, and below it notes, sources, and by what it was made.

    Args:
        table: the table.
        budget: which of its budgets.
        outcomes: of its cells, in their order.
        rendered: when and by what it is written: "date", "version", "commit".
        kept: rows of an earlier page, from `kept_from`.
    """
    sources = _sources(table)
    lines = [
        f"# {table.title}",
        "",
        f"In {table.unit}. Budget {BUDGET_TEXT[budget]}. {_command(table, budget)}",
        "",
        *((table.notes, "") if table.notes else ()),
        _row(HEADER),
        _row(["---", "---", *["---:"] * 4, "---", "---:"]),
    ]
    for outcome in outcomes:
        if outcome.name in kept:
            lines.append(kept[outcome.name].line)
            continue
        cell, found, digits = outcome.cell, outcome.comparison, table.digits_of(outcome.cell)
        mean, difference, verdict, time = "", "", "", ""
        if found is not None:
            mean = f"{number_text(found.mean, found.seeds_error, digits)} ({len(outcome.results)})"
            difference = "" if found.difference is None else f"{found.difference:+.{digits}f}"
            verdict = "" if found.verdict is None or budget == "smoke" else VERDICTS[found.verdict]
            seconds = [result.seconds for result in outcome.results if result.seconds is not None]
            time = duration(max(seconds)) if seconds else ""
        paper = _paper_text(cell.paper, digits, sources)
        lines.append(_row([cell.row, cell.column, paper, _ours_text(outcome, digits), mean, difference, verdict, time]))
    lines += ["", EXPLANATION, "", *_notes(budget, outcomes, kept), *_list("Sources:", sources)]
    if kept:
        made = _lines((outcome.name, kept[outcome.name].made) for outcome in outcomes if outcome.name in kept)
        lines += ["Kept from earlier pages:", "", *made]
    lines += _made(outcomes, rendered)
    return "\n".join(lines).rstrip() + "\n"


def _list(title: str, texts: Sequence[str]) -> list[str]:
    return [title, "", *(f"{i}. {text}" for i, text in enumerate(texts, 1)), ""] if texts else []


def _updates(cell: Cell, budget: Budget) -> str:
    """How much less a budget trains a cell than `full` does, where it does."""
    ours, full = (getattr(cell.at(b), "training", None) for b in (budget, "full"))
    if budget != "short" or ours is None or full is None or ours.num_steps == full.num_steps:
        return ""
    return f"{ours.num_steps:,} of the {full.num_steps:,}{UPDATES}"


def _notes(budget: Budget, outcomes: Sequence[Outcome], kept: Mapping[str, Kept]) -> list[str]:
    """What is other than in the papers, and what was skipped or failed, one line for cells that say the same."""

    def texts(outcome: Outcome) -> tuple[str, ...]:
        failure = outcome.reason if outcome.name not in kept else ""
        failure = failure and f"{outcome.status}: {failure}"
        return outcome.cell.note, _updates(outcome.cell, budget), failure

    return _lines((outcome.name, text) for outcome in outcomes for text in texts(outcome))


def _lines(texts: Iterable[tuple[str, str]]) -> list[str]:
    """What is said by whose names, one line for those of whom the same is said."""
    said: dict[str, list[str]] = {}
    for name, text in texts:
        if text:
            said.setdefault(" ".join(text.split()), []).append(name)
    return [*(f"- {'; '.join(names)}: {text}" for text, names in said.items()), *([""] if said else [])]


def _made(outcomes: Sequence[Outcome], rendered: Mapping[str, Any]) -> list[str]:
    """Where and when runs were made, and this page."""
    made = [result.made for outcome in outcomes for result in outcome.results]

    def distinct(name: str) -> list[str]:
        return sorted({str(m[name]) for m in made if m.get(name)})

    lines = []
    if made:
        dates = sorted({d[:10] for d in distinct("date")})
        between = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "an unknown date"
        lines.append(f"Runs of {between}, on {'; '.join(distinct('machine')) or 'an unknown machine'}.")
        versions = sorted(
            {", ".join(f"{k} {v}" for k, v in m["versions"].items()) for m in made if m.get("versions")},
        )
        lines += [f"Versions: {'; '.join(versions)}."] if versions else []
        commits = distinct("commit")
        lines += [f"Commits: {', '.join(commits)}."] if commits else []
    commit = f", commit {rendered['commit']}" if rendered.get("commit") else ""
    lines.append(f"Written {rendered['date'][:10]} by genjax_models {rendered['version']}{commit}.")
    return [" ".join(lines)]


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """With None for numbers that JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def as_document(
    table: Table, budget: Budget, outcomes: Sequence[Outcome], rendered: Mapping[str, Any]
) -> dict[str, Any]:
    """The table as plain dicts, lists, strings and numbers, for JSON.

    Args:
        table, budget, outcomes, rendered: as for `markdown`.
    """

    def cell(outcome: Outcome) -> dict[str, Any]:
        own, found = outcome.cell, outcome.comparison
        return {
            "row": own.row,
            "column": own.column,
            "name": own.name,
            "status": outcome.status,
            "reason": outcome.reason or None,
            "better": own.better,
            "paper": None if own.paper is None else own.paper._asdict(),
            "ours": [
                {
                    "seed": result.seed,
                    **_finite(result.figure._asdict()),
                    "folder": result.folder,
                    "seconds": result.seconds,
                    "made": dict(result.made),
                }
                for result in outcome.results
            ],
            **(dict.fromkeys(Comparison._fields) if found is None else _finite(found._asdict())),
            **({"verdict": None} if budget == "smoke" else {}),  # a few steps say nothing
            "note": own.note or None,
        }

    return {
        "table": table.name,
        "title": table.title,
        "unit": table.unit,
        "budget": budget,
        "rendered": dict(rendered),
        "cells": [cell(outcome) for outcome in outcomes],
    }
