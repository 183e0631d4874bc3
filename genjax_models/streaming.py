"""Training data that are read from disk while the device computes.

What a step is given is a function of the run's key and the step alone, and that of data in memory: a resumed run takes
up reading where it stood, and a checkpoint holds nothing of the reader.
"""

import contextlib
import importlib.util
import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jax.sharding import Mesh

from genjax_models.config import Config
from genjax_models.core import Metrics, TrainState, as_batch
from genjax_models.data import Dataset, Rows, examples
from genjax_models.errors import DataError
from genjax_models.spread import own_share, spread, spread_steps
from genjax_models.train import Train, batches_per_step, next_stop, order_bits

THREADS = 8  # that read at once; a disk serves several faster than one after another
PIECE = 2**20  # bytes that one of them reads at a time, or the examples of one step where those are more


def require_reader(data: Dataset) -> None:
    """Raise DataError where data are to be streamed and the package that reads them is not installed."""
    if isinstance(data.train, Rows) and importlib.util.find_spec("grain") is None:
        raise DataError(
            "data in shards are streamed by the package grain, which is not installed: "
            "python -m pip install 'genjax_models[streaming]'."
        )


class Orders:
    """The order in which each epoch takes the examples, which is that of data in memory."""

    def __init__(self, seed: Any, number: int):
        self.seed, self.number = seed, number
        self.lock = threading.Lock()
        self.kept: dict[int, np.ndarray] = {}

    def __call__(self, epoch: int) -> np.ndarray:
        """The places of the examples, [N]; from any thread."""
        with self.lock:
            if epoch not in self.kept:
                # On the host's processor: on an accelerator it would wait for the steps that are being computed.
                with jax.default_device(_host()):
                    bits = np.asarray(order_bits(jax.random.key(self.seed), epoch, self.number))
                order = np.argsort(bits, kind="stable")
                self.kept[epoch] = order.astype(np.uint32) if self.number < 2**32 else order
                for old in [e for e in self.kept if e < epoch - 1]:
                    del self.kept[old]
            return self.kept[epoch]


