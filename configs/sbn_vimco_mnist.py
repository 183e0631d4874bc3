"""VIMCO on the fixed binarization of MNIST: a sigmoid belief network of 200-200-200.

    genjax-models train configs/sbn_vimco_mnist.py --data-dir DIR

Machine and time: 37 minutes on 2 cores, of which one busy thread was used; 28 of them to train.
EXPECTED: test NLL 96.40 +- 0.25 nats per example (5,000 samples, 10,000 examples), test bound of five particles
-101.32 +- 0.27. With K = 10 and 30,000 steps: 99.87 +- 0.25 (1,000 samples).

Beside it: 93.5 (K = 2), 92.8 (K = 5) and 92.6 (K = 10) for the same net after far longer training (Mnih and Rezende
2016); reweighted wake-sleep has 95.03 after a third of the steps (configs/sbn_rws_mnist.py). A learning rate of 1e-3
was worse, by 3.3 nats of the validation bound after 30,000 steps.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import VIMCO
from genjax_models.optimizers import Adam, Cosine

STEPS = 120_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=VIMCO(num_particles=5),
    optimizer=Adam(learning_rate=Cosine(start=3e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=5000),
)
