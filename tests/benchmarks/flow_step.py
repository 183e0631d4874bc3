"""Training MAF against FlowJAX's flow of the same layers, widths and activations.

Both run their steps in one compiled scan. FlowJAX permutes units at random between layers, where ours are reversed, and
its scales are a softplus, where ours are an exponential: the same work. Its parameters are counted beside ours.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flowjax.distributions import StandardNormal
from flowjax.flows import masked_autoregressive_flow
from flowjax.train.losses import MaximumLikelihoodLoss
from timing import Row, compare, in_turns

from genjax_models.models import maf
from genjax_models.objectives import maximum_likelihood
from genjax_models.train import make_train_step

VISIBLE, SAMPLES, BATCH = 64, 4000, 200
LAYERS, WIDTH = 5, 128
LEARNING_RATE = 1e-3
STEPS = SAMPLES // BATCH  # an epoch
TARGET = 1.0


def batches() -> jax.Array:
    """Correlated Gaussian data of unit variance, [STEPS, BATCH, VISIBLE]."""
    noise = jax.random.normal(jax.random.key(1), (STEPS, BATCH, VISIBLE))
    return (noise + jnp.roll(noise, 1, axis=-1)) / jnp.sqrt(2)


def our_training():
    """STEPS of our training as a function without arguments, which returns the log-likelihoods; and its parameters."""
    model = maf(VISIBLE, layers=LAYERS, hidden=(WIDTH,))
    params, xs = model.init(jax.random.key(0), jnp.zeros(VISIBLE), ()), batches()
    training = make_train_step(maximum_likelihood(model), optax.adam(LEARNING_RATE))
    state = training.init(jax.random.key(0), params, xs[0])
    scan = jax.jit(lambda state, xs: jax.lax.scan(training.step, state, xs), donate_argnums=0)
    compiled = scan.lower(state, xs).compile()

    def advance():
        nonlocal state
        state, metrics = compiled(state, xs)
        return metrics["bound"]

    return advance, params


def flowjax_training():
    """The same of FlowJAX's flow."""
    flow = masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=StandardNormal((VISIBLE,)),
        flow_layers=LAYERS,
        nn_width=WIDTH,
        nn_depth=1,
        invert=True,
    )
    params, static = eqx.partition(flow, eqx.is_inexact_array)
    optimizer, loss, xs = optax.adam(LEARNING_RATE), MaximumLikelihoodLoss(), batches()

    def step(carry, x):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, static, x)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), -value

    carry = params, optimizer.init(params)
    scan = jax.jit(lambda carry, xs: jax.lax.scan(step, carry, xs), donate_argnums=0)
    compiled = scan.lower(carry, xs).compile()
    carry = jax.tree.map(jnp.copy, carry)

    def advance():
        nonlocal carry
        carry, values = compiled(carry, xs)
        return values

    return advance, params


def rows() -> list[Row]:
    """Our steps by FlowJAX's."""
    (ours, our_params), (theirs, their_params) = our_training(), flowjax_training()
    sizes = [sum(v.size for v in jax.tree.leaves(p)) for p in (our_params, their_params)]
    if abs(sizes[0] / sizes[1] - 1) > 0.05:
        raise RuntimeError(f"MAF: {sizes[0]} parameters and {sizes[1]}: two different models.")
    return [compare("MAF step / FlowJAX's", *in_turns(ours, theirs), "ms", TARGET, 1e3 / STEPS)]
