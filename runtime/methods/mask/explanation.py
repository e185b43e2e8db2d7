"""The mask of one sound, window by window, and the sound that it keeps.

The kept sound is the inverse STFT of expm1(M X) with the input's phase, for X = log1p(|S|).
"""

from __future__ import annotations

import numpy as np

from ...audio.overlap import OverlapAdd
from ...audio.sound import Restored
from ...audio.stft import energies_of, forward, gain_of_rest, inverse
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..evidence import Evidence, Located
from ..joining import StoredFrames
from ..protocol import Context, Sound
from ..rescoring import Rescoring
from .decoder import Decoded, decode
from .result import MaskResult
from .sounds import LiveSounds
from .spectrum import MaskedSpectrum, MaskedWindow
from .trust import Features, estimate, features_of, measured


class MaskExplanation:
    """The mask of one sound, window by window."""

    def __init__(self, context: Context, sound: Sound, target: int) -> None:
        self._context, self._sound, self._target = context, sound, target
        manifest = context.bundle.manifest
        self._spec, self._rate = manifest.analysis, manifest.sample_rate
        self._gain = manifest.mask_gain
        frames, bins = 1 + sound.samples // self._spec.hop, self._spec.n_fft // 2 + 1
        self._single = sound.windows == 1
        self._stored = None if self._single else StoredFrames(frames, bins, context.opened)
        self._values = np.zeros((0, bins), np.float32) if self._stored is None else self._stored.values
        self._frames, self._sum = frames, 0.0
        # The mask and its evidence together.
        self._mask_join = OverlapAdd((2, bins))
        self._sound_join = OverlapAdd((context.opened.input_channels,))
        self._restored = Restored(context.opened)
        # Where that of a single window lies is found when somebody asks.
        self._evidence = None if self._single else Evidence(frames, bins)
        self._only: MaskedWindow
        self._rescoring = Rescoring(context, target) if context.rescore else None
        self._silenced = 0
        self._trust = None if context.rescore else manifest.trust
        self._features: list[Features] = []

    def ask(self, window: Window) -> Decoded:
        """The decoder's mask for this window, empty where it would explain another class."""
        manifest = self._context.bundle.manifest
        if manifest.mask_targets == "predicted" and int(window.logits.argmax()) != self._target:
            self._silenced += 1
            return Decoded(np.zeros(window.batch.spectrum_shape[1:3], np.float32))
        sound = window.channels.shape[0] == 1 and self._context.makes_sound()
        return decode(self._context, window, self._target, sound=sound)

    def add(self, window: Window, decoded: Decoded) -> None:
        """See one more window."""
        masked = MaskedSpectrum(window, decoded.mask, self._gain)
        with self._context.clock.stage("mask to audio"):
            kept = self._kept(masked, decoded)
            if self._trust is not None:
                self._features.append(self._known(masked, decoded))
            if self._evidence is None:
                self._take(window, decoded.mask, kept)
            else:
                self._join(self._evidence, masked, kept)
        if self._rescoring is not None:
            removed = gain_of_rest(masked.gains, masked.mask, masked.amplitude, self._gain)
            self._rescoring.add(window, masked.spectrum, masked.gains, removed)

    def _take(self, window: Window, mask: FloatArray, kept: FloatArray) -> None:
        """The mask and the sound of the only window."""
        self._values = np.ascontiguousarray(mask[: self._frames])
        self._sum = float(self._values.sum(dtype=np.float64))
        samples = window.waveform.shape[-1]
        self._only = MaskedWindow(
            self._values, window.channels, window.level, samples, self._spec, self._rate
        )
        self._restored.push(kept)

    def _join(self, evidence: Evidence, masked: MaskedSpectrum, kept: FloatArray) -> None:
        """Those of one of several windows, added to the others."""
        window, frames = masked.window, 1 + kept.shape[-1] // self._spec.hop
        mask, amplitude = masked.mask[:frames], masked.amplitude[:frames]
        frame = round(window.offset / self._spec.hop)
        # All windows of a picture share the input's own level.
        evidence.show(frame, amplitude * np.float32(abs(window.level)))
        self._store(self._mask_join.add(frame, np.stack([mask.T, (mask * masked.logarithm[:frames]).T])))
        self._restored.push(self._sound_join.add(window.offset, kept))

    def finish(self) -> MaskResult:
        """The joined mask and sound."""
        with self._context.clock.stage("mask to audio"):
            if self._stored is not None:
                self._store(self._mask_join.finish())
                self._sum += float(self._stored.finish().sum(dtype=np.float64))
                self._restored.push(self._sound_join.finish())
            audio = self._restored.finish()
        spec, rate, labels = self._spec, self._rate, self._context.bundle.manifest.labels
        warnings = []
        if self._silenced:
            warnings.append(
                f"{self._silenced} of {self._sound.windows} windows were not classified as "
                f"{labels[self._target]!r}; their mask is empty: this decoder explains what is predicted"
            )
        rescored, trust = None, None
        if self._rescoring is not None:
            rescored = self._rescoring.scores()
            warnings += self._rescoring.warnings()
            trust = measured(rescored, labels[self._target], self._context.manifest.task)
        elif self._trust is not None:
            trust = estimate(self._trust, np.stack(self._features))
            warnings += trust.warnings(labels[self._target])
        return MaskResult(
            values=self._values,
            frame_s=(np.arange(len(self._values)) * (spec.hop / rate)).astype(np.float32),
            bin_hz=(np.arange(self._values.shape[1]) * (rate / spec.n_fft)).astype(np.float32),
            area=self._sum / self._values.size,
            _where=self._where(),
            _sounds=LiveSounds(audio, self._context.opened),
            rescored=rescored,
            trust=trust,
            warnings=tuple(warnings),
        )

    def _where(self) -> Located | MaskedWindow:
        """Where the evidence lies, or the window in which it is found."""
        if self._evidence is None:
            return self._only
        return self._evidence.located(self._spec, self._rate, self._sound.samples)

    def _known(self, masked: MaskedSpectrum, decoded: Decoded) -> Features:
        """What is known of a masked window, by which its mask is believed or not."""
        energies = decoded.energies
        if energies is None:
            energies = energies_of(masked.amplitude, masked.gains)
        task, area = self._context.manifest.task, float(masked.mask.mean(dtype=np.float64))
        return features_of(masked.window.logits, self._target, task, area=area, energies=energies)

    def _kept(self, masked: MaskedSpectrum, decoded: Decoded) -> FloatArray:
        """The kept sound of a window [channels, n] at the model's rate and the input's own level.

        The gain comes from the mix that the model classified and applies to every channel alike, so the
        mix of the kept channels is the kept mix.
        """
        window = masked.window
        (count, length), samples = window.channels.shape, window.waveform.shape[-1]
        if count == 1:
            kept = inverse(masked.kept, self._spec, samples) if decoded.kept is None else decoded.kept
            return kept[None, :length] * np.float32(window.level)
        padded = np.zeros((count, samples), np.float32)
        padded[:, :length] = window.channels
        return inverse(forward(padded, self._spec) * masked.gains, self._spec, samples)[:, :length]

    def _store(self, finished: FloatArray) -> None:
        """Append finished frames [2, bins, m] to the mask of the whole sound, and weigh their evidence."""
        if self._stored is None or self._evidence is None:
            return
        first = self._stored.filled
        block = self._stored.append(finished[0].T)
        self._evidence.weigh(first, finished[1].T[: len(block)])
        self._evidence.show(first, block, of_mask=True)
        self._sum += float(block.sum(dtype=np.float64))
