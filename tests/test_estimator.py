"""The estimator of scikit-learn: its own checks, and that it is what training and evaluation are."""

import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import CONTINUOUS_MODELS, IMPLICIT_MODELS, LIKELIHOOD_MODELS, MODELS, OTHER_MODELS
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from genjax_models import estimator as module
from genjax_models.config import Config, Training
from genjax_models.core import ImplicitModel, LatentVariableModel
from genjax_models.data import Arrays
from genjax_models.errors import ConfigError, DataError
from genjax_models.estimator import GenerativeModel, _in_pieces, objective_for
from genjax_models.evaluation import log_marginal, posterior_moments
from genjax_models.models import (
    GAN,
    NADE,
    NICE,
    VAE,
    AffineGenerator,
    SigmoidBeliefNetwork,
    SupervisedGenerator,
)
from genjax_models.models.networks import MLP
from genjax_models.models.units import Bernoulli, Categorical, Gaussian, Poisson
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.train import make_train

LINEAR = VAE(latent=2, encoder=MLP(()), decoder=MLP(()), likelihood=Gaussian(least_scale=0.01))
SMALL = GenerativeModel(LINEAR, num_steps=2, batch_size=8, num_samples=5)
# It takes scipy's array API, which has to be asked for in the environment before anything is imported.
NOT_FOR_US = "check_array_api_input"


TABLES = [MODELS, LIKELIHOOD_MODELS, CONTINUOUS_MODELS, OTHER_MODELS, IMPLICIT_MODELS]


def name_of(check) -> str:
    return check.func.func.__name__ if isinstance(check.func, functools.partial) else check.func.__name__


CHECKS = [(estimator, check) for estimator, check in estimator_checks_generator(SMALL) if name_of(check) != NOT_FOR_US]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[name_of(check) for _, check in CHECKS])
def test_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def data(number: int = 20, seed: int = 0) -> np.ndarray:
    """Rows far from zero, of features on different scales."""
    return np.random.RandomState(seed).randn(number, 3) * (1, 30, 0.1) + (0, 1e4, -5)


def bits(number: int = 20) -> np.ndarray:
    return np.random.RandomState(0).randint(2, size=(number, 3))


@pytest.fixture(scope="module")
def fitted() -> GenerativeModel:
    return clone(SMALL).set_params(random_state=0).fit(data())


@pytest.fixture(scope="module")
def net() -> GenerativeModel:
    model = SigmoidBeliefNetwork(layers=(3, 2))
    return GenerativeModel(model, num_steps=2, batch_size=8, num_samples=5, random_state=0).fit(bits())


def test_is_training_and_evaluation_of_standardized_rows(fitted):
    x, scaler = data(), StandardScaler().fit(data())
    scaled = scaler.transform(x).astype(np.float32)
    config = Config(LINEAR, ELBO(), Adam(), Arrays("x"), Training(num_steps=2, batch_size=8))
    key = jax.random.key(np.random.RandomState(0).randint(2**31))
    state, metrics = make_train(config)(config, key, scaled)
    jax.tree.map(np.testing.assert_array_equal, fitted.params_, dict(state.params))
    np.testing.assert_array_equal(fitted.metrics_["bound"], metrics["bound"])

    model = LINEAR.build(3)
    mean = posterior_moments(model, state.params, key, scaled).mean
    np.testing.assert_allclose(fitted.transform(x), mean, rtol=1e-5, atol=1e-6)
    decoded = jax.vmap(lambda z: model.decode(state.params, z, ()))(mean)
    np.testing.assert_allclose(fitted.inverse_transform(mean), scaler.inverse_transform(decoded), rtol=1e-6)
    assert fitted.n_iter_ == 2


def test_scores_are_log_densities_of_the_rows_as_given():
    """An affine generator's densities integrate to one in the units of X, and its codes lead back to X."""
    x = data()[:, 1:2]
    model = GenerativeModel(AffineGenerator(), num_steps=3, batch_size=8, random_state=0).fit(x)
    grid = np.linspace(1e4 - 1000, 1e4 + 1000, 2000)[:, None]
    assert np.exp(model.score_samples(grid)).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-4)
    assert model.score(x) == pytest.approx(model.score_samples(x).mean())
    np.testing.assert_allclose(model.inverse_transform(model.transform(x)), x, rtol=1e-6)


