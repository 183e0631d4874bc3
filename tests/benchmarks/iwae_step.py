"""A training step of the importance weighted autoencoder against nothing but its matrix products.

Both run in a compiled scan, as whole training runs do. Called step by step, either may also wait for its temporary
memory, which a C library can hand back to the system after every call.
"""

import itertools
import re

import jax
import jax.numpy as jnp
from networks import BATCH, HIDDEN, LATENT, PARTICLES, STEPS, VISIBLE, batches, iwae_training
from timing import Row, compare, in_turns

TARGET = 1.5
ENCODER = (VISIBLE, HIDDEN, HIDDEN, 2 * LATENT)
DECODER = (LATENT, HIDDEN, HIDDEN, VISIBLE)
# A layer has one forward and two backward; nobody needs the gradient of x.
PRODUCTS = 3 * (len(ENCODER) - 1) + 3 * (len(DECODER) - 1) - 1


def kernels(key, sizes):
    """Weights small enough that the products below neither grow nor vanish."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = itertools.pairwise(sizes)
    return [jax.random.normal(k, shape) / max(shape) ** 0.5 for k, shape in zip(keys, shapes, strict=True)]


def _forward(weights, x):
    inputs = [x]
    for w in weights:
        inputs.append(inputs[-1] @ w)
    return inputs[:-1], inputs[-1]


def _backward(weights, inputs, cotangent):
    """The gradients of the weights and of the input; what is not used of them the compiler leaves out."""
    gradients = []
    for w, x in zip(reversed(weights), reversed(inputs), strict=True):
        gradients.insert(0, x.T @ cotangent)
        cotangent = cotangent @ w.T
    return gradients, cotangent


def _step(weights, x):
    """The products of a linear autoencoder's step, each fed by the one before it so that none can be left out."""
    encoder, decoder = weights
    encoder_inputs, out = _forward(encoder, x)
    z = jnp.repeat(out[:, :LATENT], PARTICLES, axis=0)
    decoder_inputs, logits = _forward(decoder, z)
    of_decoder, of_z = _backward(decoder, decoder_inputs, logits)
    of_z = of_z.reshape(BATCH, PARTICLES, LATENT)[:, 0]
    of_encoder, _ = _backward(encoder, encoder_inputs, jnp.concatenate([of_z, of_z], axis=1))
    # New weights, lest products be taken out of the loop.
    return jax.tree.map(lambda w, g: w - 1e-9 * g, weights, (of_encoder, of_decoder)), None


def count_products(compiled) -> int:
    """Matrix products in a compiled program."""
    return len(re.findall(r"\bdot\(|custom_call_target=\"[^\"]*(?:matmul|gemm)", compiled.as_text()))


def rows() -> list[Row]:
    """Our step by its bare products."""
    weights = kernels(jax.random.key(2), ENCODER), kernels(jax.random.key(3), DECODER)
    xs = batches()
    products = jax.jit(lambda weights, xs: jax.lax.scan(_step, weights, xs)[0]).lower(weights, xs).compile()
    ours, compiled = iwae_training()
    for name, program in (("the bare products", products), ("our step", compiled)):
        if (found := count_products(program)) != PRODUCTS:
            raise RuntimeError(f"{name}: {found} matrix products in the program, expected {PRODUCTS}.")
    times = in_turns(ours, lambda: products(weights, xs))
    return [compare("IWAE step / its matrix products", *times, "ms", TARGET, 1e3 / STEPS)]
