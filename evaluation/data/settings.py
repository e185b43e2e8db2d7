"""Settings that every evaluation has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ...bounds import check_values, setting
from ...errors import SettingsError


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
