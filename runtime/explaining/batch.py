"""Many sounds in one go: whatever goes wrong with one of them is its own answer, and the rest goes on."""

from __future__ import annotations

import inspect
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import AudioError, EarmarkError, as_earmark_error
from ..audio.single_pass import SinglePassSound
from ..audio.sound import OpenSound
from ..document import Origin, error_dict, failure_record
from ..inference.threads import thread_count
from ..inference.window import Clock
from ..observing import Observation, tell

if TYPE_CHECKING:
    from ..inference.window import Window
    from ..results.result import Result

# Files up to this size are opened side by side.
_SMALL_BYTES = 1 << 24
# An iterator that does nothing but raise is given up after so many errors in a row.
_MOST_ERRORS = 1000
_PACKAGE = __name__.partition(".")[0] + "."
# Kinds of functions whose frames may wait.
_WAITING = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True, eq=False)
class Failure:
    """An input of `explain_many` that could not be explained, as a value.

    Attributes:
        input: The input's name: its path, the name of the file object, or "the array".
        error: Why; its text is one printable line.
        origin: What was asked, and of which bundle.

    """

    input: str
    error: EarmarkError
    origin: Origin = field(default_factory=Origin)

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

    def to_dict(self) -> dict[str, Any]:
        """The record of the sound: the fields of `Result.to_dict`, null or empty, and the error.

        Returns:
            A JSON-ready mapping.

        """
        return failure_record("result", self.input, error_dict(self.error), self.origin)


Opened = TypeVar("Opened", OpenSound, SinglePassSound)


def open_any(opening: Callable[[], Opened], sound: Any, name: str | None = None) -> Opened:
    """Open a sound, where a user's object may raise whatever it likes. Raises AudioError for that.

    name: in place of the sound's own
    """
    try:
        opened = opening()
        if name is not None:
            opened.name = name
        return opened
    except (EarmarkError, MemoryError):
        raise
    except Exception as error:
        raise AudioError(
            f"{name_of(sound)} cannot be read as sound ({_said(error)}): give a path, a binary file, or an "
            "array and its rate"
        ) from error


def _said(error: Exception) -> str:
    """What another's error says, in a line."""
    text = (str(error).strip().splitlines() or ["no reason given"])[0]
    return f"{type(error).__name__}: {text}"


def explained(
    sounds: Iterator[Any],
    batch_size: int,
    open_one: Callable[[Any], OpenSound],
    together: Callable[[Sequence[object], Sequence[Clock]], list[Window | None]],
    explain: Callable[[OpenSound, Clock, Window | None], list[Result]],
    origin: Callable[[], Origin],
    *,
    ahead: int = 0,
) -> Iterator[Result | Failure]:
    """The answers for each sound, in order; `batch_size` of them are opened at a time, files side by side.

    origin: what is asked, for the records of failures
    ahead: batches that a thread classifies while the one before them is explained, and that are open, too;
        of several this thread classifies those that it would else wait for
    """
    drawn = _drawn(sounds)
    batches: deque[_Batch] = deque()
    with ThreadPoolExecutor(1, "earmark-ahead") if ahead else nullcontext() as classifier:
        try:
            while True:
                while len(batches) <= ahead and (batch := list(islice(drawn, batch_size))):
                    batches.append(_Batch([Clock() for _ in batch]))
                    batches[-1].begin(batch, open_one, together, classifier)
                if not batches:
                    return
                waiting = islice(batches, 1, None)
                while ahead > 1 and not batches[0].ready and (other := next(waiting, None)) is not None:
                    other.classify()
                items, ready = batches[0].items, batches[0].classified()
                for clock in batches[0].clocks:
                    for one in _answers(items.pop(0), clock, ready.pop(0), explain):
                        yield _told(replace(one, origin=origin())) if isinstance(one, Failure) else one
                batches.popleft()
        finally:
            # The frames of a Failure's traceback refer to this one: no sound stays in it.
            for rest in batches:
                rest.clear()


class _Batch:
    """Sounds that are opened and classified together."""

    def __init__(self, clocks: Sequence[Clock]) -> None:
        self.clocks = clocks
        self.items: list[OpenSound | Failure] = []
        self._windows: list[Window | None] = []
        self._classify: Callable[[], list[Window | None]] = list
        self._ahead: Future[list[Window | None]] | None = None

    def begin(
        self,
        sounds: list[Any],
        open_one: Callable[[Any], OpenSound],
        together: Callable[[Sequence[object], Sequence[Clock]], list[Window | None]],
        classifier: ThreadPoolExecutor | None,
    ) -> None:
        """Open the sounds, which leave their list, and classify them, by another thread if there is one."""
        _open_together(sounds, self.items, self.clocks, open_one)
        self._classify = partial(together, self.items, self.clocks)
        if classifier is None:
            self._windows = self._classify()
        else:
            self._ahead = classifier.submit(self._classify)

    @property
    def ready(self) -> bool:
        """Whether nobody has to wait for `classified`."""
        return self._ahead is None or self._ahead.done()

    def classify(self) -> None:
        """Classify in this thread what no other has begun with."""
        if self._ahead is not None and self._ahead.cancel():
            self._windows, self._ahead = self._classify(), None

    def classified(self) -> list[Window | None]:
        """The window of each sound, where it is one that was classified."""
        if self._ahead is not None:
            self._windows, self._ahead = self._ahead.result(), None
        return self._windows

    def clear(self) -> None:
        """Let all of it go, once no thread works on it."""
        if self._ahead is None or not self._ahead.cancel():
            self.classified().clear()
        self.items.clear()


