"""Sound files, decoded by libsndfile: every part of them, and what is wrong with them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ...errors import AudioError
from ..values.arrays import FloatArray
from .containers.bytes import Piece, PiecedFile, SoundBytes, unreadable
from .containers.parts import SoundPart
from .containers.survey import survey
from .source import ArraySource, BoundedSource, SoundSource, Stop, block_samples, checked_rate

_SMALL_BLOCK = 1024  # where a file is damaged
# Bytes per value of samples that are not packed.
_WIDTHS = {
    "PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4,
    "DOUBLE": 8, "DPCM_8": 1, "DPCM_16": 2,
}  # fmt: skip
# Where sound begins in files whose headers tell no length.
_HEADS: dict[str, Callable[[SoundBytes], int]] = {
    "IRCAM": lambda _: 1024,
    "PAF": lambda _: 2048,
    # Two lines of text.
    "PVF": lambda data: len(b"".join(data.at(0, 4096).splitlines(keepends=True)[:2])),
    "XI": lambda data: 298 + 40 * int.from_bytes(data.at(296, 2), "little"),
}
# Bytes of a block for each channel, where that is more than a value (10 samples here).
_PACKED = {("PAF", "PCM_24"): 32}
# What a file of a kind that is not looked into may hold beside its sound.
_HEADERS = 4096
# More samples than this are no count, but what decoders say where they know none.
_MOST_SAMPLES = 2**48


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]
    """Read from front to back. After each read soundfile would seek to where libsndfile stands.

    That loses the end of FLAC of unknown length and disturbs MP3, whose frames need those before them.
    """

    def seekable(self) -> bool:
        """No: nothing here seeks."""
        return False


@dataclass(slots=True)
class _Decoded:
    """What decoding one part gave.

    samples: per channel; counted: by libsndfile's own count; broke: decoding failed before the end
    other: what it is, where it does not fit the part before
    """

    samples: int = 0
    counted: int = 0
    broke: bool = False
    other: str = ""


# A decoder and the view that it reads.
_Open = tuple[_Decoder, PiecedFile]
_Ready = tuple[ExitStack, SoundBytes, _Open]


class FileSource:
    """A sound file that libsndfile reads, by its path or as an open binary file.

    stop: ends looking through the file; only the beginning of such a sound should be read
    """

    def __init__(self, file: Any, name: str, stop: Stop | None = None) -> None:
        self.name = name
        self.flat = False
        self._file = file
        self._warnings: list[str] = []
        with ExitStack() as stack:
            data = stack.enter_context(self._bytes())
            data.stop = stop
            self._parts, self._rest = survey(data)
            data.stop = None
            self.expected = sum(part.declared or part.least for part in self._parts)
            try:
                first = stack.enter_context(self._decoder(data, self._parts[0], self._parts[0].views[0]))
                decoder, _ = first
                self.rate = checked_rate(decoder.samplerate, name)
                self.channels = int(decoder.channels)
                if not self.expected and decoder.frames < _MOST_SAMPLES:
                    self.expected = int(decoder.frames)
                if self._parts[0].whole:
                    self._rest = _bytes_left(decoder, data)
                    if self._rest < 0:
                        self._parts = [replace(self._parts[0], cut=True)]
            except soundfile.LibsndfileError as problem:
                reason = str(problem.error_string).rstrip(".") or "it cannot be decoded"
                if "does not exist" in reason:
                    # What libsndfile says of MPEG that mpg123 refuses.
                    reason = "it cannot be decoded"
                cure = "give WAV, FLAC, OGG, AIFF or MP3; headerless sound as an array and its rate"
                if Path("._").exists():
                    # It takes that for what belongs to a file without a name.
                    cure = "libsndfile is led astray by the file ._ in the working folder: remove that"
                raise AudioError(f"{name} is not a sound that can be read ({reason}): {cure}") from problem

            # The first pass goes on where this stands.
            self._ready: _Ready | None = (stack.pop_all(), data, first)

    def close(self) -> None:
        """Close what stands open for the first pass."""
        if self._ready is not None:
            self._ready[0].close()
            self._ready = None

    @contextmanager
    def _bytes(self) -> Iterator[SoundBytes]:
        data = SoundBytes(self._file, self.name)
        try:
            yield data
        finally:
            data.close()

    @contextmanager
    def _decoder(
        self, data: SoundBytes, part: SoundPart, pieces: tuple[Piece, ...]
    ) -> Iterator[tuple[_Decoder, PiecedFile]]:
        """The decoder for these bytes of a part, and the view that it reads, unless the file is intact.

        Raises AudioError where the file cannot be read, LibsndfileError where it is no sound.
        """
        view = PiecedFile(data, pieces)
        try:
            whole = data.descriptor() if part.intact and pieces == ((0, data.size),) else None
            decoder = _Decoder(view if whole is None else whole)
        except soundfile.LibsndfileError:
            self._check(view)
            raise
        try:
            self._check(view)
            yield decoder, view
        finally:
            decoder.close()

    def _check(self, view: PiecedFile) -> None:
        """Raise what reading the file raised inside libsndfile."""
        if isinstance(view.error, Exception):
            raise unreadable(self.name, view.error) from view.error
        if view.error is not None:
            raise view.error

    def blocks(self) -> Generator[FloatArray, None, None]:
        """Blocks [channels, n]; a decoding error ends the part where it stands."""
        decoded: list[_Decoded] = []
        ready, self._ready = self._ready, None
        stack, data, first = ready or (ExitStack(), None, None)
        with stack:
            data = data or stack.enter_context(self._bytes())
            for part in self._parts:
                decoded.append(_Decoded())
                declared = part.declared if len(part.views) == 1 else None
                for pieces in part.views:
                    yield from self._decoded(data, part, pieces, decoded[-1], declared or 0, first)
                    first = None
        self._warnings = self._complaints(decoded)

    def _decoded(
        self,
        data: SoundBytes,
        part: SoundPart,
        pieces: tuple[Piece, ...],
        decoded: _Decoded,
        declared: int,
        ready: _Open | None,
    ) -> Iterator[FloatArray]:
        """The sound of one view; `decoded` counts. A block ends at `declared`: what follows may be no sound.

        ready: the decoder of this view, where one stands at its beginning
        """
        before, size = decoded.samples, block_samples(self.channels)
        while True:
            passed, count = before, 0
            try:
                using, ready = (nullcontext(ready) if ready else self._decoder(data, part, pieces)), None
                with using as (decoder, view):
                    if (decoder.samplerate, decoder.channels) != (self.rate, self.channels):
                        decoded.other = f"{decoder.samplerate} Hz, {decoder.channels} channel(s)"
                        return
                    decoded.counted = int(decoder.frames)
                    while True:
                        wanted = min(size, declared - passed) if passed < declared else size
                        block, broke = _read(decoder, passed - before, wanted, self.channels)
                        self._check(view)
                        count = len(block)
                        fresh = block[max(0, decoded.samples - passed) :]
                        passed += count
                        decoded.samples += len(fresh)
                        if len(fresh):
                            # A few samples of a part must not hold all of its buffer.
                            yield np.ascontiguousarray(fresh.T) if 2 * count > size else fresh.T.copy()
                        if broke or not count:
                            break
            except soundfile.LibsndfileError:
                broke = True
            # Some decoders lose all of the block that breaks off: the sound before it in small pieces.
            if not broke or count or size == _SMALL_BLOCK:
                decoded.broke = decoded.broke or broke
                return
            size = _SMALL_BLOCK

    def warnings(self) -> list[str]:
        """What is wrong with the file; known when `blocks` has come to its end."""
        return self._warnings

    def _complaints(self, decoded: list[_Decoded]) -> list[str]:
        """One line for each kind of fault."""
        rate, samples = self.rate, sum(one.samples for one in decoded)
        held = f"{samples / rate:.3f} s"
        promised, missing, more = 0, False, False
        for part, one in zip(self._parts, decoded, strict=True):
            declared = part.declared
            if declared is None and part.counted:
                declared = one.counted
            if one.other:
                continue
            promised += one.samples if declared is None else declared
            short = one.samples < max(declared or 0, part.least)
            missing = missing or short or part.cut or (one.broke and declared is None)
            more = more or (declared is not None and one.samples > declared and not part.unfinished)
        promise = f"{promised / rate:.3f} s"
        if promise == held and promised != samples:
            promise, held = f"{promised} samples", f"{samples} samples"
        lines = []
        if any(part.unfinished for part in self._parts):
            lines.append(
                f"the file's header was never finished: it says 0 s, and {held} of sound were decoded"
            )
        if missing and promised > samples:
            lines.append(
                f"the file is cut off or damaged: its header promises {promise}, and {held} of "
                "it can be decoded"
            )
        elif missing:
            lines.append(
                f"the file is cut off or damaged: its sound breaks off after the {held} that were decoded"
            )
        elif more:
            lines.append(
                f"the file's header promises {promise}, but {held} of sound are there: all of it was decoded"
            )
        skipped = sum(part.skipped for part in self._parts)
        if skipped and not missing:
            lines.append(f"the file is damaged: {skipped} bytes of it are no sound and were left out")
        lost = [part.lost for part in self._parts if part.lost]
        if lost and not missing:
            lines.append(f"the file is damaged: {lost[0]}" + (", and more" if len(lost) > 1 else ""))
        other = [one.other for one in decoded if one.other]
        if other:
            lines.append(
                f"only {held} of the file were decoded: another stream follows ({other[0]}), which does not "
                f"fit the first ({rate} Hz, {self.channels} channel(s)); give it alone"
            )
        elif self._rest > 0:
            lines.append(
                f"only {held} of the file were decoded: {self._rest} bytes follow that no header tells of"
            )
        return lines


def _read(decoder: _Decoder, start: int, size: int, channels: int) -> tuple[FloatArray, bool]:
    """The block [n, channels] that begins at `start`, and whether decoding broke off in it."""
    buffer: FloatArray = np.empty((size, channels), np.float32)
    try:
        return decoder.read(out=buffer), False
    except soundfile.LibsndfileError:
        pass
    try:
        # Where libsndfile stands tells what it had decoded.
        return buffer[: min(size, max(0, decoder.tell() - start))], True
    except soundfile.LibsndfileError:
        return buffer[:0], True


def _bytes_left(decoder: _Decoder, data: SoundBytes) -> int:
    """Bytes of a file that are neither sound by its header nor a header; below 0 where some are missing."""
    width = _WIDTHS.get(decoder.subtype, 0)
    begin = _HEADS.get(decoder.format)
    if width and begin is not None:
        # No header of these tells a length: all that is known is that a file holds no part of a block.
        block = _PACKED.get((decoder.format, decoder.subtype), width) * int(decoder.channels)
        return -1 if (data.size - begin(data)) % block else 0
    if decoder.format == "SDS":
        # Samples of 7 bits each byte, which take whole bytes.
        width += 1
    rest = data.size - int(decoder.frames) * int(decoder.channels) * width
    return rest if width and not 0 <= rest <= _HEADERS + data.size // 20 else 0


def find_source(sound: Any, sample_rate: int | None, stop: Stop | None = None) -> SoundSource:
    """The source for a path, an open binary file, an array, (array, rate) or (array, rate, name).

    sample_rate: of an array, in Hz; None for files
    stop: ends looking through a file, of which then only the beginning should be read
    Raises AudioError where it is none of these or cannot be opened.
    """
    if isinstance(sound, BoundedSource):
        return sound
    if isinstance(sound, tuple):
        if len(sound) not in {2, 3}:
            raise AudioError(f"a tuple of {len(sound)} is not a sound: give (array, rate)")
        array, rate, *named = sound
        if sample_rate is not None and sample_rate != rate:
            raise AudioError(f"two rates were given, {rate} and {sample_rate} Hz: give one")
        source = ArraySource(array, rate)
        if named:
            source.name = str(named[0])
        return source
    if isinstance(sound, (str, os.PathLike)):
        return _same_rate(FileSource(_sound_path(sound), os.fspath(sound), stop), sample_rate)
    if hasattr(sound, "read") and hasattr(sound, "seek"):
        return _same_rate(_open_file(sound, stop), sample_rate)
    if hasattr(sound, "__array__"):
        if sample_rate is None:
            raise AudioError("an array needs its sample rate: give sample_rate=... or (array, rate)")
        return ArraySource(sound, sample_rate)
    raise AudioError(
        f"{type(sound).__name__} is not a sound: give a path, a binary file, or an array and its rate"
    )


def _same_rate(source: FileSource, sample_rate: int | None) -> FileSource:
    if sample_rate is not None and sample_rate != source.rate:
        source.close()
        raise AudioError(
            f"{source.name} says {source.rate} Hz, but a rate of {sample_rate} Hz was given: "
            "leave the rate away for files"
        )
    return source


def _sound_path(path: str | os.PathLike[str]) -> str:
    """`path` as a string, after refusing what is no regular file with sound in it."""
    name = os.fspath(path)
    if not name:
        raise AudioError("the path is empty: give that of a sound file")
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


def _open_file(file: Any, stop: Stop | None) -> FileSource:
    named = getattr(file, "name", None)
    name = named if isinstance(named, str) and named else "the open file"
    try:
        end = file.seek(0, os.SEEK_END)
        size = file.tell() if end is None else end
        file.seek(0)
        binary = isinstance(file.read(0), bytes)
    except Exception as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise AudioError(
            f"{name} cannot be read from its beginning ({reason}): read it into memory"
        ) from problem
    if not binary:
        raise AudioError(f"{name} is open as text: open it with mode 'rb'")
    if size == 0:
        raise AudioError(f"{name} is empty: it has 0 bytes")
    return FileSource(file, name, stop)
