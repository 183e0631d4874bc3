"""DRAW: 28 x 28, 8 glimpses, read and written by 5 x 5 filters, LSTMs of 256, 50 latents each, batches of 100.

The others take the KL in closed form, which ours estimates from the same samples. PyTorch's `LSTMCell` has a second
vector of biases. The products are those of both LSTMs, of what is read off their states and of the filters, in a loop
over the glimpses: one of each forward, two backward, each fed by the one before, with nothing in between. By these,
the paper's 64 glimpses, with 2 x 2 filters that read, are measured too.
"""

from typing import NamedTuple

import dense
import numpy as np
import peers
from timing import compare, in_turns
from training import ALL, STEPS, Setting, jax_training, our_training, rows_of, torch_training

EDGE, LATENT, HIDDEN = 28, 50, 256
DRAWS = 20  # of the noise, for the loss at the first parameters
ROUNDS = 9
TARGETS = {ALL: 1.0, "matrix products": 1.5}


class Sizes(NamedTuple):
    """How an image is looked at."""

    glimpses: int
    read: int  # N of N x N filters
    write: int


SHORT, LONG = Sizes(8, 5, 5), Sizes(64, 2, 5)


def our_model(sizes: Sizes):
    """Our model."""
    from genjax_models.models import draw

    fields = {"encoder_hidden": HIDDEN, "decoder_hidden": HIDDEN, "latent": LATENT}
    return draw(EDGE * EDGE, **fields, **sizes._asdict())


def setting(sizes: Sizes = SHORT) -> Setting:
    """Its parameters near the first ones, and a batch."""
    import jax

    params = our_model(sizes).init(jax.random.key(0), np.zeros(EDGE * EDGE, np.float32), ())
    return Setting(peers.moved(params), dense.binary(dense.BATCH, EDGE * EDGE))


def ours(setting, sizes: Sizes = SHORT):
    """Ours."""
    from genjax_models.objectives import elbo

    return our_training(elbo(our_model(sizes)), *setting, DRAWS)


def by_hand(setting, sizes: Sizes = SHORT):
    """A loop in plain JAX, the glimpses in a scan."""
    import jax
    import jax.numpy as jnp
    import optax

    def lstm(params, memory, *given):
        h, cell = memory
        i, f, g, o = jnp.split(peers.affine(params, "gates", *given, h), 4, axis=-1)
        cell = jax.nn.sigmoid(f + 1) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(cell), cell

    def filters(numbers, size):
        """F_Y and F_X, [B, N, EDGE], and gamma [B, 1, 1]."""
        x, y, log_variance, log_stride, log_intensity = jnp.split(numbers[..., None], 5, axis=-2)
        offsets = (jnp.arange(1, size + 1) - size / 2 - 0.5)[:, None]
        steps = (EDGE - 1) / (size - 1) * jnp.exp(log_stride) * offsets
        pixels = jnp.arange(1, EDGE + 1)

        def bank(centre):
            mean = (EDGE + 1) / 2 * (centre + 1) + steps
            return jax.nn.softmax(-((pixels - mean) ** 2) / (2 * jnp.exp(log_variance)), axis=-1)

        return bank(y), bank(x), jnp.exp(log_intensity)

    def loss(params, key, x):
        reader, writer = params["recognition"], params["shared"]
        image = x.reshape(-1, EDGE, EDGE)

        def glimpse(carry, noise):
            read, write, canvas = carry
            error = image - jax.nn.sigmoid(canvas)
            rows, columns, intensity = filters(peers.affine(reader, "read", write[0]), sizes.read)
            seen = [(intensity * (rows @ v @ columns.mT)).reshape(len(x), -1) for v in (image, error)]
            read = lstm(reader, read, *seen, write[0])
            loc, log_scale = jnp.split(peers.affine(reader, "law", read[0]), 2, axis=-1)
            write = lstm(writer, write, loc + jnp.exp(log_scale) * noise)
            numbers, patch = jnp.split(peers.affine(writer, "write", write[0]), [5], axis=-1)
            rows, columns, intensity = filters(numbers, sizes.write)
            patch = patch.reshape(-1, sizes.write, sizes.write)
            canvas = canvas + rows.mT @ patch @ columns / intensity
            kl = 0.5 * jnp.sum(loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=-1)
            return (read, write, canvas), kl

        def many(v):
            return jnp.broadcast_to(v, (len(x), *v.shape))

        memories = [(many(part["hidden"]), many(part["cell"])) for part in (reader, writer)]
        start = (*memories, many(writer["canvas"].reshape(EDGE, EDGE)))
        noise = jax.random.normal(key, (sizes.glimpses, len(x), LATENT))
        (_, _, canvas), kl = jax.lax.scan(glimpse, start, noise)
        unlikelihood = optax.sigmoid_binary_cross_entropy(canvas, image).sum(axis=(1, 2))
        return jnp.mean(unlikelihood + kl.sum(axis=0))

    return jax_training(loss, *setting, DRAWS)


