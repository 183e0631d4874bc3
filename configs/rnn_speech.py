"""A plain recurrent network on spoken digits, raw, with Gaussian or mixture-of-Gaussian outputs; see `vrnn_speech.py`.

    genjax-models train configs/rnn_speech.py --data-dir DIR

    genjax-models train configs/rnn_speech.py --data-dir DIR --model.likelihood.components 5

Machine and time: 376 s on 2 cores, of which one thread was used, shared with much other work.
EXPECTED: test NLL 2161.30 +- 172.27 nats per sequence with one Gaussian, 1500.35 +- 204.60 with a mixture of 5, exact.
The comparison is in `vrnn_speech.py`.
"""

from genjax_models.config import Config, Training
from genjax_models.data import Speech
from genjax_models.models import RecurrentLikelihood
from genjax_models.models.units import MixtureOfGaussians
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam, Cosine

STEPS = 1500

CONFIG = Config(
    model=RecurrentLikelihood(
        frame=200, hidden=140, features=135, likelihood=MixtureOfGaussians(components=1, least_scale=0.01)
    ),
    objective=MaximumLikelihood(),
    optimizer=Adam(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.05), clip_norm=5.0),
    data=Speech(),
    training=Training(num_steps=STEPS, batch_size=20, evaluate_every=150, average=0.99),
)
