"""Exported models: the programs give what the model gives, without this package, and nothing is taken on trust."""

import json
import subprocess
import sys
from pathlib import Path

import conformance
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from genjax_models import checkpoints
from genjax_models.cli import main
from genjax_models.config import Config
from genjax_models.core import Batch, LatentVariableModel
from genjax_models.data import Digits
from genjax_models.errors import ConfigError, UserError
from genjax_models.evaluation import log_marginal
from genjax_models.export import ABOUT, PARAMETERS, PROGRAM, SCRIPT, export_programs, export_run, load_export, named
from genjax_models.measuring import chosen_parameters
from genjax_models.models import VAE, RealNVP, SigmoidBeliefNetwork, SupervisedGenerator
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.preparation import prepare
from genjax_models.run_folder import create_or_match, open_run

CONFIG = Config(VAE(3, MLP((8,), "tanh"), MLP((8,), "tanh")), ELBO(), Adam(), Digits())
QUICK = [
    conformance.Small(SigmoidBeliefNetwork((3,)), 4),
    conformance.Small(RealNVP(layers=2, hidden=(3,)), 3),
    conformance.Small(SupervisedGenerator(image_shape=(2, 2), hidden=(3,), channels=(3,)), 4),
]
TABLES = conformance.MODELS, conformance.LIKELIHOOD_MODELS, conformance.CONTINUOUS_MODELS, conformance.OTHER_MODELS
EVERY = [small for table in (*TABLES, conformance.IMPLICIT_MODELS) for rows in table.values() for small in rows]
CODE = 2  # the width of contexts


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A run with its initial parameters."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    train, data, spec = prepare(CONFIG, None)
    run, _ = create_or_match(folder, CONFIG, spec)
    checkpoints.save(run.checkpoints, train.init(CONFIG, jax.random.key(0), data.train), 0.0, None, (0.0, 0))
    return folder


@pytest.fixture(scope="module")
def exported(run_dir, tmp_path_factory) -> Path:
    return export_run(run_dir, tmp_path_factory.mktemp("exported") / "vae", num_samples=30, log=quiet)


def check(small: conformance.Small) -> None:
    """Every program of a model against the model's own functions, for two batch sizes."""
    model = small.config.build(small.visible)
    context = CODE if small.config.needs_context else None
    params = model.init(jax.random.key(0), jnp.zeros(small.visible), jnp.zeros(CODE) if context else ())
    arrays = {name: np.asarray(v) for name, v in named(params).items()}
    found = export_programs(model, params, small.visible, num_samples=7, context=context, platforms=("cpu", "tpu"))
    calls = {name: jax_export.deserialize(bytearray(content)).call for name, (_, content) in found.items()}
    for size in (1, 3):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(5), i))(jnp.arange(size))
        contexts = jnp.linspace(-1.0, 1.0, size * CODE).reshape(size, CODE) if context else ()
        given = {"keys": jax.random.key_data(keys), "context": contexts}

        def call(name, given=given):
            return calls[name](arrays, *(given[kind] for kind in found[name][0].inputs))

        def expect(name, function, *inputs, given=given, contexts=contexts):
            value = jax.vmap(lambda *row: function(params, *row))(*inputs, contexts)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), call(name, given), value)
            return value

        if isinstance(model, LatentVariableModel):
            x = given["x"] = expect("sample", lambda *a: model.sample_joint(*a)[1], keys)
            truth = log_marginal(model, params, jax.random.key(5), Batch(x, contexts), 7).log_prob
            np.testing.assert_allclose(call("log_marginal"), truth, rtol=2e-5, atol=2e-5)
            given["z"] = call("encode")
            if "keys" in found["encode"][0].inputs:
                expect("encode", lambda *a: model.propose(*a)[0], keys, x)
            else:
                expect("encode", lambda *a: model.posterior_moments(*a)[0], x)
            assert ("decode" in calls) == (model.decode is not None)
            if model.decode:
                expect("decode", model.decode, given["z"])
        else:
            x = given["x"] = expect("sample", model.sample, keys)
            if "log_marginal" in calls:
                expect("log_marginal", model.log_prob, x)
            if "decode" in calls and hasattr(model, "forward"):
                given["z"] = expect("encode", lambda *a: model.inverse(*a)[0], x)
                np.testing.assert_allclose(call("decode"), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("small", QUICK, ids=lambda s: type(s.config).__name__)
def test_programs_give_what_the_model_gives(small):
    check(small)


@pytest.mark.slow
@pytest.mark.parametrize("small", EVERY, ids=lambda s: type(s.config).__name__)
def test_every_model_can_leave(small):
    check(small)


def test_the_script_runs_without_the_package(exported):
    blocked = "import sys, runpy; sys.modules['genjax_models'] = None; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-P", "-c", blocked, str(exported / SCRIPT)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=exported, check=True).stdout.splitlines()
    assert [line.split(":")[0] for line in out] == ["sample", "log_marginal", "encode", "decode"]
    assert [line[line.rindex("(") :] for line in out] == ["(4, 64)", "(4,)", "(4, 3)", "(4, 64)"]
    lint = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "E,F,I",
        "--line-length",
        "120",
    ]
    subprocess.run([*lint, exported / SCRIPT], check=True)


def test_parameters_come_back_bit_for_bit(run_dir, exported):
    model, params = load_export(exported)
    _, chosen, _ = chosen_parameters(open_run(run_dir), quiet)
    jax.tree.map(np.testing.assert_array_equal, params, chosen)
    assert model.name == CONFIG.model.build(64).name


def test_the_command(run_dir, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(run_dir), "--out", str(out), "--num-samples", "9", "--platforms", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    about = json.loads((out / ABOUT).read_text())
    assert about["platforms"] == ["cpu"]
    assert about["programs"]["log_marginal"]["gives"] == "log p(x) by 9 importance samples, nats"
    program = jax_export.deserialize(bytearray((out / f"sample{PROGRAM}").read_bytes()))
    assert program.platforms == ("cpu",)
    assert main(["export", str(run_dir), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    assert main(["export", str(run_dir), "--out", str(mine), "--overwrite"]) == 2
    assert [p.name for p in mine.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda content: content[: len(content) // 2], "no whole file of safetensors"),
        (lambda content: b"\xff" * 8 + content[8:], "no whole file of safetensors"),
        (lambda content: content.replace(b"layers_0", b"layers_9"), "layers_0/bias: got none, expected float32[8]"),
        (None, "cannot be read"),
    ],
)
def test_what_is_not_the_models_is_refused(exported, tmp_path, spoil, says):
    for file in exported.iterdir():
        if file.name != PARAMETERS:
            (tmp_path / file.name).write_bytes(file.read_bytes())
        elif spoil is not None:
            (tmp_path / file.name).write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UserError) as raised:
        load_export(tmp_path)
    assert says in str(raised.value)


def test_impossible_wishes_are_refused():
    model = CONFIG.model.build(4)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(4), ())
    with pytest.raises(ConfigError, match=r"platforms: got .*'npu' is none"):
        export_programs(model, params, 4, platforms=("cpu", "npu"))
    with pytest.raises(ConfigError, match="num_samples: got 0"):
        export_programs(model, params, 4, num_samples=0)
