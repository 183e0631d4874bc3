import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax_models.config import validate
from genjax_models.core import Batch
from genjax_models.data import MNIST, Arrays, Digits, dataset, dequantize, examples, refresh
from genjax_models.data.dataset import (
    Dataset,
    as_intensities,
    binarize,
    check,
    draw,
    evaluation_subset,
    from_intensities,
    split,
)
from genjax_models.errors import ConfigError, DataError


def grey(rows, columns=4, seed=0):
    return np.random.RandomState(seed).rand(rows, columns).astype(np.float32)


def data(**changes):
    return Dataset(grey(6), grey(3), grey(2), "unit", None)._replace(**changes)


def test_check_returns_what_is_right():
    good = data(image_shape=(2, 2))
    assert check(good) is good
    check(data(train=grey(6) * 9 - 4, support="real"))
    binary = [np.eye(4, dtype=np.uint8)] * 3
    check(Dataset(*binary, "binary", None))
    check(Dataset(grey(6), *binary[1:], "binary", None))


def with_value(value, count=1):
    x = grey(3)
    x.flat[5 : 5 + count] = value
    return x


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"support": "counts"}, r"mine: got support 'counts', expected one of binary, unit, real"),
        ({"train": grey(6)[0]}, r"mine, train split: got shape \(4,\), expected \[N, D\]. Flatten"),
        ({"test": grey(2).reshape(2, 2, 2)}, r"mine, test split: got shape \(2, 2, 2\)"),
        ({"validation": grey(0)}, r"mine, validation split: is empty, shape \(0, 4\)"),
        ({"train": grey(6, 0)}, r"mine, train split: is empty, shape \(6, 0\)"),
        ({"test": grey(2, 5)}, r"mine, test split: has D = 5 columns, but train has 4"),
        ({"test": grey(2).astype(np.float64)}, r"test split: got dtype float64, expected float32 for support 'unit'"),
        ({"test": np.ones((2, 4), np.uint8)}, r"got dtype uint8, expected float32 for support 'unit'. Convert"),
        ({"train": np.ones((2, 4), np.int64), "support": "binary"}, r"got dtype int64, expected uint8 or float32"),
        ({"validation": with_value(np.nan, 2)}, r"2 of 12 values are NaN or infinite .* nan at index \(1, 1\)"),
        ({"validation": with_value(-np.inf), "support": "real"}, r"1 of 12 .* the first -inf at index \(1, 1\)"),
        ({"validation": with_value(2.5, 3)}, r"3 of 12 values are outside \[0, 1\] .*maximum 2.5\).*Scale them"),
        ({"validation": with_value(-0.5)}, r"1 of 12 values are outside \[0, 1\] \(minimum -0.5"),
        ({"support": "binary"}, r"validation split: 12 of 12 values are neither 0 nor 1.*Binarize this split"),
        ({"train": np.full((2, 4), 2, np.uint8), "support": "binary"}, r"8 of 8 values are outside .*maximum 2\)"),
        ({"image_shape": (2, 3)}, r"mine: image_shape \(2, 3\) has 6 pixels, but every row has 4 values"),
    ],
)
def test_check_names_what_is_wrong(changes, message):
    with pytest.raises(DataError, match=message):
        check(data(**changes), "mine")


def test_split_is_a_fixed_partition():
    x = np.arange(20)[:, None]
    train, validation, test = split(x, 3, 5)
    assert (len(train), len(validation), len(test)) == (12, 3, 5)
    assert sorted(np.concatenate([train, validation, test]).ravel()) == list(range(20))
    # Results are only comparable as long as this permutation stays.
    assert validation.ravel().tolist() == [9, 7, 16]
    assert test.ravel().tolist() == [11, 3, 0, 15, 12]
    assert not np.array_equal(split(x, 3, 5, seed=1)[0], train)


def test_split_needs_a_row_for_each():
    with pytest.raises(DataError, match=r"3 rows cannot be split into 0 for training, 1 for validation and 2 for test"):
        split(grey(3), 1, 2)


