"""The matrix products of a training step and nothing else: what no library can do without."""

import itertools
import re

import jax
import jax.numpy as jnp
from training import STEPS, Training


def kernels(key, sizes):
    """Weights small enough that the products below neither grow nor vanish."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = itertools.pairwise(sizes)
    return [jax.random.normal(k, shape) / max(shape) ** 0.5 for k, shape in zip(keys, shapes, strict=True)]


def forward(weights, x):
    """The inputs of linear layers, and the last one's output."""
    inputs = [x]
    for w in weights:
        inputs.append(inputs[-1] @ w)
    return inputs[:-1], inputs[-1]


def backward(weights, inputs, cotangent):
    """The gradients of the weights and of the input; what is not used of them the compiler leaves out."""
    gradients = []
    for w, x in zip(reversed(weights), reversed(inputs), strict=True):
        gradients.insert(0, x.T @ cotangent)
        cotangent = cotangent @ w.T
    return gradients, cotangent


def followed(weights, gradients):
    """New weights, lest products be taken out of the loop."""
    return jax.tree.map(lambda w, g: w - 1e-9 * g, weights, gradients)


def count(compiled) -> int:
    """Matrix products in a compiled program."""
    return len(re.findall(r"\bdot\(|custom_call_target=\"[^\"]*(?:matmul|gemm)", compiled.as_text()))


def training(step, weights, x, expected: int) -> Training:
    """STEPS of `step(weights, x) -> weights` in a compiled scan, each fed by the one before.

    Raises:
        RuntimeError: the program does not have `expected` products a step.
    """
    x = jnp.asarray(x)
    scan = jax.jit(lambda weights, x: jax.lax.scan(lambda w, _: (step(w, x), None), weights, length=STEPS)[0])
    compiled = scan.lower(weights, x).compile()
    if (found := count(compiled)) != expected:
        raise RuntimeError(f"the bare products: {found} matrix products in the program, expected {expected}.")
    return Training(None, lambda: jax.block_until_ready(compiled(weights, x)))
