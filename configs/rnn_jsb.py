"""A plain recurrent network on JSB chorales, of the size of the variational one in `vrnn_jsb.py`.

    genjax-models train configs/rnn_jsb.py --data-dir DIR

Machine and time: 254 s on 2 cores, of which one thread was used, shared with much other work.
EXPECTED: test NLL 514.25 +- 25.39 nats per sequence, exact, 77 chorales; 8.38 +- 0.10 per time step. The
comparison is in `vrnn_jsb.py`.
"""

from genjax_models.config import Config, Training
from genjax_models.data import PianoRolls
from genjax_models.models import RecurrentLikelihood
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 1000

CONFIG = Config(
    model=RecurrentLikelihood(frame=88, hidden=150, features=130),
    objective=MaximumLikelihood(),
    optimizer=AdamW(
        learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.05),
        weight_decay=0.5,
        decay_biases=False,
        clip_norm=5.0,
    ),
    data=PianoRolls(),
    training=Training(num_steps=STEPS, batch_size=16, evaluate_every=50, average=0.99),
)
