"""The memory of `log_marginal` with ten times the importance samples, each in a process of its own."""

import resource
import subprocess
import sys
from pathlib import Path

from timing import Row

TARGET = 1.3
SAMPLES, FEWER = 5000, 500
EXAMPLES = 200


def _resident() -> float:
    """The peak resident memory of this process in MiB."""
    try:
        # Linux lets a process inherit the `ru_maxrss` of the one that started it.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _measure(num_samples: int) -> None:
    """Evaluate, and print the peak memory."""
    import dense
    import jax

    from genjax_models.evaluation import log_marginal

    model, params, x = (
        dense.our_autoencoder(),
        dense.autoencoder_setting().params,
        dense.binary(EXAMPLES, dense.VISIBLE),
    )
    jax.block_until_ready(log_marginal(model, params, jax.random.key(0), x, num_samples))
    print(_resident())


def _peak(num_samples: int) -> float:
    command = [sys.executable, __file__, str(num_samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def rows() -> list[Row]:
    """The peak with SAMPLES importance samples by that with FEWER."""
    many, few = _peak(SAMPLES), _peak(FEWER)
    return [Row(f"memory of NLL, K = {SAMPLES} / K = {FEWER}", many, few, "MiB", many / few, TARGET)]


if __name__ == "__main__":
    _measure(int(sys.argv[1]))
