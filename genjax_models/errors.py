"""Errors that a user can act on: each names the value, what was expected, and the fix.

The command line prints them without a traceback and exits with a non-zero code.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


class UserError(ValueError):
    """Base of all errors that are about what the user gave."""


class ConfigError(UserError):
    """A configuration field that is unknown, of the wrong type, or impossible."""


class DataError(UserError):
    """Data that is missing, truncated, of the wrong shape or out of range."""


class DataNotice(UserWarning):
    """Data that can be used, and may not be what was meant."""


class MissingData(DataError):
    """A data file that is nowhere."""


class RunError(UserError):
    """A run folder that cannot be used as asked: other configuration, no checkpoint, not writable."""


class ModelError(UserError):
    """A model that does not fill the contract, or an objective that the model cannot serve."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest known name, or the list of all that are known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known here: {', '.join(known)}." if known else ""


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Raise ConfigError unless the value is an integer, at least `least`."""
    if not hasattr(value, "__index__") or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name}: got {value!r}, expected an integer, at least {least}.")


def require_bool(name: str, value: Any) -> None:
    """Raise ConfigError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: got {value!r}, expected True or False.")


def require_picture(out: Path, overwrite: bool) -> None:
    """Raise UserError unless a picture may be written to a path: PNG, the one format there is, over no other file."""
    if out.suffix.lower() != ".png":
        raise UserError(f"{out}: pictures are written as PNG; give an --out that ends in .png.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite to replace it.")


@contextlib.contextmanager
def naming(path: Path, advice: Callable[[], str] = str) -> Iterator[None]:
    """Within, an error of the system names the file, this one where it knows none, and is followed by what `advice`
    returns when it comes to that."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        text = f"{error.strerror}. {advice()}".removesuffix(". ")
        raise OSError(error.errno, text, error.filename or str(path)) from error
