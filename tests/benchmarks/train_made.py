"""A masked autoencoder (MADE) by maximum likelihood: 784-500-500-784, relu, one mask, Bernoulli, batches of 100.

Pyro's and NumPyro's `AutoRegressiveNN` refuse hidden layers with fewer units than x, and spread degrees otherwise: they
are left out. By its matrix products nothing is demanded of the step: masking, and the updates of as many numbers as a
layer has weights, take long beside products with a batch of 100.
"""

import itertools

import dense
import numpy as np
import peers
from training import ALL, Setting, jax_training, our_training, rows_of, torch_training

HIDDEN = (500, 500)
ROUNDS = 20
TARGETS = {ALL: 1.0, "matrix products": 2.0}


def our_model():
    """Our model."""
    from genjax_models.models import made

    return made(dense.VISIBLE, hidden=HIDDEN)


def setting() -> Setting:
    """Its parameters near the first ones, and a batch."""
    import jax

    params = our_model().init(jax.random.key(0), np.zeros(dense.VISIBLE, np.float32), ())
    return Setting(peers.moved(params), dense.binary(dense.BATCH, dense.VISIBLE))


def masks() -> list[np.ndarray]:
    """Which weights are there, [in, out] for every layer: degrees evenly spread over 1, ..., D - 1."""
    units = 1 + np.arange(dense.VISIBLE)
    degrees = [units, *(1 + np.arange(size) * (dense.VISIBLE - 1) // size for size in HIDDEN)]
    hidden = [below[:, None] <= above for below, above in itertools.pairwise(degrees)]
    return [*hidden, degrees[-1][:, None] < units]


def layers(params) -> list:
    """Kernel and bias of every layer."""
    network = params["generative"]
    return [(network[f"kernel_{i}"], network[f"bias_{i}"]) for i in range(len(HIDDEN) + 1)]


def ours(setting):
    """Ours."""
    from genjax_models.objectives import maximum_likelihood

    return our_training(maximum_likelihood(our_model()), *setting)


def by_hand(setting):
    """A loop in plain JAX."""
    import jax
    import jax.numpy as jnp
    import optax

    allowed = masks()

    def loss(params, key, x):
        h = x
        for i, ((kernel, bias), mask) in enumerate(zip(layers(params), allowed, strict=True)):
            h = (jax.nn.relu(h) if i else h) @ jnp.where(mask, kernel, 0) + bias
        return jnp.mean(optax.sigmoid_binary_cross_entropy(h, x).sum(axis=-1))

    return jax_training(loss, *setting)


def pytorch(setting, compiled=False):
    """A loop in PyTorch: linear layers, whose weights are masked at every pass."""
    import torch

    class MaskedLinear(torch.nn.Linear):
        def __init__(self, kernel, bias, mask):
            super().__init__(*kernel.shape)
            self.weight.data, self.bias.data = (torch.tensor(np.ascontiguousarray(v)) for v in (kernel.T, bias))
            self.register_buffer("mask", torch.tensor(np.ascontiguousarray(mask.T), dtype=self.weight.dtype))

        def forward(self, h):
            return torch.nn.functional.linear(h, self.mask * self.weight, self.bias)

    masked = [MaskedLinear(*layer, mask) for layer, mask in zip(layers(setting.params), masks(), strict=True)]
    network = torch.nn.Sequential(*[part for layer in masked for part in (layer, torch.nn.ReLU())][:-1])

    def loss(x):
        return torch.nn.functional.binary_cross_entropy_with_logits(network(x), x, reduction="sum") / len(x)

    return torch_training(loss, [network], setting.x, compiled=compiled)


def pytorch_compiled(setting):
    """The same by `torch.compile` and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting):
    """Its matrix products: one of a layer forward, two backward but for the gradient of x."""
    import jax
    import products

    sizes = (dense.VISIBLE, *HIDDEN, dense.VISIBLE)

    def step(weights, x):
        return products.followed(weights, products.backward(weights, *products.forward(weights, x))[0])

    return products.training(step, products.kernels(jax.random.key(2), sizes), setting.x, 3 * (len(sizes) - 1) - 1)


LIBRARIES = {
    "ours": ours,
    "plain JAX": by_hand,
    "PyTorch": pytorch,
    "PyTorch, compiled": pytorch_compiled,
    "matrix products": bare_products,
}


def rows():
    """Our updates by the others'."""
    import train_made

    return rows_of("MADE", train_made, tolerance=1e-5)