def test_evaluation_subset():
    x = np.arange(100)[:, None]
    subset = evaluation_subset(x, 10)
    assert subset.shape == (10, 1)
    assert len(np.unique(subset)) == 10
    assert subset.max() > 20  # not the first rows
    assert np.array_equal(subset, evaluation_subset(x, 10))
    assert np.array_equal(subset, evaluation_subset(x, 11)[:10])
    assert not np.array_equal(subset, evaluation_subset(x, 10, seed=1))
    assert evaluation_subset(x, None) is x
    assert evaluation_subset(x, 100) is x
    assert evaluation_subset(x, 999) is x
    with pytest.raises(DataError, match=r"got count 0, expected at least 1, or None"):
        evaluation_subset(x, 0)


def test_binarize_is_a_bernoulli_draw():
    x = jnp.tile(jnp.array([0.0, 0.2, 0.7, 1.0]), (4000, 1))
    out = jax.jit(binarize)(jax.random.key(0), x)
    assert out.dtype == jnp.float32
    assert set(np.unique(out)) == {0.0, 1.0}
    # Four standard deviations of a mean of 4,000 draws; 0 and 1 are certain.
    mean = np.asarray(out.mean(0))
    assert mean[0] == 0
    assert mean[3] == 1
    assert abs(mean[1] - 0.2) < 0.026
    assert abs(mean[2] - 0.7) < 0.03
    assert not np.array_equal(out, binarize(jax.random.key(1), x))


def test_draw_does_not_depend_on_its_blocks():
    x = np.full((5000, 3), 0.3, np.float32)
    out = draw(x, 7)
    assert out.dtype == np.uint8
    assert np.array_equal(out, np.random.RandomState(7).random_sample(x.shape) < x)
    assert abs(out.mean() - 0.3) < 0.015


def test_threshold():
    train = np.array([[0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 1]], np.float32)
    out = from_intensities(train, grey(3), grey(2), "threshold", None)
    assert out.train.tolist() == [[0, 0, 1, 1]]
    assert out.support == "binary"
    assert not out.dynamic
    assert all(x.dtype == np.uint8 for x in dataset.splits(out).values())


def test_fixed_and_dynamic_agree_on_what_is_evaluated():
    x = grey(50)
    fixed = from_intensities(x, x, x, "fixed", (2, 2))
    dynamic = from_intensities(x, x, x, "dynamic", (2, 2))
    assert fixed.support == dynamic.support == "binary"
    assert dynamic.dynamic
    assert not fixed.dynamic
    assert dynamic.train is x
    assert fixed.train.dtype == np.uint8
    assert np.array_equal(fixed.validation, dynamic.validation)
    assert np.array_equal(fixed.test, dynamic.test)
    # The splits are drawn independently of each other.
    assert not np.array_equal(fixed.train, fixed.validation)
    assert not np.array_equal(fixed.validation, fixed.test)
    again = from_intensities(x, x, x, "fixed", None)
    assert np.array_equal(fixed.train, again.train)
    check(fixed)
    check(dynamic)


def test_none_keeps_intensities():
    out = from_intensities(grey(6), grey(3), grey(2), "none", None)
    assert out.support == "unit"
    assert np.array_equal(out.train, grey(6))
    assert not out.dynamic


def test_no_binarization_outside_the_unit_interval():
    with pytest.raises(DataError, match=r"mine, train split: 24 of 24 values are outside \[0, 1\]"):
        from_intensities(grey(6) + 2, grey(3), grey(2), "dynamic", None, "mine")


