"""The segments' picture: bars where the importance is, tiles on the other axes."""

import io

import numpy as np
import pytest

import earmark
from earmark.runtime.drawing.spectrogram import BOTTOM, LEFT, RIGHT, TOP, WARM
from earmark.runtime.methods.segments.picture import draw_segments

Image = pytest.importorskip("PIL.Image")


def found(axis):
    """A burst of 3 kHz between 0.5 and 0.6 s is all that counts."""
    random = np.random.default_rng(0)
    time = np.arange(8000) / 8000
    burst = (time >= 0.5) & (time < 0.6)
    wave = 0.01 * random.standard_normal(8000) + 0.5 * np.sin(2 * np.pi * 3000 * time) * burst

    def score(sounds):
        return 1 / (1 + np.exp(4 - 0.02 * np.abs(sounds @ np.exp(2j * np.pi * 3000 * time))))

    return earmark.segments(score, wave.astype(np.float32), 8000, axis=axis, calls=160)


@pytest.mark.parametrize("axis", ["time", "frequency", "both"])
def test_what_counts_is_warm_where_it_lies(axis):
    file = io.BytesIO()
    draw_segments(file, found(axis), seconds=1.0, title="tone 99 %")
    picture = np.asarray(Image.open(file).convert("RGB")).astype(int)
    warm = np.abs(picture[TOP:BOTTOM, LEFT:RIGHT] - WARM[3]).sum(-1) < 60
    assert warm.any()
    rows, columns = np.nonzero(warm)
    if axis != "frequency":
        assert columns.mean() / warm.shape[1] == pytest.approx(0.55, abs=0.06)
    if axis != "time":
        assert 1 - rows.mean() / warm.shape[0] == pytest.approx(3000 / 4000, abs=0.15)


def test_nothing_matters_draws_nothing_and_does_not_fail():
    result = earmark.segments(lambda sounds: np.full(len(sounds), 0.5), np.ones(8000, np.float32) * 0.1, 8000)
    file = io.BytesIO()
    draw_segments(file, result, seconds=1.0, title="flat")
    assert Image.open(file).size == (1000, 420)
