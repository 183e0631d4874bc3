"""Training: a step from objectives and optimizers, and a whole run as one pure function.

init, step = make_train_step(elbo(model), optax.adam(1e-3))  # one phase over all parameters
make_train_step(Phase(critic, "critic", adam, repeats=5), Phase(generator, "generative", adam))

train = make_train(config)  # a run, compiled
state, metrics = train(config, key, data)  # one call; `jax.vmap` over (config, key) is a sweep
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AbstractMesh, Mesh

from genjax_models.config import Config, Evaluation, Training, canonical, validate
from genjax_models.core import (
    Batch,
    Key,
    Metrics,
    Objective,
    Params,
    Phase,
    PhaseState,
    Trainable,
    TrainState,
    TrainStep,
    along_batch,
    as_batch,
    batches_placed_by,
    first_difference,
    leaf_types,
)
from genjax_models.data import refresh
from genjax_models.errors import ConfigError, DataError, ModelError, require_bool, require_count
from genjax_models.objectives import from_loss
from genjax_models.objectives.parts import PartKey, in_parts
from genjax_models.optimizers import plain_number
from genjax_models.policy import PLAIN, Compute, Policy, under
from genjax_models.spread import DATA, Spread, source_of

Nonfinite = Literal["skip", "stop"]

# Streams of a run's key besides the steps, which take fold_in(key, step) from 0 up.
PARAMETERS, OWN, ORDER, NOISE, EVALUATION = (2**32 - 1 - i for i in range(5))


def _groups(phase: Phase, params: Params) -> tuple[str, ...]:
    if phase.group is None:
        return tuple(params)
    names = (phase.group,) if isinstance(phase.group, str) else tuple(phase.group)
    if missing := [n for n in names if n not in params]:
        raise ModelError(
            f"a phase trains the group {', '.join(missing)}, but the model's groups are {', '.join(params)}."
        )
    return names


def _trained(phase: Phase, params: Params, own: Any) -> tuple[Params, Any]:
    """What the phase differentiates and optimizes: its groups of the model's parameters, and the objective's own."""
    return {name: params[name] for name in _groups(phase, params)}, own


def _all_finite(tree: Any) -> jax.Array:
    """Whether the sum of the squares of all numbers is finite.

    A sum a leaf compiles and runs faster than a condition on every number; and a gradient whose square overflows would
    spoil an optimizer's second moment for good. The barrier keeps XLA from repeating the test in every select.
    """
    sums = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]
    return jax.lax.optimization_barrier(jnp.isfinite(functools.reduce(operator.add, sums)))


def _as_before(new: Any, old: Any) -> Any:
    """`new` with the types of `old`, which an optimizer or an objective of one's own may not have kept."""
    return jax.tree.map(lambda n, o: n if n.dtype == o.dtype else n.astype(o.dtype), new, old)


def _where(keep: jax.Array, move: Callable[..., Any], old: Any, *rest: Any) -> Any:
    """`move(old, *rest)` where `keep`, else `old`.

    A condition on a CPU, where a choice between all the old numbers and the new ones takes a sixth of the step of a
    small model; a choice elsewhere, since there the host would wait for a condition's outcome. Under `vmap` both are
    the choice.
    """

    def moved(old, *rest):
        return _as_before(move(old, *rest), old)

    def condition(keep, old, *rest):
        return jax.lax.cond(keep, moved, lambda old, *_: old, old, *rest)

    def choice(keep, old, *rest):
        return jax.tree.map(functools.partial(jnp.where, keep), moved(old, *rest), old)

    return jax.lax.platform_dependent(keep, old, *rest, cpu=condition, default=choice)


class Plan(NamedTuple):
    """How the gradient of a phase is computed."""

    accumulate: int = 1  # parts of a batch
    policy: Policy = PLAIN  # of the models' functions


WHOLE = Plan()


