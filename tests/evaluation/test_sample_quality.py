"""Measures on features of samples and of data, against closed forms, by hand and over all splits of a pool; and the
classifier that the features are of."""

import itertools
import math

import jax
import numpy as np
import pytest
import scipy.linalg

from genjax_models.errors import ConfigError, DataError
from genjax_models.evaluation import (
    default_network,
    density_coverage,
    extrapolated_frechet_distance,
    frechet_distance,
    precision_recall,
    sample_quality,
    train_classifier,
)
from genjax_models.models.classifier import classifier
from genjax_models.models.networks import MLP, Convolutional

RANDOM = np.random.RandomState(0)


def with_moments(mean, root, number=40):
    """Rows whose sample mean and covariance are `mean` and `root root'`, to round-off."""
    z = RANDOM.normal(size=(number, root.shape[1]))
    q = np.linalg.qr(z - z.mean(axis=0))[0]
    return mean + math.sqrt(number - 1) * q @ root.T


# The Fréchet distance.


def test_frechet_distance_of_covariances_with_common_axes():
    """tr(...) is the sum of (sqrt(a_i) - sqrt(b_i))^2 over the variances along the axes, some of them 0."""
    axes = np.linalg.qr(RANDOM.normal(size=(4, 4)))[0]
    a, b = np.array([2.0, 0, 1, 0]), np.array([0.5, 3, 0, 0])
    mean_a, mean_b = RANDOM.normal(size=(2, 4))
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((a - b) ** 2)
    found = frechet_distance(with_moments(mean_a, axes * a), with_moments(mean_b, axes * b, 31))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 2])
def test_frechet_distance_of_any_two_by_two_covariances(rank):
    """There tr (A B)^(1/2) = sqrt(tr A B + 2 sqrt(det A det B)), as the two eigenvalues' roots sum to."""
    roots = RANDOM.normal(size=(2, 2, rank))
    a, b = (r @ r.T for r in roots)
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(max(np.linalg.det(a) * np.linalg.det(b), 0) if rank == 2 else 0))
    expected = np.trace(a + b) - 2 * root
    found = frechet_distance(*(with_moments(np.ones(2), r) for r in roots))
    assert found == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_is_that_of_the_matrix_square_root():
    x, y = RANDOM.normal(size=(30, 5)), RANDOM.normal(size=(20, 5)) @ RANDOM.normal(size=(5, 5)) + 1
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_a_set_from_itself_moved():
    """Exact where there are fewer rows than features, and where variances are of sizes far apart."""
    for x in (RANDOM.normal(size=(3, 6)), RANDOM.normal(size=(50, 6)) * 10.0 ** -np.arange(0, 12, 2)):
        assert frechet_distance(x, x) < 1e-12
        assert frechet_distance(x, x[::-1] + 2) == pytest.approx(24, rel=1e-12)


def test_extrapolation_takes_off_the_bias_of_small_sets():
    """Of sets from one distribution the distance is 0 in the limit; by four standard errors over 40 pairs."""
    random = np.random.RandomState(1)
    pairs = [random.normal(size=(2, 60, 4)) for _ in range(40)]
    plain = np.array([frechet_distance(*pair) for pair in pairs])
    limit = np.array([extrapolated_frechet_distance(*pair) for pair in pairs])
    error = limit.std(ddof=1) / math.sqrt(len(pairs))
    assert plain.mean() > 10 * error
    assert abs(limit.mean()) < 4 * error
    # What does not depend on the number of rows stays as it is.
    constant = extrapolated_frechet_distance(np.zeros((8, 2)), np.full((9, 2), 3.0), points=3)
    assert constant == pytest.approx(18, rel=1e-12)


# Neighbourhoods.

REAL, GENERATED = np.array([[0.0], [1], [10]]), np.array([[0.5], [2], [30]])


def test_neighbourhoods_by_hand():
    """Radii of real: 1, 1, 9; of generated: 1.5, 1.5, 28. The sample at 2 lies on the rim of the ball about 1."""
    assert precision_recall(REAL, GENERATED, 1) == (2 / 3, 1)
    assert precision_recall(GENERATED, REAL, 1) == (1, 2 / 3)
    assert density_coverage(REAL, GENERATED, 1) == (4 / 3, 1)
    assert density_coverage(REAL + 100, GENERATED, 1) == (0, 0)
    # Copies: a radius of 0 is a ball of one point.
    twice = np.repeat(np.eye(2), 2, axis=0)
    assert precision_recall(twice, np.concatenate([twice, [[0.5, 0.5]]]), 1) == (4 / 5, 1)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_neighbourhoods_by_loops(block):
    random = np.random.RandomState(2)
    real, generated, k = random.normal(size=(9, 3)), 1.3 * random.normal(size=(7, 3)), 2

    def balls(points):
        return [(u, sorted(np.linalg.norm(points - u, axis=1))[k]) for u in points]

    def inside(v, ball):
        return np.linalg.norm(v - ball[0]) <= ball[1]

    of_real, of_generated = balls(real), balls(generated)
    precision = np.mean([any(inside(g, ball) for ball in of_real) for g in generated])
    recall = np.mean([any(inside(r, ball) for ball in of_generated) for r in real])
    density = sum(inside(g, ball) for g in generated for ball in of_real) / (k * len(generated))
    coverage = np.mean([any(inside(g, ball) for g in generated) for ball in of_real])
    assert 0 < precision < 1
    assert 0 < coverage < 1
    assert precision_recall(real, generated, k, block=block) == pytest.approx((precision, recall), abs=1e-15)
    assert density_coverage(real, generated, k, block=block) == pytest.approx((density, coverage), abs=1e-15)


