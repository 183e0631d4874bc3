"""What deep models have to beat: test NLL of pixels on their own, and of a mixture of Bernoulli vectors.

    python tests/benchmarks/baselines.py [SOURCE] [--name NAME] [--binarization B] [--data-dir DIR]

Maximum likelihood with Laplace smoothing by numpy alone; every choice (smoothing, restart, when to stop) is made on the
validation split, and the test split is read once, for the chosen model.
"""

import argparse
from typing import NamedTuple

import numpy as np

from genjax_models.data import SOURCES, Dataset
from genjax_models.data.dataset import BINARIZATION_SEEDS
from genjax_models.mixture import Fit, Mixture, fit_mixture, maximize

COMPONENTS = 50
SMOOTHING = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # imagined observations of each value of each pixel
RESTARTS = 5


class Figure(NamedTuple):
    """A baseline's test NLL."""

    name: str
    nll: float  # nats per example
    standard_error: float
    chosen: str


def independent(x: np.ndarray, smoothing: float) -> Mixture:
    """A Bernoulli for each pixel: a mixture of one component."""
    return maximize(x, np.ones((len(x), 1)), smoothing)


def baselines(data: Dataset, components: int = COMPONENTS, restarts: int = RESTARTS) -> list[Figure]:
    """The test NLL of both baselines on a binary data set."""
    if data.support != "binary":
        raise ValueError(f"the baselines are of zeros and ones; the data's support is {data.support!r}.")
    validation, test = data.validation.astype(np.float64), data.test.astype(np.float64)
    random, train = np.random.RandomState(BINARIZATION_SEEDS["train"]), data.train.astype(np.float64)

    def draw():
        return (random.random_sample(train.shape) < train).astype(np.float64) if data.dynamic else train

    def fit_independent(smoothing):
        # Of intensities the mean is what draws would tend to.
        model = independent(train, smoothing)
        return Fit(model, f"smoothing {smoothing:g}", float(model.nll(validation).mean()))

    fits = {
        "independent Bernoulli": [fit_independent(s) for s in SMOOTHING],
        f"mixture of {components} Bernoulli vectors": [
            fit_mixture(draw, validation, components, s, seed) for s in SMOOTHING for seed in range(restarts)
        ],
    }
    figures = []
    for name, found in fits.items():
        best = min(found, key=lambda fit: fit.validation)
        nll = best.model.nll(test)
        figures.append(Figure(name, float(nll.mean()), float(nll.std(ddof=1) / len(nll) ** 0.5), best.chosen))
    return figures


def main() -> None:
    """Print the baselines of a data source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "source",
        nargs="?",
        default="digits",
        choices=sorted(
            set(SOURCES)
            - {"arrays", "files", "image_folder", "wav_folder", "midi_folder", "huggingface", "sklearn", "shards"}
        ),
    )
    parser.add_argument("--name", choices=("adult", "mushrooms", "dna"), help="which data set of the source uci")
    parser.add_argument("--binarization", choices=("threshold", "fixed", "dynamic"), help="default: the source's own")
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    arguments = parser.parse_args()
    given = {"name": arguments.name, "binarization": arguments.binarization}
    fields = {field: value for field, value in given.items() if value is not None}
    data = SOURCES[arguments.source](**fields).load(arguments.data_dir)
    for figure in baselines(data, restarts=arguments.restarts):
        print(f"{figure.name:32}  {figure.nll:.2f} +- {figure.standard_error:.2f} nats per example  ({figure.chosen})")


if __name__ == "__main__":
    main()
