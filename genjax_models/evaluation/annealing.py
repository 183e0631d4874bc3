"""log p(x) by annealing from a distribution that can be sampled to the posterior, and back."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import as_number
from genjax_models.core import Batch, Key, Latents, LatentVariableModel, Params, Scalar, as_batch, total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.evaluation.blocks import check_examples, compiled, devices_for, in_blocks, require_sizes
from genjax_models.evaluation.marginal import require_prior
from genjax_models.evaluation.transitions import gibbs, hamiltonian
from genjax_models.evaluation.weights import RunningSums, log_mean

Start = Literal["prior", "posterior"]
TARGET_ACCEPTANCE = 0.65  # that Hamiltonian Monte Carlo is most efficient near (Neal 2011, section 4.4)
FIRST_STEP, SMALLEST_STEP, LARGEST_STEP = 0.1, 1e-5, 10.0
GAIN = 0.3  # of log step size by acceptance
FITTING_CHAINS = 8  # at most, over which acceptance is averaged
SETTLING = 30  # transitions at the first temperature, before step sizes are noted


class AnnealedLogMarginal(NamedTuple):
    """An estimate of log p(x) for each of N examples by M annealed chains."""

    log_prob: jax.Array  # [N], nats
    standard_error: jax.Array  # [N], of log_prob, from the spread of the chains' weights: NaN of one chain
    effective_samples: jax.Array  # [N], (sum w)^2 / sum w^2, at most M
    acceptance: jax.Array  # [N], the mean probability that a Hamiltonian proposal was accepted; 1 of Gibbs transitions


class Sandwich(NamedTuple):
    """Bounds on log p(x) from both sides, for each of N simulated examples."""

    x: jax.Array  # [N, D], drawn from p
    lower: AnnealedLogMarginal  # in expectation at most log p(x)
    # In expectation at least log p(x); chains share where they start, the chance of which is no part of its error.
    upper: AnnealedLogMarginal

    @property
    def gap(self) -> jax.Array:
        """upper - lower, [N], nats: in expectation what both are wrong by, together."""
        return self.upper.log_prob - self.lower.log_prob


class _Path(NamedTuple):
    """The way from r(z), which can be sampled, to p(x, z), by r(z)^(1 - beta) p(x, z)^beta."""

    draw: Callable[[Key], Latents]  # z ~ r
    ends: Callable[[Latents], tuple[Scalar, Scalar]]  # log r(z), log p(x, z)
    move: Callable[..., tuple[Latents, Scalar]]  # (key, z, beta, step size) -> a z that leaves beta's density as it is

    def slope(self, z: Latents) -> Scalar:
        """d/d beta of the log-density."""
        log_r, log_p = self.ends(z)
        return log_p - log_r


def _path(model: LatentVariableModel, params: Params, row: Batch, start: Start, leapfrog_steps: int) -> _Path:
    def draw(key):
        if start == "prior":
            return model.sample_joint(params, key, row.context)[0]
        return jax.lax.stop_gradient(model.propose(params, key, row.x, row.context)[0])

    def ends(z):
        joint = model.log_joint(params, z, row.x, row.context)
        if start == "prior":
            return total(joint.prior), total(joint)
        return total(model.log_posterior(params, z, row.x, row.context)), total(joint)

    def move(key, z, beta, step_size):
        def log_density(z):
            log_r, log_p = ends(z)
            return (1 - beta) * log_r + beta * log_p

        if model.support == "real":
            return hamiltonian(log_density, key, z, step_size, leapfrog_steps)
        return gibbs(log_density, key, z, model.support), jnp.ones(())

    return _Path(draw, ends, move)


def _step_sizes(path: _Path, key: Key, betas: jax.Array, num_chains: int) -> jax.Array:
    """Step sizes for the temperatures between the ends, [T - 1], by chains of their own.

    Were they fitted along the chains whose weights count, a transition would depend on where its chain has been, and
    the weights would no longer be unbiased.
    """

    def adapt(carry, t):
        z, log_step = carry
        step_size, beta = jnp.exp(log_step), betas[jnp.maximum(t, 1)]
        keys = jax.random.split(jax.random.fold_in(moving, t + SETTLING), num_chains)
        z, acceptance = jax.vmap(lambda k, z: path.move(k, z, beta, step_size))(keys, z)
        change = GAIN * (jnp.mean(acceptance) - TARGET_ACCEPTANCE)
        bounded = jnp.clip(log_step + change, np.log(SMALLEST_STEP), np.log(LARGEST_STEP))
        return (z, bounded.astype(log_step.dtype)), step_size

    starting, moving = jax.random.split(key)
    z = jax.vmap(path.draw)(jax.random.split(starting, num_chains))
    times = jnp.arange(1 - SETTLING, len(betas) - 1)
    _, steps = jax.lax.scan(adapt, (z, jnp.log(jnp.asarray(FIRST_STEP, betas.dtype))), times)
    return steps[SETTLING:]


def _anneal(path: _Path, key: Key, z: Latents, betas: jax.Array, steps: jax.Array) -> tuple[Scalar, Scalar]:
    """The log-weight of a chain from z, drawn at betas[0], to betas[-1]; and its mean acceptance.

    log w = sum_t (beta_t - beta_{t-1}) (log p(x, z_{t-1}) - log r(z_{t-1})).
    """

    def advance(carry, xs):
        z, log_w = carry
        i, before, beta, step_size = xs
        log_w += (beta - before) * path.slope(z)
        z, acceptance = path.move(jax.random.fold_in(key, i), z, beta, step_size)
        return (z, log_w), acceptance

    xs = jnp.arange(len(steps)), betas[:-2], betas[1:-1], steps
    (z, log_w), acceptance = jax.lax.scan(advance, (z, jnp.zeros((), betas.dtype)), xs)
    log_w += (betas[-1] - betas[-2]) * path.slope(z)
    return log_w, jnp.mean(acceptance) if len(steps) else jnp.ones(())


def _summary(chain: Callable[[Key], tuple[Scalar, Scalar]], key: Key, num_chains: int, chunk: int):
    """The sums of the weights of M chains, and their mean acceptance."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_chains))
    log_w, acceptance = jax.lax.map(chain, keys, batch_size=min(chunk, num_chains))
    return RunningSums.empty().add(log_w), jnp.mean(acceptance)


