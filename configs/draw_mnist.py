"""DRAW on the fixed binarization of MNIST, short: 10 glimpses, read and written by windows of 5 x 5 filters.

    genjax-models train configs/draw_mnist.py --data-dir DIR

Machine and time: not yet run.
EXPECTED: not yet run.

configs/draw_mnist_long.py is the paper's architecture.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import DRAW
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 25_000

CONFIG = Config(
    model=DRAW(glimpses=10, latent=20, encoder_hidden=256, decoder_hidden=256, read=5, write=5),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01), clip_norm=5.0),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2500, average=0.999),
    evaluation=Evaluation(num_samples=500, test_examples=1000, validation_examples=2000),
)
