"""A small configuration of every row of the tables, which the conformance suite walks.

A new model or objective needs one line here. Its latents must be few enough to be summed out: at most a dozen binary
units, or one or two real units (and then one visible unit, if that is real too).
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from genjax_models.config import ModelConfig, ObjectiveConfig
from genjax_models.core import ImplicitModel, LatentVariableModel, LikelihoodModel, total
from genjax_models.models import (
    DARN,
    DRAW,
    FVSBN,
    GAN,
    IAF,
    MADE,
    MAF,
    NADE,
    NICE,
    VAE,
    AffineGenerator,
    CategoricalVAE,
    DeepNADE,
    HelmholtzMachine,
    HierarchicalVAE,
    InverseTransformGenerator,
    MomentMatchingGenerator,
    NeuralSplineFlow,
    PixelCNN,
    RealNVP,
    RecurrentLikelihood,
    SigmoidBeliefNetwork,
    SupervisedGenerator,
    UnlayeredBeliefNetwork,
    VariationalRNN,
)
from genjax_models.models.networks import MLP, Convolutional
from genjax_models.models.units import Gaussian
from genjax_models.objectives import (
    ARM,
    ELBO,
    FIVO,
    IWAE,
    NVIL,
    REBAR,
    RELAX,
    VIMCO,
    Adversarial,
    Bidirectional,
    Combination,
    Concrete,
    DisARM,
    DReG,
    GumbelSoftmax,
    Jackknife,
    MaximumLikelihood,
    MeanField,
    MomentMatching,
    MuProp,
    Part,
    PartiallyImportanceWeighted,
    Reinforce,
    Renyi,
    ReweightedWakeSleep,
    StickingTheLanding,
    StraightThrough,
    Sum,
    Thermodynamic,
    WakeSleep,
)
from genjax_models.objectives.baselines import LeaveOneOut, Neural
from genjax_models.optimizers import SGD, Linear


class Small(NamedTuple):
    """A model's configuration and the number of visible units that it is built for."""

    config: ModelConfig
    visible: int


