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
from genjax_models.objectives.parts import ByRow, common_key, example_keys, split


@dataclasses.dataclass(frozen=True)
class MaximumLikelihoodLoss(ByRow):
    """`Objective.loss` of `maximum_likelihood`."""

    model: LikelihoodModel

    def __call__(self, trainable, state, key, batch, step):
        batch, params = as_batch(batch), trainable.model
        if self.model.training_log_prob is None:
            scores = jax.vmap(functools.partial(self.model.log_prob, params))(batch.x, batch.context)
        else:
            shared, own = split(key)
            score = functools.partial(self.model.training_log_prob, params)
            keys = example_keys(own, batch.x.shape[0])
            scores = jax.vmap(score, (0, None, 0, 0))(keys, common_key(shared), batch.x, batch.context)
        bound = jnp.mean(scores)
        return -bound, (state, {"bound": jax.lax.stop_gradient(bound)})


def maximum_likelihood(model: LikelihoodModel) -> Objective:
    """The mean of log p(x), with its exact gradient; of an ensemble, that of a random member.

    A model whose p(x) = E_m p_m(x) is an average over members m, masks or orders, is trained by one random member at a
    time, where it says so (`training_log_prob`). As log E_m p_m(x) >= E_m log p_m(x), by Jensen, the bound then is one
    in expectation, in training and on held-out data alike, where every example draws a member of its own;
    `evaluation.log_prob` gives log p(x) of the ensemble, or of those of its members that the model was told to average,
    which the bound over all of them may exceed (`deep_nade`).

    Args:
        model: a `LikelihoodModel`.

    Returns:
        An `Objective` with metric "bound", nats per example: the mean of log p(x) itself, or of the members' scores.

    Raises:
        ModelError: the model's log p(x) has no closed form.

    Example:
        >>> objective = maximum_likelihood(made(64, hidden=(100,)))

    Reference:
        Goodfellow et al. 2016, section 20.10.7; Uria, Murray and Larochelle 2014 and Germain, Gregor, Murray and
        Larochelle 2015, section 4, for ensembles.
    """
    if not isinstance(model, LikelihoodModel):
        raise ModelError(
            f"maximum_likelihood needs a LikelihoodModel, got {getattr(model, 'name', '') or model!r}, which is a "
            f"{type(model).__name__}. Use elbo, iwae or reweighted_wake_sleep for a model with latents, adversarial or "
            "moment_matching for a sampler."
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
