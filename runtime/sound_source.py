"""Where sound comes from: a file, an open file, or an array, read block by block at its own rate."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import AudioError
from .arrays import FloatArray

BLOCK = 65536  # samples per channel
_SMALL_BLOCK = 1024  # where a file is damaged
LOWEST_RATE, HIGHEST_RATE = 1000, 768000
_MOST_CHANNELS = 64
# Chunk sizes above this are what writers to a pipe put in when they do not know the length.
_UNKNOWN_SIZE = 0x7FFF0000
_CHUNK = re.compile(r"^\s*(?:RIFF|riff|data|FORM|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


class SoundSource(Protocol):
    """A sound at its own rate that can be read any number of times.

    rate in Hz; channels; promised: samples per channel by its header; cut_off: the container says
    that sound is missing; flat: a single waveform [N] without an axis for channels.
    """

    name: str
    rate: int
    channels: int
    promised: int
    cut_off: bool
    flat: bool

    def blocks(self) -> Iterator[FloatArray]:
        """Blocks [channels, n] in order, from the beginning; ends early where decoding fails."""


class ArraySource:
    """An array [N] or [channels, N]; integers are scaled by their range to [-1, 1)."""

    cut_off = False

    def __init__(self, array: npt.ArrayLike, rate: int) -> None:
        values = np.asarray(array)
        self.name = "the array"
        if values.dtype.kind not in "iuf":
            raise AudioError(
                f"the array holds {values.dtype}, not sound: give floats within [-1, 1] or integers"
            )
        if values.dtype.kind in "iu" and values.dtype.itemsize > 4:
            # What Python's own integers become: scaled by 2**63, any real sound would be silence.
            raise AudioError(
                f"the array holds {values.dtype}, which has no agreed full scale: give floats within [-1, 1] "
                "or integers of 8, 16 or 32 bits"
            )
        if values.ndim not in {1, 2}:
            raise AudioError(
                f"the array has shape {list(values.shape)}: give [samples] or [channels, samples]"
            )
        if values.size == 0:
            raise AudioError(f"the array has no samples (shape {list(values.shape)})")
        self.flat = values.ndim == 1
        self._values = values.reshape(-1, values.shape[-1])
        self.channels, self.promised = self._values.shape
        if self.channels > _MOST_CHANNELS and self.channels > self.promised:
            raise AudioError(
                f"the array has {self.channels} channels of {self.promised} samples: give "
                "[channels, samples], that is array.T"
            )
        self.rate = checked_rate(rate, self.name)

    def blocks(self) -> Iterator[FloatArray]:
        """Blocks [channels, n]; views where the array is float32 already."""
        kind, bits = self._values.dtype.kind, 8 * self._values.dtype.itemsize
        for start in range(0, self.promised, BLOCK):
            block = self._values[:, start : start + BLOCK]
            if kind == "f":
                with np.errstate(over="ignore"):
                    yield block.astype(np.float32, copy=False)
            else:
                zero = float(2 ** (bits - 1)) if kind == "u" else 0.0
                yield ((block.astype(np.float64) - zero) / 2.0 ** (bits - 1)).astype(np.float32)


class _Calm:
    """An open file for libsndfile's callbacks, in which an exception would only be printed.

    A damaged header makes libsndfile seek to places that do not exist: the position then stays.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        # soundfile looks at names: headerless formats are refused by them.
        self.name = getattr(file, "name", "")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with suppress(OSError, ValueError, OverflowError):
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, count: int) -> bytes:
        try:
            return bytes(self._file.read(count))
        except (OSError, ValueError):
            return b""