MODELS: dict[str, list[Small]] = {
    "vae": [
        Small(VAE(latent=1, encoder=MLP((3,), "tanh"), decoder=MLP((3,), "tanh")), 3),
        Small(VAE(latent=1, encoder=MLP((3,), "tanh"), decoder=MLP((3,), "tanh"), likelihood=Gaussian()), 1),
        Small(VAE(latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"), likelihood=Gaussian(0.5)), 1),
    ],
    "hierarchical_vae": [
        Small(HierarchicalVAE(layers=(1, 1), hidden=(3, 2), depth=1), 2),
        Small(HierarchicalVAE(layers=(1, 1), hidden=(2, 3), depth=2, inference="ladder"), 2),
    ],
    "draw": [
        Small(DRAW((2, 2), glimpses=2, latent=1, encoder_hidden=2, decoder_hidden=3, read=2, write=2), 4),
        Small(DRAW((1, 3), glimpses=1, latent=1, encoder_hidden=3, decoder_hidden=2, read=None, write=1), 3),
    ],
    "variational_rnn": [Small(VariationalRNN(latent=1, hidden=2, features=2, cell="lstm", activation="tanh"), 2)],
    "sigmoid_belief_network": [
        Small(SigmoidBeliefNetwork(layers=(3,)), 3),
        Small(SigmoidBeliefNetwork(layers=(2, 1, 2)), 2),
        Small(
            SigmoidBeliefNetwork(layers=(2, 2), generative="autoregressive", recognition="autoregressive"),
            3,
        ),
        Small(
            SigmoidBeliefNetwork(
                layers=(3,), generative="nade", recognition="nade", nade_hidden=2, deterministic=(2, 1)
            ),
            3,
        ),
        Small(
            SigmoidBeliefNetwork(
                layers=(2, 2, 3),
                generative=("factorial", "nade", "autoregressive", "factorial"),
                recognition=("factorial", "autoregressive", "nade"),
            ),
            2,
        ),
    ],
    "helmholtz_machine": [Small(HelmholtzMachine(layers=(2, 1)), 3)],
    "darn": [
        Small(DARN(layers=(3,), deterministic=(2,)), 3),
        Small(DARN(layers=(2, 2), visible_lateral=False, recognition="autoregressive"), 2),
    ],
    "unlayered_belief_network": [
        Small(UnlayeredBeliefNetwork(hidden=3), 3),
        Small(UnlayeredBeliefNetwork(hidden=(1, 3), recognition="factorial"), 3),
        Small(UnlayeredBeliefNetwork(hidden=(3, 4)), 3),
    ],
}

LIKELIHOOD_MODELS: dict[str, list[Small]] = {
    "fvsbn": [Small(FVSBN(), 4), Small(FVSBN(order=(2, 0, 3, 1)), 4)],
    "nade": [Small(NADE(hidden=3), 4), Small(NADE(hidden=2, order=5), 4), Small(NADE(hidden=1), 1)],
    "made": [
        Small(MADE(hidden=(6,)), 4),
        Small(MADE(hidden=(5, 7), activation="tanh", direct=True, order=3, mask_seed=1), 4),
        Small(MADE(hidden=(), order=(3, 2, 1, 0)), 4),
        Small(MADE(hidden=(2,)), 1),
    ],
    "pixel_cnn": [Small(PixelCNN(image_shape=(2, 2), features=4, layers=2, first_window=3, head=6), 4)],
}

IMAGE = {"hidden": (3, 3), "activation": "tanh"}

# Densities of real x. Those of one or two units are integrated, so their networks are smooth.
CONTINUOUS_MODELS: dict[str, list[Small]] = {
    "affine_generator": [Small(AffineGenerator(), 2), Small(AffineGenerator(), 1), Small(AffineGenerator(), 5)],
    "inverse_transform_generator": [
        Small(InverseTransformGenerator(bins=4, bound=2.0), 1),
        Small(InverseTransformGenerator(bins=1), 2),
    ],
    "nice": [
        Small(NICE(layers=3, hidden=(4,), activation="tanh"), 2),
        Small(NICE(layers=2, hidden=()), 5),
        Small(NICE(layers=4, hidden=(4, 3), logit=0.05), 4),
    ],
    "realnvp": [
        Small(RealNVP(layers=3, hidden=(4,), activation="tanh"), 2),
        Small(RealNVP(layers=2, hidden=(3, 4)), 3),
        Small(RealNVP(layers=1, hidden=(3,), logit=1e-3), 6),
        Small(RealNVP(layers=1, image_shape=(1, 2), **IMAGE), 2),
        Small(RealNVP(layers=1, image_shape=(3, 3), **IMAGE), 9),
        Small(RealNVP(layers=1, image_shape=(2, 4), scales=2, logit=0.05, **IMAGE), 8),
        Small(RealNVP(layers=1, image_shape=(1, 2, 3), **IMAGE), 6),
    ],
    "neural_spline_flow": [
        Small(NeuralSplineFlow(layers=2, hidden=(4,), activation="tanh", bins=3, bound=3.0), 2),
        Small(NeuralSplineFlow(layers=3, hidden=(4,), bins=1), 5),
    ],
    "maf": [
        Small(MAF(layers=2, hidden=(5,), activation="tanh"), 2),
        Small(MAF(layers=2, hidden=(3,)), 1),
        Small(MAF(layers=2, hidden=(3,), activation="tanh", logit=0.1), 2),
        Small(MAF(layers=3, hidden=(6, 5), order_seed=1), 5),
    ],
    "iaf": [
        Small(IAF(layers=2, hidden=(5,), activation="tanh"), 2),
        Small(IAF(layers=1, hidden=()), 1),
        Small(IAF(layers=3, hidden=(6,), order_seed=2, logit=1e-2), 4),
    ],
}

# Trained by random members, given codes, with one-hot latents, or of sequences: tests/models/test_ensembles.py,
# test_supervised_generator.py, test_categorical_vae.py and test_sequences.py.
OTHER_MODELS: dict[str, list[Small]] = {
    "categorical_vae": [Small(CategoricalVAE(latent=2, classes=3), 2)],
    "deep_nade": [Small(DeepNADE(hidden=(5,)), 4)],
    "recurrent_likelihood": [Small(RecurrentLikelihood(frame=2, hidden=3, features=2), 4)],
    "supervised_generator": [Small(SupervisedGenerator(image_shape=(2, 2), hidden=(3,), channels=(3,)), 4)],
}

# Samplers without a density.
IMPLICIT_MODELS: dict[str, list[Small]] = {
    "gan": [
        Small(GAN(latent=3, generator=MLP(hidden=(4,)), critic=MLP(hidden=(5,), activation="leaky_relu")), 2),
        Small(
            GAN(
                latent=2,
                prior="normal",
                generator=Convolutional((5, 4), (16, 32), normalization="group"),
                critic=Convolutional((5, 4), (3, 2), normalization="spectral"),
            ),
            20,
        ),
        Small(
            GAN(
                generator=Convolutional((4, 4, 3), (3,), normalization="spectral"),
                critic=MLP(hidden=(4, 3), normalization="layer"),
                data="real",
            ),
            48,
        ),
    ],
    "moment_matching_generator": [
        Small(MomentMatchingGenerator(latent=3, hidden=(4, 5)), 4),
        Small(MomentMatchingGenerator(latent=3, hidden=(4,), autoencoder=(5, 2)), 4),
        Small(MomentMatchingGenerator(hidden=(), autoencoder=(2,), data="real", prior="normal"), 3),
    ],
}

OBJECTIVES: dict[str, list[ObjectiveConfig]] = {
    "elbo": [ELBO(num_particles=2, beta=Linear()), ELBO(free_bits=0.5)],
    "iwae": [IWAE(num_particles=2)],
    "dreg": [DReG(num_particles=2), DReG(num_particles=2, update="reweighted_wake")],
    "jackknife": [Jackknife(num_particles=2)],
    "fivo": [FIVO(num_particles=2)],
    "sticking_the_landing": [StickingTheLanding(num_particles=2)],
    "renyi": [Renyi(num_particles=2, alpha=Linear())],
    "combination": [Combination(num_particles=2)],
    "partially_importance_weighted": [PartiallyImportanceWeighted(num_particles=4, num_groups=2)],
    "wake_sleep": [WakeSleep()],
    "reweighted_wake_sleep": [ReweightedWakeSleep(num_particles=2, sleep=Linear())],
    "bidirectional": [Bidirectional(num_particles=2)],
    "concrete": [Concrete(num_particles=2, temperature=Linear(start=1.0, end=0.5))],
    "gumbel_softmax": [GumbelSoftmax(num_particles=2, temperature=Linear(start=1.0, end=0.5))],
    "straight_through": [StraightThrough(num_particles=2), StraightThrough(slope="identity")],
    "reinforce": [
        Reinforce(),
        Reinforce(num_particles=2, baseline=LeaveOneOut()),
        Reinforce(baseline=Neural(hidden=(2,))),
    ],
    "nvil": [NVIL(baseline=Neural(hidden=(2,))), NVIL(num_particles=2, local=False)],
    "vimco": [VIMCO(num_particles=2)],
    "thermodynamic": [Thermodynamic(num_particles=2, num_partitions=2)],
    "arm": [ARM()],
    "disarm": [DisARM(), DisARM(num_pairs=2)],
    "mean_field": [MeanField(num_sweeps=2)],
    "muprop": [MuProp()],
    "rebar": [REBAR()],
    "relax": [RELAX(network=Neural(hidden=(2,)))],
    "maximum_likelihood": [MaximumLikelihood()],
    "adversarial": [
        Adversarial(),
        Adversarial(kind="minimax"),
        Adversarial(kind="wasserstein", gradient_penalty=10.0, critic_updates=2, critic_optimizer=SGD()),
    ],
    "moment_matching": [MomentMatching(), MomentMatching(bandwidths=(1.0,), root=False, num_samples=3)],
    "weighted_sum": [
        Sum(parts=(Part(objective=ELBO()), Part(objective=IWAE(num_particles=2), weight=Linear()))),
        Sum(parts=(Part(objective=WakeSleep()), Part(objective=ReweightedWakeSleep(num_particles=2)))),
    ],
}

# What each objective needs of a model beyond p(x, z) and q(z | x), restated here for the suite to compare with.
NEEDS: dict[type[ObjectiveConfig], Callable[[Any], bool]] = {
    ELBO: lambda model: model.reparameterized,
    IWAE: lambda model: model.reparameterized,
    DReG: lambda model: model.reparameterized,
    FIVO: lambda model: model.reparameterized and model.filter_step is not None,
    StickingTheLanding: lambda model: model.reparameterized,
    Renyi: lambda model: model.reparameterized,
    Combination: lambda model: model.reparameterized,
    PartiallyImportanceWeighted: lambda model: model.reparameterized,
    ARM: lambda model: model.sample_from_uniforms is not None,
    DisARM: lambda model: model.sample_from_uniforms is not None,
    MuProp: lambda model: model.factorial_posterior,
    REBAR: lambda model: model.factorial_posterior,
    RELAX: lambda model: model.factorial_posterior,
    Concrete: lambda model: model.factorial_posterior and model.prior_logits is not None,
    StraightThrough: lambda model: model.factorial_posterior,
    Jackknife: lambda model: model.reparameterized,
    GumbelSoftmax: lambda model: model.class_logits is not None,
    MeanField: lambda model: model.affine_layers is not None,
}


def teaches_apart(objective: ObjectiveConfig) -> bool:
    """Whether p and q follow gradients that are not those of one bound."""
    if isinstance(objective, DReG):
        return objective.update == "reweighted_wake"
    if isinstance(objective, NVIL):
        return objective.normalize
    return isinstance(objective, WakeSleep | ReweightedWakeSleep | Bidirectional | PartiallyImportanceWeighted)


def fits(objective: ObjectiveConfig, model: Any) -> bool:
    """Whether the objective, or every part of it, is to build on the model."""
    if isinstance(objective, Sum):
        return all(fits(part.objective, model) for part in objective.parts)
    if isinstance(objective, MaximumLikelihood):
        return isinstance(model, LikelihoodModel)
    if isinstance(objective, Adversarial | MomentMatching):
        return isinstance(model, ImplicitModel) and (isinstance(objective, MomentMatching) or model.critic is not None)
    if not isinstance(model, LatentVariableModel):
        return False
    if model.shared_parameters and teaches_apart(objective):
        return False
    if isinstance(objective, NVIL):
        return model.layered or not objective.local
    return NEEDS.get(type(objective), lambda model: True)(model)


def missing(table: dict, small: dict) -> str:
    """A message naming the rows of a table that have no small configuration; empty if none."""
    names = sorted(set(table) - set(small))
    return f"tests/conformance.py has no small configuration of {', '.join(names)}: add one." if names else ""


class Cells(NamedTuple):
    """Points of a space, their volumes, and the cell that each belongs to."""

    points: np.ndarray  # [S, units]
    volumes: np.ndarray  # [S], 1 where the space is discrete
    cell: np.ndarray  # [S]

    def of(self, values: np.ndarray) -> np.ndarray:
        """The cells of values [N, units]."""
        if np.all(self.volumes == 1.0):
            return values.astype(int) @ (2 ** np.arange(values.shape[1])[::-1])
        return np.searchsorted(EDGES, values) @ ((len(EDGES) + 1) ** np.arange(values.shape[1]))


EDGES = np.array([-1.6, -0.8, 0.0, 0.8, 1.6])


def cells(binary: bool, units: int) -> Cells:
    """All states of binary units, each a cell; or a fine grid of one or two real units, cut at `EDGES`."""
    if binary:
        states = np.array(list(itertools.product([0.0, 1.0], repeat=units)))
        return Cells(states, np.ones(len(states)), np.arange(len(states)))
    if units not in (1, 2):
        raise AssertionError(f"a small configuration has {units} real units, but only one or two are summed out")
    # Midpoints, so that no point lies on an edge.
    step, half = (0.08, 300) if units == 1 else (0.16, 75)
    axis = (np.arange(-half, half) + 0.5) * step
    grid = np.array(list(itertools.product(axis, repeat=units)))
    cells = Cells(grid, np.full(len(grid), step**units), np.zeros(0))
    return cells._replace(cell=cells.of(grid))


def assert_frequencies(cells, density, drawn, fewest=4):
    """Pearson's chi-square of the counts of at least `fewest` cells against their probabilities, at a fixed key."""
    expected = np.bincount(cells, density) * len(drawn)
    counts = np.bincount(drawn, minlength=len(expected))
    rare = expected < 8
    expected, counts = (np.append(v[~rare], v[rare].sum()) for v in (expected, counts))
    keep = expected > 1e-6 * len(drawn)
    assert counts[~keep].sum() == 0
    result = scipy.stats.chisquare(counts[keep], expected[keep] * counts.sum() / expected[keep].sum())
    assert keep.sum() >= fewest
    assert result.pvalue > 1e-3


class Solved(NamedTuple):
    """A small model with its parameters and spaces."""

    model: Any
    params: Any
    visible: int
    z: Cells
    x: Cells
    unflatten: Any  # [units] -> latents

    @property
    def examples(self) -> np.ndarray:
        """Three examples that p may well produce, [3, D]."""
        if np.all(self.x.volumes == 1.0):
            return self.x.points[[0, len(self.x.points) // 2, -1]]
        return np.array([[-1.5], [0.2], [1.3]])

    def flatten(self, z) -> np.ndarray:
        """Latents, leaves [N, ...], as [N, units]."""
        return np.concatenate([np.asarray(v).reshape(len(v), -1) for v in jax.tree.leaves(z)], axis=1)


def solve(small: Small, seed: int = 0, scale: float = 0.3) -> Solved:
    """The model with random parameters, and what it takes to sum its latents and x out."""
    model = small.config.build(small.visible)
    draw = np.random.RandomState(seed).normal
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(small.visible), ())
    params = jax.tree.map(lambda leaf: jnp.asarray(scale * draw(size=leaf.shape)), shapes)
    latents, _ = jax.eval_shape(model.sample_joint, params, jax.random.key(0), ())
    leaves, structure = jax.tree.flatten(latents)
    cuts = np.cumsum([int(np.prod(leaf.shape)) for leaf in leaves])

    def unflatten(z):
        parts = jnp.split(z, cuts[:-1])
        return jax.tree.unflatten(structure, [p.reshape(v.shape) for p, v in zip(parts, leaves, strict=True)])

    z = cells(model.support == "binary", int(cuts[-1]))
    x = cells(small.config.data_support != "real", small.visible)
    return Solved(model, params, small.visible, z, x, unflatten)


def density_of_joint(solved: Solved) -> np.ndarray:
    """p(x, z) times the volume of every point, [S_z, S_x]."""

    def at(z, x):
        return total(solved.model.log_joint(solved.params, solved.unflatten(z), x, ()))

    log_p = jax.jit(jax.vmap(jax.vmap(at, (None, 0)), (0, None)))(solved.z.points, solved.x.points)
    return np.exp(log_p) * solved.z.volumes[:, None] * solved.x.volumes


def density_of_posterior(solved: Solved, x) -> np.ndarray:
    """q(z | x) times the volume of every point, [S_z]."""

    def at(z):
        return total(solved.model.log_posterior(solved.params, solved.unflatten(z), x, ()))

    return np.exp(jax.jit(jax.vmap(at))(solved.z.points)) * solved.z.volumes
