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
# # Writing your own model
#
# A model that is not in the zoo, written in a notebook: a **noisy-OR network**, as medical diagnosis used it (Pearl
# 1988; Shwe et al. 1991). Hidden causes $z_j$ are on or off; each one that is on may switch on any of its effects, and
# each effect fails to come only if all of them fail, and so does its leak:
#
# $$p(z_j = 1) = \sigma(a_j), \qquad
# p(x_i = 0 \mid z) = e^{-r_i(z)}, \quad r_i(z) = l_i + \sum_j W_{ji} z_j, \quad l, W \ge 0$$
#
# A sigmoid belief net may also switch units *off* by a cause; here causes only ever add, so that each must be a part
# that is seen in the data. With few causes everything about the net can be had exactly, by summing over their states.

# %%
import dataclasses
import tempfile
import warnings
from pathlib import Path
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from genjax_models.checking import check_model
from genjax_models.config import Config, Evaluation, ModelConfig, Training, config, field
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.data import Digits
from genjax_models.distributions import Bernoulli
from genjax_models.errors import UserError
from genjax_models.evaluation import DoubtfulEstimate, divergence_in_bits, exact_log_marginal, log_marginal
from genjax_models.experiment import load_run, train_run
from genjax_models.models import MODELS
from genjax_models.models.adapter import as_model
from genjax_models.models.networks import Perceptron
from genjax_models.objectives import OBJECTIVES, ReweightedWakeSleep, disarm, elbo
from genjax_models.optimizers import Adam
from genjax_models.plots import image_grid
from genjax_models.sweep import run_sweep

# %% [markdown]
# ## The module
#
# A model is a linen module with a method for every function of the contract, each about *one* example: batches,
# particles and seeds are `vmap`'s. What has parameters stands in submodules called `generative` and `recognition`, for
# these are the groups that objectives train.
#
# | method | what it is for |
# | --- | --- |
# | `sample_joint` | draws (z, x): samples, and the dreams of a sleep phase |
# | `log_joint` | log p(x \| z), and a term of log p(z) for each group of latents: all that p's gradient needs |
# | `propose` | z ~ q(z \| x) with its log q, in one pass: the particles of every bound |
# | `log_posterior` | log q(z \| x) of a given z: dreams, and enumeration |
#
# and two facts: whether z carries gradients (`reparameterized`), and its values (`support`).

# %%


class Causes(nn.Module):
    """p(z) and p(x | z)."""

    latent: int
    visible: int
    start: float  # mean of the initial strengths, before softplus makes them positive

    def setup(self):
        def strengths(key, shape):
            return self.start + 0.6 * jax.random.normal(key, shape)

        self.prior_logits = self.param("prior_logits", nn.initializers.constant(-1.0), (self.latent,))
        self.strength = self.param("strength", strengths, (self.latent, self.visible))
        self.leak = self.param("leak", nn.initializers.constant(-3.0), (self.visible,))

    def prior(self):
        return Bernoulli(self.prior_logits)

    def units(self, z):
        rate = jax.nn.softplus(self.leak) + z @ jax.nn.softplus(self.strength)  # r(z), -log p(x_i = 0 | z)
        return Bernoulli(rate + jnp.log(-jnp.expm1(-rate)))  # the logit of 1 - exp(-r)


class NoisyOrModule(nn.Module):
    """p(x, z) and q(z | x) of one example x [D]. One latent group, an array [Z] of zeros and ones."""

    reparameterized: ClassVar[bool] = False
    support: ClassVar[str] = "binary"

    generative: Causes
    recognition: nn.Module  # x -> logits of z

    def sample_joint(self, key, c=()):
        above, below = jax.random.split(key)
        z = self.generative.prior().sample(above)
        return z, self.generative.units(z).sample(below)

    def log_joint(self, z, x, c=()):
        return Joint(self.generative.units(z).log_prob(x), (self.generative.prior().log_prob(z),))

    def propose(self, key, x, c=()):
        z, log_q = Bernoulli(self.recognition(x)).sample_and_log_prob(key)
        return z, (log_q,)

    def log_posterior(self, z, x, c=()):
        return (Bernoulli(self.recognition(x)).log_prob(z),)