def _forward(path: _Path, key: Key, betas, steps, num_chains: int, chunk: int):
    def chain(key):
        starting, moving = jax.random.split(key)
        return _anneal(path, moving, path.draw(starting), betas, steps)

    return _summary(chain, key, num_chains, chunk)


def _fit(model, path, key, betas, num_chains) -> jax.Array:
    if model.support != "real" or len(betas) < 3:
        return jnp.zeros(len(betas) - 2, betas.dtype)
    return _step_sizes(path, key, betas, min(FITTING_CHAINS, max(2, num_chains)))


def _estimate(found, num_chains: int) -> AnnealedLogMarginal:
    sums, acceptance = found
    return AnnealedLogMarginal(*log_mean(sums, num_chains), acceptance)


def _run_forward(model, start, num_chains, leapfrog_steps, chunk, block, devices, params, key, batch, betas):
    def example(key, row):
        path = _path(model, params, row, start, leapfrog_steps)
        fitting, running = jax.random.split(key)
        steps = _fit(model, path, fitting, betas, num_chains)
        return _forward(path, running, betas, steps, num_chains, chunk)

    return _estimate(in_blocks(example, key, batch, block, devices), num_chains)


def _run_both(model, start, num_chains, leapfrog_steps, chunk, block, devices, params, key, contexts, betas):
    def example(key, row):
        drawing, fitting, forward, backward = jax.random.split(key, 4)
        z, x = model.sample_joint(params, drawing, row.context)
        path = _path(model, params, row._replace(x=x), start, leapfrog_steps)
        steps = _fit(model, path, fitting, betas, num_chains)
        lower = _forward(path, forward, betas, steps, num_chains, chunk)

        def chain(key):
            return _anneal(path, key, z, betas[::-1], steps[::-1])

        return x, lower, _summary(chain, backward, num_chains, chunk)

    x, lower, upper = in_blocks(example, key, contexts, block, devices)
    upper = _estimate(upper, num_chains)
    return Sandwich(x, _estimate(lower, num_chains), upper._replace(log_prob=-upper.log_prob))


