"""Random configurations: small ones of every row of the tables with fields changed, and values that no field takes."""

import dataclasses
import functools
import typing
from collections.abc import Iterator
from typing import Any, Literal

import conformance
import jax
import jax.numpy as jnp
from hypothesis import strategies as st

from genjax_models.config import Config, Evaluation, Training, children, is_config, members
from genjax_models.core import Batch
from genjax_models.data import Digits
from genjax_models.optimizers import OPTIMIZERS, SCHEDULES

TABLES = (
    conformance.MODELS,
    conformance.LIKELIHOOD_MODELS,
    conformance.CONTINUOUS_MODELS,
    conformance.OTHER_MODELS,
    conformance.IMPLICIT_MODELS,
)
SMALL = [small for table in TABLES for rows in table.values() for small in rows]
OBJECTIVES = [objective for rows in conformance.OBJECTIVES.values() for objective in rows]
LARGEST = 3  # of changed sizes
NUM = 12  # examples
CONTEXT = 2  # the width of contexts


@functools.cache
def fitting(small: conformance.Small) -> list[Any]:
    """The objectives that are to build on a model."""
    model = small.config.build(small.visible)
    return [objective for objective in OBJECTIVES if conformance.fits(objective, model)]


def paths(node: Any, path: str = "") -> Iterator[tuple[str, Any, dict, Any]]:
    """(path, annotation, metadata, value) of every field that holds no configurations."""
    for child_path, _, annotation, value, metadata in children(node, path):
        if is_config(value):
            yield from paths(value, child_path)
        elif isinstance(value, tuple) and any(is_config(v) for v in value):
            for i, v in enumerate(value):
                yield from paths(v, f"{child_path}.{i}")
        else:
            yield child_path, annotation, metadata, value


def values(annotation: Any, metadata: dict, value: Any) -> st.SearchStrategy:
    """Small values of a field's types and within its limits; schedules where it may have one."""
    found = []
    limits = metadata.get("limits", {})
    for member in members(annotation):
        low = limits.get("ge") if limits.get("ge") is not None else limits.get("gt")
        high = limits.get("le") if limits.get("le") is not None else limits.get("lt")
        if member is type(None):
            found.append(st.none())
        elif member is bool:
            found.append(st.booleans())
        elif member is int:
            least = int(low or 0)
            found.append(st.integers(least, max(least, min(LARGEST, int(high) if high is not None else LARGEST))))
        elif member is float:
            open_low, open_high = limits.get("gt") is not None, limits.get("lt") is not None
            least, most = (0.0 if low is None else low), (2.0 if high is None else high)
            numbers = st.floats(least, most, exclude_min=open_low, exclude_max=open_high, width=32)
            found.append(numbers.filter(lambda x: x == 0 or abs(x) > 1e-6))
        elif typing.get_origin(member) is Literal:
            found.append(st.sampled_from(typing.get_args(member)))
        elif typing.get_origin(member) is tuple and isinstance(value, tuple):
            inner = typing.get_args(member)[0]
            if inner is int:
                found.append(st.tuples(*(st.integers(1, LARGEST) for _ in value)))
    return st.one_of(*found) if found else st.just(value)


def with_value(node: Any, parts: list[str], value: Any) -> Any:
    """The configuration with the field at a path replaced, unchecked."""
    name, rest = parts[0], parts[1:]
    if isinstance(node, tuple):
        i = int(name)
        return (*node[:i], with_value(node[i], rest, value) if rest else value, *node[i + 1 :])
    new = with_value(getattr(node, name), rest, value) if rest else value
    return dataclasses.replace(node, **{name: new})


@st.composite
def configurations(draw: Any, changes: int = 3) -> tuple[Config, int]:
    """A configuration, of which some fields were changed one by one, and the number of its visible units.

    What is between its fields may not fit: then it is to be refused.
    """
    small = draw(st.sampled_from(SMALL))
    objective = draw(st.sampled_from(fitting(small)))
    optimizer = draw(st.sampled_from(list(OPTIMIZERS.values())))()
    if draw(st.booleans()):
        schedules = [cls() for name, cls in SCHEDULES.items() if name != "stages"]
        optimizer = dataclasses.replace(optimizer, learning_rate=draw(st.sampled_from(schedules)))
    training = Training(
        num_steps=2,
        batch_size=draw(st.sampled_from([2, 4])),
        average=draw(st.none() | st.just(0.9)),
        nonfinite=draw(st.sampled_from(["skip", "stop"])),
        accumulate=draw(st.sampled_from([1, 1, 2])),
        remat=draw(st.sampled_from([False, False, True])),
    )
    data = Digits(binarization=draw(st.sampled_from(["threshold", "fixed", "dynamic", "none"])))
    config = Config(small.config, objective, optimizer, data, training, Evaluation(2))
    for _ in range(draw(st.integers(0, changes))):
        groups = [list(paths(getattr(config, group), group)) for group in ("model", "objective", "optimizer")]
        path, annotation, metadata, value = draw(st.sampled_from(draw(st.sampled_from([g for g in groups if g]))))
        config = with_value(config, path.split("."), draw(values(annotation, metadata, value)))
    return config, small.visible


def shapes(config: Config, visible: int) -> Any:
    """The training examples of a configuration, as shapes."""
    x = jax.ShapeDtypeStruct((NUM, visible), jnp.float32)
    if not config.model.needs_context:
        return x
    return Batch(x, jax.ShapeDtypeStruct((NUM, CONTEXT), jnp.float32))  # type: ignore[arg-type]


WRONG = (-(10**30), -1, 2.5, 10**30, float("nan"), float("inf"), "no such thing", True, (1, "a"), [1], {"a": 1}, b"x")


@st.composite
def broken(draw: Any) -> tuple[Config, str, Any]:
    """A configuration of which one field holds what is of another type or not finite, the path and the value."""
    config, _ = draw(configurations(changes=0))
    path, annotation, metadata, _ = draw(st.sampled_from(list(paths(config))))
    wrong = [value for value in WRONG if not _may_hold(value, annotation, metadata)]
    value = draw(st.sampled_from(wrong))
    return with_value(config, path.split("."), value), path, value


def _may_hold(value: Any, annotation: Any, metadata: dict) -> bool:
    """Whether a field might take a value, as its annotation and its limits say, written anew here."""
    limits = metadata.get("limits", {})
    for member in members(annotation):
        if member is bool and isinstance(value, bool):
            return True
        if member is str and isinstance(value, str):
            return True
        if isinstance(value, (int, float)) and not isinstance(value, bool) and member in (int, float):
            if member is int and not isinstance(value, int):
                continue
            if value != value or value in (float("inf"), float("-inf")) or abs(value) >= 2**63:
                continue
            low = [limits[k] for k in ("ge", "gt") if limits.get(k) is not None]
            high = [limits[k] for k in ("le", "lt") if limits.get(k) is not None]
            if all(value >= x for x in low) and all(value <= x for x in high):
                return True
    return False
