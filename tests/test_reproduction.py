"""Papers' tables: what is shown of exact numbers, and cells that are run, kept, resumed, skipped or failed."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import Log, contents, read_json

from genjax_models import plots, sweep_training
from genjax_models.cli import main
from genjax_models.commands.files import load_table
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import UCI, Arrays
from genjax_models.errors import ConfigError, DataError, UserError
from genjax_models.experiment import Interrupted
from genjax_models.mixture import MixtureOfBernoullis, expectation_maximization, fit_mixture
from genjax_models.models import FVSBN
from genjax_models.objectives import MaximumLikelihood, Part, Sum
from genjax_models.optimizers import Adam, Cosine, Linear, Stages
from genjax_models.papers import (
    BUDGETS,
    Cell,
    Comparison,
    Figure,
    Paper,
    Seeds,
    Table,
    check_table,
    compare,
    recipe,
    smoke_config,
    with_steps,
)
from genjax_models.papers_report import Outcome, Result, as_document, duration, kept_from, markdown
from genjax_models.reproduction import reproduce

ROOT = Path(__file__).parents[1]
TABLES = sorted((ROOT / "configs" / "papers").glob("*.py"))
BITS = (np.random.RandomState(0).uniform(size=(60, 4)) < 0.4).astype(np.uint8)
CONFIG = Config(
    model=FVSBN(),
    objective=MaximumLikelihood(),
    optimizer=Adam(1e-2),
    data=Arrays(path="bits.npy"),
    training=Training(num_steps=4, batch_size=8, evaluate_every=2, chunk=2),
)


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A study that gives what it is told, seed by seed."""

    values: tuple[float, ...]
    error: float | None = 0.5
    calls: str = ""  # a file that grows by a letter a call

    def __call__(self, seed, data_dir):
        if self.calls:
            with open(self.calls, "a") as file:
                file.write("x")
        return {"test_nll": self.values[seed], "test_nll_standard_error": self.error}


@dataclasses.dataclass(frozen=True)
class Broken:
    """A study that cannot be done."""

    error: str

    def __call__(self, seed, data_dir):
        raise {"user": DataError, "program": ZeroDivisionError}[self.error]("no such thing")


def numbers_cell(row: str, values: tuple[float, ...], paper: Paper | None = None, error=0.5, **fields) -> Cell:
    study = Numbers(values, error)
    return Cell(row, "x", study, paper, smoke=study, **fields)


def table_of(*cells: Cell, **fields) -> Table:
    return Table("toy", "A toy", "nats", cells, **fields)


def trained_cell(**fields) -> Cell:
    config = {name: fields.pop(name) for name in ("full", "short", "smoke") if name in fields}
    return Cell("net", "bits", config.pop("full", CONFIG), **config, **fields)


