"""The settings of `earmark evaluate sanity`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ...bounds import setting
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
        Literal["mask", "components"], setting("Whose masks.", option="--method", short="-m")
    ] = "mask"
    clips: Annotated[int, setting("Clips, evenly over the classes.", ge=2)] = 40
    steps: Annotated[int, setting("Steps of the cascade over layers.", ge=1, le=64)] = 6
