"""Objectives that follow gradients through samples: the evidence lower bound and the importance weighted bound."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp

from genjax_models.config import ScheduleConfig, as_number, config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch, total
from genjax_models.errors import ConfigError, ModelError, require_count
from genjax_models.objectives.common import (
    Chunked,
    ParticleConfig,
    PathLoss,
    log_joint,
    loss_of,
    moving_particles,
    owns_nothing,
    propose_with_kl,
    require_reparameterized,
)
from genjax_models.objectives.particles import importance_weighted_bound
from genjax_models.optimizers import Schedule, build_value, plain_number, value_at

KL = Literal["auto", "closed_form", "monte_carlo"]
BOTH_KINDS = "free_bits and free_bits_by_dimension are both given, expected one of the two; leave the other None."


@dataclasses.dataclass(frozen=True)
class ELBOLoss(Chunked):
    """`Objective.loss` of `elbo`."""

    model: LatentVariableModel
    num_particles: int
    beta: float | Schedule
    closed_form: bool
    free_bits: float | Schedule | None = None
    by_dimension: bool = False

    @property
    def needs_whole_batch(self) -> str | None:
        return None if self.free_bits is None else "elbo's free bits are of the KL averaged over a whole batch"

    def _kl_of_gradient(self, terms, step):
        """The KL that is followed, from its terms, leaves [B, ...]: those below the free nats stand still."""
        free = value_at(self.free_bits, step)
        by_group = [v if self.by_dimension else jnp.sum(v, axis=tuple(range(1, v.ndim))) for v in terms]
        return sum(jnp.sum(jnp.maximum(jnp.mean(v, axis=0), free)) for v in by_group)

    def __call__(self, trainable, state, key, batch, step):
        beta = value_at(self.beta, step)
        params, batch = trainable.model, as_batch(batch)
        if self.closed_form and self.model.propose_with_kl is not None and self.chunk is None:
            z, terms = propose_with_kl(self.model, params, key, batch, self.num_particles)
            log_p = log_joint(self.model, params, z, batch)
        else:
            log_p, log_q = moving_particles(self.model, params, key, batch, self.num_particles, self.chunk)
            if self.closed_form:
                # As the terms of `propose_with_kl`.
                closed = self.model.kl_by_dimension or self.model.kl
                assert closed is not None
                terms = jax.vmap(functools.partial(closed, params))(batch.x, batch.context)
            else:
                terms = tuple(jnp.mean(q - p, axis=1) for q, p in zip(log_q, log_p.prior, strict=True))
        kl = total([jnp.sum(v, axis=tuple(range(1, v.ndim))) for v in terms])
        metrics = {"likelihood": jnp.mean(log_p.likelihood), "kl": jnp.mean(kl)}
        bound = metrics["likelihood"] - metrics["kl"]
        followed = metrics["kl"] if self.free_bits is None else self._kl_of_gradient(terms, step)
        surrogate = metrics["likelihood"] - beta * followed
        return loss_of(bound, surrogate), (state, {"bound": bound, **metrics})


def elbo(
    model: LatentVariableModel,
    num_particles: int = 1,
    beta: float | Schedule = 1.0,
    kl: KL = "auto",
    free_bits: float | Schedule | None = None,
    free_bits_by_dimension: float | Schedule | None = None,
) -> Objective:
    """The evidence lower bound E_q[log p(x | z)] - KL(q(z | x) || p(z)), by reparameterized samples.

    The value is minus the bound itself in nats per example, whatever beta is; beta weighs the KL in the gradient. With
    free bits lambda the gradient is that of sum_j max(lambda, KL_j) in place of the KL, KL_j the part of a latent
    group, or of a single latent, averaged over the batch: what costs less than that is not pushed towards the prior.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: samples of q an example, averaged.
        beta: weight of the KL in the gradient (Higgins et al. 2017): a number, or a function of the step to anneal it.
        kl: "closed_form", "monte_carlo", or "auto": in closed form where the model has one.
        free_bits: lambda in nats for every latent group, or a function of the step; None for none.
        free_bits_by_dimension: likewise for every latent, of models whose KL has a closed form by latents.

    Returns:
        An `Objective` with metrics "bound", "likelihood" and "kl", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient, or it has no KL in closed form and one is asked for.
        ConfigError: an impossible number of particles or value of `kl`, or free bits of both kinds.

    Example:
        >>> objective = elbo(vae(64, latent=8))

    Reference:
        Kingma and Welling 2014, equation 7; Goodfellow et al. 2016, equations 20.76 and 20.77; free bits: Kingma et al.
        2016, equation 15.
    """
    require_reparameterized("elbo", model)
    require_count("elbo: num_particles", num_particles)
    if kl not in get_args(KL):
        raise ConfigError(f"elbo: kl got {kl!r}, expected one of {', '.join(map(repr, get_args(KL)))}.")
    if kl == "closed_form" and model.kl is None:
        raise ModelError(f"elbo: {model.name} has no KL in closed form; use kl='monte_carlo' or 'auto'.")
    closed_form = model.kl is not None and kl != "monte_carlo"
    if free_bits is not None and free_bits_by_dimension is not None:
        raise ConfigError(f"elbo: {BOTH_KINDS}")
    by_dimension = free_bits_by_dimension is not None
    if by_dimension and (model.kl_by_dimension is None or model.propose_with_kl is None or not closed_form):
        raise ModelError(
            f"elbo: free_bits_by_dimension needs a KL in closed form for every latent, which {model.name} does not "
            f"have (kl is {kl!r}); use free_bits, for every latent group."
        )
    free = free_bits_by_dimension if by_dimension else free_bits
    if free is not None and not callable(free):
        free = as_number("elbo: free_bits_by_dimension" if by_dimension else "elbo: free_bits", free, ge=0)
    options = plain_number(beta), closed_form, free, by_dimension
    return Objective(owns_nothing, ELBOLoss(model, num_particles, *options))


def iwae(model: LatentVariableModel, num_particles: int = 50) -> Objective:
    """The importance weighted bound E log (1/K) sum_k p(x, z_k) / q(z_k | x), by reparameterized samples.

    It lies between the evidence lower bound (K = 1) and log p(x), and rises with K.

    Args:
        model: a reparameterized `LatentVariableModel`.
        num_particles: K.

    Returns:
        An `Objective` with metric "bound", nats per example.

    Raises:
        ModelError: the model's samples carry no gradient.
        ConfigError: an impossible number of particles.

    Example:
        >>> objective = iwae(vae(64, latent=8), num_particles=5)

    Reference:
        Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015, equations 8 and 14.
    """
    require_reparameterized("iwae", model)
    require_count("iwae: num_particles", num_particles)
    return Objective(owns_nothing, PathLoss(model, num_particles, importance_weighted_bound))


@config
class ELBO(ParticleConfig):
    """Evidence lower bound by reparameterized samples; the KL in closed form where it exists."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014"

    num_particles: int = field(default=1, ge=1, help="samples of q an example, averaged")
    beta: float | ScheduleConfig = field(
        default=1.0, ge=0, help="weight of the KL in the gradient, a number or a schedule"
    )
    kl: KL = field(default="auto", help="how the KL is computed")
    free_bits: float | ScheduleConfig | None = field(
        default=None, ge=0, help="nats of KL in each latent group that the gradient leaves alone"
    )
    free_bits_by_dimension: float | ScheduleConfig | None = field(
        default=None, ge=0, help="nats of KL in each single latent that the gradient leaves alone"
    )

    def check(self) -> list[str]:
        if self.free_bits is not None and self.free_bits_by_dimension is not None:
            return [BOTH_KINDS]
        return []

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        free = build_value(self.free_bits), build_value(self.free_bits_by_dimension)
        return elbo(model, self.num_particles, build_value(self.beta), self.kl, *free)


@config
class IWAE(ParticleConfig):
    """Importance weighted bound of K reparameterized particles."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Burda, Grosse and Salakhutdinov 2015"

    num_particles: int = field(default=50, ge=1, help="particles K an example")

    def build_whole(self, model: Any) -> Objective:
        """The objective on a model, with all particles at once."""
        return iwae(model, self.num_particles)
