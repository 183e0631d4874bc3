"""Training on shards on disk: the run of data in memory, to the last bit, also when it is cut short."""

import dataclasses
import importlib.util
import os
import signal
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import Log, by_example, last_state, read_json, read_lines

from genjax_models import experiment
from genjax_models.axes import axis
from genjax_models.config import Config, Evaluation, ObjectiveConfig, Training, config
from genjax_models.core import Batch, Phase
from genjax_models.data import Arrays, Rows, Shards, rows, write_shards
from genjax_models.errors import ConfigError, DataError, RunError
from genjax_models.estimator_comparison import compare_estimators
from genjax_models.experiment import Interrupted, evaluate_run, load_run_data, sample_run, train_run
from genjax_models.measuring import with_neighbours
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, from_loss
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.run_folder import open_run
from genjax_models.spread import data_mesh
from genjax_models.streaming import Stream
from genjax_models.sweep import Sweep, run_sweep
from genjax_models.sweep_folder import sweep_run
from genjax_models.train import make_train

# Epochs of six steps and chunks of five: chunks end within epochs and epochs within chunks.
CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((8,), "tanh"), decoder=MLP((8,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=Arrays(path="bytes.npz", binarization="dynamic"),
    training=Training(num_steps=40, batch_size=8, evaluate_every=10, chunk=5),
    evaluation=Evaluation(num_samples=50, test_examples=5),
    seed=3,
)
STREAMED = dataclasses.replace(CONFIG, data=Shards(path="shards", binarization="dynamic"))
BYTES = np.random.RandomState(0).randint(0, 256, (64, 2, 3)).astype(np.uint8)
PARTS = BYTES[:50], BYTES[50:57], BYTES[57:]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    """The same bytes in one file, and in shards of eleven."""
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "bytes.npz", **dict(zip(("train", "valid", "test"), PARTS, strict=True)))
    write_shards(folder / "shards", *PARTS, shard_bytes=11 * 6)
    return str(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir) -> Path:
    """A run on shards, left alone to its end."""
    folder = tmp_path_factory.mktemp("runs") / "streamed"
    train_run(STREAMED, folder, data_dir, log=Log())
    return folder


def outcome(folder: Path) -> tuple:
    """All that the run comes to, but for its seconds and the name of its data."""
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in read_lines(folder / "metrics.jsonl")]
    result = {k: v for k, v in read_json(folder / "result.json").items() if "seconds" not in k and k != "data"}
    values = [found[:2] for found in by_example(folder).values()]
    return last_state(folder), kept, result, (folder / "samples.png").read_bytes(), values


def test_the_run_is_that_on_data_in_memory(finished, tmp_path, data_dir):
    """Every metric and the last state, bit for bit, with other noise at every step."""
    train_run(CONFIG, tmp_path / "held", data_dir, log=Log())
    assert outcome(finished) == outcome(tmp_path / "held")
    bounds = [row["train_bound"] for row in read_lines(finished / "metrics.jsonl")]
    assert len(set(bounds)) == 4


def test_a_run_that_is_cut_short_resumes_to_the_same_end(finished, tmp_path, data_dir, monkeypatch):
    """In the middle of an epoch, between two evaluations; its readers are gone when it is."""
    show = experiment.Progress.show

    def shown(self, at, *rest):
        show(self, at, *rest)
        if at == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.Progress, "show", shown)
        with pytest.raises(Interrupted, match="saved at step 15 of 40"):
            train_run(STREAMED, tmp_path / "run", data_dir, log=Log())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("stream")]
    log = Log()
    train_run(STREAMED, tmp_path / "run", data_dir, log=log)
    assert "resuming from step 15 of 40" in str(log)
    assert outcome(tmp_path / "run") == outcome(finished)


def test_a_streamed_run_is_evaluated_and_drawn(finished, tmp_path, data_dir):
    """Its figures come again; a training example that changed is seen without reading the others."""
    result = read_json(finished / "result.json")
    found = evaluate_run(finished, data_dir, None, Log())
    assert (found["test_nll"], found["test_examples"]) == (result["test_nll"], 5)
    assert sample_run(finished, 100, tmp_path / "samples.png", 1, False, Log()).exists()
    changed = PARTS[0].copy()
    changed[3, 0, 0] ^= 1
    write_shards(tmp_path / "shards", changed, *PARTS[1:], shard_bytes=11 * 6)
    with pytest.raises(RunError, match="was trained on other data"):
        load_run_data(open_run(finished), str(tmp_path))


@config
class TwoPhases(ObjectiveConfig):
    """Two updates of the recognition network and one of the generative, each of which reports its batch."""

    metric = "1.generative/x"

    def build(self, model: Any):
        def loss(params, key, batch):
            pulled = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
            return pulled * jnp.mean(batch.x), {"x": batch.x, "context": batch.context}

        return from_loss(loss)

    def phases(self, model, optimizer):
        objective = self.build(model)
        return (
            Phase(objective, "recognition", optimizer.build(), repeats=2),
            Phase(objective, "generative", optimizer.build()),
        )


