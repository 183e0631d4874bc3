"""The mean-field bound on small random belief nets (Saul, Jaakkola and Jordan 1996): how far it is from log p(x).

genjax-models reproduce saul --budget full
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softplus

from genjax_models.objectives.mean_field import mean_field_bound, mean_field_bound_at
from genjax_models.papers import Cell, Paper, Table

WHERE = "Saul, Jaakkola and Jordan 1996, section on the quality of the bound"


def log_marginal(affine_layers, x: jax.Array) -> jax.Array:
    """log p(x) of a net of two latent layers, by enumeration."""
    top, ((w_high, b_high), (w_low, b_low)) = affine_layers
    high, low = (jnp.array(list(itertools.product((0.0, 1.0), repeat=w.shape[0]))) for w in (w_high, w_low))

    def bernoulli(s, logits):
        return jnp.sum(s * logits - softplus(logits), axis=-1)

    log_low = bernoulli(low[None], (high @ w_high + b_high)[:, None])  # [states of h_2, of h_1]
    log_joint = bernoulli(high, top)[:, None] + log_low + bernoulli(x, low @ w_low + b_low)
    return jax.nn.logsumexp(log_joint)


@dataclasses.dataclass(frozen=True)
class RandomNets:
    """The mean of bound / log p(x) - 1, in percent, over nets of 2-4-6 units with parameters uniform on [-1, 1], x = 0.

    `mean_field` is of fitted means, `uniform` of means and xi at one half.
    """

    number: int = 10_000
    sweeps: int = 20

    def __call__(self, seed: int, data_dir: str | None) -> dict[str, float]:
        draw = np.random.RandomState(seed)

        def uniform(*shape):
            return jnp.asarray(draw.uniform(-1, 1, size=(self.number, *shape)), jnp.float32)

        nets = uniform(2), ((uniform(2, 4), uniform(4)), (uniform(4, 6), uniform(6)))
        x = jnp.zeros(6)
        means = jnp.full(4, 0.5), jnp.full(2, 0.5)
        xi = jnp.full(6, 0.5), jnp.full(4, 0.5)

        @jax.jit
        @jax.vmap
        def errors(net):
            bounds = mean_field_bound(net, x, self.sweeps).bound, mean_field_bound_at(net, x, means, xi)
            return jnp.stack(bounds) / log_marginal(net, x) - 1

        found = 100 * np.asarray(errors(nets), np.float64)
        mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / self.number**0.5
        return {
            "mean_field": float(mean[0]),
            "mean_field_standard_error": float(error[0]),
            "uniform": float(mean[1]),
            "uniform_standard_error": float(error[1]),
        }


STUDY = {"full": RandomNets(), "smoke": RandomNets(number=20, sweeps=2)}
COLUMN = "mean relative error"

TABLE = Table(
    "saul",
    "The mean-field bound on random 2-4-6 belief nets: mean relative error of log p(x)",
    "per cent, the lower the better",
    (
        Cell("mean field", COLUMN, paper=Paper(1.6, WHERE, checked=False), figure="mean_field", runs="nets", **STUDY),
        Cell("uniform", COLUMN, paper=Paper(15.6, WHERE, checked=False), figure="uniform", runs="nets", **STUDY),
    ),
    notes=(
        "Weights and biases are uniform on [-1, 1], and all visible units are 0. Errors are over 10,000 nets. The "
        "paper sets the fitted bound beside means that are all one half; here its other parameters xi are one half "
        "too."
    ),
)
