"""The sigmoid belief network that the speed benchmarks share: 784-200-200-200, as we train it."""

import jax
import jax.numpy as jnp
import optax
from networks import VISIBLE, batches, data

from genjax_models.core import Objective
from genjax_models.models import sigmoid_belief_network
from genjax_models.train import make_train_step

LAYERS = (200, 200, 200)
PARTICLES = 10
LEARNING_RATE = 1e-3


def model_and_parameters():
    """Our model, and its initial parameters."""
    model = sigmoid_belief_network(VISIBLE, layers=LAYERS)
    return model, model.init(jax.random.key(0), jnp.zeros(VISIBLE), ())


def training(objective: Objective):
    """STEPS of our training as a function without arguments, which returns the bounds; and its compiled program."""
    _, params = model_and_parameters()
    init, step = make_train_step(objective, optax.adam(LEARNING_RATE))
    state, xs = init(jax.random.key(0), params, data()), batches()
    scan = jax.jit(lambda state, xs: jax.lax.scan(step, state, xs), donate_argnums=0)
    compiled = scan.lower(state, xs).compile()

    def advance():
        nonlocal state
        state, metrics = compiled(state, xs)
        return metrics["bound"]

    return advance, compiled
