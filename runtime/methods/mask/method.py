"""L-MAC at run time: the decoder's mask over the listenable STFT, and the sound that it keeps.

Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers", ICML 2024, section 3: the mask
M multiplies the log-magnitude X = log1p(|S|); what is heard is the inverse STFT of expm1(M X) with
the input's phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from ....errors import BundleError, MethodError, TargetError
from ...arrays import FloatArray
from ...audio.overlap import OverlapAdd
from ...audio.sound import OpenSound, Restored, releaser, residual, scratch
from ...audio.stft import as_complex, forward, gain, inverse
from ...bundle.manifest import Manifest
from ...inference.session import Tensors
from ...inference.window import Window
from ...lazy import lazy_property
from ...records import ResultRecord
from ..evidence import Evidence, Overview
from ..protocol import Answer, Context, Sound, refuse_unknown
from ..rescoring import MaskedScores


@dataclass(frozen=True, eq=False, repr=False)
class MaskResult(ResultRecord):
    """Which part of the sound made the model say so.

    values: [frames, bins] 0..1; long sound: a file-backed float16 array that goes with the result
    audio: the kept sound at the input's rate and length, [channels, samples], or [samples] where the
        input was such an array; what lies above half the model's rate is in the residual
    frame_s [frames]: centre of each frame in seconds; bin_hz [bins]: of each bin in Hz
    area: mean of the mask; spans: when the evidence lies, (start_s, end_s); band: the central 80 % of
        it over frequency, (low_hz, high_hz)
    """

    values: FloatArray
    frame_s: FloatArray
    bin_hz: FloatArray
    area: float
    spans: tuple[tuple[float, float], ...]
    band: tuple[float, float]
    overview: Overview = field(repr=False, compare=False)
    _kept: FloatArray = field(repr=False)
    _opened: OpenSound = field(repr=False, compare=False)

    @property
    def audio(self) -> FloatArray:
        """The kept sound."""
        return self._kept[0] if self._opened.flat else self._kept

    @property
    def residual(self) -> FloatArray:
        """The removed sound: input - kept, in the shape of `audio`; made when first asked for.

        Raises AudioError where the file of a long sound has changed since.
        """
        return self._removed[0] if self._opened.flat else self._removed

    @lazy_property
    def _removed(self) -> FloatArray:
        return residual(self._opened, self._kept)

    @property
    def max_hz(self) -> float:
        """The highest frequency of the spectrogram."""
        return float(self.bin_hz[-1])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready summary."""
        return {
            "frames": int(self.values.shape[0]),
            "bins": int(self.values.shape[1]),
            "area": round(self.area, 6),
            "spans_s": [[round(start, 4), round(end, 4)] for start, end in self.spans],
            "band_hz": [round(edge, 1) for edge in self.band],
        }


def decode(manifest: Manifest, run: Callable[..., Tensors], heard: Window, target: int) -> FloatArray:
    """The decoder's mask [T, F] of one window for the class index `target`.

    run(stage, feeds, outputs) -> outputs by name. Raises MethodError where there is no decoder,
    BundleError where its mask does not fit the spectrogram.
    """
    stage = manifest.stage("decoder")
    if stage is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no decoder, hence no masks; train one with "
            "earmark train lmac and export again"
        )
    given = {**heard.taps, "stft": heard.stft[None], "target": np.array([target])}
    feeds = {one.name: given[one.name] for one in stage.inputs}
    mask: FloatArray = run("decoder", feeds, ["mask"])["mask"][0]
    if mask.shape != heard.stft.shape[:2]:
        raise BundleError(
            f"{manifest.name}: the mask of {stage.file} is {mask.shape}, the spectrogram "
            f"{heard.stft.shape[:2]}; export the bundle again"
        )
    # The session has held it to 0..1 but for rounding.
    return mask.clip(0.0, 1.0)


class Mask:
    """The method `mask` over a bundle with a decoder."""

    name: ClassVar[str] = "mask"
    # Decoder, sound and rescoring are counted apart.
    stage: ClassVar[str | None] = None

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raises MethodError: this method has no options."""
        refuse_unknown(cls.name, options, ())

    @classmethod
    def of(cls, context: Context) -> Self:
        """The method over the context's bundle. Raises MethodError where it has no decoder."""
        manifest = context.bundle.manifest
        if manifest.stage("decoder") is None:
            raise MethodError(
                f"{manifest.name}: this bundle has no decoder, hence no masks; train one with "
                "earmark train lmac and export again"
            )
        return cls(context)

    def begin(self, sound: Sound, target: int) -> MaskAccount:
        """Open an account. Raises TargetError where the decoder speaks for the predicted class only."""
        manifest = self.context.bundle.manifest
        if manifest.mask_targets == "predicted" and target != sound.predicted:
            raise TargetError(
                f"the mask can explain {manifest.labels[sound.predicted]!r}, which was predicted, not "
                f"{manifest.labels[target]!r}: this decoder was trained for the predicted class; "
                "the method prototypes takes any"
            )
        return MaskAccount(self.context, sound, target)


