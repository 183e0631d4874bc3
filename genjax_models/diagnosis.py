"""A run's troubles made visible: unused latents, codes off the prior, gaps of inference, blur. Figures and pictures."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax_models import diagnostic_plots as plots
from genjax_models.core import Batch, LatentVariableModel, Params, as_batch
from genjax_models.data import Dataset, PlantedDigits, evaluation_subset, examples
from genjax_models.data.dataset import as_intensities
from genjax_models.diagnostic_plots import Latent
from genjax_models.errors import DataError, ModelError, RunError, UserError, require_count, require_picture
from genjax_models.evaluation import (
    SpectralRatio,
    Spectrum,
    active_units,
    aggregate_posterior,
    interpolate_codes,
    latent_kl,
    posterior_moments,
    power_spectrum,
    rate_distortion,
    reconstruct,
    refine_posterior,
    response,
    spectral_ratio,
    traverse,
)
from genjax_models.evaluation.activity import THRESHOLD
from genjax_models.evaluation.blocks import compiled, in_blocks
from genjax_models.evaluation.codes import require_decoder
from genjax_models.evaluation.moments import require_real_latents
from genjax_models.experiment import load_run_data
from genjax_models.measuring import DIAGNOSIS, Log, chosen_parameters, evaluation_key, mean_and_error, number
from genjax_models.run_folder import Run, as_json, open_run, write_whole

FIGURES = "diagnostics.json"
PICTURES = (
    "latents.png",
    "aggregate_posterior.png",
    "rate_distortion.png",
    "refinement.png",
    "spectra.png",
    "reconstructions.png",
    "interpolations.png",
    "traversals.png",
)
PRIOR_DRAWS = 10_000
MOST_PRIOR_NUMBERS = 2_000_000
REFINED = 100  # examples, at most, whose q is refined
DRAWS, MEANS, RECONSTRUCTIONS = "draws of x", "means E[x|z]", "reconstructions E[x|z]"


class Opened(NamedTuple):
    """A run as it is diagnosed."""

    run: Run
    model: Any
    params: Params
    step: int
    data: Dataset
    batch: Batch  # test examples [N, D], float32, with their contexts


def _open(run: Run, model: Any, num: int, data_dir: str | None, log: Log) -> Opened:
    _, params, chosen = chosen_parameters(run, log)
    data = load_run_data(run, data_dir)
    given = jax.tree.map(
        lambda v: jnp.asarray(evaluation_subset(v, num), jnp.float32), as_batch(examples(data, "test"))
    )
    return Opened(run, model, params, chosen.step, data, given)


def _draw(model, block, params, key, batch):
    """For every example a draw of x given its context, and E[x | z] at the same z, where the model has it."""

    def one(key, row):
        if not isinstance(model, LatentVariableModel):
            return model.sample(params, key, row.context), None
        z, x = model.sample_joint(params, key, row.context)
        return x, None if model.decode is None else model.decode(params, z, row.context)

    return in_blocks(one, key, batch, block)


def _prior_draws(model, block, params, key, batch):
    return in_blocks(lambda key, row: model.sample_joint(params, key, row.context)[0], key, batch, block)


_run_draw, _run_prior_draws = compiled(_draw, static=2), compiled(_prior_draws, static=2)


def _sample(opened: Opened, key: jax.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """As many draws of x as there are examples, given their contexts, and E[x | z] at the z of each."""
    x, mean = _run_draw(opened.model, 100, opened.params, key, opened.batch)
    return np.asarray(x), None if mean is None else np.asarray(mean)


def _number_of_prior_draws(opened: Opened) -> int:
    """Fewer of them where there are many latents, as of sequences."""
    context = _row(opened.batch.context, 0)
    z, _ = jax.eval_shape(opened.model.sample_joint, opened.params, jax.random.key(0), context)
    return min(PRIOR_DRAWS, max(500, MOST_PRIOR_NUMBERS // sum(leaf.size for leaf in jax.tree.leaves(z))))


def _figures(**named: Any) -> dict[str, float | None]:
    """The mean of each, [N], with its standard error."""
    found: dict[str, float | None] = {}
    for name, values in named.items():
        found[name], found[f"{name}_standard_error"] = mean_and_error(values)
    return found


def _flat(latents: Any, lead: int = 0) -> np.ndarray:
    """All leaves' numbers side by side, after `lead` axes."""
    return np.concatenate(
        [np.asarray(v, np.float64).reshape(*v.shape[:lead], -1) for v in jax.tree.leaves(latents)], axis=lead
    )


