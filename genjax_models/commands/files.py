"""What names and files on the command line stand for."""

import argparse
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_file(path: str, examples: str = "configs") -> dict[str, Any]:
    """What a Python file sets.

    Raises:
        ConfigError: no such file, with those in the folder of examples, or an error in it.
    """
    from genjax_models.errors import ConfigError, UserError

    file = Path(path)
    if not file.is_file():
        here = sorted(str(p) for p in Path(examples).glob("*.py"))
        known = f" Here are: {', '.join(here)}." if here else ""
        raise ConfigError(f"{path}: no such file.{known}")
    if file.suffix != ".py":  # what is run has to look like it
        raise ConfigError(
            f"{path}: expected a Python file, whose name ends in .py; one that trains on a file of your own sets "
            "CONFIG with data=Files('FILE')."
        )
    try:
        return runpy.run_path(str(file))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{error.filename or path}{line}: {error.msg}: {(error.text or '').strip()}") from None
    except UserError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:
        raise ConfigError(f"{path}{_line_of(error, str(file))}: {type(error).__name__}: {error}") from None


def _line_of(error: BaseException, file: str) -> str:
    """ ", line N" of the last frame in the file."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def load_file(path: str) -> dict[str, Any]:
    """What a Python file sets, of which CONFIG is a configuration.

    Raises:
        ConfigError: no such file, an error in it, or no CONFIG.
    """
    from genjax_models.config import Config
    from genjax_models.errors import ConfigError

    found = run_file(path)
    if not isinstance(config := found.get("CONFIG"), Config):
        raise ConfigError(f"{path}: expected CONFIG = genjax_models.config.Config(...), found {config!r}.")
    return found


def load_config(path: str) -> Any:
    """The configuration of a Python file that sets CONFIG, or of a run folder.

    Raises:
        UserError: no such file or folder, an error in it, or no configuration.
    """
    if Path(path).is_dir():
        from genjax_models.run_folder import open_run

        return open_run(Path(path)).config
    return load_file(path)["CONFIG"]


def load_source(name: str) -> Any:
    """A data source by its name, or that of a Python file's CONFIG.

    Raises:
        UserError: a source that needs settings, no such file, or no configuration in it.
    """
    from genjax_models.data import SOURCES
    from genjax_models.errors import ConfigError

    if name not in SOURCES:
        return load_config(name).data
    if required := _required(name):
        raise ConfigError(f"{name}: needs {', '.join(required)}; give a Python file that sets CONFIG with it.")
    return SOURCES[name]()


def _required(name: str) -> dict[str, str]:
    """The fields that a data source must be given, and what they mean."""
    import dataclasses

    from genjax_models.data import SOURCES

    fields = dataclasses.fields(SOURCES[name])
    return {f.name: f.metadata.get("help", "") for f in fields if f.default is dataclasses.MISSING}


def open_source(name: str, data_dir: str | None = None, fields: Mapping[str, str] | None = None) -> Any:
    """A data source by its name, by a configuration that has it, or for a file or folder of data.

    Args:
        name: one of `SOURCES`, a Python file that sets CONFIG, a run folder, or a file or folder of data, looked for
            from the working folder and then in the data folder.
        data_dir: the data folder; None for the environment's or the default one.
        fields: fields of the source to replace, as text.

    Raises:
        UserError: nothing of that name, a field that the source does not have or that is missing.
    """
    from genjax_models.data import SOURCES, Files, HuggingFace, ImageFolder, MidiFolder, Shards, WavFolder
    from genjax_models.data.files import SUFFIXES
    from genjax_models.data.folder import places_of
    from genjax_models.data.huggingface import MARKS
    from genjax_models.data.image_folder import SUFFIXES as IMAGES
    from genjax_models.data.midi_folder import SUFFIXES as MIDI
    from genjax_models.data.shard_index import INDEX
    from genjax_models.errors import ConfigError, nearest
    from genjax_models.overlay import overlay
    from genjax_models.run_folder import CONFIG

    fields = fields or {}
    folder = next((place for place in places_of(name, data_dir) if place.is_dir()), None)
    source: Any
    if name in SOURCES:
        required = _required(name)
        if absent := [f"--{key.replace('_', '-')}, {said}" for key, said in required.items() if key not in fields]:
            raise ConfigError(f"{name}: needs {'; and '.join(absent)}.")
        source = SOURCES[name](**{key: fields[key] for key in required})
    elif name.endswith(".py") or (Path(name) / CONFIG).is_file():
        source = load_source(name)
    elif folder is not None:
        suffixes = {path.suffix.lower() for path in folder.rglob("*")}
        pictures = not suffixes.isdisjoint(IMAGES)
        if (folder / INDEX).is_file():
            source = Shards(name)
        elif any((folder / mark).is_file() for mark in MARKS):
            source = HuggingFace(name)
        elif ".wav" in suffixes and not pictures:
            source = WavFolder(name)
        elif not suffixes.isdisjoint(MIDI) and not pictures:
            source = MidiFolder(name)
        else:
            source = ImageFolder(name)
    elif Path(name).suffix.lower() in SUFFIXES:
        source = Files(name)
    else:
        raise ConfigError(
            f"{name}: expected a data source, a config file, a folder, or a file that ends with "
            f"{', '.join(SUFFIXES)}.{nearest(name, SOURCES)}"
        )
    return overlay(source, fields)


def load_table(name: str) -> Any:
    """The TABLE of a Python file, or of the file of that name in configs/papers/.

    Raises:
        ConfigError: no such file, an error in it, or no table that can be used.
    """
    from genjax_models.papers import check_table

    papers = Path("configs") / "papers"
    path = name if name.endswith(".py") or Path(name).is_file() else str(papers / f"{name}.py")
    return check_table(run_file(path, str(papers)).get("TABLE"), path)


def load_sweep(found: dict[str, Any], arguments: argparse.Namespace) -> Any:
    """The sweep of a file's SWEEP, with what the shell gives instead.

    Raises:
        ConfigError: a SWEEP that is none, or axes that cannot be read.
    """
    import dataclasses

    from genjax_models.axes import Axes, parse_axis, product
    from genjax_models.errors import ConfigError
    from genjax_models.sweep import Sweep

    sweep = found.get("SWEEP", Sweep())
    if isinstance(sweep, Axes | Mapping):
        sweep = Sweep(sweep)
    if not isinstance(sweep, Sweep):
        raise ConfigError(
            f"{arguments.config}: expected SWEEP = genjax_models.sweep.Sweep(...) or axes, got {sweep!r}."
        )
    axes, problems = [], []
    for text in arguments.axis:
        try:
            axes.append(parse_axis(text))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    if axes:
        sweep = dataclasses.replace(sweep, axes=product(*axes))
    given = {name: getattr(arguments, name) for name in ("seeds", "block") if getattr(arguments, name) is not None}
    return dataclasses.replace(sweep, **given)


def fields_help(config: Any) -> str:
    """The fields of a configuration by dotted path, with their values and what they mean."""
    from genjax_models.config import children, describe

    lines = []

    def visit(node, path):
        for child_path, _, annotation, value, meta in children(node, path):
            if hasattr(value, "__config__"):
                lines.append(f"\n{child_path}: {type(value).__name__}. {(type(value).__doc__ or '').splitlines()[0]}")
                visit(value, child_path)
            elif isinstance(value, tuple) and any(hasattr(v, "__config__") for v in value):
                for i, v in enumerate(value):
                    visit(v, f"{child_path}.{i}")
            else:
                written = ",".join(map(str, value)) if isinstance(value, tuple) else value
                flag = f"--{child_path.replace('_', '-')} {written}"
                lines.append(f"  {flag:44}  {meta.get('help', '')}\n{'':48}{describe(annotation)}")

    visit(config, "")
    return "\n".join(lines)
