"""What a code costs and what it leaves out: the rate and the distortion of every example."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.core import Key, LatentVariableModel, Params, as_batch, total
from genjax_models.errors import ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes


class RateDistortion(NamedTuple):
    """The two parts of minus the evidence lower bound, nats."""

    rate: jax.Array  # [N], KL(q(z | x) || p(z))
    distortion: jax.Array  # [N], -E_q log p(x | z)


def _rate_distortion(model, num_samples, block, params, key, batch) -> RateDistortion:
    def example(key, row):
        def draw(key):
            z, log_q = model.propose(params, key, row.x, row.context)
            joint = model.log_joint(params, z, row.x, row.context)
            return total(log_q) - total(joint.prior), -joint.likelihood

        rate, distortion = jax.tree.map(jnp.mean, jax.vmap(draw)(jax.random.split(key, num_samples)))
        if model.kl is not None:
            rate = total(model.kl(params, row.x, row.context))
        return RateDistortion(rate, distortion)

    return in_blocks(example, key, batch, block)


_run = compiled(_rate_distortion, static=3)


def rate_distortion(
    model: LatentVariableModel, params: Params, key: Key, x: Any, num_samples: int = 20, *, block: int = 50
) -> RateDistortion:
    """Rate R = KL(q(z | x) || p(z)) and distortion D = -E_q log p(x | z) of every example; -ELBO = R + D.

    Models of one bound may lie anywhere on the line R + D: at R = 0 the latents say nothing of x.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`.
        x: examples [N, D], or a `Batch` with contexts.
        num_samples: draws of z an example. The rate is in closed form where the model has one.
        block: examples computed at a time.

    Returns:
        `RateDistortion`, leaves [N], nats.

    Raises:
        ModelError: no latents.
        ConfigError: a size below one.
        DataError: examples that are not [N, D].

    Example:
        >>> rate, distortion = rate_distortion(model, params, jax.random.key(0), x_test)

    Reference:
        Alemi, Poole, Fischer, Dillon, Saurous and Murphy, "Fixing a Broken ELBO", 2018, section 3.
    """
    if not isinstance(model, LatentVariableModel):
        raise ModelError(f"rate_distortion needs a LatentVariableModel, got a {type(model).__name__}.")
    require_sizes("rate_distortion", num_samples=num_samples, block=block)
    return _run(model, num_samples, block, params, key, check_examples(as_batch(x)))
