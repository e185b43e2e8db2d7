"""Names for components: what kind of sound it is, how high, and when in this sound.

The kinds are few, and each is measured: narrow tone, hum, harmonic stack, sweep, chirp, click, click train,
rumble, hiss, band, two bands, noise burst, broad noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....times import span_text
from .harmonics import Glide

# Up to this bandwidth, as a share of the frequency, it is a pitch. A pitch below this is a hum.
_TONE, _LOW_HZ = 0.15, 200.0
# What is no pitch, by the edges of its band: up to here a rumble, from here on a hiss if it is that wide, a
# band up to this ratio of its edges.
_RUMBLE_HZ, _HISS_HZ, _HISS_WIDTH_HZ, _BAND = 300.0, 2000.0, 1500.0, 3.0
_CLICK_S = 0.08
# So many clicks make a train, where the times between them differ by no more than this share of their mean.
_TRAIN, _REGULAR = 4, 0.2
# A frequency that moves by so many octaves.
_GLIDE_OCTAVES = 0.5
# Up to this length what moves is a chirp, and broad noise a burst.
_SHORT_S = 0.3
# Active in this share of the sound: no times are worth naming.
_THROUGHOUT = 0.8
_SPANS_NAMED = 2
_FINE_S = 0.3


@dataclass(frozen=True)
class ComponentAcoustics:
    """What is measured of a component.

    Attributes:
        peak_hz: Frequency of the largest weight of its column.
        bandwidth_hz: Width of the band around it that holds most of the weight.
        fundamental_hz: Fundamental of the harmonics in its column (`harmonics.fundamentals`); 0: none.
        spans: When it is active in the sound, (start_s, end_s), in order.
        glide_hz: Frequencies between which its track moves steadily in the longest of these; None: it stays.
        bands_hz: (low, high) of where the column's energy lies, twice where that is two separate bands; none:
            not measured.

    """

    peak_hz: float
    bandwidth_hz: float
    fundamental_hz: float = 0.0
    spans: Sequence[tuple[float, float]] = ()
    glide_hz: Glide | None = None
    bands_hz: Sequence[tuple[float, float]] = ()


def name_of(measured: ComponentAcoustics, seconds: float) -> str:
    """Such as "harmonic stack on 220 Hz, 0.8-1.4 s", in a sound of `seconds`."""
    return f"{kind_of(measured)}, {_when(measured.spans, seconds)}"


def kind_of(measured: ComponentAcoustics) -> str:
    """The kind and its frequency, such as "harmonic stack on 220 Hz"."""
    peak_hz, width_hz, spans = measured.peak_hz, measured.bandwidth_hz, measured.spans
    longest = max((end - start for start, end in spans), default=0.0)
    if measured.glide_hz is not None and abs(np.log2(measured.glide_hz[1] / measured.glide_hz[0])) >= (
        _GLIDE_OCTAVES
    ):
        first, last = measured.glide_hz
        way = "rising" if last > first else "falling"
        return f"{way} {'chirp' if longest < _SHORT_S else 'sweep'} from {hertz(first)} to {hertz(last)}"
    if measured.fundamental_hz:
        stack = "hum" if measured.fundamental_hz < _LOW_HZ else "harmonic stack"
        return f"{stack} on {hertz(measured.fundamental_hz)}"
    if width_hz <= _TONE * peak_hz:
        return f"{'hum' if peak_hz < _LOW_HZ else 'narrow tone'} at {hertz(peak_hz)}"
    bands = measured.bands_hz or [(max(0.0, peak_hz - 0.5 * width_hz), peak_hz + 0.5 * width_hz)]
    low, high = bands[0][0], bands[-1][1]
    where = _range(low, high) if measured.bands_hz else f"around {hertz(peak_hz)}"
    if spans and longest <= _CLICK_S:
        return _clicks(spans, where)
    if len(bands) > 1:
        return f"two bands {' and '.join(_range(*band) for band in bands)}"
    noise = _noise(low, high)
    if noise == "broad noise" and spans and longest <= _SHORT_S:
        noise = "noise burst" if len(spans) == 1 else "noise bursts"
    return f"{noise} {where}"


def _noise(low_hz: float, high_hz: float) -> str:
    """What is no pitch, by where it lies."""
    if high_hz <= _RUMBLE_HZ:
        return "rumble"
    if low_hz >= _HISS_HZ and high_hz - low_hz >= _HISS_WIDTH_HZ:
        return "hiss"
    return "band" if high_hz <= _BAND * low_hz else "broad noise"


def _clicks(spans: Sequence[tuple[float, float]], where: str) -> str:
    """One click, some, or a train of them with its rate."""
    if len(spans) == 1:
        return f"click {where}"
    between = np.diff([0.5 * (start + end) for start, end in spans])
    if len(spans) >= _TRAIN and between.std() <= _REGULAR * between.mean():
        return f"click train {where}, {1.0 / between.mean():.2g} per second"
    return f"clicks {where}"


def _range(low_hz: float, high_hz: float) -> str:
    """Such as "300-600 Hz", "0.4-2.1 kHz"."""
    return f"{low_hz / 1000:.1f}-{hertz(high_hz)}" if high_hz >= 1000 else f"{low_hz:.0f}-{hertz(high_hz)}"


def _when(spans: Sequence[tuple[float, float]], seconds: float) -> str:
    if not spans:
        return "silent here"
    if sum(end - start for start, end in spans) >= _THROUGHOUT * seconds:
        return "throughout"
    if len(spans) <= _SPANS_NAMED:
        return " and ".join(_span(start, end) for start, end in spans)
    return f"{len(spans)} times in {_span(spans[0][0], spans[-1][1])}"


def _span(start: float, end: float) -> str:
    """Hundredths where tenths would say nothing."""
    digits = 1 if end - start >= _FINE_S else 2
    return span_text(start, end, digits)


def hertz(value: float) -> str:
    """A frequency as people write it."""
    return f"{value / 1000:.1f} kHz" if value >= 1000 else f"{value:.0f} Hz"
