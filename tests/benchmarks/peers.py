"""What several peers need: our parameters, and losses with loops that PyTorch compiles by parts."""

import numpy as np


def moved(params):
    """The same with a little noise on all numbers, for at zeros unequal models could have equal losses."""
    import jax

    random = np.random.default_rng(2)
    return jax.tree.map(
        lambda v: np.asarray(v) + np.asarray(random.normal(size=v.shape) / 50, np.asarray(v).dtype), params
    )


def layer(params, name: str):
    """An affine map whose kernel and bias have a name, as `dense.torch_linear` wants it."""
    return {part: params[f"{name}_{part}"] for part in ("kernel", "bias")}


def affine(params, name: str, *given):
    """Such a map of what is given, side by side, in plain JAX."""
    import jax.numpy as jnp

    return jnp.concatenate(given, axis=-1) @ params[f"{name}_kernel"] + params[f"{name}_bias"]


def compiled_by_parts(loss):
    """A loss of which `torch.compile` leaves the loop to Python, where the turn of the loop is compiled already."""
    import torch

    run = torch.compiler.disable(loss, recursive=False)
    # Given the disabled function itself, it would compile what that wraps.
    return lambda x: run(x)