def _by_parts(
    differentiate: Callable[..., Any],
    number: int,
    by_row: bool,
    model: Params,
    own: Any,
    state: Any,
    key: Key,
    batch: Batch,
) -> Any:
    """What `differentiate` gives of the whole batch, as means over its parts, one after the other in a scan.

    The objective's state goes from part to part.
    """
    size = batch.x.shape[0]
    if size % number:
        raise DataError(
            f"accumulate: got {number}, which does not divide the batch of {size} examples; give one that does."
        )
    parts = jax.tree.map(lambda v: in_parts(v, number), batch)

    def add(carry, xs):
        state, summed = carry
        index, part = xs
        part = along_batch(part)
        part_key = PartKey(key, index, number) if by_row else jax.random.fold_in(key, index)
        (value, (new, metrics)), gradient = differentiate(model, own, state, part_key, part)
        return (_as_before(new, state), jax.tree.map(jnp.add, summed, gradient)), (value, metrics)

    start = state, jax.tree.map(jnp.zeros_like, (model, own))
    (state, summed), found = jax.lax.scan(add, start, (jnp.arange(number, dtype=jnp.int32), parts))
    value, metrics = jax.tree.map(lambda v: jnp.mean(v, axis=0), found)
    return (value, (state, metrics)), jax.tree.map(lambda v: v / number, summed)


def _update(
    phase: Phase,
    params: Params,
    state: PhaseState,
    keep: jax.Array,
    key: Key,
    batch: Batch,
    step: jax.Array,
    plan: Plan,
) -> tuple[Params, PhaseState, jax.Array, Metrics]:
    """One update of a phase: parameters and state, whether loss and gradient were finite too, and the metrics.

    Parameters and state stay where `keep` is false or becomes so.
    """

    def loss(trained, own, state, key, batch):
        return phase.objective.loss(Trainable({**params, **trained}, own), state, key, batch, step)

    def move(old, objective, value, gradient):
        trained, state = old
        update = optax.with_extra_args_support(phase.optimizer).update
        changes, optimizer = update(gradient, state.optimizer, trained, value=value)
        trained = optax.apply_updates(trained, changes)
        return trained, PhaseState(trained[1], objective, optimizer)

    trained = _trained(phase, params, state.own)
    differentiate = jax.value_and_grad(under(plan.policy, loss), argnums=(0, 1), has_aux=True)
    if plan.accumulate > 1:
        differentiate = functools.partial(_by_parts, differentiate, plan.accumulate, phase.objective.draws_by_row)
    (value, (objective, metrics)), gradient = differentiate(*trained, state.objective, key, batch)
    keep &= _all_finite((value, gradient))
    (moved, _), state = _where(keep, move, (trained, state), objective, value, gradient)
    return {**params, **moved}, state, keep, metrics


def _batches(phases: tuple[Phase, ...]) -> int:
    """The batches that a step takes."""
    return sum(phase.repeats for phase in phases)


def _share_out(batch: Any, phases: tuple[Phase, ...]) -> list[Any]:
    """The batch of each phase: the one there is, or the next `repeats` of those stacked on the leading axis."""
    total = _batches(phases)
    if total == 1:
        return [batch]
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if any(shape[:1] != (total,) for shape in shapes):
        raise DataError(
            f"the phases take {total} batches a step, stacked on a leading axis of {total}; got arrays of shapes "
            f"{', '.join(map(str, shapes))}."
        )
    shares, first = [], 0
    for phase in phases:
        take = first if phase.repeats == 1 else slice(first, first + phase.repeats)
        shares.append(jax.tree.map(operator.itemgetter(take), batch))
        first += phase.repeats
    return shares


def _run(phase: Phase, params: Params, state: PhaseState, keep: jax.Array, key: Key, batch: Any, *rest: Any):
    """All updates of a phase, as `_update`; the metrics are those of the last."""
    if phase.repeats == 1:
        return _update(phase, params, state, keep, key, as_batch(batch), *rest)

    def update(carry, xs):
        key, batch = xs
        params, state, keep = carry
        params, state, keep, metrics = _update(phase, params, state, keep, key, as_batch(batch), *rest)
        return (params, state, keep), metrics

    carry, metrics = jax.lax.scan(update, (params, state, keep), (jax.random.split(key, phase.repeats), batch))
    return *carry, jax.tree.map(operator.itemgetter(-1), metrics)


