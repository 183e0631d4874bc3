"""Random configurations train, or are refused in words: by abstract evaluation of whole runs, and by some real ones."""

import contextlib
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from configurations import NUM, broken, configurations, paths, shapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genjax_models.cli import main
from genjax_models.config import Config, Training, canonical, validate
from genjax_models.core import Batch
from genjax_models.data import Digits
from genjax_models.errors import ConfigError, UserError
from genjax_models.measuring import example_metrics
from genjax_models.models import MODELS, VAE
from genjax_models.objectives import ELBO, OBJECTIVES
from genjax_models.optimizers import Adam
from genjax_models.overlay import from_json, to_json
from genjax_models.tables import types
from genjax_models.train import make_train, program_config

HANG = 120  # seconds
QUICK = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), max_examples=8
)
MANY = settings(QUICK, derandomize=False, max_examples=2000)
COUNTS = {"trained": 0, "refused": 0}


@contextlib.contextmanager
def no_hang():
    """AssertionError where what is within takes too long."""

    def stop(*_):
        raise AssertionError(f"took more than {HANG} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(config, x):
    """Whether a configuration is refused before anything is traced; whatever else is raised comes through."""
    try:
        train = make_train(config)
        train.shapes(config, x)
    except UserError:
        return True
    return False


def assert_trains(config, visible):
    """Its run, in shapes: two steps with scalar metrics, a state of the shapes of the first, and an evaluation."""
    x = shapes(config, visible)
    with no_hang():
        if refused(config, x):
            COUNTS["refused"] += 1
            return
        COUNTS["trained"] += 1
        train, program = make_train(config), canonical(config)
        key = jax.eval_shape(lambda: jax.random.key(0))
        first = train.shapes(config, x)
        state, metrics = jax.eval_shape(lambda c, k, d: train(c, k, d), program, key, x)
        assert jax.tree.map(lambda v: (v.shape, v.dtype), state) == jax.tree.map(lambda v: (v.shape, v.dtype), first)
        assert all(v.shape == (2,) for v in jax.tree.leaves(metrics))
        measured = example_metrics.eval_shape(
            program_config(config), first, first.params, first.key, x, visible=visible
        )
        number = 1 if config.model.capability == "ImplicitModel" else NUM  # one distance of samples from all examples
        assert all(v.shape == (number,) for v in jax.tree.leaves(measured))


@QUICK
@given(configurations())
def test_configurations_train_in_shapes(drawn):
    assert_trains(*drawn)


@pytest.mark.slow
def test_many_configurations_train_in_shapes():
    MANY(given(configurations())(lambda drawn: assert_trains(*drawn)))()
    print(COUNTS)


def trains(config, visible):
    """Two real steps: their metrics and parameters are finite wherever the policy lets nothing else through."""
    x = shapes(config, visible)
    if refused(config, x):
        return
    random = np.random.RandomState(0)
    data = jax.tree.map(lambda v: jnp.asarray(random.uniform(size=v.shape) > 0.5, jnp.float32), x)
    if isinstance(x, Batch):
        data = data._replace(context=jnp.ones_like(data.context))
    with no_hang():
        state, _ = make_train(config)(config, jax.random.key(0), data)
    assert int(state.step) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@settings(QUICK, max_examples=2)
@given(configurations())
def test_configurations_train(drawn):
    trains(*drawn)


@pytest.mark.slow
def test_many_configurations_train():
    settings(MANY, max_examples=100)(given(configurations())(lambda drawn: trains(*drawn)))()


@settings(QUICK, max_examples=60)
@given(broken())
def test_wrong_values_are_named(drawn):
    """The error has the field's path and the value."""
    config, path, value = drawn
    with pytest.raises(ConfigError) as raised:
        validate(config)
    assert path in str(raised.value)
    assert repr(value) in str(raised.value) or isinstance(value, tuple)


@pytest.mark.slow
def test_many_wrong_values_are_named():
    settings(MANY, max_examples=5000)(given(broken())(test_wrong_values_are_named.hypothesis.inner_test))()


TREE = to_json(Config(VAE(2), ELBO(), Adam(), Digits(), Training(2)), types())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def broken_json(draw):
    """The JSON of a configuration, in which something stands in the place of something else."""
    tree = json.loads(json.dumps(TREE))
    node = tree
    while True:
        keys = list(node)
        key = draw(st.sampled_from(keys))
        if isinstance(node[key], dict) and draw(st.booleans()):
            node = node[key]
            continue
        if draw(st.booleans()):
            node[draw(st.text(min_size=1, max_size=5))] = draw(JSON)
        else:
            node[key] = draw(JSON)
        return tree


@settings(QUICK, max_examples=60)
@given(broken_json())
def test_json_is_a_configuration_or_refused(tree):
    with contextlib.suppress(UserError):
        found = from_json(tree, types())
        assert from_json(to_json(found, types()), types()) == found


@pytest.mark.slow
def test_many_json_are_configurations_or_refused():
    settings(MANY, max_examples=5000)(
        given(broken_json())(test_json_is_a_configuration_or_refused.hypothesis.inner_test)
    )()


FILE = (
    "from genjax_models.config import Config, Training\nfrom genjax_models.data import Digits\n"
    "from genjax_models.models import {model}\nfrom genjax_models.objectives import {objective}\n"
    "from genjax_models.optimizers import Adam\n"
    "CONFIG = Config({model}(), {objective}(), Adam(), Digits(), Training(2))\n"
)


@st.composite
def wrong_words(draw):
    """A path of the file's configuration, or nearly one, and text that cannot be right for it."""
    config = Config(VAE(), ELBO(), Adam(), Digits(), Training(2))
    path, *_ = draw(st.sampled_from(list(paths(config))))
    text = draw(st.sampled_from(["-1e400", "nan", "(((", "no such thing", "1,b", "[1", "1e3,", "--"]))
    if draw(st.booleans()):
        path += draw(st.sampled_from(["x", ".x", "_y"]))
    return path, text


@settings(QUICK, max_examples=25)
@given(wrong_words())
def test_wrong_options_end_in_words(tmp_path_factory, drawn):
    """The command says what is wrong, with the name, and ends with 2."""
    path, text = drawn
    folder = tmp_path_factory.mktemp("options")
    file = folder / "file.py"
    file.write_text(FILE.format(model="VAE", objective="ELBO"))
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch, no_hang():
        for place in ("cli", "commands.shared"):
            patch.setattr(f"genjax_models.{place}.say", said.append)
        assert main(["train", str(file), f"--{path}={text}", "--run-dir", str(folder / "run")]) == 2
    assert said[0].startswith("error: ")
    assert path.split(".")[-1] in said[0].replace("-", "_")
    assert not (folder / "run").exists()


def test_models_and_objectives_that_do_not_fit_are_refused():
    """Every pair of the tables' defaults is built, or refused by an error of the package."""
    for model in MODELS.values():
        for objective in OBJECTIVES.values():
            try:
                config = Config(model(), objective(), Adam(), Digits(), Training(2))
            except TypeError:  # fields without defaults
                continue
            with contextlib.suppress(UserError):
                make_train(config)
