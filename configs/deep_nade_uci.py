"""Deep NADE, trained for all orders of the units, on mushrooms, adult or dna of the UCI repository.

    genjax-models train configs/deep_nade_uci.py --data-dir DIR

    genjax-models train configs/deep_nade_uci.py --data-dir DIR --data.name adult

    genjax-models train configs/deep_nade_uci.py --data-dir DIR --data.name dna

What is evaluated is the ensemble of 16 orders (EoNADE); `--model.num-orders 1` evaluates one.

Machine and time: not yet run.
EXPECTED: not yet run.

Not yet run on mushrooms. Not yet run on adult. Not yet run on dna.
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
    optimizer=AdamW(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01), weight_decay=1e-2),
    data=UCI("mushrooms"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=1000, average=0.999),
)
