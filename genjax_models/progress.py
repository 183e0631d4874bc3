"""What a user sees of a run or a sweep under way: lines written over in a terminal, plain ones elsewhere."""

import os
import sys
import time
from collections.abc import Callable

EVERY = 60.0  # seconds between plain lines, where none is due for another reason


def terminal_size() -> tuple[int, int]:
    """Columns and lines of the terminal that standard error is; 80 and 24 where it does not say."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # no terminal, or a stream that is no file
        columns, lines = 0, 0
    return columns or 80, lines or 24


def duration(seconds: float) -> str:
    """Seconds in few letters.

    Example:
        >>> duration(12.4), duration(83), duration(7384)
        ('12 s', '1:23', '2:03:04')
    """
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{whole} s"


class Pace:
    """How fast steps are taken, from the end of the first that is noted, which compiled."""

    def __init__(self) -> None:
        self.since = 0.0
        self.first: int | None = None

    def rate(self, step: int) -> float | None:
        """Steps a second up to this one; None at the first."""
        now = time.perf_counter()
        if self.first is None:
            self.since, self.first = now, step
        return (step - self.first) / (now - self.since) if step > self.first else None


class Progress:
    """One line on standard error, rewritten in a terminal; elsewhere a line an evaluation, and one a minute between."""

    def __init__(self, log: Callable[[str], None], total: int, live: bool):
        self.log, self.total, self.live = log, total, live
        self.pace, self.last = Pace(), time.perf_counter()
        self.shown = False

    def begin(self, step: int) -> None:
        """Say in a terminal what the wait for the first steps is for."""
        if self.live:
            self._put(f"step {step:>{len(str(self.total))}}/{self.total}  compiling")

    def show(self, step: int, train: float | None, validation: float | None, evaluated: bool) -> None:
        rate = self.pace.rate(step)
        left = "" if rate is None else f"  {rate:6.0f} steps/s  {duration((self.total - step) / rate)} left"
        bounds = "".join(
            f"  {name} {value:.2f}"
            for name, value in (("train", train), ("validation", validation))
            if value is not None
        )
        line = f"step {step:>{len(str(self.total))}}/{self.total}{bounds}{left}"
        if self.live:
            self._put(line)
        elif evaluated or time.perf_counter() - self.last >= EVERY:
            self.log(line)
            self.last = time.perf_counter()

    def say(self, line: str) -> None:
        """Log something else, in place of the line, which comes back with the next steps."""
        if self.shown:
            sys.stderr.write("\r\033[K")
            self.shown = False
        self.log(line)

    def end(self) -> None:
        """Leave the line as it stands; what is written next stands below."""
        if self.shown:
            sys.stderr.write("\n")
            self.shown = False

    def _put(self, line: str) -> None:
        width = terminal_size()[0] - 1  # a line that wraps cannot be written over
        sys.stderr.write("\r\033[K" + line[:width])
        sys.stderr.flush()
        self.shown = True