def test_import_is_light():
    code = (
        "import sys, genjax_models.data; "
        "print([m for m in ('sklearn', 'matplotlib', 'flax', 'scipy.io') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# Dequantization.

LEVELS = np.arange(4, dtype=np.float32)[None] / 3  # one row with each of four levels


def dequantized(kind, x=LEVELS):
    return from_intensities(x, x, x, "none", None, "mine", levels=4, dequantization=kind)


def test_dequantization_fills_the_bin_of_every_level():
    """(k + u) / L lies in [k / L, (k + 1) / L), uniformly, and each split has a draw of its own."""
    tall = np.repeat(LEVELS, 5000, axis=0)
    data = dequantized("fixed", tall)
    assert data.support == "unit"
    for x in (data.train, data.validation, data.test, dequantize(jax.random.key(0), tall, 4)):
        k = np.floor(4 * np.asarray(x, np.float64))
        assert (k == np.arange(4)).all()
        u = 4 * np.asarray(x, np.float64) - k
        # 20,000 uniform draws: five standard errors of the mean and of the mean square.
        assert abs(u.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / u.size)
        assert abs((u**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / u.size)
    assert not (data.train == data.validation).any()
    assert (dequantized("fixed", tall).train == data.train).all()


def test_the_highest_level_stays_below_one(monkeypatch):
    class Almost:
        def __init__(self, seed):
            pass

        def random_sample(self, shape):
            return np.full(shape, np.nextafter(1, 0))

    monkeypatch.setattr(dataset.np.random, "RandomState", Almost)
    assert dequantized("fixed").train.max() < 1


def test_dynamic_dequantization_leaves_the_levels_to_every_step():
    data = dequantized("dynamic")
    assert data.dynamic
    assert not dequantized("fixed").dynamic
    assert (data.train == LEVELS).all()
    assert (data.test != LEVELS).all()
    source = Digits(binarization="none", dequantization="dynamic")
    x = np.float32([[0, 1]])
    drawn = [np.asarray(refresh(source, jax.random.key(i), x)) for i in (0, 1)]
    assert (drawn[0] != drawn[1]).all()
    assert [np.floor(17 * d).tolist() for d in drawn] == [[[0, 16]], [[0, 16]]]
    loaded = source.load()
    assert loaded.levels == 17
    assert (loaded.train == Digits(binarization="none").load().train).all()
    assert set(np.unique(refresh(Digits(binarization="dynamic"), jax.random.key(0), LEVELS))) <= {0, 1}


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: dequantized("fixed", LEVELS / 2), DataError, r"train split: 2 of 4 values are none of the 4 grey"),
        (
            lambda: from_intensities(LEVELS, LEVELS, LEVELS, "none", None, "mine", None, "fixed"),
            DataError,
            "levels None",
        ),
        (lambda: validate(MNIST(dequantization="fixed")), ConfigError, "'fixed' with binarization 'dynamic'"),
        (lambda: validate(Digits(dequantization="dynamic")), ConfigError, "with binarization 'threshold'"),
        (lambda: validate(Arrays(path="x.npy", dequantization="fixed")), ConfigError, "levels: got None with"),
        (lambda: validate(Arrays(path="x.npy", levels=1)), ConfigError, "levels: got 1"),
    ],
)
def test_dequantization_of_what_has_no_such_levels(run, error, message):
    with pytest.raises(error, match=message):
        run()


# Contexts.


def with_contexts(*widths, dtype=np.float32, more=0):
    rows = [np.zeros((n + more, w), dtype) for n, w in zip((6, 3, 2), widths, strict=True)]
    return data(train_context=rows[0], validation_context=rows[1], test_context=rows[2])


def test_contexts_come_with_their_examples():
    given = check(with_contexts(5, 5, 5))
    batch = examples(given, "validation")
    assert isinstance(batch, Batch)
    assert (batch.x is given.validation, batch.context is given.validation_context) == (True, True)
    assert examples(data(), "test").shape == (2, 4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (with_contexts(5, 5, 4), r"test split: got contexts of shape \(2, 4\) and dtype float32, expected .*\(2, 5\)"),
        (with_contexts(5, 5, 5, more=1), r"train split: got contexts of shape \(7, 5\).*\(6, 5\)"),
        (with_contexts(5, 5, 5, dtype=np.float64), "dtype float64, expected float32"),
        (with_contexts(5, 5, 5)._replace(validation_context=None), "validation split: contexts are in some splits"),
        (with_contexts(5, 5, 5)._replace(test_context=np.full((2, 5), np.nan, np.float32)), "10 of 10 values are NaN"),
    ],
)
def test_contexts_that_do_not_fit(given, message):
    with pytest.raises(DataError, match=message):
        check(given, "mine")


def test_real_numbers_are_drawn_by_the_range_of_training():
    """Intensities and bits as they are; a constant is black."""
    x = np.array([[-2.0, 6.0]], np.float32)
    assert data(support="real", train=x, image_shape=None).limits == (-2, 6)
    assert data(support="unit").limits is None
    np.testing.assert_array_equal(as_intensities(np.array([-2.0, 0, 6, 10]), (-2, 6)), [0, 0.25, 1, 1.5])
    np.testing.assert_array_equal(as_intensities(x, None), x)
    np.testing.assert_array_equal(as_intensities(np.full(2, 3.0), (3, 3)), [0, 0])
