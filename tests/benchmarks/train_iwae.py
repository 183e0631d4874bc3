"""An importance weighted autoencoder with 50 particles: 784-200-200-50, tanh, Bernoulli, batches of 100."""

import dense
import train_vae
from training import ALL, jax_training, our_training, rows_of, torch_training

PARTICLES = 50
DRAWS = 5  # of the noise, for the loss at the first parameters
ROUNDS = 12
TARGETS = {ALL: 1 / 1.2, "matrix products": 1.3}
setting = dense.autoencoder_setting


def ours(setting):
    """Ours."""
    from genjax_models.objectives import iwae

    return our_training(iwae(dense.our_autoencoder(), PARTICLES), *setting, DRAWS)


def by_hand(setting):
    """A loop in plain JAX."""
    import jax
    import jax.numpy as jnp
    import optax

    def loss(params, key, x):
        loc, log_scale = jnp.split(dense.by_hand(params["recognition"]["network"], x), 2, axis=-1)
        noise = jax.random.normal(key, (PARTICLES, *loc.shape))
        z = loc + jnp.exp(log_scale) * noise
        logits = dense.by_hand(params["generative"]["network"], z)
        likelihood = -optax.sigmoid_binary_cross_entropy(logits, x).sum(axis=-1)
        log_w = likelihood + jnp.sum(log_scale + (noise**2 - z**2) / 2, axis=-1)
        return -jnp.mean(jax.nn.logsumexp(log_w, axis=0) - jnp.log(PARTICLES))

    return jax_training(loss, *setting, DRAWS)


def numpyro(setting):
    """NumPyro's SVI in a compiled scan; its bound is that of every example, for a plate encloses all sites."""
    from numpyro.infer import RenyiELBO

    return train_vae.svi(setting, RenyiELBO(alpha=0, num_particles=PARTICLES))


def pyro(setting):
    """Pyro's SVI, its particles vectorized."""
    from pyro.infer import RenyiELBO

    estimator = RenyiELBO(alpha=0, num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=1)
    return train_vae.pyro_svi(setting, estimator)


def pythae(setting):
    """Pythae's model as its trainer calls it.

    It follows the bound's gradient, but its value is a weighted mean of the log-weights: the bound of its networks is
    compared.
    """
    from pythae.models import IWAE, IWAEConfig

    fields = {"reconstruction_loss": "bce", "number_samples": PARTICLES}
    configuration = IWAEConfig(input_dim=(dense.VISIBLE,), latent_dim=dense.LATENT, **fields)
    model = IWAE(configuration, **dense.pythae_parts(setting.params))
    bound = _torch_loss(model.encoder.network, model.decoder.network)
    return torch_training(lambda x: model({"data": x}).loss, [model], setting.x, DRAWS, compared=bound)


def pytorch(setting, compiled=False):
    """A loop in PyTorch."""
    networks = dense.torch_networks(setting.params)
    return torch_training(_torch_loss(*networks), [*networks], setting.x, DRAWS, compiled)


def _torch_loss(encoder, decoder):
    import math

    import torch

    def loss(x):
        loc, log_scale = encoder(x).chunk(2, dim=-1)
        noise = torch.randn(PARTICLES, *loc.shape, device=x.device)
        z = loc + log_scale.exp() * noise
        logits = decoder(z)
        unlikelihood = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)
        log_w = (log_scale + (noise**2 - z**2) / 2).sum(-1) - unlikelihood
        return math.log(PARTICLES) - torch.logsumexp(log_w, 0).mean()

    return loss


def pytorch_compiled(setting):
    """The same by `torch.compile` and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting):
    """Its matrix products."""
    return train_vae.bare_products(setting, PARTICLES)


LIBRARIES = {
    "ours": ours,
    "plain JAX": by_hand,
    "NumPyro": numpyro,
    "Pyro": pyro,
    "Pythae": pythae,
    "PyTorch": pytorch,
    "PyTorch, compiled": pytorch_compiled,
    "matrix products": bare_products,
}


def rows():
    """Our updates by the others'."""
    import train_iwae

    return rows_of("IWAE-50", train_iwae, tolerance=0.003)
