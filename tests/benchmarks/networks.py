"""The variational autoencoder that the speed benchmarks share, and its data."""

import jax
import jax.numpy as jnp

VISIBLE, HIDDEN, LATENT = 784, 200, 50
BATCH, PARTICLES = 100, 50

ENCODER = (VISIBLE, HIDDEN, HIDDEN, 2 * LATENT)
DECODER = (LATENT, HIDDEN, HIDDEN, VISIBLE)


def batch_of(size: int = BATCH) -> jax.Array:
    """Zeros and ones [size, VISIBLE], float32."""
    return jax.random.bernoulli(jax.random.key(1), 0.3, (size, VISIBLE)).astype(jnp.float32)


def kernels(key: jax.Array, sizes: tuple[int, ...]) -> list[jax.Array]:
    """Glorot uniform weight matrices between layers of these sizes."""
    keys = jax.random.split(key, len(sizes) - 1)
    initializer = jax.nn.initializers.glorot_uniform()
    return [initializer(k, shape) for k, shape in zip(keys, zip(sizes[:-1], sizes[1:], strict=True), strict=True)]
