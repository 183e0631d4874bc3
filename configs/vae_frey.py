"""A convolutional variational autoencoder of Frey's face, with a Gaussian likelihood that learns a scale a pixel.

    genjax-models train configs/vae_frey.py --data-dir DIR

The file is DIR/freyfaces/freyfaces.npz, its one array [1965, 28, 20] of bytes; a tenth each is for validation and test,
by a fixed permutation. Grey levels are dequantized at every step, or the density had no limit; the figure is that of
values in [0, 1].

Machine and time: 34 minutes on 2 cores, of which one thread was used, shared with much other work.
EXPECTED: test NLL -1126.65 +- 28.79 nats per example (1,000 samples, 196 examples), test bound 1113.42 +- 29.97, at
step 7,500 of 10,000: the validation bound is best there.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.models import VAE
from genjax_models.models.networks import Convolutional
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam, Cosine

STEPS = 10_000

CONFIG = Config(
    model=VAE(
        latent=20,
        encoder=Convolutional((28, 20), channels=(16, 32), activation="elu"),
        decoder=Convolutional((28, 20), channels=(32, 16), activation="elu"),
        likelihood=Gaussian(),
    ),
    objective=ELBO(),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=Arrays("freyfaces/freyfaces.npz", levels=256, dequantization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=500, average=0.999),
    evaluation=Evaluation(num_samples=1000),
)
