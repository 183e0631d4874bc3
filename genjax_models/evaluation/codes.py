"""What a decoder makes of codes: reconstructions, ways between two codes, and one latent moved at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.core import Key, Latents, LatentVariableModel, Params, as_batch
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, in_blocks, require_sizes
from genjax_models.evaluation.moments import require_real_latents


def require_decoder(name: str, model: Any) -> LatentVariableModel:
    """The model; ModelError unless it has E[x | z]."""
    if not isinstance(model, LatentVariableModel) or model.decode is None:
        raise ModelError(
            f"{name} needs a model with latents z and a closed form of E[x | z], which "
            f"{getattr(model, 'name', '') or model!r} does not have; use a variational autoencoder or a belief net."
        )
    return model


def _reconstruct(model, block, params, key, batch):
    def example(key, row):
        z, _ = model.propose(params, key, row.x, row.context)
        return model.decode(params, z, row.context)

    return in_blocks(example, key, batch, block)


_run_reconstruct = compiled(_reconstruct, static=2)


def reconstruct(model: LatentVariableModel, params: Params, key: Key, x: Any, *, block: int = 100) -> jax.Array:
    """E[x | z] with one draw z ~ q(z | x) for every example, [N, D].

    Args:
        model: a `LatentVariableModel` with `decode`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`.
        x: examples [N, D], or a `Batch` with contexts.
        block: examples computed at a time.

    Raises:
        ModelError: no latents, or no E[x | z] in closed form.
        ConfigError: a block below one.
        DataError: examples that are not [N, D].
    """
    require_decoder("reconstruct", model)
    require_sizes("reconstruct", block=block)
    return _run_reconstruct(model, block, params, key, check_examples(as_batch(x)))


def response(
    model: LatentVariableModel, params: Params, key: Key, without: Any, planted: Any, *, block: int = 100
) -> jax.Array:
    """The share of a change of x that its reconstruction follows: 1 recovered, 0 ignored.

        <r(x') - r(x), x' - x> / |x' - x|^2,    r(x) = E[x | z], z ~ q(z | x)

    with the same noise in both draws of z. With x' = x and a planted feature it tells whether the code has it.

    Args:
        model: a `LatentVariableModel` with `decode`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`, for x and for x'.
        without: examples x, [N, D], or a `Batch` with contexts.
        planted: the same examples with the change, x'.
        block: examples computed at a time.

    Returns:
        [N]; not a number for an example without a change.

    Raises:
        ModelError: no latents, or no E[x | z] in closed form.
        DataError: examples that are not [N, D], or other than those without the change in number or width.

    Example:
        >>> response(model, params, key, *PlantedDigits(size=2).pairs()).mean()
    """
    require_decoder("response", model)
    before, after = (check_examples(as_batch(v)) for v in (without, planted))
    if before.x.shape != after.x.shape:
        raise DataError(f"planted: got shape {after.x.shape}, expected {before.x.shape}, that of `without`.")
    change = after.x - before.x
    followed = reconstruct(model, params, key, after, block=block) - reconstruct(
        model, params, key, before, block=block
    )
    return jnp.sum(followed * change, axis=1) / jnp.sum(jnp.square(change), axis=1)


def _decode_all(model, params, z, contexts):
    return jax.vmap(lambda z, c: model.decode(params, z, c))(z, contexts)


_run_decode = compiled(_decode_all, static=1)


def interpolate_codes(
    model: LatentVariableModel, params: Params, start: Latents, end: Latents, num: int, contexts: Any = ((), ())
) -> jax.Array:
    """E[x | z] at z = (1 - t) start + t end for t = 0, ..., 1, [num, D]: a straight way between two codes.

    Args:
        model: a `LatentVariableModel` with real latents and `decode`.
        params: its parameters.
        start, end: latents of one example each, such as their posterior means.
        num: steps, both ends included; at least 2.
        contexts: those of the two ends, which are blended too.

    Raises:
        ModelError: latents that are not real, or no E[x | z].
        ConfigError: fewer than two steps.
    """
    require_decoder("interpolate_codes", require_real_latents("interpolate_codes", model))
    require_sizes("interpolate_codes", num=num)
    if num < 2:
        raise ConfigError(f"interpolate_codes: num: got {num}, expected at least 2, the two ends.")
    t = np.linspace(0, 1, num, dtype=jnp.result_type(float))

    def blend(a, b):
        return np.multiply.outer(1 - t, np.asarray(a)) + np.multiply.outer(t, np.asarray(b))

    return _run_decode(model, params, jax.tree.map(blend, start, end), jax.tree.map(blend, *contexts))


def traverse(
    model: LatentVariableModel, params: Params, z: Latents, group: int, index: int, values: Any, context: Any = ()
) -> jax.Array:
    """E[x | z] with one latent set to each of some values and all others as they are, [V, D].

    Args:
        model: a `LatentVariableModel` with real latents and `decode`.
        params: its parameters.
        z: latents of one example, such as their posterior means.
        group: which leaf of them.
        index: which number of that leaf, flattened.
        values: [V], in the units of the latent.
        context: the example's.

    Raises:
        ModelError: latents that are not real, or no E[x | z].
        ConfigError: a group or an index that is not there.
    """
    require_decoder("traverse", require_real_latents("traverse", model))
    leaves, structure = jax.tree.flatten(z)
    if not 0 <= group < len(leaves) or not 0 <= index < jnp.size(leaves[group]):
        raise ConfigError(
            f"traverse: got latent {index} of group {group}, but the latents are of shapes "
            f"{', '.join(str(jnp.shape(leaf)) for leaf in leaves)}."
        )
    values = np.asarray(values, jnp.result_type(float))

    def repeat(leaf):
        return np.repeat(np.asarray(leaf)[None], len(values), axis=0)

    moved = [repeat(leaf) for leaf in leaves]
    moved[group].reshape(len(values), -1)[:, index] = values
    return _run_decode(model, params, jax.tree.unflatten(structure, moved), jax.tree.map(repeat, context))
