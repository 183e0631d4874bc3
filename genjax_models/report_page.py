"""What a page about runs shows, and the page: HTML in one file, which fetches nothing and in which all text is text."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from genjax_models.sweep_report import lower_is_better

COLOURS = 10  # of runs, in report.css
ABSENT = "\N{EN DASH}"
MEDIA = {".png": "image/png", ".gif": "image/gif"}


class Picture(NamedTuple):
    """A picture with what it shows."""

    name: str  # of its file
    caption: str
    content: bytes
    plain: bool  # a plot on white, whose colours a dark page may invert


class Curve(NamedTuple):
    """One metric of one run."""

    metric: str
    split: str  # "train" or "validation"
    run: int  # its place among the runs
    points: Sequence[tuple[int, float, float | None]]  # step, seconds, value


class Reported(NamedTuple):
    """A run; all texts are as they are to be read."""

    name: str
    folder: str
    status: str
    finished: bool
    about: Mapping[str, str]  # the columns beside its name
    config: Mapping[str, str]  # by dotted path
    figures: Mapping[str, str]  # of its result
    times: Mapping[str, str]
    evaluations: Sequence[Mapping[str, str]]  # figures of later ones
    samples: Sequence[Picture]
    diagnosis: Sequence[str]  # lines about its latents
    latents: Sequence[Picture]
    notes: Sequence[str]  # what is not shown, and why


class Comparison(NamedTuple):
    """Finished runs beside one of them."""

    heading: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    picture: Picture | None


class Swept(NamedTuple):
    """A sweep whose members are among the runs."""

    name: str
    summary: Sequence[str]  # lines of Markdown
    pictures: Sequence[Picture]


class Page(NamedTuple):
    """All that a page shows."""

    title: str
    made: str  # when, and by what
    runs: Sequence[Reported]
    curves: Sequence[Curve]
    comparisons: Sequence[Comparison | str]  # for each set of data; a text says why there is none
    sweeps: Sequence[Swept]
    bibtex: str


class Html(str):
    """Text that is HTML already; any other is escaped."""


def tag(name: str, *inside: str, **attributes: str | None) -> Html:
    """An element. What is inside is escaped unless it is `Html`, and attributes always are.

    Example:
        >>> tag("td", "a < b", class_="number")
        '<td class="number">a &lt; b</td>'
    """
    given = "".join(f' {k.strip("_").replace("_", "-")}="{escape(v)}"' for k, v in attributes.items() if v is not None)
    return Html(f"<{name}{given}>{''.join(map(_text, inside))}</{name}>")


def _text(value: str) -> str:
    return value if isinstance(value, Html) else escape(value)


def _join(parts: Iterable[Html]) -> Html:
    return Html("".join(parts))


def _as_json(value: Any) -> Html:
    """JSON that may stand within an element `script`: nothing in it ends or opens one."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _colour(run: int) -> str:
    return f"c{run % COLOURS}"


def _run(page: Page, index: int) -> Html:
    """A run's name with its colour."""
    run = page.runs[index]
    swatch = tag("i", class_=f"swatch {_colour(index)}")
    return tag("span", swatch, run.name, class_="run", title=run.folder)


def _figure(picture: Picture, of: str) -> Html:
    data = base64.b64encode(picture.content).decode()
    source = f"data:{MEDIA[Path(picture.name).suffix]};base64,{data}"
    kind = "plot" if picture.plain else "image"
    image = Html(f'<img src="{source}" alt="{escape(f"{of}: {picture.caption}")}" loading="eager">')
    caption = tag("figcaption", picture.caption)
    return tag("figure", tag("button", image, type="button", class_="enlarge", title="larger"), caption, class_=kind)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = (), caption: str = "") -> Html:
    """A table that scrolls sideways by itself; the first cell of a row names it."""
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = []
    for i, row in enumerate(rows):
        cells = [tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])]
        body.append(tag("tr", *cells, class_=classes[i] if i < len(classes) and classes[i] else None))
    above = [tag("caption", caption)] if caption else []
    table = tag("table", *above, top, tag("tbody", *body))
    return tag("div", table, class_="scroll", tabindex="0")


