"""The command `continue`: what is kept and drawn, what is written for each kind of data, and refusals."""

import wave

import numpy as np
import pytest

from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.continuation import _listen, continue_run
from genjax_models.data import Arrays, MidiFolder, PianoRolls, Speech, WavFolder
from genjax_models.errors import ModelError, UserError
from genjax_models.experiment import train_run
from genjax_models.models import FVSBN, RecurrentLikelihood
from genjax_models.models.units import Gaussian
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.sound import wav

STEPS, FRAME = 5, 3
QUICK = Training(2, batch_size=8, evaluate_every=2, chunk=2)


def train(folder, model):
    bits = np.random.RandomState(0).uniform(size=(60, STEPS, FRAME)) < 0.4
    np.save(folder / "bits.npy", bits.reshape(60, -1).astype(np.uint8))
    data = Arrays(str(folder / "bits.npy"))
    config = Config(model, MaximumLikelihood(), Adam(), data, QUICK, Evaluation(2))
    train_run(config, folder / "run", log=lambda line: None)
    return data.load().test, folder / "run"


def test_first_steps_are_kept_and_the_others_drawn(tmp_path, monkeypatch, capsys):
    """By the command; another seed draws otherwise; nothing is overwritten unasked."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    test, run = train(tmp_path, RecurrentLikelihood(frame=FRAME, hidden=3, features=3))
    out = tmp_path / "out"
    command = ["continue", str(run), "--steps", "2", "--num", "4", "--out", str(out)]
    assert main(command) == 0
    drawn = np.load(out / "sequences.npy")
    assert drawn.shape == (4, STEPS * FRAME)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    kept = {tuple(row) for row in test[:, : 2 * FRAME]}
    assert all(tuple(row) in kept for row in drawn[:, : 2 * FRAME].astype(int))
    assert (out / "continuations.png").is_file()
    assert main(command) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err
    (out / "continuation_9.wav").write_bytes(b"of an earlier run")
    assert main([*command, "--overwrite", "--seed", "2"]) == 0
    assert not (out / "continuation_9.wav").exists()
    again = np.load(out / "sequences.npy")
    assert np.array_equal(again[:, : 2 * FRAME], drawn[:, : 2 * FRAME])
    assert not np.array_equal(again, drawn)
    with pytest.raises(UserError, match="steps: got 5, but no test sequence is longer; the longest has 5"):
        continue_run(run, tmp_path / "other", steps=5, log=lambda line: None)


def test_what_has_no_steps_is_refused(tmp_path):
    _, run = train(tmp_path, FVSBN())
    with pytest.raises(ModelError, match="FVSBN is of no sequences that could be continued"):
        continue_run(run, tmp_path / "out", log=lambda line: None)


def test_files_by_the_kind_of_data(tmp_path):
    """MIDI and WAV of piano rolls; speech at its own rate and loudness; no files of other real numbers."""
    rolls = [np.eye(6, 88), np.ones((4, 88))]
    names = {path.name for path in _listen(PianoRolls(), tmp_path, rolls, 2)}
    assert names == {"continuations.png", *(f"continuation_{i}.{s}" for i in (0, 1) for s in ("mid", "wav"))}
    assert {path.name for path in _listen(MidiFolder("x", steps_per_quarter=2), tmp_path, rolls, 2)} == names
    with wave.open(str(tmp_path / "continuation_1.wav")) as file:  # a quarter note is half a second
        assert file.getnframes() == file.getframerate() * 4 // 4
    speech = Speech(scale=2700.0)
    (path,) = _listen(speech, tmp_path, [np.array([[0.5, -1.0], [2.0, 0.0]])], 1)
    with wave.open(str(path)) as file:
        assert file.getframerate() == 8000
        heard = np.frombuffer(file.readframes(4), np.int16)
    assert np.abs(heard - np.array([1350, -2700, 5400, 0])).max() <= 1
    assert _listen(Arrays("x.npy"), tmp_path, [np.full((2, 3), 0.5)], 1) == []


def test_recordings_are_continued_as_wav_files(tmp_path):
    """At their own rate and loudness: the steps that are kept are the samples of a recording."""
    (tmp_path / "set").mkdir()
    for i in range(10):
        levels = 100 * i + np.arange(STEPS * FRAME)
        (tmp_path / "set" / f"{i}.wav").write_bytes(wav(levels / 2**15, rate=11025))
    data = WavFolder(str(tmp_path / "set"), frame=FRAME, scale=500.0)
    model = RecurrentLikelihood(frame=FRAME, hidden=3, features=3, likelihood=Gaussian())
    train_run(Config(model, MaximumLikelihood(), Adam(), data, QUICK, Evaluation(1)), tmp_path / "run", log=print)
    files = continue_run(tmp_path / "run", tmp_path / "out", steps=2, num=1)
    assert [path.name for path in files] == ["sequences.npy", "continuation_0.wav"]
    with wave.open(str(files[1])) as file:
        assert (file.getframerate(), file.getnframes()) == (11025, STEPS * FRAME)
        heard = np.frombuffer(file.readframes(2 * FRAME), np.int16)
    assert np.abs(heard - (heard[0] // 100 * 100 + np.arange(2 * FRAME))).max() <= 1  # the noise of a level
