"""Classes of any source as contexts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import Log

from genjax_models.config import Config, Evaluation, Training
from genjax_models.core import Batch
from genjax_models.data import Arrays, Bars, Digits, Files, Solids, WithClasses, examples
from genjax_models.errors import DataError
from genjax_models.experiment import load_run, train_run
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam
from genjax_models.train import make_train

SPLITS = ("train", "validation", "test")


def test_contexts_are_the_classes():
    source = WithClasses(Digits(binarization="dynamic"))
    data, plain, labels = source.load(), Digits(binarization="dynamic").load(), source.labels()
    assert data._replace(train_context=None, validation_context=None, test_context=None)[3:] == plain[3:]
    assert (source.dynamic, data.dynamic, source.binarization) == (True, True, "dynamic")
    for name in SPLITS:
        np.testing.assert_array_equal(getattr(data, name), getattr(plain, name))
        context = getattr(data, f"{name}_context")
        assert (context.shape, context.dtype) == ((len(getattr(data, name)), 10), np.float32)
        np.testing.assert_array_equal(context.argmax(1), getattr(labels, name))
        np.testing.assert_array_equal(context.sum(1), 1)


def test_classes_are_those_of_all_splits_in_order(tmp_path):
    """Whatever their numbers are, also those that a split lacks."""
    x = np.eye(4, dtype=np.uint8)
    labels = {"train": [7, 10**12, 7, 7], "valid": [3, 3, 3, 7], "test": [7, 7, 7, 10**12]}
    np.savez(tmp_path / "x.npz", train=x, valid=x, test=x, **{f"{k}_labels": np.array(v) for k, v in labels.items()})
    data = WithClasses(Arrays(str(tmp_path / "x.npz"))).load()
    one_hot = {3: [1, 0, 0], 7: [0, 1, 0], 10**12: [0, 0, 1]}
    for name, given in zip(SPLITS, labels.values(), strict=True):
        np.testing.assert_array_equal(getattr(data, f"{name}_context"), [one_hot[v] for v in given])


def test_names_of_classes_in_a_table(tmp_path):
    rows = [f"{i},{'cat' if i % 3 else 'ape'}" for i in range(30)]
    (tmp_path / "x.csv").write_text("\n".join(["size,kind", *rows]), encoding="utf-8")
    data = WithClasses(Files(str(tmp_path / "x.csv"), label="kind")).load()
    np.testing.assert_array_equal(data.train_context[:, 0] == 1, data.train[:, 0] % 3 == 0)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (Bars(), "Bars has no labels; use data with labels"),
        (Solids(size=8, num_train=9, num_validation=3, num_test=3), "with_classes: Solids has contexts of its own"),
        (WithClasses(), "with_classes: WithClasses has contexts of its own"),
    ],
)
def test_what_has_no_classes_is_refused(source, text):
    with pytest.raises(DataError, match=text):
        WithClasses(source).load()


CONFIG = Config(
    model=VAE(latent=2, encoder=MLP((8,)), decoder=MLP((8,)), conditional=True),
    objective=ELBO(),
    optimizer=Adam(1e-2),
    data=WithClasses(Digits(binarization="dynamic")),
    training=Training(num_steps=10, batch_size=20, evaluate_every=10, chunk=5),
    evaluation=Evaluation(num_samples=10, test_examples=20, validation_examples=20),
)


def test_training_is_that_on_the_source_with_contexts():
    """New noise at every step as the source has it, bit for bit."""
    data = CONFIG.data.load()
    batch = examples(data, "train")
    assert isinstance(batch, Batch)
    key = jax.random.key(0)
    state, _ = make_train(CONFIG)(CONFIG, key, batch)
    plain = Config(CONFIG.model, ELBO(), Adam(1e-2), CONFIG.data.data, CONFIG.training)
    expected, _ = make_train(plain)(plain, key, batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected.params)
    # Without noise the same intensities, taken as they are, train to something else.
    still = Config(CONFIG.model, ELBO(), Adam(1e-2), Digits(binarization="none"), CONFIG.training)
    other, _ = make_train(still)(still, key, batch)
    assert any(map(lambda a, b: bool((a != b).any()), *map(jax.tree.leaves, (state.params, other.params))))


def test_a_run_is_a_model_given_the_class(tmp_path):
    train_run(CONFIG, tmp_path / "run", log=Log())
    model, params = load_run(tmp_path / "run", Log())

    def draw(key, c):
        return model.decode(params, model.sample_joint(params, key, c)[0], c)

    keys = jax.random.split(jax.random.key(1), 5)
    drawn = [jax.vmap(draw, (0, None))(keys, c) for c in jnp.eye(10)[:2]]
    assert drawn[0].shape == (5, 64)
    assert not np.allclose(*drawn)
