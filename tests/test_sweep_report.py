"""Reports of sweeps: means and errors worked out by hand, tables that read back, and members that did not finish."""

import csv
import io
import math

import pytest

from genjax_models.sweep_report import (
    Mean,
    Member,
    live_table,
    lower_is_better,
    mean_text,
    members_csv,
    short_names,
    summarize,
    summary_csv,
    summary_markdown,
)

RATE, HIDDEN = "optimizer.learning_rate", "model.hidden"


def member(index, overrides, nll=None, status="finished", note="", **metrics):
    return Member(index, f"members/{index:03d}", overrides, status, 10 * index, {"test_nll": nll, **metrics}, note)


#   rate 0.1: 1, 2, 6   -> mean 3, deviations -2 -1 3, error sqrt(14 / 2 / 3)
#   rate 0.2: 5, None, stopped, running -> one seed
#   rate 0.3: stopped before any figure
MEMBERS = [
    member(0, {RATE: 0.1, "seed": 0}, 1.0, test_nll_standard_error=0.5, test_bound=-4.0),
    member(1, {RATE: 0.2, "seed": 0}, 5.0),
    member(2, {RATE: 0.1, "seed": 1}, 2.0, test_nll_standard_error=0.5, test_bound=-6.0),
    member(3, {RATE: 0.2, "seed": 1}, None),
    member(4, {RATE: 0.1, "seed": 2}, 6.0),
    member(5, {RATE: 0.2, "seed": 2}, 1e9, "halted", "worst of 4 at step 50"),
    member(6, {RATE: 0.2, "seed": 3}, -1e9, "running"),
    member(7, {RATE: 0.3, "seed": 0}, 0.0, "non-finite", 'a "bad", sad\ngradient'),
]


def test_summarize_gathers_seeds_with_their_mean_and_error():
    first, second, third = summarize(MEMBERS)
    assert [s.overrides for s in (first, second, third)] == [{RATE: 0.1}, {RATE: 0.2}, {RATE: 0.3}]
    assert [m.index for m in first.members] == [0, 2, 4]
    assert first.metrics["test_nll"].value == pytest.approx(3, abs=1e-12)
    assert first.metrics["test_nll"].standard_error == pytest.approx(math.sqrt(14 / 2 / 3), abs=1e-12)
    assert first.metrics["test_bound"] == Mean(-5.0, pytest.approx(1, abs=1e-12), 2)
    assert second.metrics["test_nll"] == Mean(5.0, None, 1)
    assert third.metrics["test_nll"] == Mean(None, None, 0)
    assert second.metrics["test_bound"] == Mean(None, None, 0)
    assert [second.number(s) for s in ("finished", "halted", "running", "non-finite")] == [2, 1, 1, 0]
    assert third.number("non-finite", "halted") == 1


def test_summarize_leaves_out_the_seeds_own_errors():
    assert list(summarize(MEMBERS)[0].metrics) == ["test_nll", "test_bound"]
    assert list(summarize(MEMBERS, ["test_bound"])[0].metrics) == ["test_bound"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_missing(value):
    found = summarize([member(0, {"seed": 0}, value), member(1, {"seed": 1}, 2.0)])
    assert found[0].metrics["test_nll"] == Mean(2.0, None, 1)


def test_settings_are_told_apart_by_values_that_only_compare_equal():
    """1 and True are two values of a field; lists and orders of fields do not matter."""
    points = [{"a": 1, "b": [1]}, {"a": True, "b": [1]}, {"b": [1], "a": 1, "seed": 3}, {"a": 1}]
    settings = summarize([member(i, point) for i, point in enumerate(points)])
    assert [[m.index for m in s.members] for s in settings] == [[0, 2], [1], [3]]


def test_no_members():
    assert summarize([]) == []
    assert members_csv([]).startswith("status,step")
    assert "test_nll" in summary_markdown([], "test_nll")
    assert live_table([], "test_nll").startswith("0 members")


@pytest.mark.parametrize(
    "metric", ["test_nll", "test_nll_p_star", "total_seconds", "train_loss", "test_nll_mean_estimator_error"]
)
def test_costs_are_better_when_lower(metric):
    assert lower_is_better(metric)


@pytest.mark.parametrize("metric", ["validation_bound", "test_bound", "log_z", "lossless", "enll"])
def test_others_are_better_when_higher(metric):
    assert not lower_is_better(metric)


def test_short_names_tell_paths_apart():
    assert short_names([RATE, "seed"]) == {RATE: "learning_rate", "seed": "seed"}
    paths = ["a.x.rate", "b.x.rate", "b.y.rate", "rate"]
    assert list(short_names(paths).values()) == ["a.x.rate", "b.x.rate", "y.rate", "rate"]


@pytest.mark.parametrize(
    ("mean", "text"),
    [
        (Mean(86.7453, 0.1234, 4), "86.75 ± 0.12 (4)"),
        (Mean(-86.7453, 12.34, 4), "-87 ± 12 (4)"),
        (Mean(86.7453, 1.234, 4), "86.7 ± 1.2 (4)"),
        (Mean(86.7453, None, 1), "86.7453 (1)"),
        (Mean(86.7453, 0.0, 2), "86.7453 ± 0 (2)"),
        (Mean(86.7453, 1.5e-12, 2), "86.7453 ± 1.5e-12 (2)"),
        (Mean(0.0, None, 1), "0 (1)"),
        (Mean(None, None, 0), "-"),
    ],
)
def test_mean_text(mean, text):
    assert mean_text(mean) == text


def test_members_csv_reads_back():
    text = members_csv([*MEMBERS, member(8, {HIDDEN: (2, 3), "seed": 4}, 0.1 + 0.2)])
    rows = list(csv.DictReader(io.StringIO(text)))
    metrics = ["test_nll", "test_nll_standard_error", "test_bound"]
    assert list(rows[0]) == [RATE, "seed", HIDDEN, "status", "step", *metrics, "index", "folder", "note"]
    assert [row["index"] for row in rows] == [str(i) for i in range(9)]
    assert rows[2] == dict(
        zip(rows[0], ["0.1", "1", "", "finished", "20", "2.0", "0.5", "-6.0", "2"], strict=False)
    ) | {
        "folder": "members/002",
        "note": "",
    }
    assert rows[3]["test_nll"] == ""
    assert rows[7]["note"] == 'a "bad", sad\ngradient'
    assert (rows[8][RATE], rows[8][HIDDEN]) == ("", "2-3")
    assert float(rows[8]["test_nll"]) == 0.1 + 0.2


def test_summary_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(summary_csv(summarize(MEMBERS)))))
    assert [row[RATE] for row in rows] == ["0.1", "0.2", "0.3"]
    assert float(rows[0]["test_nll_mean"]) == pytest.approx(3, abs=1e-12)
    assert float(rows[0]["test_nll_standard_error_over_seeds"]) == pytest.approx(math.sqrt(7 / 3), abs=1e-12)
    assert [row["test_nll_seeds"] for row in rows] == ["3", "1", "0"]
    assert [rows[1][s] for s in ("members", "finished", "halted", "running", "non-finite")] == ["4", "2", "1", "1", "0"]
    assert rows[1]["test_nll_standard_error_over_seeds"] == rows[2]["test_nll_mean"] == ""


