"""The variational autoencoder that the speed benchmarks share: 784-200-200-50, tanh, Bernoulli, as we train it."""

import jax
import jax.numpy as jnp
import optax

from genjax_models.models import vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import iwae
from genjax_models.train import make_train_step

VISIBLE, HIDDEN, LATENT = 784, 200, 50
BATCH, PARTICLES = 100, 50
LEARNING_RATE = 1e-3
STEPS = 8  # in one compiled scan, as `make_train` runs them


def data(size: int = BATCH) -> jax.Array:
    """Zeros and ones [size, VISIBLE], float32."""
    return jax.random.bernoulli(jax.random.key(1), 0.3, (size, VISIBLE)).astype(jnp.float32)


def batches() -> jax.Array:
    """One batch for each step, [STEPS, BATCH, VISIBLE]."""
    return jnp.broadcast_to(data(), (STEPS, BATCH, VISIBLE))


def model_and_parameters():
    """Our model, and its initial parameters."""
    model = vae(VISIBLE, latent=LATENT, encoder=MLP((HIDDEN, HIDDEN), "tanh"), decoder=MLP((HIDDEN, HIDDEN), "tanh"))
    return model, model.init(jax.random.key(0), jnp.zeros(VISIBLE), ())


def iwae_training():
    """STEPS of our training as a function without arguments, which returns the bounds; and its compiled program."""
    model, params = model_and_parameters()
    training = make_train_step(iwae(model, PARTICLES), optax.adam(LEARNING_RATE))
    state, xs = training.init(jax.random.key(0), params, data()), batches()
    scan = jax.jit(lambda state, xs: jax.lax.scan(training.step, state, xs), donate_argnums=0)
    compiled = scan.lower(state, xs).compile()

    def advance():
        nonlocal state
        state, metrics = compiled(state, xs)
        return metrics["bound"]

    return advance, compiled
