"""How the functions of models are computed while they are trained: again for the gradient, or in half the bits.

A policy is a context of JAX's own, which its caches of traced functions know. `models.adapter.Method` looks at it, so
that every model obeys; none is set but in a training step. It changes the traced program of a function, in which a
layer is a layer and a loop a loop, whoever wrote them.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var, jaxpr_as_fun
from jax.extend.core import Literal as Constant

from genjax_models.errors import ModelError

Compute = Literal["float32", "bfloat16"]
PRODUCTS = ("dot_general", "conv_general_dilated")


class Policy(NamedTuple):
    """How the functions of models are computed."""

    remat: bool = False  # whether a gradient computes again what it needs of the way forward
    compute: Compute = "float32"  # what matrix products and convolutions read


PLAIN = Policy()
_policy = jax.make_user_context(PLAIN)


def under(policy: Policy, function: Callable) -> Callable:
    """The function of pytrees of arrays, with all models' functions that it calls computed by the policy.

    Raises:
        ModelError: when called, of a policy that has nothing to change.
    """

    def call(*args):
        with _policy(policy):
            if policy.compute == "float32":
                return function(*args)
            program, run = _traced(function, args)
        if not any(map(_reads_bfloat16, _equations(program.jaxpr))):
            raise ModelError(
                f"compute: got {policy.compute!r}, but the loss takes no matrix product or convolution of a model that "
                "could read it: there is none in float32, or they ask for a precision of their own, or the model was "
                "not made by `models.adapter.as_model`; leave it 'float32'."
            )
        return run(jaxpr_as_fun(program))

    return function if policy == PLAIN else call


def obeying(function: Callable, *args: Any) -> Any:
    """`function(*args)`, of pytrees of arrays, as the policy has it that is set."""
    policy: Policy = _policy.value
    if policy == PLAIN:
        return function(*args)
    program, run = _traced(function, args)
    if policy.compute == "bfloat16":
        program = _rewritten(program, _from_bfloat16)
    if policy.remat:
        return run(_in_segments(_rewritten(program, _turns_again)))
    return run(jaxpr_as_fun(program))


def _traced(function: Callable, args: tuple) -> tuple[ClosedJaxpr, Callable[[Callable[..., list]], Any]]:
    """The program of `function(*args)`, and what gives its result by another that computes the same."""
    leaves, structure = jax.tree.flatten(args)
    leaves = [v if isinstance(v, jax.Array) else jnp.asarray(v) for v in leaves]  # no equation takes numpy's
    program, shapes = jax.make_jaxpr(lambda *v: function(*jax.tree.unflatten(structure, v)), return_shape=True)(*leaves)
    return program, lambda run: jax.tree.unflatten(jax.tree.structure(shapes), run(*leaves))


# Programs. A rule computes an equation of one in a way of its own, or returns None.

Rule = Callable[[JaxprEqn, list], list | None]
Step = tuple[Sequence[Var], Sequence[Var], Callable[..., list]]  # variables read, variables made, and how


def _programs(value: Any) -> list[Any]:
    """The programs in a parameter of an equation: a loop's body, a condition's branches."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return [part for part in parts if isinstance(part, (ClosedJaxpr, Jaxpr))]


def _equations(program: Any) -> Iterator[JaxprEqn]:
    """All equations of a program, those of the programs within it too."""
    for eqn in program.eqns:
        yield eqn
        for value in eqn.params.values():
            for part in _programs(value):
                yield from _equations(part)


def _shapes(program: ClosedJaxpr) -> list[jax.ShapeDtypeStruct]:
    def shape(aval):
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=getattr(aval, "weak_type", False))

    return [shape(v.aval) for v in program.jaxpr.invars]


def _read_by(eqns: Sequence[JaxprEqn]) -> list[Var]:
    """The variables that some equations read and do not make."""
    made = {v for eqn in eqns for v in eqn.outvars}
    read = dict.fromkeys(v for eqn in eqns for v in eqn.invars if not isinstance(v, Constant))
    return [v for v in read if v not in made]


def _step(program: ClosedJaxpr, eqns: Sequence[JaxprEqn], made: Sequence[Var]) -> Step:
    """Some equations of a program as a function of what they read."""
    read = _read_by(eqns)
    part = program.jaxpr.replace(constvars=[], invars=read, outvars=list(made), eqns=list(eqns))
    return read, made, jaxpr_as_fun(ClosedJaxpr(part, ()))


def _run(program: ClosedJaxpr, steps: Sequence[Step], args: Sequence[Any]) -> list:
    """The results of a program that is computed step by step."""
    jaxpr = program.jaxpr
    found = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *args), strict=True))
    for read, made, function in steps:
        found.update(zip(made, function(*(found[v] for v in read)), strict=True))
    return [v.val if isinstance(v, Constant) else found[v] for v in jaxpr.outvars]


