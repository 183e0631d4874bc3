"""A variational recurrent network on JSB chorales, beside the plain recurrent network of `rnn_jsb.py`.

    genjax-models train configs/vrnn_jsb.py --data-dir DIR

EXPECTED: not yet run.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import PianoRolls
from genjax_models.models import VariationalRNN
from genjax_models.objectives import FIVO
from genjax_models.optimizers import AdamW, Cosine

STEPS = 1000

CONFIG = Config(
    model=VariationalRNN(frame=88, latent=16, hidden=100, features=100),
    objective=FIVO(num_particles=4),
    optimizer=AdamW(
        learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.05),
        weight_decay=0.5,
        decay_biases=False,
        clip_norm=5.0,
    ),
    data=PianoRolls(),
    training=Training(num_steps=STEPS, batch_size=16, evaluate_every=50, average=0.99),
    evaluation=Evaluation(num_samples=1000),
)
