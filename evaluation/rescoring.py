"""What the classifier says of masked sound, in the two domains in which it can be asked.

Spectrogram (the paper's): the STFT times G = expm1(M log1p A) / A re-enters the classifier. Audio (what a
user listens to): the inverse STFT of the same goes through front end and classifier as a waveform. A masked
sound is never levelled anew. What a mask multiplies, the manifest's `mask_gain` says.
"""

from __future__ import annotations

import numpy as np

from ..errors import EarmarkError, MethodError
from ..runtime.audio.stft import as_complex, gain, gain_of_rest, inverse
from ..runtime.bundle.manifest import MaskGain
from ..runtime.engine import Engine
from ..runtime.inference.window import Window
from ..runtime.values.arrays import FloatArray
from .settings import Domain

# Windows, and cells of their spectrograms, that go through the classifier together.
_BATCH = 8
_CELLS = 4_000_000


def domains_of(engine: Engine, wanted: str = "both") -> list[Domain]:
    """The domains that are asked for (one of them, or "both") and that the bundle has.

    Raises MethodError where the spectrogram alone is asked for and cannot re-enter.
    """
    able: list[Domain] = ["spectrogram", "audio"] if engine.manifest.rescore == "spectrogram" else ["audio"]
    if wanted == "both":
        return able
    asked = [domain for domain in able if domain == wanted]
    if not asked:
        raise MethodError(
            f"{engine.manifest.name}: this model eats features of its own, so a masked spectrogram cannot "
            "be classified; judge by listening (domain audio)"
        )
    return asked


def gains_of(
    window: Window, masks: FloatArray, how: MaskGain, domain: Domain
) -> tuple[FloatArray, FloatArray]:
    """The gains [m, T, F] of what `masks` [m, T, F] keep, and of what they remove.

    What is removed is what a user gets: the input minus what is kept. Of masks on the logarithm it is, in
    the spectrogram domain, the paper's mask-out, 1 - M.
    """
    amplitude = np.abs(as_complex(window.stft))
    kept = gain(masks, amplitude, how)
    return kept, 1.0 - kept if domain == "audio" else gain_of_rest(kept, masks, amplitude, how)


def rescore(engine: Engine, window: Window, gains: FloatArray, domain: Domain) -> FloatArray:
    """Logits [m, K] of one window, its STFT times each of `gains` [m, T, F], 0..1.

    Gains of one are the window itself: its own logits, without the rounding of another pass. Raises
    EarmarkError where the classifier's answer is not finite.
    """
    logits = np.empty((len(gains), len(window.logits)), np.float32)
    whole = (gains == 1.0).all(axis=(1, 2))
    logits[whole] = window.logits
    rest = np.flatnonzero(~whole)
    step = max(1, min(_BATCH, _CELLS // max(1, window.stft.size // 2)))
    for start in range(0, len(rest), step):
        some = rest[start : start + step]
        logits[some] = classify(engine, window.stft * gains[some][..., None], domain, len(window.waveform))
    if not np.isfinite(logits).all():
        raise EarmarkError(
            f"{engine.manifest.name}: the classifier's answer to a masked {domain} is not finite"
        )
    return logits


def classify(engine: Engine, spectra: FloatArray, domain: Domain, samples: int) -> FloatArray:
    """Logits [B, K] of STFTs [B, T, F, 2] of windows of so many samples, as they are or as sound."""
    if domain == "spectrogram":
        return engine.pipeline.logits_of_spectra(spectra)
    return engine.logits_of(inverse(as_complex(spectra), engine.manifest.analysis, samples))