def metric_prefixes(phases: tuple[Phase, ...]) -> list[str]:
    """What stands before the names of each phase's metrics: nothing where there is one phase."""
    if len(phases) == 1:
        return [""]
    groups = [(p.group,) if isinstance(p.group, str) else p.group or ("all",) for p in phases]
    return [f"{i}.{'+'.join(group)}/" for i, group in enumerate(groups)]


@dataclasses.dataclass(frozen=True)
class InitState:
    """`TrainStep.init`."""

    phases: tuple[Phase, ...]
    average: Any

    def __call__(self, key: Key, params: Params, batch: Any) -> TrainState:
        phases = []
        for i, phase in enumerate(self.phases):
            own_key = jax.random.fold_in(jax.random.fold_in(key, OWN), i)
            own, objective = phase.objective.init(own_key, params, as_batch(batch))
            phases.append(PhaseState(own, objective, phase.optimizer.init(_trained(phase, params, own))))
        state = TrainState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            params=params,
            phases=tuple(phases),
            average=None if self.average is None else params,
            nonfinite=jnp.zeros((), jnp.int32),
            halted=jnp.zeros((), bool),
        )
        # The step donates its state: no array in it may be the caller's, nor stand in it twice.
        return jax.tree.map(lambda v: jnp.array(v, copy=True), state)


@dataclasses.dataclass(frozen=True)
class Step:
    """`TrainStep.step` before it is compiled."""

    phases: tuple[Phase, ...]
    average: Any
    nonfinite: Nonfinite
    plan: Plan = WHOLE

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        params, phases, keep = state.params, [], ~state.halted
        metrics: Metrics = {}
        rows = zip(self.phases, state.phases, _share_out(batch, self.phases), metric_prefixes(self.phases), strict=True)
        for i, (phase, old, share, prefix) in enumerate(rows):
            given = params, old, keep, jax.random.fold_in(key, i), share, state.step
            params, new, keep, found = _run(phase, *given, self.plan)
            phases.append(new)
            metrics |= {prefix + name: value for name, value in found.items()}

        if _batches(self.phases) > 1:
            # Updates before the one that failed are taken back, or parameters would drift from each other.
            before = state.params, list(state.phases)
            params, phases = _where(keep, lambda _, moved: moved, before, (params, phases))

        average = state.average
        if self.average is not None:
            # Debiased: after n updates the weights of the n iterates sum to one, and the initial values have none.
            n = state.step - state.nonfinite + 1
            # As 1 - a = -expm1(log a): of an a near 1, rounding would leave some weight to them.
            a = self.average
            log_decay = math.log(a) if isinstance(a, float) else jnp.log1p(jnp.asarray(a) - 1)
            rate = jnp.expm1(log_decay) / jnp.expm1(n * log_decay)

            def mean(old, params):
                return jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p - a), old, params)

            average = _where(keep, mean, average, params)

        failed = ~keep & ~state.halted
        halted = state.halted | failed if self.nonfinite == "stop" else state.halted
        return TrainState(
            step=state.step + (~halted).astype(jnp.int32),
            key=state.key,
            params=params,
            phases=tuple(phases),
            average=average,
            nonfinite=state.nonfinite + failed.astype(jnp.int32),
            halted=halted,
        ), metrics


def _check_parts(name: str, accumulate: int, phases: tuple[Phase, ...]) -> None:
    """Raise ConfigError if the batch of a phase is cut into parts and may not be."""
    for reason in (phase.objective.needs_whole_batch for phase in phases):
        if accumulate > 1 and reason:
            raise ConfigError(f"{name}: got {accumulate}, but {reason}, which its parts do not tell; leave it 1.")


