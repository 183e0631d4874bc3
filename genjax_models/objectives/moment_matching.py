"""Maximum mean discrepancy: two distributions compared by the means of a kernel's features."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import ObjectiveConfig, as_number, config, field
from genjax_models.core import ImplicitModel, Objective, Scalar, along_batch, as_batch
from genjax_models.errors import ConfigError, ModelError, require_bool, require_count
from genjax_models.objectives.common import only, owns_nothing

BANDWIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """|x_i - y_j|^2, [N, M], of rows x [N, D] and y [M, D]; by one matrix product, never below 0."""
    # Differences of large numbers: the few digits that accelerators multiply by default would not do, nor those that
    # float32 has where rows lie far from zero and near each other.
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=0))
    x, y = x - centre, y - centre
    products = jnp.matmul(x, y.T, precision="highest")
    return jnp.maximum(jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1) - 2 * products, 0)


def gaussian_kernel(squared: jax.Array, bandwidths: tuple[Any, ...]) -> jax.Array:
    """k = sum over bandwidths of exp(-|x - y|^2 / (2 sigma)), of squared distances of any shape."""
    return sum(jnp.exp(-squared / (2 * sigma)) for sigma in bandwidths)  # type: ignore[return-value]


def biased_mmd_squared(x: jax.Array, y: jax.Array, bandwidths: tuple[Any, ...]) -> Scalar:
    """mean k(x, x') - 2 mean k(x, y) + mean k(y, y') over all pairs, a point with itself included: at least 0."""

    def mean(a, b):
        return jnp.mean(gaussian_kernel(squared_distances(a, b), bandwidths))

    return mean(x, x) - 2 * mean(x, y) + mean(y, y)


def safe_root(value: Scalar) -> Scalar:
    """The square root; 0 with gradient 0 where rounding, or two equal samples, leave nothing above 0."""
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)


def check_bandwidths(where: str, bandwidths: Any) -> tuple[Any, ...]:
    """The bandwidths as plain numbers where they are concrete; ConfigError unless all are above 0."""
    if not isinstance(bandwidths, (tuple, list)) or not bandwidths:
        raise ConfigError(f"{where}: bandwidths: got {bandwidths!r}, expected numbers above 0, such as {BANDWIDTHS}.")
    return tuple(as_number(f"{where}: bandwidths.{i}", sigma, gt=0) for i, sigma in enumerate(bandwidths))


@dataclasses.dataclass(frozen=True)
class MomentMatchingLoss:
    """`Objective.loss` of `moment_matching`."""

    model: Any  # an ImplicitModel; mypy would have each of its optional functions tested
    bandwidths: tuple[Any, ...]
    root: bool
    num_samples: int | None
    needs_whole_batch: ClassVar[str] = "moment_matching compares all pairs of a batch and its samples"

    def __call__(self, trainable, state, key, batch, step):
        params, batch = trainable.model, as_batch(batch)
        size = batch.x.shape[0]
        number = size if self.num_samples is None else self.num_samples
        context = jax.tree.map(lambda v: v[np.arange(number) % size], batch.context)
        coded = self.model.sample_code is not None
        draw = functools.partial(self.model.sample_code if coded else self.model.sample, only("generative", params))
        y = jax.vmap(draw)(along_batch(jax.random.split(key, number)), context)
        x = batch.x
        if coded:
            x = jax.lax.stop_gradient(jax.vmap(functools.partial(self.model.encode, params))(x, batch.context))
        squared = biased_mmd_squared(x, y, self.bandwidths)
        mmd = safe_root(squared) if self.root else squared
        if not coded:
            return mmd, (state, {"mmd": mmd})
        reconstruct = functools.partial(self.model.reconstruction_error, only("autoencoder", params))
        error = jnp.mean(jax.vmap(reconstruct)(batch.x, batch.context))
        return mmd + error, (state, {"mmd": mmd, "reconstruction_error": error})


def moment_matching(
    model: ImplicitModel,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    root: bool = True,
    num_samples: int | None = None,
) -> Objective:
    """The maximum mean discrepancy between a batch and samples, or its square, with several bandwidths at once.

        MMD^2 = mean k(x, x') - 2 mean k(x, y) + mean k(y, y'),    k(x, y) = sum_sigma exp(-|x - y|^2 / (2 sigma)),

    means over all pairs, so that a finite sample's value is at least 0, above its expectation (a V-statistic). The
    bandwidth is a squared length, as in the paper. The root's gradient does not vanish as fast as the discrepancy.

    A model with an autoencoder is matched in the space of codes, whose gradient reaches "generative" alone with the
    codes held fixed; the reconstruction error is added, and reaches "autoencoder" alone. Contexts are passed to the
    model, but x alone is compared.

    Args:
        model: an `ImplicitModel`.
        bandwidths: sigma, each above 0.
        root: True for MMD, False for MMD^2.
        num_samples: samples a batch; None for as many as it has examples.

    Returns:
        An `Objective` with metric "mmd", and "reconstruction_error" (see the model) with an autoencoder; its value is
        their sum.

    Raises:
        ModelError: a model that is no `ImplicitModel`.
        ConfigError: an impossible bandwidth or number of samples.

    Example:
        >>> objective = moment_matching(moment_matching_generator(784), bandwidths=(2.0, 5.0, 10.0))

    Reference:
        Li, Swersky and Zemel, "Generative moment matching networks", 2015, equations 3 to 6 and section 4; Gretton
        et al. 2012, equation 5.
    """
    if not isinstance(model, ImplicitModel):
        raise ModelError(
            f"moment_matching needs an ImplicitModel, got {getattr(model, 'name', '') or model!r}, which is a "
            f"{type(model).__name__}. Use maximum_likelihood for a model with log p(x), elbo for one with latents."
        )
    checked = check_bandwidths("moment_matching", bandwidths)
    require_bool("moment_matching: root", root)
    if num_samples is not None:
        require_count("moment_matching: num_samples", num_samples)
    return Objective(owns_nothing, MomentMatchingLoss(model, checked, root, num_samples))


@config
class MomentMatching(ObjectiveConfig):
    """Maximum mean discrepancy between data and samples, Gaussian kernels of several bandwidths."""

    capability: ClassVar[str] = "ImplicitModel"
    citation: ClassVar[str] = "Li, Swersky and Zemel 2015"
    metric: ClassVar[str] = "mmd"

    bandwidths: tuple[float, ...] = field(
        default=BANDWIDTHS,
        gt=0,
        nonempty=True,
        help="sigma of the kernels exp(-|x - y|^2 / (2 sigma)), which are added",
    )
    root: bool = field(default=True, help="minimize MMD rather than its square")
    num_samples: int | None = field(default=None, ge=1, help="samples a step; None for as many as the batch has")

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return moment_matching(model, self.bandwidths, self.root, self.num_samples)
