"""Time and memory of a training step against K, batch, width, sweep size and devices.

`python tests/benchmarks/cost.py` prints them. With `--write FILE` the curves, and what they say of sizes beyond this
machine, become a page in Markdown. Memory is XLA's own account of what a program sets aside; time is the least of
several calls of a compiled chunk.
"""

import argparse
import dataclasses
import datetime
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

from genjax_models.config import Config, Training
from genjax_models.data import MNIST
from genjax_models.models import VAE
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE
from genjax_models.optimizers import Adam
from genjax_models.spread import data_mesh, spread
from genjax_models.stack import Stack
from genjax_models.sweep import points_mesh
from genjax_models.train import compiled_advance, make_train

VISIBLE, LATENT, EXAMPLES = 784, 50, 2000
WIDTH, BATCH, PARTICLES = 200, 100, 5
STEPS = 4  # a call
CALLS = 4


class Point(NamedTuple):
    """A size, and what a step costs there."""

    size: int
    seconds: float  # a step
    megabytes: float  # set aside by the program, on each device
    gigaflops: float  # floating point operations of a step, by the formula below


def config(width: int = WIDTH, batch: int = BATCH, particles: int = PARTICLES, chunk: int | None = None) -> Config:
    """The importance weighted autoencoder that all curves vary: 784-200-200-50, K = 5, batches of 100."""
    return Config(
        model=VAE(latent=LATENT, encoder=MLP((width, width), "tanh"), decoder=MLP((width, width), "tanh")),
        objective=IWAE(num_particles=particles, particle_chunk=chunk),
        optimizer=Adam(1e-3),
        data=MNIST(binarization="dynamic"),
        training=Training(num_steps=1000, batch_size=batch),
    )


def operations(width: int, batch: int, particles: int, recomputed: bool = False) -> float:
    """Of a step's matrix products, forward and backward: 2 for each weight and row, and twice that backward.

    The encoder sees every example once, whatever K. Particles in chunks are computed forward a second time.
    """
    encoder = VISIBLE * width + width * width + width * 2 * LATENT
    decoder = LATENT * width + width * width + width * VISIBLE
    return 2 * batch * (3 * encoder + (4 if recomputed else 3) * particles * decoder)


def examples() -> np.ndarray:
    return np.random.RandomState(0).uniform(size=(EXAMPLES, VISIBLE)).astype(np.float32)


def _point(size: int, run: Config, flops: float, mesh: Any = None) -> Point:
    train, x = make_train(run), examples()
    data = jnp.asarray(x) if mesh is None else spread(x, mesh)
    state = train.init(run, jax.random.key(0), data)
    program = train._enter(run, data)
    compiled = compiled_advance.lower(program, state, data, np.int32(0), length=STEPS).compile()

    def call():
        nonlocal state
        state, metrics = compiled(program, state, data, np.int32(0))
        return metrics

    seconds(call)
    best = min(seconds(call) for _ in range(CALLS))
    return Point(size, best / STEPS, compiled.memory_analysis().temp_size_in_bytes / 2**20, flops / 1e9)


def by_particles(sizes: Sequence[int], chunk: int | None = None) -> list[Point]:
    return [
        _point(k, config(particles=k, chunk=chunk), operations(WIDTH, BATCH, k, chunk is not None and chunk < k))
        for k in sizes
    ]


def by_batch(sizes: Sequence[int]) -> list[Point]:
    return [_point(b, config(batch=b), operations(WIDTH, b, PARTICLES)) for b in sizes]


def by_width(sizes: Sequence[int]) -> list[Point]:
    return [_point(w, config(width=w), operations(w, BATCH, PARTICLES)) for w in sizes]


def by_devices(sizes: Sequence[int]) -> list[Point]:
    return [_point(d, config(), operations(WIDTH, BATCH, PARTICLES), data_mesh(d)) for d in sizes]


def by_sweep(sizes: Sequence[int]) -> list[Point]:
    """Points of a sweep in one program, one at a time on each of this machine's devices: seconds a step of all."""
    found = []
    for size in sizes:
        run = config()
        configs = [dataclasses.replace(run, seed=i) for i in range(size)]
        stack = Stack(configs, examples(), points_mesh())
        stack.arrange(range(size), [0] * size)
        states = stack.init()
        needed = stack.require_memory(states)

        def call(stack=stack):
            nonlocal states
            states, metrics = stack.advance(states, stack.stop())
            return metrics

        length = stack.stop()
        seconds(call)
        best = min(seconds(call) for _ in range(2))
        found.append(Point(size, best / length, needed / 2**20, size * operations(WIDTH, BATCH, PARTICLES) / 1e9))
    return found


def line(points: Sequence[Point], which: str) -> tuple[float, float]:
    """(a, b) of a + b size, by least squares of relative errors."""
    size = np.array([p.size for p in points], float)
    value = np.array([getattr(p, which) for p in points])
    design = np.stack([np.ones_like(size), size], axis=1) / value[:, None]
    a, b = np.linalg.lstsq(design, np.ones_like(size), rcond=None)[0]
    return float(a), float(b)


