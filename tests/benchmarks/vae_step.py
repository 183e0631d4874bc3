"""A training step of the variational autoencoder against one written by hand: what interchangeable parts cost.

The loss by hand is plain `jax.numpy` on the kernels. It is trained once by our train step, which leaves the cost of the
parts, and once by value_and_grad and optax alone, which adds that of the policy for non-finite steps: a pass over the
gradients, and a condition on what it finds. All run in the same compiled scan.
"""

import jax
import jax.numpy as jnp
import optax
from networks import LEARNING_RATE, STEPS, batches, data, model_and_parameters
from timing import Row, compare, in_turns

from genjax_models.distributions import bernoulli_log_prob
from genjax_models.objectives import elbo, from_loss
from genjax_models.train import make_train_step

TARGET = 1.05


def vae_training(objective=None):
    """STEPS of our training as a function without arguments, which returns the bounds."""
    model, params = model_and_parameters()
    training = make_train_step(objective or elbo(model), optax.adam(LEARNING_RATE))
    state, xs = training.init(jax.random.key(0), params, data()), batches()
    compiled = jax.jit(lambda s, xs: jax.lax.scan(training.step, s, xs), donate_argnums=0).lower(state, xs).compile()

    def advance():
        nonlocal state
        state, metrics = compiled(state, xs)
        return metrics["bound"]

    return advance


def _network(params, h):
    for i in range(len(params) - 1):
        h = jnp.tanh(h @ params[f"layers_{i}"]["kernel"] + params[f"layers_{i}"]["bias"])
    last = params[f"layers_{len(params) - 1}"]
    return h @ last["kernel"] + last["bias"]


def _loss(params, key, x):
    loc, log_scale = jnp.split(_network(params["recognition"]["network"], x), 2, axis=-1)
    z = loc + jnp.exp(log_scale) * jax.random.normal(key, loc.shape)
    likelihood = bernoulli_log_prob(_network(params["generative"]["network"], z), x)
    kl = 0.5 * jnp.sum(loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=-1)
    return -jnp.mean(likelihood - kl)


def by_hand():
    """The same of a program written for this one model."""
    params, optimizer = model_and_parameters()[1], optax.adam(LEARNING_RATE)

    def step(carry, x):
        params, moments, i = carry
        loss, slopes = jax.value_and_grad(_loss)(params, jax.random.fold_in(jax.random.key(0), i), x)
        updates, moments = optimizer.update(slopes, moments, params)
        return (optax.apply_updates(params, updates), moments, i + 1), -loss

    state, xs = (params, optimizer.init(params), jnp.zeros((), int)), batches()
    compiled = jax.jit(lambda s, xs: jax.lax.scan(step, s, xs), donate_argnums=0).lower(state, xs).compile()

    def advance():
        nonlocal state
        state, bounds = compiled(state, xs)
        return bounds

    return advance


def rows() -> list[Row]:
    """Our step by the others'."""
    loss = from_loss(lambda params, key, batch: _loss(params, key, batch.x))
    trainings = vae_training(), vae_training(loss), by_hand()
    bounds = [float(training()[-1]) for training in trainings]
    if max(bounds) - min(bounds) > 0.01 * abs(bounds[0]):
        raise RuntimeError(f"the bounds are {bounds} nats after {STEPS} steps: different models.")
    ours, same_step, alone = in_turns(*trainings, rounds=40)
    return [
        compare("VAE step / its loss by hand, same train step", ours, same_step, "ms", TARGET, 1e3 / STEPS),
        compare("VAE step / one by hand", ours, alone, "ms", TARGET, 1e3 / STEPS),
    ]
