"""Canvases as strips and as an animation: what stands where, and that a run of DRAW leaves both."""

import numpy as np
from matplotlib.image import imread
from PIL import Image
from runs import Log

from genjax_models.canvas_plots import SHOWN, save_animation, save_strips
from genjax_models.config import Config, Evaluation, Training
from genjax_models.data import Arrays
from genjax_models.experiment import train_run
from genjax_models.models import DRAW
from genjax_models.objectives import ELBO
from genjax_models.optimizers import Adam

SHAPE = (6, 5)
WINDOWS = np.broadcast_to([1.0, 0.0, 4.0, 3.0], (2, 3, 4))  # rows 1 to 3, columns 0 to 2


def levels():
    """Two images, three steps: canvas t of image i is all (i + t) / 10."""
    grey = (np.arange(2)[:, None] + np.arange(3)) / 10
    return np.repeat(grey[:, :, None], 30, axis=2)


def test_strips_have_a_row_for_each_image(tmp_path):
    path = tmp_path / "strips.png"
    save_strips(path, levels(), SHAPE, WINDOWS)
    picture = imread(path)[..., :3]
    scale = picture.shape[0] // (2 * 7 + 1)
    assert picture.shape[:2] == (15 * scale, 19 * scale)
    small = picture[scale // 2 :: scale, scale // 2 :: scale]
    for image in range(2):
        for step in range(3):
            canvas = small[1 + 7 * image : 7 + 7 * image, 1 + 6 * step : 6 + 6 * step]
            red = np.zeros(SHAPE, bool)
            red[1:4, :3] = True
            red[2, 1] = False  # inside the edge
            assert np.all((canvas[..., 0] > 0.9) == red)
            assert np.allclose(canvas[~red], (image + step) / 10, atol=1 / 255)


def test_strips_have_a_panel_for_each_channel(tmp_path):
    """Where channels are no colours; the window is in each panel. Images of an animation lie as in a picture."""
    both = np.stack([levels(), 1 - levels()], axis=3).reshape(2, 3, 60)
    save_strips(tmp_path / "strips.png", both, (6, 5, 2), WINDOWS)
    panels = np.stack([levels(), 1 - levels()], axis=2).reshape(2, 6, 30)
    save_strips(tmp_path / "panels.png", panels, SHAPE, WINDOWS.repeat(2, axis=1))
    np.testing.assert_array_equal(imread(tmp_path / "strips.png"), imread(tmp_path / "panels.png"))
    save_animation(tmp_path / "drawn.gif", both, (6, 5, 2), WINDOWS)
    with Image.open(tmp_path / "drawn.gif") as picture:
        assert picture.size == (13 * 26, 15 * 26)  # two rows of two panels with their frames, 400 pixels at most


def test_long_strips_show_some_steps_and_the_last(tmp_path):
    canvases = np.linspace(0, 1, 100)[None, :, None] * np.ones((1, 1, 30))
    save_strips(tmp_path / "long.png", canvases, SHAPE)
    picture = imread(tmp_path / "long.png")
    scale = picture.shape[0] // 8
    assert picture.shape[1] == (SHOWN * 6 + 1) * scale
    assert picture[picture.shape[0] // 2, -3 * scale, 0] == 1.0


def test_animations_have_a_frame_for_each_step(tmp_path):
    path = tmp_path / "drawn.gif"
    save_animation(path, levels(), SHAPE, WINDOWS, seconds=3.0)
    with Image.open(path) as picture:
        assert picture.n_frames == 3
        durations = []
        for t in range(3):
            picture.seek(t)
            durations.append(picture.info["duration"])
        assert durations == [1000, 1000, 2000]
        assert picture.info["loop"] == 0


def test_a_run_of_draw_leaves_its_canvases(tmp_path):
    bits = np.random.RandomState(0).uniform(size=(60, 4, 4)) < 0.4
    np.save(tmp_path / "bits.npy", bits.astype(np.uint8))
    config = Config(
        model=DRAW(image_shape=(4, 4), glimpses=3, latent=2, encoder_hidden=4, decoder_hidden=4, read=2, write=2),
        objective=ELBO(),
        optimizer=Adam(),
        data=Arrays(str(tmp_path / "bits.npy")),
        training=Training(num_steps=2, batch_size=8, evaluate_every=2, chunk=2),
        evaluation=Evaluation(num_samples=2),
    )
    train_run(config, tmp_path / "run", None, log=Log())
    assert imread(tmp_path / "run" / "canvases.png").ndim == 3
    with Image.open(tmp_path / "run" / "canvases.gif") as picture:
        assert picture.n_frames == 3