def quiet(table: Table, budget="smoke", out="out", data_dir=None, **fields):
    """`reproduce` with its log."""
    log = Log()
    return reproduce(table, budget, out, data_dir, log=log, **fields), log


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder with a data folder, where nothing is drawn, which takes longer than all the rest."""
    monkeypatch.chdir(tmp_path)
    for name in ("save_curves", "save_sweep"):
        monkeypatch.setattr(plots, name, lambda path, *rest: path.write_bytes(b"drawn"))
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "bits.npy", BITS)
    return tmp_path


# Comparisons and pages, of numbers that are known.


def test_a_mean_is_compared_within_the_error_over_examples():
    """10 and 12 with errors 0.6 and 1.0: mean 11, errors 0.8 over examples and 1 over seeds."""
    ours = [Figure(10.0, 0.6), Figure(12.0, 1.0)]
    for paper, difference, verdict in ((11.0, 0.0, "better"), (12.5, -1.5, "better"), (10.25, 0.75, "within")):
        assert compare(ours, Paper(paper, ""), "lower") == Comparison(11.0, 0.8, 1.0, difference, verdict)
    assert compare(ours, Paper(10.0, ""), "lower").verdict == "short"  # by 1.0, more than 0.8
    assert compare(ours, Paper(10.0, ""), "higher").verdict == "better"
    assert compare(ours, Paper(11.75, ""), "higher") == Comparison(11.0, 0.8, 1.0, -0.75, "within")
    assert compare(ours, Paper(12.0, ""), "higher").verdict == "short"
    assert compare(ours, Paper(12.0, ""), None) == Comparison(11.0, 0.8, 1.0, -1.0, None)
    assert compare(ours, None, "lower") == Comparison(11.0, 0.8, 1.0, None, None)
    assert compare([], Paper(1.0, ""), "lower") is None


def test_without_errors_over_examples_those_over_seeds_stand_in():
    bare = [Figure(10.0), Figure(12.0)]
    assert compare(bare, Paper(10.25, ""), "lower") == Comparison(11.0, None, 1.0, 0.75, "within")
    assert compare(bare[:1], Paper(9.99, ""), "lower").verdict == "short"
    assert compare(bare[:1], Paper(10.0, ""), "lower") == Comparison(10.0, None, None, 0.0, "better")


MADE = {"date": "2020-02-03T04:05:06+00:00", "machine": "2 cores", "commit": "abc", "versions": {"jax": "1.0"}}
RENDERED = {"date": "2020-02-04T00:00:00+00:00", "version": "0.0", "commit": "def"}
OUTCOMES = (
    Outcome(
        numbers_cell("A", (), Paper(10.25, "Someone 1999, table 1", 0.5), note="other batches"),
        "finished",
        (Result(0, Figure(10.0, 0.6), "a/0", 61.4, MADE), Result(1, Figure(12.0, 1.0), "a/1", 90.0, MADE)),
    ),
    Outcome(
        numbers_cell("B", (), Paper(1.0, "Nobody 2000", checked=False), better="higher", digits=0),
        "finished",
        (Result(2, Figure(-1.0), "b/2", None, MADE),),
    ),
    Outcome(numbers_cell("C", (), Paper(3.0, "Someone 1999, table 1")), "skipped", (), "no file | here"),
    Outcome(numbers_cell("D", ()), "failed", (), "too\nbad"),
    Outcome(numbers_cell("E", ()), "missing"),
)
PAGE = """# A toy

In nats. Budget short: about ten minutes a cell on two cores. `genjax-models reproduce toy --budget short`

Of this and that.

| row | column | paper | ours, by seed | mean over seeds | difference | reached | time |
| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |
| A | x | 10.25 ± 0.50 [1] | 10.00 ± 0.60, 12.00 ± 1.00 | 11.00 ± 1.00 (2) | +0.75 | within one standard error | 90 s |
| B | x | 1 [2, from memory, to be checked] | -1 (seed 2) | -1 (1) | -2 | no |  |
| C | x | 3.00 [1] | skipped |  |  |  |  |
| D | x | - | failed |  |  |  |  |
| E | x | - | not run |  |  |  |  |
"""
FOOT = """- A, x: other batches
- C, x: skipped: no file | here
- D, x: failed: too bad

Sources:

1. Someone 1999, table 1
2. Nobody 2000

