"""What the method `mask` gives, as JSON has it."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from ...scores.windows import Span
from ..rescoring import Rescored


class MaskDict(TypedDict):
    """Which part of the sound made the model say so; the mask itself is in arrays.npz."""

    frames: Annotated[int, Meta(description="Frames of the mask.")]
    bins: Annotated[int, Meta(description="Bins of the mask.")]
    area: Annotated[float, Meta(description="Mean of the mask, 0..1.")]
    spans_s: Annotated[list[Span], Meta(description="When the evidence lies, [begin, end] in seconds.")]
    band_hz: Annotated[Span, Meta(description="The central 80 % of it over frequency, [low, high] in Hz.")]


class TrustDict(TypedDict):
    """How far the mask is to be believed."""

    kept: Annotated[float, Meta(description="Probability that the kept sound alone is of the target, 0..1.")]
    removed: Annotated[float, Meta(description="Probability that the removed sound is not, 0..1.")]
    how: Annotated[
        str,
        Meta(description="estimated, by what was measured on other recordings; or measured, by rescoring."),
    ]
    error: Annotated[
        float | None,
        Meta(description="Of estimates the larger expected calibration error, 0..1; null where measured."),
    ]


class MaskFields(TypedDict):
    """What the method adds to a record."""

    mask: Annotated[MaskDict | None, Meta(description="Method mask; null where it did not run.")]
    rescored: Annotated[
        dict[str, Rescored] | None,
        Meta(description="Domain (spectrogram, audio) -> what is classified of the parts alone; or null."),
    ]
    trust: Annotated[
        TrustDict | None,
        Meta(description="Method mask; null where it did not run, or the bundle does not know."),
    ]
