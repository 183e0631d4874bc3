"""Generators trained without a likelihood on MNIST: Parzen-window log-likelihoods of 10,000 samples.

genjax-models reproduce parzen_mnist --budget full --data-dir DIR
"""

from pathlib import Path

from genjax_models.papers import Cell, Paper, Table, recipe, with_steps

HERE = Path(__file__).parent.parent
GOODFELLOW = "Goodfellow et al. 2014, table 1"
LI = "Li, Swersky and Zemel 2015, table 1"


def cell(row: str, file: str, overrides: dict, paper: Paper, short_steps: int, note: str = "") -> Cell:
    """A sampler's cell."""
    full = recipe(HERE / f"{file}.py", overrides)
    return Cell(
        row,
        "Parzen",
        full,
        paper,
        short=with_steps(full, short_steps),
        figure="test_parzen_log_likelihood",
        better="higher",
        note=note,
    )


AUTOENCODER = "code and autoencoder are trained together, where the paper trains its layers first, with dropout"

TABLE = Table(
    "parzen_mnist",
    "Samplers on MNIST: Parzen-window log-likelihood",
    "nats per example, the higher the better",
    (
        # By estimate 12 ms a step on two cores.
        cell("GAN", "gan_mnist", {}, Paper(225, GOODFELLOW, 2), 25_000, "neither dropout nor maxout"),
        # By estimate 0.3 s a step: batches of 1,000, all pairs of which are compared.
        cell("GMMN", "gmmn_mnist", {}, Paper(147, LI, 2), 1200),
        cell(
            "GMMN with autoencoder",
            "gmmn_mnist",
            {"model.autoencoder": "1024,32"},
            Paper(282, LI, 2),
            1200,
            AUTOENCODER,
        ),
    ),
    digits=1,
    notes="A Parzen window does not rank samplers as their own likelihood would; it is what these papers report.",
)