def test_samples_are_in_the_units_of_the_rows(fitted):
    drawn = StandardScaler().fit(data()).transform(fitted.sample(3000))
    # Of a decoder that has hardly learned: N(W z, 1) with z of mean zero.
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=6 * drawn.std(axis=0).max() / np.sqrt(3000))
    assert (drawn.std(axis=0) > 0.9).all()
    again = StandardScaler().fit(data()).transform(fitted.sample(7))
    np.testing.assert_allclose(again, drawn[:7], rtol=1e-5, atol=1e-5)


def test_estimates_depend_on_the_row_alone(net):
    """Wherever a row stands, and beside whatever."""
    x = bits()
    codes, scores = net.transform(x), net.score_samples(x)
    assert set(np.unique(codes)) == {0, 1}
    assert codes.shape == (20, 5)
    order = np.random.RandomState(1).permutation(20)
    np.testing.assert_array_equal(net.transform(x[order]), codes[order])
    np.testing.assert_array_equal(net.score_samples(x[order]), scores[order])
    assert len(np.unique(scores)) == len(np.unique(x, axis=0))


def test_rows_are_computed_in_pieces_of_few_sizes(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 8)
    sizes = []

    def double(rows):
        sizes.append(len(rows["x"]))
        return 2 * rows["x"], rows["y"].sum(axis=1)

    x, y = np.arange(21), np.arange(42).reshape(21, 2)
    twice, sums = _in_pieces(double, {"x": x, "y": y})
    np.testing.assert_array_equal(twice, 2 * x)
    np.testing.assert_array_equal(sums, y.sum(axis=1))
    _in_pieces(double, {"x": x[:3], "y": y[:3]})
    _in_pieces(double, {"x": x[:1], "y": y[:1]})
    assert sizes == [8, 8, 8, 4, 1]


def test_evaluation_takes_a_key_for_each_example(net):
    """Two keys are those of two runs on one example each, whose key is folded with 0."""
    model, rows = net.config_.model.build(3), jnp.asarray(bits()[[0, 0]], jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    found = log_marginal(model, net.params_, jax.vmap(jax.random.fold_in)(keys, jnp.zeros(2, int)), rows, 5).log_prob
    alone = [log_marginal(model, net.params_, key, rows[:1], 5).log_prob[0] for key in keys]
    np.testing.assert_allclose(found, alone, rtol=1e-6)
    assert found[0] != found[1]


def test_latents_of_several_groups_lie_side_by_side(net):
    codes = net.transform(bits())
    assert list(net.get_feature_names_out()) == [f"generativemodel{i}" for i in range(5)]
    # E[x | z] is of the latents next to x, the group of three.
    found = net.inverse_transform(codes)
    np.testing.assert_array_equal(net.inverse_transform(codes + np.repeat((0, 1), (3, 2))), found)
    assert (net.inverse_transform(codes + np.repeat((1, 0), (3, 2))) != found).any(axis=1).all()
    with pytest.raises(DataError, match="Z has 4 features, but the codes of this model have 5"):
        net.inverse_transform(codes[:, :4])


def test_default_units_are_bernoulli_of_bits_and_gaussian_of_all_else():
    bare = GenerativeModel()
    assert isinstance(bare._config(bits()).model.likelihood, Bernoulli)
    assert isinstance(bare._config(data()).model.likelihood, Gaussian)
    assert bare._config(bits() / 2).training == Training(num_steps=2000, batch_size=20)


@pytest.mark.parametrize("table", TABLES, ids=["latents", "likelihood", "continuous", "other", "implicit"])
def test_offers_what_the_model_can_do_and_an_objective_that_fits(table):
    for small in itertools.chain(*table.values()):
        model = small.config.build(small.visible)
        make_train(Config(small.config, objective_for(model), Adam(), Arrays("x")))
        estimator = GenerativeModel(small.config)
        assert (
            hasattr(estimator, "score") == hasattr(estimator, "score_samples") == (not isinstance(model, ImplicitModel))
        )
        codes = isinstance(model, LatentVariableModel) or getattr(model, "inverse", getattr(model, "encode", None))
        assert hasattr(estimator, "transform") == hasattr(estimator, "fit_transform") == bool(codes)


def test_samplers_have_no_scores_and_fit_in_few_rows():
    """A step takes three batches here, of a third of the rows each."""
    model = GenerativeModel(GAN(latent=2, generator=MLP((3,)), critic=MLP((3,))), num_steps=2, random_state=0)
    model.set_params(objective=module.Adversarial(critic_updates=2)).fit(bits())
    assert model.config_.training.batch_size == 6
    assert model.sample(4).shape == (4, 3)
    assert not hasattr(model, "score_samples")
    with pytest.raises(AttributeError, match="no attribute 'fit_transform'"):
        model.fit_transform(bits())


def test_fields_of_configurations_are_parameters():
    model = GenerativeModel(LINEAR, optimizer=Adam())
    assert model.get_params()["model__likelihood__least_scale"] == 0.01
    assert set(model.get_params(deep=False)) < set(model.get_params())
    model.set_params(model__latent=5, optimizer__learning_rate=0.1, num_steps=7)
    assert (model.model.latent, model.optimizer.learning_rate, model.num_steps) == (5, 0.1, 7)
    with pytest.raises(ConfigError, match=r"VAE has no field 'latnt'\. Did you mean 'latent'"):
        model.set_params(model__latnt=3)
    with pytest.raises(ConfigError, match="objective is None, which has no fields"):
        model.set_params(objective__num_particles=3)
    with pytest.raises(ValueError, match="Invalid parameter 'steps'"):
        model.set_params(steps=3)


def test_serves_grids_and_pipelines():
    grid = {"optimizer__learning_rate": [1e-3, 1e-1], "model__latent": [2]}
    estimator = clone(SMALL).set_params(optimizer=Adam(), random_state=0)
    scores = GridSearchCV(estimator, grid, cv=2).fit(data()).cv_results_["mean_test_score"]
    for rate, score in zip(grid["optimizer__learning_rate"], scores, strict=True):
        alone = clone(estimator).set_params(optimizer__learning_rate=rate, model__latent=2)
        assert score == cross_val_score(alone, data(), cv=2).mean()
    assert scores[0] != scores[1]
    pipeline = make_pipeline(PCA(3), clone(SMALL)).set_params(generativemodel__random_state=1)
    assert pipeline.fit_transform(data()).shape == (20, 2)
    copy = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(copy.score_samples(data()), pipeline.score_samples(data()))


def test_a_training_that_breaks_off_is_told():
    optimizer = Adam(learning_rate=1e30)
    model = GenerativeModel(AffineGenerator(), optimizer=optimizer, num_steps=3, batch_size=8, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"training broke off at step \d of 3.*learning_rate"):
        model.fit(data()[:, 1:2])
    assert model.n_iter_ < 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params_))