def make_train_step(
    first: Objective | Callable | Phase,
    *rest: optax.GradientTransformation | Phase,
    average: float | jax.Array | None = None,
    nonfinite: Nonfinite = "skip",
    accumulate: int = 1,
    remat: bool = False,
    compute: Compute = "float32",
) -> TrainStep:
    """A training step: `(objective, optimizer)`, or a sequence of phases.

    The step is compiled, and donates its state: go on with the state that it returns. Step t draws from
    `fold_in(state.key, t)`, so that a restored state continues exactly.

    Args:
        first, rest: an objective, or a plain function `loss(params, key, batch)` to minimize, and an optax optimizer
            for all parameters; or any number of `Phase`.
        average: decay of an exponential moving average of the model's parameters, debiased, in `state.average`.
        nonfinite: what a step with a loss or gradient that is not finite does. Parameters, optimizer, objective state
            and average are put back together; "skip" counts it in `state.nonfinite` and goes on with the next step's
            batch and key, "stop" also sets `state.halted`, after which nothing changes any more.
        accumulate: equal parts that a batch is cut into, whose gradients are averaged before each update, in the memory
            that one part takes. Value, metrics and gradient are those of the whole batch to round-off, by the same
            draws, wherever the loss is a mean over examples, as those of `adversarial` are too: every example draws
            what it would draw in the whole batch.
            What differs: a loss of your own draws by `fold_in(key, part)`, unless it draws as
            `genjax_models.objectives.parts` has it; an objective's state goes from part to part, so that the running
            moments of `nvil` and `reinforce` take in every part as a batch; `arm` and `disarm` with one pair have the
            other examples of the part as baseline, which leaves the gradient without bias; and the control variates of
            `rebar` and `relax` follow the variance of a part's gradient, `accumulate` times that of the batch's in
            expectation. Objectives that are no such mean are refused: `moment_matching`, and `elbo` with free bits.
        remat: whether gradients compute again what they need of the models' way forward, rather than keep it, for about
            a pass forward more and equal gradients to round-off. Of a loop, over time steps or glimpses, the state
            before each turn is kept; of what is no loop, what enters each of about sqrt(n) segments of a program with n
            products, which XLA undoes on CPUs. The numbers of all particles at once are there as before:
            `objectives.chunk_particles` is what bounds their memory.
        compute: "bfloat16" rounds to it what the matrix products and convolutions of models read, in the gradient too,
            and leaves all else in float32: their sums, parameters, optimizer, log-probabilities, weights and bounds. A
            result of a product of the gradient is rounded once, and added up in float32. Products that ask for a
            precision keep it, and so do units that are drawn one by one (of "autoregressive" and "nade" layers), which
            have a derivative of their own. It is for this step alone: evaluation is in float32.

    Returns:
        A `TrainStep`: `init(key, params, batch) -> state` and `step(state, batch) -> (state, metrics)`. Phases that
        take more than one batch together (each takes `repeats`) are given them stacked on a leading axis.

    Raises:
        ConfigError: arguments that are neither form, an unknown policy, or parts of what has none.
        DataError: when traced, if the batch is not of the stacked shape, or not of equal parts.
        ModelError: when traced, if bfloat16 is asked for and no product of a model could read it.

    Example:
        >>> init, step = make_train_step(elbo(model), optax.adam(1e-3))
        >>> state = init(jax.random.key(0), params, x)
        >>> state, metrics = step(state, x)
    """
    if nonfinite not in get_args(Nonfinite):
        raise ConfigError(f"nonfinite: got {nonfinite!r}, expected one of {', '.join(map(repr, get_args(Nonfinite)))}.")
    average = plain_number(average)
    if isinstance(average, float) and not 0 < average < 1:
        raise ConfigError(f"average: got {average!r}, expected a decay more than 0 and less than 1, or None.")
    if isinstance(first, Phase):
        phases = (first, *rest)
    else:
        if len(rest) != 1:
            raise ConfigError(f"make_train_step takes one objective and one optimizer, or phases; got {len(rest) + 1}.")
        if not isinstance(first, Objective) and not callable(first):
            hint = (
                "; build it on a model, such as elbo(model) or ELBO().build(model)" if hasattr(first, "build") else ""
            )
            raise ConfigError(
                f"make_train_step: got {_brief(first)} as objective, expected an Objective or a loss of "
                f"(params, key, batch){hint}."
            )
        objective = first if isinstance(first, Objective) else from_loss(first)
        phases = (Phase(objective, None, rest[0]),)
    for phase in phases:
        if not isinstance(phase, Phase):
            raise ConfigError(f"make_train_step: expected phases after the first, got {phase!r}.")
        if not callable(getattr(phase.optimizer, "update", None)):
            hint = "; write Adam().build() and the like" if hasattr(phase.optimizer, "build") else ""
            raise ConfigError(
                f"make_train_step: got {_brief(phase.optimizer)} as optimizer, expected one of optax{hint}."
            )
        if not isinstance(phase.objective, Objective):
            raise ConfigError(
                f"make_train_step: got {phase.objective!r} in a phase, expected an Objective; a plain loss becomes one "
                "by genjax_models.objectives.from_loss."
            )
        require_count("repeats", phase.repeats)
    require_count("accumulate", accumulate)
    _check_parts("accumulate", accumulate, phases)
    require_bool("remat", remat)
    if compute not in get_args(Compute):
        raise ConfigError(f"compute: got {compute!r}, expected one of {', '.join(map(repr, get_args(Compute)))}.")
    step = jax.jit(Step(phases, average, nonfinite, Plan(accumulate, Policy(remat, compute))), donate_argnums=0)
    return TrainStep(jax.jit(InitState(phases, average)), step)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:80]}..."


