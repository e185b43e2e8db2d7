"""Pictures as PNG: what a mask keeps stands out by lightness alone, and is outlined."""

import io

import numpy as np
import pytest
from PIL import Image

from earmark.runtime.drawing.charts import BOTTOM, LEFT, RIGHT, TOP
from earmark.runtime.drawing.colours import FOR, colours_of, ramp
from earmark.runtime.drawing.png import write_png
from earmark.runtime.drawing.shown import Bars, Chart, Curve, Spectrogram, Tiles

HEIGHT = 420


def picture(
    amplitude, mask=None, seconds=5.0, max_hz=8000.0, title="dog bark 97.3%", height=HEIGHT, **more
) -> np.ndarray:
    store = io.BytesIO()
    shown = None if amplitude is None else Spectrogram(amplitude, seconds, max_hz, mask)
    write_png(store, Chart(title, "dog.wav, explained with a bundle", seconds, shown, **more))
    image = Image.open(store)
    assert (image.format, image.size, image.mode) == ("PNG", (1000, height), "RGB")
    return np.asarray(image).astype(int)


def grey(pixels):
    """Luminance, as a print in grey shows it."""
    return pixels @ np.array([0.2126, 0.7152, 0.0722])


def at(pixels, time, hz):
    """The middle of 9 x 9 pixels, of a picture of 5 s and 8 kHz."""
    row = round(BOTTOM - (BOTTOM - TOP) * hz / 8000)
    column = round(LEFT + (RIGHT - LEFT) * time / 5)
    return pixels[row - 4 : row + 5, column - 4 : column + 5]


@pytest.mark.parametrize("frames", [400, 50_000])
def test_what_is_kept_is_darker_in_grey_and_outlined(frames: int) -> None:
    amplitude = np.full((frames, 100), 1e-6, np.float32)
    amplitude[: frames // 2, 60:80] = 1.0  # first half, upper band
    amplitude[frames // 2 :, 20:40] = 1.0  # second half, lower band
    mask = np.zeros((frames, 100), np.float16)
    mask[: frames // 2, 60:80] = 0.9
    pixels = picture(amplitude, mask)
    kept, removed, silent = (grey(at(pixels, *place)).mean() for place in ((1, 5600), (4, 2400), (1, 2400)))
    assert kept + 100 < removed < silent - 20
    outlined = np.abs(pixels[TOP:BOTTOM, LEFT:RIGHT] - FOR).sum(-1) == 0
    rows, columns = np.nonzero(outlined)
    assert columns.max() / outlined.shape[1] == pytest.approx(0.5, abs=0.02)
    upper, lower = 1 - rows.min() / outlined.shape[0], 1 - rows.max() / outlined.shape[0]
    assert (lower, upper) == (pytest.approx(0.6, abs=0.03), pytest.approx(0.8, abs=0.03))


def test_lightness_falls_evenly_with_loudness() -> None:
    levels = grey(ramp().astype(int))
    steps = -np.diff(levels)
    # Within what whole numbers of red, green and blue allow.
    assert steps.min() >= -1e-9
    assert steps.max() < 2
    # Whatever the mask, louder is darker.
    loudness = np.linspace(0, 1, 50, dtype=np.float32)
    for mask in (0.0, 0.5, 1.0):
        assert (np.diff(grey(colours_of(loudness, np.full_like(loudness, mask)).astype(int))) < 0).all()


def test_one_loud_frame_of_a_long_sound_is_seen() -> None:
    amplitude = np.full((100_000, 32), 1e-6, np.float32)
    amplitude[50_000] = 1.0
    pixels = picture(amplitude, seconds=1000.0)
    assert grey(pixels[200, LEFT:RIGHT]).min() < 150


@pytest.mark.parametrize("frames", [1, 1201])
@pytest.mark.parametrize("seconds", [6e-5, 0.3, 120.0, 4000.0, 4e6])
def test_any_length(frames: int, seconds: float) -> None:
    values = np.random.default_rng(0).uniform(size=(frames, 33)).astype(np.float32)
    picture(values, values, seconds=seconds, max_hz=24000.0)


def test_silence_and_odd_titles() -> None:
    zeros = np.zeros((10, 17), np.float32)
    for title in ("", "line\nline", "long " * 200, "Hund \u00e4\u4e2d\U0001f415", "$\\frac{1}$"):
        picture(zeros, zeros, title=title)


def test_tiles_tell_their_sign_without_colour() -> None:
    """For: filled evenly. Against: striped."""
    boxes = ((0.0, 2.0, 0.0, 8000.0), (2.0, 4.0, 0.0, 4000.0), (4.0, 5.0, 4000.0, 8000.0))
    tiles = Tiles(boxes, np.array([0.5, -0.5, 0.0]), "log-odds per s")
    pixels = picture(np.zeros((10, 17), np.float32), tiles=tiles)
    filled, striped, nothing = (grey(at(pixels, *place)) for place in ((1, 4000), (3, 2000), (4.5, 6000)))
    assert nothing.min() > 254.9
    assert filled.max() < 200
    assert filled.std() < 1 < 10 < striped.std()


def test_strips_lie_below_in_step_with_time() -> None:
    edges = np.arange(6.0)
    bars = Bars(
        edges[:-1], edges[1:], np.array([0, 1.0, 0, -0.5, 0]), np.array([0.1] * 4 + [np.nan]), "log-odds"
    )
    curve = Curve(np.float32([0, 0, 0, 0, 1]), "#3  a hiss", 0.7, strong=True)
    pixels = picture(np.ones((10, 17), np.float32), strips=(bars, curve), height=HEIGHT + 130 + 44)
    below = np.abs(pixels[HEIGHT - 20 : HEIGHT + 110, LEFT:RIGHT] - FOR).sum(-1) == 0
    columns = np.flatnonzero(below.sum(0) > 20) / below.shape[1]
    assert (columns.min(), columns.max()) == (pytest.approx(0.2, abs=0.01), pytest.approx(0.4, abs=0.01))
    drawn = np.abs(pixels[HEIGHT + 110 : HEIGHT + 150, LEFT:RIGHT] - FOR).sum(-1) == 0
    assert np.flatnonzero(drawn.any(0)).min() / drawn.shape[1] == pytest.approx(0.8, abs=0.01)
    # Without a spectrogram the bars take its place.
    alone = picture(None, strips=(bars,))
    assert (np.abs(alone[TOP:BOTTOM, LEFT:RIGHT] - FOR).sum(-1) == 0).any()
