"""What the method `mask` answers: which part of the sound, and that part to be listened to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....times import span_text
from ...drawing.shown import Spectrogram
from ...values.arrays import FloatArray
from ...values.lazy import lazy_property
from ..evidence import Located, Overview
from ..rescoring import Rescored, rescored_lines
from ..result import Difference, MethodResult
from ..saved import SavedSounds
from .document import MaskDict
from .sounds import LiveSounds
from .spectrum import MaskedWindow
from .trust import Trust

# Stretches that a line names.
_SPANS = 4


@dataclass(frozen=True, eq=False, repr=False)
class MaskResult(MethodResult):
    """Which part of the sound made the model say so.

    Attributes:
        values: [frames, bins] 0..1; long sound: a file-backed float16 array that goes with the result.
        audio: The kept sound at the input's rate and length, [channels, samples], or [samples] where the
            input was such an array; what lies above half the model's rate is in the residual.
        frame_s: [frames] centre of each frame in seconds.
        bin_hz: [bins] of each bin in Hz.
        area: Mean of the mask.
        rescored: Domain ("spectrogram", "audio") -> {"mask_in": score, "mask_out": score, "..._label": label}
            of the target when only the kept (or removed) part is left; with rescore=True only.
        trust: How far the mask is to be believed; None where the bundle does not know.

    """

    values: FloatArray
    frame_s: FloatArray
    bin_hz: FloatArray
    area: float
    _where: Located | MaskedWindow = field(repr=False, compare=False)
    _sounds: LiveSounds | SavedSounds = field(repr=False, compare=False)
    rescored: Mapping[str, Rescored] | None = None
    trust: Trust | None = None
    warnings: tuple[str, ...] = ()

    @lazy_property
    def _located(self) -> Located:
        return self._where.located() if isinstance(self._where, MaskedWindow) else self._where

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """When the evidence lies, (start_s, end_s); of a sound of one window found when first asked for."""
        return self._located.spans

    @property
    def band(self) -> tuple[float, float]:
        """The central 80 % of the evidence over frequency, (low_hz, high_hz)."""
        return self._located.band

    @property
    def overview(self) -> Overview:
        """Amplitude and mask for a picture."""
        return self._located.overview

    @property
    def audio(self) -> FloatArray:
        """The kept sound.

        Raises:
            MethodError: The result was loaded, and its sound had not been saved.

        """
        return self._sounds.shaped(self._kept)

    @property
    def residual(self) -> FloatArray:
        """The removed sound: input - kept, in the shape of `audio`; made when first asked for.

        Raises:
            AudioError: The file of a long sound has changed since.
            MethodError: The result was loaded, and its sound had not been saved.

        """
        return self._sounds.shaped(self._removed)

    def removed_blocks(self) -> Iterator[FloatArray]:
        """The removed sound in blocks [channels, n], which take no room on the disk."""
        return self._sounds.removed_blocks()

    @lazy_property
    def _kept(self) -> FloatArray:
        return self._sounds.read("kept")

    @lazy_property
    def _removed(self) -> FloatArray:
        return self._sounds.read("removed")

    @property
    def max_hz(self) -> float:
        """The highest frequency of the spectrogram."""
        return float(self.bin_hz[-1])

    def spectrogram(self, seconds: float) -> Spectrogram:
        """The model's, with the mask."""
        return Spectrogram(self.overview.amplitude, seconds, self.max_hz, self.overview.mask)

    def to_dict(self) -> MaskDict:
        """JSON-ready summary."""
        return {
            "frames": int(self.values.shape[0]),
            "bins": int(self.values.shape[1]),
            "area": round(self.area, 6),
            "spans_s": [[round(start, 4), round(end, 4)] for start, end in self.spans],
            "band_hz": [round(edge, 1) for edge in self.band],
        }

    def fields(self) -> Mapping[str, Any]:
        """The mask, what the classifier says of what it keeps, and how far to believe it."""
        return {"mask": self, "rescored": self.rescored, "trust": self.trust}

    def lines(self, top: int) -> Iterator[tuple[str, str]]:
        """When and in which band the evidence lies; what the classifier says of it alone."""
        low, high = self.band
        yield "evidence", f"{self._when()}; {low:.0f}-{high:.0f} Hz; {self.area:.0%} of the spectrogram"
        yield from rescored_lines(self.rescored)
        if self.trust is not None and self.trust.how == "estimated":
            yield "trust", self.trust.text

    def summary(self) -> Iterator[tuple[str, str]]:
        """When and in which band the evidence lies; the scores of the kept part alone and of the rest."""
        yield "when", self._when()
        low, high = self.band
        yield "band", f"{low:.0f}-{high:.0f} Hz; {self.area:.0%} of the spectrogram is kept"
        for domain, scores in (self.rescored or {}).items():
            if domain == "audio":
                inside, outside = scores["mask_in"], scores["mask_out"]
                yield "check", f"listening to the kept part alone {inside:.1%}, to the rest {outside:.1%}"

    def _when(self) -> str:
        """Its spans in words."""
        spans = [span_text(start, end) for start, end in self.spans[:_SPANS]]
        more = f" and {len(self.spans) - _SPANS} more" if len(self.spans) > _SPANS else ""
        return ", ".join(spans) + more if spans else "nowhere in particular"

    def evidence_spans(self) -> Sequence[tuple[float, float]]:
        """The spans of the mask's evidence."""
        return self.spans

    def verify(self) -> tuple[Difference, ...]:
        """Make both sounds."""
        _ = self.audio, self.residual
        return ()
