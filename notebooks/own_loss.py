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
# # Writing your own loss
#
# A loss here is a pure function. This notebook makes one that is not in the library, proves its gradient by summing
# over everything that can be drawn, and trains with it beside the library's own, in one sweep.
#
# The **variational Rényi bound** (Li and Turner 2016) runs from the evidence lower bound ($\alpha = 1$) to the
# importance weighted one ($\alpha = 0$). With $z_1, \ldots, z_K \sim q(z \mid x)$ and
# $w_k = p(x, z_k) / q(z_k \mid x)$,
#
# $$\mathcal{L}_\alpha = \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_k w_k^{1 - \alpha}$$
#
# The library has it for samples that carry gradients, and says so to a net of binary latents:

# %%
import itertools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from genjax_models.axes import axis, chain
from genjax_models.config import Config, Training, config, field
from genjax_models.core import Objective, Trainable, total
from genjax_models.data import Digits
from genjax_models.errors import UserError
from genjax_models.evaluation import exact_log_marginal
from genjax_models.models import SigmoidBeliefNetwork, sigmoid_belief_network
from genjax_models.objectives import VIMCO, Part, ReweightedWakeSleep, Sum, renyi, vimco
from genjax_models.objectives.common import (
    ParticleConfig,
    ScoreLoss,
    loss_of,
    owns_nothing,
    require_latent_variable_model,
)
from genjax_models.objectives.particles import leave_one_out_mean, renyi_bound
from genjax_models.optimizers import Adam, Linear
from genjax_models.sweep import run_sweep
from genjax_models.train import make_train_step

data = Digits().load()
net = sigmoid_belief_network(visible=64, layers=(10,))
params = net.init(jax.random.key(0), data.train[0])
try:
    renyi(net, num_particles=5, alpha=0.5)
except UserError as error:
    print(error)

# %% [markdown]
# ## The estimate
#
# For fixed particles the gradient has two parts. The bound moves with the weights, by $v_k \propto w_k^{1 - \alpha}$,
# and it moves because $q$ would draw other particles: by scores, each less a baseline that must not depend on its own
# $z_k$,
#
# $$\nabla \mathbb{E} \mathcal{L}_\alpha = \mathbb{E} \sum_k v_k \nabla \log \frac{p(x, z_k)}{q(z_k \mid x)}
# + (\mathcal{L}_\alpha - \mathcal{L}_\alpha^{-k}) \nabla \log q(z_k \mid x)$$
#
# As VIMCO does (Mnih and Rezende 2016), let $\mathcal{L}_\alpha^{-k}$ be the bound with the mean of the other
# $\log w_j$ in the place of $\log w_k$. So the estimate is a pure function of log-probabilities, and knows no model:
# the bound, and the coefficients of $\nabla \log p(x, z_k)$ and $\nabla \log q(z_k \mid x)$. The library's
# `renyi_bound` has all but the last term, $\alpha = 1$ included.

# %%


def renyi_by_scores_estimate(log_p, log_q, alpha):
    """log p(x, z_k) and log q(z_k | x), [K] each: the bound, and coefficients [K] of their gradients."""
    whole = renyi_bound(log_p, log_q, alpha)
    log_w = log_p - log_q
    replaced = jnp.where(jnp.eye(len(log_w), dtype=bool), leave_one_out_mean(log_w)[:, None], log_w)  # row k without k
    baselines = jax.vmap(lambda row: renyi_bound(row, jnp.zeros_like(row), alpha).bound)(replaced)
    return whole._replace(recognition=whole.recognition + whole.bound - baselines)


# %% [markdown]
# ## The loss
#
# `loss(params, key, batch)` draws particles for each example and gives minus the bound. Its *gradient* is to be the
# estimate's, which is no derivative of that number, so it is that of a surrogate, $\sum_k a_k \log p(x, z_k)
# + b_k \log q(z_k \mid x)$ with $a$ and $b$ held fixed; `loss_of` joins value and gradient.

# %%


def renyi_by_scores(model, num_particles, alpha):
    def loss(params, key, batch):
        def example(key, x):
            def particle(key):
                z, _ = model.propose(params, key, x, ())
                return total(model.log_joint(params, z, x, ())), total(model.log_posterior(params, z, x, ()))

            log_p, log_q = jax.vmap(particle)(jax.random.split(key, num_particles))
            bound, a, b = renyi_by_scores_estimate(*jax.lax.stop_gradient((log_p, log_q)), alpha)
            return loss_of(bound, jnp.sum(a * log_p + b * log_q))

        return jax.vmap(example)(jax.random.split(key, len(batch.x)), batch.x).mean()

    return loss


init, step = make_train_step(renyi_by_scores(net, num_particles=5, alpha=0.5), optax.adam(1e-2))
state = init(jax.random.key(1), params, data.train)
for i in range(300):
    state, metrics = step(state, data.train[(i % 10) * 100 :][:100])
    if i % 100 == 0 or i == 299:
        print(f"step {i:3}: bound {metrics['bound']:.2f} nats")

