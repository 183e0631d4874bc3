"""A generative adversarial network on a ring of eight Gaussians in the plane, of which it may miss some.

    genjax-models train configs/gan_ring.py

Machine and time: not yet measured.
EXPECTED: not yet run.
"""

from genjax_models.config import Config, Training
from genjax_models.data import Gaussians
from genjax_models.models import GAN
from genjax_models.models.networks import MLP
from genjax_models.objectives import Adversarial
from genjax_models.optimizers import Adam

STEPS = 10_000

CONFIG = Config(
    model=GAN(
        latent=16,
        prior="normal",
        generator=MLP(hidden=(128, 128)),
        critic=MLP(hidden=(128, 128), activation="leaky_relu"),
        data="real",
    ),
    objective=Adversarial(kind="wasserstein", gradient_penalty=1.0, critic_updates=5),
    optimizer=Adam(learning_rate=1e-3, b1=0.5, b2=0.9),
    data=Gaussians(),
    training=Training(num_steps=STEPS, batch_size=256, evaluate_every=1000, average=0.999),
)
