"""A variational autoencoder of the 8x8 digits of scikit-learn given their class, pixels above one half set to 1.

    genjax-models train configs/vae_classes_digits.py

Machine and time: 29 s on 2 cores, shared with much other work.
EXPECTED: test NLL 14.17 +- 0.20 nats per example (1,000 samples, 500 examples), test bound -15.42 +- 0.24.

That is minus log p(x | class). With log 10 = 2.30 nats for the class, which is close to uniform, it is 16.47 for both,
where `vae_digits.py` takes 16.64 +- 0.18 for x alone, and the class of an image is hardly in doubt.
"""

from genjax_models.config import Config, Training
from genjax_models.data import Digits, WithClasses
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam

CONFIG = Config(
    model=VAE(latent=16, encoder=MLP((200, 200), "tanh"), decoder=MLP((200, 200), "tanh"), conditional=True),
    objective=ELBO(),
    optimizer=Adam(learning_rate=1e-3),
    data=WithClasses(Digits(binarization="threshold")),
    training=Training(num_steps=5000, batch_size=100),
)