_compiled_forward = compiled(_run_forward, static=7)
_compiled_both = compiled(_run_both, static=7)


def sigmoid_schedule(num_temperatures: int, sharpness: float = 4.0) -> np.ndarray:
    """Inverse temperatures 0 = beta_0 < ... < beta_T = 1, [T + 1], closest to each other at both ends.

    beta_t = (s(delta (2 t / T - 1)) - s(-delta)) / (s(delta) - s(-delta)), s the logistic function.

    Args:
        num_temperatures: T.
        sharpness: delta, more than 0 and at most 20.

    Raises:
        ConfigError: T below one, or an impossible sharpness.

    Reference:
        Wu, Burda, Salakhutdinov and Grosse, "On the quantitative analysis of decoder-based generative models", 2017,
        appendix.
    """
    require_sizes("sigmoid_schedule", num_temperatures=num_temperatures)
    sharpness = as_number("sigmoid_schedule: sharpness", sharpness, gt=0, le=20)
    at = 1 / (1 + np.exp(-sharpness * np.linspace(-1, 1, num_temperatures + 1)))
    return (at - at[0]) / (at[-1] - at[0])


def _check_schedule(name: str, schedule: int | Sequence[float] | Any) -> np.ndarray:
    if isinstance(schedule, int | np.integer) and not isinstance(schedule, bool):
        require_sizes(name, schedule=int(schedule))
        return sigmoid_schedule(int(schedule))
    betas = np.asarray(schedule, float)
    if betas.ndim != 1 or len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or not (np.diff(betas) > 0).all():
        raise ConfigError(
            f"{name}: schedule got {schedule!r}, expected a number of temperatures, or inverse temperatures that rise "
            "from 0 to 1."
        )
    return betas


def require_path(name: str, model: Any, start: str) -> None:
    """Raise ModelError or ConfigError unless the model's latents can be annealed from `start`."""
    if not isinstance(model, LatentVariableModel):
        raise ModelError(f"{name} anneals latents, and {getattr(model, 'name', '') or repr(model)} has none.")
    if start not in get_args(Start):
        raise ConfigError(f"{name}: start got {start!r}, expected one of {', '.join(map(repr, get_args(Start)))}.")
    if start == "prior":
        require_prior(name, model, 'use start="posterior".')


def _check(name: str, model: Any, start: str, schedule: Any, **sizes: int) -> jax.Array:
    require_path(name, model, start)
    require_sizes(name, **sizes)
    return jnp.asarray(_check_schedule(name, schedule), jnp.result_type(float))


def annealed_importance_sampling(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    x: Any,
    num_chains: int = 16,
    schedule: int | Sequence[float] = 500,
    *,
    start: Start = "prior",
    leapfrog_steps: int = 10,
    chunk: int = 16,
    block: int = 50,
) -> AnnealedLogMarginal:
    """log of the mean weight of M chains that are annealed from r(z) to p(z | x), for every example.

        f_t(z) = r(z)^(1 - beta_t) p(x, z)^beta_t,   z_0 ~ r,   z_t ~ T_t(. | z_{t-1}), which leaves f_t as it is
        log w = sum_t (beta_t - beta_{t-1}) (log p(x, z_{t-1}) - log r(z_{t-1}))

    E w = p(x), so that in expectation it is a lower bound on log p(x), and exceeds it by b nats with probability at
    most e^-b. With many temperatures it needs no good q(z | x), where `log_marginal` does.

    T_t is a Hamiltonian transition for real latents, with step sizes that chains of their own fit for each example and
    temperature; for binary and one-hot latents a Gibbs sweep over all units, whose cost is that of p(x, z) for every
    value of every unit.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`.
        x: examples [N, D], or a `Batch` with contexts.
        num_chains: M.
        schedule: the number of temperatures, by `sigmoid_schedule`, or beta_0 = 0 < ... < beta_T = 1.
        start: r(z): the "prior" p(z), or the "posterior" q(z | x).
        leapfrog_steps: of a Hamiltonian transition.
        chunk: chains computed at a time.
        block: examples computed at a time.

    Returns:
        An `AnnealedLogMarginal`, leaves [N], nats.

    Raises:
        ModelError: a model without latents, or one whose prior depends on x from "prior".
        ConfigError: a size below one, an unknown start, or a schedule that does not rise from 0 to 1.
        DataError: examples that are not [N, D].

    Example:
        >>> annealed_importance_sampling(model, params, jax.random.key(0), x_test[:100], schedule=1000).log_prob.mean()

    Reference:
        Neal, "Annealed importance sampling", 2001; Wu, Burda, Salakhutdinov and Grosse, "On the quantitative analysis
        of decoder-based generative models", 2017.
    """
    name = "annealed_importance_sampling"
    sizes = {"num_chains": num_chains, "leapfrog_steps": leapfrog_steps, "chunk": chunk, "block": block}
    betas = _check(name, model, start, schedule, **sizes)
    batch = check_examples(as_batch(x))
    devices = devices_for(params, key, batch)
    return _compiled_forward(model, start, num_chains, leapfrog_steps, chunk, block, devices, params, key, batch, betas)


