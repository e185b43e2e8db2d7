"""Settings that every evaluation has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Which clips are judged, and with which seed.

    Attributes:
        fold: Only clips of this fold of ESC; None: all.
        strict: A clip that cannot be judged is an error; else it is left out and named.
        seed: Of all that is drawn at random, 0 or more.

    """

    fold: Annotated[int, Meta(description="Only clips of the ESC fold N.", extra={"metavar": "N"})] | None = (
        None
    )
    strict: Annotated[bool, Meta(description="Fail at the first clip that cannot be judged.")] = False
    seed: Annotated[int, Meta(ge=0, description="Of all that is drawn.")] = 0
