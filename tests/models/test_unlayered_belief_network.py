"""The net without layers is equation 20.70, wherever its hidden units stand, and learns."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from enumeration import enumerated, log_evidence
from toys import binary_states, quick_jit

from genjax_models.config import Config
from genjax_models.core import Trainable, total
from genjax_models.data import Digits
from genjax_models.errors import ConfigError
from genjax_models.models import UnlayeredBeliefNetwork, unlayered_belief_network
from genjax_models.objectives import WakeSleep, reweighted_wake_sleep
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.train import make_train

pytestmark = pytest.mark.usefixtures("x64")
PLACES = {
    "first": (2, (0, 1)),
    "interleaved": ((1, 3), (1, 3)),
    "apart": ((0, 2, 4), (0, 2, 4)),
    "last": ((3, 4), (3, 4)),
}


def probability(weights, bias, s) -> float:
    """p(s) unit by unit: s_i is 1 with probability sigmoid(sum_{j < i} W_ji s_j + b_i)."""
    p = 1.0
    for i in range(len(s)):
        z = bias[i] + sum(weights[i][j] * s[j] for j in range(i))
        on = 1 / (1 + math.exp(-z))
        p *= on if s[i] else 1 - on
    return p


def worst_error(at, model_at) -> float:
    """How far p(x), and p(x, h) of every state, are from what is written out with the hidden units at `at`."""
    toy = enumerated(unlayered_belief_network(3, hidden=model_at), 3, scale=1.0)
    weights, bias = (np.asarray(toy.params["generative"][k]).tolist() for k in ("weights", "bias"))
    joint = quick_jit(jax.vmap(lambda x: jax.vmap(lambda z: total(toy.model.log_joint(toy.params, z, x, ())))(toy.z)))(
        binary_states(3)
    )
    marginal = quick_jit(jax.vmap(lambda x: log_evidence(toy, toy.params, x)))(binary_states(3))
    worst = 0.0
    for k, x in enumerate(itertools.product([0, 1], repeat=3)):
        p_x = 0.0
        for m, h in enumerate(itertools.product([0, 1], repeat=len(at))):
            hidden, rest = dict(zip(at, h, strict=True)), iter(x)
            p = probability(weights, bias, [hidden[i] if i in hidden else next(rest) for i in range(3 + len(at))])
            worst = max(worst, abs(p - math.exp(joint[k, m])))
            p_x += p
        worst = max(worst, abs(p_x - math.exp(marginal[k])))
    return worst


@pytest.mark.parametrize("place", PLACES)
def test_it_is_equation_20_70(place):
    """p(x, h), and p(x) with h summed out, are the products over units written out one by one."""
    field, at = PLACES[place]
    assert worst_error(at, field) < 1e-12


def test_positions_matter():
    """Taken for another order, the same parameters are another distribution."""
    assert worst_error((0, 1), (1, 3)) > 1e-2


def test_hidden_units_after_all_visible_explain_nothing():
    """p(x) then is the fully visible net's, which the hidden units' parameters do not enter; before, they do."""
    for hidden, enter in (((3, 4), False), ((0, 1), True)):
        toy = enumerated(unlayered_belief_network(3, hidden=hidden), 3)
        x = jnp.array([1.0, 0.0, 1.0])
        slope = quick_jit(jax.grad(lambda p, toy=toy, x=x: log_evidence(toy, p, x)))(toy.params)
        slope = slope["generative"]["weights"]
        assert np.any(np.abs(slope[jnp.array(hidden)]) > 1e-6) == enter
        assert not np.any(np.triu(slope))


def test_recognition_is_a_net_over_the_hidden_units():
    """q's logits are x A + c, and if auto-regressive B h of the hidden units before."""
    x, h = np.array([1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0])
    for kind in ("autoregressive", "factorial"):
        model = unlayered_belief_network(3, hidden=3, recognition=kind)
        assert model.factorial_posterior == (kind == "factorial")
        q = enumerated(model, 3).params["recognition"]
        logits = [
            q["bias"][i]
            + sum(x[j] * q["kernel"][j, i] for j in range(3))
            + (sum(q["within"]["lateral"][i, j] * h[j] for j in range(i)) if kind == "autoregressive" else 0.0)
            for i in range(3)
        ]
        (found,) = model.posterior_logits({"recognition": q}, (h,), x, ())
        assert np.max(np.abs(found - np.array(logits))) < 1e-12


@pytest.mark.slow
def test_it_learns():
    """Reweighted wake-sleep raises the exact log p(x) of three patterns close to what is possible, log 1/3."""
    x = jnp.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]])
    toy = enumerated(unlayered_belief_network(4, hidden=(0, 3)), 4, scale=0.1)
    objective, optimizer = reweighted_wake_sleep(toy.model, num_particles=4), optax.adam(0.05)

    def step(state, key):
        params, moments = state
        gradient = jax.grad(lambda p: objective.loss(Trainable(p), (), key, x, 0)[0])(params)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    @quick_jit
    def mean_log_p(params):
        return jnp.mean(jax.vmap(lambda x: log_evidence(toy, params, x))(x))

    keys = jax.random.split(jax.random.key(0), 600)
    (params, _), _ = quick_jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), keys))(toy.params)
    assert float(mean_log_p(toy.params)) < -2.5
    assert float(mean_log_p(params)) > math.log(1 / 3) - 0.1


def test_a_run_may_have_hidden_units_far_up_in_the_order():
    """A run is made before the data's number of visible units is known; it must not be taken for too small."""
    config = UnlayeredBeliefNetwork(hidden=(0, 65))
    make_train(Config(config, WakeSleep(), Adam(), Digits()))
    assert config.build(64).name == "UnlayeredBeliefNetwork"
    assert [UnlayeredBeliefNetwork(hidden).least_visible for hidden in (3, (0, 1), (0, 2), (3, 4))] == [1, 1, 1, 3]
    for hidden in ((0, 2), (3, 4), (0, 65)):
        least = UnlayeredBeliefNetwork(hidden).least_visible
        UnlayeredBeliefNetwork(hidden).build(least)
        if least > 1:
            with pytest.raises(ConfigError, match="position"):
                UnlayeredBeliefNetwork(hidden).build(least - 1)


def test_hidden_positions_are_checked():
    """The message names the field, the value and what is allowed; from the shell both forms are read."""
    for hidden, message in [
        (0, "hidden: got 0, expected at least 1"),
        (-2, "hidden: got -2"),
        ((), "hidden: got an empty tuple"),
        ((2, 1), r"hidden: got \(2, 1\), expected positions from 0 that increase"),
        ((1, 1), "none twice"),
        ((-1, 2), "from 0"),
        ((0, 5), "hidden: got position 5, expected at most 4"),
        (2.0, "hidden"),
        ([0, 1], "hidden"),
        (True, "hidden"),
    ]:
        with pytest.raises(ConfigError, match=message):
            unlayered_belief_network(3, hidden=hidden)
    with pytest.raises(ConfigError, match="recognition"):
        unlayered_belief_network(3, recognition="nade")
    assert overlay(UnlayeredBeliefNetwork(), {"hidden": "0,2"}).hidden == (0, 2)
    assert overlay(UnlayeredBeliefNetwork(), {"hidden": "7"}).hidden == 7
    assert unlayered_belief_network(3, hidden=2) == unlayered_belief_network(3, hidden=(0, 1))
    assert unlayered_belief_network(3).decode is None
