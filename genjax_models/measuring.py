"""What is measured and drawn of a run's parameters: bounds, likelihoods, samples, for p and for p*.

The compiled programs are those of one run; a sweep runs the same over its points.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from genjax_models import checkpoints, processes
from genjax_models.config import Config, DataConfig, ModelConfig
from genjax_models.core import Batch, LatentVariableModel, LikelihoodModel, Params, Trainable, TrainState, as_batch
from genjax_models.data import Dataset, Gaussians, PlantedDigits, blocks, evaluation_subset, examples
from genjax_models.errors import ConfigError, RunError
from genjax_models.evaluation import (
    LogMarginal,
    LogZSquared,
    blend,
    choose_sigma,
    inpaint,
    log_p_star,
    log_prob,
    log_z_squared,
    median_bandwidth,
    mmd_squared,
    mode_coverage,
    nearest,
    objective_metrics,
    particle_filter_log_marginal,
    parzen_log_likelihood,
    response,
    sample_p_star,
    squared_error,
    two_sample_test,
)
from genjax_models.evaluation.blocks import Devices, devices_for, in_blocks
from genjax_models.evaluation.marginal import estimate_log_marginal
from genjax_models.labels import label
from genjax_models.run_folder import ByExample, Run
from genjax_models.sweep_report import lower_is_better
from genjax_models.train import EVALUATION, build, make_train, metric_prefixes, program_config

Log = Callable[[str], None]


def number(value: Any) -> float | None:
    """A number as JSON has it: not finite becomes null."""
    value = float(value)
    return value if math.isfinite(value) else None


class Tested(NamedTuple):
    """What is found on the test split."""

    figures: dict[str, Any]  # means over its examples with their errors, and how they were measured
    values: dict[str, np.ndarray]  # what those are means of, [N], by their names without "test_"; none of a sampler

    def by_example(self, run: Run, step: int) -> ByExample:
        """What is kept of it, for the checkpoint of that step."""
        rows = evaluation_subset(np.arange(run.data.sizes[2]), run.config.evaluation.test_examples)
        return ByExample(rows, self.values, {"evaluated_step": step, **self.figures})


def levels(config: Config, data: Dataset) -> int | None:
    """L, where the model is of units with values k / (L - 1) alone."""
    built = config.model.build(data.train.shape[1])
    return getattr(built, "levels", getattr(config.model, "levels", None))


def kind_of_nll(config: Config, data: Dataset) -> Literal["probability", "density", "cross-entropy"]:
    """What an NLL is minus the log of: figures of different kinds cannot be compared, on the same data neither.

    A Bernoulli likelihood of intensities is no distribution over them; its figures are cross-entropies.
    """
    model = config.model
    if model.density or model.data_support == "real":
        return "density"
    bernoulli = model.data_support == "unit" and levels(config, data) in (None, 2)
    return "cross-entropy" if data.support == "unit" and bernoulli else "probability"


def how_measured(run: Run, data: Dataset) -> dict[str, Any]:
    """What a result says of the examples it is about, and of its noise."""
    source = run.config.data
    return {
        "data": label(source),
        "split": "test",
        "test_examples": len(data.test),
        "binarization": getattr(source, "binarization", None),
        "dequantization": getattr(source, "dequantization", None),
        "seed": int(run.config.seed),
        "units": "nats per example",
    }


@functools.partial(jax.jit, static_argnames=("visible", "devices"))
def example_metrics(
    config: Config, state: TrainState, params: Params, key, x, visible: int, devices: Devices = 1
) -> dict[str, jax.Array]:
    """The objective's metrics on every example, each [N]; `x` may be a `Batch`. Of a sampler, its distance from them
    all, [1]."""
    if config.model.capability == "ImplicitModel":
        return {SAMPLER_METRIC: _distance(config, params, key, x, visible)[None]}
    x = jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), x)
    phases = build(config, visible)[1].phases
    metrics: dict[str, jax.Array] = {}
    for phase, held, prefix in zip(phases, state.phases, metric_prefixes(phases), strict=True):
        trainable = Trainable(params, held.own)
        found = objective_metrics(phase.objective, trainable, held.objective, key, x, state.step, devices=devices)
        metrics |= {prefix + name: value for name, value in found.items()}
    return metrics


# Samplers, which have no log p(x).

SAMPLER_METRIC = "mmd_squared"
COMPARED = 2000  # examples, at most, that samples are compared with: the work grows with the square
PERMUTED = 500  # and of those in a permutation test, by which the two samples are told apart
PERMUTATIONS = 500
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the median squared distance
WINDOWS = np.geomspace(0.03, 3, 25)  # of Parzen, times the data's standard deviation


def _some(x: Any, most: int) -> Any:
    """At most so many rows, spread evenly."""
    number = as_batch(x).x.shape[0]
    return jax.tree.map(lambda v: v[np.arange(min(number, most)) * number // min(number, most)], x)


def _beside(config: Config, params: Params, key, x, visible: int) -> tuple[jax.Array, jax.Array]:
    """Examples, and as many samples given their contexts."""
    batch = jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), as_batch(x))
    model = config.model.build(visible)
    keys = jax.random.split(key, batch.x.shape[0])
    return batch.x, jax.vmap(lambda k, c: model.sample(params, k, c))(keys, batch.context)


def _distance(config: Config, params: Params, key, x, visible: int) -> jax.Array:
    """An unbiased estimate of MMD^2 between examples and samples, by kernels that depend on the examples alone."""
    given, drawn = _beside(config, params, key, _some(x, COMPARED), visible)
    middle = median_bandwidth(given, most=PERMUTED)
    return mmd_squared(given, drawn, tuple(share * middle for share in BANDWIDTHS))  # type: ignore[misc]  # traced numbers


@functools.partial(jax.jit, static_argnames="visible")
def _p_value(config: Config, params: Params, key, x, visible: int) -> jax.Array:
    draw, permute = jax.random.split(key)
    # Its own bandwidths are those of both samples together, without which the test would not be exact.
    pair = _beside(config, params, draw, _some(x, PERMUTED), visible)
    return two_sample_test(permute, *pair, num_permutations=PERMUTATIONS).p_value


def test_sampler(run: Run, state: TrainState, params: Params, data: Dataset, num_samples: int) -> Tested:
    """What is said of the test split for a sampler: MMD^2, a two-sample test, and Parzen's window on samples."""
    config, visible = program_config(run.config), run.data.visible
    x = jax.device_put(examples(data, "test"))
    distance = measure(run, state, params, 1, x)[SAMPLER_METRIC]
    p_value = _p_value(config, params, evaluation_key(run.config.seed, 2), x, visible)
    samples = sample_images(run, params, num_samples, PARZEN, data.test_context)
    validation = np.asarray(_some(data.validation, COMPARED), np.float32)
    sigma = choose_sigma(samples, validation, tuple(validation.std() * WINDOWS))
    parzen, error = mean_and_error(parzen_log_likelihood(samples, data.test.astype(np.float32), sigma))
    figures = {
        f"test_{SAMPLER_METRIC}": number(distance[0]),
        "test_two_sample_p_value": number(p_value),
        "test_parzen_log_likelihood": parzen,
        "test_parzen_log_likelihood_standard_error": error,
        "test_parzen_sigma": number(sigma),
        "test_parzen_samples": num_samples,
        **mode_figures(run.config.data, samples),
        **how_measured(run, data),
    }
    return Tested(figures, {})


