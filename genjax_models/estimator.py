"""Any model as an estimator of scikit-learn: fitted to rows, then for codes, densities and samples.

model = GenerativeModel(VAE(latent=2, likelihood=Gaussian()), num_steps=500, random_state=0).fit(X)
model.transform(X), model.score_samples(X), model.sample(10)

Training is `train.make_train`, and what comes after it `evaluation` and the programs of `export`.
"""

import dataclasses
import functools
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from genjax_models.config import Config, ModelConfig, ObjectiveConfig, OptimizerConfig, Training, children, is_config
from genjax_models.core import ImplicitModel, Key, LikelihoodModel, Params
from genjax_models.data import Arrays, not_a_count
from genjax_models.data.dataset import check_levels, require_finite, require_unit
from genjax_models.errors import ConfigError, DataError, require_bool, require_count
from genjax_models.evaluation import LogMarginal
from genjax_models.evaluation.blocks import devices_for
from genjax_models.evaluation.marginal import with_warning
from genjax_models.export import programs_of
from genjax_models.measuring import evaluated_parameters, evaluation_key, example_log_marginal
from genjax_models.models import VAE
from genjax_models.models.units import Bernoulli, Gaussian
from genjax_models.objectives import (
    ELBO,
    Adversarial,
    GumbelSoftmax,
    MaximumLikelihood,
    MomentMatching,
    ReweightedWakeSleep,
)
from genjax_models.optimizers import Adam
from genjax_models.overlay import replaced
from genjax_models.train import batches_per_step, make_train, program_config

PIECE = 1024  # rows that are computed at once, at most
# Streams of evaluation keys, as `measuring` counts them.
LOG_MARGINAL, SAMPLES, CODES = 2, 3, 4

REAL = VAE(likelihood=Gaussian(least_scale=0.01))  # the floor is of standardized data
BINARY = VAE(likelihood=Bernoulli())


def objective_for(model: Any) -> ObjectiveConfig:
    """The objective that a model of any of the three capabilities is trained by unless another is asked for.

    Maximum likelihood where log p(x) is in closed form, and the evidence lower bound where latents are reparameterized;
    of other latents a relaxation if they are one-hot, and reweighted wake-sleep if they are binary. Samplers play
    against the critic that they have, or match moments.
    """
    if isinstance(model, LikelihoodModel):
        return MaximumLikelihood()
    if isinstance(model, ImplicitModel):
        return MomentMatching() if model.critic is None else Adversarial()
    if model.reparameterized:
        return ELBO()
    return ReweightedWakeSleep() if model.class_logits is None else GumbelSoftmax()


@functools.partial(jax.jit, static_argnames=("name", "visible"))
def _run(config: Config, params: Params, key: Key, seeds: jax.Array, rows: Any, name: str, visible: int) -> Any:
    """The program `name` of `export.programs_of` on rows [N, ...], the key of each folded in by its seed."""
    program = programs_of(config.model.build(visible), 1, False)[name]
    given = {"keys": _keys(key, seeds), "x": rows, "z": rows}
    return program.function(params, *(given[kind] for kind in program.inputs))


@jax.jit
def _keys(key: Key, seeds: jax.Array) -> jax.Array:
    return jax.vmap(lambda seed: jax.random.fold_in(key, seed))(seeds)


def _in_pieces(function: Callable[[Any], Any], rows: Any) -> Any:
    """`function` of rows, leaves [N, ...], some at a time: numpy leaves [N, ...].

    Pieces are filled up to a power of two by their last row, so that a few compiled programs serve every N.
    """
    number, found = len(jax.tree.leaves(rows)[0]), []
    for start in range(0, number, PIECE):
        size = min(PIECE, number - start)
        taken = start + np.minimum(np.arange(1 << (size - 1).bit_length()), size - 1)
        made = function(jax.tree.map(lambda v, taken=taken: v[taken], rows))
        found.append(jax.tree.map(lambda v, size=size: np.asarray(v)[:size], made))
    return jax.tree.map(lambda *v: np.concatenate(v), *found)