def noisy_or(visible, latent, start=-1.0, module=NoisyOrModule):
    """The tuple of pure functions that the library works with."""
    return as_model(LatentVariableModel, module(Causes(latent, visible, start), Perceptron((64,), latent, "tanh")))


model = noisy_or(visible=16, latent=8)
params = model.init(jax.random.key(0), jnp.zeros(16))
jax.tree.map(jnp.shape, params)

# %% [markdown]
# `as_model` turns methods into pure functions, `log_joint(params, z, x, c)` and so on, which compare equal when the
# model is built again and so compile nothing again. (c is a context, such as a class; `()` where there is none.)
#
# ## A world in which it is right
#
# Images of 4 x 4 pixels: eight causes, each a bar, each present with probability $\sigma(-1.5) = 0.18$ and visible but
# for 2% of its pixels; 2% of the other pixels come on by themselves. This is a noisy-OR net whose parameters we write
# down, so the model itself draws the data and knows their distribution: all $2^{16}$ images, with their probabilities.

# %%
bars = np.zeros((8, 4, 4))
for i in range(4):
    bars[i, i, :] = bars[4 + i, :, i] = 1
world = {
    "prior_logits": jnp.full(8, -1.5),
    "strength": jnp.where(bars.reshape(8, 16) == 1, 4.0, -8.0),
    "leak": jnp.full(16, -4.0),
}
truth = {**params, "generative": world}

images = (np.arange(2**16)[:, None] >> np.arange(16) & 1).astype(np.float32)
probability = np.exp(np.asarray(exact_log_marginal(model, truth, images, block=1024), np.float64))
_, train = jax.vmap(lambda key: model.sample_joint(truth, key, ()))(jax.random.split(jax.random.key(1), 10_000))

plt.figure(figsize=(7, 1.8))
plt.imshow(image_grid(train[:48], (4, 4), 16), cmap="gray")
plt.title("drawn from the world", fontsize=9)
plt.axis("off")
plt.show()
# %% [markdown]
# ## Is it a distribution?
#
# Three questions that a wrong sign or a forgotten factor rarely survives. The probabilities of all images sum to one;
# samples come as often as their probabilities say, so that their mean $-\log_2 p(x)$ is the entropy; and `propose`
# scores its draw as `log_posterior` does.

# %%
print(f"sum over all images: {probability.sum():.5f}")
entropy = -np.sum(probability * np.log2(probability))
bits = -np.asarray(exact_log_marginal(model, truth, train, block=1000)) / np.log(2)
print(f"entropy {entropy:.3f} bits; of samples {bits.mean():.3f} +- {bits.std() / len(bits) ** 0.5:.3f}")
z, log_q = model.propose(params, jax.random.key(2), train[0], ())
print(f"log q {log_q[0]:.5f}; again {model.log_posterior(params, z, train[0], ())[0]:.5f}")

# %% [markdown]
# Nothing in the types of a program would notice a `log_joint` that forgets the prior, and it would train. The sum does:

# %%


class Forgetful(NoisyOrModule):
    def log_joint(self, z, x, c=()):
        return Joint(self.generative.units(z).log_prob(x), ())


forgetful = exact_log_marginal(noisy_or(16, 8, module=Forgetful), truth, images, block=1024)
print(f"sum over all images: {np.exp(np.asarray(forgetful, np.float64)).sum():.5f}")

# %% [markdown]
# With more units than can be summed over, `check_model` asks by draws: of a sampler that follows a density the
# density's score has mean zero, and the mean of another density over it tells its integral. It also holds every fact
# and optional function against the rest. In the shell it is `genjax-models check`.

# %%
for check in check_model(model, train[0]):
    print(check)

# %% [markdown]
# ## What is said when something is missing
#
# A method that is not there, a submodule of another name, an objective that needs more than the model can do: each is
# said when the thing is built or first asked for parameters, before anything trains.

# %%


class OneWay(nn.Module):
    """p without q."""

    reparameterized: ClassVar[bool] = False
    support: ClassVar[str] = "binary"
    generative: Causes
    sample_joint, log_joint = NoisyOrModule.sample_joint, NoisyOrModule.log_joint