def _by_run(page: Page, given: Sequence[Mapping[str, str]], mark: bool = False) -> Html:
    """A row for every name that runs have, with a column for each run; rows that differ are marked and come first."""
    names = list(dict.fromkeys(name for one in given for name in one))
    differs = {name: len({one.get(name) for one in given}) > 1 for name in names}
    if mark:
        names.sort(key=lambda name: not differs[name])
    rows = [[name, *(one.get(name, ABSENT) for one in given)] for name in names]
    classes = ["differs" if mark and differs[name] else "" for name in names]
    return _table(["", *(_run(page, i) for i in range(len(page.runs)))], rows, classes)


class _Section(NamedTuple):
    """A part of the page, with a link to it at the top."""

    name: str
    title: str
    inside: tuple[Html, ...]


def _section(name: str, title: str, *inside: Html) -> _Section:
    return _Section(name, title, inside)


def _runs(page: Page) -> _Section:
    # In the order of the run that has most of them.
    longest = sorted(page.runs, key=lambda run: -len(run.about))
    columns = list(dict.fromkeys(name for run in longest for name in run.about))
    rows = []
    for i, run in enumerate(page.runs):
        status = tag("span", run.status, class_="good" if run.finished else "open")
        rows.append([_run(page, i), status, *(run.about.get(name, ABSENT) for name in columns)])
    plural = "Runs" if len(page.runs) > 1 else "Run"
    folders = [tag("li", _run(page, i), " ", tag("code", run.folder)) for i, run in enumerate(page.runs)]
    where = tag("details", tag("summary", "Folders"), tag("ul", *folders))
    return _section("runs", plural, _table(["run", "status", *columns], rows), where)


def _comparison(page: Page) -> _Section | None:
    parts = []
    for found in page.comparisons:
        if isinstance(found, str):
            parts.append(tag("p", f"Not compared: {found}", class_="note"))
            continue
        notes = tag("ul", *(tag("li", note) for note in found.notes))
        picture = [] if found.picture is None else [tag("div", _figure(found.picture, "comparison"), class_="single")]
        inside = tag("p", f"{found.heading}."), _table(found.head, found.rows), *picture, notes
        parts.append(tag("article", *inside))
    return _section("comparison", "Comparison", *parts) if parts else None


def _swept(page: Page) -> _Section | None:
    if not page.sweeps:
        return None
    parts = []
    for sweep in page.sweeps:
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in sweep.summary if line.startswith("|")]
        table = [[cell.strip().replace("\\|", "|") for cell in line] for line in lines]
        words = [line.removeprefix("- ") for line in sweep.summary if line and not line.startswith("|")]
        parts += [tag("h3", sweep.name), *(tag("p", line) for line in words[:1])]
        parts += [_table(table[0], table[2:])] if len(table) > 2 else []
        parts += [tag("p", line, class_="note") for line in words[1:]]
        parts += [tag("div", *(_figure(p, sweep.name) for p in sweep.pictures), class_="single")]
    return _section("sweeps", "Sweeps" if len(page.sweeps) > 1 else "Sweep", *parts)


def _curves(page: Page) -> _Section:
    if not page.curves:
        return _section("curves", "Curves", tag("p", "Nothing was evaluated yet.", class_="note"))
    metrics = list(dict.fromkeys(curve.metric for curve in page.curves))
    charts = []
    for metric in metrics:
        nats = " (nats per example)" * (not {"bound", "nll", "likelihood", "kl"}.isdisjoint(metric.split("_")))
        series = [
            {
                "run": c.run,
                "split": c.split,
                "points": [[s, t, None if v is None else float(f"{v:.7g}")] for s, t, v in c.points],
            }
            for c in page.curves
            if c.metric == metric
        ]
        name = metric.replace("_", " ")
        charts.append({"name": name + nats, "lower": lower_is_better(metric), "series": series})
    runs = [{"name": run.name, "colour": _colour(i)} for i, run in enumerate(page.runs)]
    without = "The curves are drawn by the page's own script, which is not run here; all else on the page needs none."
    return _section(
        "curves",
        "Curves",
        tag("noscript", tag("p", without, class_="note")),
        tag("div", id="legend", class_="legend"),
        tag("div", id="charts", class_="grid charts"),
        tag("script", _as_json({"runs": runs, "charts": charts}), type="application/json", id="data"),
    )


