"""Statistics of gradient estimates, on losses whose noise is known and on nets that are enumerated."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from enumeration import enumerated, exact_bound
from toys import quick_jit, within_errors, worst

from genjax_models.core import Batch, Objective, Trainable
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import exact_gradient, gradient_statistics
from genjax_models.evaluation.gradients import _accumulate, _Moments, _Sums
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import reweighted_wake_sleep, straight_through, wake_sleep

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(5)
PARAMS = {"generative": {"w": np.array([1.0, -2.0, 0.5])}, "recognition": {"v": np.array([[3.0]])}}
SLOPE, SPREAD = np.array([0.3, -1.0, 2.0]), np.array([0.5, 0.0, 1.5])
X = np.ones((4, 2))


@dataclasses.dataclass(frozen=True)
class Noisy:
    """A loss whose gradient of w is SLOPE + SPREAD * noise, scaled by its own parameter and state, and of v a mean."""

    def __call__(self, trainable, state, key, batch, step):
        noise = jax.random.normal(key, (3,))
        w = jnp.sum(trainable.model["generative"]["w"] * (SLOPE + SPREAD * noise))
        v = jnp.sum(jnp.asarray(trainable.model["recognition"]["v"])) * jnp.mean(batch.x)
        return trainable.own * state * w + v + step * w, (state + 1, {})


NOISY = Objective(lambda key, params, batch: (jnp.ones(()), jnp.ones(())), Noisy())


@pytest.mark.parametrize(("num_draws", "block"), [(7, 3), (7, 50), drill(23, 1), (45, 2)])
def test_moments_are_those_of_the_draws(num_draws, block):
    """Mean, error and variance are what numpy makes of the draws at hand, however they are blocked."""
    found = gradient_statistics(NOISY, PARAMS, KEY, X, num_draws, block=block)
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(num_draws))
    draws = np.asarray(SLOPE + SPREAD * jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys))
    group = found.groups["generative"]
    assert worst(group.mean["w"], draws.mean(axis=0)) < 1e-12
    assert worst(group.standard_error["w"], draws.std(axis=0, ddof=1) / num_draws**0.5) < 1e-12
    variance = draws.var(axis=0, ddof=1).sum()
    assert abs(group.variance - variance) < 1e-12
    assert abs(group.error_norm - (variance / num_draws) ** 0.5) < 1e-12
    assert group.bias is group.bias_norm is None
    assert found.seconds > 0
    assert found.num_draws == num_draws


def test_known_noise():
    """With many draws: the gradient, the variance and the ratio that the loss was made with, and the bias."""
    wrong = {"generative": {"w": SLOPE - jnp.array([0.0, 0.4, 0.3])}, "recognition": {"v": jnp.ones((1, 1))}}
    found = gradient_statistics(NOISY, PARAMS, KEY, X, 20_000, block=1000, exact=wrong).groups
    noisy, certain = found["generative"], found["recognition"]
    assert within_errors(noisy.mean["w"], SLOPE, noisy.standard_error["w"], 4)
    assert abs(noisy.variance / jnp.sum(SPREAD**2) - 1) < 0.05
    assert abs(noisy.signal_to_noise / (jnp.linalg.norm(SLOPE) / jnp.linalg.norm(SPREAD)) - 1) < 0.05
    assert within_errors(noisy.bias["w"], jnp.array([0.0, 0.4, 0.3]), noisy.standard_error["w"], 4)
    assert abs(noisy.bias_norm - 0.5) < 5 * noisy.error_norm
    assert (certain.variance, certain.signal_to_noise, certain.bias_norm) == (0, jnp.inf, 0)


def test_norms_are_free_of_the_noise_of_few_draws():
    """The ratio of a pure noise is about zero, not the one over root of N that its mean's norm would say."""
    centred = NOISY._replace(
        loss=lambda t, s, key, b, step: (t.model["generative"]["w"] @ jax.random.normal(key, (3,)), (s, {}))
    )
    keys = jax.random.split(KEY, 300)

    def ratio(key):
        found = gradient_statistics(centred, PARAMS, key, X, 4).groups["generative"]
        return found.signal_to_noise**2, jnp.sum(found.mean["w"] ** 2) / found.variance

    mean, naive = (jnp.mean(v) for v in jax.vmap(ratio)(keys))
    assert mean < 0.5 * naive


def test_no_gradient_has_no_signal():
    still = NOISY._replace(loss=lambda t, s, key, b, step: (jnp.zeros(()), (s, {})))
    found = gradient_statistics(still, PARAMS, KEY, X, 3).groups["generative"]
    assert (found.variance, found.signal_to_noise) == (0, 0)


