"""Models small enough to be solved: belief nets by enumeration, linear Gaussians in closed form or by quadrature.

The expectation of a loss over its own random draws is computed without sampling: the loss under test runs as it is, on
a model whose draws are prescribed. Which key belongs to which draw is found by running the loss once and recording the
keys that the model receives, so nothing here knows how a loss splits its key.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxlib.version import __version_info__ as jaxlib_version

from genjax_models.core import LatentVariableModel, Trainable
from genjax_models.models import sigmoid_belief_network, vae
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian


def binary_states(number: int) -> np.ndarray:
    """All states of `number` binary units, [2^number, number]."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=number)))


# The older code generator for CPUs takes a third off the compiling; XLA refuses an option that it does not know.
_OLDER = {"xla_cpu_use_fusion_emitters": False} if jaxlib_version[:2] == (0, 10) else {}


def quick_jit(function: Callable) -> Callable:
    """`jax.jit` for programs that run once: compiling is what they cost, so XLA optimizes little.

    Numbers agree with those of other programs to round-off; bit for bit compare programs of `jax.jit`.
    """
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0, **_OLDER})


def worst(a: Any, b: Any) -> float:
    """The largest absolute difference between two pytrees of the same structure."""
    differences = jax.tree.map(lambda u, v: np.max(np.abs(np.asarray(u) - np.asarray(v)), initial=0.0), a, b)
    return float(max(jax.tree.leaves(differences)))


