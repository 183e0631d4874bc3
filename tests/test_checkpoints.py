"""Checkpoints: what is saved comes back bit for bit, and what was damaged is never used."""

import gc
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore

from genjax_models import checkpoints
from genjax_models.core import PhaseState, TrainState
from genjax_models.errors import RunError

ADAM = optax.adam(0.1)


def training_state(step: int = 7, width: int = 3, optimizer=ADAM, average: bool = True, dtype=jnp.float32):
    """A state with every kind of array, and bits that arithmetic would not keep."""
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 0.1], np.float32).view(np.uint32)
    special[0] ^= 0x12345  # another NaN than the usual
    params = {
        "generative": {"w": jnp.asarray(np.random.RandomState(step).normal(size=(width, 2)), dtype)},
        "recognition": {"special": jax.lax.bitcast_convert_type(jnp.asarray(special), jnp.float32)},
    }
    return TrainState(
        step=jnp.int32(step),
        key=jax.random.key(step),
        params=params,
        phases=(
            PhaseState({"baseline": jnp.arange(4.0)}, (), optimizer.init((params, ()))),
            PhaseState((), {"count": jnp.int32(3), "seen": jnp.array([True, False])}, ()),
        ),
        average=params if average else None,
        nonfinite=jnp.int32(2),
        halted=jnp.array(True),
    )


def bits(state: TrainState):
    """Every leaf as its type, its shape and its bytes; the key as the words it is made of."""
    plain = state._replace(key=jax.random.key_data(state.key))
    return jax.tree.map(lambda v: (str(v.dtype), v.shape, np.asarray(v).tobytes()), plain)


class Warnings(list):
    """Collects the lines a function logs."""

    def __call__(self, line: str) -> None:
        self.append(line)


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with one checkpoint, for tests that only read it or work on a copy."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints.save(folder, training_state(), 12.5, -3.25, (-1.75, 4))
    return folder


@pytest.fixture
def whole(saved, tmp_path):
    """A copy of the checkpoint, to be damaged."""
    return Path(shutil.copytree(saved / "000000007", tmp_path / "000000007"))


@pytest.mark.slow
def test_a_save_keeps_nothing_in_memory(tmp_path):
    """tensorstore never frees what it counts for orbax, some twenty lists a save."""

    def lists(saves: int) -> int:
        for _ in range(saves):
            checkpoints.save(tmp_path, training_state(), 12.5, None)
        gc.collect()
        return sum(type(thing) is list for thing in gc.get_objects())

    first = lists(2)
    assert lists(4) < first + 4
    assert tensorstore.experimental_collect_matching_metrics("/tensorstore/")  # for others, and after a save


def test_restored_bit_for_bit(saved):
    """Also NaN, infinities, minus zero and denormals; the key is typed and draws the same numbers."""
    like = jax.eval_shape(lambda: training_state(step=0))
    found = checkpoints.restore(saved / "000000007", like)
    assert bits(found) == bits(training_state())
    assert jax.tree.structure(found) == jax.tree.structure(training_state())
    assert jnp.issubdtype(found.key.dtype, jax.dtypes.prng_key)
    assert jax.random.bits(found.key) == jax.random.bits(jax.random.key(7))
    # Bound to no device, so that an evaluation may use all of them.
    assert not any(leaf.committed for leaf in jax.tree.leaves(found))


def test_notes_come_back(saved):
    (path,) = checkpoints.paths(saved)
    assert checkpoints.verify(path) == checkpoints.Checkpoint(path, 7, 12.5, -3.25, (-1.75, 4))


def flips(size: int, path: Path) -> list[int]:
    """Which bytes to flip: all of the manifest, a sample of other files with both ends."""
    every = 1 if path.name == checkpoints.MANIFEST else 211
    return sorted({*range(0, size, every), size - 1})


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_any_flipped_byte_of_any_file_is_refused(whole, flip):
    for path in files_of(whole):
        content = path.read_bytes()
        for i in flips(len(content), path):
            path.write_bytes(content[:i] + bytes([content[i] ^ flip]) + content[i + 1 :])
            with pytest.raises(RunError) as raised:
                checkpoints.verify(whole)
            assert named(path) in str(raised.value), f"byte {i} of {path}"
        path.write_bytes(content)
    checkpoints.verify(whole)


