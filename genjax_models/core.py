"""The contract between models, objectives and training.

A directed generative model is a distribution p(x, z), drawn from top to bottom, and perhaps a recognition
distribution q(z | x) that guesses the latents of an example. What a model can compute decides what can be done with it:

    LatentVariableModel   p: draw (z, x), log p(x, z).   q: draw z given x, log q(z | x).
    LikelihoodModel       draw x, log p(x).
    ImplicitModel         draw x.

Each is a tuple of pure functions on ONE example; `jax.vmap` makes particles, batches and seeds of them. An objective
turns a model into a number in nats per example with a gradient for each parameter group, and a training step is a
sequence of phases, each of which follows one objective's gradient on one group.

Throughout: K particles, B batch, D visible units; log-probabilities are nats per example, summed over dimensions.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import jax
import optax

Key = jax.Array  # a typed key, from jax.random.key
Scalar = jax.Array  # shape ()
X = jax.Array  # one example, [D]
Context = Any  # what the model is given besides: class, mask, length, order; a pytree, () where there is none
Latents = Any  # a pytree with one entry per latent group: a layer, a time step
Params = Mapping[str, Any]  # by group: {"generative": ..., "recognition": ...[, "shared": ...]}
Terms = Any  # a pytree of scalars in nats, whose sum is a log-probability
Metrics = dict[str, Scalar]


class Joint(NamedTuple):
    """log p(x, z) by its terms, in nats."""

    likelihood: Scalar  # log p(x | z)
    prior: tuple[Scalar, ...]  # a term per latent group, log p(z_i | the groups above it)


def total(terms: Terms) -> Scalar:
    """The log-probability that terms make up: their sum."""
    return functools.reduce(operator.add, jax.tree.leaves(terms))


def is_hashable(value: Any) -> bool:
    """Whether a record may be a static argument of `jax.jit`; with a traced hyperparameter in it, it may not."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


class LatentVariableModel(NamedTuple):
    """p(x, z) with a recognition distribution q(z | x): belief nets, Helmholtz machines, variational autoencoders.

    Every function is pure and takes one example x of shape [D] and a context c.
    """

    name: str  # for messages
    init: Callable[..., Params]  # (key, x, c) -> params; of x and c only shapes and types matter
    sample_joint: Callable[..., tuple[Latents, X]]  # (params, key, c) -> (z, x), ancestral: z from the top, then x
    propose: Callable[..., tuple[Latents, Terms]]  # (params, key, x, c) -> z ~ q(. | x), its log_posterior; one pass
    log_joint: Callable[..., Joint]  # (params, z, x, c) -> log p(x, z)
    log_posterior: Callable[..., tuple[Scalar, ...]]  # (params, z, x, c) -> log q(z | x), a term per group as sampled
    reparameterized: bool  # whether z of `propose` carries gradients; its terms then are those along the moving z
    support: Literal["real", "binary", "one_hot"]  # the values a latent takes; one_hot: one 1 on the last axis
    # What only some models have, and only some objectives need; None where the model has no such thing.
    decode: Callable[..., X] | None = None  # (params, z, c) -> E[x | z], where that has a closed form
    kl: Callable[..., tuple[Scalar, ...]] | None = None  # (params, x, c) -> KL(q(z | x) || p(z)) by group, closed form
    # Binary latents. (params, z, x, c) -> the logit of every unit under q given all that q draws before it, as z.
    posterior_logits: Callable[..., Latents] | None = None
    # (params, u, x, c) -> (z, logits), all as z: z_i = 1 where u_i < sigmoid(logit_i), so that uniform u give z ~ q.
    # Gradients flow through the logits alone.
    sample_from_uniforms: Callable[..., tuple[Latents, Latents]] | None = None
    # (params, z, c) -> the logits of p(z_i | the groups above it), as z; where the units of a group are independent.
    prior_logits: Callable[..., Latents] | None = None
    # (params) -> (biases of the top layer, ((W [above, below], b [below]), ...) down to x): p with sigmoid units alone.
    affine_layers: Callable[..., tuple[jax.Array, tuple]] | None = None
    factorial_posterior: bool = False  # whether q's units of a group are independent given the groups drawn before
    shared_parameters: bool = False  # whether there is a group "shared", of parameters that belong to p and to q
    prior_given_x: bool = False  # whether p's terms of z involve x, so that z cannot be drawn before it
    layered: bool = False  # whether p's term of group i involves z_i and z_{i+1} alone, q's z_{i-1} and z_i (z_0 is x)
    # (params, x, c) -> `kl` by the latents of each group, arrays as z; where q and p are products over them.
    kl_by_dimension: Callable[..., tuple[jax.Array, ...]] | None = None
    # (params, key, x, c) -> z of `propose` and the terms of `kl_by_dimension`, or of `kl` without that; one pass of q.
    propose_with_kl: Callable[..., tuple[Latents, tuple[jax.Array, ...]]] | None = None
    # One-hot latents. (params, x, c) -> the logits of their classes under q, as z; where its latents are independent.
    class_logits: Callable[..., Latents] | None = None
    # (params, x, c) -> (mean, standard deviation) of every latent under q, each as z.
    posterior_moments: Callable[..., tuple[Latents, Latents]] | None = None
    # (params, key, x, c) -> z and log_posterior of `propose` by the same key, and log_joint at that z, in one pass that
    # saves what p and q would both compute.
    propose_joint: Callable[..., tuple[Latents, Terms, Joint]] | None = None
    # Drawn step by step. (params, z, c) -> [T, D], E[x] as it stands after every step, the last one `decode`.
    canvases: Callable[..., jax.Array] | None = None
    # (params, z, c) -> [T, 4], where each step draws: top, left, bottom, right in pixels from the image's corner.
    windows: Callable[..., jax.Array] | None = None
    # Sequences of steps of that many units, x [T * F], with masks [T] as contexts.
    frame: int | None = None
    # (params, key, x, steps, c) -> x with what follows its first `steps` drawn: q filters those, and p goes on.
    continue_from: Callable[..., X] | None = None
    # (params) -> the state before the first step, and (params, key, state, x_t [F]) -> the state after z_t ~ q and
    # log p(x_t, z_t | state) - log q(z_t | x_t, state); with keys fold_in(key, t) z is that of `propose` by `key`.
    filter_start: Callable[..., Any] | None = None
    filter_step: Callable[..., tuple[Any, Scalar]] | None = None


