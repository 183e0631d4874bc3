"""A sweep: wake-sleep against reweighted wake-sleep on the 8x8 digits, one to three layers x seeds: 18 runs.

    genjax-models sweep configs/sweep_sbn_digits.py

Machine and time: 405 s on 2 cores that were shared with much other work, 263 s of one core in all.
EXPECTED: test NLL 17.07 +- 0.06 nats per example (1,000 samples, 500 examples; mean and standard error over 3 seeds) at
the best setting, reweighted wake-sleep and three layers. By objective and layers:

                                     64          64-32       64-48-32
    wake-sleep              19.10 +- 0.05  18.18 +- 0.02  18.06 +- 0.08
    reweighted, K = 5       18.55 +- 0.06  17.22 +- 0.08  17.07 +- 0.06

What it shows (sweep_sbn_digits.png): reweighted wake-sleep is better at every depth, as Bornschein and Bengio (2015)
found on MNIST, and it gains more from a second layer here, 1.3 nats against 0.9: wake-sleep teaches q by dreams alone,
and a deeper p is of use only as far as q keeps up with it. A third layer is worth little on images this small.
"""

from genjax_models.axes import axis, product
from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep, WakeSleep
from genjax_models.optimizers import Adam
from genjax_models.sweep import Sweep

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(64,)),
    objective=WakeSleep(),
    optimizer=Adam(learning_rate=3e-3),
    data=Digits(binarization="threshold"),
    training=Training(num_steps=10_000, batch_size=100, evaluate_every=1000, average=0.999),
)

SWEEP = Sweep(
    product(
        axis("objective", (WakeSleep(), ReweightedWakeSleep(num_particles=5))),
        axis("model.layers", ((64,), (64, 32), (64, 48, 32))),
    ),
    seeds=3,
)
