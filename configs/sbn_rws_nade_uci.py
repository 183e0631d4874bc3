"""Reweighted wake-sleep on adult, mushrooms or dna of the UCI repository: NADE conditionals for x and 50 latent units.

    genjax-models train configs/sbn_rws_nade_uci.py --data-dir DIR

    genjax-models train configs/sbn_rws_nade_uci.py --data-dir DIR --data.name adult --training.num-steps 4000 \
        --optimizer.learning-rate.steps 4000 --evaluation.num-samples 100

    genjax-models train configs/sbn_rws_nade_uci.py --data-dir DIR --data.name dna --training.num-steps 4000 \
        --optimizer.learning-rate.steps 4000 --optimizer.learning-rate.start 5e-3 --optimizer.weight-decay 0.03

Machine and time: 160 s on 2 cores, of which one thread was used, shared with other work; 234 s (adult); 135 s (dna).
EXPECTED: test NLL 9.68 +- 0.02 nats per example on mushrooms, seed 0. All runs, with their standard error over
examples, and the paper's figure (Bornschein and Bengio 2015), which had NADE conditionals in q as well; here q is
factorial:

    mushrooms   seeds 0, 1, 2      9.68,  9.69,  9.68  +- 0.02   500 samples,  5,624 examples   paper  9.71
    adult       seeds 0, 1        13.05, 13.06         +- 0.02   100 samples, 26,147 examples   paper 13.16
    dna         seeds 0, 1, 2     83.58, 83.67, 83.71  +- 0.24   500 samples,  1,186 examples   paper 84.26

With 4,000 steps mushrooms had 9.74, 9.75 and 9.74, seeds 0 to 2.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import UCI
from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.objectives import ReweightedWakeSleep
from genjax_models.optimizers import AdamW, Cosine

STEPS = 8000

CONFIG = Config(
    model=SigmoidBeliefNetwork(layers=(50,), generative="nade", nade_hidden=50),
    objective=ReweightedWakeSleep(num_particles=5),
    optimizer=AdamW(learning_rate=Cosine(start=1e-2, steps=STEPS, final_fraction=0.01), weight_decay=5e-3),
    data=UCI("mushrooms"),
    training=Training(num_steps=STEPS, batch_size=25, evaluate_every=500, average=0.999),
    evaluation=Evaluation(num_samples=500),
)