def _host() -> Any:
    """The host's processor as a device, or the first device where JAX was told to have no other."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


class Pieces:
    """The examples of a run's steps, some steps at a time: a source of random access, which grain's threads read.

    A step has the shape [B], or [batches, B], of which this process reads the part `own` of the last axis.
    """

    def __init__(self, rows: Any, orders: Orders, shape: tuple[int, ...], own: slice, bounds: list[tuple[int, int]]):
        self.rows, self.orders, self.shape, self.own, self.bounds = rows, orders, shape, own, bounds
        self.size = math.prod(shape)
        self.steps_per_epoch = orders.number // self.size

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: int) -> Any:
        """Of a few steps, leaves [steps, *shape, ...]."""
        start, stop = self.bounds[index]
        places = []
        for step in range(start, stop):
            epoch, i = divmod(step, self.steps_per_epoch)
            places.append(self.orders(epoch)[i * self.size : (i + 1) * self.size].reshape(self.shape)[..., self.own])
        where = np.stack(places)
        return jax.tree.map(lambda v: v.read(where.ravel()).reshape(*where.shape, -1), self.rows)


class Stream:
    """The examples of a run's steps, chunk by chunk: the next is read and brought to the device ahead of time.

    There are two chunks on the device at a time, and in memory at most one more, or a few megabytes where that is more.

    Args:
        config: the run's configuration.
        data: its data, of which the training split is `Rows`.
        mesh: devices that share each batch, as of `data_mesh`, each process reading what its own devices hold; None
            for one device.
        shard_parameters: as for `spread`.
    """

    def __init__(self, config: Config, data: Dataset, mesh: Mesh | None = None, shard_parameters: bool = False):
        self.config, self.training = config, config.training
        self.mesh, self.shard_parameters = mesh, shard_parameters
        self.rows = as_batch(examples(data, "train"))
        self.scale = cast(Rows, data.train).scale
        batches, size = batches_per_step(config, self.rows.x.shape[1]), config.training.batch_size
        self.shape = (size,) if batches == 1 else (batches, size)
        self.own = slice(0, size) if mesh is None else own_share(mesh, size)
        width = sum(v.shards[0][0].nbytes for v in jax.tree.leaves(self.rows))
        self.steps_of_piece = max(1, PIECE // (math.prod(self.shape) * width))
        self.orders = Orders(config.seed, len(self.rows.x))
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="stream")
        self.expected: int | None = None  # the step that the next chunk starts at
        self.next: Future | None = None
        self.reader: Any = None

    @property
    def like(self) -> Any:
        """Zeros in the shape of a step's examples, where they are trained on: what parameters are made for."""
        size = math.prod(self.shape)
        zeros = jax.tree.map(lambda v: np.zeros((size, *v.shape[1:]), np.float32), self.rows)
        return zeros if self.mesh is None else spread(zeros, self.mesh, shard_parameters=self.shard_parameters)

    def advance(self, train: Train, state: TrainState, step: int) -> tuple[TrainState, Metrics]:
        """The steps from `step` to the next stop."""
        return train.advance_over(self.config, state, self.take(step), step, self.scale)

    def take(self, step: int) -> Any:
        """The examples of the steps from `step` to the next stop, on the devices, for `Train.advance_over`.

        Raises:
            OSError: a disk that fails.
        """
        if step != self.expected:
            self._restart(step)
        assert self.next is not None
        chunk = self.next.result()
        self.expected = next_stop(self.training, step)
        self.next = None if self.expected == self.training.num_steps else self._read(self.expected)
        return chunk

    def close(self) -> None:
        """Stop reading."""
        self.executor.shutdown(cancel_futures=True)
        if self.reader is not None:
            self.reader.close()

    def _pieces(self, step: int) -> list[tuple[int, int]]:
        """The first and last steps of the pieces of the chunk that starts at a step."""
        stop = next_stop(self.training, step)
        return [(i, min(i + self.steps_of_piece, stop)) for i in range(step, stop, self.steps_of_piece)]

    def _restart(self, step: int) -> None:
        import grain  # slow to import, and nothing else needs it

        if self.reader is not None:
            self.reader.close()  # what is under way fails, and nobody asks for it
        bounds, most, start = [], 1, step
        while start < self.training.num_steps:
            pieces = self._pieces(start)
            bounds += pieces
            most, start = max(most, len(pieces)), pieces[-1][1]
        pieces_of_all = grain.MapDataset.source(Pieces(self.rows, self.orders, self.shape, self.own, bounds))
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=max(most, THREADS))
        self.reader = iter(pieces_of_all.to_iter_dataset(options))
        self.next = self._read(step)

    def _read(self, step: int) -> Future:
        reader, number = self.reader, len(self._pieces(step))

        def chunk():
            pieces = [next(reader) for _ in range(number)]
            whole = jax.tree.map(lambda *v: v[0] if number == 1 else np.concatenate(v), *pieces)
            if self.mesh is None:
                return jax.device_put(whole)
            return spread_steps(whole, self.mesh, self.shape, shard_parameters=self.shard_parameters)

        return self.executor.submit(chunk)


class Held(NamedTuple):
    """Training data on the devices, which a run takes its steps on as on a `Stream`."""

    config: Config
    like: Any  # the data

    def advance(self, train: Train, state: TrainState, step: int) -> tuple[TrainState, Metrics]:
        """The steps from `step` to the next stop."""
        return train.advance(self.config, state, self.like, step, next_stop(self.config.training, step) - step)


@contextlib.contextmanager
def feed_of(
    config: Config, data: Dataset, mesh: Mesh | None = None, shard_parameters: bool = False
) -> Iterator["Held | Stream"]:
    """What a run takes its steps on, closed at the end: a stream, or data in memory, on the devices."""
    if not isinstance(data.train, Rows):
        x = examples(data, "train")
        yield Held(config, jax.device_put(x) if mesh is None else spread(x, mesh, shard_parameters=shard_parameters))
        return
    stream = Stream(config, data, mesh, shard_parameters)
    try:
        yield stream
    finally:
        stream.close()
