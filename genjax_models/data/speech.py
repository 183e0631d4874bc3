"""Raw speech: spoken digits as frames of samples."""

import io
import re
import struct
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
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # formats of a WAV file; the last says by a longer chunk which one it is
OF_FORMATS = bytes.fromhex("000000001000800000aa00389b71")  # what follows the number of a format there
WIDTHS = {PCM: (1, 2, 3, 4), FLOAT: (4, 8)}  # bytes of a sample


def _chunks_of(content: bytes) -> tuple[bytes, bytes, bool]:
    """The format chunk of a WAV file, its samples, and whether all that it claims are there.

    Raises:
        DataError: one of the two is not there.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise DataError("it does not begin as one")
    at, form = 12, b""
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        at += 8
        if name == b"fmt ":
            form = content[at : at + min(size, 40)]
        elif name == b"data":
            return form, content[at : at + size], at + size <= len(content)
        at += size + size % 2
    raise DataError("it has no samples")


def _format_of(chunk: bytes) -> tuple[int, int, int, int]:
    """The kind of a WAV file's samples, their bytes, the channels, and samples a second, of its format chunk.

    Raises:
        DataError: another kind than is read, or figures that contradict each other.
    """
    if len(chunk) < 16:
        raise DataError("its format is missing or cut short")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == EXTENSIBLE and len(chunk) == 40 and chunk[26:] == OF_FORMATS:
        (kind,) = struct.unpack_from("<H", chunk, 24)
    width = (bits + 7) // 8
    if width not in WIDTHS.get(kind, ()):
        raise DataError(
            f"samples of {bits} bits in format {kind}, expected integers of 8, 16, 24 or 32 bits, format {PCM}, or "
            f"floats of 32 or 64, format {FLOAT}"
        )
    if not channels or not rate or block != channels * width:
        raise DataError(f"{channels} channels, {block} bytes for a sample of each, {rate} of them a second")
    return kind, width, channels, rate


def _levels_of(data: bytes, kind: int, width: int, channels: int) -> np.ndarray:
    """Samples as the nearest of the 65,536 levels of 16 bits, int16 [n], the mean of the channels.

    Raises:
        DataError: floats that are not finite or beyond [-1, 1].
    """
    if (kind, width, channels) == (PCM, 2, 1):
        return np.frombuffer(data, "<i2")
    if kind == FLOAT:
        with np.errstate(invalid="ignore"):  # some NaN warn of themselves
            x = np.frombuffer(data, f"<f{width}").astype(np.float64)
        if x.size and not np.abs(x).max() <= 1:  # nor NaN
            raise DataError(f"holds samples from {x.min():g} to {x.max():g}, expected finite ones in [-1, 1]")
    elif width == 1:
        x = np.frombuffer(data, np.uint8) / 2.0**7 - 1
    elif width == 3:  # the upper bytes of 32 bits
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        x = wide.view("<i4").ravel() / 2.0**31
    else:
        x = np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)
    mean = x.reshape(-1, channels).mean(axis=1)
    return np.clip(np.rint(mean * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def read_wav(content: bytes, name: str, fix: str) -> tuple[np.ndarray, int]:
    """The samples, int16 [n], of a WAV file, and how many there are in a second.

    Integers of 8, 16, 24 or 32 bits and floats of 32 or 64 become the nearest of the 65,536 levels that 16 bits have
    for [-1, 1], several channels their mean. What a file claims beyond its end, as one written to a pipe does, is no
    part of it.

    Raises:
        DataError: no WAV file, or one of other samples; floats that are not finite or beyond [-1, 1].
    """
    try:
        form, data, whole = _chunks_of(content)
        kind, width, channels, rate = _format_of(form)
        rest = len(data) % (width * channels)
        if rest and not whole:
            raise DataError("it ends within a sample")
    except DataError as error:
        raise DataError(f"{name}: cannot be read as a WAV file ({error}). {fix}") from None
    try:
        return _levels_of(data[: len(data) - rest], kind, width, channels), rate
    except DataError as error:
        raise DataError(f"{name}: {error}. {fix}") from None


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
