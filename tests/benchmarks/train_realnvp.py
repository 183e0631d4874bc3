"""Affine couplings (Real NVP) by maximum likelihood: 64 units, 5 couplings of 128 relu units each, batches of 200.

FlowJAX gets our scale as its transformer and our halves as its permutations, so that its losses are ours too: its own
are a softplus and random. By its matrix products nothing is demanded of the step: they are small.
"""

import numpy as np
import peers
from training import ALL, Setting, jax_training, our_training, rows_of, torch_training

VISIBLE, BATCH = 64, 200
LAYERS, WIDTH = 5, 128
BOUND = 8  # of a log-scale
ROUNDS = 40
TARGETS = {ALL: 1.0, "matrix products": 2.0}


def our_model():
    """Our model."""
    from genjax_models.models import realnvp

    return realnvp(VISIBLE, layers=LAYERS, hidden=(WIDTH,))


def setting() -> Setting:
    """Its parameters near the first ones, and a batch of correlated Gaussian data of unit variance."""
    import jax

    noise = np.random.default_rng(1).normal(size=(BATCH, VISIBLE)).astype(np.float32)
    params = our_model().init(jax.random.key(0), np.zeros(VISIBLE, np.float32), ())
    return Setting(peers.moved(params), (noise + np.roll(noise, 1, axis=-1)) / np.sqrt(np.float32(2)))


def ours(setting):
    """Ours."""
    from genjax_models.objectives import maximum_likelihood

    return our_training(maximum_likelihood(our_model()), *setting)


def networks(params) -> list:
    """The two layers of every coupling's network."""
    couplings = [params["generative"][f"networks_{i}"] for i in range(LAYERS)]
    return [(layers["layers_0"], layers["layers_1"]) for layers in couplings]


def by_hand(setting):
    """A loop in plain JAX."""
    import jax
    import jax.numpy as jnp

    def loss(params, key, x):
        kept, moved, log_det = x[:, 0::2], x[:, 1::2], 0.0
        for hidden, last in networks(params):
            h = jax.nn.relu(kept @ hidden["kernel"] + hidden["bias"])
            raw = (h @ last["kernel"] + last["bias"]).reshape(*moved.shape, 2)
            log_scale = BOUND * jnp.tanh(raw[..., 1] / BOUND)
            kept, moved = (moved - raw[..., 0]) * jnp.exp(-log_scale), kept
            log_det = log_det - log_scale.sum(axis=-1)
        square = jnp.sum(kept**2 + moved**2, axis=-1)
        return jnp.mean((square + VISIBLE * jnp.log(2 * jnp.pi)) / 2 - log_det)

    return jax_training(loss, *setting)


def flowjax(setting):
    """FlowJAX's flow and loss, in the loop in plain JAX."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from flowjax.bijections import Affine
    from flowjax.distributions import StandardNormal
    from flowjax.flows import coupling_flow
    from flowjax.train.losses import MaximumLikelihoodLoss
    from paramax import Parameterize

    scale = Parameterize(lambda raw: jnp.exp(BOUND * jnp.tanh(raw / BOUND)), jnp.zeros(()))
    flow = coupling_flow(
        jax.random.key(0),
        base_dist=StandardNormal((VISIBLE,)),
        transformer=eqx.tree_at(lambda affine: affine.scale, Affine(), scale),
        flow_layers=LAYERS,
        nn_width=WIDTH,
        nn_depth=1,
        invert=False,
    )

    def parts(flow):
        coupling, permute = flow.bijection.bijection.bijections
        layers = coupling.conditioner.layers
        kernels, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
        return [*kernels, *biases, *permute.permutation, *permute.inverse_permutation]

    # From x on, it takes its layers from the last to the first.
    columns = list(zip(*reversed(networks(setting.params)), strict=True))
    kernels = [np.stack([layer["kernel"].T for layer in column]) for column in columns]
    biases = [np.stack([layer["bias"] for layer in column]) for column in columns]
    halves = np.tile(np.roll(np.arange(VISIBLE), VISIBLE // 2), (LAYERS, 1))
    flow = eqx.tree_at(parts, flow, [jnp.asarray(v) for v in (*kernels, *biases, halves, halves)])
    params, static = eqx.partition(flow, eqx.is_inexact_array)
    loss, x = MaximumLikelihoodLoss(), np.concatenate([setting.x[:, 1::2], setting.x[:, 0::2]], axis=1)
    return jax_training(lambda params, key, x: loss(params, static, x), params, x)


def pytorch(setting, compiled=False):
    """A loop in PyTorch."""
    import math

    import dense
    import torch

    perceptrons = torch.nn.ModuleList(
        [
            torch.nn.Sequential(dense.torch_linear(hidden), torch.nn.ReLU(), dense.torch_linear(last))
            for hidden, last in networks(setting.params)
        ]
    )

    def loss(x):
        kept, moved, log_det = x[:, 0::2], x[:, 1::2], 0.0
        for network in perceptrons:
            loc, raw = network(kept).view(*moved.shape, 2).unbind(-1)
            log_scale = BOUND * torch.tanh(raw / BOUND)
            kept, moved = (moved - loc) * torch.exp(-log_scale), kept
            log_det = log_det - log_scale.sum(-1)
        square = (kept**2 + moved**2).sum(-1)
        return ((square + VISIBLE * math.log(2 * math.pi)) / 2 - log_det).mean()

    return torch_training(loss, [perceptrons], setting.x, compiled=compiled)


def pytorch_compiled(setting):
    """The same by `torch.compile` and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting):
    """Its matrix products: one of a layer forward, two backward but for the gradient of x."""
    import jax
    import products

    half = VISIBLE // 2

    def step(weights, x):
        even, odd, seen = x[:, 0::2], x[:, 1::2], []
        for network in weights:
            inputs, out = products.forward(network, even)
            seen.append(inputs)
            even, odd = odd + out[:, :half] + out[:, half:], even
        gradients = []
        of_even, of_odd = even, odd
        for network, inputs in zip(reversed(weights), reversed(seen), strict=True):
            cotangent = jax.numpy.concatenate([of_even, of_even], axis=1)
            of_network, of_kept = products.backward(network, inputs, cotangent)
            gradients.insert(0, of_network)
            of_even, of_odd = of_odd + of_kept, of_even
        return products.followed(weights, gradients)

    weights = [products.kernels(jax.random.key(i), (half, WIDTH, VISIBLE)) for i in range(LAYERS)]
    return products.training(step, weights, setting.x, 6 * LAYERS - 1)


LIBRARIES = {
    "ours": ours,
    "plain JAX": by_hand,
    "FlowJAX": flowjax,
    "PyTorch": pytorch,
    "PyTorch, compiled": pytorch_compiled,
    "matrix products": bare_products,
}


def rows():
    """Our updates by the others'."""
    import train_realnvp

    return rows_of("Real NVP", train_realnvp, tolerance=1e-5)
