"""NVIL's expected gradient is the bound's, q's divided by max(1, sigma) layer by layer: by enumeration in float64."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drills import rarely
from enumeration import enumerated, log_terms
from outcomes import errors_of, exact_loss, moments_from_after, outcomes, randomized, tied_net
from toys import gaussian_bound, integrate_loss, linear_gaussian, near_posterior, quick_jit, worst

from genjax_models.core import Batch, Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import objective_metrics
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.objectives import nvil
from genjax_models.objectives.baselines import Constant, Moments, Network, Neural
from genjax_models.objectives.common import fixed_particles
from genjax_models.train import make_train_step

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.nvil")

SMALL = Neural((2,))
PLAIN = {"centre": False, "normalize": False, "baseline": None}
AUTOREGRESSIVE = {"generative": "autoregressive", "recognition": "autoregressive"}
# (fields of the net, examples, fields of the objective)
CASES = {
    "one layer": ({"layers": (2,)}, 2, {}),
    "for mutants": ({"layers": (1, 1)}, 1, {}),
    "two layers": ({"layers": (2, 1)}, 1, {}),
    "two layers, K=2": ({"layers": (1, 2)}, 1, {"num_particles": 2}),
    "three layers": ({"layers": (1, 2, 1)}, 1, {}),
    "auto-regressive": ({"layers": (2, 2), **AUTOREGRESSIVE}, 1, {}),
    "global signal": ({"layers": (2, 1)}, 1, {"local": False}),
    "local signals alone": ({"layers": (2, 1, 1)}, 1, PLAIN),
    "not normalized": ({"layers": (2, 1)}, 1, {"normalize": False}),
}
# Moments from before the step: of mean, of standard deviations above and below 1.
MEANS, DEVIATIONS = (-2.1, 0.8, -0.5), (1.7, 0.6, 2.5)


def state_of(number):
    rows = zip(MEANS[:number], DEVIATIONS[:number], strict=True)
    return tuple(Moments(jnp.array(m), jnp.array(s**2), jnp.array(4)) for m, s in rows)


@functools.cache
def setting(case):
    """The toy, the examples, the objective's builder, its own parameters and state, none zero; the exact loss."""
    fields, batch, options = CASES[case]
    x = np.array([[1.0, 0.0], [1.0, 1.0]])[:batch]
    toy = enumerated(sigmoid_belief_network(2, **fields), 2)
    build = functools.partial(nvil, **{"baseline": SMALL, **options})
    own, state = build(toy.model).init(jax.random.key(0), toy.params, x)
    return toy, x, build, randomized(own), state_of(len(state)), exact_loss(toy, x)


def divided(gradient, case):
    """The exact gradient, q's divided by max(1, sigma) of the layer, or of the one signal that there is."""
    _, _, options = CASES[case]
    if not options.get("normalize", True):
        return gradient
    layers = gradient["recognition"]
    scales = {name: max(1.0, DEVIATIONS[int(name[-1]) if options.get("local", True) else 0]) for name in layers}
    layers = {name: jax.tree.map(lambda v, s=scales[name]: v / s, part) for name, part in layers.items()}
    return {**gradient, "recognition": layers}


