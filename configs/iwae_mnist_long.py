"""The importance weighted autoencoder's recipe on MNIST in full: 3,280 epochs in batches of 20, one stochastic layer.

    genjax-models train configs/iwae_mnist_long.py --data-dir DIR

    genjax-models train configs/iwae_mnist_long.py --data-dir DIR --objective.num-particles 5

    genjax-models train configs/iwae_mnist_long.py --data-dir DIR --objective.num-particles 1

Stage i of eight has 3^(i-1) epochs at a learning rate of 1e-3 10^(-(i-1)/7). Papers' figures: 86.76 (K = 1), 85.54 (5),
84.78 (50), by 5,000 samples (Burda, Grosse and Salakhutdinov 2015, table 1).

EXPECTED: not yet run.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam, Stages

EPOCH = 50_000 // 20
ENDS = tuple(EPOCH * (3**i - 1) // 2 for i in range(1, 9))  # of the stages, in steps
RATES = tuple(1e-4 * round(10 ** (1 - i / 7), 1) for i in range(8))

CONFIG = Config(
    model=VAE(latent=50, encoder=MLP((200, 200), "tanh"), decoder=MLP((200, 200), "tanh")),
    objective=IWAE(num_particles=50),
    optimizer=Adam(learning_rate=Stages(values=RATES, steps=ENDS[:-1]), eps=1e-4),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=ENDS[-1], batch_size=20, evaluate_every=100 * EPOCH),
    evaluation=Evaluation(num_samples=5000, parameters="latest"),
)
