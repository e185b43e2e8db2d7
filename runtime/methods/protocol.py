"""The protocol of an explanation method: one file a method, one line of registration.

The runtime hears a sound window by window; a method opens an account for the sound and its
target, sees every window once, in order, and closes the account with its part of the result.
Memory therefore does not grow with the sound.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy.typing as npt

from ...errors import MethodError
from ..arrays import FloatArray
from ..inference.window import Clock, Window

if TYPE_CHECKING:
    from ..audio.sound import OpenSound
    from ..bundle.open import Bundle
    from ..inference.session import Tensors


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of a sound before its windows are explained.

    samples: length at the model's rate; windows: how many there will be;
    input_rate, input_samples, input_channels: as the user gave it
    predicted: class index that the model puts first over the whole sound
    """

    samples: int
    windows: int
    input_rate: int
    input_samples: int
    input_channels: int
    predicted: int = -1


@dataclass(frozen=True)
class Context:
    """What the runtime lends a method for one explanation.

    run(stage, feeds, outputs) and run_graph(path, feeds) give outputs by name; their time is counted
    opened: the sound, for methods that answer with sound
    windows(): every window of it once more, in order, for methods that know only at the end what to look at;
        what is not in memory is heard again
    rescore: whether the user wants masked sound to be heard again
    logits_of(waveforms [B, N] at the model's rate and level, precision="fp32") -> logits [B, K]: what the
        classifier says of a changed sound ("int8": the quantised one, MethodError where there is none);
        its time is not counted, a stage around it does that
    options: what the user set for this method, by name
    cache: lives as long as the explainer, for what is costly to open; keys belong to the methods
    """

    bundle: Bundle
    run: Callable[..., Tensors]
    run_graph: Callable[[Path, Mapping[str, npt.NDArray[Any]]], Tensors]
    clock: Clock
    opened: OpenSound
    windows: Callable[[], Iterable[Window]]
    logits_of: Callable[..., FloatArray]
    rescore: bool
    seed: int
    options: Mapping[str, Any]
    cache: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A method's part of the result: fields of `Result` by name, and what the user should be warned of."""

    fields: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def unknown(what: str, name: object, known: Sequence[str]) -> MethodError:
    """The error for a name that does not exist: the nearest that does, and all there are."""
    near = difflib.get_close_matches(str(name), known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    there = f"the {what}s are {', '.join(known)}" if known else "it has none"
    return MethodError(f"there is no {what} {name!r}; {guess}{there}")


def refuse_unknown(method: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise MethodError where an option of the method does not exist."""
    for name in options:
        if name not in known:
            raise MethodError(f"{method}: {unknown('option', name, known)}")


class Account(Protocol):
    """The running explanation of one sound for one target."""

    def add(self, heard: Window) -> None:
        """See one more window."""

    def finish(self) -> Answer:
        """The method's part of the result."""


class Method(Protocol):
    """An explanation method over an open bundle.

    stage: under which name the runtime counts its time; None where it counts stages of its own
    """

    name: ClassVar[str]
    stage: ClassVar[str | None]

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Look at what the user set, before any sound is read.

        Raises MethodError for an option that does not exist or a value that does not fit,
        MissingDependencyError where it needs a package that is not installed.
        """

    @classmethod
    def of(cls, context: Context) -> Self:
        """The method over the context's bundle. Raises MethodError where the bundle lacks what it needs."""

    def begin(self, sound: Sound, target: int) -> Account:
        """Open an account for `sound` and the class index `target`."""
