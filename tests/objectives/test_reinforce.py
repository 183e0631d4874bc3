"""REINFORCE follows the evidence lower bound's gradient whatever its baseline, by enumeration in float64."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drills import drill
from enumeration import enumerated, log_terms
from outcomes import errors_of, exact_loss, moments_from_after, outcomes, randomized, tied_net
from toys import gaussian_bound, integrate_loss, linear_gaussian, near_posterior, quick_jit, worst

from genjax_models.core import Batch, Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation import objective_metrics
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.objectives import Reinforce, reinforce
from genjax_models.objectives.baselines import Constant, LeaveOneOut, Moments, Network, Neural, RunningMean
from genjax_models.objectives.common import fixed_particles
from genjax_models.objectives.particles import evidence_score
from genjax_models.train import make_train_step

# The attribute of that name is the function; mutants patch the module.
MODULE = importlib.import_module("genjax_models.objectives.reinforce")

# (fields of the net, D, K, examples)
SIZES = {
    "small": ({"layers": (2,)}, 1, 1, 1),
    "small, K=2": ({"layers": (2,)}, 1, 2, 1),
    "one layer, K=3": ({"layers": (2,)}, 2, 3, 1),
    "batch of two": ({"layers": (2,)}, 2, 1, 2),
    "two layers, K=2": ({"layers": (2, 1)}, 2, 2, 1),
    "three layers, K=2": ({"layers": (1, 1, 1)}, 2, 2, 1),
    "auto-regressive": ({"layers": (3, 2), "generative": "autoregressive", "recognition": "autoregressive"}, 2, 1, 1),
}


def line(params, x):
    return params @ x - 1.5


OWN_PAIR = Network(lambda key, x: jnp.zeros(x.shape), line)
CASES = [
    ("three layers, K=2", None),
    ("two layers, K=2", Constant(-1.3)),
    ("auto-regressive", RunningMean(0.9)),
    ("one layer, K=3", LeaveOneOut()),
    ("batch of two", Neural((3,))),
    ("three layers, K=2", OWN_PAIR),
]


@functools.cache
def setting(size):
    """The toy, the examples, K, and the exact loss and gradient."""
    fields, visible, particles, batch = SIZES[size]
    x = np.array([[1.0, 0.0], [1.0, 1.0]])[:batch, :visible]
    toy = enumerated(sigmoid_belief_network(visible, **fields), visible)
    return toy, x, particles, exact_loss(toy, x)


def owned(objective, toy, x):
    """The objective's own parameters and state, none of them zero."""
    own, state = objective.init(jax.random.key(0), toy.params, x)
    moments = isinstance(state, Moments)
    return randomized(own), Moments(jnp.array(-1.7), jnp.array(2.3), jnp.array(3)) if moments else state


def errors(size, baseline, *mutant):
    toy, x, particles, exact = setting(size)
    build = functools.partial(reinforce, num_particles=particles, baseline=baseline)
    own, state = owned(build(toy.model), toy, x)
    return errors_of(outcomes(build, toy, x, own, state, *mutant), exact)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("size", "baseline"), CASES)
def test_gradients_are_exact_in_expectation(size, baseline):
    """p and q follow the gradient of the evidence lower bound, and the loss is minus that, with every baseline."""
    found = errors(size, baseline)
    assert max(found.values()) < 1e-10, found


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("baseline", [Neural((3,)), OWN_PAIR])
def test_networks_follow_their_squared_error(baseline):
    """The own gradient is that of half E (log w - C(x))^2 over q's draws, and nothing else has one."""
    toy, x, *_ = setting("batch of two")
    own, _ = owned(reinforce(toy.model, 1, baseline), toy, x)
    run = outcomes(lambda model: reinforce(model, 1, baseline), toy, x, own)

    def error(own):
        def example(x):
            log_p, log_q = log_terms(toy, toy.params, x)
            return jnp.exp(log_q) @ (log_p - log_q - baseline.apply(own, x)) ** 2 / 2

        return jnp.mean(jax.vmap(example)(jnp.asarray(x)))

    exact = quick_jit(jax.grad(error))(own)
    assert float(optax.tree.norm(exact)) > 0.1
    assert worst(run.mean(run.gradient.own), exact) < 1e-10


