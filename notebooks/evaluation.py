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
# # Evaluation that can be trusted
#
# How good is a generative model? Its $\log p(x)$ on held-out data says it in nats; but with latents that is an
# integral, and every estimate of it can be wrong without looking so. Here each estimate of the library stands beside
# the exact figure, on nets so small that it can be had; then come the measures for models that have no density at
# all. The last cell puts them in the order in which to trust them.

# %%
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from genjax_models.config import Config, Training
from genjax_models.data import Digits, examples
from genjax_models.evaluation import (
    DoubtfulEstimate,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    choose_sigma,
    exact_log_marginal,
    log_marginal,
    log_prob,
    paired_difference,
    parzen_log_likelihood,
    prior_log_marginal,
    quadrature_log_marginal,
    sample_quality,
    train_classifier,
    two_sample_test,
)
from genjax_models.models import VAE, SigmoidBeliefNetwork, affine_generator, fit_affine
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO, ReweightedWakeSleep, WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.train import make_train

DIGITS = Digits()  # 8 x 8 pixels, zeros and ones
digits = DIGITS.load()
held_out = jnp.asarray(digits.test, jnp.float32)


def fit(model, objective, steps=1500, rate=1e-2):
    """A model and its parameters after `steps` of Adam, as one compiled program."""
    config = Config(model=model, objective=objective, optimizer=Adam(rate), data=DIGITS, training=Training(steps))
    state, _ = make_train(config)(config, jax.random.key(0), examples(digits, "train"))
    return model.build(64), state.params


# %% [markdown]
# ## The truth, where it is to be had
#
# A sigmoid belief network with ten binary latents has 1,024 states of them: $p(x) = \sum_z p(x, z)$ can be summed.
# Two such nets, the same but for how they were trained.

# %%
net = SigmoidBeliefNetwork(layers=(10,))
model, params = fit(net, ReweightedWakeSleep(num_particles=5))
_, params_ws = fit(net, WakeSleep())
truth = np.asarray(exact_log_marginal(model, params, held_out))
truth_ws = np.asarray(exact_log_marginal(model, params_ws, held_out))
print(f"reweighted wake-sleep {truth.mean():.2f} nats, wake-sleep {truth_ws.mean():.2f} nats, exactly")

# %% [markdown]
# ## Importance sampling, with what it says of itself
#
# $$\log \hat p(x) = \log \frac{1}{K} \sum_k w_k, \qquad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim
# q(z \mid x)$$
#
# $\hat p(x)$ has no bias, so its logarithm is in expectation **too low**: a lower bound, which rises with $K$. Beside
# it `log_marginal` returns a **standard error** from the spread of the weights, and the **effective sample size**
# $(\sum_k w_k)^2 / \sum_k w_k^2$, of $K$.
#
# Both are functions of the weights *that were seen*. To find out what that means, keep $p$, and spoil $q$: its logits
# times 0.3 are those of a timid one, times 3 of one that is too sure of itself; and before training it guesses.

# %%
untrained = model.init(jax.random.key(1), held_out[0])["recognition"]
learned = params["recognition"]
recognition = {
    "trained": learned,
    "timid": jax.tree.map(lambda v: 0.3 * v, learned),
    "too sure": jax.tree.map(lambda v: 3 * v, learned),
    "guessing": untrained,
}
print("q, K = 1,000  mean error  root mean square  stated error  median effective  below ten  doubtful")
found = {}
for name, q in recognition.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DoubtfulEstimate)
        estimate = log_marginal(model, {**params, "recognition": q}, jax.random.key(2), held_out, 1000)
    error = np.asarray(estimate.log_prob) - truth
    found[name] = error, np.asarray(estimate.standard_error)
    print(
        f"{name:12} {error.mean():11.3f} {np.sqrt(np.mean(error**2)):17.3f} {estimate.standard_error.mean():13.3f}",
        f"{jnp.median(estimate.effective_samples):17.0f} {jnp.sum(estimate.effective_samples < 10):10}",
        f"{estimate.doubtful.sum():9}",
    )
print("\nThe last warning:", *caught[0].message.args)

