"""Maskers: what is judged. The decoder's mask, and what anyone could do without a decoder.

A masker that only ranks cells (random, energy, occlusion, every attribution) becomes a mask by `top_share`:
its best cells, as many as make the area that the masks in the same table have. A soft mask of the same
mean is what it competes with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from ...errors import MethodError
from ...runtime.audio.stft import as_complex
from ...runtime.bundle.manifest import Manifest, MaskGain
from ...runtime.engine import Engine
from ...runtime.inference.window import Window
from ...runtime.methods.loading import all_methods, method_of
from ...runtime.values.arrays import FloatArray, Values
from ...runtime.values.mel import mel_of
from ..questions import FunctionMasker, function_at, is_reference
from ..rescoring import domains_of, rescore
from .component_maskers import COMPONENTS, USUAL, component_maskers

# Bands and slices that occlusion removes one at a time: classifier passes a window.
_BANDS = 16
_SLICES = 20

Compute = Callable[[Engine, Window, int, np.random.Generator], FloatArray]


class Masker(Protocol):
    """Anything that says which cells of a spectrogram count.

    name: its row; binary: False for a mask 0..1 that is used as it is, True where its values [T, F] only
    rank the cells (any real numbers, higher first) and are cut to the top share at equal area
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def binary(self) -> bool: ...  # noqa: D102

    def gain_of(self, manifest: Manifest) -> MaskGain:
        """What its masks multiply, over a bundle."""

    def __call__(
        self, engine: Engine, window: Window, target: int, random: np.random.Generator
    ) -> FloatArray:
        """Mask or ranking [T, F] of one window for the class index `target`."""


@dataclass(frozen=True)
class Plain:
    """A masker out of a function."""

    name: str
    binary: bool
    compute: Compute

    def gain_of(self, manifest: Manifest) -> MaskGain:
        """Zeros and ones: the same on the magnitude and on its logarithm."""
        return "linear"

    def __call__(
        self, engine: Engine, window: Window, target: int, random: np.random.Generator
    ) -> FloatArray:
        """Mask or ranking [T, F]."""
        return self.compute(engine, window, target, random)


def top_share(values: FloatArray, area: float, random: np.random.Generator) -> FloatArray:
    """A mask of ones on the highest `values` [T, F], `area` (0..1) of all cells; ties are drawn by lot.

    The number of cells is area * T * F, rounded.
    """
    count = round(min(max(area, 0.0), 1.0) * values.size)
    flat = values.reshape(-1)
    mask = np.zeros(flat.size, np.float32)
    if count >= flat.size:
        mask[:] = 1.0
    elif count:
        edge = np.partition(flat, flat.size - count)[flat.size - count]
        above = flat > edge
        mask[above] = 1.0
        level = np.flatnonzero(flat == edge)
        missing = count - int(above.sum())
        chosen = level if len(level) == missing else random.choice(level, missing, replace=False)
        mask[chosen] = 1.0
    return mask.reshape(values.shape)


def _random(_: Engine, window: Window, __: int, random: np.random.Generator) -> FloatArray:
    return random.random(window.stft.shape[:2], np.float32)


def _energy(_: Engine, window: Window, __: int, ___: np.random.Generator) -> FloatArray:
    return np.abs(as_complex(window.stft))


def _ones(_: Engine, window: Window, __: int, ___: np.random.Generator) -> FloatArray:
    return np.ones(window.stft.shape[:2], np.float32)


def _thresholded(
    engine: Engine, window: Window, target: int, _: np.random.Generator, *, threshold: float
) -> FloatArray:
    return (engine.window_mask("mask", window, target) >= threshold).astype(np.float32)


