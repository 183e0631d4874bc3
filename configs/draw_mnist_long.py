"""DRAW on the fixed binarization of MNIST in the paper's architecture: 64 glimpses, read by 2 x 2 and written by 5 x 5.

    genjax-models train configs/draw_mnist_long.py --data-dir DIR

EXPECTED: not yet run.

Beside it: at most 80.97, a bound (Gregor, Danihelka, Graves, Rezende and Wierstra 2015, table 1). Of the architecture
all is theirs, of the optimization nothing but Adam. configs/draw_mnist.py is the short recipe.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import DRAW
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 200_000

CONFIG = Config(
    model=DRAW(glimpses=64, latent=100, encoder_hidden=256, decoder_hidden=256, read=2, write=5),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01), clip_norm=5.0),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=10_000, average=0.9995),
    evaluation=Evaluation(num_samples=1000),
)
