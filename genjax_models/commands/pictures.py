"""Commands that draw from runs."""

import argparse
import json
from pathlib import Path

from genjax_models.commands.shared import DATA_DIR, Commands, add_quiet, log_of, positive, use_compilation_cache


def _add_sample(commands: Commands) -> None:
    sample = commands.add_parser(
        "sample",
        help="a picture of samples of a run",
        description="Draw E[x | z] at z from the prior, or the units' probabilities in draws of p*.",
    )
    sample.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    sample.add_argument("--num", type=positive, default=100, metavar="N", help="how many (default: 100)")
    seed = "another draw for each; that of samples.png is 0 (default: 1)"
    sample.add_argument("--seed", type=int, default=1, metavar="S", help=seed)
    which = "draw from p or from p* (default: as the run was configured)"
    sample.add_argument("--distribution", choices=("p", "p_star"), help=which)
    sample.add_argument("--out", default="samples.png", metavar="FILE.png", help="the picture (default: samples.png)")
    sample.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    sample.add_argument("--data-dir", metavar="DIR", help=f"for models that are given contexts: {DATA_DIR}")
    add_quiet(sample)
    sample.set_defaults(run=_sample)


def _sample(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.experiment import sample_run

    out = sample_run(
        Path(arguments.run_dir),
        arguments.num,
        Path(arguments.out),
        arguments.seed,
        arguments.overwrite,
        log_of(arguments),
        arguments.distribution,
        arguments.data_dir,
    )
    print(out)
    return 0


def _add_inpaint(commands: Commands) -> None:
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
    inpainting.add_argument("--num", type=positive, default=10, metavar="N", help="how many images (default: 10)")
    inpainting.add_argument("--seed", type=int, default=1, metavar="S", help="another draw for each (default: 1)")
    picture = "the picture (default: inpainted.png)"
    inpainting.add_argument("--out", default="inpainted.png", metavar="FILE.png", help=picture)
    inpainting.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    inpainting.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    add_quiet(inpainting)
    inpainting.set_defaults(run=_inpaint)


def _inpaint(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.experiment import inpaint_run

    out = inpaint_run(
        Path(arguments.run_dir),
        arguments.hide,
        arguments.num,
        Path(arguments.out),
        arguments.seed,
        arguments.overwrite,
        arguments.data_dir,
        log_of(arguments),
    )
    print(out)
    return 0


def _add_diagnose(commands: Commands) -> None:
    diagnosis = commands.add_parser(
        "diagnose",
        help="what a variational autoencoder's latents are used for, and what its samples lack",
        description="Measure a run with real latents on test examples, and draw it: which latents are active, with the "
        "KL of each; the codes of data beside the prior; rate and distortion; what refining q for each example gains; "
        "and of images the power by frequency of samples and reconstructions, reconstructions, ways between two codes, "
        "and one latent moved at a time. In the folder: diagnostics.json and the pictures.",
    )
    diagnosis.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    diagnosis.add_argument("--num", type=positive, default=500, metavar="N", help="test examples (default: 500)")
    folder = "the folder for figures and pictures (default: diagnostics)"
    diagnosis.add_argument("--out", default="diagnostics", metavar="FOLDER", help=folder)
    diagnosis.add_argument("--overwrite", action="store_true", help="replace what an earlier one left in the folder")
    diagnosis.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    diagnosis.add_argument("--json", action="store_true", help="print JSON instead of a summary")
    add_quiet(diagnosis)
    diagnosis.set_defaults(run=_diagnose)


def _diagnose(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.diagnosis import diagnose_run, summary

    found = diagnose_run(
        Path(arguments.run_dir),
        Path(arguments.out),
        num_examples=arguments.num,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else summary(found))
    log_of(arguments)(f"figures and pictures in {arguments.out}")
    return 0


def _add_spectra(commands: Commands) -> None:
    spectra = commands.add_parser(
        "spectra",
        help="blur of several runs' samples: their power over that of data, by frequency",
        description="Draw the power of samples over that of test images, by frequency, for runs of any models on the "
        "same images. Samples are draws of x; of models with latents also E[x | z], and reconstructions.",
    )
    spectra.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="folders that train or sweep made")
    many = "test examples, and samples of each run (default: 1000)"
    spectra.add_argument("--num", type=positive, default=1000, metavar="N", help=many)
    spectra.add_argument("--out", default="spectra.png", metavar="FILE.png", help="the picture (default: spectra.png)")
    spectra.add_argument("--overwrite", action="store_true", help="replace the picture if it exists")
    spectra.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    spectra.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_quiet(spectra)
    spectra.set_defaults(run=_spectra)


def _spectra(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.diagnosis import compare_spectra, spectra_table

    found = compare_spectra(
        [Path(folder) for folder in arguments.run_dirs],
        Path(arguments.out),
        num=arguments.num,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print(json.dumps(found, indent=2) if arguments.json else spectra_table(found))
    log_of(arguments)(f"picture in {arguments.out}")
    return 0


def _add_continue(commands: Commands) -> None:
    continuing = commands.add_parser(
        "continue",
        help="go on with the first steps of test sequences",
        description="Keep the first steps of test sequences, and let a model of sequences draw the others. In the "
        "folder: sequences.npy; of piano rolls a picture, MIDI and WAV files; of sounds WAV files.",
    )
    continuing.add_argument("run_dir", metavar="RUN_DIR", help="a folder that train made")
    continuing.add_argument("--steps", type=positive, default=16, metavar="T", help="steps kept (default: 16)")
    continuing.add_argument("--num", type=positive, default=4, metavar="N", help="sequences (default: 4)")
    continuing.add_argument("--seed", type=int, default=1, metavar="S", help="another draw for each (default: 1)")
    folder = "the folder for the files (default: continuations)"
    continuing.add_argument("--out", default="continuations", metavar="FOLDER", help=folder)
    continuing.add_argument("--overwrite", action="store_true", help="replace what an earlier one left in the folder")
    continuing.add_argument("--data-dir", metavar="DIR", help=DATA_DIR)
    add_quiet(continuing)
    continuing.set_defaults(run=_continue)


def _continue(arguments: argparse.Namespace) -> int:
    use_compilation_cache()
    from genjax_models.continuation import continue_run

    files = continue_run(
        Path(arguments.run_dir),
        Path(arguments.out),
        steps=arguments.steps,
        num=arguments.num,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        data_dir=arguments.data_dir,
        log=log_of(arguments),
    )
    print("\n".join(map(str, files)))
    return 0


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_sample(commands)
    _add_inpaint(commands)
    _add_diagnose(commands)
    _add_spectra(commands)
    _add_continue(commands)