def _occlusion(
    engine: Engine, window: Window, target: int, _: np.random.Generator, *, axis: int
) -> FloatArray:
    """What the target's log score loses when one slice of the axis (0 time, 1 frequency) is removed.

    Slices are equally wide in frames or in mels; a cell has the loss of its slice.
    """
    shape = window.stft.shape[:2]
    place = np.arange(shape[axis], dtype=np.float64)
    if axis:
        place = mel_of(place * engine.manifest.sample_rate / engine.manifest.analysis.n_fft)
    slices = _BANDS if axis else _SLICES
    place *= slices / max(place[-1], 1e-9)
    # The last frame or bin closes the last slice; low bands narrower than a bin do not exist.
    present, owner = np.unique(np.minimum(place.astype(int), slices - 1), return_inverse=True)
    count = len(present)
    domain = domains_of(engine)[0]
    left = (owner != np.arange(count)[:, None]).astype(np.float32)
    masks = np.broadcast_to(left[:, None, :] if axis else left[:, :, None], (count, *shape))
    scores = _log_score(rescore(engine, window, masks, domain), target, engine.manifest.task)
    losses = (_log_score(window.logits[None], target, engine.manifest.task) - scores)[owner]
    return np.broadcast_to(losses if axis else losses[:, None], shape).astype(np.float32)


def _log_score(logits: FloatArray, target: int, task: str) -> Values:
    """Logarithm of the target's score [n]: it ranks as the score does, and does not saturate."""
    wide = logits.astype(np.float64)
    if task == "multi_label":
        return -np.logaddexp(0.0, -wide[:, target])
    return np.asarray(wide[:, target] - np.logaddexp.reduce(wide, axis=1))


@dataclass(frozen=True)
class MethodMasker:
    """The mask, or gain, of windows that an explanation method offers."""

    name: str
    binary: bool = False

    def gain_of(self, manifest: Manifest) -> MaskGain:
        """As the method's masks are over this bundle."""
        return method_of(self.name).window_gain(manifest)

    def __call__(
        self, engine: Engine, window: Window, target: int, random: np.random.Generator
    ) -> FloatArray:
        """Mask or gain [T, F]."""
        return engine.window_mask(self.name, window, target)


# What needs a decoder.
DECODED = ("mask", "thresholded")

_PLAIN: dict[str, Plain] = {
    masker.name: masker
    for masker in (
        Plain("random", True, _random),
        Plain("energy", True, _energy),
        Plain("band_occlusion", True, partial(_occlusion, axis=1)),
        Plain("time_occlusion", True, partial(_occlusion, axis=0)),
        Plain("ones", False, _ones),
    )
}
# Every masker that is none of components, in the order of the table.
MASKERS = ("mask", "thresholded", "random", "energy", "band_occlusion", "time_occlusion", "ones")


# A method's rows in a table in which none is named, where they are more than its own mask.
_OF_METHOD = {"mask": DECODED, "components": USUAL}


def usual_maskers(engine: Engine) -> tuple[str, ...]:
    """The rows of a table in which none is named: the bundle's own explanations, and what needs none.

    Without any explanation also the decoder's, so that its lack is reported.
    """
    has = [one.name for one in all_methods() if one.has_window_mask and one.available(engine.manifest)]
    own = (row for name in has or ("mask",) for row in _OF_METHOD.get(name, (name,)))
    return (*own, *(name for name in MASKERS if name not in DECODED))


def masker_of(name: str, *, threshold: float = 0.5, seed: int = 0) -> Masker:
    """The masker of that name.

    Args:
        name: One of `known_maskers`, or a function as "module:function" (`questions.py`).
        threshold: Of the row "thresholded": cells of at least this much mask are kept, 0..1.
        seed: Of the row "random_theta": the untrained theta is drawn from it.

    Raises:
        MethodError: There is no such masker.

    """
    if is_reference(name):
        function: Any = function_at(name)
        return FunctionMasker(name, function)
    if name == "thresholded":
        return Plain(name, False, partial(_thresholded, threshold=threshold))
    fixed: dict[str, Masker] = {**_PLAIN, **component_maskers(seed)}
    if name in fixed:
        return fixed[name]
    for method in all_methods():
        if method.name == name and method.has_window_mask:
            return MethodMasker(name)
    raise MethodError(f"there is no method {name!r} to evaluate; choose one of {', '.join(known_maskers())}")


def known_maskers() -> tuple[str, ...]:
    """Every masker: those of methods, what they are compared with, and baselines."""
    of_methods = (method.name for method in all_methods() if method.has_window_mask)
    return tuple(dict.fromkeys((*MASKERS, *COMPONENTS, *of_methods)))
