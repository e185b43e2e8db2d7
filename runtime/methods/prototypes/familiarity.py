"""How familiar a sound is: its nearest prototypes beside how near training sounds are to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...values.records import ResultRecord
from .document import FamiliarityDict

# Below this percentile a sound is said to be unlike anything that the model was trained on.
UNFAMILIAR = 5.0


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Familiarity(ResultRecord):
    """How far a sound lies from all training sounds, as percentiles of how far these lie from each other.

    Attributes:
        percentile: By everything, 0..100: how many in a hundred training sounds are less alike to the others
            than this sound is.
        views: The same by the nearest prototypes of each view.
        clips: Training clips that it is compared with.
        acoustics: The same by statistics of the sound, which are not the model's, for the class that it is
            most like: how near that class is (sound), and how much nearer than any other (margin); beside
            them the score that the model gives this class (score, 0..100). Empty in indexes from before
            there were any.

    """

    percentile: float
    views: Mapping[str, float]
    clips: int
    acoustics: Mapping[str, float] = field(default_factory=dict)

    @property
    def unfamiliar(self) -> bool:
        """Whether the sound is unlike what the model was trained on: below the 5th percentile."""
        return self.percentile < UNFAMILIAR

    def to_dict(self) -> FamiliarityDict:
        """JSON-ready."""
        return {
            "percentile": round(self.percentile, 2),
            "views": {view: round(one, 2) for view, one in self.views.items()},
            "acoustics": {name: round(one, 2) for name, one in self.acoustics.items()},
            "clips": self.clips,
        }

    @property
    def text(self) -> str:
        """In one line."""
        parts = ", ".join(f"{name} {one:.0f}" for name, one in (*self.views.items(), *self.acoustics.items()))
        return f"percentile {self.percentile:.0f} of the training sounds ({parts})"

    @property
    def warning(self) -> str | None:
        """What the user should know; None where the sound is like training sounds."""
        if not self.unfamiliar:
            return None
        return (
            "unfamiliar: this sound is unlike anything this model was trained on "
            f"({self.percentile:.0f} % of its training sounds lie as far from the rest); "
            "do not rely on its label"
        )
