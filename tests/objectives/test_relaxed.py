"""The objectives that differentiate through binary samples, against enumeration and quadrature in float64.

Their draws are standard logistic variables, prescribed here: hard units by their sign, relaxed ones on a grid.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import enumerated, exact_bound, log_evidence, log_terms
from toys import (
    enumerate_loss,
    net,
    net_log_joint,
    net_log_posterior,
    quick_jit,
    random_params,
    worst,
)

from genjax_models.core import Batch, Trainable
from genjax_models.distributions import BinaryConcrete
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import Concrete, GumbelSoftmax, StraightThrough, concrete, relaxed, straight_through
from genjax_models.optimizers import Cosine, Linear, Stages

pytestmark = pytest.mark.usefixtures("x64")

NETS = [((2,), 3, "sigmoid"), ((2, 1), 2, "identity"), ((1, 2, 1), 2, "sigmoid")]
KEY = jax.random.key(7)


def gradients_at(objective, params, noise, x):
    """The loss and its gradient for every row of noise, leaves [M, n], one particle of one example."""

    def one(noise):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(relaxed, "logistic_noise", lambda *args: noise)
            return jax.value_and_grad(lambda p: objective.loss(Trainable(p), (), KEY, x[None], 0)[0])(params)

    return quick_jit(jax.vmap(one))(noise)


# Straight through.


def hard_noise(z):
    """Noise that makes each unit what it is in z."""
    return jax.tree.map(lambda s: jnp.where(s > 0, 1e3, -1e3), z)


def expected_straight_through(build, toy, x):
    """The expected loss and gradient, over all hard samples."""
    value, gradient = gradients_at(build(toy.model), toy.params, hard_noise(toy.z), x)
    chance = jnp.exp(log_terms(toy, toy.params, x)[1])
    return chance @ value, jax.tree.map(lambda g: jnp.tensordot(chance, g, 1), gradient)


def moved_logits(recognition, below, i):
    layer = recognition[f"layers_{i}"]
    return below @ layer["kernel"] + layer["bias"]


def straight_through_by_definition(toy, x, slope):
    """sum_z q(z | x) grad [log p(x, h) - log q(h | x)] with h_l(params) = z_l + s(phi_l(params)) - s(phi_l)."""
    s = jax.nn.sigmoid if slope == "sigmoid" else lambda v: v
    fixed = toy.params["recognition"]

    def along(params, z):
        h, below = [], x
        for i, (unit, held) in enumerate(zip(z, (x, *z[:-1]), strict=True)):
            below = unit + s(moved_logits(params["recognition"], below, i)) - s(moved_logits(fixed, held, i))
            h.append(below)
        return net_log_joint(params["generative"], tuple(h), x) - net_log_posterior(params["recognition"], tuple(h), x)

    chance = jnp.exp(log_terms(toy, toy.params, x)[1])
    gradient = quick_jit(jax.vmap(jax.grad(along), (None, 0)))(toy.params, toy.z)
    return jax.tree.map(lambda g: -jnp.tensordot(chance, g, 1), gradient)


@pytest.mark.parametrize(("layers", "visible", "slope"), NETS)
def test_straight_through_is_its_definition_and_biased(layers, visible, slope):
    """Its expectation is the definition's; p's part is the bound's gradient, q's is far from it."""
    toy = enumerated(sigmoid_belief_network(visible, layers=layers), visible)
    x = jnp.arange(visible) % 2 * 1.0
    value, gradient = expected_straight_through(functools.partial(straight_through, slope=slope), toy, x)
    assert worst(gradient, straight_through_by_definition(toy, x, slope)) < 1e-10
    bound, exact = quick_jit(jax.value_and_grad(lambda p: -exact_bound(toy, p, x)))(toy.params)
    assert abs(value - bound) < 1e-10
    assert worst(gradient["generative"], exact["generative"]) < 1e-10
    assert worst(gradient["recognition"], exact["recognition"]) > 1e-2


def soft_units(self, logits, noise):
    return jax.nn.sigmoid(logits)


def detached_units(self, logits, noise):
    return (logits + noise > 0).astype(logits.dtype)


def other_slope(self, logits, noise):
    return (logits + noise > 0) + (logits - jax.lax.stop_gradient(logits))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [soft_units, detached_units, other_slope])
def test_mutants_of_straight_through_fail(monkeypatch, mutant):
    """Units that are not hard, do not move, or move with another slope differ from the definition."""
    toy = enumerated(sigmoid_belief_network(2, layers=(2, 1)), 2)
    x = jnp.array([1.0, 0.0])
    monkeypatch.setattr(relaxed.StraightThroughLoss, "unit", mutant)
    _, gradient = expected_straight_through(straight_through, toy, x)
    error = worst(gradient["recognition"], straight_through_by_definition(toy, x, "sigmoid")["recognition"])
    assert error > 1e-3


# Concrete: quadrature over y, by the trapezoidal rule, which converges exponentially here.

TEMPERATURES = 0.7, 0.45


def grid(units, step, reach):
    """Points y [M, units] and their volume."""
    points = np.arange(-reach, reach, step)
    return jnp.array(list(itertools.product(points, repeat=units))), step**units


def concrete_log_density(y, logits, temperature):
    """log of the density of y = logit(z), z binary Concrete, over the last axis."""
    odds = logits - temperature * y  # log of alpha (1 - z)^t / z^t
    return jnp.sum(jnp.log(temperature) + odds - 2 * jnp.logaddexp(odds, 0.0), axis=-1)


def density_in_the_paper(z, alpha, t):
    """The density of z in (0, 1) (Maddison et al. 2017, appendix C)."""
    return t * alpha * z ** (-t - 1) * (1 - z) ** (-t - 1) / (alpha * z**-t + (1 - z) ** -t) ** 2


def test_binary_concrete_integrates_to_one_and_follows_its_noise():
    """Its density is the paper's, and that of the y which logistic noise gives."""
    logits = jnp.array([-1.3, 0.4])
    for temperature in (0.3, 1.0, 2.0):
        q = BinaryConcrete(logits, temperature)
        y = jnp.linspace(-5, 5, 11)[:, None] * jnp.ones(2)
        z = jax.nn.sigmoid(y)
        density = density_in_the_paper(z, jnp.exp(logits), temperature) * z * (1 - z)
        assert worst(q.log_density(y), jnp.sum(jnp.log(density), axis=1)) < 1e-12
        for one in logits:
            points = jnp.arange(-150.0, 150.0, 0.05)[:, None]
            density = jnp.exp(BinaryConcrete(one[None], temperature).log_density(points))
            assert abs(density.sum() * 0.05 - 1) < 1e-10
        u = jnp.linspace(0.01, 0.99, 99)[:, None] * jnp.ones(2)
        below = jax.nn.sigmoid(temperature * q.from_noise(jax.scipy.special.logit(u)) - logits)  # P(Y <= y)
        assert worst(below, u) < 1e-12
    assert np.isfinite(BinaryConcrete(logits, 0.1).log_density(jnp.array([-800.0, 800.0])))


