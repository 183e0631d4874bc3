"""A training step of the variational autoencoder against one by hand: what interchangeable parts cost.

The loss in plain JAX is trained once by our train step, which leaves the cost of the parts, and once by value_and_grad
and optax alone, which adds that of the policy for non-finite steps: a pass over the gradients, and a condition on what
it finds. All run in the same compiled scan.
"""

import train_vae
from timing import Row, compare, in_turns
from training import STEPS, our_training

from genjax_models.objectives import from_loss

TARGET = 1.05


def rows() -> list[Row]:
    """Our step by the others'."""
    setting, loss = train_vae.setting(), train_vae.plain_loss()
    same = our_training(from_loss(lambda params, key, batch: loss(params, key, batch.x)), *setting)
    trainings = train_vae.ours(setting), same, train_vae.by_hand(setting)
    ours, same_step, alone = in_turns(*(training.advance for training in trainings), rounds=train_vae.ROUNDS)
    return [
        compare("VAE step / its loss by hand, same train step", ours, same_step, "ms", TARGET, 1e3 / STEPS),
        compare("VAE step / one by hand", ours, alone, "ms", TARGET, 1e3 / STEPS),
    ]