def errors(case, *mutant):
    """How far the expected loss ("value") and gradient (by group) are from what they should be."""
    toy, x, build, own, state, (value, gradient) = setting(case)
    return errors_of(outcomes(build, toy, x, own, state, *mutant), (value, divided(gradient, case)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", rarely(CASES, "for mutants", "three layers"))
def test_gradients_are_exact_in_expectation(case):
    """p follows the evidence lower bound's gradient, each layer of q the same divided by max(1, sigma)."""
    found = errors(case)
    assert max(found.values()) < 1e-10, found


def rewards(toy, x):
    """What a layer of a two-layer net may change of the log-weight, for every state: (R_1 [S], R_2 [S])."""
    joint = jax.vmap(lambda z: toy.model.log_joint(toy.params, z, x, ()))(toy.z)
    q1, q2 = jax.vmap(lambda z: toy.model.log_posterior(toy.params, z, x, ()))(toy.z)
    above = joint.prior[0] + joint.prior[1] - q2
    return joint.likelihood + above - q1, above


@pytest.mark.usefixtures("x64")
def test_networks_and_moments_follow_the_residuals():
    """C_l descends half the squared error of R_l - C_l - c_l over max(1, sigma_l); c_l, sigma_l follow R_l - C_l."""
    toy, x, build, own, state, _ = setting("two layers")
    run = outcomes(build, toy, x, own, state)

    def residuals(own):
        first, second = rewards(toy, x[0])
        return first - SMALL.apply(own[0], x[0]), second - jax.vmap(lambda h: SMALL.apply(own[1], h))(toy.z[0])

    def error(own):
        chance = jnp.exp(log_terms(toy, toy.params, x[0])[1])
        parts = zip(residuals(own), MEANS, DEVIATIONS, strict=False)
        return sum(chance @ (r - m) ** 2 / (2 * max(1.0, s)) for r, m, s in parts)

    exact, values = quick_jit(lambda own: (jax.grad(error)(own), residuals(own)))(own)
    assert min(float(optax.tree.norm(part)) for part in exact) > 0.01
    assert worst(run.mean(run.gradient.own), exact) < 1e-10
    ages = 0.8 ** np.arange(5)
    rate = ages[0] / ages.sum()
    for after, value, mean, deviation in zip(run.state, values, MEANS, DEVIATIONS, strict=False):
        residual = value[run.particles[:, 0]]
        assert worst(after.mean, mean + rate * (residual - mean)) < 1e-12
        assert worst(after.variance, jnp.full(len(residual), (1 - rate) * deviation**2)) < 1e-12
        assert set(np.asarray(after.batches)) == {5}


# Mutants: each is a plausible mistake, and the check above must see it.


def signals_with(monkeypatch, change):
    original = MODULE.local_signals
    monkeypatch.setattr(MODULE, "local_signals", lambda p, q, z, x: tuple(change(original(p, q, z, x), p, q, z)))


def needed_term_dropped(monkeypatch):
    """The second layer's signal lacks log p(h_1 | h_2)."""
    signals_with(monkeypatch, lambda s, p, q, z: (s[0], s[1]._replace(reward=s[1].reward - p.prior[0])))


def entropy_dropped(monkeypatch):
    """The second layer's signal lacks log q(h_2 | h_1)."""
    signals_with(monkeypatch, lambda s, p, q, z: (s[0], s[1]._replace(reward=s[1].reward + q[1])))


def first_layer_sees_itself_alone(monkeypatch):
    signals_with(monkeypatch, lambda s, p, q, z: (s[0]._replace(reward=s[0].reward - s[1].reward), s[1]))


def layers_exchanged(monkeypatch):
    signals_with(monkeypatch, lambda s, p, q, z: (s[0]._replace(log_q=q[1]), s[1]._replace(log_q=q[0])))


def baseline_of_the_layer_itself(monkeypatch):
    """The second baseline reads h_2, which its signal teaches; both layers have one unit."""
    signals_with(monkeypatch, lambda s, p, q, z: (s[0], s[1]._replace(given=z[1])))


def divided_by_sigma(monkeypatch):
    """Weak signals are blown up."""

    class Unfloored:
        def __getattr__(self, name):
            return (lambda a, b: b) if name == "maximum" else getattr(jnp, name)

    monkeypatch.setattr(MODULE, "jnp", Unfloored())


def divided_by_the_variance(monkeypatch):
    class Unrooted:
        def __getattr__(self, name):
            return (lambda v: v) if name == "sqrt" else getattr(jnp, name)

    monkeypatch.setattr(MODULE, "jnp", Unrooted())


def wrong_sign(monkeypatch):
    signals_with(monkeypatch, lambda s, p, q, z: tuple(part._replace(log_q=-part.log_q) for part in s))


def moments_of_this_step(monkeypatch):
    return moments_from_after


MUTANTS = [
    needed_term_dropped,
    entropy_dropped,
    first_layer_sees_itself_alone,
    layers_exchanged,
    baseline_of_the_layer_itself,
    divided_by_sigma,
    divided_by_the_variance,
    wrong_sign,
    moments_of_this_step,
]


@pytest.mark.slow  # it tests the tests
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail(monkeypatch, mutant):
    """Every mistake moves q's expected gradient by far more than round-off."""
    change = mutant(monkeypatch)
    found = errors("for mutants", *([change] if change else []))
    assert found["recognition"] > 1e-3, found


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_each_part_lowers_the_variance():
    """Local signals and centring lower the variance of q's gradient, each at the same mean."""
    toy, x, *_ = setting("two layers")
    centres = tuple(Moments(jnp.mean(r), jnp.zeros(()), jnp.array(4)) for r in rewards(toy, x[0]))

    def run(state, **options):
        return outcomes(lambda model: nvil(model, **{**PLAIN, **options}), toy, x, (), state)

    runs = run(centres[:1], local=False), run(centres), run(centres, centre=True)
    means = [r.mean(r.gradient.model) for r in runs]
    assert max(worst(means[0], mean) for mean in means[1:]) < 1e-12
    plain, local, centred = (r.variance("recognition") for r in runs)
    assert centred < 0.5 * local
    assert local < 0.9 * plain


@pytest.mark.usefixtures("x64")
def test_shared_parameters_follow_the_bound_unless_normalized():
    """Both gradients reach them; dividing one of the two would leave no bound's gradient, and is refused."""
    toy, x = tied_net(2, 2), np.array([[1.0, 0.0]])
    build = functools.partial(nvil, normalize=False, baseline=SMALL)
    own, state = build(toy.model).init(jax.random.key(0), toy.params, x)
    found = errors_of(outcomes(build, toy, x, randomized(own), state_of(len(state))), exact_loss(toy, x))
    assert set(found) == {"value", "generative", "recognition", "shared"}
    assert max(found.values()) < 1e-10, found
    with pytest.raises(ModelError, match=r"Tied has \"shared\".*normalize=False"):
        nvil(toy.model).init(jax.random.key(0), toy.params, x)


@pytest.mark.usefixtures("x64")
def test_gaussian_particles_are_held_fixed():
    """On a reparameterized model too the gradient is the bound's, by quadrature over the noise."""
    toy, x = near_posterior(linear_gaussian(1, 1)), jnp.array([[0.7]])
    loss = MODULE.NVILLoss(toy.model, 1, False, True, True, None, 0.8)

    def build(model):
        objective = nvil(model, local=False, baseline=None)
        return objective._replace(loss=lambda t, s, *args: objective.loss(t, state_of(1), *args))

    assert nvil(toy.model, local=False, baseline=None).loss == loss
    value, gradient = integrate_loss(build, toy, x, 12)
    exact_value, exact = quick_jit(jax.value_and_grad(lambda p: -gaussian_bound(toy, p, x[0], 1, 12)))(toy.params)
    exact["recognition"] = jax.tree.map(lambda v: v / DEVIATIONS[0], exact["recognition"])
    assert abs(value - exact_value) < 1e-10
    assert worst(gradient, exact) < 1e-10


@pytest.mark.slow
def test_it_trains_and_evaluates():
    """A step moves networks and moments; a batch of one is evaluated; the first step, without moments, is plain."""
    model = sigmoid_belief_network(3, layers=(2, 1))
    x = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    own_pair = Network(lambda key, h: jnp.ones(h.shape), lambda params, h: params @ h)
    objective = nvil(model, baseline=own_pair)
    init, step = make_train_step(objective, optax.sgd(0.1))
    before = init(jax.random.key(0), model.init(jax.random.key(0), x[0], ()), x)
    assert before.phases[0].objective == (Moments.none(),) * 2
    assert [v.shape for v in before.phases[0].own] == [(3,), (2,)]
    after, _ = step(before, x)
    phase = after.phases[0]
    assert int(after.nonfinite) == 0
    assert [int(m.batches) for m in phase.objective] == [1, 1]
    assert worst(phase.own, (np.ones(3), np.ones(2))) > 1e-3
    metrics = objective_metrics(objective, Trainable(after.params, phase.own), phase.objective, jax.random.key(1), x)
    for i, bound in enumerate(metrics["bound"]):
        key = jax.random.fold_in(jax.random.key(1), i)
        log_p, log_q = fixed_particles(model, after.params, after.params, key, Batch(x[i : i + 1]), 1)
        assert abs(bound - jnp.mean(log_p - log_q)) < 1e-12


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built, naming the value and the fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    assert nvil(model) == nvil(sigmoid_belief_network(3, layers=(2,)))
    for number in (0, -1, 2.0, True, None, "3"):
        with pytest.raises(ConfigError, match="num_particles"):
            nvil(model, number)
    for options, message in (
        ({"decay": 1.0}, "decay: got 1.0"),
        ({"decay": -0.1}, "decay"),
        ({"decay": "0.8"}, "decay: got '0.8', expected a number"),
        ({"decay": None}, "decay: got None"),
        ({"local": 1}, "local: got 1"),
        ({"normalize": None}, "normalize"),
        ({"centre": "no"}, "centre"),
        ({"baseline": Constant()}, "baseline"),
        ({"baseline": "running_mean"}, "baseline"),
        ({"baseline": Neural((0,))}, "hidden"),
    ):
        with pytest.raises(ConfigError, match=message):
            nvil(model, **options)
    with pytest.raises(ModelError, match=r"VAE is not known to be one; use local=False"):
        nvil(vae(3, latent=1))
    nvil(vae(3, latent=1), local=False)
    with pytest.raises(ModelError, match="nvil needs a LatentVariableModel"):
        nvil({})
