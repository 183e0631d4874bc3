"""Wake-sleep on the fixed binarization of MNIST: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_wake_sleep_mnist.py --data-dir DIR

Machine and time: 14 minutes on 2 cores that were shared with other work, to train; 2.8 ms a step where they are not.
EXPECTED: test NLL 99.81 +- 0.26 nats per example (5,000 samples, 10,000 examples), test bound of one particle
-110.25 +- 0.29.

Beside it: wake-sleep as a bound 102.2 (Mnih and Gregor 2014) and as an NLL 101.3 (Bornschein and Bengio 2015) for the
same net; reweighted wake-sleep 95.03 (configs/sbn_rws_mnist.py), NVIL 96.11 (configs/sbn_nvil_mnist.py).
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import WakeSleep
from genjax_models.optimizers import Adam, Cosine

STEPS = 100_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=WakeSleep(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=5000, average=0.999),
    evaluation=Evaluation(num_samples=5000),
)
