"""A training step of VIMCO against one of reweighted wake-sleep, of the same belief network and particles.

Against reweighted wake-sleep without its sleep phase, too, whose matrix products are those of VIMCO.
"""

from timing import Row, compare, in_turns
from train_rws import PARTICLES, ROUNDS, our_network, setting
from training import STEPS, our_training

from genjax_models.objectives import reweighted_wake_sleep, vimco

TARGET = 1.15


def rows() -> list[Row]:
    """VIMCO's step by that of reweighted wake-sleep, as it is by default and awake alone."""
    model, start = our_network(), setting()
    objectives = {
        "VIMCO": vimco(model, PARTICLES),
        "RWS's": reweighted_wake_sleep(model, PARTICLES),
        "RWS's, awake alone": reweighted_wake_sleep(model, PARTICLES, wake=1.0, sleep=None),
    }
    ours, *others = in_turns(*(our_training(o, *start).advance for o in objectives.values()), rounds=ROUNDS)
    names = list(objectives)[1:]
    return [
        compare(f"VIMCO step / {n}", ours, other, "ms", TARGET, 1e3 / STEPS)
        for n, other in zip(names, others, strict=True)
    ]
