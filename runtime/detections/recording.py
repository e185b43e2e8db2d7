"""All detections of one recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import numpy as np

from ..arrays import FloatArray
from ..audio.scratch import releaser, scratch
from ..audio.sound import OpenSound
from ..audio.source import BLOCK
from ..engine import Engine
from ..explaining.request import Request
from ..inference.window import Clock
from ..observing import Observation, tell
from ..windows import WindowScores
from .detection import Detection, Detections, ScoredWindow
from .detector import Detected, Detecting, Detector
from .reading import ahead
from .recent import Stretch
from .settings import DetectionSettings

# Called with each detection and the sound of its windows, as soon as it has ended.
OnDetection = Callable[[Detection, Stretch], None]
# Called with the seconds that are classified, and those there are.
Progress = Callable[[float, float], None]


def detect(
    engine: Engine,
    opened: OpenSound,
    clock: Clock,
    settings: DetectionSettings,
    request: Request,
    *,
    recorded_at: datetime | None = None,
    on_detection: OnDetection | None = None,
    progress: Progress | None = None,
) -> Detections:
    """Classify every window of a recording once, and explain what is detected.

    Args:
        engine: The open bundle.
        opened: The recording.
        clock: Counts the time of each stage.
        settings: What counts as a detection.
        request: How detections are explained, and how long all of it may take.
        recorded_at: When the recording began.
        on_detection: Takes each detection; what is returned then holds no explanations.
        progress: Is told how far it is.

    Returns:
        The detections.

    Raises:
        EarmarkError: As `Explainer.detect` says.

    """
    plan = engine.pipeline.plan(opened, request.windowing)
    count = opened.window_count(plan.length, plan.hop)
    deadline = request.deadline()
    detecting = Detecting(
        engine=engine,
        settings=settings,
        request=request,
        recording=opened.name,
        rate=opened.input_rate,
        channels=opened.input_channels,
        flat=opened.flat,
        divisor=plan.divisor,
        deadline=deadline,
        clock=clock,
        clips=on_detection is not None,
    )
    detector = Detector(detecting)
    # Those of a long recording lie in a file.
    scores = scratch((count, len(detector.labels)), np.float32, opened=opened)
    release = releaser(scores)
    spans = np.zeros((count, 2), np.float64)
    items: list[Detection] = []
    for one in _all(detector, opened, detecting):
        if isinstance(one, ScoredWindow):
            scores[one.number], spans[one.number] = one.scores, (one.start_s, one.end_s)
            release(one.scores.nbytes)
            if progress is not None:
                progress(one.end_s, opened.seconds)
        elif on_detection is not None and one.clip is not None:
            on_detection(one.detection, one.clip)
            items.append(replace(one.detection, explanation=None))
        else:
            items.append(one.detection)
    seen = detector.number
    warnings = [*engine.sessions.warnings, *opened.warnings]
    if seen < count:
        warnings.append(
            f"partial: {deadline.reason} when {seen} of {count} windows were classified, up to "
            f"{spans[max(0, seen - 1), 1]:.2f} s"
        )
    elif deadline.reason:
        warnings.append(f"partial: {deadline.reason} before every detection was explained")
    detections = Detections(
        input=opened.name,
        items=tuple(sorted(items, key=lambda one: (one.start_s, one.label))),
        windows=WindowScores(detector.labels, spans[:seen, 0], spans[:seen, 1], scores[:seen]),
        settings=settings,
        duration_s=opened.seconds,
        sample_rate=opened.input_rate,
        channel_count=opened.input_channels,
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
        input=opened.name,
        bundle=engine.manifest.name,
        device=engine.device,
        duration_s=opened.seconds,
        windows=seen,
        answers=len(items),
        timings=dict(clock.milliseconds),
    )
    tell(observation)
    return detections


def _all(detector: Detector, opened: OpenSound, detecting: Detecting) -> Iterator[ScoredWindow | Detected]:
    """What the detector gives of the whole recording, or until it is stopped."""
    pairs = ((block, detector.resampled(block)) for block in _pieces(opened))
    with closing(ahead(pairs)) as read:
        for block, resampled in read:
            yield from detector.take(block, resampled, at_once=False)
            if detecting.deadline.reason:
                break
    yield from detector.finish()


def _pieces(opened: OpenSound) -> Iterator[FloatArray]:
    """The recording at its own rate, in blocks of bounded size."""
    for block in opened.input_blocks():
        for start in range(0, block.shape[1], BLOCK):
            yield block[:, start : start + BLOCK]
