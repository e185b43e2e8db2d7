"""Named arrays and a JSON document in one .npz: without pickle, read without trusting what it claims.

Members are stored, not deflated, so that what is unpacked is never more than what lies on the disk, and
large arrays are mapped where they lie.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from ...errors import DataError
from ...printable import first_line
from ..values.arrays import Array

DOCUMENT = "document.json"
# Of a result of 100 hours.
_MOST_DOCUMENT_BYTES = 256 << 20
_MOST_MEMBERS = 10_000
# Larger arrays stay in the file.
_MAPPED_BYTES = 16 << 20
_TYPES = frozenset({"<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "|b1"})
# So that the same arrays are the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_arrays(file: BinaryIO, document: object, arrays: Mapping[str, Array]) -> None:
    """Write a JSON-ready document and arrays by name; `np.load` reads the arrays, too."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(zipfile.ZipInfo(DOCUMENT, _EPOCH), "w") as member:
            # Bytes of a name that are no UTF-8 stay as JSON escapes them.
            member.write(json.dumps(document).encode())
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)


def read_arrays(path: Path) -> tuple[Any, dict[str, Array]]:
    """What `write_arrays` wrote: the document in plain types, and the arrays by name; large ones are mapped.

    Raises DataError where there is no such file, it is damaged, or it is none that earmark writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
            _check(items, path.stat().st_size)
            document = json.loads(archive.read(DOCUMENT))
            arrays = {
                item.filename.removesuffix(".npy"): _array(path, archive, item)
                for item in items
                if item.filename != DOCUMENT
            }
        return document, arrays
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        # zipfile, json and NumPy raise a dozen kinds of errors at what is damaged.
        raise DataError(f"{path}: holds no arrays that can be read ({first_line(error)})") from error


def _check(items: list[zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError where the archive unpacks to more than it is, or holds other members."""
    names = [item.filename for item in items]
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise ValueError("too many members, or two of one name")
    if any(item.compress_type != zipfile.ZIP_STORED or item.flag_bits & 1 for item in items):
        raise ValueError("a member is compressed or encrypted")
    # Members may claim the same bytes.
    if sum(item.file_size for item in items) > size:
        raise ValueError("it unpacks to more than it is")
    for item in items:
        if item.filename != DOCUMENT and not item.filename.endswith(".npy"):
            raise ValueError(f"{item.filename} is no array")
        if item.filename == DOCUMENT and item.file_size > _MOST_DOCUMENT_BYTES:
            raise ValueError(f"{DOCUMENT} is too large")


def _array(path: Path, archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Array:
    """One array, its shape checked against its size. Raises ValueError."""
    with archive.open(item) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{item.filename} is of an unknown version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        header = file.tell()
        if dtype.str not in _TYPES:
            raise ValueError(f"{item.filename} is of the type {dtype.str}")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or header + size != item.file_size:
            raise ValueError(f"{item.filename} is not the array {list(shape)} that it claims to be")
        order: Literal["F", "C"] = "F" if fortran else "C"
        if size < _MAPPED_BYTES:
            small: Array = np.frombuffer(bytearray(file.read()), dtype).reshape(shape, order=order)
            return small
    start = _data_start(path, item) + header
    return np.memmap(path, dtype, mode="r", offset=start, shape=shape, order=order)


def _data_start(path: Path, item: zipfile.ZipInfo) -> int:
    """Where a stored member begins: behind its local header, whose name and extra field have own lengths."""
    with path.open("rb") as file:
        file.seek(item.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    start = item.header_offset + 30 + int(lengths.sum())
    if start + item.file_size > path.stat().st_size:
        raise ValueError(f"{item.filename} ends behind the file")
    return start
