"""Pictures of latents and of what samples lack: activity, codes, gaps, spectra; and images in labelled rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax_models.evaluation.spectrum import SpectralRatio, Spectrum
from genjax_models.plots import image_grid, new_figure

MOST_BARS = 200
ACTIVE, INACTIVE = "C0", "0.75"


def _save(path: Path, figure: Any, title: str) -> None:
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.savefig(path, dpi=120, format="png")


class Latent(NamedTuple):
    """What is known of one latent."""

    group: int
    unit: int  # within its group
    kl: float | None  # the mean over examples, nats; None where q or p is no product over latents
    variance_of_mean: float
    active: bool
    mean: float  # under the aggregate posterior
    std: float
    prior_mean: float
    prior_std: float


def name(latent: Latent, groups: int) -> str:
    return f"{latent.unit}" if groups < 2 else f"{latent.group}.{latent.unit}"


def save_latents(
    path: Path, latents: Sequence[Latent], by_group: Sequence[float], threshold: float, title: str
) -> None:
    """Write a PNG of every latent's KL and of the variance of its posterior mean, as bars in the order given.

    Args:
        path: the picture.
        latents: the first 200 are drawn.
        by_group: the KL of every group, which is drawn where that of single latents is not known.
        threshold: of activity.
        title: above it.
    """
    shown = latents[:MOST_BARS]
    at, colours = np.arange(len(shown)), [ACTIVE if latent.active else INACTIVE for latent in shown]
    groups = 1 + max(latent.group for latent in latents)
    figure, (above, below) = new_figure(max(6.4, min(14, 0.16 * len(shown))), 5.6, rows=2, share=False)
    known = [latent.kl for latent in shown if latent.kl is not None]
    if len(known) == len(shown):
        above.bar(at, known, color=colours)
        above.set_ylabel("KL(q(z|x) || p(z))\n(nats)")
    else:
        above.bar(np.arange(len(by_group)), by_group, color="C2")
        above.set_xticks(np.arange(len(by_group)) if len(by_group) <= 40 else [])
        above.set_xlabel("latent group")
        above.set_ylabel("KL of the group\n(nats)")
    least = min(threshold, *(v for latent in shown if (v := latent.variance_of_mean) > 0), threshold) / 2
    below.bar(at, [max(latent.variance_of_mean, least) - least for latent in shown], bottom=least, color=colours)
    below.set_yscale("log")
    below.axhline(threshold, color="C3", linewidth=1, label=f"active above {threshold:g}")
    below.set_ylabel("variance over x\nof E[z | x]")
    left_out = f", the first {len(shown)} of {len(latents)}" if len(shown) < len(latents) else ""
    below.set_xlabel(f"latent, in order of {'KL' if known else 'variance'}{left_out}")
    below.legend(loc="upper right", fontsize=8)
    for panel in (above, below) if known else (below,):
        if len(shown) <= 60:
            rotation = 90 if len(shown) > 24 or groups > 1 else 0
            panel.set_xticks(at, [name(latent, groups) for latent in shown], fontsize=7, rotation=rotation)
        panel.margins(x=0.01)
    for panel in (above, below):
        panel.grid(alpha=0.3, axis="y")
    _save(path, figure, title)


def _levels(density: np.ndarray, masses: Sequence[float]) -> list[float]:
    """The densities above which so much of the mass lies, rising."""
    falling = np.sort(density.ravel())[::-1]
    mass = np.cumsum(falling) / falling.sum()
    return sorted({float(falling[min(int(np.searchsorted(mass, m)), len(falling) - 1)]) for m in masses})


def save_aggregate_posterior(
    path: Path, z: np.ndarray, z_prior: np.ndarray, names: Sequence[str], latents: Sequence[Latent], title: str
) -> None:
    """Write a PNG of codes of data over the prior's contours, and of every latent's mean and spread beside the prior's.

    Args:
        path: the picture.
        z: a draw from q(z | x) for each of N examples, [N, 1] or [N, 2], of the latents to be shown.
        z_prior: draws of the prior, [M, 1] or [M, 2].
        names: of those latents.
        latents: all of them; the first 60 are drawn.
        title: above it.
    """
    from scipy.stats import gaussian_kde

    figure, (left, right) = new_figure(11, 4.8, 2, share=False)
    both = np.concatenate([z, z_prior])
    low, high = np.quantile(both, 0.001, axis=0), np.quantile(both, 0.999, axis=0)
    low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    if z.shape[1] == 1:
        bins = np.linspace(low[0], high[0], 50)
        left.hist(z_prior[:, 0], bins, density=True, histtype="step", color="0.3", label="prior p(z)")
        left.hist(z[:, 0], bins, density=True, alpha=0.5, label="codes of data, z ~ q(z|x)")
        left.set_ylabel("density")
    else:
        sides = [np.linspace(a, b, 70) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*sides))
        density = gaussian_kde(z_prior.T)(grid.reshape(2, -1)).reshape(grid.shape[1:])
        left.plot(z[:, 0], z[:, 1], ".", markersize=3, alpha=0.6, label="codes of data, z ~ q(z|x)")
        # What one, two and three standard deviations of a Gaussian of the plane hold.
        left.contour(*sides, density, _levels(density, (0.393, 0.865, 0.989)), colors="0.3", linewidths=1)
        left.plot([], [], color="0.3", linewidth=1, label="prior p(z): 39, 86 and 99 percent")
        left.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), ylabel=f"latent {names[1]}")
    left.set_xlabel(f"latent {names[0]}")
    left.legend(fontsize=8, loc="upper right")
    shown = latents[:60]
    at, groups = np.arange(len(shown)), 1 + max(latent.group for latent in latents)
    for shift, colour, label, mean, std in (
        (-0.15, "0.4", "prior p(z)", [v.prior_mean for v in shown], [v.prior_std for v in shown]),
        (0.15, "C0", "aggregate posterior q(z)", [v.mean for v in shown], [v.std for v in shown]),
    ):
        right.errorbar(at + shift, mean, std, fmt="o", color=colour, markersize=3, capsize=2, linewidth=1, label=label)
    if len(shown) <= 40:
        right.set_xticks(at, [name(v, groups) for v in shown], fontsize=7, rotation=90 if len(shown) > 20 else 0)
    right.set_xlim(-0.8, len(shown) - 0.2)
    right.set(xlabel="latent, in the same order", ylabel="mean ± standard deviation")
    right.grid(alpha=0.3, axis="y")
    low_end, high_end = right.get_ylim()
    right.set_ylim(low_end, high_end + 0.15 * (high_end - low_end))
    right.legend(fontsize=8, loc="upper center", ncols=2)
    _save(path, figure, title)


def save_rate_distortion(path: Path, rate: np.ndarray, distortion: np.ndarray, title: str) -> None:
    """Write a PNG of the rate and distortion of N examples, [N] each, with their mean and the line of its bound."""
    figure, panel = new_figure(5.6, 4.6)
    panel.plot(rate, distortion, ".", markersize=3, alpha=0.4, color="C0", label="a test example")
    mean = float(np.mean(rate)), float(np.mean(distortion))
    ends = np.array(panel.get_xlim())
    height = panel.get_ylim()
    panel.plot(ends, sum(mean) - ends, color="0.5", linewidth=1, label=f"bound -{sum(mean):.2f} nats")
    panel.plot(*mean, "o", color="C3", label=f"mean: R = {mean[0]:.2f}, D = {mean[1]:.2f}")
    panel.set(xlim=ends, ylim=height, xlabel="rate KL(q(z|x) || p(z)) (nats)", ylabel="distortion -E log p(x|z) (nats)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    _save(path, figure, title)


def save_refinement(
    path: Path, bounds: Mapping[str, tuple[float, float]], gaps: Mapping[str, np.ndarray], title: str
) -> None:
    """Write a PNG of bounds, each with its standard error, and of the gaps between them, example by example.

    Args:
        path: the picture.
        bounds: by name, (mean, standard error), nats.
        gaps: by name, [N], nats.
        title: above it.
    """
    figure, (left, right) = new_figure(10, 4, 2, share=False)
    for i, (mean, error) in enumerate(bounds.values()):
        left.errorbar(i, mean, error, fmt="o", capsize=4, color=f"C{i}")
        left.annotate(f"{mean:.2f}", (i, mean), (8, 0), textcoords="offset points", fontsize=8, va="center")
    left.set_xticks(range(len(bounds)), list(bounds), fontsize=8)
    left.set_xlim(-0.5, len(bounds) - 0.3)
    left.set_ylabel("nats per example, ± standard error over them")
    values = np.concatenate(list(gaps.values()))
    low, high = np.quantile(values, (0.01, 0.99))
    edges: Any = np.linspace(low, high, 40) if high > low else 10
    for name, gap in gaps.items():
        right.hist(gap, edges, alpha=0.5, label=f"{name}: mean {np.mean(gap):.2f}")
    right.set(xlabel="nats", ylabel="test examples")
    right.legend(fontsize=8)
    for panel in (left, right):
        panel.grid(alpha=0.3)
    _save(path, figure, title)


def save_spectra(
    path: Path,
    spectra: Mapping[str, Mapping[str, Spectrum]],
    ratios: Mapping[str, Mapping[str, SpectralRatio]],
    title: str,
) -> None:
    """Write a PNG of power by frequency, and of its ratio to that of data: a colour for each run, a line for each kind.

    Args:
        path: the picture.
        spectra: by run and by kind of image ("data", "draws of x", "means E[x|z]", ...).
        ratios: those of the kinds that are no data.
        title: above it.
    """
    from matplotlib.lines import Line2D

    figure, (left, right) = new_figure(11, 4.6, 2, share=False)
    styles: dict[str, Any] = {"data": ":", "draws of x": "-", "means E[x|z]": "--", "reconstructions E[x|z]": "-."}
    data = [kinds["data"].power for kinds in spectra.values() if "data" in kinds]
    same = all(np.array_equal(power, data[0]) for power in data)
    for i, (run, kinds) in enumerate(spectra.items()):
        for kind, (frequency, power, _) in kinds.items():
            look = {"color": "0.2" if kind == "data" and same else f"C{i}", "linestyle": styles.get(kind, "-")}
            left.plot(frequency, power, **look)
            if kind in ratios[run]:
                frequency, ratio, error = ratios[run][kind]
                right.plot(frequency, ratio, **look)
                right.fill_between(
                    frequency, ratio - error, ratio + error, color=look["color"], alpha=0.15, linewidth=0
                )
    shown_kinds = list(dict.fromkeys(kind for kinds in spectra.values() for kind in kinds))
    grey = [Line2D([], [], color="0.2", linestyle=styles.get(kind, "-")) for kind in shown_kinds]
    left.legend(grey, shown_kinds, fontsize=8)
    if len(spectra) > 1:
        names = [name if len(name) <= 70 else f"{name[:67]}..." for name in spectra]
        colours = [Line2D([], [], color=f"C{i}") for i in range(len(names))]
        columns = max(1, min(len(names), 160 // (max(map(len, names)) + 8)))
        legend = figure.legend(colours, names, loc="outside lower center", fontsize=8, ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)
    right.axhline(1, color="0.2", linewidth=0.8)
    left.set(xlabel="frequency (cycles a pixel)", ylabel="power", yscale="log")
    right.set(xlabel="frequency (cycles a pixel)", ylabel="power over that of data, ± standard error")
    shown = np.concatenate([r.ratio for kinds in ratios.values() for r in kinds.values()])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    if shown.size and shown.max() > 5 * shown.min():
        right.set_yscale("log")
    else:
        right.set_ylim(bottom=0)
    for panel in (left, right):
        panel.grid(alpha=0.3)
    _save(path, figure, title)


def save_rows(
    path: Path, x: np.ndarray, image_shape: tuple[int, ...], columns: int, labels: Sequence[str], title: str
) -> None:
    """Write a PNG of images in rows with a text before each, black for 0 and white for 1.

    Args:
        path: the picture.
        x: images [R * columns, D], row by row.
        image_shape: (height, width) or (height, width, channels).
        columns: images a row.
        labels: of the R rows.
        title: above it.
    """
    grid = image_grid(x, image_shape, columns)
    cell = (image_shape[0] + 1) / grid.shape[1]  # a row's height, in the width of the picture
    width = 7.0
    margin = 0.4 + 0.085 * max(map(len, labels))
    figure, panel = new_figure(width + margin, max(1.5, cell * width * len(labels)) + 0.5)
    panel.imshow(grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    centres = (image_shape[0] + 1) * (np.arange(len(labels)) + 0.5)
    panel.set_yticks(centres, labels, fontsize=8, parse_math=False)
    panel.set_xticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    _save(path, figure, title)
