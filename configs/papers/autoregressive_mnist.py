"""Auto-regressive networks on MNIST, in the fixed binarization and binarized anew at every step.

genjax-models reproduce autoregressive_mnist --budget full --data-dir DIR
"""

from pathlib import Path

from genjax_models.data import MNIST, BinarizedMNIST
from genjax_models.models import DARN
from genjax_models.papers import Cell, Paper, Table, recipe, with_steps

HERE = Path(__file__).parent.parent
GERMAIN = "Germain, Gregor, Murray and Larochelle 2015, table on MNIST"
URIA = "Uria, Murray and Larochelle 2014, table on MNIST"
REIMPLEMENTATION = "a reimplementation, on MNIST binarized anew at every step"
FIXED, DYNAMIC = "fixed binarization", "dynamic binarization"

RATE = {"optimizer.learning_rate.start": 3e-3, "training.evaluate_every": 2500}
SHORT = {"evaluation.validation_examples": 1000}
LONG_AND_SHORT = "sbn_rws_mnist_long", "sbn_rws_mnist"


def fvsbn(column: str, figure: Paper) -> Cell:
    """A fully visible belief net: a weight for each pair of pixels."""
    data = BinarizedMNIST() if column == FIXED else MNIST(binarization="dynamic")
    full = with_steps(recipe(HERE / "fvsbn_uci.py"), 50_000, {"data": data, **RATE})
    # By estimate 3 ms a step.
    note = "at rest: within 0.02 nats on the validation split over the last fifth of the updates; its decay is UCI's"
    return Cell("FVSBN", column, full, figure, short=with_steps(full, 50_000, SHORT), note=note)


def nade(column: str, figure: Paper) -> Cell:
    """NADE; 0.38 s a step where other work takes most of the cores."""
    full = recipe(HERE / "nade_mnist.py")
    if column == DYNAMIC:
        full = with_steps(full, 40_000, {"data": MNIST(binarization="dynamic")})
    short = with_steps(full, 1500, {**SHORT, "evaluation.test_examples": 2000})
    return Cell("NADE", column, full, figure, short=short)


def made(row: str, column: str, figure: Paper, overrides: dict, short_steps: int) -> Cell:
    """MADE of one or more masks; by estimate 45 ms a step on two cores with 2,000 hidden units."""
    data = {} if column == FIXED else {"data": MNIST(binarization="dynamic")}
    full = recipe(HERE / "made_mnist.py", {**data, **overrides})
    full = with_steps(full, full.training.num_steps if not overrides and not data else 60_000)
    note = "better by 1.7 nats on the validation split for the last 150 updates of short" if overrides else ""
    return Cell(row, column, full, figure, short=with_steps(full, short_steps, SHORT), note=note)


def eonade(row: str, hidden: tuple[int, ...], figure: Paper) -> Cell:
    """Deep NADE, whose every order takes a pass of the network for each pixel to evaluate."""
    size = {"model.hidden": hidden, "model.num_orders": 128, "data": BinarizedMNIST()}
    few = {"evaluation.validation_examples": 100, "evaluation.test_examples": 1000, "training.evaluate_every": 20_000}
    full = with_steps(recipe(HERE / "deep_nade_uci.py", {**size, "optimizer.learning_rate.start": 1e-3}), 200_000, few)
    cheap = {
        "model.num_orders": 4,
        "evaluation.validation_examples": 50,
        "evaluation.test_examples": 200,
        "training.evaluate_every": 5000,
    }
    note = "1,000 test examples (200, and 4 orders, in the budget short)"
    return Cell(row, FIXED, full, figure, short=with_steps(full, 20_000, cheap), note=note)


def darn(figure: Paper) -> Cell:
    """DARN, trained by reweighted wake-sleep."""
    long, short = (recipe(HERE / f"{f}.py", {"model": DARN(layers=(500,))}) for f in LONG_AND_SHORT)
    # Its lateral connections take about three times the 15 ms a step of SBN 200-200-200.
    less = with_steps(short, 8000, {"evaluation.num_samples": 100, "evaluation.test_examples": 2000})
    return Cell("DARN", FIXED, long, figure, short=less, note="trained by reweighted wake-sleep, K = 5")


TABLE = Table(
    "autoregressive_mnist",
    "Auto-regressive networks on MNIST: test NLL",
    "nats per example, the lower the better",
    (
        fvsbn(FIXED, Paper(97.45, GERMAIN)),
        fvsbn(DYNAMIC, Paper(96.58, REIMPLEMENTATION)),
        nade(FIXED, Paper(88.33, GERMAIN)),
        nade(DYNAMIC, Paper(85.65, REIMPLEMENTATION)),
        eonade("EoNADE, 1 layer, 128 orders", (500,), Paper(87.71, URIA)),
        eonade("EoNADE, 2 layers, 128 orders", (500, 500), Paper(85.10, URIA)),
        made("MADE, 1 layer, 1 mask", FIXED, Paper(88.40, GERMAIN), {}, 6000),
        made("MADE, 1 layer, 1 mask", DYNAMIC, Paper(84.87, REIMPLEMENTATION), {}, 6000),
        made(
            "MADE, 2 layers, 32 masks",
            FIXED,
            Paper(86.64, GERMAIN),
            {"model.hidden": (2000, 2000), "model.mask_seed": 0, "model.num_masks": 32},
            1500,
        ),
        darn(Paper(84.13, GERMAIN)),
    ),
    notes="Figures are exact but for DARN's, which is by importance weighting.",
)
