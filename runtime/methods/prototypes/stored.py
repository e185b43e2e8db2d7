"""Prototypes and contributions as `Result.save` keeps them, and as `Result.load` reads them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from ...values.arrays import Array
from ..saved import SavedSounds
from .channels import Contributions
from .familiarity import Familiarity
from .prototype import Prototype
from .result import PrototypesResult


class StoredPrototypes(msgspec.Struct, frozen=True):
    """What a `PrototypesResult` holds; arrays by name, and no paths into the bundle."""

    prototypes: dict[str, tuple[Prototype, ...]]
    channels: Contributions
    familiarity: Familiarity | None = None
    warnings: tuple[str, ...] = ()


def store(part: PrototypesResult, arrays: dict[str, Array]) -> object:
    """Values and pictures' windows of the prototypes; their sound lies in files of its own."""
    # Prototypes share the windows of the input.
    names: dict[int, str] = {}

    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            name = names.setdefault(id(value), f"window_{len(names)}")
            arrays[name] = value
            return name
        if isinstance(value, Path):
            return None
        if isinstance(value, Mapping):
            # Made when it is looked at.
            return dict(value)
        raise NotImplementedError(f"{type(value).__name__} cannot be stored")

    whole = StoredPrototypes(dict(part.prototypes), part.channels, part.familiarity, part.warnings)
    return msgspec.to_builtins(whole, enc_hook=plain)


def restore(stored: object, arrays: Mapping[str, Array], sounds: SavedSounds) -> PrototypesResult:
    """The prototypes again. Raises KeyError, ValueError, msgspec.ValidationError."""

    def made(kind: type, name: object) -> object:
        if kind is Path:
            raise ValueError("a path")
        array = np.asarray(arrays[str(name)], np.float32)
        if array.ndim != 2:
            raise ValueError(f"a window {list(array.shape)}")
        return array

    known = msgspec.convert(stored, StoredPrototypes, dec_hook=made)
    nearest = {view: _with_sound(matches, view, sounds.path) for view, matches in known.prototypes.items()}
    channels = tuple(
        replace(
            one,
            views={
                view: replace(
                    shown,
                    prototypes=_with_sound(shown.prototypes, f"channel_{one.channel}", sounds.path)
                    if view == one.view
                    else shown.prototypes,
                )
                for view, shown in one.views.items()
            },
        )
        for one in known.channels.channels
    )
    contributions = replace(known.channels, channels=channels)
    return PrototypesResult(nearest, contributions, known.familiarity, known.warnings)


def _with_sound(
    matches: tuple[Prototype, ...], name: str, path: Callable[[str], Path | None]
) -> tuple[Prototype, ...]:
    """The prototypes, each with its saved crop where there is one."""
    return tuple(replace(one, saved=path(f"prototypes/{name}_{rank}")) for rank, one in enumerate(matches, 1))
