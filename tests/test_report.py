"""The page about runs: what it shows, in a browser as well, and that nothing in it is anything but text."""

import base64
import dataclasses
import hashlib
import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from runs import Log, read_json

from genjax_models import checkpoints, plots
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays, Digits, Gaussians
from genjax_models.diagnosis import PICTURES
from genjax_models.errors import RunError, UserError
from genjax_models.measuring import mean_and_error
from genjax_models.models import GAN, VAE, SigmoidBeliefNetwork, VariationalRNN
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, Adversarial, ReweightedWakeSleep
from genjax_models.optimizers import Adam
from genjax_models.preparation import prepare
from genjax_models.report import report_runs, result_figures
from genjax_models.report_page import Comparison, Curve, Page, Picture, Reported, page, tag
from genjax_models.run_folder import ByExample, DataSpec, create_or_match, write_by_example
from genjax_models.train import make_train

EVIL = '<script>alert("1")</script>'  # which as a path is a folder in a folder
ATTRIBUTE = "\"'><img src=x onerror=alert(1)>"
NET = MLP((8,), "tanh")
CONFIG = Config(
    VAE(3, NET, NET),
    ELBO(),
    Adam(),
    Digits(),
    Training(20, batch_size=20, evaluate_every=10, chunk=10),
    Evaluation(2, test_examples=20, validation_examples=20),
)


SECTIONS = ["runs", "comparison", "curves", "samples", "latents", "results", "configuration", "times", "works"]
RANDOM = np.random.RandomState(0)


def made(folder: Path, config: Config, visible: int = 64, shape=(8, 8), rows=(), result=None) -> Path:
    """A run folder in which nothing was trained."""
    create_or_match(folder, config, DataSpec(visible, shape, (40, 10, 10), 7))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def metrics(steps: int, start: float) -> list[dict]:
    """Lines of metrics.jsonl whose bounds come from afar."""
    return [
        {
            "step": step,
            "seconds": step / 4,
            "train_bound": start / step - 18,
            "validation_bound": start / step - 19,
            "validation_kl": step / 10,
        }
        for step in range(2, steps + 1, 2)
    ]


def diagnosis(folder: Path) -> dict:
    return {
        "run": str(folder),
        "run_sha256": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
        "step": 20,
        "examples": 77,
        "active_units": 1,
        "latents": 3,
        "active_above_variance": 0.01,
        **dict.fromkeys(("aggregate_posterior", "refinement", "spectra")),
        "left_out": {},
        **{f"{name}{end}": 1.0 for name in ("rate", "distortion", "bound") for end in ("", "_standard_error")},
    }


def finished(folder: Path, config: Config, start: float) -> Path:
    """A run folder as training and `diagnose` leave it, of figures that were made up."""
    nll = RANDOM.uniform(10, 20, 10)
    mean, error = mean_and_error(nll)
    told = {"evaluated_step": 20, "test_nll": mean, "test_nll_standard_error": error, "test_nll_samples": 50}
    figures = {**told, "test_nll_kind": "probability", "test_examples": 10}
    result = {**figures, "parameters": 1234, "total_seconds": 61.25, "versions": {"jax": "0.9.9"}}
    made(folder, config, rows=metrics(20, start), result=result)
    write_by_example(folder, ByExample(np.arange(10), {"nll": nll}, figures))
    plots.save_images(folder / "samples.png", RANDOM.uniform(size=(9, 64)), (8, 8))
    (folder / "diagnostics").mkdir()
    (folder / "diagnostics" / "diagnostics.json").write_text(json.dumps(diagnosis(folder)))
    for name in PICTURES:
        shutil.copy(folder / "samples.png", folder / "diagnostics" / name)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Two finished runs whose names are attacks, and one under way, with a checkpoint."""
    place = tmp_path_factory.mktemp("runs")
    unfinished = made(place / "unfinished", CONFIG, rows=metrics(8, -400))
    state = make_train(CONFIG).init(CONFIG, jax.random.key(0), np.zeros((40, 64), np.float32))
    checkpoints.save(unfinished / "checkpoints", state._replace(step=jnp.asarray(8)), 0.0, None, (0.0, 0))
    return {
        "first": finished(place / EVIL, CONFIG, -300),
        "second": finished(place / ATTRIBUTE, dataclasses.replace(CONFIG, optimizer=Adam(2e-3)), -200),
        "unfinished": unfinished,
    }


@pytest.fixture(scope="module")
def written(runs) -> Path:
    """A page about them all, by the command line."""
    out = runs["unfinished"].parent / "page" / "report.html"
    out.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(out.parent / "xla"))
        assert main(["report", *map(str, runs.values()), "--out", str(out), "--num", "12"]) == 0
    return out


class Elements(HTMLParser):
    """What a page consists of: elements with their attributes, and the text outside of script and style."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text, self.within = "", ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.within = name
        self.found.append((name, dict(attributes)))

    def handle_endtag(self, name):
        self.within = ""

    def handle_data(self, data):
        if self.within not in ("script", "style"):
            self.text += data + "\n"

    def all(self, name: str) -> list[dict]:
        return [attributes for found, attributes in self.found if found == name]


