"""REBAR and RELAX: scores of hard samples, with relaxed samples as a learned control variate.

A unit is z_i = 1[zeta_i > 0], zeta_i = phi_i - log(u_i / (1 - u_i)), with u_i uniform. For any smooth function c of the
zetas of a layer,

    E[c(zeta) (z_i - p_i)] = E[dc/dzeta_i r_i],   r_i = (1 - p_i) / (1 - u_i) if z_i = 1, else p_i / u_i,

p_i = sigmoid(phi_i): the reparameterized gradient of zeta along phi_i less that of zeta given z, both at one and the
same zeta, which couples the two as closely as can be. So the gradient of E f(z) along phi_i, a layer given the hard
samples below, is estimated without bias by

    [f(z) - c(zeta)] (z_i - p_i) + dc/dzeta_i r_i.

REBAR takes for c the bound itself at relaxed samples, times eta; RELAX adds a network. Their parameters follow the
gradient of the variance of the whole estimate, in the same step.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax_models.config import ObjectiveConfig, as_number, config, field
from genjax_models.core import Context, Latents, LatentVariableModel, Objective, Params, Scalar, X, as_batch, total
from genjax_models.errors import ConfigError
from genjax_models.objectives.baselines import Network, Neural, as_baseline
from genjax_models.objectives.binary import (
    draw_uniforms,
    latent_shapes,
    log_weight,
    replace_from,
    require_factorial_posterior,
    require_uniforms,
    score_bernoulli,
    sum_units,
)
from genjax_models.objectives.common import loss_of
from genjax_models.objectives.parts import ByRow


def network_input(z: Latents, x: X, c: Context) -> jax.Array:
    """What RELAX's network of a layer reads: x, its context, and all latents as they are at that layer, [n]."""
    return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves((x, c, z))])


@dataclasses.dataclass(frozen=True)
class ControlVariateInit:
    """`Objective.init` of `rebar` and `relax`: eta, temperature and perhaps a network for each layer."""

    model: LatentVariableModel
    eta: float
    temperature: float
    network: Neural | Network | None

    def __call__(self, key, params, batch):
        batch = as_batch(batch)
        z = latent_shapes(self.model, params, batch)
        number = len(jax.tree.leaves(z))
        own: dict[str, Any] = {
            f"log_{name}": jnp.full(number, jnp.log(getattr(self, name)), jnp.result_type(float))
            for name in ("eta", "temperature")
        }
        if self.network is not None:
            x, c = jax.tree.map(lambda v: v[0], tuple(batch))
            h = network_input(jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), z), x, c)
            own["network"] = tuple(self.network.init(k, h) for k in jax.random.split(key, number))
        return own, ()


@dataclasses.dataclass(frozen=True)
class ControlVariateLoss(ByRow):
    """`Objective.loss` of `rebar` and `relax`."""

    no_chunks: ClassVar[str] = "rebar and relax draw one sample of q an example"

    model: LatentVariableModel
    network: Neural | Network | None

    def control_variate(
        self, params: Params, own: Any, z: Latents, i: int, zeta: jax.Array, noise: Latents, x: X, c: Context
    ) -> Scalar:
        """c(zeta) of layer i given the hard samples z below it: eta f(z_{<i}, sigmoid(zeta / temperature), ...).

        The layers above are relaxed with the noise that makes their hard samples, which is independent of this layer's.
        """
        temperature = jnp.exp(own["log_temperature"][i])
        above = jax.tree.leaves(noise)

        def relax(j, logits):
            return jax.nn.sigmoid((logits + above[j]) / temperature)

        relaxed = replace_from(self.model, params, z, i, jax.nn.sigmoid(zeta / temperature), relax, x, c)
        value = jnp.exp(own["log_eta"][i]) * log_weight(self.model, params, relaxed, x, c)
        if self.network is not None:
            value = value + self.network.apply(own["network"][i], network_input(relaxed, x, c))
        return value

    def estimate(self, params: Params, own: Any, u: Latents, x: X, c: Context) -> tuple[Scalar, Latents, Latents]:
        """The bound of one example, the sample z of the uniforms u, and the weight of every unit's grad phi_i, as z."""
        assert self.model.sample_from_uniforms is not None
        z, logits = self.model.sample_from_uniforms(params, u, x, c)
        f = total(self.model.log_joint(params, z, x, c)) - score_bernoulli(logits, z, 0)
        noise = jax.tree.map(lambda u: jnp.log1p(-u) - jnp.log(u), u)
        weights = []
        for i, (s, phi, v, e) in enumerate(zip(*map(jax.tree.leaves, (z, logits, u, noise)), strict=True)):
            control = functools.partial(self.control_variate, params, own, z, i, noise=noise, x=x, c=c)
            value, slope = jax.value_and_grad(control)(phi + e)
            p, not_p = jax.nn.sigmoid(phi), jax.nn.sigmoid(-phi)
            weights.append((f - value) * (s - p) + slope * jnp.where(s > 0.5, not_p / (1 - v), p / v))
        return f, z, jax.tree.unflatten(jax.tree.structure(z), weights)

    def __call__(self, trainable, state, key, batch, step):
        stop, batch, own = jax.lax.stop_gradient, as_batch(batch), trainable.own
        params = stop(trainable.model)
        u = draw_uniforms(self.model, params, key, batch)
        posterior_logits, (x, c) = self.model.posterior_logits, batch
        assert posterior_logits is not None
        bound, z, weights = jax.vmap(lambda u, x, c: self.estimate(params, own, u, x, c))(u, x, c)

        def score(params):
            """The mean of log p(x, z), and the logits of z; z is held fixed."""
            log_p = jax.vmap(lambda z, x, c: total(self.model.log_joint(params, z, x, c)))(z, x, c)
            return jnp.mean(log_p), jax.vmap(lambda z, x, c: posterior_logits(params, z, x, c))(z, x, c)

        (log_p, _), pull_back = jax.vjp(score, params)
        (gradient,) = pull_back((jnp.ones_like(log_p), jax.tree.map(lambda w: stop(w) / len(bound), weights)))
        # The mean of the gradient g does not depend on the control variates, so that its variance has the gradient of
        # |g|^2, 2 g dg, for them. g is linear in the weights: each counts by what its grad phi has in common with g.
        _, (_, motion) = jax.jvp(score, (params,), (gradient,))
        variance = jnp.mean(2 * sum_units(jax.tree.map(jnp.multiply, weights, stop(motion)), 1))
        followed = total(jax.tree.map(lambda g, v: jnp.sum(g * v), stop(gradient), trainable.model))
        value = jnp.mean(bound)
        metrics = {"bound": value, **{k: jnp.mean(jnp.exp(own[f"log_{k}"])) for k in ("eta", "temperature")}}
        return loss_of(value, followed - variance), (state, stop(metrics))