def _table(title: str, name: str, points: Sequence[Point]) -> list[str]:
    rows = [f"## {title}", "", f"| {name} | ms a step | GFLOP/s | MiB |", "| ---: | ---: | ---: | ---: |"]
    rows += [
        f"| {p.size:,} | {1e3 * p.seconds:.2f} | {p.gigaflops / p.seconds:.0f} | {p.megabytes:.1f} |" for p in points
    ]
    (a, b), (m, n) = line(points, "seconds"), line(points, "megabytes")
    fit = f"Fitted: {1e3 * a:.2f} + {1e3 * b:.4g} {name} ms, {m:.1f} + {n:.4g} {name} MiB." if len(points) > 2 else ""
    return [*rows, "", *([fit, ""] if fit else [])]


# Of one chip, as its vendor states them: peak of bfloat16 products, and memory.
CHIPS = {"TPU v5e": (197e12, 16), "TPU v5p": (459e12, 95), "H200": (989e12, 141)}
SHARE = 0.3  # of the peak, that products of these widths are taken to reach


def arithmetic(curves: dict[str, list[Point]]) -> list[str]:
    """What the curves say of sizes beyond this machine."""
    chunked, whole = curves["chunked"], curves["particles"]
    per_particle = line(whole, "megabytes")[1]
    many = 100_000
    flops = operations(WIDTH, BATCH, many, recomputed=True)
    parameters = sum(v.size for v in jax.tree.leaves(_parameters()))
    state = 4 * 3 * parameters
    recomputing = (
        f"A step of K = {many:,} takes {flops / 1e12:.1f} TFLOP in chunks, and {chunked[-1].megabytes:.0f} MiB as at "
        f"K = {chunked[-1].size:,}; all at once {operations(WIDTH, BATCH, many) / 1e12:.1f} TFLOP, and by the fitted "
        f"line {per_particle * many / 2**10:.0f} GiB. In chunks, at {SHARE:.0%} of a chip's peak, each batch shared "
        "out to the chips, and without the gradients' all-reduce:"
    )
    lines = ["## Beyond this machine", "", recomputing, "", "| chip | chips | ms a step |", "| --- | ---: | ---: |"]
    for chip, (peak, _) in CHIPS.items():
        lines += [f"| {chip} | {n} | {1e3 * flops / (SHARE * peak * n):.2f} |" for n in (1, 100)]
    reduced = 4 * parameters / 2**20
    sent = (
        f"The all-reduce sends {reduced:.1f} MiB of gradients a step, twice that on a ring: at 100 GB/s "
        f"{1e3 * 2 * reduced * 2**20 / 1e11:.2f} ms, which bounds the devices that pay at a batch of {BATCH}."
    )
    kept = (
        f"A point of a sweep keeps {state / 2**20:.1f} MiB (parameters, and Adam's two moments), three times that "
        "while it is stepped. 10,000 points:"
    )
    head = "| chip | points in a chip's memory | chips for all at once | seconds for 1,000 steps of all, on 256 chips |"
    lines += ["", sent, "", kept, "", head, "| --- | ---: | ---: | ---: |"]
    for chip, (peak, memory) in CHIPS.items():
        room = int(0.9 * memory * 2**30 / (3 * state))
        steps = 1000 * 10_000 * operations(WIDTH, BATCH, PARTICLES)
        lines.append(f"| {chip} | {room:,} | {-(-10_000 // room)} | {steps / (256 * SHARE * peak):.1f} |")
    own = curves["sweep"][-1]
    here = (
        f"This machine does {own.size / own.seconds:.0f} steps of points a second: 10,000 points of 1,000 steps take "
        f"it {1e7 * own.seconds / own.size / 3600:.1f} hours."
    )
    lines += ["", here, ""]
    return lines


def _parameters():
    model = config().model.build(VISIBLE)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(VISIBLE), ()))


def page(curves: dict[str, list[Point]]) -> str:
    """The curves and the arithmetic, as Markdown."""
    titles = {
        "particles": ("Particles, all at once", "K"),
        "chunked": ("Particles, 50 at a time", "K"),
        "batch": ("Batch", "B"),
        "width": ("Width of the hidden layers", "W"),
        "sweep": ("Points of a sweep, in one program", "points"),
        "devices": ("Devices that share a batch", "devices"),
    }
    about = (
        f"An importance weighted autoencoder, 784-{WIDTH}-{WIDTH}-{LATENT}, K = {PARTICLES}, batches of {BATCH}, where "
        "nothing else is said. GFLOP/s count the matrix products alone. Memory is what XLA sets aside for the program "
        "on each device; of a sweep also the states. The devices are the cores of one processor, of which a program "
        "for one device uses all."
    )
    lines = ["# What a training step costs", "", about, ""]
    for name, points in curves.items():
        lines += _table(*titles[name], points)
    lines += arithmetic(curves)
    lines.append(
        f"Measured {datetime.date.today()} on {len(jax.devices())} {platform.machine()} cores, jax {jax.__version__}, "
        "by `python tests/benchmarks/cost.py --write tests/benchmarks/cost.md`."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", metavar="FILE", help="the page, which is printed otherwise")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 2)
    curves = {
        "particles": by_particles((1, 5, 50, 200, 500)),
        "chunked": by_particles((50, 200, 500, 1000), chunk=50),
        "batch": by_batch((10, 100, 500, 2000)),
        "width": by_width((50, 200, 800, 1600)),
        "sweep": by_sweep((2, 8, 32)),
        "devices": by_devices((1, 2)),
    }
    text = page(curves)
    if arguments.write:
        Path(arguments.write).write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