def mode_figures(source: DataConfig, samples: np.ndarray) -> dict:
    """How samples cover the modes of the source, where it has known ones, within three standard deviations."""
    if not isinstance(source, Gaussians):
        return {}
    coverage = mode_coverage(samples, source.centres().astype(np.float32), 3 * source.std)
    return {
        "test_modes": source.modes,
        "test_modes_covered": int(coverage.modes),
        "test_high_quality_samples": number(coverage.high_quality),
        "test_modes_divergence": number(coverage.divergence),
    }


def with_neighbours(samples: np.ndarray, data: Dataset) -> np.ndarray:
    """Each sample followed by the training example that is nearest to it, [2 N, D]: copies show."""
    found, least = np.empty_like(samples), np.full(len(samples), np.inf)
    for x in blocks(data.train):
        row, distance = (np.asarray(v) for v in nearest(x.astype(np.float32), samples))
        closer = ~(distance >= least)  # a sample that is not finite has some neighbour as well
        found, least = np.where(closer[:, None], x[row], found), np.where(closer, distance, least)
    return np.stack([samples, found], axis=1).reshape(-1, samples.shape[1])


@functools.partial(jax.jit, static_argnames=("visible", "num_samples", "devices"))
def example_log_marginal(
    config: ModelConfig, params: Params, key, x, visible: int, num_samples: int, devices: Devices = 1
) -> LogMarginal:
    """log p(x) of every example, leaves [N]: exact, and then without error, where the model has it in closed form.

    It is told of the model alone, so that runs which differ in how they train it share the program.
    """
    model = config.build(visible)
    x = jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), x)
    if isinstance(model, LikelihoodModel):
        exact = log_prob(model, params, x)
        zero, inf, nan = (jnp.full_like(exact, v) for v in (0, jnp.inf, jnp.nan))
        return LogMarginal(exact, zero, inf, nan, jnp.zeros(exact.shape, bool))
    return estimate_log_marginal(model, params, key, as_batch(x), num_samples, devices=devices)


