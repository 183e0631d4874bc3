"""Maximum likelihood, for models whose log p(x) has a closed form."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, config
from genjax_models.core import LikelihoodModel, Objective, as_batch
from genjax_models.errors import ModelError
from genjax_models.objectives.common import owns_nothing


@dataclasses.dataclass(frozen=True)
class MaximumLikelihoodLoss:
    """`Objective.loss` of `maximum_likelihood`."""

    model: LikelihoodModel

    def __call__(self, trainable, state, key, batch, step):
        batch = as_batch(batch)
        score = functools.partial(self.model.log_prob, trainable.model)
        log_prob = jnp.mean(jax.vmap(score)(batch.x, batch.context))
        return -log_prob, (state, {"bound": jax.lax.stop_gradient(log_prob)})


def maximum_likelihood(model: LikelihoodModel) -> Objective:
    """The mean of log p(x), with its exact gradient.

    Args:
        model: a `LikelihoodModel`.

    Returns:
        An `Objective` with metric "bound", the mean of log p(x) itself, nats per example.

    Raises:
        ModelError: the model's log p(x) has no closed form.

    Example:
        >>> objective = maximum_likelihood(made(64, hidden=(100,)))

    Reference:
        Goodfellow et al. 2016, section 20.10.7.
    """
    if not isinstance(model, LikelihoodModel):
        raise ModelError(
            f"maximum_likelihood needs a LikelihoodModel, got {getattr(model, 'name', '') or model!r}, which is a "
            f"{type(model).__name__}. Use elbo, iwae or reweighted_wake_sleep for a model with latents."
        )
    return Objective(owns_nothing, MaximumLikelihoodLoss(model))


@config
class MaximumLikelihood(ObjectiveConfig):
    """Exact log-likelihood, where a model has one."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = ""

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return maximum_likelihood(model)
