"""What commands share: kinds of options, what is said and where, and how jax is set up."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

STARTED = time.perf_counter()  # before jax is imported: what the user waits for
DATA_DIR = "folder of data files (otherwise $GENJAX_MODELS_DATA, then ~/.cache/genjax_models/data)"
EXIT_CODES = """exit codes:
  0   finished
  1   a program error, with its traceback
  2   bad input, explained on standard error
  3   stopped at a step that was not finite
  4   a cell of a paper's table failed, explained in the table, and the others were run; or a check failed
  5   another process of the run is gone; the same command in all of them resumes
  75  interrupted by a signal, saved; the same command resumes
  141 the output is no longer read, as by `head` that has seen enough"""

Commands = Any  # what `ArgumentParser.add_subparsers` gives, whose type argparse keeps to itself


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add `--quiet` to a command that finds something."""
    command.add_argument("--quiet", action="store_true", help="no progress; errors and what was found alone")


def positive(text: str) -> int:
    """An option that counts something."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer, at least 1") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected at least 1")
    return value


def number_of_devices(text: str) -> int | Literal["all"]:
    """An option that counts devices."""
    return "all" if text == "all" else positive(text)


def use_compilation_cache() -> None:
    """Keep compiled programs between starts, unless the user has said where or whether."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    from genjax_models.data.folder import cache_folder

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def use_cores(points: int, shares: int = 1) -> None:
    """On a CPU make devices of the cores, `shares` for every point at most, unless the user has said how many."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    use_cpu_devices(shares * max(1, min(cores // shares, points)))


def use_cpu_devices(number: int) -> None:
    """On a CPU make so many devices of it."""
    import jax

    with contextlib.suppress(RuntimeError):  # JAX has begun, in a process that called `main` itself
        jax.config.update("jax_num_cpu_devices", number)


def compile_fast() -> None:
    """Let XLA optimize little, for programs that run a few times: compiling is what they cost."""
    import jax

    if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
        jax.config.update("jax_disable_most_optimizations", True)


def say(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def log_of(arguments: argparse.Namespace) -> Callable[[str], None]:
    """What hears of progress."""
    return (lambda line: None) if arguments.quiet else say


def live_of(arguments: argparse.Namespace) -> bool:
    """Whether progress is shown in a terminal that can write over what stands there."""
    return not arguments.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
