"""Runs' samples beside test data, on features of a classifier that is trained on the same data."""

import dataclasses
import textwrap
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models.config import Distribution
from genjax_models.core import Batch, LatentVariableModel, LikelihoodModel, Params
from genjax_models.data import Dataset, Labels, evaluation_subset, refresh, require_labels
from genjax_models.errors import RunError, UserError, require_count
from genjax_models.evaluation import (
    TrainedClassifier,
    default_network,
    sample_p_star,
    sample_quality,
    train_classifier,
)
from genjax_models.evaluation.blocks import compiled, in_blocks
from genjax_models.experiment import load_run_data, open_for
from genjax_models.labels import label
from genjax_models.measuring import QUALITY, Log, chosen_parameters, evaluation_key, number
from genjax_models.run_folder import Run, distinct_names

NOTE = (
    "features of a classifier that was trained on these data here, not the Inception features of the literature: "
    "compare these figures only with those by the same classifier (same data, same classifier seed, checksum) and of "
    "as many examples"
)
DRAWS, MEANS = "draws of x", "means E[x|z]"
LEAST = 6  # rows, which the fifth nearest neighbour needs
COLUMNS = {
    "frechet_distance": "Frechet",
    "frechet_distance_extrapolated": "in limit",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}


def _draw(model, block, params, key, batch):
    """For every row a draw of x given its context, and E[x | z] at the same z, or E[x | c], where the model has it."""

    def one(key, row):
        if not isinstance(model, LatentVariableModel):
            of_codes = isinstance(model, LikelihoodModel) and model.mean is not None and jax.tree.leaves(row.context)
            mean = model.mean(params, row.context) if of_codes else None
            return model.sample(params, key, row.context), mean
        z, x = model.sample_joint(params, key, row.context)
        return x, None if model.decode is None else model.decode(params, z, row.context)

    return in_blocks(one, key, batch, block)


_run_draw = compiled(_draw, static=2)