# %% [markdown]
# That it trains says little. What goes wrong with losses is mostly silent; this is not:

# %%
try:
    init, step = make_train_step(lambda params, key, batch: jnp.sum(batch.x, axis=1), optax.adam(1e-2))
    step(init(jax.random.key(1), params, data.train), data.train[:100])
except UserError as error:
    print(error)

# %% [markdown]
# ## The proof
#
# On a net with two latents, $q$ has four states, and $K = 2$ particles come as one of sixteen pairs. Sum over all of
# them, each with its probability: that is the expected bound, whose gradient `jax.grad` gives, and the expectation of
# the estimate, without any sampling. In float64 they must agree to the last digits. Beside it the same estimate with
# three mistakes, none of which raises anything.

# %%
PAIRS = np.array(list(itertools.product(range(4), repeat=2)))  # of states


def proof(estimate, alpha, model, params, x):
    """The largest error of the estimate's expectation, by parameter group."""
    states = [jnp.array(z, float) for z in itertools.product((0, 1), repeat=2)]

    def terms(params):
        log_p = jnp.stack([total(model.log_joint(params, (z,), x, ())) for z in states])
        log_q = jnp.stack([total(model.log_posterior(params, (z,), x, ())) for z in states])
        return log_p[PAIRS], log_q[PAIRS]  # [16, 2] each

    def expected_bound(params):
        log_p, log_q = terms(params)
        bounds = jax.vmap(lambda p, q: renyi_bound(p, q, alpha).bound)(log_p, log_q)
        return jnp.exp(log_q.sum(axis=1)) @ bounds

    def surrogate(params):
        log_p, log_q = terms(params)
        chance, (_, a, b) = jax.lax.stop_gradient(
            (jnp.exp(log_q.sum(axis=1)), jax.vmap(lambda p, q: estimate(p, q, alpha))(log_p, log_q))
        )
        return chance @ jnp.sum(a * log_p + b * log_q, axis=1)

    exact, found = jax.jit(jax.grad(expected_bound))(params), jax.jit(jax.grad(surrogate))(params)
    difference = jax.tree.map(lambda e, f: jnp.max(jnp.abs(e - f)), exact, found)
    return {group: max(jax.tree.leaves(part)) for group, part in difference.items()}


def own_signal(log_p, log_q, alpha):
    """A baseline of all particles, k too."""
    whole = renyi_bound(log_p, log_q, alpha)
    return whole._replace(recognition=whole.recognition + whole.bound - jnp.mean(log_p - log_q))


def no_scores(log_p, log_q, alpha):
    """As if the particles moved with q's parameters."""
    return renyi_bound(log_p, log_q, alpha)


def forgotten(log_p, log_q, alpha):
    """Scores alone: the weights move with q too."""
    right = renyi_by_scores_estimate(log_p, log_q, alpha)
    return right._replace(recognition=right.recognition + right.generative)


with jax.enable_x64(True):
    tiny = sigmoid_belief_network(visible=3, layers=(2,))
    start = tiny.init(jax.random.key(0), jnp.zeros(3))
    leaves, structure = jax.tree.flatten(start)
    rng = np.random.default_rng(0)
    tiny_params = jax.tree.unflatten(structure, [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves])
    x = jnp.array([1.0, 0.0, 1.0])
    for estimate in (renyi_by_scores_estimate, own_signal, no_scores, forgotten):
        for alpha in (0.0, 0.5, 1.0):
            errors = proof(estimate, alpha, tiny, tiny_params, x)
            print(f"{estimate.__name__:25} alpha {alpha}:", ", ".join(f"{k} {v:.0e}" for k, v in errors.items()))

# %% [markdown]
# The mistakes are seen at a glance, all but one: to forget that the weights move with $q$ does no harm at $\alpha = 1$,
# where what is forgotten is $-\frac{1}{K} \sum_k \nabla \log q(z_k \mid x)$, zero in the mean. A proof at one value of
# a parameter is a proof at that value. An estimator that is biased by design has such a proof too, with its own
# definition in the place of the bound.
#
# The same enumeration gives the bounds themselves, for any $K$ and $\alpha$.

# %%
alphas = np.linspace(-3, 2, 61)
plt.figure(figsize=(6, 3))
with jax.enable_x64(True):
    states = [jnp.array(z, float) for z in itertools.product((0, 1), repeat=2)]
    log_p = jnp.stack([total(tiny.log_joint(tiny_params, (z,), x, ())) for z in states])
    log_q = jnp.stack([total(tiny.log_posterior(tiny_params, (z,), x, ())) for z in states])
    for number in (1, 2, 4):
        sets = np.array(list(itertools.product(range(4), repeat=number)))

        def expected(alpha, p=log_p[sets], q=log_q[sets]):
            return jnp.exp(q.sum(axis=1)) @ jax.vmap(lambda p, q: renyi_bound(p, q, alpha).bound)(p, q)

        plt.plot(alphas, jax.vmap(expected)(alphas), label=f"K = {number}")
    plt.axhline(jax.nn.logsumexp(log_p), color="black", linestyle=":", label="log p(x)")