class Misnamed(NoisyOrModule):
    def setup(self):
        self.gate = nn.Dense(1)

    def log_posterior(self, z, x, c=()):
        return (Bernoulli(self.recognition(x) + self.gate(x)).log_prob(z),)


for wrong in (
    lambda: as_model(LatentVariableModel, OneWay(Causes(8, 16, -1.0))),
    lambda: noisy_or(16, 8, module=Misnamed).init(jax.random.key(0), jnp.zeros(16)),
    lambda: elbo(model),
    lambda: disarm(model),
):
    try:
        wrong()
    except UserError as error:
        print(f"{type(error).__name__}: {error}\n")

# %% [markdown]
# ## What it can do beyond that
#
# The last message names what DisARM needs: z made of uniforms. `core.LatentVariableModel` lists the optional functions,
# and each lets more objectives fit. Here are those that are cheap for a net with independent units under q.

# %%


class FullNoisyOrModule(NoisyOrModule):
    """With all that a net of independent binary units can offer."""

    factorial_posterior: ClassVar[bool] = True

    def decode(self, z, c=()):  # E[x | z], which pictures show
        return self.generative.units(z).mean()

    def posterior_logits(self, z, x, c=()):
        return self.recognition(x)

    def sample_from_uniforms(self, u, x, c=()):
        return Bernoulli(self.recognition(x)).sample_from_uniforms(u)

    def prior_logits(self, z, c=()):
        return self.generative.prior_logits


def fitting(model):
    """The names of objectives that take the model as they are by default."""
    names = []
    for name, objective in OBJECTIVES.items():
        try:
            objective().build(model)
            names.append(name)
        except UserError:
            pass
    return names


few, more = fitting(model), fitting(noisy_or(16, 8, module=FullNoisyOrModule))
print("already:", ", ".join(few))
print("now also:", ", ".join(name for name in more if name not in few))

# %% [markdown]
# ## Its configuration
#
# `make_train`, sweeps and run folders take a model by its configuration: fields with limits, and `build`. Floats, such
# as `start`, are swept within one program; sizes, such as `latent`, are structure, with a program each.

# %%