Runs of 2020-02-03, on 2 cores. Versions: jax 1.0. Commits: abc. Written 2020-02-04 by genjax_models 0.0, commit def.
"""


def test_a_page_shows_every_cell_as_it_stands():
    table = table_of(*(outcome.cell for outcome in OUTCOMES), notes="Of this and that.")
    page = markdown(table, "short", OUTCOMES, RENDERED)
    assert page.startswith(PAGE), page
    assert page.endswith(FOOT), page
    less = Outcome(trained_cell(full=with_steps(CONFIG, 4000), short=CONFIG), "missing")
    says = f"- net, bits: {CONFIG.training.num_steps} of the 4,000 updates of `full`\n"
    assert [says in markdown(table, budget, [less], RENDERED) for budget in ("smoke", "short", "full")] == [0, 1, 0]
    smoke = markdown(table, "smoke", OUTCOMES, RENDERED)  # a few steps are not judged
    assert not {"| yes |", "| within one standard error |", "| no |"} & {f"| {word} |" for word in smoke.split(" | ")}
    assert [duration(119.4), duration(150.0)] == ["119 s", "2 min"]


def test_rows_of_an_earlier_page_are_kept_with_where_they_were_made():
    """The first page has A and B, the second makes B and E anew and keeps A, the third keeps all of both."""
    table = table_of(*(outcome.cell for outcome in OUTCOMES))
    first = markdown(table, "short", OUTCOMES, RENDERED)
    bare = [Outcome(cell, "missing") for cell in table.cells]
    new = {**MADE, "commit": "123"}
    later = [
        Outcome(bare[i].cell, "finished", (Result(0, Figure(5.0), "", None, new),)) if i in (1, 4) else bare[i]
        for i in range(5)
    ]
    kept, lost = kept_from(first, table, "short", later)
    assert (list(kept), lost) == (["A, x"], [])
    second = markdown(table, "short", later, {**RENDERED, "commit": "456"}, kept)
    row = next(line for line in first.splitlines() if line.startswith("| A |"))
    assert row in second.splitlines()
    assert "| B | x | 1 [2, from memory, to be checked] | 5 |" in second
    foot = first.splitlines()[-1]
    assert second.endswith(
        f"Kept from earlier pages:\n\n- A, x: {foot}\n\n{foot.replace('abc', '123').replace('def', '456')}\n"
    )
    kept, lost = kept_from(second, table, "short", bare)
    third = markdown(table, "short", bare, RENDERED, kept)
    assert (list(kept), lost) == (["A, x", "B, x", "E, x"], [])
    assert [line for line in third.splitlines() if line[:3] in ("| A", "| B", "| E")] == [
        line for line in second.splitlines() if line[:3] in ("| A", "| B", "| E")
    ]
    skipped = [Outcome(cell, "skipped", (), "no data") for cell in table.cells]
    page = markdown(table, "short", skipped, RENDERED, kept)
    assert "- C, x; D, x: skipped: no data\n" in page  # not what has figures
    assert f"- A, x: {foot}\n- B, x; E, x: {foot.replace('abc', '123').replace('def', '456')}\n" in third


def test_rows_of_what_a_cell_no_longer_is_are_not_kept():
    def page(steps: int, paper: float) -> tuple[Table, list[Outcome], str]:
        cell = trained_cell(full=with_steps(CONFIG, 4000), short=with_steps(CONFIG, steps), paper=Paper(paper, "S"))
        table = table_of(cell)
        found = Outcome(cell, "finished", (Result(0, Figure(5.0), "", None, MADE),))
        return table, [Outcome(cell, "missing")], markdown(table, "short", [found], RENDERED)

    table, missing, same = page(30, 4.0)
    assert list(kept_from(same, table, "short", missing)[0]) == ["net, bits"]
    for other in (page(40, 4.0), page(4000, 4.0), page(30, 4.5)):
        assert kept_from(other[2], table, "short", missing) == ({}, ["net, bits"])
        assert kept_from(same, other[0], "short", other[1]) == ({}, ["net, bits"])
    for wrong in (("full", table), ("short", dataclasses.replace(table, name="toys"))):
        with pytest.raises(UserError, match="the page to keep rows of has no"):
            kept_from(same, wrong[1], wrong[0], missing)


def test_the_document_has_the_numbers_in_full():
    table = table_of(*(outcome.cell for outcome in OUTCOMES))
    first, second, *_ = as_document(table, "short", OUTCOMES, RENDERED)["cells"]
    assert first["ours"][1] == {
        "seed": 1,
        "value": 12.0,
        "standard_error": 1.0,
        "folder": "a/1",
        "seconds": 90.0,
        "made": MADE,
    }
    assert (first["mean"], first["seeds_error"], first["difference"], first["verdict"]) == (11.0, 1.0, 0.75, "within")
    assert second["paper"] == {"value": 1.0, "where": "Nobody 2000", "standard_error": None, "checked": False}
    assert second["verdict"] == "short"
    json.dumps(as_document(table, "short", OUTCOMES, RENDERED), allow_nan=False)


# Budgets.


def test_another_length_stretches_every_schedule():
    config = dataclasses.replace(
        CONFIG,
        optimizer=Adam(Stages(values=(1.0, 0.5, 0.1), steps=(100, 300))),
        objective=Sum(parts=(Part(MaximumLikelihood(), weight=Linear(steps=200, delay=50)), Part(MaximumLikelihood()))),
        training=Training(num_steps=400, evaluate_every=100),
    )
    short = with_steps(config, 40, {"evaluation.num_samples": 7})
    assert short.optimizer.learning_rate == Stages(values=(1.0, 0.5, 0.1), steps=(10, 30))
    assert short.objective.parts[0].weight == Linear(steps=20, delay=5)
    assert (short.training.num_steps, short.training.evaluate_every) == (40, 4)
    assert short.evaluation.num_samples == 7
    assert with_steps(config, 800).training.evaluate_every == 80
    cosine = dataclasses.replace(config, optimizer=Adam(Cosine(steps=400)))
    assert with_steps(cosine, 1).optimizer.learning_rate.steps == 1
    with pytest.raises(ConfigError, match="with_steps: num_steps"):
        with_steps(config, 0)


def test_smoke_is_small_and_otherwise_the_same():
    config = dataclasses.replace(CONFIG, evaluation=Evaluation(num_samples=5), training=Training(batch_size=2))
    smoke = smoke_config(config)
    assert smoke.training == dataclasses.replace(config.training, num_steps=3, batch_size=2, evaluate_every=3, chunk=3)
    assert smoke.evaluation == Evaluation(num_samples=5, num_z_samples=20, test_examples=8, validation_examples=8)
    assert (smoke.model, smoke.data, smoke.optimizer) == (config.model, config.data, config.optimizer)
    cell = trained_cell(full=config, short=CONFIG)
    assert [cell.at(budget) for budget in BUDGETS] == [smoke_config(CONFIG), CONFIG, config]


def test_a_recipe_is_what_train_is_given():
    file = ROOT / "configs" / "nade_uci.py"
    assert recipe(file, {"data.name": "dna", "model.hidden": "7"}).model.hidden == 7
    with pytest.raises(ConfigError, match=r"nade_uci\.py: data\.nam.*Did you mean"):
        recipe(file, {"data.nam": "dna"})
    with pytest.raises(ConfigError, match="no such file"):
        recipe(ROOT / "configs" / "nothing.py")


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_every_table_is_whole(path):
    """Its command is there, and every cell has figures, a source, and a configuration that fits for each budget."""
    table = load_table(str(path))
    assert table.name == path.stem
    docstring = path.read_text(encoding="utf-8").split('"""')[1]
    assert f"genjax-models reproduce {path.stem}" in docstring
    for cell in table.cells:
        full, short = cell.at("full"), cell.at("short")
        assert cell.paper is None or cell.paper.where
        if isinstance(full, Config):
            assert type(full.model) is type(short.model)
            assert short.training.num_steps <= full.training.num_steps