def test_phases_take_their_batches_with_their_contexts(tmp_path):
    """Three batches a step, the same as of data in memory, with the contexts of their rows."""
    x = np.random.RandomState(1).standard_normal((40, 4)).astype(np.float32)
    training = Training(num_steps=8, batch_size=3, evaluate_every=100, chunk=4)
    settings = dataclasses.replace(STREAMED, objective=TwoPhases(), training=training)
    folder = write_shards(tmp_path / "x", x, x, x, contexts=(x[:, :2], x[:, :2], x[:, :2]), shard_bytes=7 * 16)
    settings = dataclasses.replace(settings, data=Shards(str(folder)))
    train, stream = make_train(settings), Stream(settings, settings.data.load())
    streamed = train.init(settings, jax.random.key(settings.seed), stream.like)
    held = jax.tree.map(lambda v: jnp.array(v, copy=True), streamed)
    for step in (0, 4):
        streamed, found = train.advance_over(settings, streamed, stream.take(step), step, stream.scale)
        held, expected = train.advance(settings, held, Batch(x, x[:, :2]), step, 4)
        for name, values in expected.items():
            assert np.array_equal(values, found[name]), name
        np.testing.assert_array_equal(found["1.generative/context"], found["1.generative/x"][..., :2])
    stream.close()
    for a, b in zip(jax.tree.leaves(held.params), jax.tree.leaves(streamed.params), strict=True):
        assert np.array_equal(a, b)


def test_devices_share_streamed_batches(tmp_path):
    """Each has its part of every batch, and the steps are those of one device, to round-off."""
    x = np.random.RandomState(1).standard_normal((40, 4)).astype(np.float32)
    training = Training(num_steps=4, batch_size=4, evaluate_every=100, chunk=4)
    folder = write_shards(tmp_path / "x", x, x, x, contexts=(x[:, :2], x[:, :2], x[:, :2]), shard_bytes=7 * 16)
    settings = dataclasses.replace(
        STREAMED, objective=TwoPhases(), training=training, data=Shards(str(folder)), optimizer=Adam(1e-2)
    )
    train, data, found = make_train(settings), settings.data.load(), []
    for mesh in (None, data_mesh(2)):
        stream = Stream(settings, data, mesh)
        state = train.init(settings, jax.random.key(settings.seed), stream.like)
        chunk = stream.take(0)
        found.append(train.advance_over(settings, state, chunk, 0, stream.scale))
        stream.close()
    assert {v.addressable_shards[1].data.shape[:3] for v in jax.tree.leaves(chunk.rows)} == {(4, 3, 2)}
    leaves = ((*jax.tree.leaves(state.params), *jax.tree.leaves(metrics)) for state, metrics in found)
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_read_depends_on_the_step_alone(data_dir):
    """And the next chunk is under way before it is asked for."""
    data = STREAMED.data.load(data_dir)
    stream, other = Stream(STREAMED, data), Stream(STREAMED, data)
    chunks = {step: stream.take(step) for step in (0, 5, 10)}
    assert np.array_equal(stream.next.result().x, other.take(15).x)
    assert np.array_equal(chunks[10].x, stream.take(10).x)
    assert {(chunk.x.shape, chunk.x.dtype) for chunk in chunks.values()} == {((5, 8, 6), np.dtype(np.uint8))}
    assert len({np.asarray(chunk.x).tobytes() for chunk in chunks.values()}) == 3
    stream.close()
    other.close()


def test_a_disk_that_fails_is_heard_of(data_dir, monkeypatch):
    stream = Stream(STREAMED, STREAMED.data.load(data_dir))

    def fail(self, places):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Rows, "read", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        stream.take(0)
    stream.close()


def test_refused_before_anything_is_written(tmp_path, data_dir, monkeypatch):
    """Fewer examples than a batch, sweeps, and a package that is not there."""
    run = tmp_path / "run"
    large = overlay(STREAMED, {"training.batch_size": 51})
    with pytest.raises(DataError, match=r"training\.batch_size: got 51, but the training data has 50 examples"):
        train_run(large, run, data_dir, log=Log())
    rates = axis("optimizer.learning_rate", (1e-3, 1e-2))
    with pytest.raises(ConfigError, match="a sweep: the training data"):
        run_sweep(STREAMED, rates, data_dir=data_dir)
    with pytest.raises(ConfigError, match="a sweep: the training data"):
        sweep_run(STREAMED, Sweep(rates), run, data_dir, log=Log())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"grain, which is not installed: .*genjax_models\[streaming\]"):
        train_run(STREAMED, run, data_dir, log=Log())
    assert not run.exists()


def test_estimators_say_why_not(finished, tmp_path, data_dir):
    with pytest.raises(DataError, match="estimators: the training data"):
        compare_estimators(finished, out=tmp_path / "x.png", data_dir=data_dir, log=Log())


def test_neighbours_are_found_block_by_block(data_dir, monkeypatch):
    """Those of data in memory, wherever they lie; of a sample that is not finite some."""
    held, streamed = CONFIG.data.load(data_dir), STREAMED.data.load(data_dir)
    samples = np.concatenate([held.train[[49, 0, 17]] + np.float32(1e-3), np.full((1, 6), np.nan, np.float32)])
    monkeypatch.setattr(rows, "BLOCK", 25)
    found, expected = with_neighbours(samples, streamed), with_neighbours(samples, held)
    assert np.array_equal(found[:-2], expected[:-2])
    assert np.array_equal(found[1:6:2], held.train[[49, 0, 17]])
    assert (held.train == found[-1]).all(axis=1).any()
