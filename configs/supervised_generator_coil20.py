"""A supervised generator of twenty objects on a turntable: from object and angle to the image.

    genjax-models train configs/supervised_generator_coil20.py --data-dir DIR

Machine and time: 2208 s on 2 cores, of which one thread was used, shared with much other work.
EXPECTED: test NLL -1313.18 +- 4.48 nats per example (a density), exact, and a squared error of E[x | c] of 0.00204 +-
0.00010 a pixel on 480 views between those of training, which are 10 degrees apart. The linear blend of the two nearest
training views has 0.00224 +- 0.00015.
"""

from genjax_models.config import Config, Training
from genjax_models.data import COIL20
from genjax_models.models import SupervisedGenerator
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam, Cosine

STEPS = 6000

CONFIG = Config(
    model=SupervisedGenerator(),
    objective=MaximumLikelihood(),
    optimizer=Adam(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01)),
    data=COIL20(),
    training=Training(num_steps=STEPS, batch_size=48, evaluate_every=500, average=0.99),
)
