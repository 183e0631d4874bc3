"""Which latents a model uses, and what each costs: active units, and KL(q(z | x) || p(z)) by group and by latent."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.config import as_number
from genjax_models.core import Key, Latents, LatentVariableModel, Params, as_batch
from genjax_models.errors import DataError
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes
from genjax_models.evaluation.moments import PosteriorMoments, posterior_moments, require_real_latents

THRESHOLD = 1e-2  # Burda, Grosse and Salakhutdinov 2015, section 5.2


class ActiveUnits(NamedTuple):
    """What the data do to every latent's posterior mean."""

    variance: Latents  # Var_x E_q[z_i | x], shaped as the latents
    active: Latents  # booleans: whether it is above the threshold

    @property
    def number(self) -> int:
        """How many latents are active."""
        return int(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(self.active)))


def _variance_of_mean(model: LatentVariableModel, context: Any, moments: PosteriorMoments) -> Latents:
    masks = jax.tree.leaves(context) if model.frame is not None else []

    def of_leaf(mean, std):
        # A sequence says nothing of a latent at a step that it does not have, where the latent is 0 and no draw.
        there = jnp.asarray(masks[0])[..., None] > 0 if masks else jnp.ones((mean.shape[0],) + (1,) * (mean.ndim - 1))
        there = jnp.broadcast_to(there, mean.shape)
        number = jnp.sum(there, axis=0)

        def average(v, divisor):
            return jnp.sum(jnp.where(there, v, 0), axis=0) / jnp.maximum(divisor, 1)

        variance = average(jnp.square(mean - average(mean, number)), number - 1)
        # Means of K draws vary by std^2 / K more: with K = 100 and q = p that alone would be Burda's threshold.
        return variance - (
            0.0 if moments.num_samples is None else average(jnp.square(std), number) / moments.num_samples
        )

    return jax.tree.map(of_leaf, moments.mean, moments.std)


def active_units(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    num_samples: int = 100,
    *,
    threshold: float = THRESHOLD,
    moments: PosteriorMoments | None = None,
    block: int = 50,
) -> ActiveUnits:
    """The latents that the data move: Var_x E_q[z_i | x] > threshold.

    Where q's means are estimated from draws, what their noise adds to the variance is taken off, so that the estimate
    has no bias (and may be below 0). A latent of a sequence's step varies over the sequences that have this step; what
    fewer than two have is not active.

    Args:
        model: a `LatentVariableModel` with real, reparameterized latents.
        params: its parameters.
        key: as for `posterior_moments`.
        x: at least two examples [N, D], or a `Batch` with contexts.
        num_samples: draws an example, where the model has no closed form of its moments.
        threshold: what makes a latent active.
        moments: those of the examples, where they are known already.
        block: examples computed at a time.

    Returns:
        `ActiveUnits`, leaves as the latents of one example.

    Raises:
        ModelError: a model without such latents.
        ConfigError: an impossible size or threshold.
        DataError: examples that are not [N, D], or only one.

    Example:
        >>> active_units(model, params, jax.random.key(0), x_test).number

    Reference:
        Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", 2015, section 5.2: A_u > 10^-2.
    """
    require_real_latents("active_units", model)
    threshold = as_number("active_units: threshold", threshold, ge=0)
    batch = check_examples(as_batch(x))
    if batch.x.shape[0] < 2:
        raise DataError("active_units: got 1 example, expected at least 2, for a variance over the data.")
    if moments is None:
        moments = posterior_moments(model, params, key, batch, num_samples, block=block)
    variance = _variance_of_mean(model, batch.context, moments)
    return ActiveUnits(variance, jax.tree.map(lambda v: v > threshold, variance))


class LatentKL(NamedTuple):
    """KL(q(z | x) || p(z)) of N examples, nats."""

    by_group: tuple[jax.Array, ...]  # [N] for each group
    by_dimension: tuple[jax.Array, ...] | None  # [N, ...] as the latents; None where q or p is no product over them
    exact: bool  # whether `by_group` is in closed form


def _closed_form(model, name, block, params, batch):
    def example(_, row):
        return getattr(model, name)(params, row.x, row.context)

    return in_blocks(example, jax.random.key(0), batch, block)


def _from_draws(model, num_samples, block, params, key, batch):
    def example(key, row):
        def draw(key):
            z, log_q = model.propose(params, key, row.x, row.context)
            log_p = model.log_joint(params, z, row.x, row.context).prior
            return jax.tree.map(jnp.subtract, tuple(log_q), tuple(log_p))

        return jax.tree.map(jnp.mean, jax.vmap(draw)(jax.random.split(key, num_samples)))

    return in_blocks(example, key, batch, block)


_run_closed_form, _run_draws = compiled(_closed_form, static=3), compiled(_from_draws, static=3)


def latent_kl(
    model: LatentVariableModel, params: Params, key: Key, x: Any, num_samples: int = 100, *, block: int = 50
) -> LatentKL:
    """E_q[log q(z_i | ...) - log p(z_i | ...)] of every latent group, and of every latent where they are independent.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`; unused where the KL is in closed form.
        x: examples [N, D], or a `Batch` with contexts.
        num_samples: draws an example, where there is no closed form: the estimate by group has no bias.
        block: examples computed at a time.

    Returns:
        `LatentKL`, nats.

    Raises:
        ModelError: no latents.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Example:
        >>> kl = latent_kl(model, params, jax.random.key(0), x_test).by_dimension[0].mean(axis=0)
    """
    if not isinstance(model, LatentVariableModel):
        require_real_latents("latent_kl", model)
    require_sizes("latent_kl", num_samples=num_samples, block=block)
    batch = check_examples(as_batch(x))
    if model.kl_by_dimension is not None:
        by_dimension = _run_closed_form(model, "kl_by_dimension", block, params, batch)
        return LatentKL(tuple(v.reshape(v.shape[0], -1).sum(axis=1) for v in by_dimension), by_dimension, True)
    if model.kl is not None:
        return LatentKL(_run_closed_form(model, "kl", block, params, batch), None, True)
    return LatentKL(_run_draws(model, num_samples, block, params, key, batch), None, False)
