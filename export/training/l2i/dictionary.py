"""A dictionary of a training set's spectra by sparse NMF: K given, or where the error's curve has its knee.

Listen to Interpret (arXiv 2202.11479), section 3.1: X ~ W H for X = log1p|STFT| [F, T], W [F, K] and H [K, T]
non-negative, with an L1 penalty on both; the columns of W are brought to unit L2 norm. The factorisation is
scikit-learn's MiniBatchNMF.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import DataError, RunError
from ....prototypes_index.atomic import write_whole
from ...sources.run.interpreter import DICTIONARY

FloatArray = npt.NDArray[np.float32]

# Components tried where none is given, as far as the data allow.
_CANDIDATES = (4, 8, 16, 32, 64, 96, 128)
# Frames that a dictionary is learnt from, as a sample of all there are; of one clip at the most.
_MOST_FRAMES, _MOST_OF_A_CLIP = 8_000, 200
# Frames that the search for K learns from: the curve's shape asks for fewer.
_SEARCH_FRAMES = 2_000
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
    curve: (K, error) for every K tried, where K was searched; silent: clips that were left out
    """

    values: FloatArray
    scale: FloatArray
    error: float
    curve: list[tuple[int, float]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    @property
    def components(self) -> int:
        """K."""
        return int(self.values.shape[1])


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
        if spectrum.ndim != 2 or (self._frames and spectrum.shape[1] != self._frames[0].shape[0]):
            raise DataError(
                f"{name}: a spectrogram of shape {list(spectrum.shape)} among others; give [T, F]"
            )
        if not np.isfinite(spectrum).all():
            raise DataError(f"{name}: its spectrogram holds NaN or infinite values; remove the clip")
        if (spectrum < 0).any():
            raise DataError(f"{name}: its spectrogram is negative; give log1p of magnitudes, which is not")
        sounding = spectrum[spectrum.max(axis=1, initial=0.0) > _SILENCE]
        if not len(sounding):
            self.silent.append(name)
            return
        self.clips += 1
        if len(sounding) > _MOST_OF_A_CLIP:
            sounding = sounding[np.sort(self._random.permutation(len(sounding))[:_MOST_OF_A_CLIP])]
        for frame in sounding:
            if len(self._frames) < self._most:
                self._frames.append(frame.copy())
            else:
                place = int(self._random.integers(self._seen + 1))
                if place < self._most:
                    self._frames[place] = frame.copy()
            self._seen += 1

    def shuffled(self) -> FloatArray:
        """The sample [frames, F] in a random order. Raises DataError where there is no frame."""
        if not self._frames:
            raise DataError("no training clip sounds: every one is silent; give other clips")
        return np.stack([self._frames[i] for i in self._random.permutation(len(self._frames))])


def learn_dictionary(
    spectra: Iterable[tuple[str, npt.NDArray[Any]]],
    components: int | None = None,
    *,
    sparsity: float = 0.8,
    seed: int = 0,
) -> LearntDictionary:
    """Learn W of X ~ W H by sparse NMF: 1/2 |X - W H|^2 + mu (|W|_1 + |H|_1), W and H >= 0.

    Args:
        spectra: (name, X [T, F]) of each clip, X = log1p|STFT|; each is taken once and may be forgotten.
        components: K; None: where the curve of the error over K has its knee (`knee`).
        sparsity: mu, 0 to 100; 0.8 is the paper's.
        seed: Of the sample of frames and the factorisation.

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
    frames = sample.shuffled()
    held = frames[: max(1, int(_HELD * len(frames)))]
    learnt = frames[len(held) :]
    allowed = min(len(learnt) // _FRAMES_A_COMPONENT, frames.shape[1])
    clips = f"{sample.clips} sounding clips with {len(frames)} frames of {frames.shape[1]} bins"
    if allowed < 2:
        raise DataError(f"{clips} are too few for a dictionary; give more or longer clips")
    if components is not None and not 1 <= components <= allowed:
        raise DataError(f"{components} components: {clips} allow 1 to {allowed}; give fewer, or more clips")
    curve: list[tuple[int, float]] = []
    if components is None:
        tried = [k for k in _CANDIDATES if k <= allowed] or [allowed]
        for k in tried:
            values = _factorise(learnt[:_SEARCH_FRAMES], k, sparsity, seed, steps=60)
            curve.append((values.shape[1], _error(values, held)))
            if values.shape[1] < k:
                # The penalty leaves no more.
                break
    values = _factorise(learnt, components or knee(curve), sparsity, seed, steps=200)
    if components is not None and values.shape[1] < components:
        raise DataError(
            f"{components} components: {components - values.shape[1]} of them stay empty, so the clips' "
            f"spectra allow about {values.shape[1]}; give fewer components, or a sparsity below {sparsity:g}"
        )
    activations = activate(values, learnt[:_SEARCH_FRAMES])
    scale = np.sqrt(np.mean(np.square(activations), axis=0))
    order = np.argsort(-scale, kind="stable")
    values = np.ascontiguousarray(values[:, order])
    scale = np.maximum(scale[order], 1e-3 * float(scale.max()))
    return LearntDictionary(values, scale.astype(np.float32), _error(values, held), curve, sample.silent)


def knee(curve: Sequence[tuple[int, float]]) -> int:
    """The K after which more components gain little: kneedle (Satopaa et al., 2011) on a falling curve.

    With log2 K and the error both brought to 0..1, the K whose point lies furthest below the straight line
    from the first point to the last. K is taken by its logarithm, as the K tried double; where the error
    does not fall, the smallest.
    """
    k = np.log2([float(count) for count, _ in curve])
    error = np.array([value for _, value in curve])
    if len(curve) < 3 or error[-1] >= error[0]:
        return int(curve[int(error.argmin())][0])
    x = (k - k[0]) / (k[-1] - k[0])
    y = (error - error[-1]) / (error[0] - error[-1])
    return int(curve[int((1.0 - x - y).argmax())][0])


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


def _factorise(frames: FloatArray, components: int, sparsity: float, seed: int, *, steps: int) -> FloatArray:
    """W [F, K] with columns of unit L2 norm, after so many mini-batches; without those that stayed empty."""
    from sklearn.decomposition import MiniBatchNMF
    from sklearn.exceptions import ConvergenceWarning

    batch = min(len(frames), 1024)
    model = MiniBatchNMF(
        n_components=components,
        init="nndsvda",
        batch_size=batch,
        # scikit-learn multiplies this by the number of bins.
        alpha_W=sparsity / frames.shape[1],
        alpha_H="same",
        l1_ratio=1.0,
        max_iter=max(1, steps * batch // len(frames)),
        tol=1e-4,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Of order one whatever the clips' level, or the penalty would be another.
        model.fit(frames / np.sqrt(np.mean(np.square(frames))))
    values: FloatArray = np.ascontiguousarray(model.components_.T, dtype=np.float32)
    norms = np.linalg.norm(values, axis=0)
    sounding = norms > 1e-6
    unit: FloatArray = values[:, sounding] / norms[sounding]
    return unit


def plot_curve(dictionary: LearntDictionary, path: Path) -> None:
    """Draw the reconstruction error over K, with the K chosen."""
    # Not pyplot: no global state, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*dictionary.curve, strict=True), marker="o")
    axes.axvline(dictionary.components, linestyle="--", color="grey")
    axes.set_xscale("log", base=2)
    axes.set_xticks([k for k, _ in dictionary.curve], [str(k) for k, _ in dictionary.curve])
    axes.set_xlabel(f"components K (chosen: {dictionary.components})")
    axes.set_ylabel("|X - W H| / |X|, frames not learnt from")
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    write_whole(path, image.getvalue())


def write_dictionary(run: Path, dictionary: LearntDictionary) -> None:
    """Write the run's dictionary.npz: `dictionary` [F, K] and `scale` [K], float32."""
    content = io.BytesIO()
    np.savez_compressed(content, dictionary=dictionary.values, scale=dictionary.scale)
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / DICTIONARY, content.getvalue())
