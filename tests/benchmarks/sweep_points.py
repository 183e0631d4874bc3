"""A sweep of 32 points (4 learning rates x 8 seeds) of a small VAE, against 32 commands, and a loop in one process.

The same 32 runs three times: by one `sweep`, by 32 `train` commands one after another, and by 32 calls of `train_run`
in one process, which share one compilation. All leave the same files. Programs come out of JAX's compilation cache,
which a run of each kind has filled before, as it is from the second command on for a user.
"""

import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import Row, compare

CONFIG = """
from genjax_models.axes import axis
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.sweep import Sweep

CONFIG = Config(
    model=VAE(latent=8, encoder=MLP((100,), "tanh"), decoder=MLP((100,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(),
    training=Training(num_steps=1000),
    evaluation=Evaluation(num_samples=200),
)
SWEEP = Sweep(axis("optimizer.learning_rate", {rates}), seeds={seeds})
"""
RATES, SEEDS = (3e-4, 1e-3, 3e-3, 1e-2), 8
LOOP = """
import sys
from pathlib import Path
from genjax_models.commands.files import load_file
from genjax_models.commands.shared import use_compilation_cache
from genjax_models.experiment import train_run
from genjax_models.overlay import overlay

use_compilation_cache()
config = load_file(sys.argv[1])["CONFIG"]
for i, point in enumerate(eval(sys.argv[3])):
    train_run(overlay(config, point), Path(sys.argv[2]) / str(i), log=lambda line: None)
"""
ROUNDS = 1  # minutes long: it averages over disturbances itself


def _run(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _points(rates: tuple[float, ...], seeds: int) -> list[dict[str, float]]:
    pairs = itertools.product(rates, range(seeds))
    return [{"optimizer.learning_rate": rate, "seed": seed} for rate, seed in pairs]


def _sweep(config: str, folder: str, points: list[dict[str, float]]) -> None:
    _run("-m", "genjax_models", "sweep", config, "--run-dir", folder)


def _commands(config: str, folder: str, points: list[dict[str, float]]) -> None:
    for i, point in enumerate(points):
        overrides = [word for path, value in point.items() for word in (f"--{path}", str(value))]
        _run("-m", "genjax_models", "train", config, *overrides, "--run-dir", f"{folder}/{i}")


def _loop(config: str, folder: str, points: list[dict[str, float]]) -> None:
    _run("-c", LOOP, config, folder, repr(points))


def rows() -> list[Row]:
    """The sweep by the commands, and by the loop."""
    ways = (_sweep, _commands, _loop)
    times: list[list[float]] = [[] for _ in ways]
    with tempfile.TemporaryDirectory() as there:
        full = Path(there) / "config.py"
        full.write_text(CONFIG.format(rates=RATES, seeds=SEEDS))
        for way in (_commands, _loop):
            way(str(full), f"{there}/warm{way.__name__}", _points(RATES[:1], 1))
        _sweep(str(full), f"{there}/warm_sweep", [])
        for number in range(ROUNDS):
            for way, found in zip(ways, times, strict=True):
                start = time.perf_counter()
                way(str(full), f"{there}/{number}{way.__name__}", _points(RATES, SEEDS))
                found.append(time.perf_counter() - start)
    sweep, commands, loop = times
    return [
        compare("sweep of 32 points / 32 commands", sweep, commands, "s", 1 / 3),
        compare("sweep of 32 points / loop in one process", sweep, loop, "s", 1),
    ]
