"""log p(x) from p alone, without a recognition distribution: how a generator that emits p(x | z) can be scored."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from genjax_models.core import Batch, ImplicitModel, Key, LatentVariableModel, Params, as_batch, total
from genjax_models.errors import ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes
from genjax_models.evaluation.marginal import LogMarginal, log_mean_weight, require_prior, with_warning
from genjax_models.evaluation.moments import require_every_step

MOST_NODES = 10**6


def _require(name: str, model: Any) -> None:
    if isinstance(model, LatentVariableModel):
        return
    if isinstance(model, ImplicitModel):
        why = "emits x itself, and has no p(x | z): it can be sampled, but not scored"
    else:
        why = "has no latents: log_prob is exact"
    raise ModelError(f"{name} averages p(x | z) over z, but {getattr(model, 'name', '') or model!r} {why}.")


def _likelihood(model, params, row, key) -> jax.Array:
    """log p(x | z) of z ~ p(z)."""
    z, _ = model.sample_joint(params, key, row.context)
    return model.log_joint(params, z, row.x, row.context).likelihood


def prior_log_marginal(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    num_samples: int = 1000,
    *,
    chunk: int = 100,
    block: int = 50,
) -> LogMarginal:
    """The estimate log (1/K) sum_k p(x | z_k), z_k ~ p(z), of log p(x) = log E_z p(x | z), for every example.

    In expectation it is below log p(x), rising to it with K; far below where few z of the prior explain x, which is why
    `log_marginal` proposes them by q(z | x). It needs no recognition distribution, and takes nothing from one.

    Args:
        model: a `LatentVariableModel`, of which p alone is used.
        params: its parameters.
        key: example i draws sample k from `fold_in(fold_in(key, i), k)`.
        x: examples [N, D], or a `Batch` with contexts.
        num_samples: K.
        chunk: samples computed at a time.
        block: examples computed at a time.

    Returns:
        A `LogMarginal`, leaves [N], nats.

    Warns:
        DoubtfulEstimate: examples whose weights speak against their estimates, which `doubtful` marks.

    Raises:
        ModelError: a model without p(x | z), or whose latents depend on parts of x drawn before them.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Example:
        >>> prior_log_marginal(model, params, jax.random.key(0), x_test, 10_000).log_prob.mean()

    Reference:
        Goodfellow et al. 2016, equation 20.75.
    """
    _require("prior_log_marginal", model)
    require_prior("prior_log_marginal", model, "use log_marginal.")
    require_sizes("prior_log_marginal", num_samples=num_samples, chunk=chunk, block=block)
    batch = check_examples(as_batch(x))
    found = log_mean_weight(model, _likelihood, None, num_samples, chunk, block, params, key, batch)
    return with_warning("prior_log_marginal", found, "Propose z by q(z | x), as log_marginal does, or anneal.")


def _latent_shapes(model: LatentVariableModel, params: Params, batch: Batch) -> Any:
    context = jax.tree.map(lambda v: v[0], batch.context)
    return jax.eval_shape(model.sample_joint, params, jax.random.key(0), context)[0]


def _integrate(model, block, params, points, log_weights, batch) -> jax.Array:
    shapes = _latent_shapes(model, params, batch)
    _, latents = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, points.dtype), shapes))

    def example(_, row):
        def term(at):
            point, log_weight = at
            return log_weight + total(model.log_joint(params, latents(point), row.x, row.context))

        return jax.nn.logsumexp(jax.lax.map(term, (points, log_weights), batch_size=1000))

    return in_blocks(example, jax.random.key(0), batch, block)


_run_integrate = compiled(_integrate, static=2)


def quadrature_log_marginal(
    model: LatentVariableModel, params: Params, x: Any, nodes: int = 50, *, block: int = 50
) -> jax.Array:
    """log p(x) = log of the integral of p(x, z) over few real latents z, by Gauss-Hermite quadrature.

    It is exact for p(x | z) that are polynomials of degree below 2 `nodes` in each latent, under a standard normal
    prior, and converges fast for smooth ones near such a prior: compare with more nodes where the latents of p are
    wider, or depend on one another.

    Args:
        model: a `LatentVariableModel` with real latents, of which p alone is used.
        params: its parameters.
        x: examples [N, D], or a `Batch` with contexts.
        nodes: points along each latent; all of them together at most a million.
        block: examples computed at a time.

    Returns:
        log p(x), [N], nats.

    Raises:
        ModelError: a model without p(x | z), with latents that are not real, or with too many of them; sequences with
            steps that a mask leaves out.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Reference:
        Goodfellow et al. 2016, equation 20.75.
    """
    _require("quadrature_log_marginal", model)
    require_sizes("quadrature_log_marginal", nodes=nodes, block=block)
    batch = check_examples(as_batch(x))
    if model.support != "real":
        raise ModelError(
            f"quadrature_log_marginal integrates over real latents, and those of {model.name} are {model.support}. Use "
            "exact_log_marginal."
        )
    require_every_step("quadrature_log_marginal integrates over", model, batch)
    latents = sum(leaf.size for leaf in jax.tree.leaves(_latent_shapes(model, params, batch)))
    if nodes**latents > MOST_NODES:
        raise ModelError(
            f"quadrature_log_marginal: {nodes} nodes along each of the {latents} latents of {model.name} are "
            f"{float(nodes**latents):.0e} points, at most {MOST_NODES:.0e}; take fewer nodes, or prior_log_marginal."
        )
    along, weights = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.array(list(itertools.product(along, repeat=latents)))
    # Of the integral itself: the weights are those of exp(-z^2 / 2).
    log_weights = np.array(list(itertools.product(np.log(weights), repeat=latents))).sum(axis=1)
    log_weights = log_weights + 0.5 * (points**2).sum(axis=1)
    kind = jnp.result_type(float)
    return _run_integrate(model, block, params, jnp.asarray(points, kind), jnp.asarray(log_weights, kind), batch)
