"""Models that leave the library: parameters as safetensors, and programs that run without this package.

folder = export_run("runs/vae_digits", "exported")
model, params = load_export("exported")

The folder has config.json of the run, parameters.safetensors, a program `NAME.jaxexport` for each thing that the model
can do, export.json that describes them, and use.py, which calls them. Nothing in it is run to load the parameters.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from genjax_models.core import Batch, ImplicitModel, LatentVariableModel, LikelihoodModel, Params
from genjax_models.errors import ConfigError, RunError, UserError, require_count
from genjax_models.evaluation.marginal import importance_weight
from genjax_models.evaluation.weights import log_mean, sum_weights
from genjax_models.measuring import Log, abstract_state, chosen_parameters
from genjax_models.run_folder import CONFIG, Run, as_json, open_run, write_whole

PARAMETERS, ABOUT, SCRIPT = "parameters.safetensors", "export.json", "use.py"
PROGRAM = ".jaxexport"  # ends the names of programs' files
PLATFORMS = ("cpu", "cuda", "tpu")
CHUNK = 50  # weights of an example that are computed at once


class Program(NamedTuple):
    """A function of batches that can be exported."""

    function: Callable[..., Any]  # (params, *inputs) -> arrays that begin with B
    inputs: tuple[str, ...]  # of "keys", "x", "z", "context"
    about: str


def programs_of(model: Any, num_samples: int, context: bool) -> dict[str, Program]:
    """What a model can do, by name, as functions of batches: of keys [B], of examples x [B, D] and of codes z.

    Args:
        model: of any of the three capabilities.
        num_samples: importance samples K an example of `log_marginal`.
        context: whether the functions take contexts [B, C] after the others.
    """
    found: dict[str, Program] = {}

    def add(name: str, function: Callable[..., Any], inputs: tuple[str, ...], about: str) -> None:
        def of_batch(params, *inputs):
            return jax.vmap(lambda *row: function(params, *row, *(() if context else ((),))))(*inputs)

        found[name] = Program(of_batch, (*inputs, "context") if context else inputs, about)

    if isinstance(model, LatentVariableModel):
        add("sample", lambda p, key, c: model.sample_joint(p, key, c)[1], ("keys",), "draws x")

        def log_marginal(params, key, x, context):
            sums = sum_weights(
                lambda k: importance_weight(model, params, Batch(x, context), k), key, num_samples, CHUNK
            )
            return log_mean(sums, num_samples).value

        about = f"log p(x) by {num_samples} importance samples, nats"
        add("log_marginal", log_marginal, ("keys", "x"), about)
        if (moments := model.posterior_moments) is not None:
            add("encode", lambda p, x, c: moments(p, x, c)[0], ("x",), "the mean of z under q(z | x)")
        else:
            add("encode", lambda p, key, x, c: model.propose(p, key, x, c)[0], ("keys", "x"), "draws z from q(z | x)")
        if (decode := model.decode) is not None:
            add("decode", decode, ("z",), "E[x | z]")
    elif isinstance(model, LikelihoodModel):
        add("sample", model.sample, ("keys",), "draws x")
        add("log_marginal", model.log_prob, ("x",), "log p(x), nats")
        if (inverse := model.inverse) is not None:
            add("encode", lambda p, x, c: inverse(p, x, c)[0], ("x",), "the z that the model makes x of")
        if (forward := model.forward) is not None:
            add("decode", forward, ("z",), "the x that the model makes of z")
    elif isinstance(model, ImplicitModel):
        add("sample", model.sample, ("keys",), "draws x")
        if (encode := model.encode) is not None:
            add("encode", encode, ("x",), "the code of x")
        if model.decode is not None:
            add("decode", model.decode, ("z",), "the x that a code stands for")
    return found


def named(params: Params) -> dict[str, Any]:
    """The arrays of a pytree by their paths, such as "generative/network/layers_0/kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _unnamed(arrays: Mapping[str, Any], like: Params) -> Params:
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in named(like)])


