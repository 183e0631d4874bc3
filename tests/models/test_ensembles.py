"""Ensembles over orders and masks: exact over all states, and trained by members that average to what is stated."""

import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_frequencies
from drills import drill
from toys import binary_states, quick_jit, random_params, worst

from genjax_models.core import Trainable
from genjax_models.errors import ConfigError
from genjax_models.models import deep_nade, made
from genjax_models.models.deep_nade import random_seen
from genjax_models.models.orders import ensemble
from genjax_models.objectives import maximum_likelihood

# The package has a function of the module's name.
module = importlib.import_module("genjax_models.models.deep_nade")


def log_probs(model, params, states):
    return np.asarray(quick_jit(jax.vmap(lambda x: model.log_prob(params, x, ())))(jnp.asarray(states)))


@pytest.mark.parametrize("hidden", [(5,), drill((4, 3))])
def test_deep_nade_sums_to_one_in_every_order(x64, hidden):
    """One set of weights for all orders, which are different distributions; the ensemble is the average of its own."""
    params = random_params(deep_nade(4, hidden=hidden), 4, seed=0, scale=1.0)
    states = binary_states(4)
    by_order = {}
    for order in itertools.permutations(range(4)):
        model = deep_nade(4, hidden=hidden, order=order)
        by_order[order] = np.exp(log_probs(model, params, states))
        assert abs(by_order[order].sum() - 1) < 1e-12
    assert worst(by_order[0, 1, 2, 3], by_order[3, 2, 1, 0]) > 1e-3
    members = [tuple(map(int, o)) for o in ensemble(7, 5, 4)]
    assert len(set(members)) > 1
    found = np.exp(log_probs(deep_nade(4, hidden=hidden, order=7, num_orders=5), params, states))
    assert worst(found, np.mean([by_order[o] for o in members], axis=0)) < 1e-12


def test_deep_nade_of_twelve_units_sums_to_one(x64):
    for seed in (0, 1):
        model = deep_nade(12, hidden=(6, 5), order=seed, num_orders=1 + 2 * seed)
        params = random_params(model, 12, seed=seed)
        assert abs(np.exp(log_probs(model, params, binary_states(12))).sum() - 1) < 1e-10


def test_conditionals_run_along_as_one_pass_gives_them(x64):
    """The scan of log p(x) and the network of [x * seen, seen] are one function, unit by unit."""
    order = (2, 0, 3, 1)
    model = deep_nade(4, hidden=(5, 3), order=order)
    params = random_params(model, 4, seed=1)
    x = jnp.array([1.0, 0.0, 1.0, 1.0])
    logits = model.conditional_logits(params, x, ())
    for position, unit in enumerate(order):
        seen = np.zeros(4, bool)
        seen[list(order[:position])] = True
        one = model.init.module.apply(
            {"params": params}, method=lambda m, s=seen: m.generative(x, jnp.asarray(s, x.dtype))
        )
        assert abs(one[unit] - logits[unit]) < 1e-12


def test_order_agnostic_score_averages_over_all_orders(x64, monkeypatch):
    """Over positions and the sets before them, enumerated: the mean over all D! orders of log p(x | order)."""
    model = deep_nade(4, hidden=(5,))
    params = random_params(model, 4, seed=2, scale=1.0)
    x = jnp.array([0.0, 1.0, 1.0, 0.0])
    now = {}
    monkeypatch.setattr(module, "random_seen", lambda key, visible: now["seen"])
    by_position = []
    for count in range(4):
        scores = []
        for chosen in itertools.combinations(range(4), count):
            now["seen"] = jnp.isin(jnp.arange(4), jnp.array(chosen, int))
            scores.append(float(model.training_log_prob(params, jax.random.key(0), jax.random.key(0), x, ())))
        by_position.append(np.mean(scores))
    orders = itertools.permutations(range(4))
    expected = np.mean([float(deep_nade(4, hidden=(5,), order=o).log_prob(params, x, ())) for o in orders])
    assert abs(np.mean(by_position) - expected) < 1e-12
    assert abs(np.mean(by_position[1:]) - expected) > 1e-4  # a position left out shows