def build(config: Config, visible: int) -> tuple[InitState, Step, Any]:
    """The (uncompiled) training step and the model of a configuration, whose leaves may be traced."""
    model = config.model.build(visible)
    phases = config.objective.phases(model, config.optimizer)
    training = config.training
    _check_parts("training.accumulate", training.accumulate, phases)
    plan = Plan(training.accumulate, Policy(training.remat, training.compute))
    step = Step(phases, training.average, training.nonfinite, plan)
    return InitState(phases, training.average), step, model


def check_training_data(config: Config, data: Any) -> None:
    """Raise DataError unless `data` is [N, D], or a `Batch` of that with contexts, with enough for one step."""
    source = source_of(data)
    data = source.rows
    shape = getattr(data.x, "shape", None)
    if shape is None or len(shape) != 2:
        got = type(data.x).__name__ if shape is None else f"shape {shape}"
        raise DataError(f"data: got {got}, expected an array [N, D].")
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(data.context)}
    if sizes - {shape[:1]}:
        raise DataError(f"data: got {shape[0]} examples and contexts of {sorted(sizes)} rows, expected one for each.")
    size, batches = config.training.batch_size, _batches(build(config, shape[1])[1].phases)
    if source.number < size * batches:
        taken = "" if batches == 1 else f" and a step takes {batches} batches"
        raise DataError(
            f"training.batch_size: got {size}{taken}, but the training data has {source.number} examples; give a "
            "smaller batch."
        )
    if isinstance(source, Spread):
        require_shares(config, source.mesh)


def not_in_unit(name: str, low: Any, high: Any, model: Any) -> str:
    """What to say of values outside [0, 1] that a model is not defined on."""
    return (
        f"{name} holds values from {low:g} to {high:g}, but {type(model).__name__} is of values in [0, 1]: scale the "
        "data to that, or use a model of real ones (VAE(likelihood=Gaussian()), or a flow without a logit)."
    )


def check_values(config: Config, data: Any) -> None:
    """Raise DataError where a model of values in [0, 1] is given concrete ones outside."""
    if config.model.data_support != "unit":
        return
    x = None if isinstance(data, Spread) else as_batch(data).x
    if isinstance(x, jax.core.Tracer) or not isinstance(x, np.ndarray | jax.Array):
        return
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        raise DataError(not_in_unit("data", low, high, config.model))


def require_shares(config: Config, mesh: Mesh | AbstractMesh) -> None:
    """Raise ConfigError unless the devices of a mesh can share each batch equally."""
    devices = mesh.shape[DATA]
    if config.training.batch_size % devices:
        raise ConfigError(
            f"training.batch_size: got {config.training.batch_size}, which {devices} devices cannot share equally; "
            "give a multiple of their number, or fewer devices."
        )


def _init(config: Config, key: Key, data: Any, params: Params | None = None) -> TrainState:
    source = source_of(data)
    init, _, model = build(config, source.rows.x.shape[1])
    batch = jax.tree.map(lambda v: jnp.zeros((config.training.batch_size, *v.shape[1:])), source.rows)
    if params is None:
        example = jax.tree.map(lambda v: v[0], batch)
        params = model.init(jax.random.fold_in(key, PARAMETERS), example.x, example.context)
    return source.placed(init(key, params, batch))