def pytorch(setting, compiled=False, sizes: Sizes = SHORT):
    """A loop in PyTorch, with its `LSTMCell`."""
    import torch

    reader, writer = setting.params["recognition"], setting.params["shared"]

    def cell(params):
        kernel, bias = (torch.tensor(params[f"gates_{part}"]) for part in ("kernel", "bias"))
        bias[HIDDEN : 2 * HIDDEN] += 1  # forget gates
        lstm = torch.nn.LSTMCell(len(kernel) - HIDDEN, HIDDEN)
        lstm.weight_ih.data, lstm.weight_hh.data = (
            v.T.contiguous() for v in kernel.split([len(kernel) - HIDDEN, HIDDEN])
        )
        lstm.bias_ih.data, lstm.bias_hh.data = bias, torch.zeros_like(bias)
        return lstm

    def start(params):
        return torch.nn.ParameterDict(
            {name: torch.tensor(params[name]) for name in ("hidden", "cell", "canvas") if name in params}
        )

    read_cell, write_cell, read_start, write_start = cell(reader), cell(writer), start(reader), start(writer)
    layers = torch.nn.ModuleDict(
        {
            name: dense.torch_linear(peers.layer(params, name))
            for params, name in ((reader, "read"), (reader, "law"), (writer, "write"))
        }
    )

    def filters(numbers, size):
        x, y, log_variance, log_stride, log_intensity = numbers.unsqueeze(-1).split(1, dim=-2)
        offsets = (torch.arange(1, size + 1, device=numbers.device) - size / 2 - 0.5).unsqueeze(-1)
        steps = (EDGE - 1) / (size - 1) * log_stride.exp() * offsets
        pixels = torch.arange(1, EDGE + 1, device=numbers.device)

        def bank(centre):
            mean = (EDGE + 1) / 2 * (centre + 1) + steps
            return torch.softmax(-((pixels - mean) ** 2) / (2 * log_variance.exp()), -1)

        return bank(y), bank(x), log_intensity.exp()

    def glimpse(image, read, write, canvas, noise):
        error = image - torch.sigmoid(canvas)
        rows, columns, intensity = filters(layers["read"](write[0]), sizes.read)
        seen = [(intensity * (rows @ v @ columns.mT)).flatten(1) for v in (image, error)]
        read = read_cell(torch.cat([*seen, write[0]], -1), read)
        loc, log_scale = layers["law"](read[0]).chunk(2, -1)
        write = write_cell(loc + log_scale.exp() * noise, write)
        numbers, patch = layers["write"](write[0]).split([5, sizes.write**2], -1)
        rows, columns, intensity = filters(numbers, sizes.write)
        canvas = canvas + rows.mT @ patch.view(-1, sizes.write, sizes.write) @ columns / intensity
        return read, write, canvas, 0.5 * (loc**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()

    def loss(x):
        image, kl = x.view(-1, EDGE, EDGE), 0.0
        read, write = (
            (part["hidden"].repeat(len(x), 1), part["cell"].repeat(len(x), 1)) for part in (read_start, write_start)
        )
        canvas = write_start["canvas"].view(EDGE, EDGE).repeat(len(x), 1, 1)
        for noise in torch.randn(sizes.glimpses, len(x), LATENT, device=x.device):
            read, write, canvas, more = glimpse(image, read, write, canvas, noise)
            kl = kl + more
        unlikelihood = torch.nn.functional.binary_cross_entropy_with_logits(canvas, image, reduction="sum")
        return (unlikelihood + kl) / len(x)

    if compiled:
        glimpse, loss = torch.compile(glimpse), peers.compiled_by_parts(loss)
    modules = [read_cell, write_cell, read_start, write_start, layers]
    return torch_training(loss, modules, setting.x, DRAWS, compiled)


def pytorch_compiled(setting):
    """The same by `torch.compile` of a glimpse, for that of all would take minutes, and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting, sizes: Sizes = SHORT):
    """Its matrix products."""
    import jax
    import jax.numpy as jnp
    import products

    _, read, write = sizes
    shapes = [
        (2 * read**2 + 2 * HIDDEN, 4 * HIDDEN),  # the LSTM that reads
        (LATENT + HIDDEN, 4 * HIDDEN),  # the LSTM that writes
        (HIDDEN, 2 * LATENT),  # q
        (HIDDEN, 5),  # the reading window
        (HIDDEN, 5 + write**2),  # the writing window and its patch
    ]
    # x and its error by rows and by columns of a reading window, a patch by those of a writing one; a product an image.
    filters = [(2 * EDGE, EDGE, read), (2 * read, EDGE, read), (write, write, EDGE), (EDGE, write, EDGE)]

    def step(weights, x):
        kernels, each = weights
        image = jnp.concatenate([x, x], axis=1).reshape(-1, 2 * EDGE, EDGE)

        def glimpse(carry, _):
            rows, images, sums = carry
            below, totals, of_images = [], [], []
            for h, kernel, so_far in zip(rows, kernels, sums, strict=True):
                y = h @ kernel
                below.append(y @ kernel.T)
                totals.append(so_far + h.T @ y)
            for h, kernel in images:
                y = h @ kernel
                of_images.append((y @ kernel.mT, kernel + 1e-6 * (h.mT @ y)))
            return (below, of_images, totals), None

        rows = [x[:, : len(kernel)] for kernel in kernels]
        images = [(image[:, :a, :b], kernel) for (a, b, _), kernel in zip(filters, each, strict=True)]
        start = rows, images, jax.tree.map(jnp.zeros_like, kernels)
        (_, images, sums), _ = jax.lax.scan(glimpse, start, None, length=sizes.glimpses)
        return products.followed(weights, [sums, [kernel for _, kernel in images]])

    keys = iter(jax.random.split(jax.random.key(2), len(shapes) + len(filters)))
    # Small enough for a power of each that has as many factors as there are glimpses.
    weights = [
        [jax.random.normal(next(keys), shape) / (2 * max(shape) ** 0.5) for shape in shapes],
        [jax.random.normal(next(keys), (len(setting.x), b, c)) / (2 * max(b, c) ** 0.5) for _, b, c in filters],
    ]
    return products.training(step, weights, setting.x, 3 * (len(shapes) + len(filters)))


LIBRARIES = {
    "ours": ours,
    "plain JAX": by_hand,
    "PyTorch": pytorch,
    "PyTorch, compiled": pytorch_compiled,
    "matrix products": bare_products,
}


def rows():
    """Our updates by the others', and with 64 glimpses by the products."""
    import train_draw

    found = rows_of("DRAW", train_draw, tolerance=0.003)
    long = setting(LONG)
    times = in_turns(*(build(long, LONG).advance for build in (ours, bare_products)), rounds=5)
    name, target = f"DRAW, {LONG.glimpses} glimpses: update / matrix products", TARGETS["matrix products"]
    return [*found, compare(name, *times, "ms", target, 1e3 / STEPS)]
