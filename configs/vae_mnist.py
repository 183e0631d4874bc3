"""A variational autoencoder on MNIST, binarized anew at every step."""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import VAE
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 100_000

CONFIG = Config(
    model=VAE(latent=50, encoder_hidden=(200, 200), decoder_hidden=(200, 200)),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=5000, average=0.999),
    evaluation=Evaluation(num_samples=1000),
)