class FileSource:
    """A sound file that libsndfile reads, by its path or as an open binary file (rewound here)."""

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self.flat = False
        self._file = file
        with closing(self._open()) as opened:
            self.rate = checked_rate(opened.samplerate, name)
            self.channels = int(opened.channels)
            self.promised = int(opened.frames)
            self.cut_off = any(
                _UNKNOWN_SIZE > int(told) > int(held) for told, held in _CHUNK.findall(opened.extra_info)
            )

    def _open(self) -> Any:
        try:
            if isinstance(self._file, str):
                # As bytes where names are bytes: soundfile refuses a name that is no UTF-8.
                name = self._file if os.name == "nt" else os.fsencode(self._file)
                return soundfile.SoundFile(name)
            self._file.seek(0)
            return soundfile.SoundFile(_Calm(self._file))
        except soundfile.LibsndfileError as problem:
            reason = str(problem.error_string).rstrip(".") or "it cannot be decoded"
            raise AudioError(
                f"{self.name} is not a sound that can be read ({reason}): give WAV, FLAC, OGG, AIFF or MP3"
            ) from problem
        except (TypeError, ValueError) as problem:
            # soundfile asks for the format of headerless (.raw) files; guessing it would invent sound.
            raise AudioError(
                f"{self.name} cannot be read as sound: headerless and closed files are refused; "
                "give WAV, FLAC, OGG, AIFF or MP3, or an array and its rate"
            ) from problem
        except OSError as problem:
            raise AudioError(f"{self.name} cannot be read: {problem.strerror or problem}") from problem

    def blocks(self) -> Iterator[FloatArray]:
        """Blocks [channels, n]; a decoding error ends the sound where it stands."""
        heard, size = 0, BLOCK
        while True:
            try:
                with closing(self._open()) as opened:
                    if heard:
                        opened.seek(heard)
                    while len(block := opened.read(size, dtype="float32", always_2d=True)):
                        heard += len(block)
                        yield np.ascontiguousarray(block.T)
                return
            except soundfile.LibsndfileError:
                # A block that breaks off is lost as a whole: the sound before the damage in small pieces.
                if size <= _SMALL_BLOCK:
                    return
                size = _SMALL_BLOCK


def find_source(sound: Any, sample_rate: int | None) -> SoundSource:
    """The source for a path, an open binary file, an array, or a pair (array, rate).

    Raises AudioError where it is none of these or cannot be opened.
    """
    if isinstance(sound, tuple):
        if len(sound) != 2:
            raise AudioError(f"a tuple of {len(sound)} is not a sound: give (array, rate)")
        array, rate = sound
        if sample_rate is not None and sample_rate != rate:
            raise AudioError(f"two rates were given, {rate} and {sample_rate} Hz: give one")
        return ArraySource(array, rate)
    if isinstance(sound, (str, os.PathLike)):
        return _same_rate(FileSource(_sound_path(sound), os.fspath(sound)), sample_rate)
    if hasattr(sound, "read") and hasattr(sound, "seek"):
        return _same_rate(_open_file(sound), sample_rate)
    if hasattr(sound, "__array__"):
        if sample_rate is None:
            raise AudioError("an array needs its sample rate: give sample_rate=... or (array, rate)")
        return ArraySource(sound, sample_rate)
    raise AudioError(
        f"{type(sound).__name__} is not a sound: give a path, a binary file, or an array and its rate"
    )


def checked_rate(rate: Any, name: str) -> int:
    """`rate` as an int in Hz, or AudioError."""
    try:
        value = int(rate)
        whole = value == rate
    except (TypeError, ValueError, OverflowError):
        whole, value = False, 0
    if not whole or not LOWEST_RATE <= value <= HIGHEST_RATE:
        raise AudioError(
            f"{name} has a sample rate of {rate!r} Hz: rates are whole numbers "
            f"from {LOWEST_RATE} to {HIGHEST_RATE}; resample it first"
        )
    return value


def _same_rate(source: FileSource, sample_rate: int | None) -> FileSource:
    if sample_rate is not None and sample_rate != source.rate:
        raise AudioError(
            f"{source.name} says {source.rate} Hz, but a rate of {sample_rate} Hz was given: "
            "leave the rate away for files"
        )
    return source


def _sound_path(path: str | os.PathLike[str]) -> str:
    """`path` as a string, after refusing what is no regular file with sound in it."""
    name = os.fspath(path)
    try:
        found = Path(name).stat()
    except (OSError, ValueError) as problem:
        if isinstance(problem, FileNotFoundError):
            raise AudioError(f"{name} does not exist: check the path") from problem
        reason = getattr(problem, "strerror", None) or problem
        raise AudioError(f"{name!r} cannot be read: {reason}") from problem
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(f"{name} is a folder: give a sound file")
    # A pipe would block for ever and cannot be read twice.
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(f"{name} is not a regular file: write the sound to a file first")
    if found.st_size == 0:
        raise AudioError(f"{name} is empty: it has 0 bytes")
    return name


def _open_file(file: Any) -> FileSource:
    named = getattr(file, "name", None)
    name = named if isinstance(named, str) and named else "the open file"
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        binary = isinstance(file.read(0), bytes)
    except (OSError, ValueError) as problem:
        raise AudioError(
            f"{name} cannot be read from its beginning ({problem}): read it into memory"
        ) from problem
    if not binary:
        raise AudioError(f"{name} is open as text: open it with mode 'rb'")
    if size == 0:
        raise AudioError(f"{name} is empty: it has 0 bytes")
    return FileSource(file, name)
