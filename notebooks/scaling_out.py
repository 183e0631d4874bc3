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
# # Scaling out
#
# One program, more devices: batches shared out, sweeps spread, particles beyond memory, examples from disk, and a run
# that goes on with whatever devices are left. XLA makes eight devices of a laptop's CPU if it is told so before JAX
# first looks for devices, as at the end of the first cell (or, before jax is imported at all, by the environment's
# `JAX_NUM_CPU_DEVICES=8`). They share its cores, so that nothing here gets faster; but the same code takes GPUs and
# TPUs, with that one line left out.

# %%
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from genjax_models.axes import log_axis
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Digits, Shards
from genjax_models.experiment import Interrupted, train_run
from genjax_models.models import VAE, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE, chunk_particles, iwae
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.spread import data_mesh, spread
from genjax_models.sweep import run_sweep, sweep_mesh
from genjax_models.train import make_train, make_train_step

jax.config.update("jax_num_cpu_devices", 8)  # an accelerator needs no such line
print(len(jax.devices()), "devices:", jax.devices()[0], "to", jax.devices()[-1])
digits = Digits().load()  # 8 x 8 pixels, zeros and ones

# %% [markdown]
# ## A batch shared out
#
# A mesh names devices in a row: here one axis, "data". The step of `make_train_step` is a jitted function, and a jitted
# function computes where its arguments lie. So parameters go to every device whole, the batch in eight equal parts, and
# XLA does the rest: each device computes the loss of its own examples, and the gradients are summed over all of them.

# %%
mesh = data_mesh()
everywhere, by_example = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))

model = vae(visible=64, latent=8, encoder=MLP((32,), "tanh"), decoder=MLP((32,), "tanh"))
params = model.init(jax.random.key(0), digits.train[0])
init, step = make_train_step(iwae(model, 5), optax.adam(3e-3))
order = np.random.default_rng(0).permutation(len(digits.train))[:960].reshape(10, 96)

bounds = {}
for name, where, whole in (("one device", jax.devices()[0], jax.devices()[0]), ("eight", by_example, everywhere)):
    state = jax.device_put(init(jax.random.key(1), params, digits.train), whole)
    bounds[name] = []
    for rows in order:
        batch = jax.device_put(digits.train[rows], where)
        state, metrics = step(state, batch)
        bounds[name].append(float(metrics["bound"]))
print({str(s.device): s.data.shape for s in batch.addressable_shards})
for name, values in bounds.items():
    print(f"{name:10}", " ".join(f"{value:.4f}" for value in values[::3]))

# %% [markdown]
# The draws of an example depend on the step's key and its place in the batch, not on the device that it lies on; so
# that the bounds differ only by the order in which floats are added up.
#
# A whole run takes the same form. `make_train` gives a compiled program of (configuration, key, data), and `spread`
# lays the data out: every device holds an eighth of the *examples* too. With `shard_parameters=True` the devices also
# share out each large array of parameters and of Adam's moments, which then are gathered where they are used.

