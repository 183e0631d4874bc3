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
# # Estimators for discrete latents
#
# Binary latents let no gradient through, so what teaches the recognition distribution q is an estimate, and there are
# many. They differ in bias, in variance and in cost. Here a sigmoid belief net is trained that is small enough for its
# exact gradient to be enumerated, and every objective that fits it is measured: `gradient_statistics` draws its
# gradient many times on one batch, with parameters held still.

# %%
import dataclasses
import io

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image

from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.estimator_comparison import fit_own, fitting_objectives
from genjax_models.evaluation import exact_gradient, gradient_statistics
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import VIMCO, straight_through
from genjax_models.optimizers import Adam
from genjax_models.plots import save_estimators
from genjax_models.train import make_train

data = Digits().load()
x = jnp.asarray(data.train, jnp.float32)
batch = x[:20]

# %% [markdown]
# ## A net at three stages of training
#
# Eight binary units above the pixels: 256 states, few enough to sum over. The parameters are kept at the start, early
# and late.

# %%
config = Config(
    model=SigmoidBeliefNetwork(layers=(8,)),
    objective=VIMCO(num_particles=5),
    optimizer=Adam(learning_rate=1e-2),
    data=Digits(),
    training=Training(num_steps=1600),
)
train = make_train(config)
state = train.init(config, jax.random.key(0), x)
stages, step = {0: jax.tree.map(np.asarray, state.params)}, 0
for until in (100, 1600):
    while step < until:
        state, metrics = train.advance(config, state, x, step, 100)
        step += 100
    stages[step] = jax.tree.map(np.asarray, state.params)
    print(f"step {step}: bound {metrics['bound'].mean():.2f} nats per example")
model = config.model.build(64)


# %% [markdown]
# ## Bias and variance of one estimator
#
# The exact gradient of the evidence lower bound comes from summing over all states. The straight-through estimator
# draws hard units and differentiates as if each were its probability. For p that is unbiased; for q it is not, and the
# bias is far more than the noise of the mean can explain (`error_norm`). All norms are over a parameter group.


# %%
def norm(tree):
    return float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))))


exact = exact_gradient(model, stages[1600], batch)
found = gradient_statistics(straight_through(model), stages[1600], jax.random.key(1), batch, 1000, exact=exact)
for group, s in found.groups.items():
    print(
        f"{group:12} |gradient| {norm(exact[group]):.3f}  bias {s.bias_norm:.3f}  by chance {s.error_norm:.3f}  "
        f"variance {s.variance:.3g}  signal to noise {s.signal_to_noise:.2f}"
    )


# %% [markdown]
# ## All estimators
#
# Every objective of the table that can serve the model is measured in the same way at each stage. Those that are made
# for several particles get K = 2, and their gradient is compared with that of the bound of two particles; all others
# are compared with that of the evidence lower bound. Baselines and control variates that have parameters or moments of
# their own are fitted first, with the model held still.
#
# Some are biased for these bounds by design. `wake_sleep` and `reweighted_wake_sleep` teach q by another divergence,
# `bidirectional` and `thermodynamic` pursue other bounds, `concrete` follows a relaxed model, `nvil` divides q's
# gradient by the spread of its signal. `mean_field` has no q to teach and is left out.


# %%
def with_particles(objective):
    several = getattr(objective, "num_particles", 1) > 1
    return dataclasses.replace(objective, num_particles=2) if several else objective


configs = {name: with_particles(c) for name, c in fitting_objectives(model).items() if name != "mean_field"}
particles = {name: getattr(c, "num_particles", 1) for name, c in configs.items()}
exact = {
    (step, k): exact_gradient(model, params, batch, k)
    for step, params in stages.items()
    for k in set(particles.values())
}

rows, bias = [], {}
for name, objective_config in configs.items():
    objective = objective_config.build(model)
    for step, params in stages.items():
        own = fit_own(objective, params, jax.random.key(2), x, num_steps=200)
        truth = exact[step, particles[name]]
        found = gradient_statistics(
            objective, params, jax.random.key(3), batch, 1000, exact=truth, own_and_state=own, step=step
        )
        q = found.groups["recognition"]
        size = norm(truth["recognition"])
        bias[step, name] = float(q.bias_norm) / size, float(q.error_norm) / size
        rows.append(
            {
                "step": step,
                "objective": name,
                "seconds": found.seconds,
                "variance": {group: float(s.variance) for group, s in found.groups.items()},
                "signal_to_noise": float(q.signal_to_noise),
            }
        )

print(f"{'step 1600':22}  K  bias of q  by chance  variance of q  signal/noise  ms a gradient")
for row in rows:
    if row["step"] == 1600:
        name = row["objective"]
        relative, chance = bias[1600, name]
        print(
            f"{name:22} {particles[name]:2} {relative:10.3f} {chance:10.3f} {row['variance']['recognition']:14.3g} "
            f"{row['signal_to_noise']:13.2f} {1000 * row['seconds']:14.3f}"
        )

# %% [markdown]
# ## Variance against time
#
# Low and to the left is better, among estimators without bias: half the variance is worth twice the time, for averaging
# two draws halves it. The biased ones show what their bias buys. The same picture for a run of your own, whatever the
# size of its net, comes from `genjax-models estimators RUN_DIR`.

# %%
picture = io.BytesIO()
save_estimators(picture, rows, "belief net with 8 latent units on digits, batch of 20")
Image(picture.getvalue(), width=1100)

# %% [markdown]
# ## Bias
#
# The bias of q's gradient, relative to the exact gradient's norm, early and late. The grey mark is what an unbiased
# estimator would show by chance after as many draws.

# %%
names = sorted(configs, key=lambda name: bias[1600, name][0])
figure, panels = plt.subplots(1, 2, figsize=(9, 0.28 * len(names) + 1), sharey=True, layout="constrained")
for panel, step in zip(panels, (100, 1600), strict=True):
    values, chances = np.array([bias[step, name] for name in names]).T
    panel.barh(names, values, color="tab:blue")
    panel.plot(chances, names, "|", color="grey", markersize=14)
    panel.set(xlabel="|bias| / |exact gradient|", title=f"step {step}")
    panel.set_xscale("symlog", linthresh=0.3)