@config
class NoisyOr(ModelConfig):
    """Binary causes, each of which may switch on any unit."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = ""

    latent: int = field(default=8, ge=1, help="causes Z")
    start: float = field(default=-1.0, help="mean of the initial strengths, before softplus")

    @property
    def data_support(self) -> str:
        return "unit"

    def build(self, visible: int) -> LatentVariableModel:
        return noisy_or(visible, self.latent, self.start, FullNoisyOrModule)


base = Config(
    model=NoisyOr(latent=8),
    objective=ReweightedWakeSleep(num_particles=5),
    optimizer=Adam(learning_rate=1e-2),
    data=Digits(),
    training=Training(num_steps=2000, batch_size=100),
    evaluation=Evaluation(num_samples=200),
)
try:
    run_sweep(base, {"model.latents": (8, 10)})
except UserError as error:
    print(error)

# %% [markdown]
# ## Does it find the world?
#
# Four seeds with as many causes as there are bars, and four with two to spare: eight runs in two programs, one for each
# size. How far each is from the truth is exact, a sum over all images.

# %%
found = run_sweep(base, {"model.latent": (8, 10)}, seeds=4, data=train)
exactly = probability / probability.sum()
divergences = []
for latent, states in zip((8, 10), found.states, strict=True):
    net = NoisyOr(latent).build(16)
    divergences.append([divergence_in_bits(images, exactly, net, state.params) for state in states])
    print(f"{latent:2} causes: KL(world || model)", " ".join(f"{d:.3f}" for d in divergences[-1]), "bits, by seed")

# %% [markdown]
# Of 7.43 bits of entropy the best runs miss a few hundredths; those that are near one bit away, or two, have got
# stuck. What happened can be looked at: below, the effects of each cause alone, $1 - e^{-W_j}$, for the worst run of
# eight causes and the best of ten, the most frequent cause first.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 1.9))
shown = {
    "the world": world,
    "8 causes, the worst seed": found.states[0, np.argmax(divergences[0])].params["generative"],
    "10 causes, the best seed": found.states[1, np.argmin(divergences[1])].params["generative"],
}
for axis, (title, net) in zip(axes, shown.items(), strict=True):
    order = np.argsort(-np.asarray(net["prior_logits"]))
    effects = 1 - np.exp(-jax.nn.softplus(jnp.asarray(net["strength"])))
    axis.imshow(image_grid(np.asarray(effects)[order], (4, 4), 5), cmap="gray")
    axis.set_title(title, fontsize=9)
    axis.axis("off")
    print(f"{title:25} p(z_j = 1):", *(f"{p:.2f}" for p in jax.nn.sigmoid(np.asarray(net["prior_logits"]))[order]))
plt.show()

# %% [markdown]
# A net with just as many causes as bars has none to lose: where one has taken in two bars, with a probability near
# $1 - (1 - 0.18)^2 = 0.33$ of being on, another has switched itself off, and no small step leads out of that. Spare
# causes made it rarer here, and those that are not needed end with a probability near zero. Where the truth is not
# known, only other runs beside it would tell that such a run is stuck.
#
# ## A run folder, on digits
#
# What `genjax-models train` leaves on disk, `train_run` leaves for classes of a notebook too, once their names are in
# the table by which a folder names them.

# %%
digits = dataclasses.replace(base, model=NoisyOr(latent=12, start=-2.5))
folder = Path(tempfile.mkdtemp()) / "noisy_or_digits"
try:
    train_run(digits, folder, log=lambda line: None)
except UserError as error:
    print(error)

MODELS["noisy_or"] = NoisyOr
warnings.simplefilter("ignore", DoubtfulEstimate)  # its count is in the result
result = train_run(digits, folder, log=lambda line: None)
print(*sorted(path.name for path in folder.iterdir() if path.suffix), sep=", ")
print(*(f"{name}: {result[name]}" for name in ("test_nll", "test_nll_samples", "test_nll_doubtful_examples")), sep="\n")

# %% [markdown]
# The folder is opened as any other, by whatever knows the class: here by `load_run`. A command is another process, and
# knows it by the file that it stands in: `genjax-models evaluate RUN_DIR --with noisy_or.py`. Twelve causes have 4,096
# states, so the importance weighted estimate of $\log p(x)$ can be held beside the truth.

# %%
net, params = load_run(folder)
data = Digits().load()
held_out = jnp.asarray(data.test, jnp.float32)
pixels = (data.train.sum(axis=0) + 0.5) / (len(data.train) + 1)
alone = jnp.sum(held_out * np.log(pixels) + (1 - held_out) * np.log1p(-pixels), axis=1)
print(f"beside it      {alone.mean():.3f} nats by independent pixels")
exact = exact_log_marginal(net, params, held_out, block=50)
print(f"exactly        {exact.mean():.3f} nats")
for number in (1, 10, 100):
    estimate = log_marginal(net, params, jax.random.key(3), held_out, number).log_prob
    print(f"{number:4} samples   {estimate.mean():.3f} nats")

z, _ = jax.vmap(lambda key: net.sample_joint(params, key, ()))(jax.random.split(jax.random.key(4), 24))
pictures = {
    "what each cause switches on": 1 - jnp.exp(-jax.nn.softplus(params["generative"]["strength"])),
    "samples: E[x | z]": jax.vmap(lambda z: net.decode(params, z, ()))(z),
}
figure, axes = plt.subplots(1, 2, figsize=(10, 2.6), width_ratios=(1, 2))
for axis, (title, rows) in zip(axes, pictures.items(), strict=True):
    axis.imshow(image_grid(rows, (8, 8), len(rows) // 2), cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# Causes are shapes, of a digit or of what several digits have in common, and a sample is those that are on, laid over
# each other: none can take a pixel back, as a negative weight of a `sigmoid_belief_network` can, so that two of them
# make a blot where a digit has a gap. The importance weighted estimates are means of lower bounds, and come up to the
# truth as samples grow.
#
# ## From here into the zoo
#
# What stands in this notebook is all there is to a model. To have it in the package, with its options on the command
# line, a line in every table and a small configuration for the conformance suite, which asks the three questions above
# and a dozen more of it, begin with
#
# ```sh
# genjax-models scaffold model noisy_or
# ```
#
# and put the module in place of the one that this writes: [Add a model](guides/add_a_model.md). `core.py` has the
# contract on one page, with the optional functions and what each is for.
