"""The settings of `earmark evaluate sanity`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ..data.settings import ClipSettings


@dataclass(frozen=True, kw_only=True)
class SanitySettings(ClipSettings):
    """Which masks are checked, and on how many clips.

    Attributes:
        method: Whose masks: the decoder's, or those of the selected components.
        clips: How many are looked at, evenly chosen over the classes, 2 or more.
        steps: Into how many steps the cascade over the classifier's layers is cut, 1 or more.

    """

    method: Annotated[
        Literal["mask", "components"],
        Meta(description="Whose masks.", extra={"option": "--method", "short": "-m"}),
    ] = "mask"
    clips: Annotated[int, Meta(ge=2, description="Clips, evenly over the classes.")] = 40
    steps: Annotated[int, Meta(ge=1, le=64, description="Steps of the cascade over layers.")] = 6