def named(path: Path) -> str:
    """How a message names a file of a checkpoint."""
    return "the manifest" if path.name == checkpoints.MANIFEST else path.name


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip_last_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("damage", [truncate, empty, lengthen, Path.unlink], ids=lambda d: d.__name__)
def test_every_file_truncated_lengthened_or_deleted_is_refused(whole, tmp_path, damage):
    for path in files_of(whole):
        content = path.read_bytes()
        damage(path)
        with pytest.raises(RunError, match=named(path)):
            checkpoints.verify(whole)
        with pytest.raises(RunError, match=named(path)):
            checkpoints.restore(whole, training_state())
        path.write_bytes(content)
    checkpoints.verify(whole)


@pytest.mark.parametrize("name", ["stray", "state/stray", "state/d/stray", "new/stray"])
def test_added_file_is_refused(whole, name):
    (whole / name).parent.mkdir(exist_ok=True)
    (whole / name).write_bytes(b"")
    with pytest.raises(RunError, match="stray was not part of it"):
        checkpoints.verify(whole)


def test_files_of_another_checkpoint_are_refused(whole, tmp_path):
    """Each whole in itself, but not together."""
    other = checkpoints.save(tmp_path / "other", training_state(8), 0.0, None).path
    shutil.rmtree(whole / "state")
    shutil.copytree(other / "state", whole / "state")
    with pytest.raises(RunError):
        checkpoints.verify(whole)


@pytest.mark.parametrize("damage", [truncate, flip_last_bit, Path.unlink], ids=lambda d: d.__name__)
def test_newest_whole_falls_back_and_says_so(saved, tmp_path, damage):
    """Whichever file of the newest is damaged, the one before is used; with all damaged there is none."""
    names = ["000000007", "000000008", "000000009"]
    for name in names:  # the step is in the manifest; the folder's name orders them
        shutil.copytree(saved / "000000007", tmp_path / name)
    for path in files_of(tmp_path / names[2]):
        content, warn = path.read_bytes(), Warnings()
        damage(path)
        assert checkpoints.newest_whole(tmp_path, warn).path == tmp_path / names[1]
        (line,) = warn
        assert names[2] in line
        assert named(path) in line
        assert "Falling back to the checkpoint before it" in line
        path.write_bytes(content)
    warn = Warnings()
    assert checkpoints.newest_whole(tmp_path, warn).path == tmp_path / names[2]
    assert warn == []
    for name in names:
        damage(files_of(tmp_path / name)[-1])
    assert checkpoints.newest_whole(tmp_path, warn) is None
    assert [any(name in line for line in warn) for name in names] == [True] * 3
    assert len(warn) == 3


def test_newest_whole_of_nothing(tmp_path):
    assert checkpoints.newest_whole(tmp_path, Warnings()) is None
    assert checkpoints.newest_whole(tmp_path / "absent", Warnings()) is None


METRICS = {1: -5.0, 2: -1.0, 3: None, 4: -3.0, 5: -1.0, 6: -4.0, 7: None}


def save_with_metrics(folder: Path, metrics) -> None:
    for step, metric in metrics.items():
        checkpoints.save(folder, training_state(step), 0.0, metric)


def steps(folder: Path) -> list[int]:
    return [int(p.name) for p in checkpoints.paths(folder)]


def test_best_whole_is_the_first_with_the_highest_metric(tmp_path):
    """A damaged one is left out and named, and one without a metric is no candidate."""
    save_with_metrics(tmp_path, METRICS)
    warn = Warnings()
    assert checkpoints.best_whole(tmp_path, warn).step == 2
    assert warn == []
    truncate(files_of(tmp_path / "000000002")[0])
    assert checkpoints.best_whole(tmp_path, warn).step == 5
    (line,) = warn
    assert "000000002" in line
    truncate(files_of(tmp_path / "000000005")[0])
    assert checkpoints.best_whole(tmp_path, warn).step == 4


def test_best_whole_needs_a_metric(tmp_path):
    save_with_metrics(tmp_path, {1: None, 2: None})
    assert checkpoints.best_whole(tmp_path, Warnings()) is None


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [
        (METRICS, [2, 6, 7]),
        ({1: -1.0, 2: -2.0, 3: -3.0}, [1, 2, 3]),
        ({1: -3.0, 2: -2.0, 3: -1.0}, [2, 3]),
        ({1: None, 2: None, 3: None}, [2, 3]),
        ({1: -1.0}, [1]),
    ],
)
def test_prune_keeps_the_two_newest_and_the_best(tmp_path, metrics, kept):
    save_with_metrics(tmp_path, metrics)
    checkpoints.prune(tmp_path, 10**9)
    assert steps(tmp_path) == kept
    for path in checkpoints.paths(tmp_path):
        checkpoints.verify(path)


