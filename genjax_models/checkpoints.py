"""Checkpoints that are whole or are not used: orbax arrays, a manifest of sha256, and an atomic rename.

orbax loads flipped bits in silence, so every file is hashed after the save and verified before a restore.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models import processes
from genjax_models.core import TrainState, first_difference, leaf_types
from genjax_models.errors import RunError, naming
from genjax_models.overlay import parse_json

MANIFEST = "manifest.json"
BLOCK = 4096  # bytes that a small file takes on most disks


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk and what was noted with it."""

    path: Path
    step: int
    seconds: float  # of training, over all starts of the run
    metric: float | None  # the validation metric at that step, higher is better; None between evaluations
    pending: tuple[float, int] = (0.0, 0)  # sum and count of train bounds since the last evaluation


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)


def _without_typed_key(state: TrainState) -> TrainState:
    return state._replace(key=jax.random.key_data(state.key))


def _checkpointer():
    import orbax.checkpoint as ocp  # its import takes a third of a second, which the first step need not wait for

    return ocp.StandardCheckpointer()


@contextlib.contextmanager
def _as_system_errors(path: Path) -> Iterator[None]:
    """Within, what the system refuses orbax (a full disk) is raised as `OSError`, and not logged thread by thread."""

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    log = logging.getLogger("absl")
    log.addFilter(passes)
    try:
        yield
    except ValueError as error:  # of tensorstore, whatever the system said
        if (code := re.search(r"os_error_code='(\d+)'", str(error))) is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        log.removeFilter(passes)


@contextlib.contextmanager
def _uncounted() -> Iterator[None]:
    """Within, tensorstore counts nothing for orbax's log: what it returns it keeps for good, 25 kB a save (0.1.86)."""
    import tensorstore

    name = "experimental_collect_matching_metrics"
    counts = getattr(tensorstore, name, None)
    if counts is None:
        yield
        return
    setattr(tensorstore, name, lambda *_, **__: [])
    try:
        yield
    finally:
        setattr(tensorstore, name, counts)


def _require_room(path: Path, state: TrainState) -> None:
    """Refuse a save that the disk has no room for, before orbax's threads fail at it one by one, each with a trace."""
    leaves = jax.tree.leaves(_without_typed_key(state))
    needed = sum(leaf.nbytes for leaf in leaves) + BLOCK * (len(leaves) + 16)
    disk = shutil.disk_usage(path)
    if disk.total and disk.free < needed:  # some file systems know neither
        code = errno.ENOSPC
        raise OSError(code, f"{os.strerror(code)} for the {needed} bytes of a checkpoint, {disk.free} free", str(path))


def save(
    folder: Path, state: TrainState, seconds: float, metric: float | None, pending: tuple[float, int] = (0.0, 0)
) -> Checkpoint:
    """Write a checkpoint of the state; it appears under its name only when it is whole.

    Several processes write their parts of it together, and the first makes it whole.

    Raises:
        OSError: it cannot be written; those before it stand.
    """
    step = int(state.step)
    path, building = folder / f"{step:09d}", folder / f"building-{step:09d}"
    if processes.first():
        if building.exists():
            shutil.rmtree(building)
        building.mkdir(parents=True)
        _require_room(building, state)
    processes.wait_for_all(f"begin {building.name}")
    with _as_system_errors(building), _uncounted(), _checkpointer() as checkpointer:
        checkpointer.save(building.resolve() / "state", _without_typed_key(state))
    processes.wait_for_all(f"written {building.name}")
    if processes.first():
        with naming(building):
            _make_whole(building, path, state, seconds, metric, pending)
    processes.wait_for_all(f"whole {building.name}")
    return Checkpoint(path, step, seconds, metric, pending)


def _make_whole(building: Path, path: Path, state: TrainState, seconds, metric, pending) -> None:
    step = int(state.step)
    manifest = {
        "step": step,
        "seconds": seconds,
        "metric": metric,
        "pending": pending,
        "leaves": leaf_types(_without_typed_key(state)),
        "files": {str(p.relative_to(building)): _sha256(p) for p in _files(building)},
    }
    text = json.dumps(manifest, indent=1)
    # The hash of the manifest itself stands beside it, so that a flipped byte there is seen as well.
    (building / MANIFEST).write_text(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()}) + "\n" + text)
    for p in [*_files(building), building / MANIFEST]:
        with p.open("rb") as file:
            os.fsync(file.fileno())
    replaced = path.with_name(f"replaced-{step:09d}")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():  # the same step saved again, by a run that resumed from before it
        path.rename(replaced)
    building.rename(path)
    sync_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def read_manifest(path: Path) -> tuple[Checkpoint, dict[str, str], dict[str, str]]:
    """What a checkpoint says of itself, the hashes of its files, and the types and shapes of its leaves.

    Raises:
        RunError: the manifest is missing or damaged.
    """
    try:
        head, text = (path / MANIFEST).read_text(encoding="utf-8").split("\n", 1)
        if parse_json(head)["sha256"] != hashlib.sha256(text.encode()).hexdigest():
            raise ValueError("its hash does not match")
        noted = parse_json(text)
        found = Checkpoint(path, noted["step"], noted["seconds"], noted["metric"], tuple(noted["pending"]))
        return found, noted["files"], noted["leaves"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"checkpoint {path}: the manifest is missing or damaged ({error}).") from None


