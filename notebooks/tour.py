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
# # Directed generative nets: a tour
#
# Section 20.10 of *Deep Learning* (Goodfellow, Bengio and Courville 2016), system by system: what each one computes,
# as an equation; the net at work on data small enough for a laptop; and, where it can be had, the exact figure beside
# the estimate. Every training run below is one compiled program, of seconds to half a minute. The configurations in
# `configs/` are those that train long enough to be compared with the papers.

# %%
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from genjax_models.config import Config, Training
from genjax_models.data import Bars, Digits, Gaussians, Solids, examples
from genjax_models.evaluation import (
    DoubtfulEstimate,
    active_units,
    complete,
    divergence_in_bits,
    exact_log_marginal,
    exact_log_p_star,
    log_marginal,
    log_prob,
    mmd_squared,
    mode_coverage,
)
from genjax_models.models import (
    DARN,
    DRAW,
    FVSBN,
    GAN,
    MADE,
    NADE,
    VAE,
    MomentMatchingGenerator,
    NeuralSplineFlow,
    SigmoidBeliefNetwork,
    SupervisedGenerator,
    VariationalRNN,
    affine_generator,
    fit_affine,
    inverse_transform_of_density,
    universal_sigmoid_belief_network,
    visible_distribution,
)
from genjax_models.models.networks import MLP
from genjax_models.objectives import (
    ELBO,
    IWAE,
    NVIL,
    Adversarial,
    Bidirectional,
    MaximumLikelihood,
    MeanField,
    MomentMatching,
    ReweightedWakeSleep,
    WakeSleep,
    mean_field_bound,
)
from genjax_models.optimizers import Adam
from genjax_models.plots import image_grid
from genjax_models.train import make_train

DIGITS = Digits()  # 8 x 8 pixels, zeros and ones
digits = DIGITS.load()
warnings.simplefilter("ignore", DoubtfulEstimate)  # printed where it matters below


def fit(model, objective, data=DIGITS, steps=1500, rate=3e-3, batch=100, seed=0):
    """A model and its parameters after `steps` of Adam, as one compiled program."""
    config = Config(
        model=model,
        objective=objective,
        optimizer=Adam(rate),
        data=data,
        training=Training(num_steps=steps, batch_size=batch),
    )
    loaded = data.load()
    state, _ = make_train(config)(config, jax.random.key(seed), examples(loaded, "train"))
    return model.build(loaded.train.shape[1]), state.params


def draw(model, params, num=40, seed=1):
    """Ancestral samples (z, x): z from p(z), then x from p(x | z)."""
    return jax.vmap(lambda key: model.sample_joint(params, key, ()))(jax.random.split(jax.random.key(seed), num))