def test_what_is_wrong_with_a_table_is_said_at_once():
    study = Numbers((1.0,))
    wrong = table_of(
        Cell("A", "x", study),
        Cell("B", "x", study, smoke=study),
        Cell("b", "X", study, smoke=study),
        Cell("C", "x", Numbers((2.0,)), smoke=study, runs="b/x"),
        Cell("D", "x", dataclasses.replace(CONFIG, optimizer=Adam(-1.0))),
        Cell("E", "x", CONFIG, Paper(math.nan, "")),
        Cell("F", "x", "net", smoke=study),
    )
    with pytest.raises(ConfigError) as error:
        check_table(wrong)
    for words in (
        "a/x: a study needs `smoke`",
        "b/x is there twice",
        "c/x: shares the runs of b/x, but its short is another",
        "d/x: full: optimizer.learning_rate: got -1.0",
        "e/x: got the paper's figure nan",
        "f/x: full: got 'net', expected a Config or a study",
    ):
        assert words in str(error.value), words
    with pytest.raises(ConfigError, match="expected TABLE"):
        check_table(None)


# Runs.


def test_cells_are_run_once_and_rendered(place):
    calls = str(place / "calls")
    study = Numbers((3.0, 5.0), 0.25, calls)
    table = table_of(
        Cell("A", "x", study, Paper(4.0, "Someone"), smoke=study),
        numbers_cell("B", (7.0, 8.0), Paper(7.0, "Someone"), figure="-test_nll", better="higher"),
        seeds=Seeds(smoke=2),
    )
    outcomes, log = quiet(table, cells="a/*")
    assert [outcome.status for outcome in outcomes] == ["finished", "missing"]
    assert outcomes[0].comparison == Comparison(4.0, 0.25, 1.0, 0.0, "better")
    assert "A, x: seeds 0, 1" in log
    assert "A, x: 4.00 ± 0.25 (paper 4.00)" in log
    outcomes, log = quiet(table)
    assert outcomes[1].comparison == Comparison(-7.5, 0.5, 0.5, -14.5, "short")
    assert Path(calls).read_text() == "xx"  # nothing is computed again
    page, document = (place / "out" / "toy" / "smoke" / name for name in ("table.md", "table.json"))
    assert "| A | x | 4.00 [1] | 3.00 ± 0.25, 5.00 ± 0.25 | 4.00 ± 1.00 (2) | +0.00 |" in page.read_text()
    assert [cell["mean"] for cell in read_json(document)["cells"]] == [4.0, -7.5]
    made = read_json(document)["cells"][0]["ours"][0]["made"]
    assert made["date"]
    assert made["versions"]["genjax_models"]
    before = {k: v for k, v in contents(place / "out").items() if "table" not in k}
    assert quiet(table, render_only=True)[0] == outcomes
    assert quiet(table)[1] == []
    assert {k: v for k, v in contents(place / "out").items() if "table" not in k} == before
    with pytest.raises(ConfigError, match=r"--cells: 'c/\*' matches no cell of toy"):
        quiet(table, cells="a/x,c/*")