class LikelihoodModel(NamedTuple):
    """p(x) in closed form: auto-regressive nets, invertible generators."""

    name: str
    init: Callable[..., Params]  # (key, x, c) -> params
    sample: Callable[..., X]  # (params, key, c) -> x
    log_prob: Callable[..., Scalar]  # (params, x, c) -> log p(x)
    # Binary units in an order. (params, x, c) -> the logit of every unit given those before it, [D], as x has them.
    conditional_logits: Callable[..., X] | None = None
    # Invertible generators x = g(z), z ~ N(0, I), [D]. (params, x, c) -> (z, log |det dz/dx|), and (params, z, c) -> x.
    inverse: Callable[..., tuple[jax.Array, Scalar]] | None = None
    forward: Callable[..., X] | None = None
    # (params, x, c) -> log |det| of the fixed map (a logit) that takes x to where the learned part starts.
    preprocess_log_det: Callable[..., Scalar] | None = None
    # Ensembles. (params, key, shared_key, x, c) -> the score of a random member, to train by; its expectation over
    # both keys is a lower bound on log p(x) of the ensemble of all members. A batch shares one shared_key.
    training_log_prob: Callable[..., Scalar] | None = None
    mean: Callable[..., X] | None = None  # (params, c) -> E[x | c], where that has a closed form
    # (params, key, x, hidden, c) -> x with the units [D] where `hidden` is true drawn from p(x_hidden | x_seen).
    complete: Callable[..., X] | None = None
    levels: int | None = None  # L, where a unit takes the values k / (L - 1) alone
    # Orders of the units, in each of which `complete` needs the seen ones first; None where any may be seen.
    completion_orders: tuple[tuple[int, ...], ...] | None = None
    frame: int | None = None  # of sequences, as for latent variable models
    continue_from: Callable[..., X] | None = None  # (params, key, x, steps, c) -> x with the steps after those drawn


class ImplicitModel(NamedTuple):
    """A sampler with no density: adversarial and moment-matching generators."""

    name: str
    init: Callable[..., Params]  # (key, x, c) -> params
    sample: Callable[..., X]  # (params, key, c) -> x
    critic: Callable[..., Scalar] | None = None  # (params, x, c) -> the logit of D(x), or a Wasserstein critic's value
    # Generators of codes, which an autoencoder turns into x: `sample` is `decode` of `sample_code`.
    encode: Callable[..., jax.Array] | None = None  # (params, x, c) -> code [Z]
    decode: Callable[..., X] | None = None  # (params, code, c) -> x
    sample_code: Callable[..., jax.Array] | None = None  # (params, key, c) -> code
    # (params, x, c) -> how far decode(encode(x)) is from x: a cross-entropy in nats, or half the squared distance.
    reconstruction_error: Callable[..., Scalar] | None = None


