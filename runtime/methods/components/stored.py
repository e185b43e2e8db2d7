"""Components as `Result.save` keeps them, and as `Result.load` reads them again."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from ...bundle.manifest import ComponentSpec
from ...values.arrays import Array
from ..evidence import Overview
from ..rescoring import Rescored
from ..saved import SavedSounds
from .harmonics import Glide
from .result import ComponentsResult
from .tracks import SavedTracks


class StoredComponents(msgspec.Struct, frozen=True):
    """What of a `ComponentsResult` is no array, by its names; `facts` is what training knew of each."""

    label: str
    labels: tuple[str, ...]
    holds: tuple[str, ...]
    selected: tuple[int, ...]
    threshold: float
    by_design: bool
    frame_s: float
    seconds: float
    interpreted: dict[str, float]
    rescored: dict[str, Rescored] | None
    warnings: tuple[str, ...]
    facts: tuple[ComponentSpec, ...]
    max_hz: float
    # Saved before these were measured: none.
    glides: tuple[Glide | None, ...] = ()


def store(part: ComponentsResult, arrays: dict[str, Array]) -> StoredComponents:
    """Values and arrays of the components; their sound lies in files of its own."""
    arrays |= {"contributions": part.contributions, "relevance": part.relevance}
    arrays |= {"activations": part.activations, "fundamentals": part.fundamentals}
    shown = part.overview
    arrays |= {"overview_amplitude": shown.amplitude, "overview_mask": shown.mask}
    named = [name for name in StoredComponents.__struct_fields__ if name not in ("facts", "max_hz", "glides")]
    values = {name: getattr(part, name) for name in named}
    return StoredComponents(**values, facts=part.facts, max_hz=part.max_hz, glides=tuple(part.glides))


def restore(stored: object, arrays: Mapping[str, Array], sounds: SavedSounds) -> ComponentsResult:
    """The components again. Raises KeyError, ValueError, msgspec.ValidationError."""
    known = msgspec.convert(stored, StoredComponents)
    contributions, relevance = arrays["contributions"], arrays["relevance"]
    activations, count = arrays["activations"], len(known.facts)
    shapes = (contributions.shape, relevance.shape, activations.shape[:1], activations.ndim)
    if shapes != ((len(known.labels), count), (count,), (count,), 2):
        raise ValueError(f"{count} components of {len(known.labels)} labels, and arrays of other shapes")
    if known.label not in known.labels or not {*known.selected} <= {*range(count)}:
        raise ValueError("a label or a component does not exist")
    shown = Overview(
        np.asarray(arrays["overview_amplitude"], np.float32), np.asarray(arrays["overview_mask"], np.float32)
    )
    values = msgspec.structs.asdict(known)
    facts, max_hz = values.pop("facts"), values.pop("max_hz")
    glides = values.pop("glides") or (None,) * count
    fundamentals = arrays.get("fundamentals", np.zeros(count, np.float32))
    if len(glides) != count or fundamentals.shape != (count,):
        raise ValueError(f"{count} components, and pitches of another number")
    return ComponentsResult(
        **values,
        contributions=contributions,
        relevance=relevance,
        activations=activations,
        facts=facts,
        _tracks=SavedTracks(sounds, known.selected, shown, max_hz, fundamentals, glides),
    )
