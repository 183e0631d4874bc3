"""Invertible generators on dequantized MNIST (Papamakarios, Pavlakou and Murray 2017; Dinh, Krueger and Bengio 2014).

genjax-models reproduce flows_mnist --budget full --data-dir DIR
"""

from pathlib import Path

from genjax_models.models import NICE
from genjax_models.papers import Cell, Paper, Table, recipe, with_steps

HERE = Path(__file__).parent.parent
PAPAMAKARIOS = "Papamakarios, Pavlakou and Murray 2017, table 2"
DINH = "Dinh, Krueger and Bengio 2014, table on MNIST"
LOGIT, UNIT = "logit space", "[0, 1]"

SHORT = {"evaluation.validation_examples": 1000}


def in_logit_space(row: str, file: str, overrides: dict, paper: Paper, short_steps: int) -> Cell:
    """A cell of the first paper; by estimate 0.25 s a step on two cores with five layers of 1,024 units."""
    full = recipe(HERE / f"{file}.py", overrides)
    short = with_steps(full, short_steps, SHORT)
    return Cell(row, LOGIT, full, paper, short=short, figure="test_nll_in_logit_space")


def nice() -> Cell:
    """The cell of the second paper: four additive couplings, without a logit."""
    model = NICE(layers=4, hidden=(1000,) * 5)
    full = recipe(HERE / "realnvp_mnist.py", {"model": model})
    note = "the recipe of Real NVP with the model replaced; nothing was tuned for it"
    return Cell("NICE", UNIT, full, Paper(-1980.50, DINH), short=with_steps(full, 1000, SHORT), note=note)


TABLE = Table(
    "flows_mnist",
    "Invertible generators on MNIST: test NLL",
    "nats per example, as densities, the lower the better",
    (
        in_logit_space("MADE", "maf_mnist", {"model.layers": 1}, Paper(1380.8, PAPAMAKARIOS, checked=False), 6000),
        in_logit_space("Real NVP (5)", "realnvp_mnist", {}, Paper(1323.2, PAPAMAKARIOS, 6.6, checked=False), 1500),
        in_logit_space("MAF (5)", "maf_mnist", {}, Paper(1300.5, PAPAMAKARIOS, 1.7, checked=False), 1500),
        in_logit_space("MAF (10)", "maf_mnist", {"model.layers": 10}, Paper(1313.1, PAPAMAKARIOS, checked=False), 750),
        nice(),
    ),
    digits=1,
    notes=(
        "The papers give log-likelihoods, which are these with the other sign. MADE here is one layer of the flow: "
        "Gaussian conditionals. Figures in logit space have no standard error over examples."
    ),
)
