"""How the model hears: a sound's windows at the pipeline's level, through front end and classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np

from ...errors import BundleError, MethodError
from ..arrays import FloatArray
from ..audio.level import level_of
from ..audio.sound import OpenSound
from ..audio.stft import as_pairs, forward, frame_count
from ..bundle.manifest import Manifest
from ..bundle.open import Bundle
from .session import Sessions
from .window import Clock, Window

# Windows that go through the classifier together; more would cost memory and save nothing on a CPU.
BATCH = 4
# Sound longer than a window by no more than this share of it is heard in one: decoders often add a
# few samples (nearly all of ESC-50's 5 s clips have 5.001 s), and a second window would only double the work.
_MARGIN = 0.01

Precision = Literal["fp32", "int8"]
_CLASSIFIERS: dict[Precision, str] = {"fp32": "classifier", "int8": "classifier_int8"}


class Hearing:
    """Front end and classifier of one bundle over the windows of sounds."""

    def __init__(self, bundle: Bundle, sessions: Sessions) -> None:
        self._manifest = manifest = bundle.manifest
        self._sessions = sessions
        rate, frame = manifest.sample_rate, manifest.analysis.hop
        # Length and hop of a window in samples. Masked sound is joined to the sample; only a mask's picture
        # is joined in frames, each at the nearest.
        self.length = max(1, round(manifest.window.seconds * rate))
        self.hop = max(frame, round(manifest.window.hop_seconds * rate))

    def window_count(self, opened: OpenSound) -> int:
        """How many windows the sound has."""
        return opened.window_count(*self._plan(opened))

    def windows(self, opened: OpenSound, clock: Clock) -> Iterator[Window]:
        """Every window of the sound after the classifier, in order."""
        windows = opened.windows(*self._plan(opened))
        while batch := list(islice(windows, BATCH)):
            yield from self._hear(batch, clock)

    def _plan(self, opened: OpenSound) -> tuple[int, int]:
        """Length and hop of this sound's windows."""
        longest = self.length + int(_MARGIN * self.length)
        return (opened.samples if self.length < opened.samples <= longest else self.length), self.hop

    def together(self, items: Sequence[object], clocks: Sequence[Clock]) -> list[Window | None]:
        """The single windows of those items that are sounds, heard together where they are equally long."""
        groups: dict[int, list[tuple[int, tuple[int, FloatArray]]]] = {}
        heard: list[Window | None] = [None] * len(items)
        for index, item in enumerate(items):
            # A long sound is not held for its neighbours' sake.
            if isinstance(item, OpenSound) and not item.long and self.window_count(item) == 1:
                window = next(iter(item.windows(*self._plan(item))))
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
        manifest, run = self._manifest, self.runner(clock)
        levelled = [self._levelled(channels) for _, channels in windows]
        stacked = np.stack([wave for wave, _ in levelled])
        front = run("frontend", {"waveform": stacked})
        made = next(iter(front.values()))
        stage = manifest.stage("classifier")
        answers = run("classifier", {stage.inputs[0].name if stage else "stft": made})
        logits = answers.pop("logits")
        _check_logits(manifest, logits, len(stacked))
        spectral = manifest.rescore == "spectrogram"
        shape = (
            len(stacked),
            frame_count(stacked.shape[1], manifest.analysis),
            manifest.analysis.n_fft // 2 + 1,
        )
        if spectral and made.shape != (*shape, 2):
            raise BundleError(
                f"{manifest.name}: the front end gives {list(made.shape)}, the spectrogram is {[*shape, 2]}; "
                "export the bundle again"
            )
        spectra = made if spectral else as_pairs(forward(stacked, manifest.analysis))
        for index, (offset, channels) in enumerate(windows):
            yield Window(
                waveform=stacked[index],
                channels=channels,
                offset=offset,
                stft=spectra[index],
                logits=logits[index],
                taps={name: tap[index : index + 1] for name, tap in answers.items()},
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
        made = self._sessions.run("frontend", {"waveform": waveforms})
        return self._classify(next(iter(made.values())), _CLASSIFIERS[precision])

    def logits_of_spectra(self, spectra: FloatArray) -> FloatArray:
        """Listenable STFTs [B, T, F, 2] -> logits [B, K]. Raises MethodError where they cannot re-enter."""
        if self._manifest.rescore != "spectrogram":
            raise MethodError(
                f"{self._manifest.name}: this model eats features of its own, so a masked spectrogram cannot "
                "be heard; judge by listening instead"
            )
        return self._classify(spectra)

    def _classify(self, features: FloatArray, classifier: str = "classifier") -> FloatArray:
        """What the front end makes -> logits [B, K]."""
        stage = self._manifest.stage(classifier)
        name = stage.inputs[0].name if stage else "stft"
        logits = self._sessions.run(classifier, {name: features}, ["logits"])["logits"]
        _check_logits(self._manifest, logits, len(features))
        return logits

    def _levelled(self, channels: FloatArray) -> tuple[FloatArray, float]:
        """The mono mix as the model hears it, zero-padded to the shortest length it takes, and its level."""
        mono = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
        level = level_of(mono, self._manifest.level)
        if level != 1.0:
            mono = mono / np.float32(level)
        missing = math.ceil(self._manifest.window.minimum_seconds * self._manifest.sample_rate) - len(mono)
        return (np.pad(mono, (0, missing)) if missing > 0 else mono), level

    def runner(self, clock: Clock) -> Any:
        """`Sessions.run` with its time counted."""

        def run(stage: str, *arguments: Any) -> Any:
            with clock.stage(stage):
                return self._sessions.run(stage, *arguments)

        return run


def _check_logits(manifest: Manifest, logits: FloatArray, sounds: int) -> None:
    """Raise BundleError where there is not one logit a sound and label."""
    if logits.shape != (sounds, len(manifest.labels)):
        raise BundleError(
            f"{manifest.name}: the classifier gives logits {list(logits.shape)} for {sounds} sounds and "
            f"{len(manifest.labels)} labels; export the bundle again"
        )