class MaskAccount:
    """The mask of one sound, window by window."""

    def __init__(self, context: Context, sound: Sound, target: int) -> None:
        self._context, self._sound, self._target = context, sound, target
        manifest = context.bundle.manifest
        self._spec, self._rate = manifest.analysis, manifest.sample_rate
        frames, bins = 1 + sound.samples // self._spec.hop, self._spec.n_fft // 2 + 1
        self._single = sound.windows == 1
        kind = np.float32 if self._single else np.float16
        self._values = scratch((frames, bins), kind, opened=context.opened)
        self._release = releaser(self._values)
        self._filled, self._sum = 0, 0.0
        # The mask and its evidence together.
        self._mask_join = OverlapAdd((2, bins))
        self._sound_join = OverlapAdd((sound.input_channels,))
        self._restored = Restored(context.opened)
        self._evidence = Evidence(frames, bins)
        self._rescoring = MaskedScores(context, target) if context.rescore else None
        self._silenced = 0

    def add(self, heard: Window) -> None:
        """See one more window."""
        context = self._context
        spectrum = as_complex(heard.stft)
        mask = self._mask_of(heard)
        with context.clock.stage("mask to audio"):
            amplitude = np.abs(spectrum)
            gains = gain(mask, amplitude)
            kept = self._kept(heard, spectrum, gains)
        real = kept.shape[-1]
        frames = 1 + real // self._spec.hop
        frame, sounding = self._frame(heard.offset), amplitude[:frames]
        # All windows of a picture share the input's own level.
        self._evidence.show(frame, sounding * np.float32(abs(heard.level)))
        evidence = mask[:frames] * np.log1p(sounding)
        if self._single:
            self._evidence.weigh(frame, evidence)
            self._evidence.show(frame, mask[:frames], of_mask=True)
            self._values[:] = mask[: len(self._values)]
            self._sum = float(self._values.sum(dtype=np.float64))
            self._restored.push(kept)
        else:
            both = np.stack([mask[:frames].T, evidence.T])
            self._store(self._mask_join.add(frame, both))
            self._restored.push(self._sound_join.add(heard.offset, kept))
        if self._rescoring is not None:
            self._rescoring.add(heard, spectrum, gains, gain(1.0 - mask, amplitude))

    def finish(self) -> Answer:
        """The joined mask and sound."""
        with self._context.clock.stage("mask to audio"):
            if not self._single:
                self._store(self._mask_join.finish())
                # The last window ends with the sound, between two frames: one frame may be its shadow.
                self._values[self._filled :] = self._values[self._filled - 1]
                self._sum += float(self._values[self._filled :].sum(dtype=np.float64))
                self._restored.push(self._sound_join.finish())
            audio = self._restored.finish()
        spec, rate, labels = self._spec, self._rate, self._context.bundle.manifest.labels
        warnings = []
        if self._silenced:
            warnings.append(
                f"{self._silenced} of {self._sound.windows} windows were not heard as "
                f"{labels[self._target]!r}; their mask is empty: this decoder explains what is predicted"
            )
        rescored = None
        if self._rescoring is not None:
            rescored = self._rescoring.scores()
            warnings += self._rescoring.warnings()
        mask = MaskResult(
            values=self._values,
            frame_s=(np.arange(len(self._values)) * (spec.hop / rate)).astype(np.float32),
            bin_hz=(np.arange(self._values.shape[1]) * (rate / spec.n_fft)).astype(np.float32),
            area=self._sum / self._values.size,
            spans=self._evidence.spans(spec.hop / rate, self._sound.samples / rate),
            band=self._evidence.band(rate / spec.n_fft),
            overview=self._evidence.overview(),
            _kept=audio,
            _opened=self._context.opened,
        )
        return Answer({"mask": mask, "rescored": rescored}, tuple(warnings))

    def _mask_of(self, heard: Window) -> FloatArray:
        """The decoder's mask [T, F] for this window; empty where it would explain another class."""
        manifest = self._context.bundle.manifest
        if manifest.mask_targets == "predicted" and int(heard.logits.argmax()) != self._target:
            self._silenced += 1
            return np.zeros(heard.stft.shape[:2], np.float32)
        return decode(manifest, self._context.run, heard, self._target)

    def _kept(self, heard: Window, spectrum: np.ndarray, gains: FloatArray) -> FloatArray:
        """The kept sound of this window [channels, n] at the model's rate and the input's own level.

        The gain comes from the mix that the model heard and applies to every channel alike, so the
        mix of the kept channels is the kept mix.
        """
        length = heard.channels.shape[-1]
        if heard.channels.shape[0] == 1:
            kept = inverse(spectrum * gains, self._spec, heard.waveform.shape[-1])
            return kept[None, :length] * np.float32(heard.level)
        padded = np.zeros((heard.channels.shape[0], heard.waveform.shape[-1]), np.float32)
        padded[:, :length] = heard.channels
        return inverse(forward(padded, self._spec) * gains, self._spec, padded.shape[-1])[:, :length]

    def _frame(self, offset: int) -> int:
        return round(offset / self._spec.hop)

    def _store(self, finished: FloatArray) -> None:
        """Append finished frames [2, bins, m] to the mask of the whole sound, and weigh their evidence."""
        room = len(self._values) - self._filled
        block, evidence = finished[0].T[:room], finished[1].T[:room]
        self._evidence.weigh(self._filled, evidence)
        self._evidence.show(self._filled, block, of_mask=True)
        self._values[self._filled : self._filled + len(block)] = block
        self._filled += len(block)
        self._sum += float(block.sum(dtype=np.float64))
        self._release(block.nbytes)
