"""Fixtures that several tests share.

Compiling is most of what the tests cost, and they run small programs once: XLA optimizes little here, half the time in
all, and takes its older code generator where it still has it, a sixth of the rest. What is chosen by `-m` has the usual
one, and `JAX_DISABLE_MOST_OPTIMIZATIONS=0 python -m pytest -n 2` tests what users' runs are compiled to.
"""

import gc
import os
import sys
from pathlib import Path

from jaxlib.version import __version_info__ as jaxlib_version

os.environ.setdefault("GIVEN_XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # before a parent process added to them
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # read by jax, here and in what the tests start
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1":
    # How loops are shared out to threads takes a tenth of the compiling, and changes no bit. The last flag has its say.
    os.environ["XLA_FLAGS"] = f"--xla_disable_hlo_passes=cpu-parallel-task-assigner {os.environ['GIVEN_XLA_FLAGS']}"
    if any(arg.startswith("-m") for arg in sys.argv[1:]):  # who asks for drills, or for tests that compare bits
        os.environ["USUAL_CODE"] = "1"  # read by the workers
    if jaxlib_version[:2] == (0, 10) and "USUAL_CODE" not in os.environ:  # later releases end a process by this flag
        os.environ["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {os.environ['XLA_FLAGS']}"

import jax
import pytest

gc.set_threshold(50_000)  # programs are kept by the thousand, and looking through them for cycles takes a twentieth
jax.config.update("jax_num_cpu_devices", 8)  # what is spread over devices is tested on several


MOST_MAPPINGS = 25_000  # Linux gives a process 65,530, a program takes several, and a compilation without any aborts


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Programs of earlier modules are let go before there are too many of them."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Arrays are float64 within the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def traces(monkeypatch):
    """A list that grows by one name with every method of a model that is traced or run."""
    from genjax_models.models.adapter import Method

    called, call = [], Method.__call__

    def counted(self, params, *args):
        called.append(self.name)
        return call(self, params, *args)

    monkeypatch.setattr(Method, "__call__", counted)
    return called


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Neighbouring tests in one process, where they share programs and fixtures; who is done takes from others.

    `--dist` on the command line has its say.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