def bidirectional_monte_carlo(
    model: LatentVariableModel,
    params: Params,
    key: Key,
    num_examples: int = 100,
    num_chains: int = 16,
    schedule: int | Sequence[float] = 500,
    *,
    contexts: Any = (),
    start: Start = "prior",
    leapfrog_steps: int = 10,
    chunk: int = 16,
    block: int = 50,
) -> Sandwich:
    """log p(x) of simulated examples between a lower bound and an upper one, both by annealing.

    Of (z, x) ~ p, z is an exact draw of p(z | x), from which chains can run backwards, from p(z | x) to r(z): the mean
    of their weights has expectation 1 / p(x), and minus its log is in expectation an upper bound. The lower bound is
    `annealed_importance_sampling` with the same temperatures and step sizes. The gap between the two says how far from
    the truth either is, on x as the model draws them: what it says of data is as good as the model.

    Args:
        model: a `LatentVariableModel`.
        params: its parameters.
        key: example i draws from `fold_in(key, i)`.
        num_examples: N.
        num_chains: M, each way. The chains backwards share their z.
        schedule: the number of temperatures, by `sigmoid_schedule`, or beta_0 = 0 < ... < beta_T = 1.
        contexts: of the examples, leaves [N, ...], for a model that is given any.
        start: r(z): the "prior" p(z), or the "posterior" q(z | x).
        leapfrog_steps: of a Hamiltonian transition.
        chunk: chains computed at a time.
        block: examples computed at a time.

    Returns:
        A `Sandwich`: x [N, D], and both bounds, leaves [N], nats.

    Raises:
        ModelError: a model without latents, or one whose prior depends on x from "prior".
        ConfigError: a size below one, an unknown start, a schedule that does not rise from 0 to 1, or other than N
            contexts.

    Example:
        >>> found = bidirectional_monte_carlo(model, params, jax.random.key(0), schedule=1000)
        >>> found.lower.log_prob.mean(), found.upper.log_prob.mean()

    Reference:
        Grosse, Ghahramani and Adams, "Sandwiching the marginal likelihood using bidirectional Monte Carlo", 2015; Wu,
        Burda, Salakhutdinov and Grosse, "On the quantitative analysis of decoder-based generative models", 2017.
    """
    name = "bidirectional_monte_carlo"
    sizes = {"num_chains": num_chains, "leapfrog_steps": leapfrog_steps, "chunk": chunk, "block": block}
    betas = _check(name, model, start, schedule, num_examples=num_examples, **sizes)
    if numbers := {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(contexts)} - {(num_examples,)}:
        raise ConfigError(
            f"{name}: got contexts of shapes {sorted(numbers)}, expected {num_examples} rows, as examples."
        )
    # The x are placeholders, for each is drawn.
    rows = Batch(jnp.zeros((num_examples, 1)), jax.tree.map(jnp.asarray, contexts))
    devices = devices_for(params, key, rows)
    return _compiled_both(model, start, num_chains, leapfrog_steps, chunk, block, devices, params, key, rows, betas)
