"""The exact value and gradient of bounds, for any model with few binary latents, by enumeration in float64.

Only the model's own `log_joint` and `log_posterior` are used, which the conformance suite sums to one.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from toys import binary_states, random_params

from genjax_models.core import LatentVariableModel, Params, total


class Enumerated(NamedTuple):
    """A model with its parameters and every state of its latents."""

    model: LatentVariableModel
    params: Params
    z: Any  # as the model's latents, leaves [S, ...]

    @property
    def number(self) -> int:
        """S, the number of states."""
        return len(jax.tree.leaves(self.z)[0])


def enumerated(model: LatentVariableModel, visible: int, seed: int = 0, scale: float = 0.7) -> Enumerated:
    """The model with random parameters, every one of them (biases too) drawn from N(0, scale^2)."""
    params = random_params(model, visible, seed, scale)
    shapes, _ = jax.eval_shape(model.sample_joint, params, jax.random.key(0), ())
    leaves, structure = jax.tree.flatten(shapes)
    cuts = np.cumsum([leaf.size for leaf in leaves])
    parts = np.split(binary_states(int(cuts[-1])), cuts[:-1], axis=1)
    z = [jnp.asarray(part.reshape(-1, *leaf.shape)) for part, leaf in zip(parts, leaves, strict=True)]
    return Enumerated(model, params, jax.tree.unflatten(structure, z))


def log_terms(toy: Enumerated, params: Params, x) -> tuple[jax.Array, jax.Array]:
    """log p(x, z) and log q(z | x) of every state z, each [S]."""
    log_p = jax.vmap(lambda z: total(toy.model.log_joint(params, z, x, ())))(toy.z)
    return log_p, jax.vmap(lambda z: total(toy.model.log_posterior(params, z, x, ())))(toy.z)


def sets_of(number: int, particles: int) -> np.ndarray:
    """The indices of all sets of K particles, [S^K, K]."""
    return np.array(list(itertools.product(range(number), repeat=particles)))


def expected(toy: Enumerated, params: Params, x, particles: int, bound: Callable[[jax.Array, jax.Array], jax.Array]):
    """E bound(log_p [K], log_q [K]) over K independent particles of q; `particles=1` with log_p - log_q is the ELBO."""
    log_p, log_q = log_terms(toy, params, x)
    sets = sets_of(toy.number, particles)
    chance = jnp.exp(jnp.sum(log_q[sets], axis=1))
    return chance @ jax.vmap(bound)(log_p[sets], log_q[sets])


def importance_weighted(log_p, log_q):
    """log (1/K) sum_k p(x, z_k) / q(z_k | x)."""
    return jax.nn.logsumexp(log_p - log_q) - np.log(len(log_p))


def exact_bound(toy: Enumerated, params: Params, x, particles: int = 1):
    """E log (1/K) sum_k p(x, z_k) / q(z_k | x) for one example; K = 1 is the ELBO."""
    return expected(toy, params, x, particles, importance_weighted)


def log_evidence(toy: Enumerated, params: Params, x):
    """log p(x)."""
    return jax.nn.logsumexp(log_terms(toy, params, x)[0])
