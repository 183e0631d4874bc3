import itertools

import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.data import Bars
from genjax_models.errors import ConfigError


def by_hand(size, vertical, bar):
    """The probability of every image, by walking through every way to draw one, pixel by pixel."""
    table = {}
    for upright, bars in itertools.product((True, False), itertools.product((0, 1), repeat=size)):
        chance = vertical if upright else 1 - vertical
        for present in bars:
            chance *= bar if present else 1 - bar
        image = tuple(bars[column] if upright else bars[row] for row in range(size) for column in range(size))
        table[image] = table.get(image, 0.0) + chance
    return {image: chance for image, chance in table.items() if chance > 0}


@pytest.mark.parametrize("config", [Bars(), Bars(3, 0.25, 0.6), Bars(2, 1.0, 0.5), Bars(1), Bars(5, 0.0)])
def test_distribution(config):
    images, probability = config.distribution()
    assert images.dtype == np.uint8
    assert abs(probability.sum() - 1) < 1e-12
    expected = by_hand(config.size, config.vertical, config.bar)
    assert {tuple(x) for x in images.tolist()} == set(expected)
    assert len(images) == len(expected)
    assert all(abs(p - expected[tuple(x)]) < 1e-12 for x, p in zip(images.tolist(), probability, strict=True))


def test_the_defaults_are_the_papers():
    images, probability = Bars().distribution()
    assert len(images) == 30
    # None of four bars in either orientation.
    assert abs(probability[images.sum(axis=1) == 0].item() - 0.8**4) < 1e-12
    one = np.zeros((4, 4))
    one[:, 2] = 1
    assert abs(probability[(images == one.ravel()).all(axis=1)].item() - 2 / 3 * 0.2 * 0.8**3) < 1e-12
    assert abs(probability[(images == one.T.ravel()).all(axis=1)].item() - 1 / 3 * 0.2 * 0.8**3) < 1e-12


def frequencies(x, images):
    """How often each of `images` stands in x, and how many rows are none of them."""
    found = (x[:, None, :] == images[None]).all(axis=2)
    return found.sum(axis=0), int((~found.any(axis=1)).sum())


def test_draws_have_that_distribution():
    """Pearson's statistic of all three splits lies where one draw in ten thousand would not."""
    config = Bars(num_train=20_000, num_validation=20_000, num_test=20_000)
    images, probability = config.distribution()
    for x in config.load()[:3]:
        counts, strange = frequencies(x, images)
        assert strange == 0
        expected = len(x) * probability
        # Of 29 degrees of freedom, 65 is beyond the 0.9999 quantile (63.2).
        assert np.sum((counts - expected) ** 2 / expected) < 65
        wrong = len(x) * Bars(vertical=0.5).distribution()[1]
        assert np.sum((counts - wrong) ** 2 / wrong) > 65


def test_splits():
    data = Bars(num_train=50, num_validation=40, num_test=30).load()
    assert [x.shape for x in data[:3]] == [(50, 16), (40, 16), (30, 16)]
    assert data.train.dtype == np.uint8
    assert data.support == "binary"
    assert data.image_shape == (4, 4)
    assert not data.dynamic
    # The same again; more rows begin with these; a split knows nothing of the others.
    more = Bars(num_train=60, num_validation=40, num_test=7).load()
    assert np.array_equal(more.train[:50], data.train)
    assert np.array_equal(more.validation, data.validation)
    assert not np.array_equal(data.train[:40], data.validation)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Bars(size=0), "size: got 0, expected an integer, at least 1"),
        (Bars(size=13), "size: got 13"),
        (Bars(vertical=1.5), "vertical: got 1.5"),
        (Bars(bar=0.0), "bar: got 0.0, expected a number, more than 0"),
        (Bars(num_test=0), "num_test: got 0"),
    ],
)
def test_impossible_values(config, message):
    with pytest.raises(ConfigError, match=message):
        validate(config)
    with pytest.raises(ConfigError, match=message):
        config.load()
