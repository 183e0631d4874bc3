"""Objectives that follow gradients through binary samples which have none: relaxed samples, and a pretended slope.

Both are biased for the bound that they report. `concrete` is exact for another bound, that of a relaxed model.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp

from genjax_models.config import ScheduleConfig, as_number, config, field
from genjax_models.core import (
    Batch,
    Context,
    Key,
    Latents,
    LatentVariableModel,
    Objective,
    Params,
    Scalar,
    X,
    as_batch,
    total,
)
from genjax_models.distributions import Bernoulli, BinaryConcrete
from genjax_models.errors import ConfigError, ModelError, require_count
from genjax_models.objectives.binary import require_factorial_posterior
from genjax_models.objectives.common import Chunked, ParticleConfig, fixed_particles, in_chunks, loss_of, owns_nothing
from genjax_models.objectives.particles import log_mean_exp
from genjax_models.objectives.parts import draw_rows, split
from genjax_models.optimizers import Schedule, build_value, reaching_zero, value_at

Slope = Literal["sigmoid", "identity"]
Unit = Callable[[jax.Array, jax.Array], jax.Array]  # (logits, noise) -> units, both [n]


def logistic_noise(model: LatentVariableModel, params: Params, key: Key, x: X, c: Context) -> Latents:
    """A standard logistic variable for every latent unit, as z."""
    shapes, _ = jax.eval_shape(model.propose, params, key, x, c)
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.logistic(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noise)


def draw_by_layer(
    model: LatentVariableModel, params: Params, noise: Latents, x: X, c: Context, unit: Unit
) -> tuple[Latents, Latents]:
    """z_i = unit(logits_i, noise_i), group by group, with q's logits_i given the z drawn before: (z, logits), as z."""
    assert model.posterior_logits is not None
    leaves, structure = jax.tree.flatten(noise)
    z, logits = [jnp.zeros_like(v) for v in leaves], []
    for i, v in enumerate(leaves):
        # Of all groups' logits only those of group i are used; the compiler leaves the others out.
        given = model.posterior_logits(params, jax.tree.unflatten(structure, z), x, c)
        logits.append(jax.tree.leaves(given)[i])
        z[i] = unit(logits[i], v)
    return jax.tree.unflatten(structure, z), jax.tree.unflatten(structure, logits)


def _of_particles(function: Callable, key: Key, batch: Batch, num_particles: int, chunk: int | None) -> jax.Array:
    """function(key, x, c), a scalar, of K particles of every example: [B, K]."""
    size = batch.x.shape[0]

    def of(keys):
        # One axis for both, as in `log_joint` of `common`.
        rows = jax.tree.map(lambda v: jnp.repeat(v, keys.shape[1], axis=0), batch)
        return jax.vmap(function)(keys.ravel(), rows.x, rows.context).reshape(keys.shape)

    keys = draw_rows(lambda k, n: jax.random.split(k, n * num_particles).reshape(n, -1), key, size)
    return in_chunks(of, keys, chunk)


def relaxed_log_weight(
    model: LatentVariableModel,
    params: Params,
    noise: Latents,
    x: X,
    c: Context,
    temperature: jax.Array | float,
    prior_temperature: jax.Array | float,
) -> Scalar:
    """log p(x | z) + log p(y) - log q(y | x) at the relaxed z = sigmoid(y), y = (logits + noise) / temperature.

    The logits of every group, p's as q's, are those given the relaxed units of the groups that it depends on.
    """

    def unit(logits, noise):
        return jax.nn.sigmoid(BinaryConcrete(logits, temperature).from_noise(noise))

    assert model.prior_logits is not None
    z, logits = draw_by_layer(model, params, noise, x, c, unit)
    log_w = model.log_joint(params, z, x, c).likelihood
    prior = model.prior_logits(params, z, c)
    for phi, a, v in zip(*map(jax.tree.leaves, (logits, prior, noise)), strict=True):
        q, p = BinaryConcrete(phi, temperature), BinaryConcrete(a, prior_temperature)
        y = q.from_noise(v)
        log_w = log_w + jnp.sum(p.log_density(y) - q.log_density(y))
    return log_w