plt.xlabel("alpha")
plt.ylabel("nats")
plt.legend()
plt.show()

# %% [markdown]
# With one particle $\alpha$ makes no difference, and at $\alpha = 1$ neither does $K$: there all are the evidence lower
# bound. At $\alpha = 0$ more particles make it tighter. Below that the curve of four crosses $\log p(x)$ in the end,
# and is no bound any more.

# %% [markdown]
# ## As a part of the library
#
# A closure serves a notebook. What it lacks is what the library can do for a loss that is a record: particles computed
# some at a time, batches cut into parts that draw what the whole would draw, configurations to sweep over. `ScoreLoss`
# is the function above in that form; the estimate goes in as it is. The configuration's floats, here `alpha`, are
# traced, so that all their values share one program.

# %%


@config
class RenyiByScores(ParticleConfig):
    """Variational Rényi bound by scores, each particle's with the others as its baseline."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Li and Turner 2016; Mnih and Rezende 2016"

    num_particles: int = field(default=5, ge=2, help="particles K an example")
    alpha: float = field(default=0.5, help="0 for the importance weighted bound, 1 for the evidence lower bound")

    def build_whole(self, model: Any) -> Objective:
        require_latent_variable_model("renyi_by_scores", model)
        loss = ScoreLoss(model, self.num_particles, renyi_by_scores_estimate, (self.alpha,))
        return Objective(owns_nothing, loss)


# %% [markdown]
# At $\alpha = 0$ it is VIMCO, by the same draws where the key is the same. And parts compose: two bounds, of which one
# gives way to the other as training goes on, are a weighted sum whose weights are schedules.

# %%
key, batch = jax.random.key(2), jnp.asarray(data.train[:100], jnp.float32)
for name, objective in {"alpha = 0": RenyiByScores(5, alpha=0.0).build(net), "vimco": vimco(net, 5)}.items():
    differentiate = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (value, _), gradient = differentiate(Trainable(params), (), key, batch, 0)
    print(f"{name:10} bound {-value:.5f} nats, norm of the gradient {optax.global_norm(gradient):.5f}")

STEPS = 1000
annealed = Sum(
    parts=(
        Part(RenyiByScores(5, alpha=1.0), weight=Linear(1.0, 0.0, STEPS)),
        Part(RenyiByScores(5, alpha=0.0), weight=Linear(0.0, 1.0, STEPS)),
    )
)

# %% [markdown]
# ## Beside the library's own
#
# One sweep over values of $\alpha$ and over objectives, three seeds each, on the digits. With ten latents $\log p(x)$
# of held-out digits is exact, so that what is compared is the models, and not how tight their bounds are.

# %%
base = Config(
    model=SigmoidBeliefNetwork(layers=(10,)),
    objective=RenyiByScores(num_particles=5),
    optimizer=Adam(learning_rate=1e-2),
    data=Digits(),
    training=Training(num_steps=STEPS, batch_size=100),
)
axes = chain(
    axis("objective.alpha", (0.0, 0.5, 1.0)),
    axis("objective", (annealed, VIMCO(5), ReweightedWakeSleep(5))),
)
names = ["alpha = 0", "alpha = 0.5", "alpha = 1", "annealed 1 to 0", "vimco", "reweighted wake-sleep"]
found = run_sweep(base, axes, seeds=3, data=data.train)

held_out = jnp.asarray(data.test, jnp.float32)
nll = np.zeros(found.states.shape)
for index, state in np.ndenumerate(found.states):
    nll[index] = -exact_log_marginal(net, state.params, held_out, block=50).mean()
for name, row in zip(names, nll, strict=True):
    print(f"{name:22}", *(f"{value:.2f}" for value in row), f"mean {row.mean():.2f} nats")

plt.figure(figsize=(6, 2.4))
plt.plot(nll, np.arange(len(names)), "o", color="tab:blue", alpha=0.6)
plt.plot(nll.mean(axis=1), np.arange(len(names)), "|", color="black", markersize=14)
plt.yticks(np.arange(len(names)), names)
plt.gca().invert_yaxis()
plt.xlabel("exact test NLL (nats), by seed")
plt.show()

# %% [markdown]
# The rows $\alpha = 0$ and `vimco` are one estimator, and nearly the same runs: round-off, which training amplifies, is
# all that parts them. Between rows the means differ by no more than the seeds within one row do, so nothing here
# speaks for one $\alpha$, nor against it: on a net this small the bound that is followed hardly matters. That is a
# result too, which a comparison of bounds, or of one seed each, would have hidden.
#
# ## From here into the library
#
# ```sh
# genjax-models scaffold objective renyi_by_scores
# ```
#
# writes a file of this shape into a clone, with an objective's function and its refusals, its place in the tables, and
# a test that does the proof above, a mutant included: put the estimate in the place of the one that is there. [Add an
# objective](guides/add_an_objective.md) goes through it line by line.
