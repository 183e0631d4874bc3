"""Short texts of what is swept, for tables, pictures and folders."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from genjax_models.config import is_config, matches
from genjax_models.tables import types

MAX_LABEL = 80  # characters of a point's label


def label(value: Any) -> str:
    """A short text of a swept value.

    A configuration gives its name, and those of its fields that are not at their default.

    Example:
        >>> label(0.001), label((200, 100)), label(None)
        ('0.001', '200-100', 'none')
    """
    if is_config(value):
        given = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_default(value, f)]
        return "-".join([_name(type(value)), *(f"{name}={label(v)}" for name, v in given)])
    if isinstance(value, tuple):
        return "-".join(map(label, value)) or "empty"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if matches(value, int):
        return str(int(value))
    if matches(value, float):
        exact = f"{float(value):.9g}"
        return exact if len(exact) <= 10 else f"{float(value):.6g}"
    return str(value)


def _is_default(config: Any, f: dataclasses.Field) -> bool:
    return f.default is not dataclasses.MISSING and getattr(config, f.name) == f.default


def _name(cls: type) -> str:
    """A configuration's name in the tables, or one made of its class's."""
    named = {known: name for name, known in types().items()}
    return named.get(cls) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path's last component, or as many as set it apart from the others.

    Example:
        >>> short_names(["model.latent", "optimizer.rate", "schedule.rate"])
        {'model.latent': 'latent', 'optimizer.rate': 'optimizer.rate', 'schedule.rate': 'schedule.rate'}
    """

    def ends(words: int) -> list[str]:
        return [".".join(path.split(".")[-words:]) for path in paths]

    names = {}
    for i, path in enumerate(paths):
        tried = map(ends, range(1, path.count(".") + 2))
        names[path] = next((found[i] for found in tried if found.count(found[i]) == 1), path)
    return names


def point_label(overrides: Mapping[str, Any]) -> str:
    """A point's overrides as a folder name: safe on all systems, and of at most 80 characters.

    Example:
        >>> point_label({"optimizer.learning_rate": 0.001, "seed": 2})
        'learning_rate=0.001_seed=2'
    """
    names = short_names(list(overrides))
    text = "_".join(f"{names[path]}={label(value)}" for path, value in overrides.items()) or "base"
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "-", text)
    if len(safe) > MAX_LABEL:  # what is cut still tells points apart
        safe = f"{safe[: MAX_LABEL - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return safe.rstrip(".")
