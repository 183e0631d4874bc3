"""DRAW's fused pass, the evidence lower bound with its gradient, against the bare matrix products of its recurrences.

The products are those of both LSTMs, of what is read off their states and of the filters, in a loop over the glimpses:
one of each forward, two backward, each fed by the one before, with nothing in between.
"""

import jax
import jax.numpy as jnp
from timing import Row, compare, in_turns

from genjax_models.core import Trainable
from genjax_models.models import draw
from genjax_models.objectives import elbo

EDGE, BATCH = 28, 100
LATENT, HIDDEN = 50, 256
TARGET = 1.5


def our_pass(glimpses: int, read: int, write: int):
    """The bound and its gradient for one batch, as a function without arguments."""
    visible = EDGE * EDGE
    fields = {"glimpses": glimpses, "latent": LATENT, "read": read, "write": write}
    model = draw(visible, encoder_hidden=HIDDEN, decoder_hidden=HIDDEN, **fields)
    params = model.init(jax.random.key(0), jnp.zeros(visible), ())
    x = jax.random.bernoulli(jax.random.key(1), 0.2, (BATCH, visible)).astype(jnp.float32)
    loss = elbo(model).loss

    def run(params, key, x):
        return jax.value_and_grad(lambda p: loss(Trainable(p), (), key, x, 0)[0])(params)

    arguments = params, jax.random.key(2), x
    compiled = jax.jit(run).lower(*arguments).compile()
    return lambda: compiled(*arguments)


def products(glimpses: int, read: int, write: int):
    """The matrix products of such a pass, likewise."""
    sizes = [
        (2 * read**2 + 2 * HIDDEN, 4 * HIDDEN),  # the LSTM that reads
        (LATENT + HIDDEN, 4 * HIDDEN),  # the LSTM that writes
        (HIDDEN, 2 * LATENT),  # q
        (HIDDEN, 5),  # the reading window
        (HIDDEN, 5 + write**2),  # the writing window and its patch
    ]
    # x and its error by rows and by columns of a reading window, a patch by those of a writing one; a product an image.
    filters = [(2 * EDGE, EDGE, read), (2 * read, EDGE, read), (write, write, EDGE), (EDGE, write, EDGE)]
    keys = iter(jax.random.split(jax.random.key(0), 2 * (len(sizes) + len(filters))))
    dense = [
        (jax.random.normal(next(keys), (BATCH, n)), jax.random.normal(next(keys), (n, m)) / n**0.5) for n, m in sizes
    ]
    each = [
        (jax.random.normal(next(keys), (BATCH, a, b)), jax.random.normal(next(keys), (BATCH, b, c)) / b**0.5)
        for a, b, c in filters
    ]

    def glimpse(carry, _):
        dense, each, sums = carry
        found, totals = [], []
        for (h, kernel), so_far in zip(dense, sums, strict=True):
            y = h @ kernel
            found.append((y @ kernel.T, kernel))
            totals.append(so_far + h.T @ y)
        images = []
        for h, kernel in each:
            y = h @ kernel
            images.append((y @ kernel.swapaxes(1, 2), kernel + 1e-6 * (h.swapaxes(1, 2) @ y)))
        return (found, images, totals), None

    sums = [jnp.zeros_like(kernel) for _, kernel in dense]
    scan = jax.jit(lambda *carry: jax.lax.scan(glimpse, carry, None, length=glimpses)[0])
    compiled = scan.lower(dense, each, sums).compile()
    return lambda: compiled(dense, each, sums)


def rows() -> list[Row]:
    """Our pass by the products, with 8 glimpses and with the paper's 64."""
    found = []
    for sizes in ((8, 5, 5), (64, 2, 5)):
        times = in_turns(our_pass(*sizes), products(*sizes), rounds=9)
        found.append(compare(f"DRAW bound, {sizes[0]} glimpses / its products", *times, "ms", TARGET, 1e3))
    return found