def _seeds(x: np.ndarray) -> np.ndarray:
    """A number for each row by its values, [N]: its noise is the same wherever it stands, and beside whatever."""
    return np.array([zlib.crc32(row.tobytes()) for row in x], np.uint32)


def _can(*names: str) -> Callable[["GenerativeModel"], bool]:
    """Whether the model of an estimator has these programs of `export.programs_of`."""
    return lambda estimator: set(names) <= set(estimator._programs)


class GenerativeModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A generative model as an estimator of scikit-learn, for pipelines, grids and cross-validation.

    What the model lacks the estimator lacks: samplers without a density have no `score_samples` and `score`, models
    without codes no `transform`, those that do not decode no `inverse_transform`. Fields of configurations are nested
    parameters, such as `model__latent` and `optimizer__learning_rate`.

    Args:
        model: a configuration from `genjax_models.models`; None for a `VAE`, with Bernoulli units where X is zeros and
            ones alone, and Gaussian units of learned scales elsewhere.
        objective: a configuration from `genjax_models.objectives`; None for what fits the model, by `objective_for`.
        optimizer: a configuration from `genjax_models.optimizers`; None for `Adam()`.
        num_steps: training steps.
        batch_size: examples a batch; all there are where X has fewer.
        num_samples: importance samples K an example for log p(x); unused where that is exact.
        standardize: whether a model of real numbers sees every feature with mean 0 and standard deviation 1.
            Densities, samples and decodings are of X as it is given.
        random_state: an integer, a `numpy.random.RandomState`, or None for numpy's global one; of parameters, batches
            and noise.

    Attributes:
        config_: the `Config` that was trained, with what None stood for.
        params_: the model's parameters, numpy arrays by group.
        metrics_: the objective's metrics, each [steps].
        n_iter_: steps taken, fewer than `num_steps` where training broke off.
        scaler_: the `StandardScaler` of X; None where the model is given X as it is.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Example:
        >>> model = GenerativeModel(RealNVP(), num_steps=500, random_state=0).fit(X_train)
        >>> model.score(X_test), model.transform(X_test).shape
    """

    def __init__(
        self,
        model: ModelConfig | None = None,
        *,
        objective: ObjectiveConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        num_steps: int = 2000,
        batch_size: int = 100,
        num_samples: int = 100,
        standardize: bool = True,
        random_state: Any = None,
    ):
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.num_samples = num_samples
        self.standardize = standardize
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; if `deep` also the fields of configurations, as `model__latent`."""
        found = super().get_params(deep=False)
        todo = list(found.items()) if deep else []
        while todo:
            path, value = todo.pop()
            if is_config(value):
                fields = [(f"{path}__{name}", child) for _, name, _, child, _ in children(value)]
                found.update(fields)
                todo += fields
        return found

    def set_params(self, **params: Any) -> "GenerativeModel":
        """Set parameters by name, and fields of configurations by names such as `model__latent`.

        Raises:
            ValueError: a parameter or a field that is not there.
        """
        super().set_params(**{name: value for name, value in params.items() if "__" not in name})
        for path, value in params.items():
            name, *fields = path.split("__")
            if not fields:
                continue
            if not is_config(node := getattr(self, name, None)):
                raise ConfigError(f"{path}: {name} is {node!r}, which has no fields; give a configuration as {name}.")
            setattr(self, name, replaced(node, ".".join(fields), value))
        return self

    def fit(self, X: Any, y: Any = None) -> "GenerativeModel":
        """Train a new model on X.

        Args:
            X: examples [N, D].
            y: not used.

        Raises:
            ValueError: X that is no such array or holds values that the model is not defined on; parameters that are
                wrong or do not fit each other.

        Warns:
            ConvergenceWarning: training broke off at a step that was not finite.
        """
        X = validate_data(self, X, dtype=(np.float64, np.float32))
        config = self._config(X)
        scale = config.model.data_support == "real" and self.standardize
        self.scaler_ = StandardScaler().fit(X) if scale else None
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        x = self._as_seen(X, config)
        train = make_train(config)
        state, metrics = train(config, jax.random.key(self._seed), x)
        self.config_, self.n_iter_ = config, int(state.step)
        self.params_ = jax.tree.map(np.asarray, evaluated_parameters(state))
        self.metrics_ = {name: np.asarray(v) for name, v in metrics.items()}
        if bool(state.halted):
            warnings.warn(
                f"training broke off at step {self.n_iter_} of {self.num_steps}, where loss or gradient were not "
                "finite; lower the optimizer's learning_rate, or give it a clip_norm.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The codes of examples: the mean of z under q(z | x) where it has a closed form, else a draw of z.

        Of an invertible generator the z that it makes x of. A draw depends on the example and `random_state` alone.

        Args:
            X: examples [N, D].

        Returns:
            Codes [N, Z], the latents of all groups side by side.
        """
        x = self._rows(X)
        z = self._by_rows("encode", CODES, _seeds(x), x)
        return np.concatenate([v.reshape(len(x), -1) for v in jax.tree.leaves(z)], axis=1)

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """`fit(X)`, and then `transform(X)`."""
        return self.fit(X).transform(X)

    @available_if(_can("encode", "decode"))
    def inverse_transform(self, X: Any) -> np.ndarray:
        """What the model decodes codes to: E[x | z], or the x of an invertible generator.

        Args:
            X: codes [N, Z], as from `transform`.

        Returns:
            Examples [N, D].
        """
        check_is_fitted(self)
        z = check_array(X, dtype=(np.float64, np.float32), input_name="Z")
        if z.shape[1] != self._n_features_out:
            raise DataError(f"Z has {z.shape[1]} features, but the codes of this model have {self._n_features_out}.")
        leaves, structure = jax.tree.flatten(self._code)
        ends = np.cumsum([v.size for v in leaves])[:-1]
        parts = np.split(z.astype(jnp.result_type(float)), ends, axis=1)
        parts = [v.reshape(len(z), *like.shape[1:]) for v, like in zip(parts, leaves, strict=True)]
        parts = jax.tree.unflatten(structure, parts)
        return self._as_given(self._by_rows("decode", CODES, np.zeros(len(z), np.uint32), parts))

    @available_if(_can("log_marginal"))
    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of examples, in nats: exact, or an importance weighted estimate by `num_samples` draws of q(z | x).

        The estimate is in expectation below log p(x), and depends on the example and `random_state` alone.

        Args:
            X: examples [N, D].

        Returns:
            log p(x), [N]: a log density where x is real, and of intensities under a Bernoulli likelihood minus their
            cross-entropy, which is no log p(x).

        Warns:
            DoubtfulEstimate: examples whose weights speak against their estimates.
        """
        x = self._rows(X)
        require_count("num_samples", self.num_samples)
        config, key = program_config(self.config_), evaluation_key(self._seed, LOG_MARGINAL)
        sizes = self.n_features_in_, int(self.num_samples), devices_for()

        def estimate(given: tuple[np.ndarray, np.ndarray]) -> LogMarginal:
            seeds, x = given
            return example_log_marginal(config.model, self.params_, _keys(key, seeds), x, *sizes)

        found = with_warning("score_samples", _in_pieces(estimate, (_seeds(x), x)), "Raise num_samples.")
        log_density = np.asarray(found.log_prob)
        # p(x) of x = mean + scale * v is p(v) / prod scale.
        return log_density if self.scaler_ is None else log_density - np.log(self.scaler_.scale_).sum().astype(x.dtype)

    @available_if(_can("log_marginal"))
    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, nats per example.

        Args:
            X: examples [N, D].
            y: not used.
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draws of x, the same at every call where `random_state` is an integer.

        Args:
            n_samples: their number.

        Returns:
            Examples [n_samples, D].
        """
        check_is_fitted(self)
        require_count("n_samples", n_samples)
        seed = int(check_random_state(self.random_state).randint(2**31))
        numbers = np.arange(n_samples, dtype=np.uint32)
        return self._as_given(self._by_rows("sample", SAMPLES, numbers, numbers, seed))

    @property
    def _programs(self) -> dict[str, Any]:
        """What the model can do; before it is fitted, what the one that is asked for can."""
        config = getattr(self, "config_", None)
        model = (self.model or REAL) if config is None else config.model
        return programs_of(model.build(model.least_visible), 1, False)

    @property
    def _code(self) -> Any:
        """The shape of the latents of one example, leaves [1, ...]."""
        x, seeds = jnp.zeros((1, self.n_features_in_)), np.zeros(1, np.uint32)
        run = functools.partial(_run, name="encode", visible=self.n_features_in_)
        return jax.eval_shape(run, program_config(self.config_), self.params_, jax.random.key(0), seeds, x)

    @property
    def _n_features_out(self) -> int:
        return sum(v.size for v in jax.tree.leaves(self._code))

    def _by_rows(self, name: str, stream: int, seeds: np.ndarray, rows: Any, seed: int | None = None) -> Any:
        """A program of the model on all rows, numpy leaves [N, ...]."""
        run = functools.partial(_run, name=name, visible=self.n_features_in_)
        config, key = program_config(self.config_), evaluation_key(self._seed if seed is None else seed, stream)
        return _in_pieces(lambda given: run(config, self.params_, key, *given), (seeds, rows))

    def _config(self, x: np.ndarray) -> Config:
        """The run that the parameters ask for on x [N, D], or an error before anything is compiled."""
        require_count("batch_size", self.batch_size)
        require_count("num_samples", self.num_samples)
        require_bool("standardize", self.standardize)
        model = (BINARY if np.isin(x, (0, 1)).all() else REAL) if self.model is None else self.model
        for name, value, base, example in (
            ("model", model, ModelConfig, "VAE()"),
            ("objective", self.objective, ObjectiveConfig | None, "ELBO()"),
            ("optimizer", self.optimizer, OptimizerConfig | None, "Adam()"),
        ):
            if not isinstance(value, base):
                raise ConfigError(f"{name}: got {value!r}, expected a configuration such as {example}.")
        if model.needs_context:
            raise ConfigError(
                f"model: {type(model).__name__} is of examples given contexts, which X does not have; train it by "
                "`train.make_train` or `experiment.train_run`."
            )
        if x.shape[1] < model.least_visible:
            raise DataError(
                f"X has n_features = {x.shape[1]}, but {type(model).__name__} needs at least {model.least_visible}."
            )
        config = Config(
            model=model,
            objective=self.objective or objective_for(model.build(model.least_visible)),
            optimizer=self.optimizer or Adam(),
            data=Arrays("X"),  # names what is given: no file is read
            training=Training(num_steps=self.num_steps, batch_size=1),
        )
        make_train(config)
        most = len(x) // batches_per_step(config, x.shape[1])
        training = dataclasses.replace(config.training, batch_size=min(self.batch_size, max(most, 1)))
        return dataclasses.replace(config, training=training)

    def _as_seen(self, x: np.ndarray, config: Config) -> np.ndarray:
        """Examples as the model sees them, [N, D]; DataError where it is not defined on them."""
        if config.model.data_support == "unit":
            require_unit(x, "X", "unit")
        if config.model.data_support == "count" and (wrong := not_a_count(x)) is not None:
            raise DataError(f"X holds {wrong:g}, but {type(config.model).__name__} is of counts 0, 1, 2, ....")
        levels = getattr(config.model.build(x.shape[1]), "levels", None) or getattr(config.model, "levels", None)
        if levels not in (None, 2):
            check_levels("X", x, levels, "give the units the number of levels that X has")
        x = x if self.scaler_ is None else self.scaler_.transform(x)
        with np.errstate(over="ignore"):  # which is reported next
            x = np.ascontiguousarray(x, jnp.result_type(float))
        require_finite(x, "X")
        return x

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._as_seen(validate_data(self, X, dtype=(np.float64, np.float32), reset=False), self.config_)

    def _as_given(self, x: np.ndarray) -> np.ndarray:
        # In float64: data may lie far from zero, as seen from their scale.
        return x if self.scaler_ is None else self.scaler_.inverse_transform(x.astype(np.float64))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # what the model computes in
        return tags


# Only now: scikit-learn wraps both for `set_output` as the class is made, and would take the condition off.
for _name in ("transform", "fit_transform"):
    setattr(GenerativeModel, _name, available_if(_can("encode"))(getattr(GenerativeModel, _name)))
