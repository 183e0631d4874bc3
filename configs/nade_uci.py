"""NADE on mushrooms, adult or dna of the UCI repository, by maximum likelihood.

    genjax-models train configs/nade_uci.py --data-dir DIR

EXPECTED: not yet run
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
