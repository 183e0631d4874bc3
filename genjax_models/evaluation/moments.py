"""The mean and the standard deviation of every latent under q(z | x)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.core import Batch, Key, Latents, LatentVariableModel, Params, as_batch
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes


class PosteriorMoments(NamedTuple):
    """E_q[z | x] and the standard deviation of z for each of N examples."""

    mean: Latents  # leaves [N, ...]
    std: Latents
    num_samples: int | None  # that they were estimated from; None where they are exact


def require_every_step(name_and_verb: str, model: LatentVariableModel, batch: Batch) -> None:
    """Raise ModelError where a mask leaves out steps of a sequence, whose latents are in neither p nor q."""
    masks = jax.tree.leaves(batch.context) if model.frame is not None else []
    if any(not isinstance(m, jax.core.Tracer) and bool((jnp.asarray(m) <= 0).any()) for m in masks):
        raise ModelError(
            f"{name_and_verb} every latent, and those of {model.name} at steps that a mask leaves out are no part of p "
            "and q; give sequences of one length, without masks."
        )


def require_real_latents(name: str, model: Any) -> LatentVariableModel:
    """The model; ModelError unless it has latents that are real and reparameterized."""
    if not isinstance(model, LatentVariableModel):
        raise ModelError(
            f"{name} is about latents and their q(z | x), which {getattr(model, 'name', '') or model!r}, a "
            f"{type(model).__name__}, does not have; use a variational autoencoder."
        )
    if model.support != "real" or not model.reparameterized:
        raise ModelError(
            f"{name} takes moments of real latents that are reparameterized; those of {model.name} are "
            f"{model.support}{'' if model.reparameterized else ', drawn without a path for gradients'}. Use a "
            "variational autoencoder with Gaussian latents."
        )
    return model


def _exact(model, block, params, batch):
    def example(_, row):
        return model.posterior_moments(params, row.x, row.context)

    return in_blocks(example, jax.random.key(0), batch, block)


def moments_of_draws(model, params, key, row, num_samples) -> tuple[Latents, Latents]:
    """The mean and the standard deviation of draws from q(z | x), each as z."""
    keys = jax.random.split(key, num_samples)
    z = jax.vmap(lambda k: model.propose(params, k, row.x, row.context)[0])(keys)
    return jax.tree.map(lambda v: jnp.mean(v, axis=0), z), jax.tree.map(lambda v: jnp.std(v, axis=0, ddof=1), z)


def _sampled(model, num_samples, block, params, key, batch):
    def example(key, row):
        return moments_of_draws(model, params, key, row, num_samples)

    return in_blocks(example, key, batch, block)


_run_exact, _run_sampled = compiled(_exact, static=2), compiled(_sampled, static=3)


def posterior_moments(
    model: LatentVariableModel, params: Params, key: Key, x: Any, num_samples: int = 100, *, block: int = 50
) -> PosteriorMoments:
    """The mean and the standard deviation of every latent under q(z | x), of every example.

    They are exact where the model has them in closed form; elsewhere they are those of draws from q, which any model
    has, however its latents depend on each other.

    Args:
        model: a `LatentVariableModel` with real, reparameterized latents.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`; unused where the moments are exact.
        x: examples [N, D], or a `Batch` with contexts.
        num_samples: draws an example, at least 2, where the model has no closed form.
        block: examples computed at a time.

    Returns:
        `PosteriorMoments`, leaves [N, ...] as the latents.

    Raises:
        ModelError: a model without such latents.
        ConfigError: fewer than two draws, or a block below one.
        DataError: examples that are not [N, D].

    Example:
        >>> mean, std, _ = posterior_moments(model, params, jax.random.key(0), x_test)
    """
    require_real_latents("posterior_moments", model)
    require_sizes("posterior_moments", num_samples=num_samples, block=block)
    batch = check_examples(as_batch(x))
    if model.posterior_moments is not None:
        mean, std = _run_exact(model, block, params, batch)
        return PosteriorMoments(mean, std, None)
    if num_samples < 2:
        raise ConfigError(f"posterior_moments: num_samples: got {num_samples}, expected at least 2, for a variance.")
    mean, std = _run_sampled(model, num_samples, block, params, key, batch)
    return PosteriorMoments(mean, std, num_samples)
