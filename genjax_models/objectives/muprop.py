"""MuProp: a score-function estimator whose control variate is the bound's first-order expansion at the mean field."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, config
from genjax_models.core import (
    Batch,
    Context,
    Latents,
    LatentVariableModel,
    Objective,
    Params,
    Scalar,
    X,
    as_batch,
    total,
)
from genjax_models.objectives.binary import (
    draw_uniforms,
    log_weight,
    replace_from,
    require_factorial_posterior,
    require_uniforms,
    score_bernoulli,
)
from genjax_models.objectives.common import loss_of, owns_nothing
from genjax_models.objectives.parts import ByRow


def muprop_estimate(model: LatentVariableModel, params: Params, u: Latents, x: X, c: Context) -> tuple[Scalar, Scalar]:
    """Bound and surrogate of one example, from the uniforms u that its sample z is made of.

    Layer by layer, given the hard samples below: with the means y = sigmoid(phi_l), and the layers above at their means
    given y, f_l(y) = f(z_{<l}, y, ...) is expanded at y, and

        [f(z) - f_l(y) - f_l'(y) (z_l - y)] grad log q(z_l | z_{l-1}) + f_l'(y) grad y.
    """
    stop = jax.lax.stop_gradient
    assert model.sample_from_uniforms is not None
    z, logits = model.sample_from_uniforms(params, u, x, c)
    log_p = total(model.log_joint(params, z, x, c))
    f = stop(log_p - score_bernoulli(logits, z, 0))
    fixed, surrogate = stop(params), log_p
    for i, (s, phi) in enumerate(zip(*map(jax.tree.leaves, (z, logits)), strict=True)):

        def expanded(y, i=i):
            means = replace_from(model, fixed, z, i, y, lambda _, logits: jax.nn.sigmoid(logits), x, c)
            return log_weight(model, fixed, means, x, c)

        y = stop(jax.nn.sigmoid(phi))
        value, slope = jax.value_and_grad(expanded)(y)
        signal = f - value - jnp.sum(slope * (s - y))
        # (s - y) is the derivative of log q(z_l | z_{l-1}) along phi, y (1 - y) that of y.
        surrogate = surrogate + jnp.sum(stop(signal * (s - y) + slope * y * jax.nn.sigmoid(-phi)) * phi)
    return f, surrogate


@dataclasses.dataclass(frozen=True)
class MuPropLoss(ByRow):
    """`Objective.loss` of `muprop`."""

    no_chunks: ClassVar[str] = "muprop draws one sample of q an example"

    model: LatentVariableModel

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        u = draw_uniforms(self.model, params, key, batch)

        def example(u, row: Batch):
            return muprop_estimate(self.model, params, u, row.x, row.context)

        bound, surrogate = map(jnp.mean, jax.vmap(example)(u, batch))
        return loss_of(bound, surrogate), (state, {"bound": bound})


def muprop(model: LatentVariableModel) -> Objective:
    """The evidence lower bound with MuProp gradients: unbiased, through any number of factorial binary layers.

    For q, layer by layer given the hard samples below, the score of a sample is weighed by f = log p(x, z) -
    log q(z | x) less its first-order expansion at the mean field of this layer and those above it, whose own gradient
    is added in closed form. For p, grad log p(x, z). The gradient of -log q itself has mean zero and is left out. The
    expansion costs a forward and a backward pass a layer.

    Args:
        model: a `LatentVariableModel` with groups of independent binary units in q; one sample of q an example.

    Returns:
        An `Objective` whose value is minus the evidence lower bound of the hard samples; metric "bound", nats per
        example.

    Raises:
        ModelError: latents that are not binary, or whose units depend on one another within a layer of q.

    Example:
        >>> objective = muprop(sigmoid_belief_network(64, layers=(32, 16)))

    Reference:
        Gu, Levine, Sutskever and Mnih, "MuProp: unbiased backpropagation for stochastic neural networks", 2016,
        equation 6 and section 3.2.
    """
    require_uniforms("muprop", model)
    require_factorial_posterior("muprop", model)
    return Objective(owns_nothing, MuPropLoss(model))


@config
class MuProp(ObjectiveConfig):
    """MuProp: the bound less its first-order expansion at the mean field, layer by layer."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Gu, Levine, Sutskever and Mnih 2016"

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return muprop(model)