def relaxed_densities(params, y, x, temperature, prior_temperature):
    """log p(x | z) + log p(y) and log q(y | x) of a belief net with one unit a layer, y [M, layers]."""
    z = jax.nn.sigmoid(y)
    below, number = params["generative"]["below"], y.shape[1]
    layer = below["layers_0"]
    logits = z[:, :1] @ layer["kernel"] + layer["bias"]
    log_p = jnp.sum(x * logits - jnp.logaddexp(logits, 0.0), axis=1)
    log_q = jnp.zeros(len(y))
    for i in range(number):
        if i + 1 == number:
            prior = params["generative"]["top_logits"]
        else:
            prior = z[:, i + 1 : i + 2] @ below[f"layers_{i + 1}"]["kernel"] + below[f"layers_{i + 1}"]["bias"]
        posterior = moved_logits(params["recognition"], x if i == 0 else z[:, i - 1 : i], i)
        log_p = log_p + concrete_log_density(y[:, i : i + 1], prior, prior_temperature)
        log_q = log_q + concrete_log_density(y[:, i : i + 1], posterior, temperature)
    return log_p, log_q


def relaxed_bound(params, y, volume, x, temperature, prior_temperature):
    """The relaxed model's evidence lower bound, an integral over a fixed grid of y: its gradient takes no path."""
    log_p, log_q = relaxed_densities(params, y, x, temperature, prior_temperature)
    return jnp.sum(jnp.exp(log_q) * (log_p - log_q)) * volume


