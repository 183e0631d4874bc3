"""Adversarial games on toys that are solved by hand; each player's gradient is its own group's.

The context of an example stands in for the noise of its sample, so that nothing is random but where a test says so.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import IMPLICIT_MODELS
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, ImplicitModel, Trainable
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import gan, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import Adversarial, adversarial
from genjax_models.objectives.adversarial import slope_norms
from genjax_models.optimizers import SGD, Adam
from genjax_models.train import make_train_step

KINDS = ("minimax", "non_saturating", "wasserstein")


def linear_game():
    """x = A z + b and f(x) = w . x + v, with z the context."""
    return ImplicitModel(
        name="toy",
        init=None,
        sample=lambda params, key, c: params["generative"]["a"] @ c + params["generative"]["b"],
        critic=lambda params, x, c: params["critic"]["w"] @ x + params["critic"]["v"],
    )


def linear_numbers(seed=0):
    draw = np.random.RandomState(seed).normal
    params = {"generative": {"a": draw(size=(3, 2)), "b": draw(size=3)}, "critic": {"w": draw(size=3), "v": draw()}}
    return params, Batch(draw(size=(5, 3)), draw(size=(5, 2)))


def run(objective, params, batch, key=None):
    """(loss, metrics, gradient by group)."""

    def loss(params):
        return objective.loss(Trainable(params), (), jax.random.key(0) if key is None else key, batch, 0)

    (value, (_, metrics)), gradient = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, metrics, gradient


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_derived_by_hand(x64, kind):
    params, (x, z) = linear_numbers()
    a, b, w, v = (*params["generative"].values(), *params["critic"].values())
    critic, generator = adversarial(linear_game(), kind, 1e-9 if kind == "wasserstein" else None)
    y = z @ a.T + b
    real, fake = x @ w + v, y @ w + v
    if kind == "wasserstein":
        value, of_real, of_fake = real.mean() - fake.mean(), np.ones(5), -np.ones(5)
        loss, slope = -fake.mean(), -np.ones(5)
    else:
        value = np.mean(np.log(sigmoid(real))) + np.mean(np.log(1 - sigmoid(fake)))
        of_real, of_fake = 1 - sigmoid(real), -sigmoid(fake)
        minimax = kind == "minimax"
        loss = np.mean(np.log(1 - sigmoid(fake))) if minimax else -np.mean(np.log(sigmoid(fake)))
        slope = -sigmoid(fake) if minimax else -(1 - sigmoid(fake))

    found, metrics, gradient = run(critic, params, Batch(x, z))
    tolerance = 1e-7 if kind == "wasserstein" else 1e-12  # the penalty's weight
    assert abs(found + value) < tolerance
    assert abs(metrics["value"] - value) < 1e-12
    assert worst(gradient["critic"]["w"], -(of_real @ x + of_fake @ y) / 5) < tolerance
    assert abs(gradient["critic"]["v"] + np.mean(of_real + of_fake)) < tolerance
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["generative"]))

    found, metrics, gradient = run(generator, params, Batch(x, z))
    assert abs(found - loss) < 1e-12
    assert abs(metrics["loss"] - loss) < 1e-12
    assert worst(gradient["generative"]["a"], np.einsum("n,d,nz->dz", slope, w, z) / 5) < 1e-12
    assert worst(gradient["generative"]["b"], slope.mean() * w) < 1e-12
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["critic"]))


def tabular_game():
    """x is one of four states, one-hot; f is a table."""
    return ImplicitModel("toy", None, lambda params, key, c: c, critic=lambda params, x, c: params["critic"] @ x)


def test_value_of_the_best_discriminator(x64):
    """At D = p / (p + q), V = 2 JS(p, q) - log 4, its gradient is zero, and any other D has less."""
    p, q = np.array([4, 1, 2, 1]) / 8, np.array([1, 1, 1, 5]) / 8
    x, y = (np.repeat(np.eye(4), (8 * r).astype(int), axis=0) for r in (p, q))
    middle = (p + q) / 2
    js = 0.5 * np.sum(p * np.log(p / middle)) + 0.5 * np.sum(q * np.log(q / middle))
    best = np.log(p / q)
    critic = adversarial(tabular_game(), "minimax").critic
    _, metrics, gradient = run(critic, {"critic": best}, Batch(x, y))
    assert abs(metrics["value"] - (2 * js - np.log(4))) < 1e-12
    assert worst(gradient["critic"], np.zeros(4)) < 1e-12
    for seed in range(5):
        other = best + np.random.RandomState(seed).normal(size=4)
        assert run(critic, {"critic": other}, Batch(x, y))[1]["value"] < metrics["value"] - 1e-3


def test_wasserstein_value_of_the_best_critic(x64):
    """f(x) = -x is the best of slope 1 where the samples all lie above the data: the value is the distance."""
    model = ImplicitModel("toy", None, lambda params, key, c: c, critic=lambda params, x, c: params["critic"] @ x)
    draw = np.random.RandomState(1).uniform
    x, y = draw(0, 1, (6, 1)), draw(1, 4, (6, 1))
    critic = adversarial(model, "wasserstein", 10.0).critic
    loss, metrics, gradient = run(critic, {"critic": np.array([-1.0])}, Batch(x, y))
    assert abs(metrics["value"] - np.mean(np.sort(y, axis=0) - np.sort(x, axis=0))) < 1e-12
    assert abs(metrics["gradient_penalty"]) < 1e-24
    assert abs(loss + metrics["value"]) < 1e-12
    assert gradient["critic"].shape == (1,)


@pytest.mark.parametrize("norm", [0.0, 0.3, 1.0, 2.5])
def test_gradient_penalty_of_a_linear_critic(x64, norm):
    """(g - 1)^2 for a slope of norm g, with gradient 2 (g - 1) w / g, and 0 for a flat critic."""
    params, batch = linear_numbers(2)
    w = params["critic"]["w"]
    w = norm * w / np.linalg.norm(w)
    params["critic"]["w"] = w
    with_penalty, without = (adversarial(linear_game(), "non_saturating", g).critic for g in (7.0, None))
    loss, metrics, gradient = run(with_penalty, params, batch)
    plain, _, plain_gradient = run(without, params, batch)
    assert abs(metrics["gradient_penalty"] - (norm - 1) ** 2) < 1e-12
    assert abs(loss - plain - 7 * (norm - 1) ** 2) < 1e-12
    expected = 7 * 2 * (norm - 1) * w / norm if norm else np.zeros(3)
    assert worst(gradient["critic"]["w"] - plain_gradient["critic"]["w"], expected) < 1e-12


def test_gradient_penalty_is_taken_between_the_pair(x64):
    """With f = |x|^2 / 2 the slope is x^ itself: drawn evenly between x and its sample, anew for each pair."""
    model = ImplicitModel("toy", None, lambda p, key, c: c, critic=lambda p, x, c: p["critic"] * x @ x / 2)
    number = 20_000
    x, y = np.zeros((number, 1)), np.ones((number, 1))
    _, metrics, _ = run(adversarial(model, "wasserstein", 1.0).critic, {"critic": 1.0}, Batch(x, y))
    # E (u - 1)^2 = 1/3 with variance 4/45 for uniform u.
    assert abs(metrics["gradient_penalty"] - 1 / 3) < 4 * np.sqrt(4 / 45 / number)
    _, metrics, _ = run(adversarial(model, "wasserstein", 1.0).critic, {"critic": 1.0}, Batch(3 * y, 3 * y))
    assert abs(metrics["gradient_penalty"] - 4) < 1e-12


def test_slopes_are_those_of_finite_differences(x64):
    small = IMPLICIT_MODELS["gan"][1]
    model = small.config.build(small.visible)
    params = random_params(model, small.visible, seed=0)
    x = np.random.RandomState(0).uniform(size=(3, small.visible))
    step = 1e-6 * np.eye(small.visible)

    def norm(x):
        rise = jax.vmap(lambda e: model.critic(params, x + e, ()) - model.critic(params, x - e, ()))(step)
        return jnp.linalg.norm(rise / 2e-6)

    both = quick_jit(lambda x: (slope_norms(model, params, x, ()), jax.vmap(norm)(x)))
    assert worst(*both(jnp.asarray(x))) < 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_players_reach_their_own_group_alone(x64, kind):
    """On a real network; both at once is the sum of the two losses, whose gradient is both gradients."""
    small = IMPLICIT_MODELS["gan"][0]
    model = small.config.build(small.visible)
    params = random_params(model, small.visible, seed=0)
    x = np.random.RandomState(0).uniform(size=(4, small.visible))
    config = Adversarial(kind=kind, gradient_penalty=3.0)
    critic, generator = adversarial(model, kind, 3.0)
    key = jax.random.key(3)
    keys = jax.random.split(key)  # as `weighted_sum` gives them
    one, _, of_critic = run(critic, params, x, keys[0])
    two, _, of_generator = run(generator, params, x, keys[1])
    for gradient, own in ((of_critic, "critic"), (of_generator, "generative")):
        for group, part in gradient.items():
            assert any(np.any(leaf) for leaf in jax.tree.leaves(part)) == (group == own)
    both = config.build(model)
    value, (_, metrics) = both.loss(Trainable(params, ((), ())), ((), ()), key, x, 0)
    assert abs(value - one - two) < 1e-12
    assert {"critic/value", "critic/gradient_penalty", "generator/loss"} < set(metrics)


def test_phases_are_as_configured():
    """Repeats and optimizers are the players' own: a rate of zero holds one group still and moves the other."""
    model = gan(2, latent=2, generator=MLP(hidden=(3,)), critic=MLP(hidden=(3,)))
    x = jnp.asarray(np.random.RandomState(0).uniform(size=(4, 6, 2)), jnp.float32)
    start = model.init(jax.random.key(0), x[0, 0], ())
    for optimizer, of_critic, moving in (
        (SGD(0.0), SGD(0.1), {"critic"}),
        (SGD(0.1), SGD(0.0), {"generative"}),
        (SGD(0.1), None, {"critic", "generative"}),
    ):
        config = Adversarial(critic_updates=3, critic_optimizer=of_critic)
        phases = config.phases(model, optimizer)
        assert [(p.group, p.repeats) for p in phases] == [("critic", 3), ("generative", 1)]
        init, step = make_train_step(*phases)[:2]
        state, metrics = step(init(jax.random.key(1), start, x[0]), x)
        moved = {group for group in start if worst(start[group], state.params[group]) > 0}
        assert moved == moving
        assert set(metrics) == {Adversarial.metric, "1.generative/loss"}


