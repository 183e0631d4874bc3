"""A fully visible sigmoid belief network on mushrooms, adult or dna of the UCI repository, by maximum likelihood.

    genjax-models train configs/fvsbn_uci.py --data-dir DIR

    genjax-models train configs/fvsbn_uci.py --data-dir DIR --data.name adult

    genjax-models train configs/fvsbn_uci.py --data-dir DIR --data.name dna --optimizer.weight-decay 0.1

Machine and time: 8 s on 2 cores, of which one thread was used, shared with other work; 15 s (adult); 6 s (dna).
EXPECTED: test NLL 10.19 +- 0.02 nats per example on mushrooms, seed 0, exact on
5,624 examples. All runs with their standard error over examples, and the figure that Germain, Gregor, Murray and
Larochelle (2015) report:

    mushrooms   seeds 0, 1, 2   10.19, 10.19, 10.19 +- 0.02   paper 10.27
    adult       seeds 0, 1      13.25, 13.25        +- 0.02   paper 13.17
    dna         seeds 0, 1      83.04, 83.04        +- 0.27   paper 83.64

Adult misses the paper by 0.08; a learning rate of 2e-2 with a decay of 1e-3, or of 3e-2 over 15,000 steps, was no
better (validation bounds -13.17 and -13.16, as here).
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
