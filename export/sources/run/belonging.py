"""Whether a part of a run directory, trained over some classifier, belongs to a source."""

from __future__ import annotations

from typing import TypeVar

from ....errors import SourceError
from ...source.source import Source
from .config import OverClassifier
from .directory import RunDirectory

OverConfig = TypeVar("OverConfig", bound=OverClassifier)


def config_over(source: Source, run: RunDirectory, kind: type[OverConfig]) -> OverConfig:
    """The part's config. Raises SourceError where it was trained over another classifier, else RunError."""
    config = run.read_config(kind)
    if config.classifier_sha256 != source.fingerprint():
        raise SourceError(
            f"{run.weights_path}: was trained over another classifier than {source.name}; train the "
            f"{run.part} again"
        )
    return config


def require_shown(source: Source, run: RunDirectory, inputs: list[str], *always: str) -> None:
    """Raise SourceError where the part reads `inputs` that are neither taps of the source nor `always`."""
    strange = [name for name in inputs if name not in source.taps and name not in always]
    if strange:
        raise SourceError(f"{run.config_path}: reads {', '.join(strange)}, which {source.name} does not show")
