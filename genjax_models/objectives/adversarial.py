"""Generators against critics: the minimax game, its non-saturating form, and the Wasserstein distance."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, OptimizerConfig, as_number, config, field
from genjax_models.core import Batch, ImplicitModel, Key, Objective, Params, Phase, as_batch
from genjax_models.errors import ConfigError, ModelError
from genjax_models.objectives.algebra import weighted_sum
from genjax_models.objectives.common import only, owns_nothing
from genjax_models.objectives.parts import ByRow, draw_rows, example_keys, split

Kind = Literal["minimax", "non_saturating", "wasserstein"]


class Players(NamedTuple):
    """The two objectives of a game; each reaches its own parameter group alone."""

    critic: Objective  # "critic"
    generator: Objective  # "generative"


def _draw(model: ImplicitModel, params: Params, key: Key, batch: Batch) -> jax.Array:
    """A sample for every example of the batch, under its context, [B, D]."""
    return jax.vmap(functools.partial(model.sample, params))(example_keys(key, batch.x.shape[0]), batch.context)


def _judge(model: Any, params: Params, x: jax.Array, context: Any) -> jax.Array:
    """The critic's value of every row, [B]."""
    return jax.vmap(functools.partial(model.critic, params))(x, context)


def slope_norms(model: Any, params: Params, x: jax.Array, context: Any) -> jax.Array:
    """|grad_x f(x)| of the critic f at every row, [B]; its own gradient is 0 where it is 0."""
    slopes = jax.vmap(jax.grad(lambda x, c: model.critic(params, x, c)))(x, context)
    squares = jnp.sum(slopes**2, axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


@dataclasses.dataclass(frozen=True)
class CriticLoss(ByRow):
    """`Objective.loss` of the critic."""

    model: Any  # an ImplicitModel with a critic
    kind: Kind
    gradient_penalty: Any

    def __call__(self, trainable, state, key, batch, step):
        batch = as_batch(batch)
        noise, mix = split(key)
        params = only("critic", trainable.model)
        y = jax.lax.stop_gradient(_draw(self.model, params, noise, batch))
        # One pass of the critic over both.
        both = jax.tree.map(lambda v: jnp.concatenate([v, v]), batch.context)
        real, fake = jnp.split(_judge(self.model, params, jnp.concatenate([batch.x, y]), both), 2)
        if self.kind == "wasserstein":
            value = jnp.mean(real) - jnp.mean(fake)
        else:
            value = jnp.mean(jax.nn.log_sigmoid(real)) + jnp.mean(jax.nn.log_sigmoid(-fake))
        if self.gradient_penalty is None:
            return -value, (state, {"value": value})
        e = draw_rows(lambda k, n: jax.random.uniform(k, (n, 1)), mix, len(y))
        norms = slope_norms(self.model, params, e * batch.x + (1 - e) * y, batch.context)
        penalty = jnp.mean((norms - 1) ** 2)
        return -value + self.gradient_penalty * penalty, (state, {"value": value, "gradient_penalty": penalty})


@dataclasses.dataclass(frozen=True)
class GeneratorLoss(ByRow):
    """`Objective.loss` of the generator."""

    model: Any  # an ImplicitModel with a critic
    kind: Kind

    def __call__(self, trainable, state, key, batch, step):
        batch = as_batch(batch)
        params = only("generative", trainable.model)
        fake = _judge(self.model, params, _draw(self.model, params, key, batch), batch.context)
        if self.kind == "wasserstein":
            loss = -jnp.mean(fake)
        elif self.kind == "minimax":
            loss = jnp.mean(jax.nn.log_sigmoid(-fake))
        else:
            loss = -jnp.mean(jax.nn.log_sigmoid(fake))
        return loss, (state, {"loss": loss})


def adversarial(model: ImplicitModel, kind: Kind = "non_saturating", gradient_penalty: float | None = None) -> Players:
    """A game between a generator G and a critic f, whose sigmoid is the probability D(x) that x is of the data.

        V = E log D(x) + E log(1 - D(G(z)))           the critic's gain: "minimax", "non_saturating"
        W = E f(x) - E f(G(z))                        "wasserstein"

    The critic minimizes -V or -W, plus gradient_penalty * E (|grad f(x^)| - 1)^2 where one is given, at points x^
    drawn uniformly between pairs of x and G(z). The generator minimizes E log(1 - D(G(z))) ("minimax"),
    -E log D(G(z)) ("non_saturating") or -E f(G(z)) ("wasserstein"). At the best D, V = 2 JS - log 4, with the
    Jensen-Shannon divergence between data and samples; W at the best f of slope at most 1 is their Wasserstein-1
    distance.

    Args:
        model: an `ImplicitModel` with a critic.
        kind: the game, see above.
        gradient_penalty: weight of the penalty; None leaves it out, which "wasserstein" does not allow.

    Returns:
        `Players`: two objectives, "critic" with metrics "value" (V or W) and "gradient_penalty" (the mean square,
        without its weight), "generator" with metric "loss". A phase for each trains them:

    Raises:
        ModelError: the model has no critic.
        ConfigError: an unknown kind, an impossible weight, or "wasserstein" without a penalty.

    Example:
        >>> critic, generator = adversarial(gan(784), "wasserstein", gradient_penalty=10.0)
        >>> make_train_step(Phase(critic, "critic", adam, repeats=5), Phase(generator, "generative", adam))

    Reference:
        Goodfellow et al., "Generative adversarial nets", 2014, equation 1 and section 3; Arjovsky, Chintala and Bottou
        2017; Gulrajani et al. 2017, equation 3.
    """
    if not isinstance(model, ImplicitModel) or model.critic is None:
        raise ModelError(
            f"adversarial needs an ImplicitModel with a critic, got {getattr(model, 'name', '') or model!r}, which is "
            f"{'one without' if isinstance(model, ImplicitModel) else f'a {type(model).__name__}'}. Use gan, or "
            "another objective: moment_matching for a sampler, maximum_likelihood for log p(x), elbo for latents."
        )
    if kind not in get_args(Kind):
        raise ConfigError(f"adversarial: kind: got {kind!r}, expected one of {', '.join(map(repr, get_args(Kind)))}.")
    if gradient_penalty is not None:
        gradient_penalty = as_number("adversarial: gradient_penalty", gradient_penalty, gt=0)
    elif kind == "wasserstein":
        raise ConfigError(f"adversarial: {NEEDS_PENALTY}")
    critic = Objective(owns_nothing, CriticLoss(model, kind, gradient_penalty))
    return Players(critic, Objective(owns_nothing, GeneratorLoss(model, kind)))


NEEDS_PENALTY = (
    "gradient_penalty: got None with the wasserstein game, whose critic must have slope 1 or its value grows without "
    "end; give a weight, 10 in the paper."
)


@config
class Adversarial(ObjectiveConfig):
    """A generator against a critic: minimax, non-saturating, or Wasserstein with gradient penalty."""

    capability: ClassVar[str] = "ImplicitModel"
    citation: ClassVar[str] = "Goodfellow et al. 2014; Gulrajani et al. 2017"
    metric: ClassVar[str] = "0.critic/value"

    kind: Kind = field(default="non_saturating", help="what the two minimize")
    gradient_penalty: float | None = field(
        default=None, gt=0, help="weight of the squared distance of the critic's slope from 1; None for no penalty"
    )
    critic_updates: int = field(default=1, ge=1, help="updates of the critic before each of the generator")
    critic_optimizer: OptimizerConfig | None = field(default=None, help="of the critic; None for the generator's")

    def check(self) -> list[str]:
        return [NEEDS_PENALTY] if self.kind == "wasserstein" and self.gradient_penalty is None else []

    def build(self, model: Any) -> Objective:
        """Both players' losses added, each with the gradient of its own group: one step of both at once."""
        critic, generator = adversarial(model, self.kind, self.gradient_penalty)
        return weighted_sum({"critic": (1.0, critic), "generator": (1.0, generator)})

    def phases(self, model: Any, optimizer: OptimizerConfig) -> tuple[Phase, ...]:
        """The critic's updates, then the generator's."""
        critic, generator = adversarial(model, self.kind, self.gradient_penalty)
        of_critic = optimizer if self.critic_optimizer is None else self.critic_optimizer
        return (
            Phase(critic, "critic", of_critic.build(), self.critic_updates),
            Phase(generator, "generative", optimizer.build()),
        )