def test_other_cells_go_on_where_one_is_skipped_or_fails(place):
    broken = {name: Broken(name) for name in ("user", "program")}
    table = table_of(
        Cell("A", "x", broken["user"], smoke=broken["user"]),
        Cell("B", "x", broken["program"], smoke=broken["program"]),
        Cell("C", "x", MixtureOfBernoullis(UCI("dna")), smoke=MixtureOfBernoullis(UCI("dna"), components=(2,))),
        Cell("D", "x", dataclasses.replace(CONFIG, data=Arrays(path="elsewhere.npy"))),
        numbers_cell("E", (1.0,)),
    )
    outcomes, log = quiet(table, data_dir="data")
    assert [outcome.status for outcome in outcomes] == ["failed", "failed", "skipped", "skipped", "finished"]
    assert outcomes[0].reason == "no such thing"
    assert outcomes[1].reason == "ZeroDivisionError: no such thing"
    assert "Traceback" in str(log)  # of what is no error of the user's alone
    assert str(log).count("Traceback") == 1
    assert "dna.npz" in outcomes[2].reason
    assert "elsewhere.npy" in outcomes[3].reason
    page = (place / "out" / "toy" / "smoke" / "table.md").read_text()
    assert "- A, x: failed: no such thing" in page
    # What failed is still said when others are run alone, until it runs.
    assert quiet(table, render_only=True)[0][0].reason == "no such thing"
    mended = dataclasses.replace(table, cells=(numbers_cell("A", (2.0,)), *table.cells[1:]))
    assert quiet(mended, cells="a/x")[0][0].status == "finished"
    assert not (place / "out" / "toy" / "smoke" / "a" / "x" / "failed.txt").exists()


def test_a_result_of_another_recipe_is_no_result(place):
    quiet(table_of(numbers_cell("A", (1.0,))))
    for render_only in (False, True):
        (outcome,), _ = quiet(table_of(numbers_cell("A", (2.0,))), render_only=render_only)
        assert outcome.status == "failed"
        assert outcome.results == ()
        assert "something else than this cell" in outcome.reason


