"""How detections are judged by true events: the settings of `earmark evaluate detections`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from ...bounds import setting
from ..data.settings import EvaluationSettings


@dataclass(frozen=True, kw_only=True)
class AgreementSettings(EvaluationSettings):
    """What counts as a detection, as in `Explainer.detect`, and when one is right.

    Attributes:
        min_score: Score that a detection reaches, 0..1.
        leave_score: Score that all its windows reach, at most `min_score`; None: three quarters of that.
        smooth_s: Scores are averaged over so many seconds.
        merge_gap_s: Detections of one label at most so many seconds apart become one.
        min_s: Shorter detections are left out.
        hop_s: Seconds from one window to the next, above 0; None: the bundle's.
        collar_s: How far a detection's begin may be from the event's, above 0; its end at least so far.
        segment_s: Length of a segment of the segment-based figures, above 0.

    """

    min_score: Annotated[float, setting("Score of a detection.", ge=0, le=1, metavar="X")] = 0.5
    leave_score: Annotated[float, setting("Score of all its windows.", ge=0, le=1, metavar="X")] | None = None
    smooth_s: Annotated[
        float, setting("Average scores over so long.", ge=0, le=60, option="--smooth", metavar="S")
    ] = 0.0
    merge_gap_s: Annotated[
        float, setting("Detections so near become one.", ge=0, option="--merge-gap", metavar="S")
    ] = 0.0
    min_s: Annotated[
        float, setting("Shorter detections are left out.", ge=0, option="--min-length", metavar="S")
    ] = 0.0
    hop_s: (
        Annotated[float, setting("From one window to the next.", gt=0, option="--hop", metavar="S")] | None
    ) = None
    collar_s: Annotated[
        float, setting("How far begin and end may be off.", gt=0, option="--collar", metavar="S")
    ] = 0.5
    segment_s: Annotated[float, setting("Length of a segment.", gt=0, option="--segment", metavar="S")] = 1.0

    def of_detect(self) -> dict[str, Any]:
        """The arguments of `Explainer.detect`."""
        names = ("min_score", "leave_score", "smooth_s", "merge_gap_s", "min_s", "hop_s")
        return {name: getattr(self, name) for name in names}
