"""A training step of NADE against its bare sigmoid passes over B x D x H, and against MADE of the same hidden size.

NADE computes sigmoid(a) for every example, position and hidden unit, [B, D, H], and its gradient needs them once more,
since to keep them takes more memory than to compute them again. The bare passes are those two, fed by one another so
that neither can be left out, and nothing else: no products, no sums over positions, no optimizer.
"""

import jax
from dense import BATCH, VISIBLE, binary
from timing import Row, compare, in_turns
from training import STEPS, our_training

from genjax_models.models import made, nade
from genjax_models.objectives import maximum_likelihood

HIDDEN = 500
TARGET = 1.5
TARGET_MADE = 20.0  # nothing is demanded of it; MADE's hidden units are computed once, not once for each position


def _passes(a, _):
    """Two sigmoids of D arrays [B, H], one after the other as NADE takes its positions."""

    def position(a, _):
        return jax.nn.sigmoid(a), None

    a, _ = jax.lax.scan(position, a, length=2 * VISIBLE)
    return a, None


def rows() -> list[Row]:
    """NADE's step by its sigmoids, and by a step of MADE."""
    start = jax.random.normal(jax.random.key(2), (BATCH, HIDDEN))
    passes = jax.jit(lambda a: jax.lax.scan(_passes, a, length=STEPS)[0]).lower(start).compile()
    x = binary(BATCH, VISIBLE)
    ours, other = (
        our_training(maximum_likelihood(model), model.init(jax.random.key(0), x[0], ()), x).advance
        for model in (nade(VISIBLE, hidden=HIDDEN), made(VISIBLE, hidden=(HIDDEN,)))
    )
    times, bare, masked = in_turns(ours, lambda: passes(start), other, rounds=7)
    return [
        compare("NADE step / its sigmoid passes", times, bare, "ms", TARGET, 1e3 / STEPS),
        compare("NADE step / MADE step", times, masked, "ms", TARGET_MADE, 1e3 / STEPS),
    ]
