"""The simplest generator: an affine map of standard normal noise (Goodfellow et al. 2016, equation 20.71)."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from genjax_models.config import ModelConfig, config
from genjax_models.core import LikelihoodModel, Params
from genjax_models.errors import DataError
from genjax_models.models.build import build_from_fields
from genjax_models.models.conditionals import zeros
from genjax_models.models.flow import as_flow


class Triangular(nn.Module):
    """x = mu + L z, with log L_ii and the rest of L free."""

    visible: int

    def setup(self):
        self.loc = self.param("loc", zeros, (self.visible,))
        self.log_diagonal = self.param("log_diagonal", zeros, (self.visible,))
        self.lower = self.param("lower", zeros, (self.visible, self.visible))  # what lies below the diagonal counts

    def scale(self):
        """L."""
        return jnp.tril(self.lower, -1) + jnp.diag(jnp.exp(self.log_diagonal))

    def inverse(self, x):
        z = jax.scipy.linalg.solve_triangular(self.scale(), x - self.loc, lower=True)
        return z, -jnp.sum(self.log_diagonal)

    def forward(self, z):
        return self.loc + self.scale() @ z


@config
class AffineGenerator(ModelConfig):
    """x = mu + L z: the multivariate normal, as a generator."""

    capability: ClassVar[str] = "LikelihoodModel"
    citation: ClassVar[str] = "Goodfellow, Bengio and Courville 2016, equation 20.71"

    @property
    def data_support(self) -> str:
        return "real"

    def build(self, visible: int) -> LikelihoodModel:
        """The model of x with `visible` units."""
        return as_flow(self, Triangular(visible), visible)


def affine_generator(visible: int) -> LikelihoodModel:
    """x = mu + L z, z ~ N(0, I), with L lower triangular of positive diagonal: N(mu, L L').

    The logarithm of the diagonal is what is trained, so that L stays invertible. `fit_affine` gives the maximum of the
    likelihood in closed form.

    Args:
        visible: units D of an example.

    Returns:
        A `LikelihoodModel` with `inverse` and `forward`, of real x.

    Example:
        >>> model = affine_generator(3)
        >>> params = fit_affine(x_train)
        >>> model.log_prob(params, x_test[0], ())

    Reference:
        Goodfellow et al. 2016, equation 20.71.
    """
    return build_from_fields(AffineGenerator, visible, {})


def fit_affine(x: ArrayLike) -> Params:
    """The parameters of `affine_generator` with the highest likelihood: mean, and Cholesky factor of the covariance.

        mu = sum_n x_n / N,   L L' = sum_n (x_n - mu)(x_n - mu)' / N

    Args:
        x: examples [N, D].

    Returns:
        Parameters for `affine_generator(D)`, in the default float type of jax; computed in float64.

    Raises:
        DataError: examples that are not [N, D], not finite or fewer than D + 1, or of a singular covariance.

    Example:
        >>> params = fit_affine(x_train)
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] < 1 or x.dtype.kind not in "fiub":
        raise DataError(f"fit_affine: got x of shape {x.shape} and dtype {x.dtype}, expected numbers [N, D].")
    x = x.astype(np.float64)
    number, visible = x.shape
    if number < visible + 1:
        raise DataError(
            f"fit_affine: got {number} examples of {visible} units, whose covariance has no full rank; expected at "
            f"least {visible + 1}."
        )
    if not np.isfinite(x).all():
        raise DataError(f"fit_affine: {int((~np.isfinite(x)).sum())} of {x.size} values are not finite.")
    mean = x.mean(axis=0)
    centred = x - mean
    deviation = np.sqrt(np.mean(centred**2, axis=0))
    # A constant column's deviation need not be zero, as its mean is off by round-off.
    constant = np.flatnonzero((np.ptp(x, axis=0) == 0) | (deviation == 0))
    if len(constant):
        raise DataError(
            f"fit_affine: the covariance is singular, as column {', '.join(map(str, constant[:5]))} of x is constant; "
            "leave constant columns out, or add a little noise."
        )
    # R of a QR decomposition is the factor without the squares that the covariance would take of its condition.
    triangle = np.linalg.qr(centred / deviation, mode="r") / np.sqrt(number)
    factor = (triangle * np.where(np.diag(triangle) < 0, -1.0, 1.0)[:, None]).T
    if np.diag(factor).min() < visible * np.sqrt(number) * np.finfo(np.float64).eps:
        column = int(np.argmin(np.diag(factor)))
        raise DataError(
            f"fit_affine: the covariance is singular: column {column} of x is an affine function of those before it; "
            "leave such columns out, or add a little noise."
        )
    factor = deviation[:, None] * factor
    parts = {"loc": mean, "log_diagonal": np.log(np.diag(factor)), "lower": np.tril(factor, -1)}
    return {"generative": {name: jnp.asarray(v) for name, v in parts.items()}}
