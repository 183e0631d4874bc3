"""The importance weighted autoencoder's table on MNIST, two stochastic layers, shortened to equal updates for every K.

    genjax-models train configs/iwae_mnist_two_layers.py --data-dir DIR

    genjax-models train configs/iwae_mnist_two_layers.py --data-dir DIR --objective.num-particles 1

    genjax-models train configs/iwae_mnist_two_layers.py --data-dir DIR --objective.num-particles 50

Machine and time: 401 s on 2 cores, of which one thread was used, shared with much other work (K = 5); 852 s (K = 1).
K = 50 was at the lowest priority beside other work: 12 steps a second where it had a core, 14 minutes at that rate.
EXPECTED: test NLL 107.02 +- 0.32 nats per example (K = 5, 1,000 samples, 10,000 examples). By K, with the latents of
150 that `genjax-models diagnose` finds active, and the paper's figures after 3,280 epochs (Burda, Grosse and
Salakhutdinov 2015, table 1):

    K = 1    127.53 +- 0.40    46 active   paper 85.33, 16 + 5 active
    K = 5    107.02 +- 0.32   101 active   paper 83.89, 21 + 5 active
    K = 50   100.43 +- 0.29   101 active   paper 82.90, 26 + 7 active

Twenty epochs are too few for two layers: one layer (`iwae_mnist.py`) is ahead at every K, the less the larger K is.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import HierarchicalVAE
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam, Cosine

STEPS = 10_000

CONFIG = Config(
    model=HierarchicalVAE(layers=(100, 50), hidden=(200, 100)),
    objective=IWAE(num_particles=5),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=1000, validation_examples=1000),
)