# %% [markdown]
# Look at the timid and the too sure $q$. Their effective samples are much the same, some 15 percent of $K$. But the
# errors of the timid one are as large as it says, and those of the other about three times as large: a $q$ that is
# too sure leaves out states which carry part of $p(x)$, and *what was not drawn has no spread*. Where it does draw
# such a state, once in a long while, the weight is huge, and the estimate too high.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharex=True, sharey=True)
for axis, name in zip(axes, ("timid", "too sure"), strict=True):
    error, stated = found[name]
    within = np.mean(np.abs(error) < 2 * stated)
    axis.scatter(stated, error, s=6)
    for side in (-2, 2):
        axis.plot([0, 0.8], [0, side * 0.8], color="0.5", linewidth=0.8)
    title = f"{name}: {within:.0%} within two stated errors, the lines"
    axis.set(title=title, xlabel="stated standard error (nats)", xlim=(0, 0.8), ylim=(-1.6, 1.6))
    axis.title.set_fontsize(10)
axes[0].set_ylabel("error (nats)")
plt.show()

# %% [markdown]
# Here the truth told. Without it, `log_marginal` marks an example as `doubtful`, and warns with `DoubtfulEstimate`,
# where fewer than ten effective samples are left, **or** where a second look says that there would be if all were
# seen: some draws of the *prior* find what $q$ misses. That is what tells the too sure $q$ from the timid one in the
# last column. It is a warning to act on, with more samples, a better $q$, or annealing, below.
#
# ## k-hat
#
# With real latents the weights have a density, whose tail tells more: the Pareto shape $\hat k$ of the largest weights
# (Vehtari et al. 2024). With a tail of $k \ge 1/2$ their variance is infinite, and the standard error means nothing;
# above 0.7 the mean itself converges too slowly to be of use. Two latents let Gauss-Hermite quadrature play the truth.

# %%
two, two_params = fit(VAE(latent=2, encoder=MLP((30,)), decoder=MLP((30,))), ELBO(), steps=1000, rate=3e-3)
some = held_out[:250]
coarser, integral = (np.asarray(quadrature_log_marginal(two, two_params, some, nodes=n)) for n in (150, 250))
with warnings.catch_warnings(record=True):
    estimate = log_marginal(two, two_params, jax.random.key(3), some, 1000)
error, doubtful, k = np.asarray(estimate.log_prob) - integral, np.asarray(estimate.doubtful), estimate.pareto_k
print(f"quadrature: 150 and 250 nodes a latent differ by {np.abs(coarser - integral).max():.3f} nats at most")
for mask, name in ((~doubtful, "not doubtful"), (doubtful, "doubtful")):
    within = np.mean(np.abs(error[mask]) < 2 * np.asarray(estimate.standard_error)[mask])
    print(
        f"{name:12} {mask.sum():3} examples, root mean square error {np.sqrt(np.mean(error[mask] ** 2)):.3f},", end=" "
    )
    print(f"largest {np.abs(error[mask]).max():.2f}; {within:.0%} within two stated errors")
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for mask, colour, label in ((~doubtful, "C0", "not doubtful"), (doubtful, "C3", "doubtful")):
    axis.scatter(k[mask], error[mask], s=6, color=colour, label=label)
axis.axvline(1 - 1 / np.log10(1000), color="0.5", linewidth=0.8)
axis.set(xlabel="k-hat", ylabel="error (nats)", title="a VAE with two latents, K = 1,000: one point an example")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# Both kinds of error are in the picture. To the right of the line ($\hat k$ above what 1,000 weights may have) the
# large errors are estimates too *high*: the tail was hit. Among those to its left are estimates too *low*: a part of
# the posterior that $q$ did not visit left no tail to see, and draws of the prior gave it away. Doubts are raised too
# often rather than too seldom: most of the red points are near the truth.
#
# ## Annealing
#
# Annealed importance sampling (Neal 2001) goes from $p(z)$ to $p(z \mid x)$ by small steps, with a Markov chain at
# each: it needs no $q$ at all. And on examples that the model *simulates*, whose $z$ is known, it can be run
# backwards too, for a bound from **above** (Grosse, Ghahramani and Adams 2015): the gap between the two is the one
# check that needs no truth beside it. First the alternatives on 100 test examples, the guessing $q$ among them.

