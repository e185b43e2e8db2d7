"""Times as people write them: seconds where they say most, else a clock."""

from __future__ import annotations

# From here on seconds alone say little.
_CLOCK_S = 120.0


def time_text(at_s: float, digits: int = 2) -> str:
    """A time in a sound: `12.34 s`; from two minutes on `2:05.34` or `1:02:05.34`.

    Args:
        at_s: In seconds.
        digits: Of a second.

    Returns:
        The text; only seconds have a unit.

    """
    return f"{at_s:.{digits}f} s" if at_s < _CLOCK_S else _clock(at_s, digits)


def span_text(start_s: float, end_s: float, digits: int = 2, between: str = "-") -> str:
    """A stretch of a sound: `0.63-0.68 s`; where it ends after two minutes `1:59.00-2:05.34`.

    Args:
        start_s: Its begin in seconds.
        end_s: Its end.
        digits: Of a second.
        between: What joins them.

    Returns:
        The text.

    """
    if end_s < _CLOCK_S:
        return f"{start_s:.{digits}f}{between}{end_s:.{digits}f} s"
    return f"{_clock(start_s, digits)}{between}{_clock(end_s, digits)}"


def duration_text(seconds: float) -> str:
    """How long something took: `108 ms`, `12.3 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 1.0:
        return f"{1000.0 * seconds:.0f} ms"
    if seconds < _CLOCK_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _clock(at_s: float, digits: int) -> str:
    """Hours where there are any, minutes, seconds; rounded before they are split, so that no second is 60."""
    scale = 10**digits
    parts = round(at_s * scale)
    minutes, rest = divmod(parts, 60 * scale)
    seconds = f"{rest / scale:0{3 + digits if digits else 2}.{digits}f}"
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds}" if minutes >= 60 else f"{minutes}:{seconds}"
