"""NVIL on the fixed binarization of MNIST: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_nvil_mnist.py --data-dir DIR

Machine and time: 42 minutes on 2 cores that were shared with much other work, 17 of them suspended, to train; 2.8 ms a
step where they are not.
EXPECTED: test NLL 96.11 +- 0.24 nats per example (5,000 samples, 10,000 examples), test bound of one particle
-104.49 +- 0.27.

Beside it: 96.7 as a bound for the same net after far longer training (Mnih and Gregor 2014); wake-sleep 99.81
(configs/sbn_wake_sleep_mnist.py), reweighted wake-sleep 95.03 (configs/sbn_rws_mnist.py).
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import NVIL
from genjax_models.optimizers import Adam, Cosine

STEPS = 100_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=NVIL(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01), clip_norm=10.0),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=5000, average=0.999),
    evaluation=Evaluation(num_samples=5000),
)
