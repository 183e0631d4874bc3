"""A run's sequences continued: the first steps of test sequences are kept, and the model draws the others."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Batch
from genjax_models.data import MidiFolder, PianoRolls, Speech, WavFolder, evaluation_subset
from genjax_models.errors import ModelError, UserError, require_count
from genjax_models.evaluation import continue_sequences
from genjax_models.experiment import load_run_data
from genjax_models.measuring import CONTINUATION, Log, chosen_parameters, evaluation_key
from genjax_models.run_folder import open_run
from genjax_models.sound import save_continuations, save_rolls, wav

FILES = "sequences.npy", "continuations.png", "continuation_[0-9]*.mid", "continuation_[0-9]*.wav"
QUARTER_SECONDS = 0.5  # of a quarter note, where nothing says how fast it is
SPEECH_RATE = 8000  # samples a second of `data.Speech`


def continue_run(
    folder: Path,
    out: Path = Path("continuations"),
    *,
    steps: int = 16,
    num: int = 4,
    seed: int = 1,
    overwrite: bool = False,
    data_dir: str | None = None,
    log: Log = print,
) -> list[Path]:
    """Keep the first steps of test sequences, and let a run's model draw the others.

    In the folder `out`: sequences.npy, [N, T * F], zeros after a sequence's end; and of piano rolls a picture, and a
    MIDI and a WAV file of each, of speech and recordings a WAV file of each, of other 0s and 1s a picture.

    Args:
        folder: the run folder of a model of sequences, such as `variational_rnn`.
        out: the folder for the files.
        steps: steps that are kept; sequences that are no longer are passed over.
        num: sequences, by a fixed random draw.
        seed: another one draws anew.
        overwrite: write into a folder that holds something, in place of what an earlier call left there.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        The files.

    Raises:
        UserError: no run, no whole checkpoint, data other than the run's, a model that continues nothing, no test
            sequence of more steps, or a folder that holds something or cannot be written.
    """
    run, out = open_run(Path(folder)), Path(out)
    require_count("steps", steps)
    require_count("num", num)
    if not 0 <= seed < 2**31:
        raise UserError(f"seed: got {seed}, expected at least 0 and less than {2**31}.")
    model: Any = run.config.model.build(run.data.visible)
    if getattr(model, "continue_from", None) is None:
        raise ModelError(
            f"continue: {model.name} is of no sequences that could be continued; use variational_rnn or "
            "recurrent_likelihood."
        )
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not overwrite)):
        raise UserError(f"{out} exists and is not an empty folder; give another --out, or --overwrite.")
    data = load_run_data(run, data_dir)
    length = run.data.visible // model.frame
    masks = np.ones((len(data.test), length), np.float32) if data.test_context is None else data.test_context
    lengths = np.sum(masks > 0, axis=1)
    longer = np.flatnonzero(lengths > steps)
    if not len(longer):
        raise UserError(f"steps: got {steps}, but no test sequence is longer; the longest has {int(lengths.max())}.")
    rows = evaluation_subset(longer, num)
    _, params, chosen = chosen_parameters(run, log)
    key = jax.random.fold_in(evaluation_key(run.config.seed, CONTINUATION), seed)
    given = Batch(jnp.asarray(data.test[rows], jnp.float32), jnp.asarray(masks[rows]))
    drawn = np.asarray(continue_sequences(model, params, key, given, steps))
    sequences = [x.reshape(length, -1)[mask > 0] for x, mask in zip(drawn, masks[rows], strict=True)]
    rate = run.config.data.rate(data_dir) if isinstance(run.config.data, WavFolder) else SPEECH_RATE
    try:
        out.mkdir(parents=True, exist_ok=True)
        for earlier in (f for pattern in FILES for f in out.glob(pattern)):
            earlier.unlink()
        np.save(out / "sequences.npy", drawn)
        files = [out / "sequences.npy", *_listen(run.config.data, out, sequences, steps, rate)]
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    log(f"{len(rows)} test sequences, continued after {steps} steps by step {chosen.step}, in {out}")
    return files


def _listen(source: Any, out: Path, sequences: list[np.ndarray], steps: int, rate: int = SPEECH_RATE) -> list[Path]:
    """The files by which sequences [T, F] can be seen or heard; `rate` is samples a second of sound."""
    if isinstance(source, PianoRolls):
        return save_continuations(out, sequences, steps)
    if isinstance(source, MidiFolder):
        return save_continuations(out, sequences, steps, QUARTER_SECONDS / source.steps_per_quarter)
    if isinstance(source, (Speech, WavFolder)):
        files = [out / f"continuation_{i}.wav" for i in range(len(sequences))]
        for path, x in zip(files, sequences, strict=True):
            path.write_bytes(wav(x.ravel() * source.scale / 2**15, rate))
        return files
    if all(((x == 0) | (x == 1)).all() for x in sequences):
        titles = [f"continuation {i}" for i in range(len(sequences))]
        save_rolls(out / "continuations.png", sequences, titles, steps)
        return [out / "continuations.png"]
    return []