def _told(failure: Failure) -> Failure:
    """The failure, of which the observers know."""
    error, asked = type(failure.error).__name__, failure.origin
    tell(
        Observation(kind="result", input=failure.input, bundle=asked.bundle, device=asked.device, error=error)
    )
    return failure


def _open_together(
    batch: list[Any],
    items: list[OpenSound | Failure],
    clocks: Sequence[Clock],
    open_one: Callable[[Any], OpenSound],
) -> None:
    """Move the sounds of a batch, opened, to `items`; objects of the user are read by this thread alone.

    No name of this frame, to which those of tracebacks refer, holds a sound afterwards; no thread is left.
    """
    with ThreadPoolExecutor(thread_count(), "earmark-reader") as readers:
        files: list[Future[OpenSound | Failure] | None] = [
            readers.submit(_opened, batch[number], clock, open_one) if _is_small(batch[number]) else None
            for number, clock in enumerate(clocks)
        ]
        for clock in clocks:
            file = files.pop(0)
            if file is None:
                items.append(_opened(batch.pop(0), clock, open_one))
            else:
                items.append(file.result())
                del batch[0]
            del file


def _is_small(sound: object) -> bool:
    """Whether it is the path of a file that is read in no time, for which Ctrl-C may wait."""
    try:
        return isinstance(sound, (str, os.PathLike)) and Path(sound).stat().st_size <= _SMALL_BYTES
    except (OSError, TypeError, ValueError):
        return False


def _opened(sound: Any, clock: Clock, open_one: Callable[[Any], OpenSound]) -> OpenSound | Failure:
    """The sound, opened and resampled, or why it cannot be."""
    if isinstance(sound, Failure):
        return sound
    opened: OpenSound | None = None
    try:
        with clock.stage("read"):
            opened = open_one(sound)
            opened.resample()
            return opened
    except Exception as error:
        return _failure(name_of(sound), error)
    finally:
        # This frame, too, is referred to by those of the traceback.
        del sound, opened


def _answers(
    item: OpenSound | Failure,
    clock: Clock,
    window: Window | None,
    explain: Callable[[OpenSound, Clock, Window | None], list[Result]],
) -> Sequence[Result | Failure]:
    """The sound, explained for each target, or why it cannot be."""
    if isinstance(item, Failure):
        return [item]
    try:
        return explain(item, clock, window)
    except Exception as error:
        return [_failure(item.name, error)]
    finally:
        # As above.
        del item, window


def _failure(name: str, raised: Exception) -> Failure:
    """A Failure that keeps no sound alive: its tracebacks keep their lines, not the variables.

    Generators of others are left alone: one that waits would end.
    """
    error = as_earmark_error(raised)
    one: BaseException | None = error
    seen: set[BaseException] = set()
    while one is not None and one not in seen:
        seen.add(one)
        # The frames of this file still run and cannot be cleared: the traceback begins behind them.
        while one.__traceback__ is not None and one.__traceback__.tb_frame.f_code in _RUNNING:
            one.__traceback__ = one.__traceback__.tb_next
        for frame, _ in traceback.walk_tb(one.__traceback__):
            ours = str(frame.f_globals.get("__name__")).startswith(_PACKAGE)
            if ours or not frame.f_code.co_flags & _WAITING:
                with suppress(RuntimeError):
                    frame.clear()
        one = one.__cause__
    return Failure(name, error)


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
            failed = AudioError(f"the next sound could not be had ({_said(error)})")
            failed.__cause__ = error
            sound = _failure("the iterator of sounds", failed)
        else:
            errors = 0
        yield sound
        del sound


_RUNNING = (_opened.__code__, _answers.__code__, _drawn.__code__)


def name_of(sound: object) -> str:
    """How a result would name the sound that could not be opened; never raises."""
    try:
        if isinstance(sound, (str, os.PathLike)):
            return os.fsdecode(sound)
        if isinstance(sound, tuple) and len(sound) == 3:
            return str(sound[2])
        named = getattr(sound, "name", None)
        if isinstance(named, str):
            return named
        return (
            "the array" if isinstance(sound, tuple) or hasattr(sound, "__array__") else type(sound).__name__
        )
    except Exception:
        return type(sound).__name__