@functools.partial(jax.jit, static_argnames=("visible", "num"))
def draw_canvases(config: Config, params: Params, key, visible: int, num: int) -> tuple[jax.Array, jax.Array | None]:
    """E[x] as it stands after every step of `num` draws of z, [num, T, D], and where each step draws, [num, T, 4]."""
    model = config.model.build(visible)

    def one(key):
        z, _ = model.sample_joint(params, key, ())
        return model.canvases(params, z, ()), None if model.windows is None else model.windows(params, z, ())

    return jax.vmap(one)(jax.random.split(key, num))


def canvases(run: Run, params: Params, num: int) -> tuple[np.ndarray, np.ndarray | None] | None:
    """`draw_canvases` of the samples that are in the run's picture; None where images are not drawn step by step."""
    model = run.config.model.build(run.data.visible)
    if getattr(model, "canvases", None) is None or run.data.image_shape is None:
        return None
    key = evaluation_key(run.config.seed, 3)
    drawn, windows = draw_canvases(program_config(run.config), params, key, run.data.visible, num)
    return np.asarray(drawn), None if windows is None else np.asarray(windows)


@functools.partial(jax.jit, static_argnames=("visible", "num"))
def draw_expectations(config: Config, params: Params, key, visible: int, num: int, contexts: Any = ()) -> jax.Array:
    """E[x | z] of draws of z from the prior, [num, D]; where that has no closed form, the draws of x.

    Draw i is given row i of the contexts, leaves [num, ...].
    """
    model = config.model.build(visible)

    def one(key, c):
        if isinstance(model, LikelihoodModel) and model.mean is not None:
            return model.mean(params, c)
        if not isinstance(model, LatentVariableModel):
            return model.sample(params, key, c)
        z, x = model.sample_joint(params, key, c)
        return x if model.decode is None else model.decode(params, z, c)

    return jax.vmap(one)(jax.random.split(key, num), contexts)


# p*, the distribution of a bidirectional Helmholtz machine.


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _log_z_squared(config: Config, params: Params, key, visible: int, num_samples: int):
    return log_z_squared(config.model.build(visible), params, key, num_samples)


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _log_p_star(config: Config, params: Params, key, x, normalizer: LogZSquared, visible: int, num_samples: int):
    return log_p_star(config.model.build(visible), params, key, x, normalizer, num_samples)


@functools.partial(jax.jit, static_argnames=("visible", "num"))
def _sample_p_star(config: Config, params: Params, key, visible: int, num: int) -> jax.Array:
    """The probabilities that draws of p* were made by, [num, D]."""
    return sample_p_star(config.model.build(visible), params, key, num).probabilities


@functools.partial(jax.jit, static_argnames="visible")
def draw_completions(config: Config, params: Params, key, x, hidden, visible: int) -> jax.Array:
    """x with the probabilities of what is hidden, [N, D]."""
    return inpaint(config.model.build(visible), params, key, x, hidden).probabilities


def check_p_star(config: Config, visible: int, what: str) -> None:
    """Raise ConfigError unless p* of the model can be evaluated and sampled."""
    model = config.model.build(visible)
    if not isinstance(model, LatentVariableModel) or model.support != "binary":
        raise ConfigError(
            f"{what}: p* is the geometric mean of p(x, z) and q(z | x) over binary latents, which {model.name} does "
            "not have; use a belief net, or the distribution 'p'."
        )


def best_by(config: Config) -> str:
    """The validation metric that chooses checkpoints."""
    of_model = SAMPLER_METRIC if config.model.capability == "ImplicitModel" else config.objective.metric
    return config.evaluation.best_by or of_model


def worth(metric: str, value: float | None) -> float | None:
    """A metric so that higher is better; of its worth, the metric."""
    return -value if value is not None and lower_is_better(metric) else value


