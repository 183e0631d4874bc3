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
# # Reading a VAE's troubles
#
# Latents that say nothing, codes that lie where the prior does not, a recognition network that is not as good as it
# could be, samples that are blurred: each trouble of a variational autoencoder has a number that tells it, and most
# have a cure, whose effect can be measured. Here they are on the 8 x 8 digits. `genjax-models diagnose RUN_DIR` takes
# the same figures and pictures of a run of yours.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from genjax_models.config import Config, Training
from genjax_models.data import Digits, examples
from genjax_models.evaluation import (
    active_units,
    aggregate_posterior,
    exact_log_marginal,
    latent_kl,
    paired_difference,
    rate_distortion,
    reconstruct,
    refine_posterior,
    spectral_ratio,
)
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.models.posteriors import FullGaussian
from genjax_models.models.priors import VampPrior
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO, IWAE
from genjax_models.optimizers import Adam, Cosine, Linear
from genjax_models.plots import image_grid
from genjax_models.train import make_train

BINARY = Digits()  # 8 x 8 pixels, zeros and ones
GREY = Digits(binarization="none")
binary, grey = BINARY.load(), GREY.load()
test, key = jnp.asarray(binary.test, jnp.float32), jax.random.key(1)


def fit(model, objective, data=BINARY, steps=2000, rate=3e-3):
    """A model and its parameters after `steps` of Adam, as one compiled program."""
    config = Config(model=model, objective=objective, optimizer=Adam(rate), data=data, training=Training(steps))
    state, _ = make_train(config)(config, jax.random.key(0), examples(data.load(), "train"))
    return model.build(64), state.params


def kl_by_latent(model, params, x):
    """KL(q(z_i | x) || p(z_i)) of every latent, averaged over x, the largest first."""
    return np.sort(np.asarray(latent_kl(model, params, key, x).by_dimension[0].mean(axis=0)))[::-1]


# %% [markdown]
# ## Collapse that is right
#
# A latent has **collapsed** where $q(z_i \mid x) = p(z_i)$ for every $x$: it costs no KL, and the decoder hears noise.
# Is that a failure of training? Take the one VAE that can be solved by hand, with a linear decoder and Gaussian units
# of scale $\sigma$: probabilistic principal components. If $\lambda_i$ are the eigenvalues of the data's covariance,
# at the maximum of the likelihood itself
#
# $$\mathrm{KL}_i = \max\Big(0, \tfrac{1}{2} \log \frac{\lambda_i}{\sigma^2}\Big)$$
#
# (Tipping and Bishop 1999; Lucas et al. 2019). A direction in which data vary by less than the noise is not worth a
# code. Three scales, one program, for $\sigma$ is a number in the configuration and no part of its structure.

# %%
x = jnp.asarray(grey.train, jnp.float32)
eigenvalues = np.linalg.eigvalsh(np.cov(grey.train.T, bias=True))[::-1]
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
print("scale   above 0.05 nats: found, by the formula   rate: found, by the formula   log p(x): bound, exact")
for i, scale in enumerate((0.2, 0.3, 0.5)):
    linear = VAE(latent=32, encoder=MLP(()), decoder=MLP(()), likelihood=Gaussian(scale=scale))
    model, params = fit(linear, ELBO(), GREY, 3000, Cosine(1e-2, 3000))
    kl = kl_by_latent(model, params, x)
    formula = np.maximum(0, 0.5 * np.log(eigenvalues[:32] / scale**2))
    rate, distortion = rate_distortion(model, params, key, x)
    print(
        f"{scale:4}  {np.sum(kl > 0.05):16}, {np.sum(formula > 0.05):<10} {rate.mean():20.2f}, {formula.sum():<8.2f}",
        f"{-(rate + distortion).mean():20.2f}, {exact_log_marginal(model, params, x).mean():.2f}",
    )
    axis.bar(np.arange(32) + 0.27 * (i - 1), kl, 0.25, color=f"C{i}", label=f"scale {scale}")
    axis.plot(np.arange(32), formula, ".-", color=f"C{i}", linewidth=0.8)
axis.set(xlabel="latent, in order of KL", ylabel="KL (nats)", title="bars: trained; lines: by the formula")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# Bars nearly follow the lines: what has collapsed would be so at the maximum of $\log p(x)$ too. The cure is not in the
# objective but in the likelihood: a smaller scale, or `Gaussian()`, which learns it.
#
# ## Latents that are not used
#
# With a nonlinear decoder and too many latents, some stay unused here too; and then it may be training that is to
# blame, for at first the decoder hears mostly noise, and the KL pushes every $q$ towards the prior before it has
# learned to listen. The numbers: KL by latent, and **active units**, those with $\mathrm{Var}_x\, \mathbb{E}_q[z_i
# \mid x] > 0.01$ (Burda, Grosse and Salakhutdinov 2015). The cures: to let the KL in by and by (annealing), not to
# charge the first nats of each latent (free bits), and a bound that punishes $q$ less ($K$ particles).