def show(pictures, shape=(8, 8), columns=10, width=3.2, height=2.0):
    """Examples [N, D] by title, side by side."""
    _, axes = plt.subplots(1, len(pictures), figsize=(width * len(pictures), height), squeeze=False)
    for axis, (title, x) in zip(axes[0], pictures.items(), strict=True):
        axis.imshow(image_grid(np.asarray(x, np.float32), shape, columns), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    plt.show()


# %% [markdown]
# ## Sigmoid belief networks
#
# A unit is on with a probability that its parents give (equation 20.70):
#
# $$p(s_i = 1 \mid \mathrm{parents}) = \sigma\Big(\sum_{j < i} W_{ji} s_j + b_i\Big)$$
#
# To **sample** is easy, one pass from the top layer down. A **universal** net needs no width: for *any* distribution
# over $D$ bits there is one of width $D$ and depth $2^D - 1$ (Sutskever and Hinton 2008). It can be written down,
# without training.

# %%
target = np.random.default_rng(0).dirichlet(np.full(8, 0.6))  # over 3 bits
universal, weights = universal_sigmoid_belief_network(target)
realized = np.asarray(visible_distribution(universal, weights))
print("asked for", target.round(4))
print("the net's", realized.round(4))

# %% [markdown]
# To **infer** is hard: $p(h \mid x)$ does not factorize, since causes that explain one $x$ compete. Saul, Jaakkola and
# Jordan (1996) bound $\log p(x)$ with a factorial $q$ whose means are fitted to each example. With few latents the sum
# over all their states shows what that costs.

# %%
shallow, params = fit(SigmoidBeliefNetwork(layers=(8,)), MeanField(num_sweeps=5), steps=300, rate=1e-2, batch=50)
x = jnp.asarray(digits.test[:50], jnp.float32)
truth = exact_log_marginal(shallow, params, x)
layers = shallow.affine_layers(params)
bound = jax.vmap(lambda example: mean_field_bound(layers, example).bound)(x)
print(f"log p(x) {truth.mean():.2f} nats, mean-field bound {bound.mean():.2f}: {(truth - bound).min():.2f} to", end=" ")
print(f"{(truth - bound).max():.2f} below it")

# %% [markdown]
# ## Helmholtz machines and wake-sleep
#
# A second net, running upwards, learns to infer. In the *wake* phase $q(h \mid x)$ explains data and $p$ learns from
# that; in the *sleep* phase $p$ dreams $(h, x)$ and $q$ learns to explain the dreams (Hinton, Dayan, Frey and Neal
# 1995):
#
# $$\Delta\theta \propto \mathbb{E}_{q(h \mid x)} \nabla_\theta \log p_\theta(x, h), \qquad
# \Delta\phi \propto \mathbb{E}_{p(x, h)} \nabla_\phi \log q_\phi(h \mid x)$$
#
# The paper's task: images of bars, each horizontal or vertical. Their true distribution is known, so the divergence
# from it is exact, in bits.

# %%
bars = Bars(num_train=40_000)
model, params = fit(SigmoidBeliefNetwork(layers=(12, 6)), WakeSleep(), bars, steps=6000, rate=2e-2, batch=40)
states, probability = bars.distribution()
print(f"KL(true || model) = {divergence_in_bits(states, probability, model, params):.2f} bits", end=", ")
print(f"of {-np.sum(probability * np.log2(probability)):.2f} bits of entropy")
show({"bars": bars.load().train[:40], "dreams after wake-sleep": draw(model, params)[1]}, (4, 4))

# %% [markdown]
# ## Three better teachers for q
#
# Wake-sleep's two phases do not climb one objective. Its successors do, or nearly:
#
# - **NVIL** (Mnih and Gregor 2014) climbs the evidence lower bound by scores,
#   $\mathbb{E}_q (\log p(x, h) - \log q(h \mid x) - \text{baseline}(x)) \nabla_\phi \log q(h \mid x)$;
# - **reweighted wake-sleep** (Bornschein and Bengio 2015) weighs $K$ particles by
#   $w_k \propto p(x, h_k) / q(h_k \mid x)$, which brings both phases closer to the truth as $K$ grows;
# - the **bidirectional Helmholtz machine** (Bornschein et al. 2016) trains $p^*(x, h) \propto \sqrt{p(x, h) q(x, h)}$,
#   so that $p$ and $q$ must agree.
#
# Ten latents, so that $\log p(x)$ on held-out digits is exact; 1,500 steps for each.

# %%
net = SigmoidBeliefNetwork(layers=(10,))
teachers = {
    "wake-sleep": WakeSleep(),
    "NVIL": NVIL(),
    "reweighted wake-sleep, K = 5": ReweightedWakeSleep(num_particles=5),
    "bidirectional, K = 5": Bidirectional(num_particles=5),
}
held_out = jnp.asarray(digits.test, jnp.float32)
for name, objective in teachers.items():
    model, params = fit(net, objective, rate=1e-2)
    print(f"{name:30} {exact_log_marginal(model, params, held_out).mean():.2f} nats")

# %% [markdown]
# ## Auto-regressive networks
#
# Without latents at all, the chain rule makes $\log p(x)$ exact:
#
# $$p(x) = \prod_d p(x_d \mid x_1, \ldots, x_{d-1})$$
#
# The **fully visible belief net** has a logistic regression for each factor, **NADE** one hidden layer whose weights
# all factors share, **MADE** a masked autoencoder that gives all factors in one pass, and **DARN** puts such layers on
# top of each other as latents.

# %%
networks = {"FVSBN": FVSBN(), "NADE": NADE(hidden=100), "MADE": MADE(hidden=(200,))}
samples, fitted = {}, {}
for name, network in networks.items():
    model, params = fitted[name] = fit(network, MaximumLikelihood(), steps=800)
    print(f"{name:6} {log_prob(model, params, held_out).mean():.2f} nats, exactly")
    keys = jax.random.split(jax.random.key(2), 40)
    samples[name] = jax.vmap(lambda key, model=model, params=params: model.sample(params, key, ()))(keys)
model, params = fit(DARN(layers=(20,)), NVIL(), steps=1500)
estimate = log_marginal(model, params, jax.random.key(3), held_out, 200)
print(f"DARN   {estimate.log_prob.mean():.2f} nats, by importance weighting")
show({**samples, "DARN": draw(model, params)[1]}, width=2.6)

# %% [markdown]
# Conditionals in the order of the pixels complete what is hidden below them, exactly.

# %%
some = jnp.asarray(digits.test[:6], jnp.float32)
hidden = jnp.broadcast_to(jnp.arange(64) >= 32, some.shape)
rows = [some, jnp.where(hidden, 0.5, some)]
rows += [complete(*fitted["NADE"], jax.random.key(i), some, hidden) for i in range(3)]
show({"test, seen, three completions by NADE": jnp.concatenate(rows)}, columns=6, width=4, height=3)

# %% [markdown]
# ## Differentiable generator nets
#
# A net turns noise into data: $x = g(z)$. The simplest is **affine**, $x = \mu + L z$, which is the normal distribution
# with covariance $L L^\top$ (equation 20.71); its fit has a closed form. In one dimension $x = F^{-1}(u)$, the
# **inverse transform**, gives any density from uniform noise. And where $g$ is invertible, a **change of variables**
# gives $p(x)$ (equation 20.72):
#
# $$p_x(x) = \frac{p_z(g^{-1}(x))}{|\det \partial g / \partial z|}$$

# %%
ring = Gaussians(std=0.2)
plane = ring.load()
normal, fitted_normal = affine_generator(2), fit_affine(plane.train)
splines = NeuralSplineFlow(layers=4, hidden=(64, 64))
flow, flow_params = fit(splines, MaximumLikelihood(), ring, rate=2e-3, batch=250)
print(f"affine {log_prob(normal, fitted_normal, plane.test).mean():.3f} nats, splines", end=" ")
print(f"{log_prob(flow, flow_params, plane.test).mean():.3f} nats, the truth", end=" ")
log_truth = jax.nn.logsumexp(
    -0.5 * jnp.sum((plane.test[:, None] - ring.centres()) ** 2, -1) / 0.2**2 - jnp.log(2 * jnp.pi * 0.2**2), axis=1
) - jnp.log(8)
print(f"{log_truth.mean():.3f} nats")

two_humps = inverse_transform_of_density(lambda x: jnp.logaddexp(-8 * (x - 1) ** 2, -2 * (x + 1) ** 2), -3.0, 3.0)
keys = jax.random.split(jax.random.key(5), 1500)
figure, axes = plt.subplots(1, 4, figsize=(12, 2.8))
axes[0].hist(two_humps.sample(jax.random.key(4), (5000,)), bins=80)
axes[0].set_title("x = F⁻¹(u)", fontsize=9)
points = {
    "data": plane.train[:1500],
    "x = μ + L z": jax.vmap(lambda key: normal.sample(fitted_normal, key, ()))(keys),
    "x = g(z), invertible": jax.vmap(lambda key: flow.sample(flow_params, key, ()))(keys),
}
for axis, (title, xy) in zip(axes[1:], points.items(), strict=True):
    axis.scatter(*jnp.asarray(xy).T, s=2, alpha=0.4)
    axis.set(title=title, xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
plt.show()

# %% [markdown]
# ## Variational autoencoders
#
# A net that emits the parameters of $p(x \mid z)$, and one that emits those of $q(z \mid x)$. Since $z$ is a
# differentiable function of noise, both climb the bound along its samples (Kingma and Welling 2014; equation 20.76):
#
# $$\mathcal{L} = \mathbb{E}_{q(z \mid x)} \log p(x \mid z) - \mathrm{KL}(q(z \mid x) \,\|\, p(z))$$
#
# **Importance weighted** autoencoders (Burda, Grosse and Salakhutdinov 2015) are the same nets with $K$ particles in
# the logarithm, a tighter bound that lets $q$ be less than perfect and uses more latents:
#
# $$\mathcal{L}_K = \mathbb{E}_{z_1, \ldots, z_K \sim q} \log \frac{1}{K} \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}$$

# %%
autoencoder = VAE(latent=16, encoder=MLP((100,)), decoder=MLP((100,)))
shown = {"test digits": digits.test[:40]}
for name, objective in (("VAE", ELBO()), ("IWAE, K = 20", IWAE(num_particles=20))):
    model, params = fit(autoencoder, objective, steps=3000)
    estimate = log_marginal(model, params, jax.random.key(6), held_out, 500)
    active = int(active_units(model, params, jax.random.key(7), held_out).active.sum())
    print(f"{name:13} test NLL {-estimate.log_prob.mean():.2f} nats, {active} of 16 latents in use", end="; ")
    print(f"the weights of {int(estimate.doubtful.sum())} of {len(held_out)} examples are doubtful")
    shown[f"{name}: means of p(x | z)"] = jax.vmap(lambda z, m=model, p=params: m.decode(p, z, ()))(
        draw(model, params)[0]
    )
show(shown)

# %% [markdown]
# With two latents the space of codes can be looked at whole: the manifold of figure 20.6.

# %%
model, params = fit(VAE(latent=2, encoder=MLP((100,)), decoder=MLP((100,))), ELBO(), steps=4000)
ticks = jax.scipy.stats.norm.ppf(jnp.linspace(0.03, 0.97, 14))
codes = jnp.stack(jnp.meshgrid(ticks, -ticks), axis=-1).reshape(-1, 2)
show(
    {"p(x | z) over the plane of z": jax.vmap(lambda z: model.decode(params, z, ()))(codes)},
    columns=14,
    width=5,
    height=5,
)

# %% [markdown]
# ## DRAW
#
# A recurrent autoencoder that draws on a canvas, a latent a glimpse: $c_t = c_{t-1} + \mathrm{write}(h_t)$, and
# $p(x \mid z) = \mathrm{Bernoulli}(\sigma(c_T))$ (Gregor et al. 2015). Each row is one sample as it comes about.

# %%
writer = DRAW(image_shape=(8, 8), glimpses=8, latent=8, encoder_hidden=64, decoder_hidden=64, read=None, write=3)
model, params = fit(writer, ELBO(), steps=1500)
z, _ = draw(model, params, 5)
canvases = jax.vmap(lambda z: model.canvases(params, z, ()))(z)
show({"canvases, glimpse by glimpse": canvases.reshape(-1, 64)}, columns=canvases.shape[1], width=4, height=3)

# %% [markdown]
# ## Variational recurrent networks
#
# Latents at every step of a sequence, whose prior depends on the past (Chung et al. 2015):
# $p(x, z) = \prod_t p(z_t \mid x_{<t}, z_{<t})\, p(x_t \mid x_{<t}, z_{\le t})$. Here a digit is a sequence of eight
# rows.

# %%
model, params = fit(VariationalRNN(frame=8, hidden=48, features=48, latent=8), ELBO(), steps=1500)
estimate = log_marginal(model, params, jax.random.key(8), held_out, 200)
print(f"variational RNN, test NLL {-estimate.log_prob.mean():.2f} nats")
show({"digits written row by row": draw(model, params)[1]})

# %% [markdown]
# ## Adversaries and moments
#
# A net that emits $x$ itself has samples but no density. It can be trained against a **critic**,
# $\min_g \max_d \mathbb{E} \log d(x) + \mathbb{E} \log(1 - d(g(z)))$ (Goodfellow et al. 2014; equations 20.80 and
# 20.81), or by **moment matching**: the maximum mean discrepancy between a batch of samples and one of data (Li,
# Swersky and Zemel 2015; section 20.10.5), zero only where all moments agree.

# %%
critic = MLP((128, 128), activation="leaky_relu")
adversary = GAN(latent=8, prior="normal", generator=MLP((128, 128)), critic=critic, data="real")
game = Adversarial(kind="wasserstein", gradient_penalty=1.0, critic_updates=5)
matcher = MomentMatchingGenerator(latent=8, prior="normal", hidden=(128, 128), data="real")
kernels = MomentMatching(bandwidths=(0.1, 0.5, 1.0, 2.0))
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8))
found = {"data": plane.train[:1500]}
for name, (generator, objective, steps) in {
    "against a critic": (adversary, game, 2000),
    "by moments": (matcher, kernels, 3000),
}.items():
    model, params = fit(generator, objective, ring, steps=steps, rate=1e-3, batch=256)
    found[name] = jax.vmap(lambda key, m=model, p=params: m.sample(p, key, ()))(keys)
    coverage = mode_coverage(found[name], ring.centres(), 3 * 0.2)
    distance = mmd_squared(found[name], plane.test, (0.5, 1.0, 2.0))
    print(f"{name:17} {int(coverage.modes)} of 8 modes, MMD² to held-out data {float(distance):.4f}")
