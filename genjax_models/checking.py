"""Whether a model keeps the contract of `core`: its draws follow its densities, and its facts are true.

for check in check_model(model, x): print(check)

A user's own model of any size is checked by draws. Enumeration is better where it can be had, as in the tests here.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import Config, validate
from genjax_models.core import Context, ImplicitModel, Joint, LatentVariableModel, LikelihoodModel, Params, total
from genjax_models.data.dataset import Dataset
from genjax_models.errors import ModelError, require_count
from genjax_models.evaluation.pareto import pareto_k
from genjax_models.experiment import load_run, load_run_data
from genjax_models.measuring import Log
from genjax_models.preparation import load_data
from genjax_models.run_folder import open_run

BATCH = 50  # draws at once
FEW = 16  # draws where each must hold
NUDGE = 0.1  # deviation of what is added to initial parameters, of which many are zero
# Beyond what the largest of so many normal numbers reaches: sums of skewed ones have longer tails.
MARGIN = 5.0
LEAST_ESS = 100.0  # effective sample size below which an integral is not known
LONGEST_TAIL = 0.5  # k-hat above which it is not: the weights have no variance by which to know their error


class Check(NamedTuple):
    """What a model must keep, and whether it does."""

    name: str
    passed: bool | None  # None where it could not be told
    found: str

    def __str__(self) -> str:
        verdict = {True: "ok", False: "FAILED", None: "not known"}[self.passed]
        return f"{verdict:9}  {self.name}: {self.found}"


def check_model(
    model: Any, x: Any, context: Context = (), params: Params | None = None, *, num_samples: int = 2000, seed: int = 0
) -> list[Check]:
    """Check a model by draws from it.

    A sampler follows a density where the density's score, its gradient by the parameters, has mean zero over draws; and
    the density integrates to one where a normalized one that lies within it, over it, has mean one. The first holds for
    models of any size, but for distributions whose support depends on parameters, such as uniform ones; the second is
    told only of models with few latents and visible units: build a small one.

    Args:
        model: a `LatentVariableModel`, `LikelihoodModel` or `ImplicitModel`.
        x: one example, [D].
        context: of that example.
        params: the parameters; None for initial ones, moved a little, since many are zero at first.
        num_samples: draws.
        seed: of the draws.

    Returns:
        A `Check` for everything that can be told of such a model.

    Raises:
        ModelError: what is no model.

    Example:
        >>> assert all(check.passed is not False for check in check_model(model, x))
    """
    if not isinstance(model, LatentVariableModel | LikelihoodModel | ImplicitModel):
        raise ModelError(
            f"check_model: got {type(model).__name__}, expected what `as_model` returns, or a configuration's `build`."
        )
    require_count("num_samples", num_samples)
    x = jnp.asarray(x, jnp.result_type(float))
    start, moving, key = jax.random.split(jax.random.key(seed), 3)
    if params is None:
        params = _moved(moving, model.init(start, x, context))
    run = _Run(model, params, x, context, key, -(-num_samples // BATCH))
    found = [_init(model, start, x, context)]
    if isinstance(model, LatentVariableModel):
        shapes = _latent_shapes(run)
        return [*found, shapes, *(_latent(run) if shapes.passed else ())]
    shapes = _shape("sample", model.sample(params, key, context), x)
    if isinstance(model, ImplicitModel) or not shapes.passed:
        return [*found, shapes]
    return [*found, shapes, *_likelihood(run)]


def check_config(config: Config, data_dir: str | None = None, *, num_samples: int = 2000, seed: int = 0) -> list[Check]:
    """`check_model` of a configuration's model, at an example of its validation data.

    Raises:
        UserError: as `check_model`; a configuration or data that cannot be used.
    """
    validate(config)
    data, spec = load_data(config, data_dir)
    return check_model(config.model.build(spec.visible), *_example(data), num_samples=num_samples, seed=seed)


def check_run(
    folder: Path | str, data_dir: str | None = None, *, num_samples: int = 2000, seed: int = 0, log: Log = print
) -> list[Check]:
    """`check_model` of a run's model with its parameters, those that an evaluation takes.

    Raises:
        UserError: as `check_model`; no run, no whole checkpoint, or data that are not there or other than the run's.
    """
    run = open_run(Path(folder))
    data = load_run_data(run, data_dir)
    model, params = load_run(folder, log)
    return check_model(model, *_example(data), params, num_samples=num_samples, seed=seed)


def _example(data: Dataset) -> tuple[Any, Context]:
    """A validation example, and its context."""
    context = data.validation_context
    return data.validation[0], () if context is None else jnp.asarray(context[0])


class _Run(NamedTuple):
    model: Any
    params: Params
    x: jax.Array
    c: Context
    key: jax.Array
    batches: int

    @property
    def keys(self) -> jax.Array:
        return jax.random.split(self.key, (self.batches, BATCH))

    @property
    def round_off(self) -> float:
        return 1e-3 if self.x.dtype == jnp.float32 else 1e-8


def _moved(key: jax.Array, params: Params) -> Params:
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    moved = [v + NUDGE * jax.random.normal(k, v.shape, v.dtype) for k, v in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(structure, moved)


def _init(model: Any, key: jax.Array, x: jax.Array, c: Context) -> Check:
    """Initial parameters are of the key and of shapes alone."""
    ours, again = model.init(key, x, c), model.init(key, 1 - 2 * x, c)
    same = all(bool(jnp.array_equal(a, b)) for a, b in zip(*map(jax.tree.leaves, (ours, again)), strict=True))
    return Check("init takes only shapes of x", same, f"{sum(v.size for v in jax.tree.leaves(ours))} parameters")


def _shape(name: str, got: jax.Array, x: jax.Array) -> Check:
    return Check(f"{name} draws an x like the example", got.shape == x.shape, f"shape {got.shape}, given {x.shape}")


def _latent_shapes(run: _Run) -> Check:
    model, params, x, c = run.model, run.params, run.x, run.c
    (z, terms), (dreamt, x_dreamt) = model.propose(params, run.key, x, c), model.sample_joint(params, run.key, c)
    joint, posterior = model.log_joint(params, z, x, c), model.log_posterior(params, z, x, c)
    groups, wrong = len(jax.tree.leaves(z)), []
    if jax.tree.map(jnp.shape, dreamt) != jax.tree.map(jnp.shape, z):
        wrong.append("z of sample_joint and of propose differ")
    if x_dreamt.shape != x.shape:
        wrong.append(f"sample_joint draws an x of shape {x_dreamt.shape}, given {x.shape}")
    if not isinstance(joint, Joint):
        wrong.append(f"log_joint is {type(joint).__name__}, expected core.Joint")
    else:
        numbers = {"propose": len(terms), "log_posterior": len(posterior), "prior of log_joint": len(joint.prior)}
        wrong += [f"{name} has {n} terms for {groups} groups" for name, n in numbers.items() if n != groups]
        if {v.shape for v in jax.tree.leaves((terms, joint, posterior))} != {()}:
            wrong.append("terms are not all scalars")
    return Check("shapes and terms", not wrong, "; ".join(wrong) or f"{groups} groups of latents")


def _latent(run: _Run) -> list[Check]:
    model, x, c = run.model, run.x, run.c

    def log_q(params, z):
        return total(model.log_posterior(params, z, x, c))

    def log_p(params, pair):
        return total(model.log_joint(params, *pair, c))

    def draw_q(params, key):
        return model.propose(params, key, x, c)[0]

    def draw_p(params, key):
        return model.sample_joint(params, key, c)

    def plain(z):
        one_hot = model.support == "one_hot"
        return jax.tree.map(lambda v: jnp.argmax(v, -1).astype(v.dtype), z) if one_hot else z

    found = [
        _proposal(run, log_q),
        _support(run),
        _prior(run),
        _score("propose follows log_posterior", run, draw_q, log_q),
        _integral("q(z | x)", run, draw_q, log_q, plain),
        _score("sample_joint follows log_joint", run, draw_p, log_p),
        _integral("p(x, z)", run, draw_p, log_p, lambda pair: (plain(pair[0]), pair[1])),
    ]
    if model.decode is not None:

        def residual(key):
            z, drawn = model.sample_joint(run.params, key, c)
            return drawn - model.decode(run.params, z, c)

        found.append(_zero("decode is the mean of x", run, residual))
    if model.kl is not None:

        def excess(key):
            z, terms = model.propose(run.params, key, x, c)
            difference = total(terms) - total(model.log_joint(run.params, z, x, c).prior)
            return difference - total(model.kl(run.params, x, c))

        found.append(_zero("kl is the mean of log q(z | x) - log p(z)", run, excess))
    if model.sample_from_uniforms is not None:
        found.append(_uniforms(run))
    return found


def _likelihood(run: _Run) -> list[Check]:
    model, c = run.model, run.c

    def log_p(params, x):
        return model.log_prob(params, x, c)

    def draw(params, key):
        return model.sample(params, key, c)

    found = [_score("sample follows log_prob", run, draw, log_p), _integral("p(x)", run, draw, log_p)]
    if model.conditional_logits is not None:

        def excess(key):
            x = draw(run.params, key)
            logits = model.conditional_logits(run.params, x, c)
            return log_p(run.params, x) - jnp.sum(x * logits - jnp.logaddexp(logits, 0.0))

        found.append(_equal("log_prob is that of conditional_logits", run, excess))
    if model.inverse is not None and model.forward is not None:

        def distance(key):
            x = draw(run.params, key)
            back = model.forward(run.params, model.inverse(run.params, x, c)[0], c)
            return jnp.max(jnp.abs(back - x) / (1 + jnp.abs(x)))

        found.append(_equal("forward undoes inverse", run, distance))
    return found


def _few(run: _Run, function: Callable[[jax.Array], Any]) -> Any:
    return jax.jit(jax.vmap(function))(jax.random.split(run.key, FEW))


def _equal(name: str, run: _Run, difference: Callable[[jax.Array], jax.Array]) -> Check:
    """A difference that is round-off at every one of a few draws."""
    worst = float(jnp.max(jnp.abs(_few(run, difference))))
    return Check(name, worst < run.round_off, f"differs by up to {worst:.2g}")


def _proposal(run: _Run, log_q: Callable) -> Check:
    def difference(key):
        z, terms = run.model.propose(run.params, key, run.x, run.c)
        scored = log_q(run.params, z)
        tangent = jax.tree.map(jnp.ones_like, run.params)
        _, moved = jax.jvp(lambda p: run.model.propose(p, key, run.x, run.c)[0], (run.params,), (tangent,))
        motion = [jnp.max(jnp.abs(v)) for v in jax.tree.leaves(moved)]
        return jnp.abs(total(terms) - scored) / (1 + jnp.abs(scored)), jnp.max(jnp.stack(motion))

    worst, motion = (float(jnp.max(v)) for v in _few(run, difference))
    moves = motion > 0
    said = f"its terms differ from log_posterior by up to {worst:.2g} of it; draws {'move' * moves or 'do not move'}"
    right = worst < run.round_off and moves == bool(run.model.reparameterized)
    fact = f"{said} with the parameters, reparameterized is {run.model.reparameterized}"
    return Check("propose scores its own draw", right, fact)


def _support(run: _Run) -> Check:
    z = _few(run, lambda key: run.model.propose(run.params, key, run.x, run.c)[0])
    kind, leaves = run.model.support, [np.asarray(v) for v in jax.tree.leaves(z)]
    bits = all(np.isin(v, (0, 1)).all() for v in leaves)
    ones = bits and all((v.sum(-1) == 1).all() for v in leaves if v.ndim > 1)
    right = {"binary": bits, "one_hot": ones, "real": all(np.isfinite(v).all() for v in leaves)}.get(kind, False)
    return Check("latents are of the model's support", bool(right), str(kind))


def _prior(run: _Run) -> Check:
    z, _ = run.model.propose(run.params, run.key, run.x, run.c)
    _, other = run.model.sample_joint(run.params, run.key, run.c)
    other = jnp.where(other == run.x, 1 - run.x, other)  # every unit is another one
    prior, changed = (total(run.model.log_joint(run.params, z, x, run.c).prior) for x in (run.x, other))
    differs = bool(prior != changed)
    said = f"p's terms of z {'involve' if differs else 'do not involve'} x, prior_given_x is {run.model.prior_given_x}"
    return Check("prior_given_x", differs == run.model.prior_given_x, said)


def _uniforms(run: _Run) -> Check:
    like, _ = run.model.propose(run.params, run.key, run.x, run.c)

    def wrong(key):
        leaves, structure = jax.tree.flatten(like)
        keys = jax.random.split(key, len(leaves))
        u = jax.tree.unflatten(structure, [jax.random.uniform(k, v.shape) for k, v in zip(keys, leaves, strict=True)])
        z, logits = run.model.sample_from_uniforms(run.params, u, run.x, run.c)
        rule = jax.tree.map(lambda u, logit: (u < jax.nn.sigmoid(logit)).astype(u.dtype), u, logits)
        return sum(jnp.sum(a != b) for a, b in zip(*map(jax.tree.leaves, (z, rule)), strict=True))

    number = int(np.sum(_few(run, wrong)))
    return Check("sample_from_uniforms is 1 where u < sigmoid(logit)", number == 0, f"{number} units of others")


def _moments(run: _Run, function: Callable[[jax.Array], Any]) -> tuple[Any, Any]:
    """The means and their standard errors of a pytree over all draws, [P] each.

    An event that is too rare to be drawn, such as a pixel that a trained net almost never sets, leaves a mean other
    than zero and no variance to judge it by. Errors are at least those of means that such events make up for, as large
    as the largest value of the same array, or as the largest of half of the arrays.
    """

    def body(sums, keys):
        values = jax.vmap(lambda key: jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(function(key))]))(keys)
        largest = jnp.maximum(sums[2], jnp.abs(values).max(0))
        return (sums[0] + values.sum(0), sums[1] + (values**2).sum(0), largest), None

    sizes = [math.prod(v.shape) for v in jax.tree.leaves(jax.eval_shape(function, run.key))]
    zero = jnp.zeros(sum(sizes))
    sums = jax.jit(lambda keys: jax.lax.scan(body, (zero, zero, zero), keys)[0])(run.keys)
    first, second, largest = (np.asarray(v, np.float64) for v in sums)
    number = run.batches * BATCH
    mean = first / number
    error = np.sqrt(np.maximum(second / number - mean**2, 0) / (number - 1))
    arrays = [v.max() for v in np.split(largest, np.cumsum(sizes)[:-1]) if v.size]
    event = np.repeat(np.maximum(arrays, np.median(arrays)) if arrays else [], [size for size in sizes if size])
    return mean, np.maximum(error, np.sqrt(np.abs(mean) * event / number))


def _zero(name: str, run: _Run, function: Callable[[jax.Array], Any]) -> Check:
    """Means that are zero but for chance."""
    mean, error = _moments(run, function)
    if not len(mean):
        return Check(name, None, "there are no parameters")
    if not (np.isfinite(mean).all() and np.isfinite(error).all()):
        return Check(name, False, "not all values are finite")
    # Values that never change have no error; round-off alone lets them be other than zero.
    tiny = 1e-5 if run.x.dtype == jnp.float32 else 1e-10
    ratios = np.abs(mean) / (error + tiny)
    bound = math.sqrt(2 * math.log(2 * len(mean))) + MARGIN
    worst = float(ratios.max())
    said = f"of {len(mean)} means the largest is {worst:.1f} standard errors, of chance below {bound:.1f}"
    return Check(name, worst < bound, said)


def _score(name: str, run: _Run, draw: Callable, log_density: Callable) -> Check:
    def score(key):
        return jax.grad(log_density)(run.params, jax.lax.stop_gradient(draw(run.params, key)))

    return _zero(name, run, score)


def _integral(
    name: str, run: _Run, draw: Callable, log_density: Callable, plain: Callable[[Any], Any] = lambda value: value
) -> Check:
    """The integral of a density, by the mean over its draws of a normalized density over it.

    `plain` takes from a draw numbers of which none follows from the others.
    """
    name = f"{name} integrates to one"

    @jax.jit
    def drawn(keys):
        def one(key):
            value = draw(run.params, key)
            numbers = [jnp.ravel(v) for v in jax.tree.leaves(plain(value))]
            return jnp.concatenate(numbers), log_density(run.params, value)

        return jax.lax.map(jax.vmap(one), keys)

    values, logs = (np.asarray(v, np.float64) for v in drawn(run.keys))
    values, logs = values.reshape(-1, values.shape[-1]), logs.ravel()
    # Each half is weighed by what was fitted to the other.
    halves = np.array_split(np.arange(len(values)), 2)
    weights = [
        np.exp(np.minimum(_fitted(values[other])(values[own]) - logs[own], 700))
        for own, other in (halves, halves[::-1])
    ]
    w = np.concatenate(weights)
    if not np.isfinite(w).all():
        return Check(name, False, "not all values are finite")
    effective = float(w.sum() ** 2 / max((w**2).sum(), 1e-300))
    with np.errstate(divide="ignore"):
        tail = np.log(np.sort(w)[::-1][: 1 + math.ceil(min(0.2 * len(w), 3 * math.sqrt(len(w))))])
    k = float(pareto_k(jnp.asarray(tail)))  # NaN of weights that take few values, which have no tail
    if effective < LEAST_ESS or (effective < len(w) / 2 and k > LONGEST_TAIL):
        return Check(
            name, None, f"the draws cannot tell ({effective:.0f} effective ones, k-hat {k:.2f}); build a small model"
        )
    mean, error = float(w.mean()), float(w.std(ddof=1) / math.sqrt(len(w)))
    said = f"by 1 / {mean:.4f} +- {error:.4f}, of {effective:.0f} effective draws"
    return Check(name, abs(mean - 1) < MARGIN * error + 1e-4, said)


def _fitted(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The log-density of a distribution like that of values [N, M]: columns that take few values by their frequencies,
    independent; the others jointly normal, with two thirds of their deviation, so that it lies within."""
    few = [_few_values(column) for column in values.T]
    discrete = [None if found is None else _frequencies(*found) for found in few]
    real = np.array([found is None for found in few])
    normal = _normal(values[:, real])

    def log_density(v: np.ndarray) -> np.ndarray:
        columns = [column(x) for column, x in zip(discrete, v.T, strict=True) if column is not None]
        return normal(v[:, real]) + np.sum(columns, axis=0)

    return log_density


def _few_values(column: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The values of a column [N], and the logarithms of their frequencies; None where there are many."""
    values, counts = np.unique(column, return_counts=True)
    return None if len(values) > len(column) / 4 else (values, np.log(counts / len(column)))


def _normal(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    number, width = values.shape
    mean, covariance = values.mean(0), np.atleast_2d(np.cov(values.T) if width else np.zeros((0, 0))) / 1.5**2
    if 10 * width > number:  # too few for what goes with what
        covariance = np.diag(np.diag(covariance))
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # some columns follow from others
        root = np.diag(np.sqrt(np.diag(covariance)))
    constant = -np.log(np.diag(root)).sum() - 0.5 * width * math.log(2 * math.pi)
    return lambda x: constant - 0.5 * np.sum(np.linalg.solve(root, (x - mean).T) ** 2, axis=0)


def _frequencies(values: np.ndarray, logs: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def log_chance(x: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(values, x), len(values) - 1)
        return np.where(values[place] == x, logs[place], -np.inf)

    return log_chance