def test_the_page_has_what_it_promises(written, runs):
    """Without a browser: every section, pictures of every run, and figures as the results have them."""
    read = Elements(written.read_text(encoding="utf-8"))
    sections = [attributes["id"] for attributes in read.all("section")]
    assert sections == SECTIONS
    assert [link["href"] for link in read.all("a")] == [f"#{name}" for name in sections]
    # A picture of samples for each run, eight about the latents of the finished ones, and the differences.
    assert len(read.all("img")) == 3 + 2 * 8 + 1
    assert all(image["src"].startswith("data:image/png;base64,") for image in read.all("img"))
    result = read_json(runs["first"] / "result.json")
    for figure in result_figures(result).values():
        assert figure in read.text
    for text in (
        "finished", "not finished: step 8 of 20", "one field differs", "optimizer.learning_rate", "61.2", "0.9.9",
        "77 test examples", "no diagnosis of latents: ", "was trained on other data", "Auto-Encoding",
    ):  # fmt: skip
        assert text in read.text, text


def test_nothing_in_the_page_is_anything_but_text(written, runs):
    """Names are text and attributes; there are the page's own scripts alone, and no handlers."""
    source = written.read_text(encoding="utf-8")
    read = Elements(source)
    assert EVIL.partition("/")[2] in read.text
    assert str(runs["first"]) in read.text
    assert ATTRIBUTE in read.text
    scripts = read.all("script")
    assert [script.get("type") for script in scripts] == ["application/json", None]
    assert not [name for _, attributes in read.found for name in attributes if name.startswith("on")]
    assert not any("src" in script for script in scripts)
    assert all(not a["href"].startswith(("http", "//")) for name, a in read.found if "href" in a)
    assert all(a["src"].startswith("data:") for name, a in read.found if "src" in a)
    policy = next(a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def _browser():
    """A headless Chromium of the system, or the reason why there is none."""
    options = service = None
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        return None, "selenium is not installed"
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if chromium is None or driver is None:
        return None, "chromium and chromium-driver are not installed"
    options, service = webdriver.ChromeOptions(), Service(driver)
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=service), ""


@pytest.fixture
def browser():
    found, reason = _browser()
    if found is None:
        pytest.skip(f"left out for want of a browser: {reason}")
    yield found
    found.quit()


HOVER = """
const svg = document.querySelector(".chart svg"), box = svg.getBoundingClientRect();
const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true};
svg.dispatchEvent(new PointerEvent("pointermove", at));
const tip = svg.parentNode.querySelector(".tip");
return tip.hidden ? "" : tip.innerText;
"""
BOXES = "return [...document.querySelectorAll('.chart path')].map(p => p.getBBox()).map(b => [b.width, b.height])"
CLICK = "document.querySelector(arguments[0]).click(); return document.querySelectorAll('.chart path').length"


