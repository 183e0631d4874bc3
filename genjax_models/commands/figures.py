"""Commands that give figures of runs."""

import argparse
import json
from pathlib import Path

from genjax_models.commands.shared import DATA_DIR, Commands, add_quiet, log_of, positive, use_compilation_cache
from genjax_models.commands.summary import summary


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="bound and negative log-likelihood of a run on the test split",
        description="Print the test bound and the importance weighted NLL of a run, and add them to its "
        "evaluations.jsonl. A finished run also keeps them by example, in test_examples_K.npz for K samples, which "
        "compare reads.",
    )
    evaluate.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    evaluate.add_argument("--num-samples", type=positive, metavar="K", help="importance samples an example")
    which = "p(x), or also p*(x), the geometric mean of p and q (default: as the run was configured)"
    evaluate.add_argument("--distribution", choices=("p", "p_star"), help=which)
    evaluate.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    add_quiet(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.experiment import evaluate_run

    result = evaluate_run(
        Path(arguments.run_dir), arguments.data_dir, arguments.num_samples, log_of(arguments), arguments.distribution
    )
    print(json.dumps(result) if arguments.json else summary(result))
    return 0


def _add_compare(commands: Commands) -> None:
    comparing = commands.add_parser(
        "compare",
        help="finished runs side by side, with paired differences over the same test examples",
        description="Print a table of finished runs: test NLL, how it was measured, and the difference from the first "
        "run, paired by example, with its standard error over test examples. Runs that differ in their seed alone make "
        "one row, of the mean over seeds. Runs on other data, other test examples or of another quantity are refused.",
    )
    comparing.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="folders that train or sweep made")
    comparing.add_argument("--baseline", metavar="RUN_DIR", help="what others are compared with (default: the first)")
    which = "of the figures by example, such as bound or nll (default: nll, or that of p* where all runs have it so)"
    comparing.add_argument("--metric", metavar="NAME", help=which)
    comparing.add_argument("--no-group", action="store_true", help="a row for every seed")
    form = "of the table (default: terminal)"
    comparing.add_argument("--format", choices=("terminal", "markdown", "csv"), default="terminal", help=form)
    comparing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    comparing.add_argument("--out", metavar="FILE.png", help="a picture of the differences, too (default: none)")
    comparing.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    add_quiet(comparing)
    comparing.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from genjax_models.comparison import FORMATS, compare_runs

    found = compare_runs(
        [Path(folder) for folder in arguments.run_dirs],
        baseline=None if arguments.baseline is None else Path(arguments.baseline),
        metric=arguments.metric,
        group=not arguments.no_group,
        out=None if arguments.out is None else Path(arguments.out),
        overwrite=arguments.overwrite,
        log=log_of(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else FORMATS[arguments.format](found))
    return 0


def _add_report(commands: Commands) -> None:
    reporting = commands.add_parser(
        "report",
        help="a page about runs, in one HTML file: curves, samples, latents, figures, configurations, differences",
        description="Write one HTML file, which needs no other file and no network, about runs, of sweeps about all "
        "members: curves over each other, samples, reconstructions, what latents are used for, figures with their "
        "standard errors, paired differences, configurations with what differs, and times. Runs that are not finished "
        "are shown as far as they are.",
    )
    reporting.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="folders that train or sweep made")
    reporting.add_argument("--out", default="report.html", metavar="FILE.html", help="the page (default: report.html)")
    reporting.add_argument("--overwrite", action="store_true", help="replace the page if it exists")
    many = "test examples for latents, where `diagnose` has left nothing in diagnostics (default: 500)"
    reporting.add_argument("--num", type=positive, default=500, metavar="N", help=many)
    without = "measure no latents, and draw no reconstructions; show those that `diagnose` left"
    reporting.add_argument("--no-diagnose", action="store_true", help=without)
    reporting.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    add_quiet(reporting)
    reporting.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.report import report_runs

    out = report_runs(
        [Path(folder) for folder in arguments.run_dirs],
        Path(arguments.out),
        num_examples=arguments.num,
        diagnose=not arguments.no_diagnose,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print(out)
    return 0


def _add_anneal(commands: Commands) -> None:
    annealing = commands.add_parser(
        "anneal",
        help="check a run's log p(x): by annealing beside importance weighting, and from both sides",
        description="Estimate log p(x) of test examples by annealed importance sampling, beside importance weighting "
        "on the same ones; and bound it from below and from above (bidirectional Monte Carlo) on examples that are "
        "simulated from the model. Real latents move by Hamiltonian Monte Carlo, binary and one-hot ones by Gibbs "
        "sampling.",
    )
    annealing.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    annealing.add_argument("--num", type=positive, default=100, metavar="N", help="examples (default: 100)")
    annealing.add_argument("--chains", type=positive, default=16, metavar="M", help="of each example (default: 16)")
    temperatures = "of each chain; more come closer (default: 500)"
    annealing.add_argument("--temperatures", type=positive, default=500, metavar="T", help=temperatures)
    leapfrog = "of a Hamiltonian transition (default: 10)"
    annealing.add_argument("--leapfrog-steps", type=positive, default=10, metavar="L", help=leapfrog)
    begin = "p(z), or q(z | x) (default: prior)"
    annealing.add_argument("--start", choices=("prior", "posterior"), default="prior", help=begin)
    weights = "of importance weighting (default: 5000)"
    annealing.add_argument("--samples", type=positive, default=5000, metavar="K", help=weights)
    annealing.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    annealing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_quiet(annealing)
    annealing.set_defaults(run=_anneal)


def _anneal(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.annealing_report import check_likelihood, likelihood_table

    found = check_likelihood(
        Path(arguments.run_dir),
        num=arguments.num,
        num_chains=arguments.chains,
        num_temperatures=arguments.temperatures,
        leapfrog_steps=arguments.leapfrog_steps,
        start=arguments.start,
        num_samples=arguments.samples,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else likelihood_table(found))
    return 0


def _add_quality(commands: Commands) -> None:
    quality = commands.add_parser(
        "quality",
        help="samples beside test data: Frechet distance, precision and recall, on features of a trained classifier",
        description="Draw samples of runs on the same labelled data, train a classifier on these data, and compare the "
        "samples with test examples on its features: Frechet distance, also extrapolated to samples without number, "
        "precision, recall, density and coverage; beside them the same of training and validation examples. The "
        "figures compare only with those by the same classifier, not with those on Inception features.",
    )
    quality.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="folders that train or sweep made")
    many = "samples of each run, at most as many as there are training examples (default: 2000)"
    quality.add_argument("--num", type=positive, default=2000, metavar="N", help=many)
    which = "draw from p or from p* (default: as each run was configured)"
    quality.add_argument("--distribution", choices=("p", "p_star"), help=which)
    of_classifier = "of the classifier, which is the same for all runs on the same data (default: 0)"
    quality.add_argument("--classifier-seed", type=int, default=0, metavar="S", help=of_classifier)
    quality.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    quality.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_quiet(quality)
    quality.set_defaults(run=_quality)


def _quality(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.quality import measure_quality, quality_table

    found = measure_quality(
        [Path(folder) for folder in arguments.run_dirs],
        num=arguments.num,
        distribution=arguments.distribution,
        classifier_seed=arguments.classifier_seed,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else quality_table(found))
    return 0


def _add_estimators(commands: Commands) -> None:
    estimators = commands.add_parser(
        "estimators",
        help="compare gradient estimators on a run: variance against time",
        description="Measure the gradient of every objective that the run's model can serve, at the initial parameters "
        "and at each checkpoint that was kept: its variance, its signal-to-noise ratio, and the time it takes. Print a "
        "table and draw the variance of q's gradient against time. An objective's own parameters and moments are "
        "fitted first, with the model held still. The run's own objective is configured as in the run, the others by "
        "their defaults.",
    )
    estimators.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    estimators.add_argument(
        "--objectives", metavar="A,B,...", help="names from `genjax-models list` (default: all that fit)"
    )
    draws = "gradients drawn of each (default: 200)"
    estimators.add_argument("--num-draws", type=positive, default=200, metavar="N", help=draws)
    batch = "examples of the training split in the batch (default: the run's batch size)"
    estimators.add_argument("--batch", type=positive, metavar="N", help=batch)
    picture = "the picture (default: estimators.png)"
    estimators.add_argument("--out", default="estimators.png", metavar="FILE.png", help=picture)
    estimators.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    estimators.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    estimators.add_argument("--json", action="store_true", help="print JSON instead of the table")
    add_quiet(estimators)
    estimators.set_defaults(run=_estimators)


def _estimators(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.estimator_comparison import compare_estimators, table

    result = compare_estimators(
        Path(arguments.run_dir),
        None if arguments.objectives is None else arguments.objectives.split(","),
        num_draws=arguments.num_draws,
        batch_size=arguments.batch,
        out=Path(arguments.out),
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    log_of(arguments)(f"picture in {arguments.out}")
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_evaluate(commands)
    _add_compare(commands)
    _add_report(commands)
    _add_anneal(commands)
    _add_quality(commands)
    _add_estimators(commands)
