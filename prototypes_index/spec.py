"""What a bundle's manifest says of its prototypes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# What a table's rows are counted by.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class PrototypesSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The generation of prototypes that is in force: the folder `prototypes/<generation>/`."""

    generation: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,40}$")]
    views: list[Literal["square", "time", "frequency", "time_frequency", "window"]]
    # Entries per view, vector length per view; checked against the FAISS headers before mapping.
    entries: dict[str, Count]
    dimensions: dict[str, Count]
    clips: Count
    # Clips among them that are removed: still in the files, left out of every answer.
    removed: Annotated[int, msgspec.Meta(ge=0)] = 0
    audio: bool
