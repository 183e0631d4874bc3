"""Runs side by side: differences by hand, what cannot be paired, and what evaluations keep by example."""

import csv
import dataclasses
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from runs import Log, by_example, read_json

from genjax_models.cli import main
from genjax_models.comparison import comma_separated, compare_runs, markdown, terminal
from genjax_models.comparison_plots import BETTER, OPEN, WORSE, differences_figure
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays, Digits, evaluation_subset
from genjax_models.errors import ConfigError, DataError, RunError, UserError
from genjax_models.evaluation import paired_difference
from genjax_models.experiment import evaluate_run, train_run
from genjax_models.measuring import kind_of_nll
from genjax_models.models import GAN, MADE, MAF, VAE, SigmoidBeliefNetwork
from genjax_models.models.units import Categorical, Gaussian
from genjax_models.objectives import ELBO, IWAE, Adversarial, MaximumLikelihood, ReweightedWakeSleep
from genjax_models.optimizers import Adam
from genjax_models.run_folder import ByExample, DataSpec, create_or_match, read_by_example, write_by_example

SPEC = DataSpec(64, (8, 8), (40, 10, 10), 7)
VAES = Config(VAE(2), ELBO(), Adam(1e-2), Digits(), evaluation=Evaluation(50))
NETS = dataclasses.replace(VAES, model=SigmoidBeliefNetwork((3,)), objective=ReweightedWakeSleep(5))
STARS = dataclasses.replace(NETS, evaluation=Evaluation(50, distribution="p_star"))
SAMPLERS = dataclasses.replace(VAES, model=GAN(2), objective=Adversarial())
# Example by example far apart, from model to model little.
HARD = np.linspace(10, 90, 10)
RANDOM = np.random.RandomState(0)
A, B, C, D, E = (HARD + RANDOM.normal(mean, 1, 10) for mean in (0, 0.5, -2, 0, 0.2))


def seeded(config: Config, seed: int) -> Config:
    return dataclasses.replace(config, seed=seed)


def figures(samples=50, kind="probability", step=40, **more) -> dict:
    return {"evaluated_step": step, "test_nll_samples": samples, "test_nll_kind": kind, **more}


def made(folder: Path, config: Config, spec: DataSpec = SPEC, rows=None, about=None, **values) -> Path:
    """A finished run in which this was measured by example."""
    create_or_match(folder, config, spec)
    about = figures() if about is None else about
    if values:
        arrays = {name: np.asarray(v, np.float64) for name, v in values.items()}
        rows = np.arange(len(next(iter(arrays.values())))) if rows is None else np.asarray(rows)
        write_by_example(folder, ByExample(rows, arrays, about))
    (folder / "result.json").write_text(json.dumps({"test_examples": 10, **about}))
    return folder


def sampler(folder: Path) -> Path:
    return made(folder, SAMPLERS, about={"evaluated_step": 30, "test_mmd_squared": 0.0025, "test_examples": 10})


def error(values) -> float:
    """The standard error of a mean."""
    values = np.asarray(values)
    return np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1) / len(values))


def compared(*folders, **options) -> dict:
    return compare_runs(folders, log=Log(), **options)


# The difference.


def test_paired_difference_by_hand():
    """d = (1, -1, 2): mean 2/3, variance 7/3, error sqrt(7)/3."""
    mean, of_mean = paired_difference([1.0, 2, 4], [0.0, 3, 2])
    assert mean == pytest.approx(2 / 3, rel=1e-15)
    assert of_mean == pytest.approx(np.sqrt(7) / 3, rel=1e-15)


def test_what_examples_share_drops_out():
    """A constant difference has no error; float32 values of a great size lose nothing more."""
    shared = np.float32(2**20) * np.arange(1, 6, dtype=np.float32)
    assert paired_difference(shared + 1, shared) == (1, 0)
    forward, back = paired_difference(A, B), paired_difference(B, A)
    assert (forward.mean, forward.standard_error) == (-back.mean, back.standard_error)