def evaluated_parameters(state: TrainState) -> Params:
    """The moving average where one is kept, else the parameters."""
    return state.params if state.average is None else state.average


def mean_and_error(values: Any) -> tuple[float | None, float | None]:
    """The mean of values [N] and its standard error; None for what is not finite, and for the error of one value."""
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # a model that has diverged
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return number(values.mean()), number(error)


def abstract_state(run: Run) -> TrainState:
    """The shapes of the run's training state."""
    train = make_train(run.config)
    return train.shapes(run.config, run.data.abstract)


def chosen_parameters(run: Run, log: Log) -> tuple[TrainState, Params, checkpoints.Checkpoint]:
    """The state of the checkpoint that `evaluation.parameters` chooses, with the parameters to evaluate.

    Raises:
        RunError: no whole checkpoint.
    """

    def choose() -> str:
        best = None
        if run.config.evaluation.parameters == "best":
            best = checkpoints.best_whole(run.checkpoints, log)
            if best is None:
                log(f"no whole checkpoint has a finite validation {best_by(run.config)}; taking the latest.")
        chosen = best or checkpoints.newest_whole(run.checkpoints, log)
        if chosen is None:
            raise RunError(f"{run.folder}: no whole checkpoint in {run.checkpoints}; train it first.")
        return chosen.path.name

    chosen = checkpoints.read_manifest(run.checkpoints / processes.by_first(choose))[0]
    state = checkpoints.restore(chosen.path, abstract_state(run))
    return state, evaluated_parameters(state), chosen


# Streams beyond samples' seeds.
LOG_Z, LOG_P_STAR, COMPLETIONS, PLANTED, DIAGNOSIS, FILTER, CONTINUATION, QUALITY, ANNEALING = (
    2**32 - i for i in range(1, 10)
)
FILTERS = 10  # particle filters of a sequence, among which the samples of log p(x) are shared out
PARZEN = 2**31  # a seed of samples that no command takes


def evaluation_key(seed: Any, stream: int) -> jax.Array:
    """A key for evaluations: 0 validation, 1 test bound, 2 log p(x), 3 and on samples; and those below for p*."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), EVALUATION), stream)


def measure(
    run: Run, state: TrainState, params: Params, stream: int, x: jax.Array, mesh: Mesh | None = None
) -> dict[str, jax.Array]:
    """The objective's metrics on every example, each [N], by the devices of a mesh where the state lies on one."""
    key = evaluation_key(run.config.seed, stream)
    return example_metrics(program_config(run.config), state, params, key, x, run.data.visible, mesh or 1)


def test(run: Run, state: TrainState, params: Params, data: Dataset, num_samples: int) -> Tested:
    """Bound and NLL on the test split; and what p* gives it, where that is asked for. A sampler has other figures."""
    if run.config.model.capability == "ImplicitModel":
        return test_sampler(run, state, params, data, num_samples)
    x_test = jax.device_put(examples(data, "test"))
    bounds = measure(run, state, params, 1, x_test)["bound"]
    config, key = program_config(run.config), evaluation_key(run.config.seed, 2)
    sizes = run.data.visible, num_samples, devices_for(params, x_test)
    estimate = example_log_marginal(config.model, params, key, x_test, *sizes)
    return test_figures(run, params, data, bounds, estimate, num_samples)


@functools.partial(jax.jit, static_argnames="visible")
def _preprocess_log_det(config: Config, params: Params, x, visible: int) -> jax.Array:
    preprocess = config.model.build(visible).preprocess_log_det
    return in_blocks(lambda _, row: preprocess(params, row.x, row.context), jax.random.key(0), as_batch(x), 100)


def other_units(run: Run, params: Params, data: Dataset, nll: float | None) -> dict:
    """The exact NLL in the units that papers use beside nats of x: bits per dimension, where x are grey levels or
    were such before they were dequantized; and nats in the space that a flow's logit leads to."""
    model = run.config.model.build(run.data.visible)
    if nll is None or not isinstance(model, LikelihoodModel):
        return {}
    found: dict[str, float | None] = {}
    if data.levels is not None and (data.dequantization is not None or model.levels == data.levels):
        # A density of (k + u) / L is below L^D times the probability of the levels, on average.
        bits = 0 if data.dequantization is None else math.log2(data.levels)
        found["test_bits_per_dim"] = nll / run.data.visible / math.log(2) + bits
    if model.preprocess_log_det is not None:
        x = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), examples(data, "test"))
        slopes = _preprocess_log_det(program_config(run.config), params, x, run.data.visible)
        found["test_nll_in_logit_space"] = number(nll + np.mean(np.asarray(slopes, np.float64)))
    return found


