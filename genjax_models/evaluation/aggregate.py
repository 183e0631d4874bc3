"""Where the data's codes lie: q(z) = E_x q(z | x), beside the prior that samples are drawn from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Key, Latents, LatentVariableModel, Params, Scalar, as_batch, total
from genjax_models.errors import DataError, ModelError, require_count
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks
from genjax_models.evaluation.moments import require_real_latents
from genjax_models.evaluation.two_sample import median_bandwidth, mmd_squared


class AggregatePosterior(NamedTuple):
    """q_N(z) = (1/N) sum_n q(z | x_n) and p(z): a draw of q(z | x_n) for every example, and as many of p."""

    z: Latents  # leaves [N, ...]
    z_prior: Latents
    kl: Scalar  # KL(q_N(z) || p(z)), nats
    mutual_information: Scalar  # of the example's index and z, nats; at most log N. The rate is the sum of the two.
    mmd_squared: Scalar  # between the draws, without bias


def _log_mean(rows: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(rows, axis=0) - np.log(len(rows))


def _aggregate(model, block, params, key, batch) -> tuple[AggregatePosterior, jax.Array]:
    """The result; and log p(z) of the first draw under the first and the second x, [2], which should be the same."""

    def draw(key, row):
        of_q, of_p = jax.random.split(key)
        z, _ = model.propose(params, of_q, row.x, row.context)
        return z, model.sample_joint(params, of_p, row.context)[0]

    def log_posteriors(_, row):
        return jax.vmap(lambda z: total(model.log_posterior(params, z, row.x, row.context)))(z)

    def log_prior(z, x, c):
        return total(model.log_joint(params, z, x, c).prior)

    def log_priors(_, row):
        return jax.vmap(lambda z: log_prior(z, row.x, row.context))(z)

    z, z_prior = in_blocks(draw, key, batch, block)
    each = in_blocks(log_posteriors, key, batch, block)  # log q(z_m | x_n), [N, M]
    # Without contexts one row serves: p(z) does not know x.
    given = batch if jax.tree.leaves(batch.context) else batch._replace(x=batch.x[:1])
    log_q, log_p = _log_mean(each), _log_mean(in_blocks(log_priors, key, given, block))
    first, context = jax.tree.map(lambda v: v[0], (z, batch.context))
    number = batch.x.shape[0]
    flat, flat_prior = (
        jnp.concatenate([v.reshape(number, -1) for v in jax.tree.leaves(tree)], axis=1) for tree in (z, z_prior)
    )
    found = AggregatePosterior(
        z,
        z_prior,
        kl=jnp.mean(log_q - log_p),
        mutual_information=jnp.mean(jnp.diagonal(each) - log_q),
        mmd_squared=mmd_squared(flat, flat_prior, (median_bandwidth(flat_prior, most=500),)),  # type: ignore[arg-type]
    )
    return found, jnp.stack([log_prior(first, x, context) for x in batch.x[:2]])


_run = compiled(_aggregate, static=2)


def aggregate_posterior(
    model: LatentVariableModel, params: Params, key: Key, x: Any, *, block: int = 20
) -> AggregatePosterior:
    """How far the codes of N examples, all together, are from the prior.

        E_n KL(q(z | x_n) || p(z)) = I(n; z) + KL(q_N(z) || p(z)),    q_N(z) = (1/N) sum_n q(z | x_n)

    The last term is what samples suffer from: z of the prior that the decoder has seldom seen. The terms are of the
    mixture of these N examples, estimated by a draw of each; the work grows with N^2, in the encoder with N. Given
    contexts, p(z) too is the mixture of p(z | c_n).

    Args:
        model: a `LatentVariableModel` with real, reparameterized latents.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`.
        x: at least two examples [N, D], or a `Batch` with contexts.
        block: examples whose q is computed at a time, at all N draws.

    Returns:
        An `AggregatePosterior`.

    Raises:
        ModelError: a model without such latents, or one whose prior is given x, as a recurrent net's is.
        ConfigError: a block below one.
        DataError: examples that are not [N, D], or only one.

    Example:
        >>> aggregate_posterior(model, params, jax.random.key(0), x_test[:500]).kl

    Reference:
        Hoffman and Johnson, "ELBO surgery", 2016, equation 10.
    """
    require_real_latents("aggregate_posterior", model)
    require_count("aggregate_posterior: block", block)
    batch = check_examples(as_batch(x))
    if batch.x.shape[0] < 2:
        raise DataError("aggregate_posterior: got 1 example, expected at least 2.")
    found, log_prior = _run(model, block, params, key, batch)
    if not np.allclose(log_prior[0], log_prior[1], rtol=1e-4, atol=1e-4):
        raise ModelError(
            f"aggregate_posterior compares q(z) with one prior p(z), but that of {model.name} is given x; use a model "
            "whose latents come before x."
        )
    return found
