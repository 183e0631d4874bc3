"""A million steps in one process: memory, files and the time of a step, along the way.

    python tests/benchmarks/long_run.py

A sigmoid belief network of 16-12-6 by wake-sleep on 4x4 bars, validated, and saved, every 2,000 steps.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

STEPS, EVALUATE_EVERY = 1_000_000, 2_000
CONFIG = Path(__file__).resolve().parents[2] / "configs/wake_sleep_bars.py"


class Moment(NamedTuple):
    """What a process has taken by a step."""

    step: int
    seconds: float
    resident_mib: float
    open_files: int
    threads: int
    kept: int  # checkpoints and what is being built
    kept_bytes: int
    log_bytes: int  # of metrics.jsonl, which grows by a line a validation


def _moment(pid: int, run: Path, step: int, seconds: float) -> Moment:
    proc, kept = Path("/proc", str(pid)), [p for p in run.glob("checkpoints/*") if p.is_dir()]
    sizes = []
    for path in (p for folder in kept for p in folder.rglob("*")):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # pruned meanwhile
            continue
    pages = int((proc / "statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    opened, threads = (len(os.listdir(proc / name)) for name in ("fd", "task"))
    log = (run / "metrics.jsonl").stat().st_size
    return Moment(step, seconds, resident, opened, threads, len(kept), sum(sizes), log)


def long_run(run: Path, steps: int = STEPS, every: int = STEPS // 20) -> list[Moment]:
    """Train that many steps in a process of its own, and look at it every so many of them."""
    words = ["--training.num-steps", str(steps), "--training.evaluate-every", str(EVALUATE_EVERY)]
    words += ["--training.batch-size", "10", "--data.num-train", "20000", "--run-dir", str(run), "--quiet"]
    moments: list[Moment] = []
    with subprocess.Popen(
        [sys.executable, "-m", "genjax_models", "train", str(CONFIG), *words], stdout=subprocess.DEVNULL
    ) as process:
        start, log = time.perf_counter(), run / "metrics.jsonl"
        while process.poll() is None:
            step = EVALUATE_EVERY * log.read_bytes().count(b"\n") if log.is_file() else 0
            if step < steps and step >= every * (len(moments) + 1):
                moments.append(_moment(process.pid, run, step, time.perf_counter() - start))
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"training ended with {process.returncode}")
    return moments


def main() -> None:
    """Print a table of Markdown."""
    with tempfile.TemporaryDirectory() as place:
        moments = long_run(Path(place) / "run")
    print("| step | us a step since the last row | memory, MiB | open files | threads | checkpoints | kB | log, kB |")
    print("| --- " * 8 + "|")
    for before, m in zip([None, *moments], moments, strict=False):
        rate = f"{(m.seconds - before.seconds) / (m.step - before.step) * 1e6:.0f}" if before else ""
        cells = f"{m.step:,}", rate, f"{m.resident_mib:.0f}", m.open_files, m.threads, m.kept, m.kept_bytes // 1000
        print("|", " | ".join(map(str, (*cells, m.log_bytes // 1000))), "|", flush=True)


if __name__ == "__main__":
    main()
