"""The learnt U of a run directory, put to work on a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from msgspec import UNSET

from ....errors import RunError, SourceError
from ....runtime.values.arrays import FloatArray
from ...graphs.heads import LearntRotation
from ...source.exportable import Exportable
from .config import ApexConfig
from .directory import RunDirectory, RunPart

Kind = TypeVar("Kind", bound=Exportable)

# Of a run directory: the folder that U is kept in, and its name there.
FOLDER = "apex"
PART: RunPart = "apex"
# The name of U among a run's tensors.
U = "u"


def read_rotation(run: RunDirectory) -> FloatArray:
    """The learnt U [C, C]. Raises RunError where it is missing, unfinished or damaged."""
    held = run.read_weights()
    if set(held) != {U} or held[U].dim() != 2 or held[U].shape[0] != held[U].shape[1]:
        raise RunError(f"{run.weights_path}: damaged, or of another version of earmark; learn U again")
    rotation: FloatArray = held[U].numpy()
    return rotation


def with_apex(source: Kind, folder: Path) -> Kind:
    """The source with the U in `folder`. Raises SourceError where it was learnt over another classifier."""
    run = RunDirectory(folder, PART)
    rotation, config = read_rotation(run), run.read_config(ApexConfig)
    if config.classifier_sha256 != source.fingerprint():
        raise SourceError(
            f"{run.weights_path}: was learnt over another classifier than {source.name}; run earmark train "
            "apex again"
        )
    if source.feature_map is None or len(rotation) != source.feature_map.channels:
        raise SourceError(
            f"{run.weights_path}: is no U of {source.name}'s channels; run earmark train apex again"
        )
    if config.report is UNSET:
        raise SourceError(
            f"{folder}: the training of U is not finished; go on with earmark train apex --resume"
        )
    return replace(source, apex=LearntRotation(rotation, config.report))
