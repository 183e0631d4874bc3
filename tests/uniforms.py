"""The law of the uniforms that binary latents are made of, exact where the latents alone matter, else by quadrature."""

import itertools
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from enumeration import Enumerated
from toys import quick_jit

from genjax_models.core import Objective, Trainable


def nodes_of_interval(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre points of (0, 1) and weights that sum to one; a single point is the midpoint."""
    points, weights = np.polynomial.legendre.leggauss(number)
    return (points + 1) / 2, weights / 2


def uniforms_by_state(toy: Enumerated, x, number: int = 1) -> tuple[Any, np.ndarray]:
    """Uniforms for all states z of q(z | x), `number` to the power of units for each: leaves [M, ...], chance [M].

    A unit is one where u < p. Given z every u is uniform in (0, p) or (p, 1).
    """
    logits = jax.vmap(lambda z: toy.model.posterior_logits(toy.params, z, x, ()))(toy.z)
    z, p = (
        np.concatenate([np.asarray(v).reshape(toy.number, -1) for v in jax.tree.leaves(tree)], axis=1)
        for tree in (toy.z, jax.tree.map(jax.nn.sigmoid, logits))
    )
    low, length = np.where(z > 0.5, 0.0, p), np.where(z > 0.5, p, 1 - p)
    points, weights = nodes_of_interval(number)
    index = np.array(list(itertools.product(range(number), repeat=z.shape[1])))
    u = (low[:, None] + length[:, None] * points[index]).reshape(-1, z.shape[1])
    chance = (np.prod(length, axis=1)[:, None] * np.prod(weights[index], axis=1)).ravel()
    cuts = np.cumsum([v[0].size for v in jax.tree.leaves(toy.z)])[:-1]
    parts = zip(np.split(u, cuts, axis=1), jax.tree.leaves(toy.z), strict=True)
    leaves = [part.reshape(-1, *v.shape[1:]) for part, v in parts]
    return jax.tree.unflatten(jax.tree.structure(toy.z), leaves), chance


def batch_of_uniforms(toy: Enumerated, x, number: int = 1) -> tuple[Any, np.ndarray]:
    """As `uniforms_by_state` for a batch of independent examples: leaves [M, B, ...], chance [M]."""
    laws = [uniforms_by_state(toy, row, number) for row in x]
    sets = np.array(list(itertools.product(*(range(len(chance)) for _, chance in laws)))).T
    chance = np.prod([chance[i] for i, (_, chance) in zip(sets, laws, strict=True)], axis=0)
    u = jax.tree.map(lambda *v: np.stack([v[i] for v, i in zip(v, sets, strict=True)], axis=1), *(u for u, _ in laws))
    return u, chance


def losses_and_gradients(
    module: ModuleType, objective: Objective, trainable: Trainable, x, u, drawn_by: str = "draw_uniforms"
):
    """Loss and gradient, a Trainable, for given uniforms, leaves [M, B, ...]: [M] and leaves [M, ...].

    The loss under test runs as it is, but for the function of its module that draws the uniforms.
    """

    def one(u):
        with mock.patch.object(module, drawn_by, return_value=u):
            return jax.value_and_grad(lambda t: objective.loss(t, (), jax.random.key(0), x, 0)[0])(trainable)

    return quick_jit(jax.vmap(one))(u)


def mean_over(chance, values):
    """The expectation of values, leaves [M, ...]."""
    return jax.tree.map(lambda v: jnp.tensordot(chance, v, 1), values)
