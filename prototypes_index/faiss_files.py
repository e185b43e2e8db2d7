"""FAISS files, checked byte by byte where they say how much follows, before faiss reads any of it.

Two kinds: `flat` (exact) and `ivf` (lists of 8-bit codes, written above the exact limit). faiss allocates
what a file's lengths say: each is compared with what the generation says of itself, and their sum with the
file's size.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NoReturn

import msgspec
import numpy as np

from ..errors import PrototypeIndexError
from .spec import Count
from .table import REBUILD

Kind = Literal["flat", "ivf"]
# What of lists is zero where there are none.
_OfLists = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

# fourcc, dimension, count, two fields no longer used, trained, metric (0 = inner product, 1 = L2).
_HEADER = struct.Struct("<4siqqq?i")
_FOURCC: dict[Kind, bytes] = {"flat": b"IxFI", "ivf": b"IwSq"}
_FLAT_L2 = b"IxF2"
_INNER_PRODUCT, _L2 = 0, 1
_UNITS = struct.Struct("<Q")
# Lists, lists looked into by default.
_LISTS = struct.Struct("<QQ")
# No map from rows to lists: its type, its length.
_DIRECT_MAP = struct.Struct("<bQ")
# Type of code (0 = 8 bits), how its range was found, with which argument, dimension, bytes a code.
_QUANTIZER = struct.Struct("<iifQQ")
# Bytes a code, whether codes are of residuals.
_CODES = struct.Struct("<Q?")
# "ilar", lists, bytes a code, how their sizes are given.
_INVERTED = struct.Struct("<4sQQ4s")
_EIGHT_BITS = 0


class IndexInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an index file: its kind, shape, and measured recall@10 (exact: 1).

    Of ivf: vectors are projected to `projected` numbers, kept in `lists` lists, of which a search looks
    into `probes`; `candidates` are compared exactly
    """

    kind: Kind
    entries: Count
    dimension: Count
    recall_at_10: float
    projected: _OfLists = 0
    lists: _OfLists = 0
    probes: _OfLists = 0
    candidates: _OfLists = 0


def check_file(path: Path, info: IndexInfo) -> None:
    """Compare header, lengths and size of the file with `info` before faiss reads a byte of it.

    Raises PrototypeIndexError where kind, metric, dimension, count or size disagree.
    """
    try:
        with path.open("rb") as file:
            _Checker(path, file, info).check()
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error


class _Checker:
    """Walks through one file, section by section."""

    def __init__(self, path: Path, file: BinaryIO, info: IndexInfo) -> None:
        self.path, self.info, self._file = path, info, file
        self.size = os.fstat(file.fileno()).st_size

    def check(self) -> None:
        """Check every section in turn, then that the file ends where they do."""
        info = self.info
        width = info.projected if info.kind == "ivf" else info.dimension
        self._header(_FOURCC[info.kind], _INNER_PRODUCT, info.entries, width)
        if info.kind == "flat":
            self._flat(info.entries, width)
        else:
            self._inverted_file(width)
        position = self._file.tell()
        if position != self.size:
            self._damaged(f"has {self.size} bytes, should have {position}")

    def _header(self, fourcc: bytes, metric: int, count: int, dimension: int) -> None:
        header = self._read(_HEADER)
        if header[0] != fourcc or header[6] != metric or not header[5]:
            raise PrototypeIndexError(f"{self.path}: not a {self.info.kind} inner-product index; {REBUILD}")
        if (header[2], header[1]) != (count, dimension):
            raise PrototypeIndexError(
                f"{self.path}: holds {header[2]} vectors of {header[1]}, the manifest says {count} of "
                f"{dimension}; {REBUILD}"
            )

    def _flat(self, count: int, dimension: int) -> None:
        """Vectors of 4-byte numbers after their number."""
        (units,) = self._read(_UNITS)
        if units != count * dimension:
            self._damaged("its parts disagree in size")
        self._skip(4 * count * dimension)

    def _inverted_file(self, width: int) -> None:
        """Lists, their centres, the code's ranges, then codes and rows of each list."""
        info = self.info
        lists, _ = self._read(_LISTS)
        if lists != info.lists:
            self._damaged(f"has {lists} lists, the manifest says {info.lists}")
        self._header(_FLAT_L2, _L2, lists, width)
        self._flat(lists, width)
        if self._read(_DIRECT_MAP) != (0, 0):
            self._damaged("holds a map it should not have")
        code, _, _, dimension, length = self._read(_QUANTIZER)
        (ranges,) = self._read(_UNITS)
        if (code, dimension, length, ranges) != (_EIGHT_BITS, width, width, 2 * width):
            self._damaged("its codes are of another kind")
        self._skip(4 * ranges)
        if self._read(_CODES) != (width, False):
            self._damaged("its codes are of another kind")
        fourcc, count, length, form = self._read(_INVERTED)
        if (fourcc, count, length) != (b"ilar", lists, width) or form not in (b"full", b"sprs"):
            self._damaged("its lists are of another kind")
        # "full": a size a list; "sprs": pairs of list and size, ascending.
        (held,) = self._read(_UNITS)
        if held != lists if form == b"full" else held % 2 or held > 2 * lists:
            self._damaged("its lists are damaged")
        table = np.frombuffer(self._bytes(8 * held), dtype="<u8")
        if form == b"sprs":
            which, table = table[::2], table[1::2]
            if (which >= lists).any() or (which[1:] <= which[:-1]).any():
                self._damaged("its lists are damaged")
        # No list is longer than all, so that the sum cannot overflow.
        if (table > info.entries).any() or int(table.sum()) != info.entries:
            self._damaged("its lists are damaged")
        self._skip(info.entries * (width + 8))

    def _read(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self._bytes(form.size))

    def _bytes(self, length: int) -> bytes:
        if self._file.tell() + length > self.size:
            raise PrototypeIndexError(f"{self.path}: cut off after {self.size} bytes; {REBUILD}")
        return self._file.read(length)

    def _skip(self, length: int) -> None:
        position = self._file.tell() + length
        if position > self.size:
            self._damaged(f"has {self.size} bytes, should have more")
        self._file.seek(position)

    def _damaged(self, how: str) -> NoReturn:
        raise PrototypeIndexError(f"{self.path}: {how}: damaged; {REBUILD}")
