"""Commands about papers: their tables, and what to cite."""

import argparse
from pathlib import Path
from typing import Any

from genjax_models.commands.files import load_config, load_table
from genjax_models.commands.shared import (
    DATA_DIR,
    EXIT_CODES,
    STARTED,
    Commands,
    compile_fast,
    live_of,
    log_of,
    positive,
    use_compilation_cache,
    use_cores,
)


def _add_reproduce(commands: Commands) -> None:
    reproducing = commands.add_parser(
        "reproduce",
        help="run the cells of a paper's table, and write it beside the paper's figures; resumes",
        description="Run what is missing of a table in configs/papers/, and write it beside the paper's figures. In "
        "OUT/TABLE/BUDGET: a sweep folder over seeds for every cell, with a run folder for each seed, and table.md and "
        "table.json. What is finished is kept, and what was interrupted goes on. Cells whose data files are nowhere "
        "are skipped; cells that fail are told with the reason, and the others are run.",
        epilog="For example\n"
        "  genjax-models reproduce uci --data-dir DIR\n"
        "  genjax-models reproduce uci --budget short --cells 'nade/*,*/dna' --data-dir DIR\n"
        "  genjax-models reproduce uci --budget short --render-only --write uci.md\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    table = "a name in configs/papers/, such as uci, or a Python file that sets TABLE"
    reproducing.add_argument("table", metavar="TABLE", help=table)
    budget = "a few steps; about ten minutes a cell on two cores; what is compared with the paper (default: smoke)"
    reproducing.add_argument("--budget", choices=("smoke", "short", "full"), default="smoke", help=budget)
    pattern = "run only the cells ROW/COLUMN that a shell's wildcards match, with commas between several"
    reproducing.add_argument("--cells", metavar="PATTERN", help=pattern)
    reproducing.add_argument("--seeds", type=positive, metavar="N", help="seeds of each cell (default: the table's)")
    only = "run nothing, and write the table as its cells stand"
    reproducing.add_argument("--render-only", action="store_true", help=only)
    folder = "the folder for all tables (default: runs/papers)"
    reproducing.add_argument("--out-dir", default="runs/papers", metavar="DIR", help=folder)
    reproducing.add_argument("--write", metavar="FILE", help="write the table to this file as well")
    reproducing.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    rows = "with --write and --overwrite: where a cell has no result here, keep the row of the file that is there"
    reproducing.add_argument("--keep", action="store_true", help=rows)
    reproducing.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    reproducing.add_argument("--quiet", action="store_true", help="no progress; errors and the table alone")
    reproducing.set_defaults(run=_reproduce)


def _page(path: Path | None) -> str | None:
    """The text of a page that there is."""
    from genjax_models.errors import UserError

    if path is None or not path.exists():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); leave --keep out, or give another --write.") from None


def _reproduce(arguments: argparse.Namespace) -> int:
    from genjax_models.errors import UserError

    use_compilation_cache()
    table = load_table(arguments.table)
    copy = None if arguments.write is None else Path(arguments.write)
    if copy is not None and copy.exists() and not arguments.overwrite:
        raise UserError(f"{copy} exists; give another --write, or --overwrite to replace it.")
    if arguments.keep and copy is None:
        raise UserError("--keep: there is no page to keep rows of; give one by --write.")
    if copy is not None and not copy.parent.is_dir():
        raise UserError(f"{copy}: no such folder, {copy.parent}; make it, or give another --write.")
    use_cores(arguments.seeds or getattr(table.seeds, arguments.budget))
    if arguments.budget == "smoke":
        compile_fast()

    from genjax_models.reproduction import MARKDOWN, reproduce

    outcomes = reproduce(
        table,
        arguments.budget,
        Path(arguments.out_dir),
        arguments.data_dir,
        seeds=arguments.seeds,
        cells=arguments.cells,
        render_only=arguments.render_only,
        keep=_page(copy) if arguments.keep else None,
        log=log_of(arguments),
        live=live_of(arguments),
        started=STARTED,
    )
    page = Path(arguments.out_dir) / table.name / arguments.budget / MARKDOWN
    text = page.read_text(encoding="utf-8")
    if copy is not None:
        copy.write_text(text, encoding="utf-8")
    print(text.rstrip())
    log_of(arguments)(f"table in {copy or page}")
    ran = set() if arguments.render_only else {cell.name for cell in table.matching(arguments.cells)}
    return 4 if any(outcome.status == "failed" and outcome.cell.name in ran for outcome in outcomes) else 0


def _add_cite(commands: Commands) -> None:
    citing = commands.add_parser(
        "cite",
        help="the BibTeX of what a run uses",
        description="Print the works that a run, a config file or a part is to cite, as BibTeX: of the model and its "
        "parts, the objective, the optimizer and the data.",
    )
    what = "a run folder, a Python file that sets CONFIG, or a name such as vae, iwae, adam or mnist"
    citing.add_argument("names", nargs="+", metavar="NAME", help=what)
    citing.set_defaults(run=_cite)


def _cite(arguments: argparse.Namespace) -> int:
    from genjax_models.errors import UserError, nearest
    from genjax_models.references import bibtex, cited
    from genjax_models.tables import types

    known = {name: cls for name, cls in types().items() if hasattr(cls, "citation")}
    used: list[Any] = []
    for name in arguments.names:
        if name in known:
            used.append(known[name])
        elif Path(name).is_dir() or name.endswith(".py"):
            used.append(load_config(name))
        else:
            raise UserError(
                f"cite: got {name!r}, expected a run folder, a config file, or the name of a part, as `genjax-models "
                f"list` has those of models and objectives.{nearest(name, known)}"
            )
    if not (found := bibtex(cited(used))):
        raise UserError(f"cite: {', '.join(arguments.names)}: there is no work to cite.")
    print(found)
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_reproduce(commands)
    _add_cite(commands)