def expected_relaxed_gradient(build, params, layers, visible, x):
    """The expected gradient of the loss over its noise, one unit a layer."""
    noise, volume = grid(layers, 0.25, 34.0)
    weight = jnp.exp(jnp.sum(noise - 2 * jnp.logaddexp(noise, 0.0), axis=1)) * volume
    model = sigmoid_belief_network(visible, layers=(1,) * layers)
    columns = tuple(noise[:, i : i + 1] for i in range(layers))
    _, gradient = gradients_at(build(model), params, columns, x)
    return jax.tree.map(lambda g: jnp.tensordot(weight, g, 1), gradient)


def concrete_error(layers, build=None):
    visible = 2
    x = jnp.array([1.0, 0.0])
    params = random_params(sigmoid_belief_network(visible, layers=(1,) * layers), visible, seed=3)
    build = build or (lambda model: concrete(model, 1, *TEMPERATURES))
    found = expected_relaxed_gradient(build, params, layers, visible, x)
    y, volume = grid(layers, 0.35, 90.0 if layers == 1 else 60.0)
    exact = quick_jit(jax.grad(lambda p: -relaxed_bound(p, y, volume, x, *TEMPERATURES)))(params)
    return worst(found, exact)


@pytest.mark.parametrize("layers", [1, 2])
def test_concrete_follows_the_relaxed_bound(layers):
    """The expected gradient along the noise is that of the bound written as an integral over y."""
    assert concrete_error(layers) < 1e-9


def one_temperature_for_both(monkeypatch):
    return lambda model: concrete(model, 1, TEMPERATURES[0], TEMPERATURES[0])


def temperatures_exchanged(monkeypatch):
    return lambda model: concrete(model, 1, *TEMPERATURES[::-1])


def masses_for_densities(monkeypatch):
    mass = lambda self, y: jnp.sum(self.logits * jax.nn.sigmoid(y) - jnp.logaddexp(self.logits, 0.0), axis=-1)  # noqa: E731
    monkeypatch.setattr(BinaryConcrete, "log_density", mass)


def logits_of_hard_layers(monkeypatch):
    """The layer above sees rounded units."""
    draw = relaxed.draw_by_layer

    def rounded(model, params, noise, x, c, unit):
        hard, _ = draw(model, params, noise, x, c, lambda phi, v: (phi + v > 0).astype(v.dtype))
        logits = model.posterior_logits(params, hard, x, c)
        return jax.tree.map(unit, logits, noise), logits

    monkeypatch.setattr(relaxed, "draw_by_layer", rounded)


@pytest.mark.slow  # it tests the tests
@pytest.mark.parametrize(
    ("mutant", "layers"),
    [
        (one_temperature_for_both, 1),
        (temperatures_exchanged, 1),
        (masses_for_densities, 1),
        (logits_of_hard_layers, 2),
    ],
)
def test_mutants_of_concrete_fail(monkeypatch, mutant, layers):
    assert concrete_error(layers, mutant(monkeypatch)) > 1e-3


def test_relaxed_bound_lies_below_the_relaxed_evidence():
    """One particle below two below log of the integral of p(x | z) p(y)."""
    params = random_params(sigmoid_belief_network(2, layers=(1,)), 2, seed=3)
    x = jnp.array([1.0, 0.0])
    y, volume = grid(1, 0.35, 90.0)
    log_p, log_q = relaxed_densities(params, y, x, *TEMPERATURES)
    evidence = jnp.log(jnp.sum(jnp.exp(log_p)) * volume)
    one = relaxed_bound(params, y, volume, x, *TEMPERATURES)
    pair = jnp.logaddexp(log_p - log_q, (log_p - log_q)[:, None]) - jnp.log(2.0)
    two = jnp.exp(log_q) @ pair @ jnp.exp(log_q) * volume**2
    assert one + 1e-3 < two < evidence - 1e-3