def verify(path: Path) -> Checkpoint:
    """Check every file of a checkpoint against its manifest.

    Raises:
        RunError: naming the file that is missing, new or changed.
    """
    checkpoint, hashes, _ = read_manifest(path)
    present = {str(p.relative_to(path)): p for p in _files(path)}
    if missing := sorted(set(hashes) - set(present)):
        raise RunError(f"checkpoint {path}: {missing[0]} is missing.")
    if extra := sorted(set(present) - set(hashes)):
        raise RunError(f"checkpoint {path}: {extra[0]} was not part of it.")
    for name, digest in hashes.items():
        if _sha256(present[name]) != digest:
            raise RunError(f"checkpoint {path}: {name} is truncated or changed.")
    return checkpoint


def require_structure(path: Path, like: TrainState) -> None:
    """Raise RunError unless the state of a checkpoint has the structure and types of `like` (shapes suffice)."""
    expected = leaf_types(jax.eval_shape(_without_typed_key, like))
    if wrong := first_difference(read_manifest(path)[2], expected):
        raise RunError(f"checkpoint {path}: its state has another structure than this version makes: {wrong}.")


def restore(path: Path, like: TrainState, shardings: TrainState | None = None) -> TrainState:
    """The state of a verified checkpoint, in the structure and types of `like` (shapes suffice).

    Args:
        path: the checkpoint, of whatever number of devices and processes.
        like: the state.
        shardings: where its arrays are to lie, as `jax.sharding.Sharding`; None for this process's own memory, free
            of any device.

    Raises:
        RunError: a file that does not match the manifest, or a state of another structure.
    """
    verify(path)
    target = jax.eval_shape(_without_typed_key, like)
    # Onto the device that is here: a checkpoint written on another kind of machine restores as well.
    alone = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    places = jax.tree.map(lambda _: alone, target) if shardings is None else shardings
    target = jax.tree.map(lambda v, s: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=s), target, places)
    require_structure(path, like)  # orbax casts other types in silence, and leaves reads behind when it refuses a shape
    try:
        with _checkpointer() as checkpointer:
            state = checkpointer.restore(path.resolve() / "state", target)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"checkpoint {path}: its state has another structure than this version makes ({error})."
        ) from None
    if shardings is None:
        # Orbax binds arrays to that device; free of it, what is computed from them can be shared out to others too.
        state = jax.tree.map(lambda v: jnp.array(np.asarray(v)), state)
    return state._replace(key=jax.random.wrap_key_data(state.key))


def paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder by step, whole or not."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir())


def newest_whole(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that verifies; `warn` hears of every newer one that does not."""
    for path in reversed(paths(folder)):
        try:
            return verify(path)
        except RunError as error:
            warn(f"{error} Falling back to the checkpoint before it.")
    return None


def best_whole(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The verified checkpoint with the highest validation metric; `warn` hears of damaged ones."""
    found = []
    for path in paths(folder):
        try:
            found.append(verify(path))
        except RunError as error:
            warn(f"{error} Left out.")
    return _best(found)


def _best(found: list[Checkpoint]) -> Checkpoint | None:
    evaluated = {c.metric: c for c in reversed(found) if c.metric is not None}
    return evaluated[max(evaluated)] if evaluated else None


def prune(folder: Path, step: int) -> None:
    """Of the whole checkpoints up to a step keep the two newest and the best; leave all others as they are.

    A damaged one may be evidence, and must not stand for one of those that a run falls back to.
    """
    found = []
    for path in paths(folder):
        try:
            checkpoint = verify(path)
        except RunError:
            continue
        if checkpoint.step <= step:
            found.append(checkpoint)
    best = _best(found)
    keep = {c.path for c in found[-2:]} | ({best.path} if best else set())
    for checkpoint in found:
        if checkpoint.path not in keep:
            shutil.rmtree(checkpoint.path)
