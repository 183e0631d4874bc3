"""ARM and DisARM: unbiased gradients for binary latents from pairs of mirrored samples.

A unit is z_i = 1[u_i < sigmoid(phi_i)], u_i uniform, with a logit phi_i that may depend on all units before it. For any
f of such z, through any number of layers,

    grad E f(z) = E[ f(z) sum_i (1 - 2 u_i) grad phi_i ].

The mirrored uniforms 1 - u give a second sample z' with logits phi'_i along its own path, and the mean of both is

    1/2 [ f(z) sum_i (1 - 2 u_i) grad phi_i  -  f(z') sum_i (1 - 2 u_i) grad phi'_i ],

which is ARM. DisARM replaces 1 - 2 u_i by its mean given the pair (z, z'), which leaves less variance. In one layer
phi = phi', and f(z) - f(z') is all that counts; above it each branch has scores of its own.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, config, field
from genjax_models.core import Batch, LatentVariableModel, Objective, Params, as_batch, total
from genjax_models.errors import require_count
from genjax_models.objectives.binary import draw_uniforms_by, require_uniforms, score_bernoulli, sum_units
from genjax_models.objectives.common import (
    Chunked,
    ChunkedConfig,
    in_chunks,
    log_joint,
    loss_of,
    owns_nothing,
    particle_keys,
)
from genjax_models.objectives.particles import leave_one_out_bounds, log_mean_exp


def mean_given_pair(z: jax.Array, mirrored_z: jax.Array, logits: jax.Array, mirrored_logits: jax.Array) -> jax.Array:
    """E[1 - 2u | z, z'] where z = 1[u < p] and z' = 1[1 - u < p'], p and p' the sigmoids of the logits.

    The pair confines u to an interval, whose midpoint is its mean: (1 - p', p) for (1, 1), (0, min(p, 1 - p')) for
    (1, 0), (max(p, 1 - p'), 1) for (0, 1), (p, 1 - p') for (0, 0).
    """
    p, not_p = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    mirrored_p, not_mirrored_p = jax.nn.sigmoid(mirrored_logits), jax.nn.sigmoid(-mirrored_logits)
    unequal = jnp.where(z > mirrored_z, jnp.maximum(not_p, mirrored_p), -jnp.maximum(p, not_mirrored_p))
    return jnp.where(z == mirrored_z, mirrored_p - p, unequal)


class PairEstimate(NamedTuple):
    """A bound and the coefficients of its gradient estimate, by branch and pair."""

    bound: jax.Array  # [], nats
    generative: jax.Array  # [2, N], of grad log p(x, z)
    signal: jax.Array  # [2, N], of sum_i m_i grad phi_i, m_i the mean of 1 - 2 u_i
    direct: jax.Array  # [2, N], of grad log q(z | x)


def pair_estimate(log_w: jax.Array, baseline: jax.Array | float = 0.0) -> PairEstimate:
    """The bound of N particles and the coefficients of its gradient, from N mirrored pairs.

    Each branch holds N independent particles, and the bound is the mean over the branches of log (1/N) sum_k w_k.
    Given the other pairs, pair k estimates the gradient of E f_k(z_k), f_k(d) = log (1/N) (w(d) + sum_{j != k} w_j),
    with the others taken from either branch in turn. A baseline that does not depend on pair k may be subtracted: the
    others' own bound log (1/(N-1)) sum_{j != k} w_j, or what is given where there are no others.

    The bound also depends on q through its weights: -w_k / sum_j w_j grad log q(z_k). As grad log q has mean zero,
    1/N may be taken from those weights, which for N = 1 leaves nothing.

    Args:
        log_w: log p(x, z) - log q(z | x), [2, N]: row 0 for z, row 1 for its mirror image.
        baseline: for N = 1, a number that does not depend on this pair.

    Returns:
        A `PairEstimate`.
    """
    number = log_w.shape[1]
    if number == 1:
        f = log_w - baseline
    else:
        # f_k less the others' bound, of each particle [2, 1, N] with the others of each branch [1, 2, N].
        others = jax.vmap(lambda w: leave_one_out_bounds(w, "arithmetic"))(log_w)
        ratio = log_w[:, None] - others
        f = jnp.mean(jnp.logaddexp(ratio - jnp.log(number), jnp.log1p(-1 / number)), axis=1)
    weights = jax.nn.softmax(log_w, axis=1)
    mirror = jnp.array([[1.0], [-1.0]], log_w.dtype)
    return PairEstimate(
        jnp.mean(jax.vmap(log_mean_exp)(log_w)), weights / 2, mirror * f / 2, (1 / number - weights) / 2
    )


@dataclasses.dataclass(frozen=True)
class AntitheticLoss(Chunked):
    """`Objective.loss` of `arm` and `disarm`."""

    model: LatentVariableModel
    num_pairs: int
    conditional: bool  # whether 1 - 2u is replaced by its mean given the pair

    def pairs(self, params: Params, keys: jax.Array, batch: Batch) -> tuple[jax.Array, ...]:
        """log p(x, z), log q(z | x) and sum_i m_i phi_i of both samples of a pair for each of the keys [B, N].

        Each is [B, N, 2], with gradients; m_i is the mean of 1 - 2 u_i and held fixed.
        """
        sample = self.model.sample_from_uniforms
        assert sample is not None
        number = keys.shape[1]
        u = draw_uniforms_by(self.model, params, keys, batch)
        both = jax.tree.map(lambda v: jnp.concatenate([v, 1 - v], axis=1), u)
        z, logits = jax.vmap(lambda u, x, c: jax.vmap(lambda u: sample(params, u, x, c))(u))(
            both, batch.x, batch.context
        )

        def slopes(u, z, logits):
            if not self.conditional:
                return 1 - 2 * u
            pair = (v[:, side] for v in (z, logits) for side in (slice(number), slice(number, None)))
            return mean_given_pair(*pair)

        m = jax.lax.stop_gradient(jax.tree.map(slopes, u, z, logits))
        score = sum_units(jax.tree.map(lambda m, v: jnp.concatenate([m, m], axis=1) * v, m, logits), 2)
        found = total(log_joint(self.model, params, z, batch)), score_bernoulli(logits, z, 2), score
        return tuple(jnp.swapaxes(v.reshape(-1, 2, number), 1, 2) for v in found)

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        keys = particle_keys(key, batch, self.num_pairs)
        pairs = in_chunks(lambda keys: self.pairs(params, keys, batch), keys, self.chunk)
        log_p, log_q, score = (jnp.swapaxes(v, 1, 2) for v in pairs)  # [B, 2, N]
        log_w = jax.lax.stop_gradient(log_p - log_q)
        # Where a pair has no other pairs to compare with, its example has the others of the batch.
        bounds = jnp.mean(log_w, axis=(1, 2))
        baseline = (jnp.sum(bounds) - bounds) / max(len(bounds) - 1, 1)
        a = jax.vmap(pair_estimate)(log_w, baseline)
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * log_p + a.signal * score + a.direct * log_q, axis=(1, 2)))
        return loss_of(bound, surrogate), (state, {"bound": bound})


def arm(model: LatentVariableModel) -> Objective:
    """The evidence lower bound with augment-REINFORCE-merge gradients: a sample, its mirror image, and their uniforms.

    grad = 1/2 [f(z) sum_i (1 - 2 u_i) grad phi_i - f(z') sum_i (1 - 2 u_i) grad phi'_i] for q, unbiased through any
    layers, auto-regressive ones too, with f = log p(x, z) - log q(z | x) less the mean bound of the batch's other
    examples (which cancels in the first layer, where phi = phi'); the mean of both samples' grad log p for p. The
    gradient of -log q itself has mean zero and is left out. `disarm` has less variance at the same cost.

    Args:
        model: a `LatentVariableModel` with binary latents and `sample_from_uniforms`.

    Returns:
        An `Objective` whose value is minus the evidence lower bound, the mean of both samples; metric "bound", nats per
        example.

    Raises:
        ModelError: the model makes no latents of uniforms.

    Example:
        >>> objective = arm(sigmoid_belief_network(64, layers=(32, 16)))

    Reference:
        Yin and Zhou, "ARM: Augment-REINFORCE-merge gradient for stochastic binary networks", 2019, theorem 1.
    """
    require_uniforms("arm", model)
    return Objective(owns_nothing, AntitheticLoss(model, 1, conditional=False))


def disarm(model: LatentVariableModel, num_pairs: int = 1) -> Objective:
    """The bound of N particles with DisARM gradients: mirrored pairs, their uniforms integrated out.

    As `arm`, with 1 - 2 u_i replaced by its mean given the pair, which is exact through any layers, auto-regressive
    ones too. With N > 1 pairs the bound is E log (1/N) sum_k p(x, z_k) / q(z_k | x) of N independent particles, which
    both branches estimate and average; each pair has the other pairs as its local signal and baseline.

    Args:
        model: a `LatentVariableModel` with binary latents and `sample_from_uniforms`.
        num_pairs: N; 2N particles are drawn an example. 1 is the evidence lower bound.

    Returns:
        An `Objective` whose value is minus the N-particle bound; metric "bound", nats per example.

    Raises:
        ModelError: the model makes no latents of uniforms.
        ConfigError: an impossible number of pairs.

    Example:
        >>> objective = disarm(sigmoid_belief_network(64, layers=(32, 16)), num_pairs=5)

    Reference:
        Dong, Mnih and Tucker, "DisARM: an antithetic gradient estimator for binary latent variables", 2020, and its
        extension to multi-sample bounds; for one layer also Yin, Ho, Yan, Qian and Zhou, "Probabilistic best subset
        selection via gradient-based optimization", 2020, as U2G.
    """
    require_uniforms("disarm", model)
    require_count("disarm: num_pairs", num_pairs)
    return Objective(owns_nothing, AntitheticLoss(model, num_pairs, conditional=True))


@config
class ARM(ObjectiveConfig):
    """Augment-REINFORCE-merge: a sample and its mirror image, weighted by their uniforms."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Yin and Zhou 2019"

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return arm(model)


@config
class DisARM(ChunkedConfig):
    """DisARM: mirrored pairs of samples, their uniforms integrated out; N pairs for the N-particle bound."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Dong, Mnih and Tucker 2020"

    num_pairs: int = field(default=1, ge=1, help="pairs N of mirrored particles an example; N > 1 tightens the bound")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all pairs at once."""
        return disarm(model, self.num_pairs)
