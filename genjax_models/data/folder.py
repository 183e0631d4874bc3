"""Where data files lie."""

import os
from collections.abc import Sequence
from pathlib import Path

from genjax_models.errors import DataError, MissingData

VARIABLE = "GENJAX_MODELS_DATA"


def cache_folder() -> Path:
    """`genjax_models` in the user's cache: XDG_CACHE_HOME where that is an absolute path, else `~/.cache`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG standard has relative paths ignored.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "genjax_models"


def data_folder(data_dir: str | None = None) -> Path:
    """`data_dir`, else what the variable GENJAX_MODELS_DATA names, else `data` in our cache; it need not exist."""
    if data_dir:
        return Path(os.path.expanduser(data_dir))
    if os.environ.get(VARIABLE):
        return Path(os.path.expanduser(os.environ[VARIABLE]))
    return cache_folder() / "data"


def places_of(path: str, data_dir: str | None) -> list[Path]:
    """Where a user's own path may lead: as it stands, or from the working folder, and else from the data folder."""
    given = Path(os.path.expanduser(path))
    return [given] if given.is_absolute() else [Path.cwd() / given, data_folder(data_dir) / given]


def missing(names: Sequence[str], places: Sequence[Path], fix: str) -> MissingData:
    """The error for files that are nowhere: which files, every place looked in, and what to do."""
    looked = "\n".join(f"  {place.absolute()}{'' if place.is_dir() else ' (no such folder)'}" for place in places)
    return MissingData(
        f"Data file{'s' if len(names) > 1 else ''} not found: {', '.join(names)}. Looked in:\n{looked}\n"
        f"{fix} Name the folder by --data-dir (data_dir in Python) or the environment variable {VARIABLE}."
    )


def locate(data_dir: str | None, name: str, subfolder: str, suffixes: Sequence[str] = ("",)) -> Path | None:
    """The file `name` in the data folder or its `subfolder`, with the first suffix that is there; None if none is."""
    folder = data_folder(data_dir)
    candidates = (place / (name + suffix) for place in (folder, folder / subfolder) for suffix in suffixes)
    return next((path for path in candidates if path.is_file()), None)


def find(
    data_dir: str | None, names: Sequence[str], subfolder: str, fix: str, suffixes: Sequence[str] = ("",)
) -> list[Path]:
    """The paths of all `names`, each in the data folder or its `subfolder`.

    Raises:
        MissingData: naming the files that are missing, every place looked in, and `fix`: where they may be had.
    """
    paths = [locate(data_dir, name, subfolder, suffixes) for name in names]
    if None in paths:
        folder = data_folder(data_dir)
        absent = [
            " or ".join(name + suffix for suffix in suffixes)
            for name, path in zip(names, paths, strict=True)
            if path is None
        ]
        raise missing(absent, (folder, folder / subfolder), fix)
    return paths  # type: ignore[return-value]


def read_bytes(path: Path) -> bytes:
    """All bytes of a file; DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Check that it is a file that you may read.") from error
