"""Training steps on data in shards on disk against the same steps on data on the device: 60,000 records of 784 bytes.

The variational autoencoder of the other benchmarks, with bytes drawn at random and binarized at every step. Each round
of the stream begins with one chunk before the clock starts, so that it is measured as it goes on: a chunk is read for
each that is computed. The shards are in the page cache, as those of a set that fits the memory are after an epoch.
"""

import itertools
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from dense import BATCH, HIDDEN, LATENT, VISIBLE
from timing import Row, compare, in_turns
from training import LEARNING_RATE

from genjax_models.config import Config, Training
from genjax_models.data import Shards, write_shards
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.streaming import Stream
from genjax_models.train import make_train

EXAMPLES, HELD_OUT, CHUNK, CHUNKS, ROUNDS = 60_000, 100, 100, 8, 7
TARGET = 1 / 0.9


def _config(folder: Path) -> Config:
    network = MLP((HIDDEN, HIDDEN), "tanh")
    return Config(
        model=VAE(LATENT, network, network),
        objective=ELBO(),
        optimizer=Adam(LEARNING_RATE),
        data=Shards(str(folder), binarization="dynamic"),
        training=Training(num_steps=10**6, batch_size=BATCH, evaluate_every=10**6, chunk=CHUNK),
    )


def rows() -> list[Row]:
    """Streamed steps by steps on data on the device."""
    with tempfile.TemporaryDirectory() as place:
        x = np.random.RandomState(0).randint(0, 256, (EXAMPLES + 2 * HELD_OUT, VISIBLE), np.uint8)
        parts = x[: -2 * HELD_OUT], x[-2 * HELD_OUT : -HELD_OUT], x[-HELD_OUT:]
        config = _config(write_shards(Path(place) / "shards", *parts, levels=256))
        data = config.data.load()
        train, on_device = make_train(config), jax.device_put(data.train[:])
        states = [train.init(config, jax.random.key(config.seed), on_device) for _ in range(2)]
        bounds: list[list[np.ndarray]] = [[], []]
        starts = [itertools.count(0, CHUNK), itertools.count(0, CHUNK)]

        def chunk(which: int, stream: Stream | None) -> None:
            step = next(starts[which])
            if stream is None:
                states[which], found = train.advance(config, states[which], on_device, step, CHUNK)
            else:
                rows = stream.take(step)
                states[which], found = train.advance_over(config, states[which], rows, step, stream.scale)
            bounds[which].append(np.asarray(found["bound"]))  # waits, as a run does

        def streamed() -> float:
            stream = Stream(config, data)
            chunk(0, stream)
            start = time.perf_counter()
            for _ in range(CHUNKS):
                chunk(0, stream)
            seconds = time.perf_counter() - start
            stream.close()
            return seconds

        def held() -> float:
            chunk(1, None)
            start = time.perf_counter()
            for _ in range(CHUNKS):
                chunk(1, None)
            return time.perf_counter() - start

        ours, other = in_turns(streamed, held, rounds=ROUNDS, measure=lambda function: function())
    a, b = (np.concatenate(found) for found in bounds)
    if not np.allclose(a, b, rtol=1e-3):
        raise RuntimeError(f"the bounds after {len(a)} steps are {a[-1]} and {b[-1]} nats: different examples.")
    return [compare("streamed step / on the device", ours, other, "ms", TARGET, 1e3 / (CHUNK * CHUNKS))]
