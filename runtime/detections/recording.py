"""All detections of one recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from ...times import time_text
from ..audio.scratch import ScratchRows
from ..audio.single_pass import SinglePassSound
from ..audio.sound import OpenSound, count_windows, model_samples, open_once, open_sound
from ..audio.source import block_samples
from ..engine import Engine
from ..explaining.batch import open_any
from ..explaining.request import Request
from ..inference.deadline import Deadline
from ..inference.window import Clock, Windowing
from ..observing import Observation, tell
from ..scores.windows import WindowScores
from ..values.arrays import FloatArray
from .detection import Detection, ScoredWindow
from .detections import Detections
from .detector import Detected, Detecting, Detector
from .reading import ahead
from .recent import Stretch
from .settings import DetectionSettings

# Called with each detection and the sound of its windows, as soon as it has ended.
OnDetection = Callable[[Detection, Stretch], None]
# Called with the seconds that are classified, and those there are.
Progress = Callable[[float, float], None]


# What is searched: a sound that is checked while it is read, or has been.
Recording = SinglePassSound | OpenSound


def open_recording(
    engine: Engine,
    request: Request,
    deadline: Deadline,
    sound: Any,
    sample_rate: int | None,
    name: str | None = None,
) -> Recording:
    """Open a recording: to be read once, or twice where a level over all of it comes before its windows.

    sound, sample_rate, name: as for `Explainer.detect`; deadline: ends what is read before the first window
    Raises AudioError where it is missing or no sound.
    """
    rate = engine.manifest.sample_rate
    if engine.pipeline.level_over(request.windowing) == "recording":
        return open_any(partial(open_sound, sound, sample_rate, rate, deadline), sound, name)
    return open_any(partial(open_once, sound, sample_rate, rate, deadline), sound, name)


def detect(
    engine: Engine,
    recording: Recording,
    clock: Clock,
    deadline: Deadline,
    settings: DetectionSettings,
    request: Request,
    *,
    recorded_at: datetime | None = None,
    on_detection: OnDetection | None = None,
    progress: Progress | None = None,
) -> Detections:
    """Classify every window of a recording once, and explain what is detected.

    settings: what counts as a detection; request: how detections are explained
    on_detection: takes each detection; what is returned then holds no explanations
    Raises EarmarkError as `Explainer.detect`.
    """
    detecting = Detecting(
        engine=engine,
        settings=settings,
        request=request,
        recording=recording.name,
        rate=recording.input_rate,
        channels=recording.input_channels,
        flat=recording.flat,
        divisor=_divisor(engine, recording, request.windowing),
        deadline=deadline,
        clock=clock,
        clips=on_detection is not None,
    )
    detector = Detector(detecting)
    scores, spans = ScratchRows(len(detector.labels)), ScratchRows(2, np.float64)
    items: list[Detection] = []
    for one in _all(detector, recording, detecting):
        if isinstance(one, ScoredWindow):
            scores.add(one.scores)
            spans.add((one.start_s, one.end_s))
            if progress is not None:
                progress(one.end_s, max(one.end_s, recording.seconds))
        elif on_detection is not None and one.clip is not None:
            on_detection(one.detection, one.clip)
            items.append(replace(one.detection, explanation=None))
        else:
            items.append(one.detection)
    seen = detector.number
    placed = spans.finish()
    reached_s = float(placed[-1, 1]) if seen else 0.0
    duration_s = reached_s if recording.expected_samples is None else recording.seconds
    loud = engine.pipeline.loudness_warnings(recording.peak, request.windowing)
    warnings = [*engine.sessions.warnings, *recording.warnings, *loud]
    if deadline.reason:
        warnings.append(_partial(deadline, recording, seen, reached_s, engine, request.windowing))
    detections = Detections(
        input=recording.name,
        items=tuple(sorted(items, key=lambda one: (one.start_s, one.label))),
        windows=WindowScores(detector.labels, placed[:, 0], placed[:, 1], scores.finish()),
        settings=settings,
        duration_s=duration_s,
        sample_rate=recording.input_rate,
        channel_count=recording.input_channels,
        device=engine.device,
        bundle=engine.manifest.name,
        bundle_id=engine.manifest.bundle_id,
        seed=request.seed,
        partial=bool(deadline.reason),
        recorded_at=recorded_at,
        timings=dict(clock.milliseconds),
        warnings=tuple(warnings),
    )
    observation = Observation(
        kind="detections",
        input=recording.name,
        bundle=engine.manifest.name,
        device=engine.device,
        duration_s=duration_s,
        windows=seen,
        answers=len(items),
        timings=dict(clock.milliseconds),
    )
    tell(observation)
    return detections


def _divisor(engine: Engine, recording: Recording, windowing: Windowing) -> float | None:
    """What all windows are divided by; None: each by its own level."""
    if isinstance(recording, OpenSound):
        return engine.pipeline.divisor(recording, windowing)
    return 1.0 if engine.pipeline.level_over(windowing) == "none" else None


def _partial(
    deadline: Deadline,
    recording: Recording,
    seen: int,
    reached_s: float,
    engine: Engine,
    windowing: Windowing,
) -> str:
    """The warning of an answer that ended early, after so many windows, the last of which ends there."""
    samples, of = recording.expected_samples, ""
    if samples is not None:
        at_model_rate = model_samples(samples, recording.input_rate, engine.manifest.sample_rate)
        pipeline = engine.pipeline
        count = count_windows(at_model_rate, pipeline.length, pipeline.hop_of(windowing))
        if recording.complete and seen >= count:
            return f"partial: {deadline.reason} before every detection was explained"
        of = f" of {count}"
    return f"partial: {deadline.reason} when {seen}{of} windows were classified, up to {time_text(reached_s)}"


def _all(detector: Detector, recording: Recording, detecting: Detecting) -> Iterator[ScoredWindow | Detected]:
    """What the detector gives of the whole recording, or until it is stopped."""

    def prepared(block: FloatArray) -> tuple[FloatArray, FloatArray]:
        if isinstance(recording, SinglePassSound):
            recording.check(block)
        return block, detector.resampled(block)

    with closing(ahead(_pieces(recording), prepared)) as read:
        while True:
            # Waiting for what the other thread reads.
            with detecting.clock.stage("read"):
                pair = next(read, None)
            if pair is None:
                break
            yield from detector.take(*pair, at_once=False)
            if detecting.deadline.reason:
                break
    yield from detector.finish()


def _pieces(recording: Recording) -> Iterator[FloatArray]:
    """The recording at its own rate, in blocks of bounded size; one that is read once is not checked yet."""
    if isinstance(recording, SinglePassSound):
        yield from recording.unchecked_blocks()
        return
    for block in recording.input_blocks():
        size = block_samples(recording.input_channels)
        for start in range(0, block.shape[1], size):
            yield block[:, start : start + size]