def test_seen_sets_are_those_before_a_uniform_position():
    """p(S) = 1 / D over the sizes 0, ..., D - 1, uniform among the sets of a size."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.vmap(lambda k: random_seen(k, 4))(keys)).astype(int) @ (2 ** np.arange(4))
    sets = np.arange(15)
    sizes = np.array([int(s).bit_count() for s in sets])
    ways = np.array([1, 4, 6, 4])
    assert_frequencies(sets, 1 / 4 / ways[sizes], drawn, fewest=15)


ENSEMBLES = [
    pytest.param({"hidden": (5,), "mask_seed": 3, "num_masks": 4}, id="masks"),
    pytest.param({"hidden": (5, 4), "mask_seed": 3, "num_masks": 4, "order": 2, "order_agnostic": True}, id="both"),
    pytest.param({"hidden": (), "num_masks": 3, "order": 5, "order_agnostic": True}, id="orders"),
]


@pytest.mark.parametrize("fields", ENSEMBLES)
def test_made_averages_probabilities_over_its_masks(x64, fields):
    """Each member, found through the score that trains it, sums to one; p(x) is their mean."""
    model = made(4, **fields)
    number = fields["num_masks"]
    params = random_params(model, 4, seed=1, scale=1.0)
    states = binary_states(4)
    keys = {}
    for i in range(200):
        key = jax.random.key(i)
        keys.setdefault(int(jax.random.randint(key, (), 0, number)), key)
    assert sorted(keys) == list(range(number))
    score = quick_jit(
        lambda key: jax.vmap(lambda x: model.training_log_prob(params, key, key, x, ()))(jnp.asarray(states))
    )
    members = np.exp([np.asarray(score(keys[m])) for m in range(number)])
    np.testing.assert_allclose(members.sum(axis=1), 1, atol=1e-12)
    assert worst(members[0], members[1]) > 1e-3
    assert worst(np.exp(log_probs(model, params, states)), members.mean(axis=0)) < 1e-12
    # The objective: a batch shares a member, whose mean log p it is.
    _, loss = maximum_likelihood(model)
    value, (_, metrics) = loss(Trainable(params), (), jax.random.key(0), jnp.asarray(states), 0)
    shared = jax.random.split(jax.random.key(0))[0]
    assert abs(value + np.log(members[int(jax.random.randint(shared, (), 0, number))]).mean()) < 1e-12
    assert metrics["bound"] == -value
    # In expectation over members it is a bound (Jensen).
    assert np.log(members).mean() < np.log(members.mean(axis=0)).mean()


def test_one_mask_of_an_ensemble_is_the_network_of_that_seed(x64):
    alone, first = made(5, hidden=(7,), mask_seed=3), made(5, hidden=(7,), mask_seed=3, num_masks=2)
    params = random_params(alone, 5, seed=0)
    key = next(k for k in map(jax.random.key, range(50)) if int(jax.random.randint(k, (), 0, 2)) == 0)
    x = jnp.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert abs(first.training_log_prob(params, key, key, x, ()) - alone.log_prob(params, x, ())) < 1e-12


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: deep_nade(4, num_orders=2), "order: got None beside num_orders=2, expected the seed"),
        (lambda: deep_nade(4, num_orders=2, order=(0, 1, 2, 3)), "expected the seed that draws 2 orders"),
        (lambda: deep_nade(4, hidden=()), "hidden: got an empty tuple"),
        (lambda: deep_nade(4, order=(0, 1)), "order: got a permutation of 2 units, but x has 4"),
        (lambda: made(4, num_masks=2), "num_masks: got 2, all of which would be the same; give a mask_seed"),
        (lambda: made(4, order_agnostic=True), "order_agnostic: got True with num_masks=1"),
        (lambda: made(4, num_masks=2, order_agnostic=True), "order: got None beside order_agnostic=True"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