# %%
config = Config(
    model=VAE(latent=8, encoder=MLP((256,), "tanh"), decoder=MLP((256,), "tanh")),
    objective=IWAE(num_particles=5),
    optimizer=Adam(learning_rate=3e-3),
    data=Digits(),
    training=Training(num_steps=200, batch_size=96),
    evaluation=Evaluation(num_samples=50),
)
train = make_train(config)
layouts = {
    "one device": digits.train,
    "eight": spread(digits.train, mesh),
    "eight, parameters shared out": spread(digits.train, mesh, shard_parameters=True),
}
curves = {}
for name, data in layouts.items():
    state, metrics = train(config, jax.random.key(0), data)
    curves[name] = np.asarray(metrics["bound"])
    held = sum(
        shard.data.nbytes for v in jax.tree.leaves((state.params, state.phases)) for shard in v.addressable_shards[:1]
    )
    print(f"{name:28} holds {held / 1e3:5.0f} kB of parameters and moments on its first device;", end=" ")
    print(f"last bound {curves[name][-1]:.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
for (name, curve), width in zip(curves.items(), (5, 2.5, 1), strict=True):
    left.plot(curve, label=name, linewidth=width)
    if name != "one device":
        right.plot(1e6 * (curve - curves["one device"]), label=name, linewidth=width / 2)
left.set(xlabel="step", ylabel="train bound (nats per example)")
right.set(xlabel="step", ylabel="difference from one device ($10^{-6}$ nats)")
left.legend(fontsize=8)
right.legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# Left, three curves, drawn ever thinner over one another. Right, what is between them, in millionths of a nat. Floats
# of the bound's size are spaced by 2 or 4 of these: the differences begin there, and grow along the run, since each
# step starts from parameters that were rounded a little differently.
#
# ## A sweep over columns of devices
#
# Small runs want no shared batches: a sweep gives every device points of its own, without a word between them. Where a
# point is too large for one device, `sweep_mesh` makes columns: each trains points of its own, and within a column the
# devices share each batch.

# %%
columns = sweep_mesh(points=4, data=2)
rates = log_axis("optimizer.learning_rate", 3e-4, 3e-2, 4)
small = {"model.encoder.hidden": (32,), "model.decoder.hidden": (32,), "training.num_steps": 100}
points = overlay(config, small)
swept = {
    "8 columns of one": run_sweep(points, rates, seeds=2, data=digits.train, block=1),
    "4 columns of two": run_sweep(points, rates, seeds=2, data=digits.train, block=1, mesh=columns),
}
reached = {name: result.metrics["bound"][..., -20:].mean(axis=-1) for name, result in swept.items()}  # [rates, seeds]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
left.imshow(np.arange(4)[None].repeat(2, 0), cmap="Pastel1", vmax=8)
for (row, column), device in np.ndenumerate(columns.devices.T):
    left.text(column, row, f"device {device.id}", ha="center", va="center", fontsize=9)
left.set(xlabel='"points": each column has its own', ylabel='"data": shares of a batch', xticks=[], yticks=[])
values = [position["optimizer.learning_rate"] for position in swept["8 columns of one"].grid.dimensions[0].overrides]
for (name, bound), style in zip(reached.items(), ("o-", "x--"), strict=True):
    right.plot(values, bound.mean(axis=-1), style, label=name, markersize=9)
right.set(xscale="log", xlabel="learning rate", ylabel="bound of the last 20 steps (nats)")
right.legend()
figure.tight_layout()
between = np.abs(reached["8 columns of one"] - reached["4 columns of two"])
print(f"the two sweeps' bounds differ by up to {between.max():.1g} nats, those of learning rates by", end=" ")
print(f"{np.ptp(reached['8 columns of one'].mean(axis=-1)):.1f}")

# %% [markdown]
# Left, the mesh of the second sweep. Right, what both reach by learning rate: crosses in circles, for a point is the
# same run wherever it is trained. `run_sweep` measures how many points to run at once on a device, unless `block` says.
#
# ## More particles than memory holds
#
# The importance weighted bound tightens with K, and its gradient keeps K activations of every layer for every example.
# `chunk_particles(objective, 16)` computes sixteen particles at a time, and again for the gradient, at the price of one
# more pass forward; of each it keeps a few numbers alone, however wide the layers are. XLA says what a program will
# take before anything is run; here it is asked for the whole training step.


# %%
def compiled(particles, chunk):
    """The training step of so many particles, compiled for a batch of 96 and not run."""
    init, step = make_train_step(chunk_particles(iwae(model, particles), chunk), optax.adam(3e-3))
    batch = digits.train[:96]
    return step.lower(jax.eval_shape(init, jax.random.key(1), params, batch), batch).compile()


numbers = (16, 128, 1024)
programs = {
    name: [compiled(k, chunk) for k in numbers] for name, chunk in (("all at once", None), ("16 at a time", 16))
}
memory = {name: [p.memory_analysis().temp_size_in_bytes for p in row] for name, row in programs.items()}
bound = {}
for name, row in programs.items():
    _, metrics = row[-1](init(jax.random.key(1), params, digits.train), digits.train[:96])
    bound[name] = float(metrics["bound"])
print("K = 1,024:", ", ".join(f"{bound[name]:.4f} nats in {memory[name][-1] / 1e6:.0f} MB {name}" for name in bound))

# %% [markdown]
# ## Half the bits
#
# `compute="bfloat16"` is a policy for the whole step: matrix products and convolutions of the model read 16 bits, and
# all else stays in float32, sums, log-probabilities, weights, parameters and moments. It is for accelerators, whose
# matrix units read bfloat16 faster; a CPU gains nothing. What can be seen here is what it costs in nats: the run from
# above, with the policy and without.

# %%
half = overlay(config, {"training.compute": "bfloat16"})
state, metrics = make_train(half)(half, jax.random.key(0), digits.train)
print("parameters are", {str(v.dtype) for v in jax.tree.leaves(state.params)})
gap = np.asarray(metrics["bound"]) - curves["one device"]
print(f"bfloat16 - float32, mean of the last 100 steps: {gap[-100:].mean():+.4f} nats, of", end=" ")
print(f"{curves['one device'][-100:].mean():.2f}; standard deviation by step {gap[-100:].std():.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
for name, marker in (("all at once", "o-"), ("16 at a time", "s-")):
    left.plot(numbers, np.array(memory[name]) / 1e6, marker, label=name)
left.set(xscale="log", yscale="log", xlabel="particles K", ylabel="temporary memory of a step (MB)")
left.set_xticks(numbers, map(str, numbers))
right.plot(curves["one device"], label="float32", linewidth=3)
right.plot(metrics["bound"], label="products read bfloat16", linewidth=1)
right.set(xlabel="step", ylabel="train bound (nats per example)")
left.legend()
right.legend()
figure.tight_layout()

# %% [markdown]
# Left, the memory of a step against the number of particles, both on logarithmic axes. The net here is small, so that
# the few numbers a particle still show; of wider layers they are a smaller part. Right, the run in float32 and the one
# whose products read bfloat16.
#
# ## One run on eight devices, then two, then two processes
#
# On disk all of it comes together. `genjax-models shard` writes data as shards, of which training reads just the next
# steps' examples, in threads, while the present ones compute: data may be larger than memory. And a checkpoint says
# nothing of devices, so that a run that lost its machine goes on with what it gets.
#
# The run from above again, then, but on shards, in a folder, and on eight devices until SIGTERM comes, as a queue sends
# it before it takes a machine away. What is being computed is finished and saved, and `Interrupted` is raised. The same
# call goes on from there, here with two devices, until they too are taken.

# %%
folder = Path(tempfile.mkdtemp())
main(["shard", "digits", str(folder / "shards")])
source = Shards(str(folder / "shards"))
on_disk = overlay(config, {"data": source, "training.evaluate_every": 25, "training.chunk": 25})
run = folder / "run"


def rows():
    """What the run has written about itself, evaluation by evaluation."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def quiet(line):
    """The lines that a terminal would show are left out here."""


def terminate_at(step):
    """A callback that sends this process SIGTERM at a step."""
    return lambda moment: os.kill(os.getpid(), signal.SIGTERM) if moment.step == step else None


ends = {}
for devices, last in ((8, 50), (2, 125)):
    try:
        train_run(on_disk, run, log=quiet, devices=devices, callbacks=[terminate_at(last)])
    except Interrupted as interruption:
        print(f"{devices} devices: {str(interruption).replace(str(folder), '...')}")
    ends[f"{devices} devices"] = rows()[-1]["step"]

# %% [markdown]
# The rest goes to two processes of one device each, as it would to two machines. They are the same command, and the
# coordinator's address is how they find each other; under Slurm, Open MPI, Kubernetes and on TPU pods they need not be
# told. Each reads its own half of every batch, all write the checkpoints, and the first writes what else there is.

# %%
with contextlib.closing(socket.socket()) as probe:
    probe.bind(("localhost", 0))
    coordinator = f"localhost:{probe.getsockname()[1]}"
command = [sys.executable, "-m", "genjax_models", "train", run, "--coordinator", coordinator, "--num-processes", "2"]
pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
processes = [subprocess.Popen([*command, "--process-id", str(i)], **pipes) for i in range(2)]
said = [process.communicate()[1].replace(str(folder), "...") for process in processes]
print("exit codes", [process.returncode for process in processes])
print(*(line for line in said[0].splitlines() if "devices" in line or "resuming" in line), sep="\n")
ends["2 processes"] = rows()[-1]["step"]

# %%
figure, axis = plt.subplots(figsize=(7, 3.4))
alone = curves["one device"].reshape(-1, 25).mean(axis=1)
axis.plot([row["step"] for row in rows()], alone, "k-", label="one device, data in memory")
first = 0
for (name, last), marker in zip(ends.items(), ("o", "s", "^"), strict=True):
    part = [row for row in rows() if first < row["step"] <= last]
    axis.plot([row["step"] for row in part], [row["train_bound"] for row in part], marker, label=f"shards, {name}")
    first = last
axis.set(xlabel="step", ylabel="train bound (nats), mean of 25 steps")
axis.legend()
worst = np.abs(alone - [row["train_bound"] for row in rows()]).max()
print(f"the interrupted run and the one in memory on one device differ by up to {worst:.1g} nats")

# %% [markdown]
# In the shell the three stages are one command, `genjax-models train CONFIG --devices N` and
# `genjax-models train CONFIG --coordinator HOST:PORT --num-processes N --process-id I`, and sweeps take
# `--data-devices N`. How many devices pay is a matter of the batch: a share of it must be work enough to hide the sum
# of gradients behind, which eight devices on one laptop's cores cannot tell you.
