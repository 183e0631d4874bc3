"""A sweep of 256 points of a small VAE on an accelerator, against one point; there is no row on a CPU.

Training alone, compiled before the clock starts, with the size of block that is measured best.
"""

import dataclasses

import jax
import numpy as np
from timing import Row, compare, in_turns

from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.stack import Stack
from genjax_models.sweep import points_mesh

POINTS, STEPS, TARGET = 256, 500, 8.0
CONFIG = Config(
    model=VAE(latent=8, encoder=MLP((100,), "tanh"), decoder=MLP((100,), "tanh")),
    objective=ELBO(),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(),
    training=Training(num_steps=STEPS, evaluate_every=STEPS, chunk=STEPS),
)


def _run(points: int, x: np.ndarray):
    """A function that trains so many points, with seeds of their own, from the start."""
    configs = [dataclasses.replace(CONFIG, seed=seed) for seed in range(points)]
    stack = Stack(configs, x, points_mesh(jax.devices()[:1]))
    stack.arrange(range(points), [0] * points)
    start = stack.take(stack.choose(stack.init())[0])

    def run():
        stack.arrange(range(points), [0] * points)
        return stack.advance(stack.put(start), STEPS)[1]["bound"]

    return run


def rows() -> list[Row]:
    """256 points by one, where there is an accelerator."""
    if jax.default_backend() == "cpu":
        return []
    x = Digits().load().train
    many, one = in_turns(_run(POINTS, x), _run(1, x), rounds=5)
    return [compare(f"sweep of {POINTS} points / one point", many, one, "s", TARGET)]
