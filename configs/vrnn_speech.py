"""A variational recurrent network on spoken digits, raw, beside the plain recurrent networks of `rnn_speech.py`.

    genjax-models train configs/vrnn_speech.py --data-dir DIR

    genjax-models train configs/vrnn_speech.py --data-dir DIR --model.likelihood.components 5

Machine and time: 530 s on 2 cores, of which one thread was used, shared with much other work.
EXPECTED: test NLL 1049.89 +- 224.23 nats per sequence by importance weighting (500 samples), 936.81 +- 225.54 by ten
particle filters of 50. Minus log-likelihood per sequence, as densities of samples in units of 2,700 levels, with the
errors over sequences, which differ much in loudness and length:

                           one Gaussian          mixture of 5
    variational RNN         937 +- 226           1025 +- 222     (particle filters)
    RNN (rnn_speech)       2161 +- 172           1500 +- 205     (exact)

Sequence by sequence, in which that spread cancels, the variational network is ahead by 1224 +- 100 nats with one
Gaussian (on 99 of 100) and by 476 +- 33 with the mixture (97), as in the paper (Chung et al. 2015, table 1, on other
speech). The mixture helps the plain network; the variational one is 88 +- 20 worse by it. One seed each. The plain
networks overfit after 900 steps, where their best checkpoint is; the variational ones still gained at the last step.
Parameters: 237,628 (plain: 243,830) with one Gaussian, 480,028 (570,230) with the mixture.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Speech
from genjax_models.models import VariationalRNN
from genjax_models.models.units import MixtureOfGaussians
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 1500

CONFIG = Config(
    model=VariationalRNN(
        frame=200, latent=32, hidden=100, features=100, likelihood=MixtureOfGaussians(components=1, least_scale=0.01)
    ),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.05), clip_norm=5.0),
    data=Speech(),
    training=Training(num_steps=STEPS, batch_size=20, evaluate_every=150, average=0.99),
    evaluation=Evaluation(num_samples=500),
)
