"""REBAR and RELAX are unbiased through any number of factorial layers, by quadrature over the uniforms in float64.

The definition is written out a second time as the papers have it, by reparameterized samples whose gradients autodiff
takes: it must agree with the loss outcome by outcome, in the gradient of the model and in that of the control variates.
"""

import functools
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from enumeration import Enumerated, enumerated, exact_bound
from toys import quick_jit, worst
from uniforms import batch_of_uniforms, losses_and_gradients, mean_over

from genjax_models.core import Trainable, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import rebar, relax
from genjax_models.objectives.baselines import Network, Neural
from genjax_models.objectives.binary import log_weight

MODULE = importlib.import_module("genjax_models.objectives.rebar")
pytestmark = pytest.mark.usefixtures("x64")

NETS = {
    "one unit": sigmoid_belief_network(2, layers=(1,)),
    "two units": sigmoid_belief_network(2, layers=(2,)),
    "unit on unit": sigmoid_belief_network(2, layers=(1, 1)),
    "three layers": sigmoid_belief_network(2, layers=(1, 1, 1)),
    "tanh layers between, p auto-regressive": sigmoid_belief_network(
        2, layers=(1, 1), generative="autoregressive", deterministic=(2, 2)
    ),
}
BUILD = {"rebar": rebar, "relax": functools.partial(relax, network=Neural(hidden=(2,)))}
NODES = {1: 16, 2: 16, 3: 12}  # by units


class Case(NamedTuple):
    """A net with random parameters, also of the control variates, and every outcome that quadrature looks at."""

    toy: Enumerated
    own: Any
    x: jax.Array  # [B, D]
    u: Any  # leaves [M, B, ...]
    chance: np.ndarray  # [M]
    exact: tuple[jax.Array, Any]  # minus the evidence lower bound, and its gradient
    found: tuple[jax.Array, Trainable]  # loss and gradient of every outcome


@functools.cache
def case(net: str, name: str, examples: int = 1, nodes: int | None = None) -> Case:
    toy = enumerated(NETS[net], 2, scale=0.7)
    x = jnp.eye(2)[:examples]
    objective = BUILD[name](toy.model, eta=0.8, temperature=0.6)
    own, _ = objective.init(jax.random.key(0), toy.params, x)
    draw = np.random.RandomState(1).normal
    own = jax.tree.map(lambda v: v + 0.3 * draw(size=v.shape), own)
    # With these temperatures the relaxed units are rational functions of u, and quadrature converges fast.
    own["log_temperature"] = jnp.log(jnp.array([0.5, 1.0, 0.5])[: len(toy.z)])
    units = sum(v.shape[-1] for v in jax.tree.leaves(toy.z))
    u, chance = batch_of_uniforms(toy, x, nodes or NODES[units])

    def loss(params):
        return -jnp.mean(jnp.stack([exact_bound(toy, params, row) for row in x]))

    exact = quick_jit(jax.value_and_grad(loss))(toy.params)
    return Case(
        toy, own, x, u, chance, exact, losses_and_gradients(MODULE, objective, Trainable(toy.params, own), x, u)
    )


def logit(u):
    return jnp.log(u) - jnp.log1p(-u)


def definition(found: Case, own, u, *, conditional=1.0, control=1.0, kept=1.0, together=False, moving_noise=False):
    """g of one outcome: sum_i [f(z) - c(zeta | z)] grad log q + grad c(zeta) - grad c(zeta | z), and grad log p.

    The switches make mistakes: the weights of the terms; one relaxed pass `together` through all layers; layers above
    relaxed with the noise of this layer's own unit.
    """
    toy, (x,) = found.toy, found.x
    model, params = toy.model, toy.params
    z, _ = model.sample_from_uniforms(params, u, x, ())
    f = log_weight(model, params, z, x, ())

    def c(own, layer, y):
        value = jnp.exp(own["log_eta"][layer]) * log_weight(model, params, y, x, ())
        if "network" in own:
            value += Neural(hidden=(2,)).apply(own["network"][layer], jnp.concatenate([x, *y]))
        return value

    def relaxed(q, layer, given):
        """c at z with that layer and those above it relaxed, the layer itself given z if told so."""
        temperature = jnp.exp(own["log_temperature"][layer])
        y = z
        for i in range(0 if together else layer, len(z)):
            phi = model.posterior_logits(q if together or i == layer else params, y, x, ())[i]
            noise = u[0] if moving_noise else u[i]
            if given and (together or i == layer):
                p = jax.nn.sigmoid(model.posterior_logits(params, z, x, ())[i])
                v = jnp.where(z[i] > 0.5, noise / p, (noise - p) / (1 - p))
                moving = jax.nn.sigmoid(phi)
                noise = jnp.where(z[i] > 0.5, v * moving, moving + v * (1 - moving))
            y = (*y[:i], jax.nn.sigmoid((phi - logit(noise)) / temperature), *y[i + 1 :])
        return c(own, layer, y)

    # With the parameters fixed, but for the control variates' own.
    signals = [f - kept * relaxed(params, i, given=True) for i in range(1 if together else len(z))]

    def surrogate(q):
        terms = model.log_posterior(q, z, x, ())
        value = total(model.log_joint(q, z, x, ()))
        for i, signal in enumerate(signals):
            value += signal * (total(terms) if together else terms[i])
            value += control * relaxed(q, i, given=False) - conditional * relaxed(q, i, given=True)
        return value

    return jax.grad(lambda q: -surrogate(q))(params)