def table(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_summary_markdown_is_sorted_and_names_what_stopped():
    text = summary_markdown(summarize(MEMBERS), "test_nll", ["test_bound"])
    head, rule, *rows = table(text)
    assert head == ["learning_rate", "test_nll", "test_bound", "finished"]
    assert len(rule) == len(head)
    assert rows == [
        ["0.1", "3.0 ± 1.5 (3)", "-5.0 ± 1.0 (2)", "3/3"],
        ["0.2", "5 (1)", "-", "2/4"],
        ["0.3", "-", "-", "0/1"],
    ]
    assert "test_nll, the lower the better" in text
    assert text.splitlines()[-3:] == [
        "- halted: worst of 4 at step 50; members 5",
        '- non-finite: a "bad", sad gradient; members 7',
        "- not finished yet; members 6",
    ]


def test_summary_markdown_puts_the_highest_bound_first():
    members = [member(i, {"objective": name}, validation_bound=i) for i, name in enumerate(["a", "b|c", "d"])]
    text = summary_markdown(summarize(members), "validation_bound")
    assert [line.split(" | ")[0] for line in text.splitlines()[4:]] == ["| d", "| b\\|c", "| a"]
    assert "validation_bound, the higher the better" in text


def test_summary_markdown_gathers_members_that_stopped_alike():
    members = [member(i, {"seed": i}, status="halted", note="rung 1") for i in (0, 1, 2, 5)]
    assert summary_markdown(summarize(members), "test_nll").splitlines()[-1] == "- halted: rung 1; members 0-2, 5"


def test_live_table_shows_the_best_of_those_that_go_on():
    lines = live_table(MEMBERS, "test_nll", rows=3).splitlines()
    assert lines[0].startswith("8 members: 1 running, 5 finished, 0 waiting, 2 stopped (1 non-finite, 1 halted)")
    assert lines[1].split() == ["member", "test_nll", "step", "learning_rate", "seed"]
    assert [line.split() for line in lines[2:]] == [
        ["6", "-1e+09", "60", "0.2", "3"],
        ["0", "1", "0", "0.1", "0"],
        ["2", "2", "20", "0.1", "1"],
    ]
    highest = live_table(MEMBERS, "test_bound", rows=1).splitlines()[2]
    assert highest.split()[:2] == ["0", "-4"]


def test_live_table_keeps_its_number_of_lines():
    """So that a terminal can draw it over itself, from the first step on."""
    waiting = [m._replace(status="waiting", metrics={}) for m in MEMBERS]
    for members in (waiting, MEMBERS, MEMBERS[:4] + waiting[4:]):
        assert live_table(members, "test_nll", rows=4).count("\n") == 5
    assert live_table(waiting[:2], "test_nll", rows=4).count("\n") == 3


@pytest.mark.parametrize("width", [40, 60, 80])
def test_live_table_fits_its_width(width):
    """The swept values are cut, the figures are not."""
    overrides = {f"model.field_{i}": "a naïve, long, long name" for i in range(8)}
    lines = live_table([member(0, overrides, 1.5)], "test_nll", width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.isascii() for line in lines)
    assert lines[2].split()[:3] == ["0", "1.5", "0"]
    assert "~" in lines[2]
