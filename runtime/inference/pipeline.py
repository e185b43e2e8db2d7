"""The windows of a sound at the level of the model's own pipeline, through front end and classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal

import numpy as np

from ...errors import BundleError, MethodError
from ..audio.lengths import longest_window, samples_at_least, samples_of
from ..audio.level import LevelMeter, level_of, levelled, mixed
from ..audio.sound import OpenSound
from ..audio.stft import frame_count
from ..bundle.manifest import Aggregation, LevelOver, Manifest
from ..bundle.open import Bundle
from ..values.arrays import FloatArray
from .chain import Chain, Classifier, ForwardPass, RunStage
from .session import Sessions, Tensors
from .spectrum import FourierStages
from .tensors import Feeds, Tensor
from .window import Clock, Window, Windowing, WindowPlan

# Windows that go through the classifier together; more would cost memory and save nothing on a CPU.
BATCH = 4
# Recordings of floats rarely pass full scale by 20 dB.
_LOUDEST = 10.0

Precision = Literal["fp32", "int8"]
_CLASSIFIERS: dict[Precision, Classifier] = {"fp32": "classifier", "int8": "classifier_int8"}


class ModelPipeline:
    """Front end and classifier of one bundle over the windows of sounds."""

    def __init__(self, bundle: Bundle, sessions: Sessions) -> None:
        self._manifest = manifest = bundle.manifest
        self._stages = stages = FourierStages(sessions, manifest)
        self._chain = Chain(stages.run, manifest.analysis, manifest.rescore, stages.keep)
        self._taps = taps_used(manifest)
        self._rate = rate = manifest.sample_rate
        frame = manifest.analysis.hop
        # Length and hop of a window in samples. Masked sound is joined to the sample; only a mask's picture
        # is joined in frames, each at the nearest.
        self.length = max(1, samples_of(manifest.window.seconds, rate))
        self.hop = max(frame, samples_of(manifest.window.hop_seconds, rate))
        self.state_size = manifest.state_size
        self._shortest = samples_at_least(manifest.window.minimum_seconds, rate)

    def plan(self, opened: OpenSound, windowing: Windowing) -> WindowPlan:
        """How this sound is cut into windows and levelled; one hardly longer than a window is one.

        A level over the recording reads all of the sound once. Raises MethodError for a hop that leaves gaps.
        """
        whole = not self.state_size
        one = whole and self.length < opened.samples <= longest_window(self.length)
        length = opened.samples if one else self.length
        state = self.first_state if windowing.state is None else windowing.state
        hop, divisor = self.hop_of(windowing), self.divisor(opened, windowing)
        return WindowPlan(length, hop, self._shortest, divisor, whole, state)

    @property
    def first_state(self) -> FloatArray | None:
        """What a recurrent classifier begins a recording with, [1, S]; None where it has no state."""
        return np.zeros((1, self.state_size), np.float32) if self.state_size else None

    def hop_of(self, windowing: Windowing) -> int:
        """Samples from one window to the next. Raises MethodError where windows would leave gaps."""
        hop = self.hop if windowing.hop_s is None else max(1, samples_of(windowing.hop_s, self._rate))
        if hop > self.length:
            raise MethodError(
                f"hop_s is {windowing.hop_s:g}: windows of {self.length / self._rate:g} s would leave gaps; "
                "give at most their length"
            )
        if self.state_size and hop != self.length:
            raise MethodError(
                f"hop_s is {windowing.hop_s:g}: {self._manifest.name} hands its state from each window to "
                f"the next, so windows of {self.length / self._rate:g} s do not overlap; leave hop_s out"
            )
        return hop

    def aggregate(self, windowing: Windowing) -> Aggregation:
        """How the scores of windows are joined."""
        return windowing.aggregate or self._manifest.window.aggregate

    def windows(
        self,
        opened: OpenSound,
        clock: Clock,
        plan: WindowPlan,
        first: int = 0,
        state: FloatArray | None = None,
    ) -> Iterator[Window]:
        """The windows of the sound after the classifier, in order, from the number `first` on.

        state: what the window before that one left; None: as the plan says
        """
        windows = islice(opened.windows(plan.length, plan.hop, whole=plan.whole), first, None)
        state = plan.state if state is None else state
        while batch := list(islice(windows, BATCH)):
            for window in self.classified(batch, clock, plan.divisor, state=state):
                yield window
                state = window.next_state

    def level_over(self, windowing: Windowing) -> LevelOver:
        """Over what the gain of the model's own pipeline is measured."""
        if self._manifest.level == "none":
            return "none"
        return windowing.level or self._manifest.window.level_over

    def loudness_warnings(self, peak: float, windowing: Windowing) -> list[str]:
        """What to say of sound far above full scale, such as integers as floats, where its level counts."""
        if peak <= _LOUDEST or self.level_over(windowing) != "none":
            return []
        return [
            f"the sound's peak is {peak:.4g}, and the model gets it as loud as it is: give sound within "
            "[-1, 1], integers as they are or divided by their range"
        ]

    def divisor(self, opened: OpenSound, windowing: Windowing) -> float | None:
        """What all windows are divided by; None where each has a level of its own."""
        if windowing.divisor is not None:
            return windowing.divisor
        over = self.level_over(windowing)
        if over == "none":
            return 1.0
        # A sound of one window is its own recording.
        if over == "window" or opened.samples <= longest_window(self.length):
            return None
        meter = LevelMeter(self._manifest.level)
        for block in opened.model_blocks():
            meter.add(mixed(block))
        return meter.level

    def together(
        self, items: Sequence[object], clocks: Sequence[Clock], windowing: Windowing
    ) -> list[Window | None]:
        """The single windows of those items that are sounds, those of equal length in one batch."""
        groups: dict[tuple[int, float | None], list[tuple[int, tuple[int, FloatArray]]]] = {}
        ready: list[Window | None] = [None] * len(items)
        for index, item in enumerate(items):
            # A long sound is not held for its neighbours' sake.
            longest = self.length if self.state_size else longest_window(self.length)
            if isinstance(item, OpenSound) and item.samples <= longest and not item.long:
                try:
                    plan = self.plan(item, windowing)
                    window = next(iter(item.windows(plan.length, plan.hop)))
                except Exception:  # noqa: S112
                    # Resampling may fail: it is tried again alone, and answers for itself.
                    continue
                groups.setdefault((window[1].shape[-1], plan.divisor), []).append((index, window))
        for (_, divisor), members in groups.items():
            clock = Clock()
            try:
                together = list(self.classified([window for _, window in members], clock, divisor))
            except Exception:  # noqa: S112
                # One of them is at fault, or all are too much at once: each is classified alone later, and
                # answers for itself.
                continue
            for (index, _), one in zip(members, together, strict=True):
                ready[index] = one
            clock.share([clocks[index] for index, _ in members])
        return ready

    def classified(
        self,
        windows: Sequence[tuple[int, FloatArray]],
        clock: Clock,
        divisor: float | None,
        precision: Precision = "fp32",
        state: FloatArray | None = None,
    ) -> Iterator[Window]:
        """Classify windows of one length as one batch, or one by one where a state goes through them.

        windows: pairs (offset, channels [C, n]); divisor: as of a `WindowPlan`; precision "int8": by the
            quantised classifier, which has no feature maps; state: what a recurrent classifier begins the
            first one with, [1, S]; None: each is a sound of its own
        """
        levelled = [self._levelled(channels, divisor) for _, channels in windows]
        stacked = np.stack([wave for wave, _ in levelled])
        index = 0
        chain, classifier = self._counted(clock), _CLASSIFIERS[precision]
        answers: Iterable[ForwardPass]
        if state is None:
            answers = chain.forward_parts(stacked, classifier)
        else:
            answers = chain.in_turn(stacked, state, classifier)
        for answer in answers:
            self._check(answer)
            for row, waveform in enumerate(answer.waveforms):
                offset, channels = windows[index]
                yield Window(waveform, channels, offset, answer, row, levelled[index][1])
                index += 1

    def _counted(self, clock: Clock) -> Chain:
        """Front end and classifier, with their time counted."""
        manifest = self._manifest

        def keep(stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> Mapping[str, Tensor]:
            with clock.stage(stage):
                return self._stages.keep(stage, feeds, outputs)

        return Chain(self.runner(clock), manifest.analysis, manifest.rescore, keep, self._taps)

    def _check(self, answer: ForwardPass) -> None:
        """Raise BundleError for logits or a spectrogram of other dims than the manifest's."""
        manifest, sounds = self._manifest, len(answer.waveforms)
        self._checked(answer.logits, sounds)
        frames = frame_count(answer.waveforms.shape[1], manifest.analysis)
        shape = (sounds, frames, manifest.analysis.n_fft // 2 + 1, 2)
        if answer.spectrum_shape != shape:
            raise BundleError(
                f"{manifest.name}: the front end gives {list(answer.spectrum_shape)}, the spectrogram is "
                f"{list(shape)}; export the bundle again"
            )

    def logits_of(
        self, waveforms: FloatArray, precision: Precision = "fp32", state: FloatArray | None = None
    ) -> FloatArray:
        """Waveforms [B, N] at the model's rate and level -> logits [B, K]; nothing is levelled or padded.

        precision "int8": by the quantised classifier. Raises MethodError where the bundle has none.
        state: what a recurrent classifier begins each with, [1, S]; None: as at the beginning of a sound
        """
        if precision == "int8" and self._manifest.stage("classifier_int8") is None:
            raise MethodError(no_int8(self._manifest))
        return self._checked(self._chain.logits_of(waveforms, _CLASSIFIERS[precision], state), len(waveforms))

    def logits_of_spectra(self, spectra: FloatArray) -> FloatArray:
        """Listenable STFTs [B, T, F, 2] -> logits [B, K]. Raises MethodError where they cannot re-enter."""
        if self._manifest.rescore != "spectrogram":
            raise MethodError(
                f"{self._manifest.name}: this model takes features of its own, so a masked spectrogram "
                "cannot be classified; judge by listening instead"
            )
        return self._checked(self._chain.logits(spectra), len(spectra))

    def _checked(self, logits: FloatArray, sounds: int) -> FloatArray:
        """Raise BundleError where there is not one logit a sound and label."""
        manifest = self._manifest
        if logits.shape != (sounds, len(manifest.labels)):
            raise BundleError(
                f"{manifest.name}: the classifier gives logits {list(logits.shape)} for {sounds} sounds and "
                f"{len(manifest.labels)} labels; export the bundle again"
            )
        return logits

    def _levelled(self, channels: FloatArray, divisor: float | None) -> tuple[FloatArray, float]:
        """The mono mix at the model's level, zero-padded to the shortest length it takes, and the divisor."""
        level = level_of(mixed(channels), self._manifest.level) if divisor is None else divisor
        return levelled(channels, level, self._shortest), level

    def makes_sound(self) -> bool:
        """Whether the decoder may be asked for "kept" as well, see `FourierStages`."""
        return self._stages.makes_sound()

    def runner(self, clock: Clock) -> RunStage:
        """`Sessions.run` with its time counted."""

        def run(stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> Tensors:
            with clock.stage(stage):
                return self._stages.run(stage, feeds, outputs)

        return run


def taps_used(manifest: Manifest) -> tuple[str, ...]:
    """The feature maps that anything behind the classifier takes; a map that nothing takes is not copied."""
    used = {tensor.name for stage in manifest.stages for tensor in stage.inputs}
    if manifest.feature_map is not None:
        used.update(manifest.feature_map.taps)
    classifier = manifest.stage("classifier")
    given = [] if classifier is None else [tensor.name for tensor in classifier.outputs]
    return tuple(name for name in given if name in used and name != "logits")


def no_int8(manifest: Manifest) -> str:
    """What a bundle without a quantised classifier says where it is asked for."""
    return f"{manifest.name}: has no int8 classifier; export it with --int8 --calibration DIR, or use fp32"
