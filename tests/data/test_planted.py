"""Squares planted in digits."""

import numpy as np
import pytest

from genjax_models.data import Digits, PlantedDigits, plant
from genjax_models.errors import ConfigError, DataError


def test_plant_sets_one_square():
    x = np.zeros((200, 5 * 7 * 2), np.float32)
    corner = plant(x, (5, 7, 2), 3, "corner", 0).reshape(200, 5, 7, 2)
    assert (corner[:, :3, :3] == 1).all()
    assert corner.sum() == 200 * 18
    where = plant(x, (5, 7, 2), 3, "anywhere", 0).reshape(200, 5, 7, 2)
    assert set(where.sum(axis=(1, 2, 3))) == {18}
    tops = where[..., 0].any(axis=2).argmax(axis=1)
    lefts = where[..., 0].any(axis=1).argmax(axis=1)
    assert set(zip(tops.tolist(), lefts.tolist(), strict=True)) == {(i, j) for i in range(3) for j in range(5)}
    assert (np.diff(np.sort(np.nonzero(where[0, :, :, 0])[0])) <= 1).all()
    assert not x.any()


@pytest.mark.parametrize("square", [0, 6])
def test_plant_refuses_a_square_that_does_not_fit(square):
    with pytest.raises(DataError, match=f"square: got {square}"):
        plant(np.zeros((2, 35)), (5, 7), square, "corner", 0)


@pytest.mark.parametrize("binarization", ["none", "threshold"])
@pytest.mark.parametrize("place", ["corner", "anywhere"])
def test_half_of_the_digits_have_a_square(place, binarization):
    """The others are the digits as they are, in the same order, and what is planted knows nothing of them."""
    source = PlantedDigits(2, place, binarization)
    data, plain = source.load(), Digits(binarization).load()
    for name in ("train", "validation", "test"):
        x, original = getattr(data, name), getattr(plain, name)
        assert x.dtype == original.dtype
        changed = (x != original).any(axis=1)
        assert abs(changed.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(x))
        assert (x[changed] >= original[changed]).all()
        assert (x != original).sum(axis=1).max() <= 4
    without, planted = source.pairs()
    differ = (planted != without).sum(axis=1)
    assert differ.min() >= 1
    assert differ.max() == 4
    assert len(without) > 0.9 * len(plain.test)
    rows = (data.test != plain.test).any(axis=1)
    assert {x.tobytes() for x in data.test[rows].astype(np.float32)} <= {x.tobytes() for x in planted}
    assert {x.tobytes() for x in without} <= {x.tobytes() for x in plain.test.astype(np.float32)}
    np.testing.assert_array_equal(source.load().train, data.train)


def test_wrong_fields_are_refused():
    for source, words in ((PlantedDigits(9), "square: got 9"), (PlantedDigits(place="centre"), "place: got 'centre'")):
        with pytest.raises(ConfigError, match=words):
            source.load()