def test_paired_difference_of_what_is_not_paired():
    with pytest.raises(DataError, match=r"got values of shapes \(3,\) and \(2,\), expected \[N\] for both"):
        paired_difference([1.0, 2, 3], [1.0, 2])
    for a, b in [([], []), (np.ones((2, 2)), np.ones((2, 2))), (1.0, 1.0)]:
        with pytest.raises(DataError, match="got values of shapes"):
            paired_difference(a, b)


def test_one_example_and_values_that_are_not_finite():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paired_difference([3.0], [1.0]).mean == 2
        assert np.isnan(paired_difference([3.0], [1.0]).standard_error)
        assert paired_difference([np.inf, 1], [0, 1]).mean == np.inf
        assert np.isnan(paired_difference([np.inf, 1], [np.inf, 1]).mean)


# Rows.


def test_two_runs(tmp_path):
    """Both figures with their errors over examples, and the difference with its own, which is far below."""
    a, b = made(tmp_path / "a", VAES, nll=A), made(tmp_path / "b", NETS, about=figures(step=80), nll=B)
    found = compared(a, b)
    first, second = found["rows"]
    assert (found["metric"], found["baseline"], found["notes"]) == ("nll", "a", [])
    for row, values in ((first, A), (second, B)):
        assert row["value"] == pytest.approx(values.mean(), rel=1e-12)
        assert row["standard_error"] == pytest.approx(error(values), rel=1e-12)
    assert (first["difference"], first["no_difference"]) == (None, "baseline")
    assert second["difference"] == pytest.approx((B - A).mean(), rel=1e-9)
    assert second["difference_standard_error"] == pytest.approx(error(B - A), rel=1e-9)
    assert second["difference_standard_error"] < second["standard_error"] / 10
    assert (second["model"], second["objective"]) == ("sigmoid_belief_network", "reweighted_wake_sleep")
    assert (second["measured"], second["steps"], second["seeds"]) == ("50 samples", [80], [0])
    assert (second["binarization"], second["split"], second["examples"]) == ("threshold", "test", 10)


def test_the_baseline_may_be_any_run_given_or_not(tmp_path):
    a, b, c = (made(tmp_path / n, VAES, nll=v) for n, v in (("a", A), ("b", B), ("c", C)))
    rows = compared(a, b, c, baseline=b, group=False)["rows"]
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [row["no_difference"] for row in rows] == [None, "baseline", None]
    assert rows[0]["difference"] == pytest.approx((A - B).mean(), rel=1e-9)
    rows = compared(a, b, baseline=c, group=False)["rows"]
    assert [row["name"] for row in rows] == ["c", "a", "b"]
    assert rows[2]["difference"] == pytest.approx((B - C).mean(), rel=1e-9)


def test_seeds_make_one_row(tmp_path):
    """Means over seeds with their error over seeds; differences of means by example, and an error over seeds too."""
    vaes = [made(tmp_path / f"v{i}", seeded(VAES, i), nll=v) for i, v in enumerate((A, C, D))]
    nets = [made(tmp_path / f"n{i}", seeded(NETS, i), nll=v) for i, v in enumerate((B, E))]
    other = made(tmp_path / "other", dataclasses.replace(VAES, optimizer=Adam(1e-3)), nll=A)
    first, second, third = compared(*vaes, *nets, other)["rows"]
    assert (first["name"], first["seeds"]) == ("v0: mean over 3 seeds", [0, 1, 2])
    assert first["standard_error_over"] == "seeds"
    means = [v.mean() for v in (A, C, D)]
    assert first["value"] == pytest.approx(np.mean(means), rel=1e-12)
    assert first["standard_error"] == pytest.approx(error(means), rel=1e-9)
    by_row = (B + E) / 2 - (A + C + D) / 3
    assert second["difference"] == pytest.approx(by_row.mean(), rel=1e-9)
    assert second["difference_standard_error"] == pytest.approx(error(by_row), rel=1e-9)
    over = np.hypot(error(means), error([B.mean(), E.mean()]))
    assert second["difference_standard_error_over_seeds"] == pytest.approx(over, rel=1e-9)
    each = [(v - (A + C + D) / 3).mean() for v in (B, E)]
    np.testing.assert_allclose(second["differences_by_seed"], each, rtol=1e-9)
    assert (third["name"], third["difference_standard_error_over_seeds"]) == ("other", None)
    assert len(compared(*vaes, *nets, other, group=False)["rows"]) == 6


