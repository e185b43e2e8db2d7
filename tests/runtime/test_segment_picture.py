"""What the segments' picture shows: bars below the spectrogram, tiles on it on the other axes."""

import numpy as np
import pytest

import earmark
from earmark.runtime.drawing.shown import Spectrogram
from earmark.runtime.methods.result import About
from earmark.runtime.methods.segments.picture import chart_of

SOUND = Spectrogram(np.ones((10, 5), np.float32), 1.0, 4000.0)
ABOUT = About("tone 99 %", 8000, 1.0, caption="tone.wav", spectrogram=lambda: SOUND)


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
def test_what_counts_is_shown_where_it_lies(axis):
    result = found(axis)
    chart = chart_of(result, ABOUT)
    assert chart.spectrogram is SOUND
    if axis == "time":
        (bars,) = chart.strips
        best = int(bars.values.argmax())
        assert bars.start_s[best] == pytest.approx(0.5, abs=0.06)
        assert bars.spread[best] == result.uncertainty[best]
        assert bars.unit == "log-odds"
        assert chart.tiles is None
        return
    best = chart.tiles.boxes[int(chart.tiles.values.argmax())]
    assert chart.tiles.unit == "log-odds"
    assert chart.strips == ()
    if axis == "both":
        assert best[0] <= 0.55 <= best[1]
    assert best[2] - 300 <= 3000 <= best[3] + 300


def test_nothing_matters_and_no_sound_is_at_hand():
    result = earmark.segments(lambda sounds: np.full(len(sounds), 0.5), np.ones(8000, np.float32) * 0.1, 8000)
    chart = chart_of(result, About("flat", 8000, 1.0))
    assert chart.spectrogram is None
    assert not chart.strips[0].values.any()
