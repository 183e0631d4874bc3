"""The command line. Every command calls one function that Python reaches as well; here are only words."""

import argparse
import contextlib
import json
import os
import runpy
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

STARTED = time.perf_counter()  # before jax is imported: what the user waits for

EXIT_CODES = """exit codes:
  0   finished
  1   a program error, with its traceback
  2   bad input, explained on standard error
  3   stopped at a step that was not finite
  4   a cell of a paper's table failed, explained in the table, and the others were run; or a check failed
  5   another process of the run is gone; the same command in all of them resumes
  75  interrupted by a signal, saved; the same command resumes
  141 the output is no longer read, as by `head` that has seen enough"""


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer, at least 1") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected at least 1")
    return value


def _number_of_devices(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else _positive(text)


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
    where = "folder of data files (otherwise $GENJAX_MODELS_DATA, then ~/.cache/genjax_models/data)"

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
    train.add_argument("--data-dir", metavar="DIR", help=where)
    train.add_argument("--quiet", action="store_true", help="no progress; errors and the result's place alone")
    train.add_argument(
        "--devices",
        type=_number_of_devices,
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
    train.add_argument("--num-processes", type=_positive, metavar="N", help="how many there are; 1 for a run alone")
    train.add_argument("--process-id", type=int, metavar="I", help="which of them this is, from 0")

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
    sweep.add_argument("--seeds", type=_positive, metavar="N", help="seeds of each point, from the configuration's up")
    block = "points that run at once on a device (default: measured); with 1 each is bit for bit what train gives"
    sweep.add_argument("--block", type=_positive, metavar="N", help=block)
    shares = "devices that share each batch of a point, a divisor of all there are (default: 1)"
    sweep.add_argument("--data-devices", type=_positive, default=1, metavar="N", help=shares)
    sweep.add_argument("--run-dir", metavar="DIR", help="the folder (default: runs/ and the file's name)")
    sweep.add_argument("--data-dir", metavar="DIR", help=where)
    sweep.add_argument("--quiet", action="store_true", help="no progress; errors and the folder alone")

    evaluate = commands.add_parser(
        "evaluate",
        help="bound and negative log-likelihood of a run on the test split",
        description="Print the test bound and the importance weighted NLL of a run, and add them to its "
        "evaluations.jsonl. A finished run also keeps them by example, in test_examples_K.npz for K samples, which "
        "compare reads.",
    )
    evaluate.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    evaluate.add_argument("--num-samples", type=_positive, metavar="K", help="importance samples an example")
    which = "p(x), or also p*(x), the geometric mean of p and q (default: as the run was configured)"
    evaluate.add_argument("--distribution", choices=("p", "p_star"), help=which)
    evaluate.add_argument("--data-dir", metavar="DIR", help=where)
    evaluate.add_argument("--json", action="store_true", help="print JSON")

    sample = commands.add_parser(
        "sample",
        help="a picture of samples of a run",
        description="Draw E[x | z] at z from the prior, or the units' probabilities in draws of p*.",
    )
    sample.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    sample.add_argument("--num", type=_positive, default=100, metavar="N", help="how many (default: 100)")
    seed = "another draw for each; that of samples.png is 0 (default: 1)"
    sample.add_argument("--seed", type=int, default=1, metavar="S", help=seed)
    which = "draw from p or from p* (default: as the run was configured)"
    sample.add_argument("--distribution", choices=("p", "p_star"), help=which)
    sample.add_argument("--out", default="samples.png", metavar="FILE.png", help="the picture (default: samples.png)")
    sample.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    sample.add_argument("--data-dir", metavar="DIR", help=f"for models that are given contexts: {where}")

    inpainting = commands.add_parser(
        "inpaint",
        help="a picture of test images of a run, completed where they are hidden",
        description="Hide a part of test images and complete it: by Gibbs sampling of p*, the geometric mean of p and "
        "q, with binary latents; exactly, with an auto-regressive network whose order has what is seen first. A row "
        "has the truth, what is seen, and six completions.",
    )
    inpainting.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    hide = "top, bottom, left, right, or a fraction of random pixels such as 0.5 (default: bottom)"
    inpainting.add_argument("--hide", default="bottom", metavar="PART", help=hide)
    inpainting.add_argument("--num", type=_positive, default=10, metavar="N", help="how many images (default: 10)")
    inpainting.add_argument("--seed", type=int, default=1, metavar="S", help="another draw for each (default: 1)")
    picture = "the picture (default: inpainted.png)"
    inpainting.add_argument("--out", default="inpainted.png", metavar="FILE.png", help=picture)
    inpainting.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    inpainting.add_argument("--data-dir", metavar="DIR", help=where)

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
    estimators.add_argument("--num-draws", type=_positive, default=200, metavar="N", help=draws)
    batch = "examples of the training split in the batch (default: the run's batch size)"
    estimators.add_argument("--batch", type=_positive, metavar="N", help=batch)
    picture = "the picture (default: estimators.png)"
    estimators.add_argument("--out", default="estimators.png", metavar="FILE.png", help=picture)
    estimators.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    estimators.add_argument("--data-dir", metavar="DIR", help=where)
    estimators.add_argument("--json", action="store_true", help="print JSON instead of the table")

    diagnosis = commands.add_parser(
        "diagnose",
        help="what a variational autoencoder's latents are used for, and what its samples lack",
        description="Measure a run with real latents on test examples, and draw it: which latents are active, with the "
        "KL of each; the codes of data beside the prior; rate and distortion; what refining q for each example gains; "
        "and of images the power by frequency of samples and reconstructions, reconstructions, ways between two codes, "
        "and one latent moved at a time. In the folder: diagnostics.json and the pictures.",
    )
    diagnosis.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    diagnosis.add_argument("--num", type=_positive, default=500, metavar="N", help="test examples (default: 500)")
    folder = "the folder for figures and pictures (default: diagnostics)"
    diagnosis.add_argument("--out", default="diagnostics", metavar="FOLDER", help=folder)
    diagnosis.add_argument("--overwrite", action="store_true", help="replace what an earlier one left in the folder")
    diagnosis.add_argument("--data-dir", metavar="DIR", help=where)
    diagnosis.add_argument("--json", action="store_true", help="print JSON instead of a summary")

    spectra = commands.add_parser(
        "spectra",
        help="blur of several runs' samples: their power over that of data, by frequency",
        description="Draw the power of samples over that of test images, by frequency, for runs of any models on the "
        "same images. Samples are draws of x; of models with latents also E[x | z], and reconstructions.",
    )
    spectra.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="folders that train or sweep made")
    many = "test examples, and samples of each run (default: 1000)"
    spectra.add_argument("--num", type=_positive, default=1000, metavar="N", help=many)
    spectra.add_argument("--out", default="spectra.png", metavar="FILE.png", help="the picture (default: spectra.png)")
    spectra.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    spectra.add_argument("--data-dir", metavar="DIR", help=where)
    spectra.add_argument("--json", action="store_true", help="print JSON instead of a table")

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
    reporting.add_argument("--num", type=_positive, default=500, metavar="N", help=many)
    without = "measure no latents, and draw no reconstructions; show those that `diagnose` left"
    reporting.add_argument("--no-diagnose", action="store_true", help=without)
    reporting.add_argument("--data-dir", metavar="DIR", help=where)

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
    quality.add_argument("--num", type=_positive, default=2000, metavar="N", help=many)
    which = "draw from p or from p* (default: as each run was configured)"
    quality.add_argument("--distribution", choices=("p", "p_star"), help=which)
    of_classifier = "of the classifier, which is the same for all runs on the same data (default: 0)"
    quality.add_argument("--classifier-seed", type=int, default=0, metavar="S", help=of_classifier)
    quality.add_argument("--data-dir", metavar="DIR", help=where)
    quality.add_argument("--json", action="store_true", help="print JSON instead of a table")

    continuing = commands.add_parser(
        "continue",
        help="go on with the first steps of test sequences",
        description="Keep the first steps of test sequences, and let a model of sequences draw the others. In the "
        "folder: sequences.npy; of piano rolls a picture, MIDI and WAV files; of sounds WAV files.",
    )
    continuing.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    continuing.add_argument("--steps", type=_positive, default=16, metavar="T", help="steps kept (default: 16)")
    continuing.add_argument("--num", type=_positive, default=4, metavar="N", help="sequences (default: 4)")
    continuing.add_argument("--seed", type=int, default=1, metavar="S", help="another draw for each (default: 1)")
    folder = "the folder for the files (default: continuations)"
    continuing.add_argument("--out", default="continuations", metavar="FOLDER", help=folder)
    continuing.add_argument("--overwrite", action="store_true", help="replace what an earlier one left in the folder")
    continuing.add_argument("--data-dir", metavar="DIR", help=where)

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
    reproducing.add_argument("--seeds", type=_positive, metavar="N", help="seeds of each cell (default: the table's)")
    only = "run nothing, and write the table as its cells stand"
    reproducing.add_argument("--render-only", action="store_true", help=only)
    folder = "the folder for all tables (default: runs/papers)"
    reproducing.add_argument("--out-dir", default="runs/papers", metavar="DIR", help=folder)
    reproducing.add_argument("--write", metavar="FILE", help="write the table to this file as well")
    reproducing.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    rows = "with --write and --overwrite: where a cell has no result here, keep the file's row and where it was made"
    reproducing.add_argument("--keep", action="store_true", help=rows)
    reproducing.add_argument("--data-dir", metavar="DIR", help=where)
    reproducing.add_argument("--quiet", action="store_true", help="no progress; errors and the table alone")

    annealing = commands.add_parser(
        "anneal",
        help="check a run's log p(x): by annealing beside importance weighting, and from both sides",
        description="Estimate log p(x) of test examples by annealed importance sampling, beside importance weighting "
        "on the same ones; and bound it from below and from above (bidirectional Monte Carlo) on examples that are "
        "simulated from the model. Real latents move by Hamiltonian Monte Carlo, binary and one-hot ones by Gibbs "
        "sampling.",
    )
    annealing.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    annealing.add_argument("--num", type=_positive, default=100, metavar="N", help="examples (default: 100)")
    annealing.add_argument("--chains", type=_positive, default=16, metavar="M", help="of each example (default: 16)")
    temperatures = "of each chain; more come closer (default: 500)"
    annealing.add_argument("--temperatures", type=_positive, default=500, metavar="T", help=temperatures)
    leapfrog = "of a Hamiltonian transition (default: 10)"
    annealing.add_argument("--leapfrog-steps", type=_positive, default=10, metavar="L", help=leapfrog)
    begin = "p(z), or q(z | x) (default: prior)"
    annealing.add_argument("--start", choices=("prior", "posterior"), default="prior", help=begin)
    weights = "of importance weighting (default: 5000)"
    annealing.add_argument("--samples", type=_positive, default=5000, metavar="K", help=weights)
    annealing.add_argument("--data-dir", metavar="DIR", help=where)
    annealing.add_argument("--json", action="store_true", help="print JSON instead of a table")

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
    sharding.add_argument("--data-dir", metavar="DIR", help=where)

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
    inspecting.add_argument("--data-dir", metavar="DIR", help=where)
    inspecting.add_argument("--out", metavar="FILE.png", help="a picture of some images, too (default: none)")
    inspecting.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    inspecting.add_argument("--json", action="store_true", help="print JSON instead of words")

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
    samples = "importance samples an example of log_marginal (default: 100)"
    platforms = "where the programs run (default: cpu cuda tpu)"
    for command in (exporting, pushing):
        command.add_argument("--num-samples", type=_positive, default=100, metavar="K", help=samples)
        command.add_argument("--platforms", nargs="+", default=["cpu", "cuda", "tpu"], metavar="WHERE", help=platforms)

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

    boards = commands.add_parser(
        "tensorboard",
        help="runs and sweeps as TensorBoard's event files",
        description="Write the metrics, pictures, configuration and result of runs, and of all members of sweeps, for "
        "`tensorboard --logdir`: a folder for each. `train --track tensorboard` does it while a run goes on.",
    )
    boards.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, and folders of sweeps")
    boards.add_argument("--out", default="tensorboard", metavar="FOLDER", help="where to (default: tensorboard)")

    citing = commands.add_parser(
        "cite",
        help="the BibTeX of what a run uses",
        description="Print the works that a run, a config file or a part is to cite, as BibTeX: of the model and its "
        "parts, the objective, the optimizer and the data.",
    )
    what = "a run folder, a Python file that sets CONFIG, or a name such as vae, iwae, adam or mnist"
    citing.add_argument("names", nargs="+", metavar="NAME", help=what)

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

    checking = commands.add_parser(
        "check",
        help="whether a model's draws follow its densities, and its facts are true",
        description="Check the model of a CONFIG by draws from it, at an example of its data: that samples follow the "
        "densities, which integrate to one where that can be told (of few latents and pixels: build a small model), "
        "and that what the model says of itself is true. Exits with 4 where something fails.",
        epilog="For a model of your own, which the file adds to its table\n"
        "  genjax-models check my_config.py --model.latent 2\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whose = (
        "a Python file that sets CONFIG, or a run folder, of which the configuration is taken and not the parameters"
    )
    checking.add_argument("config", metavar="CONFIG", help=whose)
    checking.add_argument("--num-samples", type=_positive, default=2000, metavar="N", help="draws (default: 2000)")
    checking.add_argument("--data-dir", metavar="DIR", help=where)

    listing = commands.add_parser(
        "list",
        help="the models and objectives, and which fit",
        description="Every model and objective with its capability, description and citation, and which fit.",
    )
    listing.add_argument("--json", action="store_true", help="print JSON")

    finding = (evaluate, sample, inpainting, estimators, diagnosis, spectra, comparing, reporting, quality, continuing)
    for command in (*finding, annealing, inspecting, exporting, pushing, pulling):
        command.add_argument("--quiet", action="store_true", help="no progress; errors and what was found alone")
    for command in (top, *commands.choices.values()):
        command.allow_abbrev = False  # a part of one command's option is the whole of another's
    return top


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


def _line_of(error: BaseException, file: str) -> str:
    """ ", line N" of the last frame in the file."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


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


def _use_compilation_cache() -> None:
    """Keep compiled programs between starts, unless the user has said where or whether."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    from genjax_models.data.folder import cache_folder

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _log(arguments: argparse.Namespace) -> Callable[[str], None]:
    """What hears of progress."""
    return (lambda line: None) if arguments.quiet else _say


def _live(arguments: argparse.Namespace) -> bool:
    """Whether progress is shown in a terminal that can write over what stands there."""
    return not arguments.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _figure(mean: float | None, error: float | None) -> str:
    """A mean with its standard error, which one example does not have."""
    if mean is None:
        return "not finite"
    return f"{mean:.2f}" if error is None else f"{mean:.2f} +- {error:.2f}"


def _summary(result: dict) -> str:
    if "test_mmd_squared" in result:
        parzen = _figure(result["test_parzen_log_likelihood"], result["test_parzen_log_likelihood_standard_error"])
        summary = (
            f"test MMD^2 {result['test_mmd_squared']:.5f}, two-sample p-value {result['test_two_sample_p_value']:.3f}, "
            f"Parzen log-likelihood {parzen} nats per example ({result['test_parzen_samples']} samples, sigma "
            f"{result['test_parzen_sigma']:.3f}, {result['test_examples']} examples, step {result['evaluated_step']})"
        )
        if "test_modes" in result:
            summary += (
                f"\n{result['test_modes_covered']} of {result['test_modes']} modes, "
                f"{result['test_high_quality_samples']:.1%} of samples within three standard deviations of one, KL "
                f"divergence of the modes' shares from uniform {result['test_modes_divergence']:.3f} nats"
            )
        return summary
    bound = _figure(result["test_bound"], result["test_bound_standard_error"])
    nll = _figure(result["test_nll"], result["test_nll_standard_error"])
    samples = "exact" if result["test_nll_samples"] is None else f"{result['test_nll_samples']} samples"
    summary = ""
    if skipped := result.get("nonfinite_steps"):
        summary = f"{skipped} steps were put back: their loss or gradient was not finite\n"
    summary += (
        f"test bound {bound}, test NLL {nll} nats per example ({samples}, "
        f"{result['test_examples']} examples, step {result['evaluated_step']})"
    )
    if result["test_nll"] is None:
        summary += (
            "\nthe NLL of some examples is not finite: look at the range of the data, by `genjax-models inspect-data`"
        )
    elif result.get("test_nll_doubtful_examples"):  # a run of an earlier version has none
        summary += (
            f"\nthe weights speak against the estimates of {result['test_nll_doubtful_examples']} examples, whose NLL "
            "is likely lower: raise evaluation.num_samples, or see `genjax-models anneal`"
        )
    if "log_z" in result:
        unnormalized, normalized, log_z = (
            _figure(result[name], result[f"{name}_standard_error"])
            for name in ("test_nll_p_star_unnormalized", "test_nll_p_star", "log_z")
        )
        summary += (
            f"\ntest NLL of p* {unnormalized} unnormalized, which is the one to compare; {normalized} with log Z "
            f"{log_z} ({result['log_z_samples']} samples), an estimate that is low in expectation and then flatters it"
        )
    if "test_nll_in_logit_space" in result:
        summary += f"\ntest NLL {result['test_nll_in_logit_space']:.2f} nats per example in logit space"
    if "test_bits_per_dim" in result:
        summary += f"\n{result['test_bits_per_dim']:.3f} bits per dimension"
    if "test_squared_error" in result:
        made, blended = (
            f"{result[name]:.5f} +- {result[f'{name}_standard_error']:.5f}"
            for name in ("test_squared_error", "test_squared_error_of_blend")
        )
        summary += (
            f"\nsquared error of E[x | c] {made} a unit; of the blend of the two nearest codes' examples {blended}"
        )
    return summary


def _train(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    if arguments.config is None:
        _command_parser("train").print_help()
        return 0 if arguments.help else 2
    from genjax_models.overlay import overlay

    given = Path(arguments.config)
    found = {"CONFIG": load_config(arguments.config)} if given.is_dir() else load_file(arguments.config)
    config = found["CONFIG"]
    if arguments.help:
        _command_parser("train").print_help()
        print(f"\nfields of {arguments.config}:\n{fields_help(config)}")
        return 0
    config = overlay(config, overrides)
    here = given if given.is_dir() and not overrides else Path("runs") / given.stem  # a run folder goes on in itself
    folder = Path(arguments.run_dir or here)
    if arguments.extend and not (given.is_dir() and arguments.run_dir):
        from genjax_models.errors import UserError

        raise UserError(
            "--extend: expected the folder of the run that goes on, and another one for the longer run: genjax-models "
            "train RUN_DIR --extend --training.num-steps N --run-dir DIR."
        )
    _use_compilation_cache()

    import jax

    from genjax_models.processes import Launch, first, join

    if isinstance(arguments.devices, int):
        _use_cpu_devices(arguments.devices)
    join(Launch(arguments.coordinator, arguments.num_processes, arguments.process_id))

    from genjax_models.callbacks import check_callbacks
    from genjax_models.experiment import train_run

    callbacks = [*check_callbacks(found.get("CALLBACKS", ())), *_trackers(arguments.track)]
    log = _log(arguments)
    result = train_run(
        config,
        folder,
        arguments.data_dir,
        log=log,
        live=_live(arguments),
        started=STARTED,
        devices=len(jax.devices()) if arguments.devices == "all" else arguments.devices,
        shard_parameters=arguments.shard_parameters,
        callbacks=callbacks,
        start_from=arguments.start_from,
        extend=given if arguments.extend else None,
    )
    if first():
        log(_summary(result))
        print(folder)
    return 0


def _trackers(names: Sequence[str]) -> list[Any]:
    if not names:
        return []
    from genjax_models.trackers import TRACKERS

    return [TRACKERS[name]() for name in dict.fromkeys(names)]


def _tensorboard(arguments: argparse.Namespace) -> int:
    from genjax_models.trackers import to_tensorboard

    print("\n".join(map(str, to_tensorboard(arguments.folders, arguments.out))))
    return 0


def _sweep(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    from genjax_models.errors import UserError
    from genjax_models.overlay import overlay

    _use_compilation_cache()
    found = load_file(arguments.config)
    config, sweep = overlay(found["CONFIG"], overrides), load_sweep(found, arguments)
    with contextlib.suppress(UserError):  # what is wrong is said below, with the points that cannot be built
        _use_cores(len(sweep.expand(config, lambda point: None).points), arguments.data_devices)
    suffix = "" if "SWEEP" in found else "-sweep"  # the plain name is that of `train`
    folder = Path(arguments.run_dir or Path("runs") / f"{Path(arguments.config).stem}{suffix}")

    from genjax_models.sweep import points_mesh, sweep_mesh
    from genjax_models.sweep_folder import sweep_run

    shares = arguments.data_devices
    mesh = points_mesh() if shares == 1 else sweep_mesh(data=shares)
    log, live = _log(arguments), _live(arguments)
    sweep_run(config, sweep, folder, arguments.data_dir, mesh=mesh, log=log, live=live, started=STARTED)
    log((folder / "summary.md").read_text(encoding="utf-8").rstrip())
    print(folder)
    return 0


def _use_cores(points: int, shares: int = 1) -> None:
    """On a CPU make devices of the cores, `shares` for every point at most, unless the user has said how many."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _use_cpu_devices(shares * max(1, min(cores // shares, points)))


def _use_cpu_devices(number: int) -> None:
    import jax

    with contextlib.suppress(RuntimeError):  # JAX has begun, in a process that called `main` itself
        jax.config.update("jax_num_cpu_devices", number)


def _compile_fast() -> None:
    """Let XLA optimize little, for programs that run a few times: compiling is what they cost."""
    import jax

    if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
        jax.config.update("jax_disable_most_optimizations", True)


def _command_parser(command: str) -> argparse.ArgumentParser:
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices[command]


def _evaluate(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.experiment import evaluate_run

    result = evaluate_run(
        Path(arguments.run_dir), arguments.data_dir, arguments.num_samples, _log(arguments), arguments.distribution
    )
    print(json.dumps(result) if arguments.json else _summary(result))
    return 0


def _sample(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.experiment import sample_run

    out = sample_run(
        Path(arguments.run_dir),
        arguments.num,
        Path(arguments.out),
        arguments.seed,
        arguments.overwrite,
        _log(arguments),
        arguments.distribution,
        arguments.data_dir,
    )
    print(out)
    return 0


def _inpaint(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.experiment import inpaint_run

    out = inpaint_run(
        Path(arguments.run_dir),
        arguments.hide,
        arguments.num,
        Path(arguments.out),
        arguments.seed,
        arguments.overwrite,
        arguments.data_dir,
        _log(arguments),
    )
    print(out)
    return 0


def _estimators(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.estimator_comparison import compare_estimators, table

    result = compare_estimators(
        Path(arguments.run_dir),
        None if arguments.objectives is None else arguments.objectives.split(","),
        num_draws=arguments.num_draws,
        batch_size=arguments.batch,
        out=Path(arguments.out),
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=_log(arguments),
    )
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    _log(arguments)(f"picture in {arguments.out}")
    return 0


def _diagnose(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.diagnosis import diagnose_run, summary

    found = diagnose_run(
        Path(arguments.run_dir),
        Path(arguments.out),
        num_examples=arguments.num,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=_log(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else summary(found))
    _log(arguments)(f"figures and pictures in {arguments.out}")
    return 0


def _anneal(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
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
        log=_log(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else likelihood_table(found))
    return 0


def _continue(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.continuation import continue_run

    files = continue_run(
        Path(arguments.run_dir),
        Path(arguments.out),
        steps=arguments.steps,
        num=arguments.num,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=_log(arguments),
    )
    print("\n".join(map(str, files)))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from genjax_models.export import export_run

    out = export_run(
        Path(arguments.run_dir),
        Path(arguments.out),
        num_samples=arguments.num_samples,
        platforms=arguments.platforms,
        overwrite=arguments.overwrite,
        log=_log(arguments),
    )
    print(out)
    return 0


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
        log=_log(arguments),
        live=_live(arguments),
    )
    print(address)
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from genjax_models.hub import pull

    log, live = _log(arguments), _live(arguments)
    print(pull(arguments.repo, Path(arguments.into), revision=arguments.revision, log=log, live=live))
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    from genjax_models.errors import UserError

    _use_compilation_cache()
    table = load_table(arguments.table)
    copy = None if arguments.write is None else Path(arguments.write)
    if copy is not None and copy.exists() and not arguments.overwrite:
        raise UserError(f"{copy} exists; give another --write, or --overwrite to replace it.")
    if arguments.keep and (copy is None or not copy.is_file()):
        raise UserError(f"--keep: no page to keep rows of ({copy or 'no --write'}); give --write a page that exists.")
    if copy is not None and not copy.parent.is_dir():
        raise UserError(f"{copy}: no such folder, {copy.parent}; make it, or give another --write.")
    _use_cores(arguments.seeds or getattr(table.seeds, arguments.budget))
    if arguments.budget == "smoke":
        _compile_fast()

    from genjax_models.reproduction import MARKDOWN, reproduce

    outcomes = reproduce(
        table,
        arguments.budget,
        Path(arguments.out_dir),
        arguments.data_dir,
        seeds=arguments.seeds,
        cells=arguments.cells,
        render_only=arguments.render_only,
        keep=copy.read_text(encoding="utf-8") if copy is not None and arguments.keep else None,
        log=_log(arguments),
        live=_live(arguments),
        started=STARTED,
    )
    page = Path(arguments.out_dir) / table.name / arguments.budget / MARKDOWN
    text = page.read_text(encoding="utf-8")
    if copy is not None:
        copy.write_text(text, encoding="utf-8")
    print(text.rstrip())
    _log(arguments)(f"table in {copy or page}")
    ran = set() if arguments.render_only else {cell.name for cell in table.matching(arguments.cells)}
    return 4 if any(outcome.status == "failed" and outcome.cell.name in ran for outcome in outcomes) else 0


def _quality(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.quality import measure_quality, quality_table

    found = measure_quality(
        [Path(folder) for folder in arguments.run_dirs],
        num=arguments.num,
        distribution=arguments.distribution,
        classifier_seed=arguments.classifier_seed,
        data_dir=arguments.data_dir,
        log=_log(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else quality_table(found))
    return 0


def _spectra(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.diagnosis import compare_spectra, spectra_table

    found = compare_spectra(
        [Path(folder) for folder in arguments.run_dirs],
        Path(arguments.out),
        num=arguments.num,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=_log(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else spectra_table(found))
    _log(arguments)(f"picture in {arguments.out}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from genjax_models.comparison import FORMATS, compare_runs

    found = compare_runs(
        [Path(folder) for folder in arguments.run_dirs],
        baseline=None if arguments.baseline is None else Path(arguments.baseline),
        metric=arguments.metric,
        group=not arguments.no_group,
        out=None if arguments.out is None else Path(arguments.out),
        overwrite=arguments.overwrite,
        log=_log(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else FORMATS[arguments.format](found))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    _use_compilation_cache()
    from genjax_models.report import report_runs

    out = report_runs(
        [Path(folder) for folder in arguments.run_dirs],
        Path(arguments.out),
        num_examples=arguments.num,
        diagnose=not arguments.no_diagnose,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=_log(arguments),
    )
    print(out)
    return 0


def _shard(arguments: argparse.Namespace) -> int:
    from genjax_models.data import shard

    print(shard(load_source(arguments.source), Path(arguments.folder), arguments.data_dir))
    return 0


def _inspect_data(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    from genjax_models.inspection import inspect_data, inspection_text

    out = None if arguments.out is None else Path(arguments.out)
    source = open_source(arguments.source, arguments.data_dir, overrides)
    found = inspect_data(source, arguments.data_dir, out, arguments.overwrite)
    print(json.dumps(found, indent=2) if arguments.json else inspection_text(found))
    if found["refused"] is not None:
        _say(f"error: {found['refused']}")
        return 2
    if out is not None:
        _log(arguments)(f"picture in {out}")
    return 0


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


def _check(arguments: argparse.Namespace, overrides: dict[str, str]) -> int:
    from genjax_models.checking import check_config
    from genjax_models.overlay import overlay

    config = overlay(load_config(arguments.config), overrides)
    found = check_config(config, arguments.data_dir, num_samples=arguments.num_samples)
    print("\n".join(map(str, found)))
    return 4 if any(check.passed is False for check in found) else 0


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


@contextlib.contextmanager
def _notices_as_lines() -> Iterator[None]:
    """What a source has to say of its data, without a line of this package's code beside it."""
    from genjax_models.errors import DataNotice

    with warnings.catch_warnings():
        show = warnings.showwarning

        def said(message, category, *where, **more):
            if issubclass(category, DataNotice):
                _say(f"notice: {message}")
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
    try:
        words, files = split_with(words)
        if words[:1] in (["train"], ["sweep"], ["inspect-data"], ["check"]):
            own = {word for action in _command_parser(words[0])._actions for word in action.option_strings}
            words, overrides = split_overrides(words, own)
    except UserError as error:
        _say(f"error: {error}")
        return 2
    arguments = parser().parse_args(words)
    try:
        for file in files:
            run_file(file)
    except UserError as error:
        _say(f"error: --with {error}")
        return 2

    from genjax_models.experiment import Interrupted, NonFinite
    from genjax_models.processes import Lost, several

    try:
        if arguments.command == "train":
            return _train(arguments, overrides)
        if arguments.command == "sweep":
            return _sweep(arguments, overrides)
        if arguments.command == "inspect-data":
            return _inspect_data(arguments, overrides)
        if arguments.command == "check":
            return _check(arguments, overrides)
        commands = {
            "evaluate": _evaluate,
            "sample": _sample,
            "inpaint": _inpaint,
            "estimators": _estimators,
            "diagnose": _diagnose,
            "spectra": _spectra,
            "quality": _quality,
            "compare": _compare,
            "report": _report,
            "anneal": _anneal,
            "continue": _continue,
            "export": _export,
            "push": _push,
            "pull": _pull,
            "reproduce": _reproduce,
            "shard": _shard,
            "cite": _cite,
            "scaffold": _scaffold,
            "tensorboard": _tensorboard,
            "list": _list,
        }
        return commands[arguments.command](arguments)
    except UserError as error:
        _say(f"error: {error}")
        return 2
    except NonFinite as error:
        _say(f"stopped: {error}")
        return 3
    except Interrupted as error:
        _say(f"interrupted by {error}")
        return 75
    except Lost as error:
        _say(f"stopped: {error}")
        _leave_others(5)
    except KeyboardInterrupt:
        _say(
            "interrupted; what was saved stays. `train`, `sweep` and `reproduce` go on from there, other commands "
            "begin again."
        )
        return 75
    except BrokenPipeError:
        raise
    except OSError as error:
        _say(f"error: {error.filename or 'a file'}: {error.strerror or error}")
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