def test_one_seed_twice_is_no_pair_of_seeds(tmp_path):
    a, b = made(tmp_path / "a", VAES, nll=A), made(tmp_path / "b", VAES, nll=B)
    found = compared(a, b)
    assert [row["name"] for row in found["rows"]] == ["a", "b"]
    assert found["notes"] == ["Of one configuration, some with one seed, and so listed alone: a, b."]


def test_folders_of_one_name_are_told_apart_and_one_folder_is_one_run(tmp_path):
    a, b = made(tmp_path / "x" / "run", VAES, nll=A), made(tmp_path / "y" / "run", NETS, nll=B)
    assert [row["name"] for row in compared(a, b)["rows"]] == [str(a), str(b)]
    with pytest.raises(UserError, match="got 1 run folders, expected two or more"):
        compared(a, a / ".." / "run")


def test_samplers_are_listed_with_their_distance(tmp_path):
    """The first run with an NLL is the baseline; where all are samplers there are no differences at all."""
    one, two, a, b = sampler(tmp_path / "one"), sampler(tmp_path / "two"), *pair(tmp_path)
    found = compared(one, a, b)
    first, _, third = found["rows"]
    assert (found["baseline"], first["mmd_squared"], first["value"]) == ("a", 0.0025, None)
    assert first["no_difference"] == "a sampler, which has no log p(x)"
    assert third["difference"] == pytest.approx((B - A).mean(), rel=1e-9)
    assert "MMD^2 0.00250" in terminal(found)
    assert [row["difference"] for row in compared(one, two)["rows"]] == [None, None]
    with pytest.raises(RunError, match=r"one is a sampler.*give another --baseline"):
        compared(a, b, baseline=one)
    with pytest.raises(UserError, match="no difference to draw, one: a sampler"):
        compared(one, two, out=tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def pair(folder: Path, **changes) -> tuple[Path, Path]:
    """Runs a and b, of which the second may differ."""
    given = {"config": NETS, "nll": B, **changes}
    return made(folder / "a", VAES, nll=A), made(folder / "b", given.pop("config"), **given)


def test_a_run_that_diverged_has_no_difference(tmp_path):
    a, b = pair(tmp_path, nll=np.where(HARD > 50, np.inf, B))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = compared(a, b)["rows"][1]
    assert (row["value"], row["difference"], row["no_difference"]) == (None, None, "a value is not finite")


# Numbers of samples.


def test_the_most_samples_that_all_have(tmp_path):
    """Of 50 and 500 in one and 50 and 5000 in the other it is 50; where none is common each has its most, and a note
    says whose bound is looser and what makes them alike."""
    a, b = pair(tmp_path)
    write_by_example(a, ByExample(np.arange(10), {"nll": A - 1}, figures(500)))
    write_by_example(b, ByExample(np.arange(10), {"nll": B - 2}, figures(5000)))
    found = compared(a, b)
    assert [row["samples"] for row in found["rows"]] == [[50], [50]]
    assert found["rows"][1]["difference"] == pytest.approx((B - A).mean(), rel=1e-9)
    (b / "test_examples_50.npz").unlink()
    found = compared(a, b)
    assert [row["samples"] for row in found["rows"]] == [[500], [5000]]
    assert found["rows"][1]["difference"] == pytest.approx((B - A).mean() - 1, rel=1e-9)
    (note,) = found["notes"]
    assert "a (500 samples, others 5000)" in note
    assert f"genjax-models evaluate {a} --num-samples 5000" in note


def test_exact_beside_estimated(tmp_path):
    exact = dataclasses.replace(VAES, model=MADE(), objective=MaximumLikelihood())
    a, b = pair(tmp_path, config=exact, about=figures(None), bound=-B)
    found = compared(a, b)
    assert [row["measured"] for row in found["rows"]] == ["50 samples", "exact"]
    assert found["notes"] == ["An NLL by samples is above the true one in expectation; exact is that of b."]
    # An exact log p(x) is what particle filters estimate.
    made(tmp_path / "c", seeded(VAES, 1), nll=C, nll_particle_filter=C - 1)
    row = compared(tmp_path / "c", b, metric="nll_particle_filter")["rows"][1]
    assert row["difference"] == pytest.approx((B - C + 1).mean(), rel=1e-9)


def test_a_model_without_the_others_contexts_is_told(tmp_path):
    spec = dataclasses.replace(SPEC, context=8)
    given = dataclasses.replace(VAES, model=VAE(2, conditional=True))
    a, b = (made(tmp_path / name, one, spec, nll=v) for name, one, v in (("a", VAES, A), ("b", given, B)))
    (note,) = compared(a, b)["notes"]
    assert note.startswith("The data have contexts, masks or codes, which the models of a do not take")
    c = made(tmp_path / "c", seeded(given, 1), spec, nll=C)
    assert compared(b, c)["notes"] == []


def test_another_metric(tmp_path):
    """A bound, of which higher is better; a metric that some runs lack leaves their difference empty."""
    a, b = made(tmp_path / "a", VAES, nll=A, bound=-C), made(tmp_path / "b", NETS, nll=B, bound=-D)
    c = made(tmp_path / "c", dataclasses.replace(VAES, objective=IWAE(5)), nll=E)
    found = compared(a, b, c, metric="bound")
    assert found["rows"][1]["difference"] == pytest.approx((C - D).mean(), rel=1e-9)
    assert found["rows"][2]["no_difference"] == "no bound was measured of it"
    assert "different objectives" in found["notes"][0]
    assert "above 0 is better" in terminal(found)
    with pytest.raises(RunError, match="c has no bound"):
        compared(a, c, metric="bound", baseline=c)
    with pytest.raises(ConfigError, match=r"metric: got 'bond'.*Did you mean 'bound'"):
        compared(a, b, metric="bond")


# What cannot be paired.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"spec": dataclasses.replace(SPEC, checksum=8)},
            r"a \(digits: .*checksum 7\) and .*b .*checksum 8.* different",
        ),
        ({"rows": range(1, 11)}, "a was tested on 10 examples and .*b on 10, which are not the same ones"),
        ({"nll": B[:9]}, "a was tested on 10 examples and .*b on 9"),
        ({"about": figures(kind="density")}, "a are of kind probability, those of .*b of kind density"),
        (
            {"config": STARS, "nll_p_star_unnormalized": C},
            r"b is measured by p\*\(x\), and .*a by p\(x\).*--metric nll",
        ),
    ],
)
def test_what_cannot_be_paired_is_refused_by_name(tmp_path, change, message):
    a, b = pair(tmp_path, **change)
    with pytest.raises(RunError, match=message):
        compared(a, b, out=tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_p_star_of_all_and_p_where_it_is_asked_for(tmp_path):
    star = {"nll_p_star_unnormalized": C, "about": figures(test_nll_p_star=0.0)}
    a, b = made(tmp_path / "a", STARS, nll=A, **star), made(tmp_path / "b", seeded(STARS, 1), nll=B, **star)
    assert (a / "test_examples_50_p_star.npz").is_file()
    found = compared(a, b, group=False)
    assert (found["metric"], found["rows"][1]["difference"]) == ("nll_p_star_unnormalized", 0)
    row = compared(a, made(tmp_path / "c", NETS, nll=B), metric="nll")["rows"][1]
    assert row["difference"] == pytest.approx((B - A).mean(), rel=1e-9)


def test_runs_without_values_or_result_say_what_adds_them(tmp_path):
    a, b = pair(tmp_path)
    (b / "test_examples_50.npz").rename(tmp_path / "kept.npz")
    with pytest.raises(RunError, match=rf"no values by test example are kept.*\n  genjax-models evaluate {b}$"):
        compared(a, b)
    (b / "test_examples_50.npz").write_bytes((tmp_path / "kept.npz").read_bytes()[:-30])
    with pytest.raises(RunError, match=rf"is damaged .*`genjax-models evaluate {b}` makes one"):
        compared(a, b)
    (b / "result.json").unlink()
    with pytest.raises(RunError, match=rf"b is not finished, .*`genjax-models train {b}` goes on"):
        compared(a, b)


@pytest.mark.parametrize(
    ("model", "source", "kind"),
    [
        (VAE(2), Digits(), "probability"),
        (VAE(2), Digits(binarization="none"), "cross-entropy"),
        (VAE(2, likelihood=Gaussian(1.0)), Digits(binarization="none"), "density"),
        (VAE(2, likelihood=Categorical(17)), Digits(binarization="none"), "probability"),
        (MAF(logit=0.05), Digits(binarization="none", dequantization="fixed"), "density"),
    ],
)
def test_kinds_of_nll(model, source, kind):
    assert kind_of_nll(dataclasses.replace(VAES, model=model, data=source), source.load()) == kind


# Texts and the picture.


def test_tables(tmp_path):
    """The terminal's is ASCII; Markdown's rows have the head's columns; CSV has the numbers in full."""
    seeds = made(tmp_path / "c|d", seeded(VAES, 1), nll=C)
    found = compared(*pair(tmp_path), seeds, sampler(tmp_path / "gan"))
    rows = found["rows"]
    text = terminal(found)
    assert text.isascii()
    assert text.startswith("test NLL of 10 examples of the test split of digits, binarization threshold\n")
    assert f"{rows[1]['difference']:+.2f} +- {rows[1]['difference_standard_error']:.2f}" in text
    assert "test NLL less that of a: mean over 2 seeds (nats per example); below 0 is better" in text
    table = [line for line in markdown(found).splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert {line.replace("\\|", "").count("|") for line in table} == {9}
    read = list(csv.DictReader(io.StringIO(comma_separated(found))))
    assert [float(row["difference"]) if row["difference"] else None for row in read] == [r["difference"] for r in rows]
    assert [row["seeds"] for row in read] == ["0 1", "0", "0"]
    assert read[2]["no_difference"] == "a sampler, which has no log p(x)"


def test_picture(tmp_path):
    """Points at the differences, bars of 1.96 errors, colours by what they leave out; nothing is overwritten."""
    a, b = pair(tmp_path, nll=A + np.array([1, -1] * 5))
    c = made(tmp_path / "c", dataclasses.replace(VAES, optimizer=Adam(1e-4)), nll=A + 1 + 0.1 * (B - HARD))
    d = made(tmp_path / "d", dataclasses.replace(VAES, optimizer=Adam(1e-5)), nll=A - 1 + 0.1 * (B - HARD))
    rows = compared(a, b, c, d)["rows"]
    panel = differences_figure(rows, "nll", "title", "label").axes[0]
    assert len(panel.containers) == 3
    for row, place, colour, bars in zip(rows[1:], (1, 2, 3), (OPEN, WORSE, BETTER), panel.containers, strict=True):
        point, _, (line,) = bars.lines
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (row["difference"], place)
        ends = line.get_segments()[0][:, 0]
        np.testing.assert_allclose(np.diff(ends) / 2, 1.96 * row["difference_standard_error"], rtol=1e-9)
        assert point.get_color() == colour
    out = tmp_path / "x.png"
    compared(a, b, out=out)
    before = out.read_bytes()
    with pytest.raises(UserError, match="exists; give another --out, or --overwrite"):
        compared(a, c, out=out)
    assert out.read_bytes() == before
    compared(a, b, c, out=out, overwrite=True)
    assert out.read_bytes() != before
    with pytest.raises(UserError, match="cannot be written"):
        compared(a, b, out=tmp_path / "absent" / "x.png")


# What runs keep.

BITS = (np.random.RandomState(1).uniform(size=(60, 5)) < 0.4).astype(np.uint8)
EXACT = Config(
    MADE(hidden=(4,)), MaximumLikelihood(), Adam(1e-2), Arrays("bits.npy"), Training(5, 8, 5, 5), Evaluation(20)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data folder with runs on it: `all` of its test examples, `some` on three of them, by the same parameters."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "bits.npy", BITS)
    for name, number in (("all", None), ("some", 3)):
        settings = dataclasses.replace(EXACT, evaluation=Evaluation(20, test_examples=number))
        train_run(settings, folder / name, str(folder), log=Log())
    return folder


def test_rows_are_the_examples_places_in_the_whole_split(place):
    """A value of one file is that of the other at the row it names."""
    whole, some = (read_by_example(place / name / "test_examples_exact.npz") for name in ("all", "some"))
    assert whole.rows.tolist() == list(range(6))
    assert some.rows.tolist() == evaluation_subset(np.arange(6), 3).tolist()
    np.testing.assert_allclose(some.values["nll"], whole.values["nll"][some.rows], rtol=1e-6)
    assert len(np.unique(whole.values["nll"])) > 3
    for name in ("all", "some"):
        assert set(by_example(place / name)) == {"test_examples_exact.npz"}
    with pytest.raises(RunError, match=r"was tested on 6 examples and .*some on 3"):
        compared(place / "all", place / "some")


def test_results_say_how_they_were_measured(place):
    found = read_json(place / "some" / "result.json")
    told = {name: found[name] for name in ("split", "data", "binarization", "dequantization", "seed", "test_examples")}
    assert told == {
        "split": "test",
        "data": "arrays-path=bits.npy",
        "binarization": "none",
        "dequantization": None,
        "seed": 0,
        "test_examples": 3,
    }
    assert (found["test_nll_samples"], found["test_nll_kind"]) == (None, "probability")


def test_evaluate_adds_what_an_earlier_version_did_not_keep(place, tmp_path, capsys):
    """To the last bit; of a run under way it keeps nothing, and says so of a folder that cannot be written in."""
    path, log = place / "all" / "test_examples_exact.npz", Log()
    before = path.read_bytes()
    path.unlink()
    other = made(tmp_path / "other", dataclasses.replace(EXACT, seed=1))
    assert main(["compare", str(place / "all"), str(other)]) == 2
    assert f"genjax-models evaluate {place / 'all'}" in capsys.readouterr().err
    evaluate_run(place / "all", str(place), None, log)
    assert log == ["evaluating step 5 on the test split", f"values by example in {path}"]
    assert path.read_bytes() == before
    stood = path.stat().st_mtime_ns
    evaluate_run(place / "all", str(place), None, log)
    assert sum("values by example" in line for line in log) == 1
    assert path.stat().st_mtime_ns == stood
    path.unlink()
    path.mkdir()
    evaluate_run(place / "all", str(place), None, log)
    assert "cannot be written" in log[-1]
    path.rmdir()
    result = (place / "all" / "result.json").read_bytes()
    (place / "all" / "result.json").unlink()
    evaluate_run(place / "all", str(place), None, log)
    assert not path.exists()
    (place / "all" / "result.json").write_bytes(result)
    evaluate_run(place / "all", str(place), None, log)


def test_command(tmp_path, capsys):
    a, b = map(str, pair(tmp_path))
    out = tmp_path / "x.png"
    assert main(["compare", a, b, "--out", str(out)]) == 0
    printed, said = capsys.readouterr()
    assert printed == terminal(compared(a, b)) + "\n"
    assert (said, out.is_file()) == (f"picture in {out}\n", True)
    assert main(["compare", a, b, "--format", "markdown", "--baseline", b]) == 0
    assert capsys.readouterr().out == markdown(compared(a, b, baseline=b)) + "\n"
    assert main(["compare", a, b, "--json", "--metric", "nll", "--no-group"]) == 0
    assert json.loads(capsys.readouterr().out) == compared(a, b)
    assert main(["compare", a]) == 2
    assert "expected two or more" in capsys.readouterr().err
