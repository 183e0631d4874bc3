"""Commands that train: a run, a sweep, and both in TensorBoard."""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genjax_models.commands.files import fields_help, load_config, load_file, load_sweep
from genjax_models.commands.shared import (
    DATA_DIR,
    EXIT_CODES,
    STARTED,
    Commands,
    live_of,
    log_of,
    number_of_devices,
    positive,
    use_compilation_cache,
    use_cores,
    use_cpu_devices,
)
from genjax_models.commands.summary import summary


def _trackers(names: Sequence[str]) -> list[Any]:
    if not names:
        return []
    from genjax_models.trackers import TRACKERS

    return [TRACKERS[name]() for name in dict.fromkeys(names)]


def _add_train(commands: Commands) -> None:
    train = commands.add_parser(
        "train",
        help="train a configuration, evaluate it on held-out data and draw samples; resumes",
        description="Train the CONFIG of a Python file. In the run folder: config.json, metrics.jsonl, checkpoints/, "
        "samples.png, curves.png, result.json, test_examples_K.npz. Run again on the same folder, it resumes.",
        epilog="Any field can be given by its dotted path, for example\n"
        "  genjax-models train configs/vae_digits.py --optimizer.learning-rate 3e-4 --model.latent 32\n"
        "and `genjax-models train CONFIG --help` lists the fields of that file's configuration.\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    train.add_argument("-h", "--help", action="store_true", help="this text, with the fields of CONFIG if it is given")
    train.add_argument(
        "config", nargs="?", metavar="CONFIG", help="a Python file that sets CONFIG, as in configs/, or a run folder"
    )
    train.add_argument("--run-dir", metavar="DIR", help="the run folder (default: runs/ and the file's name)")
    train.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    train.add_argument("--quiet", action="store_true", help="no progress; errors and the result's place alone")
    train.add_argument(
        "--devices",
        type=number_of_devices,
        metavar="N",
        help="devices that share each batch, or all (default: 1; of several processes, all)",
    )
    train.add_argument(
        "--shard-parameters", action="store_true", help="let the devices share parameters and optimizer out as well"
    )
    train.add_argument(
        "--start-from", metavar="RUN_DIR", help="begin with the parameters of this run of the same model"
    )
    train.add_argument(
        "--extend",
        action="store_true",
        help="CONFIG is a run folder: go on from its state to more --training.num-steps, in the folder of --run-dir",
    )
    trackers = "show the run there too, by the extra of that name; again for both"
    train.add_argument("--track", action="append", default=[], choices=("tensorboard", "wandb"), help=trackers)
    alone = "; Slurm, Open MPI, Kubernetes and TPUs say it by themselves"
    train.add_argument("--coordinator", metavar="HOST:PORT", help=f"of several processes, where the first is{alone}")
    train.add_argument("--num-processes", type=positive, metavar="N", help="how many there are; 1 for a run alone")
    train.add_argument("--process-id", type=int, metavar="I", help="which of them this is, from 0")
    train.set_defaults(run=_train, fields=True, print_help=train.print_help)


def _train(arguments: argparse.Namespace) -> int:
    if arguments.config is None:
        arguments.print_help()
        return 0 if arguments.help else 2
    from genjax_models.overlay import overlay

    given = Path(arguments.config)
    found = {"CONFIG": load_config(arguments.config)} if given.is_dir() else load_file(arguments.config)
    config = found["CONFIG"]
    if arguments.help:
        arguments.print_help()
        print(f"\nfields of {arguments.config}:\n{fields_help(config)}")
        return 0
    config = overlay(config, arguments.overrides)
    here = (
        given if given.is_dir() and not arguments.overrides else Path("runs") / given.stem
    )  # a run folder goes on in itself
    folder = Path(arguments.run_dir or here)
    if arguments.extend and not (given.is_dir() and arguments.run_dir):
        from genjax_models.errors import UserError

        raise UserError(
            "--extend: expected the folder of the run that goes on, and another one for the longer run: genjax-models "
            "train RUN_DIR --extend --training.num-steps N --run-dir DIR."
        )
    use_compilation_cache()

    import jax

    from genjax_models.processes import Launch, first, join

    if isinstance(arguments.devices, int):
        use_cpu_devices(arguments.devices)
    join(Launch(arguments.coordinator, arguments.num_processes, arguments.process_id))

    from genjax_models.callbacks import check_callbacks
    from genjax_models.experiment import train_run

    callbacks = [*check_callbacks(found.get("CALLBACKS", ())), *_trackers(arguments.track)]
    log = log_of(arguments)
    result = train_run(
        config,
        folder,
        arguments.data_dir,
        log=log,
        live=live_of(arguments),
        started=STARTED,
        devices=len(jax.devices()) if arguments.devices == "all" else arguments.devices,
        shard_parameters=arguments.shard_parameters,
        callbacks=callbacks,
        start_from=arguments.start_from,
        extend=given if arguments.extend else None,
    )
    if first():
        log(summary(result))
        print(folder)
    return 0


def _add_sweep(commands: Commands) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="train many configurations in one compiled program, and compare them; resumes",
        description="Train every point of a sweep over the CONFIG of a Python file: the axes given here, or else the "
        "SWEEP that the file sets. Points of one structure share one compiled program and run on all devices, each on "
        "one of them or on several that share its batches. The "
        "folder has sweep.json, members/ with a run folder for every point, members.csv, summary.csv, summary.md and "
        "sweep.png. Run again on the same folder, it resumes.",
        epilog="For example\n"
        "  genjax-models sweep configs/vae_digits.py --axis optimizer.learning-rate=log:1e-4:1e-2:4 --seeds 8\n"
        "  genjax-models sweep configs/vae_digits.py --axis model.latent=2,8,32 --training.num-steps 500\n"
        "Several --axis are all combinations; zips, chains and random draws are written in the file, with the "
        "functions of genjax_models.axes. Other fields are given as for train.\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    sweep.add_argument("config", metavar="CONFIG", help="a Python file that sets CONFIG, and perhaps SWEEP")
    axis = "PATH=V1,V2,... or PATH=log:LOW:HIGH:NUM or PATH=linear:LOW:HIGH:NUM; instead of the file's axes"
    sweep.add_argument("--axis", action="append", default=[], metavar="AXIS", help=axis)
    sweep.add_argument("--seeds", type=positive, metavar="N", help="seeds of each point, from the configuration's up")
    block = "points that run at once on a device (default: measured); with 1 each is bit for bit what train gives"
    sweep.add_argument("--block", type=positive, metavar="N", help=block)
    shares = "devices that share each batch of a point, a divisor of all there are (default: 1)"
    sweep.add_argument("--data-devices", type=positive, default=1, metavar="N", help=shares)
    sweep.add_argument("--run-dir", metavar="DIR", help="the folder (default: runs/ and the file's name)")
    sweep.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    sweep.add_argument("--quiet", action="store_true", help="no progress; errors and the folder alone")
    sweep.set_defaults(run=_sweep, fields=True)


def _sweep(arguments: argparse.Namespace) -> int:
    from genjax_models.errors import UserError
    from genjax_models.overlay import overlay

    use_compilation_cache()
    found = load_file(arguments.config)
    config, sweep = overlay(found["CONFIG"], arguments.overrides), load_sweep(found, arguments)
    with contextlib.suppress(UserError):  # what is wrong is said below, with the points that cannot be built
        use_cores(len(sweep.expand(config, lambda point: None).points), arguments.data_devices)
    suffix = "" if "SWEEP" in found else "-sweep"  # the plain name is that of `train`
    folder = Path(arguments.run_dir or Path("runs") / f"{Path(arguments.config).stem}{suffix}")

    from genjax_models.sweep import points_mesh, sweep_mesh
    from genjax_models.sweep_folder import sweep_run

    shares = arguments.data_devices
    mesh = points_mesh() if shares == 1 else sweep_mesh(data=shares)
    log, live = log_of(arguments), live_of(arguments)
    sweep_run(config, sweep, folder, arguments.data_dir, mesh=mesh, log=log, live=live, started=STARTED)
    log((folder / "summary.md").read_text(encoding="utf-8").rstrip())
    print(folder)
    return 0


def _add_tensorboard(commands: Commands) -> None:
    boards = commands.add_parser(
        "tensorboard",
        help="runs and sweeps as TensorBoard's event files",
        description="Write the metrics, pictures, configuration and result of runs, and of all members of sweeps, for "
        "`tensorboard --logdir`: a folder for each. `train --track tensorboard` does it while a run goes on.",
    )
    boards.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, and folders of sweeps")
    boards.add_argument("--out", default="tensorboard", metavar="FOLDER", help="where to (default: tensorboard)")
    boards.set_defaults(run=_tensorboard)


def _tensorboard(arguments: argparse.Namespace) -> int:
    from genjax_models.trackers import to_tensorboard

    print("\n".join(map(str, to_tensorboard(arguments.folders, arguments.out))))
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_train(commands)
    _add_sweep(commands)
    _add_tensorboard(commands)
