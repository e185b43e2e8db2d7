"""Names for components that a person understands: what it sounds like, how high, and when in this sound."""

from __future__ import annotations

from collections.abc import Sequence

from ....times import span_text

# Bandwidth as a share of the frequency: up to here it is a pitch; up to there, a band.
_TONE, _BAND = 0.15, 1.0
# Below these, it is a hum rather than a band.
_HUM_HZ, _HUM_WIDTH_HZ = 200.0, 300.0
_CLICK_S = 0.08
# Active in this share of the sound: no times are worth telling.
_THROUGHOUT = 0.8
_SPANS_TOLD = 2
_FINE_S = 0.3


def name_of(peak_hz: float, bandwidth_hz: float, spans: Sequence[tuple[float, float]], seconds: float) -> str:
    """Such as "narrow tone at 1.2 kHz, 0.8-1.4 s".

    Args:
        peak_hz: Of the largest weight of its column.
        bandwidth_hz: Of what is around it.
        spans: When it is active in a sound of `seconds`, in order.
        seconds: Length of the sound.

    """
    return f"{_kind(peak_hz, bandwidth_hz, spans)}, {_when(spans, seconds)}"


def _kind(peak_hz: float, bandwidth_hz: float, spans: Sequence[tuple[float, float]]) -> str:
    if bandwidth_hz <= _TONE * peak_hz:
        return f"narrow tone at {hertz(peak_hz)}"
    if peak_hz < _HUM_HZ and bandwidth_hz < _HUM_WIDTH_HZ:
        return f"low hum at {hertz(peak_hz)}"
    kind = "band" if bandwidth_hz <= _BAND * peak_hz else "broad noise"
    if spans and max(end - start for start, end in spans) <= _CLICK_S:
        kind = "click" if len(spans) == 1 else "clicks"
    return f"{kind} around {hertz(peak_hz)}"


def _when(spans: Sequence[tuple[float, float]], seconds: float) -> str:
    if not spans:
        return "silent here"
    if sum(end - start for start, end in spans) >= _THROUGHOUT * seconds:
        return "throughout"
    if len(spans) <= _SPANS_TOLD:
        return " and ".join(_span(start, end) for start, end in spans)
    return f"{len(spans)} times in {_span(spans[0][0], spans[-1][1])}"


def _span(start: float, end: float) -> str:
    """Hundredths where tenths would say nothing."""
    digits = 1 if end - start >= _FINE_S else 2
    return span_text(start, end, digits)


def hertz(value: float) -> str:
    """A frequency as people write it."""
    return f"{value / 1000:.1f} kHz" if value >= 1000 else f"{value:.0f} Hz"
