"""The options of the method `prototypes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ....bounds import setting
from ..options import MethodOptions

Likeness = Literal["like", "any"]


@dataclass(frozen=True)
class PrototypesOptions(MethodOptions):
    """Which places a place is matched with.

    Attributes:
        bands: "like": those of a like band alone; "any": those of every band.
        passages: "like": those in a passage of like length and rhythm alone; "any": those in every passage.

    """

    bands: Annotated[
        Likeness, setting("Bands that the prototypes of a place may lie in.", option="--prototype-bands")
    ] = "like"
    passages: Annotated[
        Likeness,
        setting(
            "Passages, by length and rhythm, that the prototypes of a place may lie in.",
            option="--prototype-passages",
        ),
    ] = "like"
