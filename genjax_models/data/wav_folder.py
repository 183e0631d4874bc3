"""A user's own folder of recordings."""

from pathlib import Path

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.arrays import require_room
from genjax_models.data.dataset import Dataset, Labels
from genjax_models.data.folder import read_bytes
from genjax_models.data.own_folder import Found, cut, find_in_folder, require_all, split_pieces
from genjax_models.data.own_rows import check_fractions
from genjax_models.data.speech import framed, read_wav
from genjax_models.errors import DataError

FIX = "Save it as a WAV file of integers of 16 bits, or leave it out."


@config
class WavFolder(DataConfig):
    """Your own recordings, from a folder of WAV files: T steps of `frame` samples each, with masks.

    Integers of 8, 16, 24 or 32 bits and floats of 32 or 64 are read, as the nearest of the 65,536 levels of 16 bits,
    and several channels as their mean. Sample k becomes (k + u) / scale, with one draw of u uniform on [0, 1) for good,
    as `Speech` has it. What does not fill a frame is left out, and with `steps` a recording is cut into pieces of so
    many frames and a rest. Rows are [T * frame], T the longest of all splits, zeros after the end. Sub-folders named
    `train`, `valid` and `test` are the splits, by the names and rules of `ImageFolder`; otherwise the recordings,
    in the order of their paths, are split by a fixed permutation, and pieces of one stay together. The first sub-folder
    below, where there is one, is a recording's class. All have the same number of samples a second.
    """

    path: str = field(nonempty=True, help="the folder; looked for from the working folder, then in the data folder")
    frame: int = field(default=200, ge=1, help="samples a step; 200 are 25 ms at 8 kHz")
    scale: float = field(default=2700.0, static=True, gt=0, help="levels, of 65,536, that are 1 in x")
    steps: int | None = field(default=None, ge=1, help="frames a recording is cut at; None: recordings stay whole")
    validation_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the recordings for validation, where no folder has them"
    )
    test_fraction: float = field(
        default=0.1, static=True, gt=0, lt=1, help="share of the recordings for test, where no folder has them"
    )

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        return check_fractions(self.validation_fraction, self.test_fraction)

    def _pieces(self, files: list[Found], wrong: list[str]) -> tuple[list[list[np.ndarray]], set[int]]:
        """The sequences [T, frame] that each recording makes, and the rates there are."""
        out, rates = [], set()
        for file in files:
            try:
                samples, rate = read_wav(read_bytes(file.path), str(file.path), FIX)
                if len(samples) < self.frame:
                    raise DataError(
                        f"{file.path}: has {len(samples)} samples, fewer than a frame of {self.frame}; give a shorter "
                        "frame, or leave it out."
                    )
            except DataError as error:
                wrong.append(str(error))
                continue
            frames = samples[: len(samples) // self.frame * self.frame].reshape(-1, self.frame)
            out.append(cut(frames, self.steps))
            rates.add(rate)
        return out, rates

    def _parts(
        self, data_dir: str | None, labelled: bool = False
    ) -> tuple[Path, list[list[np.ndarray]], Labels | None]:
        """The folder, the sequences of each split, and their classes."""
        validate(self)
        folder, found = find_in_folder(self.path, data_dir, (".wav",), "recordings")
        number = sum(map(len, found.values()))
        require_room(sum(file.path.stat().st_size for files in found.values() for file in files), str(folder))
        wrong: list[str] = []
        pieces, rates = {}, set()
        for name, files in found.items():
            pieces[name], seen = self._pieces(files, wrong)
            rates |= seen
        require_all(folder, wrong, number, "recordings")
        if len(rates) > 1:
            raise DataError(
                f"{folder}: has recordings of {', '.join(map(str, sorted(rates)))} samples a second; expected one "
                "number. Resample them alike."
            )
        parts, labels = split_pieces(folder, found, pieces, self.validation_fraction, self.test_fraction, labelled)
        return folder, parts, labels

    def rate(self, data_dir: str | None = None) -> int:
        """Samples a second of the recordings, by the first of them.

        Raises:
            DataError: as `load`.
        """
        _, found = find_in_folder(self.path, data_dir, (".wav",), "recordings")
        first = next(file for files in found.values() for file in files).path
        return read_wav(read_bytes(first), str(first), FIX)[1]

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The class of each sequence by its sub-folder; None where there are no sub-folders.

        Raises:
            DataError: as `load`; recordings both in sub-folders and in none.
        """
        return self._parts(data_dir, labelled=True)[2]

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, float32, with masks [N, T].

        Raises:
            DataError: no such folder or no recordings in it; files that cannot be read, are of another kind or
                shorter than a frame, by name; several rates.
        """
        folder, parts, _ = self._parts(data_dir)
        steps = max(len(x) for sequences in parts for x in sequences)
        require_room(8 * sum(map(len, parts)) * steps * self.frame, str(folder))
        return framed(parts, self.frame, self.scale, str(folder))