def random_params(model: Any, visible: int, seed: int, scale: float = 0.7) -> Any:
    """Parameters of the model's structure, every one of them (biases too) drawn from N(0, scale^2)."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(visible), ())
    draw = np.random.RandomState(seed).normal
    return jax.tree.map(lambda leaf: jnp.asarray(scale * draw(size=leaf.shape)), shapes)


# Belief nets, written out a second time: on vectors, without flax, distrax or the library's distributions.


def _bernoulli(s, logits):
    return jnp.sum(s * logits - jnp.logaddexp(logits, 0.0), axis=-1)


def net_log_joint(generative, z: tuple, x):
    """log p(x, z) of a sigmoid belief network (Neal 1992), from its parameters."""
    below = generative["below"]
    value = _bernoulli(z[-1], generative["top_logits"])
    for i, (s, above) in enumerate(zip((x, *z[:-1]), z, strict=True)):
        layer = below[f"layers_{i}"]
        value = value + _bernoulli(s, above @ layer["kernel"] + layer["bias"])
    return value


def net_log_posterior(recognition, z: tuple, x):
    """log q(z | x) of its recognition network."""
    value = 0.0
    for i, (s, before) in enumerate(zip(z, (x, *z[:-1]), strict=True)):
        layer = recognition[f"layers_{i}"]
        value = value + _bernoulli(s, before @ layer["kernel"] + layer["bias"])
    return value


class Net(NamedTuple):
    """A belief net, its parameters, and every state of its latents and of x."""

    model: LatentVariableModel
    params: Any
    z: tuple  # leaves [S, units]
    x: np.ndarray  # [2^D, D]

    @property
    def joint(self) -> tuple:
        """All (z, x), leaves [S * 2^D, units]."""
        number = len(self.z[0])
        z = tuple(np.repeat(layer, len(self.x), axis=0) for layer in self.z)
        return z, np.tile(self.x, (number, 1))


def net(layers: tuple[int, ...], visible: int, seed: int = 0) -> Net:
    """A belief net with random parameters."""
    model = sigmoid_belief_network(visible, layers=layers)
    states = binary_states(sum(layers))
    z = tuple(np.split(states, np.cumsum(layers)[:-1], axis=1))
    return Net(model, random_params(model, visible, seed), z, binary_states(visible))


def single_unit_posterior(generative):
    """The recognition parameters whose q(z | x) is p(z | x), for a belief net with one latent unit: it is a sigmoid."""
    layer = generative["below"]["layers_0"]
    w, b = layer["kernel"][0], layer["bias"]
    bias = generative["top_logits"] - jnp.sum(jnp.logaddexp(w + b, 0.0) - jnp.logaddexp(b, 0.0))
    return {"layers_0": {"kernel": w[:, None], "bias": bias}}


def net_log_weights(toy: Net, params, x):
    """log p(x, z) and log q(z | x) of every state z, each [S]."""
    return net_log_joint(params["generative"], toy.z, x), net_log_posterior(params["recognition"], toy.z, x)


def particle_sets(states: int, particles: int) -> np.ndarray:
    """The indices of all sets of K particles, [states^K, K]."""
    return np.array(list(itertools.product(range(states), repeat=particles)))


def exact_bound(toy: Net, params, x, particles: int):
    """E log (1/K) sum_k p(x, z_k) / q(z_k | x), summed over all sets of particles; K = 1 is the ELBO."""
    log_p, log_q = net_log_weights(toy, params, x)
    sets = particle_sets(len(log_p), particles)
    chance = jnp.exp(jnp.sum(log_q[sets], axis=1))
    bound = jax.nn.logsumexp((log_p - log_q)[sets], axis=1) - np.log(particles)
    return jnp.sum(chance * bound)


def net_log_marginal(toy: Net, params, x):
    """log p(x), by enumeration of z."""
    return jax.nn.logsumexp(net_log_weights(toy, params, x)[0])


# Losses under prescribed draws.


class Draws(NamedTuple):
    """The keys with which a loss called its model, and what it called it for."""

    particles: np.ndarray  # [P, words], of `propose`
    examples: np.ndarray  # [P, D], the x of each
    dreams: np.ndarray  # [Q, words], of `sample_joint`


def record_draws(build: Callable, model: LatentVariableModel, params, key, x, own=(), state=()) -> Draws:
    """Run the loss of the objective `build(model)` once, and note the keys of every draw.

    What is drawn does not matter here: zeros are.
    """
    particles, dreams = [], []

    def zeros(function, *args):
        return jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(function, *args))

    def propose(params, key, x, c):
        jax.debug.callback(lambda k, x: particles.append((np.array(k), np.array(x))), jax.random.key_data(key), x)
        return zeros(model.propose, params, key, x, c)

    def sample_joint(params, key, c):
        jax.debug.callback(lambda k: dreams.append(np.array(k)), jax.random.key_data(key))
        return zeros(model.sample_joint, params, key, c)

    loss = build(drawing(model, propose)._replace(sample_joint=sample_joint)).loss
    quick_jit(lambda params: loss(Trainable(params, own), state, key, x, 0)[0])(params).block_until_ready()
    jax.effects_barrier()
    keys = [k for k, _ in particles]
    distinct = {tuple(k) for k in keys + dreams}
    assert len(distinct) == len(keys) + len(dreams), "two draws share a key, so they are not independent"
    return Draws(np.array(keys), np.array([x for _, x in particles]), np.array(dreams))


def drawing(model: LatentVariableModel, propose: Callable) -> LatentVariableModel:
    """The model with another `propose`, also where z is wanted with the KL."""

    def propose_with_kl(params, key, x, c):
        return propose(params, key, x, c)[0], model.kl(params, x, c)

    return model._replace(propose=propose, propose_with_kl=model.propose_with_kl and propose_with_kl)


def prescribe(model: LatentVariableModel, draws: Draws, propose: Callable, particles, dreams) -> LatentVariableModel:
    """The model, drawing row i of `particles` and `dreams` at the i-th recorded key.

    Args:
        model: the model.
        draws: from `record_draws`.
        propose: (params, row, x, c) -> (z, terms), what `propose` makes of a row of `particles`.
        particles: a pytree, leaves [P, ...].
        dreams: (z, x), leaves [Q, ...].
    """

    def row(table, keys, key):
        index = jnp.argmax(jnp.all(keys == jax.random.key_data(key), axis=-1))
        return jax.tree.map(lambda v: jnp.asarray(v)[index], table)

    def drawn(params, key, x, c):
        return propose(params, row(particles, draws.particles, key), x, c)

    return drawing(model, drawn)._replace(sample_joint=lambda params, key, c: row(dreams, draws.dreams, key))


class Outcomes(NamedTuple):
    """A loss and its gradient for every outcome of its draws."""

    chance: jax.Array  # [M], sums to one
    loss: jax.Array  # [M]
    gradient: Any  # leaves [M, ...]
    particles: np.ndarray  # [M, P], indices into the states of z
    dreams: np.ndarray  # [M, Q], indices into the states of (z, x)
    examples: np.ndarray  # [P, D]

    def expected(self) -> tuple[jax.Array, Any]:
        """The expected loss and the expected gradient."""
        return self.chance @ self.loss, jax.tree.map(lambda g: jnp.tensordot(self.chance, g, 1), self.gradient)


def enumerate_loss(build: Callable, toy: Net, x, step: int = 0) -> Outcomes:
    """Run the loss of `build(model)` on every set of particles and every dream.

    Args:
        build: model -> objective.
        toy: the belief net.
        x: examples [B, D].
        step: the step that the loss is told.
    """
    key = jax.random.key(0)
    draws = record_draws(build, toy.model, toy.params, key, x)
    joint = toy.joint
    numbers = [len(toy.z[0])] * len(draws.particles) + [len(joint[1])] * len(draws.dreams)
    outcomes = np.array(list(itertools.product(*map(range, numbers))))
    particles, dreams = np.split(outcomes, [len(draws.particles)], axis=1)

    def propose(params, z, x, c):
        return z, toy.model.log_posterior(params, z, x, c)

    def one(params, particles, dreams):
        z = tuple(jnp.asarray(layer)[particles] for layer in toy.z)
        dream = jax.tree.map(lambda v: jnp.asarray(v)[dreams], joint)
        log_chance = jnp.sum(net_log_posterior(params["recognition"], z, draws.examples))
        log_chance += jnp.sum(net_log_joint(params["generative"], *dream))
        objective = build(prescribe(toy.model, draws, propose, z, dream))
        value, gradient = jax.value_and_grad(lambda p: objective.loss(Trainable(p), (), key, x, step)[0])(params)
        return jnp.exp(log_chance), value, gradient

    found = quick_jit(jax.vmap(one, (None, 0, 0)))(toy.params, particles, dreams)
    return Outcomes(*found, particles, dreams, draws.examples)


# Linear Gaussians: z ~ N(0, I), x ~ N(z W + b, s^2 I); q(z | x) = N(x A + a, exp(x C + c)^2).


class LinearGaussian(NamedTuple):
    """A variational autoencoder whose two networks are affine."""

    model: LatentVariableModel
    params: Any
    scale: float


def linear_gaussian(visible: int, latent: int, seed: int = 0, scale: float = 0.8) -> LinearGaussian:
    """The model, with random parameters."""
    fields = {"latent": latent, "encoder": MLP(()), "decoder": MLP(()), "likelihood": Gaussian(scale)}
    model = vae(visible, **fields)
    return LinearGaussian(model, random_params(model, visible, seed, 0.4), scale)


def decoder(params):
    """(W [Z, D], b [D])."""
    layer = params["generative"]["network"]["layers_0"]
    return layer["kernel"], layer["bias"]


def encoder(params, x):
    """(mean [Z], log scale [Z]) of q(z | x)."""
    layer = params["recognition"]["network"]["layers_0"]
    return jnp.split(x @ layer["kernel"] + layer["bias"], 2, axis=-1)


def _gaussian(x, mean, scale):
    return jnp.sum(-0.5 * ((x - mean) / scale) ** 2 - jnp.log(scale * np.sqrt(2 * np.pi)), axis=-1)


def gaussian_terms(toy: LinearGaussian, params, noise, x):
    """log p(x | z), log p(z) and log q(z | x) at z = mean + scale * noise, noise [..., Z]."""
    (w, b), (mean, log_scale) = decoder(params), encoder(params, x)
    z = mean + jnp.exp(log_scale) * noise
    return (
        _gaussian(x, z @ w + b, toy.scale * jnp.ones_like(b)),
        _gaussian(z, 0.0, 1.0),
        _gaussian(z, mean, jnp.exp(log_scale)),
    )


def gaussian_likelihood_and_kl(toy: LinearGaussian, params, x):
    """E_q log p(x | z) and KL(q(z | x) || p(z)), in closed form."""
    (w, b), (mean, log_scale) = decoder(params), encoder(params, x)
    variance, s = jnp.exp(2 * log_scale), toy.scale
    squares = jnp.sum((x - mean @ w - b) ** 2) + jnp.sum(variance[:, None] * w**2)
    likelihood = -0.5 * squares / s**2 - 0.5 * x.shape[-1] * np.log(2 * np.pi * s**2)
    kl = 0.5 * jnp.sum(mean**2 + variance - 1 - 2 * log_scale)
    return likelihood, kl


def gaussian_log_marginal(toy: LinearGaussian, params, x):
    """log p(x): x is Gaussian with mean b and covariance W'W + s^2 I."""
    w, b = decoder(params)
    return jax.scipy.stats.multivariate_normal.logpdf(x, b, w.T @ w + toy.scale**2 * jnp.eye(len(b)))


