"""How explanations are judged by true events: the settings of `earmark evaluate events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from ...bounds import setting
from ...errors import MethodError
from ..data.settings import ClipSettings

Rule = Literal["half", "overlap90"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, kw_only=True)
class LocalisationSettings(ClipSettings):
    """What a segment is, when it is the event's, and which methods and clips count.

    Attributes:
        methods: Rows of the table; none: all that the bundle has.
        segment_seconds: Length of a segment in seconds, above 0; the last may be shorter.
        rule: See `segment_labels`.
        correct_only: Only clips classified as labelled are explained.
        limit: The first clips only, 1 or more; None: all.

    Raises:
        MethodError: There is no such method.

    """

    methods: Annotated[
        tuple[str, ...],
        setting(
            "A row of the table, or your own as module:function; all that the bundle has by default.",
            option="--method",
            short="-m",
            metavar="METHOD",
        ),
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

    def __post_init__(self) -> None:
        """Raises MethodError, SettingsError."""
        super().__post_init__()
        if not self.methods:
            return
        from ..questions import is_reference
        from .localisers import known_localisers

        known = known_localisers()
        for name in self.methods:
            if name not in known and not is_reference(name):
                raise MethodError(f"methods: {name!r} is not one of {', '.join(known)}")
