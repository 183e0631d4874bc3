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
# # Two styles of generator
#
# A differentiable generator net can do one of two things with its code z (*Deep Learning*, section 20.10.2):
#
# - emit **the parameters of p(x | z)**, and leave it to that distribution to draw x. Then p(x) = E p(x | z) (equation
#   20.75) is a number, and can be maximized;
# - emit **x itself**, x = g(z). Then x is where gradients flow, but p(x) is what the net makes of p(z), and in general
#   nobody can write it down.
#
# Here are both with the same network on the same data: a ring of eight Gaussians in the plane.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from genjax_models.data import Gaussians
from genjax_models.errors import UserError
from genjax_models.evaluation import log_marginal, prior_log_marginal, quadrature_log_marginal
from genjax_models.models import moment_matching_generator, vae
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import elbo, iwae, maximum_likelihood, moment_matching
from genjax_models.train import make_train_step

data = Gaussians(std=0.2).load()
network = MLP(hidden=(64, 64), activation="tanh")

emits_parameters = vae(2, latent=2, encoder=network, decoder=network, likelihood=Gaussian())
emits_x = moment_matching_generator(2, latent=2, hidden=(64, 64), activation="tanh", data="real", prior="normal")

# %% [markdown]
# ## What each can be trained by
#
# A bound on log p(x) needs p(x | z), so it takes the first and refuses the second; matching moments needs gradients
# through x, so it takes the second and refuses the first. What does not fit says so when it is built.

# %%
for objective in (elbo, maximum_likelihood, moment_matching):
    for model in (emits_parameters, emits_x):
        try:
            objective(model)
            print(f"{objective.__name__:20} {model.name:25} fits")
        except UserError as error:
            print(f"{objective.__name__:20} {model.name:25} {error}")


# %% [markdown]
# One trainer serves both.


# %%
def train(model, objective, steps=1500, batch=250):
    params = model.init(jax.random.key(0), data.train[0])
    init, step = make_train_step(objective, optax.adam(2e-3))
    state = init(jax.random.key(1), params, data.train)

    @jax.jit
    def run(state):
        def one(state, key):
            return step(state, jax.random.choice(key, jnp.asarray(data.train), (batch,)))

        return jax.lax.scan(one, state, jax.random.split(jax.random.key(2), steps))

    state, metrics = run(state)
    return state.params, metrics


bounded, bound = train(emits_parameters, iwae(emits_parameters, num_particles=5))
matched, distance = train(emits_x, moment_matching(emits_x, bandwidths=(0.1, 0.5, 1.0, 2.0)))

# %%
keys = jax.random.split(jax.random.key(3), 1000)
z, x = jax.vmap(lambda k: emits_parameters.sample_joint(bounded, k, ()))(keys)
means = jax.vmap(lambda z: emits_parameters.decode(bounded, z, ()))(z)
drawn = jax.vmap(lambda k: emits_x.sample(matched, k, ()))(keys)

figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), sharex=True, sharey=True)
pictures = {
    "data": data.train[:1000],
    "p(x | z): the means, of the net": means,
    "p(x | z): draws": x,
    "x = g(z)": drawn,
}
for axis, (title, points) in zip(axes, pictures.items(), strict=True):
    axis.scatter(*jnp.asarray(points).T, s=3, alpha=0.5)
    axis.set_title(title, fontsize=10)
    axis.set_aspect("equal")
    axis.set(xlim=(-3, 3), ylim=(-3, 3))
plt.show()

# %% [markdown]
# The net that emits parameters need not cover the modes by its own output: the noise of p(x | z), of one scale for all
# z, fills in. The net that emits x has to do all of it, and a continuous net of a Gaussian z leaves threads between
# modes.
#
# ## What each can be asked
#
# With p(x | z), p(x) = E p(x | z) can be had by sampling z from the prior, with far fewer samples when q(z | x)
# proposes them, and for one or two latents exactly, by quadrature. From x = g(z) there are only samples.

# %%
test, key = data.test[:100], jax.random.key(4)
exact = quadrature_log_marginal(emits_parameters, bounded, test, nodes=200).mean()
print(f"quadrature                     {exact:.3f} nats")
for number in (10, 100, 1000):
    by_prior = prior_log_marginal(emits_parameters, bounded, key, test, number).log_prob.mean()
    by_q = log_marginal(emits_parameters, bounded, key, test, number).log_prob.mean()
    print(f"{number:5} samples of the prior     {by_prior:.3f};  of q(z | x)  {by_q:.3f}")
try:
    prior_log_marginal(emits_x, matched, key, test)
except UserError as error:
    print(error)

# %% [markdown]
# A sampler can still be compared with data by its samples: `mmd_squared` and `two_sample_test` of
# `genjax_models.evaluation`, and `mode_coverage` where the modes are known.

# %%
from genjax_models.evaluation import mode_coverage

centres = Gaussians().centres().astype("float32")
for name, points in (("p(x | z)", x), ("x = g(z)", drawn)):
    coverage = mode_coverage(points, centres, 3 * 0.2)
    print(
        f"{name}: {int(coverage.modes)} of 8 modes, {float(coverage.high_quality):.0%} within three standard deviations"
    )
