"""Maskers: what is judged. The decoder's mask, and what anyone could do without a decoder.

A masker that only ranks cells (random, energy, occlusion, every attribution) becomes a mask by `top_share`:
its best cells, as many as make the area that the masks in the same table have. A soft mask of the same
mean is what it competes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ...errors import MethodError
from ...runtime.audio.stft import as_complex
from ...runtime.bundle.manifest import Manifest, MaskGain
from ...runtime.engine import Engine
from ...runtime.inference.window import Window
from ...runtime.methods.components.dictionary import ComponentDictionary
from ...runtime.methods.components.interpreter import dictionary_of, interpret
from ...runtime.methods.components.result import relevance_of, selected_of
from ...runtime.methods.components.tracks import soft_mask
from ...runtime.methods.loading import all_methods, method_of
from ...runtime.values.arrays import FloatArray, Values
from ...runtime.values.mel import mel_of
from ..questions import MaskFunction, Question, function_at, gain_of_masks, is_reference, numbers_of
from ..rescoring import domains_of, rescore
from ..seeding import generator

# Bands and slices that occlusion removes one at a time: classifier passes a window.
_BANDS = 16
_SLICES = 20

Compute = Callable[[Engine, Window, int, np.random.Generator], FloatArray]
# What the interpreter's graph gives for a window: "activations" [K, T], "pooled" [K].
Outputs = Mapping[str, FloatArray]
# (dictionary, the interpreter's outputs, target, random) -> indices of components.
Choose = Callable[[ComponentDictionary, Outputs, int, np.random.Generator], tuple[int, ...]]


@dataclass(frozen=True)
class Masker:
    """Anything that says which cells of a spectrogram count.

    Attributes:
        name: Its row.
        compute: (engine, window, target, random) -> mask or ranking [T, F] for the class index `target`.
        binary: False for a mask 0..1 that is used as it is, True where its values only rank the cells (any
            real numbers, higher first) and are cut to the top share at equal area.
        gain: What its masks multiply; None: what those of the method of its name do.

    """

    name: str
    compute: Compute
    binary: bool = False
    gain: MaskGain | None = "linear"

    def gain_of(self, manifest: Manifest) -> MaskGain:
        """What its masks multiply, over a bundle."""
        return self.gain or method_of(self.name).window_gain(manifest)


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


def _by_method(
    engine: Engine, window: Window, target: int, _: np.random.Generator, *, method: str
) -> FloatArray:
    return engine.window_mask(method, window, target)


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


def random_theta(dictionary: ComponentDictionary, seed: int = 0) -> FloatArray:
    """A theta [C, K] that was never trained, as PyTorch draws a linear layer: U(-1, 1) / sqrt(K).

    The reference recipe evaluates with such a one.
    """
    bound = 1.0 / np.sqrt(dictionary.theta.shape[1])
    return generator(seed, "theta").uniform(-bound, bound, dictionary.theta.shape).astype(np.float32)


def selected(
    dictionary: ComponentDictionary, pooled: FloatArray, target: int, theta: FloatArray | None = None
) -> tuple[int, ...]:
    """The components selected for the class index `target`, given z [K]; theta: another than the own."""
    relevance = relevance_of((dictionary.theta if theta is None else theta)[target] * pooled)
    return selected_of(relevance, dictionary.spec.threshold)


def component_choices(seed: int = 0) -> dict[str, Choose]:
    """How the controls for components choose, by name: what anyone could draw.

    Args:
        seed: Of the untrained theta.

    Returns:
        Name -> choice; masks of those named "_log" are put on the log-magnitude, as the paper does.

    """
    return {
        "random_components": _as_many,
        "random_components_area": _as_much,
        "random_theta": partial(_untrained, seed=seed),
        "components_log": _selected,
        "random_components_log": _as_many,
        "random_components_area_log": _as_much,
    }


def _of_components(
    engine: Engine, window: Window, target: int, random: np.random.Generator, *, choose: Choose
) -> FloatArray:
    """The soft mask [T, F] of the components that are chosen; zeros where none is."""
    outputs, dictionary = interpret(engine.graphs, window), dictionary_of(engine.graphs)
    return soft_mask(dictionary, outputs["activations"], choose(dictionary, outputs, target, random))


def _selected(dictionary: ComponentDictionary, outputs: Outputs, target: int, _: object) -> tuple[int, ...]:
    return selected(dictionary, outputs["pooled"], target)


def _untrained(
    dictionary: ComponentDictionary, outputs: Outputs, target: int, _: object, *, seed: int
) -> tuple[int, ...]:
    """What the recipe's setting selects."""
    return selected(dictionary, outputs["pooled"], target, random_theta(dictionary, seed))