# What is measured: each gives its figures for diagnostics.json, and draws its picture.


def _latents(opened: Opened, key: jax.Array, z_prior: Any, out: Path) -> tuple[list[Latent], Any, dict]:
    """Every latent, those with the most KL first, the moments of q, and the figures."""
    model, params, batch = opened.model, opened.params, opened.batch
    moments = posterior_moments(model, params, key, batch)
    units = active_units(model, params, key, batch, moments=moments)
    kl = latent_kl(model, params, jax.random.fold_in(key, 1), batch)
    mean, std, prior = _flat(moments.mean, 1), _flat(moments.std, 1), _flat(z_prior, 1)
    variance, active = _flat(units.variance), _flat(units.active).astype(bool)
    of_latent = None if kl.by_dimension is None else _flat(kl.by_dimension, 1).mean(axis=0)
    sizes = [int(np.size(leaf)) for leaf in jax.tree.leaves(units.variance)]
    places = [(group, index) for group, size in enumerate(sizes) for index in range(size)]
    spread = np.sqrt(np.maximum(variance, 0) + np.mean(std**2, axis=0))  # of the mixture of all q(z | x)
    latents = [
        Latent(
            *place,
            None if of_latent is None else float(of_latent[i]),
            float(variance[i]),
            bool(active[i]),
            float(mean[:, i].mean()),
            float(spread[i]),
            float(prior[:, i].mean()),
            float(prior[:, i].std(ddof=1)),
        )
        for i, place in enumerate(places)
    ]
    latents.sort(key=lambda v: -(v.variance_of_mean if v.kl is None else v.kl))
    by_group = [number(np.mean(np.asarray(v, np.float64))) for v in kl.by_group]
    figures = {
        "active_units": units.number,
        "latents": len(latents),
        "active_above_variance": THRESHOLD,
        "moments_of_q_by_draws": moments.num_samples,
        "kl_in_closed_form": kl.exact,
        "kl_by_group": by_group,
        "by_latent": [
            {k: number(v) if isinstance(v, float) else v for k, v in one._asdict().items()} for one in latents
        ],
    }
    title = f"{opened.run.folder.name}: {units.number} of {len(latents)} latents are active"
    plots.save_latents(out / "latents.png", latents, [v or 0.0 for v in by_group], THRESHOLD, title)
    return latents, moments, figures


def _column(z: Any, latent: Latent) -> np.ndarray:
    leaf = jax.tree.leaves(z)[latent.group]
    return np.asarray(leaf, np.float64).reshape(leaf.shape[0], -1)[:, latent.unit]


def _aggregate(opened: Opened, key: jax.Array, z_prior: Any, latents: Sequence[Latent], out: Path) -> dict:
    found = aggregate_posterior(opened.model, opened.params, key, opened.batch)
    kl, information = float(found.kl), float(found.mutual_information)
    shown = latents[:2]
    title = (
        f"{opened.run.folder.name}: KL(q(z) || p(z)) = {kl:.2f} nats, of {kl + information:.2f} a code costs; "
        f"{opened.batch.x.shape[0]} test examples"
    )
    codes, prior = (np.stack([_column(z, latent) for latent in shown], axis=1) for z in (found.z, z_prior))
    groups = len(jax.tree.leaves(z_prior))
    names = [plots.name(latent, groups) for latent in shown]
    plots.save_aggregate_posterior(out / "aggregate_posterior.png", codes, prior, names, latents, title)
    return {
        "kl_of_aggregate_posterior": number(kl),
        "mutual_information": number(information),
        "most_mutual_information": number(np.log(opened.batch.x.shape[0])),
        "mmd_squared_from_prior": number(found.mmd_squared),
    }


def _rate_distortion(opened: Opened, key: jax.Array, out: Path) -> dict:
    rate, distortion = map(np.asarray, rate_distortion(opened.model, opened.params, key, opened.batch))
    plots.save_rate_distortion(out / "rate_distortion.png", rate, distortion, opened.run.folder.name)
    return _figures(rate=rate, distortion=distortion, bound=-(rate + distortion))