def require_parameters_of(state: TrainState, params: Params, name: str) -> None:
    """Raise ConfigError unless parameters are of the same structure, shapes and types as a state's."""
    if wrong := first_difference(leaf_types(params), leaf_types(state.params)):
        raise ConfigError(f"{name}: the model of this configuration has other parameters: {wrong}.")


def batches_per_step(config: Config, visible: int) -> int:
    """The batches that a training step takes, over all its phases."""
    return _batches(build(config, visible)[1].phases)


def order_bits(key: Key, epoch: Any, number: int) -> jax.Array:
    """The integers [N] whose order is that of an epoch's examples, in a run with this key."""
    return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch), (number,), jnp.uint32)


def _take_step(config: Config, step: Step, state: TrainState, batch: Batch, t: jax.Array):
    """Step t on its batch, or its batches, with new noise where the data's is dynamic."""
    if config.data.dynamic:
        noise = jax.random.fold_in(jax.random.fold_in(state.key, NOISE), t)
        batch = batch._replace(x=refresh(config.data, noise, batch.x))
    return step(state, jax.tree.map(lambda v: v.astype(jnp.result_type(float)), batch))


def _apart(metrics: Metrics) -> Metrics:
    """Not to be fused with how they are stacked: a loop of one step is unrolled, and would round them otherwise."""
    return jax.lax.optimization_barrier(metrics)


def _advance(config: Config, state: TrainState, data: Any, start: jax.Array, length: int):
    """`length` steps from step `start`, which is no part of the (perhaps batched) state.

    Under `vmap` a condition on a shared counter stays a condition, where one on a member's state would compute a
    permutation at every step of every member.
    """
    source = source_of(data)
    number = source.number
    _, step, _ = build(config, source.rows.x.shape[1])
    batches = _batches(step.phases)
    size = config.training.batch_size * batches
    steps_per_epoch = number // size

    def order_of(epoch):
        return jnp.argsort(order_bits(state.key, epoch, number)).astype(jnp.int32)

    def body(carry, t):
        state, order = carry
        epoch, i = t // steps_per_epoch, t % steps_per_epoch
        order = jax.lax.cond((i == 0) | (t == start), lambda: order_of(epoch), lambda: order)
        rows = jax.lax.dynamic_slice(order, (i * size,), (size,))
        batch = source.take(rows.reshape(batches, -1) if batches > 1 else rows)
        with batches_placed_by(source.along_batch):
            state, metrics = _take_step(config, step, state, batch, t)
        return (source.placed(state), order), _apart(metrics)

    order = jnp.zeros(number, jnp.int32)
    (state, _), metrics = jax.lax.scan(body, (state, order), start + jnp.arange(length, dtype=jnp.int32))
    return source.placed(state), source.everywhere(metrics)


def _advance_over(config: Config, state: TrainState, rows: Any, start: jax.Array, scale: jax.Array | None):
    """`_advance` on its steps' batches, leaves [length, B, ...] or [length, batches, B, ...], of values x / scale."""
    source = source_of(rows)
    length, *_, visible = source.rows.x.shape
    _, step, _ = build(config, visible)

    def body(state, xs):
        t, batch = xs
        if scale is not None:
            batch = batch._replace(x=batch.x.astype(jnp.float32) / scale)
        with batches_placed_by(source.along_batch):
            state, metrics = _take_step(config, step, state, batch, t)
        return source.placed(state), _apart(metrics)

    state, metrics = jax.lax.scan(body, state, (start + jnp.arange(length, dtype=jnp.int32), source.rows))
    return source.placed(state), source.everywhere(metrics)


def _whole(config: Config, key: Key, data: jax.Array) -> tuple[TrainState, Metrics]:
    return _advance(config, _init(config, key, data), data, jnp.zeros((), jnp.int32), config.training.num_steps)


# The programs of one run; a sweep calls the first two inside its own, where they are traced once for all points.
compiled_init = jax.jit(_init)
compiled_advance = jax.jit(_advance, static_argnames="length", donate_argnums=1)
_compiled_over = jax.jit(_advance_over, donate_argnums=1)
_compiled_whole = jax.jit(_whole)


def _arrays(data: Any) -> Any:
    return data if isinstance(data, Spread) else jax.tree.map(jnp.asarray, data)