# %%
some, exact = held_out[:100], truth[:100]
warnings.simplefilter("ignore", DoubtfulEstimate)  # of draws of the prior, and of the guessing q
ladder = {
    "1,000 draws of the prior": prior_log_marginal(model, params, jax.random.key(4), some, 1000),
    "1,000 draws of the guessing q": log_marginal(
        model, {**params, "recognition": untrained}, jax.random.key(4), some, 1000
    ),
    "1,000 draws of the trained q": log_marginal(model, params, jax.random.key(4), some, 1000),
    "16 chains of 10 temperatures": annealed_importance_sampling(model, params, jax.random.key(5), some, 16, 10),
    "16 chains of 100 temperatures": annealed_importance_sampling(model, params, jax.random.key(5), some, 16, 100),
}
print(f"{'exact':30} {exact.mean():8.3f} nats")
for name, estimate in ladder.items():
    off = paired_difference(estimate.log_prob, exact)
    print(f"{name:30} {estimate.log_prob.mean():8.3f}, off by {off.mean:+.3f} ± {off.standard_error:.3f}")
both = bidirectional_monte_carlo(model, params, jax.random.key(6), 100, 16, 100)
simulated = exact_log_marginal(model, params, both.x)
print(f"\n100 simulated examples: from below {both.lower.log_prob.mean():.3f}, exact {simulated.mean():.3f},", end=" ")
print(f"from above {both.upper.log_prob.mean():.3f}, gap {both.gap.mean():.3f} nats")

# %% [markdown]
# A bad $q$ is worse than none: here it lost to draws of the prior. Annealing comes near the truth without any, the
# nearer the more temperatures, at their price; a good $q$ is the cheapest of all. On simulated examples the exact
# figure lies between the two bounds. `genjax-models anneal` does this for a run.
#
# ## Two models
#
# Most of the spread of $\log p(x)$ over examples is that some digits are harder than others, for *both* models. It
# drops out of their differences, example by example. `genjax-models compare` pairs finished runs in this way.


# %%
def standard_error(v):
    return np.std(v, ddof=1) / np.sqrt(len(v))


apart = np.hypot(standard_error(truth), standard_error(truth_ws))
difference, paired = paired_difference(truth, truth_ws)
print(f"reweighted wake-sleep {truth.mean():.2f} ± {standard_error(truth):.2f}, wake-sleep", end=" ")
print(f"{truth_ws.mean():.2f} ± {standard_error(truth_ws):.2f}")
print(f"difference {difference:.2f} ± {apart:.2f} by two means, ± {paired:.2f} paired")

# %% [markdown]
# The difference is lost in the errors of the two means, and plain when paired. That error is over test examples, with
# both sets of parameters as they are. How far another *seed of training* would move them, it does not say: for that,
# train several (`compare` then gives the error over seeds too).
#
# ## Bits per dimension
#
# Grey levels are reported in bits: $-\log_2 P(x) / D$. A density $p$ of dequantized levels $(k + u) / L$ bounds
# their probability, after the change of units $\log_2 L$ (Theis, van den Oord and Bethge 2016, section 3.1). In nats
# such a density may be of any sign and size; in bits it can be held against any other model of the same levels.

# %%
grey = Digits(binarization="none", dequantization="fixed")
levels = grey.load()
normal, fitted = affine_generator(64), fit_affine(levels.train)
nats = -float(log_prob(normal, fitted, levels.test).mean())
counts = np.stack([np.sum(np.floor(levels.train * 17) == k, axis=0) for k in range(17)]) + 1.0
shares = counts / counts.sum(axis=0)
pixels = np.floor(levels.test * 17).astype(int)
independent = -np.mean(np.log2(shares[pixels, np.arange(64)]))
print(f"a Gaussian with full covariance: NLL {nats:.2f} nats of density,", end=" ")
print(f"{nats / 64 / np.log(2) + np.log2(17):.3f} bits per dimension")
print(f"a histogram for each pixel: {independent:.3f}; all levels alike: {np.log2(17):.3f}")

