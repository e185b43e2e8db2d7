"""`Stream`: detections in sound that arrives piece by piece."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...errors import AudioError, SettingsError
from ..audio.source import ArraySource, checked_rate
from ..engine import Engine
from ..explaining.request import Request
from ..inference.window import Clock
from ..values.arrays import FloatArray
from .detection import Detection, ScoredWindow
from .detector import Detected, Detecting, Detector
from .settings import DetectionSettings

# Timestamps that differ by less from the samples' own count are jitter of the clock that made them.
JITTER_S = 0.05
# Warnings that are kept.
_MOST_WARNINGS = 100
_MOST_CHANNELS = 64


class Stream:
    """Detects in sound that arrives piece by piece; `Explainer.stream` makes it.

    Gives what `Explainer.detect` gives of the same sound, however it is cut into pieces; scores agree within
    the rounding of the batches in which windows are classified. Each window is given as soon as its last
    sample has arrived, and a detection with the first window that is not part of it any more (later by
    `merge_gap_s`, and by half of `smooth_s` and a hop, where those are set). Memory does not grow with time.
    One thread at a time may use it.

    Args:
        engine: The open bundle.
        settings: What counts as a detection.
        request: How detections are explained.
        sample_rate: Of the samples that are pushed, in Hz.
        channels: Of them.
        name: What the ids of detections are made of.

    Attributes:
        sample_rate: As given.
        channels: As given.
        warnings: The last 100 of what went wrong: gaps, clocks that went back, samples far above full scale.

    Examples:
        >>> import numpy as np
        >>> with earmark.load(device="cpu") as explainer:
        ...     stream = explainer.stream(16_000, methods=[])
        ...     windows = stream.push(np.zeros(48_000, np.float32))
        ...     rest = stream.finish()
        >>> windows[0].number, windows[0].start_s
        (0, 0.0)

    """

    def __init__(
        self,
        engine: Engine,
        settings: DetectionSettings,
        request: Request,
        sample_rate: int,
        channels: int,
        name: str,
    ) -> None:
        self.sample_rate = checked_rate(sample_rate, "the stream")
        if isinstance(channels, bool) or not isinstance(channels, int) or not 1 <= channels <= _MOST_CHANNELS:
            raise AudioError(f"channels is {channels!r}: give a whole number from 1 to {_MOST_CHANNELS}")
        self.channels = channels
        self.warnings: deque[str] = deque(engine.sessions.warnings, maxlen=_MOST_WARNINGS)
        self._detecting = Detecting(
            engine=engine,
            settings=settings,
            request=request,
            recording=name,
            rate=self.sample_rate,
            channels=channels,
            flat=channels == 1,
            divisor=_divisor(engine, request),
            clock=Clock(),
        )
        self._detector: Detector | None = None
        self._origin_s = 0.0
        self._windows = 0
        self._finished = self._loud = False

    @property
    def seconds(self) -> float:
        """The time of the stream's clock after the last sample, in seconds."""
        return self._origin_s + (0.0 if self._detector is None else self._detector.seconds)

    def push(
        self, samples: Any, *, at: float | None = None, sample_rate: int | None = None
    ) -> list[ScoredWindow | Detection]:
        """Take the next samples.

        Args:
            samples: [n] of one channel or [channels, n]: floats within [-1, 1], or integers that are scaled
                by their range; n may be 0.
            at: Time of the first of them in seconds, by the clock of the stream; None: they follow the last
                ones. More than 0.05 s away from those, the sound before ends there, as `finish` ends it, and
                begins anew: no window and no detection reaches over a gap.
            sample_rate: The rate of these samples, for sources that may change it; None: the stream's.

        Returns:
            In order of time, windows with their scores, and detections that are over.

        Raises:
            AudioError: The samples cannot be used, or the stream is finished; nothing of them was taken, and
                what came before is kept for `finish`.
            BundleError: A graph of the bundle cannot be run.

        """
        if self._finished:
            raise AudioError("the stream is finished: open another with Explainer.stream")
        if sample_rate is not None and sample_rate != self.sample_rate:
            other = f"{sample_rate} Hz"
            raise AudioError(
                f"the stream's rate is {self.sample_rate} Hz, that of these samples {other}: finish() "
                "gives what is left of those before; open another stream for them"
            )
        blocks = self._blocks(samples)
        self._warn_of_loudness(blocks)
        given: list[ScoredWindow | Detection] = []
        if at is not None:
            given += self._at(at)
        if self._detector is None:
            self._detector = Detector(self._detecting, self._origin_s, self._windows)
        for block in blocks:
            given += _shown(self._detector.push(block))
        return given

    def finish(self) -> list[ScoredWindow | Detection]:
        """End the stream.

        Returns:
            The windows and detections that are left; none when it is called again.

        Raises:
            BundleError: A graph of the bundle cannot be run.

        """
        self._finished = True
        return self._end()

    def _end(self) -> list[ScoredWindow | Detection]:
        """End the sound that has no gaps so far."""
        if self._detector is None:
            return []
        ended = self._detector
        given = _shown(ended.finish()) if ended.seconds else []
        self._origin_s, self._windows, self._detector = self.seconds, ended.number, None
        return given

    def _at(self, at: float) -> list[ScoredWindow | Detection]:
        """Set the time of the next sample: what lies before is ended where it does not follow."""
        if isinstance(at, bool) or not isinstance(at, (int, float, np.number)) or not math.isfinite(at):
            raise AudioError(f"at is {at!r}: give the time of the first sample in seconds")
        if self._detector is None or not self._detector.seconds:
            self._origin_s, self._detector = float(at), None
            return []
        expected = self.seconds
        if abs(at - expected) <= JITTER_S:
            return []
        self.warnings.append(
            f"{at - expected:.3f} s are missing after {expected:.3f} s"
            if at > expected
            else f"the clock went back by {expected - at:.3f} s at {expected:.3f} s"
        )
        given = self._end()
        self._origin_s = float(at)
        return given

    def _blocks(self, samples: Any) -> list[FloatArray]:
        """Samples as blocks [channels, n] of finite float32 that nobody else writes to."""
        values = np.asarray(samples)
        if values.ndim in {1, 2} and values.shape[-1] == 0:
            return []
        source = ArraySource(samples, self.sample_rate)
        if source.channels != self.channels:
            raise AudioError(
                f"the stream has {self.channels} channels and these samples {list(values.shape)}: give "
                f"[{self.channels}, n]" + (", or [n]" if self.channels == 1 else "")
            )
        blocks = [block.copy() for block in source.blocks()]
        if not all(np.isfinite(block).all() for block in blocks):
            raise AudioError("these samples hold NaN or infinite values: sound must be finite")
        return blocks

    def _warn_of_loudness(self, blocks: Sequence[FloatArray]) -> None:
        """Say once that samples are far above full scale."""
        if not self._loud:
            peak = max((float(np.abs(block).max()) for block in blocks), default=0.0)
            one = self._detecting
            lines = one.engine.pipeline.loudness_warnings(peak, one.request.windowing)
            self._loud = bool(lines)
            self.warnings.extend(lines)


def _divisor(engine: Engine, request: Request) -> float | None:
    """What all windows of a stream are divided by. Raises SettingsError where nobody can know that."""
    over = engine.pipeline.level_over(request.windowing)
    if over == "none":
        return 1.0
    if over == "recording":
        raise SettingsError(
            "the level of a recording is known only at its end, and a stream has none: give level='window'"
        )
    return None


def _shown(items: Iterable[ScoredWindow | Detected]) -> list[ScoredWindow | Detection]:
    """What a user gets of them."""
    return [one.detection if isinstance(one, Detected) else one for one in items]