def with_posterior(toy: LinearGaussian) -> LinearGaussian:
    """The same p, with the recognition parameters whose q(z | x) is p(z | x); one latent unit."""
    w, b = decoder(toy.params)
    assert w.shape[0] == 1
    variance = 1 / (1 + jnp.sum(w**2) / toy.scale**2)
    slope = variance * w[0] / toy.scale**2
    kernel = jnp.stack([slope, jnp.zeros_like(slope)], axis=1)
    bias = jnp.stack([-slope @ b, 0.5 * jnp.log(variance)])
    recognition = {"network": {"layers_0": {"kernel": kernel, "bias": bias}}}
    return toy._replace(params={**toy.params, "recognition": recognition})


def near_posterior(toy: LinearGaussian, distance: float = 0.1, seed: int = 1) -> LinearGaussian:
    """The same p, with q(z | x) a little off p(z | x): log-weights are gentle, so that quadrature converges fast."""
    draw = np.random.RandomState(seed).normal
    params = dict(with_posterior(toy).params)
    params["recognition"] = jax.tree.map(lambda v: v + distance * draw(size=v.shape), params["recognition"])
    return toy._replace(params=params)


def normal_nodes(nodes: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite quadrature of a standard normal: points [nodes^dimensions, dimensions] and their weights."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / np.sqrt(2 * np.pi)
    grid = np.array(list(itertools.product(points, repeat=dimensions)))
    return grid, np.prod(np.array(list(itertools.product(weights, repeat=dimensions))), axis=1)


def gaussian_bound(toy: LinearGaussian, params, x, particles: int, nodes: int):
    """The importance weighted bound of K particles with one latent unit, by quadrature over their noises."""
    grid, weights = normal_nodes(nodes, particles)
    likelihood, prior, log_q = gaussian_terms(toy, params, grid[..., None], x)
    bound = jax.nn.logsumexp(likelihood + prior - log_q, axis=1) - np.log(particles)
    return weights @ bound


def integrate_loss(build: Callable, toy: LinearGaussian, x, nodes: int, step: int = 0, dream_nodes: int = 8):
    """The expected loss and gradient, by quadrature over the noises of all its draws.

    Particles and dreams move with the parameters, as reparameterized draws do.
    """
    key = jax.random.key(0)
    draws = record_draws(build, toy.model, toy.params, key, x)
    w, _ = decoder(toy.params)
    latent, visible = w.shape
    count = len(draws.particles)
    grid, weights = normal_nodes(nodes, count * latent)
    dream_grid, dream_weights = normal_nodes(dream_nodes, len(draws.dreams) * (latent + visible))

    def propose(params, noise, x, c):
        mean, log_scale = encoder(params, x)
        z = mean + jnp.exp(log_scale) * noise
        return z, (_gaussian(z, mean, jnp.exp(log_scale)),)

    def one(params, noise, dream_noise):
        noise = noise.reshape(count, latent)
        above, below = jnp.split(dream_noise.reshape(len(draws.dreams), latent + visible), [latent], axis=1)

        def loss(params):
            w, b = decoder(params)
            dreams = above, above @ w + b + toy.scale * below
            objective = build(prescribe(toy.model, draws, propose, noise, dreams))
            return objective.loss(Trainable(params), (), key, x, step)[0]

        return jax.value_and_grad(loss)(params)

    def expected(params, noise, weights):
        return jax.tree.map(lambda v: jnp.tensordot(weights, v, 1), jax.vmap(one, (None, 0, 0))(params, *noise))

    pairs = np.array(list(itertools.product(range(len(grid)), range(len(dream_grid)))))
    noises = grid[pairs[:, 0]], dream_grid[pairs[:, 1]]
    return quick_jit(expected)(toy.params, noises, weights[pairs[:, 0]] * dream_weights[pairs[:, 1]])


def monte_carlo(build: Callable, model: LatentVariableModel, params, x, keys) -> tuple[Any, Any]:
    """The mean of (loss, gradient) over keys, and its standard error; nothing of the model is replaced."""
    objective = build(model)

    def one(key):
        return jax.value_and_grad(lambda p: objective.loss(Trainable(p), (), key, x, 0)[0])(params)

    found = jax.jit(jax.vmap(one))(keys)
    mean = jax.tree.map(lambda v: jnp.mean(v, axis=0), found)
    return mean, jax.tree.map(lambda v: jnp.std(v, axis=0, ddof=1) / np.sqrt(len(keys)), found)


def within_errors(mean: Any, truth: Any, error: Any, number: float, absolute: float = 1e-6) -> bool:
    """Whether every entry lies within `number` standard errors of the truth, plus `absolute`."""
    close = jax.tree.map(lambda m, t, e: jnp.all(jnp.abs(m - t) <= number * e + absolute), mean, truth, error)
    return all(map(bool, jax.tree.leaves(close)))