def _refinement(opened: Opened, key: jax.Array, out: Path) -> dict:
    batch = jax.tree.map(lambda v: v[:REFINED], opened.batch)
    found = refine_posterior(opened.model, opened.params, key, batch)
    figures = _figures(
        bound_before=found.bound_before,
        bound_after=found.bound_after,
        log_prob=found.log_prob,
        amortization_gap=found.amortization_gap,
        approximation_gap=found.approximation_gap,
    )
    figures["log_prob_mean_estimator_error"] = number(np.mean(np.asarray(found.standard_error)))
    bounds = {
        "bound of q(z|x)": found.bound_before,
        "bound of refined r(z)": found.bound_after,
        "log p(x)": found.log_prob,
    }
    gaps = {"amortization gap": found.amortization_gap, "approximation gap": found.approximation_gap}
    plots.save_refinement(
        out / "refinement.png",
        {name: tuple(v or 0.0 for v in mean_and_error(values)) for name, values in bounds.items()},  # type: ignore[misc]
        {name: np.asarray(values) for name, values in gaps.items()},
        f"{opened.run.folder.name}: q refined for each of {len(batch.x)} test examples",
    )
    return {"examples": len(batch.x), **figures}


def _image_spectra(
    images: Mapping[str, np.ndarray], data: np.ndarray, shape: tuple[int, ...]
) -> tuple[dict[str, Spectrum], dict[str, SpectralRatio], dict]:
    """The spectrum of data and of each kind of image, their ratios, and both as plain lists."""
    spectra = {"data": power_spectrum(data, shape), **{k: power_spectrum(x, shape) for k, x in images.items()}}
    ratios = {k: spectral_ratio(x, data, shape) for k, x in images.items()}
    plain = {
        "frequency": spectra["data"].frequency.tolist(),
        "power_of_data": [number(v) for v in spectra["data"].power],
        "ratio": {k: [number(v) for v in r.ratio] for k, r in ratios.items()},
        "ratio_standard_error": {k: [number(v) for v in r.standard_error] for k, r in ratios.items()},
    }
    return spectra, ratios, plain


def _require_images(run: Run) -> tuple[int, ...]:
    if run.data.image_shape is None:
        raise RunError(
            f"{run.folder}: its data are no images; give the data an image_shape (Arrays(image_shape=(8, 8)))."
        )
    return run.data.image_shape


def _images(opened: Opened, key: jax.Array) -> dict[str, np.ndarray]:
    """As many images of each kind as there are test examples."""
    draws, means = _sample(opened, key)
    if means is None:
        return {DRAWS: draws}
    again = reconstruct(opened.model, opened.params, jax.random.fold_in(key, 1), opened.batch)
    return {DRAWS: draws, MEANS: means, RECONSTRUCTIONS: np.asarray(again)}


def _spectra(opened: Opened, key: jax.Array, out: Path) -> dict:
    shape = _require_images(opened.run)
    spectra, ratios, plain = _image_spectra(_images(opened, key), np.asarray(opened.batch.x), shape)
    name = opened.run.folder.name
    plots.save_spectra(out / "spectra.png", {name: spectra}, {name: ratios}, f"{name}: power by frequency")
    return plain


def _scaled(opened: Opened) -> Callable[[Any], np.ndarray]:
    """What brings the data's values to [0, 1], where they are not."""
    return functools.partial(as_intensities, limits=opened.data.limits)


def _row(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda v: v[i], tree)


