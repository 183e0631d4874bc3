"""The mean-field bound for layered sigmoid belief networks (Saul, Jaakkola and Jordan 1996).

The latents are taken to be independent given x, with means mu. Of the expectation of log p(x, h) only that of
log(1 + e^z_i), z_i = sum_j W_ji s_j + b_i, then has no closed form. For every number xi_i

    <log(1 + e^z_i)>  <=  xi_i <z_i> + log <e^(-xi_i z_i) + e^((1 - xi_i) z_i)>,

and the right side needs only the cumulant generating function of z_i,

    K_i(t) = log <e^(t z_i)> = t b_i + sum_j log(1 - mu_j + mu_j e^(t W_ji)).

Means and xi are fitted anew to every example, with no recognition network. Means are held as logits, which keep their
digits near 0 and 1.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus

from genjax_models.config import ObjectiveConfig, config, field
from genjax_models.core import LatentVariableModel, Objective, as_batch
from genjax_models.errors import ModelError, require_count
from genjax_models.objectives.common import loss_of, owns_nothing, require_latent_variable_model
from genjax_models.objectives.parts import ByRow

Layers = tuple[jax.Array, ...]
AffineLayers = tuple[jax.Array, tuple[tuple[jax.Array, jax.Array], ...]]  # as `LatentVariableModel.affine_layers` gives

LARGEST_LOGIT = 30.0  # of a mean, so that no mean is 0 or 1 in float32 either
EVALUATIONS = 4  # of every xi's derivative in a sweep


class MeanFieldBound(NamedTuple):
    """A lower bound on log p(x), and where it is reached."""

    bound: jax.Array  # [], nats
    means: Layers  # mu of (h_1, ..., h_L), [n_l] each
    xi: Layers  # of (x, h_1, ..., h_{L-1}), the layers with parents


def mean_field_bound(
    affine_layers: AffineLayers, x: jax.Array, num_sweeps: int = 20, means: Layers | None = None
) -> MeanFieldBound:
    """The mean-field bound on log p(x), with the means and xi of one example fitted by coordinate ascent.

    All start at one half. A sweep goes through the layers upwards: it fits the xi of the layer below, each by
    safeguarded Newton steps on a convex function of its own, and then the means one after the other,

        mu_j <- sigmoid(<z_j> + sum_i W_ji (mu_i - xi_i) - d/dmu_j log <e^(-xi_i z_i) + e^((1 - xi_i) z_i)>),

    i over the children of j. The last term's logarithm is concave in mu_j, so this maximizes a lower bound of the
    bound, tangent to it at the present mean: no update decreases the bound.

    Args:
        affine_layers: (biases of the top layer, ((W [above, below], b [below]), ...) down to x), which
            `model.affine_layers(params)` gives.
        x: one example, [D].
        num_sweeps: how many sweeps.
        means: of (h_1, ..., h_L) to hold fixed; only xi are fitted then.

    Returns:
        The bound, the means and xi.

    Example:
        >>> model = sigmoid_belief_network(64, layers=(32, 16))
        >>> params = model.init(jax.random.key(0), jnp.zeros(64), ())
        >>> mean_field_bound(model.affine_layers(params), jnp.zeros(64)).bound

    Reference:
        Saul, Jaakkola and Jordan, "Mean field theory for sigmoid belief networks", 1996.
    """
    require_count("mean_field_bound: num_sweeps", num_sweeps)
    logits, xi = fit(affine_layers, x, num_sweeps, None if means is None else _logits(means))
    return MeanFieldBound(_bound(affine_layers, x, logits, xi), tuple(map(sigmoid, logits)), xi)


def mean_field_bound_at(affine_layers: AffineLayers, x: jax.Array, means: Layers, xi: Layers) -> jax.Array:
    """The bound on log p(x) that any means in (0, 1) and any xi give, in nats.

        sum_i mu_i <z_i> - xi_i <z_i> - log <e^(-xi_i z_i) + e^((1 - xi_i) z_i)>  +  the entropy of the latents,

    over the units of all layers, with mu = x for the visible ones. Units of the top layer have no parents and need no
    xi: log(1 + e^z) of a constant z is itself.

    Args:
        affine_layers, x: as for `mean_field_bound`.
        means: of (h_1, ..., h_L), [n_l] each.
        xi: of (x, h_1, ..., h_{L-1}).
    """
    _assert_shapes(affine_layers, x, means, xi)
    return _bound(affine_layers, x, _logits(means), xi)


def _assert_shapes(affine_layers: AffineLayers, x: jax.Array, means: Layers | None, xi: Layers | None = None) -> None:
    layers = affine_layers[1][::-1]
    chex.assert_shape(x, layers[0][1].shape)
    if means is not None:
        chex.assert_shape(list(means), [w.shape[:1] for w, _ in layers])
    if xi is not None:
        chex.assert_shape(list(xi), [b.shape for _, b in layers])


def _logits(means: Layers) -> Layers:
    return tuple(jnp.clip(jax.scipy.special.logit(m), -LARGEST_LOGIT, LARGEST_LOGIT) for m in means)


def _log_factor(logit, a):
    """log(1 - mu + mu e^a), without overflow, and where mu is near 1 without cancellation."""
    sign = jnp.where(logit > 0, -1, 1)
    return jnp.where(logit > 0, a, 0) + softplus(sign * (logit + a)) - softplus(sign * logit)


def _slope(logit, a):
    """(e^a - 1) / (1 - mu + mu e^a), the derivative of `_log_factor` with respect to mu."""
    on, off, e = sigmoid(logit), sigmoid(-logit), jnp.exp(-jnp.abs(a))
    return jnp.where(a > 0, (1 - e) / (on + off * e), (e - 1) / (off + on * e))


def _cumulant(w, b, logits, t):
    """K(t) of z = s W + b, for t [n] and units s of those mean logits [m]; [n]."""
    return t * b + jnp.sum(_log_factor(logits[:, None], t * w), axis=0)


def _tilted_moments(w, b, logits, t):
    """K'(t) and K''(t): mean and variance of z under its law times e^(tz), which raises every logit by t W_ji."""
    mean = sigmoid(logits[:, None] + t * w)
    return b + jnp.sum(w * mean, axis=0), jnp.sum(w**2 * mean * (1 - mean), axis=0)