@pytest.mark.usefixtures("x64")
def test_running_mean_is_read_before_it_is_advanced():
    """The state becomes the mean over batches with the weights of their ages, and the loss used what it was before."""
    toy, x, *_ = setting("small")
    state = Moments(jnp.array(-1.7), jnp.array(2.3), jnp.array(3))
    run = outcomes(lambda model: reinforce(model, 1, RunningMean(0.7)), toy, x, (), state)
    log_p, log_q = log_terms(toy, toy.params, x[0])
    ages = 0.7 ** np.arange(4)
    signal = (log_p - log_q)[run.particles[:, 0]]
    assert worst(run.state.mean, (ages[1:].sum() * -1.7 + signal) / ages.sum()) < 1e-12
    assert set(np.asarray(run.state.batches)) == {4}

    def gradient(states):
        score = jax.grad(lambda p: log_terms(toy, p, x[0])[1][states[0]])(toy.params)["recognition"]
        return jax.tree.map(lambda v: -((log_p - log_q)[states[0]] + 1.7) * v, score)

    assert worst(run.gradient.model["recognition"], quick_jit(jax.vmap(gradient))(run.particles)) < 1e-12


def test_moments_weigh_batches_by_age():
    """After any number of batches, mean and variance are averages of theirs with weights decay^age."""
    batches = np.random.RandomState(0).normal(-100.0, 5.0, size=(5, 8)).astype(np.float32)
    moments = Moments.none()
    for n, batch in enumerate(batches, 1):
        moments = moments.after(batch, 0.8)
        weights = 0.8 ** np.arange(n)[::-1] / (0.8 ** np.arange(n)).sum()
        assert abs(moments.mean - weights @ batches[:n].mean(axis=1)) < 1e-4
        assert abs(moments.variance - weights @ batches[:n].var(axis=1)) < 1e-4
    for bad in (np.inf, np.nan):
        assert moments.after(np.array([1.0, bad]), 0.8) == moments
    assert moments.after(np.array([3.0]), 0.0).mean == 3.0


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_baselines_lower_the_variance():
    """On one net, q's gradient has less variance with a baseline than without, at the same mean."""
    toy, x, particles, (loss, _) = setting("one layer, K=3")
    bound = -float(loss)
    runs = [outcomes(lambda m, b=b: reinforce(m, particles, b), toy, x) for b in (None, Constant(bound), LeaveOneOut())]
    assert all(worst(r.mean(r.gradient.model), runs[0].mean(runs[0].gradient.model)) < 1e-12 for r in runs)
    none, constant, leave_one_out = (run.variance("recognition") for run in runs)
    assert constant < 0.5 * none
    assert leave_one_out < 0.5 * none


# Mutants: each is a plausible mistake, and the check above must see it.


def estimate_with(monkeypatch, change):
    def mutated(p, q, baseline):
        estimate = evidence_score(p, q, baseline)
        return estimate._replace(**change(estimate, p - q))

    monkeypatch.setattr(MODULE, "evidence_score", mutated)


def wrong_sign(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"recognition": -a.recognition})


def pathwise_coefficient(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"recognition": -a.generative})


def summed_over_particles(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"recognition": len(w) * a.recognition})


def weights_for_p(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"generative": jax.nn.softmax(w)})


def importance_weighted_value(monkeypatch):
    estimate_with(monkeypatch, lambda a, w: {"bound": jax.nn.logsumexp(w) - jnp.log(len(w))})


def baseline_of_its_own_particle(monkeypatch):
    monkeypatch.setattr(MODULE, "leave_one_out_mean", lambda w: jnp.full_like(w, jnp.mean(w)))


MUTANTS = {
    importance_weighted_value: ("value",),
    weights_for_p: ("generative",),
    wrong_sign: ("recognition",),
    pathwise_coefficient: ("recognition",),
    summed_over_particles: ("recognition",),
    baseline_of_its_own_particle: ("recognition",),
}


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail(monkeypatch, mutant):
    """Every mistake moves the expectation of each part that it concerns by far more than round-off."""
    mutant(monkeypatch)
    found = errors("small, K=2", LeaveOneOut())
    assert all(found[where] > 1e-3 for where in MUTANTS[mutant]), found


@pytest.mark.usefixtures("x64")
def test_a_running_mean_from_after_the_step_fails():
    """Moments that have seen this step's particles depend on them."""
    assert errors("small", RunningMean(0.5))["recognition"] < 1e-10
    assert errors("small", RunningMean(0.5), moments_from_after)["recognition"] > 1e-3


