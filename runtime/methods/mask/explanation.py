"""The mask of one sound, window by window, and the sound that it keeps.

The kept sound is the inverse STFT of expm1(M X) with the input's phase, for X = log1p(|S|).
"""

from __future__ import annotations

import numpy as np

from ...audio.overlap import OverlapAdd
from ...audio.sound import Restored
from ...audio.stft import as_complex, forward, gain, gain_of_rest, inverse
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..evidence import Evidence
from ..joining import StoredFrames
from ..protocol import Context, Sound
from ..rescoring import Rescoring
from .decoder import decode, decode_sound
from .result import MaskResult
from .sounds import LiveSounds
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
        self._sound_join = OverlapAdd((sound.input_channels,))
        self._restored = Restored(context.opened)
        self._evidence = Evidence(frames, bins)
        self._rescoring = Rescoring(context, target) if context.rescore else None
        self._silenced = 0
        self._asked: tuple[FloatArray, FloatArray | None] | None = None
        self._trust = manifest.trust
        self._features: list[Features] = []

    def ask(self, window: Window) -> None:
        """Run the decoder on the next window."""
        self._asked = self._mask_of(window)

    def add(self, window: Window) -> None:
        """See one more window."""
        context = self._context
        spectrum = as_complex(window.stft)
        asked, self._asked = self._asked, None
        mask, made = self._mask_of(window) if asked is None else asked
        with context.clock.stage("mask to audio"):
            amplitude = np.abs(spectrum)
            logarithm = np.log1p(amplitude)
            trusting = self._trust is not None and self._rescoring is None
            # Sound that was made where the decoder ran needs no gains here.
            needed = made is None or trusting or self._rescoring is not None
            gains = gain(mask, amplitude, self._gain, logarithm) if needed else mask
            if trusting:
                self._features.append(self._known(window, mask, gains, amplitude))
            kept = self._kept(window, spectrum, gains, made)
        real = kept.shape[-1]
        frames = 1 + real // self._spec.hop
        frame, sounding = self._frame(window.offset), amplitude[:frames]
        # All windows of a picture share the input's own level.
        self._evidence.show(frame, sounding * np.float32(abs(window.level)))
        evidence = mask[:frames] * logarithm[:frames]
        if self._single:
            self._evidence.weigh(frame, evidence)
            self._evidence.show(frame, mask[:frames], of_mask=True)
            self._values = np.ascontiguousarray(mask[: self._frames])
            self._sum = float(self._values.sum(dtype=np.float64))
            self._restored.push(kept)
        else:
            both = np.stack([mask[:frames].T, evidence.T])
            self._store(self._mask_join.add(frame, both))
            self._restored.push(self._sound_join.add(window.offset, kept))
        if self._rescoring is not None:
            removed = gain_of_rest(gains, mask, amplitude, self._gain)
            self._rescoring.add(window, spectrum, gains, removed)

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
        elif self._trust is not None and self._features:
            trust = estimate(self._trust, np.stack(self._features))
            warnings += trust.warnings(labels[self._target])
        return MaskResult(
            values=self._values,
            frame_s=(np.arange(len(self._values)) * (spec.hop / rate)).astype(np.float32),
            bin_hz=(np.arange(self._values.shape[1]) * (rate / spec.n_fft)).astype(np.float32),
            area=self._sum / self._values.size,
            spans=self._evidence.spans(spec.hop / rate, self._sound.samples / rate),
            band=self._evidence.band(rate / spec.n_fft),
            overview=self._evidence.overview(),
            _sounds=LiveSounds(audio, self._context.opened),
            rescored=rescored,
            trust=trust,
            warnings=tuple(warnings),
        )

    def _known(self, window: Window, mask: FloatArray, gains: FloatArray, amplitude: FloatArray) -> Features:
        """What is known of a masked window, by which its mask is believed or not."""
        task = self._context.manifest.task
        return features_of(window.logits, self._target, task, mask=mask, gains=gains, amplitude=amplitude)

    def _mask_of(self, window: Window) -> tuple[FloatArray, FloatArray | None]:
        """The decoder's mask [T, F] for this window, empty where it would explain another class.

        And the mono sound that it keeps [N], at the model's level, if it is made on the device.
        """
        manifest = self._context.bundle.manifest
        if manifest.mask_targets == "predicted" and int(window.logits.argmax()) != self._target:
            self._silenced += 1
            return np.zeros(window.stft.shape[:2], np.float32), None
        if window.channels.shape[0] == 1 and self._context.makes_sound():
            return decode_sound(self._context, window, self._target)
        return decode(self._context, window, self._target), None

    def _kept(
        self, window: Window, spectrum: np.ndarray, gains: FloatArray, made: FloatArray | None
    ) -> FloatArray:
        """The kept sound of this window [channels, n] at the model's rate and the input's own level.

        The gain comes from the mix that the model classified and applies to every channel alike, so the
        mix of the kept channels is the kept mix.
        """
        length = window.channels.shape[-1]
        if window.channels.shape[0] == 1:
            kept = inverse(spectrum * gains, self._spec, window.waveform.shape[-1]) if made is None else made
            return kept[None, :length] * np.float32(window.level)
        padded = np.zeros((window.channels.shape[0], window.waveform.shape[-1]), np.float32)
        padded[:, :length] = window.channels
        return inverse(forward(padded, self._spec) * gains, self._spec, padded.shape[-1])[:, :length]

    def _frame(self, offset: int) -> int:
        return round(offset / self._spec.hop)

    def _store(self, finished: FloatArray) -> None:
        """Append finished frames [2, bins, m] to the mask of the whole sound, and weigh their evidence."""
        if self._stored is None:
            return
        first = self._stored.filled
        block = self._stored.append(finished[0].T)
        self._evidence.weigh(first, finished[1].T[: len(block)])
        self._evidence.show(first, block, of_mask=True)
        self._sum += float(block.sum(dtype=np.float64))