def _bound(affine_layers, x, logits, xi):
    top, layers = affine_layers
    means = (x, *map(sigmoid, logits))
    bound = jnp.sum(means[-1] * top - softplus(top))
    for (w, b), below, above, logit, v in zip(reversed(layers), means, means[1:], logits, xi, strict=False):
        z = above @ w + b  # <z>
        bound += jnp.sum((below - v) * z - jnp.logaddexp(_cumulant(w, b, logit, -v), _cumulant(w, b, logit, 1 - v)))
        bound += jnp.sum(above * softplus(-logit) + (1 - above) * softplus(logit))
    return bound


def fit(
    affine_layers: AffineLayers, x: jax.Array, num_sweeps: int, held: Layers | None = None
) -> tuple[Layers, Layers]:
    """The logits of the means (those in `held`, where given) and xi after that many sweeps."""
    _assert_shapes(affine_layers, x, held)
    top, layers = affine_layers
    logits = tuple(jnp.zeros(w.shape[0], top.dtype) for w, _ in reversed(layers)) if held is None else held
    xi = tuple(jnp.full(w.shape[1], 0.5, top.dtype) for w, _ in reversed(layers))

    def one(state, _):
        return sweep(affine_layers, x, state, hold=held is not None), None

    return jax.lax.scan(one, (logits, xi), length=num_sweeps)[0]


def sweep(
    affine_layers: AffineLayers, x: jax.Array, state: tuple[Layers, Layers], hold: bool = False
) -> tuple[Layers, Layers]:
    """(logits of the means, xi) after one more sweep upwards through the layers, of xi alone where means are held."""
    top, layers = affine_layers
    maps = layers[::-1]
    logits, xi = map(list, state)
    for i, (w, b) in enumerate(maps):
        xi[i] = _fit_xi(w, b, logits[i], xi[i])
        if not hold:
            below = sigmoid(logits[i - 1]) if i else x
            z = top if i == len(maps) - 1 else sigmoid(logits[i + 1]) @ maps[i + 1][0] + maps[i + 1][1]
            logits[i] = _fit_means(w, b, logits[i], xi[i], below, z)
    return tuple(logits), tuple(xi)


def _fit_xi(w, b, logits, xi):
    """xi that makes xi <z> + log <e^(-xi z) + e^((1 - xi) z)> smaller, or leaves it.

    The function is convex, with its minimum in [0, 1]: its derivative is <z> less the mean of z under the law tilted by
    e^(-xi z) + e^((1 - xi) z), which at 0 raises z and at 1 lowers it; its second derivative is that law's variance.
    """
    z = sigmoid(logits) @ w + b

    def step(_, state):
        xi, low, high, best, least = state
        here, there = _cumulant(w, b, logits, -xi), _cumulant(w, b, logits, 1 - xi)
        value = xi * z + jnp.logaddexp(here, there)
        best, least = jnp.where(value < least, xi, best), jnp.minimum(value, least)
        share = sigmoid(there - here)  # of the second of the two laws that the tilted one mixes
        (mean, variance), (mean_1, variance_1) = (_tilted_moments(w, b, logits, t) for t in (-xi, 1 - xi))
        slope = z - mean - share * (mean_1 - mean)
        curvature = variance + share * (variance_1 - variance) + share * (1 - share) * (mean_1 - mean) ** 2
        low, high = jnp.where(slope < 0, xi, low), jnp.where(slope < 0, high, xi)
        newton = xi - slope / curvature
        return jnp.where((low < newton) & (newton < high), newton, (low + high) / 2), low, high, best, least

    start = xi, jnp.zeros_like(xi), jnp.ones_like(xi), xi, jnp.full_like(xi, jnp.inf)
    return jax.lax.fori_loop(0, EVALUATIONS, step, start)[3]


