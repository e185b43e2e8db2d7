"""Damage to arrays: values that no table holds, other headers of .npy files, a small .npz of many bytes."""

from __future__ import annotations

import functools
import io
import random
import zipfile
from typing import Any

import numpy as np

# Floats of the array that unpacks to more than any reader should take.
_BOMB = 70_000_000


def npy(array: np.ndarray) -> bytes:
    """The array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@functools.cache
def bomb() -> bytes:
    """A small .npz whose one array has 280 MB."""
    buffer, block = io.BytesIO(), bytes(1 << 20)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1, _BOMB)}
    )
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("mask_8.npy", "w") as entry,
    ):
        entry.write(header.getvalue())
        for start in range(0, 4 * _BOMB, len(block)):
            entry.write(block[: 4 * _BOMB - start])
    return buffer.getvalue()


def set_values(array: np.ndarray, draw: random.Random) -> str:
    """Set some values (of one field, where the array has fields) to what no table holds."""
    field = draw.choice(array.dtype.names) if array.dtype.names else None
    part = array[field] if field else array
    kind = part.dtype
    strange: list[Any] = [0, 1, -1, 2, 1000]
    if kind.kind == "f":
        strange += [np.nan, np.inf, -np.inf, 1e30, -1e-30]
    else:
        strange += [np.iinfo(kind).max, np.iinfo(kind).min]
    value = draw.choice(strange)
    if draw.random() < 0.3:
        part[...] = value
    else:
        part.reshape(-1)[draw.randrange(part.size)] = value
    return f"{field or 'value'} {value}"


def npy_header(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The .npy file with another header."""
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].decode("latin1").rstrip()
    pairs = [
        ("'<i4'", "'<i8'"),
        ("'<f4'", "'<f8'"),
        ("'<f4'", "'|O'"),
        ("'<i4'", "'>i4'"),
        ("False", "True"),
        ("(", "(0, "),
        ("(", "(-1, "),
        ("(", "(99999999999999, "),
        ("(", "(1, "),
        ("{", "{{"),
        ("'shape'", "'s'"),
        ("}", "}" + "[" * 200),
        ("{", "{'x': __import__('os').getpid(), "),
        ("(", "(" * 300),
    ]
    old, new = draw.choice([pair for pair in pairs if pair[0] in header] or [("{", "")])
    made = header.replace(old, new, 1).encode("latin1")
    made += b" " * ((64 - (len(made) + 11) % 64) % 64) + b"\n"
    version = draw.choice([1, 1, 1, 2, 3, 0, 255])
    size = len(made).to_bytes(2 if version == 1 else 4, "little")
    return content[:6] + bytes([version, 0]) + size + made + content[
        10 + length :
    ], f"header {old} {new[:20]}"