def errors(net: str, name: str, **options) -> dict[str, float]:
    """How far the expected loss and gradient are from the exact ones, by group of parameters."""
    found = case(net, name, **options)
    value, gradient = mean_over(found.chance, found.found)
    groups = {group: worst(gradient.model[group], found.exact[1][group]) for group in gradient.model}
    return {"value": abs(float(value - found.exact[0])), **groups}


@pytest.mark.parametrize(
    ("net", "name"),
    [
        *(drill(net, "rebar") if net in ("one unit", "three layers") else (net, "rebar") for net in NETS),
        ("unit on unit", "relax"),
    ],
)
def test_gradients_are_exact(net, name):
    """For q and p, whatever eta and the network are; quadrature over the uniforms has converged to that."""
    found = errors(net, name)
    assert max(found.values()) < 1e-10, found


def test_gradients_are_exact_in_a_batch():
    """Of two examples, on one unit."""
    found = errors("one unit", "relax", examples=2)
    assert max(found.values()) < 1e-10, found


@pytest.mark.parametrize(("net", "name"), [("two units", "rebar"), ("unit on unit", "relax")])
def test_each_outcome_follows_the_definition(net, name):
    """The model's gradient is g, the control variates' that of |g|^2; neither has anything of the other."""
    found = case(net, name)

    def one(u):
        def square(own):
            g = definition(found, own, u)
            return total(jax.tree.map(lambda v: jnp.sum(v**2), g)), g

        return jax.grad(square, has_aux=True)(found.own)

    own, g = quick_jit(jax.vmap(one))(jax.tree.map(lambda v: v[:, 0], found.u))
    assert worst(found.found[1].model, g) < 1e-10
    scale = max(float(np.max(np.abs(v))) for v in jax.tree.leaves(own))
    assert worst(found.found[1].own, own) < 1e-10 * scale


def variance_of(found: Case, own) -> jax.Array:
    """The variance of g by the enumerated law, summed over the model's parameters."""
    g = jax.vmap(lambda u: definition(found, own, u))(jax.tree.map(lambda v: v[:, 0], found.u))
    return total(
        jax.tree.map(lambda v: jnp.sum(jnp.tensordot(found.chance, (v - jnp.tensordot(found.chance, v, 1)) ** 2, 1)), g)
    )


@pytest.mark.parametrize(("net", "name"), [("unit on unit", "relax"), drill("two units", "rebar")])
def test_control_variates_follow_the_gradient_of_the_variance(net, name):
    """In expectation, for eta, the temperature and the network; a step along it lowers the variance."""
    found = case(net, name)
    step = mean_over(found.chance, found.found[1].own)

    @quick_jit
    def run(own, step):
        variance, gradient = jax.value_and_grad(lambda own: variance_of(found, own))(own)
        length = 0.05 / jnp.sqrt(total(jax.tree.map(lambda g: jnp.sum(g**2), step)))
        return variance, gradient, variance_of(found, jax.tree.map(lambda v, g: v - length * g, own, step))

    before, gradient, after = run(found.own, step)
    assert worst(step, gradient) < 1e-6 * max(float(np.max(np.abs(v))) for v in jax.tree.leaves(gradient))
    assert min(float(np.max(np.abs(v))) for v in jax.tree.leaves(gradient)) > 1e-4
    assert after < before


