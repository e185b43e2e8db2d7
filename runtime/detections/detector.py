"""`Detector`: sound goes in block by block, windows with their scores and detections come out.

`detect` pushes a recording through it, and a stream what arrives: so both give the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from msgspec import structs

from ...errors import AudioError, TargetError
from ..audio.level import mixed
from ..audio.sound import Resampler, open_sound
from ..engine import Engine
from ..explaining.explanation import explain
from ..explaining.request import Request
from ..inference.deadline import Deadline
from ..inference.pipeline import BATCH
from ..inference.scores import scores_of
from ..inference.window import Clock, Window
from ..results.result import Result
from ..values.arrays import FloatArray
from .cutting import Cut, WindowCutter
from .detection import Detection, ScoredWindow, detection_id
from .merging import Event, Merger
from .recent import RecentSound, Stretch
from .settings import DetectionSettings

# The longest stretch that is explained as a whole.
LONGEST_S = 60.0


@dataclass(frozen=True)
class Detecting:
    """What a detector works with.

    recording: name that the ids of detections are made of
    rate, channels: of the sound that is pushed; flat: whether its explanations have no axis for channels
    divisor: of all windows; None: each by its own level
    request: how detections are explained; without methods they are not
    clips: whether the sound of detections is wanted where they are not explained, too
    """

    engine: Engine
    settings: DetectionSettings
    request: Request
    recording: str
    rate: int
    channels: int
    flat: bool
    divisor: float | None
    deadline: Deadline = field(default_factory=Deadline)
    clock: Clock = field(default_factory=Clock)
    clips: bool = False


@dataclass(frozen=True)
class Detected:
    """A detection, and the sound that its windows contain; None where nobody wants that."""

    detection: Detection
    clip: Stretch | None


class Detector:
    """Detects in sound without gaps that is pushed block by block; memory does not grow with it.

    origin_s: where the sound begins, in seconds, from which all times count; number: of the first window
    """

    def __init__(self, detecting: Detecting, origin_s: float = 0.0, number: int = 0) -> None:
        self._with = detecting
        self._origin_s, self.number = origin_s, number
        engine, request = detecting.engine, detecting.request
        manifest = engine.manifest
        length, self._hop = engine.pipeline.length, engine.pipeline.hop_of(request.windowing)
        self._rate = manifest.sample_rate
        # The classifier gets the mean of all channels.
        self._convert = Resampler(detecting.rate, self._rate, 1)
        pipeline = engine.pipeline
        self._cutter = WindowCutter(length, self._hop, 1, whole=not pipeline.state_size)
        # What a recurrent classifier goes on from, and began the last windows with, by their numbers.
        self._state = pipeline.first_state
        self._states: dict[int, FloatArray] = {}
        merging = detecting.settings.merging(manifest.labels, manifest.name)
        self._merger = Merger(merging)
        self._wanted = np.flatnonzero(np.isfinite(merging.enter))
        self.labels = tuple(manifest.labels[k] for k in self._wanted)
        self._clips = detecting.clips or bool(request.methods)
        window_s, hop_s = length / self._rate, self._hop / self._rate
        # Windows before and after the peak that are explained of a longer event.
        self._reach = max(0, math.floor(0.5 * (LONGEST_S - window_s) / hop_s))
        # What is cut is never older than that.
        late_s = detecting.settings.smooth_s
        self._lasting_s = LONGEST_S + late_s + 3.0 * (window_s + hop_s) if self._clips else 0.0
        self._recent = RecentSound(math.ceil(self._lasting_s * detecting.rate))
        self._ready: list[Cut] = []

    @property
    def seconds(self) -> float:
        """Length of what was pushed."""
        return self._recent.count / self._with.rate

    def push(self, block: FloatArray, *, at_once: bool = True) -> Iterator[ScoredWindow | Detected]:
        """The next block [channels, n] at the sound's rate, finite, which nobody writes to any more.

        at_once: False lets windows wait until a batch of them is there
        Gives windows in order, each followed by the detections that end with it.
        """
        with self._with.clock.stage("read"):
            resampled = self.resampled(block)
        yield from self.take(block, resampled, at_once=at_once)

    def resampled(self, block: FloatArray) -> FloatArray:
        """What comes of the next block, mixed, at the model's rate; another thread may do this ahead."""
        return self._convert.push(mixed(block)[np.newaxis])

    def take(
        self, block: FloatArray, resampled: FloatArray, *, at_once: bool = True
    ) -> Iterator[ScoredWindow | Detected]:
        """As `push`, of a block and what `resampled` gave for it."""
        self._recent.push(block)
        self._ready += self._cutter.push(resampled)
        yield from self._classified(at_once)

    def finish(self) -> Iterator[ScoredWindow | Detected]:
        """The sound ends: gives what is left, and can be called once."""
        if not self.number or not self._with.deadline.reached():
            total = -(-self._recent.count * self._rate // self._with.rate)
            self._ready += self._cutter.push(self._convert.finish(total))
            self._ready += self._cutter.finish()
            yield from self._classified(at_once=True)
        for event in self._merger.finish():
            yield self._detected(event)

    def _classified(self, at_once: bool) -> Iterator[ScoredWindow | Detected]:
        """The windows that wait, through the classifier in batches of equal length."""
        engine, clock, precision = self._with.engine, self._with.clock, self._with.settings.precision
        while len(self._ready) >= BATCH or (at_once and self._ready):
            if self.number and self._with.deadline.reached():
                return
            batch, self._ready = self._ready[:BATCH], self._ready[BATCH:]
            for window in engine.pipeline.classified(
                batch, clock, self._with.divisor, precision, self._state
            ):
                self._carry(window)
                scores = scores_of(self._with.settings.calibrated(window.logits), engine.manifest.task)
                start_s = window.offset / self._rate
                end_s = (window.offset + window.channels.shape[-1]) / self._rate
                begin_s, stop_s = self._origin_s + start_s, self._origin_s + end_s
                yield ScoredWindow(self.number, begin_s, stop_s, self.labels, scores[self._wanted])
                over = self._merger.add(self.number, start_s, end_s, scores)
                self._hold(end_s)
                self.number += 1
                for event in over:
                    yield self._detected(event)

    def _carry(self, window: Window) -> None:
        """Keep what a recurrent classifier goes on from, and as long as a clip may begin there."""
        self._state = window.next_state
        if window.state is not None and self._clips:
            place = window.offset // self._hop
            self._states[place] = window.state
            self._states.pop(place - math.ceil(self._lasting_s * self._rate / self._hop), None)

    def _hold(self, now_s: float) -> None:
        """Cut the stretches of events that have become too long to be explained as a whole."""
        for event in self._merger.pending() if self._clips else ():
            long = now_s - event.windows_start_s > LONGEST_S
            if event.stretch is None and long and self.number >= event.peak_number + self._reach:
                event.stretch = self._stretch(event)

    def _stretch(self, event: Event) -> Stretch:
        """All that the windows of an event contain; of more than a minute what lies around its peak."""
        start_s, end_s = event.windows_start_s, event.windows_end_s
        if end_s - start_s > LONGEST_S:
            around_s = self._reach * self._hop / self._rate
            start_s = max(start_s, event.peak_start_s - around_s)
            end_s = min(end_s, event.peak_end_s + around_s)
        rate = self._with.rate
        start = math.floor(round(start_s * rate, 3))
        end = min(self._recent.count, math.ceil(round(end_s * rate, 3)))
        samples = self._recent.cut(start, end)
        state = self._states.get(round(start_s * self._rate / self._hop))
        return Stretch(samples, rate, self._origin_s + start_s, self._origin_s + end_s, state)

    def _detected(self, event: Event) -> Detected:
        """An event that is over, explained."""
        label = self._with.engine.manifest.labels[event.label]
        start_s, end_s = self._origin_s + event.start_s, self._origin_s + event.end_s
        clip = (event.stretch or self._stretch(event)) if self._clips else None
        result, warnings = self._explained(clip, event.label)
        mask = None if result is None else result.mask
        clip_start_s = self._origin_s + event.windows_start_s if clip is None else clip.start_s
        detection = Detection(
            id=detection_id(self._with.recording, label, start_s),
            label=label,
            score=event.peak,
            mean_score=event.mean,
            start_s=start_s,
            end_s=end_s,
            windows=range(event.first, event.last + 1),
            clip_start_s=clip_start_s,
            clip_end_s=self._origin_s + event.windows_end_s if clip is None else clip.end_s,
            low_hz=None if mask is None else mask.band[0],
            high_hz=None if mask is None else mask.band[1],
            evidence=() if mask is None else _within(mask.spans, clip_start_s, start_s, end_s),
            explanation=result,
            warnings=warnings,
        )
        return Detected(detection, clip)

    def _explained(self, clip: Stretch | None, label: int) -> tuple[Result | None, tuple[str, ...]]:
        """The explanation of a clip for a class, or why there is none."""
        request = self._with.request
        if clip is None or not request.methods:
            return None, ()
        if self._with.deadline.reached():
            return None, (f"not explained: {self._with.deadline.reason}",)
        samples = clip.samples[0] if self._with.flat else clip.samples
        with self._with.clock.stage("explain"):
            opened = open_sound((samples, self._with.rate), None, self._rate)
            opened.name = self._with.recording
            windowing = structs.replace(request.windowing, divisor=self._with.divisor, state=clip.state)
            asked = structs.replace(request, targets=(label,), windowing=windowing)
            try:
                [result] = explain(self._with.engine, opened, Clock(), asked, self._with.deadline)
            except (AudioError, TargetError) as error:
                return None, (f"not explained: {error}",)
        return result, ()


def _within(
    spans: tuple[tuple[float, float], ...], offset_s: float, start_s: float, end_s: float
) -> tuple[tuple[float, float], ...]:
    """Spans of a clip that begins at `offset_s`, in the recording's time, as far as they lie in a stretch."""
    moved = ((max(start_s, offset_s + low), min(end_s, offset_s + high)) for low, high in spans)
    return tuple((low, high) for low, high in moved if low < high)