def test_the_objectives_own_parameters_and_state_are_used_and_stand_still():
    """Given, they replace those of `init`; no draw moves them; the step is passed on."""
    given = gradient_statistics(NOISY, PARAMS, KEY, X, 5, own_and_state=(jnp.array(2.0), jnp.array(3.0)))
    plain = gradient_statistics(NOISY, PARAMS, KEY, Batch(X), 5)
    later = gradient_statistics(NOISY, PARAMS, KEY, X, 5, step=5)
    for found in (given, later):
        mean = found.groups["generative"].mean["w"]
        assert worst(mean, 6 * plain.groups["generative"].mean["w"]) < 1e-12


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_draws():
    """A program of ten times the draws takes no more memory: they are neither kept nor computed all at once."""

    def memory(blocks):
        zeros = jax.tree.map(jnp.zeros_like, PARAMS)
        sums = _Sums(_Moments(jnp.zeros((), int), zeros, zeros), jnp.zeros(()))
        arguments = (100, Trainable(PARAMS, jnp.ones(())), jnp.ones(()), KEY, Batch(X), 0)
        program = jax.jit(_accumulate, static_argnums=0).lower(NOISY, sums, jnp.zeros((blocks, 5), int), *arguments)
        return program.compile().memory_analysis().temp_size_in_bytes

    assert memory(200) <= memory(20) + 100


@pytest.mark.parametrize(("layers", "particles"), [((3,), 1), drill((2, 1), 2), ((1, 1), 3), drill((1, 1), 4)])
def test_exact_gradient_is_the_enumerated_one(layers, particles):
    """That of minus the bound of K particles, averaged over the batch, as autodiff of a sum over all sets gives."""
    toy = enumerated(sigmoid_belief_network(3, layers=layers), 3)
    x = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])

    @quick_jit
    @jax.grad
    def expected(params):
        return -jnp.mean(jax.vmap(lambda x: exact_bound(toy, params, x, particles))(x))

    assert worst(exact_gradient(toy.model, toy.params, x, particles), expected(toy.params)) < 1e-12


def test_exact_gradient_in_chunks():
    """With 11 units the states come in two chunks."""
    toy = enumerated(sigmoid_belief_network(1, layers=(7, 4)), 1)
    x = jnp.array([[1.0]])
    expected = quick_jit(jax.grad(lambda p: -exact_bound(toy, p, x[0])))(toy.params)
    assert worst(exact_gradient(toy.model, toy.params, x), expected) < 1e-12


def test_bias_is_found_where_there_is_one():
    """Straight-through: none for p, much for q; reweighted wake-sleep: none for p against the bound of its K."""
    toy = enumerated(sigmoid_belief_network(3, layers=(2, 1)), 3, scale=1.0)
    x = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    for objective, particles in ((straight_through(toy.model), 1), (reweighted_wake_sleep(toy.model, 2), 2)):
        exact = exact_gradient(toy.model, toy.params, x, particles)
        found = gradient_statistics(objective, toy.params, KEY, x, 6000, exact=exact, block=2000).groups
        p, q = found["generative"], found["recognition"]
        assert within_errors(p.mean, exact["generative"], p.standard_error, 4.5)
        assert p.bias_norm < 2 * p.error_norm
        assert q.bias_norm > 5 * q.error_norm
        assert not within_errors(q.mean, exact["recognition"], q.standard_error, 4.5)


def test_what_cannot_be_enumerated_or_drawn_is_refused():
    model = sigmoid_belief_network(2, layers=(21,))
    params = model.init(KEY, X[0], ())
    with pytest.raises(ModelError, match=r"num_particles=1.*2\^21 states.*SigmoidBeliefNetwork.*1048576.*[Ff]ewer"):
        exact_gradient(model, params, X)
    small = sigmoid_belief_network(2, layers=(8,))
    with pytest.raises(ModelError, match="num_particles=3"):
        exact_gradient(small, small.init(KEY, X[0], ()), X, 3)
    huge = sigmoid_belief_network(2, layers=(2000,))
    with pytest.raises(ModelError, match="2000 latent units"):
        exact_gradient(huge, huge.init(KEY, X[0], ()), X)
    gaussian = vae(2, latent=1, encoder=MLP((), "tanh"), decoder=MLP((), "tanh"))
    with pytest.raises(ModelError, match=r"exact_gradient enumerates binary latents, which VAE"):
        exact_gradient(gaussian, gaussian.init(KEY, X[0], ()), X)
    with pytest.raises(ConfigError, match="num_particles"):
        exact_gradient(small, params, X, 0)
    with pytest.raises(DataError, match=r"\[N, D\]"):
        exact_gradient(small, params, X[0])
    objective = wake_sleep(small)
    params = small.init(KEY, X[0], ())
    for number in (0, 1, 2.5, None):
        with pytest.raises(ConfigError, match="num_draws"):
            gradient_statistics(objective, params, KEY, X, number)
    with pytest.raises(ConfigError, match="block"):
        gradient_statistics(objective, params, KEY, X, 5, block=0)
    with pytest.raises(ConfigError, match="expected an Objective"):
        gradient_statistics(small, params, KEY, X, 5)
    for wrong in ({"critic": {}}, {"generative": {"w": jnp.ones(3)}}):
        with pytest.raises(ConfigError, match=r"exact\['.*another structure.*generative, recognition"):
            gradient_statistics(objective, params, KEY, X, 5, exact=wrong)