def test_relaxed_bound_as_the_temperatures_fall():
    """log p(x | z) comes to the binary model's; the divergence to that of logistic variables, larger than the binary.

    It is the same where q has the prior's logits, and there alone the relaxed bound comes to the binary one.
    """
    toy = enumerated(sigmoid_belief_network(2, layers=(1,)), 2, seed=3, scale=2.0)
    toy.params["recognition"]["layers_0"]["bias"] += 2  # away from the prior
    x = jnp.array([1.0, 0.0])
    noise, volume = grid(1, 0.01, 40.0)
    weight = jnp.exp(noise[:, 0] - 2 * jnp.logaddexp(noise[:, 0], 0.0)) * volume

    @quick_jit
    def at(params, temperature):
        log_w = jax.vmap(
            lambda v: relaxed.relaxed_log_weight(toy.model, params, (v,), x, (), temperature, temperature)
        )(noise)
        return weight @ log_w

    def log_logistic(s):
        return s - 2 * jnp.logaddexp(s, 0.0)

    def limit(params):
        """The binary model's expected log p(x | z), less the divergence of two logistic variables."""
        log_q = toy.model.log_posterior
        q = jnp.exp(jax.vmap(lambda z: log_q(params, z, x, ())[0])(toy.z))
        likelihood = q @ jax.vmap(lambda z: toy.model.log_joint(params, z, x, ()).likelihood)(toy.z)
        phi = moved_logits(params["recognition"], x, 0)
        above = params["generative"]["top_logits"] - phi - noise
        return likelihood - weight @ (log_logistic(-noise) - log_logistic(above))[:, 0]

    errors = [abs(at(toy.params, t) - limit(toy.params)) for t in (0.4, 0.2, 0.1, 0.05)]
    assert all(after < 0.65 * before for before, after in itertools.pairwise(errors)), errors
    assert errors[-1] < 0.02
    assert limit(toy.params) < exact_bound(toy, toy.params, x) - 1e-2
    same = {**toy.params, "recognition": jax.tree.map(jnp.zeros_like, toy.params["recognition"])}
    same["recognition"]["layers_0"]["bias"] = toy.params["generative"]["top_logits"]
    assert abs(limit(same) - exact_bound(toy, same, x)) < 1e-8
    assert abs(at(same, 0.02) - exact_bound(toy, same, x)) < 0.02


@pytest.mark.parametrize("particles", [1, 2])
def test_the_value_of_concrete_is_the_binary_bound(particles):
    """Minus the K-particle bound in expectation over hard samples of the true q, whatever the relaxed ones are."""
    toy = net((2, 1), 2)
    x = jnp.array([[1.0, 0.0]])
    value, _ = enumerate_loss(lambda model: concrete(model, particles), toy, x).expected()
    same = enumerated(toy.model, 2)._replace(params=toy.params)
    assert abs(value + exact_bound(same, toy.params, x[0], particles)) < 1e-10


