"""A run of a million steps, as `benchmarks/long_run.py` watches it."""

import pytest
from benchmarks.long_run import EVALUATE_EVERY, STEPS, long_run


@pytest.mark.slow
def test_a_million_steps_take_no_more_than_a_fifth_of_them(tmp_path):
    """Memory, open files, threads and checkpoints; the log of metrics alone grows, by one line a validation."""
    moments = long_run(tmp_path / "run")
    early, late = moments[1 : len(moments) // 4], moments[-len(moments) // 4 :]
    assert late[-1].step > 0.9 * STEPS
    # What is freed leaves gaps, of up to 13 MiB here; that a save keeps nothing is exact in test_checkpoints.py.
    assert max(m.resident_mib for m in late) < 1.05 * max(m.resident_mib for m in early)
    assert max(m.open_files for m in late) <= max(m.open_files for m in early) + 8
    assert max(m.threads for m in late) <= max(m.threads for m in early) + 8
    assert all(m.kept <= 4 for m in moments)
    assert max(m.kept_bytes for m in late) < 1.5 * max(m.kept_bytes for m in early)
    assert late[-1].log_bytes < 200 * late[-1].step / EVALUATE_EVERY
