"""Many sounds in one go: whatever goes wrong with one of them is its own answer, and the rest goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import AudioError, EarmarkError, as_earmark_error
from .audio.sound import OpenSound, open_sound
from .inference.window import Clock

if TYPE_CHECKING:
    from .inference.pipeline import Hearing
    from .inference.window import Window
    from .results import Result

# An iterator that does nothing but raise is given up after so many errors in a row.
_MOST_ERRORS = 1000


@dataclass(frozen=True, eq=False)
class Failure:
    """An input of `explain_many` that could not be explained, as a value.

    Attributes:
        input: The input's name: its path, the name of the file object, or "the array".
        error: Why; its text is one printable line.

    """

    input: str
    error: EarmarkError

    def __eq__(self, other: object) -> bool:
        """By value, as results are: errors themselves are equal to nothing but themselves."""
        return isinstance(other, Failure) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, type[EarmarkError], str]:
        return self.input, type(self.error), str(self.error)

    @property
    def ok(self) -> bool:
        """False: there is an error, no explanation (a `Result` says True)."""
        return False


def open_any(sound: Any, sample_rate: int | None, model_rate: int) -> OpenSound:
    """`open_sound`, where a user's object may raise whatever it likes. Raises AudioError for that."""
    try:
        return open_sound(sound, sample_rate, model_rate)
    except (EarmarkError, MemoryError):
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise AudioError(
            f"{name_of(sound)} cannot be read as sound ({type(error).__name__}: {text}): give a path, a "
            "binary file, or an array and its rate"
        ) from error


def explained(
    sounds: Iterator[Any],
    batch_size: int,
    open_one: Callable[[Any], OpenSound],
    hearing: Hearing,
    explain: Callable[[OpenSound, Clock, Window | None], Result],
) -> Iterator[Result | Failure]:
    """An answer for each sound, in order; `batch_size` of them are opened at a time."""
    drawn = _drawn(sounds)
    while batch := list(islice(drawn, batch_size)):
        clocks = [Clock() for _ in batch]
        items: list[OpenSound | Failure] = []
        for sound, clock in zip(batch, clocks, strict=True):
            if isinstance(sound, Failure):
                items.append(sound)
                continue
            try:
                with clock.stage("read"):
                    items.append(open_one(sound))
            except Exception as error:
                items.append(Failure(name_of(sound), as_earmark_error(error)))
        ready = hearing.together(items, clocks)
        for item, clock, heard in zip(items, clocks, ready, strict=True):
            answer: Result | Failure
            if isinstance(item, Failure):
                answer = item
            else:
                try:
                    answer = explain(item, clock, heard)
                except Exception as error:
                    answer = Failure(item.name, as_earmark_error(error))
            yield answer


def _drawn(sounds: Iterator[Any]) -> Iterator[Any]:
    """The sounds; where the iterator raises, a Failure stands for the sound that it did not give."""
    errors = 0
    while True:
        try:
            sound = next(sounds)
        except StopIteration:
            return
        except Exception as error:
            errors += 1
            if errors > _MOST_ERRORS:
                raise
            text = (str(error).strip().splitlines() or ["no reason given"])[0]
            failed = AudioError(f"the next sound could not be had ({type(error).__name__}: {text})")
            failed.__cause__ = error
            sound = Failure("the iterator of sounds", failed)
        else:
            errors = 0
        yield sound


def name_of(sound: object) -> str:
    """How a result would name the sound that could not be opened; never raises."""
    try:
        if isinstance(sound, (str, os.PathLike)):
            return os.fsdecode(sound)
        named = getattr(sound, "name", None)
        if isinstance(named, str):
            return named
        return (
            "the array" if isinstance(sound, tuple) or hasattr(sound, "__array__") else type(sound).__name__
        )
    except Exception:
        return type(sound).__name__