class Batch(NamedTuple):
    """B examples with their contexts; wherever a batch is taken, a bare array x stands for `Batch(x)`."""

    x: jax.Array  # [B, D]
    context: Context = ()  # leaves [B, ...]


def as_batch(batch: Any) -> Batch:
    """`Batch(x)` of a bare array; a `Batch` as it is."""
    return batch if isinstance(batch, Batch) else Batch(batch)


class Trainable(NamedTuple):
    """What an objective differentiates: the model's parameters by group, and the objective's own."""

    model: Params
    own: Any = ()


class Objective(NamedTuple):
    """A quantity to minimize, printed as a paper would: minus the bound, in nats per example, with its gradient.

    The value is never rescaled; the gradient is the estimator's, which need not be the value's derivative. Like an
    optax transformation an objective may own parameters (a baseline network) and state (running moments).
    """

    init: Callable[..., tuple[Any, Any]]  # (key, params, batch) -> (own parameters, state); () and () for most
    loss: Callable[
        ..., tuple[Scalar, tuple[Any, Metrics]]
    ]  # (trainable, state, key, batch, step) -> (loss, (state, m))

    @property
    def draws_by_row(self) -> bool:
        """Whether the loss says that it draws by rows, as `objectives.parts` has it, and not by its key alone."""
        return getattr(self.loss, "draws_by_row", False)

    @property
    def needs_whole_batch(self) -> str | None:
        """Why the loss says that it is no mean over the examples of a batch, of which parts may be taken; else None."""
        return getattr(self.loss, "needs_whole_batch", None)


class Phase(NamedTuple):
    """A part of a training step: one objective's gradient, followed on one parameter group.

    The objective's own parameters are trained in its phase, with the group.
    """

    objective: Objective
    group: str | tuple[str, ...] | None  # groups of the model's parameters; None for all of them
    optimizer: optax.GradientTransformation
    repeats: int = 1  # updates in this phase, each on a fresh batch


class PhaseState(NamedTuple):
    """What a phase carries from step to step."""

    own: Any  # the objective's own parameters
    objective: Any  # the objective's state
    optimizer: Any  # the optimizer's state


class TrainState(NamedTuple):
    """What the next training step needs, and a checkpoint holds."""

    step: jax.Array  # int32: steps taken, skipped ones included
    key: Key  # the run's key; step t draws from fold_in(key, t)
    params: Params  # the model's
    phases: tuple[PhaseState, ...]
    average: Params | None  # moving average of params, None where none is kept
    nonfinite: jax.Array  # int32: updates that were put back because they were not finite
    halted: jax.Array  # bool: a non-finite update came under the policy "stop"


def leaf_types(tree: Any) -> dict[str, str]:
    """Type and shape of every leaf by its path, in words."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, (_, leaf) in zip(names, leaves, strict=True)}


def first_difference(got: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """The first leaf in which two `leaf_types` differ, in words; None where there is none."""
    for name in dict.fromkeys([*expected, *got]):
        if got.get(name) != expected.get(name):
            return f"{name} is {got.get(name, 'absent')}, expected {expected.get(name, 'none')}"
    return None


class TrainStep(NamedTuple):
    """What `make_train_step` returns."""

    init: Callable[..., TrainState]  # (key, params, batch) -> state
    step: Callable[..., tuple[TrainState, Metrics]]  # (state, batch) -> (state, metrics)


_placing = jax.make_user_context(None)  # one of JAX's own, which its caches of traced functions know


def batches_placed_by(place: Callable[[Any], Any] | None) -> AbstractContextManager[None]:
    """A context within which `along_batch` is `place`, a hashable function of arrays [B, ...]; None for nothing."""
    return _placing(place)


def along_batch(arrays: Any) -> Any:
    """Arrays [B, ...], laid where the batch lies if that is spread over devices.

    What is computed from a batch lies with it by itself; what is drawn without one, such as dreams and samples, does
    not, and every device would draw all of it.
    """
    place = _placing.value
    return arrays if place is None else place(arrays)
