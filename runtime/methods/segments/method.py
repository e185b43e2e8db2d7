"""The method `segments` over a bundle: any target of any model that says scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol import Context, Method, Sound
from .settings import SegmentOptions

if TYPE_CHECKING:
    from ...bundle.manifest import Manifest
    from ...drawing.shown import Picture
    from ...values.arrays import Array
    from ..result import About
    from ..saved import SavedSounds
    from .explanation import SegmentsExplanation
    from .result import SegmentsResult


class Segments(Method):
    """The method over a bundle's classifier: it needs scores alone, so every bundle has it."""

    name = "segments"
    gives = ("segments",)
    options = SegmentOptions
    on_request = "says which stretches count (it asks the model some 200 times)"

    def available(self, manifest: Manifest) -> bool:
        """Always."""
        return True

    def begin(self, context: Context, sound: Sound, target: int) -> SegmentsExplanation:
        """Any target of any bundle."""
        from .explanation import SegmentsExplanation

        return SegmentsExplanation(context, sound, target)

    def save(self, part: SegmentsResult, folder: Path, about: About) -> None:
        """Write segments.csv."""
        from ..saving import write_new

        rows = part.to_csv()
        write_new(folder / "segments.csv", lambda file: file.write(rows.encode()))

    def pictures(self, part: SegmentsResult, about: About) -> Mapping[str, Picture]:
        """Importance over the spectrogram."""
        from .picture import chart_of

        return {"segments": chart_of(part, about)}

    def fields_type(self) -> type:
        """What it adds to a record."""
        from .document import SegmentsFields

        return SegmentsFields

    def store(self, part: SegmentsResult, arrays: dict[str, Array]) -> object:
        """The columns, and how they were found."""
        from .stored import store

        return store(part, arrays)

    def restore(self, stored: Any, arrays: Mapping[str, Array], sounds: SavedSounds) -> SegmentsResult:
        """The segments again."""
        from .stored import restore

        return restore(stored, arrays)
