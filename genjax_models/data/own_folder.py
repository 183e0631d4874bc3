"""A user's own folder of files, with sub-folders as splits and classes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genjax_models.data.dataset import Labels
from genjax_models.data.folder import missing, places_of
from genjax_models.data.own_rows import SPLIT_NAMES, SPLIT_OF, parted
from genjax_models.errors import DataError

SHOWN = 5  # files that an error names


class Found(NamedTuple):
    """An example's file, its split ("all" where one is made of all), and the sub-folder that is its class, if any."""

    path: Path
    split: str
    kind: str | None


def _is_circle(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and any(folder.samefile(above) for above in folder.parents)


def find_files(folder: Path, suffixes: Sequence[str], what: str) -> list[Found]:
    """The files of a folder and its sub-folders with these suffixes, sorted by path; hidden ones are left out.

    Args:
        folder: the folder.
        suffixes: such as ".png", in small letters.
        what: they are, for messages.

    Raises:
        DataError: no such files; folders of splits without one for training, or two of one split; files beside them.
    """

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check that you may.")

    paths: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_circle(Path(place, name))]
        own = (name for name in files if not name.startswith(".") and Path(name).suffix.lower() in suffixes)
        paths += [Path(place, name).relative_to(folder) for name in own]
    if not paths:
        raise DataError(f"{folder}: holds no {what}; expected files that end with {', '.join(suffixes)}.")
    paths.sort(key=Path.as_posix)
    top = {path.parts[0] for path in paths if len(path.parts) > 1}
    named = {name: SPLIT_OF[name.lower()] for name in sorted(top) if name.lower() in SPLIT_OF}
    if not named:
        return [Found(folder / path, "all", path.parts[0] if len(path.parts) > 1 else None) for path in paths]
    for split in SPLIT_NAMES:
        if len(same := [name for name in named if named[name] == split]) > 1:
            raise DataError(
                f"{folder}: has the sub-folders {' and '.join(same)}, which both name the {split} split; expected one, "
                "so bring them together or rename one."
            )
    if "train" not in named.values():
        raise DataError(
            f"{folder}: has the sub-folders {', '.join(named)}; expected train (or training) too, beside valid (or "
            "validation, val, dev) and test (or testing), in any letter case, for data that are split, or classes of "
            "other names."
        )
    if others := [path for path in paths if path.parts[0] not in named or len(path.parts) == 1]:
        raise DataError(
            f"{folder}: has splits in sub-folders ({', '.join(named)}), and other {what} beside them, such as "
            f"{others[0]}; move them into a split, or give classes other names than splits have."
        )
    return [Found(folder / p, named[p.parts[0]], p.parts[1] if len(p.parts) > 2 else None) for p in paths]


def find_in_folder(
    path: str, data_dir: str | None, suffixes: Sequence[str], what: str
) -> tuple[Path, dict[str, list[Found]]]:
    """A user's own folder, from the working folder or else the data folder, and its files by split or under "all".

    Raises:
        DataError: no such folder; see `find_files`.
    """
    candidates = places_of(path, data_dir)
    folder = next((place for place in candidates if place.is_dir()), None)
    if folder is None:
        raise missing([path], [place.parent for place in candidates], "Check the field `path`.")
    found: dict[str, list[Found]] = {}
    for file in find_files(folder, suffixes, what):
        found.setdefault(file.split, []).append(file)
    return folder, found


def require_all(folder: Path, wrong: Sequence[str], number: int, what: str) -> None:
    """Raise DataError where some of a folder's files cannot be used, with what is wrong with the first of them.

    Args:
        folder: the folder.
        wrong: a line for each file that cannot be used.
        number: files in all.
        what: they are, for the message.
    """
    if wrong:
        lines, rest = "\n".join(wrong[:SHOWN]), len(wrong) - SHOWN
        more = f"\nand {rest} more" if rest > 0 else ""
        raise DataError(f"{folder}: {len(wrong)} of {number} {what} cannot be used:\n{lines}{more}")


def classes_by_folder(folder: Path, found: Mapping[str, list[Found]]) -> dict[str, np.ndarray] | None:
    """The class of each file, its sub-folder's place in sorted order, by split; None where there are no sub-folders.

    Raises:
        DataError: some files in sub-folders and others in none.
    """
    files = [file for those in found.values() for file in those]
    kinds = sorted({file.kind for file in files if file.kind is not None})
    if not kinds:
        return None
    if alone := [file.path for file in files if file.kind is None]:
        raise DataError(
            f"{folder}: some of it is in sub-folders, which are its classes, and {alone[0]} is in none; move it into "
            "one."
        )
    places = {kind: i for i, kind in enumerate(kinds)}
    return {name: np.array([places[str(file.kind)] for file in those]) for name, those in found.items()}


def cut(sequence: np.ndarray, steps: int | None) -> list[np.ndarray]:
    """A sequence [T, F] in pieces of so many steps and a rest; whole where that is None."""
    return [
        sequence[start : start + (steps or len(sequence))] for start in range(0, len(sequence), steps or len(sequence))
    ]


def split_pieces(
    folder: Path,
    found: Mapping[str, list[Found]],
    pieces: Mapping[str, list[list[np.ndarray]]],
    validation: float,
    test: float,
    labelled: bool,
) -> tuple[list[list[np.ndarray]], Labels | None]:
    """The sequences of each of the three splits, and their classes, of files that may make several; those of one file
    stay together.

    Args:
        folder: the folder.
        found: its files, by split or under "all".
        pieces: the sequences that each file makes.
        validation, test: shares of the files, where the folder has no such split.
        labelled: whether to give the classes too.

    Raises:
        DataError: a split would be empty; if labelled, some files in sub-folders and others in none.
    """
    files = {name: np.empty(len(of_split), object) for name, of_split in pieces.items()}
    for name, of_split in pieces.items():
        files[name][:] = of_split
    chosen = parted(files, str(folder), validation, test)
    classes = classes_by_folder(folder, found) if labelled else None
    labels = None
    if classes is not None:
        of_files = parted(classes, str(folder), validation, test)
        labels = Labels(*(np.repeat(c, list(map(len, x))) for c, x in zip(of_files, chosen, strict=True)))
    return [[piece for file in split for piece in file] for split in chosen], labels
