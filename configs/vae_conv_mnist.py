"""A convolutional variational autoencoder on MNIST, binarized anew at every step.

    genjax-models train configs/vae_conv_mnist.py --data-dir DIR

Machine and time: 8423 s on 2 cores, at the lowest priority beside much other work and halted at times; about 45 minutes
of one thread.
EXPECTED: test NLL 89.00 +- 0.49 nats per example (200 samples, 2,000 examples); `vae_mnist`, without convolutions and
with log p(x) by 1,000 samples, comes to 90.38 +- 0.25.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import VAE
from genjax_models.models.networks import Convolutional
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 10_000

CONFIG = Config(
    model=VAE(
        latent=50,
        encoder=Convolutional((28, 28), channels=(16, 32), activation="elu", blocks=1),
        decoder=Convolutional((28, 28), channels=(32, 16), activation="elu", blocks=1),
    ),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=200, validation_examples=1000, test_examples=2000),
)
