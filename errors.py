"""What can go wrong, by name. Every error is an `EarmarkError` and the fitting builtin.

Messages are one line: what was wrong, with which file, and what to do.
"""

from __future__ import annotations

import os

from .printable import printable

# Characters kept of a message's beginning and end, where a stranger's names fill pages.
_HEAD, _TAIL = 900, 300


def _one_line(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} [...] {text[-_TAIL:]}"


class EarmarkError(Exception):
    """Base of every error that earmark raises on purpose.

    Its text is one printable line of bounded length, whatever the names, labels and cells in it.
    """

    def __str__(self) -> str:
        return _one_line(super().__str__())


class AudioError(EarmarkError, ValueError):
    """The sound cannot be used: empty, not finite, not sound at all."""


class BundleError(EarmarkError, ValueError):
    """The bundle is damaged, incomplete, newer than this earmark, or leaves its folder."""


class PrototypeIndexError(BundleError):
    """A prototypes generation is damaged or belongs to another model."""


class BusyError(BundleError):
    """Another process is writing there, or the file system cannot say whether one is."""


class WriteError(EarmarkError, OSError):
    """A file cannot be written: no room, a limit on file sizes, no permission.

    With the `errno`, `strerror` and `filename` of an OSError.
    """

    def __str__(self) -> str:
        # An OSError's own text would be its `strerror` and `filename`.
        return _one_line(str(self.args[0]) if self.args else "")


class LabelError(EarmarkError, LookupError):
    """The label does not exist in this bundle."""


class TargetError(EarmarkError, ValueError):
    """The label exists, but this bundle cannot explain it (decoder for the predicted class)."""


class MethodError(EarmarkError, ValueError):
    """The explanation method does not exist, or this bundle lacks what it needs."""


class SettingsError(EarmarkError, ValueError):
    """A setting of `detect`, `stream` or an evaluation cannot be used, such as a threshold outside 0..1."""


class ScoreError(EarmarkError, ValueError):
    """A score function's answer cannot be used: the wrong shape, not finite, no probabilities."""


class DeviceError(EarmarkError, RuntimeError):
    """The device asked for is not there or is not active. The command exits with 3."""


class MissingDependencyError(EarmarkError, ImportError):
    """An optional package is missing; the message names the extra to install."""


class DataError(EarmarkError, ValueError):
    """A data folder cannot be used: no classes, one class, a fold that is not there."""


class SourceError(EarmarkError, ValueError):
    """What should be exported is incomplete or not what it claims to be."""


class ParityError(EarmarkError, ArithmeticError):
    """The exported graphs disagree with their source by more than the limit."""


class OutOfMemoryError(EarmarkError, MemoryError):
    """One sound of a batch needed more memory than there is; the others have their answers."""


class UnexpectedError(EarmarkError, RuntimeError):
    """A defect in earmark met one item of a batch; the exception itself is its `__cause__`."""


class RunError(EarmarkError, RuntimeError):
    """A run, of training or over many recordings, cannot be started or resumed as asked."""


def as_earmark_error(error: Exception) -> EarmarkError:
    """Any exception as an EarmarkError that says what it was; the exception itself is its cause."""
    if isinstance(error, EarmarkError):
        return error
    kind = type(error).__name__
    found: EarmarkError
    if isinstance(error, MemoryError):
        found = OutOfMemoryError(f"there is not enough memory ({error or kind})")
    elif isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
        found = EarmarkError(f"{error.strerror or error}{where}")
    else:
        found = UnexpectedError(
            f"a defect in earmark, please report it (EARMARK_DEBUG=1 shows where): {kind}: {error}"
        )
    found.__cause__ = error
    return found
