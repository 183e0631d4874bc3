# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quickstart
#
# A model is a tuple of pure functions on one example. An objective turns it into a loss with a gradient for each
# parameter group. `make_train_step` joins an objective and an optax optimizer. Here all three meet on the 8x8 digits of
# scikit-learn: a variational autoencoder first, then a sigmoid belief network, whose binary latents let no gradient
# through.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from genjax_models.data import Digits
from genjax_models.evaluation import log_marginal
from genjax_models.models import vae
from genjax_models.objectives import elbo
from genjax_models.plots import image_grid
from genjax_models.train import make_train_step

data = Digits().load()
data.train.shape, data.image_shape

# %% [markdown]
# ## A variational autoencoder, step by step
#
# `init` makes the state, `step` is compiled and gives back a new state (the old one is donated: go on with what it
# returns). Metrics are nats per example.

# %%
model = vae(visible=64, latent=16)
params = model.init(jax.random.key(0), data.train[0])
init, step = make_train_step(elbo(model), optax.adam(1e-3))
state = init(jax.random.key(1), params, data.train)

bounds = []
for i in range(1500):
    rows = jax.random.choice(jax.random.key(i), len(data.train), (100,))
    state, metrics = step(state, data.train[rows])
    bounds.append(metrics["bound"])

plt.figure(figsize=(6, 3))
plt.plot(jnp.stack(bounds))
plt.xlabel("step")
plt.ylabel("bound (nats per example)")
plt.show()

# %% [markdown]
# The bound is a lower bound on log p(x). Importance weighting with K samples of q comes closer; it returns a value,
# with its standard error, for every test example.

# %%
estimate = log_marginal(model, state.params, jax.random.key(2), data.test, num_samples=500)
nll = -estimate.log_prob
print(f"test NLL {nll.mean():.2f} +- {nll.std() / len(nll) ** 0.5:.2f} nats per example")


# %% [markdown]
# Models are defined for one example, so sampling a picture is `vmap` over keys.


# %%
def draw(key):
    z, _ = model.sample_joint(state.params, key, ())
    return model.decode(state.params, z, ())


images = jax.vmap(draw)(jax.random.split(jax.random.key(3), 48))
plt.figure(figsize=(4, 4))
plt.imshow(image_grid(images, data.image_shape), cmap="gray")
plt.axis("off")
plt.show()


# %% [markdown]
# ## A loss of your own
#
# Any pure function `loss(params, key, batch)` goes to the same factory. Here the decoder is trained as a plain
# autoencoder, with a squared error.


# %%
def squared_error(params, key, batch):
    def example(key, x):
        z, _ = model.propose(params, key, x, ())
        return jnp.sum((model.decode(params, z, ()) - x) ** 2)

    keys = jax.random.split(key, len(batch.x))
    return jax.vmap(example)(keys, batch.x).mean()


init, step = make_train_step(squared_error, optax.adam(1e-3))
own = init(jax.random.key(4), params, data.train)
for i in range(300):
    own, metrics = step(own, data.train[(i % 10) * 100 :][:100])
print(f"squared error {-metrics['bound']:.2f}")

# %% [markdown]
# ## A whole run as one function
#
# `make_train(config)` gives a pure function of (configuration, key, data), compiled once for all configurations of the
# same structure: floats are leaves. Here a sigmoid belief network learns by reweighted wake-sleep.

# %%
from genjax_models.config import Config, Training
from genjax_models.models import SigmoidBeliefNetwork, sigmoid_belief_network
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import Adam
from genjax_models.train import make_train

config = Config(
    model=SigmoidBeliefNetwork(layers=(64, 32)),
    objective=ReweightedWakeSleep(num_particles=5),
    optimizer=Adam(learning_rate=3e-3),
    data=Digits(),
    training=Training(num_steps=1000),
)
train = make_train(config)
state, metrics = train(config, jax.random.key(0), data.train)
print(f"bound after {len(metrics['bound'])} steps: {metrics['bound'][-100:].mean():.2f} nats per example")

# %%
belief_net = sigmoid_belief_network(visible=64, layers=(64, 32))


def dream(key):
    h, _ = belief_net.sample_joint(state.params, key, ())
    return belief_net.decode(state.params, h, ())


dreams = jax.vmap(dream)(jax.random.split(jax.random.key(5), 48))
plt.figure(figsize=(4, 4))
plt.imshow(image_grid(dreams, data.image_shape), cmap="gray")
plt.axis("off")
plt.show()

# %% [markdown]
# Because it is pure, a sweep over learning rates and seeds is `vmap` of the same function.

# %%
import dataclasses

rates = [1e-3, 3e-3, 1e-2]
short = dataclasses.replace(config, training=Training(num_steps=200))
points = [dataclasses.replace(short, optimizer=Adam(learning_rate=rate)) for rate in rates]
stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
_, metrics = jax.vmap(make_train(short), (0, 0, None))(stack, jax.random.split(jax.random.key(6), 3), data.train)
for rate, bound in zip(rates, metrics["bound"], strict=True):
    print(f"learning rate {rate:g}: bound {bound[-50:].mean():.2f}")
