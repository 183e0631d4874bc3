"""Samples beside data, by all measures on their features."""

import math
from typing import Any, NamedTuple

import numpy as np

from genjax_models.evaluation.frechet import extrapolated_frechet_distance, frechet_distance
from genjax_models.evaluation.manifolds import density_coverage, precision_recall


class SampleQuality(NamedTuple):
    """How like data samples are, in a space of features."""

    frechet_distance: float  # squared units of the features; biased upwards, the more the fewer the rows
    frechet_distance_extrapolated: float  # to large sets; may be below 0, and is NaN for fewer than 4 F rows
    precision: float  # share of samples among data
    recall: float  # share of data among samples
    density: float  # 1 in expectation for samples from the distribution of data
    coverage: float  # share of data with a sample near


def sample_quality(real: Any, generated: Any) -> SampleQuality:
    """The Fréchet distance, precision and recall (k = 3), density and coverage (k = 5) of samples.

    All of them depend on the numbers of rows and on the features: compare figures of equal numbers and of one
    classifier, with those of held-out data beside them.

    Args:
        real: features of data [N, F], N at least 6.
        generated: features of samples [M, F], M at least 6.

    Returns:
        A `SampleQuality`; what each measure is stands with its function.

    Raises:
        DataError: sets that are not [N, F] and [M, F], or not finite.
        ConfigError: fewer than six rows.

    Example:
        >>> trained = train_classifier(key, data.train, labels.train)
        >>> sample_quality(trained.features(data.test), trained.features(samples))
    """
    around = density_coverage(real, generated)
    among = precision_recall(real, generated)
    enough = min(len(real), len(generated)) >= 4 * np.shape(real)[1]  # so that halves have covariances of full rank
    in_limit = extrapolated_frechet_distance(real, generated) if enough else math.nan
    return SampleQuality(frechet_distance(real, generated), in_limit, *among, *around)