def _fit_means(w, b, logits, xi, below, z):
    """The logits of a layer's means, updated one after the other; `z` are the means of its own inputs."""
    linear = z + w @ (below - xi)

    def unit(cumulants, given):
        w, logit, linear = given
        share = sigmoid(cumulants[1] - cumulants[0])
        a = -xi * w, (1 - xi) * w
        slope = (1 - share) * _slope(logit, a[0]) + share * _slope(logit, a[1])
        new = jnp.clip(linear - jnp.sum(slope), -LARGEST_LOGIT, LARGEST_LOGIT)
        moved = (k + _log_factor(new, v) - _log_factor(logit, v) for k, v in zip(cumulants, a, strict=True))
        return tuple(moved), new

    cumulants = _cumulant(w, b, logits, -xi), _cumulant(w, b, logits, 1 - xi)
    return jax.lax.scan(unit, cumulants, (w, logits, linear))[1]


@dataclasses.dataclass(frozen=True)
class MeanFieldLoss(ByRow):
    """`Objective.loss` of `mean_field`."""

    model: LatentVariableModel
    num_sweeps: int

    def __call__(self, trainable, state, key, batch, step):
        assert self.model.affine_layers is not None  # `mean_field` saw to it
        x = as_batch(batch).x
        affine_layers = self.model.affine_layers(trainable.model)
        fixed = jax.lax.stop_gradient(affine_layers)
        fitted = jax.lax.stop_gradient(jax.vmap(lambda x: fit(fixed, x, self.num_sweeps))(x))
        bound = jnp.mean(jax.vmap(lambda x, logits, xi: _bound(affine_layers, x, logits, xi))(x, *fitted))
        return loss_of(bound, bound), (state, {"bound": bound})


def mean_field(model: LatentVariableModel, num_sweeps: int = 10) -> Objective:
    """Mean-field learning: p follows the gradient of the mean-field bound, whose means are fitted to each example.

    The means and the xi of `mean_field_bound` start afresh at one half for every example, and gradients stop at them:
    where they are at their optimum that is the gradient of the optimized bound. The recognition network has no part
    in it and gets zero gradients; train `("generative",)` alone to leave it out.

    A sweep takes about ten passes of elementwise functions over all weights for each example. Ten sweeps took 1 ms of
    a CPU core an example on a 64-24-8 net, near the paper's sizes, and 0.13 s on 784-200.

    Args:
        model: a `LatentVariableModel` with `affine_layers`: layers of sigmoid units and nothing else in p.
        num_sweeps: sweeps of coordinate ascent for each example.

    Returns:
        An `Objective` whose value is minus the bound; metric "bound", nats per example.

    Raises:
        ModelError: the model does not offer `affine_layers`.
        ConfigError: an impossible number of sweeps.

    Example:
        >>> objective = mean_field(sigmoid_belief_network(64, layers=(24, 8)))

    Reference:
        Saul, Jaakkola and Jordan, "Mean field theory for sigmoid belief networks", 1996.
    """
    require_latent_variable_model("mean_field", model)
    if model.affine_layers is None:
        raise ModelError(
            f"mean_field needs a p with layers of sigmoid units alone (affine_layers), which {model.name} does not "
            "have. Use a sigmoid_belief_network with factorial conditionals in p and no deterministic layers, or "
            "another objective: reweighted_wake_sleep for binary latents, elbo for real ones."
        )
    require_count("mean_field: num_sweeps", num_sweeps)
    return Objective(owns_nothing, MeanFieldLoss(model, num_sweeps))


@config
class MeanField(ObjectiveConfig):
    """Mean-field learning: a bound whose means are fitted to each example, without a recognition network."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Saul, Jaakkola and Jordan 1996"

    num_sweeps: int = field(default=10, ge=1, help="sweeps of coordinate ascent over the means of each example")

    def build(self, model: Any) -> Objective:
        """The objective on a model."""
        return mean_field(model, self.num_sweeps)
