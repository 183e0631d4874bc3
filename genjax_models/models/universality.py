"""Deep, narrow sigmoid belief networks for any distribution over bits (Sutskever and Hinton 2008).

A Gray code a_1, a_2, ..., a_S lists the S = 2^D states so that neighbours differ in one bit. The top layer holds a_1
with certainty; the k-th layer below it copies the state of the layer above, except that a_k becomes a_{k+1} with
probability p(a_{k+1}, ..., a_S) / p(a_k, ..., a_S). So the mass walks along the code and leaves p(a_k) at each a_k.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from genjax_models.config import as_number
from genjax_models.core import LatentVariableModel, Params
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models.sigmoid_belief_network import sigmoid_belief_network

WIDEST = 12  # units of a layer whose states are still enumerated


def universal_sigmoid_belief_network(
    probabilities: ArrayLike, tolerance: float = 1e-6
) -> tuple[LatentVariableModel, Params]:
    """A sigmoid belief network of width D that has a given distribution over D bits.

    One layer shares the mass of one state with its neighbour in a Gray code, so there are 2^D - 1 hidden layers, each
    of D units. A unit copies its bit by the logit +-c. In the unit whose bit distinguishes a_k from a_{k+1}, the bit
    of a_k persists with logit l, clipped to [-c, c]; every other state is copied by a logit of at least c in size:

        logit of persisting at s = l + (c - l) (other bits in which s differs from a_k) - g [this bit differs],

    g = l + c + (D - 1)(c - l). Each of the 2^D layers then errs with probability at most D exp(-c), and
    c = log(2^(D+1) D / tolerance) keeps the sum of |p(x) - probabilities| below the tolerance, in exact arithmetic.
    No weight exceeds max(2 c, 2 (D - 1) c) in size, no bias (2 D - 1) c.

    The recognition network takes the same steps backwards, where the mass at a_{k+1} has come from a_k. That is
    p(h | x) itself up to the tolerance, so log p(x) minus the evidence lower bound vanishes with it wherever
    p(x) > 0.

    Args:
        probabilities: of the states of x in the order of `itertools.product([0, 1], repeat=D)`, that is, x_1 is the
            most significant bit; [2^D], zeros allowed. Their sum, 1 within 1e-5, is divided out.
        tolerance: how far the distribution may be off in L1, beyond the round-off of the logits. At D = 4 that was
            3e-15 in float64 (tolerance 1e-15, c = 40) and 3e-6 in float32, where a tolerance below the default only
            makes weights, and with them the round-off, larger.

    Returns:
        (model, params), params in the default float type of jax.

    Raises:
        ConfigError: probabilities of another length, negative, not finite or not summing to one; or a tolerance that
            is not between 0 and 1.

    Example:
        >>> model, params = universal_sigmoid_belief_network([0.5, 0.0, 0.2, 0.3])
        >>> visible_distribution(model, params).round(4)
        Array([0.5, 0. , 0.2, 0.3], dtype=float32)

    Reference:
        Sutskever and Hinton, "Deep, narrow sigmoid belief networks are universal approximators", 2008. With several
        steps in a layer fewer layers suffice: Le Roux and Bengio 2010; Montúfar and Ay 2011.
    """
    p, visible = _checked(probabilities)
    tolerance = as_number("tolerance", tolerance, gt=0, lt=1)
    c = math.log(2 ** (visible + 1) * visible / tolerance)
    code = _gray_code(visible)
    mass = p[code @ (2 ** np.arange(visible)[::-1])]
    ahead = np.append(np.cumsum(mass[::-1])[::-1], 0.0)[1:]  # p(a_{k+1}, ..., a_S)
    with np.errstate(divide="ignore", invalid="ignore"):
        # 0 / 0 where no mass arrives: what would become of it does not matter.
        persist = np.nan_to_num(np.clip(np.log(mass) - np.log(ahead), -c, c), nan=c)
    down, up = [], []
    for k, (here, there) in enumerate(itertools.pairwise(code)):
        down.append(_share(here, int(np.argmax(here != there)), persist[k], c))
        up.append(_share(there, int(np.argmax(here != there)), -c, c))
    model = sigmoid_belief_network(visible, layers=(visible,) * len(down))
    params = {
        "generative": {"top_logits": jnp.asarray(c * (2.0 * code[0] - 1)), "below": _chain(down[::-1])},
        "recognition": _chain(up[::-1]),
    }
    return model, params


def visible_distribution(model: LatentVariableModel, params: Params) -> jax.Array:
    """The exact p(x) of all x, by carrying the probabilities of all states of a layer down to the next.

    Args:
        model: layers of sigmoid units, at most 12 each (a model with `affine_layers`).
        params: its parameters.

    Returns:
        [2^D], the states in the order of `itertools.product([0, 1], repeat=D)`.

    Raises:
        ModelError: the model offers no `affine_layers`, or a layer is too wide to be enumerated.

    Example:
        >>> model = sigmoid_belief_network(4, layers=(3, 2))
        >>> visible_distribution(model, model.init(jax.random.key(0), jnp.zeros(4), ())).shape
        (16,)
    """
    if model.affine_layers is None:
        raise ModelError(
            f"visible_distribution needs layers of sigmoid units alone, which {model.name} does not have. Estimate "
            "log p(x) by evaluation.log_marginal."
        )
    top, layers = model.affine_layers(params)
    if (widest := max(len(top), *(len(b) for _, b in layers))) > WIDEST:
        raise ModelError(
            f"visible_distribution enumerates the states of each layer: got one of {widest} units, expected at most "
            f"{WIDEST}. Estimate log p(x) by evaluation.log_marginal."
        )
    states = _states(len(top))
    chance = _chances(top, states)
    for w, b in layers:
        below = _states(len(b))
        chance, states = chance @ _chances((states @ w + b)[:, None], below), below
    return chance


def _checked(probabilities: Any) -> tuple[np.ndarray, int]:
    """The probabilities in float64, and D."""
    try:
        p = np.asarray(probabilities, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"probabilities: got {probabilities!r}, expected an array of 2^D numbers.") from None
    visible = p.size.bit_length() - 1
    if p.ndim != 1 or visible < 1 or p.size != 2**visible:
        raise ConfigError(f"probabilities: got an array of shape {p.shape}, expected [2^D] for some D of at least 1.")
    if not np.all(p >= 0) or not np.all(np.isfinite(p)):
        worst = p[~(p >= 0) | ~np.isfinite(p)][0]
        raise ConfigError(f"probabilities: got {worst} among them, expected finite numbers, at least 0.")
    if abs(p.sum() - 1) > 1e-5:
        raise ConfigError(f"probabilities: they sum to {p.sum()}, expected 1. Divide them by their sum.")
    return p, visible


def _gray_code(number: int) -> np.ndarray:
    """All states of `number` bits, each next to two that differ from it in one bit, [2^number, number]."""
    index = np.arange(2**number)
    return (index ^ index >> 1)[:, None] >> np.arange(number)[::-1] & 1


def _share(state: np.ndarray, bit: int, persist: float, c: float) -> tuple[np.ndarray, np.ndarray]:
    """(W [D, D], b [D]) of a layer that copies all states, but flips one bit of one state unless that persists."""
    weights, bias = 2 * c * np.eye(len(state)), np.full(len(state), -c)
    # The logit of persisting is persist + v |s - state|; the bit itself takes its sign from the state's.
    v = np.full(len(state), c - persist)
    v[bit] = -(persist + c + (len(state) - 1) * (c - persist))
    sign = 2 * state - 1
    weights[:, bit] = -sign[bit] * v * sign
    bias[bit] = sign[bit] * (persist + v @ state)
    return weights, bias


def _chain(layers: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, dict[str, jax.Array]]:
    return {f"layers_{i}": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)} for i, (w, b) in enumerate(layers)}


def _chances(logits: jax.Array, states: jax.Array) -> jax.Array:
    """The probabilities of states of independent units, [..., states]."""
    return jnp.prod(jax.nn.sigmoid((2 * states - 1) * logits), axis=-1)


def _states(number: int) -> jax.Array:
    return jnp.asarray(list(itertools.product([0.0, 1.0], repeat=number)))
