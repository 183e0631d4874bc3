"""Completion: the exact conditionals by enumeration, in every pattern that a model supports, and clear refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_frequencies
from runs import Log
from toys import binary_states, quick_jit, random_params

from genjax_models.config import Config, Training
from genjax_models.data import Bars
from genjax_models.errors import ConfigError, DataError, ModelError
from genjax_models.evaluation import complete
from genjax_models.experiment import inpaint_run, train_run
from genjax_models.models import MADE, deep_nade, fvsbn, made, nade, realnvp, vae
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam

ORDER = (2, 0, 3, 1)
STATES = binary_states(4)
DRAWS = 3000
MODELS = {
    "fvsbn": fvsbn(4, order=ORDER),
    "nade": nade(4, hidden=3, order=ORDER),
    "made": made(4, hidden=(5,), order=ORDER),
    "made_masks": made(4, hidden=(5,), order=ORDER, mask_seed=0, num_masks=3),
    "deep_nade": deep_nade(4, hidden=(5,), order=ORDER),
}


def density(model, params):
    return np.exp(np.asarray(quick_jit(jax.vmap(lambda x: model.log_prob(params, x, ())))(jnp.asarray(STATES))))


def patterns(name):
    """Masks of hidden units: after every position of the order, or all there are where any may be seen."""
    if name != "deep_nade":
        return [np.isin(np.arange(4), ORDER[start:]) for start in range(5)]
    return [np.array(hidden) for hidden in itertools.product([False, True], repeat=4)]


@pytest.mark.parametrize("name", MODELS)
def test_completions_follow_the_exact_conditional(x64, name):
    model = MODELS[name]
    params = random_params(model, 4, seed=0, scale=1.0)
    x = np.array([1.0, 0.0, 1.0, 1.0])
    masks = patterns(name)
    rows = np.repeat(np.where(masks, 0.7, x), DRAWS, axis=0)  # what is hidden may hold any number
    drawn = np.asarray(complete(model, params, jax.random.key(1), rows, np.repeat(masks, DRAWS, axis=0)))
    for hidden, completed in zip(masks, drawn.reshape(len(masks), DRAWS, 4), strict=True):
        assert (completed[:, ~hidden] == x[~hidden]).all()
        # Deep NADE draws in the order that takes the seen units first, in which its conditional is exact.
        order = sorted(ORDER, key=lambda i, hidden=hidden: hidden[i])
        law = deep_nade(4, hidden=(5,), order=tuple(order)) if name == "deep_nade" else model
        given = density(law, params) * (STATES[:, ~hidden] == x[~hidden]).all(axis=1)
        (possible,) = np.nonzero(given)
        code = completed.astype(int) @ (2 ** np.arange(4)[::-1])
        assert set(np.unique(code)) <= set(possible)
        if len(possible) > 1:
            assert_frequencies(possible, given[possible] / given.sum(), code, fewest=2)


def test_everything_hidden_is_a_draw_of_the_ensemble(x64):
    """With nothing seen, deep NADE's ensemble draws from the average over its orders."""
    model = deep_nade(4, hidden=(5,), order=3, num_orders=3)
    params = random_params(model, 4, seed=1, scale=1.0)
    x = np.zeros((6000, 4))
    drawn = np.asarray(complete(model, params, jax.random.key(0), x, np.ones(4, bool)))
    assert_frequencies(np.arange(16), density(model, params), drawn.astype(int) @ (2 ** np.arange(4)[::-1]))


X, KEY = np.zeros((2, 4)), jax.random.key(0)
LAST = np.array([False, True, False, False])  # the unit that is last in the order
FIRST = np.array([False, False, True, False])


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda m, p: complete(m, p, KEY, X, FIRST), DataError, "in example 0, unit 0 is seen, but comes after unit 2"),
        (lambda m, p: complete(m, p, KEY, X, LAST[:3]), DataError, r"hidden: got bool of shape \(3,\)"),
        (lambda m, p: complete(m, p, KEY, X, LAST.astype(float)), DataError, "expected booleans"),
        (lambda m, p: complete(m, p, KEY, X + 0.5, LAST), DataError, "6 seen values are neither 0 nor 1, such as 0.5"),
        (lambda m, p: complete(m, p, KEY, X[0], LAST), DataError, r"expected \[N, D\]"),
        (lambda m, p: complete(m, p, KEY, X, LAST, block=0), ConfigError, "block: got 0"),
        (lambda m, p: complete(vae(4), p, KEY, X, LAST), ModelError, "complete needs a LikelihoodModel, got VAE"),
        (lambda m, p: complete(realnvp(4), p, KEY, X, LAST), ModelError, "RealNVP has no conditionals to draw from"),
    ],
)
def test_refusals(run, error, message):
    model = MODELS["made"]
    params = model.init(KEY, X[0], ())
    with pytest.raises(error, match=message):
        run(model, params)


def test_command_completes_test_images(tmp_path):
    """The lower half of bars by MADE in x's order; the upper half is refused before anything is drawn."""
    config = Config(
        model=MADE(hidden=(8,)),
        objective=MaximumLikelihood(),
        optimizer=Adam(),
        data=Bars(size=4, num_train=100, num_validation=10, num_test=10),
        training=Training(num_steps=2, batch_size=10, evaluate_every=2, chunk=2),
    )
    log = Log()
    train_run(config, tmp_path / "made", None, log=log)
    out = tmp_path / "completed.png"
    assert inpaint_run(tmp_path / "made", "bottom", 3, out, 0, False, None, log).is_file()
    with pytest.raises(DataError, match="unit 8 is seen, but comes after unit 0"):
        inpaint_run(tmp_path / "made", "top", 3, tmp_path / "other.png", 0, False, None, log)
    assert not (tmp_path / "other.png").exists()
