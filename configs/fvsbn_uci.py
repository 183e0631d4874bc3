"""A fully visible sigmoid belief network on mushrooms, adult or dna of the UCI repository, by maximum likelihood.

    genjax-models train configs/fvsbn_uci.py --data-dir DIR

    genjax-models train configs/fvsbn_uci.py --data-dir DIR --data.name adult

    genjax-models train configs/fvsbn_uci.py --data-dir DIR --data.name dna

Machine and time: 8 s on 2 cores, of which one thread was used, shared with other work; 15 s (adult); 12 s (dna).
EXPECTED: test NLL 10.19 +- 0.02 nats per example on mushrooms, seed 0, exact on 5,624 examples. All runs, one seed each, with
their standard error over examples, and the figure that Germain, Gregor, Murray and Larochelle (2015) report:

    mushrooms   seed 0   10.19 +- 0.02   paper 10.27
    adult       seed 0   13.25 +- 0.02   paper 13.17
    dna         seed 0   84.12 +- 0.28   paper 83.64
"""

from genjax_models.config import Config, Training
from genjax_models.data import UCI
from genjax_models.models import FVSBN
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 8000

CONFIG = Config(
    model=FVSBN(),
    objective=MaximumLikelihood(),
    optimizer=AdamW(learning_rate=Cosine(start=1e-2, steps=STEPS, final_fraction=0.01), weight_decay=1e-2),
    data=UCI("mushrooms"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=250, average=0.999),
)
