"""A step of a generative adversarial network against the same two networks in eager PyTorch.

784-pixel images, dense layers, the non-saturating game: a step is an update of the critic and one of the generator,
each on a fresh batch and by Adam. Both draw their noise anew.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from dense import BATCH, VISIBLE, binary, torch_network
from timing import Row, compare, in_turns
from torch.nn.functional import softplus
from training import STEPS

from genjax_models.core import Phase
from genjax_models.models import gan
from genjax_models.models.networks import MLP
from genjax_models.objectives import adversarial
from genjax_models.train import make_train_step

TARGET = 1.0
LATENT, HIDDEN = 64, (256, 256)
LEARNING_RATE = 2e-4


def model_and_parameters():
    """Our model, and its initial parameters."""
    critic = MLP(HIDDEN, activation="leaky_relu")
    model = gan(VISIBLE, latent=LATENT, generator=MLP(HIDDEN), critic=critic)
    return model, model.init(jax.random.key(0), jnp.zeros(VISIBLE), ())


def our_training():
    """STEPS of our training as a function without arguments, which returns the values of the game."""
    model, params = model_and_parameters()
    critic, generator = adversarial(model)
    phases = [Phase(p, g, optax.adam(LEARNING_RATE)) for p, g in ((critic, "critic"), (generator, "generative"))]
    init, step = make_train_step(*phases)
    x = jnp.asarray(binary(BATCH, VISIBLE))
    state, xs = init(jax.random.key(0), params, x), jnp.broadcast_to(x, (STEPS, 2, *x.shape))
    scan = jax.jit(lambda state, xs: jax.lax.scan(step, state, xs), donate_argnums=0)
    compiled = scan.lower(state, xs).compile()

    def advance():
        nonlocal state
        state, metrics = compiled(state, xs)
        return metrics["0.critic/value"]

    return advance


def torch_training():
    """The two networks before their first step, and STEPS of training as a function that returns the last value."""
    params = model_and_parameters()[1]
    generator = torch.nn.Sequential(torch_network(params["generative"], torch.nn.ReLU), torch.nn.Sigmoid())
    critic = torch_network(params["critic"]["network"], lambda: torch.nn.LeakyReLU(0.2))
    of_generator, of_critic = (torch.optim.Adam(n.parameters(), lr=LEARNING_RATE) for n in (generator, critic))
    x = torch.tensor(binary(BATCH, VISIBLE))

    def draw():
        return generator(torch.rand(BATCH, LATENT) * 2 - 1)

    def advance():
        for _ in range(STEPS):
            of_critic.zero_grad()
            with torch.no_grad():
                y = draw()
            real, fake = critic(torch.cat([x, y])).split(BATCH)
            loss = (softplus(-real) + softplus(fake)).mean()
            loss.backward()
            of_critic.step()
            of_generator.zero_grad()
            critic.requires_grad_(False)
            softplus(-critic(draw())).mean().backward()
            of_generator.step()
            critic.requires_grad_(True)
        return loss

    return generator, critic, advance


def rows() -> list[Row]:
    """Our step by PyTorch's."""
    generator, critic, other = torch_training()
    model, params = model_and_parameters()
    x = binary(BATCH, VISIBLE)
    a, b = jax.vmap(lambda x: model.critic(params, x, ()))(x), critic(torch.tensor(x))[:, 0]
    if np.max(np.abs(np.array(a) - b.detach().numpy())) > 1e-4:
        raise RuntimeError("the two critics judge the same images differently: two different models.")
    if sum(leaf.size for leaf in jax.tree.leaves(params["generative"])) != sum(
        p.numel() for p in generator.parameters()
    ):
        raise RuntimeError("the two generators are of different sizes.")
    times = in_turns(our_training(), other)
    return [compare("GAN step / PyTorch's", *times, "ms", TARGET, 1e3 / STEPS)]
