"""An importance weighted autoencoder on the 8x8 digits of scikit-learn."""

from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam

CONFIG = Config(
    model=VAE(latent=16, encoder_hidden=(200, 200), decoder_hidden=(200, 200)),
    objective=IWAE(num_particles=20),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(binarization="threshold"),
    training=Training(num_steps=5000, batch_size=100),
)
