"""Filtering variational objectives: bounds on log p(x) of a sequence by a particle filter."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, config, field
from genjax_models.core import Context, Key, LatentVariableModel, Objective, Params, Scalar, X, as_batch
from genjax_models.errors import ConfigError, ModelError, require_count
from genjax_models.objectives.common import (
    loss_of,
    owns_nothing,
    require_latent_variable_model,
    require_reparameterized,
)
from genjax_models.objectives.parts import ByRow, example_keys
from genjax_models.sequences import frames_of, mask_of, scan_steps, where_on

Resampling = Literal["multinomial", "systematic"]
Criterion = Literal["ess", "always", "never"]
RESAMPLING_HELP = "multinomial: K independent draws; systematic: one uniform number for all K"
CRITERION_HELP = "resample after a step whose effective sample size is below K / 2, after every step, or never"
RESAMPLE = 2**32 - 1  # a stream of an example's key besides its particles'


def multinomial(key: Key, log_weights: jax.Array) -> jax.Array:
    """K ancestors, each k with probability w_k, of log w [K]."""
    return jax.random.categorical(key, log_weights, shape=log_weights.shape)


def systematic(key: Key, log_weights: jax.Array) -> jax.Array:
    """K ancestors, floor(K w_k) or one more of them k: where (i + u) / K, i < K, lie among the cumulated weights."""
    number = len(log_weights)
    ends = jnp.cumsum(jnp.exp(log_weights))
    # Rounding may leave the last end beside 1, and put the last place on it: none may fall behind who has a weight.
    places = (jnp.arange(number) + jax.random.uniform(key, dtype=log_weights.dtype)) / number * ends[-1]
    last = jnp.searchsorted(ends, ends[-1], side="left")
    return jnp.minimum(jnp.searchsorted(ends, places, side="right"), last)


RESAMPLERS: dict[str, Callable[[Key, jax.Array], jax.Array]] = {"multinomial": multinomial, "systematic": systematic}


class Filtered(NamedTuple):
    """A particle filter's pass over a sequence of T steps."""

    log_estimate: Scalar  # log of an unbiased estimate of p(x), nats
    log_weights: jax.Array  # [T, K], normalized, after each step and before resampling
    resampled: jax.Array  # [T], bool


def filter_particles(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: X,
    c: Context,
    num_particles: int,
    resample: Callable[[Key, jax.Array], jax.Array],
    criterion: Criterion,
) -> Filtered:
    """Algorithm 1 of Maddison et al. (2017) on one example; particle k draws z by the key split(key, K)[k].

    With w_0^k = 1 / K and a_t^k the step's weight, p_t = sum_k w_{t-1}^k a_t^k, the estimate is prod_t p_t and
    w_t^k = w_{t-1}^k a_t^k / p_t, or 1 / K where the particles are resampled after the step.
    """
    assert model.frame is not None
    assert model.filter_start is not None
    assert model.filter_step is not None
    x, on = frames_of(x, c, model.frame)
    keys, advance = jax.random.split(key, num_particles), model.filter_step
    resampling_key = jax.random.fold_in(key, RESAMPLE)

    def step(carry, row):
        states, log_w, log_p = carry
        t, on, x = row
        moved, log_a = jax.vmap(lambda k, s: advance(params, jax.random.fold_in(k, t), s, x))(keys, states)
        log_p_t = jax.nn.logsumexp(log_w + log_a)
        # No particle may be left: then the estimate is 0, and the weights are no numbers.
        log_w_t = log_w + log_a - jnp.where(jnp.isfinite(log_p_t), log_p_t, 0)
        if criterion == "never":
            do = jnp.zeros((), bool)
            kept, after = moved, log_w_t
        else:
            enough = jnp.sum(jnp.exp(2 * log_w_t)) * num_particles <= 2
            do = on if criterion == "always" else on & ~enough
            ancestors = resample(jax.random.fold_in(resampling_key, t), jax.lax.stop_gradient(log_w_t))
            kept = where_on(do, jax.tree.map(lambda v: v[ancestors], moved), moved)
            after = jnp.where(do, start_w, log_w_t)
        carry = (*where_on(on, (kept, after), (states, log_w)), log_p + jnp.where(on, log_p_t, 0))
        return carry, (jnp.where(on, log_w_t, log_w), do)

    start = model.filter_start(params)
    states = jax.tree.map(lambda v: jnp.broadcast_to(v, (num_particles, *v.shape)), start)
    dtype = jnp.result_type(x, *jax.tree.leaves(start))
    start_w = jnp.full(num_particles, -jnp.log(num_particles), dtype)
    (_, _, log_p), (log_weights, resampled) = scan_steps(step, (states, start_w, jnp.zeros_like(start_w[0])), on, x)
    return Filtered(log_p, log_weights, resampled)