def _samples(run: Run, params: Params, num: int, data: Dataset) -> dict[str, np.ndarray]:
    """`num` samples of each kind, [num, D]; contexts are those of the test split, spread evenly over it."""
    model, key = run.config.model.build(run.data.visible), evaluation_key(run.config.seed, QUALITY)
    if run.config.evaluation.distribution == "p_star":
        return {f"{DRAWS} of p*": np.asarray(sample_p_star(model, params, key, num).x)}
    contexts = data.test_context
    given = () if contexts is None else jnp.asarray(contexts[np.arange(num) * len(contexts) // num])
    x, mean = _run_draw(model, 100, params, key, Batch(jnp.zeros((num, 1)), given))
    # Of zeros and ones expectations are nothing like: no classifier of such data has seen grey.
    kinds = {DRAWS: x} if mean is None or data.support == "binary" else {DRAWS: x, MEANS: mean}
    return {kind: np.asarray(v, np.float32) for kind, v in kinds.items()}


def _open(folders: Sequence[Path], distribution: Distribution | None) -> list[Run]:
    """The runs, which must be on the same data."""
    if not folders:
        raise UserError("quality: got no run folders, expected one or more.")
    different = {Path(folder).resolve(): Path(folder) for folder in folders}
    runs = [open_for(folder, distribution) for folder in different.values()]
    for run in runs[1:]:
        if (run.config.data, run.data.checksum) != (runs[0].config.data, runs[0].data.checksum):
            raise RunError(
                f"{run.folder} is on other data than {runs[0].folder}: {label(run.config.data)} and "
                f"{label(runs[0].config.data)}; one classifier serves runs on the same data alone, so give them apart."
            )
    return runs


def _whole(run: Run) -> Run:
    """The run, to be measured on all held-out examples that there are."""
    evaluation = dataclasses.replace(run.config.evaluation, test_examples=None, validation_examples=None)
    return dataclasses.replace(run, config=dataclasses.replace(run.config, evaluation=evaluation))


def _classifier(source: Any, data: Dataset, labels: Labels, seed: int, log: Log) -> tuple[TrainedClassifier, dict]:
    """The classifier of the data, and what is said of it."""
    started = time.perf_counter()
    network = default_network(data.image_shape)
    log(f"training a classifier ({label(network)}) on {len(data.train)} labelled examples")
    trained = train_classifier(
        jax.random.key(seed), data.train, labels.train, (data.test, labels.test), network=network
    )
    seconds = time.perf_counter() - started
    log(f"test accuracy {trained.accuracy:.2%}, after {seconds:.0f} s")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(trained.params)]
    checksum = 0
    for leaf in leaves:
        checksum = zlib.crc32(np.ascontiguousarray(leaf).data, checksum)
    return trained, {
        "network": label(network),
        "seed": seed,
        "features": trained.features(data.test[:1]).shape[1],
        "test_accuracy": trained.accuracy,
        "seconds": round(seconds, 3),
        "checksum": checksum,
    }


def measure_quality(
    folders: Sequence[Path],
    *,
    num: int = 2000,
    distribution: Distribution | None = None,
    classifier_seed: int = 0,
    data_dir: str | None = None,
    log: Log = print,
) -> dict:
    """Measure how like test data the samples of runs are, on features of a classifier of the data's classes.

    The classifier is trained anew on the training split, for which the data need labels; its seed is its own, so that
    all runs on the same data are measured by the same one. Beside each run's samples stand as many training examples,
    and validation examples: what samples from the distribution of the data would reach, up to chance.

    Args:
        folders: run folders of any models on the same data.
        num: samples of each run; at most as many as there are training examples, for all are biased by their number.
        distribution: draw from "p" or "p_star"; None for what each run is configured for.
        classifier_seed: of the classifier.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        {"note", "classifier", "test_examples", "test_variance", "runs": {name: {"step", kind: figures}}, "data":
        {kind: figures}}: figures are those of `evaluation.SampleQuality` and "examples", their number; test_variance
        is the total variance of the test features, in the units of the Fréchet distance; a run is named by its folder,
        with the path where two folders have one name.

    Raises:
        UserError: no run, no whole checkpoint, data without labels or other than a run's, a model without p*, samples
            that are not finite, or an impossible number.

    Example:
        >>> measure_quality([Path("runs/vae_digits")])["runs"]["vae_digits"]["draws of x"]["recall"]
    """
    require_count("num", num)
    if not 0 <= classifier_seed < 2**32:
        raise UserError(f"classifier_seed: got {classifier_seed}, expected at least 0 and less than {2**32}.")
    runs = _open(folders, distribution)
    source = runs[0].config.data
    labels = require_labels(source, data_dir)
    chosen = [chosen_parameters(run, log) for run in runs]
    data = load_run_data(_whole(runs[0]), data_dir)
    if data.dynamic:
        noise = jax.random.fold_in(jax.random.key(classifier_seed), 1)
        data = data._replace(train=np.asarray(refresh(source, noise, jnp.asarray(data.train, jnp.float32))))
    number_drawn = min(num, len(data.train))
    if min(number_drawn, len(data.test)) < LEAST:
        raise UserError(
            f"num: got {num}, with {len(data.train)} training and {len(data.test)} test examples; expected at least "
            f"{LEAST} of each."
        )
    if number_drawn < num:
        log(f"{number_drawn} samples, as many as there are training examples: figures depend on their number")
    trained, of_classifier = _classifier(source, data, labels, classifier_seed, log)
    real = trained.features(evaluation_subset(data.test, num))

    def figures(x: np.ndarray) -> dict:
        found = sample_quality(real, trained.features(x))
        return {"examples": len(x), **{name: number(value) for name, value in found._asdict().items()}}

    of_runs: dict[str, dict] = {}
    for name, run, (_, params, checkpoint) in zip(distinct_names(runs), runs, chosen, strict=True):
        log(f"{name}: {number_drawn} samples of step {checkpoint.step}")
        of_runs[name] = {"step": checkpoint.step}
        for kind, x in _samples(run, params, number_drawn, data).items():
            if wrong := int((~np.isfinite(x)).any(axis=1).sum()):
                raise RunError(
                    f"{run.folder}: {wrong} of {len(x)} {kind} are not finite; the model has diverged. Evaluate "
                    "another checkpoint, or train it again with a lower learning rate."
                )
            of_runs[name][kind] = figures(x)
    of_data = {"training data": figures(evaluation_subset(data.train, number_drawn))}
    if len(data.validation) >= LEAST:
        of_data["validation data"] = figures(evaluation_subset(data.validation, number_drawn))
    return {
        "note": NOTE,
        "classifier": of_classifier,
        "test_examples": len(real),
        "test_variance": number(real.var(axis=0, ddof=1).sum()),
        "runs": of_runs,
        "data": of_data,
    }


def quality_table(found: dict) -> str:
    """What `measure_quality` returns, as lines of text."""
    rows = [
        (f"{name}, {kind}", figures)
        for name, kinds in found["runs"].items()
        for kind, figures in kinds.items()
        if kind != "step"
    ]
    rows += list(found["data"].items())
    trained = found["classifier"]
    width = max(len(name) for name, _ in rows)
    beside = (
        f"beside {found['test_examples']} test examples (k = 3; density and coverage 5), on {trained['features']} "
        f"features of total variance {found['test_variance']:.4g}"
    )
    lines = [beside, f"{'':{width}}  examples" + "".join(f"{head:>11}" for head in COLUMNS.values())]
    for name, figures in rows:
        cells = "".join(f"{'-' if figures[c] is None else format(figures[c], '.3f'):>11}" for c in COLUMNS)
        lines.append(f"{name:{width}}  {figures['examples']:8d}{cells}")
    note = (
        f"{found['note']}. This one ({trained['network']}, seed {trained['seed']}, checksum {trained['checksum']:08x}) "
        f"tells {trained['test_accuracy']:.2%} of test examples right."
    )
    return "\n".join([*lines, textwrap.fill(note, 120)])
