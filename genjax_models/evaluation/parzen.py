"""Log-likelihood of a sampler by a Parzen window: a mixture of Gaussians about its samples."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import as_number
from genjax_models.errors import require_count
from genjax_models.evaluation.blocks import in_blocks
from genjax_models.evaluation.two_sample import check_rows
from genjax_models.objectives.moment_matching import squared_distances

GRID = tuple(float(s) for s in np.logspace(-1, 0, 10))


@functools.partial(jax.jit, static_argnames="block")
def _log_likelihood(samples, x, sigmas, block):
    """[N, G] for G sigmas."""
    number, visible = samples.shape

    def example(_, row):
        squared = squared_distances(row[None], samples)[0]

        def at(sigma):
            log_sum = jax.nn.logsumexp(-squared / (2 * sigma**2))
            return log_sum - jnp.log(number) - visible * (jnp.log(sigma) + 0.5 * jnp.log(2 * jnp.pi))

        return jax.lax.map(at, sigmas)

    return in_blocks(example, jax.random.key(0), x, block)


def parzen_log_likelihood(samples: Any, x: Any, sigma: float, *, block: int = 100) -> jax.Array:
    """log (1/M) sum_m N(x; s_m, sigma^2 I) of every example x, with samples s_m of a model.

    This is the log-likelihood of another model than the one that is judged, and does not rank models as theirs would:
    in many dimensions no number of samples that one can afford brings it near, a model that repeats the centres of
    clusters of the training data scores above the data's own distribution, and the figure depends on sigma. It is here
    to stand beside the figures of papers that report it; look at samples, MMD and coverage as well.

    Args:
        samples: of the model, [M, D]; 10,000 in most papers.
        x: examples [N, D].
        sigma: standard deviation of each Gaussian, above 0; see `choose_sigma`.
        block: examples computed at a time, each with all samples.

    Returns:
        [N], nats. Papers print its mean and the standard error over examples.

    Raises:
        DataError: arrays that are not [M, D] and [N, D].
        ConfigError: an impossible sigma or block.

    Example:
        >>> sigma = choose_sigma(samples, x_validation)
        >>> log_p = parzen_log_likelihood(samples, x_test, sigma)
        >>> log_p.mean(), log_p.std(ddof=1) / len(log_p) ** 0.5

    Reference:
        Breuleux, Bengio and Vincent 2011; Goodfellow et al. 2014, section 5; Theis, van den Oord and Bethge, "A note
        on the evaluation of generative models", 2016, section 3.2, on why not to trust it.
    """
    sigma = as_number("parzen_log_likelihood: sigma", sigma, gt=0)
    require_count("parzen_log_likelihood: block", block)
    samples, x = check_rows(("samples", samples), ("x", x))
    return _log_likelihood(samples, x, jnp.asarray([sigma], x.dtype), block)[:, 0]


def choose_sigma(samples: Any, validation: Any, grid: tuple[float, ...] = GRID, *, block: int = 100) -> float:
    """The sigma of a grid with the largest mean `parzen_log_likelihood` of validation examples.

    Args:
        samples: of the model, [M, D].
        validation: examples [N, D].
        grid: sigmas to try, each above 0; ten from 0.1 to 1 at even ratios, as in the papers on [0, 1] data.
        block: examples computed at a time.

    Returns:
        The sigma; widen the grid if it is an end of it.

    Raises:
        DataError: arrays that are not [M, D] and [N, D].
        ConfigError: an empty grid, or an impossible sigma.
    """
    require_count("choose_sigma: the number of sigmas in grid", len(grid))
    grid = tuple(as_number(f"choose_sigma: grid.{i}", sigma, gt=0) for i, sigma in enumerate(grid))
    require_count("choose_sigma: block", block)
    samples, validation = check_rows(("samples", samples), ("validation", validation))
    means = _log_likelihood(samples, validation, jnp.asarray(grid, samples.dtype), block).mean(axis=0)
    return grid[int(jnp.argmax(means))]
