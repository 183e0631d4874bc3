"""Reweighted wake-sleep on the fixed binarization of MNIST: a sigmoid belief network of 200-200-200."""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import BinarizedMNIST
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import Adam, Cosine

STEPS = 40_000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(200, 200, 200)),
    objective=ReweightedWakeSleep(num_particles=5),
    optimizer=Adam(learning_rate=Cosine(start=3e-3, steps=STEPS, final_fraction=0.01)),
    data=BinarizedMNIST(),
    training=Training(num_steps=STEPS, batch_size=100, evaluate_every=2000, average=0.999),
    evaluation=Evaluation(num_samples=1000),
)
