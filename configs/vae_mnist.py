"""A variational autoencoder on MNIST, binarized anew at every step, in the architecture of the IWAE paper.

    genjax-models train configs/vae_mnist.py --data-dir DIR

Machine and time: 15 minutes on 2 cores that were shared with other work.
EXPECTED: test NLL 90.38 +- 0.25 nats per example (1,000 samples, 10,000 examples), test bound -93.84 +- 0.26.

Beside it: 86.76 with 5,000 samples after 3,280 epochs in batches of 20 (Burda, Grosse and Salakhutdinov 2015, table 1,
VAE with K = 1 and one stochastic layer); here it is 200 epochs in batches of 100.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 100_000

CONFIG = Config(
    model=VAE(latent=50, encoder=MLP((200, 200), "tanh"), decoder=MLP((200, 200), "tanh")),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=5000, average=0.999),
    evaluation=Evaluation(num_samples=1000),
)
