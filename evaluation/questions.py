"""Anybody's explanation method in earmark's tables: a function that answers a `Question`.

A function is given as it is, or as "module:function". What it answers depends on the table:

- masks: values [T, F] over the listenable STFT. They rank the cells, higher first, and are cut to equal area;
  of a function under `@soft_mask()` they are the mask itself, 0..1.
- events: an importance [M] for each segment of time, higher where the target's evidence is.
- prototypes: the nearest training sounds, best first, each a `Match`.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import EarmarkError, MethodError
from ..runtime.audio.stft import as_complex
from ..runtime.bundle.manifest import MaskGain
from ..runtime.engine import Engine
from ..runtime.inference.scores import scores_of
from ..runtime.inference.window import Window
from ..runtime.values.arrays import FloatArray, Values

if TYPE_CHECKING:
    from collections.abc import Iterator

Function = TypeVar("Function", bound=Callable[..., Any])
# Attribute of a function whose masks are used as they are: what they multiply.
_GAIN = "earmark_gain"
# Segments of a question that no table gives any.
_SEGMENT_S = 0.1


@dataclass
class Question:
    """A sound as the model is given it, and the class to be explained.

    Attributes:
        waveform: [N] float32, mono, at the model's rate and level, padded to what the model needs.
        sample_rate: In Hz.
        stft: [T, F] complex64, the listenable STFT of the waveform.
        target: Index of the class in `labels`.
        labels: The model's, in the logits' order.
        edges: [M + 1] borders of the segments of time in seconds.
        seed: Of all that a method draws.
        calls: How often the model was asked by `logits`, `logits_of_stft` and `score`, in sounds.

    """

    waveform: FloatArray
    sample_rate: int
    stft: npt.NDArray[np.complex64]
    target: int
    labels: Sequence[str]
    edges: Values
    seed: int
    engine: Engine = field(repr=False)
    calls: int = 0

    @classmethod
    def of(
        cls, engine: Engine, window: Window, target: int, seed: int, edges: Values | None = None
    ) -> Question:
        """The question of a window and a class; edges: segments of 0.1 s where there are none."""
        rate = engine.manifest.sample_rate
        seconds = window.waveform.shape[-1] / rate
        if edges is None:
            edges = np.append(np.arange(0.0, seconds - 1e-6, _SEGMENT_S), seconds)
        spectrum = as_complex(window.stft)
        return cls(window.waveform, rate, spectrum, target, engine.manifest.labels, edges, seed, engine)

    def logits(self, waveforms: FloatArray) -> FloatArray:
        """The model's logits [B, K] of other waveforms [B, N] of the same length."""
        self.calls += len(waveforms)
        return self.engine.logits_of(np.ascontiguousarray(waveforms, np.float32))

    def logits_of_stft(self, spectra: npt.NDArray[np.complexfloating[Any, Any]]) -> FloatArray:
        """The model's logits [B, K] of STFTs [B, T, F].

        Raises:
            MethodError: The model takes features of its own.

        """
        self.calls += len(spectra)
        parts = np.stack([spectra.real, spectra.imag], axis=-1).astype(np.float32)
        return self.engine.pipeline.logits_of_spectra(parts)

    def score(self, waveforms: FloatArray) -> FloatArray:
        """The target's probability [B] for waveforms [B, N]."""
        scores: FloatArray = scores_of(self.logits(waveforms), self.engine.manifest.task)[:, self.target]
        return scores


@dataclass(frozen=True)
class Match:
    """A training sound that a method calls near, and the place of the input that it matches.

    Attributes:
        label: Of the training sound.
        similarity: Higher is nearer; it is told, and decides nothing.
        start_s, end_s: The place in the input in seconds; None: from its begin, to its end.
        fmin_hz, fmax_hz: Likewise in Hz; None: from 0, to half the rate.

    """

    label: str
    similarity: float = math.nan
    start_s: float | None = None
    end_s: float | None = None
    fmin_hz: float | None = None
    fmax_hz: float | None = None


# Explains by cells of the STFT: values [T, F], a ranking of the cells, or with `soft_mask` the mask.
MaskFunction = Callable[[Question], npt.ArrayLike]
# Explains by segments of time: an importance [M] for each.
EventFunction = Callable[[Question], npt.ArrayLike]
# Explains by training sounds: the nearest, best first, at least one.
PrototypeFunction = Callable[[Question], Iterable[Match]]
Explaining = MaskFunction | EventFunction | PrototypeFunction


def soft_mask(gain: MaskGain = "linear") -> Callable[[Function], Function]:
    """A decorator for functions whose values are the mask itself, 0..1, not a ranking.

    Args:
        gain: What the mask multiplies: the magnitude ("linear"), also where it holds little ("floored"), or
            its logarithm log1p |S| ("log").

    Returns:
        The decorator.

    """

    def mark(function: Function) -> Function:
        setattr(function, _GAIN, gain)
        return function

    return mark


def gain_of_masks(function: MaskFunction) -> MaskGain | None:
    """What a function's masks multiply; None where its values only rank."""
    gain: MaskGain | None = getattr(function, _GAIN, None)
    return gain


def name_of(function: Explaining) -> str:
    """What the row of a function is called: "module:function", of a script its file's name."""
    name = getattr(function, "__qualname__", None) or type(function).__name__
    module = getattr(function, "__module__", None) or "__main__"
    if module == "__main__":
        module = Path(getattr(sys.modules[module], "__file__", None) or "script").stem
    return f"{module}:{name}"


def is_reference(name: str) -> bool:
    """Whether a method's name is a "module:function"."""
    return ":" in name


def function_at(reference: str) -> Callable[[Question], Any]:
    """The function "module:function"; modules may lie in the working folder.

    Raises:
        MethodError: There is no such module or function, or what is there cannot be called.

    """
    place, _, attribute = reference.partition(":")
    try:
        with _here_on_the_path():
            found: Any = importlib.import_module(place)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise MethodError(
            f"{reference}: cannot be imported ({type(error).__name__}: {error}); "
            "name a function as module:function"
        ) from error
    if not callable(found):
        raise MethodError(f"{reference}: is {type(found).__name__}, which cannot be called")
    function: Callable[[Question], Any] = found
    return function


@contextmanager
def _here_on_the_path() -> Iterator[None]:
    """The working folder, where a user's module lies, on the path."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def numbers_of(
    name: str, function: MaskFunction | EventFunction, question: Question, shape: tuple[int, ...]
) -> Values:
    """A function's answer as an array of this shape.

    Raises:
        MethodError: It raised, or its answer is no finite array of that shape.

    """
    answer = answered(name, function, question)
    try:
        values = np.asarray(answer, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MethodError(
            f"{name}: returned {type(answer).__name__}, which is no array of numbers"
        ) from error
    if values.shape != shape:
        raise MethodError(f"{name}: returned the shape {list(values.shape)}, not {list(shape)}")
    if not np.isfinite(values).all():
        raise MethodError(f"{name}: returned values that are not finite")
    return values


def answered(name: str, function: Explaining, question: Question) -> Any:
    """What a function answers. Raises MethodError, with what it raised."""
    try:
        return function(question)
    except EarmarkError:
        raise
    except Exception as error:
        raise MethodError(f"{name}: raised {type(error).__name__}: {error}") from error
