"""A sweep: three models of the same grey images, of which only one has latents to blame for blur.

    genjax-models sweep configs/sweep_spectra_digits.py
    genjax-models spectra runs/sweep_spectra_digits/members/*

Machine and time: 76 s on 2 cores that were shared with much other work.
EXPECTED: test NLL -60.59 +- 0.63 nats per example for the variational autoencoder (1,000 samples), -84.92 +- 0.57 for
the masked autoregressive flow and -80.74 +- 0.58 for MADE (exact), as densities of dequantized pixels, 500 examples.
The power of 500 samples over that of as many test images, at frequencies in cycles a pixel:

                                            0.125    0.250    0.375    0.500
    VAE, draws of x                         0.969    0.832    0.967    1.006
    VAE, means E[x | z] of the prior        0.951    0.750    0.816    0.597
    VAE, reconstructions E[x | z]           0.951    0.906    0.844    0.639
    flow, draws of x                        0.885    0.767    0.896    0.945
    MADE, draws of x                        0.968    0.845    1.086    1.329

What it shows (sweep_spectra_digits.png, the picture of `spectra`): the means that are shown as a VAE's samples lack two
fifths of the finest detail. Its draws of x do not: there the likelihood's noise, alike at all frequencies, stands in
for what the code leaves out, which the eye sees as noise, not as sharpness. All three lack power at 0.25, trained by
the same maximum likelihood; MADE has too much of the finest. Means of the others are not on offer, for they have no
latents; and the ratio is one of energy, which does not tell whether the detail is in its place.
"""

from genjax_models.axes import axis, zipped
from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import MADE, MAF, VAE
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian, MixtureOfGaussians
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.sweep import Sweep

MODELS = (
    VAE(latent=16, encoder=MLP((200, 200), "tanh"), decoder=MLP((200, 200), "tanh"), likelihood=Gaussian()),
    MAF(layers=5, hidden=(100,), logit=0.01),
    MADE(hidden=(300,), order=None, units=MixtureOfGaussians(10)),
)

CONFIG = Config(
    model=MODELS[0],
    objective=ELBO(),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(binarization="none", dequantization="dynamic"),
    training=Training(num_steps=4000, batch_size=100, evaluate_every=200),
)

SWEEP = Sweep(zipped(axis("model", MODELS), axis("objective", (ELBO(), MaximumLikelihood(), MaximumLikelihood()))))
