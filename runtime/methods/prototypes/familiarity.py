"""How familiar a sound is: its nearest prototypes beside how near training sounds are to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ....prototypes_index.familiarity import Usual
from ....prototypes_index.generation import Generation
from ....prototypes_index.table import Table
from ....prototypes_index.views import View
from ...records import ResultRecord
from .bands import like_rows
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


def familiarity_of(usual: Usual | None, similarities: Mapping[View, float]) -> Familiarity | None:
    """The percentiles of a sound's nearest similarities, cosines by view; None where nothing is usual."""
    if usual is None or set(similarities) != set(usual.views):
        return None
    shares = usual.shares(similarities)
    views = {str(view): 100.0 * one for view, one in shares.items()}
    return Familiarity(100.0 * usual.whole(shares), views, usual.clips)


def measure(generation: Generation, bands_hz: Sequence[tuple[float, float]]) -> Usual | None:
    """What is usual among the training sounds of a generation: each beside all *other* recordings.

    Args:
        generation: Open, with the places that explanations of its clips look up.
        bands_hz: [low, high] of every row of the feature map, in Hz.

    Returns:
        None where too few clips are known, or there are too few recordings.

    Raises:
        PrototypeIndexError: The generation is damaged.

    """
    tables = {view: generation.queries(view) for view in generation.views}
    clips = [set(table["clip"].tolist()) for table in tables.values()]
    alive = [clip for clip in sorted(set.intersection(*clips)) if generation.alive[clip]]
    similarities: dict[View, list[float]] = {view: [] for view in tables}
    for clip in alive:
        nearest = {
            view: _nearest_other(generation, view, clip, table[table["clip"] == clip], bands_hz)
            for view, table in tables.items()
        }
        for view, one in nearest.items():
            if one is not None and None not in nearest.values():
                similarities[view].append(one)
    return Usual.of(similarities)


def _nearest_other(
    generation: Generation,
    view: View,
    clip: int,
    queries: Table,
    bands_hz: Sequence[tuple[float, float]],
) -> float | None:
    """The similarity of a training clip's places to the nearest entry of another recording; None without."""
    recordings = generation.clips["recording"]
    own = recordings == recordings[clip]
    # A search answers with one match a source file.
    count = len(np.unique(generation.clips["source"][own])) + 1
    rows = like_rows(view, queries["row"].tolist(), bands_hz)
    for match in generation.search(view, queries["vector"], count, rows=rows):
        if not own[generation.entry(view, match.entry).clip]:
            return match.cosine
    return None
