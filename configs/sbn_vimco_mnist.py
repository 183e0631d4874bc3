"""VIMCO on the fixed binarization of MNIST: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_vimco_mnist.py --data-dir DIR

Machine and time: 14 minutes on 2 cores that were shared with other work, to train; 9 ms a step where they are not.
EXPECTED: test NLL 99.87 +- 0.25 nats per example (1,000 samples, 10,000 examples), test bound of ten particles
-104.63 +- 0.27.

Beside it: 92.8 for the same net and K after far longer training (Mnih and Rezende 2016); after the same 30,000 steps
with K = 10, reweighted wake-sleep has 95.55 (configs/sbn_rws_mnist.py). A learning rate of 1e-3 was worse, by 3.3 nats
of the validation bound.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import VIMCO
from genjax_models.optimizers import Adam, Cosine

STEPS = 30_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=VIMCO(num_particles=10),
    optimizer=Adam(learning_rate=Cosine(start=3e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=1000),
)