# %% [markdown]
# As a density the Gaussian's figure looks like a triumph; in bits it is worse than a histogram for each pixel, which
# knows that many pixels are hardly ever anything but 0. Never compare a density with a probability.
#
# ## Samples without a density, and Parzen windows
#
# For samplers papers used to fit a Gaussian **Parzen window** around samples and report its log-likelihood. Theis et
# al. (2016) showed why not to: put 100 cluster centres of the training data in the samples' place, a "model" that
# knows 100 grey images and nothing else. Beside it: samples of the belief net, of independent pixels, and as many
# training examples, the best sampler there is.

# %%
labels = DIGITS.labels()
train = np.asarray(digits.train, np.float32)
generator = np.random.default_rng(0)
centres = train[generator.choice(len(train), 100, replace=False)]
for _ in range(30):  # k-means
    nearest = np.argmin(((train[:, None] - centres) ** 2).sum(axis=-1), axis=1)
    centres = np.stack([train[nearest == i].mean(axis=0) if (nearest == i).any() else centres[i] for i in range(100)])
keys = jax.random.split(jax.random.key(7), 1000)
samples = {
    "training examples": train[generator.permutation(len(train))[:1000]],
    "belief net": np.asarray(jax.vmap(lambda key: model.sample_joint(params, key, ())[1])(keys), np.float32),
    "independent pixels": (generator.random((1000, 64)) < train.mean(axis=0)).astype(np.float32),
    "100 cluster centres": centres[generator.integers(100, size=1000)],
}
classifier = train_classifier(
    jax.random.key(8), train, labels.train, (digits.test, labels.test), num_steps=500, network=MLP((128, 128))
)
real = classifier.features(digits.test)
print(f"features of a classifier that tells {classifier.accuracy:.1%} of test digits right\n")
print("                      Parzen (nats)  MMD²    p-value  Fréchet  precision  recall  coverage")
for name, drawn in samples.items():
    parzen = parzen_log_likelihood(drawn, held_out, choose_sigma(drawn, digits.validation))
    test = two_sample_test(jax.random.key(9), held_out, drawn[:500])
    quality = sample_quality(real, classifier.features(drawn))
    print(
        f"{name:20} {parzen.mean():8.2f} ± {standard_error(parzen):.2f}  {test.mmd_squared:7.4f}  {test.p_value:6.3f}",
        f"{quality.frechet_distance:9.2f} {quality.precision:9.2f} {quality.recall:8.2f} {quality.coverage:8.2f}",
    )

# %% [markdown]
# - **Parzen** ranks the 100 centres far above the belief net, though every draw of them is one of 100 images (recall 0)
#   and the two-sample test rejects them outright. It rewards grey images near many digits.
# - The **two-sample test** is exact in what it says, whether two samples can be told apart, with a p-value; it does not
#   say by how much. $\mathrm{MMD}^2$ of these pixels takes independent pixels to be nearer to the digits than the
#   centres are; Fréchet, on features, the other way round. A distance is only as good as its space.
# - **Precision** (do samples look like data?) and **recall** (are all data among the samples?) come apart, and should:
#   the centres have nearly all of one and none of the other.
# - **Training examples** come out best, or nearly, being draws of the truth: read every column beside that row. But it
#   is also the row of a generator that has *learned them by heart*. No column tells it from a good model.
#
# Held-out $\log p(x)$ does: to new examples a memory of the old ones gives no probability.
#
# ## In which order to trust them
#
# 1. An **exact** $\log p(x)$ on held-out data: `log_prob` of auto-regressive nets and flows, `exact_log_marginal` of
#    few binary latents, `quadrature_log_marginal` of few real ones.
# 2. A **sandwich** of bounds, `bidirectional_monte_carlo`, for what an estimate by annealing is worth on this model.
# 3. `annealed_importance_sampling`, and `log_marginal` that raises **no doubts**: lower bounds, in expectation.
# 4. `log_marginal` **with** doubts: likely too low, and its error too small; and the bound that was trained on, which
#    is lower still.
# 5. Without a density: a **two-sample test**, then precision, recall and coverage beside training data; then distances,
#    on features of one classifier, for equal numbers of samples.
# 6. **Parzen windows**: only beside the figures of papers that report them.
#
# And always: differences of two models **paired** on the same examples, another seed before a small one is believed,
# and units of the same kind, bits or nats, probabilities or densities. Samples of a
# [VAE with troubles](troubles.ipynb) say where to look for what is wrong; they are no figure.
