from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earmark.runtime.drawing.spectrogram import draw


def picture(amplitude, mask, seconds=5.0, max_hz=8000.0, title="dog bark 97.3%") -> np.ndarray:
    store = io.BytesIO()
    draw(store, amplitude=amplitude, mask=mask, seconds=seconds, max_hz=max_hz, title=title)
    image = Image.open(store)
    assert (image.format, image.size, image.mode) == ("PNG", (1000, 420), "RGB")
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("frames", [400, 50_000])
def test_evidence_is_warm_where_the_mask_is_and_nowhere_else(frames: int) -> None:
    amplitude = np.full((frames, 100), 1e-6, np.float32)
    amplitude[: frames // 2, 60:80] = 1.0  # first half, upper band
    amplitude[frames // 2 :, 20:40] = 1.0  # second half, lower band
    mask = np.zeros((frames, 100), np.float16)
    mask[: frames // 2, 60:80] = 0.7
    pixels = picture(amplitude, mask)
    upper, lower = pixels[48 + int(318 * 0.3), 62 + 200], pixels[48 + int(318 * 0.7), 62 + 600]
    assert upper[0] > upper[2] + 20  # red above blue
    assert lower[2] > lower[0]
    silent = pixels[48 + int(318 * 0.7), 62 + 200]
    assert silent.sum() < 80


def test_one_loud_frame_of_a_long_sound_is_seen() -> None:
    amplitude = np.full((100_000, 32), 1e-6, np.float32)
    amplitude[50_000] = 1.0
    pixels = picture(amplitude, np.zeros_like(amplitude), seconds=1000.0)
    assert pixels[200, 62:876].sum(axis=1).max() > 300


@pytest.mark.parametrize("frames", [1, 1201])
@pytest.mark.parametrize("seconds", [6e-5, 0.3, 120.0, 4000.0, 4e6])
def test_any_length(frames: int, seconds: float) -> None:
    values = np.random.default_rng(0).uniform(size=(frames, 33)).astype(np.float32)
    picture(values, values, seconds=seconds, max_hz=24000.0)


def test_silence_and_odd_titles(tmp_path: Path) -> None:
    zeros = np.zeros((10, 17), np.float32)
    for title in ("", "line\nline", "long " * 200, "Hund \u00e4\u4e2d\U0001f415"):
        picture(zeros, zeros, title=title)
    draw(tmp_path / "a.png", amplitude=zeros, mask=zeros, seconds=1.0, max_hz=500.0, title="to a path")
    assert Image.open(tmp_path / "a.png").size == (1000, 420)
