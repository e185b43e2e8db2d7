"""How the model hears: a sound's windows at the pipeline's level, through front end and classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np

from ...errors import BundleError, MethodError
from ..arrays import FloatArray
from ..audio.lengths import longest_window, samples_at_least, samples_of
from ..audio.level import level_of
from ..audio.sound import OpenSound
from ..audio.stft import frame_count
from ..bundle.manifest import Manifest
from ..bundle.open import Bundle
from .chain import Chain, Classifier, RunStage
from .session import Arrays, Sessions, Tensors
from .window import Clock, Window, WindowPlan

# Windows that go through the classifier together; more would cost memory and save nothing on a CPU.
BATCH = 4

Precision = Literal["fp32", "int8"]
_CLASSIFIERS: dict[Precision, Classifier] = {"fp32": "classifier", "int8": "classifier_int8"}


class Hearing:
    """Front end and classifier of one bundle over the windows of sounds."""

    def __init__(self, bundle: Bundle, sessions: Sessions) -> None:
        self._manifest = manifest = bundle.manifest
        self._sessions = sessions
        self._chain = Chain(sessions.run, manifest.analysis, manifest.rescore)
        rate, frame = manifest.sample_rate, manifest.analysis.hop
        # Length and hop of a window in samples. Masked sound is joined to the sample; only a mask's picture
        # is joined in frames, each at the nearest.
        self.length = max(1, samples_of(manifest.window.seconds, rate))
        self.hop = max(frame, samples_of(manifest.window.hop_seconds, rate))
        self._shortest = samples_at_least(manifest.window.minimum_seconds, rate)

    def window_count(self, opened: OpenSound) -> int:
        """How many windows the sound has."""
        plan = self.plan(opened)
        return opened.window_count(plan.length, plan.hop)

    def windows(self, opened: OpenSound, clock: Clock) -> Iterator[Window]:
        """Every window of the sound after the classifier, in order."""
        plan = self.plan(opened)
        windows = opened.windows(plan.length, plan.hop)
        while batch := list(islice(windows, BATCH)):
            yield from self._hear(batch, clock)

    def plan(self, opened: OpenSound) -> WindowPlan:
        """How this sound is cut into windows; one that is hardly longer than a window is one."""
        one = self.length < opened.samples <= longest_window(self.length)
        return WindowPlan(opened.samples if one else self.length, self.hop, self._shortest)

    def together(self, items: Sequence[object], clocks: Sequence[Clock]) -> list[Window | None]:
        """The single windows of those items that are sounds, heard together where they are equally long."""
        groups: dict[int, list[tuple[int, tuple[int, FloatArray]]]] = {}
        heard: list[Window | None] = [None] * len(items)
        for index, item in enumerate(items):
            # A long sound is not held for its neighbours' sake.
            if isinstance(item, OpenSound) and not item.long and self.window_count(item) == 1:
                plan = self.plan(item)
                try:
                    window = next(iter(item.windows(plan.length, plan.hop)))
                except Exception:  # noqa: S112
                    # Resampling may fail: it is tried again alone, and answers for itself.
                    continue
                groups.setdefault(window[1].shape[-1], []).append((index, window))
        for members in groups.values():
            clock = Clock()
            try:
                together = list(self._hear([window for _, window in members], clock))
            except Exception:  # noqa: S112
                # One of them is at fault, or all are too much at once: each is heard alone later, and
                # answers for itself.
                continue
            for (index, _), one in zip(members, together, strict=True):
                heard[index] = one
            for index, _ in members:
                for stage, taken in clock.milliseconds.items():
                    clocks[index].milliseconds[stage] = taken / len(members)
        return heard

    def _hear(self, windows: Sequence[tuple[int, FloatArray]], clock: Clock) -> Iterator[Window]:
        """Windows of one length through front end and classifier, as one batch."""
        manifest = self._manifest
        levelled = [self._levelled(channels) for _, channels in windows]
        stacked = np.stack([wave for wave, _ in levelled])
        answer = Chain(self.runner(clock), manifest.analysis, manifest.rescore).forward(stacked)
        _check_logits(manifest, answer.logits, len(stacked))
        shape = (
            len(stacked),
            frame_count(stacked.shape[1], manifest.analysis),
            manifest.analysis.n_fft // 2 + 1,
        )
        if answer.stft.shape != (*shape, 2):
            raise BundleError(
                f"{manifest.name}: the front end gives {list(answer.stft.shape)}, the spectrogram is "
                f"{[*shape, 2]}; export the bundle again"
            )
        for index, (offset, channels) in enumerate(windows):
            yield Window(
                waveform=stacked[index],
                channels=channels,
                offset=offset,
                stft=answer.stft[index],
                logits=answer.logits[index],
                taps={name: tap[index : index + 1] for name, tap in answer.taps.items()},
                level=levelled[index][1],
            )

    def logits_of(self, waveforms: FloatArray, precision: Precision = "fp32") -> FloatArray:
        """Waveforms [B, N] at the model's rate and level -> logits [B, K]; nothing is levelled or padded.

        precision "int8": by the quantised classifier. Raises MethodError where the bundle has none.
        """
        if precision == "int8" and self._manifest.stage("classifier_int8") is None:
            raise MethodError(
                f"{self._manifest.name}: has no int8 classifier; export it with --int8 --calibration DIR, "
                "or use fp32"
            )
        return self._checked(self._chain.logits_of(waveforms, _CLASSIFIERS[precision]), len(waveforms))

    def logits_of_spectra(self, spectra: FloatArray) -> FloatArray:
        """Listenable STFTs [B, T, F, 2] -> logits [B, K]. Raises MethodError where they cannot re-enter."""
        if self._manifest.rescore != "spectrogram":
            raise MethodError(
                f"{self._manifest.name}: this model eats features of its own, so a masked spectrogram cannot "
                "be heard; judge by listening instead"
            )
        return self._checked(self._chain.logits(spectra), len(spectra))

    def _checked(self, logits: FloatArray, sounds: int) -> FloatArray:
        _check_logits(self._manifest, logits, sounds)
        return logits

    def _levelled(self, channels: FloatArray) -> tuple[FloatArray, float]:
        """The mono mix as the model hears it, zero-padded to the shortest length it takes, and its level."""
        mono = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
        level = level_of(mono, self._manifest.level)
        if level != 1.0:
            mono = mono / np.float32(level)
        missing = self._shortest - len(mono)
        return (np.pad(mono, (0, missing)) if missing > 0 else mono), level

    def runner(self, clock: Clock) -> RunStage:
        """`Sessions.run` with its time counted."""

        def run(stage: str, feeds: Arrays, outputs: Sequence[str] | None = None) -> Tensors:
            with clock.stage(stage):
                return self._sessions.run(stage, feeds, outputs)

        return run


def _check_logits(manifest: Manifest, logits: FloatArray, sounds: int) -> None:
    """Raise BundleError where there is not one logit a sound and label."""
    if logits.shape != (sounds, len(manifest.labels)):
        raise BundleError(
            f"{manifest.name}: the classifier gives logits {list(logits.shape)} for {sounds} sounds and "
            f"{len(manifest.labels)} labels; export the bundle again"
        )
