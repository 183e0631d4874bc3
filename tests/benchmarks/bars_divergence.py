"""KL(true || model) in bits of runs on bars, exact: every image that can occur, every state of the latents.

python tests/benchmarks/bars_divergence.py RUN_DIR...
"""

import argparse
from pathlib import Path

from genjax_models.data import Bars
from genjax_models.evaluation import divergence_in_bits
from genjax_models.experiment import chosen_parameters
from genjax_models.run_folder import open_run


def divergence(bars: Bars, model, params) -> float:
    """sum_x p(x) log2 (p(x) / model(x)): images that cannot occur add nothing to it."""
    return divergence_in_bits(*bars.distribution(), model, params)


def divergence_of_run(folder: Path) -> float:
    """That of the parameters which the run's own evaluation takes."""
    run = open_run(folder)
    _, params, _ = chosen_parameters(run, print)
    return divergence(run.config.data, run.config.model.build(run.data.visible), params)


def main() -> None:
    """Print the divergence of every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path, metavar="RUN_DIR")
    for folder in parser.parse_args().run:
        print(f"{folder}: {divergence_of_run(folder):.4f} bits")


if __name__ == "__main__":
    main()
