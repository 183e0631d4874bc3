"""Building a model from keyword arguments, with the same checks as from a configuration."""

from typing import Any

from genjax_models.config import ModelConfig, annotations, validate
from genjax_models.errors import ConfigError, nearest, require_count


def build_from_fields(cls: type[ModelConfig], visible: int, fields: dict[str, Any]) -> Any:
    """`cls(**fields)`, checked, built for `visible` units.

    Raises:
        ConfigError: an unknown field (with the nearest name), a wrong type or an impossible value.
    """
    for name in fields:
        if name not in annotations(cls):
            raise ConfigError(f"{cls.__name__} has no field {name!r}.{nearest(name, annotations(cls))}")
    require_count("visible", visible)
    return validate(cls(**fields)).build(visible)
