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
# # Sweeps
#
# A run is a pure function of (configuration, key, data), so many runs are the same function over a stack of
# configurations. `run_sweep` groups the points by the structure of their configuration, compiles one program for each
# group, and spreads the points over all devices. On a CPU, cores become devices if you say so before JAX starts.

# %%
import os

import jax

jax.config.update("jax_num_cpu_devices", os.cpu_count())  # an accelerator needs no such line

# %%
import matplotlib.pyplot as plt
import numpy as np

from genjax_models.axes import axis, log_axis, product
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam
from genjax_models.sweep import run_sweep

config = Config(
    model=VAE(latent=8, encoder=MLP((32,), "tanh"), decoder=MLP((32,), "tanh")),
    objective=IWAE(num_particles=1),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(),
    training=Training(num_steps=400),
    evaluation=Evaluation(num_samples=100),  # of each test example, for its log p(x)
)

# %% [markdown]
# Axes name fields by dotted path. `product` tries all combinations, and `seeds` adds a last dimension: five learning
# rates, two numbers of particles and three seeds make thirty runs. K is part of a program's shape, so there are two
# programs; learning rates and seeds are only numbers in them.

# %%
axes = product(log_axis("optimizer.learning_rate", 3e-4, 3e-2, 5), axis("objective.num_particles", (1, 10)))
result = run_sweep(config, axes, seeds=3)
print("points", result.grid.shape, " programs", len(result.choices))
print("every step's bound", result.metrics["bound"].shape, " test NLL", result.nll.shape)

# %% [markdown]
# What comes back is indexed by the axes, in nats per example.

# %%
rates = [position["optimizer.learning_rate"] for position in result.grid.dimensions[0].overrides]
mean = result.nll.mean(axis=-1)
error = result.nll.std(axis=-1, ddof=1) / np.sqrt(result.nll.shape[-1])
figure, axes_of_figure = plt.subplots(1, 2, figsize=(10, 3.6))
for k, particles in enumerate((1, 10)):
    axes_of_figure[0].errorbar(rates, mean[:, k], error[:, k], marker="o", capsize=3, label=f"K = {particles}")
axes_of_figure[0].set(xscale="log", xlabel="learning rate", ylabel="test NLL (nats per example)")
axes_of_figure[0].legend()
for r, rate in enumerate(rates):
    curve = result.metrics["bound"][r, 1].mean(axis=0)  # over seeds
    smooth = curve.reshape(-1, 20).mean(axis=1)
    axes_of_figure[1].plot(20 * np.arange(1, len(smooth) + 1), smooth, label=f"{rate:.2g}")
axes_of_figure[1].set(xlabel="step", ylabel="train bound, K = 10", ylim=(-36, -16))
axes_of_figure[1].legend(title="learning rate", fontsize=8)
figure.tight_layout()

# %% [markdown]
# Every point is what it is alone. With one point at a time on a device (`block=1`) that holds bit for bit; larger
# blocks, which a short measurement may choose, differ by round-off.

# %%
from genjax_models.overlay import overlay
from genjax_models.train import make_train

swept = run_sweep(config, axis("optimizer.learning_rate", (1e-3, 1e-2)), block=1)
alone = overlay(config, {"optimizer.learning_rate": 1e-2})
state, metrics = make_train(alone)(alone, jax.random.key(alone.seed), Digits().load().train)
print("bit for bit:", np.array_equal(swept.metrics["bound"][1], metrics["bound"]))

# %% [markdown]
# A point that diverges is frozen at the step where it did, and its neighbours go on.

# %%
result = run_sweep(config, axis("optimizer.learning_rate", (1e-3, 1e30)), block=1)
print("halted", result.halted, " steps taken", [int(state.step) for state in result.states], " test NLL", result.nll)

# %% [markdown]
# What is wrong with a sweep is said before anything runs, all of it at once.

# %%
from genjax_models.errors import ConfigError

try:
    run_sweep(config, product(axis("optimizer.learning_rte", (1e-3, 1e-2)), axis("model.latent", (0, 4))))
except ConfigError as error:
    print(error)

# %% [markdown]
# The command line does the same on disk, resumes after a crash, and leaves a run folder for every point:
#
# ```sh
# genjax-models sweep configs/iwae_digits.py --axis optimizer.learning-rate=log:1e-4:1e-2:5 --seeds 3
# ```
#
# `configs/sweep_iwae_digits.py` and `configs/sweep_sbn_digits.py` hold sweeps with their results; `SuccessiveHalving`
# of `genjax_models.sweep` stops early what is not among the best.
