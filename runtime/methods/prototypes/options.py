"""The option of the method `prototypes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ..options import MethodOptions

Bands = Literal["like", "any"]


@dataclass(frozen=True)
class PrototypesOptions(MethodOptions):
    """bands: "like" matches a place with places of a like band alone, "any" with those of every band."""

    bands: Annotated[
        Bands,
        Meta(
            description="Bands that the prototypes of a place may lie in.",
            extra={"option": "--prototype-bands"},
        ),
    ] = "like"
