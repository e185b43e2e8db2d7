"""Random numbers that belong to a name, not to the order in which names come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of `names` (a clip, a method, ...) under `seed`; the same on every machine."""
    return np.random.default_rng(_number(seed, *names))


def partner(seed: int, name: str, others: Iterable[str]) -> str:
    """The one of `others` that `name` is paired with.

    Each pair draws a number and the lowest wins (rendezvous hashing), so that the order of `others`
    changes nothing and a further one only takes the place of its own pairs.
    """
    return min(others, key=lambda other: (_number(seed, name, other), other))


def _number(seed: int, *names: str | int) -> int:
    """128 bits out of a seed and names."""
    words = "\0".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(words.encode("utf-8", "surrogateescape")).digest()[:16], "big")
