"""A sweep: importance weighted autoencoders on the 8x8 digits, learning rate x K x seeds, 45 runs in 3 programs.

    genjax-models sweep configs/sweep_iwae_digits.py

Machine and time: 513 s on 2 cores that were shared with much other work, 363 s of one core in all.
EXPECTED: test NLL 16.57 +- 0.07 nats per example (1,000 samples, 500 examples; mean and standard error over 3 seeds) at
the best setting, a learning rate of 3.2e-3 and K = 50. By learning rate and K:

                1e-4     3.2e-4       1e-3     3.2e-3       1e-2
    K = 1      22.69      19.30      17.75      17.04      17.07
    K = 5      21.91      18.89      17.30      16.72      17.00
    K = 50     21.16      18.49      17.05      16.57      16.67

What it shows (sweep_iwae_digits.png): more particles are better at every learning rate, by 0.5 nats from 1 to 50 at the
best one, as Burda, Grosse and Salakhutdinov (2016) found on larger images; and the learning rate matters more than K:
after 2,000 steps a rate of 1e-4 costs five nats. Standard errors over seeds reach 0.14 nats at the better rates, so a
difference of a tenth between single runs means little.
"""

from genjax_models.axes import axis, log_axis, product
from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam
from genjax_models.sweep import Sweep

CONFIG = Config(
    model=VAE(latent=16, encoder=MLP((100, 100), "tanh"), decoder=MLP((100, 100), "tanh")),
    objective=IWAE(num_particles=1),
    optimizer=Adam(learning_rate=1e-3),
    data=Digits(binarization="threshold"),
    training=Training(num_steps=2000, batch_size=100),
)

SWEEP = Sweep(
    product(log_axis("optimizer.learning_rate", 1e-4, 1e-2, 5), axis("objective.num_particles", (1, 5, 50))), seeds=3
)