for axis, (title, xy) in zip(axes, found.items(), strict=True):
    axis.scatter(*jnp.asarray(xy).T, s=2, alpha=0.4)
    axis.set(title=title, xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
plt.show()

# %% [markdown]
# ## Generators of known codes
#
# Where the codes of training images are known, no inference is needed: a net learns images from them, and fills in
# codes between (Dosovitskiy, Springenberg and Brox 2015). Here: solids seen from any side, the code being their kind
# and the angles.

# %%
solids = Solids(size=16, num_train=2000)
network = SupervisedGenerator(image_shape=(16, 16), hidden=(128, 128), channels=(32, 16))
model, params = fit(network, MaximumLikelihood(), solids, steps=1200, rate=2e-3, batch=50)
views = solids.load()
made = jax.vmap(lambda c: model.mean(params, c))(jnp.asarray(views.test_context[:30]))
show({"held-out views": views.test[:30], "made from their codes": made}, (16, 16))

# %% [markdown]
# ## What the chapter warns of
#
# Samples of a VAE's $p(x \mid z)$ are blurred, and latents may stay unused; bounds are not likelihoods; a Parzen window
# misleads; a generator may drop modes. `genjax-models diagnose`, `anneal`, `quality` and `compare` show these on runs
# of your own. Exactness was cheap above because latents were few, and where they are not, every estimate of
# $\log p(x)$ here comes with its standard error and with a warning where it should not be believed. One last figure:
# a bidirectional machine's $p^*$ beside its $p$, by enumeration of all its states on two-bit images.

# %%
small = Bars(size=2, num_train=4000)
model, params = fit(SigmoidBeliefNetwork(layers=(4,)), Bidirectional(num_particles=5), small, steps=1500, rate=1e-2)
states, probability = small.distribution()
starred = exact_log_p_star(model, params, states)
for title, log_values in (("p", exact_log_marginal(model, params, states)), ("p*", starred.log_prob)):
    nll = -float(np.sum(probability * np.asarray(log_values)))
    print(f"{title:3} {nll:.3f} nats, of {-np.sum(probability * np.log(probability)):.3f} nats of entropy")
