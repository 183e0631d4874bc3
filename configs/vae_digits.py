"""A variational autoencoder on the 8x8 digits of scikit-learn, pixels above one half set to 1.

    genjax-models train configs/vae_digits.py

Machine and time: 11 s on 2 cores.
EXPECTED: test NLL 16.64 +- 0.18 nats per example (1,000 samples, 500 examples), test bound -18.18 +- 0.23.

Beside it, on the same split and pixels: an independent Bernoulli per pixel 24.60 +- 0.19, a mixture of 50 Bernoulli
vectors fitted by EM 17.88 +- 0.21 (python tests/benchmarks/baselines.py).
"""

from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam

CONFIG = Config(
    model=VAE(latent=16, encoder=MLP((200, 200), "tanh"), decoder=MLP((200, 200), "tanh")),
    objective=ELBO(),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(binarization="threshold"),
    training=Training(num_steps=5000, batch_size=100),
)
