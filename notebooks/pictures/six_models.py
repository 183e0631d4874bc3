"""Samples of several runs as one picture, a panel a run: six_models.png, at the top of the README.

    python notebooks/pictures/six_models.py OUT.png TITLE=RUN_DIR ...

A panel has what `genjax-models sample` draws: the expectation of x given a draw of the latents (VAE, DRAW, sigmoid
belief network), or where there are none, a draw of x itself (NADE, GAN, flow). The first draws are shown, none chosen.

six_models.png is of six runs on MNIST. They are short: the first took 45 minutes of a CPU's thread, the second 15, and
those of papers' tables two to nine. How far such runs fall short of a paper's figures is in docstrings and tables.

    genjax-models train configs/vae_conv_mnist.py --run-dir runs/vae
    genjax-models train configs/draw_mnist.py --run-dir runs/draw --training.num-steps 5000 \\
        --training.evaluate-every 500 --evaluation.validation-examples 500 \\
        --optimizer.learning-rate.steps 5000 --optimizer.learning-rate.start 2e-3
    genjax-models reproduce nvil_mnist --budget short --cells sbn_200_200_200/nvil
    genjax-models reproduce autoregressive_mnist --budget short --cells eonade_2_layers_128_orders/fixed_binarization
    genjax-models reproduce parzen_mnist --budget short --cells gan/parzen
    genjax-models reproduce flows_mnist --budget short --cells maf_5/logit_space

with `--data-dir DIR` in each, and then

    papers=runs/papers run=seeds_0-0/members/0_seed=0
    python notebooks/pictures/six_models.py notebooks/pictures/six_models.png \\
        "variational autoencoder=runs/vae" DRAW=runs/draw \\
        "sigmoid belief network=$papers/nvil_mnist/short/sbn_200_200_200/nvil/$run" \\
        "NADE=$papers/autoregressive_mnist/short/eonade_2_layers_128_orders/fixed_binarization/$run" \\
        "GAN=$papers/parzen_mnist/short/gan/parzen/$run" \\
        "autoregressive flow=$papers/flows_mnist/short/maf_5/logit_space/$run"
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from genjax_models.measuring import chosen_parameters, sample_images
from genjax_models.plots import image_grid
from genjax_models.run_folder import open_run

ROWS, COLUMNS = 5, 8  # samples in a panel
ACROSS = 3  # panels in a row
ENLARGE, GAP, TITLE, DPI = 2, 20, 44, 100  # of pixels, around panels and above them
DARK, LIGHT = "#15171c", "#e8e8e8"  # a card of its own, whatever the page's background is


def panel(folder: Path):
    """The first samples of a run, side by side."""
    run = open_run(folder)
    _, params, chosen = chosen_parameters(run, print)
    print(f"{folder}: step {chosen.step}")
    grid = image_grid(sample_images(run, params, ROWS * COLUMNS), run.data.image_shape, COLUMNS)
    return grid.repeat(ENLARGE, axis=0).repeat(ENLARGE, axis=1)


def main(out: Path, runs: dict[str, Path]) -> None:
    panels = {title: panel(folder) for title, folder in runs.items()}
    height, width = next(iter(panels.values())).shape
    down = -(-len(panels) // ACROSS)
    size = ACROSS * (width + GAP) + GAP, down * (height + TITLE) + GAP
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor=DARK)
    for i, (title, grid) in enumerate(panels.items()):
        left = GAP + (i % ACROSS) * (width + GAP)
        below = size[1] - (i // ACROSS + 1) * (height + TITLE)
        figure.figimage(grid, left, below, cmap="gray", vmin=0, vmax=1)
        text = {"color": LIGHT, "fontsize": 16, "va": "center", "ha": "center"}
        figure.text((left + width / 2) / size[0], (below + height + TITLE / 2) / size[1], title, **text)
    figure.savefig(out, facecolor=DARK)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]), {title: Path(folder) for title, _, folder in (word.partition("=") for word in sys.argv[2:])}
    )
