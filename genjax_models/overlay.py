"""Configurations by dotted path: strict overrides from the shell, JSON there and back, and differences.

A path names fields from the top, such as `optimizer.learning_rate`; elements of a tuple are numbers, such as
`objective.parts.0.weight`. The shell may write a hyphen for an underscore.
"""

import dataclasses
import json
import numbers
import typing
from collections.abc import Mapping
from typing import Any, Literal

from genjax_models.config import annotations, children, describe, is_config, is_config_type, members, validate
from genjax_models.errors import ConfigError, nearest


def _parse(text: str, annotation: Any) -> Any:
    """A value from the shell, read as its field's annotation says; ValueError where it cannot be."""
    for member in sorted(members(annotation), key=lambda m: m is str):  # any text is a str: the others first
        try:
            return _parse_one(text.strip(), member)
        except ValueError:
            continue
    raise ValueError(text)


def _parse_one(text: str, annotation: Any) -> Any:
    if annotation is type(None) and text.lower() in ("none", "null"):
        return None
    if annotation is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if annotation is int:
        return int(text)
    if annotation is float:
        return float(text)
    if typing.get_origin(annotation) is Literal and text in typing.get_args(annotation):
        return text
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        parts = [p for p in text.strip("()[] ").split(",") if p.strip()]
        inner = inner[:1] * len(parts) if inner[1:] == (Ellipsis,) else inner
        if len(parts) == len(inner):
            return tuple(_parse(p, a) for p, a in zip(parts, inner, strict=True))
    if annotation is str:
        return text
    raise ValueError(text)


def _replace(node: Any, parts: list[str], value: Any, done: str) -> Any:
    """The configuration with the field at `parts` replaced; `done` is the path walked so far, for messages."""
    name, rest = parts[0].replace("-", "_"), parts[1:]
    path = f"{done}.{name}" if done else name
    if isinstance(node, tuple):
        if not name.isdecimal() or int(name) >= len(node):
            raise ConfigError(f"{path}: {done} has {len(node)} elements, numbered from 0.")
        i = int(name)
        if not rest:
            raise ConfigError(f"{path}: name a field of this element, or give all of {done} at once.")
        return (*node[:i], _replace(node[i], rest, value, path), *node[i + 1 :])
    if not is_config(node):
        raise ConfigError(f"{path}: {done} is {node!r}, which has no fields.")
    fields = annotations(type(node))
    if name not in fields:
        raise ConfigError(f"{path}: {type(node).__name__} has no field {name!r}.{nearest(name, fields)}")
    if rest:
        return dataclasses.replace(node, **{name: _replace(getattr(node, name), rest, value, path)})
    if isinstance(value, str):
        if is_config_type(fields[name]):
            inner = getattr(node, name)
            raise ConfigError(
                f"{path}: got {value!r}, but the config file picks which {name} there is; override its fields, "
                f"such as {', '.join(f'{path}.{n}' for n in list(annotations(type(inner)))[:3])}."
            )
        try:
            value = _parse(value, fields[name])
        except ValueError:
            raise ConfigError(f"{path}: got {value!r}, expected {describe(fields[name])}.") from None
    return dataclasses.replace(node, **{name: value})


def replaced(config: Any, path: str, value: Any) -> Any:
    """The configuration with the field at a dotted path replaced, before it is checked.

    Raises:
        ConfigError: an unknown field (with the nearest name), or text that cannot be read as its type.
    """
    return _replace(config, path.split("."), value, "")


def overlay(config: Any, overrides: Mapping[str, Any]) -> Any:
    """A configuration with fields replaced by dotted path, checked.

    Args:
        config: a configuration.
        overrides: from dotted path to value; a string is read as the field's type says (`"3e-4"`, `"200,200"`,
            `"none"`), anything else is taken as it is.

    Raises:
        ConfigError: an unknown field (with the nearest name), a wrong type or an impossible value, naming the path,
            what was given and what is allowed.
    """
    for path, value in overrides.items():
        config = replaced(config, path, value)
    return validate(config)


def flatten(config: Any, path: str = "") -> dict[str, Any]:
    """Every field by dotted path; a nested configuration also gives its class under its own path."""
    flat: dict[str, Any] = {}
    if hasattr(config, "__config__"):
        if path:
            flat[path] = type(config).__name__
        for child_path, _, _, child, _ in children(config, path):
            flat |= flatten(child, child_path)
    elif isinstance(config, tuple) and any(hasattr(v, "__config__") for v in config):
        for i, value in enumerate(config):
            flat |= flatten(value, f"{path}.{i}")
    else:
        flat[path] = config
    return flat


def differing(old: Any, new: Any) -> dict[str, str]:
    """A line for every field in which two configurations differ, by its path: `path: old, now new`."""
    a, b = flatten(old), flatten(new)
    missing = "absent"
    return {
        path: f"{path}: {a.get(path, missing)!r}, now {b.get(path, missing)!r}"
        for path in dict.fromkeys([*a, *b])
        if a.get(path, missing) != b.get(path, missing)
    }


def differences(old: Any, new: Any) -> list[str]:
    """The lines of `differing`."""
    return list(differing(old, new).values())


def to_json(config: Any, types: Mapping[str, type]) -> Any:
    """A configuration as plain dicts, lists, strings and numbers, each configuration with its name as "type".

    Raises:
        ConfigError: a class that no table names, for it could not be rebuilt.
    """
    names = {cls: name for name, cls in types.items()}

    def encode(value):
        if hasattr(value, "__config__"):
            if type(value) not in names:
                raise ConfigError(
                    f"{type(value).__name__} stands in no table, so a run of it could not be rebuilt: add it to the "
                    "table of its family: MODELS, OBJECTIVES, OPTIMIZERS, SCHEDULES or SOURCES['name'] = ItsConfig, of "
                    "genjax_models.models, .objectives, .optimizers or .data."
                )
            fields = {name: encode(child) for _, name, _, child, _ in children(value)}
            return {"type": names[type(value)], **fields}
        if isinstance(value, tuple):
            return [encode(v) for v in value]
        if value is None or isinstance(value, (bool, str)):
            return value
        return int(value) if isinstance(value, numbers.Integral) else float(value)

    return encode(config)


def parse_json(text: str) -> Any:
    """What JSON text holds; ValueError where that is none, also of brackets nested deeper than Python reads them."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def from_json(tree: Any, types: Mapping[str, type]) -> Any:
    """The configuration that `to_json` wrote, checked.

    Raises:
        ConfigError: an unknown type or field, a missing one, or a value that does not fit.
    """

    def decode(value):
        if isinstance(value, dict):
            name = value.get("type")
            if not isinstance(name, str) or name not in types:
                raise ConfigError(
                    f"type: got {name!r}, which no table names.{nearest(str(name), types)} A class of your own is in "
                    "its table once the file that puts it there was run: genjax-models COMMAND ... --with FILE.py, or "
                    "an import."
                )
            cls = types[name]
            given = {k: decode(v) for k, v in value.items() if k != "type"}
            for k in given:
                if k not in annotations(cls):
                    raise ConfigError(f"{name}: has no field {k!r}.{nearest(k, annotations(cls))}")
            try:
                return cls(**given)
            except TypeError as error:
                raise ConfigError(f"{name}: {error}") from None
        if isinstance(value, list):
            return tuple(decode(v) for v in value)
        return value

    try:
        return validate(decode(tree))
    except RecursionError:
        raise ConfigError("nested too deep, expected a configuration such as `to_json` writes.") from None
