"""The settings of `earmark evaluate prototypes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from msgspec import Meta

from ...bounds import setting
from ..data.settings import ClipSettings
from ..rescoring import Domain

# What takes the place of what is removed: nothing, or each bin's own level over the window.
Fill = Literal["silence", "level"]
FILLS: tuple[Fill, ...] = get_args(Fill)


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
        setting(
            "A row of the table, a view, or your own as module:function; all views by default.",
            option="--method",
            short="-m",
            metavar="METHOD",
        ),
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
