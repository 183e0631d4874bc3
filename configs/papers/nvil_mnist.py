"""NVIL and wake-sleep on the fixed binarization of MNIST (Mnih and Gregor 2014): bounds of belief nets by depth.

genjax-models reproduce nvil_mnist --budget full --data-dir DIR
"""

from pathlib import Path

from genjax_models.models import DARN, SigmoidBeliefNetwork
from genjax_models.papers import Cell, Paper, Table, recipe, with_steps

HERE = Path(__file__).parent.parent
WHERE = "Mnih and Gregor 2014, table on MNIST"

# By row: the model, layers from x upwards, and the papers' figures of NVIL and of wake-sleep.
ROWS = {
    "SBN 200": (SigmoidBeliefNetwork(layers=(200,)), 113.1, 120.7),
    "SBN 200-200": (SigmoidBeliefNetwork(layers=(200, 200)), 99.8, 107.7),
    "SBN 200-200-200": (SigmoidBeliefNetwork(layers=(200, 200, 200)), 96.7, 102.2),
    "SBN 200-200-500": (SigmoidBeliefNetwork(layers=(200, 200, 500)), 97.0, 102.3),
    "fDARN 200": (DARN(layers=(200,), visible_lateral=False), 92.5, 95.9),
    "fDARN 500": (DARN(layers=(500,), visible_lateral=False), 90.7, 97.2),
}
# 2.8 ms a step of SBN 200-200-200 by either objective (their files), and as much again for lateral connections.
SHORT_STEPS = {"SBN": 60_000, "fDARN": 30_000}


def cell(row: str, column: str) -> Cell:
    """The cell of a net and an objective."""
    model, nvil, wake_sleep = ROWS[row]
    file, figure = {"NVIL": ("sbn_nvil_mnist", nvil), "wake-sleep": ("sbn_wake_sleep_mnist", wake_sleep)}[column]
    # One sample an example gives the bound; log p(x) by more stands in result.json.
    full = recipe(HERE / f"{file}.py", {"model": model, "evaluation.num_samples": 1000})
    return Cell(
        row,
        column,
        full,
        Paper(figure, WHERE),
        short=with_steps(full, SHORT_STEPS[row.split()[0]], {"evaluation.num_samples": 100}),
        figure="-test_bound",
    )


TABLE = Table(
    "nvil_mnist",
    "NVIL and wake-sleep on MNIST: test bounds",
    "nats per example, minus the evidence lower bound, the lower the better",
    tuple(cell(row, column) for row in ROWS for column in ("NVIL", "wake-sleep")),
    digits=1,
    notes="Layers from x upwards. The paper gives bounds, as here: log p(x) itself is several nats better.",
)