NETWORK = Neural()


def _build(name: str, model: Any, eta: Any, temperature: Any, network: Neural | Network | None) -> Objective:
    require_uniforms(name, model)
    require_factorial_posterior(name, model)
    eta, temperature = as_number(f"{name}: eta", eta, gt=0), as_number(f"{name}: temperature", temperature, gt=0)
    return Objective(ControlVariateInit(model, eta, temperature, network), ControlVariateLoss(model, network))


def rebar(model: LatentVariableModel, eta: float = 1.0, temperature: float = 0.5) -> Objective:
    """The evidence lower bound with REBAR gradients: unbiased, with the relaxed bound as a control variate that learns.

    For q, layer by layer given the hard samples below, with f = log p(x, z) - log q(z | x) of hard samples and
    c(zeta) = eta f(..., sigmoid(zeta / temperature), ...) of this layer and those above it relaxed, the gradient along
    the logits is [f - c] (z - p) + dc/dzeta r, as at the head of this module. For p, grad log p(x, z). The gradient of
    -log q itself has mean zero and is left out. The eta and temperature of every layer are the objective's own
    parameters, kept positive by their logarithms; they follow the single-sample gradient of the estimate's variance,
    summed over the model's parameters, which reaches nothing else.

    Args:
        model: a `LatentVariableModel` with groups of independent binary units in q; one sample of q an example.
        eta: weight of the control variates at the start.
        temperature: their temperature at the start.

    Returns:
        An `Objective` whose value is minus the evidence lower bound of the hard samples; metric "bound", nats per
        example, and "eta" and "temperature", means over the layers.

    Raises:
        ModelError: latents that are not binary, or whose units depend on one another within a layer of q.
        ConfigError: an eta or a temperature that is not positive.

    Example:
        >>> objective = rebar(sigmoid_belief_network(64, layers=(32, 16)))

    Reference:
        Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, "REBAR: low-variance, unbiased gradient estimates for
        discrete latent variable models", 2017, section 3.
    """
    return _build("rebar", model, eta, temperature, None)


def relax(
    model: LatentVariableModel, network: Neural | Network = NETWORK, eta: float = 1.0, temperature: float = 0.5
) -> Objective:
    """The evidence lower bound with RELAX gradients: REBAR whose control variates each have a network besides.

    c(zeta) = eta f(..., sigmoid(zeta / temperature), ...) + r(x, relaxed latents), with a network r for each layer that
    starts as `rebar`, at zero, and learns with eta and temperature to lower the variance.

    Args:
        model: a `LatentVariableModel` with groups of independent binary units in q; one sample of q an example.
        network: `Neural(hidden)`, or your own, `Network(init, apply)` of one vector: x, its context and the latents.
        eta: weight of the relaxed bound at the start.
        temperature: its temperature at the start.

    Returns:
        An `Objective` whose value is minus the evidence lower bound of the hard samples; metric "bound", nats per
        example, and "eta" and "temperature", means over the layers.

    Raises:
        ModelError: latents that are not binary, or whose units depend on one another within a layer of q.
        ConfigError: an eta or a temperature that is not positive, or something else than a network.

    Example:
        >>> objective = relax(sigmoid_belief_network(64, layers=(32, 16)), Neural(hidden=(50,)))

    Reference:
        Grathwohl, Choi, Wu, Roeder and Duvenaud, "Backpropagation through the void", 2018, equations 7 to 11.
    """
    network = as_baseline("relax: network", network, Neural, Network)
    if network is None:
        raise ConfigError("relax: network: got None, expected Neural(hidden) or Network(init, apply); rebar has none.")
    return _build("relax", model, eta, temperature, network)


@config
class REBAR(ObjectiveConfig):
    """REBAR: hard samples' scores, less the relaxed bound as a control variate that learns in the same step."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein 2017"

    eta: float = field(default=1.0, gt=0, help="weight of the control variates at the start")
    temperature: float = field(default=0.5, gt=0, help="temperature of the relaxed samples at the start")

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return rebar(model, self.eta, self.temperature)


@config
class RELAX(ObjectiveConfig):
    """RELAX: REBAR with a network besides the relaxed bound."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Grathwohl, Choi, Wu, Roeder and Duvenaud 2018"

    network: Neural = field(default=NETWORK, help="network of each layer's control variate")
    eta: float = field(default=1.0, gt=0, help="weight of the relaxed bound at the start")
    temperature: float = field(default=0.5, gt=0, help="temperature of the relaxed samples at the start")

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return relax(model, self.network, self.eta, self.temperature)
