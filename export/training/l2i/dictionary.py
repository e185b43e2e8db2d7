"""A dictionary of a training set's spectra by sparse NMF, of their tones and of the rest apart.

Listen to Interpret (arXiv 2202.11479), section 3.1: X ~ W H for X = log1p|STFT| [F, T], W [F, K] and H [K, T]
non-negative, with an L1 penalty on both; the columns of W are brought to unit L2 norm. The factorisation is
scikit-learn's MiniBatchNMF.

Beyond the paper: half of the columns are learnt from what lasts in each clip, half from the rest, which
median filters along time and along frequency tell apart (Fitzgerald, "Harmonic/percussive separation using
median filtering", DAFx 2010). Columns of the whole mix the two.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import DataError, RunError
from ....prototypes_index.atomic import write_whole
from ....runtime.values.arrays import FloatArray
from ...sources.run.explainers import DICTIONARY

# Components where none is given, as far as the data allow: docs/l2i.md has what fewer lose.
_USUAL = 96
# Frames that a dictionary is learnt from, as a sample of all there are; of one clip at the most.
_MOST_FRAMES, _MOST_OF_A_CLIP = 8_000, 200
# Mini-batches of the factorisation.
_STEPS = 200
# Frames that the scale of activations is measured on.
_SCALE_FRAMES = 2_000
# Frames and bins that the median filters see.
_FILTER = 17
# Part of the sample that no dictionary learns from, which errors are measured on.
_HELD = 0.15
# Frames below this in every bin are silence: sqrt(1e-14) is what a silent bin has.
_SILENCE = 1e-5
# Frames for every component: fewer say nothing about it.
_FRAMES_A_COMPONENT = 4


@dataclass(frozen=True)
class LearntDictionary:
    """What was learnt.

    values [F, K] float32 >= 0, columns of unit L2 norm, loudest component first
    scale [K] float32 > 0: root mean square of each component's activations over the frames
    error: |X - W H| / |X| (Frobenius) over frames that were not learnt from
    silent: clips that were left out
    """

    values: FloatArray
    scale: FloatArray
    error: float
    silent: list[str] = field(default_factory=list)

    @property
    def components(self) -> int:
        """K."""
        return int(self.values.shape[1])

    def twice(self) -> LearntDictionary:
        """Every spectrum for evidence, then every one for the rest, which share its activations."""
        values, scale = np.tile(self.values, 2), np.tile(self.scale, 2) / np.float32(2)
        return replace(self, values=values, scale=scale)

    def once(self) -> LearntDictionary:
        """The dictionary of which this one is `twice`."""
        count = self.components // 2
        return replace(self, values=self.values[:, :count], scale=np.float32(2) * self.scale[:count])


class FrameSample:
    """A seeded sample of the sounding frames of any number of clips, in bounded memory.

    Of each clip up to 200 frames, so that long ones do not outvote the others; of all of these a reservoir
    (algorithm R) of up to `most`.
    """

    def __init__(self, seed: int, most: int = _MOST_FRAMES) -> None:
        self._random = np.random.default_rng([seed, 6])
        self._most, self._seen = most, 0
        self._frames: list[FloatArray] = []
        self.silent: list[str] = []
        self.clips = 0

    def add(self, name: str, spectrum: npt.NDArray[Any]) -> None:
        """See one clip's X [T, F].

        Raises DataError where it is no spectrogram: not finite, negative, another number of bins.
        """
        spectrum = np.asarray(spectrum, dtype=np.float32)
        if spectrum.ndim != 2 or (self._frames and spectrum.shape[1] != self._frames[0].shape[1]):
            raise DataError(
                f"{name}: a spectrogram of shape {list(spectrum.shape)} among others; give [T, F]"
            )
        if not np.isfinite(spectrum).all():
            raise DataError(f"{name}: its spectrogram holds NaN or infinite values; remove the clip")
        if (spectrum < 0).any():
            raise DataError(f"{name}: its spectrogram is negative; give log1p of magnitudes, which is not")
        sounding = np.flatnonzero(spectrum.max(axis=1, initial=0.0) > _SILENCE)
        if not len(sounding):
            self.silent.append(name)
            return
        self.clips += 1
        if len(sounding) > _MOST_OF_A_CLIP:
            sounding = sounding[np.sort(self._random.permutation(len(sounding))[:_MOST_OF_A_CLIP])]
        lasting = lasting_part(spectrum)
        for index in sounding:
            if len(self._frames) < self._most:
                self._frames.append(_parted(spectrum[index], lasting[index]))
            else:
                place = int(self._random.integers(self._seen + 1))
                if place < self._most:
                    self._frames[place] = _parted(spectrum[index], lasting[index])
            self._seen += 1

    def shuffled(self) -> FloatArray:
        """The sample [frames, 2, F] in a random order: what lasts, and the rest, whose sum is X.

        Raises DataError where there is no frame.
        """
        if not self._frames:
            raise DataError("no training clip sounds: every one is silent; give other clips")
        return np.stack([self._frames[i] for i in self._random.permutation(len(self._frames))])


def lasting_part(spectrum: FloatArray) -> FloatArray:
    """What lasts in a spectrogram X [T, F]: X A^2 / (A^2 + B^2), A its median along time, B along frequency.

    Tones last and are narrow, so that A is above B there; clicks and noise are short or wide.
    """
    from scipy.ndimage import median_filter

    along_time = np.square(median_filter(spectrum, (_FILTER, 1)))
    along_frequency = np.square(median_filter(spectrum, (1, _FILTER)))
    lasting = spectrum * along_time / (along_time + along_frequency + 1e-12)
    return np.asarray(lasting, np.float32)


def _parted(frame: FloatArray, lasting: FloatArray) -> FloatArray:
    # Rounding makes no spectrum negative.
    return np.stack([lasting, np.maximum(frame - lasting, 0.0)])


def learn_dictionary(
    spectra: Iterable[tuple[str, npt.NDArray[Any]]],
    components: int | None = None,
    *,
    sparsity: float = 0.8,
    seed: int = 0,
    separate: bool = False,
) -> LearntDictionary:
    """Learn W of X ~ W H by sparse NMF: 1/2 |X - W H|^2 + mu (|W|_1 + |H|_1), W and H >= 0.

    Args:
        spectra: (name, X [T, F]) of each clip, X = log1p|STFT|; each is taken once and may be forgotten.
        components: K; None: 96, or as many as the data allow.
        sparsity: mu, 0 to 100; 0.8 is the paper's.
        seed: Of the sample of frames and the factorisation.
        separate: Half of the columns are learnt from what lasts (`lasting_part`), half from the rest; if not,
            all from X, as in the paper.

    Returns:
        The dictionary, its columns of unit L2 norm, loudest component first.

    Raises:
        DataError: The data do not allow as many components, or none at all.
        RunError: The sparsity is out of range.

    """
    if not 0 <= sparsity < 100:
        raise RunError(f"sparsity {sparsity:g}: give 0 to 100 (0.8 is the paper's)")
    sample = FrameSample(seed)
    for name, spectrum in spectra:
        sample.add(name, spectrum)
    parted = sample.shuffled()
    frames = np.asarray(parted.sum(axis=1), np.float32)
    kept = max(1, int(_HELD * len(frames)))
    held, learnt = frames[:kept], frames[kept:]
    allowed = min(len(learnt) // _FRAMES_A_COMPONENT, frames.shape[1])
    clips = f"{sample.clips} sounding clips with {len(frames)} frames of {frames.shape[1]} bins"
    if allowed < 2:
        raise DataError(f"{clips} are too few for a dictionary; give more or longer clips")
    if components is not None and not 1 <= components <= allowed:
        raise DataError(f"{components} components: {clips} allow 1 to {allowed}; give fewer, or more clips")
    wanted = min(_USUAL, allowed) if components is None else components
    if separate and wanted > 1:
        shares = (wanted - wanted // 2, wanted // 2)
        of_parts = [
            _factorise(parted[kept:, part], share, sparsity, seed) for part, share in enumerate(shares)
        ]
        values: FloatArray = np.concatenate(of_parts, axis=1)
    else:
        values = _factorise(learnt, wanted, sparsity, seed)
    if not values.shape[1] or (components is not None and values.shape[1] < components):
        raise DataError(
            f"{wanted} components: {wanted - values.shape[1]} of them stay empty, so the clips' "
            f"spectra allow about {values.shape[1]}; give fewer components, or a sparsity below {sparsity:g}"
        )
    activations = activate(values, learnt[:_SCALE_FRAMES])
    scale = np.sqrt(np.mean(np.square(activations), axis=0))
    order = np.argsort(-scale, kind="stable")
    values = np.ascontiguousarray(values[:, order])
    scale = np.maximum(scale[order], 1e-3 * float(scale.max()))
    return LearntDictionary(values, scale.astype(np.float32), _error(values, held), sample.silent)


def activate(values: FloatArray, frames: FloatArray, sweeps: int = 60) -> FloatArray:
    """H [frames, K] >= 0 with frames ~ H W^T for a given dictionary, by multiplicative updates."""
    gram, cross = values.T @ values, frames @ values
    estimate = np.full((len(frames), values.shape[1]), float(frames.mean()) + 1e-6, dtype=np.float32)
    for _ in range(sweeps):
        estimate *= cross / (estimate @ gram + 1e-9)
    return estimate


def _error(values: FloatArray, frames: FloatArray) -> float:
    """|X - W H| / |X| with the best H found."""
    rest = frames - activate(values, frames) @ values.T
    return float(np.linalg.norm(rest) / max(float(np.linalg.norm(frames)), 1e-12))


def _factorise(frames: FloatArray, components: int, sparsity: float, seed: int) -> FloatArray:
    """W [F, K] with columns of unit L2 norm, without those that stayed empty."""
    from sklearn.decomposition import MiniBatchNMF
    from sklearn.exceptions import ConvergenceWarning

    level = float(np.sqrt(np.mean(np.square(frames))))
    if level == 0.0:
        return np.zeros((frames.shape[1], 0), np.float32)
    batch = min(len(frames), 1024)
    model = MiniBatchNMF(
        n_components=components,
        init="nndsvda",
        batch_size=batch,
        # scikit-learn multiplies this by the number of bins.
        alpha_W=sparsity / frames.shape[1],
        alpha_H="same",
        l1_ratio=1.0,
        max_iter=max(1, _STEPS * batch // len(frames)),
        tol=1e-4,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Of order one whatever the clips' level, or the penalty would be another.
        model.fit(frames / level)
    values: FloatArray = np.ascontiguousarray(model.components_.T, dtype=np.float32)
    norms = np.linalg.norm(values, axis=0)
    sounding = norms > 1e-6
    unit: FloatArray = values[:, sounding] / norms[sounding]
    return unit


def write_dictionary(run: Path, dictionary: LearntDictionary) -> None:
    """Write the run's dictionary.npz: `dictionary` [F, K] and `scale` [K], float32."""
    content = io.BytesIO()
    np.savez_compressed(content, dictionary=dictionary.values, scale=dictionary.scale)
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / DICTIONARY, content.getvalue())