def test_configurations_are_trained_kept_and_resumed(place, monkeypatch):
    table = table_of(trained_cell(short=CONFIG))
    straight, _ = quiet(table, "short", "straight", "data", seeds=2)
    evaluate = sweep_training._Training._evaluate

    def interrupted(self, due):
        evaluate(self, due)
        self._wait()
        raise Interrupted("a test")

    with monkeypatch.context() as patch:
        patch.setattr(sweep_training._Training, "_evaluate", interrupted)
        with pytest.raises(Interrupted):
            quiet(table, "short", "cut", "data", seeds=2)
    # The sweep of two seeds that was begun is gone on with, also where one is asked for.
    resumed, log = quiet(table, "short", "cut", "data", seeds=1)
    assert "resuming; 2 of 2 members have begun" in str(log)
    figures = [result.figure for result in resumed[0].results]
    assert figures == [result.figure for result in straight[0].results]
    assert len(figures) == 2
    assert figures[0] != figures[1]
    # A third seed is added, and what is finished stays.
    before = contents(place / "cut" / "toy" / "short" / "net")
    more, log = quiet(table, "short", "cut", "data", seeds=3)
    assert "net, bits: seed 2" in log
    after = contents(place / "cut" / "toy" / "short" / "net")
    assert {name: after[name] for name in before} == before
    assert [result.seed for result in more[0].results] == [0, 1, 2]
    assert more[0].results[2].folder.startswith("net/bits/seeds_2-2/members/")
    # Another recipe is no reason to lose it, nor to show it.
    changed = table_of(trained_cell(short=dataclasses.replace(CONFIG, optimizer=Adam(1e-3))))
    (outcome,), _ = quiet(changed, "short", "cut", "data", seeds=3)
    assert outcome.status == "failed"
    assert "optimizer.learning_rate: 0.01, now 0.001" in outcome.reason
    assert {name: contents(place / "cut" / "toy" / "short" / "net")[name] for name in after} == after


def test_a_seed_that_diverges_fails_its_cell_and_a_measure_is_taken_once(place):
    """Nor does a measure that fails mark another figure of the same runs; it is tried again by the next call."""
    calls, fit = [], []

    def size(folder, data_dir):
        calls.append(folder)
        return Figure(float(read_json(folder / "result.json")["parameters"]))

    def fitful(folder, data_dir):
        if not fit:
            raise ConfigError("not today")
        return Figure(1.0)

    huge = dataclasses.replace(CONFIG, optimizer=Adam(1e38))
    table = table_of(
        trained_cell(),
        Cell("size", "bits", CONFIG, figure=size, runs="net/bits", better=None, paper=Paper(9, "counted")),
        Cell("huge", "bits", huge),
        Cell("fitful", "bits", CONFIG, figure=fitful, runs="net/bits"),
    )
    outcomes, _ = quiet(table, data_dir="data")
    assert [outcome.status for outcome in outcomes] == ["finished", "finished", "failed", "failed"]
    assert outcomes[3].reason == "not today"
    assert quiet(table, render_only=True)[0][3].reason == "not today"
    assert outcomes[1].comparison == Comparison(20.0, None, None, 11.0, None)  # 4 x 4 weights, 4 biases
    assert "seed 0" in outcomes[2].reason
    assert "not finite" in outcomes[2].reason
    fit.append(True)
    again, _ = quiet(table, data_dir="data")
    assert again[:3] == outcomes[:3]
    assert again[3].status == "finished"
    assert len(calls) == 1


# The command.

FILE = """
import dataclasses
from genjax_models.papers import Cell, Paper, Table

@dataclasses.dataclass(frozen=True)
class Study:
    value: float
    def __call__(self, seed, data_dir):
        return {"test_nll": 1 / self.value}

def cell(row, value):
    return Cell(row, "x", Study(value), Paper(0.5, "Someone"), smoke=Study(value))

TABLE = Table("toy", "A toy", "nats", (cell("A", 2.0), cell("B", 0.0)))
"""


