"""One run on several devices and in several processes: the same curve, and what becomes of it when one is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from genjax_models import experiment, plots, processes
from genjax_models.config import Config
from genjax_models.data import Digits, shard
from genjax_models.errors import ConfigError, RunError
from genjax_models.experiment import train_run
from genjax_models.overlay import overlay
from genjax_models.processes import Launch, Lost, join, launched_by, naming_the_lost

SOURCE = """
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam

CONFIG = Config(
    model=VAE(latent=4, encoder=MLP((128,)), decoder=MLP((128,))),
    objective=IWAE(num_particles=3),
    optimizer=Adam(1e-3),
    data=Digits(binarization="dynamic"),
    training=Training(num_steps=400, batch_size=16, evaluate_every=40, chunk=10),
    evaluation=Evaluation(num_samples=5, validation_examples=30, test_examples=40),
)
"""


def config_of(source: str) -> Config:
    names: dict = {}
    exec(source, names)
    return names["CONFIG"]


CONFIG = overlay(config_of(SOURCE), {"training.num_steps": 60, "training.evaluate_every": 20})


def curve(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([[row[name] for name in ("step", "train_bound", "validation_bound")] for row in rows])


def quiet(line):
    pass


@pytest.fixture
def undrawn(monkeypatch):
    for name in ("save_curves", "save_images"):
        monkeypatch.setattr(plots, name, lambda path, *rest, **named: path.write_bytes(b"drawn"))


def test_a_run_goes_on_with_other_devices(tmp_path, undrawn, monkeypatch):
    """Begun on 8 with sharded parameters, gone on with on 2 that have them whole, and ended on 8."""
    whole = train_run(CONFIG, tmp_path / "one", log=quiet)
    assert (whole["devices"], whole["processes"]) == (1, 1)
    measure, evaluations = experiment.measure, []

    def interrupted(*args, **named):
        evaluations.append(1)
        if len(evaluations) == 2:
            evaluations.clear()
            raise KeyboardInterrupt
        return measure(*args, **named)

    def go_on(devices):
        train_run(CONFIG, tmp_path / "run", log=quiet, devices=devices, shard_parameters=devices == 8)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure", interrupted)
        for devices in (8, 2):
            with pytest.raises(KeyboardInterrupt):
                go_on(devices)
    said = []
    found = train_run(CONFIG, tmp_path / "run", log=said.append, devices=8, shard_parameters=True)
    assert found["devices"] == 8
    assert any("resuming from step 40" in line for line in said)
    assert "each batch of 16 is shared by 8 devices." in said
    np.testing.assert_allclose(curve(tmp_path / "run"), curve(tmp_path / "one"), rtol=1e-5)
    assert abs(found["test_nll"] - whole["test_nll"]) < 1e-3


def test_what_is_impossible_is_said_before_there_is_a_folder(tmp_path):
    for devices, sharded, words in ((3, False, "which 3 devices cannot share"), (None, True, "give devices too")):
        with pytest.raises(ConfigError, match=words):
            train_run(CONFIG, tmp_path / "run", log=quiet, devices=devices, shard_parameters=sharded)
    assert not (tmp_path / "run").exists()
    said = []
    experiment._log_devices(CONFIG, None, said.append)
    assert said == ["training on 1 of 8 devices; with --devices several share each batch."]


ALONE = ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "KUBERNETES_SERVICE_HOST")


@pytest.fixture
def alone(monkeypatch):
    for name in (*ALONE, "JOB_COMPLETION_INDEX", "JAX_COORDINATOR_ADDRESS", "OMPI_MCA_orte_hnp_uri"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **named: calls.append(args))
    return calls


@pytest.mark.parametrize(
    ("variables", "by", "launch"),
    [
        ({}, None, None),
        ({"SLURM_STEP_NODELIST": "node[1-4]", "SLURM_NTASKS": "4"}, "Slurm", Launch()),
        ({"SLURM_STEP_NODELIST": "node1", "SLURM_NTASKS": "1"}, None, None),
        ({"SLURM_NTASKS": "4"}, None, None),  # an allocation without a step: a shell in it
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1"}, "Open MPI", Launch()),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "JAX_COORDINATOR_ADDRESS": "h:1"},
            "Open MPI",
            Launch("h:1", 2, 1),
        ),
        ({"KUBERNETES_SERVICE_HOST": "h"}, None, None),  # a service of its own
        ({"KUBERNETES_SERVICE_HOST": "h", "JOB_COMPLETION_INDEX": "0"}, "Kubernetes", Launch()),
    ],
)
def test_processes_are_found_in_the_environment(alone, monkeypatch, variables, by, launch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_by() == by
    join()
    assert alone == ([] if launch is None else [tuple(launch)])
    join(Launch(num_processes=1))
    assert len(alone) == (launch is not None)
    join(Launch("h:2", 3, 2))
    assert alone[-1] == ("h:2", 3, 2)


def test_a_launch_that_cannot_be_is_explained(alone, monkeypatch):
    for launch, words in (
        (Launch("h:1", 2), "--process-id missing"),
        (Launch(num_processes=2, process_id=0), "--coordinator missing"),
        (Launch("h:1", 2, 2), "--process-id: got 2, expected 0 to 1, of 2 processes"),
        (Launch("host", 2, 0), "--coordinator: got 'host', expected HOST:PORT"),
        (Launch("h:1", 0, 0), "--num-processes: got 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            join(launch)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="set JAX_COORDINATOR_ADDRESS"):
        join()

    def lost(*args, **named):
        raise RuntimeError("timed out")

    monkeypatch.setattr(jax.distributed, "initialize", lost)
    with pytest.raises(ConfigError, match=r"they do not find each other, as --coordinator.* say: timed out"):
        join(Launch("h:1", 2, 0))


def test_errors_of_collectives_name_what_survives(monkeypatch):
    def failing(error):
        with naming_the_lost(lambda: "All survives."):
            raise error

    gloo = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
    with pytest.raises(ValueError, match="Gloo"):  # alone there are no others
        failing(gloo)
    monkeypatch.setattr(processes, "several", lambda: True)
    with pytest.raises(Lost, match=r"is gone .UNKNOWN: Gloo.* All survives. Start all processes again"):
        failing(gloo)
    for error in (ValueError("another thing"), RunError("connection")):
        with pytest.raises(type(error), match=str(error)):
            failing(error)


# Real processes.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start(folder, number, *words):
    """The processes of one run, each with a device of its own."""
    port, environment = free_port(), {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "xla")}
    command = [sys.executable, "-m", "genjax_models", "train", "config.py", "--run-dir", str(folder), *words]
    launch = [f"--coordinator=localhost:{port}", f"--num-processes={number}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [
        subprocess.Popen([*command, *launch, f"--process-id={i}"], cwd=folder.parent, env=environment, **pipes)
        for i in range(number)
    ]


def ended(group, timeout=120):
    try:
        return [(p.communicate(timeout=timeout)[0], p.returncode) for p in group]
    finally:
        for p in group:
            p.kill()


def test_one_of_two_processes_is_killed_and_the_run_goes_on(tmp_path, undrawn):
    """The other one stops within a minute and says what survives; one process with two devices ends the run."""
    (tmp_path / "config.py").write_text(SOURCE)
    folder = tmp_path / "run"
    group = start(folder, 2)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "checkpoints" / "000000040").exists():
            assert time.monotonic() < deadline, ended(group, 1)
            time.sleep(0.02)
        group[1].send_signal(signal.SIGKILL)
        began = time.monotonic()
        (said, code), _ = ended(group)
    finally:
        for p in group:
            p.kill()
    assert time.monotonic() - began < 60
    assert code == 5, said
    assert "another process of this run is gone" in said
    assert "checkpoints/000000040 survives" in said or "checkpoints/000000080 survives" in said
    assert not (folder / "result.json").exists()
    resumed, log = tmp_path / "run", []
    found = train_run(config_of(SOURCE), resumed, log=log.append, devices=2)
    assert "resuming from step" in log[1]
    straight = train_run(config_of(SOURCE), tmp_path / "straight", log=quiet)
    np.testing.assert_allclose(curve(resumed), curve(tmp_path / "straight"), rtol=1e-4)
    assert abs(found["test_nll"] - straight["test_nll"]) < 1e-2


@pytest.mark.slow
def test_four_processes_train_as_one(tmp_path, undrawn):
    """Each reads its part of every batch from shards on disk."""
    shard(Digits(binarization="none"), tmp_path / "shards")
    source = SOURCE.replace("import Digits", "import Shards").replace(
        "Digits(", f"Shards({str(tmp_path / 'shards')!r}, "
    )
    (tmp_path / "config.py").write_text(source)
    said = ended(start(tmp_path / "run", 4, "--shard-parameters"), 400)
    assert [code for _, code in said] == [0, 0, 0, 0], said
    assert "each batch of 16 is shared by 4 devices of 4 processes." in said[0][0]
    assert "shared by" not in said[1][0]
    train_run(config_of(source), tmp_path / "one", log=quiet)
    np.testing.assert_allclose(curve(tmp_path / "run"), curve(tmp_path / "one"), rtol=1e-4)


def test_a_failure_of_one_process_is_the_failure_of_all(tmp_path):
    """Data that only one of them lacks stop both, with the reason, before there is a folder."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from genjax_models.errors import DataError, UserError\n"
        "from genjax_models.processes import Launch, any_of, by_first, first, join, together\n"
        "own = int(sys.argv[2])\n"
        "assert join(Launch(sys.argv[1], 2, own)) and first() == (own == 0)\n"
        "assert together(lambda: own) == own\n"
        "assert by_first(lambda: {'a': [own, 'x']}) == {'a': [0, 'x']}\n"
        "assert any_of(own == 1) and not any_of(False)\n"
        "def load():\n"
        "    if own: raise DataError('no file here')\n"
        "try:\n"
        "    together(load)\n"
        "except UserError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    words = [sys.executable, str(program), f"localhost:{free_port()}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    said = ended([subprocess.Popen([*words, str(i)], **pipes) for i in range(2)])
    assert [code for _, code in said] == [0, 0], said
    assert "RunError process 1: no file here" in said[0][0]
    assert "DataError no file here" in said[1][0]
