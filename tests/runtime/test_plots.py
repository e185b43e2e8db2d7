"""Plots on matplotlib axes: the values of the result, with units, names and colour bars; SVG and PDF."""

import io
import re
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from refusals import refuses

import earmark
from earmark.runtime.explainer import SHIPPED

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("error")
HOSTILE = "$\\frac{ </svg><script>alert(1)</script> \u9ce5\x1b[31m"


@pytest.fixture(scope="module")
def result(shipped):
    clip = SHIPPED.with_name("example.flac")
    options = {"segments": {"calls": 64}}
    return shipped.explain(clip, methods=["mask", "segments", "prototypes"], options=options)


@pytest.fixture(autouse=True)
def _closed():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def named(ax):
    """Every text of a figure."""
    return " | ".join(text.get_text() for text in ax.figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("frequency", ["linear", "mel", "log"])
def test_a_mask_over_hz_and_seconds(result, frequency):
    ax = result.plot(frequency=frequency)
    told = named(ax)
    for text in (
        "snare",
        "example.flac",
        result.bundle,
        "Time (s)",
        "Frequency (kHz",
        "Level (dB re",
        "mask",
    ):
        assert text in told
    assert ax.get_xlim() == (0.0, result.duration_s)
    low, high = ax.get_ylim()
    assert (low, high) == (50.0 if frequency == "log" else 0.0, result.mask.max_hz)
    # The line around what is kept, in the axes' own Hz and seconds.
    (line,) = [one for one in ax.collections if isinstance(one, matplotlib.contour.ContourSet)]
    points = np.concatenate([path.vertices for path in line.get_paths()])
    start, end = result.mask.spans[0]
    inside = (points[:, 0] > start - 0.35) & (points[:, 0] < end + 0.35)
    assert inside.mean() > 0.9
    assert points[:, 1].max() <= high
    # Halfway up the axis lies the frequency of its scale.
    middle = ax.transData.inverted().transform(ax.transAxes.transform((0.0, 0.5)))[1]
    mel = 700 * (10 ** (np.log10(1 + high / 700) / 2) - 1)
    assert middle == pytest.approx({"linear": high / 2, "mel": mel, "log": np.sqrt(50 * high)}[frequency])
    kind, begin = {
        "linear": ("svg", b"<?xml"),
        "mel": ("pdf", b"%PDF"),
        "log": ("png", b"\x89PNG"),
    }[frequency]
    file = io.BytesIO()
    ax.figure.savefig(file, format=kind)
    assert file.getvalue().startswith(begin)
    assert len(file.getvalue()) < 2_000_000


def test_segments_are_bars_below_with_their_deviation(result):
    own = Figure(figsize=(7, 5), dpi=80)
    ax = own.subplots()
    assert result.plot("segments", ax=ax, title="mine") is ax
    assert "mine" in named(ax)
    assert "log-odds" in named(ax)
    (below,) = [one for one in own.axes if one.get_ylabel() == "log-odds"]
    heights = sorted(bar.get_height() for bar in below.patches)
    np.testing.assert_allclose(heights, np.sort(result.segments.importance))
    assert below.get_xlim() == (0.0, result.duration_s)
    assert own.get_size_inches().tolist() == [7, 5]


def test_tiles_have_a_colour_bar_with_their_unit_and_stripes_against(shipped):
    options = {"segments": {"axis": "frequency", "calls": 64}}
    one = shipped.explain(SHIPPED.with_name("example.flac"), methods=["segments"], options=options)
    ax = one.plot(size=(5, 3), dpi=60)
    assert ax.figure.get_size_inches().tolist() == [5, 3]
    assert ax.figure.dpi == 60
    assert "log-odds (striped: against)" in named(ax)
    striped = [patch for patch in ax.patches if patch.get_hatch()]
    assert len(striped) == (one.segments.importance < 0).sum()
    # The spectrogram is below: there is no mask, but there is the sound.
    assert len(ax.images) == 1


def test_prototypes_lie_beside_the_places_that_they_match(result):
    figure = result.plot_prototypes()
    first = result.prototypes["square"][0]
    box = figure.axes[0].patches[0]
    assert box.get_x() == pytest.approx(first.place.start_s)
    assert box.get_x() + box.get_width() == pytest.approx(first.place.end_s)
    assert figure.axes[1].patches[0].get_x() == pytest.approx(first.start_s)
    assert first.clip in figure.axes[1].get_xlabel()
    told = " ".join(
        text.get_text() for text in result.plot_prototypes(channels=True).findobj(matplotlib.text.Text)
    )
    assert f"channel {result.channels[0].channel}" in told


def test_scores_alone_are_a_spectrogram(shipped):
    one = shipped.explain(SHIPPED.with_name("example.flac"), methods=[])
    ax = one.plot()
    assert "Level (dB re" in named(ax)
    assert "mask" not in named(ax)
    refuses(earmark.MethodError, "'mask' did not run", one.plot, "mask")
    with pytest.raises(earmark.MethodError, match="nothing to plot"):
        replace(one, sound=None).plot()


def test_a_method_without_a_picture_over_time(result):
    refuses(earmark.MethodError, "plot_prototypes", result.plot, "prototypes")


def test_names_are_text_and_never_run(result):
    hostile = replace(result, target=HOSTILE, input=f"/data/{HOSTILE}.wav", bundle=HOSTILE)
    hostile = replace(hostile, predictions=((HOSTILE, 0.9), *result.predictions[1:]))
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        hostile.plot().figure.savefig(file, format="svg")
    assert b"<script" not in file.getvalue()
    assert rb"\u9ce5\x1b[31m" in file.getvalue()
    hostile.plot_prototypes().canvas.draw()


def test_detections_are_outlined_over_the_scores(shipped):
    import soundfile

    clip, rate = soundfile.read(SHIPPED.with_name("example.flac"), dtype="float32")
    quiet = np.zeros(3 * rate, np.float32)
    found = shipped.detect((np.concatenate([quiet, clip, quiet]), rate), labels=["snare", "bell"])
    ax = found.plot(labels=["bell", "snare"])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["bell", "snare"]
    (box,) = [one for one in ax.patches if to_rgb(one.get_edgecolor()[:3]) == to_rgb("#a03c00")]
    assert (box.get_x(), box.get_width()) == (found[0].start_s, found[0].duration_s)
    assert box.get_y() < 1 < box.get_y() + box.get_height()
    told = named(ax)
    assert "score" in told
    assert found.bundle in told
    assert [text.get_text() for text in found.plot().get_yticklabels()] == ["snare"]
    with pytest.raises(earmark.LabelError):
        found.plot(labels=["whale"])


def test_without_matplotlib_the_error_names_the_extra(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refuses(earmark.errors.MissingDependencyError, re.escape("pip install 'earmark[plot]'"), result.plot)
