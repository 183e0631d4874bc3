"""Commands on data."""

import argparse
import json
from pathlib import Path

from genjax_models.commands.files import load_source, open_source
from genjax_models.commands.shared import DATA_DIR, Commands, add_quiet, log_of, say


def _add_inspect_data(commands: Commands) -> None:
    inspecting = commands.add_parser(
        "inspect-data",
        help="what is in a data set, before a run: values, missing ones, duplicates, what binarization does",
        description="Print the shapes of the splits, the range of the values, shares of zeros and ones, distinct "
        "values, classes, rows with missing values, constant columns, duplicates across splits, and what binarization "
        "would do; of images write a picture, as they are, thresholded and drawn. Where the data cannot be trained on "
        "it says why and exits with 2.",
        epilog="For example\n"
        "  genjax-models inspect-data photographs/ --size 32,32 --out photographs.png\n"
        "  genjax-models inspect-data table.csv --label species --scaling unit\n"
        "The fields of the data source are given by name.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = (
        "a Python file that sets CONFIG, a run folder, a data source by its name, a .npy, .npz, .csv, .tsv or .parquet "
        "file, a folder of images, recordings or MIDI files, one of shards, or one of the library datasets"
    )
    inspecting.add_argument("source", metavar="CONFIG_OR_SOURCE", help=what)
    inspecting.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    inspecting.add_argument("--out", metavar="FILE.png", help="a picture of some images, too (default: none)")
    inspecting.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    inspecting.add_argument("--json", action="store_true", help="print JSON instead of words")
    add_quiet(inspecting)
    inspecting.set_defaults(run=_inspect_data, fields=True)


def _inspect_data(arguments: argparse.Namespace) -> int:
    from genjax_models.inspection import inspect_data, inspection_text

    out = None if arguments.out is None else Path(arguments.out)
    source = open_source(arguments.source, arguments.data_dir, arguments.overrides)
    found = inspect_data(source, arguments.data_dir, out, arguments.overwrite)
    print(json.dumps(found, indent=2) if arguments.json else inspection_text(found))
    if found["refused"] is not None:
        say(f"error: {found['refused']}")
        return 2
    if out is not None:
        log_of(arguments)(f"picture in {out}")
    return 0


def _add_shard(commands: Commands) -> None:
    sharding = commands.add_parser(
        "shard",
        help="write a data set as a folder of shards, which train streams from disk",
        description="Write the data of a source as a folder of shards with an index, for the source `shards`, whose "
        "training examples are read from disk as they are needed. Of noise that is drawn at every step what lies "
        "beneath is written: Shards(FOLDER, binarization='dynamic') draws it again.",
        epilog="For example\n  genjax-models shard mnist shards/mnist --data-dir DIR",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = "a data source by its name, such as mnist, or a Python file that sets CONFIG, for the data of that"
    sharding.add_argument("source", metavar="SOURCE", help=source)
    sharding.add_argument("folder", metavar="FOLDER", help="the folder to write, which must not exist")
    sharding.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    sharding.set_defaults(run=_shard)


def _shard(arguments: argparse.Namespace) -> int:
    from genjax_models.data import shard

    print(shard(load_source(arguments.source), Path(arguments.folder), arguments.data_dir))
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_inspect_data(commands)
    _add_shard(commands)
