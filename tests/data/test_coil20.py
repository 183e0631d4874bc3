"""COIL-20 from a file of the same form: which view goes where, with which code."""

import numpy as np
import pytest
import scipy.io

from genjax_models.config import validate
from genjax_models.data import COIL20
from genjax_models.data.coil20 import encode
from genjax_models.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    """Every image says its object and view in two pixels; the pixel in row 3 and column 5 is lit."""
    things, views = np.indices((20, 72)).reshape(2, -1)
    x = np.zeros((1440, 32, 32))
    x[:, 0, 0], x[:, 0, 1], x[:, 3, 5] = things / 20, views / 72, 1
    fea = x.swapaxes(1, 2).reshape(1440, -1)  # as MATLAB flattens
    scipy.io.savemat(tmp_path / "COIL20.mat", {"fea": fea, "gnd": (things + 1)[:, None].astype(np.uint8)})
    return tmp_path


@pytest.mark.parametrize("every", [2, 4])
def test_views_between_are_held_out_with_their_codes(folder, every):
    data = COIL20(train_every=every).load(str(folder))
    seen = []
    for x, code in zip(
        (data.train, data.validation, data.test),
        (data.train_context, data.validation_context, data.test_context),
        strict=True,
    ):
        images = x.reshape(-1, 32, 32)
        assert (images[:, 3, 5] == 1).all()
        things, views = np.rint(images[:, 0, 0] * 20).astype(int), np.rint(images[:, 0, 1] * 72).astype(int)
        np.testing.assert_array_equal(code[:, :20].argmax(axis=1), things)
        np.testing.assert_allclose(code[:, 20], np.cos(views * np.pi / 36), atol=1e-6)
        np.testing.assert_allclose(code[:, 21], np.sin(views * np.pi / 36), atol=1e-6)
        seen.append(set(zip(things.tolist(), views.tolist(), strict=True)))
    assert seen[0] == {(i, v) for i in range(20) for v in range(0, 72, every)}
    assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen)) == 1440
    assert len(seen[2]) == 2 * len(seen[1])


def test_codes_out_of_range():
    np.testing.assert_allclose(encode(19, 90)[0, 19:], [1, 0, 1], atol=1e-7)
    with pytest.raises(DataError, match="object: got 20, expected one from 0 to 19"):
        encode(20, 0)
    with pytest.raises(DataError, match="degrees"):
        encode(0, np.nan)


def test_what_is_no_such_file(folder, tmp_path):
    with pytest.raises(ConfigError, match="train_every: got 5, expected a divisor of the 72 views"):
        validate(COIL20(train_every=5))
    path = folder / "COIL20.mat"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="expected a MATLAB v5 file with fea and gnd"):
        COIL20().load(str(folder))
    scipy.io.savemat(path, {"fea": np.zeros((10, 1024)), "gnd": np.ones((10, 1))})
    with pytest.raises(DataError, match=r"got fea of shape \(10, 1024\)"):
        COIL20().load(str(folder))
    path.unlink()
    with pytest.raises(DataError, match=r"COIL20\.mat"):
        COIL20().load(str(folder))
