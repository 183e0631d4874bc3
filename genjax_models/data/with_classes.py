"""Any data with labels, with the classes as what a conditional model is given."""

from typing import Any

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.arrays import require_room
from genjax_models.data.dataset import Dataset, Labels, check, require_labels
from genjax_models.data.digits import Digits
from genjax_models.errors import DataError


@config
class WithClasses(DataConfig):
    """The examples of another source that has labels, with their classes as contexts, one of C in [N, C].

    The C classes are those of all three splits, in the order of their numbers. A model that takes contexts, such as
    `VAE(conditional=True)`, then is one of x given its class.
    """

    data: DataConfig = field(default=Digits(), help="the source, such as MNIST() or Files('x.csv', label='kind')")

    @property
    def dynamic(self) -> bool:
        """Whether the training split holds intensities that every step binarizes or dequantizes anew."""
        return self.data.dynamic

    @property
    def binarization(self) -> Any:
        """That of the source, None where it has none; so are the next two."""
        return getattr(self.data, "binarization", None)

    @property
    def dequantization(self) -> Any:
        return getattr(self.data, "dequantization", None)

    @property
    def levels(self) -> Any:
        return getattr(self.data, "levels", None)

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits with contexts.

        Raises:
            DataError: as the source's `load`; a source without labels, or with contexts of its own.
        """
        validate(self)
        name = type(self.data).__name__
        labels, data = require_labels(self.data, data_dir), self.data.load(data_dir)
        if data.train_context is not None:
            raise DataError(f"with_classes: {name} has contexts of its own; use it as it is.")
        classes = np.unique(np.concatenate(labels))
        require_room(4 * len(classes) * sum(map(len, labels)), f"with_classes: {len(classes)} classes of {name}")
        contexts = [(x[:, None] == classes).astype(np.float32) for x in labels]
        names = "train_context", "validation_context", "test_context"
        return check(data._replace(**dict(zip(names, contexts, strict=True))), name)

    def labels(self, data_dir: str | None = None) -> Labels | None:
        """Those of the source."""
        return self.data.labels(data_dir)
