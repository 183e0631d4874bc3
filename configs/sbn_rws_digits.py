"""Reweighted wake-sleep on the 8x8 digits of scikit-learn: a sigmoid belief network of 64-48-32."""

from genjax_models.config import Config, Training
from genjax_models.data import Digits
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import Adam

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(64, 48, 32)),
    objective=ReweightedWakeSleep(num_particles=10),
    optimizer=Adam(learning_rate=3e-3),
    data=Digits(binarization="threshold"),
    training=Training(num_steps=20_000, batch_size=100, evaluate_every=1000, average=0.999),
)
