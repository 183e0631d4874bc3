"""A user's own folder of MIDI files."""

from pathlib import Path

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.arrays import require_room
from genjax_models.data.dataset import Dataset, Labels, check
from genjax_models.data.folder import read_bytes
from genjax_models.data.midi import read_roll
from genjax_models.data.own_folder import cut, find_in_folder, require_all, split_pieces
from genjax_models.data.own_rows import check_fractions
from genjax_models.data.piano_rolls import KEYS
from genjax_models.data.sequences import pad
from genjax_models.errors import DataError

SUFFIXES = (".mid", ".midi")


@config
class MidiFolder(DataConfig):
    """Your own music, from a folder of MIDI files: which of 88 piano keys are down at each of T steps, with masks.

    Rows are [T * 88] of zeros and ones, as `PianoRolls` has them, T the longest of all splits, zeros after a piece's
    end. Notes of all tracks and channels but drums begin and end at the nearest step, and last at least one; tempo and
    pedals change nothing. With `steps` a piece is cut into parts of so many steps and a rest. Sub-folders named
    `train`, `valid` and `test` are the splits, by the names and rules of `ImageFolder`; otherwise the pieces, in
    the order of their paths, are split by a fixed permutation, and parts of one stay together. The first sub-folder
    below, where there is one, is a piece's class.
    """

    path: str = field(nonempty=True, help="the folder; looked for from the working folder, then in the data folder")
    steps_per_quarter: int = field(default=4, ge=1, le=96, help="steps in a quarter note; 4 are sixteenths")
    steps: int | None = field(default=None, ge=1, help="steps a piece is cut at; None: pieces stay whole")
    validation_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the pieces for validation, where no folder has them"
    )
    test_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the pieces for test, where no folder has them"
    )

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        return check_fractions(self.validation_fraction, self.test_fraction)

    def _parts(
        self, data_dir: str | None, labelled: bool = False
    ) -> tuple[Path, list[list[np.ndarray]], Labels | None]:
        """The folder, the rolls of each split, and their classes."""
        validate(self)
        folder, found = find_in_folder(self.path, data_dir, SUFFIXES, "MIDI files")
        wrong: list[str] = []
        size = 0
        pieces: dict[str, list[list[np.ndarray]]] = {name: [] for name in found}
        for name, files in found.items():
            for file in files:
                try:
                    roll = read_roll(read_bytes(file.path), str(file.path), self.steps_per_quarter)
                except DataError as error:
                    wrong.append(str(error))
                    continue
                size += roll.nbytes
                require_room(size, str(folder))
                pieces[name].append(cut(roll, self.steps))
        require_all(folder, wrong, sum(map(len, found.values())), "MIDI files")
        parts, labels = split_pieces(folder, found, pieces, self.validation_fraction, self.test_fraction, labelled)
        return folder, parts, labels

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The class of each sequence by its sub-folder; None where there are no sub-folders.

        Raises:
            DataError: as `load`; files both in sub-folders and in none.
        """
        return self._parts(data_dir, labelled=True)[2]

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, uint8, with masks [N, T].

        Raises:
            DataError: no such folder or no MIDI files in it; files that cannot be read, have no notes or too many
                steps, by name.
        """
        folder, parts, _ = self._parts(data_dir)
        steps = max(len(roll) for rolls in parts for roll in rolls)
        require_room(sum(map(len, parts)) * steps * KEYS, str(folder))
        (train, validation, test), masks = zip(*(pad(rolls, steps) for rolls in parts), strict=True)
        return check(Dataset(train, validation, test, "binary", (steps, KEYS), None, None, *masks), str(folder))
