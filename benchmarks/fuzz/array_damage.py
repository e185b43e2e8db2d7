"""Damage to arrays: values that no table holds, and headers of .npy files that say something else."""

from __future__ import annotations

import random
from typing import Any

import numpy as np


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
