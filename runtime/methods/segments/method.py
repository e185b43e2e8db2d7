"""The method `segments` over a bundle: any target of any model that says scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..protocol import Context, Method, Sound
from .settings import SegmentOptions

if TYPE_CHECKING:
    from ...bundle.manifest import Manifest
    from ..result import About
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
        """Write segments.csv and segments.png."""
        from ..saving import write_new
        from .picture import draw_segments

        rows = part.to_csv()
        write_new(folder / "segments.csv", lambda file: file.write(rows.encode()))
        write_new(
            folder / "segments.png",
            lambda file: draw_segments(file, part, seconds=about.duration_s, title=about.title),
        )
