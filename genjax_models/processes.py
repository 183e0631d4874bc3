"""Several processes of one run: how they come together, what the first says to all, and what they say when one is gone.

Every process runs the same program on its own devices, and XLA's collectives join the arrays. Files are written by the
first process; checkpoints by all, into one folder that all of them see.
"""

import contextlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from genjax_models.errors import ConfigError, RunError, UserError, require_count

HEARTBEAT = 20  # seconds without a sign of life, after which a process counts as gone
LEAVING = 20  # seconds that a process waits for the others at its end
MOST = 2000  # bytes of a message that is sent to all


class Lost(Exception):
    """Another process of the run is gone; the message says what survives."""


class Launch(NamedTuple):
    """How a process finds the others; None where the environment says it."""

    coordinator: str | None = None  # HOST:PORT, of the first process
    num_processes: int | None = None
    process_id: int | None = None


def _many(variable: str) -> bool:
    return os.environ.get(variable, "1").isdecimal() and int(os.environ.get(variable, "1")) > 1


def launched_by() -> str | None:
    """What the environment says that started this process as one of several: None where it was started alone.

    Slurm (`srun`), Open MPI (`mpirun`), an indexed job of Kubernetes, or a machine of a Cloud TPU.
    """
    if "SLURM_STEP_NODELIST" in os.environ and _many("SLURM_NTASKS"):
        return "Slurm"
    if _many("OMPI_COMM_WORLD_SIZE"):
        return "Open MPI"
    if "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ:
        return "Kubernetes"
    if importlib.util.find_spec("libtpu") is not None and "TPU_SKIP_MDS_QUERY" not in os.environ:
        return "Cloud TPU"
    return None


def join(launch: Launch = Launch()) -> bool:  # noqa: B008  # an immutable record
    """Join the other processes of this run, before anything else asks for devices.

    Args:
        launch: where the first process is, how many there are and which this one is: all three, or none for what the
            environment says. One process is a run alone, whatever the environment says.

    Returns:
        Whether there are several.

    Raises:
        ConfigError: some of the three without the others, numbers that do not fit, or processes that do not find
            each other.
    """
    given = [value is not None for value in launch]
    if launch.num_processes == 1 and not launch.process_id:
        return False
    if any(given) and not all(given):
        missing = [
            f"--{name.replace('_', '-')}" for name, there in zip(launch._fields, given, strict=True) if not there
        ]
        raise ConfigError(
            f"several processes: {', '.join(missing)} missing; give --coordinator HOST:PORT, --num-processes and "
            "--process-id together, or none of them where Slurm, Open MPI, Kubernetes or a TPU says them."
        )
    by = launched_by()
    if all(given):
        _check(launch)
    elif by is None:
        return False
    elif by == "Open MPI" and "OMPI_MCA_orte_hnp_uri" not in os.environ:
        # Newer releases do not say where the first process is.
        if "JAX_COORDINATOR_ADDRESS" not in os.environ:
            raise ConfigError(
                "several processes: this Open MPI does not say where the first one is; set JAX_COORDINATOR_ADDRESS to "
                "HOST:PORT of its machine for all (mpirun -x JAX_COORDINATOR_ADDRESS=HOST:PORT ...)."
            )
        size, rank = (int(os.environ[f"OMPI_COMM_WORLD_{name}"]) for name in ("SIZE", "RANK"))
        launch = Launch(os.environ["JAX_COORDINATOR_ADDRESS"], size, rank)
    try:
        jax.distributed.initialize(
            *launch, heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=LEAVING, initialization_timeout=120
        )
    except (RuntimeError, ValueError) as error:
        told = "as --coordinator, --num-processes and --process-id say" if all(given) else f"as {by} says"
        raise ConfigError(f"several processes: they do not find each other, {told}: {error}") from None
    return jax.process_count() > 1


def _check(launch: Launch) -> None:
    require_count("--num-processes", launch.num_processes)
    number, own = launch.num_processes, launch.process_id
    assert number is not None
    if not isinstance(own, int) or not 0 <= own < number:
        raise ConfigError(f"--process-id: got {own!r}, expected 0 to {number - 1}, of {number} processes.")
    host, _, port = str(launch.coordinator).rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"--coordinator: got {launch.coordinator!r}, expected HOST:PORT of the first process, such as "
            "node001:29400."
        )


def first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return jax.process_index() == 0


def count() -> int:
    """How many processes the run has."""
    return jax.process_count()


def several() -> bool:
    """Whether the run has more processes than this one; alone, no device is asked for."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def _said(text: str) -> list[str]:
    """What every process says, at most `MOST` bytes, in all processes."""
    from jax.experimental import multihost_utils

    content = np.frombuffer(text.encode()[:MOST].ljust(MOST, b"\0"), np.uint8)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in multihost_utils.process_allgather(content)]


def together(function: Callable[[], Any]) -> Any:
    """`function()` in every process. Where it fails with a UserError in one of them, it fails in all.

    Without it the others would wait for a process that has ended.
    """
    if not several():
        return function()
    value, failed = None, None
    try:
        value = function()
    except UserError as error:
        failed = error
    said = _said("" if failed is None else f"process {jax.process_index()}: {failed}")
    if failed is not None:
        raise failed
    if others := [text for text in said if text]:
        raise RunError(others[0])
    return value


def by_first(function: Callable[[], Any]) -> Any:
    """`function()` of the first process in all of them, short and as JSON has it; a UserError of it in all."""
    if not several():
        return function()
    value = together(lambda: function() if first() else None)
    return json.loads(_said(json.dumps(value) if first() else "")[0])


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return any(_said("yes" if flag else "")) if several() else flag


def wait_for_all(where: str) -> None:
    """Return when every process has come here."""
    if several():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)


# What libraries say when a peer does not answer any more.
SIGNS = ("gloo", "nccl", "coordination service", "coordination_service", "heartbeat", "connection", "barrier")


@contextlib.contextmanager
def naming_the_lost(what_survives: Callable[[], str]) -> Iterator[None]:
    """Within, errors of collectives that others no longer take part in become `Lost`.

    Args:
        what_survives: tells, when it comes to that, where the run stands.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if not several() or isinstance(error, UserError) or not any(sign in str(error).lower() for sign in SIGNS):
            raise
        raise Lost(
            f"another process of this run is gone ({str(error).splitlines()[0][:200]}). {what_survives()} Start all "
            "processes again: the same command goes on from there."
        ) from None
