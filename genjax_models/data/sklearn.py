"""The data sets of scikit-learn, and Bunches that are at hand."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from genjax_models.config import annotations, config, field, validate
from genjax_models.data.dataset import Dataset, Labels
from genjax_models.data.files import classes_of
from genjax_models.data.own_rows import ScaledRows, flattened, parted
from genjax_models.errors import ConfigError, DataError, MissingData, nearest

LOADER = re.compile(r"(load|fetch)_\w+")


def _arrays(bunch: Any, source: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The examples of a Bunch, as images where it has them, and the classes of these, as text."""
    if not isinstance(bunch, Mapping) or "data" not in bunch:
        found = ", ".join(map(str, bunch)) if isinstance(bunch, Mapping) else type(bunch).__name__
        raise DataError(f"{source}: expected a Bunch with `data` [N, D], got {found}; choose another data set.")
    x = bunch["data"]
    if hasattr(x, "toarray"):
        raise DataError(
            f"{source}: data is a sparse matrix of shape {x.shape}; make it dense, and save it for `files`."
        )
    try:
        x = np.asarray(x)
        images = np.asarray(bunch.get("images", 0))
    except ValueError as error:  # rows of different lengths
        raise DataError(f"{source}: data is no array ({error}); expected numbers [N, D].") from error
    if x.ndim and images.shape[:1] == x.shape[:1] and images.size == x.size and images.ndim in (3, 4):
        x = images
    target = np.asarray(bunch["target"]) if bunch.get("target") is not None else None
    if target is None or target.shape != x.shape[:1] or target.dtype.kind not in "biuOUS":
        return x, None  # what is predicted by regression is no class
    return x, target.astype(str)


@config
class Sklearn(ScaledRows):
    """A data set of scikit-learn by the name of its loader, such as "load_wine" or "fetch_olivetti_faces".

    Rows are its `data`, images where it has them as `images`, split by a fixed permutation; what it has as `target` is
    the label, unless that is of real numbers or of several columns. Loaders that need arguments, sparse matrices and
    texts are refused. What `fetch_` loaders keep in `data_home` are pickles, which can run code: leave there what they
    fetched alone.
    """

    loader: str = field(nonempty=True, help="the name of the function in sklearn.datasets")
    data_home: str | None = field(
        default=None, nonempty=True, help="of fetch_ loaders: the folder of their files; None: scikit-learn's own"
    )
    download: bool = field(default=False, help="of fetch_ loaders: whether what is missing is fetched")

    def check(self) -> list[str]:
        """What is wrong between the fields."""
        found = super().check()
        if not LOADER.fullmatch(self.loader):
            found.append(f"loader: got {self.loader!r}, expected a name such as 'load_wine' or 'fetch_covtype'.")
        return found

    def _bunch(self) -> tuple[str, Any]:
        """What the messages call the data, and the Bunch."""
        validate(self)
        try:
            from sklearn import datasets
        except ImportError as error:
            raise DataError(f"sklearn: scikit-learn cannot be imported ({error}). Install it.") from error
        known = [name for name in datasets.__all__ if LOADER.fullmatch(name)]
        source = f"sklearn.datasets.{self.loader}"
        if self.loader not in known:
            raise DataError(
                f"loader: got {self.loader!r}, which scikit-learn does not have.{nearest(self.loader, known)}"
            )
        load = getattr(datasets, self.loader)
        parameters = inspect.signature(load).parameters
        if needed := [name for name, parameter in parameters.items() if parameter.default is parameter.empty]:
            raise DataError(f"{source}: needs {', '.join(needed)}; call it, and give the Bunch to `from_bunch`.")
        given = {"data_home": self.data_home, "download_if_missing": self.download, "as_frame": False}
        try:
            return source, load(**{name: value for name, value in given.items() if name in parameters})
        except OSError as error:
            if self.download or "download_if_missing" not in parameters:
                raise DataError(f"{source}: cannot be loaded ({error}).") from error
            place = self.data_home or "the data folder of scikit-learn"
            raise MissingData(
                f"{source}: is not in {place} ({error}); set `download` to "
                "have it fetched, or `data_home` to where it lies."
            ) from error
        # Broken files make it raise errors of many kinds.
        except Exception as error:
            raise DataError(f"{source}: cannot be loaded ({type(error).__name__}: {error}).") from error

    def _of(self, bunch: Any, source: str) -> tuple[str, dict[str, np.ndarray], tuple[int, ...] | None]:
        return source, *flattened({"all": _arrays(bunch, source)[0]}, source, self.image_shape)

    def _labels_of(self, bunch: Any, source: str) -> Labels | None:
        classes = _arrays(bunch, source)[1]
        if classes is None:
            return None
        return Labels(*parted(classes_of({"all": classes}), source, self.validation_fraction, self.test_fraction))

    def _rows(self, data_dir: str | None) -> tuple[str, dict[str, np.ndarray], tuple[int, ...] | None]:
        source, bunch = self._bunch()
        return self._of(bunch, source)

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """The class of each example; None where the data set has none.

        Raises:
            DataError: as `load`.
        """
        source, bunch = self._bunch()
        return self._labels_of(bunch, source)


def from_bunch(bunch: Any, **fields: Any) -> tuple[Dataset, Labels | None]:
    """The splits of a Bunch that is at hand, and their classes.

    Args:
        bunch: of scikit-learn, or any mapping with `data` [N, D], and with `images` or `target` [N] or without.
        **fields: scaling, noise and fractions, as `Sklearn` has them.

    Returns:
        The data set, and the labels, None where it has no classes.

    Raises:
        ConfigError: a field that `Sklearn` does not have, or an impossible value.
        DataError: as `Sklearn.load`.

    Example:
        >>> data, labels = from_bunch(sklearn.datasets.load_wine(), scaling="unit")
    """
    known = [name for name in annotations(Sklearn) if name not in ("loader", "data_home", "download")]
    for name in fields:
        if name not in known:
            raise ConfigError(f"from_bunch: has no field {name!r}.{nearest(name, known)}")
    source = validate(Sklearn("load_bunch", **fields))
    return source.dataset(*source._of(bunch, "bunch")), source._labels_of(bunch, "bunch")
