"""The first pass over a sound: scores of every window and of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from ..audio.scratch import releaser, scratch
from ..audio.sound import OpenSound
from ..engine import Engine
from ..inference.deadline import Deadline
from ..inference.scores import Aggregate, Clearest, scores_of
from ..inference.window import Clock, Window, Windowing, WindowPlan
from ..scores.windows import WindowScores
from ..values.arrays import FloatArray

# Classified windows (samples, spectra and taps) that are kept for the methods, in bytes; the rest of a long
# sound is classified again.
KEPT_BYTES = 128 << 20


class Classification(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What the classifier says of a sound.

    scores, logits: [K] of the whole sound; the logits are the mean over its windows
    windows: the scores of each; fewer than `count` where time was over
    count: how many windows the sound has
    kept: the first windows, as many as fit in memory
    warnings: labels that are clear in a window and lost in the whole
    """

    opened: OpenSound
    plan: WindowPlan
    scores: FloatArray
    logits: FloatArray
    windows: WindowScores
    count: int
    kept: tuple[Window, ...]
    warnings: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every window was classified."""
        return len(self.windows) == self.count

    def again(self, engine: Engine, clock: Clock) -> Iterator[Window]:
        """Every window once more, in order; those that were not kept are classified again."""
        yield from self.kept
        if len(self.kept) < self.count:
            state = self.kept[-1].next_state if self.kept else None
            yield from engine.pipeline.windows(self.opened, clock, self.plan, len(self.kept), state)


def classify(
    engine: Engine,
    opened: OpenSound,
    clock: Clock,
    windowing: Windowing,
    *,
    deadline: Deadline | None = None,
    keep_bytes: int = 0,
    first: Window | None = None,
) -> Classification:
    """Classify every window of a sound, in one pass: scores of each and of the whole.

    deadline: when to stop; at least one window is classified
    keep_bytes: windows of so many bytes stay in memory for `Classification.again`
    first: the sound's only window, where it is classified already
    Raises AudioError where the sound changed while it was read, BundleError where a graph cannot be run,
    MethodError where the hop is longer than a window.
    """
    manifest, rate = engine.manifest, engine.manifest.sample_rate
    plan = engine.pipeline.plan(opened, windowing)
    count = opened.window_count(plan.length, plan.hop, whole=plan.whole)
    how = engine.pipeline.aggregate(windowing)
    joined, logits, clearest = Aggregate(how), Aggregate("mean"), Clearest()
    # Those of a long sound lie in a file.
    scores = scratch((count, len(manifest.labels)), np.float32, long=opened.long)
    release = releaser(scores)
    spans = np.zeros((count, 2), np.float64)
    kept: list[Window] = []
    left, seen = keep_bytes, 0
    windows: Iterable[Window] = [first] if first is not None else engine.pipeline.windows(opened, clock, plan)
    for number, window in enumerate(windows):
        row = scores_of(window.logits, manifest.task)
        end = window.offset + window.channels.shape[-1]
        scores[number], spans[number] = row, (window.offset / rate, end / rate)
        release(row.nbytes)
        joined.add([row])
        logits.add([window.logits])
        clearest.add(row, window.offset, end - window.offset)
        left -= window.nbytes
        if left >= 0:
            kept.append(window)
        seen = number + 1
        if deadline is not None and seen < count and deadline.reached():
            break
    whole = joined.value()
    return Classification(
        opened=opened,
        plan=plan,
        scores=whole,
        logits=logits.value(),
        windows=WindowScores(
            tuple(manifest.labels), spans[:seen, 0], spans[:seen, 1], scores[:seen], manifest.task
        ),
        count=count,
        kept=tuple(kept),
        # A value holds nowhere, so none is lost in a mean.
        warnings=()
        if manifest.task == "regression"
        else tuple(clearest.warnings(whole, manifest.labels, rate, how)),
    )
