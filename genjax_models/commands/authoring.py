"""Commands for models and objectives of one's own, and the list of those that there are."""

import argparse
import json
from pathlib import Path

from genjax_models.commands.files import load_config
from genjax_models.commands.shared import DATA_DIR, EXIT_CODES, Commands, positive, say


def catalogue() -> dict[str, list[dict]]:
    """Every model and objective with its capability, description and citation, and which objectives fit which model."""
    from genjax_models.errors import ModelError
    from genjax_models.models import MODELS
    from genjax_models.objectives import OBJECTIVES, Sum

    def entry(name, cls):
        description = (cls.__doc__ or "").splitlines()[0]
        return {"name": name, "capability": cls.capability, "description": description, "citation": cls.citation}

    def fits(model, objective):
        if objective is Sum:
            return any(fits(model, other) for other in OBJECTIVES.values() if other is not Sum)
        try:
            objective().build(model().build(max(2, model().least_visible)))
        except ModelError:
            return False
        return True

    models = [
        {**entry(name, cls), "objectives": [o for o, objective in OBJECTIVES.items() if fits(cls, objective)]}
        for name, cls in MODELS.items()
    ]
    return {"models": models, "objectives": [entry(name, cls) for name, cls in OBJECTIVES.items()]}


def _add_scaffold(commands: Commands) -> None:
    scaffolding = commands.add_parser(
        "scaffold",
        help="the files of a new model or objective, in a clone of this project",
        description="Write a small model or objective that works into the clone that genjax-models runs from, to be "
        "edited: its file, a configuration for the digits, and its lines in the tables, the tests, the README and the "
        "changelog; of an objective also its proof by enumeration. Called in the clone's top folder. Nothing is "
        "overwritten.",
        epilog="For example\n"
        "  genjax-models scaffold model my_model --capability LikelihoodModel\n"
        "  genjax-models scaffold objective my_objective",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scaffolding.add_argument("kind", choices=("model", "objective"), help="which of the two")
    scaffolding.add_argument("name", metavar="NAME", help="in small letters with underscores, such as my_model")
    scaffolding.add_argument(
        "--capability",
        choices=("LatentVariableModel", "LikelihoodModel", "ImplicitModel"),
        help="of a model: p(x, z) and q(z | x), an exact log p(x), or samples alone (default: LatentVariableModel)",
    )
    scaffolding.set_defaults(run=_scaffold)


def _scaffold(arguments: argparse.Namespace) -> int:
    from genjax_models.errors import ConfigError
    from genjax_models.scaffold import scaffold_model, scaffold_objective

    if arguments.kind == "model":
        print(scaffold_model(Path(), arguments.name, arguments.capability or "LatentVariableModel"))
        return 0
    if arguments.capability is not None:
        raise ConfigError("--capability: an objective has none; leave it out, or scaffold a model.")
    print(scaffold_objective(Path(), arguments.name))
    return 0


def _add_check(commands: Commands) -> None:
    checking = commands.add_parser(
        "check",
        help="whether a model's draws follow its densities, and its facts are true",
        description="Check the model of a CONFIG, or of a run with its parameters, by draws from it at an example of "
        "its data: that samples follow the densities, which integrate to one where that can be told (of few latents "
        "and pixels: build a small model), and that what the model says of itself is true. Exits with 4 where "
        "something fails.",
        epilog="For a model of your own, which the file adds to its table\n"
        "  genjax-models check my_config.py --model.latent 2\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whose = "a Python file that sets CONFIG, for a model with new parameters, or a run folder, for the run's"
    checking.add_argument("config", metavar="CONFIG", help=whose)
    checking.add_argument("--num-samples", type=positive, default=2000, metavar="N", help="draws (default: 2000)")
    checking.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    checking.set_defaults(run=_check, fields=True)


def _check(arguments: argparse.Namespace) -> int:
    from genjax_models.checking import check_config, check_run
    from genjax_models.errors import UserError
    from genjax_models.overlay import overlay

    if not Path(arguments.config).is_dir():
        config = overlay(load_config(arguments.config), arguments.overrides)
        found = check_config(config, arguments.data_dir, num_samples=arguments.num_samples)
    elif arguments.overrides:
        option = next(iter(arguments.overrides)).replace("_", "-")
        raise UserError(f"--{option}: a run is checked as it is; leave it out, or give a file with CONFIG.")
    else:
        found = check_run(arguments.config, arguments.data_dir, num_samples=arguments.num_samples, log=say)
    print("\n".join(map(str, found)))
    return 4 if any(check.passed is False for check in found) else 0


def _add_list(commands: Commands) -> None:
    listing = commands.add_parser(
        "list",
        help="the models and objectives, and which fit",
        description="Every model and objective with its capability, description and citation, and which fit.",
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> int:
    found = catalogue()
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    for title, rows in found.items():
        print(f"{title}:")
        for row in rows:
            print(f"  {row['name']}  ({row['capability']})\n      {row['description']}")
            if row["citation"]:
                print(f"      {row['citation']}")
            if "objectives" in row:
                print(f"      objectives: {', '.join(row['objectives'])}")
        print()
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_scaffold(commands)
    _add_check(commands)
    _add_list(commands)
