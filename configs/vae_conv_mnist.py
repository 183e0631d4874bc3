"""A convolutional variational autoencoder on MNIST, binarized anew at every step.

    genjax-models train configs/vae_conv_mnist.py --data-dir DIR

EXPECTED: not yet run.
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
