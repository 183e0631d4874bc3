"""Deep NADE, trained for all orders of the units, on mushrooms, adult or dna of the UCI repository.

    genjax-models train configs/deep_nade_uci.py --data-dir DIR

    genjax-models train configs/deep_nade_uci.py --data-dir DIR --data.name adult

    genjax-models train configs/deep_nade_uci.py --data-dir DIR --data.name dna

What is evaluated is the ensemble of 16 orders (EoNADE); `--model.num-orders 1` evaluates one.

Machine and time: 56 s on 2 cores, of which one thread was used, shared with other work; 94 s (adult); 92 s (dna).
EXPECTED: test NLL 9.61 +- 0.01 nats per example on mushrooms, seed 0, exact for the ensemble on 5,624 examples. All
runs with their standard error over examples, and the figure of EoNADE with 16 orders (Uria, Murray and Larochelle
2014):

    mushrooms   seed 0    9.61 +- 0.01   paper  9.68
    adult       seed 0   13.20 +- 0.02   paper 13.19
    dna         seed 0   92.08 +- 0.39   paper 82.31

Dna misses it by far: it overfits. One hidden layer of 200 units at learning rates of 0.01 and 0.03 and decays of 0.1 to
1 is worse still.
"""

from genjax_models.config import Config, Training
from genjax_models.data import UCI
from genjax_models.models import DeepNADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 20_000

CONFIG = Config(
    model=DeepNADE(hidden=(200, 200), order=0, num_orders=16),
    objective=MaximumLikelihood(),
    optimizer=AdamW(
        learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01), weight_decay=1e-2, decay_biases=False
    ),
    data=UCI("mushrooms"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=1000, average=0.999),
)
