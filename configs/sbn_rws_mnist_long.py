"""Reweighted wake-sleep on the fixed binarization of MNIST, longer: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_rws_mnist_long.py --data-dir DIR

Machine and time: 66 minutes on 2 cores, of which one busy thread was used; 60 of them to train.
EXPECTED: test NLL 91.79 +- 0.24 nats per example (5,000 samples, 10,000 examples), test bound of 5 particles
-96.73 +- 0.26.

Beside it: 93.5 (K = 5) to 92.5 (K = 50) for the same net by reweighted wake-sleep, in the protocol of Mnih and Rezende
2016, and 90.1 in that of Bornschein and Bengio (2015). configs/sbn_rws_mnist.py is the short recipe, with 95.03.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import Adam, Cosine

STEPS = 200_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=ReweightedWakeSleep(num_particles=5),
    optimizer=Adam(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=10_000, average=0.9995),
    evaluation=Evaluation(num_samples=5000),
)