@dataclasses.dataclass(frozen=True)
class ConcreteLoss(Chunked):
    """`Objective.loss` of `concrete`."""

    model: LatentVariableModel
    num_particles: int
    temperature: float | Schedule
    prior_temperature: float | Schedule

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        temperatures = value_at(self.temperature, step), value_at(self.prior_temperature, step)
        held = jax.lax.stop_gradient(params)
        soft, hard = split(key)

        def particle(key, x, c):
            noise = logistic_noise(self.model, params, key, x, c)
            return relaxed_log_weight(self.model, params, noise, x, c, *temperatures)

        log_w = _of_particles(particle, soft, batch, self.num_particles, self.chunk)
        relaxed = jnp.mean(jax.vmap(log_mean_exp)(log_w))
        log_p, log_q = fixed_particles(self.model, held, held, hard, batch, self.num_particles, self.chunk)
        bound = jnp.mean(jax.vmap(log_mean_exp)(log_p - log_q))
        return loss_of(bound, relaxed), (state, {"bound": bound, "relaxed_bound": relaxed})


def concrete(
    model: LatentVariableModel,
    num_particles: int = 1,
    temperature: float | Schedule = 2 / 3,
    prior_temperature: float | Schedule = 0.5,
) -> Objective:
    """The Concrete relaxation: the bound of a model with relaxed units is followed, that of the binary model reported.

    With y_l = (phi_l + logistic noise) / temperature and z_l = sigmoid(y_l), phi_l from the relaxed layer below, the
    gradient is that of

        log (1/K) sum_k p(x | z_1) prod_l p(y_l | z_{l+1}) / q(y_l | z_{l-1}),

    without bias; densities are binary Concrete ones, p's at its own temperature. That is a lower bound on the relaxed
    model's log p(x), not on the binary one's. The value, and metric "bound", is of the true model and hard samples of
    the true q, the number to compare with other objectives'; what is followed is metric "relaxed_bound". As both
    temperatures fall together, p(x | z) comes close to the binary model's, but the divergence of q from p stays that
    between logistic variables, which is larger than that between binary ones unless q equals p: the two do not meet.

    Args:
        model: a `LatentVariableModel` with groups of independent binary units, in q and in p's prior.
        num_particles: K.
        temperature: of q's units: a number, or a function of the step to anneal it.
        prior_temperature: of p's, likewise.

    Returns:
        An `Objective` whose value is minus the K-particle bound of the binary model; metrics "bound" and
        "relaxed_bound", nats per example.

    Raises:
        ModelError: latents that are not binary, or whose units depend on one another within a layer, in q or in p.
        ConfigError: an impossible number of particles, or a temperature that is not positive.

    Example:
        >>> objective = concrete(sigmoid_belief_network(64, layers=(32, 16)), temperature=0.5)

    Reference:
        Maddison, Mnih and Teh, "The Concrete distribution", 2017, section 4 and appendix C; Jang, Gu and Poole,
        "Categorical reparameterization with Gumbel-softmax", 2017; bound of K particles: Burda et al. 2015.
    """
    require_factorial_posterior("concrete", model)
    if model.prior_logits is None:
        raise ModelError(
            f"concrete needs a relaxed density of p's layers too, and those of {model.name} have no independent units. "
            "Use straight_through or reweighted_wake_sleep, or a model with factorial layers in p."
        )
    require_count("concrete: num_particles", num_particles)
    temperatures = (
        value if callable(value) else as_number(f"concrete: {name}", value, gt=0)
        for name, value in (("temperature", temperature), ("prior_temperature", prior_temperature))
    )
    return Objective(owns_nothing, ConcreteLoss(model, num_particles, *temperatures))


