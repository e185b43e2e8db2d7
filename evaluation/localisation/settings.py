"""How explanations are judged by true events: the settings of `earmark evaluate events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from msgspec import Meta

Rule = Literal["half", "overlap90"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, kw_only=True)
class LocalisationSettings:
    """What a segment is, when it is the event's, and which clips count.

    With `correct_only` no other clips are explained; with `strict` a clip or method that fails raises.
    """

    segment_seconds: Annotated[
        float, Meta(gt=0, description="Length of a segment.", extra={"metavar": "S"})
    ] = 0.1
    rule: Annotated[
        Rule,
        Meta(
            description="A segment is the event's from half of it on, or above 90 ms, the reference's rule, "
            "which leaves out those between."
        ),
    ] = "half"
    correct_only: Annotated[bool, Meta(description="Only clips classified as labelled.")] = False
    strict: Annotated[bool, Meta(description="Fail at the first clip that cannot be judged.")] = False
    seed: Annotated[int, Meta(ge=0, description="Of all that is drawn.")] = 0