def test_figures(
    run: Run, params: Params, data: Dataset, bounds: Any, estimate: LogMarginal, num_samples: int
) -> Tested:
    """What is said of the test split, from the bound [N] and log p(x), leaves [N], of every example.

    An exact log p(x) has no number of samples: None.
    """
    sampled = run.config.model.capability == "LatentVariableModel"
    bound, bound_error = mean_and_error(bounds)
    values = {"nll": -np.asarray(estimate.log_prob), "bound": np.asarray(bounds)}
    nll, nll_error = mean_and_error(values["nll"])
    p_star, codes = test_p_star(run, params, data.test, num_samples), test_codes(run, params, data)
    steps = test_steps(run, params, data, estimate, num_samples)
    figures = {
        "test_bound": bound,
        "test_bound_standard_error": bound_error,
        "test_nll": nll,
        "test_nll_standard_error": nll_error,
        "test_nll_samples": num_samples if sampled else None,
        "test_nll_kind": kind_of_nll(run.config, data),
        "test_nll_mean_estimator_error": number(np.mean(np.asarray(estimate.standard_error))),
        "test_nll_doubtful_examples": int(np.sum(np.asarray(estimate.doubtful))),
        **p_star.figures,
        **codes.figures,
        **test_planted(run, params),
        **other_units(run, params, data, nll),
        **steps.figures,
        **how_measured(run, data),
    }
    return Tested(figures, {**values, **p_star.values, **codes.values, **steps.values})


