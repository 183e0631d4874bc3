"""DRAW on the fixed binarization of MNIST, short: 10 glimpses, read and written by windows of 5 x 5 filters.

    genjax-models train configs/draw_mnist.py --data-dir DIR

Machine and time: 94 minutes on 2 cores, of which one thread was used at the lowest priority, beside much other work.
EXPECTED: test NLL 89.62 +- 0.76 nats per example (500 samples, 1,000 examples), test bound -94.42 +- 0.82.

configs/draw_mnist_long.py is the paper's architecture, whose bound is 80.97 (Gregor et al. 2015).
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import DRAW
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 12_000

CONFIG = Config(
    model=DRAW(glimpses=10, latent=20, encoder_hidden=256, decoder_hidden=256, read=5, write=5),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01), clip_norm=5.0),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=1000, average=0.999),
    evaluation=Evaluation(num_samples=500, test_examples=1000, validation_examples=2000),
)