@pytest.mark.usefixtures("x64")
def test_shared_parameters_follow_the_bound_through_p_and_q():
    toy, x = tied_net(2, 2), np.array([[1.0, 0.0]])
    found = errors_of(outcomes(lambda model: reinforce(model, 1, Constant(-2.0)), toy, x), exact_loss(toy, x))
    assert set(found) == {"value", "generative", "recognition", "shared"}
    assert max(found.values()) < 1e-10, found


@pytest.mark.usefixtures("x64")
def test_gaussian_particles_are_held_fixed():
    """On a reparameterized model too the gradient is the bound's, by quadrature over the noise."""
    toy, x = near_posterior(linear_gaussian(1, 1)), jnp.array([[0.7]])
    value, gradient = integrate_loss(lambda model: reinforce(model, 1, Constant(-1.0)), toy, x, 12)
    exact_value, exact = quick_jit(jax.value_and_grad(lambda p: -gaussian_bound(toy, p, x[0], 1, 12)))(toy.params)
    assert abs(value - exact_value) < 1e-10
    assert worst(gradient, exact) < 1e-10


@pytest.mark.parametrize("name", [drill("running_mean"), "neural"])
def test_baselines_train_and_evaluate(name):
    """A step moves the objective's own parameters and state, and it is evaluated one example at a time."""
    model = sigmoid_belief_network(3, layers=(2,))
    x = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    objective = reinforce(model, 2, name)
    init, step = make_train_step(objective, optax.sgd(0.1))
    before = init(jax.random.key(0), model.init(jax.random.key(0), x[0], ()), x)
    own = jax.tree.map(np.array, before.phases[0].own)
    after, _ = step(before, x)
    assert int(after.nonfinite) == 0
    phase = after.phases[0]
    assert (name == "neural") == bool(jax.tree.leaves(own))
    assert name != "neural" or worst(phase.own, own) > 1e-3
    assert (name == "running_mean") == isinstance(phase.objective, Moments)
    assert name != "running_mean" or int(phase.objective.batches) == 1
    metrics = objective_metrics(objective, Trainable(after.params, phase.own), phase.objective, jax.random.key(1), x)
    for i, bound in enumerate(metrics["bound"]):
        key = jax.random.fold_in(jax.random.key(1), i)
        log_p, log_q = fixed_particles(model, after.params, after.params, key, Batch(x[i : i + 1]), 2)
        assert abs(bound - jnp.mean(log_p - log_q)) < 1e-12


def test_baselines_have_names():
    """Every baseline by its name is the one with its defaults, and rebuilt objectives are equal."""
    defaults = [None, Constant(), RunningMean(), LeaveOneOut(), Neural()]
    names = ["none", "constant", "running_mean", "leave_one_out", "neural"]
    for name, baseline in zip(names, defaults, strict=True):
        one, other = (sigmoid_belief_network(3, layers=(2,)) for _ in range(2))
        assert reinforce(one, 2, name) == reinforce(other, 2, baseline)


def test_what_does_not_fit_is_refused():
    """A misfit is an error when built, naming the value and the fix."""
    model = sigmoid_belief_network(3, layers=(2,))
    for number in (0, -1, 2.0, True, None, "3"):
        with pytest.raises(ConfigError, match="num_particles"):
            reinforce(model, number)
    with pytest.raises(ConfigError, match=r"got 1, expected at least 2.*LeaveOneOut"):
        reinforce(model, 1, LeaveOneOut())
    with pytest.raises(ConfigError, match="Did you mean 'running_mean'"):
        reinforce(model, 1, "runing_mean")
    for wrong in (3.0, Neural, len):
        with pytest.raises(ConfigError, match="baseline: got"):
            reinforce(model, 1, wrong)
    for wrong, message in (
        (RunningMean(1.0), "decay"),
        (Constant(np.inf), "value"),
        (Constant("a"), "value"),
        (Neural((0,)), "hidden"),
    ):
        with pytest.raises(ConfigError, match=message):
            reinforce(model, 1, wrong)
    assert Reinforce(num_particles=1, baseline=LeaveOneOut()).check()
    assert not Reinforce(num_particles=2, baseline=LeaveOneOut()).check()
    with pytest.raises(ModelError, match="reinforce needs a LatentVariableModel"):
        reinforce({})
    reinforce(vae(3, latent=1))