@functools.partial(jax.jit, static_argnames=("visible", "num_samples"))
def _filter(config: Config, params: Params, key, x, visible: int, num_samples: int) -> LogMarginal:
    """As many particles in all as importance weighting has, in ten filters."""
    model = config.model.build(visible)
    x = jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), x)
    return particle_filter_log_marginal(model, params, key, x, max(1, num_samples // FILTERS), FILTERS)


def per_step(name: str, nll: np.ndarray, steps: np.ndarray) -> dict[str, float | None]:
    """The mean of nll [N] by example and by time step, where example i has steps[i], with standard errors."""
    mean, error = mean_and_error(nll)
    ratio = float(np.sum(nll) / np.sum(steps))
    _, of_rest = mean_and_error(nll - ratio * steps)  # that of a ratio of means
    return {
        name: mean,
        f"{name}_standard_error": error,
        f"{name}_per_step": number(ratio),
        f"{name}_per_step_standard_error": None if of_rest is None else number(of_rest / np.mean(steps)),
    }


def test_steps(run: Run, params: Params, data: Dataset, estimate: LogMarginal, num_samples: int) -> Tested:
    """Of sequences, the NLL by time step, and by particle filters where the model has them; else nothing."""
    model = run.config.model.build(run.data.visible)
    frame = getattr(model, "frame", None)
    if frame is None:
        return Tested({}, {})
    whole = np.full(len(data.test), run.data.visible // frame)
    steps = whole if data.test_context is None else np.sum(data.test_context > 0, axis=1)
    found = per_step("test_nll", -np.asarray(estimate.log_prob, np.float64), steps)
    values = {}
    if isinstance(model, LatentVariableModel) and model.filter_step is not None:
        x, key = examples(data, "test"), evaluation_key(run.config.seed, FILTER)
        filtered = _filter(program_config(run.config), params, key, x, run.data.visible, num_samples)
        values["nll_particle_filter"] = -np.asarray(filtered.log_prob)
        found |= per_step("test_nll_particle_filter", values["nll_particle_filter"].astype(np.float64), steps)
    return Tested(found, values)


@functools.partial(jax.jit, static_argnames="visible")
def _squared_error(config: Config, params: Params, batch: Batch, visible: int) -> jax.Array:
    return squared_error(config.model.build(visible), params, batch)


def _makes_x_of_codes(run: Run) -> bool:
    model = run.config.model.build(run.data.visible)
    return run.data.context is not None and isinstance(model, LikelihoodModel) and model.mean is not None


def _blend(data: Dataset, rows: np.ndarray) -> np.ndarray:
    assert data.train_context is not None
    assert data.test_context is not None
    return blend(data.train, data.train_context[:], data.test_context[rows])


def test_codes(run: Run, params: Params, data: Dataset) -> Tested:
    """The squared error of E[x | c] on the test split, beside the blend of the two training examples with the nearest
    codes; nothing unless the model makes x of known codes."""
    if not _makes_x_of_codes(run):
        return Tested({}, {})
    batch = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), examples(data, "test"))
    errors = np.asarray(_squared_error(program_config(run.config), params, batch, run.data.visible))
    mean, error = mean_and_error(errors)
    blended = _blend(data, np.arange(len(data.test)))
    between, between_error = mean_and_error(((blended - data.test) ** 2).mean(axis=1))
    figures = {
        "test_squared_error": mean,
        "test_squared_error_standard_error": error,
        "test_squared_error_of_blend": between,
        "test_squared_error_of_blend_standard_error": between_error,
    }
    return Tested(figures, {"squared_error": errors})


def views(run: Run, params: Params, data: Dataset, num: int) -> np.ndarray | None:
    """Of `num` test examples, spread evenly: x, E[x | c], and the blend of its neighbours, [num, 3, D]; None where
    `test_codes` has nothing."""
    if not _makes_x_of_codes(run):
        return None
    rows = np.arange(num) * len(data.test) // num
    made = sample_images(run, params, num, contexts=data.test_context)
    blended = _blend(data, rows)
    return np.stack([data.test[rows], made, blended], axis=1)


@functools.partial(jax.jit, static_argnames="visible")
def _response(config: Config, params: Params, key, without, planted, visible: int) -> jax.Array:
    return response(config.model.build(visible), params, key, without, planted)


def test_planted(run: Run, params: Params) -> dict:
    """The share of a planted square that reconstructions follow; nothing unless squares were planted in the data, and
    the model has reconstructions."""
    source, model = run.config.data, run.config.model.build(run.data.visible)
    if not isinstance(source, PlantedDigits) or not isinstance(model, LatentVariableModel) or model.decode is None:
        return {}
    key = evaluation_key(run.config.seed, PLANTED)
    followed = _response(program_config(run.config), params, key, *source.pairs(), visible=run.data.visible)
    mean, error = mean_and_error(followed)
    return {"test_response_to_planted": mean, "test_response_to_planted_standard_error": error}


def test_p_star(run: Run, params: Params, x_test: Any, num_samples: int) -> Tested:
    """NLL of p* on the test split, unnormalized and with the estimate of log Z; nothing unless p* is asked for."""
    if run.config.evaluation.distribution != "p_star":
        return Tested({}, {})
    config, visible = program_config(run.config), run.data.visible
    num_z_samples = run.config.evaluation.num_z_samples
    key, z_key = (evaluation_key(run.config.seed, stream) for stream in (LOG_P_STAR, LOG_Z))
    z_squared = _log_z_squared(config, params, z_key, visible, num_z_samples)
    estimate = _log_p_star(config, params, key, x_test, z_squared, visible, num_samples)
    values = -np.asarray(estimate.unnormalized)
    unnormalized, error = mean_and_error(values)
    nll, _ = mean_and_error(-np.asarray(estimate.log_prob))
    figures = {
        "test_nll_p_star_unnormalized": unnormalized,
        "test_nll_p_star_unnormalized_standard_error": error,
        "test_nll_p_star": nll,
        # The error of log Z is one for all examples: averaging over them does not lower it.
        "test_nll_p_star_standard_error": None if error is None else number(np.hypot(error, z_squared.standard_error)),
        "test_nll_p_star_mean_estimator_error": number(np.mean(np.asarray(estimate.standard_error))),
        "log_z": number(z_squared.value / 2),
        "log_z_standard_error": number(z_squared.standard_error / 2),
        "log_z_samples": num_z_samples,
    }
    return Tested(figures, {"nll_p_star_unnormalized": values})


def sample_images(run: Run, params: Params, num: int, seed: int = 0, contexts: np.ndarray | None = None) -> np.ndarray:
    """E[x | z] of `num` draws from the prior, or the units' probabilities in draws of p*, [num, D].

    A model that is given contexts takes `num` of those [N, C], spread evenly over them.
    """
    config, key = program_config(run.config), evaluation_key(run.config.seed, 3 + seed)
    if run.config.evaluation.distribution == "p_star":
        return np.asarray(_sample_p_star(config, params, key, run.data.visible, num))
    given = () if contexts is None else contexts[np.arange(num) * len(contexts) // num]
    return np.asarray(draw_expectations(config, params, key, run.data.visible, num, given))