@pytest.mark.parametrize(
    ("estimator", "x", "message"),
    [
        (GenerativeModel(3), data(), "model: got 3, expected a configuration such as VAE()"),
        (GenerativeModel(objective=Adam()), data(), "objective: got Adam"),
        (GenerativeModel(optimizer=1e-3), data(), "optimizer: got 0.001"),
        (GenerativeModel(num_steps=0), data(), "training.num_steps: got 0, expected an integer, at least 1"),
        (GenerativeModel(batch_size=0), data(), "batch_size: got 0, expected an integer, at least 1"),
        (GenerativeModel(num_samples=1.5), data(), "num_samples: got 1.5"),
        (GenerativeModel(standardize="yes"), data(), "standardize: got 'yes', expected True or False"),
        (GenerativeModel(VAE(latent=0)), bits(), "model.latent: got 0"),
        (GenerativeModel(VAE(), objective=MaximumLikelihood()), bits(), "maximum_likelihood needs"),
        (GenerativeModel(NADE()), data(), "values are outside \\[0, 1\\]"),
        (GenerativeModel(NADE(units=Categorical(3))), bits() / 3, "none of the 3 grey levels k / 2, such as 0.33"),
        (GenerativeModel(VAE(likelihood=Poisson())), data(), "but VAE is of counts 0, 1, 2"),
        (GenerativeModel(NICE()), data()[:, :1], "n_features = 1, but NICE needs at least 2"),
        (GenerativeModel(SupervisedGenerator()), data(), "SupervisedGenerator is of examples given contexts"),
        (GenerativeModel(standardize=False), np.full((4, 2), 1e300), "values are NaN or infinite"),
    ],
)
def test_says_what_is_wrong_before_anything_is_compiled(estimator, x, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit(x)
    assert not hasattr(estimator, "params_")


def test_rows_that_the_model_is_not_defined_on_have_no_score(net):
    with pytest.raises(DataError, match="values are outside"):
        net.score_samples(data())
