"""Which modes of a known mixture a sampler finds, and which training example a sample is like."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax_models.config import as_number
from genjax_models.errors import require_count
from genjax_models.evaluation.blocks import in_blocks
from genjax_models.evaluation.two_sample import check_rows
from genjax_models.objectives.moment_matching import squared_distances


class Nearest(NamedTuple):
    """The nearest training example of every sample."""

    row: jax.Array  # [M], rows of train; the first of several at one distance
    distance: jax.Array  # [M], Euclidean


@functools.partial(jax.jit, static_argnames="block")
def _nearest(train, samples, block) -> Nearest:
    def one(_, sample):
        index = jnp.argmin(squared_distances(sample[None], train)[0])
        # Once more, from the difference: of two like rows the product leaves few digits.
        return Nearest(index, jnp.linalg.norm(sample - train[index]))

    return in_blocks(one, jax.random.key(0), samples, block)


def nearest(train: Any, samples: Any, *, block: int = 100) -> Nearest:
    """The training example that is nearest to each sample, which shows whether a sampler repeats what it was shown.

    Args:
        train: examples [N, D].
        samples: [M, D].
        block: samples computed at a time, each with all examples.

    Returns:
        `Nearest`: row [M] and Euclidean distance [M].

    Raises:
        DataError: arrays that are not [N, D] and [M, D].
        ConfigError: an impossible block.

    Example:
        >>> pairs = jnp.stack([samples, x_train[nearest(x_train, samples).row]], axis=1)
    """
    require_count("nearest: block", block)
    return _nearest(*check_rows(("train", train), ("samples", samples)), block)


class ModeCoverage(NamedTuple):
    """How samples lie about the modes of a mixture."""

    modes: jax.Array  # int32: modes with at least one sample of high quality
    high_quality: jax.Array  # share of samples within `radius` of a mode
    divergence: jax.Array  # KL(share of samples nearest to each mode || uniform), nats; log M if all are at one mode


def mode_coverage(samples: Any, centres: Any, radius: float) -> ModeCoverage:
    """How many modes of a mixture of equally likely Gaussians a sampler finds, how well, and how evenly.

    Args:
        samples: [N, D].
        centres: the Gaussians' means, [M, D].
        radius: the distance from the nearest mean within which a sample is of high quality: three standard deviations
            in the papers.

    Returns:
        `ModeCoverage`; samples from a round mixture in the plane have high_quality 1 - exp(-radius^2 / (2 std^2)),
        0.989 at three standard deviations.

    Raises:
        DataError: arrays that are not [N, D] and [M, D].
        ConfigError: an impossible radius.

    Example:
        >>> source = Gaussians("ring", modes=8)
        >>> mode_coverage(samples, source.centres(), radius=3 * source.std).modes

    Reference:
        Srivastava et al., "VEEGAN", 2017, section 4.1; Metz et al., "Unrolled generative adversarial networks", 2017.
    """
    radius = as_number("mode_coverage: radius", radius, gt=0)
    samples, centres = check_rows(("samples", samples), ("centres", centres))
    index, distance = nearest(centres, samples)
    good, number = distance <= radius, centres.shape[0]
    hit = jnp.zeros(number, jnp.int32).at[index].add(good.astype(jnp.int32)) > 0
    share = jnp.bincount(index, length=number) / samples.shape[0]
    # 0 log 0 is 0.
    divergence = jnp.sum(share * jnp.log(jnp.where(share > 0, share * number, 1)))
    return ModeCoverage(jnp.sum(hit), jnp.mean(good), divergence)