def _as_many(
    dictionary: ComponentDictionary, outputs: Outputs, target: int, random: np.random.Generator
) -> tuple[int, ...]:
    """As many components as the method selects, of those active in the window, by lot."""
    active = _active(outputs)
    count = min(len(selected(dictionary, outputs["pooled"], target)), len(active))
    return tuple(int(index) for index in random.choice(active, count, replace=False))


def _as_much(
    dictionary: ComponentDictionary, outputs: Outputs, target: int, random: np.random.Generator
) -> tuple[int, ...]:
    """Active components by lot, as many as make the selected ones' area, as nearly as they can."""
    activations = outputs["activations"]
    area = soft_mask(dictionary, activations, selected(dictionary, outputs["pooled"], target)).mean()
    order = random.permutation(_active(outputs))
    areas = [0.0]
    while areas[-1] < area and len(areas) <= len(order):
        some = order[: len(areas)]
        areas.append(float(soft_mask(dictionary, activations, some.tolist()).mean()))
    count = int(np.abs(np.array(areas) - area).argmin())
    return tuple(int(index) for index in order[:count])


def _active(outputs: Outputs) -> npt.NDArray[np.intp]:
    """Components that are active at all in the window: to remove others would be no control."""
    return np.flatnonzero(outputs["activations"].max(axis=1) > 0.0)


# Every masker that is none of components, in the order of the table; of them, what needs a decoder.
MASKERS = ("mask", "thresholded", "random", "energy", "band_occlusion", "time_occlusion", "ones")
DECODED = ("mask", "thresholded")
# What needs an interpreter.
COMPONENTS = ("components", *component_choices())
# A method's rows in a table in which none is named, where they are more than its own mask.
_OF_METHOD = {
    "mask": DECODED,
    "components": ("components", "random_components", "random_components_area"),
}


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
        return masker_by(name, function_at(name))
    fixed = (
        Masker("thresholded", partial(_thresholded, threshold=threshold)),
        Masker("random", _random, binary=True),
        Masker("energy", _energy, binary=True),
        Masker("band_occlusion", partial(_occlusion, axis=1), binary=True),
        Masker("time_occlusion", partial(_occlusion, axis=0), binary=True),
        Masker("ones", _ones),
        *(
            Masker(one, partial(_of_components, choose=choose), gain="log" if "_log" in one else "linear")
            for one, choose in component_choices(seed).items()
        ),
        *(
            Masker(one.name, partial(_by_method, method=one.name), gain=None)
            for one in all_methods()
            if one.has_window_mask
        ),
    )
    for masker in fixed:
        if masker.name == name:
            return masker
    raise MethodError(f"there is no method {name!r} to evaluate; choose one of {', '.join(known_maskers())}")


def masker_by(name: str, function: MaskFunction) -> Masker:
    """A user's function as a row."""
    gain = gain_of_masks(function)

    def compute(engine: Engine, window: Window, target: int, random: np.random.Generator) -> FloatArray:
        question = Question.of(engine, window, target, int(random.integers(2**31)))
        values = numbers_of(name, function, question, question.stft.shape)
        if gain is not None:
            if float(values.min()) < -1e-6 or float(values.max()) > 1.0 + 1e-6:
                raise MethodError(f"{name}: a soft mask lies in 0..1, not in {values.min()}..{values.max()}")
            values = values.clip(0.0, 1.0)
        return values.astype(np.float32)

    return Masker(name, compute, binary=gain is None, gain=gain or "linear")


def known_maskers() -> tuple[str, ...]:
    """Every masker: those of methods, what they are compared with, and baselines."""
    of_methods = (method.name for method in all_methods() if method.has_window_mask)
    return tuple(dict.fromkeys((*MASKERS, *COMPONENTS, *of_methods)))
