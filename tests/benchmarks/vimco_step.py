"""A training step of VIMCO against one of reweighted wake-sleep, of the same belief network and particles.

Against reweighted wake-sleep without its sleep phase, too, whose matrix products are those of VIMCO.
"""

from belief_networks import PARTICLES, model_and_parameters, training
from networks import STEPS
from timing import Row, compare, in_turns

from genjax_models.objectives import reweighted_wake_sleep, vimco

TARGET = 1.15


def rows() -> list[Row]:
    """VIMCO's step by that of reweighted wake-sleep, as it is by default and awake alone."""
    model, _ = model_and_parameters()
    ours, *others = (
        training(objective)[0]
        for objective in (
            vimco(model, PARTICLES),
            reweighted_wake_sleep(model, PARTICLES),
            reweighted_wake_sleep(model, PARTICLES, wake=1.0, sleep=None),
        )
    )
    times, *of_others = in_turns(ours, *others)
    names = ("VIMCO step / RWS's", "VIMCO step / RWS's, awake alone")
    return [
        compare(name, times, other, "ms", TARGET, 1e3 / STEPS) for name, other in zip(names, of_others, strict=True)
    ]