@pytest.mark.slow
def test_training_nears_the_data():
    """A generator of one number moves from 0 to the data's mean, 2, and stays there."""
    model = gan(1, latent=1, generator=MLP(hidden=()), critic=MLP(hidden=(16,), activation="tanh"), data="real")
    init, step = make_train_step(*Adversarial(critic_updates=3).phases(model, Adam(learning_rate=1e-2, b1=0.5)))[:2]
    x = 2 + 0.5 * jax.random.uniform(jax.random.key(0), (300, 4, 50, 1), minval=-1)
    start = init(jax.random.key(1), model.init(jax.random.key(2), x[0, 0, 0], ()), x[0, 0])
    state, _ = jax.jit(lambda state: jax.lax.scan(step, state, x))(start)
    drawn = jax.vmap(lambda k: model.sample(state.params, k, ()))(jax.random.split(jax.random.key(3), 500))
    assert abs(np.mean(drawn) - 2) < 0.2


def test_bad_input_is_named():
    model = gan(2)
    with pytest.raises(
        ModelError, match=r"adversarial needs an ImplicitModel with a critic, got 'VAE', which is a Latent"
    ):
        adversarial(vae(3))
    with pytest.raises(ModelError, match=r"got 'GAN', which is one without"):
        adversarial(model._replace(critic=None))
    with pytest.raises(ConfigError, match="kind: got 'hinge', expected one of 'minimax'"):
        adversarial(model, "hinge")
    with pytest.raises(ConfigError, match="gradient_penalty: got None with the wasserstein game"):
        adversarial(model, "wasserstein")
    with pytest.raises(ConfigError, match=r"gradient_penalty: got 0\.0"):
        adversarial(model, "minimax", 0.0)
    assert Adversarial(kind="wasserstein").check()
    assert not Adversarial(kind="wasserstein", gradient_penalty=10.0).check()
