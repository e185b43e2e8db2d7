"""How familiar a sound is: its nearest prototypes beside how near training sounds are to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...values.records import ResultRecord
from .document import FamiliarityDict

# Below this percentile a sound is said to be unlike anything that the model was trained on.
UNFAMILIAR = 5.0


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Familiarity(ResultRecord):
    """How far a sound lies from all training sounds, as percentiles of how far these lie from each other.

    Attributes:
        percentile: Over all views, 0..100: how many in a hundred training sounds are less alike to the
            nearest of other recordings than this sound is.
        views: The same of each view.
        clips: Training clips that it is compared with.

    """

    percentile: float
    views: Mapping[str, float]
    clips: int

    @property
    def unfamiliar(self) -> bool:
        """Whether the sound is unlike what the model was trained on: below the 5th percentile."""
        return self.percentile < UNFAMILIAR

    def to_dict(self) -> FamiliarityDict:
        """JSON-ready."""
        return {
            "percentile": round(self.percentile, 2),
            "views": {view: round(one, 2) for view, one in self.views.items()},
            "clips": self.clips,
        }

    @property
    def text(self) -> str:
        """In one line."""
        views = ", ".join(f"{view} {one:.0f}" for view, one in self.views.items())
        return f"percentile {self.percentile:.0f} of the training sounds ({views})"

    @property
    def warning(self) -> str | None:
        """What the user should know; None where the sound is like training sounds."""
        if not self.unfamiliar:
            return None
        return (
            "unfamiliar: this sound is unlike anything this model was trained on (of its training sounds "
            f"{self.percentile:.0f} % are as unlike the others); do not rely on its label"
        )