@dataclasses.dataclass(frozen=True)
class Train:
    """A run as pure functions of (configuration, key, data).

    `data` is [N, D], or a `Batch` of that with contexts, or either on several devices by `spread.spread`.

    The compiled programs depend on the configuration's structure alone: other floats compile nothing again.
    """

    structure: Any

    def _program(self, config: Config) -> Config:
        config = program_config(config)
        if jax.tree.structure(config) != self.structure:
            raise ConfigError(
                "this training function was made for a configuration of another structure (sizes, names, classes): "
                "call make_train on the new one."
            )
        return config

    def _enter(self, config: Config, data: Any) -> Config:
        config = self._program(config)
        check_training_data(config, data)
        return config

    def __call__(self, config: Config, key: Key, data: Any) -> tuple[TrainState, Metrics]:
        """All `training.num_steps` steps: the last state, and every step's metrics, leaves [num_steps]."""
        entered = self._enter(config, data)
        check_values(config, data)
        return _compiled_whole(entered, key, _arrays(data))

    def init(self, config: Config, key: Key, data: Any, params: Params | None = None) -> TrainState:
        """The state before the first step; `params` are the model's to begin with, None for new ones.

        Raises:
            ConfigError: parameters that are not the model's, by the first that differs.
        """
        entered, arrays = self._enter(config, data), _arrays(data)
        check_values(config, data)
        if params is not None:
            require_parameters_of(self.shapes(config, arrays), params, "params")
        return compiled_init(entered, key, arrays, params)

    def shapes(self, config: Config, data: Any) -> TrainState:
        """The shapes and types of the state, without computing it; `data` may hold `jax.ShapeDtypeStruct`."""
        return jax.eval_shape(_init, self._enter(config, data), jax.random.key(0), data)

    def advance(self, config: Config, state: TrainState, data: Any, start: Any, length: int):
        """`length` steps from step `start` (`state.step`, unbatched): the new state, and metrics [length].

        The state is donated.
        """
        # A copy: it may be a part of the state, which is donated.
        start = jnp.array(start, jnp.int32, copy=True) if isinstance(start, jax.Array) else np.int32(start)
        return compiled_advance(self._enter(config, data), state, _arrays(data), start, length)

    def advance_over(self, config: Config, state: TrainState, rows: Any, start: int, scale: Any = None):
        """`advance` by the steps whose examples are given, in the order that it takes them in: data that are streamed.

        Args:
            config, state: as for `advance`; the state is donated.
            rows: a step's batch, or its batches, on the device: leaves [length, B, ...] or [length, batches, B, ...];
                or of `spread_steps`.
            start: `state.step`.
            scale: the values of x are those of `rows` over it; None where they are the same.
        """
        return _compiled_over(self._program(config), state, rows, np.int32(start), scale)


def next_stop(training: Training, step: int) -> int:
    """Where the chunk that starts at a step ends.

    Multiples counted from step 0, so that a resumed run calls the same programs.
    """
    chunk, evaluation = ((step // n + 1) * n for n in (training.chunk, training.evaluate_every))
    return min(chunk, evaluation, training.num_steps)


def program_config(config: Config) -> Config:
    """The configuration as programs see it: without what no training step depends on."""
    return canonical(dataclasses.replace(config, seed=0, evaluation=Evaluation()))


def make_train(config: Config) -> Train:
    """A whole training run as a pure function: `train(config, key, data) -> (state, metrics)`.

    Batches are drawn without replacement within an epoch, in an order that depends on the key and the epoch; what does
    not fill a batch is left to other epochs' orders. Configurations of equal structure share one compiled program.

    Args:
        config: a `Config`.

    Returns:
        A `Train`, callable as `train(config, key, data)` with data [N, D]; `jax.vmap(train, (0, 0, None))` over a stack
        of configurations and keys is a sweep.

    Raises:
        ConfigError: a field that is wrong, by its path.
            Also an objective whose batch may not be cut into parts, where `training.accumulate` is more than 1.
        ModelError: an objective that does not fit the model.
    """
    validate(config)
    program = program_config(config)
    # Refuse a misfit here, before anything is traced; the number of visible units plays no part in it.
    build(program, program.model.least_visible)
    return Train(jax.tree.structure(program))
