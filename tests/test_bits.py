"""Tests that are marked `bits`: what is equal bit for bit is so by the code generator that users have."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_marked_tests_pass_in_a_process_of_their_own():
    """By the older generator a number of a sweep's point depends, in the last place, on how many its device has."""
    marked = [path for path in sorted(TESTS.rglob("test_*.py")) if "@pytest.mark.bits\n" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", "bits and not slow", *map(str, marked)]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-10_000:]