def test_density_and_coverage_of_samples_from_the_distribution_of_data():
    """Over all ways to call 4 points of any 7 real and 3 generated, the means are those that hold in expectation."""
    pool, n, m, k = np.random.RandomState(3).normal(size=(7, 2)), 4, 3, 2
    found = []
    for chosen in itertools.combinations(range(n + m), n):
        rest = [i for i in range(n + m) if i not in chosen]
        found.append(density_coverage(pool[list(chosen)], pool[rest], k))
    missed = math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    assert np.mean(found, axis=0) == pytest.approx((1, 1 - missed), rel=1e-12)


def test_all_measures_at_once():
    x, y = RANDOM.normal(size=(12, 3)), RANDOM.normal(size=(15, 3))
    found = sample_quality(x, y)
    assert found.frechet_distance == frechet_distance(x, y)
    assert found.frechet_distance_extrapolated == extrapolated_frechet_distance(x, y)
    assert found[2:] == (*precision_recall(x, y, 3), *density_coverage(x, y, 5))
    assert math.isnan(sample_quality(x[:11], y).frechet_distance_extrapolated)


def test_bad_sets_are_named():
    x = np.zeros((4, 2))
    with pytest.raises(DataError, match=r"b: got shape \(4, 1\), expected \[N, 2\], as a has it"):
        frechet_distance(x, x[:, :1])
    with pytest.raises(DataError, match=r"a: got shape \(1, 2\), expected \[N, F\], with at least 2 rows"):
        frechet_distance(x[:1], x)
    with pytest.raises(DataError, match="generated: 1 of 4 rows have values that are not finite"):
        precision_recall(x, np.where(np.arange(4)[:, None] == 2, np.nan, x))
    with pytest.raises(ConfigError, match="precision_recall: k: got 4, expected less than the number of rows, 4"):
        precision_recall(x, x, 4)
    with pytest.raises(ConfigError, match="density_coverage: k: got 0"):
        density_coverage(x, x, 0)
    with pytest.raises(ConfigError, match="points: got 1, expected at least 2"):
        extrapolated_frechet_distance(x, x, points=1)


# The classifier.

SETTINGS = {"network": MLP((8,)), "width": 4, "num_steps": 100, "batch_size": 10, "learning_rate": 0.03}


@pytest.fixture(scope="module")
def data():
    """Three classes, far apart in scales of thousands."""
    random = np.random.RandomState(0)
    labels = random.randint(3, size=60)
    return 1000 * (np.eye(3)[labels] + 0.1 * random.normal(size=(60, 3))) + 5000, labels


@pytest.fixture(scope="module")
def trained(data):
    x, labels = data
    held = np.where(np.arange(60) < 15, (labels + 1) % 3, labels)
    return train_classifier(jax.random.key(0), x, labels, (x, held), **SETTINGS)


def test_a_classifier_tells_classes_apart(trained, data):
    x, labels = data
    assert trained.accuracy == 0.75  # of a quarter the held-out labels are wrong
    np.testing.assert_array_equal(trained.logits(x).argmax(axis=1), labels)


def test_features_are_the_units_that_logits_are_made_of(trained, data):
    x, _ = data
    features, last = trained.features(x, block=7), trained.params["last"]
    assert features.shape == (60, 4)
    assert features.min() >= 0  # after the activation
    assert features.std(axis=0).max() > 0
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"], trained.logits(x), rtol=1e-4, atol=1e-4)


def test_one_key_gives_one_classifier(trained, data):
    again = train_classifier(jax.random.key(0), *data, **SETTINGS)
    assert again.accuracy is None
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, trained.params))
    other = train_classifier(jax.random.key(1), *data, **SETTINGS)
    assert not jax.tree.all(jax.tree.map(np.array_equal, other.params, trained.params))


def test_any_numbers_may_stand_for_the_classes(trained, data):
    """Keys of a catalogue as well as 0, 1, 2: the same classifier, which knows them by their own names."""
    x, labels = data
    keys = np.array([1_000_000_007, 5, 2_000_000_011])
    again = train_classifier(jax.random.key(0), x, keys[labels], (x, keys[labels]), **SETTINGS)
    assert list(again.classes) == sorted(keys)
    assert again.accuracy == np.mean(again.classes[again.logits(x).argmax(axis=1)] == keys[labels]) > 0.9
    assert list(trained.classes) == [0, 1, 2]


def test_what_no_classifier_can_be_trained_on(data):
    x, labels = data
    key = jax.random.key(0)
    with pytest.raises(DataError, match=r"labels: got shape \(59,\) and dtype int64, expected integers .*\(60,\)"):
        train_classifier(key, x, labels[1:])
    with pytest.raises(DataError, match="dtype float64"):
        train_classifier(key, x, labels / 2)
    with pytest.raises(DataError, match="one class alone"):
        train_classifier(key, x, np.ones(60, int))
    with pytest.raises(DataError, match="standard deviation nan"):
        train_classifier(key, np.full((60, 3), np.nan), labels)
    with pytest.raises(ConfigError, match="num_steps: got 0"):
        train_classifier(key, x, labels, num_steps=0)
    with pytest.raises(ConfigError, match="which has 4 values, but x has 3"):
        classifier(3, 2, Convolutional((2, 2), (4,)))
    assert default_network(None) == MLP((256, 256))
    assert default_network((5, 7, 3)).image_shape == (5, 7, 3)