def test_metrics_and_particles():
    """Metric bound is minus the loss; followed is relaxed_bound, the mean over examples of the bound of K particles."""
    toy = enumerated(sigmoid_belief_network(3, layers=(2, 1)), 3)
    x = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    trainable = Trainable(toy.params)
    objective = concrete(toy.model, 3, 0.5, 0.5)

    def loss(params, metric):
        value, (_, metrics) = objective.loss(Trainable(params), (), KEY, Batch(x), 0)
        return (value, -metrics["relaxed_bound"])[metric], metrics

    (value, metrics), gradient = quick_jit(jax.value_and_grad(functools.partial(loss, metric=0), has_aux=True))(
        toy.params
    )
    _, followed = quick_jit(jax.value_and_grad(functools.partial(loss, metric=1), has_aux=True))(toy.params)
    assert set(metrics) == {"bound", "relaxed_bound"}
    assert value == -metrics["bound"] != -metrics["relaxed_bound"]
    assert worst(gradient, followed) == 0

    # The loss draws from the first half of its key, one key a particle.
    keys = jax.random.split(jax.random.split(KEY)[0], 6)

    def weight(key, x):
        noise = relaxed.logistic_noise(toy.model, toy.params, key, x, ())
        return relaxed.relaxed_log_weight(toy.model, toy.params, noise, x, (), 0.5, 0.5)

    weights = quick_jit(jax.vmap(weight))(keys, x[jnp.arange(6) // 3])
    bounds = jax.nn.logsumexp(weights.reshape(2, 3), axis=1) - jnp.log(3)
    assert abs(metrics["relaxed_bound"] - jnp.mean(bounds)) < 1e-12
    value, (_, metrics) = quick_jit(straight_through(toy.model, 3).loss)(trainable, (), KEY, x, 0)
    assert set(metrics) == {"bound"}
    assert value == -metrics["bound"]


def test_hard_units_are_drawn_with_their_probabilities():
    """Logistic noise above -logit has probability sigmoid(logit), for each unit and layer by itself."""
    toy = enumerated(sigmoid_belief_network(2, layers=(2, 1)), 2)
    x = jnp.array([1.0, 0.0])
    keys = jax.random.split(KEY, 40_000)

    def draw(key):
        noise = relaxed.logistic_noise(toy.model, toy.params, key, x, ())
        unit = relaxed.StraightThroughLoss(toy.model, 1, "sigmoid").unit
        return relaxed.draw_by_layer(toy.model, toy.params, noise, x, (), unit)[0]

    (below, above), chance = jax.jit(jax.vmap(draw))(keys), jnp.exp(log_terms(toy, toy.params, x)[1])
    states = jnp.array([4, 2, 1]) @ jnp.concatenate([below, above], axis=1).T
    found = np.bincount(np.asarray(states, int), minlength=8) / len(keys)
    assert np.all(np.abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / len(keys)))


def test_temperature_may_follow_the_step():
    """Schedules are read at the step."""
    toy = enumerated(sigmoid_belief_network(2, layers=(2,)), 2)
    x = jnp.array([[1.0, 0.0]])
    config = Concrete(temperature=Linear(1.0, 0.2, 10), prior_temperature=Linear(0.8, 0.4, 10))
    scheduled, fixed = config.build(toy.model), concrete(toy.model, 1, 0.6, 0.6)

    def metrics(objective, step):
        return quick_jit(objective.loss)(Trainable(toy.params), (), KEY, x, step)[1][1]

    found, other = metrics(scheduled, 5), metrics(fixed, 5)
    assert abs(found["relaxed_bound"] - other["relaxed_bound"]) < 1e-6
    start = metrics(scheduled, 0)
    assert abs(start["relaxed_bound"] - other["relaxed_bound"]) > 1e-3


def test_log_evidence_bounds_the_value():
    """The reported bound, unlike the followed one, is below log p(x) of the binary model."""
    toy = enumerated(sigmoid_belief_network(2, layers=(2,)), 2)
    x = jnp.array([1.0, 0.0])
    assert exact_bound(toy, toy.params, x, 2) < log_evidence(toy, toy.params, x)


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built, naming objective, model and fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    gaussian = vae(3, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    for build in (concrete, straight_through):
        name = build.__name__
        with pytest.raises(ModelError, match=rf"{name} is for binary latents.*VAE.*elbo or iwae"):
            build(gaussian)
        for lacking in (model._replace(factorial_posterior=False), model._replace(posterior_logits=None)):
            with pytest.raises(ModelError, match=rf"{name}.*SigmoidBeliefNetwork.*reweighted_wake_sleep"):
                build(lacking)
        with pytest.raises(ModelError, match=f"{name} needs a LatentVariableModel"):
            build({})
        for number in (0, 2.0, True, None):
            with pytest.raises(ConfigError, match="num_particles"):
                build(model, number)
    autoregressive_prior = model._replace(prior_logits=None)
    with pytest.raises(ModelError, match=r"concrete.*SigmoidBeliefNetwork.*straight_through"):
        concrete(autoregressive_prior)
    straight_through(autoregressive_prior)
    for wrong in (0.0, -1, float("nan"), float("inf"), None, "0.5", jnp.ones(2)):
        with pytest.raises(ConfigError, match=r"concrete: temperature: got"):
            concrete(model, temperature=wrong)
        with pytest.raises(ConfigError, match=r"prior_temperature: got"):
            concrete(model, prior_temperature=wrong)
    with pytest.raises(ConfigError, match=r"slope: got 'tanh'.*'sigmoid', 'identity'"):
        straight_through(model, slope="tanh")


def test_configurations_say_what_they_cannot_be():
    """A schedule that ends at zero is found before it divides by it."""
    for wrong in (Cosine(start=1.0), Linear(0.0, 1.0), Linear(1.0, -1.0, delay=5), Stages((1.0, 0.0, 0.5), (3, 7))):
        assert len(Concrete(temperature=wrong).check()) == 1
        assert len(GumbelSoftmax(temperature=wrong).check()) == 1
        assert len(Concrete(prior_temperature=wrong).check()) == 1
    assert Concrete(temperature=Cosine(start=1.0, final_fraction=0.1)).check() == []
    model = sigmoid_belief_network(3, layers=(2,))
    assert Concrete(2, 0.5, 0.25).build(model) == concrete(model, 2, 0.5, 0.25)
    assert StraightThrough(2, "identity").build(model) == straight_through(model, 2, "identity")
