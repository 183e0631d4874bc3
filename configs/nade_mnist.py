"""A neural auto-regressive distribution estimator (NADE) on the fixed binarization of MNIST, by maximum likelihood.

    genjax-models train configs/nade_mnist.py --data-dir DIR

Machine and time: 3853 s on 2 cores, of which one thread was used, shared with much other work; resumed twice.
EXPECTED: test NLL 87.70 +- 0.22 nats per example, exact on 10,000 examples; 88.33 in Germain et al. (2015).
"""

from genjax_models.config import Config, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import NADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 10_000

CONFIG = Config(
    model=NADE(hidden=500),
    objective=MaximumLikelihood(),
    optimizer=AdamW(learning_rate=Cosine(start=3e-3, steps=STEPS, final_fraction=0.01), weight_decay=3e-2),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=1000, average=0.999),
)
