"""Training a variational autoencoder against NumPyro, Pyro, Pythae and a plain PyTorch loop with the same networks.

784-200-200-50, tanh, Bernoulli, batches of 100 and Adam. NumPyro's update runs in a compiled scan as ours does; the
others are eager, as their users run them, on PyTorch's own number of threads. Pythae's model is called as its trainer
calls it: forward with its reconstruction loss, backward, step.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pyro
import torch
from iwae_numpyro import _network
from networks import BATCH, LATENT, LEARNING_RATE, STEPS, VISIBLE, batches, data, model_and_parameters
from numpyro.infer import SVI, TraceMeanField_ELBO
from pythae.models import VAE as PythaeVAE
from pythae.models import VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from timing import Row, compare, in_turns
from vae_step import vae_training

TARGET = 1.0


def numpyro_training():
    """STEPS of NumPyro's training, with the KL in closed form as ours has it."""
    _, initial = model_and_parameters()

    def model(x):
        params = numpyro.param("generative", initial["generative"]["network"])
        with numpyro.plate("batch", BATCH):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=_network(params, z)).to_event(1), obs=x)

    def guide(x):
        params = numpyro.param("recognition", initial["recognition"]["network"])
        with numpyro.plate("batch", BATCH):
            loc, log_scale = jnp.split(_network(params, x), 2, axis=-1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), TraceMeanField_ELBO())
    state, xs = svi.init(jax.random.key(0), data()), batches()
    compiled = jax.jit(lambda s, xs: jax.lax.scan(svi.update, s, xs), donate_argnums=0).lower(state, xs).compile()

    def advance():
        nonlocal state
        state, losses = compiled(state, xs)
        return -losses[-1] / BATCH

    return advance


def _torch_network(params) -> torch.nn.Sequential:
    """One of our networks, in PyTorch."""
    layers: list[torch.nn.Module] = []
    for i in range(len(params)):
        kernel, bias = (torch.tensor(np.array(params[f"layers_{i}"][name])) for name in ("kernel", "bias"))
        linear = torch.nn.Linear(*kernel.shape)
        linear.weight.data, linear.bias.data = kernel.T.contiguous(), bias
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def torch_networks():
    """Encoder and decoder."""
    _, params = model_and_parameters()
    return _torch_network(params["recognition"]["network"]), _torch_network(params["generative"]["network"])


def torch_training():
    """STEPS of a loop as one would write it."""
    encoder, decoder = torch_networks()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE)
    x = torch.tensor(np.array(data()))

    def advance():
        for _ in range(STEPS):
            optimizer.zero_grad()
            loc, log_scale = encoder(x).chunk(2, dim=-1)
            z = loc + log_scale.exp() * torch.randn_like(loc)
            likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
            kl = 0.5 * (loc**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
            loss = (kl - likelihood) / BATCH
            loss.backward()
            optimizer.step()
        return -float(loss)

    return advance


def pyro_training():
    """STEPS of Pyro's training."""
    encoder, decoder = torch_networks()
    x = torch.tensor(np.array(data()))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("batch", BATCH):
            prior = pyro.distributions.Normal(x.new_zeros(BATCH, LATENT), x.new_ones(BATCH, LATENT)).to_event(1)
            logits = decoder(pyro.sample("z", prior))
            law = pyro.distributions.Bernoulli(logits=logits, validate_args=False).to_event(1)
            pyro.sample("x", law, obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("batch", BATCH):
            loc, log_scale = encoder(x).chunk(2, dim=-1)
            pyro.sample("z", pyro.distributions.Normal(loc, log_scale.exp()).to_event(1))

    pyro.clear_param_store()
    pyro.enable_validation(False)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=pyro.infer.TraceMeanField_ELBO())
    return lambda: [-svi.step(x) / BATCH for _ in range(STEPS)][-1]


class _PythaeEncoder(BaseEncoder):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        loc, log_scale = self.network(x).chunk(2, dim=-1)
        return ModelOutput(embedding=loc, log_covariance=2 * log_scale)


class _PythaeDecoder(BaseDecoder):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


def pythae_training():
    """STEPS of Pythae's training."""
    encoder, decoder = torch_networks()
    configuration = VAEConfig(input_dim=(VISIBLE,), latent_dim=LATENT, reconstruction_loss="bce")
    model = PythaeVAE(configuration, encoder=_PythaeEncoder(encoder), decoder=_PythaeDecoder(decoder))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    inputs = {"data": torch.tensor(np.array(data()))}

    def advance():
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(inputs).loss
            loss.backward()
            optimizer.step()
        return -float(loss)

    return advance


OTHERS = {
    "NumPyro": numpyro_training,
    "Pyro": pyro_training,
    "Pythae": pythae_training,
    "PyTorch": torch_training,
}


def rows() -> list[Row]:
    """Our step by each of the others'."""
    trainings = [vae_training(), *(make() for make in OTHERS.values())]
    bounds = [float(np.ravel(np.asarray(training()))[-1]) for training in trainings]
    for name, bound in zip(OTHERS, bounds[1:], strict=True):
        if abs(bound - bounds[0]) > 0.03 * abs(bounds[0]):
            raise RuntimeError(f"{name}'s bound is {bound:.2f}, ours {bounds[0]:.2f} nats: two different models.")
    ours, *others = in_turns(*trainings, rounds=20)
    named = zip(OTHERS, others, strict=True)
    return [compare(f"VAE step / {name}'s", ours, other, "ms", TARGET, 1e3 / STEPS) for name, other in named]
