"""Inference by iteration: a Gaussian for each example, improved from where the recognition network puts it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax_models.config import as_number
from genjax_models.core import Key, Latents, LatentVariableModel, Params, as_batch, total
from genjax_models.distributions import LOG_2PI
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes
from genjax_models.evaluation.moments import moments_of_draws, require_every_step, require_real_latents
from genjax_models.evaluation.weights import RunningSums, log_mean

LEAST_STD = 1e-6  # of q, where the refinement starts
DRAWS = 100  # of q, by which its moments are estimated where they have no closed form


class Gaussian(NamedTuple):
    """r(z), a Gaussian with independent latents."""

    mean: Latents
    log_std: Latents

    def sample(self, key: Key) -> Latents:
        leaves, structure = jax.tree.flatten(self.mean)
        noise = [
            jax.random.normal(k, v.shape, v.dtype)
            for k, v in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        ]
        return jax.tree.map(
            lambda m, s, e: m + jnp.exp(s) * e, self.mean, self.log_std, jax.tree.unflatten(structure, noise)
        )

    def log_prob(self, z: Latents) -> jax.Array:
        def of_leaf(mean, log_std, z):
            return jnp.sum(-0.5 * jnp.square((z - mean) * jnp.exp(-log_std)) - log_std - 0.5 * LOG_2PI)

        return total(jax.tree.map(of_leaf, self.mean, self.log_std, z))


class Refinement(NamedTuple):
    """The bounds of q(z | x) and of the refined r(z), for each of N examples."""

    mean: Latents  # of r, leaves [N, ...]
    std: Latents
    bound_before: jax.Array  # [N], E_q[log p(x, z) - log q(z | x)], nats
    bound_after: jax.Array  # [N], E_r[log p(x, z) - log r(z)], nats
    log_prob: jax.Array  # [N], the importance weighted estimate of log p(x), by draws of both
    standard_error: jax.Array  # [N], of log_prob, from the spread of the weights

    @property
    def amortization_gap(self) -> jax.Array:
        """bound_after - bound_before, [N]: what the recognition network loses to an r of this example alone.

        Below 0 where q is of a richer family than r, or the refinement has not converged.
        """
        return self.bound_after - self.bound_before

    @property
    def approximation_gap(self) -> jax.Array:
        """log_prob - bound_after, [N]: what no Gaussian with independent latents can reach."""
        return self.log_prob - self.bound_after


def _refine(model, num_steps, num_particles, num_samples, chunk, block, params, learning_rate, key, batch):
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def example(key, row):
        def log_joint(z):
            return total(model.log_joint(params, z, row.x, row.context))

        def loss(r: Gaussian, key):
            held = jax.lax.stop_gradient(r)  # sticking the landing: no noise is left where r is the posterior

            def log_weight(key):
                z = r.sample(key)
                return log_joint(z) - held.log_prob(z)

            return -jnp.mean(jax.vmap(log_weight)(jax.random.split(key, num_particles)))

        def step(carry, i):
            r, state = carry
            updates, state = optimizer.update(jax.grad(loss)(r, jax.random.fold_in(refining, i)), state)
            return (optax.apply_updates(r, updates), state), None

        def draw(key):
            """log w under q, log w under r, and log of the mean weight of both draws under their mixture."""
            of_q, of_r = jax.random.split(key)
            z_q, log_q = model.propose(params, of_q, row.x, row.context)
            z_r = r.sample(of_r)
            log_q_of = lambda z: total(model.log_posterior(params, z, row.x, row.context))  # noqa: E731
            pairs = (z_q, total(log_q), r.log_prob(z_q)), (z_r, log_q_of(z_r), r.log_prob(z_r))
            log_p = [log_joint(z) for z, _, _ in pairs]
            # The balance heuristic: unbiased for p(x), and never much worse than the better of the two.
            mixed = [v - jnp.logaddexp(q, s) + jnp.log(2.0) for v, (_, q, s) in zip(log_p, pairs, strict=True)]
            return log_p[0] - pairs[0][1], log_p[1] - pairs[1][2], jnp.logaddexp(*mixed) - jnp.log(2.0)

        refining, evaluating = jax.random.split(key)
        if model.posterior_moments is not None:
            mean, std = model.posterior_moments(params, row.x, row.context)
        else:
            starting = jax.random.fold_in(refining, num_steps)  # a key that no step takes
            mean, std = moments_of_draws(model, params, starting, row, DRAWS)
        start = Gaussian(mean, jax.tree.map(lambda s: jnp.log(jnp.maximum(s, LEAST_STD)), std))
        (r, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(num_steps))
        keys = jax.random.split(evaluating, num_samples)
        before, after, log_w = jax.lax.map(draw, keys, batch_size=min(chunk, num_samples))
        estimate = log_mean(RunningSums.empty().add(log_w), num_samples)
        std = jax.tree.map(jnp.exp, r.log_std)
        bounds = jnp.mean(before), jnp.mean(after)
        return Refinement(r.mean, std, *bounds, estimate.value, estimate.standard_error)

    return in_blocks(example, key, batch, block)


_run = compiled(_refine, static=6)


def refine_posterior(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    num_steps: int = 300,
    *,
    learning_rate: float = 0.03,
    num_particles: int = 8,
    num_samples: int = 500,
    chunk: int = 100,
    block: int = 50,
) -> Refinement:
    """Maximize the bound over a Gaussian r(z) = N(m, diag(s^2)) of each example, from the moments of q(z | x) on.

    z are all latents of an example: every layer's, every glimpse's, every step's.

        L[r] = E_r[log p(x, z) - log r(z)]
        log p(x) - L[q] = (log p(x) - L[r*]) + (L[r*] - L[q]), approximation gap and amortization gap

    This is the iterative inference that a recognition network stands in for: what it gains is the price of amortizing.
    Steps are Adam's, on m and log s, with the rate falling to 0 by a cosine and the gradient of Roeder et al. (2017).

    Args:
        model: a `LatentVariableModel` with real latents. Where q has no moments in closed form, r starts at those of
            draws.
        params: its parameters, which stay.
        key: example i draws from `fold_in(key, i)`.
        x: examples [N, D], or a `Batch` with contexts.
        num_steps: steps for each example.
        learning_rate: at the start, in units of m and log s.
        num_particles: draws of z a step.
        num_samples: draws for the bounds and log p(x) at the end, of q and of r each.
        chunk: of those, computed at a time.
        block: examples computed at a time.

    Returns:
        A `Refinement`, leaves [N, ...], nats.

    Raises:
        ModelError: a model without real latents, or sequences with steps that a mask leaves out.
        ConfigError: an impossible size or rate.
        DataError: examples that are not [N, D].

    Example:
        >>> refine_posterior(model, params, jax.random.key(0), x_test[:100]).amortization_gap.mean()

    Reference:
        Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders", 2018, section 3; Goodfellow et
        al. 2016, section 20.10.3, on optimization against learned inference.
    """
    require_real_latents("refine_posterior", model)
    rate = as_number("refine_posterior: learning_rate", learning_rate, gt=0)
    sizes = {"num_steps": num_steps, "num_particles": num_particles, "num_samples": num_samples}
    require_sizes("refine_posterior", **sizes, chunk=chunk, block=block)
    batch = check_examples(as_batch(x))
    require_every_step("refine_posterior refines", model, batch)
    return _run(model, num_steps, num_particles, num_samples, chunk, block, params, rate, key, batch)
