"""Training an importance weighted autoencoder against NumPyro's `RenyiELBO(alpha=0)` with the same networks.

`RenyiELBO` vectorizes over particles, each of which runs the whole batch, and takes the log-mean-exp over particles
separately for every element of a plate that encloses all sites. With such a plate over the batch its bound is that of
Burda et al. example by example, as ours is (a sum over examples, where ours is the mean; Adam does not mind). Without
the plate it would be one bound of the whole batch's joint weight, another and looser one.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from networks import BATCH, LATENT, LEARNING_RATE, PARTICLES, STEPS, batches, data, iwae_training, model_and_parameters
from numpyro.infer import SVI, RenyiELBO
from timing import Row, compare, in_turns

TARGET = 1.0


def _network(params, x):
    layers = [params[f"layers_{i}"] for i in range(len(params))]
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
    return x @ layers[-1]["kernel"] + layers[-1]["bias"]


def numpyro_training():
    """STEPS of NumPyro's training as a function without arguments, which returns the bounds in nats per example."""
    _, initial = model_and_parameters()

    def model(x):
        params = numpyro.param("generative", initial["generative"]["network"])
        with numpyro.plate("batch", BATCH):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=_network(params, z)).to_event(1), obs=x)

    def guide(x):
        params = numpyro.param("recognition", initial["recognition"]["network"])
        with numpyro.plate("batch", BATCH):
            loc, log_scale = jnp.split(_network(params, x), 2, axis=-1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    optimizer = numpyro.optim.Adam(LEARNING_RATE)
    svi = SVI(model, guide, optimizer, RenyiELBO(alpha=0, num_particles=PARTICLES))
    state, xs = svi.init(jax.random.key(0), data()), batches()
    scan = jax.jit(lambda state, xs: jax.lax.scan(svi.update, state, xs), donate_argnums=0)
    compiled = scan.lower(state, xs).compile()

    def advance():
        nonlocal state
        state, losses = compiled(state, xs)
        return -losses / BATCH

    return advance


def rows() -> list[Row]:
    """Our step by NumPyro's."""
    ours, other = iwae_training()[0], numpyro_training()
    a, b = float(ours()[-1]), float(other()[-1])
    if abs(a - b) > 0.01 * abs(b):
        raise RuntimeError(f"the bounds are {a:.2f} and {b:.2f} nats after {STEPS} steps: two different models.")
    times = in_turns(ours, other)
    return [compare("IWAE step / NumPyro's", *times, "ms", TARGET, 1e3 / STEPS)]