@pytest.mark.slow
def test_variance_is_below_that_of_plain_scores():
    """eta = 1 at temperature 1/2 against the same estimate without control variates."""
    found = case("unit on unit", "rebar")
    ours, plain = (
        float(quick_jit(lambda own: variance_of(found, own))({**found.own, "log_eta": jnp.full(2, v)}))
        for v in (0.0, -50.0)
    )
    assert ours < plain / 2, (ours, plain)


# Mutants: each is a plausible mistake, and the checks above must see it.


MISTAKES = {
    "no gradient of the conditional sample": {"conditional": 0.0},
    "conditional gradient added": {"conditional": -1.0},
    "no gradient of the relaxed sample": {"control": 0.0},
    "nothing taken off the signal": {"kept": 0.0},
    "control variate added to the signal": {"kept": -1.0},
    "one relaxed pass through all layers": {"together": True},
    "noise of the layer itself above": {"moving_noise": True},
}


def error_of_definition(net: str, **mistake) -> float:
    found = case(net, "rebar")
    g = quick_jit(jax.vmap(lambda u: definition(found, found.own, u, **mistake)["recognition"]))
    mean = mean_over(found.chance, g(jax.tree.map(lambda v: v[:, 0], found.u)))
    return worst(mean, found.exact[1]["recognition"])


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen_through_two_layers(mistake):
    """Each differs by its switch alone from the definition, which agrees with the loss outcome by outcome."""
    assert error_of_definition("unit on unit", **MISTAKES[mistake]) > 1e-3


def test_one_relaxed_pass_is_right_in_one_layer():
    """That it fails above is not seen there."""
    assert error_of_definition("one unit", together=True) < 1e-10


def test_own_parameters_start_as_asked():
    """eta and temperature for each layer, and networks that are zero: relax starts as rebar."""
    toy, x = case("unit on unit", "rebar").toy, jnp.eye(2)
    key, values = jax.random.key(5), []
    for name, build in BUILD.items():
        objective = build(toy.model, eta=0.7, temperature=0.3)
        own, state = objective.init(jax.random.key(0), toy.params, x)
        assert state == ()
        assert worst(own["log_eta"], np.log([0.7, 0.7])) < 1e-12
        assert worst(own["log_temperature"], np.log([0.3, 0.3])) < 1e-12
        assert ("network" in own) == (name == "relax")
        run = quick_jit(jax.value_and_grad(objective.loss, has_aux=True))
        (loss, (state, metrics)), gradient = run(Trainable(toy.params, own), (), key, x, 0)
        assert (state, set(metrics)) == ((), {"bound", "eta", "temperature"})
        assert float(metrics["bound"]) == -float(loss)
        assert (float(metrics["eta"]), float(metrics["temperature"])) == pytest.approx((0.7, 0.3), abs=1e-12)
        values.append((loss, gradient.model))
    assert worst(*values) < 1e-12
    # The networks' last layers learn from the first step on.
    assert all(float(np.max(np.abs(layers[-1][0]))) > 1e-6 for layers in gradient.own["network"])


def test_a_network_of_your_own():
    """Any (init, apply) of one vector: x, then the latents."""
    sizes = []
    network = Network(lambda key, h: sizes.append(h.shape) or jnp.ones(()), lambda scale, h: scale * jnp.sum(h))
    toy, x = case("unit on unit", "rebar").toy, jnp.eye(2)
    objective = relax(toy.model, network)
    own, _ = objective.init(jax.random.key(0), toy.params, x)
    assert sizes == [(4,), (4,)]
    loss, _ = quick_jit(objective.loss)(Trainable(toy.params, own), (), jax.random.key(0), x, 0)
    assert np.isfinite(loss)


def test_what_does_not_fit_is_refused():
    gaussian = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    chained = sigmoid_belief_network(3, layers=(2, 2), recognition=("factorial", "autoregressive"))
    model = sigmoid_belief_network(3, layers=(2,))
    for build, name in ((rebar, "rebar"), (relax, "relax")):
        with pytest.raises(ModelError, match=f"{name} .*{gaussian.name}.*sample_from_uniforms"):
            build(gaussian)
        with pytest.raises(ModelError, match=f"{name} .*{chained.name}"):
            build(chained)
        for field in ("eta", "temperature"):
            for value in (0.0, -1.0, float("nan"), None, "0.5", jnp.cos):
                with pytest.raises(ConfigError, match=f"{name}: {field}: got"):
                    build(model, **{field: value})
    for network in (None, "none", 3, "running_mean"):
        with pytest.raises(ConfigError, match="relax: network"):
            relax(model, network)
