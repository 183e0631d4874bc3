"""What one update costs, a model at a time: ours, its peers', and the bare matrix products.

Each module `train_*.py` has the dictionary `LIBRARIES` of functions that build the same training in one library each,
from the same parameters and the same batch, and `TARGETS` for our ratios to them. A function imports what it needs
itself: run alone in a process of its own, it tells how long that library takes from the start of the process to its
first updates, and how much memory the process has had at most.
"""

import functools
import importlib
import math
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from timing import Row, compare, in_turns

STEPS = 8  # updates a call: in one compiled scan where the library compiles
LEARNING_RATE = 1e-3  # of Adam
FIRST_ROUNDS = 2  # processes, whose best counts
ALL = "all"  # the target for a library that TARGETS does not name
# Of the time to the first updates: no later than a library's, and little later than a script of this one model.
FIRST_TARGET, FIRST_TARGET_BY_HAND = 1.0, 1.2
BY_HAND = "plain JAX"


class Setting(NamedTuple):
    """Where every library begins."""

    params: Any  # ours: nested dictionaries of numpy arrays
    x: np.ndarray  # the batch [B, ...] of every step, float32


class Training(NamedTuple):
    """One model in one library."""

    loss: Callable[[], float] | None  # at the first parameters, nats per example; None: it has none
    advance: Callable[[], object]  # STEPS updates, awaited


def rows_of(name: str, module: Any, tolerance: float) -> list[Row]:
    """Our updates by those of each other library: time, time to the first ones, memory.

    Args:
        name: of the model.
        module: with `setting`, `LIBRARIES`, whose first is ours, and `TARGETS`.
        tolerance: by which losses at equal parameters may differ, of their size: noise, where there is any.
    """
    setting = module.setting()
    trainings = {library: build(setting) for library, build in module.LIBRARIES.items()}
    losses = {library: training.loss() for library, training in trainings.items() if training.loss is not None}
    ours = next(iter(trainings))
    for library, loss in losses.items():
        if not abs(loss - losses[ours]) <= tolerance * abs(losses[ours]):
            raise RuntimeError(f"{name}: {library}'s loss is {loss:.3f}, ours {losses[ours]:.3f} nats: two models.")
    columns = in_turns(*(training.advance for training in trainings.values()), rounds=module.ROUNDS)
    times = dict(zip(trainings, columns, strict=True))
    others = [library for library in trainings if library != ours]
    libraries = [library for library in others if library in losses]
    first, memory = _alone(module, setting, [ours, *libraries])
    targets = {library: module.TARGETS.get(library, module.TARGETS[ALL]) for library in others}
    return [
        *(compare(f"{name}: update / {o}", times[ours], times[o], "ms", targets[o], 1e3 / STEPS) for o in others),
        *(compare(f"{name}: first updates / {o}", first[ours], first[o], "s", _first_target(o)) for o in libraries),
        *(compare(f"{name}: peak memory / {o}", memory[ours], memory[o], "MiB", math.inf) for o in libraries),
    ]


def _first_target(library: str) -> float:
    return FIRST_TARGET_BY_HAND if library == BY_HAND else FIRST_TARGET


def _alone(module: Any, setting: Setting, libraries: list[str]) -> tuple[Mapping[str, list[float]], ...]:
    """Seconds to the first updates, and MiB at most, of processes that run one library each, in turns."""
    seconds: dict[str, list[float]] = {library: [] for library in libraries}
    memory: dict[str, list[float]] = {library: [] for library in libraries}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "setting.pickle"
        file.write_bytes(pickle.dumps(setting))
        for _ in range(FIRST_ROUNDS):
            for library in libraries:
                command = [sys.executable, str(Path(__file__)), module.__name__, library, str(file)]
                environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / f"{time.time_ns()}")}
                start = time.perf_counter()
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                seconds[library].append(time.perf_counter() - start)
                if done.returncode:
                    raise RuntimeError(f"{' '.join(command)} left with {done.returncode}:\n{done.stderr}")
                memory[library].append(float(done.stdout.split()[-1]))
    return seconds, memory


