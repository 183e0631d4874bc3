"""Reweighted wake-sleep on the fixed binarization of MNIST: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_rws_mnist.py --data-dir DIR

Machine and time: 19 minutes on 2 cores, of which one busy thread was used; 10 of them to train.
EXPECTED: test NLL 95.03 +- 0.25 nats per example (5,000 samples, 10,000 examples), test bound of 5 particles
-101.02 +- 0.26. With K = 10 and 30,000 steps: 95.55 +- 0.25. Trained for longer, the same net gets better by far:
configs/sbn_rws_mnist_long.py.

Beside it: 94.6 (K = 2) to 92.5 (K = 50) for the same net by reweighted wake-sleep, in the protocol of Mnih and Rezende
2016; wake-sleep 102.2 and NVIL 96.7 as bounds (Mnih and Gregor 2014).
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import Adam, Cosine

STEPS = 40_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=ReweightedWakeSleep(num_particles=5),
    optimizer=Adam(learning_rate=Cosine(start=3e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=5000),
)
