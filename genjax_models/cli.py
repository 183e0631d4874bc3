"""The command line, of the commands in `commands`."""

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import NoReturn

from genjax_models.commands import authoring, figures, pictures, sharing, sources, training, works
from genjax_models.commands.files import run_file
from genjax_models.commands.shared import EXIT_CODES, say


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="genjax-models",
        description="Train, evaluate and sample directed deep generative models.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--with",
        metavar="FILE",
        help="run this Python file first, which adds models, objectives or data of your own to their tables; again for "
        "several",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind in (training, figures, pictures, works, sources, sharing, authoring):
        kind.add(commands)
    for command in (top, *commands.choices.values()):
        command.allow_abbrev = False  # a part of one command's option is the whole of another's
    return top


def command_parser(top: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser | None:
    """The parser of one command; None where there is no such command."""
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices.get(command)


def split_with(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part `--with FILE`, wherever it stands, from the other words."""
    from genjax_models.errors import ConfigError

    kept: list[str] = []
    files: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--with":
            if not rest:
                raise ConfigError("--with: a value is missing; write --with FILE.")
            files.append(rest.pop(0))
        elif word.startswith("--with="):
            files.append(word.removeprefix("--with="))
        else:
            kept.append(word)
    return kept, files


def split_overrides(words: Sequence[str], own: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Part the overrides `--a.b 1 --c.d=2`, as {"a.b": "1", "c.d": "2"}, from the command's own words.

    Raises:
        ConfigError: an override without a value, or given twice.
    """
    from genjax_models.errors import ConfigError

    kept: list[str] = []
    overrides: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        path, equals, value = word[2:].partition("=")
        if not word.startswith("--") or word.partition("=")[0] in own or not path:
            kept.append(word)
            continue
        if not equals:
            if not rest:
                raise ConfigError(f"{word}: a value is missing; write {word} VALUE.")
            value = rest.pop(0)
        path = path.replace("-", "_")
        if path in overrides:
            raise ConfigError(f"--{path}: given twice.")
        overrides[path] = value
    return kept, overrides


@contextlib.contextmanager
def _notices_as_lines() -> Iterator[None]:
    """What a source has to say of its data, without a line of this package's code beside it."""
    from genjax_models.errors import DataNotice

    with warnings.catch_warnings():
        show = warnings.showwarning

        def said(message, category, *where, **more):
            if issubclass(category, DataNotice):
                say(f"notice: {message}")
            else:
                show(message, category, *where, **more)

        warnings.showwarning = said
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code, as `--help` lists them."""
    try:
        with _notices_as_lines():
            code = _main(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads the output, such as `head`, has seen enough
        with contextlib.suppress(OSError, ValueError):  # what is left of it would be flushed at the way out
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _main(argv: Sequence[str] | None) -> int:
    from genjax_models.errors import UserError

    words = list(sys.argv[1:] if argv is None else argv)
    overrides: dict[str, str] = {}
    top = parser()
    try:
        words, files = split_with(words)
        command = command_parser(top, words[0]) if words else None
        if command is not None and command.get_default("fields"):
            own = {word for action in command._actions for word in action.option_strings}
            words, overrides = split_overrides(words, own)
    except UserError as error:
        say(f"error: {error}")
        return 2
    arguments = top.parse_args(words)
    arguments.overrides = overrides
    try:
        for file in files:
            run_file(file)
    except UserError as error:
        say(f"error: --with {error}")
        return 2

    from genjax_models.experiment import Interrupted, NonFinite
    from genjax_models.processes import Lost, several

    try:
        return arguments.run(arguments)
    except UserError as error:
        say(f"error: {error}")
        return 2
    except NonFinite as error:
        say(f"stopped: {error}")
        return 3
    except Interrupted as error:
        say(f"interrupted by {error}")
        return 75
    except Lost as error:
        say(f"stopped: {error}")
        _leave_others(5)
    except KeyboardInterrupt:
        say(
            "interrupted; what was saved stays. `train`, `sweep` and `reproduce` go on from there, other commands "
            "begin again."
        )
        return 75
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"error: {error.filename or 'a file'}: {error.strerror or error}")
        if several():
            _leave_others(2)
        return 2
    except Exception:
        if several():
            traceback.print_exc()
            _leave_others(1)
        raise


def _leave_others(code: int) -> NoReturn:
    """End this process of several at once; the usual way out waits for those that wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