def require_filter(name: str, model: Any, resampling: str, criterion: str) -> None:
    """Raise ModelError or ConfigError, by name, unless the model can be filtered in that way."""
    require_latent_variable_model(name, model)
    if model.filter_step is None:
        raise ModelError(
            f"{name} filters particles step by step, and {model.name} has no steps (`filter_step`). Use iwae, or "
            "log_marginal for an estimate; a variational_rnn has steps."
        )
    for field_name, value, known in (("resampling", resampling, Resampling), ("criterion", criterion, Criterion)):
        if value not in get_args(known):
            expected = ", ".join(map(repr, get_args(known)))
            raise ConfigError(f"{name}: {field_name} got {value!r}, expected one of {expected}.")


@dataclasses.dataclass(frozen=True)
class FIVOLoss(ByRow):
    """`Objective.loss` of `fivo`."""

    no_chunks: ClassVar[str] = "fivo's particles depend on one another at every step, by resampling"

    model: LatentVariableModel
    num_particles: int
    resampling: Resampling
    criterion: Criterion

    def __call__(self, trainable, state, key, batch, step):
        batch, resample = as_batch(batch), RESAMPLERS[self.resampling]

        def example(key, x, c):
            found = filter_particles(
                self.model, trainable.model, key, x, c, self.num_particles, resample, self.criterion
            )
            there = jnp.sum(mask_of(c, len(found.resampled)))
            return found.log_estimate, jnp.sum(found.resampled) / jnp.maximum(1, there)

        keys = example_keys(key, batch.x.shape[0])
        bounds, resampled = jax.vmap(example)(keys, batch.x, batch.context)
        bound = jnp.mean(bounds)
        metrics = {"bound": jax.lax.stop_gradient(bound), "resampled": jnp.mean(resampled)}
        return loss_of(bound, bound), (state, metrics)


def fivo(
    model: LatentVariableModel,
    num_particles: int = 16,
    resampling: Resampling = "multinomial",
    criterion: Criterion = "ess",
) -> Objective:
    """The bound E log p_hat(x), where p_hat is a particle filter's unbiased estimate of p(x) with q as proposal.

    Particles with small weights die out on the way, so that for long sequences it is tighter than `iwae` at the same K,
    which it equals without resampling; with K = 1 it is the evidence lower bound. The gradient follows z through the
    filter and leaves out the score of the resampled ancestors, as in the paper: biased for the bound, with far less
    variance.

    Args:
        model: a reparameterized `LatentVariableModel` with steps, such as `variational_rnn`.
        num_particles: K.
        resampling: "multinomial" or "systematic".
        criterion: "ess" resamples after a step whose effective sample size is below K / 2; "always"; "never".

    Returns:
        An `Objective` with metrics "bound", nats per example, and "resampled", the share of steps.

    Raises:
        ModelError: the model's samples carry no gradient, or it has no steps.
        ConfigError: an impossible number of particles, or an unknown name.

    Example:
        >>> objective = fivo(variational_rnn(10 * 88, frame=88), num_particles=4)

    Reference:
        Maddison, Lawson, Tucker, Heess, Norouzi, Mnih, Doucet and Teh, "Filtering variational objectives", 2017,
        algorithm 1 and section 3.2.
    """
    require_reparameterized("fivo", model)
    require_filter("fivo", model, resampling, criterion)
    require_count("fivo: num_particles", num_particles)
    return Objective(owns_nothing, FIVOLoss(model, num_particles, resampling, criterion))


@config
class FIVO(ObjectiveConfig):
    """Bound by a particle filter of K reparameterized particles, for sequences."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Maddison, Lawson, Tucker, Heess, Norouzi, Mnih, Doucet and Teh 2017"

    num_particles: int = field(default=16, ge=1, help="particles K an example")
    resampling: Resampling = field(default="multinomial", help=RESAMPLING_HELP)
    criterion: Criterion = field(default="ess", help=CRITERION_HELP)

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return fivo(model, self.num_particles, self.resampling, self.criterion)
