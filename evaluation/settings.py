"""The settings of every evaluation; the options of `earmark evaluate` are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from ..bounds import check_values, setting
from ..errors import SettingsError

ConditionName = Literal["clean", "noise", "noise_6db", "mixture", "speech"]
# Where a masked sound is classified.
Domain = Literal["spectrogram", "audio"]
# When a segment is the event's, see `segment_labels`.
Rule = Literal["half", "overlap90"]
# What takes the place of what is removed: nothing, or each bin's own level over the window.
Fill = Literal["silence", "level"]
FILLS: tuple[Fill, ...] = get_args(Fill)


def _rows(description: str) -> Meta:
    """Of methods that are rows of the table."""
    return setting(description, option="--method", short="-m", metavar="METHOD")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What happens to sound that cannot be judged, and the seed.

    Attributes:
        strict: What cannot be judged is an error; else it is left out and named.
        seed: Of all that is drawn at random, 0 or more.

    """

    strict: Annotated[bool, setting("Fail at the first clip that cannot be judged.")] = False
    seed: Annotated[int, setting("Of all that is drawn.", ge=0)] = 0

    def __post_init__(self) -> None:
        """Raises SettingsError."""
        check_values(self, SettingsError)


@dataclass(frozen=True, kw_only=True)
class ClipSettings(EvaluationSettings):
    """Which clips of a folder are judged.

    Attributes:
        fold: Only clips of this fold of ESC; None: all.
        any_label: Clips may lie in class folders that are none of the model's labels, or in none.

    """

    fold: Annotated[int, setting("Only clips of the ESC fold N.", metavar="N")] | None = None
    any_label: Annotated[bool, setting("Allow sounds whose folders are none of the model's labels.")] = False


@dataclass(frozen=True, kw_only=True)
class MaskSettings(ClipSettings):
    """Which masks are judged, under which conditions, and how.

    Attributes:
        methods: Rows of the table; none: the bundle's own explanations and the baselines.
        conditions: What is mixed into the clips; none: nothing ("clean").
        domain: Where the masked sound is classified.
        threshold: From which value on the row `thresholded` keeps a cell, 0..1.
        area: Share of the cells that rankings are cut to, above 0, up to 1; None: that of the window's own
            mask.
        speech: Folder of speech for the condition "speech"; None: speech is synthesised.
        reference: AD as the reference recipe computes it, 0..63.2.
        areas: Areas of the curves, each above 0, up to 1; none: no curves.

    """

    methods: Annotated[
        tuple[str, ...],
        _rows(
            "A row of the table: mask, thresholded, components, random_components, "
            "random_components_area, random, energy, band_occlusion, time_occlusion, ones (these by default, "
            "as far as the bundle has them), or your own, as module:function; random_theta, components_log, "
            "random_components_log, random_components_area_log; with --source also saliency, "
            "integrated_gradients, smoothgrad, gradcam, gradcam_energy, shap."
        ),
    ] = ()
    conditions: Annotated[
        tuple[ConditionName, ...],
        setting(
            "clean (default), noise (0 dB), noise_6db, mixture (another clip, 0.8 / 0.2), speech "
            "(0.8 / 0.2).",
            option="--condition",
            metavar="CONDITION",
        ),
    ] = ()
    domain: Annotated[
        Literal["spectrogram", "audio", "both"],
        setting("Where the masked sound is classified: as a spectrogram (the paper's) or as sound."),
    ] = "both"
    threshold: Annotated[
        float, setting("From which value on the row thresholded keeps a cell.", ge=0, le=1)
    ] = 0.5
    area: (
        Annotated[
            float,
            setting(
                "Share of the cells that rankings are cut to.",
                gt=0,
                le=1,
                metavar="X",
                default="that of the clip's own mask",
            ),
        ]
        | None
    ) = None
    speech: (
        Annotated[
            Path, setting("Sounds of speech for --condition speech; synthesised without.", metavar="DIR")
        ]
        | None
    ) = None
    reference: Annotated[bool, setting("AD as the reference recipe computes it (at most 63.2).")] = False
    areas: tuple[Annotated[float, Meta(gt=0, le=1)], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LocalisationSettings(ClipSettings):
    """What a segment is, when it is the event's, and which methods and clips count.

    Attributes:
        methods: Rows of the table; none: all that the bundle has.
        segment_seconds: Length of a segment in seconds, above 0; the last may be shorter.
        rule: See `segment_labels`.
        correct_only: Only clips classified as labelled are explained.
        limit: The first clips only, 1 or more; None: all.

    """

    methods: Annotated[
        tuple[str, ...],
        _rows("A row of the table, or your own as module:function; all that the bundle has by default."),
    ] = ()
    segment_seconds: Annotated[float, setting("Length of a segment.", gt=0, metavar="S")] = 0.1
    rule: Annotated[
        Rule,
        setting(
            "A segment is the event's from half of it on, or above 90 ms, the reference's rule, "
            "which leaves out those between."
        ),
    ] = "half"
    correct_only: Annotated[bool, setting("Only clips classified as labelled.")] = False
    limit: Annotated[int, setting("The first N clips only.", ge=1, metavar="N")] | None = None


@dataclass(frozen=True, kw_only=True)
class PrototypeSettings(ClipSettings):
    """Where matched places are removed, by what they are replaced, and what they are compared with.

    Attributes:
        methods: Rows of the table: views, and functions as "module:function"; none: all views.
        domain: Where the changed sound is classified; None: as a spectrogram, where the model can.
        fills: What replaces a place; none leaves the deletion check out.
        draws: Random regions of equal size that each place is compared with, 1 or more.

    """

    methods: Annotated[
        tuple[str, ...],
        _rows("A row of the table, a view, or your own as module:function; all views by default."),
    ] = ()
    domain: (
        Annotated[
            Domain,
            setting(
                "Where the place is removed from.", default="the spectrogram, where the classifier takes it"
            ),
        ]
        | None
    ) = None
    fills: tuple[Fill, ...] = FILLS
    draws: Annotated[int, Meta(ge=1)] = 8


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


@dataclass(frozen=True, kw_only=True)
class SanitySettings(ClipSettings):
    """Which masks are checked, and on how many clips.

    Attributes:
        method: Whose masks: the decoder's, or those of the selected components.
        clips: How many are looked at, evenly chosen over the classes, 2 or more.
        steps: Into how many steps the cascade over the classifier's layers is cut, 1 or more.

    """

    method: Annotated[
        Literal["mask", "components"], setting("Whose masks.", option="--method", short="-m")
    ] = "mask"
    clips: Annotated[int, setting("Clips, evenly over the classes.", ge=2)] = 40
    steps: Annotated[int, setting("Steps of the cascade over layers.", ge=1, le=64)] = 6


@dataclass(frozen=True, kw_only=True)
class TrustSettings(ClipSettings):
    """On which sounds it is measured how far masks are to be believed.

    Attributes:
        conditions: What is mixed into the clips; none: clean, noise_6db and mixture.

    """

    conditions: Annotated[
        tuple[ConditionName, ...],
        setting(
            "clean, noise (0 dB), noise_6db, mixture (another clip); all but noise by default.",
            option="--condition",
            metavar="CONDITION",
        ),
    ] = ()