# %%
net = VAE(latent=16, encoder=MLP((100,)), decoder=MLP((100,)))
teachers = {
    "ELBO": ELBO(),
    "KL annealed in 1,500 steps": ELBO(beta=Linear(0.0, 1.0, 1500)),
    "free bits, 0.5 a latent": ELBO(free_bits_by_dimension=0.5),
    "IWAE, K = 10": IWAE(num_particles=10),
}
figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
trained, refinements = {}, {}
print(f"{'':27} active     rate  distortion    bound   log p(x)*  less that of ELBO")
for i, (name, objective) in enumerate(teachers.items()):
    model, params = trained[name] = fit(net, objective, steps=3000)
    rate, distortion = rate_distortion(model, params, key, test)
    active = active_units(model, params, key, test).number
    refinements[name] = refined = refine_posterior(model, params, key, test[:100], 200)
    gain = paired_difference(refined.log_prob, refinements["ELBO"].log_prob)
    print(
        f"{name:27} {active:3} of 16 {rate.mean():6.2f} {distortion.mean():8.2f} {-(rate + distortion).mean():11.2f}",
        f"{refined.log_prob.mean():10.2f}     {gain.mean:+.2f} ± {gain.standard_error:.2f}",
    )
    axis.bar(np.arange(16) + 0.2 * (i - 1.5), kl_by_latent(model, params, test), 0.18, color=f"C{i}", label=name)
print("*: by importance sampling, of the first 100 digits")
axis.set(xlabel="latent, in order of KL", ylabel="KL (nats)")
axis.legend(fontsize=8)
plt.show()

# %% [markdown]
# More latents in use are not a better model. All three cures put more of them to use; free bits fill every latent to
# about what was left free. But look at the last column, $\log p(x)$ paired with that of the ELBO on the same digits:
# the latents that free bits fill are paid for and not needed. And look at the last row: the model with the *worst*
# bound has the *best* $\log p(x)$. A bound is a statement about $q$ as much as about $p$, and $K$ particles let $q$ be
# a poor approximation of the posterior. Active units say whether latents are used; only $\log p(x)$ says whether they
# should be.
#
# ## A recognition network that is behind
#
# How far the bound is below $\log p(x)$ has two parts (Cremer, Li and Duvenaud 2018). `refine_posterior` fits a
# Gaussian $r(z)$ to each example alone, starting from $q(z \mid x)$; what it gains, the network lost by
# **amortization**, and what then remains, no Gaussian with independent latents can reach: the **approximation** gap.
#
# $$\log p(x) - \mathcal{L}[q] = \underbrace{(\log p(x) - \mathcal{L}[r])}_{\text{approximation}}
# + \underbrace{(\mathcal{L}[r] - \mathcal{L}[q])}_{\text{amortization}}$$

# %%
train = jnp.asarray(binary.train, jnp.float32)
correlated = VAE(latent=16, encoder=MLP((100,)), decoder=MLP((100,)), posterior=FullGaussian())
trained["ELBO, q of any covariance"] = fit(correlated, ELBO(), steps=3000)
print(f"{'':27} bound below log p(x): training digits, test digits   of it amortization: training, test")
for name in ("ELBO", "ELBO, q of any covariance", "IWAE, K = 10"):
    model, params = trained[name]
    found = [refine_posterior(model, params, key, v[:100], 200) for v in (train, test)]
    below = [(one.log_prob - one.bound_before).mean() for one in found]
    gap = [one.amortization_gap.mean() for one in found]
    print(f"{name:27} {below[0]:37.2f} {below[1]:13.2f} {gap[0]:34.2f} {gap[1]:5.2f}")

# %% [markdown]
# The gap is wider on digits that the network was not trained on: $q$ overfits too. A $q$ with correlated latents
# (which may beat $r$, that has none: then its amortization gap is below 0) is the cure for the approximation. IWAE's
# $q$ is far from the best Gaussian, and should be: it was trained to be useful with 10 draws, not with one. For an
# *evaluation* the cure is always the same, many draws of $q$ (`log_marginal`), where such gaps close.
#
# ## Holes in the space of codes
#
# Samples come from $z \sim p(z)$, and the decoder has learned on $z \sim q(z \mid x)$. Where the codes of all data
# together leave the prior's space empty, it has learned nothing (Hoffman and Johnson 2016):
#
# $$\mathbb{E}_n \mathrm{KL}(q(z \mid x_n) \,\|\, p(z)) = I(n; z) + \mathrm{KL}(q(z) \,\|\, p(z)),
# \qquad q(z) = \tfrac{1}{N} \sum_n q(z \mid x_n)$$
#
# With two latents the number, $\mathrm{KL}(q(z) \,\|\, p(z))$, can be seen: codes of test digits in colours by class,
# draws of the prior in grey.

