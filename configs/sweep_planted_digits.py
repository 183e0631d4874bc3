"""A sweep: does a variational autoencoder tell a planted square of a few pixels? Its edge x the likelihood's scale.

    genjax-models sweep configs/sweep_planted_digits.py

Machine and time: 83 s on 2 cores that were shared with much other work.
EXPECTED: test NLL 23.09 +- 0.07 nats per example (100 samples, 500 examples) at scale 0.5 and an edge of 2. By scale
and edge, the share of the square that E[x | z] follows (0 ignored, 1 recovered; standard errors up to 0.011):

    edge          1        2        3        4
    0.25       0.87     0.98     0.96     0.94
    0.5        0.01     0.85     0.92     0.91
    1          0.00     0.01     0.44     0.66
    2          0.00     0.00     0.00     0.00

What it shows (sweep_planted_digits.png): half of the digits have a bright square in a corner, by a fair coin. That is
one bit, which costs about log 2 = 0.69 nats to tell. A Gaussian likelihood of scale s loses square^2 / (8 s^2) nats on
average by predicting 1/2 instead, so the bound is better without the bit where the edge is below 2.4 s: 0.6, 1.2, 2.4
and 4.7 pixels here. Squares below that are ignored and those above it recovered, more fully the farther above.
"""

from genjax_models.axes import axis, product
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import PlantedDigits
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.sweep import Sweep

CONFIG = Config(
    model=VAE(latent=16, encoder=MLP((100, 100), "tanh"), decoder=MLP((100, 100), "tanh"), likelihood=Gaussian(1.0)),
    objective=ELBO(),
    optimizer=Adam(learning_rate=1e-3),
    data=PlantedDigits(square=2),
    training=Training(num_steps=3000, batch_size=100),
    evaluation=Evaluation(num_samples=100),
)

SWEEP = Sweep(product(axis("model.likelihood.scale", (0.25, 0.5, 1.0, 2.0)), axis("data.square", (1, 2, 3, 4))))