def export_programs(
    model: Any,
    params: Params,
    visible: int,
    *,
    num_samples: int = 100,
    context: int | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> dict[str, tuple[Program, bytes]]:
    """Each program of `programs_of`, serialized by `jax.export` for any batch size B.

    Args:
        model: of any of the three capabilities.
        params: its parameters, or their shapes; programs take them by name, as `named` has them.
        visible: D.
        num_samples: importance samples K of an example.
        context: the width C of contexts; None for none.
        platforms: of "cpu", "cuda", "tpu" and what else JAX lowers to.

    Raises:
        ConfigError: no samples, or no platform.
    """
    require_count("num_samples", num_samples)
    if not platforms or (unknown := sorted(set(platforms) - {*PLATFORMS, "rocm"})):
        raise ConfigError(
            f"platforms: got {list(platforms)!r}, expected some of {', '.join(PLATFORMS)}"
            f"{f'; {unknown[0]!r} is none' if platforms else ''}."
        )
    (size,) = jax_export.symbolic_shape("b")
    shapes: dict[str, Any] = {
        "keys": jax.ShapeDtypeStruct((size, 2), jnp.uint32),
        "x": jax.ShapeDtypeStruct((size, visible), jnp.float32),
        "context": jax.ShapeDtypeStruct((size, context or 0), jnp.float32),
    }
    like = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), params)
    found: dict[str, tuple[Program, bytes]] = {}
    for name, program in programs_of(model, num_samples, context is not None).items():

        def run(arrays, *inputs, program=program):
            given = [
                jax.random.wrap_key_data(v, impl="threefry2x32") if kind == "keys" else v
                for kind, v in zip(program.inputs, inputs, strict=True)
            ]
            return program.function(_unnamed(arrays, like), *given)

        given = [shapes[kind] for kind in program.inputs]
        exported = jax_export.export(jax.jit(run), platforms=tuple(platforms))(named(like), *given)
        found[name] = program, bytes(exported.serialize())
        if name == "encode":
            z = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in exported.out_avals]
            shapes["z"] = jax.tree.unflatten(exported.out_tree, z)
    return found