# %%
plane = VAE(latent=2, encoder=MLP((100,)), decoder=MLP((100,)))
vamp = VAE(latent=2, encoder=MLP((100,)), decoder=MLP((100,)), prior=VampPrior(components=50))
figure, axes = plt.subplots(2, 3, figsize=(10, 5.5), layout="constrained", height_ratios=(1.2, 1))
print(f"{'':22} KL(q(z) || p(z))  I(n; z)   bound")
for (name, (config, objective)), (above, below) in zip(
    {
        "beta = 0.1": (plane, ELBO(beta=0.1)),
        "beta = 1": (plane, ELBO(beta=1.0)),
        "VampPrior, beta = 1": (vamp, ELBO(beta=1.0)),
    }.items(),
    axes.T,
    strict=True,
):
    model, params = fit(config, objective)
    found = aggregate_posterior(model, params, key, test)
    rate, distortion = rate_distortion(model, params, key, test)
    print(f"{name:22} {found.kl:10.2f} {found.mutual_information:13.2f} {-(rate + distortion).mean():10.2f}")
    above.scatter(*found.z_prior.T, s=4, color="0.7")
    above.scatter(*found.z.T, s=4, c=BINARY.labels().test, cmap="tab10")
    above.set(title=name)
    means = jax.vmap(lambda z, m=model, p=params: m.decode(p, z, ()))(found.z_prior[:40])
    below.imshow(image_grid(np.asarray(means), (8, 8), 10), cmap="gray", vmin=0, vmax=1)
    below.set_title("E[x | z], z of the prior", fontsize=9)
    below.axis("off")
plt.show()

# %% [markdown]
# With a small weight on the KL codes move out, where the prior seldom goes, while most of its draws fall near the
# middle, where many classes meet: good for telling digits apart ($I(n; z)$), bad for samples and for the bound. At
# weight 1 the prior is nearly filled. A prior that is *fitted* to the codes (VampPrior, Tomczak and Welling 2018) needs
# not be round: it may lie wherever the codes want to be (mind the axes), and leaves the least divergence and the best
# bound.
#
# ## Blur
#
# What is shown as a VAE's samples is often $\mathbb{E}[x \mid z]$, an average over all images that the code allows. By
# spatial frequency, its power over that of data says how much detail is missing, and of which size. Three images to
# tell apart: draws of $x$, means at draws of the prior, and means at the codes of test digits.

# %%
model, params = trained["ELBO"]
z, draws = jax.vmap(lambda k: model.sample_joint(params, k, ()))(jax.random.split(key, 500))
shown = {
    "test digits": test,
    "draws of x": draws,
    "E[x | z], z of the prior": jax.vmap(lambda z: model.decode(params, z, ()))(z),
    "E[x | z], z of test digits": reconstruct(model, params, key, test),
}
figure, axes = plt.subplots(1, 5, figsize=(14, 2.6), layout="constrained")
for i, (name, images) in enumerate(shown.items()):
    axes[i].imshow(image_grid(np.asarray(images[:40]), (8, 8), 8), cmap="gray", vmin=0, vmax=1)
    axes[i].set_title(name, fontsize=9)
    axes[i].axis("off")
    if images is not test:
        frequency, ratio, error = spectral_ratio(images, test, (8, 8))
        axes[4].errorbar(frequency, ratio, error, color=f"C{i}", label=name)
        print(f"{name:28} power over the data's, at the finest detail {ratio[-1]:.2f} ± {error[-1]:.2f}")
detailed = fit(net, ELBO(beta=0.1), steps=3000)
_, ratio, error = spectral_ratio(reconstruct(*detailed, key, test), test, (8, 8))
rate, distortion = rate_distortion(*detailed, key, test)
print(f"the same reconstructions, beta = 0.1: {ratio[-1]:.2f} ± {error[-1]:.2f};", end=" ")
print(f"rate {rate.mean():.2f}, bound {-(rate + distortion).mean():.2f} nats")
axes[4].axhline(1, color="0.5", linewidth=0.8)
axes[4].set(xlabel="cycles a pixel", ylabel="power over the data's", ylim=(0, None))
axes[4].legend(fontsize=7)
plt.show()

# %% [markdown]
# Means lack more of the detail, the finer it is. Draws do not, but what they have there is the independent noise of the
# pixels, which the eye does not take for sharpness. That means at the codes of *test digits* are nearly as blurred
# says that it is not the prior's fault: the code itself has no room for the detail. A smaller weight of the KL buys it,
# at a rate and a bound that show the price. What keeps detail *and* likelihood is a model in which pixels depend on
# each other given the code, or without one: see the auto-regressive networks of the tour.
#
# ## Which number tells which trouble
#
# | trouble | the number | what helps |
# | --- | --- | --- |
# | the likelihood drowns the code | KL by latent near 0 for all; $\sigma$ beside the data's spread | learn the scale |
# | unused latents | `active_units`, `latent_kl` | `IWAE`, annealing, free bits; or nothing: ask $\log p(x)$ |
# | a loose bound | `refine_posterior`: amortization, approximation gap | a better network; a richer $q$; $K$ draws |
# | holes | `aggregate_posterior`: $\mathrm{KL}(q(z) \,\Vert\, p(z))$ | weight 1 on the KL; a learned prior |
# | blur | `spectral_ratio` of means, by frequency | more rate; a likelihood that ties pixels together |
#
# Every row ends at the same judge: $\log p(x)$ on held-out data, with an error that can be believed, which is the
# subject of [Evaluation that can be trusted](evaluation.ipynb).
