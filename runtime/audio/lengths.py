"""From seconds to samples, and how much longer than a window a sound may be: computed in one place."""

from __future__ import annotations

import math
from typing import Final

# What no sound has: longer times are as long as that, since a product that is infinite is no whole number.
MOST_SAMPLES: Final = 2**62


def samples_of(seconds: float, rate: float) -> int:
    """The whole number of samples nearest to `seconds` at `rate` Hz."""
    return round(min(seconds * rate, MOST_SAMPLES))


def samples_at_least(seconds: float, rate: float) -> int:
    """The fewest samples at `rate` Hz that last `seconds`, which rounding errors do not lengthen."""
    return math.ceil(round(min(seconds * rate, MOST_SAMPLES), 6))


def longest_window(samples: int) -> int:
    """The longest sound, in samples, that is one window of a model whose windows have `samples`: 1 % more.

    Decoders often add a few samples (nearly all of ESC-50's 5 s clips have 5.001 s), and a second window
    would only double the work.
    """
    return samples + samples // 100
