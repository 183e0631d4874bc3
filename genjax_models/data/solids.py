"""Images of simple solids, rendered from their codes: shape, pose and light."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from genjax_models.config import DataConfig, config, field, validate
from genjax_models.data.dataset import Dataset, Labels, check
from genjax_models.errors import DataError

Shape = Literal["box", "cylinder", "cone", "torus"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

# One stream a split, so that a split's draw does not depend on the sizes of the others.
SEEDS = {"train": 0, "validation": 1, "test": 2}
STEPS = 40  # along a ray; what is not reached by then is background
NEAR = 2e-3  # a ray has reached a solid
AMBIENT = 0.15  # light that reaches every point
EXTENT = 1.3  # half the width of what is seen; no solid reaches farther from the origin than 1.24


class View(NamedTuple):
    """What an image shows; angles in degrees, each a number or an array [N]."""

    shape: np.ndarray  # index into SHAPES
    azimuth: np.ndarray  # of the camera about the vertical axis, any angle
    elevation: np.ndarray  # of the camera over the horizon, -90 to 90
    light: np.ndarray  # azimuth of the light, from the camera's; any angle


CODE_WIDTH = len(SHAPES) + 5


def encode(view: View) -> np.ndarray:
    """The code of every view, float32 [N, 9]: the shape as one of 4, then cos and sin of azimuth, elevation / 90, and
    cos and sin of the light's azimuth.

    Raises:
        DataError: a shape that there is none of, or an elevation out of range.
    """
    shape, azimuth, elevation, light = (np.atleast_1d(np.asarray(v, np.float64)) for v in view)
    if (wrong := ~np.isin(shape, range(len(SHAPES)))).any():
        raise DataError(f"shape: got {shape[wrong][0]:g}, expected an index from 0 to {len(SHAPES) - 1}: {SHAPES}.")
    if (wrong := ~(np.abs(elevation) <= 90)).any():
        raise DataError(f"elevation: got {elevation[wrong][0]:g}, expected degrees from -90 to 90.")
    if (wrong := ~(np.isfinite(azimuth) & np.isfinite(light))).any():
        raise DataError(f"azimuth, light: {int(wrong.sum())} angles are not finite; expected degrees.")
    kind = shape[:, None] == np.arange(len(SHAPES))
    around, beside = np.radians(azimuth), np.radians(light)
    angles = [np.cos(around), np.sin(around), elevation / 90, np.cos(beside), np.sin(beside)]
    return np.concatenate([kind, *(np.broadcast_to(a, shape.shape)[:, None] for a in angles)], axis=1, dtype=np.float32)


def _distance(kind: Shape, p: np.ndarray) -> np.ndarray:
    """The distance [...] of points [..., 3] (third axis up) from a solid, or a lower bound of it; negative inside."""
    x, y, z = np.moveaxis(p, -1, 0)
    if kind == "box":
        q = np.abs(p) - np.array([0.85, 0.55, 0.4])
        return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)
    radius = np.hypot(x, y)
    if kind == "cylinder":
        across, up = radius - 0.5, np.abs(z) - 0.8
        return np.hypot(np.maximum(across, 0), np.maximum(up, 0)) + np.minimum(np.maximum(across, up), 0)
    if kind == "cone":
        # The side through (0.75, -0.7) and (0, 0.9), and the base: planes in (radius, z), so a lower bound.
        normal = np.array([1.6, 0.75]) / np.hypot(1.6, 0.75)
        return np.maximum((radius - 0.75) * normal[0] + (z + 0.7) * normal[1], -0.7 - z)
    return np.hypot(np.hypot(x, z) - 0.75, y) - 0.3  # a torus that stands upright


def render(view: View, size: int = 32) -> np.ndarray:
    """Images [N, size * size], float32 in [0, 1], of N views: black where there is no solid, Lambertian shading on it.

    Rays are parallel, and walk as far as the distance from the solid allows (Hart 1996).

    Args:
        view: what is seen; each entry a number or an array [N].
        size: pixels along an edge.

    Raises:
        DataError: as `encode`.

    Example:
        >>> render(View(shape=0, azimuth=30, elevation=20, light=-40)).shape
        (1, 1024)
    """
    encode(view)
    shape, azimuth, elevation, light = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in view))
    images = np.zeros((len(shape), size * size), np.float32)
    for i, kind in enumerate(SHAPES):
        rows = np.flatnonzero(shape == i)
        for part in np.array_split(rows, max(1, len(rows) // 256)):  # in parts, for memory
            around, over, beside = (np.radians(a[part]) for a in (azimuth, elevation, light))
            images[part] = _render(kind, around, over, beside, size)
    return images


def _render(kind: Shape, azimuth: np.ndarray, elevation: np.ndarray, light: np.ndarray, size: int) -> np.ndarray:
    def direction(around, over):
        """Unit vectors [N, 3] towards there."""
        return np.stack([np.cos(around) * np.cos(over), np.sin(around) * np.cos(over), np.sin(over)], axis=-1)

    towards = direction(azimuth, elevation)  # the camera
    right = np.stack([-np.sin(azimuth), np.cos(azimuth), np.zeros_like(azimuth)], axis=-1)
    up = np.cross(towards, right)
    at = EXTENT * ((np.arange(size) + 0.5) * 2 / size - 1)
    plane = np.stack(np.meshgrid(at, -at), axis=-1).reshape(1, -1, 2)
    p = 2 * towards[:, None] + plane[..., :1] * right[:, None] + plane[..., 1:] * up[:, None]
    walked = np.zeros(p.shape[:2])
    for _ in range(STEPS):
        d = _distance(kind, p)
        # A ray that has gone past everything goes on, out of reach.
        step = np.where(d > NEAR, d, 0)
        p = p - step[..., None] * towards[:, None]
        walked += step
    hit = (_distance(kind, p) <= NEAR) & (walked < 4)
    # The gradient of the distance, by differences along the corners of a tetrahedron.
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float64)
    normal = sum(corner * _distance(kind, p + 1e-3 * corner)[..., None] for corner in corners)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    lamp = direction(azimuth + light, np.full_like(light, np.radians(35)))
    lit = np.maximum(np.sum(normal * lamp[:, None], axis=-1), 0)
    return np.where(hit, AMBIENT + (1 - AMBIENT) * lit, 0)


@config
class Solids(DataConfig):
    """Images of a box, a cylinder, a cone or a torus from any side, with their codes as contexts, drawn anew by a fixed
    seed.

    The shape, the camera's azimuth and the light's are uniform, the elevation uniform from -30 to 60 degrees. A context
    is the code of its image, [9], as `encode` gives it: known causes of a known image, as Dosovitskiy, Springenberg and
    Brox (2015) had them for chairs.
    """

    size: int = field(default=32, ge=4, le=256, help="pixels along an edge")
    num_train: int = field(default=2000, ge=1, help="images for training")
    num_validation: int = field(default=200, ge=1, help="images for validation")
    num_test: int = field(default=500, ge=1, help="images for test")

    def views(self, number: int, seed: int) -> View:
        """`number` views, by a seed; more begin with the same ones."""
        u = np.random.RandomState(seed).random_sample((number, 4)).T
        return View(np.floor(len(SHAPES) * u[0]), 360 * u[1], 90 * u[2] - 30, 360 * u[3])

    def _views(self) -> list[View]:
        """Those of each split."""
        validate(self)
        counts = {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}
        return [self.views(counts[name], seed) for name, seed in SEEDS.items()]

    def labels(self, data_dir: str | None = None) -> Labels:
        """Which solid each image shows, by its index in `SHAPES`."""
        return Labels(*(view.shape.astype(np.int64) for view in self._views()))

    def load(self, data_dir: str | None = None) -> Dataset:
        """The three splits, D = size * size in [0, 1], with codes as contexts; `data_dir` is not needed."""
        views = self._views()
        train, validation, test = (render(view, self.size) for view in views)
        contexts = [encode(view) for view in views]
        return check(Dataset(train, validation, test, "unit", (self.size, self.size), None, None, *contexts), "solids")