def test_prune_leaves_damaged_ones(tmp_path):
    """A checkpoint whose manifest is damaged is evidence, and does not count among the two newest."""
    save_with_metrics(tmp_path, {1: None, 2: None, 3: None, 4: None})
    truncate(tmp_path / "000000004" / checkpoints.MANIFEST)
    checkpoints.prune(tmp_path, 10**9)
    assert steps(tmp_path) == [2, 3, 4]


def test_prune_does_not_count_what_is_damaged(tmp_path):
    """Damaged arrays behind whole manifests: the run fell back to 1, and saved 2 after it."""
    save_with_metrics(tmp_path, {1: -5.0, 2: -4.0, 3: -1.0, 4: -2.0})
    for step in (3, 4):
        truncate(max(files_of(tmp_path / f"{step:09d}" / "state"), key=lambda p: p.stat().st_size))
    checkpoints.prune(tmp_path, 2)
    assert steps(tmp_path) == [1, 2, 3, 4]
    assert checkpoints.newest_whole(tmp_path, Warnings()).step == 2
    assert checkpoints.best_whole(tmp_path, Warnings()).step == 2


def test_prune_leaves_later_steps(tmp_path):
    save_with_metrics(tmp_path, {1: None, 2: None, 3: None, 9: None})
    checkpoints.prune(tmp_path, 3)
    assert steps(tmp_path) == [2, 3, 9]


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("where", ["fsync", "rename"])
def test_a_save_that_is_cut_short_leaves_no_checkpoint(tmp_path, monkeypatch, where):
    """Killed before the last move, the older checkpoint is the newest; the next save clears the rest away."""

    def die(*args):
        raise Crash

    save_with_metrics(tmp_path, {1: None})
    with monkeypatch.context() as patch:
        patch.setattr(*((checkpoints.os, "fsync") if where == "fsync" else (Path, "rename")), die)
        with pytest.raises(Crash):
            checkpoints.save(tmp_path, training_state(2), 0.0, None)
    (building,) = (p for p in tmp_path.iterdir() if p.name != "000000001")
    assert building.name.startswith("building-")
    (building / "stray").write_text("of the first try")
    assert steps(tmp_path) == [1]
    assert checkpoints.newest_whole(tmp_path, Warnings()).step == 1
    assert checkpoints.best_whole(tmp_path, Warnings()) is None
    checkpoints.prune(tmp_path, 10**9)
    assert checkpoints.save(tmp_path, training_state(2), 0.0, None).path == tmp_path / "000000002"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000001", "000000002"]
    assert bits(checkpoints.restore(tmp_path / "000000002", training_state(0))) == bits(training_state(2))


def test_the_same_step_saved_again_replaces_the_first(tmp_path):
    """A run that fell back behind a damaged checkpoint writes it anew."""
    path = checkpoints.save(tmp_path, training_state(3), 1.0, None).path
    truncate(files_of(path)[-1])
    again = training_state(3)._replace(nonfinite=jnp.int32(9))
    checkpoints.save(tmp_path, again, 2.0, -1.0)
    assert steps(tmp_path) == [3]
    assert checkpoints.verify(path).seconds == 2.0
    assert checkpoints.restore(path, again).nonfinite == 9


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"width": 4}, "params.generative.w"),
        ({"width": 2}, "params.generative.w"),
        ({"dtype": jnp.bfloat16}, "params.generative.w"),
        ({"optimizer": optax.sgd(0.1)}, "optimizer.0"),
        ({"optimizer": optax.sgd(0.1, 0.9)}, "optimizer.0"),
        ({"optimizer": optax.adamw(0.1)}, ""),
        ({"average": False}, "average"),
    ],
    ids=["wider", "narrower", "type", "sgd", "momentum", "adamw", "no average"],
)
def test_restoring_into_another_structure_is_refused(saved, other, name):
    """Other shapes or types, another optimizer, no average: refused with the leaf named, never cut or cast to fit."""
    with pytest.raises(RunError, match=f"another structure .*{name}"):
        checkpoints.restore(saved / "000000007", jax.eval_shape(lambda: training_state(**other)))
