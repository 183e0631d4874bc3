"""NADE on mushrooms, adult or dna of the UCI repository, by maximum likelihood.

    genjax-models train configs/nade_uci.py --data-dir DIR

    genjax-models train configs/nade_uci.py --data-dir DIR --data.name adult

    genjax-models train configs/nade_uci.py --data-dir DIR --data.name dna

Machine and time: 33 s on 2 cores, of which one thread was used, shared with other work; 43 s (adult); 56 s (dna).
EXPECTED: test NLL 9.78 +- 0.02 nats per example on mushrooms, seed 0, exact on
5,624 examples. All runs with their standard error over examples, and the figure that Germain, Gregor, Murray and
Larochelle (2015) report:

    mushrooms   seeds 0, 1, 2    9.78,  9.78, 9.77 +- 0.02   paper  9.81
    adult       seeds 0, 1   13.07, 13.08 +- 0.02   paper 13.19
    dna         seeds 0, 1   83.49, 83.41 +- 0.26   paper 84.81
"""

from genjax_models.config import Config, Training
from genjax_models.data import UCI
from genjax_models.models import NADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 8000

CONFIG = Config(
    model=NADE(hidden=100),
    objective=MaximumLikelihood(),
    optimizer=AdamW(learning_rate=Cosine(start=1e-2, steps=STEPS, final_fraction=0.01), weight_decay=1e-2),
    data=UCI("mushrooms"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=250, average=0.999),
)
