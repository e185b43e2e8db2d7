"""What the method `mask` gives, as JSON has it."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from ...windows import Span
from ..rescoring import Rescored


class MaskDict(TypedDict):
    """Which part of the sound made the model say so; the mask itself is in arrays.npz."""

    frames: Annotated[int, Meta(description="Frames of the mask.")]
    bins: Annotated[int, Meta(description="Bins of the mask.")]
    area: Annotated[float, Meta(description="Mean of the mask, 0..1.")]
    spans_s: Annotated[list[Span], Meta(description="When the evidence lies, [begin, end] in seconds.")]
    band_hz: Annotated[Span, Meta(description="The central 80 % of it over frequency, [low, high] in Hz.")]


class MaskFields(TypedDict):
    """What the method adds to a record."""

    mask: Annotated[MaskDict | None, Meta(description="Method mask; null where it did not run.")]
    rescored: Annotated[
        dict[str, Rescored] | None,
        Meta(description="Domain (spectrogram, audio) -> what is classified of the parts alone; or null."),
    ]
