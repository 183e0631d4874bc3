"""Bounds from the evidence lower bound to the importance weighted one and beyond, by reparameterized samples."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ScheduleConfig, as_number, config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import ConfigError, require_count
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    PathLoss,
    RefuseShared,
    in_chunks,
    log_joint,
    loss_of,
    only,
    owns_nothing,
    particle_keys,
    propose_by,
    require_groups_apart,
    require_reparameterized,
)
from genjax_models.objectives.particles import (
    combined_bound,
    jackknife_bound,
    partially_importance_weighted_bound,
    renyi_bound,
)
from genjax_models.optimizers import Schedule, build_value


def renyi(model: LatentVariableModel, num_particles: int = 50, alpha: float | Schedule = 0.5) -> Objective:
    """The variational Rényi bound E 1 / (1 - alpha) log (1/K) sum_k (p(x, z_k) / q(z_k | x))^(1 - alpha).

    alpha = 1 is the evidence lower bound, as the limit, and alpha = 0 the importance weighted one. Below 0 it may lie
    above log p(x), with K large enough, and is no bound then; above 1 it lies below the evidence lower bound.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K; with 1, alpha makes no difference.
        alpha: any number, or a function of the step.

    Returns:
        An `Objective` with metric "bound", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles, or alpha that is not finite.

    Example:
        >>> objective = renyi(vae(64, latent=8), num_particles=5, alpha=0.5)

    Reference:
        Li and Turner, "Rényi divergence variational inference", 2016, equations 14 and 16.
    """
    require_reparameterized("renyi", model)
    require_count("renyi: num_particles", num_particles)
    alpha = alpha if callable(alpha) else as_number("renyi: alpha", alpha)
    return Objective(owns_nothing, PathLoss(model, num_particles, renyi_bound, (alpha,)))


def combination(model: LatentVariableModel, num_particles: int = 50, beta: float | Schedule = 0.5) -> Objective:
    """beta times the evidence lower bound plus 1 - beta times the importance weighted one, on the same K particles.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K.
        beta: from 0 to 1, a number or a function of the step.

    Returns:
        An `Objective` with metric "bound", nats per example: the combination, which is a bound too.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles, or beta outside [0, 1].

    Example:
        >>> objective = combination(vae(64, latent=8), num_particles=5, beta=0.1)

    Reference:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, section 4.2 (CIWAE).
    """
    require_reparameterized("combination", model)
    require_count("combination: num_particles", num_particles)
    beta = beta if callable(beta) else as_number("combination: beta", beta, ge=0, le=1)
    return Objective(owns_nothing, PathLoss(model, num_particles, combined_bound, (beta,)))


def jackknife(model: LatentVariableModel, num_particles: int = 50) -> Objective:
    """Jackknife variational inference of order 1: K L_K - (K - 1) times the mean of L_{K-1} without each particle.

    L_K lies below log p(x) by a series in 1 / K; the jackknife takes off its first term, so that what is left falls as
    1 / K^2.
    The estimate may lie above log p(x), and is no bound. `dreg(model, K, "jackknife")` follows it with less noise.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K, at least 2.

    Returns:
        An `Objective` whose value is minus the estimate, metric "bound", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles.

    Example:
        >>> objective = jackknife(vae(64, latent=8), num_particles=5)

    Reference:
        Nowozin, "Debiasing evidence approximations: on importance-weighted autoencoders and jackknife variational
        inference", 2018, with m = 1.
    """
    require_reparameterized("jackknife", model)
    require_count("jackknife: num_particles", num_particles, least=2)
    return Objective(owns_nothing, PathLoss(model, num_particles, jackknife_bound))


@dataclasses.dataclass(frozen=True)
class PartiallyImportanceWeightedLoss(Chunked):
    """`Objective.loss` of `partially_importance_weighted`."""

    model: LatentVariableModel
    num_particles: int
    groups: int

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        of_q = only("recognition", params)

        def terms(keys):
            z, log_q = propose_by(self.model, of_q, keys, batch)
            log_p = total(log_joint(self.model, of_q, z, batch))  # along z, for q
            own = total(log_joint(self.model, only("generative", params), jax.lax.stop_gradient(z), batch))
            return log_p, total(log_q), own

        log_p, log_q, own = in_chunks(terms, particle_keys(key, batch, self.num_particles), self.chunk)
        a = jax.vmap(lambda p, q: partially_importance_weighted_bound(p, q, self.groups))(
            *jax.lax.stop_gradient((log_p, log_q))
        )
        bound = jnp.mean(a.bound)
        surrogate = jnp.mean(jnp.sum(a.generative * own - a.recognition * (log_p - log_q), axis=1))
        return loss_of(bound, surrogate), (state, {"bound": bound})


def partially_importance_weighted(
    model: LatentVariableModel, num_particles: int = 48, num_groups: int = 8
) -> Objective:
    """The importance weighted bound of K particles for p; q follows the mean of those of M groups of K / M.

    A tighter bound leaves q's gradient less signal beside its noise, so p may have the tight one and q a looser. With
    one group it is `iwae`, with K groups q follows the evidence lower bound.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K, in all.
        num_groups: M, which divides K.

    Returns:
        An `Objective` whose value is minus the bound of all K; metric "bound", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient, or it has "shared" parameters.
        ConfigError: an impossible number of particles or of groups.

    Example:
        >>> objective = partially_importance_weighted(vae(64, latent=8), num_particles=8, num_groups=2)

    Reference:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, section 4.3 (PIWAE).
    """
    name = "partially_importance_weighted"
    require_reparameterized(name, model)
    require_groups_apart(name, model)
    require_count(f"{name}: num_particles", num_particles)
    require_count(f"{name}: num_groups", num_groups)
    if num_particles % num_groups:
        raise ConfigError(f"{name}: {_uneven(num_particles, num_groups)}")
    return Objective(RefuseShared(name), PartiallyImportanceWeightedLoss(model, num_particles, num_groups))


def _uneven(num_particles: int, num_groups: int) -> str:
    return f"num_groups got {num_groups}, which does not divide the {num_particles} particles; give one that does."


@config
class Renyi(ParticleConfig):
    """Variational Rényi bound of K reparameterized particles."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Li and Turner 2016"

    num_particles: int = field(default=50, ge=1, help="particles K an example")
    alpha: float | ScheduleConfig = field(
        default=0.5, help="0 for the importance weighted bound, 1 for the evidence lower bound; a number or a schedule"
    )

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return renyi(model, self.num_particles, build_value(self.alpha))


