"""A variational recurrent network on JSB chorales, beside the plain recurrent network of `rnn_jsb.py`.

    genjax-models train configs/vrnn_jsb.py --data-dir DIR

Machine and time: 845 s on 2 cores, of which one thread was used, shared with much other work; rnn_jsb 254 s.
EXPECTED: test NLL 442.36 +- 22.70 nats per sequence by importance weighting (1,000 samples, 77 chorales), 434.12 +-
21.95 by ten particle filters of 100. In nats per time step, on the test split, with the parameters of each:

    variational RNN, filters                 7.07 +- 0.10   166,652 parameters
    variational RNN, importance weighting    7.21 +- 0.10
    RNN (rnn_jsb), exact                     8.38 +- 0.10   169,328 parameters
    RNN-NADE (Boulanger-Lewandowski et al. 2012), from memory   5.56

Latents let the keys of a step depend on each other, which those of the plain network do not; RNN-NADE has them depend
on each other without latents. Both overfit 229 chorales; the validation bound chooses the step.
"""

from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import PianoRolls
from genjax_models.models import VariationalRNN
from genjax_models.objectives import FIVO
from genjax_models.optimizers import AdamW, Cosine

STEPS = 1000

CONFIG = Config(
    model=VariationalRNN(frame=88, latent=16, hidden=100, features=100),
    objective=FIVO(num_particles=4),
    optimizer=AdamW(
        learning_rate=Cosine(start=2e-3, steps=STEPS, final_fraction=0.05),
        weight_decay=0.5,
        decay_biases=False,
        clip_norm=5.0,
    ),
    data=PianoRolls(),
    training=Training(num_steps=STEPS, batch_size=16, evaluate_every=50, average=0.99),
    evaluation=Evaluation(num_samples=1000),
)
