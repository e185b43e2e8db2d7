"""Whether a trained part of a run directory belongs to a source."""

from __future__ import annotations

from typing import TypeVar

from ....errors import SourceError
from ...source.source import Source
from .config import TappedConfig
from .directory import RunDirectory

OverTaps = TypeVar("OverTaps", bound=TappedConfig)


def config_over(source: Source, run: RunDirectory, kind: type[OverTaps]) -> OverTaps:
    """The config of a part of `run` that was trained over `source`.

    Raises SourceError where it was trained over another classifier, or reads what this one does not show;
    RunError where the config is missing or damaged.
    """
    config = run.read_config(kind)
    strange = [name for name in config.inputs if name not in source.taps and name not in kind.always_shown]
    if config.classifier_sha256 != source.fingerprint():
        raise SourceError(
            f"{run.weights_path}: was trained over another classifier than {source.name}; train the "
            f"{run.part} again"
        )
    if strange:
        raise SourceError(f"{run.config_path}: reads {', '.join(strange)}, which {source.name} does not show")
    return config
