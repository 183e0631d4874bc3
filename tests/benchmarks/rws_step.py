"""A training step of reweighted wake-sleep on a belief network against nothing but its matrix products.

Both run in a compiled scan, as whole training runs do. The samples are held fixed, so that no product is needed for the
gradient of a layer's input: every layer has one product forward and one for its weights' gradient in each phase that
trains it, and dreams take one a layer more.
"""

import itertools

import jax
import jax.numpy as jnp
from belief_networks import LAYERS, PARTICLES, model_and_parameters, training
from iwae_step import count_products, kernels
from networks import BATCH, STEPS, VISIBLE, batches
from timing import Row, compare, in_turns

from genjax_models.objectives import reweighted_wake_sleep

TARGET = 1.6
SIZES = (VISIBLE, *LAYERS)
# p awake, q awake, q asleep: two a layer each; and one a layer for the dream.
PRODUCTS = 7 * len(LAYERS)


def _up(recognition, x):
    """x and the layers of q above it."""
    return tuple(itertools.accumulate(recognition, jnp.matmul, initial=x))


def _gradients(weights, inputs):
    """The weights' gradients of layers that each get their own input, with their outputs as cotangents."""
    return [z.T @ (z @ w) for w, z in zip(weights, inputs, strict=True)]


def _step(weights, x):
    """The products of a step of linear layers, each fed by those before it so that none can be left out."""
    generative, recognition = weights
    # Awake: the first layer of q reads examples, all others particles.
    first, *rest = recognition
    h = x @ first
    of_first = x.T @ h
    z = _up(rest, jnp.repeat(h, PARTICLES, axis=0))
    of_rest = [below.T @ above for below, above in itertools.pairwise(z)]
    of_generative = _gradients(generative, z)
    # Asleep, from whatever the top layer is.
    dream = tuple(itertools.accumulate(reversed(generative), jnp.matmul, initial=z[-1][:BATCH]))[::-1]
    asleep = _gradients(recognition, dream[:-1])
    of_recognition = [a + b for a, b in zip((of_first, *of_rest), asleep, strict=True)]
    # New weights, lest products be taken out of the loop.
    return jax.tree.map(lambda w, g: w - 1e-9 * g, weights, (of_generative, of_recognition)), None


def rows() -> list[Row]:
    """Our step by its bare products."""
    generative = kernels(jax.random.key(2), SIZES)
    weights = [w.T for w in generative], kernels(jax.random.key(3), SIZES)
    xs = batches()
    products = jax.jit(lambda weights, xs: jax.lax.scan(_step, weights, xs)[0]).lower(weights, xs).compile()
    ours, compiled = training(reweighted_wake_sleep(model_and_parameters()[0], PARTICLES))
    for name, program in (("the bare products", products), ("our step", compiled)):
        if (found := count_products(program)) != PRODUCTS:
            raise RuntimeError(f"{name}: {found} matrix products in the program, expected {PRODUCTS}.")
    times = in_turns(ours, lambda: products(weights, xs))
    return [compare("RWS step / its matrix products", *times, "ms", TARGET, 1e3 / STEPS)]
