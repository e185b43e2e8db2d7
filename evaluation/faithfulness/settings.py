"""The settings of `earmark evaluate masks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from ...bounds import setting
from ..data.settings import ClipSettings

ConditionName = Literal["clean", "noise", "noise_6db", "mixture", "speech"]


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
        setting(
            "A row of the table: mask, thresholded, components, random_components, "
            "random_components_area, random, energy, band_occlusion, time_occlusion, ones (these by default, "
            "as far as the bundle has them), or your own, as module:function; random_theta, components_log, "
            "random_components_log, random_components_area_log; with --source also saliency, "
            "integrated_gradients, smoothgrad, gradcam, gradcam_energy, shap.",
            option="--method",
            short="-m",
            metavar="METHOD",
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
