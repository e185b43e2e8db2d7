"""The bytes of a sound file: read at any place, put together anew for libsndfile, errors kept."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np

from ....errors import AudioError
from ..source import Stop

# A stretch of a file, (first byte, length), or bytes that take the place of some.
Piece = bytes | tuple[int, int]

_SCAN = 2**20  # bytes that are searched at once
ASK_EVERY = 2**24  # bytes that are searched before it is asked whether to stop
_AHEAD = 2**16  # bytes that are read at once


class SoundBytes:
    """A path or an open binary file, read at any place. Whatever reading raises becomes an AudioError.

    Attributes:
        size: Its length in bytes when this was made.
        stop: Ends searches; None: none ends before its end.

    """

    stop: Stop | None = None

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self._path = file if isinstance(file, str) else None
        self._at = -1
        self._searched, self._stopped = 0, False
        try:
            # Buffered: libsndfile reads headers by a few bytes.
            self._file = open(file, "rb", buffering=65536) if self._path else file  # noqa: SIM115, PTH123
            end = self._file.seek(0, os.SEEK_END)
            self.size = int(self._file.tell() if end is None else end)
        except Exception as problem:
            raise unreadable(name, problem) from problem

    def close(self) -> None:
        """Close what was opened here; an open file that was given stays open."""
        if self._path:
            self._file.close()

    def descriptor(self) -> int | None:
        """A new descriptor of the file, for the caller to close; None where there is none, or of other size.

        Who reads by it runs no Python, which would wait for other threads of Python. On Windows those of
        libsndfile are others.
        """
        if self._path is None or os.name != "posix":
            return None
        descriptor = os.open(self._path, os.O_RDONLY)
        if os.fstat(descriptor).st_size == self.size:
            return descriptor
        os.close(descriptor)
        return None

    def into(self, start: int, target: memoryview) -> int:
        """Fill `target` with the bytes from `start` on: how many there were. Raises what the file raises."""
        if self._at != start:
            self._file.seek(start)
            self._at = start
        done = 0
        # Raw files and others may give less than was asked for.
        while done < len(target):
            got = self._some(target[done:])
            if got == 0:
                break
            done += got
            self._at += got
        return done

    def _some(self, target: memoryview) -> int:
        try:
            if hasattr(self._file, "readinto"):
                got = self._file.readinto(target)
                if got is not None:
                    if not 0 <= int(got) <= len(target):
                        raise OSError(f"it gives {got} bytes where {len(target)} were asked for")
                    return int(got)
            else:
                data = self._file.read(len(target))
                if data is not None:
                    if len(data) > len(target):
                        raise OSError(f"it gives {len(data)} bytes where {len(target)} were asked for")
                    target[: len(data)] = data
                    return len(data)
        except BaseException:
            self._at = -1
            raise
        raise BlockingIOError("it has nothing to read yet")

    def at(self, start: int, count: int) -> bytes:
        """Up to `count` bytes from `start` on; fewer at the end. Raises AudioError where reading fails."""
        if start < 0 or start >= self.size or count <= 0:
            return b""
        data = np.empty(min(count, self.size - start), np.uint8)
        try:
            got = self.into(start, data.data)
        except Exception as problem:
            raise unreadable(self.name, problem) from problem
        return data[:got].tobytes()

    def blocks(self, start: int, stop: int, overlap: int) -> Iterator[tuple[int, bytes]]:
        """(place, bytes) from `start` to `stop`; each but the first repeats the last `overlap` bytes."""
        place = start
        while place < stop:
            data = self.some(place, min(_SCAN, stop - place))
            if not data:
                return
            yield place, data
            if place + len(data) >= stop or len(data) <= overlap:
                return
            place += len(data) - overlap

    def some(self, start: int, count: int) -> bytes:
        """As `at`, of a search that goes through the file: nothing once it is to end."""
        self._searched += count
        if self.stop is not None and self._searched > ASK_EVERY:
            self._searched = 0
            self._stopped = self._stopped or self.stop.reached()
        return b"" if self._stopped else self.at(start, count)


class PiecedFile:
    """A file for libsndfile, put together from pieces of another.

    An exception in a callback would only be printed: it is kept in `error`, and the file ends there.
    """

    def __init__(self, source: SoundBytes, pieces: tuple[Piece, ...]) -> None:
        self._source = source
        self.error: BaseException | None = None
        # What soundfile looks for: a name, which it must not judge the format by, and these methods.
        self.name = ""
        self._pieces: list[Piece] = []
        self._starts: list[int] = []
        self._size = 0
        self._held, self._held_at = b"", 0
        for piece in pieces:
            length = len(piece) if isinstance(piece, bytes) else piece[1]
            if length > 0:
                self._pieces.append(piece)
                self._starts.append(self._size)
                self._size += length
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's; places before the beginning are the beginning."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, self._size)
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """As a file's."""
        return self._position

    def read(self, count: int) -> bytes:
        """As a file's."""
        data = bytearray(max(0, min(count, self._size - self._position)))
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: Any) -> int:
        """As a file's; 0 after an error."""
        count, done = len(buffer), 0
        try:
            while done < count and self.error is None:
                at = self._position - self._held_at
                some = self._held[at : at + count - done] if at >= 0 else b""
                if not some:
                    self._hold()
                    some = self._held[: count - done]
                    if not some:
                        break
                buffer[done : done + len(some)] = some
                done += len(some)
                self._position += len(some)
        except BaseException as problem:
            self.error = problem
        return done

    def _hold(self) -> None:
        """Read ahead from the position: libsndfile asks for a few bytes at a time."""
        self._held, self._held_at = b"", self._position
        index = bisect_right(self._starts, self._position) - 1
        if 0 <= index < len(self._pieces) and self._position < self._size:
            inside = self._position - self._starts[index]
            piece = self._pieces[index]
            if isinstance(piece, bytes):
                self._held = piece[inside:]
            else:
                data = bytearray(min(_AHEAD, piece[1] - inside))
                got = self._source.into(piece[0] + inside, memoryview(data))
                self._held = bytes(data) if got == len(data) else bytes(data[:got])


def unreadable(name: str, problem: BaseException) -> AudioError:
    """The error for a file whose bytes cannot be read."""
    reason = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return AudioError(f"{name} cannot be read: {reason}")
