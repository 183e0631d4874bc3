"""A loss on every set of particles that it may draw: its exact expectation and variance, for any enumerable model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from enumeration import Enumerated, enumerated, exact_bound, sets_of
from toys import prescribe, quick_jit, record_draws, worst

from genjax_models.core import Joint, LatentVariableModel, Trainable, total


class Outcomes(NamedTuple):
    """What a loss gives for every set of particles."""

    chance: jax.Array  # [M], sums to one
    loss: jax.Array  # [M]
    gradient: Trainable  # of the model's and the objective's own parameters, leaves [M, ...]
    state: Any  # the objective's next state, leaves [M, ...]
    particles: np.ndarray  # [M, P], indices into the states of z

    def mean(self, tree: Any) -> Any:
        """The expectation of leaves [M, ...]."""
        return jax.tree.map(lambda v: jnp.tensordot(self.chance, v, 1), tree)

    def variance(self, group: str) -> float:
        """The variance of the gradient of a group of the model's parameters, summed over its entries."""
        gradient = self.gradient.model[group]
        square = self.mean(jax.tree.map(lambda v, m: (v - m) ** 2, gradient, self.mean(gradient)))
        return float(sum(jnp.sum(v) for v in jax.tree.leaves(square)))


def outcomes(
    build: Callable, toy: Enumerated, x, own: Any = (), state: Any = (), mutant: Callable = lambda loss: loss
) -> Outcomes:
    """Run the loss of `build(model)`, or what `mutant` makes of it, on every set of particles of examples x [B, D]."""
    key = jax.random.key(0)
    draws = record_draws(build, toy.model, toy.params, key, x, own, state)
    sets = sets_of(toy.number, len(draws.particles))

    def propose(params, z, x, c):
        return z, toy.model.log_posterior(params, z, x, c)

    def one(params, own, states):
        z = jax.tree.map(lambda v: jnp.asarray(v)[states], toy.z)
        scores = jax.vmap(lambda z, x: total(toy.model.log_posterior(params, z, x, ())))(z, draws.examples)
        loss = mutant(build(prescribe(toy.model, draws, propose, z, ())).loss)

        def run(trainable):
            value, (after, _) = loss(trainable, state, key, x, 0)
            return value, after

        (value, after), gradient = jax.value_and_grad(run, has_aux=True)(Trainable(params, own))
        return jnp.exp(jnp.sum(scores)), value, gradient, after

    return Outcomes(*quick_jit(jax.vmap(one, (None, None, 0)))(toy.params, own, sets), sets)


def moments_from_after(loss: Callable) -> Callable:
    """A mistake: the loss reads the state that it leaves, which depends on its own particles."""

    def mutated(trainable, state, *args):
        _, (after, _) = loss(trainable, state, *args)
        return loss(trainable, jax.lax.stop_gradient(after), *args)

    return mutated


def randomized(tree: Any, seed: int = 1, scale: float = 0.7) -> Any:
    """A pytree of the same structure, every entry drawn from N(0, scale^2)."""
    draw = np.random.RandomState(seed).normal
    return jax.tree.map(lambda v: jnp.asarray(scale * draw(size=v.shape)), tree)


def exact_loss(toy: Enumerated, x, particles: int = 1) -> tuple[jax.Array, Any]:
    """Minus the exact K-particle bound of examples x [B, D], averaged, and its gradient; K = 1 is the ELBO."""

    def loss(params):
        return -jnp.mean(jax.vmap(lambda x: exact_bound(toy, params, x, particles))(jnp.asarray(x)))

    return quick_jit(jax.value_and_grad(loss))(toy.params)


def errors_of(run: Outcomes, exact: tuple[jax.Array, Any]) -> dict[str, float]:
    """How far the expected loss ("value") and gradient (by group) are from exact ones."""
    (value, gradient), expected = exact, run.mean(run.gradient.model)
    errors = {group: worst(expected[group], gradient[group]) for group in gradient}
    return {"value": abs(float(run.chance @ run.loss - value)), **errors}


def tied_net(visible: int, latent: int, seed: int = 0) -> Enumerated:
    """One layer of latents whose weights W are those of q too, in the group "shared": p uses W, q its transpose."""

    def init(key, x, c=()):
        return {
            "generative": {"top": jnp.zeros(latent), "bias": jnp.zeros(visible)},
            "recognition": {"bias": jnp.zeros(latent)},
            "shared": {"kernel": jnp.zeros((latent, visible))},
        }

    def units(logits, s):
        return jnp.sum(s * logits - jnp.logaddexp(logits, 0.0))

    def posterior(params, x):
        return x @ params["shared"]["kernel"].T + params["recognition"]["bias"]

    def log_posterior(params, z, x, c):
        return (units(posterior(params, x), z[0]),)

    def propose(params, key, x, c):
        p = jax.nn.sigmoid(jax.lax.stop_gradient(posterior(params, x)))
        z = (jax.random.bernoulli(key, p).astype(p.dtype),)
        return z, log_posterior(params, z, x, c)

    def log_joint(params, z, x, c):
        p = params["generative"]
        return Joint(units(z[0] @ params["shared"]["kernel"] + p["bias"], x), (units(p["top"], z[0]),))

    def sample_joint(params, key, c):
        return (jnp.zeros(latent),), jnp.zeros(visible)

    model = LatentVariableModel("Tied", init, sample_joint, propose, log_joint, log_posterior, False, "binary")
    return enumerated(model._replace(layered=True, factorial_posterior=True), visible, seed)
