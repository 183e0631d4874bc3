"""From the start of the process to the first finished steps: our command line against a hand-written script.

Both print a line when their first 100 steps, one compiled call, are done; the clock stops at that line, and the process
is ended. Each runs in a terminal of its own, where our command line shows progress as a user sees it. "Cold" has an
empty folder for JAX's compilation cache, "cached" one that the same program has filled.
"""

import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timing import Row, compare, in_turns

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "configs" / "vae_digits.py"
TARGETS = {"cold": 1.2, "cached": 1.5}
ROUNDS = {"cold": 5, "cached": 9}


def _seconds_to_first_step(command: list[str], cache: str) -> float:
    """Seconds until a command prints the word "step"; it is ended then."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    terminal, end = pty.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=end, stdout=end, stderr=end)
    os.close(end)
    printed = b""
    try:
        while b"step " not in printed:
            try:
                new = os.read(terminal, 4096)
            except OSError:  # how a terminal ends
                new = b""
            if not new:
                raise RuntimeError(f"{' '.join(command)} ended before its first step:\n{printed.decode()}")
            printed += new
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def _ours(cache: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = ["-m", "genjax_models", "train", str(CONFIG), "--run-dir", str(Path(folder) / "run")]
        return _seconds_to_first_step([sys.executable, *run], cache)


def _other(cache: str) -> float:
    return _seconds_to_first_step([sys.executable, str(HERE / "handwritten_vae.py")], cache)


def _cold(run: Callable[[str], float]) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return run(cache)


def rows() -> list[Row]:
    """Our command line by the hand-written script, cold and cached."""
    found = []
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as other:
        cached = {_ours: ours, _other: other}
        measures = {"cold": _cold, "cached": lambda run: run(cached[run])}
        for name, measure in measures.items():
            times = in_turns(_ours, _other, rounds=ROUNDS[name], measure=measure)
            found.append(compare(f"first step, {name} / hand-written", *times, "s", TARGETS[name]))
    return found