def test_the_command_runs_a_table_and_says_what_failed(place, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(place / "xla"))
    (place / "toy.py").write_text(FILE)
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    said = capsys.readouterr().out
    for word in ("TABLE", "--budget", "--cells", "--seeds", "--render-only", "--out-dir", "--write", "--overwrite"):
        assert word in said, word
    assert main(["reproduce", "toy.py", "--write", "page.md"]) == 4
    out, err = capsys.readouterr()
    assert "| A | x | 0.50 [1] | 0.50 | 0.50 (1) | +0.00 |" in out
    assert "B, x: failed. ZeroDivisionError" in err
    assert (place / "page.md").read_text().rstrip() == out.rstrip()
    assert main(["reproduce", "toy.py", "--write", "page.md"]) == 2
    assert "page.md exists" in capsys.readouterr().err
    assert main(["reproduce", "toy.py", "--render-only", "--write", "page.md", "--overwrite", "--quiet"]) == 0
    again = ["reproduce", "toy.py", "--render-only", "--out-dir", "elsewhere", "--write", "page.md", "--overwrite"]
    row = "| A | x | 0.50 [1] | 0.50 | 0.50 (1) | +0.00 |"
    assert main([*again, "--keep"]) == 0
    assert row in (place / "page.md").read_text()
    assert main(again) == 0
    assert row not in (place / "page.md").read_text()
    assert main([*again[:-2], "first.md", "--keep"]) == 0  # nothing is there to be kept
    assert main([*again[:5], "--keep"]) == 2
    assert "--keep: there is no page to keep rows of" in capsys.readouterr().err
    (place / "page.md").write_bytes(b"\xff")
    assert main([*again, "--keep"]) == 2
    assert "page.md: cannot be read" in capsys.readouterr().err
    assert main(["reproduce", "nothing"]) == 2
    assert "configs/papers/nothing.py: no such file" in capsys.readouterr().err


# Mixtures of Bernoulli vectors.


def test_expectation_maximization_never_lowers_the_likelihood():
    """Without smoothing to speak of; and one component is the independent Bernoullis, whose likelihood is known."""
    x = BITS.astype(np.float64)
    steps = expectation_maximization(lambda: x, 3, 1e-9, 0)
    values = [next(steps).nll(x).mean() for _ in range(30)]
    assert np.diff(values).max() < 1e-6  # the weights are smoothed a little
    assert values[0] - values[-1] > 0.01
    p = (x.sum(0) + 0.5) / (len(x) + 1)
    exact = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    np.testing.assert_allclose(fit_mixture(lambda: x, x, 1, 0.5, 0).model.nll(x), exact, rtol=1e-12)


def test_the_number_of_components_is_chosen_by_validation(tmp_path):
    """Rows of ones or of zeros alone cost log 2 by two components, and six times that by one."""
    rows = np.repeat([[0] * 6, [1] * 6], 40, axis=0).astype(np.uint8)
    order = np.random.RandomState(0).permutation(80)
    np.savez(tmp_path / "two.npz", train=rows[order], valid=rows[order], test=rows)
    study = MixtureOfBernoullis(Arrays(path="two.npz"), components=(1, 2), smoothing=(0.01, 1.0))
    found = study(0, str(tmp_path))
    assert found["chosen"].startswith("2 components, smoothing 0.01")
    assert abs(found["test_nll"] - math.log(2)) < 0.01
    one = MixtureOfBernoullis(Arrays(path="two.npz"), components=(1,))(0, str(tmp_path))
    assert abs(one["test_nll"] - 6 * math.log(2)) < 1e-6


# Every table, a few steps of every cell.


@pytest.mark.slow
@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_every_cell_of_every_table_runs(path, tmp_path):
    outcomes, log = quiet(load_table(str(path)), "smoke", tmp_path)
    if all(outcome.status == "skipped" for outcome in outcomes):
        pytest.skip(outcomes[0].reason)
    assert {outcome.status for outcome in outcomes} <= {"finished", "skipped"}, str(log)
    assert all(math.isfinite(result.figure.value) for outcome in outcomes for result in outcome.results)
    shutil.rmtree(tmp_path)