@dataclasses.dataclass(frozen=True)
class StraightThroughLoss(Chunked):
    """`Objective.loss` of `straight_through`."""

    model: LatentVariableModel
    num_particles: int
    slope: Slope

    def unit(self, logits, noise):
        """A hard unit, 1 with probability sigmoid(logits), that moves with its logits as the slope says."""
        stop = jax.lax.stop_gradient
        moving = jax.nn.sigmoid(logits) if self.slope == "sigmoid" else logits
        hard = (logits + noise > 0).astype(logits.dtype)
        # The parentheses matter: the difference of equal numbers is exactly zero, so that units stay 0 or 1.
        return hard + (moving - stop(moving))

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)

        def particle(key, x, c):
            noise = logistic_noise(self.model, params, key, x, c)
            z, logits = draw_by_layer(self.model, params, noise, x, c, self.unit)
            log_q = jax.tree.map(lambda phi, s: jnp.sum(Bernoulli(phi).log_prob(s)), logits, z)
            return total(self.model.log_joint(params, z, x, c)) - total(log_q)

        bound = jnp.mean(_of_particles(particle, key, batch, self.num_particles, self.chunk))
        return loss_of(bound, bound), (state, {"bound": bound})


def straight_through(model: LatentVariableModel, num_particles: int = 1, slope: Slope = "sigmoid") -> Objective:
    """The straight-through estimator: hard samples forward, backward as if each unit were its probability.

    The bound log p(x, z) - log q(z | x) at z ~ q is differentiated with dz_l / dphi_l set to that of sigmoid(phi_l),
    through all layers: phi_l moves with the layer below too. The gradient of p is that of the evidence lower bound,
    without bias. That of q is biased, however many particles are averaged.

    Args:
        model: a `LatentVariableModel` with groups of independent binary units in q.
        num_particles: samples of q an example, averaged.
        slope: "sigmoid" for the slope of the probability, as commonly used; "identity" for slope 1, as if the unit were
            its logit, which the paper reports to work better.

    Returns:
        An `Objective` whose value is minus the evidence lower bound; metric "bound", nats per example.

    Raises:
        ModelError: latents that are not binary, or whose units depend on one another within a layer of q.
        ConfigError: an impossible number of particles, or an unknown slope.

    Example:
        >>> objective = straight_through(sigmoid_belief_network(64, layers=(32, 16)))

    Reference:
        Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons for conditional
        computation", 2013, section 4.
    """
    require_factorial_posterior("straight_through", model)
    require_count("straight_through: num_particles", num_particles)
    if slope not in get_args(Slope):
        allowed = ", ".join(map(repr, get_args(Slope)))
        raise ConfigError(f"straight_through: slope: got {slope!r}, expected one of {allowed}.")
    return Objective(owns_nothing, StraightThroughLoss(model, num_particles, slope))


@config
class Concrete(ParticleConfig):
    """Concrete relaxation: the gradient of a relaxed model's bound; the binary model's bound is reported."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Maddison, Mnih and Teh 2017; Jang, Gu and Poole 2017"

    num_particles: int = field(default=1, ge=1, help="particles K an example")
    temperature: float | ScheduleConfig = field(
        default=2 / 3, gt=0, help="temperature of q's units, a number or a schedule"
    )
    prior_temperature: float | ScheduleConfig = field(
        default=0.5, gt=0, help="temperature of p's units, a number or a schedule"
    )

    def check(self) -> list[str]:
        return reaching_zero(self, "temperature", "prior_temperature")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return concrete(model, self.num_particles, build_value(self.temperature), build_value(self.prior_temperature))


@config
class StraightThrough(ParticleConfig):
    """Straight-through estimator: hard samples, differentiated as if they were their probabilities; biased for q."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Bengio, Léonard and Courville 2013"

    num_particles: int = field(default=1, ge=1, help="samples of q an example, averaged")
    slope: Slope = field(default="sigmoid", help="how a unit moves with its logit, backward")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return straight_through(model, self.num_particles, self.slope)
