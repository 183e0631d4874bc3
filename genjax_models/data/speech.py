"""Raw speech: spoken digits as frames of samples."""

import io
import re
import wave
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import DEQUANTIZATION_SEEDS, Dataset, check
from genjax_models.data.folder import find, read_bytes
from genjax_models.data.sequences import pad
from genjax_models.errors import DataError

SUBFOLDER = "speech"
NAME = re.compile(r"(?:.*/)?(\d+)_([^/_]+)_(\d+)\.wav")
TEST, VALIDATION = range(5), range(5, 10)  # takes; the others are for training
FIX = (
    "It is a zip file of 16-bit mono WAV files named DIGIT_SPEAKER_TAKE.wav, as the free spoken digit dataset has them."
)


def read_wav(content: bytes, name: str, fix: str) -> tuple[np.ndarray, int]:
    """The samples, int16 [n], of a WAV file, and how many there are in a second.

    Raises:
        DataError: no mono WAV file of 16 bits.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            if (file.getsampwidth(), file.getnchannels()) != (2, 1):
                raise DataError(
                    f"{name}: got {file.getnchannels()} channels of {8 * file.getsampwidth()} bits, expected one of "
                    f"16. {fix}"
                )
            return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
    # Broken headers make it raise errors of several kinds.
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: cannot be read as a WAV file ({error!r}). {fix}") from error


def framed(parts: Sequence[Sequence[np.ndarray]], frame: int, scale: float, source: str) -> Dataset:
    """Samples of 16 bits as real sequences, (k + u) / scale with one draw of u uniform on [0, 1), with masks.

    Args:
        parts: the sequences of training, validation and test, int16 [T_i, frame], at least one in each.
        frame: samples a step.
        scale: levels that are 1 in x.
        source: what they are of, for messages.
    """
    steps = max(len(x) for sequences in parts for x in sequences)
    splits = []
    for sequences, seed in zip(parts, DEQUANTIZATION_SEEDS, strict=True):
        levels, mask = pad(sequences, steps)
        noise = np.random.RandomState(seed).random_sample(levels.shape)
        there = np.repeat(mask, frame, axis=1)
        splits.append((((levels + noise) / scale * there).astype(np.float32), mask))
    (train, validation, test), masks = zip(*splits, strict=True)
    return check(Dataset(train, validation, test, "real", (steps, frame), None, None, *masks), source)


def read(path: Path) -> dict[tuple[int, str, int], np.ndarray]:
    """The samples, int16 [n], of every file by (digit, speaker, take), in that order.

    Raises:
        DataError: no zip file, one without such files, or with others among them.
    """
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
            for name in archive.namelist():
                if (matched := NAME.fullmatch(name)) is None:
                    continue
                if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(f"{path}, {name}: is compressed otherwise than by deflate. {FIX}")
                samples, _ = read_wav(archive.read(name), f"{path}, {name}", FIX)
                found[int(matched[1]), matched[2], int(matched[3])] = samples
    except DataError:
        raise
    # Broken archives make zipfile raise errors of many kinds.
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a zip file of WAV files ({error!r}). {FIX}") from error
    if not found:
        raise DataError(f"{path}: holds no file named DIGIT_SPEAKER_TAKE.wav. {FIX}")
    return dict(sorted(found.items()))


@config
class Speech(DataConfig):
    """Spoken digits, raw: T steps of `frame` samples each, real, with masks as contexts.

    Sample k of 16 bits becomes (k + u) / scale, with one draw of u uniform on [0, 1) for good, so that densities have
    a limit: log p of x is below log p(levels) + n log scale on average, n the samples of a sequence. Takes 0 to 4 of
    every digit and speaker are for test, 5 to 9 for validation, the others for training. Rows are [T * frame], T the
    longest of all splits, zeros after the end; what does not fill a frame is left out. The file lies in the data folder
    or its subfolder `speech`.
    """

    file: str = field(default="spoken_digits_2speakers.zip", nonempty=True, help="the zip file's name")
    frame: int = field(default=200, ge=1, help="samples a step; 200 are 25 ms at 8 kHz")
    scale: float = field(
        default=2700.0, static=True, gt=0, help="levels, of 65,536, that are 1 in x; 2,700: about their deviation"
    )

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, float32, with masks [N, T].

        Raises:
            DataError: the file is missing, broken, or of something else; a sequence shorter than a frame.
        """
        validate(self)
        (path,) = find(data_dir, (self.file,), SUBFOLDER, FIX)
        found = read(path)
        for (digit, speaker, take), samples in found.items():
            if len(samples) < self.frame:
                raise DataError(
                    f"{path}: {digit}_{speaker}_{take}.wav has {len(samples)} samples, fewer than a frame of "
                    f"{self.frame}; give a shorter frame."
                )
        frames = {name: s[: len(s) // self.frame * self.frame].reshape(-1, self.frame) for name, s in found.items()}
        held = {*TEST, *VALIDATION}
        parts = []
        for takes in (None, VALIDATION, TEST):
            rows = [v for (_, _, take), v in frames.items() if (take not in held if takes is None else take in takes)]
            if not rows:
                raise DataError(
                    f"{path}: has no takes for one of the splits; expected 0 to 4, 5 to 9 and others. {FIX}"
                )
            parts.append(rows)
        return framed(parts, self.frame, self.scale, str(path))
