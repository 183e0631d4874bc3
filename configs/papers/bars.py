"""Wake-sleep on images of 4x4 bars (Hinton, Dayan, Frey and Neal 1995): KL to the true distribution.

genjax-models reproduce bars --budget full
"""

import functools
import sys
from pathlib import Path

from genjax_models.evaluation import divergence_in_bits
from genjax_models.measuring import chosen_parameters
from genjax_models.overlay import overlay
from genjax_models.papers import Cell, Figure, Paper, Seeds, Table, recipe, smoke_config
from genjax_models.run_folder import open_run

FULL = recipe(Path(__file__).parent.parent / "wake_sleep_bars.py")


def divergence(folder: Path, data_dir: str | None) -> Figure:
    """KL(true || model) of a run in bits, exact: every image that can occur, every state of the latents."""
    run = open_run(folder)
    _, params, _ = chosen_parameters(run, functools.partial(print, file=sys.stderr))
    model = run.config.model.build(run.data.visible)
    return Figure(divergence_in_bits(*run.config.data.distribution(), model, params))


TABLE = Table(
    "bars",
    "Wake-sleep on bars: KL(true || model)",
    "bits, the lower the better",
    (
        Cell(
            "wake-sleep",
            "4x4 bars",
            FULL,
            Paper(0.10, "Hinton, Dayan, Frey and Neal 1995", checked=False),
            smoke=smoke_config(overlay(FULL, {"data.num_train": 1000})),
            figure=divergence,
            note="a net of 16-12-6, where the paper's is of 16-8-1; as many examples, two million",
        ),
    ),
    seeds=Seeds(short=2, full=4),
    digits=3,
)
