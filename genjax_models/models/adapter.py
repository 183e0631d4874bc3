"""From a linen module to the pure functions of `core`, for every model in one place.

A module that has the contract's methods (`propose`, `log_joint`, ...) and submodules named `generative`, `recognition`
or `shared`, which become the parameter groups, is a model. Each function is a frozen record of the module and a method
name, so a model that is built again equals the first one and compiles nothing again. Only `models` imports flax.
"""

import dataclasses
import functools
from typing import Any, TypeVar

import flax.linen as nn
import jax

from genjax_models.core import ImplicitModel, LatentVariableModel, LikelihoodModel, is_hashable
from genjax_models.errors import ModelError
from genjax_models.models.initializers import one_draw
from genjax_models.policy import obeying

GROUPS = ("generative", "recognition", "shared", "critic", "autoencoder")
M = TypeVar("M", LatentVariableModel, LikelihoodModel, ImplicitModel)


@dataclasses.dataclass(frozen=True)
class Method:
    """`module.method(*args)` as a pure function of the parameters, computed by the policy of a training step."""

    module: nn.Module
    name: str

    def __call__(self, params, *args):
        return obeying(
            lambda params, *args: self.module.apply({"params": params}, *args, method=self.name), params, *args
        )


@dataclasses.dataclass(frozen=True)
class Init:
    """Parameters for a model: all its methods are called once, so that each finds what it needs."""

    module: nn.Module
    capability: type

    def __call__(self, key, x, c=()):
        # With a traced hyperparameter the caller's own trace compiles it.
        initialize = _compiled_initialize if is_hashable(self) else _initialize
        return initialize(self, key, x, c)


def has(module: Any, name: str) -> bool:
    """Whether the module has that method or fact.

    A module may deny one that its class defines, by a property `lacks`: so one class serves configurations of which
    only some have a mean in closed form, say.
    """
    return hasattr(module, name) and name not in getattr(module, "lacks", ())


def _visit(capability: type, module: Any, key, x, c) -> None:
    """Call every method of the contract that the module has."""
    if capability is LatentVariableModel:
        z, _ = module.propose(key, x, c)
        module.sample_joint(key, c)
        module.log_joint(z, x, c)
        module.log_posterior(z, x, c)
        if has(module, "decode"):
            module.decode(z, c)
        if has(module, "kl"):
            module.kl(x, c)
    else:
        module.sample(key, c)
        if capability is LikelihoodModel:
            module.log_prob(x, c)
        for name in ("critic", "reconstruction_error"):
            if has(module, name):
                getattr(module, name)(x, c)


def _initialize(init: Init, key, x, c):
    draw, sample = jax.random.split(key)
    visit = functools.partial(_visit, init.capability)

    def run():
        return init.module.init(jax.random.fold_in(key, 2), sample, x, c, method=lambda m, *args: visit(m, *args))

    variables = one_draw(run, draw)
    name = type(init.module).__name__
    if extra := sorted(set(variables) - {"params"}):
        raise ModelError(
            f"{name} keeps {', '.join(extra)} besides parameters. A model is defined on one example, where statistics "
            "over a batch have no meaning: use nn.GroupNorm or nn.LayerNorm in place of nn.BatchNorm."
        )
    params = variables.get("params", {})
    if unknown := sorted(set(params) - set(GROUPS)):
        raise ModelError(
            f"{name} has parameters in {', '.join(unknown)}; expected them in submodules named {', '.join(GROUPS)}, "
            "which are the groups that objectives train."
        )
    return params


_compiled_initialize = jax.jit(_initialize, static_argnums=0)


def as_model(capability: type[M], module: nn.Module) -> M:
    """The module's methods as a model of the given capability.

    Args:
        capability: `LatentVariableModel`, `LikelihoodModel` or `ImplicitModel`.
        module: a linen module with a method of the same name and arguments (less `params`) for every function of the
            capability, and an attribute for every fact (`reparameterized`, `support`).

    Raises:
        ModelError: naming the methods that the module lacks.
    """
    defaults = capability._field_defaults
    names = [n for n in capability._fields if n not in ("name", "init")]
    if missing := [n for n in names if n not in defaults and not has(module, n)]:
        raise ModelError(
            f"{type(module).__name__} cannot be a {capability.__name__}: it lacks {', '.join(missing)}. "
            f"A {capability.__name__} has {', '.join(n for n in names if n not in defaults)}."
        )

    def get(name: str) -> Any:
        if not has(module, name):
            return defaults[name]
        # A submodule of that name, which is a parameter group too, is called as a method is.
        callable_one = callable(getattr(type(module), name, None)) or isinstance(getattr(module, name), nn.Module)
        return Method(module, name) if callable_one else getattr(module, name)

    found = {n: get(n) for n in names}
    if capability is LatentVariableModel:
        found["shared_parameters"] = hasattr(module, "shared")
    name = type(module).__name__.removesuffix("Module")
    return capability(name=name, init=Init(module, capability), **found)