def _peak_memory() -> float:
    """MiB that this process has had at most."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had when it forked
        return float(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def jax_training(loss: Callable, params: Any, x: np.ndarray, draws: int = 1, compared: Any = None) -> Training:
    """A loop by hand in JAX: `loss(params, key, x)`, in nats per example, by `value_and_grad` and optax.

    `compared` is the loss that is compared, where the one whose gradient is followed is no bound.
    """
    import jax
    import jax.numpy as jnp
    import optax

    optimizer, x = optax.adam(LEARNING_RATE), jnp.asarray(x)
    params = jax.tree.map(jnp.asarray, params)

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(carry, key, x):
        def step(carry, key):
            params, moments = carry
            value, slopes = jax.value_and_grad(loss)(params, key, x)
            updates, moments = optimizer.update(slopes, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        return jax.lax.scan(step, carry, jax.random.split(key, STEPS))

    carry = jax.tree.map(jnp.copy, params), optimizer.init(params)

    def run():
        nonlocal carry
        carry, losses = advance(carry, jax.random.key(0), x)
        return jax.block_until_ready(losses)

    def mean_loss():
        keys = jax.random.split(jax.random.key(1), draws)
        return float(jnp.mean(jax.jit(jax.vmap(compared or loss, in_axes=(None, 0, None)))(params, keys, x)))

    return Training(mean_loss, run)


def our_training(objective: Any, params: Any, x: np.ndarray, draws: int = 1, compared: Any = None) -> Training:
    """Ours: an objective by `make_train_step`. `compared` is the objective whose loss is compared, where another."""
    import jax
    import jax.numpy as jnp
    import optax

    from genjax_models.core import Trainable, as_batch
    from genjax_models.train import make_train_step

    training = make_train_step(objective, optax.adam(LEARNING_RATE))
    params, x = jax.tree.map(jnp.asarray, params), jnp.asarray(x)
    state = training.init(jax.random.key(0), params, x)
    advance = jax.jit(lambda s, x: jax.lax.scan(lambda s, _: training.step(s, x), s, length=STEPS), donate_argnums=0)

    def run():
        nonlocal state
        state, metrics = advance(state, x)
        return jax.block_until_ready(metrics["bound"])

    def mean_loss():
        bounded = compared or objective
        own, start = bounded.init(jax.random.key(0), params, as_batch(x))

        def bound(key):
            return bounded.loss(Trainable(params, own), start, key, as_batch(x), 0)[1][1]["bound"]

        return -float(jnp.mean(jax.jit(jax.vmap(bound))(jax.random.split(jax.random.key(1), draws))))

    return Training(mean_loss, run)


def torch_training(
    loss: Callable, modules: list[Any], x: np.ndarray, draws: int = 1, compiled: bool = False, compared: Any = None
) -> Training:
    """A plain PyTorch loop: `loss(x)` in nats per example, Adam, and `torch.compile` with its fused form if asked for.

    `compared` is the loss that is compared, where the one whose gradient is followed is no bound.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    parameters = [p for module in modules for p in module.to(device).parameters()]
    x = torch.tensor(x, device=device)
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=compiled)
    run_loss = torch.compile(loss) if compiled else loss

    def run():
        for _ in range(STEPS):
            optimizer.zero_grad()
            value = run_loss(x)
            value.backward()
            optimizer.step()
        return float(value.detach())

    def mean_loss():
        with torch.no_grad():
            return float(np.mean([float((compared or run_loss)(x)) for _ in range(draws)]))

    return Training(mean_loss, run)


if __name__ == "__main__":
    module, library, file = sys.argv[1:]
    importlib.import_module(module).LIBRARIES[library](pickle.loads(Path(file).read_bytes())).advance()
    print(_peak_memory())
