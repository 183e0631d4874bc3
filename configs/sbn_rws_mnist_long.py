"""Reweighted wake-sleep on the fixed binarization of MNIST, longer: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_rws_mnist_long.py --data-dir DIR

EXPECTED: not yet run; meant for about three hours on 2 cores, and for a test NLL of at most 94 nats per example.

Beside it: 93.0 for the same net and K in the protocol of Mnih and Rezende 2016. configs/sbn_rws_mnist.py is the short
recipe.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import Adam, Cosine

STEPS = 800_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=ReweightedWakeSleep(num_particles=10),
    optimizer=Adam(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=10_000, average=0.9995),
    evaluation=Evaluation(num_samples=5000),
)
