"""A masked autoencoder (MADE) on the fixed binarization of MNIST, by maximum likelihood.

    genjax-models train configs/made_mnist.py --data-dir DIR

An ensemble of masks, one of them drawn for each batch, as in section 4.2 of the paper:

    genjax-models train configs/made_mnist.py --data-dir DIR --model.mask-seed 0 --model.num-masks 32

Machine and time: 186 s on one H200 GPU, shared with nine other runs.
EXPECTED: test NLL 89.42 +- 0.23 nats per example, exact on 10,000 examples. Germain, Gregor, Murray and Larochelle
(2015) report 88.40 for one hidden layer and one mask, and 86.64 for two layers and 32 masks. By the validation bound,
-90.19 here and still rising, 30,000 steps reach -89.65. They reached -95.9 with two layers of 1,000 units, and 32 masks
-111.5 after 26,000: masks drawn anew for each batch need far longer, or far larger, nets.
"""

from genjax_models.config import Config, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import MADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import AdamW, Cosine

STEPS = 15_000

CONFIG = Config(
    model=MADE(hidden=(2000,)),
    objective=MaximumLikelihood(),
    optimizer=AdamW(
        learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01), weight_decay=0.1, decay_biases=False
    ),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
)
