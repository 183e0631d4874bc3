"""Fuzz readers of files by coverage: `python tests/fuzz/run.py READER ... --seconds N`, or `all`.

Needs the extra `fuzz`. What a reader raises beside errors of the package, and memory that a file's size does not
justify, is a finding: it is shown once for each place that it comes from, its input is kept in the folder `--keep`, and
the command exits with 1. Crashes of the interpreter and hangs are libFuzzer's to report.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).parent
HANG = 20  # seconds


def place_of(error: BaseException) -> str:
    """What was raised, and from which line of the package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "genjax_models" in f.filename] or frames
    text = re.sub(r"\d+", "N", str(error))[:100] if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno} {text}".rstrip()


def fuzz(name: str, corpus: Path, seconds: int, keep: Path) -> None:
    """Fuzz one reader in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["genjax_models", "wave", "zipfile", "csv", "PIL"]):
        import readers

    reader, seen = readers.READERS[name], set()
    scratch = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    for i, content in enumerate(reader.seeds()):
        (corpus / f"seed_{i}").write_bytes(content)

    def one(content: bytes) -> None:
        content = reader.repair(content)
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            try:
                readers.check(reader, content, Path(folder))
            except Exception as error:
                if (place := place_of(error)) not in seen:
                    seen.add(place)
                    path = keep / f"{name}_{len(seen)}"
                    path.write_bytes(content)
                    path.with_suffix(".txt").write_text(f"{place}\n\n{traceback.format_exc()}")

    limits = [f"-max_total_time={seconds}", "-max_len=8192", f"-timeout={HANG}", "-rss_limit_mb=4096"]
    atheris.Setup(
        ["fuzz", str(corpus), *limits, "-print_final_stats=1", "-len_control=0", f"-artifact_prefix={keep}/{name}_"],
        one,
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="+", metavar="READER", help="names from readers.py, or all")
    parser.add_argument("--seconds", type=int, default=60, help="for each (default: 60)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"), help="a folder for inputs that fail")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        fuzz(arguments.readers[0], arguments.child, arguments.seconds, arguments.keep)
        return 0
    sys.path.insert(0, str(HERE))
    import readers

    names = list(readers.READERS) if arguments.readers == ["all"] else arguments.readers
    if unknown := [name for name in names if name not in readers.READERS]:
        parser.error(f"no reader {unknown[0]}; there are {', '.join(readers.READERS)}")
    arguments.keep.mkdir(parents=True, exist_ok=True)
    keep, failed = arguments.keep.resolve(), False
    for name in names:
        before = set(keep.iterdir())
        with tempfile.TemporaryDirectory() as corpus:
            words = [name, "--seconds", str(arguments.seconds), "--keep", str(keep), "--child", corpus]
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
        inputs = re.search(r"stat::number_of_executed_units: *(\d+)", done.stderr)
        found = sorted(path for path in keep.iterdir() if path not in before)
        places = [path.read_text().splitlines()[0] for path in found if path.suffix == ".txt"]
        broken = [path.name for path in found if re.match(rf"{name}_(crash|timeout|oom|slow)", path.name)]
        row = {"reader": name, "inputs": int(inputs[1]) if inputs else None, "findings": places, "broken": broken}
        print(json.dumps(row), flush=True)
        if done.returncode or places or broken:
            failed = True
            if done.returncode and not broken:
                print(done.stderr[-2000:], flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