@config
class Combination(ParticleConfig):
    """Weighted mean of the evidence lower bound and the importance weighted one, on the same particles (CIWAE)."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Rainforth et al. 2018"

    num_particles: int = field(default=50, ge=1, help="particles K an example")
    beta: float | ScheduleConfig = field(
        default=0.5, ge=0, le=1, help="weight of the evidence lower bound, a number or a schedule"
    )

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return combination(model, self.num_particles, build_value(self.beta))


@config
class Jackknife(ParticleConfig):
    """Importance weighted bound with its first-order bias taken off by leaving particles out: no bound (JVI)."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Nowozin 2018"

    num_particles: int = field(default=50, ge=2, help="particles K an example")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return jackknife(model, self.num_particles)


@config
class PartiallyImportanceWeighted(ParticleConfig):
    """Importance weighted bound of K particles for p, and of groups of them, averaged, for q (PIWAE)."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Rainforth et al. 2018"

    num_particles: int = field(default=48, ge=1, help="particles K an example, in all")
    num_groups: int = field(default=8, ge=1, help="groups M of them for q's bound")

    def check(self) -> list[str]:
        return [_uneven(self.num_particles, self.num_groups)] if self.num_particles % self.num_groups else []

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return partially_importance_weighted(model, self.num_particles, self.num_groups)
