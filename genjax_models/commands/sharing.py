"""Commands by which models leave: exported, and to and from the Hugging Face Hub."""

import argparse
from pathlib import Path

from genjax_models.commands.shared import Commands, add_quiet, live_of, log_of, positive


def _add_programs(command: argparse.ArgumentParser) -> None:
    samples = "importance samples an example of log_marginal (default: 100)"
    command.add_argument("--num-samples", type=positive, default=100, metavar="K", help=samples)
    platforms = "where the programs run (default: cpu cuda tpu)"
    command.add_argument("--platforms", nargs="+", default=["cpu", "cuda", "tpu"], metavar="WHERE", help=platforms)


def _add_export(commands: Commands) -> None:
    exporting = commands.add_parser(
        "export",
        help="a run's model as files that need nothing of this package",
        description="Write the parameters as safetensors with the configuration beside them, and what the model can do "
        "(sample, log_marginal, encode, decode) as programs of jax.export, for any batch size. use.py in the folder "
        "calls them. It needs the extra `export`.",
    )
    exporting.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    exporting.add_argument("--out", default="exported", metavar="FOLDER", help="the folder (default: exported)")
    exporting.add_argument("--overwrite", action="store_true", help="replace what an earlier export left in the folder")
    _add_programs(exporting)
    add_quiet(exporting)
    exporting.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from genjax_models.export import export_run

    out = export_run(
        Path(arguments.run_dir),
        Path(arguments.out),
        num_samples=arguments.num_samples,
        platforms=arguments.platforms,
        overwrite=arguments.overwrite,
        log=log_of(arguments),
    )
    print(out)
    return 0


def _add_push(commands: Commands) -> None:
    pushing = commands.add_parser(
        "push",
        help="a run's model to the Hugging Face Hub, with a model card",
        description="Push what `export` writes of a run to a repository of the Hugging Face Hub, with a model card of "
        "its figures and what to cite. It needs the extra `hub`, and a token that can write: HF_TOKEN, or what "
        "`hf auth login` has kept.",
    )
    pushing.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    pushing.add_argument("repo", metavar="REPO_ID", help="OWNER/NAME; made if it does not exist")
    pushing.add_argument("--private", action="store_true", help="let a repository that is made be private")
    pushing.add_argument("--revision", metavar="BRANCH", help="the branch (default: main)")
    pushing.add_argument("--license", metavar="NAME", help="for the card, such as apache-2.0 (default: none)")
    _add_programs(pushing)
    add_quiet(pushing)
    pushing.set_defaults(run=_push)


def _push(arguments: argparse.Namespace) -> int:
    from genjax_models.hub import push_run

    address = push_run(
        Path(arguments.run_dir),
        arguments.repo,
        private=arguments.private,
        revision=arguments.revision,
        license=arguments.license,
        num_samples=arguments.num_samples,
        platforms=arguments.platforms,
        log=log_of(arguments),
        live=live_of(arguments),
    )
    print(address)
    return 0


def _add_pull(commands: Commands) -> None:
    pulling = commands.add_parser(
        "pull",
        help="a model that was pushed to the Hugging Face Hub",
        description="Fetch what `push` has pushed: files of known names alone, of which none is run, and whose "
        "parameters are those of the model. `genjax_models.export.load_export` takes the folder. It needs the extra "
        "`hub`.",
    )
    pulling.add_argument("repo", metavar="REPO_ID", help="OWNER/NAME")
    pulling.add_argument("--into", required=True, metavar="FOLDER", help="the folder, which is made")
    pulling.add_argument("--revision", metavar="REVISION", help="a branch, a tag or a commit (default: main)")
    add_quiet(pulling)
    pulling.set_defaults(run=_pull)


def _pull(arguments: argparse.Namespace) -> int:
    from genjax_models.hub import pull

    log, live = log_of(arguments), live_of(arguments)
    print(pull(arguments.repo, Path(arguments.into), revision=arguments.revision, log=log, live=live))
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_export(commands)
    _add_push(commands)
    _add_pull(commands)
