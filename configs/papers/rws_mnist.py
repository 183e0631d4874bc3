"""Reweighted wake-sleep on the fixed binarization of MNIST: by depth, by K beside VIMCO, and the best nets.

genjax-models reproduce rws_mnist --budget full --data-dir DIR
"""

from pathlib import Path

from genjax_models.models import SigmoidBeliefNetwork
from genjax_models.papers import Cell, Paper, Table, recipe, with_steps

HERE = Path(__file__).parent.parent
BORNSCHEIN = "Bornschein and Bengio 2015, tables on MNIST"
MNIH = "Mnih and Rezende 2016, figures for a 200-200-200 net"

# 200-200-200 takes 15 ms a step with K = 5 (sbn_rws_mnist.py, sbn_vimco_mnist.py), and 2.8 ms by wake-sleep.
SHORT_SECONDS, MS = 360, 15.0
SHORT = {"evaluation.num_samples": 500}


def short_steps(layers: tuple[int, ...], particles: int, factor: float = 1.0) -> int:
    """The steps that take so many seconds, in proportion to weights and particles, and rounded."""
    weights = [a * b for a, b in zip((784, *layers), layers, strict=False)]
    ms = MS * factor * (0.2 + 0.8 * particles / 5) * max(0.5, sum(weights) / (784 * 200 + 2 * 200 * 200))
    return max(500, round(SHORT_SECONDS / ms) * 1000)


def wake_sleep(layers: tuple[int, ...], figure: float) -> Cell:
    """Wake-sleep by depth."""
    full = recipe(HERE / "sbn_wake_sleep_mnist.py", {"model.layers": layers})
    paper = Paper(figure, BORNSCHEIN, checked=False)
    return Cell(name(layers), "wake-sleep", full, paper, short=with_steps(full, 100_000, SHORT))


def reweighted(row: str, model: SigmoidBeliefNetwork, particles: int, figure: Paper, factor: float = 1.0) -> Cell:
    """Reweighted wake-sleep."""
    full = recipe(HERE / "sbn_rws_mnist_long.py", {"model": model, "objective.num_particles": particles})
    short = recipe(HERE / "sbn_rws_mnist.py", {"model": model, "objective.num_particles": particles})
    steps = min(40_000, short_steps(model.layers, particles, factor))
    # By depth and by K one net is the same.
    runs = f"rws/{row.split(',')[0].replace(' ', '_')}_k_{particles}".lower()
    return Cell(row, "reweighted wake-sleep", full, figure, short=with_steps(short, steps, SHORT), runs=runs)


def vimco(row: str, particles: int, figure: float) -> Cell:
    """VIMCO with the same net."""
    full = recipe(HERE / "sbn_vimco_mnist.py", {"objective.num_particles": particles})
    steps = short_steps((200, 200, 200), particles)
    return Cell(row, "VIMCO", full, Paper(figure, MNIH), short=with_steps(full, steps, SHORT))


def name(layers: tuple[int, ...]) -> str:
    return "SBN " + "-".join(map(str, layers))


DEPTHS = {(200,): (116.3, 103.1), (200, 200): (106.9, 93.4), (200, 200, 200): (101.3, 90.1)}
PARTICLES = {2: (94.6, 93.5), 5: (93.5, 92.8), 10: (93.0, 92.6), 50: (92.5, 91.9)}
BEST = {
    "SBN 400-300-200-100-10": (SigmoidBeliefNetwork(layers=(400, 300, 200, 100, 10)), 85.48, 1.0),
    "NADE 250": (SigmoidBeliefNetwork(layers=(250,), generative="nade", nade_hidden=250), 85.23, 100.0),
    "AR-SBN 500": (
        SigmoidBeliefNetwork(layers=(500,), generative="autoregressive", recognition="autoregressive"),
        84.18,
        4.0,
    ),
}

TABLE = Table(
    "rws_mnist",
    "Reweighted wake-sleep on MNIST: test NLL",
    "nats per example, the lower the better",
    (
        *(wake_sleep(layers, figures[0]) for layers, figures in DEPTHS.items()),
        *(
            reweighted(
                name(layers),
                SigmoidBeliefNetwork(layers=layers),
                10,
                Paper(figures[1], BORNSCHEIN, checked=False),
            )
            for layers, figures in DEPTHS.items()
        ),
        *(
            reweighted(f"SBN 200-200-200, K = {k}", SigmoidBeliefNetwork(layers=(200, 200, 200)), k, Paper(rws, MNIH))
            for k, (rws, _) in PARTICLES.items()
        ),
        *(vimco(f"SBN 200-200-200, K = {k}", k, figure) for k, (_, figure) in PARTICLES.items()),
        *(
            reweighted(row, model, 10, Paper(figure, BORNSCHEIN), factor)
            for row, (model, figure, factor) in BEST.items()
        ),
    ),
    notes=(
        "Layers from x upwards; by depth and for the best nets K = 10. The two papers' protocols differ: samples of "
        "the evaluation, and regularization. Here log p(x) is estimated with 5,000 samples (500 in the budget "
        "short), with up to 100,000 in Bornschein and Bengio (2015). Short has as many updates in batches of 100 as "
        "take six minutes by estimate: 100,000 of wake-sleep, which come to the paper's figures, up to 46,000 with K "
        "= 2 and 3,000 with K = 50. The fewer updates a cell has the farther it is behind, so that K = 50, first in "
        "the papers, is last here: what is missing are updates, not particles. The net of NADE layers walks over 784 "
        "pixels for every particle: with 500 updates it is far from its end, and takes far more than ten minutes all "
        "the same, most of them to be evaluated."
    ),
)