def export_run(
    folder: Path | str,
    out: Path | str,
    *,
    num_samples: int = 100,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
    log: Log = print,
) -> Path:
    """Write a run's model into a folder that needs nothing of this package to be used.

    Args:
        folder: the run folder.
        out: the folder to write.
        num_samples: importance samples K of an example in `log_marginal`.
        platforms: where the programs can run, of "cpu", "cuda" and "tpu".
        overwrite: replace what an earlier export left in `out`.
        log: hears what happens, line by line.

    Returns:
        `out`.

    Raises:
        UserError: no run, no whole checkpoint, a folder that holds something or cannot be written, or a package that is
            missing.
    """
    safetensors = _safetensors()
    run, out = open_run(Path(folder)), Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (overwrite and (out / ABOUT).is_file()))):
        advice = "give another --out" + (", or --overwrite" if (out / ABOUT).is_file() else "")
        raise UserError(f"{out} exists and is not an empty folder; {advice}.")
    _, params, chosen = chosen_parameters(run, log)
    programs = export_programs(
        run.config.model.build(run.data.visible),
        params,
        run.data.visible,
        num_samples=num_samples,
        context=run.data.context,
        platforms=platforms,
    )
    arrays = {name: np.asarray(v) for name, v in named(params).items()}
    about = {
        "made by": f"genjax_models {metadata.version('genjax_models')}",
        "step": chosen.step,
        "visible": run.data.visible,
        "image_shape": run.data.image_shape,
        "context": run.data.context,
        "platforms": list(platforms),
        "programs": {
            name: {"inputs": ["parameters", *program.inputs], "gives": program.about}
            for name, (program, _) in programs.items()
        },
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for earlier in out.glob(f"*{PROGRAM}"):
            earlier.unlink()
        write_whole(out / CONFIG, (run.folder / CONFIG).read_bytes())
        write_whole(out / PARAMETERS, safetensors.save(arrays, {"step": str(chosen.step)}))
        for name, (_, content) in programs.items():
            write_whole(out / f"{name}{PROGRAM}", content)
        write_whole(out / SCRIPT, _script({name: program for name, (program, _) in programs.items()}, run))
        write_whole(out / ABOUT, as_json(about))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    log(f"step {chosen.step} of {run.folder} in {out}: {', '.join(programs)}")
    return out


def load_export(folder: Path | str) -> tuple[Any, Params]:
    """The model and the parameters of an exported folder; nothing in it is run.

    Raises:
        UserError: no such folder, arrays other than the model's, or safetensors is not installed.

    Example:
        >>> model, params = load_export("exported")
        >>> z, x = model.sample_joint(params, jax.random.key(0), ())
    """
    safetensors, folder = _safetensors(), Path(folder)
    run, path = open_run(folder), folder / PARAMETERS
    like = abstract_state(run).params
    try:
        arrays = safetensors.load(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read ({os.strerror(error.errno or 0)}); export the run again.") from None
    except Exception as error:  # safetensors has errors of its own, and raises others of a header that lies
        raise RunError(f"{path} is no whole file of safetensors ({error}); export the run again.") from None
    wanted = {name: (v.shape, np.dtype(v.dtype)) for name, v in named(like).items()}
    there = {name: (v.shape, v.dtype) for name, v in arrays.items()}
    for name in sorted(set(wanted) | set(there)):
        if wanted.get(name) != there.get(name):
            got, expected = (_described(arrays.get(name)) for arrays in (there, wanted))
            raise RunError(f"{path}: {name}: got {got}, expected {expected} by {CONFIG}; export the run again.")
    return run.config.model.build(run.data.visible), jax.tree.map(jnp.asarray, _unnamed(arrays, like))


def _described(array: tuple[tuple[int, ...], Any] | None) -> str:
    return "none" if array is None else f"{array[1]}{list(array[0])}"


def _safetensors() -> Any:
    try:
        import flatbuffers  # noqa: F401  # jax.export writes by it
        import safetensors.numpy
    except ImportError as error:
        raise UserError(
            f"exporting needs {error.name}, which is not installed: python -m pip install 'genjax_models[export]'."
        ) from None
    return safetensors.numpy


def _script(programs: Mapping[str, Program], run: Run) -> str:
    """A script that calls every program, and shows what comes."""
    lines = [
        '"""Call the programs of this folder. It needs jax, flatbuffers, numpy and safetensors."""',
        "",
        "import json",
        "from pathlib import Path",
        "",
        "import jax",
        "from jax import export",
        "from safetensors.numpy import load_file",
        "",
        "here, size = Path(__file__).parent, 4  # any batch size",
        f'parameters = load_file(here / "{PARAMETERS}")',
        f'about = json.loads((here / "{ABOUT}").read_text())["programs"]',
        "",
        "",
        "def program(name):",
        f'    return export.deserialize(bytearray((here / f"{{name}}{PROGRAM}").read_bytes())).call',
        "",
        "",
        'keys = jax.random.key_data(jax.random.split(jax.random.key(0, impl="threefry2x32"), size))',
    ]
    if run.data.context is not None:
        lines.append(f"context = jax.numpy.zeros((size, {run.data.context}))  # what the model is given besides")
    names = {"sample": "x", "encode": "z"}
    for name, program in programs.items():
        given, shown = ", ".join(["parameters", *program.inputs]), names.get(name, "result")
        lines.append(f'{shown} = program("{name}")({given})  # {program.about}')
        lines.append(f'print("{name}:", about["{name}"]["gives"], jax.tree.map(lambda v: v.shape, {shown}))')
    return "\n".join(lines) + "\n"