def _reconstructions(opened: Opened, key: jax.Array, out: Path, columns: int = 10, pairs: int = 4) -> None:
    shape, scaled = _require_images(opened.run), _scaled(opened)
    batch = jax.tree.map(lambda v: v[: columns * pairs], opened.batch)
    again = scaled(reconstruct(opened.model, opened.params, key, batch))
    x, rows = scaled(batch.x), []
    for start in range(0, len(x), columns):
        for part in (x, again):
            block = part[start : start + columns]
            rows.append(np.concatenate([block, np.full((columns - len(block), x.shape[1]), 0.5)]))
    title = f"{opened.run.folder.name}: test examples x, and E[x|z] at a draw z ~ q(z|x)"
    labels = ["x", "E[x|z]"] * (len(rows) // 2)
    plots.save_rows(out / "reconstructions.png", np.concatenate(rows), shape, columns, labels, title)


def _interpolations(opened: Opened, mean: Any, out: Path, steps: int = 9, rows: int = 8) -> None:
    shape, scaled = _require_images(opened.run), _scaled(opened)
    x, contexts, drawn = opened.batch.x, opened.batch.context, []
    pairs = [(i, i + 1) for i in range(0, min(2 * rows, len(x) - 1), 2)]
    for i, j in pairs:
        ends = (_row(mean, i), _row(mean, j)), (_row(contexts, i), _row(contexts, j))
        way = interpolate_codes(opened.model, opened.params, *ends[0], steps, ends[1])
        drawn.append(np.concatenate([x[i][None], way, x[j][None]]))
    title = f"{opened.run.folder.name}: from one test example to another along the line between their codes"
    images = scaled(np.concatenate(drawn))
    plots.save_rows(out / "interpolations.png", images, shape, steps + 2, [""] * len(pairs), title)


def _traversals(
    opened: Opened, mean: Any, latents: Sequence[Latent], out: Path, steps: int = 9, rows: int = 12, reach: float = 3.0
) -> None:
    shape, scaled = _require_images(opened.run), _scaled(opened)
    shown = [latent for latent in latents if latent.active][:rows] or list(latents[:rows])
    start, context = _row(mean, 0), _row(opened.batch.context, 0)
    drawn = []
    for latent in shown:
        values = latent.mean + latent.std * np.linspace(-reach, reach, steps)
        drawn.append(traverse(opened.model, opened.params, start, latent.group, latent.unit, values, context))
    groups = len(jax.tree.leaves(mean))
    labels = [
        f"{plots.name(latent, groups)}" + ("" if latent.kl is None else f"  ({latent.kl:.2f} nats)") for latent in shown
    ]
    title = (
        f"{opened.run.folder.name}: one latent of a test example moved at a time, by {reach:g} standard deviations of "
        "q(z) to either side"
    )
    plots.save_rows(out / "traversals.png", scaled(np.concatenate(drawn)), shape, steps, labels, title)


def _planted(opened: Opened, source: PlantedDigits, key: jax.Array) -> dict:
    return _figures(response_to_planted=response(opened.model, opened.params, key, *source.pairs()))


def _prepare_folder(out: Path, overwrite: bool) -> None:
    """Make the folder, empty of what an earlier diagnosis left.

    Raises:
        UserError: it holds something already, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is no folder; give another --out.")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise UserError(f"{out} exists and is not empty; give another --out, or --overwrite to replace its figures.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (FIGURES, *PICTURES):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None


def diagnose_run(
    folder: Path,
    out: Path = Path("diagnostics"),
    *,
    num_examples: int = 500,
    overwrite: bool = False,
    data_dir: str | None = None,
    log: Log = print,
) -> dict:
    """Measure and draw the troubles of a run's variational autoencoder on test examples.

    In the folder `out`: diagnostics.json; latents.png (the KL of every latent, and which are active);
    aggregate_posterior.png; rate_distortion.png; refinement.png; and of images spectra.png, reconstructions.png,
    interpolations.png and traversals.png.

    Args:
        folder: the run folder of a model with real, reparameterized latents.
        out: the folder for figures and pictures.
        num_examples: test examples, at least 2, by a fixed random draw; the aggregate posterior takes work in their
            square, and of their first 100 q is refined.
        overwrite: replace what stands in `out`.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        What diagnostics.json holds. What the model or the data do not allow is under "left_out", with the reason.

    Raises:
        UserError: no run, no whole checkpoint, data other than the run's, a model without such latents, or a folder
            that holds something or cannot be written.
    """
    run, out = open_run(Path(folder)), Path(out)
    require_count("num_examples", num_examples)
    if num_examples < 2:
        raise UserError(f"num_examples: got {num_examples}, expected at least 2, for a variance over the data.")
    model = require_real_latents("diagnose", run.config.model.build(run.data.visible))
    opened = _open(run, model, num_examples, data_dir, log)
    _prepare_folder(out, overwrite)
    keys = iter(jax.random.split(evaluation_key(run.config.seed, DIAGNOSIS), 8))
    number_given = opened.batch.x.shape[0]
    rows = np.arange(_number_of_prior_draws(opened)) % number_given
    given = jax.tree.map(lambda v: v[rows], opened.batch)
    z_prior = _run_prior_draws(model, 500, opened.params, next(keys), given)
    left_out: dict[str, str] = {}

    def attempt(what: str, act: Callable[[], Any]) -> Any:
        """What `act` gives; None, with the reason noted, where the model or the data do not allow it."""
        log(what)
        try:
            return act()
        except (ModelError, RunError, DataError) as error:
            left_out[what] = str(error)
            log(f"left out: {error}")
            return None

    try:
        log("latents")
        latents, moments, of_latents = _latents(opened, next(keys), z_prior, out)
        of_rate = _rate_distortion(opened, next(keys), out)
        key_aggregate, key_refinement, key_spectra, key_pictures, key_planted = keys
        found: dict[str, Any] = {
            "run": str(folder),
            "run_sha256": run.sha256,
            "step": opened.step,
            "examples": number_given,
            "units": "nats per example",
            **of_latents,
            **of_rate,
            "aggregate_posterior": attempt(
                "aggregate posterior", lambda: _aggregate(opened, key_aggregate, z_prior, latents, out)
            ),
            "refinement": attempt("refinement of q", lambda: _refinement(opened, key_refinement, out)),
        }
        if run.data.image_shape is None:
            found["spectra"] = attempt("spectra and images", lambda: _require_images(run))
        else:
            found["spectra"] = attempt("spectra", lambda: _spectra(opened, key_spectra, out))
            attempt("reconstructions", lambda: _reconstructions(opened, key_pictures, out))
            attempt("interpolations", lambda: _interpolations(opened, moments.mean, out))
            attempt("traversals", lambda: _traversals(opened, moments.mean, latents, out))
        if isinstance(source := run.config.data, PlantedDigits):
            found["planted"] = attempt("planted squares", lambda: _planted(opened, source, key_planted))
        found |= {"left_out": left_out, "device": f"{jax.devices()[0].platform}: {jax.devices()[0].device_kind}"}
        write_whole(out / FIGURES, as_json(found))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    return found


def draw_reconstructions(
    folder: Path, out: Path, *, num_examples: int = 40, data_dir: str | None = None, log: Log = print
) -> Path:
    """Draw test images of a run and what its latents keep of them, real or binary: reconstructions.png, without the
    rest of `diagnose_run`.

    Args:
        folder: the run folder of a model with latents and E[x | z].
        out: an empty folder for the picture.
        num_examples: test examples, of which the first 40 are drawn.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        The picture.

    Raises:
        UserError: no run, no whole checkpoint, a model without latents or E[x | z], data that are no images or other
            than the run's.
    """
    run, out = open_run(Path(folder)), Path(out)
    model = require_decoder("reconstructions", run.config.model.build(run.data.visible))
    _require_images(run)
    require_count("num_examples", num_examples)
    opened = _open(run, model, num_examples, data_dir, log)
    out.mkdir(parents=True, exist_ok=True)
    _reconstructions(opened, evaluation_key(run.config.seed, DIAGNOSIS), out)
    return out / "reconstructions.png"


def summary(found: dict) -> str:
    """What `diagnose_run` returns, in a few lines."""

    def figure(held: dict, name: str) -> str:
        mean, error = held[name], held[f"{name}_standard_error"]
        return "not finite" if mean is None or error is None else f"{mean:.2f} +- {error:.2f}"

    latents, threshold = f"{found['active_units']} of {found['latents']} latents", found["active_above_variance"]
    lines = [
        f"{found['examples']} test examples, step {found['step']}",
        f"{latents} are active (variance of the posterior mean above {threshold:g})",
        f"rate {figure(found, 'rate')}, distortion {figure(found, 'distortion')}, bound {figure(found, 'bound')} nats",
    ]
    if held := found["aggregate_posterior"]:
        lines.append(
            f"of the rate, the codes' aggregate is {held['kl_of_aggregate_posterior']:.2f} nats from the prior; they "
            f"tell {held['mutual_information']:.2f} of which example (at most {held['most_mutual_information']:.2f})"
        )
    if held := found["refinement"]:
        lines.append(
            f"amortization gap {figure(held, 'amortization_gap')}, approximation gap "
            f"{figure(held, 'approximation_gap')} nats ({held['examples']} examples refined, log p(x) "
            f"{figure(held, 'log_prob')})"
        )
    if spectra := found["spectra"]:
        finest = ", ".join(f"{values[-1]:.3g} of {kind}" for kind, values in spectra["ratio"].items() if values[-1])
        lines.append(f"power over the data's at the finest detail: {finest}")
    if planted := found.get("planted"):
        lines.append(f"of a planted square, reconstructions follow {figure(planted, 'response_to_planted')}")
    lines += [f"left out: {what}: {why}" for what, why in found["left_out"].items()]
    return "\n".join(lines)


def compare_spectra(
    folders: Sequence[Path],
    out: Path = Path("spectra.png"),
    *,
    num: int = 1000,
    overwrite: bool = False,
    data_dir: str | None = None,
    log: Log = print,
) -> dict:
    """Draw the power of several runs' samples over that of their data, by frequency: which model blurs?

    Samples are draws of x, noise of the likelihood included; of models with latents also E[x | z] at z of the prior,
    and reconstructions.

    Args:
        folders: run folders of any models, on images of one shape.
        out: the picture.
        num: test examples, and samples of each run.
        overwrite: replace the picture if it exists.
        data_dir: where data files lie; None for the environment's or the default folder.
        log: hears what happens, line by line.

    Returns:
        {"runs": {name: {"frequency", "power_of_data", "ratio", "ratio_standard_error"}}}, the last two by kind; a run
        is named by its folder, with the path where two folders have one name.

    Raises:
        UserError: no run, no whole checkpoint, data other than a run's or that are no images or of other shapes, or a
            picture that exists or cannot be written.
    """
    out = Path(out)
    require_count("num", num)
    if not folders:
        raise UserError("spectra: got no run folders, expected one or more.")
    require_picture(out, overwrite)
    runs = [open_run(Path(folder)) for folder in dict.fromkeys(folders)]
    shapes = {str(run.folder): _require_images(run) for run in runs}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{folder} {shape}" for folder, shape in shapes.items())
        raise RunError(f"the runs are of images of different shapes: {listed}; give runs on the same images.")
    if len({run.data.checksum for run in runs}) > 1:
        log("the runs are on different data; each is compared with its own.")
    names = [run.folder.name for run in runs]
    names = names if len(set(names)) == len(names) else list(shapes)
    spectra, ratios, found = {}, {}, {}
    for run, name in zip(runs, names, strict=True):
        opened = _open(run, run.config.model.build(run.data.visible), num, data_dir, log)
        images = _images(opened, evaluation_key(run.config.seed, DIAGNOSIS))
        shape = _require_images(run)
        spectra[name], ratios[name], found[name] = _image_spectra(images, np.asarray(opened.batch.x), shape)
        log(f"{name}: spectra of {len(images[DRAWS])} samples of step {opened.step}")
    try:
        plots.save_spectra(out, spectra, ratios, "power by frequency, of test examples and as many samples")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({os.strerror(error.errno or 0)}); give another --out.") from None
    return {"runs": found}


def spectra_table(found: dict) -> str:
    """What `compare_spectra` returns, as lines of text: the ratios at a few frequencies."""
    runs = found["runs"]
    frequency = next(iter(runs.values()))["frequency"]
    chosen = sorted({round(share * (len(frequency) - 1)) for share in (0.25, 0.5, 0.75, 1)})
    width = max(len(name) for name in runs)
    heads = "".join(f"{frequency[i]:>9.3f}" for i in chosen)
    lines = [f"{'power over that of data at':{width}}  {'cycles a pixel':24}{heads}"]
    for name, one in runs.items():
        for kind, ratio in one["ratio"].items():
            cells = "".join(f"{'-':>9}" if ratio[i] is None else f"{ratio[i]:>9.3f}" for i in chosen)
            lines.append(f"{name:{width}}  {kind:24}{cells}")
    return "\n".join(lines)
