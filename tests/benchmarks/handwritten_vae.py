"""The opponent of the cold start benchmark: the model of configs/vae_digits.py in one file, as one would write it.

Deliberately lean: it imports nothing that it does not need, reads the digits without importing scikit-learn,
initializes under `jit`, and compiles chunks of 100 steps. It prints a line after every chunk.
"""

import functools
import gzip
import importlib.util
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

LATENT, HIDDEN, BATCH, CHUNK, STEPS = 16, 200, 100, 100, 5000


class VAE(nn.Module):
    @nn.compact
    def __call__(self, x, key):
        h = nn.tanh(nn.Dense(HIDDEN)(x))
        h = nn.tanh(nn.Dense(HIDDEN)(h))
        loc, log_scale = jnp.split(nn.Dense(2 * LATENT)(h), 2, axis=-1)
        z = loc + jnp.exp(log_scale) * jax.random.normal(key, loc.shape)
        h = nn.tanh(nn.Dense(HIDDEN)(z))
        h = nn.tanh(nn.Dense(HIDDEN)(h))
        logits = nn.Dense(x.shape[-1])(h)
        likelihood = -optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
        kl = 0.5 * (loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
        return (likelihood - kl).mean()


def load_digits() -> np.ndarray:
    package = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    text = gzip.decompress((Path(package) / "datasets" / "data" / "digits.csv.gz").read_bytes()).decode()
    pixels = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.float32)[:, :-1]
    order = np.random.RandomState(0).permutation(len(pixels))
    return (pixels[order[:1097]] > 8).astype(np.float32)


model, optimizer = VAE(), optax.adam(1e-3)


@jax.jit
def init(key, x):
    params = model.init(key, x[:BATCH], key)
    return params, optimizer.init(params)


@functools.partial(jax.jit, donate_argnums=0)
def train_chunk(state, key, x):
    def step(state, key):
        params, optimizer_state = state
        choose, sample = jax.random.split(key)
        batch = x[jax.random.choice(choose, len(x), (BATCH,), replace=False)]
        loss, gradient = jax.value_and_grad(lambda p: -model.apply(p, batch, sample))(params)
        changes, optimizer_state = optimizer.update(gradient, optimizer_state)
        return (optax.apply_updates(params, changes), optimizer_state), -loss

    return jax.lax.scan(step, state, jax.random.split(key, CHUNK))


def main():
    x = jnp.asarray(load_digits())
    state = init(jax.random.key(0), x)
    for first in range(0, STEPS, CHUNK):
        state, bounds = train_chunk(state, jax.random.key(1 + first), x)
        print(f"step {first + CHUNK}/{STEPS}  train {np.mean(bounds):.2f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
