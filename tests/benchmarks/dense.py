"""Networks of dense layers from our parameters, in the frameworks that are compared, and the autoencoder made of them.

784-200-200-50 and back, tanh, Bernoulli, batches of 100.
"""

import numpy as np
from training import Setting

VISIBLE, HIDDEN, LATENT, BATCH = 784, 200, 50, 100


def binary(*shape: int) -> np.ndarray:
    """Zeros and ones, float32."""
    return (np.random.default_rng(1).random(shape) < 0.3).astype(np.float32)


def our_autoencoder():
    """Our model."""
    from genjax_models.models import vae
    from genjax_models.models.networks import MLP

    parts = (MLP((HIDDEN, HIDDEN), activation="tanh") for _ in range(2))
    return vae(VISIBLE, latent=LATENT, **dict(zip(("encoder", "decoder"), parts, strict=True)))


def autoencoder_setting() -> Setting:
    """Its first parameters, and a batch."""
    import jax

    params = our_autoencoder().init(jax.random.key(0), np.zeros(VISIBLE, np.float32), ())
    return Setting(jax.tree.map(np.asarray, params), binary(BATCH, VISIBLE))


def in_order(params) -> list:
    """The layers of one of our networks."""
    return [params[f"layers_{i}"] for i in range(len(params))]


def by_hand(params, h, activation=None):
    """Such a network in plain JAX."""
    import jax.numpy as jnp

    *layers, last = in_order(params)
    for layer in layers:
        h = (activation or jnp.tanh)(h @ layer["kernel"] + layer["bias"])
    return h @ last["kernel"] + last["bias"]


def torch_linear(layer):
    """One of our layers, in PyTorch."""
    import torch

    kernel, bias = (torch.tensor(np.array(layer[name])) for name in ("kernel", "bias"))
    linear = torch.nn.Linear(*kernel.shape)
    linear.weight.data, linear.bias.data = kernel.T.contiguous(), bias
    return linear


def torch_network(params, activation=None):
    """Such a network, in PyTorch."""
    import torch

    layers = [part for layer in in_order(params) for part in (torch_linear(layer), (activation or torch.nn.Tanh)())]
    return torch.nn.Sequential(*layers[:-1])


def torch_networks(params):
    """Encoder and decoder of the autoencoder."""
    return torch_network(params["recognition"]["network"]), torch_network(params["generative"]["network"])


def numpyro_programs(params, batch: int = BATCH):
    """The autoencoder and its guide as NumPyro's programs."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    initial = jax.tree.map(jnp.asarray, params)

    def model(x):
        decoder = numpyro.param("generative", initial["generative"]["network"])
        with numpyro.plate("batch", batch):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=by_hand(decoder, z)).to_event(1), obs=x)

    def guide(x):
        encoder = numpyro.param("recognition", initial["recognition"]["network"])
        with numpyro.plate("batch", batch):
            loc, log_scale = jnp.split(by_hand(encoder, x), 2, axis=-1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return model, guide


def pyro_programs(params, batch: int = BATCH):
    """The same as Pyro's programs, and their modules."""
    import pyro

    encoder, decoder = torch_networks(params)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("batch", batch):
            prior = pyro.distributions.Normal(x.new_zeros(batch, LATENT), x.new_ones(batch, LATENT)).to_event(1)
            logits = decoder(pyro.sample("z", prior))
            pyro.sample("x", pyro.distributions.Bernoulli(logits=logits, validate_args=False).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("batch", batch):
            loc, log_scale = encoder(x).chunk(2, dim=-1)
            pyro.sample("z", pyro.distributions.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide, [encoder, decoder]


def pythae_parts(params):
    """Encoder and decoder as Pythae wants them."""
    import torch
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            loc, log_scale = self.network(x).chunk(2, dim=-1)
            return ModelOutput(embedding=loc, log_covariance=2 * log_scale)

    class Decoder(BaseDecoder):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    encoder, decoder = torch_networks(params)
    return {"encoder": Encoder(encoder), "decoder": Decoder(decoder)}
