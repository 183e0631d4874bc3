"""The importance weighted autoencoder's table on MNIST, two stochastic layers, shortened to equal updates for every K.

    genjax-models train configs/iwae_mnist_two_layers.py --data-dir DIR

    genjax-models train configs/iwae_mnist_two_layers.py --data-dir DIR --objective.num-particles 5

    genjax-models train configs/iwae_mnist_two_layers.py --data-dir DIR --objective.num-particles 1

EXPECTED: not yet run.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import HierarchicalVAE
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam, Cosine

STEPS = 10_000

CONFIG = Config(
    model=HierarchicalVAE(layers=(100, 50), hidden=(200, 100)),
    objective=IWAE(num_particles=50),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=1000, validation_examples=1000),
)
