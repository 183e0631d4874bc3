"""What is checked and read of a configuration before anything of it runs or is written."""

import functools
import zlib
from typing import Any

import numpy as np

from genjax_models.config import Config, DataConfig
from genjax_models.data import Dataset, Rows, evaluation_subset, examples, not_a_count
from genjax_models.data.dataset import channels_first, require_levels
from genjax_models.errors import ConfigError, DataError, nearest
from genjax_models.measuring import Log, check_p_star, example_metrics, kind_of_nll, levels
from genjax_models.overlay import flatten
from genjax_models.run_folder import DataSpec
from genjax_models.streaming import require_reader
from genjax_models.train import Train, check_training_data, make_train, not_in_unit, program_config


def load_data(
    config: Config, data_dir: str | None, read: dict[DataConfig, Dataset] | None = None
) -> tuple[Dataset, DataSpec]:
    """The configured data, its held-out splits cut to what is evaluated, and what identifies the whole of it.

    Args:
        config: the configuration.
        data_dir: where data files lie; None for the environment's or the default folder.
        read: data sets that were read before, to which this one is added; for many configurations.

    Raises:
        DataError: data that cannot be read, or values that the likelihood is not defined on.
    """
    read = {} if read is None else read
    data = read[config.data] if config.data in read else read.setdefault(config.data, config.data.load(data_dir))
    if data.dynamic != config.data.dynamic:
        raise DataError(
            f"{type(config.data).__name__}: dynamic is {config.data.dynamic}, but its data say {data.dynamic}; its "
            "property `dynamic` must tell whether every step binarizes anew."
        )
    if config.model.needs_context and data.train_context is None:
        raise DataError(
            f"{type(config.model).__name__} is given a context with every example, which {type(config.data).__name__} "
            "does not have; use data with contexts, such as COIL20 or Solids."
        )
    own, known = levels(config, data), data.levels if data.dequantization is None else None
    if own not in (None, 2) and own != known:
        raise DataError(
            f"{type(config.model).__name__} is of units with {own} levels, but {type(config.data).__name__} has "
            f"{'none that are known' if known is None else known}; give the units the data's levels, and "
            "take the data without binarization or dequantization."
        )
    if own not in (None, 2):
        require_levels(data, type(config.data).__name__)
    wanted, splits = config.model.data_support, (data.train, data.validation, data.test)
    if wanted == "unit" and data.support == "real":
        low, high = min(x.min() for x in splits), max(x.max() for x in splits)
        raise DataError(not_in_unit(type(config.data).__name__, low, high, config.model))
    if wanted == "count" and (wrong := [v for x in splits if (v := not_a_count(x)) is not None]):
        raise DataError(
            f"{type(config.data).__name__} holds {wrong[0]:g}, but {type(config.model).__name__} is of counts 0, 1, "
            "2, ...: take data of counts, or another likelihood."
        )
    contexts = [c for c in (data.train_context, data.validation_context, data.test_context) if c is not None]
    checksum = functools.reduce(lambda crc, x: zlib.crc32(_content(x), crc), (*splits, *contexts), 0)
    shape = None if data.image_shape is None else tuple(data.image_shape)
    width = contexts[0].shape[1] if contexts else None
    counts = config.evaluation.validation_examples, config.evaluation.test_examples

    # The rows that are kept depend on their number alone: they are the same of x and of its contexts.
    def cut(x, count):
        return None if x is None else evaluation_subset(x, count)

    measured = data._replace(
        validation=cut(data.validation, counts[0]),
        validation_context=cut(data.validation_context, counts[0]),
        test=cut(data.test, counts[1]),
        test_context=cut(data.test_context, counts[1]),
    )
    return measured, DataSpec(data.train.shape[1], shape, tuple(map(len, splits)), checksum, width, data.limits)


def _content(x: np.ndarray | Rows) -> Any:
    """The bytes of an array; of rows on disk the hashes of their shards, so that they need not be read for it."""
    return x.fingerprint if isinstance(x, Rows) else np.ascontiguousarray(x).data


def prepare(
    config: Config, data_dir: str | None, read: dict[DataConfig, Dataset] | None = None
) -> tuple[Train, Dataset, DataSpec]:
    """The training function and the data of a configuration, checked before there is a folder.

    Args:
        config, data_dir, read: as for `load_data`.

    Raises:
        UserError: a configuration or data that cannot be used; the mended one must not find a folder of this one.
    """
    train = make_train(config)
    data, spec = load_data(config, data_dir, read)
    _check_image_shapes(config, spec)
    check_training_data(config, examples(data, "train"))
    require_reader(data)
    _check_best_by(config, train, spec)
    if config.evaluation.distribution == "p_star":
        check_p_star(config, spec.visible, "evaluation.distribution")
    return train, data, spec


def log_kind_of_data(config: Config, data: Dataset, log: Log) -> None:
    """Say it where images may be misread, and figures are no log-probabilities or have no limit."""
    model = config.model
    if (doubt := channels_first(data.image_shape)) is not None:
        log(f"{doubt}.")
    if data.train_context is not None and not model.takes_context:
        log(
            f"the data have contexts (masks, codes or classes), which {type(model).__name__} does not take: it is a "
            "model of x alone, what a mask leaves out included."
        )
    if model.capability == "ImplicitModel":
        return
    if kind_of_nll(config, data) == "density" and data.dequantization is None and _takes_few_values(data):
        log("the data are whole numbers, on which a density has no limit: compare figures among like runs alone.")
    if data.support == "unit" and data.dequantization is None and model.density:
        log(
            "the data are intensities, of which many may be equal, and a density has no limit there: set the data's "
            "dequantization for grey levels, or compare figures among like runs alone."
        )
    if kind_of_nll(config, data) == "cross-entropy":
        log("the data are intensities: a Bernoulli likelihood's figures are cross-entropies, not log-probabilities.")


def _takes_few_values(data: Dataset) -> bool:
    """Whether all values of the test split are whole numbers."""
    x = data.test
    return data.support != "unit" and isinstance(x, np.ndarray) and bool((np.round(x) == x).all())


def _check_image_shapes(config: Config, spec: DataSpec) -> None:
    """Raise ConfigError where the model or one of its networks is of images of another shape than the data's."""
    if spec.image_shape is None:
        return
    for path, shape in flatten(config.model, "model").items():
        given = path.rpartition(".")[2] == "image_shape" and shape is not None
        if given and (*shape, 1)[:3] != (*spec.image_shape, 1)[:3]:
            raise ConfigError(
                f"{path}: got {shape}, but {type(config.data).__name__} has images of shape {spec.image_shape}; give "
                "that shape."
            )


def _check_best_by(config: Config, train: Train, spec: DataSpec) -> None:
    """Raise ConfigError unless the objective reports the metric that checkpoints are chosen by."""
    name = config.evaluation.best_by
    if name is None:  # what is always measured
        return
    state, x = train.shapes(config, spec.abstract), spec.abstract
    known = example_metrics.eval_shape(program_config(config), state, state.params, state.key, x, visible=spec.visible)
    if name not in known:
        raise ConfigError(
            f"evaluation.best_by: got {name!r}, which is not measured; expected one of {', '.join(known)}."
            f"{nearest(name, known)}"
        )
