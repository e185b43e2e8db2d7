"""What the methods need of a bundle's manifest, without naming any method here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from .manifest import Manifest


class StageRule(msgspec.Struct, frozen=True):
    """A graph behind the classifier: the output that it must give, and what it may take besides taps."""

    name: str
    gives: str = ""
    takes: frozenset[str] = frozenset()


class ManifestPart(Protocol):
    """A part of the manifest, checked by those who use it: an explanation method."""

    @property
    def stages(self) -> tuple[StageRule, ...]:
        """The graphs that are its own."""

    def check(self, manifest: Manifest, path: Path) -> None:
        """Raise BundleError where the manifest at `path` contradicts itself, or asks for too much."""