def _samples(page: Page) -> _Section:
    cards = []
    for i, run in enumerate(page.runs):
        notes = [tag("p", note, class_="note") for note in run.notes if note.startswith("no samples")]
        figures = [_figure(picture, run.name) for picture in run.samples]
        cards.append(tag("article", tag("h3", _run(page, i)), *figures, *notes))
    return _section("samples", "Samples", tag("div", *cards, class_="grid samples"))


def _latents(page: Page) -> _Section | None:
    parts = []
    for i, run in enumerate(page.runs):
        notes = [tag("p", note, class_="note") for note in run.notes if not note.startswith("no samples")]
        if not run.diagnosis and not run.latents and not notes:
            continue
        lines = [tag("ul", *(tag("li", line) for line in run.diagnosis))] if run.diagnosis else []
        figures = tag("div", *(_figure(picture, run.name) for picture in run.latents), class_="grid latents")
        parts.append(tag("article", tag("h3", _run(page, i)), *lines, *notes, figures))
    return _section("latents", "Reconstructions and latents", *parts) if parts else None


def _results(page: Page) -> _Section | None:
    if not any(run.figures for run in page.runs):
        return None
    again = []
    for i, run in enumerate(page.runs):
        if run.evaluations:
            names = list(dict.fromkeys(name for found in run.evaluations for name in found))
            rows = [[name, *(found.get(name, ABSENT) for found in run.evaluations)] for name in names]
            head = ["", *(f"evaluation {n + 1}" for n in range(len(run.evaluations)))]
            again.append(tag("details", tag("summary", _run(page, i), " evaluated again"), _table(head, rows)))
    text = "± standard error over test examples. Log-probabilities are in nats per example."
    return _section("results", "Results", tag("p", text), _by_run(page, [run.figures for run in page.runs]), *again)


def _configuration(page: Page) -> _Section:
    several = len(page.runs) > 1
    configs = [run.config for run in page.runs]
    differing = {name for one in configs for name in one if len({other.get(name) for other in configs}) > 1}
    parts = []
    if several:
        number = "one field differs" if len(differing) == 1 else f"{len(differing)} fields differ"
        said = f"{number}, which all others follow:" if differing else "The configurations are equal."
        box = Html('<label><input type="checkbox" id="alike"> all fields</label>') if differing else Html("")
        parts.append(tag("p", said, " ", box))
    table = _by_run(page, configs, mark=several)
    parts.append(tag("div", table, class_="configuration some" if differing else "configuration", id="fields"))
    return _section("configuration", "Configuration", *parts)


def _times(page: Page) -> _Section | None:
    times = [run.times for run in page.runs]
    return _section("times", "Time and machine", _by_run(page, times)) if any(times) else None


def _works(page: Page) -> _Section | None:
    if not page.bibtex:
        return None
    return _section("works", "To cite", tag("details", tag("summary", "BibTeX"), tag("pre", page.bibtex)))


def _file(name: str) -> Html:
    return Html(resources.files("genjax_models").joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(found: Page) -> str:
    """A whole page: HTML with its style, script and pictures in it, which a policy in it keeps from the network.

    All texts are escaped, and no script but the page's own is run, whatever runs and fields are called.
    """
    style, script = _file("report.css"), _file("report.js")
    # The style and the script that stand here, pictures in the file, and nothing else.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'"
    )
    made = (_runs, _comparison, _swept, _curves, _samples, _latents, _results, _configuration, _times, _works)
    parts = [part for make in made if (part := make(found)) is not None]
    nav = tag("nav", *(tag("a", part.title, href=f"#{part.name}") for part in parts))
    sections = [tag("section", tag("h2", part.title), *part.inside, id=part.name) for part in parts]
    header = tag("header", tag("h1", found.title), tag("p", found.made))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            tag("title", found.title),
            tag("style", style),
            "</head>",
            "<body>",
            header,
            nav,
            tag("main", *sections),
            tag("script", script),
            "</body>",
            "</html>",
            "",
        ]
    )
