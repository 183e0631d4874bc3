"""Run the benchmarks: `python tests/benchmarks/run.py [NAME ...] [--json FILE] [--write FILE]`.

Every row is a ratio of two measurements taken in turns in one run; lower is better. Run it on an idle machine.
"""

import argparse
import datetime
import importlib.util
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from timing import Row

BENCHMARKS = (
    "train_vae",
    "train_iwae",
    "train_rws",
    "vae_step",
    "vimco_step",
    "gan_step",
    "train_made",
    "train_realnvp",
    "flow_step",
    "nade_step",
    "train_draw",
    "train_vrnn",
    "cold_start",
    "evaluation_memory",
    "evaluation_torch",
    "sweep_points",
    "sweep_accelerator",
    "streaming",
)


HEAD = """Every row is a ratio of two measurements taken in turns in one run; lower is better. Ours and the other's are
the least of the run, the ratio is the median over its rounds. Updates run in a compiled scan where the library
compiles, from equal parameters, at which the losses were found equal. First updates: seconds from the start of a
process, with nothing cached. Peak memory: of such a process, its imports included."""
MODULES = {"pyro-ppl": "pyro"}  # what packages are imported as, where that is not their name


def table(rows: Iterable[Row]) -> str:
    """The rows as text in columns."""
    head = ("", "ours", "other", "unit", "ratio", "target", "")
    body = [
        (r.name, f"{r.ours:.1f}", f"{r.other:.1f}", r.unit, f"{r.ratio:.2f}", _target(r), _verdict(r)) for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in (head, *body))


def _verdict(row: Row) -> str:
    if math.isinf(row.target):
        return ""
    return "met" if row.ratio <= row.target else "missed"


def _target(row: Row) -> str:
    return "" if math.isinf(row.target) else f"{row.target:.3g}"


def versions() -> dict[str, str]:
    """What the figures depend on, of what is installed."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpyro", "pyro-ppl", "pythae", "torch", "flowjax", "grain")
    there = {name: metadata.version(name) for name in packages if importlib.util.find_spec(MODULES.get(name, name))}
    return {"python": platform.python_version(), **there}


def page(measured: Mapping[str, Sequence[Row]], about: Mapping[str, str]) -> str:
    """The rows of each benchmark as Markdown, below what they measure.

    Args:
        measured: by the benchmark's name.
        about: the first paragraph of each one's docstring.
    """
    lines = [
        "# Speed",
        "",
        HEAD,
    ]
    for name, rows in measured.items():
        lines += ["", f"## {name}", "", about[name], ""]
        lines += ["| | ours | other | unit | ratio | target | |", "| --- | ---: | ---: | --- | ---: | ---: | --- |"]
        lines += [
            f"| {r.name} | {r.ours:.1f} | {r.other:.1f} | {r.unit} | {r.ratio:.2f} | {_target(r)} | {_verdict(r)} |"
            for r in rows
        ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines += ["", f"Measured {datetime.date.today()} on {cores} {platform.machine()} cores. Versions: {listed}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmarks that the command line names, all without a name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names with what they measure, and run none")
    parser.add_argument("--json", metavar="FILE", help="write the rows to a file as well")
    parser.add_argument("--write", metavar="FILE", help="write them as a page in Markdown as well")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    modules = {name: importlib.import_module(name) for name in arguments.names or BENCHMARKS}
    about = {name: str(module.__doc__).split("\n\n")[0] for name, module in modules.items()}
    if arguments.list:
        print("\n".join(f"{name:18}  {text.splitlines()[0]}" for name, text in about.items()))
        return
    measured: dict[str, list[Row]] = {}
    for name, module in modules.items():
        print(f"{name} ...", flush=True)
        measured[name] = module.rows()
        if arguments.write:
            Path(arguments.write).write_text(page(measured, about), encoding="utf-8")
        if arguments.json:
            rows = [row._asdict() for own in measured.values() for row in own]
            Path(arguments.json).write_text(json.dumps({"versions": versions(), "rows": rows}, indent=2) + "\n")
    print(table(row for own in measured.values() for row in own))


if __name__ == "__main__":
    main()
