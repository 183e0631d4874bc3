"""A variational autoencoder: 784-200-200-50, tanh, Bernoulli, batches of 100, the KL in closed form."""

import dense
from training import ALL, LEARNING_RATE, STEPS, Training, jax_training, our_training, rows_of, torch_training

DRAWS = 20  # of the noise, for the loss at the first parameters
ROUNDS = 40
TARGETS = {ALL: 1 / 1.2, "matrix products": 2.0}
setting = dense.autoencoder_setting


def ours(setting):
    """Ours."""
    from genjax_models.objectives import elbo

    return our_training(elbo(dense.our_autoencoder()), *setting, DRAWS)


def by_hand(setting):
    """A loop in plain JAX."""
    return jax_training(plain_loss(), *setting, DRAWS)


def plain_loss():
    """The loss in plain JAX, a function of parameters, key and batch."""
    import jax
    import jax.numpy as jnp
    import optax

    def loss(params, key, x):
        loc, log_scale = jnp.split(dense.by_hand(params["recognition"]["network"], x), 2, axis=-1)
        z = loc + jnp.exp(log_scale) * jax.random.normal(key, loc.shape)
        logits = dense.by_hand(params["generative"]["network"], z)
        likelihood = -optax.sigmoid_binary_cross_entropy(logits, x).sum(axis=-1)
        kl = 0.5 * jnp.sum(loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale, axis=-1)
        return jnp.mean(kl - likelihood)

    return loss


def numpyro(setting):
    """NumPyro's SVI in a compiled scan."""
    from numpyro.infer import TraceMeanField_ELBO

    return svi(setting, TraceMeanField_ELBO())


def svi(setting, estimator) -> Training:
    """NumPyro's SVI of the autoencoder with any of its estimators, a sum over the batch."""
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro.infer import SVI

    model, guide = dense.numpyro_programs(setting.params)
    inference, x = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), estimator), jnp.asarray(setting.x)
    state = inference.init(jax.random.key(0), x)
    evaluate = jax.jit(lambda state, key: inference.evaluate(state._replace(rng_key=key), x))
    initial = jax.tree.map(jnp.copy, state)
    advance = jax.jit(lambda s, x: jax.lax.scan(lambda s, _: inference.update(s, x), s, length=STEPS), donate_argnums=0)

    def run():
        nonlocal state
        state, losses = advance(state, x)
        return jax.block_until_ready(losses)

    def mean_loss():
        keys = jax.random.split(jax.random.key(1), DRAWS)
        return sum(float(evaluate(initial, key)) for key in keys) / DRAWS / len(x)

    return Training(mean_loss, run)


def pyro(setting):
    """Pyro's SVI."""
    from pyro.infer import TraceMeanField_ELBO

    return pyro_svi(setting, TraceMeanField_ELBO())


def pyro_svi(setting, estimator) -> Training:
    """Pyro's SVI of the autoencoder with any of its estimators, a sum over the batch."""
    import pyro
    import torch
    from pyro.infer import SVI

    pyro.clear_param_store()
    pyro.enable_validation(False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, guide, modules = dense.pyro_programs(setting.params)
    for module in modules:
        module.to(device)
    inference, x = (
        SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=estimator),
        torch.tensor(setting.x, device=device),
    )
    return Training(
        lambda: sum(inference.evaluate_loss(x) for _ in range(DRAWS)) / DRAWS / len(x),
        lambda: [inference.step(x) for _ in range(STEPS)][-1],
    )


def pythae(setting):
    """Pythae's model as its trainer calls it."""
    from pythae.models import VAE, VAEConfig

    configuration = VAEConfig(input_dim=(dense.VISIBLE,), latent_dim=dense.LATENT, reconstruction_loss="bce")
    model = VAE(configuration, **dense.pythae_parts(setting.params))
    return torch_training(lambda x: model({"data": x}).loss, [model], setting.x, DRAWS)


def pytorch(setting, compiled=False):
    """A loop in PyTorch."""
    import torch

    encoder, decoder = dense.torch_networks(setting.params)

    def loss(x):
        loc, log_scale = encoder(x).chunk(2, dim=-1)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        unlikelihood = torch.nn.functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (loc**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
        return (kl + unlikelihood) / len(x)

    return torch_training(loss, [encoder, decoder], setting.x, DRAWS, compiled)


def pytorch_compiled(setting):
    """The same by `torch.compile` and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting, particles=1):
    """Its matrix products: one of a layer forward, two backward but for the gradient of x."""
    import jax
    import jax.numpy as jnp
    import products

    encoder = (dense.VISIBLE, dense.HIDDEN, dense.HIDDEN, 2 * dense.LATENT)
    decoder = (dense.LATENT, dense.HIDDEN, dense.HIDDEN, dense.VISIBLE)

    def step(weights, x):
        up, down = weights
        inputs, out = products.forward(up, x)
        z = jnp.repeat(out[:, : dense.LATENT], particles, axis=0)
        of_down, of_z = products.backward(down, *products.forward(down, z))
        of_z = of_z.reshape(len(x), particles, dense.LATENT)[:, 0]
        of_up, _ = products.backward(up, inputs, jnp.concatenate([of_z, of_z], axis=1))
        return products.followed(weights, (of_up, of_down))

    weights = tuple(products.kernels(jax.random.key(i), sizes) for i, sizes in enumerate((encoder, decoder)))
    return products.training(step, weights, setting.x, 3 * (len(encoder) + len(decoder) - 2) - 1)


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
    import train_vae

    return rows_of("VAE", train_vae, tolerance=0.003)
