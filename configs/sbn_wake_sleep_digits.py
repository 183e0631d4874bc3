"""Wake-sleep on the 8x8 digits of scikit-learn: a sigmoid belief network of 64-48-32.

    genjax-models train configs/sbn_wake_sleep_digits.py

Machine and time: 24 s on 2 cores.
EXPECTED: test NLL 17.20 +- 0.17 nats per example (1,000 samples, 500 examples), test bound -18.17 +- 0.19.

Beside it, on the same split and pixels: an independent Bernoulli per pixel 24.60 +- 0.19, a mixture of 50 Bernoulli
vectors fitted by EM 17.88 +- 0.21 (python tests/benchmarks/baselines.py).
"""

from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import WakeSleep
from genjax_models.optimizers import Adam

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(64, 48, 32)),
    objective=WakeSleep(),
    optimizer=Adam(learning_rate=3e-3),
    data=Digits(binarization="threshold"),
    training=Training(num_steps=20_000, batch_size=100, evaluate_every=1000, average=0.999),
)
