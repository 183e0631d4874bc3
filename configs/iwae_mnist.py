"""The importance weighted autoencoder's table on MNIST, one stochastic layer, shortened to equal updates for every K.

    genjax-models train configs/iwae_mnist.py --data-dir DIR

    genjax-models train configs/iwae_mnist.py --data-dir DIR --objective.num-particles 1

    genjax-models train configs/iwae_mnist.py --data-dir DIR --objective.num-particles 50

Machine and time: 239 s on 2 cores, of which one thread was used, shared with much other work (K = 5); 338 s (K = 1).
EXPECTED: test NLL 100.22 +- 0.28 nats per example (K = 5, 1,000 samples, 10,000 examples). By K, with the latents of 50
that `genjax-models diagnose` finds active, and the paper's figures after 3,280 epochs (Burda, Grosse and Salakhutdinov
2015, table 1):

    K = 1    105.99 +- 0.30   34 active   paper 86.76, 19 active
    K = 5    100.22 +- 0.28   44 active   paper 85.54, 22 active
    K = 50    98.23 +- 0.27   50 active   paper 84.78, 25 active

As in the paper, more particles give a better model with more active latents. After 20 epochs more of them are active
than after all. That is with equal updates. With equal time updates count for more so early: a step with K = 50 takes
about ten times one with K = 1 (11 and 113 steps/s on one thread), and K = 1 comes to 92.00 +- 0.26 in 60,000 steps
(`--training.num-steps 60000 --optimizer.learning-rate.steps 60000`), no longer than 10,000 with K = 50 take.

`genjax-models anneal RUN_DIR --num 30 --chains 8 --leapfrog-steps 8` on the run with K = 50: of 30 test examples 29
estimates by importance weighting with K = 5,000 are doubtful, annealing with 500 temperatures is 0.72 +- 0.24 nats
above them, and on 30 simulated examples both bounds are 0.36 +- 0.17 nats apart.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import MNIST
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam, Cosine

STEPS = 10_000

CONFIG = Config(
    model=VAE(latent=50, encoder=MLP((200, 200), "tanh"), decoder=MLP((200, 200), "tanh")),
    objective=IWAE(num_particles=5),
    optimizer=Adam(learning_rate=Cosine(start=1e-3, steps=STEPS, final_fraction=0.01)),
    data=MNIST(binarization="dynamic"),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=1000, validation_examples=1000),
)