def _rewritten(program: ClosedJaxpr, rule: Rule) -> ClosedJaxpr:
    """The program with a rule applied to its equations, and to those of the programs within it."""

    def step(eqn) -> Step:
        read = _read_by([eqn])

        def function(*values):
            found = dict(zip(read, values, strict=True))
            ruled = rule(eqn, [v.val if isinstance(v, Constant) else found[v] for v in eqn.invars])
            if ruled is not None:
                return ruled
            # What has a derivative of its own keeps it, and is left as it is.
            own = eqn.primitive.name.startswith("custom_")
            params = eqn.params if own else {k: _within(v, rule) for k, v in eqn.params.items()}
            return _step(program, [eqn.replace(params=params)], eqn.outvars)[2](*values)

        return read, eqn.outvars, function

    steps = list(map(step, program.jaxpr.eqns))
    return jax.make_jaxpr(lambda *args: _run(program, steps, args))(*_shapes(program))


def _within(value: Any, rule: Rule) -> Any:
    """A parameter of an equation with its programs rewritten."""

    def one(part):
        if isinstance(part, ClosedJaxpr):
            return _rewritten(part, rule)
        return _rewritten(ClosedJaxpr(part, ()), rule).jaxpr if isinstance(part, Jaxpr) else part

    if not _programs(value):
        return value
    return type(value)(map(one, value)) if isinstance(value, (tuple, list)) else one(value)


# Computing again.


def _turns_again(eqn: JaxprEqn, values: list) -> list | None:
    """A loop that keeps its state before each turn alone, and computes a turn again when its gradient comes."""
    if eqn.primitive.name != "scan":
        return None
    body = _rewritten(eqn.params["jaxpr"], _turns_again)
    eqns = body.jaxpr.eqns
    if not (len(eqns) == 1 and eqns[0].primitive.name == "checkpoint" and eqns[0].params.get("policy") is None):
        body = jax.make_jaxpr(jax.checkpoint(jaxpr_as_fun(body), prevent_cse=False))(*_shapes(body))
    return eqn.primitive.bind(*values, **{**eqn.params, "jaxpr": body})


def _in_segments(program: ClosedJaxpr) -> Callable[..., list]:
    """A program of n products in about sqrt(n) segments, of which what they read alone is kept.

    In the order of the program, each segment with about sqrt(n) products: with less kept, more would be held at once
    while a segment is computed again (Chen, Xu, Zhang and Guestrin 2016).
    """

    def products(eqns):
        return sum(eqn.primitive.name in PRODUCTS for eqn in eqns)

    jaxpr, number = program.jaxpr, 0
    segments: list[list[JaxprEqn]] = [[]]
    most = math.isqrt(max(1, products(_equations(jaxpr))))
    for eqn in jaxpr.eqns:
        more = products([eqn]) + sum(products(_equations(p)) for v in eqn.params.values() for p in _programs(v))
        if more and number + more > most and number:
            segments.append([])
            number = 0
        segments[-1].append(eqn)
        number += more

    needed = {v for v in jaxpr.outvars if not isinstance(v, Constant)}
    steps: list[Step] = []
    for eqns in reversed(segments):
        read, made, function = _step(program, eqns, [v for eqn in eqns for v in eqn.outvars if v in needed])
        steps.insert(0, (read, made, jax.checkpoint(function)))
        needed |= set(read)
    return lambda *args: _run(program, steps, args)


# Products that read half the bits.


def _reads_bfloat16(eqn: JaxprEqn) -> bool:
    """Whether an equation is a product of bfloat16 numbers whose sums are float32."""
    return eqn.primitive.name in PRODUCTS and _kinds(eqn) == [jnp.bfloat16, jnp.bfloat16, jnp.float32]


def _kinds(eqn: JaxprEqn) -> list[Any]:
    """The types of what an equation reads and of what it makes."""
    avals: list[Any] = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    return [aval.dtype for aval in avals]


def _from_bfloat16(eqn: JaxprEqn, values: list) -> list | None:
    """A product whose operands are rounded to bfloat16, unless it asks for a precision."""
    if eqn.primitive.name not in PRODUCTS or any(kind != jnp.float32 for kind in _kinds(eqn)):
        return None
    asked = eqn.params["precision"]
    if any(p not in (None, jax.lax.Precision.DEFAULT) for p in (asked if isinstance(asked, tuple) else (asked,))):
        return None
    return [_product(eqn)(*values)]


def _product(eqn: JaxprEqn) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A product of float32 numbers by their leading bits, of which alone something is kept for the gradient.

    Sums are float32. In the products of the gradient, too, both operands are bfloat16, and each result, summed in
    float32 within the product, is rounded once.
    """

    def half(v):
        return v.astype(jnp.bfloat16)

    def of_halves(x, w, kind):
        return eqn.primitive.bind(x, w, **{**eqn.params, "preferred_element_type": jnp.dtype(kind)})

    @jax.custom_jvp
    def product(x, w):
        return of_halves(half(x), half(w), jnp.float32)

    @functools.partial(product.defjvp, symbolic_zeros=True)
    def _(primals, tangents):
        x, w = map(half, primals)
        moved = jnp.zeros((), jnp.float32)
        for i, tangent in enumerate(tangents):
            if not isinstance(tangent, SymbolicZero):
                pair = (half(tangent), w) if i == 0 else (x, half(tangent))
                moved = moved + of_halves(*pair, jnp.bfloat16).astype(jnp.float32)
        return product(*primals), moved  # by this rule again, where the gradient's gradient is taken

    return product