def test_a_browser_draws_all_of_it_and_asks_for_nothing(written, browser):
    def ask(script, *given):
        return browser.execute_script(script, *given)

    browser.get(written.as_uri())
    assert ask("return performance.getEntriesByType('resource').length") == 0
    images = ask("return [...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])")
    assert len(images) == 20
    assert all(complete and width > 0 and shown > 0 for complete, width, shown in images)
    boxes = ask(BOXES)
    # Of three runs the bound of training and validation, and the KL of validation.
    assert len(boxes) == 3 * 3
    assert all(width > 50 and height > 0 for width, height in boxes)
    assert ATTRIBUTE in ask("return document.body.innerText")
    assert "unfinished" in ask(HOVER)
    assert ask(CLICK, ".legend button") == 2 * 3  # the first run is hidden
    assert ask(CLICK, ".legend button") == 3 * 3
    assert ask(CLICK, "#alike")
    assert "model.latent" in ask("return document.getElementById('fields').innerText")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = ask(background)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert ask(background) != light
    phone = {"width": 360, "height": 700, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")  # laid out anew
    assert ask("return document.documentElement.scrollWidth") == 360
    assert 200 < ask("return document.querySelector('.chart svg').getBoundingClientRect().width") < 340
    assert browser.get_log("browser") == []
    # The policy holds: what would come into the page by some hole is not run, and asks for nothing.
    injected = "const s = document.createElement('script'); s.textContent = 'window.hole = 1'; document.body.append(s);"
    assert ask(injected + "return window.hole === undefined")
    asking = "const done = arguments[0]; fetch('https://example.org/').then(() => done('asked'), () => done('refused'))"
    assert browser.execute_async_script(asking) == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_what_diagnose_left_is_taken(runs, tmp_path, monkeypatch):
    """Of the parameters that were evaluated, in the run folder or here; anything else is no diagnosis of them."""
    run = Path(shutil.copytree(runs["second"], tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(run / "diagnostics")
    for place in (run / "diagnostics", tmp_path / "diagnostics"):
        place.mkdir()
        (place / "diagnostics.json").write_text(json.dumps(diagnosis(Path("run"))))
        report_runs([run], tmp_path / "page.html", diagnose=False, overwrite=True, log=Log())
        assert "77 test examples" in (tmp_path / "page.html").read_text()
        other = {**diagnosis(run), "run_sha256": diagnosis(runs["first"])["run_sha256"]}  # which stood here before
        without = {name: value for name, value in other.items() if name != "run_sha256"}
        for spoilt in ({**diagnosis(run), "step": 10**6}, other, without, {"run": "run"}, []):
            (place / "diagnostics.json").write_text(json.dumps(spoilt))
            report_runs([run], tmp_path / "page.html", diagnose=False, overwrite=True, log=Log())
            assert 'id="latents"' not in (tmp_path / "page.html").read_text()
        shutil.rmtree(place)


def test_every_kind_of_model_and_of_state(tmp_path):
    """A sampler, a belief net that has not begun, and sequences under way; without data, whose names may be odd."""
    game = dataclasses.replace(CONFIG, model=GAN(2), objective=Adversarial())
    net = dataclasses.replace(
        CONFIG, model=SigmoidBeliefNetwork((3,)), objective=ReweightedWakeSleep(2), data=Arrays("a'\"&<b>.npy")
    )
    rnn = dataclasses.replace(CONFIG, model=VariationalRNN(frame=8, latent=2, hidden=3, features=3))
    rows = [{"step": 10 * i, "seconds": 2.0 * i, "train_bound": -9.0 / i, "validation_bound": None} for i in (1, 2)]
    found = {"test_mmd_squared": 0.0025, "test_examples": 10, "evaluated_step": 10, "parameters": 12345}
    folders = [
        made(tmp_path / "game", game, rows=[{"step": 10, "seconds": 1.0, "validation_mmd_squared": 0.5}], result=found),
        made(tmp_path / "net", net),
        made(tmp_path / "rnn", rnn, 16, None, rows),
    ]
    # All but the first are damaged.
    lines = ['{"test_parzen_log_likelihood": -7.125}', "[1]", "[" * 100_000, '{"test_']
    (folders[0] / "evaluations.jsonl").write_text("\n".join(lines))
    report_runs(folders, tmp_path / "page.html", log=Log())
    read = Elements((tmp_path / "page.html").read_text())
    for text in (
        "0.0025", "-7.125", "evaluation 1", "12,345", "best validation mmd squared", "not begun",
        "not finished: step 20 of 20", "a'\"&<b>.npy",
        "no samples: no checkpoint was written yet.", "no diagnosis of latents: no checkpoint was written yet.", "5.0",
    ):  # fmt: skip
        assert text in read.text, text
    assert "evaluation 2" not in read.text
    assert "comparison" not in [attributes["id"] for attributes in read.all("section")]


def test_samples_of_the_plane_are_points(tmp_path):
    """Beside test examples, in place of the rows of pixels that the run folder has."""
    data = Gaussians(num_train=60, num_validation=20, num_test=20)
    game = dataclasses.replace(
        CONFIG, model=GAN(2, generator=NET, critic=NET, data="real"), objective=Adversarial(), data=data
    )
    train, found, spec = prepare(game, None)
    run, _ = create_or_match(tmp_path / "ring", game, spec)
    checkpoints.save(run.checkpoints, train.init(game, jax.random.key(0), found.train), 0.0, None, (0.0, 0))
    plots.save_images(run.folder / "samples.png", np.zeros((9, 2)), None)
    report_runs([run.folder], tmp_path / "page.html", log=Log())
    read = Elements((tmp_path / "page.html").read_text())
    (image,) = read.all("img")
    picture = imread(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
    assert min(picture.shape[:2]) > 400
    assert "samples, and as many test examples" in read.text


def test_members_of_a_sweep_and_runs_that_cannot_be_compared(tmp_path):
    """A sweep stands for its members; figures by example that were never kept cannot be paired."""
    sweep, result = tmp_path / "sweep", {"test_nll": 3.0, "test_examples": 10, "evaluated_step": 10}
    for i in range(2):
        config = dataclasses.replace(CONFIG, optimizer=Adam(1e-3 * (i + 1)))
        made(sweep / "members" / f"{i}_rate", config, result=result)
    (sweep / "sweep.json").write_text("{}")
    (sweep / "summary.md").write_text("Settings.\n\n| rate | test_nll |\n| --- | ---: |\n| a\\|<b> | 3 |\n\n- halted\n")
    report_runs([sweep, sweep / "members" / "0_rate"], tmp_path / "page.html", log=Log())
    read = Elements((tmp_path / "page.html").read_text())
    for text in ("0_rate", "1_rate", "a|<b>", "halted", "Not compared: no values by test example are kept"):
        assert text in read.text, text
    assert read.text.count("2 of 2") == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "sweep.json").write_text("{}")
    with pytest.raises(RunError, match="empty: a sweep without members"):
        report_runs([tmp_path / "empty"], tmp_path / "other.html", log=Log())


def test_what_is_refused(tmp_path, capsys):
    """Errors before anything is measured, and nothing is overwritten unless told."""
    run, out = made(tmp_path / "run", CONFIG), tmp_path / "page.html"
    assert main(["report", str(tmp_path), "--out", str(out)]) == 2
    assert "no run here, config.json is missing" in capsys.readouterr().err
    assert not out.exists()
    out.write_text("mine")
    assert main(["report", str(run), "--out", str(out)]) == 2
    assert f"{out} exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["report", str(run), "--out", str(out), "--overwrite"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text().startswith("<!doctype html>")
    assert main(["report", str(run), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["report", str(run), "--out", str(tmp_path), "--overwrite"]) == 2
    assert "a folder" in capsys.readouterr().err
    with pytest.raises(UserError, match="got no run folders"):
        report_runs([], tmp_path / "b.html", log=Log())
    with pytest.raises(UserError, match="num_examples: got 1, expected an integer, at least 2"):
        report_runs([run], tmp_path / "b.html", num_examples=1, log=Log())
    (run / "result.json").write_text("{")
    with pytest.raises(RunError, match=r"result.json is damaged"):
        report_runs([run], tmp_path / "b.html", log=Log())


def test_figures_in_words():
    found = result_figures(
        {
            "test_nll": 90.381,
            "test_nll_standard_error": 0.254,
            "test_bound": None,
            "test_bound_standard_error": None,
            "test_nll_samples": None,
            "units": "nats",
            "steps": 12000,
            "total_seconds": 3.0,
        }
    )
    words = {"test NLL": "90.38 ± 0.25", "test bound": "not finite", "test nll samples": "exact"}
    assert found == {**words, "units": "nats", "steps": "12,000"}


def test_the_page_is_a_function_of_its_record():
    """Every text of a record is escaped, wherever it stands."""
    evil = "<b class='x'>&amp;"
    picture = Picture("a.png", evil, b"png", plain=True)
    texts = {evil: evil}
    run = Reported(evil, evil, evil, True, texts, texts, texts, texts, [texts], [picture], [evil], [picture], [evil])
    compared = Comparison(evil, [evil], [[evil]], [evil], picture)
    record = Page(evil, evil, [run, run], [Curve(evil, "train", 0, [(1, 0.5, 2.0)])], [compared, evil], [], evil)
    text = page(record)
    assert page(record) == text
    assert "<b" not in text.replace("<body", "").replace("<button", "")
    assert Elements(text).text.count(evil) > 30
    assert tag("i", "a<b", title='"') == '<i title="&quot;">a&lt;b</i>'
