"""A training step of the importance weighted autoencoder against nothing but its matrix products."""

import re

import jax
import jax.numpy as jnp
import optax
from networks import BATCH, DECODER, ENCODER, LATENT, PARTICLES, VISIBLE, batch_of, kernels
from timing import Row, compare, in_turns

from genjax_models.models import vae
from genjax_models.objectives import iwae
from genjax_models.train import make_train_step

TARGET = 1.5
# Forward, and backward to the weights and to the inputs; nobody needs the gradient of x.
PRODUCTS = 3 * len(DECODER[1:]) + 3 * len(ENCODER[1:]) - 1


def _forward(weights, x):
    inputs = [x]
    for w in weights:
        inputs.append(inputs[-1] @ w)
    return inputs[:-1], inputs[-1]


def _backward(weights, inputs, cotangent, to_input):
    gradients = []
    for i in reversed(range(len(weights))):
        gradients.append(inputs[i].T @ cotangent)
        if i > 0 or to_input:
            cotangent = cotangent @ weights[i].T
    return gradients, cotangent


@jax.jit
def products(encoder, decoder, x):
    """The weights' gradients of a linear network, each product fed by the one before it."""
    inputs, out = _forward(encoder, x)
    z = jnp.repeat(out[:, :LATENT], PARTICLES, axis=0)
    decoder_inputs, logits = _forward(decoder, z)
    of_decoder, cotangent = _backward(decoder, decoder_inputs, logits, True)
    cotangent = cotangent.reshape(BATCH, PARTICLES, LATENT)[:, 0]
    of_encoder, _ = _backward(encoder, inputs, jnp.concatenate([cotangent, cotangent], axis=1), False)
    return of_encoder, of_decoder


def count_products(compiled) -> int:
    """Matrix products in a compiled program."""
    return len(re.findall(r" dot\(|custom_call_target=\"[^\"]*matmul", compiled.as_text()))


def training_step():
    """Our step as a function without arguments that goes on from its last state, and its compiled program."""
    model = vae(VISIBLE, latent=LATENT)
    train = make_train_step(iwae(model, PARTICLES), optax.adam(1e-3))
    x = batch_of()
    state = train.init(jax.random.key(0), model.init(jax.random.key(0), x[0], ()), x)
    compiled = train.step.lower(state, x).compile()

    def advance():
        nonlocal state
        state, metrics = compiled(state, x)
        return metrics

    return advance, compiled


def rows() -> list[Row]:
    """Our step by its bare products."""
    advance, _ = training_step()
    arguments = kernels(jax.random.key(2), ENCODER), kernels(jax.random.key(3), DECODER), batch_of()
    compiled = products.lower(*arguments).compile()
    if (found := count_products(compiled)) != PRODUCTS:
        raise RuntimeError(f"the compiler left {found} of {PRODUCTS} matrix products: this comparison means nothing.")
    ours, bare = in_turns(advance, lambda: compiled(*arguments))
    return [compare("IWAE step by its matrix products", ours, bare, TARGET)]
