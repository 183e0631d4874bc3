"""A masked autoencoder (MADE) on the fixed binarization of MNIST, by maximum likelihood.

    genjax-models train configs/made_mnist.py --data-dir DIR

An ensemble of masks, one of them drawn for each batch, as in section 4.2 of the paper:

    genjax-models train configs/made_mnist.py --data-dir DIR --model.mask-seed 0 --model.num-masks 32

Machine and time: not yet run.
EXPECTED: not yet run. Germain, Gregor, Murray and Larochelle (2015) report 88.40 for one hidden layer and one mask, and
86.64 for two layers and 32 masks.
"""

from genjax_models.config import Config, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import MADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 30_000

CONFIG = Config(
    model=MADE(hidden=(2000,)),
    objective=MaximumLikelihood(),
    optimizer=AdamW(learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.01), weight_decay=3e-2),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
)
