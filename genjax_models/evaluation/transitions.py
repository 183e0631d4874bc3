"""Markov transitions over latents that leave a density as it is: Hamiltonian ones, and heat baths unit by unit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax_models.core import Key, Latents, Scalar

LogDensity = Callable[[Latents], Scalar]


def heat_bath_logit(log_density, units, i) -> Scalar:
    """The log-odds of binary unit i to be on, given the others."""
    off, on = jax.vmap(lambda value: log_density(units.at[i].set(value)))(jnp.array([0.0, 1.0], units.dtype))
    return on - off


def heat_bath(log_density, units, key, free) -> tuple[jax.Array, jax.Array]:
    """Units [n] drawn one after another from their conditionals where `free`; and the probabilities, all [n]."""
    uniforms = jax.random.uniform(key, units.shape, units.dtype)

    def visit(i, carry):
        units, probabilities = carry
        p = jax.nn.sigmoid(heat_bath_logit(log_density, units, i)).astype(units.dtype)
        drawn = (uniforms[i] < p).astype(units.dtype)
        unit, p = (jnp.where(free[i], new, units[i]) for new in (drawn, p))
        return units.at[i].set(unit), probabilities.at[i].set(p)

    return jax.lax.fori_loop(0, len(units), visit, (units, units))


def _heat_bath_of_classes(log_density, units, key) -> jax.Array:
    """One-hot units [n, C] drawn one after another from their conditionals."""
    classes = jnp.eye(units.shape[-1], dtype=units.dtype)
    keys = jax.random.split(key, len(units))

    def visit(i, units):
        logits = jax.vmap(lambda one: log_density(units.at[i].set(one)))(classes)
        return units.at[i].set(classes[jax.random.categorical(keys[i], logits)])

    return jax.lax.fori_loop(0, len(units), visit, units)


def gibbs(log_density: LogDensity, key: Key, z: Latents, support: str) -> Latents:
    """Every unit of z drawn once from its conditional given the others, group after group.

    Args:
        log_density: of z, up to a constant; each draw of a unit calls it once for every value.
        key: of the draws.
        z: binary or one-hot latents.
        support: "binary" or "one_hot".
    """
    leaves, structure = jax.tree.flatten(z)
    for i, k in enumerate(jax.random.split(key, len(leaves))):
        shape = leaves[i].shape

        def of_group(units, i=i, shape=shape):
            return log_density(jax.tree.unflatten(structure, [*leaves[:i], units.reshape(shape), *leaves[i + 1 :]]))

        if support == "binary":
            flat = leaves[i].ravel()
            drawn, _ = heat_bath(of_group, flat, k, jnp.ones(flat.shape, bool))
        else:
            drawn = _heat_bath_of_classes(of_group, leaves[i].reshape(-1, shape[-1]), k)
        leaves[i] = drawn.reshape(shape)
    return jax.tree.unflatten(structure, leaves)


def hamiltonian(
    log_density: LogDensity, key: Key, z: Latents, step_size: Scalar, num_steps: int
) -> tuple[Latents, Scalar]:
    """A step of Hamiltonian Monte Carlo with unit masses: z, and the probability that the proposal had to be accepted.

    Args:
        log_density: of z, up to a constant.
        key: of momenta and acceptance.
        z: real latents.
        step_size: of the leapfrog integrator.
        num_steps: its steps.

    Reference:
        Neal, "MCMC using Hamiltonian dynamics", 2011.
    """
    from blackjax.mcmc import hmc  # here, because importing it takes as long as all else

    masses = jnp.ones(sum(leaf.size for leaf in jax.tree.leaves(z)))
    kernel = hmc.build_kernel()
    state, information = kernel(key, hmc.init(z, log_density), log_density, step_size, masses, num_steps)
    return state.position, information.acceptance_rate
