"""A generative moment matching network on MNIST, in the recipe of its paper.

    genjax-models train configs/gmmn_mnist.py --data-dir DIR

    genjax-models train configs/gmmn_mnist.py --data-dir DIR --model.autoencoder 1024,32

Machine and time: 323 s on one H200 GPU, shared with nine other runs; 323 s with the autoencoder.
EXPECTED: test MMD^2 0.0027, two-sample p-value 0.76, Parzen log-likelihood 109.3 +- 1.8 nats (10,000 samples, width
0.20). With the autoencoder 0.0492, 0.002 and 81.2 +- 1.9: its samples are smooth, and the test tells them from digits.

Beside it: Li, Swersky and Zemel (2015, table 1) report a Parzen log-likelihood of 147 +- 2 nats, and 282 +- 2 with the
autoencoder, whose layers they train first, with dropout.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import MomentMatchingGenerator
from genjax_models.objectives import MomentMatching
from genjax_models.optimizers import Adam, Cosine

STEPS = 10_000

CONFIG = Config(
    model=MomentMatchingGenerator(latent=10, hidden=(64, 256, 256, 1024)),
    objective=MomentMatching(bandwidths=(2.0, 5.0, 10.0, 20.0, 40.0, 80.0), root=True),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="none"),
    training=Training(num_steps=STEPS, batch_size=1000, evaluate_every=1000),
    evaluation=Evaluation(num_samples=10_000),
)
